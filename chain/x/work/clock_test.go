package work

import (
	"crypto/ed25519"
	"testing"

	api "github.com/cella-network/cella/api/work"
	"github.com/cella-network/cella/protocol/attestation"
)

// next runs the beginnings of n blocks.
func (w *world) next(t testing.TB, n int) {
	t.Helper()
	for range n {
		w.ctx = w.ctx.WithBlockHeight(w.ctx.BlockHeight() + 1)
		if err := w.module.BeginBlock(w.ctx); err != nil {
			t.Fatal(err)
		}
	}
}

// Where no seeds come the clock stands still; when they come at once it makes one step and waits, so that reports reach the chain.
func TestClock(t *testing.T) {
	w := newWorld(t)
	p := params
	p.LateBlocks = 20
	if err := w.keeper.params.Set(w.ctx, p); err != nil {
		t.Fatal(err)
	}
	at := func(want int64) {
		t.Helper()
		if got, err := w.keeper.Clock(w.ctx); err != nil || got != want {
			t.Errorf("block %d: the clock is at %d, want %d: %v", w.ctx.BlockHeight(), got, want, err)
		}
	}
	at(100)
	w.next(t, 50)
	at(150)
	w.stalled = 150
	w.next(t, 200)
	at(150)
	w.stalled = 0
	w.next(t, 1) // block 351
	at(170)
	w.next(t, 19)
	at(170)
	w.next(t, 1)
	at(371)

	n := 0
	if err := w.keeper.tips.Walk(w.ctx, nil, func(int64, int64) (bool, error) { n++; return false, nil }); err != nil || n > int(p.LateBlocks)+2 {
		t.Errorf("%d tips are kept: %v", n, err)
	}
}

// Nobody is late with draws for which there was no seed, and a report of the last height with one is not too old.
func TestNobodyIsLateWithoutSeeds(t *testing.T) {
	w := newWorld(t)
	if err := w.keeper.params.Set(w.ctx, api.Params{SlotBlocks: 5, MaxAgeBlocks: 10, LateBlocks: 20, SectorSize: params.SectorSize}); err != nil {
		t.Fatal(err)
	}
	w.join("bob", attestation.TierHigh)
	report := func(height int64) {
		t.Helper()
		r := w.honest(t, "bob")
		r.Height, r.Hash = height, hashOf(height)
		if s := w.standingOf(t, "bob"); s != nil {
			r.Answered = uint64(height - s.Height)
		} else {
			r.From = height
		}
		if _, err := w.post(r.Marshal(), ed25519.Sign(signer("bob"), r.Marshal())); err != nil {
			t.Fatal(err)
		}
	}
	report(99)
	w.stalled = 107
	w.next(t, 10)
	report(107)
	w.next(t, 190)
	w.stalled = 0
	w.next(t, 1)
	report(300)
	if s := w.standingOf(t, "bob"); s.Proven != 201 || s.Late != 0 || s.Failed != 0 {
		t.Errorf("proven %d, late %d, failed %d; want 201, 0 and 0", s.Proven, s.Late, s.Failed)
	}
	w.next(t, 100)
	report(400)
	if s := w.standingOf(t, "bob"); s.Late != 80 {
		t.Errorf("%d late after seeds have come for a while, want 80", s.Late)
	}
}
