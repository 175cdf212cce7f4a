package threshold

import (
	"fmt"
	"io"
	"math/big"
	"slices"
	"testing"

	"golang.org/x/crypto/cryptobyte"
)

// split reads a message's head.
func split(message []byte) (head, cryptobyte.String, error) {
	rest := cryptobyte.String(message)
	h, ok := readHead(&rest)
	if !ok {
		return h, rest, malformed("message")
	}
	return h, rest, nil
}

// rehearsal is a repair with all of its sides.
type rehearsal struct {
	r     *Repair
	sides map[int]*Repairer
}

// rehearse plays a repair up to its end; one seat may cheat: as a helper with another blind ("blind") or another value ("gives"),
// by giving nothing ("silent"), or by a complaint without a reason ("lies").
func rehearse(tm *team, lost int, helpers []int, cheat int, how string, random io.Reader) (rehearsal, error) {
	r, err := NewRepair(tm.group, 1, lost, helpers)
	if err != nil {
		return rehearsal{}, err
	}
	rp := rehearsal{r, map[int]*Repairer{}}
	send := func(seat int, message []byte, err error) error {
		if err != nil {
			return err
		}
		if err := r.Accept(tm.group.Seats[seat].Account, message); err != nil {
			return err
		}
		again, err := ResumeRepair(tm.group, 1, lost, helpers, r.Marshal()) // the chain may stop anywhere
		if err == nil {
			*r = *again
		}
		return err
	}
	for _, seat := range append([]int{lost}, helpers...) {
		side, message, err := JoinRepair(r, seat, random)
		if err := send(seat, message, err); err != nil {
			return rp, err
		}
		rp.sides[seat] = side
	}
	if err := r.Advance(); err != nil || r.phase == PhaseFailed {
		return rp, err
	}
	for _, seat := range r.Helpers() {
		if seat == cheat && how == "silent" {
			continue
		}
		message, err := rp.sides[seat].Contribute(r, tm.shares[seat])
		if err != nil {
			return rp, err
		}
		if seat == cheat && (how == "blind" || how == "gives") {
			h, rest, err := split(message)
			if err != nil {
				return rp, err
			}
			m, err := readContribution(h, rest)
			if err != nil {
				return rp, err
			}
			if how == "blind" {
				m.blinds[0] = generator()
			} else {
				m.sealed[40] ^= 1
			}
			message = m.marshal()
		}
		if err := send(seat, message, nil); err != nil {
			return rp, err
		}
	}
	blinds := 0
	for _, m := range r.given {
		if m != nil {
			blinds += len(m.blinds)
		}
	}
	if most := tm.group.Blinds(lost); blinds > most {
		return rp, fmt.Errorf("%d blinds, at most %d expected", blinds, most)
	}
	if err := r.Advance(); err != nil || r.phase == PhaseFailed {
		return rp, err
	}
	if how == "lies" {
		against := r.helpers[0]
		if against == cheat {
			against = r.helpers[1]
		}
		message, err := complain(head{domainComplaint, r.session, cheat}, against, &rp.sides[cheat].key, *r.keyOf(cheat), *r.keyOf(against), random)
		if err := send(cheat, message, err); err != nil {
			return rp, err
		}
	}
	for _, seat := range append(r.Helpers(), lost) {
		if seat == cheat {
			continue
		}
		complaints, err := rp.sides[seat].Check(r, random)
		if err != nil {
			return rp, err
		}
		for _, m := range complaints {
			h, rest, err := split(m)
			if err != nil {
				return rp, err
			}
			c, err := readComplaint(h, rest)
			if err != nil {
				return rp, err
			}
			if slices.ContainsFunc(r.blames, func(b Blame) bool { return b.Account == tm.group.Seats[c.against].Account }) {
				continue // settled
			}
			if err := send(seat, m, nil); err != nil {
				return rp, err
			}
		}
	}
	return rp, r.Advance()
}

// A repaired seat holds exactly the shares that it lost, and signs as before.
func TestRepairBringsTheSameShares(t *testing.T) {
	tm := honest(t, equal(t, 5, 1, "a"), nil, 11)
	want := make([][]byte, 2)
	for i := range want {
		want[i] = tm.shares[2].secrets[i].Serialize()
	}
	rp, err := rehearse(tm, 2, []int{4, 3, 1, 0}, -1, "", seeded(12))
	must(t, err)
	s, _, err := rp.sides[2].Recover(rp.r)
	must(t, err)
	for i := range want {
		if !slices.Equal(s.secrets[i].Serialize(), want[i]) {
			t.Fatal("repaired to another share")
		}
	}
	if rp.sides[2].key.Valid() {
		t.Fatal("the key was not wiped")
	}
	tm.shares[2] = s
	_, err = tm.sign(at(1, 3), 2, 0, 1, 3)
	must(t, err)
}

// What a helper gives hides its shares: without the blinds it would be their worth.
func TestContributionsAreBlinded(t *testing.T) {
	tm := honest(t, equal(t, 5, 1, "a"), nil, 13)
	rp, err := rehearse(tm, 2, []int{0, 1, 3, 4}, -1, "", seeded(14))
	must(t, err)
	r := rp.r
	sum := new(big.Int)
	for at, h := range r.helpers {
		parts, ok := r.open(at, timesSecret(r.keyOf(h), &rp.sides[2].key))
		if !ok {
			t.Fatal("does not open")
		}
		bare := new(scalar)
		for i, f := range r.factors(at, 0) {
			f.MulAssign(&tm.shares[h].secrets[i])
			bare.AddAssign(&f)
		}
		if bare.Equals(&parts[0]) {
			t.Errorf("helper %d gives its shares bare", h)
		}
		sum.Add(sum, new(big.Int).SetBytes(parts[0].Serialize()))
	}
	want := new(big.Int).SetBytes(tm.shares[2].secrets[0].Serialize())
	if sum.Mod(sum, order).Cmp(want) != 0 {
		t.Error("the blinds do not cancel")
	}
}

// Two helpers that say different things about their blind, and keep silent about it, get nothing done.
func TestBlindsThatDisagreeFail(t *testing.T) {
	tm := honest(t, equal(t, 4, 1, "a"), nil, 15)
	r, err := NewRepair(tm.group, 1, 0, []int{1, 2, 3})
	must(t, err)
	r.helpers = []int{1, 2}
	for i := range 2 {
		b := []point{generator(), generator()}
		if i == 1 {
			b[1] = *evalPublic([]point{generator(), generator()}, 1)
		}
		r.given = append(r.given, &contributionMessage{blinds: b})
	}
	r.phase = PhaseComplain
	must(t, r.Advance())
	if r.phase != PhaseFailed {
		t.Fatal("the repair went on")
	}
}
