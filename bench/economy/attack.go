package main

import (
	"fmt"
	"slices"

	"github.com/cella-network/cella/protocol/stake"
)

// price is what it costs a newcomer to hold more than a share of the voting power.
type price struct {
	coins, bytes uint64
	nodes        int
	eras         int  // from the first handover until it holds the power, if all resharings succeed and nobody reacts
	possible     bool // with no more nodes than there are seats, each below the cap of bytes
}

// cost looks for the fewest coins with which new nodes hold more than num/den of the power, however they are spread, and plays it.
func (w *world) cost(num, den uint64) (price, error) {
	honest := make([]uint64, 0, len(w.nodes))
	for _, n := range w.nodes {
		if n.Own >= w.rules.MinOwn && !n.Jailed {
			honest = append(honest, n.Effective()/w.rules.PowerUnit)
		}
	}
	slices.SortFunc(honest, func(a, b uint64) int { return int(b) - int(a) })
	honest = honest[:min(len(honest), w.rules.Seats)]
	kept := uint64(0) // power of the honest that keep their seats
	for _, h := range honest {
		kept += h
	}
	best := price{}
	for m := 1; m <= w.rules.Seats; m++ {
		least := w.rules.MinOwn / w.rules.PowerUnit
		if lost := w.rules.Seats - m; lost < len(honest) { // the weakest that had a seat is overtaken
			kept -= honest[lost]
			least = max(least, honest[lost]+1)
		}
		each := max(least, kept*num/(den-num)/uint64(m)+1)
		coins := each * w.rules.PowerUnit
		bytes := w.rules.BytesFor(coins)
		if bytes > nodeCap && !w.free || best.possible && coins*uint64(m) >= best.coins {
			continue
		}
		best = price{coins: coins * uint64(m), bytes: bytes * uint64(m), nodes: m, possible: true}
	}
	if !best.possible {
		return best, nil
	}
	share, eras, err := w.play(best, num, den)
	if err != nil {
		return best, err
	}
	if !share {
		return best, fmt.Errorf("%d ucella and %d bytes in %d nodes don't reach %d/%d of the power", best.coins, best.bytes, best.nodes, num, den)
	}
	less := best
	less.coins -= less.coins / 50
	if share, _, err = w.play(less, num, den); err != nil {
		return best, err
	} else if share {
		return best, fmt.Errorf("%d/%d of the power cost less than %d ucella", num, den, best.coins)
	}
	best.eras = eras
	return best, nil
}

// play lets an attacker join a copy of the network and tells whether it comes to hold the share.
func (w *world) play(p price, num, den uint64) (bool, int, error) {
	nodes, mine := slices.Clone(w.nodes), map[string]bool{}
	for i := range p.nodes {
		name := fmt.Sprintf("!%05d", i)
		mine[name] = true
		n, err := w.rules.Bond(stake.Node{Address: name, Storage: w.rules.Prove(stake.Storage{}, p.bytes/uint64(p.nodes))},
			p.coins/uint64(p.nodes), true)
		if err != nil {
			return false, 0, err
		}
		nodes = append(nodes, n)
	}
	elected, _ := w.rules.Elect(nodes)
	set := w.set
	for era := 1; era <= 400; era++ {
		next := w.rules.Toward(set, elected)
		if slices.Equal(next, set) {
			return false, 0, nil
		}
		var err error
		if set, err = w.rules.Handover(set, next, nil, true); err != nil {
			return false, 0, err
		}
		if ours, all := held(set, mine); ours*den > all*num {
			return true, era, nil
		}
	}
	return false, 0, nil
}

// held is the power of some nodes, and all of a set's.
func held(set []stake.Seat, mine map[string]bool) (ours, all uint64) {
	for _, s := range set {
		all += s.Power
		if mine[s.Node] {
			ours += s.Power
		}
	}
	return ours, all
}

// share is the same in hundredths of a percent.
func share(set []stake.Seat, mine map[string]bool) uint64 {
	ours, all := held(set, mine)
	return ours * stake.Whole / max(all, 1)
}
