package client

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/ipfs/go-cid"

	marketapi "github.com/cella-network/cella/api/market"
	"github.com/cella-network/cella/api/work"
	"github.com/cella-network/cella/content/coding"
	"github.com/cella-network/cella/protocol/market"
)

const monthDays = 30

// Stat is what the chain says about a root.
type Stat struct {
	Root   string      `json:"root"`
	Name   string      `json:"name,omitempty"` // in the catalogue
	Height int64       `json:"height"`         // block after which all this held
	Orders []OrderStat `json:"orders"`         // of all owners, for the whole file and for shards of it, the newest first
	Sets   []SetStat   `json:"sets,omitempty"` // of shards, one an owner
}

// SetStat sums up an owner's shards of a coded file.
type SetStat struct {
	Owner  string `json:"owner"`
	Shards uint32 `json:"shards"` // with a running order
	Proven uint32 `json:"proven"` // of them, by the operator that took it
	// Code and Manifest are what the catalogue says, empty for what it doesn't know. Margin is then how many of the proven shards may
	// be lost before holders alone can't restore the file; below 0 they can't now.
	Code     string `json:"code,omitempty"`
	Manifest string `json:"manifest,omitempty"`
	Margin   int    `json:"margin"`
}

// OrderStat is an order for it. Amounts are ucella.
type OrderStat struct {
	ID       uint64    `json:"order"`
	Of       string    `json:"of,omitempty"`   // the file of which this is a shard
	Root     string    `json:"root,omitempty"` // of the shard
	Owner    string    `json:"owner"`
	Size     uint64    `json:"size"`
	Replicas uint32    `json:"replicas"`
	Proven   uint32    `json:"proven"`
	Price    uint64    `json:"price"` // most that is paid, per GiB-day and replica
	Start    int64     `json:"start"`
	End      int64     `json:"end"`      // first block that is no longer paid for
	EndTime  time.Time `json:"end_time"` // by the pace of recent blocks
	Closed   bool      `json:"closed"`
	Escrow   uint64    `json:"escrow"`
	Paid     uint64    `json:"paid"`  // to the present holders, what settling now would pay included
	Month    uint64    `json:"month"` // what the present holders cost in 30 days
	Holders  []Holder  `json:"holders"`
}

// Holder is an operator's replica.
type Holder struct {
	Operator  string   `json:"operator"`
	Price     uint64   `json:"price"`
	Accepted  int64    `json:"accepted"`
	Proven    bool     `json:"proven"`
	Since     int64    `json:"since"`      // first block that is paid for
	LastProof int64    `json:"last_proof"` // block of the last accepted report; 0 until the replica is proven
	Paid      uint64   `json:"paid"`       // what settling now would pay included
	Addrs     []string `json:"addrs,omitempty"`
}

// Stat explains a name or a root: who holds it, when each last proved it, what it has cost and costs, when it ends.
func (c *Client) Stat(ctx context.Context, ref string) (Stat, error) {
	e, root, err := c.resolve(ref)
	if err != nil {
		return Stat{}, err
	}
	out := Stat{Root: root.String(), Name: e.Name}
	if out.Height, err = c.chain.Latest(ctx); err != nil {
		return Stat{}, err
	}
	ctx = AtHeight(ctx, out.Height) // one state, however long it takes
	terms, err := c.chain.terms(ctx)
	if err != nil {
		return Stat{}, err
	}
	pace, now, err := c.chain.pace(ctx, out.Height)
	if err != nil {
		return Stat{}, err
	}
	orders, err := c.chain.orders(ctx, "", root)
	if err != nil {
		return Stat{}, err
	}
	for _, o := range orders {
		s, err := c.chain.orderStat(ctx, terms, o.Id)
		if err != nil {
			return Stat{}, err
		}
		s.EndTime = now.Add(time.Duration(s.End-out.Height) * pace).UTC().Truncate(time.Second)
		out.Orders = append(out.Orders, s)
	}
	if len(out.Orders) == 0 && e.Root == "" {
		return Stat{}, notOrdered(root)
	}
	out.Sets, err = sets(out, e)
	return out, err
}

// sets sums up the shards by owner, in the order of the first one met.
func sets(s Stat, e Entry) ([]SetStat, error) {
	var out []SetStat
	for _, o := range s.Orders {
		if o.Of != s.Root || o.Closed || o.End <= s.Height {
			continue
		}
		i := slices.IndexFunc(out, func(t SetStat) bool { return t.Owner == o.Owner })
		if i < 0 {
			i, out = len(out), append(out, SetStat{Owner: o.Owner})
		}
		out[i].Shards++
		if o.Proven > 0 {
			out[i].Proven++
		}
		if slices.ContainsFunc(e.Shards, func(h ShardEntry) bool { return h.Order == o.ID }) {
			out[i].Code, out[i].Manifest = e.Code, e.Manifest
		}
	}
	for i := range out {
		if out[i].Code == "" {
			continue
		}
		code, err := coding.ParseCode(out[i].Code)
		if err != nil {
			return nil, wrap(KindLocal, "catalogue entry "+e.Name, err)
		}
		out[i].Margin = int(out[i].Proven) - code.K
	}
	return out, nil
}

func notOrdered(root cid.Cid) error {
	return &Error{Kind: KindNotFound, What: fmt.Sprintf("the chain knows no order for %s", root), Hint: "cella put makes one"}
}

func (c *Chain) orderStat(ctx context.Context, terms market.Terms, id uint64) (OrderStat, error) {
	r, err := c.Market.Order(ctx, &marketapi.QueryOrderRequest{Id: id})
	if err != nil {
		return OrderStat{}, err
	}
	o := r.Order
	out := OrderStat{ID: o.Id, Owner: o.Owner, Size: o.Size_, Replicas: o.Replicas, Price: o.Price, Start: o.Start, End: o.End, Closed: o.Closed, Escrow: o.Escrow, Holders: []Holder{}}
	if len(o.Of) > 0 {
		of, err1 := cid.Cast(o.Of)
		root, err2 := cid.Cast(o.Root)
		if err := errors.Join(err1, err2); err != nil {
			return OrderStat{}, wrap(KindNetwork, fmt.Sprintf("order %d", id), err)
		}
		out.Of, out.Root = of.String(), root.String()
	}
	for i, rep := range r.Replicas {
		h := Holder{Operator: rep.Operator, Price: rep.Price, Accepted: rep.Accepted, Proven: rep.Proven, Since: rep.Since, Paid: rep.Paid}
		if i < len(r.Accrued) {
			h.Paid += r.Accrued[i]
		}
		if rep.Proven && rep.Lost == 0 {
			out.Proven++
			st, err := c.Work.Standing(ctx, &work.QueryStandingRequest{Operator: rep.Operator})
			if err != nil && !absent(err) {
				return OrderStat{}, err
			}
			if err == nil {
				h.LastProof = st.Standing.Height
			}
		}
		month, err := terms.Pay(o.Size_, rep.Price, monthDays*terms.DayBlocks)
		if err != nil {
			return OrderStat{}, wrap(KindRefused, "price a month", err)
		}
		if h.Addrs, err = c.addrs(ctx, rep.Operator); err != nil {
			return OrderStat{}, err
		}
		out.Month += month
		out.Paid += h.Paid
		out.Holders = append(out.Holders, h)
	}
	return out, nil
}

// pace is the mean time between recent blocks, and the time of the block at height.
func (c *Chain) pace(ctx context.Context, height int64) (time.Duration, time.Time, error) {
	to, err := c.rpc.Header(ctx, &height)
	if err != nil || to.Header == nil {
		return 0, time.Time{}, wrap(KindNetwork, "block time", err)
	}
	back := max(height-100, 1)
	from, err := c.rpc.Header(ctx, &back)
	if err != nil || from.Header == nil || back == height {
		return time.Second, to.Header.Time, nil // the node keeps no older block
	}
	return to.Header.Time.Sub(from.Header.Time) / time.Duration(height-back), to.Header.Time, nil
}
