package main

import (
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"slices"
	"sort"
	"strconv"
	"strings"

	sdk "github.com/cosmos/cosmos-sdk/types"

	marketapi "github.com/cella-network/cella/api/market"
	workapi "github.com/cella-network/cella/api/work"
	"github.com/cella-network/cella/chain/x/market"
	"github.com/cella-network/cella/protocol/attestation"
	"github.com/cella-network/cella/protocol/storageproof"
)

const (
	hourBlocks = 600 // of six seconds
	price      = 1 << 24
	maxSize    = 4 << 30 // bytes of an order
	owners     = 200
	failShare  = 4 // a cheat fails one height in so many
)

// The market's times are shortened, so that all of it happens within a day.
func params() (marketapi.Params, workapi.Params) {
	p := market.DefaultGenesis().Params
	p.MinBlocks, p.AcceptBlocks, p.GraceBlocks = 2*hourBlocks, 6*hourBlocks, 3*hourBlocks
	p.MendBlocks, p.ClearBlocks, p.RepairBlocks = 2*hourBlocks, 6*hourBlocks, 3*hourBlocks
	p.WarnBlocks, p.SilentBlocks = 4*hourBlocks, 8*hourBlocks
	return p, workapi.Params{SlotBlocks: 100, MaxAgeBlocks: 100, LateBlocks: 4 * hourBlocks, SectorSize: 256 << 20}
}

// kind is how a node behaves. Once its trouble has come it does so for good, unless said otherwise.
type kind int

const (
	steady   kind = iota
	sleepy        // misses two reports, once, and then answers for all heights
	clumsy        // fails some heights, once
	mending       // loses its disk and proves all again in time
	draining      // wants to leave
	cheating      // fails a part of its heights
	losing        // loses its disk and does not come back to what lay there
	silent        // reports no more
	idle          // accepts and never proves, from the start
	kinds
)

var kindNames = [kinds]string{"steady", "sleepy", "clumsy", "mending", "draining", "cheating", "losing", "silent", "idle"}

// rates are nodes of each kind in a thousand; the rest are steady.
var rates = [kinds]int{sleepy: 40, clumsy: 40, mending: 15, draining: 10, cheating: 30, losing: 15, silent: 20, idle: 5}

func (k kind) honest() bool { return k <= draining }

type config struct {
	nodes, orders, replicas, hours int
	seed                           uint64
}

// node is an operator with its enclave.
type node struct {
	address sdk.AccAddress
	text    string
	enclave ed25519.PrivateKey
	kind    kind
	turn    int64 // block of the hour at which it reports
	trouble int64 // height
	struck  bool  // the trouble has come
	drained bool  // asked to leave

	last  *storageproof.Report
	held  map[uint64]storageproof.OrderRef // named by an accepted report
	fresh []storageproof.OrderRef          // accepted, for the next report
	gone  []uint64                         // for the next report
	atDue bool                             // had proven a replica when the trouble came whose order runs until it must have cost

	fined uint64 // ucella
	fine  string // what the chain said of the last
}

// order is one that runs.
type order struct {
	ref     storageproof.OrderRef
	end     int64
	holders map[*node]bool
}

// network is the world and all who live in it.
type network struct {
	config
	world  *world
	rand   *rand.Rand
	nodes  []*node
	byText map[string]*node
	turns  map[int64][]*node
	owners []string
	orders map[uint64]*order
	open   []uint64 // free places: an order for each

	patience int64 // blocks within which every trouble has cost

	placed, reports, proven, penalties int
	collateral                         uint64
	events                             map[string]int
}

func newNetwork(c config) (*network, error) {
	p, reports := params()
	w, err := newWorld(p, reports)
	if err != nil {
		return nil, err
	}
	n := &network{config: c, world: w, rand: rand.New(rand.NewPCG(c.seed, 0)), byText: map[string]*node{}, turns: map[int64][]*node{},
		orders: map[uint64]*order{}, events: map[string]int{}, patience: max(p.SilentBlocks, p.MendBlocks, p.RepairBlocks) + 2*hourBlocks}
	for i := range owners {
		a := addressOf("owner", i)
		if err := w.fund(a, 1e15); err != nil {
			return nil, err
		}
		n.owners = append(n.owners, a.String())
	}
	for i := range c.nodes {
		if err := n.join(i); err != nil {
			return nil, err
		}
	}
	return n, nil
}

func addressOf(what string, i int) sdk.AccAddress {
	sum := sha256.Sum256(fmt.Append(nil, what, i))
	return sum[:20]
}

func (n *network) join(i int) error {
	a := addressOf("node", i)
	seed := sha256.Sum256(a)
	v := &node{address: a, text: a.String(), enclave: ed25519.NewKeyFromSeed(seed[:]), turn: n.rand.Int64N(hourBlocks), held: map[uint64]storageproof.OrderRef{}}
	at := n.rand.IntN(1000)
	for k, rate := range rates {
		if at < rate {
			v.kind = kind(k)
			break
		}
		at -= rate
	}
	v.trouble = hourBlocks * (3 + n.rand.Int64N(int64(max(1, n.hours/3))))
	if v.kind == idle {
		v.trouble = 0
	}
	record := attestation.Node{Account: attestation.Account(a), Tier: attestation.TierHigh}
	copy(record.SignKey[:], v.enclave.Public().(ed25519.PublicKey))
	n.world.nodes[record.Account] = record
	n.nodes, n.byText[v.text] = append(n.nodes, v), v
	n.turns[v.turn] = append(n.turns[v.turn], v)
	if err := n.world.fund(a, 1e12); err != nil {
		return err
	}
	return n.do(&marketapi.MsgSetAsk{Operator: v.text, Price: price - uint64(n.rand.IntN(price/4)), MaxSize: maxSize})
}

func (n *network) do(msg sdk.Msg) error {
	events, err := n.world.do(msg)
	if err == nil {
		n.hear(events)
	}
	return err
}

// hour lets an hour's blocks pass and holds the books.
func (n *network) hour() error {
	for range hourBlocks {
		events, err := n.world.next()
		if err != nil {
			return err
		}
		n.hear(events)
		for _, v := range n.turns[n.world.ctx.BlockHeight()%hourBlocks] {
			if err := n.report(v); err != nil {
				return fmt.Errorf("report of a %s node: %w", kindNames[v.kind], err)
			}
		}
		if err := n.trade(); err != nil {
			return err
		}
	}
	return n.world.audit()
}

// trade keeps the number of orders and fills free places.
func (n *network) trade() error {
	for range min(n.config.orders-len(n.orders), n.config.orders/hourBlocks+1) {
		if err := n.place(); err != nil {
			return fmt.Errorf("place an order: %w", err)
		}
	}
	open := n.open
	n.open = nil
	for i, id := range open {
		o := n.orders[id]
		if i >= 500 {
			n.open = append(n.open, id)
			continue
		}
		if o == nil || n.world.ctx.BlockHeight() > o.end-4*hourBlocks {
			continue // nobody takes what ends before it could be proven
		}
		v := n.nodes[n.rand.IntN(len(n.nodes))]
		busy := v.struck && v.kind != clumsy && v.kind != sleepy && v.kind != mending && v.kind != idle
		if busy || o.holders[v] || n.do(&marketapi.MsgAccept{Operator: v.text, Order: id}) != nil {
			n.open = append(n.open, id) // somebody else
			continue
		}
		o.holders[v] = true
		v.fresh = append(v.fresh, o.ref)
	}
	return nil
}

func (n *network) place() error {
	n.placed++
	digest := sha256.Sum256(binary.BigEndian.AppendUint64([]byte("root"), uint64(n.placed)))
	ref := storageproof.OrderRef{Root: append([]byte{1, 0x70, 0x12, 32}, digest[:]...), Size: 1 + n.rand.Uint64N(maxSize)}
	blocks := hourBlocks * (6 + n.rand.Int64N(48))
	events, err := n.world.do(&marketapi.MsgPlaceOrder{Owner: n.owners[n.rand.IntN(len(n.owners))], Root: ref.Root, Size_: ref.Size, Blocks: blocks, Replicas: uint32(n.replicas), Price: price})
	if err != nil {
		return err
	}
	for _, e := range events {
		if e.name == "OrderPlaced" {
			ref.ID = e.number("order")
		}
	}
	n.orders[ref.ID] = &order{ref: ref, end: n.world.ctx.BlockHeight() + blocks, holders: map[*node]bool{}}
	for range n.replicas {
		n.open = append(n.open, ref.ID)
	}
	return nil
}

func (e event) number(key string) uint64 {
	v, _ := strconv.ParseUint(e.attr[key], 10, 64)
	return v
}

// hear takes note of what the chain says.
func (n *network) hear(events []event) {
	for _, e := range events {
		id, v := e.number("order"), n.byText[e.attr["operator"]]
		key := e.name
		if rule := e.attr["rule"]; rule != "" {
			key += " " + rule
		}
		n.events[key]++
		switch e.name {
		case "Proven":
			n.proven++
		case "Penalty":
			n.penalties++
			n.collateral += e.number("amount")
			v.fined += e.number("amount")
			v.fine = fmt.Sprintf("order %d, block %s, rule %s, evidence %s", id, e.attr["height"], e.attr["rule"], e.attr["evidence"])
		case "Leaving":
			n.open = append(n.open, id)
		case "ReplicaEnded":
			v.forget(id)
			if o := n.orders[id]; o != nil {
				delete(o.holders, v)
				if e.attr["rule"] != "left" { // its place opened when it asked to leave
					n.open = append(n.open, id)
				}
			}
		case "Closed":
			if o := n.orders[id]; o != nil {
				for v := range o.holders {
					v.forget(id)
				}
				delete(n.orders, id)
			}
		}
	}
}

// forget lets go of an order that the node holds no more for anybody.
func (v *node) forget(id uint64) {
	v.fresh = slices.DeleteFunc(v.fresh, func(r storageproof.OrderRef) bool { return r.ID == id })
	if _, ok := v.held[id]; ok {
		v.gone = append(v.gone, id)
	}
}

// report is what a node does once an hour.
func (n *network) report(v *node) error {
	now := n.world.ctx.BlockHeight()
	strikes := !v.struck && now >= v.trouble && v.last != nil && v.kind != steady
	if strikes {
		v.struck = true
		for id := range v.held {
			o := n.orders[id]
			v.atDue = v.atDue || o != nil && o.end > now+n.patience
		}
	}
	switch {
	case v.struck && v.kind == silent, v.struck && v.kind == sleepy && now < v.trouble+3*hourBlocks:
		return nil
	case v.struck && v.kind == draining && !v.drained && len(v.fresh) == 0: // giving up an acceptance would cost the fee of a lapse
		v.drained = true
		if err := n.do(&marketapi.MsgDrain{Operator: v.text}); err != nil {
			return err
		}
	}
	r := storageproof.Report{ChainID: chainID, Account: [20]byte(v.address), Counter: 1, From: now - 1, Height: now - 1, Hash: hashOf(now - 1),
		Free: 1 << 40, Sectors: 1 << 12, Table: hashOf(-now)}
	reset := strikes && (v.kind == mending || v.kind == losing)
	if v.last != nil {
		r.Counter, r.Prev, r.From = v.last.Counter+1, v.last.ID(), v.last.Height
		heights := uint64(r.Height - r.From)
		switch {
		case reset:
			r.Reset, r.Failed = true, heights
		case v.struck && v.kind == cheating, strikes && v.kind == clumsy:
			r.Failed = heights / failShare
		}
		r.Answered = heights - r.Failed
	}
	v.fill(&r, reset)
	encoded := r.Marshal()
	if err := n.do(&workapi.MsgReport{Reporter: v.text, Report: encoded, Signature: ed25519.Sign(v.enclave, encoded)}); err != nil {
		return err
	}
	n.reports++
	v.last = &r
	return nil
}

// fill names the orders of a report and those that are let go.
func (v *node) fill(r *storageproof.Report, reset bool) {
	if reset {
		var lost []storageproof.OrderRef
		for _, ref := range v.held {
			if v.kind == mending && !slices.Contains(v.gone, ref.ID) {
				lost = append(lost, ref)
			}
		}
		v.held, v.gone = map[uint64]storageproof.OrderRef{}, nil
		v.fresh = append(v.fresh, lost...) // fetched again until the next report
		return
	}
	slices.Sort(v.gone)
	r.Dropped = slices.Compact(v.gone)
	r.Dropped = r.Dropped[:min(len(r.Dropped), storageproof.MaxDropped)]
	v.gone = slices.Clone(v.gone[len(r.Dropped):])
	for _, id := range r.Dropped {
		delete(v.held, id)
	}
	if v.kind != idle {
		sort.Slice(v.fresh, func(i, j int) bool { return v.fresh[i].ID < v.fresh[j].ID })
		k := min(len(v.fresh), storageproof.MaxAdded)
		for _, ref := range v.fresh[:k] {
			if !slices.Contains(r.Dropped, ref.ID) {
				r.Added = append(r.Added, ref)
				v.held[ref.ID] = ref
			}
		}
		v.fresh = slices.Clone(v.fresh[k:])
	}
	for _, ref := range v.held {
		r.Stored += (ref.Size + storageproof.CellSize - 1) / storageproof.CellSize * storageproof.CellSize
	}
}

// justice holds who was fined against who deserved it.
func (n *network) justice() error {
	for _, v := range n.nodes {
		switch {
		case v.kind.honest() && v.fined > 0:
			return fmt.Errorf("a %s node whose trouble came at block %d was fined %d ucella, last for %s", kindNames[v.kind], v.trouble, v.fined, v.fine)
		case !v.kind.honest() && v.kind != idle && v.atDue && v.fined == 0:
			return fmt.Errorf("a %s node whose trouble came at block %d was not fined", kindNames[v.kind], v.trouble)
		}
	}
	return nil
}

// summary tells what became of the nodes.
func (n *network) summary() string {
	var b strings.Builder
	var count, fined [kinds]int
	for _, v := range n.nodes {
		count[v.kind]++
		if v.fined > 0 {
			fined[v.kind]++
		}
	}
	fmt.Fprintf(&b, "%d orders placed, %d run; %d replicas proven; %d penalties of %d ucella in all\n", n.placed, len(n.orders), n.proven, n.penalties, n.collateral)
	for k, name := range kindNames {
		fmt.Fprintf(&b, "  %-9s %6d nodes, %5d fined\n", name, count[k], fined[k])
	}
	keys := make([]string, 0, len(n.events))
	for k := range n.events {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	for _, k := range keys {
		fmt.Fprintf(&b, "  %-32s %8d\n", k, n.events[k])
	}
	return b.String()
}
