package market

import (
	"bytes"
	"fmt"
)

// Purse is one end of a move of coins.
type Purse uint8

const (
	PurseOwner      Purse = 1 // the order's owner
	PurseNode       Purse = 2 // the operator that the move names
	PurseEscrow     Purse = 3 // coins held for the order
	PurseCollateral Purse = 4 // coins held from the operator for its replica
)

// Rule names why coins move.
type Rule string

const (
	RulePlace   Rule = "place"        // owner to escrow
	RuleRenew   Rule = "renew"        // owner to escrow
	RuleAccept  Rule = "accept"       // node to collateral
	RuleProof   Rule = "proof"        // escrow to node, for proven blocks
	RuleMinimum Rule = "minimum-term" // escrow to node, the blocks of the minimum term that an early end takes away
	RuleLapse   Rule = "lapse"        // collateral to node: accepted, never proven
	RuleDropped Rule = "dropped"      // collateral to node: a report let a running order go
	RuleEnd     Rule = "end"          // collateral to node: the order is over
	RuleOwner   Rule = "owner"        // escrow to owner: what is left when the owner ended it
	RuleTerm    Rule = "term"         // escrow to owner: what is left at the end of the term
)

// Move is one movement of coins. The functions that return moves have already changed the order's escrow and the
// replica's collateral by them; moves of nothing are left out.
type Move struct {
	Rule     Rule
	From, To Purse
	Order    uint64
	Node     string // the operator concerned; empty where only the owner is
	Amount   uint64 // ucella
}

// Proven tells how many heights x/work counts as proven for a node; it never falls.
type Proven func(node string) uint64

// LapseAt is the first height at which an unproven replica no longer stands.
func (t Terms) LapseAt(r Replica) int64 { return r.Accepted + t.AcceptBlocks }

// ExpireAt is the first height at which an order closes by time.
func (t Terms) ExpireAt(o Order) int64 { return o.End + t.GraceBlocks }

// PruneAt is the first height at which a closed order is forgotten: a day after its grace, time enough to look up how it
// ended.
func (t Terms) PruneAt(o Order) int64 { return t.ExpireAt(o) + t.DayBlocks }

// Place checks a new order and returns it with its escrow; now is the height of the block.
func (t Terms) Place(id uint64, owner string, root []byte, size uint64, blocks int64, replicas uint32, price uint64, addrs []string, now int64) (Order, []Move, error) {
	o := Order{ID: id, Owner: owner, Root: root, Size: size, Replicas: replicas, Price: price, Start: now, Addrs: addrs}
	if err := o.check(); err != nil {
		return Order{}, nil, err
	}
	if blocks < t.MinBlocks || blocks > t.MaxBlocks {
		return Order{}, nil, fmt.Errorf("%w: %d blocks, want %d to %d", ErrOrder, blocks, t.MinBlocks, t.MaxBlocks)
	}
	escrow, err := t.EscrowFor(size, price, blocks, replicas)
	if err != nil {
		return Order{}, nil, err
	}
	o.End, o.Escrow = now+blocks, escrow
	return o, moves(nil, RulePlace, PurseOwner, PurseEscrow, o.ID, "", escrow), nil
}

// Accept takes one replica of an order at the operator's own ask; held are the order's replicas, and the operator's lapsed
// one if there was one: whoever takes a place and lets it lapse would else keep it from others for ever, for nothing.
func (t Terms) Accept(o Order, held []Replica, ask Ask, now int64) (Replica, []Move, error) {
	refuse := func(format string, args ...any) (Replica, []Move, error) {
		return Replica{}, nil, fmt.Errorf("%w: %s", ErrAccept, fmt.Sprintf(format, args...))
	}
	if err := running(o, now); err != nil {
		return Replica{}, nil, err
	}
	places := uint64(o.Replicas)
	for _, r := range held {
		switch {
		case r.Node == ask.Node && r.Lapsed:
			return refuse("%s accepted order %d before and did not prove it", ask.Node, o.ID)
		case r.Node == ask.Node:
			return refuse("%s already holds a replica of order %d", ask.Node, o.ID)
		case r.Lapsed:
			places++
		}
	}
	if uint64(len(held)) >= places {
		return refuse("order %d has its %d replicas", o.ID, o.Replicas)
	}
	if ask.Price == 0 || ask.Price > o.Price {
		return refuse("ask of %d, the order pays at most %d", ask.Price, o.Price)
	}
	if o.Size > ask.MaxSize {
		return refuse("order of %d bytes, the ask takes at most %d", o.Size, ask.MaxSize)
	}
	collateral, err := t.collateralFor(o.Size, ask.Price, o.End-now)
	if err != nil {
		return Replica{}, nil, err
	}
	r := Replica{Order: o.ID, Node: ask.Node, Price: ask.Price, Accepted: now, Collateral: collateral}
	return r, moves(nil, RuleAccept, PurseNode, PurseCollateral, o.ID, r.Node, collateral), nil
}

// Prove marks a replica as proven by a report that names its order with root and size; count is the node's count of proven
// heights with that report, now the height of the block that carries it.
func (t Terms) Prove(o Order, r Replica, root []byte, size, count uint64, now int64) (Replica, error) {
	if err := running(o, now); err != nil {
		return Replica{}, err
	}
	if r.Proven {
		return Replica{}, fmt.Errorf("%w: order %d is proven by %s already", ErrProof, o.ID, r.Node)
	}
	if now >= t.LapseAt(r) {
		return Replica{}, fmt.Errorf("%w: the acceptance of order %d lapsed at height %d", ErrProof, o.ID, t.LapseAt(r))
	}
	if !bytes.Equal(root, o.Root) || size != o.Size {
		return Replica{}, fmt.Errorf("%w: order %d is for other content: root %x of %d bytes", ErrProof, o.ID, o.Root, o.Size)
	}
	r.Proven, r.Since, r.Base = true, now, count
	return r, nil
}

// Accrued is what settling now would pay a replica; count is its node's count of proven heights.
func (t Terms) Accrued(o Order, r Replica, count uint64, now int64) (uint64, error) {
	return t.owed(o, r, earned(o, r, count, now))
}

// Settle pays a replica what it has earned so far.
func (t Terms) Settle(o Order, r Replica, count uint64, now int64) (Order, Replica, []Move, error) {
	if o.Closed {
		return Order{}, Replica{}, nil, fmt.Errorf("%w: order %d is closed", ErrState, o.ID)
	}
	return t.pay(o, r, RuleProof, earned(o, r, count, now), nil)
}

// Lapse ends an acceptance that no report proved in time: the replica is gone and its collateral goes back.
func (t Terms) Lapse(o Order, r Replica, now int64) ([]Move, error) {
	if r.Proven || now < t.LapseAt(r) {
		return nil, fmt.Errorf("%w: the acceptance of order %d by %s stands", ErrState, o.ID, r.Node)
	}
	return giveBack(r, RuleLapse, nil), nil
}

// Drop ends a replica that a report let go: it is paid for what it proved, its collateral goes back and its place opens
// again if the order still runs.
func (t Terms) Drop(o Order, r Replica, count uint64, now int64) (Order, []Move, error) {
	o, r, paid, err := t.Settle(o, r, count, now)
	if err != nil {
		return Order{}, nil, err
	}
	rule := RuleDropped
	if now >= o.End {
		rule = RuleEnd
	}
	return o, giveBack(r, rule, paid), nil
}

// Renew lengthens a running order by blocks and tops up its escrow for every replica at the order's price.
func (t Terms) Renew(o Order, blocks int64, now int64) (Order, []Move, error) {
	if err := running(o, now); err != nil {
		return Order{}, nil, err
	}
	if blocks < 1 || blocks > t.MaxBlocks || o.End-o.Start+blocks > t.MaxBlocks {
		return Order{}, nil, fmt.Errorf("%w: %d blocks more than %d, at most %d in all", ErrOrder, blocks, o.End-o.Start, t.MaxBlocks)
	}
	added, err := t.EscrowFor(o.Size, o.Price, blocks, o.Replicas)
	if err != nil {
		return Order{}, nil, err
	}
	// The whole must fit as well, for pay is computed over all blocks at once.
	if _, err := t.EscrowFor(o.Size, o.Price, o.End-o.Start+blocks, o.Replicas); err != nil {
		return Order{}, nil, err
	}
	if o.Escrow > maxEscrow-added {
		return Order{}, nil, fmt.Errorf("%w: escrow overflows", ErrOrder)
	}
	o.End += blocks
	o.Escrow += added
	return o, moves(nil, RuleRenew, PurseOwner, PurseEscrow, o.ID, "", added), nil
}

// EndEarly closes a running order for its owner: each proven replica is paid for what it proved and for what is left of
// its minimum term (or until End, if that is nearer), collateral goes back, and the owner has the rest. Blocks that passed
// unproven stay unpaid: the term makes good what the owner takes away, not what the node let pass in silence. All replicas
// of held are gone.
func (t Terms) EndEarly(o Order, held []Replica, proven Proven, now int64) (Order, []Move, error) {
	if err := running(o, now); err != nil {
		return Order{}, nil, err
	}
	o, out, err := t.close(o, held, proven, now, RuleOwner)
	o.End = min(o.End, now)
	return o, out, err
}

// Expire closes an order whose grace is over. All replicas of held are gone.
func (t Terms) Expire(o Order, held []Replica, proven Proven, now int64) (Order, []Move, error) {
	if o.Closed || now < t.ExpireAt(o) {
		return Order{}, nil, fmt.Errorf("%w: order %d closes at height %d", ErrState, o.ID, t.ExpireAt(o))
	}
	return t.close(o, held, proven, now, RuleTerm)
}

func (t Terms) close(o Order, held []Replica, proven Proven, now int64, rule Rule) (Order, []Move, error) {
	var out []Move
	var err error
	for _, r := range held {
		blocks := earned(o, r, proven(r.Node), now)
		if o, r, out, err = t.pay(o, r, RuleProof, blocks, out); err != nil {
			return Order{}, nil, err
		}
		if rule == RuleOwner && r.Proven {
			left := max(0, min(r.Since+t.MinBlocks, o.End)-now)
			if o, r, out, err = t.pay(o, r, RuleMinimum, blocks+left, out); err != nil {
				return Order{}, nil, err
			}
		}
		out = giveBack(r, RuleEnd, out)
	}
	out = moves(out, rule, PurseEscrow, PurseOwner, o.ID, "", o.Escrow)
	o.Escrow, o.Closed = 0, true
	return o, out, nil
}

// running refuses an order that is over.
func running(o Order, now int64) error {
	if o.Closed || now >= o.End {
		return fmt.Errorf("%w: order %d ended", ErrState, o.ID)
	}
	return nil
}

// earned is how many blocks a replica has to be paid for in all: the heights proven since its report, but no more than the
// blocks that passed since then up to the order's end.
func earned(o Order, r Replica, count uint64, now int64) int64 {
	if !r.Proven || count <= r.Base {
		return 0
	}
	passed := max(0, min(now, o.End)-r.Since)
	if count-r.Base < uint64(passed) {
		return int64(count - r.Base)
	}
	return passed
}

// owed is the pay over blocks in all less what was paid before. The escrow always suffices (doc.go says why), and
// nothing beyond it could ever be paid out of other orders' coins.
func (t Terms) owed(o Order, r Replica, blocks int64) (uint64, error) {
	if r.Order != o.ID {
		return 0, fmt.Errorf("%w: replica of order %d, not of %d", ErrState, r.Order, o.ID)
	}
	if !r.Proven || blocks <= 0 {
		return 0, nil
	}
	all, err := t.Pay(o.Size, r.Price, blocks)
	if err != nil || all <= r.Paid {
		return 0, err
	}
	return min(all-r.Paid, o.Escrow), nil
}

func (t Terms) pay(o Order, r Replica, rule Rule, blocks int64, out []Move) (Order, Replica, []Move, error) {
	amount, err := t.owed(o, r, blocks)
	if err != nil {
		return Order{}, Replica{}, nil, err
	}
	o.Escrow -= amount
	r.Paid += amount
	return o, r, moves(out, rule, PurseEscrow, PurseNode, o.ID, r.Node, amount), nil
}

func giveBack(r Replica, rule Rule, out []Move) []Move {
	return moves(out, rule, PurseCollateral, PurseNode, r.Order, r.Node, r.Collateral)
}

func moves(out []Move, rule Rule, from, to Purse, order uint64, node string, amount uint64) []Move {
	if amount == 0 {
		return out
	}
	return append(out, Move{Rule: rule, From: from, To: to, Order: order, Node: node, Amount: amount})
}
