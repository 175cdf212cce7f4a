package stake

import (
	"cmp"
	"fmt"
	"slices"
)

// Seat is a validator's place, or that of a candidate who waits for one.
type Seat struct {
	Node  string // address
	Power uint64 // voting power
}

// Elect orders the nodes by effective stake, ties by address: the first Seats are validators, the others candidates. Nodes that are
// jailed, have too little of their own, or not the stake for one unit of power are neither.
func (r Rules) Elect(nodes []Node) (validators, candidates []Seat) {
	all := make([]Seat, 0, len(nodes))
	for _, n := range nodes {
		if c := r.counted(n); c > 0 {
			all = append(all, Seat{n.Address, c}) // by coins: finer than power
		}
	}
	slices.SortFunc(all, stronger)
	for i := range all {
		all[i].Power /= r.PowerUnit
	}
	at := min(r.Seats, len(all))
	return all[:at:at], all[at:]
}

func stronger(a, b Seat) int {
	return cmp.Or(cmp.Compare(b.Power, a.Power), cmp.Compare(a.Node, b.Node))
}

// Without is a set after some have gone.
func Without(set []Seat, gone []string) []Seat {
	return slices.DeleteFunc(slices.Clone(set), func(s Seat) bool { return slices.Contains(gone, s.Node) })
}

// Toward is the set that follows now on the way to the elected one; those who must go at once are taken from now before. Gains and
// losses are each less than a third of now's power, which makes every commit of the next set hold more than a third of now's: enough for a
// light client that skips to it. Members leave whole, the weakest first, so that seats become free; the seats go to the strongest
// and all gains are cut alike.
func (r Rules) Toward(now, elected []Seat) []Seat {
	want := make(map[string]uint64, len(elected))
	for _, s := range elected {
		want[s.Node] = s.Power
	}
	budget := third(now)
	next := slices.Clone(now)
	slices.SortFunc(next, func(a, b Seat) int {
		staysA, staysB := min(want[a.Node], 1), min(want[b.Node], 1)
		return cmp.Or(cmp.Compare(staysA, staysB), stronger(b, a))
	})
	for i := range next {
		loss := min(next[i].Power-min(next[i].Power, want[next[i].Node]), budget)
		next[i].Power -= loss
		budget -= loss
	}
	next = slices.DeleteFunc(next, func(s Seat) bool { return s.Power == 0 })
	at := make(map[string]int, len(next))
	for i, s := range next {
		at[s.Node] = i
	}
	ranked := slices.Clone(elected)
	slices.SortFunc(ranked, stronger)
	for _, s := range ranked {
		if _, in := at[s.Node]; !in && len(next) < r.Seats {
			at[s.Node] = len(next)
			next = append(next, Seat{Node: s.Node})
		}
	}
	gains := uint64(0)
	for _, s := range next {
		gains += want[s.Node] - min(want[s.Node], s.Power)
	}
	budget = third(now)
	if len(now) == 0 {
		budget = gains // the first set of all
	}
	for i, s := range next {
		if gain := want[s.Node] - min(want[s.Node], s.Power); gain > 0 {
			next[i].Power += mulDiv(gain, min(budget, gains), gains)
		}
	}
	next = slices.DeleteFunc(next, func(s Seat) bool { return s.Power == 0 })
	slices.SortFunc(next, stronger)
	return next
}

// Handover gives the set in force after an era, with the reason where next is refused: then those who must go are gone and nothing else
// moved. Reshared says that the keys of exactly this next set are in its members' hands. A set of which nobody would be left stays.
func (r Rules) Handover(now, next []Seat, gone []string, reshared bool) ([]Seat, error) {
	rest := Without(now, gone)
	if len(rest) == 0 && len(now) > 0 {
		return now, fmt.Errorf("%w: all %d validators would be gone", ErrState, len(now))
	}
	power := make(map[string]uint64, len(rest))
	for _, s := range rest {
		power[s.Node] = s.Power
	}
	gains, losses, seen, total := uint64(0), uint64(0), make(map[string]bool, len(next)), uint64(0)
	for _, s := range next {
		if s.Power == 0 || s.Power > MaxCoins-total || seen[s.Node] || slices.Contains(gone, s.Node) {
			return rest, fmt.Errorf("%w: %s can't be a validator with a power of %d", ErrState, s.Node, s.Power)
		}
		seen[s.Node] = true
		total += s.Power
		gains += s.Power - min(s.Power, power[s.Node])
		losses += power[s.Node] - min(s.Power, power[s.Node])
	}
	for _, s := range rest {
		if !seen[s.Node] {
			losses += s.Power
		}
	}
	most := third(rest)
	switch {
	case len(next) == 0 || len(next) > r.Seats:
		return rest, fmt.Errorf("%w: %d validators, want 1 to %d", ErrState, len(next), r.Seats)
	case gains == 0 && losses == 0, len(now) == 0:
		return next, nil
	case !reshared:
		return rest, fmt.Errorf("%w: %d would be gained and %d lost", ErrReshare, gains, losses)
	case gains > most || losses > most:
		return rest, fmt.Errorf("%w: %d would be gained and %d lost, each must be at most %d", ErrMoved, gains, losses, most)
	}
	return next, nil
}

// third is the greatest power that is less than a third of a set's.
func third(set []Seat) uint64 {
	total := uint64(0)
	for _, s := range set {
		total += s.Power
	}
	return (max(total, 1) - 1) / 3
}
