package client

import (
	"bytes"
	"context"
	"fmt"
	"time"

	sdk "github.com/cosmos/cosmos-sdk/types"
	"github.com/ipfs/go-cid"

	marketapi "github.com/cella-network/cella/api/market"
	"github.com/cella-network/cella/protocol/market"
)

// batch is how many messages a transaction carries.
const batch = 16

// part is what one order stores: the whole file, or a shard of it.
type part struct {
	root     cid.Cid
	of       []byte // the file's root, if it is a shard
	size     uint64
	replicas uint32
	order    marketapi.Order // zero until it is found or placed
}

// divide lists the parts by what the entry says.
func (p *put) divide() error {
	p.parts = nil
	if p.entry.Code == "" {
		p.parts = []*part{{root: p.root, size: p.entry.Size, replicas: p.entry.Replicas}}
		return nil
	}
	for i, s := range p.entry.Shards {
		root, err := cid.Decode(s.Root)
		if err != nil {
			return wrap(KindLocal, fmt.Sprintf("shard %d of catalogue entry %s", i, p.entry.Name), err)
		}
		p.parts = append(p.parts, &part{root: root, of: p.root.Bytes(), size: s.Size, replicas: 1})
	}
	return nil
}

// ordered tells whether an order for any part is on the chain or may be.
func (p *put) ordered() bool {
	if p.entry.Order != 0 || p.entry.Until != 0 {
		return true
	}
	for _, s := range p.entry.Shards {
		if s.Order != 0 {
			return true
		}
	}
	return false
}

// missing are the parts without an order.
func (p *put) missing() []*part {
	var out []*part
	for _, a := range p.parts {
		if a.order.Id == 0 {
			out = append(out, a)
		}
	}
	return out
}

// findOrders finds the account's live orders for the parts; those that it doesn't find can't appear any more.
func (p *put) findOrders(ctx context.Context) error {
	for {
		orders, err := p.chain.orders(ctx, p.opts.Account.Address, p.root)
		if err != nil {
			return err
		}
		now, err := p.chain.Latest(ctx)
		if err != nil {
			return err
		}
		match(p.parts, orders, now)
		if len(p.missing()) > 0 && now <= p.entry.Until {
			// An interrupted put sent one that a block may still take.
			p.opts.Progress(Progress{Stage: StageOrder})
			if err := p.chain.Wait(ctx, now+1); err != nil {
				return err
			}
			continue
		}
		return p.note()
	}
}

// match gives each part the newest live order for it, each order to one part.
func match(parts []*part, orders []marketapi.Order, now int64) {
	taken := map[uint64]bool{}
	for _, a := range parts {
		a.order = marketapi.Order{}
		for _, o := range orders {
			if !o.Closed && o.End > now && !taken[o.Id] && bytes.Equal(o.Root, a.root.Bytes()) && bytes.Equal(o.Of, a.of) {
				a.order, taken[o.Id] = o, true
				break
			}
		}
	}
}

// note enters the orders that are known into the catalogue.
func (p *put) note() error {
	changed := p.entry.Until != 0 || p.entry.Order != p.parts[0].order.Id
	p.entry.Order, p.entry.Until = p.parts[0].order.Id, 0
	for i := range p.entry.Shards {
		changed = changed || p.entry.Shards[i].Order != p.parts[i].order.Id
		p.entry.Shards[i].Order = p.parts[i].order.Id
	}
	if !changed {
		return nil
	}
	p.entry.Acknowledged = 0
	return p.catalogue.save(&p.entry)
}

// place pays for the orders that are missing.
func (p *put) place(ctx context.Context) error {
	parts := p.missing()
	terms, err := p.chain.terms(ctx)
	if err != nil {
		return err
	}
	price := p.req.Price
	if price == 0 {
		if price, err = p.offer(ctx, parts); err != nil {
			return err
		}
	}
	span := max(int64(p.req.Days)*terms.DayBlocks, terms.MinBlocks)
	var escrow uint64
	for _, a := range parts {
		one, err := terms.EscrowFor(a.size, price, span, a.replicas)
		if err != nil {
			return wrap(KindUsage, "price", err)
		}
		escrow += one
	}
	has, err := p.opts.Account.Balance(ctx)
	if err != nil {
		return err
	}
	if has < escrow {
		return &Error{Kind: KindFunds, What: fmt.Sprintf("the order needs %d ucella in escrow and %s has %d", escrow, p.opts.Account.Address, has),
			Hint: "fewer --days or --replicas cost less"}
	}
	addrs := p.node.Addrs()
	if len(addrs) > market.MaxAddrs {
		addrs = addrs[:market.MaxAddrs]
	}
	p.opts.Progress(Progress{Stage: StageOrder})
	for from := 0; from < len(parts); from += batch {
		if err := p.post(ctx, parts[from:min(from+batch, len(parts))], price, span, addrs); err != nil {
			return err
		}
	}
	return p.note()
}

// post places the orders of some parts in one transaction.
func (p *put) post(ctx context.Context, parts []*part, price uint64, span int64, addrs []string) error {
	var msgs []sdk.Msg
	for _, a := range parts {
		msgs = append(msgs, &marketapi.MsgPlaceOrder{Owner: p.opts.Account.Address, Root: a.root.Bytes(), Of: a.of, Size_: a.size, Blocks: span,
			Replicas: a.replicas, Price: price, Addrs: addrs})
	}
	res, err := p.opts.Account.post(ctx, func(until int64) error {
		p.entry.Until, p.entry.Acknowledged = until, 0
		return p.catalogue.save(&p.entry)
	}, msgs...)
	if err != nil {
		return wrap(KindRefused, "placing the order", err)
	}
	for i, a := range parts {
		var placed marketapi.MsgPlaceOrderResponse
		if err := res.Response(i, &placed); err != nil {
			return err
		}
		r, err := p.chain.Market.Order(ctx, &marketapi.QueryOrderRequest{Id: placed.Id})
		if err != nil {
			return err
		}
		a.order = r.Order
	}
	return nil
}

// offer finds the price. Operators that have joined but show no room yet, or a network that has only begun, are given a little time.
func (p *put) offer(ctx context.Context, parts []*part) (uint64, error) {
	const begun = 100 // blocks
	var size uint64
	var takers uint32
	for _, a := range parts {
		size = max(size, a.size)
		takers += a.replicas
	}
	for deadline := time.Now().Add(offerFor); ; {
		price, err := p.chain.price(ctx, size, takers)
		if !IsKind(err, KindBusy) || time.Now().After(deadline) {
			return price, err
		}
		height, e := p.chain.Latest(ctx)
		if e != nil {
			return 0, e
		}
		nodes, e := p.chain.activeNodes(ctx)
		if e != nil {
			return 0, e
		}
		if height > begun && len(nodes) < int(takers) {
			return 0, err
		}
		p.opts.Progress(Progress{Stage: StageOffer})
		if e := p.chain.Wait(ctx, height+1); e != nil {
			return 0, e
		}
	}
}

// acknowledged watches the orders, block by block, until all replicas of all are proven, and notes that in the catalogue.
func (p *put) acknowledged(ctx context.Context) error {
	for {
		height, err := p.chain.Latest(ctx)
		if err != nil {
			height = 0
		}
		done, err := p.watch(ctx, height)
		if err != nil && (!IsKind(err, KindNetwork) || ctx.Err() != nil) {
			return err // else the node may come back; Wait below bears it for a while
		}
		if err := ctx.Err(); err != nil {
			return err
		}
		if err == nil && done {
			if p.entry.Acknowledged == 0 {
				p.entry.Acknowledged, p.entry.Replicas = height, p.parts[0].order.Replicas
			}
			return p.catalogue.save(&p.entry)
		}
		if err := p.chain.Wait(ctx, height+1); err != nil {
			return err
		}
	}
}

// watch looks at the orders after a block, tells the progress, and whether all replicas are proven.
func (p *put) watch(ctx context.Context, height int64) (bool, error) {
	now := Progress{Stage: StageSend, Order: p.parts[0].order.Id}
	var proven uint64
	for _, a := range p.parts {
		r, err := p.chain.Market.Order(AtHeight(ctx, height), &marketapi.QueryOrderRequest{Id: a.order.Id})
		if err != nil {
			return false, err
		}
		if r.Order.Closed || r.Order.End <= height {
			return false, &Error{Kind: KindRefused, What: fmt.Sprintf("order %d ended at block %d before all its replicas were proven", a.order.Id, height), Hint: "put it again"}
		}
		a.order = r.Order
		now.Replicas += a.order.Replicas
		now.Total += a.order.Size_ * uint64(a.order.Replicas)
		for _, rep := range r.Replicas {
			now.Accepted++
			if rep.Proven && rep.Lost == 0 {
				now.Proven++
				proven += a.order.Size_
			}
		}
	}
	if p.store != nil {
		now.Done = min(p.store.sent.Load(), now.Total)
	}
	// Holders also fetch from each other, and a resumed put has sent before: what is proven has arrived.
	now.Done = max(now.Done, proven)
	p.opts.Progress(now)
	return now.Proven >= now.Replicas, nil
}
