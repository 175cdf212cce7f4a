package vault

import (
	"bytes"
	"fmt"
	"testing"

	"github.com/cella-network/cella/enclave/wire"
	"github.com/cella-network/cella/protocol/storageproof"
)

// TestDrawNeedsTheCell: for a free and for a data cell, nothing but the drawn cell with its own witness counts.
func TestDrawNeedsTheCell(t *testing.T) {
	for _, kind := range []storageproof.Kind{storageproof.KindFree, storageproof.KindData} {
		s := readySim(t)
		if kind == storageproof.KindFree {
			must(t, s.fill(1))
		} else {
			must(t, s.open(1))
			b := expand("b", storageproof.MaxBlock)
			_, err := s.seal(1, rawCID(b), b)
			must(t, err)
		}
		s.slot()
		flip := func(p []byte, i int) []byte { q := bytes.Clone(p); q[i] ^= 1; return q }
		cheats := []struct {
			name string
			do   func(m, next *wire.Draw)
		}{
			{"honest", func(m, next *wire.Draw) {}},
			{"absent", func(m, next *wire.Draw) { m.Absent = true }},
			{"nothing", func(m, next *wire.Draw) { *m = wire.Draw{Height: m.Height} }},
			{"changed cell", func(m, next *wire.Draw) { m.Cell = flip(m.Cell, 4095) }},
			{"short cell", func(m, next *wire.Draw) { m.Cell = m.Cell[:4095] }},
			{"long cell", func(m, next *wire.Draw) { m.Cell = append(bytes.Clone(m.Cell), 0) }},
			{"another draw's answer", func(m, next *wire.Draw) { next.Height = m.Height; *m = *next }},
		}
		if kind == storageproof.KindFree {
			cheats = append(cheats, []struct {
				name string
				do   func(m, next *wire.Draw)
			}{
				{"changed page", func(m, next *wire.Draw) { m.Page = flip(m.Page, 0) }},
				{"no page", func(m, next *wire.Draw) { m.Page = nil }},
				{"changed path", func(m, next *wire.Draw) { m.Path = flip(m.Path, 0) }},
				{"no path", func(m, next *wire.Draw) { m.Path = nil }},
			}...)
		} else {
			cheats = append(cheats, []struct {
				name string
				do   func(m, next *wire.Draw)
			}{
				{"changed tag", func(m, next *wire.Draw) { m.Tag = flip(m.Tag, 0) }},
				{"cut elsewhere", func(m, next *wire.Draw) {
					m.Cell, m.Tag = m.Cell[:4095], append([]byte{m.Cell[4095]}, m.Tag...)
				}},
				{"tag in the cell", func(m, next *wire.Draw) { m.Cell, m.Tag = append(bytes.Clone(m.Cell), m.Tag[0]), m.Tag[1:] }},
				{"no tag", func(m, next *wire.Draw) { m.Tag = nil }},
				{"long tag", func(m, next *wire.Draw) { m.Tag = append(bytes.Clone(m.Tag), 0) }},
			}...)
		}
		for _, c := range cheats {
			h := s.v.Next()
			m, d := s.answer(h)
			next, other := s.answer(h + 1)
			for i := int64(2); other == d; i++ {
				next, other = s.answer(h + i)
			}
			c.do(&m, &next)
			r, err := s.v.Draw(s.seed(h), m)
			if err != nil || r.Answered != (c.name == "honest") {
				t.Errorf("kind %d, %s: %+v, %v", kind, c.name, r, err)
			}
		}
		s.now = s.v.Next()
		if r, err := s.report(); err != nil || r.Answered != 1 || int(r.Failed) != len(cheats)-1 {
			t.Errorf("kind %d: %d answered, %d failed, %v", kind, r.Answered, r.Failed, err)
		}
	}
}

func TestDrawsComeInOrder(t *testing.T) {
	s := readySim(t)
	if _, err := s.v.Draw(seedAt(100), wire.Draw{Height: 100}); code(err) != wire.CodeState {
		t.Errorf("before any accepted report: %v", err)
	}
	s.slot() // an empty table: nothing to show
	for h, want := range map[int64]wire.Code{s.v.Next() - 1: wire.CodeState, s.v.Next() + 1: wire.CodeState} {
		if _, err := s.v.Draw(seedAt(h), wire.Draw{Height: h}); code(err) != want {
			t.Errorf("height %d: %v", h, err)
		}
	}
	r, err := s.v.Draw(seedAt(s.v.Next()), wire.Draw{Height: s.v.Next(), Absent: true})
	if err != nil || !r.Answered {
		t.Errorf("over an empty table: %+v, %v", r, err)
	}
}

// TestOpenSectorIsDrawnAsReported: cells sealed after a report are not drawn before the next, and those before it stay.
func TestOpenSectorIsDrawnAsReported(t *testing.T) {
	s := readySim(t)
	must(t, s.open(1))
	for i := range 5 {
		b := expand(fmt.Sprint(i), 1+i*70_000)
		_, err := s.seal(1, rawCID(b), b)
		must(t, err)
		s.slot()
		s.now += 20
		if _, failed := s.draw(); failed != 0 {
			t.Fatalf("after block %d: %d draws failed", i, failed)
		}
	}
}

// TestReportLimits: what is above a report's limits waits for the next one.
func TestReportLimits(t *testing.T) {
	s := readySim(t)
	must(t, s.open(1))
	b := expand("b", 10)
	_, err := s.seal(1, rawCID(b), b)
	must(t, err)
	const n = storageproof.MaxAdded + 10
	var all []uint64
	for id := uint64(n); id > 0; id-- {
		_, err := s.complete(id, rawCID(b), 10)
		must(t, err)
		all = append(all, id)
	}
	if r := s.slot(); len(r.Added) != storageproof.MaxAdded || r.Added[0].ID != 1 {
		t.Fatalf("%d added, first %d", len(r.Added), r.Added[0].ID)
	}
	if r := s.slot(); len(r.Added) != 10 || r.Added[0].ID != n-9 {
		t.Fatalf("then %d added", len(r.Added))
	}
	must(t, s.v.Drop(wire.Drop{Orders: all}))
	if r := s.slot(); len(r.Dropped) != storageproof.MaxDropped {
		t.Fatalf("%d dropped", len(r.Dropped))
	}
	if err := s.v.Release(wire.Release{Sectors: []uint32{1}}); code(err) != wire.CodeState {
		t.Fatalf("released while ten orders wait to be dropped: %v", err)
	}
	if r := s.slot(); len(r.Dropped) != 10 || s.standing.Orders != storageproof.OrdersRoot(nil) {
		t.Fatalf("then %d dropped", len(r.Dropped))
	}
	must(t, s.v.Release(wire.Release{Sectors: []uint32{1}}))
}

// TestPendingIsBounded: the eight newest reports can still be accepted.
func TestPendingIsBounded(t *testing.T) {
	s := readySim(t)
	s.slot()
	var posts []wire.ReportReply
	for range maxPending + 1 {
		s.now += 5
		s.draw()
		_, err := s.report()
		must(t, err)
		posts = append(posts, s.posted)
	}
	before := s.standing
	must(t, s.post(posts[0]))
	if _, err := s.accept(); code(err) != wire.CodeState {
		t.Errorf("the ninth: %v", err)
	}
	s.standing = before
	must(t, s.post(posts[1]))
	if _, err := s.accept(); err != nil {
		t.Errorf("the eighth: %v", err)
	}
}

func TestReportNeedsTheHash(t *testing.T) {
	s := readySim(t)
	none := func(int64) ([32]byte, bool) { return [32]byte{}, false }
	if _, err := s.v.Report(99, none, nil); code(err) != wire.CodeState {
		t.Error(err)
	}
}

func TestAcceptedRefuses(t *testing.T) {
	s := readySim(t)
	_, err := s.report()
	must(t, err)
	must(t, s.post(s.posted))
	other, unknown := *s.standing, *s.standing
	other.Account[0] ^= 1
	unknown.Report[0] ^= 1
	if _, err := s.v.Accepted(other); code(err) != wire.CodeInvalid {
		t.Errorf("another account: %v", err)
	}
	if _, err := s.v.Accepted(unknown); code(err) != wire.CodeState {
		t.Errorf("an unknown report: %v", err)
	}
	first := *s.standing
	_, err = s.accept()
	must(t, err)
	s.slot()
	if _, err := s.v.Accepted(first); code(err) != wire.CodeState {
		t.Errorf("an old report: %v", err)
	}
}
