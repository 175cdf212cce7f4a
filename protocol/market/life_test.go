package market

import (
	"errors"
	"testing"
)

// A place that is taken over pays for each block once, even where reports lag behind their blocks.
func TestReplacementPaysEachBlockOnce(t *testing.T) {
	o, _, err := terms.Place(one(1, 1), 100, 0)
	if err != nil {
		t.Fatal(err)
	}
	ask := func(node string) Ask { return Ask{Node: node, Price: 100, MaxSize: MaxSize} }
	a, _, _ := terms.Accept(o, nil, ask("a"), 0)
	// a's report of height 0 is carried by block 10: its count starts ten heights before it is paid from.
	s, err := terms.Prove(o, a, o.Root, o.Size, Tally{}, 10)
	if err != nil {
		t.Fatal(err)
	}
	if s, err = terms.Leave(s.Order, s.Replica, 20); err != nil {
		t.Fatal(err)
	}
	b, _, err := terms.Accept(s.Order, []Replica{s.Replica}, ask("b"), 50)
	if err != nil {
		t.Fatal(err)
	}
	next, err := terms.Prove(s.Order, b, o.Root, o.Size, Tally{Proven: 1000}, 60)
	if err != nil || !next.Order.Crowded() {
		t.Fatal(err)
	}
	s, err = terms.Replace(next.Order, s.Replica, Tally{Proven: 60}, 60)
	if err != nil || sumOf(s.Moves, RuleProof) != 50 || s.Ended != RuleLeft {
		t.Fatalf("a is paid %d for the blocks 10 to 60: %v", sumOf(s.Moves, RuleProof), err)
	}
	o, moved, err := terms.Expire(s.Order, []Replica{next.Replica}, func(string) Tally { return Tally{Proven: 5000} }, 110)
	if err != nil || sumOf(moved, RuleProof) != 40 || sumOf(moved, RuleTerm) != 101-90 || o.Escrow != 0 {
		t.Fatalf("b is paid %d for the blocks 60 to 100, the owner gets %d: %v", sumOf(moved, RuleProof), sumOf(moved, RuleTerm), err)
	}
}

// Whatever a replica or order is not allowed to do fails with its kind of error.
func TestRefusals(t *testing.T) {
	o, _, err := terms.Place(one(7, 1), 100, 0)
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
	held, err := terms.Prove(o, r, o.Root, o.Size, Tally{}, 1)
	if err != nil {
		t.Fatal(err)
	}
	done, n := held.Replica, Tally{Proven: 5}
	lost, err := terms.Drop(held.Order, done, n, 5)
	if err != nil || lost.Replica.Lost != 5 {
		t.Fatal(err)
	}
	silent := Tally{Since: 5, Conduct: Conduct{Silent: 5 + terms.WarnBlocks}}
	leaver := done
	leaver.Leaving = true
	many := o
	many.Replicas = 2
	none := func(string) Tally { return Tally{} }
	accept := func(o Order, held []Replica, a Ask, now int64) error {
		_, _, err := terms.Accept(o, held, a, now)
		return err
	}
	prove := func(o Order, r Replica, root string, size uint64, now int64) error {
		_, err := terms.Prove(o, r, []byte(root), size, Tally{}, now)
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
		"settle a closed order":         {first(terms.Settle(over, done, n, 5)), ErrState},
		"settle another order":          {first(terms.Settle(other, done, n, 5)), ErrState},
		"drop from a closed order":      {first(terms.Drop(over, done, n, 5)), ErrState},
		"lapse too early":               {first(terms.Lapse(o, r, 19)), ErrState},
		"lapse a proven replica":        {first(terms.Lapse(o, done, 50)), ErrState},
		"prove again too late":          {prove(held.Order, lost.Replica, "\x01", gib, terms.RepairAt(lost.Replica)), ErrProof},
		"prove again other content":     {prove(held.Order, lost.Replica, "\x02", gib, 6), ErrProof},
		"forfeit too early":             {first(terms.Forfeit(o, lost.Replica, terms.RepairAt(lost.Replica)-1)), ErrState},
		"forfeit what is held":          {first(terms.Forfeit(o, done, 99)), ErrState},
		"silence without a warning":     {first(terms.Silence(o, done, Tally{}, 99)), ErrState},
		"silence too early":             {first(terms.Silence(o, done, silent, 5+terms.SilentBlocks-1)), ErrState},
		"leave an order that is over":   {first(terms.Leave(o, done, 100)), ErrState},
		"replace what stays":            {first(terms.Replace(Order{Standing: 2, Replicas: 1}, done, n, 9)), ErrState},
		"replace without a successor":   {first(terms.Replace(held.Order, leaver, n, 9)), ErrState},
		"replace what is lost":          {first(terms.Replace(Order{Standing: 2, Replicas: 1}, Replica{Proven: true, Lost: 5, Leaving: true}, n, 9)), ErrState},
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

func first[A any](_ A, err error) error          { return err }
func second[A, B any](_ A, _ B, err error) error { return err }

func sumOf(moved []Move, rule Rule) (total uint64) {
	for _, m := range moved {
		if m.Rule == rule {
			total += m.Amount
		}
	}
	return total
}

// Whoever held nothing and comes back is told anew, but not before proving would have lifted the warning.
func TestResume(t *testing.T) {
	lifted := 5 + terms.MendBlocks + terms.ClearBlocks
	for name, c := range map[string]struct {
		draws Charge
		now   int64
		want  Charge
		told  bool
	}{
		"never warned":  {now: 7},
		"young":         {draws: Charge{Faults: 3, Warned: 5, Last: 6}, now: lifted - 1, want: Charge{Faults: 3, Warned: 5, Last: 6}},
		"old":           {draws: Charge{Faults: 3, Warned: 5, Last: 6}, now: lifted, want: Charge{Faults: 3}, told: true},
		"back just now": {draws: Charge{Faults: 3, Warned: 5, Last: 900}, now: 900, want: Charge{Faults: 3}, told: true},
	} {
		audits := Charge{Faults: 1, Warned: 5, Last: c.now}
		got, notices := terms.Resume(Conduct{Draws: c.draws, Audits: audits}, c.now)
		if want := (Conduct{Draws: c.want, Audits: audits, Watch: c.now + terms.WarnBlocks}); got != want || len(notices) > 1 || (len(notices) == 1) != c.told {
			t.Errorf("%s: %+v and %+v, want %+v", name, got, notices, want)
		}
	}
}

// A lapsed replica takes no place from other operators.
func TestLapsedTakesNoPlace(t *testing.T) {
	o, _, err := terms.Place(one(1, 1), 100, 0)
	if err != nil {
		t.Fatal(err)
	}
	if _, _, err := terms.Accept(o, []Replica{{Order: 1, Node: "a", Lapsed: true}}, Ask{Node: "b", Price: 100, MaxSize: gib}, 5); err != nil {
		t.Error(err)
	}
}

// Audit takes every state of a life, and none with a figure that no rule could have written.
func TestAudit(t *testing.T) {
	o, _, err := terms.Place(one(1, 2), 100, 10)
	if err != nil {
		t.Fatal(err)
	}
	o.Standing = 1
	accepted := Replica{Order: 1, Node: "a", Price: 100, Accepted: 20, Until: 110, Collateral: 9}
	proven := Replica{Order: 1, Node: "b", Price: 90, Accepted: 20, Until: 110, Proven: true, Since: 30, Base: 7, Paid: 5}
	closed := o
	closed.Closed, closed.Escrow = true, 0
	closed.Standing = 0
	for _, err := range []error{terms.Audit(o, []Replica{accepted, proven}), terms.Audit(closed, nil)} {
		if err != nil {
			t.Error(err)
		}
	}
	for name, change := range map[string]func(o *Order, a, b *Replica){
		"no root":                 func(o *Order, _, _ *Replica) { o.Root = nil },
		"no size":                 func(o *Order, _, _ *Replica) { o.Size = 0 },
		"no price":                func(o *Order, _, _ *Replica) { o.Price = 0 },
		"no replicas":             func(o *Order, _, _ *Replica) { o.Replicas = 0 },
		"too many replicas":       func(o *Order, _, _ *Replica) { o.Replicas = 1 },
		"ends before its start":   func(o *Order, _, _ *Replica) { o.End = 9 },
		"never ends":              func(o *Order, _, _ *Replica) { o.End = 1 << 62 },
		"pay overflows":           func(o *Order, _, _ *Replica) { o.Size, o.Price, o.End = MaxSize, MaxPrice, maxTerm },
		"escrow overflows":        func(o *Order, _, _ *Replica) { o.Escrow = 1 << 63 },
		"closed with replicas":    func(o *Order, _, _ *Replica) { o.Closed, o.Escrow = true, 0 },
		"bad address":             func(o *Order, _, _ *Replica) { o.Addrs = []string{"x"} },
		"part of too long a root": func(o *Order, _, _ *Replica) { o.Of = make([]byte, MaxRoot+1) },
		"miscounted":              func(o *Order, _, _ *Replica) { o.Standing = 2 },
		"lost and counted":        func(_ *Order, _, b *Replica) { b.Lost = 40 },
		"lost before proven":      func(o *Order, _, b *Replica) { b.Lost, o.Standing = 29, 0 },
		"lost unproven":           func(_ *Order, a, _ *Replica) { a.Lost = 40 },
		"fined unproven":          func(_ *Order, a, _ *Replica) { a.Fined = 4 },
		"leaving unproven":        func(_ *Order, a, _ *Replica) { a.Leaving = true },
		"earned more than all":    func(_ *Order, _, b *Replica) { b.Earned = 101 },
		"owed beyond the end":     func(_ *Order, a, _ *Replica) { a.Until = 111 },
		"another's replica":       func(_ *Order, a, _ *Replica) { a.Order = 2 },
		"one node twice":          func(_ *Order, a, _ *Replica) { a.Node = "b" },
		"a lapsed replica":        func(_ *Order, a, _ *Replica) { a.Lapsed = true },
		"price above the order":   func(_ *Order, a, _ *Replica) { a.Price = 101 },
		"collateral overflows":    func(_ *Order, a, _ *Replica) { a.Collateral = 1 << 63 },
		"accepted too early":      func(_ *Order, a, _ *Replica) { a.Accepted = 9 },
		"accepted too late":       func(_ *Order, a, _ *Replica) { a.Accepted = 110 },
		"paid unproven":           func(_ *Order, a, _ *Replica) { a.Paid = 1 },
		"proven before accepted":  func(_ *Order, _, b *Replica) { b.Since = 19 },
		"proven after the end":    func(_ *Order, _, b *Replica) { b.Since = 110 },
	} {
		o, a, b := o, accepted, proven
		change(&o, &a, &b)
		if terms.Audit(o, []Replica{a, b}) == nil {
			t.Errorf("%s: accepted", name)
		}
	}
}
