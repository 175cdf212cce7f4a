package market

import (
	"errors"
	"fmt"
	"math/big"
	"slices"
	"testing"

	"pgregory.net/rapid"
)

// ledger executes moves and nothing else, as the chain does.
type ledger struct {
	purse map[string]uint64
	total uint64
}

func newLedger(owners []string, each uint64) *ledger {
	l := &ledger{purse: map[string]uint64{}}
	for _, o := range owners {
		l.purse[o] = each
		l.total += each
	}
	return l
}

func escrowOf(order uint64) string { return fmt.Sprintf("escrow %d", order) }
func collateralOf(order uint64, node string) string {
	return fmt.Sprintf("collateral %d %s", order, node)
}

func (l *ledger) execute(owner string, moved []Move) error {
	name := func(p Purse, m Move) string {
		switch p {
		case PurseOwner:
			return owner
		case PurseNode:
			return m.Node
		case PurseEscrow:
			return escrowOf(m.Order)
		default:
			return collateralOf(m.Order, m.Node)
		}
	}
	for _, m := range moved {
		from := name(m.From, m)
		if m.Amount == 0 || l.purse[from] < m.Amount {
			return fmt.Errorf("%s has %d, not the %d that %q takes", from, l.purse[from], m.Amount, m.Rule)
		}
		l.purse[from] -= m.Amount
		l.purse[name(m.To, m)] += m.Amount
	}
	return nil
}

// life is an order with its replicas, as the chain stores them.
type life struct {
	terms  Terms
	order  Order
	held   []Replica
	lapsed []Replica // what ended unproven, as whoever keeps the orders remembers it
	counts map[string]uint64
	ledger *ledger
	now    int64
}

func (l *life) proven(node string) uint64 { return l.counts[node] }

func (l *life) remove(i int) {
	if r := l.held[i]; !r.Proven {
		l.lapsed = append(l.lapsed, Replica{Order: r.Order, Node: r.Node, Lapsed: true})
	}
	l.held = append(append([]Replica(nil), l.held[:i]...), l.held[i+1:]...)
}

// check holds the state against the ledger, and the escrow against the most that could still be owed.
func (l *life) check() error {
	var sum uint64
	for _, v := range l.ledger.purse {
		sum += v
	}
	if sum != l.ledger.total {
		return fmt.Errorf("%d coins of %d", sum, l.ledger.total)
	}
	if got := l.ledger.purse[escrowOf(l.order.ID)]; got != l.order.Escrow {
		return fmt.Errorf("the escrow holds %d, the order says %d", got, l.order.Escrow)
	}
	most := new(big.Int)
	collateral := uint64(0)
	for _, r := range l.held {
		if got := l.ledger.purse[collateralOf(r.Order, r.Node)]; got != r.Collateral {
			return fmt.Errorf("the collateral of %s is %d, the replica says %d", r.Node, got, r.Collateral)
		}
		collateral += r.Collateral
		from := l.now
		if r.Proven {
			from = r.Since
		}
		if l.now >= l.order.End && !r.Proven {
			continue
		}
		// What this place can still cost: this replica to the end, whatever is proven.
		pay := new(big.Int).SetUint64(l.order.Size)
		pay.Mul(pay, new(big.Int).SetUint64(r.Price)).Mul(pay, big.NewInt(l.order.End-from))
		pay.Rsh(pay, 30).Quo(pay, big.NewInt(l.terms.DayBlocks))
		most.Add(most, pay.Sub(pay, new(big.Int).SetUint64(r.Paid)))
	}
	if most.Cmp(new(big.Int).SetUint64(l.order.Escrow)) > 0 {
		return fmt.Errorf("%s may still be owed, the escrow holds %d", most, l.order.Escrow)
	}
	if l.order.Closed && (l.order.Escrow != 0 || len(l.held) != 0) {
		return errors.New("a closed order holds coins or replicas")
	}
	return nil
}

// In every life of an order coins are conserved, the escrow covers all that could still be owed, and at the close payments
// and refund add up to what was placed.
func TestRandomLives(t *testing.T) {
	nodes := []string{"n0", "n1", "n2", "n3", "n4", "n5"}
	closed, paidAny, rules := 0, 0, map[Rule]int{}
	rapid.Check(t, func(t *rapid.T) {
		terms := Terms{
			DayBlocks:    rapid.Int64Range(1, 1000).Draw(t, "day"),
			MinBlocks:    rapid.Int64Range(1, 50).Draw(t, "min"),
			MaxBlocks:    rapid.Int64Range(50, 400).Draw(t, "max"),
			AcceptBlocks: rapid.Int64Range(1, 30).Draw(t, "accept"),
			GraceBlocks:  rapid.Int64Range(1, 30).Draw(t, "grace"),
			Collateral:   rapid.Uint64Range(0, maxCollateral).Draw(t, "collateral"),
		}
		l := &life{terms: terms, counts: map[string]uint64{}, now: 1, ledger: newLedger(append([]string{"owner"}, nodes...), 1<<50)}
		o, moved, err := terms.Place(1, "owner", []byte{1}, rapid.Uint64Range(1, 1<<32).Draw(t, "size"),
			rapid.Int64Range(terms.MinBlocks, terms.MaxBlocks).Draw(t, "blocks"), rapid.Uint32Range(1, 4).Draw(t, "replicas"),
			rapid.Uint64Range(1, 1<<20).Draw(t, "price"), nil, l.now)
		if err != nil {
			t.Fatal(err)
		}
		l.order = o
		placed, paid := o.Escrow, uint64(0)
		done := func(moved []Move, err error) {
			if err != nil {
				if !errors.Is(err, ErrState) && !errors.Is(err, ErrAccept) && !errors.Is(err, ErrProof) && !errors.Is(err, ErrOrder) {
					t.Fatal(err)
				}
				return
			}
			if err := l.ledger.execute("owner", moved); err != nil {
				t.Fatal(err)
			}
			for _, m := range moved {
				rules[m.Rule]++
				if m.From == PurseEscrow && m.To == PurseNode {
					paid += m.Amount
					paidAny++
				}
				if m.From == PurseEscrow && m.To == PurseOwner && paid+m.Amount != placed {
					t.Fatalf("%d paid and %d back of %d", paid, m.Amount, placed)
				}
			}
		}
		done(moved, nil)
		for range rapid.IntRange(1, 120).Draw(t, "steps") {
			l.now += rapid.Int64Range(0, 12).Draw(t, "pass")
			node, at := rapid.SampledFrom(nodes).Draw(t, "node"), -1
			if len(l.held) > 0 && rapid.Bool().Draw(t, "known") {
				node = l.held[rapid.IntRange(0, len(l.held)-1).Draw(t, "place")].Node
			}
			for i, r := range l.held {
				if r.Node == node {
					at = i
				}
			}
			// Whoever counts may err in the node's favour without limit: the rules must hold for any rising count.
			l.counts[node] += rapid.Uint64Range(0, 15).Draw(t, "count")
			step := rapid.SampledFrom([]string{"accept", "accept", "accept", "prove", "prove", "prove", "settle", "settle", "drop", "lapse", "renew", "end", "expire"}).Draw(t, "step")
			switch {
			case step == "accept":
				r, moved, err := terms.Accept(l.order, append(slices.Clone(l.held), l.lapsed...), Ask{Node: node, Price: rapid.Uint64Range(1, l.order.Price).Draw(t, "ask"), MaxSize: MaxSize}, l.now)
				if err == nil {
					l.held = append(l.held, r)
				}
				done(moved, err)
			case step == "renew":
				o, moved, err := terms.Renew(l.order, rapid.Int64Range(1, 100).Draw(t, "more"), l.now)
				if err == nil {
					l.order, placed = o, placed+moved[0].Amount
				}
				done(moved, err)
			case step == "end" && rapid.IntRange(0, 9).Draw(t, "really") == 0:
				o, moved, err := terms.EndEarly(l.order, l.held, l.proven, l.now)
				if err == nil {
					l.order, l.held = o, nil
				}
				done(moved, err)
			case step == "expire":
				o, moved, err := terms.Expire(l.order, l.held, l.proven, l.now)
				if err == nil {
					l.order, l.held = o, nil
				}
				done(moved, err)
			case at >= 0 && step == "prove":
				r, err := terms.Prove(l.order, l.held[at], l.order.Root, l.order.Size, l.counts[node], l.now)
				if err == nil {
					l.held[at] = r
				}
				done(nil, err)
			case at >= 0 && step == "settle":
				before := l.held[at]
				want, err := terms.Accrued(l.order, before, l.counts[node], l.now)
				if err != nil {
					t.Fatal(err)
				}
				o, r, moved, err := terms.Settle(l.order, before, l.counts[node], l.now)
				if err != nil {
					t.Fatal(err)
				}
				if r.Paid-before.Paid != want {
					t.Fatalf("accrued %d, settled %d", want, r.Paid-before.Paid)
				}
				l.order, l.held[at] = o, r
				done(moved, nil)
			case at >= 0 && step == "drop":
				o, moved, err := terms.Drop(l.order, l.held[at], l.counts[node], l.now)
				if err != nil {
					t.Fatal(err)
				}
				l.order = o
				l.remove(at)
				done(moved, nil)
			case at >= 0 && step == "lapse":
				moved, err := terms.Lapse(l.order, l.held[at], l.now)
				if err == nil {
					l.remove(at)
				}
				done(moved, err)
			}
			if err := l.check(); err != nil {
				t.Fatalf("height %d, after %s: %s", l.now, step, err)
			}
		}
		if l.order.Closed {
			closed++
			return
		}
		l.now = max(l.now, terms.ExpireAt(l.order))
		o, moved, err = terms.Expire(l.order, l.held, l.proven, l.now)
		if err != nil {
			t.Fatal(err)
		}
		l.order, l.held = o, nil
		done(moved, nil)
		if err := l.check(); err != nil {
			t.Fatal(err)
		}
	})
	for _, rule := range []Rule{RulePlace, RuleRenew, RuleAccept, RuleProof, RuleMinimum, RuleLapse, RuleDropped, RuleEnd, RuleOwner, RuleTerm} {
		if rules[rule] == 0 {
			t.Errorf("no life had a move by the rule %q", rule)
		}
	}
	if closed == 0 || paidAny == 0 {
		t.Errorf("%d lives were closed on the way, %d payments made: the lives are too dull", closed, paidAny)
	}
}

// A place that is taken over pays for each block once, even where reports lag behind their blocks.
func TestReplacementPaysEachBlockOnce(t *testing.T) {
	o, _, err := terms.Place(1, "owner", []byte{1}, gib, 100, 1, 100, nil, 0)
	if err != nil {
		t.Fatal(err)
	}
	ask := func(node string) Ask { return Ask{Node: node, Price: 100, MaxSize: MaxSize} }
	a, _, _ := terms.Accept(o, nil, ask("a"), 0)
	// a's report of height 0 is carried by block 10: its count starts ten heights before it is paid from.
	a, err = terms.Prove(o, a, o.Root, o.Size, 0, 10)
	if err != nil {
		t.Fatal(err)
	}
	o, moved, err := terms.Drop(o, a, 60, 60)
	if err != nil || sumOf(moved, RuleProof) != 50 {
		t.Fatalf("a is paid %d for the blocks 10 to 60: %v", sumOf(moved, RuleProof), err)
	}
	b, _, _ := terms.Accept(o, nil, ask("b"), 60)
	b, err = terms.Prove(o, b, o.Root, o.Size, 1000, 60)
	if err != nil {
		t.Fatal(err)
	}
	o, moved, err = terms.Expire(o, []Replica{b}, func(string) uint64 { return 5000 }, 110)
	if err != nil || sumOf(moved, RuleProof) != 40 || sumOf(moved, RuleTerm) != 101-90 || o.Escrow != 0 {
		t.Fatalf("b is paid %d for the blocks 60 to 100, the owner gets %d: %v", sumOf(moved, RuleProof), sumOf(moved, RuleTerm), err)
	}
}

// Whatever a replica or order is not allowed to do fails with its kind of error.
func TestRefusals(t *testing.T) {
	o, _, err := terms.Place(7, "owner", []byte{1}, gib, 100, 1, 100, nil, 0)
	if err != nil {
		t.Fatal(err)
	}
	over, other := o, o
	over.Closed = true
	other.ID = 8
	ask := Ask{Node: "a", Price: 100, MaxSize: gib}
	r, _, err := terms.Accept(o, nil, ask, 0)
	if err != nil {
		t.Fatal(err)
	}
	done, err := terms.Prove(o, r, o.Root, o.Size, 0, 1)
	if err != nil {
		t.Fatal(err)
	}
	many := o
	many.Replicas = 2
	none := func(string) uint64 { return 0 }
	accept := func(o Order, held []Replica, a Ask, now int64) error {
		_, _, err := terms.Accept(o, held, a, now)
		return err
	}
	prove := func(o Order, r Replica, root string, size uint64, now int64) error {
		_, err := terms.Prove(o, r, []byte(root), size, 0, now)
		return err
	}
	for name, c := range map[string]struct{ err, kind error }{
		"accept a closed order":         {accept(over, nil, ask, 0), ErrState},
		"accept after the end":          {accept(o, nil, ask, 100), ErrState},
		"accept a taken place":          {accept(o, []Replica{r}, Ask{Node: "b", Price: 1, MaxSize: gib}, 0), ErrAccept},
		"accept twice":                  {accept(many, []Replica{r}, ask, 0), ErrAccept},
		"accept at no price":            {accept(o, nil, Ask{Node: "a", MaxSize: gib}, 0), ErrAccept},
		"accept above the price":        {accept(o, nil, Ask{Node: "a", Price: 101, MaxSize: gib}, 0), ErrAccept},
		"accept more than offered":      {accept(o, nil, Ask{Node: "a", Price: 100, MaxSize: gib - 1}, 0), ErrAccept},
		"prove twice":                   {prove(o, done, "\x01", gib, 1), ErrProof},
		"prove another root":            {prove(o, r, "\x02", gib, 1), ErrProof},
		"prove another size":            {prove(o, r, "\x01", gib-1, 1), ErrProof},
		"prove too late":                {prove(o, r, "\x01", gib, 20), ErrProof},
		"prove after the end":           {prove(o, r, "\x01", gib, 100), ErrState},
		"prove a closed order":          {prove(over, r, "\x01", gib, 1), ErrState},
		"accept after a lapse":          {accept(o, []Replica{{Order: 7, Node: "a", Lapsed: true}}, ask, 5), ErrAccept},
		"settle a closed order":         {third(terms.Settle(over, done, 5, 5)), ErrState},
		"settle another order":          {third(terms.Settle(other, done, 5, 5)), ErrState},
		"drop from a closed order":      {second(terms.Drop(over, done, 5, 5)), ErrState},
		"lapse too early":               {first(terms.Lapse(o, r, 19)), ErrState},
		"lapse a proven replica":        {first(terms.Lapse(o, done, 50)), ErrState},
		"renew a closed order":          {second(terms.Renew(over, 1, 5)), ErrState},
		"renew after the end":           {second(terms.Renew(o, 1, 100)), ErrState},
		"renew by nothing":              {second(terms.Renew(o, 0, 5)), ErrOrder},
		"renew beyond the longest term": {second(terms.Renew(o, 901, 5)), ErrOrder},
		"end a closed order":            {second(terms.EndEarly(over, nil, none, 5)), ErrState},
		"end after the end":             {second(terms.EndEarly(o, nil, none, 100)), ErrState},
		"expire a closed order":         {second(terms.Expire(over, nil, none, 500)), ErrState},
		"expire within grace":           {second(terms.Expire(o, nil, none, 109)), ErrState},
	} {
		if !errors.Is(c.err, c.kind) {
			t.Errorf("%s: %v, want %v", name, c.err, c.kind)
		}
	}
}

func first[A any](_ A, err error) error               { return err }
func second[A, B any](_ A, _ B, err error) error      { return err }
func third[A, B, C any](_ A, _ B, _ C, e error) error { return e }

func sumOf(moved []Move, rule Rule) (total uint64) {
	for _, m := range moved {
		if m.Rule == rule {
			total += m.Amount
		}
	}
	return total
}

// A lapsed replica takes no place from other operators.
func TestLapsedTakesNoPlace(t *testing.T) {
	o, _, err := terms.Place(1, "alice", []byte("root"), gib, 100, 1, 100, nil, 0)
	if err != nil {
		t.Fatal(err)
	}
	if _, _, err := terms.Accept(o, []Replica{{Order: 1, Node: "a", Lapsed: true}}, Ask{Node: "b", Price: 100, MaxSize: gib}, 5); err != nil {
		t.Error(err)
	}
}

// Audit takes every state of a life, and none with a figure that no rule could have written.
func TestAudit(t *testing.T) {
	o, _, err := terms.Place(1, "alice", []byte("root"), gib, 100, 2, 100, []string{"/dns/a"}, 10)
	if err != nil {
		t.Fatal(err)
	}
	accepted := Replica{Order: 1, Node: "a", Price: 100, Accepted: 20, Collateral: 9}
	proven := Replica{Order: 1, Node: "b", Price: 90, Accepted: 20, Proven: true, Since: 30, Base: 7, Paid: 5}
	closed := o
	closed.Closed, closed.Escrow = true, 0
	for _, err := range []error{terms.Audit(o, nil), terms.Audit(o, []Replica{accepted, proven}), terms.Audit(closed, nil)} {
		if err != nil {
			t.Error(err)
		}
	}
	for name, change := range map[string]func(o *Order, a, b *Replica){
		"no root":                func(o *Order, _, _ *Replica) { o.Root = nil },
		"no size":                func(o *Order, _, _ *Replica) { o.Size = 0 },
		"no price":               func(o *Order, _, _ *Replica) { o.Price = 0 },
		"no replicas":            func(o *Order, _, _ *Replica) { o.Replicas = 0 },
		"too many replicas":      func(o *Order, _, _ *Replica) { o.Replicas = 1 },
		"ends before its start":  func(o *Order, _, _ *Replica) { o.End = 9 },
		"never ends":             func(o *Order, _, _ *Replica) { o.End = 1 << 62 },
		"pay overflows":          func(o *Order, _, _ *Replica) { o.Size, o.Price, o.End = MaxSize, MaxPrice, maxTerm },
		"escrow overflows":       func(o *Order, _, _ *Replica) { o.Escrow = 1 << 63 },
		"closed with replicas":   func(o *Order, _, _ *Replica) { o.Closed, o.Escrow = true, 0 },
		"bad address":            func(o *Order, _, _ *Replica) { o.Addrs = []string{"x"} },
		"another's replica":      func(_ *Order, a, _ *Replica) { a.Order = 2 },
		"one node twice":         func(_ *Order, a, _ *Replica) { a.Node = "b" },
		"a lapsed replica":       func(_ *Order, a, _ *Replica) { a.Lapsed = true },
		"price above the order":  func(_ *Order, a, _ *Replica) { a.Price = 101 },
		"collateral overflows":   func(_ *Order, a, _ *Replica) { a.Collateral = 1 << 63 },
		"accepted too early":     func(_ *Order, a, _ *Replica) { a.Accepted = 9 },
		"accepted too late":      func(_ *Order, a, _ *Replica) { a.Accepted = 110 },
		"paid unproven":          func(_ *Order, a, _ *Replica) { a.Paid = 1 },
		"proven before accepted": func(_ *Order, _, b *Replica) { b.Since = 19 },
		"proven after the end":   func(_ *Order, _, b *Replica) { b.Since = 110 },
	} {
		o, a, b := o, accepted, proven
		change(&o, &a, &b)
		if terms.Audit(o, []Replica{a, b}) == nil {
			t.Errorf("%s: accepted", name)
		}
	}
}
