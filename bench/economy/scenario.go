package main

import (
	"fmt"

	"github.com/cella-network/cella/protocol/stake"
)

// attempt is what somebody brings into the network, beside all others.
type attempt struct {
	name  string
	nodes int
	coins func(honest uint64) uint64 // of all its nodes together, beside what the honest have
	bytes func(honest uint64) uint64
}

func part(num, den uint64) func(uint64) uint64 {
	return func(honest uint64) uint64 { return honest / den * num }
}

var attempts = []attempt{
	{"stake without storage: all coins of the others again, no disk", 100, part(1, 1), part(0, 1)},
	{"the same with one disk of 4 TiB a node", 100, part(1, 1), func(uint64) uint64 { return 100 * leastDisk }},
	{"storage without stake: all disks of the others again, the least stake", 1000, func(uint64) uint64 { return 1000 * gpos.MinOwn }, part(1, 1)},
	{"one whale: half of the others' coins in one node, as large a disk as a tier allows", 1, part(1, 2), func(uint64) uint64 { return nodeCap }},
	{"the same whale behind 30 nodes with a tenth of the others' disks", 30, part(1, 2), part(1, 10)},
}

// outcome is what an attempt came to.
type outcome struct{ power, pay, coins, bytes uint64 } // parts of all in hundredths of a percent

// try lives through years with an attempt.
func try(s setup, a attempt, eras int) (outcome, error) {
	honest := newWorld(s)
	coins, bytes := uint64(0), honest.bytes()
	for _, c := range honest.purse {
		coins += c
	}
	w := &world{rules: honest.rules, free: s.plain, strange: a.nodes, random: honest.random, index: map[string]int{}}
	mine, bring := map[string]bool{}, uint64(a.nodes)
	for i := range a.nodes {
		name := fmt.Sprintf("!%05d", i)
		mine[name] = true
		w.join(name, a.coins(coins)/bring, a.bytes(bytes)/bring)
	}
	for i := range honest.nodes {
		w.join(honest.names[i], honest.purse[i], honest.disk[i])
	}
	for i := len(honest.nodes); i < len(honest.purse); i++ {
		w.party(honest.names[i], honest.purse[i])
	}
	w.users, w.each = honest.users, honest.each
	w.made += w.users
	most := uint64(0)
	for range eras {
		if err := w.pass(); err != nil {
			return outcome{}, err
		}
		most = max(most, share(w.set, mine))
	}
	ours, all, disk := uint64(0), uint64(0), uint64(0)
	for i, e := range w.earned {
		all += e
		if i < a.nodes {
			ours += e
			disk += w.disk[i]
		}
	}
	return outcome{power: most, pay: ours * stake.Whole / all, coins: ratio(a.coins(coins), coins), bytes: ratio(disk, bytes)}, nil
}

func ratio(a, b uint64) uint64 { return a / (b / stake.Whole) }

// loss is a network that loses a third of its storage at once.
type loss struct {
	before, lowest, after uint64 // stake that counts, ucella
	lowestAt              int    // eras after the loss
	mostMove              uint64 // hundredths of a percent of the power, in any era
	refused               int
	sane, worst           price // 1/3 of the power before, and when it costs least
	idle                  uint64
}

// lose lives a half of the eras, takes all bytes from each third node, and lets each of these come back with the chance of 1 in 120 an era.
func lose(s setup, eras int) (loss, error) {
	w := newWorld(s)
	var out loss
	var err error
	had := make([]uint64, len(w.nodes))
	for era := range eras {
		if era == eras/2 {
			if out.sane, err = w.cost(1, 3); err != nil {
				return out, err
			}
			_, out.before = w.bonded()
			out.lowest, out.worst = out.before, out.sane
			for i := range w.disk {
				if i%3 == 0 {
					had[i], w.disk[i] = w.disk[i], 0
				}
			}
		}
		if err := w.pass(); err != nil {
			return out, err
		}
		if era < eras/2 {
			continue
		}
		all, counts := w.bonded()
		if counts < out.lowest {
			out.lowest, out.lowestAt, out.idle = counts, era-eras/2+1, all-counts
			if out.worst, err = w.cost(1, 3); err != nil {
				return out, err
			}
		}
		for i, h := range had {
			if h > 0 && w.random.IntN(120) == 0 {
				w.disk[i], had[i] = h, 0
			}
		}
	}
	_, out.after = w.bonded()
	out.mostMove, out.refused = w.mostMove, w.refused
	return out, nil
}
