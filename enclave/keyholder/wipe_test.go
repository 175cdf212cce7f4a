package keyholder

import (
	"testing"

	"github.com/cella-network/cella/protocol/threshold"
)

// Which shares a charge leaves: in the order of docs/protocol/keyholder.md.
func TestWipeRules(t *testing.T) {
	id := func(epoch uint64) threshold.ID {
		return threshold.ID{ChainID: testChain, Purpose: beacon, Epoch: epoch}
	}
	for name, tc := range map[string]struct {
		charge    uint64 // its epoch
		named     uint64 // epoch in which the named group was made
		confirmed bool
		held      uint64
		useless   bool
	}{
		"the named group":                  {3, 3, true, 3, false},
		"it may come in charge":            {3, 3, true, 4, false},
		"no way back":                      {3, 3, true, 2, true},
		"the chain may go back to it":      {3, 3, false, 2, false},
		"gone back from":                   {3, 1, false, 2, true},
		"gone back from, confirmed":        {3, 1, true, 2, true},
		"made in the epoch of going back":  {3, 1, false, 3, true},
		"after going back, the next":       {3, 1, false, 4, false},
		"after going back, the named":      {3, 1, false, 1, false},
		"two handovers before, no way yet": {3, 3, false, 1, false},
	} {
		d := &desk{now: &threshold.InCharge{Charge: threshold.Charge{Epoch: tc.charge, Confirmed: tc.confirmed}, Keys: &threshold.Group{ID: id(tc.named)}}}
		if got := d.useless(id(tc.held)); got != tc.useless {
			t.Errorf("%s: useless %v", name, got)
		}
	}
}

// blank says whether shares were wiped: then they sign with zero.
func blank(t *testing.T, g *threshold.Group, s *threshold.Shares) bool {
	t.Helper()
	p, err := s.Sign(g, []byte("any"))
	must(t, err)
	return p.Marshal()[0] == 0xc0 // the point at infinity
}

// Wiped is not only forgotten.
func TestWipedMeansWiped(t *testing.T) {
	w := settled(t)
	old := w.charge.Keys
	shares := w.holders["a"].desks[beacon].held[0].shares
	if blank(t, old, shares) {
		t.Fatal("shares are zero from the beginning")
	}
	next := setupOf(2, 0, 2, []string{"c", "d"}, []int{1, 1})
	next.Old = old
	must(t, w.honest(next))
	must(t, w.settleAll())
	if blank(t, old, shares) {
		t.Error("old shares are wiped before the new group has signed")
	}
	w.charge.Confirmed = true
	must(t, w.settleAll())
	if !blank(t, old, shares) {
		t.Error("old shares are not wiped")
	}

	h := w.holders["d"]
	mine := h.desks[beacon].held[0].shares
	must(t, w.begin(setupOf(3, 0, 2, []string{"d", "e"}, []int{1, 1})))
	_, err := w.act("d")
	must(t, err)
	secret := h.desks[beacon].ceremony.secret
	h.Close()
	if !blank(t, w.charge.Keys, mine) || secret.member != nil || !secret.over || len(h.desks) > 0 {
		t.Error("Close does not wipe everything")
	}
}

// A failed ceremony, and one that another replaced, leave nothing.
func TestFailedIsWiped(t *testing.T) {
	for name, end := range map[string]func(w *world){
		"failed": func(w *world) {
			must(t, w.advance())
			if w.c.Phase() != threshold.PhaseFailed {
				t.Fatal("not failed")
			}
		},
		"replaced": func(w *world) {
			other := three
			other.ID.Attempt = 1
			must(t, w.begin(other))
		},
	} {
		w := newWorld("a", "b", "c")
		must(t, w.begin(three))
		_, err := w.round("b", "c")
		must(t, err)
		secret := w.holders["a"].desks[beacon].ceremony.secret
		end(w)
		_, err = w.act("a")
		must(t, err)
		if secret.member != nil || !secret.over {
			t.Errorf("%s: the key is kept", name)
		}
	}
}

// A host that never shows how a ceremony ended does not keep its shares there: they go when the chain has another group for the epoch.
func TestCeremonyOfAnotherGroupIsWiped(t *testing.T) {
	w := newWorld("a", "b", "c")
	must(t, w.begin(three))
	for w.c.Phase() < threshold.PhaseReady {
		_, err := w.round()
		must(t, err)
		must(t, w.advance())
	}
	_, err := w.act("a")
	must(t, err)
	secret := w.holders["a"].desks[beacon].ceremony.secret
	if secret.shares == nil {
		t.Fatal("no shares were made")
	}
	must(t, w.honest(setupOf(1, 1, 2, []string{"b", "c"}, []int{1, 1}), "a"))
	_, err = w.settle("a")
	must(t, err)
	if secret.shares != nil || !secret.over {
		t.Error("shares of a ceremony without an end are kept")
	}
}

// A host that shows no charges does not have its enclave collect shares.
func TestFewGroups(t *testing.T) {
	w := newWorld("a", "b")
	var first *threshold.Shares
	var of *threshold.Group
	for epoch := range uint64(maxHeld + 2) {
		must(t, w.honest(setupOf(epoch+1, 0, 2, []string{"a", "b"}, []int{1, 1})))
		if epoch == 0 {
			first, of = w.holders["a"].desks[beacon].held[0].shares, w.charge.Keys
		}
	}
	if n := len(w.holders["a"].desks[beacon].held); n != maxHeld || !blank(t, of, first) {
		t.Errorf("shares of %d groups are held", n)
	}
	for _, purpose := range []string{"b", "c", "d"} {
		_, err := w.holders["a"].Settle(purpose, 1, nil, nil)
		must(t, err)
	}
	_, err := w.holders["a"].Settle("e", 1, nil, nil)
	refusal(t, "one purpose too many", err)
}
