package market

import (
	"errors"
	"fmt"
	"math/big"
	"slices"
	"strings"
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

func (l *ledger) execute(moved []Move) error {
	name := func(p Purse, m Move) string {
		switch p {
		case PurseOwner:
			return m.Owner
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
		if (m.From == PurseCollateral && m.To == PurseOwner) != (m.Evidence != "") {
			return fmt.Errorf("a move by %q has the evidence %q", m.Rule, m.Evidence)
		}
		l.purse[from] -= m.Amount
		l.purse[name(m.To, m)] += m.Amount
	}
	return nil
}

// life is an order with its replicas and what is counted of their nodes, as the chain stores them.
type life struct {
	terms    Terms
	order    Order
	held     []Replica
	lapsed   []Replica // what ended unproven or forfeited, as whoever keeps the orders remembers it
	counts   map[string]uint64
	unproven map[string]uint64
	reports  map[string]uint64
	since    map[string]int64
	conducts map[string]Conduct
	ledger   *ledger
	now      int64

	placed, paid uint64
	rules        map[Rule]int
	said         strings.Builder
}

func newLife(t Terms, names []string, each uint64) *life {
	return &life{terms: t, counts: map[string]uint64{}, unproven: map[string]uint64{}, reports: map[string]uint64{}, since: map[string]int64{},
		conducts: map[string]Conduct{}, ledger: newLedger(names, each), rules: map[Rule]int{}}
}

func (l *life) tally(node string) Tally {
	c := l.conducts[node]
	c.Node = node
	return Tally{Proven: l.counts[node], Report: l.reports[node], Since: l.since[node], Conduct: c}
}

func (l *life) at(node string) int {
	return slices.IndexFunc(l.held, func(r Replica) bool { return r.Node == node })
}

// place begins an order.
func (l *life) place(o Order, blocks int64) ([]Move, error) {
	o, moved, err := l.terms.Place(o, blocks, l.now)
	if err == nil {
		l.order, l.held, l.lapsed, l.placed, l.paid = o, nil, nil, o.Escrow, 0
	}
	return moved, l.execute(moved, err)
}

func (l *life) accept(node string, price, takes uint64) ([]Move, error) {
	r, moved, err := l.terms.Accept(l.order, append(slices.Clone(l.held), l.lapsed...), Ask{Node: node, Price: price, MaxSize: takes}, l.now)
	if err == nil {
		l.held = append(l.held, r)
	}
	return moved, l.execute(moved, err)
}

// step does one thing to a node's replica and keeps what came of it.
func (l *life) step(node, what, root string, size uint64) (Step, error) {
	i := l.at(node)
	if i < 0 {
		return Step{}, fmt.Errorf("%w: %s has no replica", ErrState, node)
	}
	r, n := l.held[i], l.tally(node)
	var s Step
	var err error
	switch what {
	case "prove":
		s, err = l.terms.Prove(l.order, r, []byte(root), size, n, l.now)
	case "settle":
		s, err = l.terms.Settle(l.order, r, n, l.now)
	case "drop":
		s, err = l.terms.Drop(l.order, r, n, l.now)
	case "lapse":
		s, err = l.terms.Lapse(l.order, r, l.now)
	case "forfeit":
		s, err = l.terms.Forfeit(l.order, r, l.now)
	case "silence":
		s, err = l.terms.Silence(l.order, r, n, l.now)
	case "leave":
		s, err = l.terms.Leave(l.order, r, l.now)
	case "replace":
		s, err = l.terms.Replace(l.order, r, n, l.now)
	default:
		return s, fmt.Errorf("unknown step %q", what)
	}
	if err != nil {
		return s, err
	}
	l.order = s.Order
	if s.Ended == "" {
		l.held[i] = s.Replica
	} else {
		if s.Replica.Collateral != 0 && !slices.ContainsFunc(s.Moves, func(m Move) bool { return m.To == PurseNode || m.To == PurseOwner }) {
			return s, errors.New("a replica ended with its collateral")
		}
		if s.Barred() {
			l.lapsed = append(l.lapsed, Replica{Order: r.Order, Node: r.Node, Lapsed: true})
		}
		l.held = slices.Delete(slices.Clone(l.held), i, i+1)
	}
	if err := l.execute(s.Moves, nil); err != nil {
		return s, err
	}
	return s, l.replace(&s)
}

// replace ends a leaving replica of an order that has one too many, as every proof must.
func (l *life) replace(s *Step) error {
	if !l.order.Crowded() {
		return nil
	}
	var leaving []string
	for _, r := range l.held {
		if r.Leaving && r.standing() {
			leaving = append(leaving, r.Node)
		}
	}
	if len(leaving) == 0 {
		return fmt.Errorf("%d replicas stand, the order pays for %d, and none of them leaves", l.order.Standing, l.order.Replicas)
	}
	next, err := l.step(slices.Min(leaving), "replace", "", 0)
	s.Moves = append(s.Moves, next.Moves...)
	return err
}

// report counts heights of a node and has its conduct judged.
func (l *life) report(node string, proven, unproven uint64) []Notice {
	l.counts[node] += proven
	l.unproven[node] += unproven
	l.reports[node]++
	l.since[node] = l.now
	c, out := l.terms.Judge(l.tally(node).Conduct, l.unproven[node], fmt.Sprintf("report %d", l.reports[node]), l.now)
	l.conducts[node] = c
	return out
}

func (l *life) audit(node string) []Notice {
	c, out := l.terms.Blame(l.tally(node).Conduct, "audit of "+node, l.now)
	l.conducts[node] = c
	return out
}

// disk is a report that says that a node's disk is lost.
func (l *life) disk(node string) {
	l.reports[node]++
	l.since[node] = l.now
	l.conducts[node] = l.tally(node).Conduct.LoseAll(l.reports[node], l.counts[node], l.now)
}

// heard tells a node's replica so.
func (l *life) heard(node string) (s Step, err error) {
	if i := l.at(node); i >= 0 && l.tally(node).Conduct.Gone(l.held[i]) {
		s, err = l.step(node, "drop", "", 0)
	}
	l.conducts[node] = l.tally(node).Conduct.AllHeard()
	return s, err
}

func (l *life) watch(node string) ([]Notice, bool) {
	c, out, silent := l.terms.Watch(l.tally(node).Conduct, l.since[node], l.now)
	l.conducts[node] = c
	return out, silent
}

func (l *life) renew(blocks int64) ([]Move, error) {
	o, moved, err := l.terms.Renew(l.order, blocks, l.now)
	if err == nil {
		l.order = o
		l.placed += sumOf(moved, RuleRenew)
	}
	return moved, l.execute(moved, err)
}

func (l *life) close(how func(Order, []Replica, Tallies, int64) (Order, []Move, error)) ([]Move, error) {
	o, moved, err := how(l.order, l.held, l.tally, l.now)
	if err == nil {
		l.order, l.held = o, nil
	}
	return moved, l.execute(moved, err)
}

func (l *life) execute(moved []Move, err error) error {
	if err != nil {
		return err
	}
	for _, m := range moved {
		l.rules[m.Rule]++
		if m.From == PurseEscrow && m.To == PurseNode {
			l.paid += m.Amount
		}
		if m.From == PurseEscrow && m.To == PurseOwner && l.paid+m.Amount != l.placed {
			return fmt.Errorf("%d paid and %d back of %d", l.paid, m.Amount, l.placed)
		}
	}
	return l.ledger.execute(moved)
}

// refusal tells whether a rule refused what was asked for.
func refusal(err error) bool {
	return errors.Is(err, ErrState) || errors.Is(err, ErrAccept) || errors.Is(err, ErrProof) || errors.Is(err, ErrOrder)
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
	collateral, places, standing := uint64(0), uint32(0), uint32(0)
	due, future := new(big.Int), []*big.Int{}
	for _, r := range l.held {
		if got := l.ledger.purse[collateralOf(r.Order, r.Node)]; got != r.Collateral {
			return fmt.Errorf("the collateral of %s is %d, the replica says %d", r.Node, got, r.Collateral)
		}
		collateral += r.Collateral
		if !r.Leaving {
			places++
		}
		if r.standing() {
			standing++
		}
		// What has passed can be owed whole, whatever was proven of it; what is to come can be owed to as many as there are places.
		past := r.Earned
		if r.standing() {
			past += max(0, min(l.now, l.order.End)-r.Since)
		}
		due.Add(due, l.worth(r.Price, past)).Sub(due, new(big.Int).Mul(new(big.Int).SetUint64(r.Paid), l.unit()))
		future = append(future, l.worth(r.Price, max(0, l.order.End-max(l.now, r.Since))))
	}
	slices.SortFunc(future, func(a, b *big.Int) int { return b.Cmp(a) })
	for _, f := range future[:min(len(future), int(l.order.Replicas))] {
		due.Add(due, f)
	}
	if all := new(big.Int).Mul(new(big.Int).SetUint64(l.order.Escrow), l.unit()); due.Cmp(all) > 0 && !l.order.Closed {
		return fmt.Errorf("%s may still be owed, the escrow holds %d", due.Quo(due, l.unit()), l.order.Escrow)
	}
	if places > l.order.Replicas || standing > l.order.Replicas || standing != l.order.Standing {
		return fmt.Errorf("%d replicas to stay, %d standing, the order says %d, of %d", places, standing, l.order.Standing, l.order.Replicas)
	}
	for name, v := range l.ledger.purse {
		if strings.HasPrefix(name, "collateral ") {
			collateral -= v
		}
	}
	if collateral != 0 || l.order.Closed && (l.order.Escrow != 0 || len(l.held) != 0) {
		return errors.New("coins are held for no replica, or a closed order holds some")
	}
	if err := l.terms.Audit(l.order, l.held); err != nil {
		return err
	}
	for node := range l.conducts {
		if err := l.tally(node).Conduct.Audit(); err != nil {
			return err
		}
	}
	return nil
}

// worth is pay before it is divided by unit.
func (l *life) worth(price uint64, blocks int64) *big.Int {
	w := new(big.Int).SetUint64(l.order.Size)
	return w.Mul(w, new(big.Int).SetUint64(price)).Mul(w, big.NewInt(blocks))
}

func (l *life) unit() *big.Int {
	u := big.NewInt(l.terms.DayBlocks)
	return u.Lsh(u, 30)
}

// one is an order for 1 GiB at a price of 100.
func one(id uint64, replicas uint32) Order {
	return Order{ID: id, Owner: "alice", Root: []byte{1}, Size: gib, Replicas: replicas, Price: 100}
}
