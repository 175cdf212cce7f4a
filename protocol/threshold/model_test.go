package threshold

import (
	"math/bits"
	"testing"
)

// The rules of a handover, explored to the last interleaving for three old and three new members of which two sign. Sets
// of members are bits. The rules are those of docs/protocol/threshold.md; each can be broken, and then the model must say so.

const modelThreshold = 2

func many(set uint8) bool { return bits.OnesCount8(set) >= modelThreshold }

// explore visits every state and says from which none of the wanted ones can be reached.
func explore[S comparable](start S, next func(S) []S, wanted func(S) bool) (all int, stuck []S) {
	before := map[S][]S{}
	seen := map[S]bool{start: true}
	queue := []S{start}
	for len(queue) > 0 {
		s := queue[0]
		queue = queue[1:]
		for _, n := range next(s) {
			before[n] = append(before[n], s)
			if !seen[n] {
				seen[n] = true
				queue = append(queue, n)
			}
		}
	}
	good := map[S]bool{}
	for s := range seen {
		if wanted(s) {
			good[s] = true
			queue = append(queue, s)
		}
	}
	for len(queue) > 0 {
		s := queue[0]
		queue = queue[1:]
		for _, b := range before[s] {
			if !good[b] {
				good[b] = true
				queue = append(queue, b)
			}
		}
	}
	for s := range seen {
		if !good[s] {
			stuck = append(stuck, s)
		}
	}
	return len(seen), stuck
}

// life is what there is of two groups' shares. A message that is lost is a step that is not taken.
type life struct {
	phase   Phase // 0 between ceremonies
	attempt uint8
	old     uint8 // old members that hold their shares
	keys    uint8 // new members with a ceremony key in memory
	keyed   uint8 // those whose key the chain has
	dealt   uint8
	shares  uint8 // new members that hold their shares
	ready   uint8
	charge  bool // the new group signs
	signed  bool // it has, so it can
}

// breaks are rules left out.
type breaks struct{ wipeAtOnce, noWayBack, noRepair, disjoint bool }

// steps are all that can happen next. Members crash as they like, as long as a threshold is left of the old group until the new one
// has signed, and of the new group after that: who loses more needs a fresh key, and no rule helps.
func (b breaks) steps(s life) (out []life) {
	do := func(when bool, change func(n *life)) {
		if when {
			n := s
			change(&n)
			out = append(out, n)
		}
	}
	clearCeremony := func(n *life) { n.phase, n.keys, n.keyed, n.dealt, n.shares, n.ready = 0, 0, 0, 0, 0, 0 }
	do(!s.charge && s.phase == 0 && s.attempt < 2, func(n *life) { clearCeremony(n); n.phase = PhaseKeys; n.attempt++ })
	do(s.phase == PhaseKeys, func(n *life) {
		if n.phase = PhaseDeal; !many(s.keyed) {
			clearCeremony(n)
		}
	})
	do(s.phase == PhaseDeal, func(n *life) {
		if n.phase = PhaseReady; !many(s.dealt) { // complaints change who counts, not what is held
			clearCeremony(n)
		}
	})
	do(s.phase == PhaseReady, func(n *life) {
		if !many(s.ready) {
			clearCeremony(n)
			return
		}
		n.phase, n.charge, n.keys = 0, true, 0
		if b.wipeAtOnce {
			n.old = 0
		}
	})
	do(s.charge && !s.signed && many(s.shares&s.ready), func(n *life) { n.signed = true })
	do(s.charge && !s.signed && !b.noWayBack, func(n *life) { clearCeremony(n); n.charge = false })
	for m := uint8(1); m < 8; m <<= 1 {
		do(s.phase == PhaseKeys && s.keyed&m == 0, func(n *life) { n.keys |= m; n.keyed |= m })
		do(s.phase == PhaseDeal && s.old&m != 0, func(n *life) { n.dealt |= m })
		do(s.phase == PhaseReady && s.keys&m != 0, func(n *life) { n.keys &^= m; n.shares |= m })
		do(s.phase == PhaseReady && s.shares&m != 0, func(n *life) { n.ready |= m })
		do(s.signed, func(n *life) { n.old &^= m }) // sees that the new group has signed, and wipes
		do(!b.noRepair && !s.signed && many(s.old&^m), func(n *life) { n.old |= m })
		do(!b.noRepair && s.signed && many(s.shares&^m), func(n *life) { n.shares |= m; n.ready |= m })
		crash := s
		crash.old &^= m
		if !b.disjoint {
			crash.keys, crash.shares = s.keys&^m, s.shares&^m
		}
		do(!s.signed && many(crash.old) || s.signed && many(crash.shares), func(n *life) { *n = crash })
		crash = s
		crash.keys, crash.shares = s.keys&^m, s.shares&^m
		do(b.disjoint && (!s.signed || many(crash.shares)), func(n *life) { *n = crash })
	}
	return out
}

func canSign(s life) bool { return !s.charge && many(s.old) || s.charge && many(s.shares&s.ready) }

func TestModelHandover(t *testing.T) {
	for _, disjoint := range []bool{false, true} {
		for name, b := range map[string]breaks{
			"":                                 {},
			"old shares wiped at the handover": {wipeAtOnce: true},
			"no way back":                      {noWayBack: true},
		} {
			b.disjoint = disjoint
			all, stuck := explore(life{old: 7}, b.steps, canSign)
			t.Logf("disjoint %v, %q: %d states, %d without a way to sign", disjoint, name, all, len(stuck))
			if (len(stuck) > 0) != (name != "") {
				t.Errorf("disjoint %v, %q: %d of %d states have no way to sign: %v", disjoint, name, len(stuck), all, stuck[:min(3, len(stuck))])
			}
		}
	}
	// Without repair every member that ever restarted stays out, so a group's end is a matter of time.
	worn := func(b breaks) bool {
		_, stuck := explore(life{old: 7}, b.steps, func(s life) bool { return !s.charge && s.old == 7 || s.charge && s.shares == 7 })
		return len(stuck) > 0
	}
	if worn(breaks{}) || !worn(breaks{noRepair: true}) {
		t.Error("repair does not bring a group back to full strength, or the model does not need it")
	}
}

// theft is what an adversary has read out of members' memories during two attempts to hand the key on from three members to the same
// three. All deals are public: a ceremony key opens what was sealed to it.
type theft struct {
	attempt uint8
	phase   Phase
	over    bool     // the new group has signed, the old shares are wiped
	old     uint8    // old shares read
	keys    [3]uint8 // by attempt: members whose key was read
	spent   [4]uint8 // members read while they held secrets of the attempt's shares; the last of the old group's
}

// leaks are rules left out.
type leaks struct{ keysStay, sameDeal, oldStays bool }

func (b leaks) steps(s theft) (out []theft) {
	do := func(when bool, change func(n *theft)) {
		if when {
			n := s
			change(&n)
			out = append(out, n)
		}
	}
	do(s.phase == 0 && !s.over && s.attempt < 2, func(n *theft) { n.attempt++; n.phase = PhaseKeys })
	do(s.phase == PhaseKeys, func(n *theft) { n.phase = PhaseReady })     // keys known, deals public
	do(s.phase == PhaseReady, func(n *theft) { n.phase = 0 })             // fails
	do(s.phase == PhaseReady, func(n *theft) { n.phase = PhaseDone })     // hands over
	do(s.phase == PhaseDone && !s.over, func(n *theft) { n.over = true }) // the new group has signed
	for m := uint8(1); m < 8; m <<= 1 {
		n := s
		a := s.attempt
		if !s.over || b.oldStays {
			n.old |= m
		}
		if !s.over {
			n.spent[3] |= m // the old share is there by right
		}
		if s.phase != 0 {
			n.keys[a] |= m // the key, or the share that it stands for
			n.spent[a] |= m
		}
		if b.keysStay {
			for i := range a {
				n.keys[i+1] |= m
			}
		}
		if !many(n.spent[1]) && !many(n.spent[2]) && !many(n.spent[3]) {
			out = append(out, n)
		}
	}
	return out
}

// known says whether what was read makes the key, where no epoch's threshold was read.
func (b leaks) known(s theft) bool {
	if b.sameDeal && many(s.keys[1]|s.keys[2]) {
		return true
	}
	return many(s.old) || many(s.keys[1]) || many(s.keys[2])
}

func TestModelSecrecy(t *testing.T) {
	for name, b := range map[string]leaks{
		"":                                     {},
		"ceremony keys kept":                   {keysStay: true},
		"the same polynomial in both attempts": {sameDeal: true},
		"old shares kept":                      {oldStays: true},
	} {
		found := 0
		all, _ := explore(theft{}, b.steps, func(s theft) bool {
			if b.known(s) {
				found++
			}
			return true
		})
		t.Logf("%q: %d states, %d know the key", name, all, found)
		if (found > 0) != (name != "") {
			t.Errorf("%q: %d of %d states know the key", name, found, all)
		}
	}
}
