package market

import "fmt"

// ExpireAt is the first height at which an order closes by time.
func (t Terms) ExpireAt(o Order) int64 { return o.End + t.GraceBlocks }

// PruneAt is the first height at which a closed order is forgotten: a day after its grace, time enough to look up how it
// ended.
func (t Terms) PruneAt(o Order) int64 { return t.ExpireAt(o) + t.DayBlocks }

// Place checks a new order, of which ID, Owner, Root, Of, Size, Replicas, Price and Addrs are given, and returns it with term and
// escrow; now is the height of the block.
func (t Terms) Place(o Order, blocks int64, now int64) (Order, []Move, error) {
	o.Start, o.End, o.Escrow, o.Standing, o.Closed = now, 0, 0, 0, false
	if err := o.check(); err != nil {
		return Order{}, nil, err
	}
	if blocks < t.MinBlocks || blocks > t.MaxBlocks {
		return Order{}, nil, fmt.Errorf("%w: %d blocks, want %d to %d", ErrOrder, blocks, t.MinBlocks, t.MaxBlocks)
	}
	escrow, err := t.EscrowFor(o.Size, o.Price, blocks, o.Replicas)
	if err != nil {
		return Order{}, nil, err
	}
	o.End, o.Escrow = now+blocks, escrow
	return o, moves(nil, o.funded(RulePlace, escrow)), nil
}

// Accept takes one replica of an order at the operator's own ask; held are the order's replicas, and the operator's lapsed
// one if there was one: whoever takes a place and lets it lapse would else keep it from others for ever, for nothing. A replica
// that wants to leave keeps its place from nobody.
func (t Terms) Accept(o Order, held []Replica, ask Ask, now int64) (Replica, []Move, error) {
	refuse := func(format string, args ...any) (Replica, []Move, error) {
		return Replica{}, nil, fmt.Errorf("%w: %s", ErrAccept, fmt.Sprintf(format, args...))
	}
	if err := running(o, now); err != nil {
		return Replica{}, nil, err
	}
	taken := uint32(0)
	for _, r := range held {
		switch {
		case r.Node == ask.Node && r.Lapsed:
			return refuse("%s had a replica of order %d before and did not prove or keep it", ask.Node, o.ID)
		case r.Node == ask.Node:
			return refuse("%s already holds a replica of order %d", ask.Node, o.ID)
		case !r.Lapsed && !r.Leaving:
			taken++
		}
	}
	if len(held) >= maxHeld {
		return refuse("order %d has %d replicas, most of them lost and leaving", o.ID, len(held))
	}
	if taken >= o.Replicas {
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
	r := Replica{Order: o.ID, Node: ask.Node, Price: ask.Price, Accepted: now, Until: o.End, Collateral: collateral}
	return r, moves(nil, Move{Rule: RuleAccept, From: PurseNode, To: PurseCollateral, Order: o.ID, Node: r.Node, Amount: collateral}), nil
}

// Renew lengthens a running order by blocks and tops up its escrow for every replica at the order's price. It binds no operator:
// each answers until the end to which it agreed, with the collateral that it locked for that, and is paid for as long as it stays.
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
	return o, moves(nil, o.funded(RuleRenew, added)), nil
}

// EndEarly closes a running order for its owner: each standing replica is paid for what it proved and for what is left of
// its minimum term (or until End, if that is nearer), collateral goes back, and the owner has the rest. Blocks that passed
// unproven stay unpaid: the term makes good what the owner takes away, not what the node let pass in silence, nor what the node
// wanted to give up itself. All replicas of held are gone.
func (t Terms) EndEarly(o Order, held []Replica, tallies Tallies, now int64) (Order, []Move, error) {
	if err := running(o, now); err != nil {
		return Order{}, nil, err
	}
	o, out, err := t.close(o, held, tallies, now, RuleOwner)
	o.End = min(o.End, now)
	return o, out, err
}

// Expire closes an order whose grace is over. All replicas of held are gone.
func (t Terms) Expire(o Order, held []Replica, tallies Tallies, now int64) (Order, []Move, error) {
	if o.Closed || now < t.ExpireAt(o) {
		return Order{}, nil, fmt.Errorf("%w: order %d closes at height %d", ErrState, o.ID, t.ExpireAt(o))
	}
	return t.close(o, held, tallies, now, RuleTerm)
}

func (t Terms) close(o Order, held []Replica, tallies Tallies, now int64, rule Rule) (Order, []Move, error) {
	var out []Move
	for _, r := range held {
		n := tallies(r.Node)
		s, err := t.Settle(o, r, n, now)
		if err != nil {
			return Order{}, nil, err
		}
		if rule == RuleOwner && s.Ended == "" && r.standing() && !r.Leaving && !n.Conduct.Gone(r) {
			left := max(0, min(r.Since-r.Earned+t.MinBlocks, o.End)-now)
			if err := t.pay(&s, RuleMinimum, earned(o, r, n, now)+left); err != nil {
				return Order{}, nil, err
			}
		}
		if r.Lost != 0 && t.RepairAt(r) <= min(now, r.Until) {
			s.penalty(RuleLost, s.Replica.Collateral, height(r.Lost)) // its turn had come
		}
		s.giveBack(RuleEnd)
		o, out = s.Order, append(out, s.Moves...)
	}
	out = moves(out, Move{Rule: rule, From: PurseEscrow, To: PurseOwner, Order: o.ID, Owner: o.Owner, Amount: o.Escrow})
	o.Escrow, o.Standing, o.Closed = 0, 0, true
	return o, out, nil
}

// running refuses an order that is over.
func running(o Order, now int64) error {
	if o.Closed || now >= o.End {
		return fmt.Errorf("%w: order %d ended", ErrState, o.ID)
	}
	return nil
}

func (o Order) funded(rule Rule, amount uint64) Move {
	return Move{Rule: rule, From: PurseOwner, To: PurseEscrow, Order: o.ID, Owner: o.Owner, Amount: amount}
}
