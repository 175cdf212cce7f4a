package stake

import (
	"errors"
	"fmt"
	"slices"
)

// world keeps coins and stakes as the chain does and does what the rules say, no more. Its check adds everything up.
type world struct {
	rules Rules
	era   int64
	nodes []Node
	held  map[string][]Guarantee
	queue map[string][]Unbonding
	purse map[string]uint64
	set   []Seat // in force
	gone  []string

	pool, burned, total uint64
}

func newWorld(r Rules) *world {
	return &world{rules: r, held: map[string][]Guarantee{}, queue: map[string][]Unbonding{}, purse: map[string]uint64{}}
}

// fund makes coins out of nothing; nothing else does.
func (w *world) fund(who string, coins uint64) {
	w.purse[who] += coins
	w.total += coins
}

func (w *world) at(node string) int {
	return slices.IndexFunc(w.nodes, func(n Node) bool { return n.Address == node })
}

func (w *world) bond(node, who string, coins uint64) error {
	i := w.at(node)
	n, err := w.rules.Bond(w.nodes[i], coins, who == node)
	if err != nil {
		return err
	}
	if w.purse[who] < coins {
		return fmt.Errorf("%w: %s has %d", ErrState, who, w.purse[who])
	}
	w.nodes[i] = n
	w.purse[who] -= coins
	if who != node {
		g := w.held[node]
		if j := slices.IndexFunc(g, func(g Guarantee) bool { return g.Guarantor == who }); j >= 0 {
			g[j].Coins += coins
		} else {
			w.held[node] = append(g, Guarantee{who, coins})
		}
	}
	return nil
}

func (w *world) unbond(node, who string, coins uint64) error {
	i := w.at(node)
	g := w.held[node]
	j := slices.IndexFunc(g, func(g Guarantee) bool { return g.Guarantor == who })
	if who != node && (j < 0 || g[j].Coins < coins) {
		return fmt.Errorf("%w: %s has not so much with %s", ErrState, who, node)
	}
	n, u, err := w.nodes[i].Unbond(who, coins, who == node, w.era)
	if err != nil {
		return err
	}
	if who != node {
		g[j].Coins -= coins
	}
	w.nodes[i], w.queue[node] = n, append(w.queue[node], u)
	return nil
}

func (w *world) slash(node string, era int64, part uint64) (uint64, error) {
	i := w.at(node)
	n, held, queue, burned, err := w.nodes[i].Slash(w.held[node], w.queue[node], era, part)
	if err != nil {
		return 0, err
	}
	n.Jailed = true
	w.gone = append(w.gone, node)
	w.nodes[i], w.held[node], w.queue[node] = n, held, queue
	w.burned += burned
	return burned, nil
}

// reward pays an era.
func (w *world) reward(pool uint64, work []Work) ([]Pay, error) {
	w.total += pool
	for _, k := range work {
		w.total += k.Fees
	}
	pay, carry, err := w.rules.Reward(w.pool+pool, w.nodes, work)
	if err != nil {
		return nil, err
	}
	w.pool = carry
	for i, n := range w.nodes {
		p := pay[i]
		w.purse[n.Address] += p.Author + p.Fees + p.Own + p.Cut
		parts, rest, err := Split(p.Guarantors, w.held[n.Address])
		if err != nil {
			return nil, err
		}
		w.pool += rest
		for j, g := range w.held[n.Address] {
			w.purse[g.Guarantor] += parts[j]
		}
	}
	return pay, nil
}

// turn ends the era: the next set is handed over, queues advance.
func (w *world) turn(reshared bool) error {
	elected, _ := w.rules.Elect(w.nodes)
	next := w.rules.Toward(Without(w.set, w.gone), elected)
	set, err := w.rules.Handover(w.set, next, w.gone, reshared)
	w.set, w.gone = set, nil
	w.era++
	for _, n := range w.nodes {
		power := uint64(0)
		if i := slices.IndexFunc(w.set, func(s Seat) bool { return s.Node == n.Address }); i >= 0 {
			power = w.set[i].Power
		}
		kept, free := w.rules.Advance(w.queue[n.Address], n, power, w.era)
		w.queue[n.Address] = kept
		for _, u := range free {
			w.purse[u.Who] += u.Coins
		}
	}
	return err
}

// check adds up all coins, and holds power in force against the coins that answer for it.
func (w *world) check() error {
	sum := w.pool + w.burned
	if w.pool > MaxCoins || w.burned > MaxCoins {
		return fmt.Errorf("a pool of %d, %d burned: one wrapped", w.pool, w.burned)
	}
	for who, c := range w.purse {
		if sum += c; c > MaxCoins {
			return fmt.Errorf("the purse of %s wrapped: %d", who, c)
		}
	}
	for _, n := range w.nodes {
		sum += n.Own + n.Guaranteed
		answers := n.Own + n.Guaranteed
		for _, u := range w.queue[n.Address] {
			sum += u.Coins
			answers += u.Coins
		}
		if err := n.audit(w.held[n.Address]); err != nil {
			return err
		}
		votes := n.Share(n.Own)
		for _, g := range w.held[n.Address] {
			votes += n.Share(g.Coins)
		}
		if i := slices.IndexFunc(w.set, func(s Seat) bool { return s.Node == n.Address }); i >= 0 && !slices.Contains(w.gone, n.Address) {
			if w.set[i].Power*w.rules.PowerUnit > answers {
				return fmt.Errorf("%s has a power of %d, but only %d coins answer for it", n.Address, w.set[i].Power, answers)
			}
		}
		if votes > n.Effective() {
			return fmt.Errorf("%s has %d votes on an effective stake of %d", n.Address, votes, n.Effective())
		}
	}
	if sum != w.total {
		return fmt.Errorf("coins add up to %d, not to %d", sum, w.total)
	}
	return nil
}

func refusal(err error) bool {
	for _, kind := range []error{ErrRules, ErrState, ErrLimit, ErrReshare, ErrMoved} {
		if errors.Is(err, kind) {
			return true
		}
	}
	return false
}
