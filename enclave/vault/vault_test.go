package vault

import (
	"bytes"
	"errors"
	"fmt"
	"sync"
	"testing"

	"github.com/cella-network/cella/enclave/wire"
	"github.com/cella-network/cella/protocol/storageproof"
)

// TestPhases: every request is refused, and nothing panics, where it has no place.
func TestPhases(t *testing.T) {
	s := newSim(t)
	d := newDag("d", 10)
	calls := map[string]func() error{
		"fill":     func() error { _, err := s.v.Fill(wire.Fill{}, nil); return err },
		"open":     func() error { _, err := s.v.Open(wire.Open{}); return err },
		"seal":     func() error { _, err := s.v.Seal(wire.Seal{CID: d.cids[0], Data: d.blocks[0]}, nil); return err },
		"read":     func() error { _, err := s.v.Read(wire.Read{CID: d.root}, nil); return err },
		"move":     func() error { _, err := s.v.Move(wire.Move{CID: d.root}, nil); return err },
		"release":  func() error { return s.v.Release(wire.Release{}) },
		"complete": func() error { _, err := s.v.Complete(wire.Complete{Order: wire.Order{Root: d.root}}); return err },
		"drop":     func() error { return s.v.Drop(wire.Drop{}) },
		"draw":     func() error { _, err := s.v.Draw(seedAt(1), wire.Draw{}); return err },
		"report":   func() error { _, err := s.v.Report(1, nil, nil); return err },
		"accepted": func() error { _, err := s.v.Accepted(storageproof.Standing{}); return err },
		"table":    func() error { _, _, err := s.v.Table(); return err },
	}
	sector := func() error { _, err := s.v.RestoreSector(wire.RestoreSector{}); return err }
	end := func() error { _, err := s.v.RestoreEnd(); return err }
	refused := func(when string, calls map[string]func() error) {
		t.Helper()
		for name, call := range calls {
			if err := call(); code(err) != wire.CodeState {
				t.Errorf("%s, %s: %v", when, name, err)
			}
		}
		if s.v.Next() != 0 || s.v.Status().Restored {
			t.Errorf("%s: looks restored", when)
		}
	}
	calls["restore sector"], calls["restore end"] = sector, end
	refused("fresh", calls)
	must(t, s.v.RestoreBegin(nil, nil, nil))
	if err := sector(); code(err) != wire.CodeState {
		t.Errorf("restore sector of a ready vault: %v", err)
	}
	must(t, end()) // of an empty vault: nothing was lost
	s.slot()
	if err := s.restoreBegin(s.rows); code(err) != wire.CodeState {
		t.Errorf("restore of a ready vault: %v", err)
	}
	s.start()
	must(t, s.restoreBegin(s.rows))
	delete(calls, "restore sector")
	delete(calls, "restore end")
	refused("restoring", calls)
	must(t, end())
	must(t, end())
	s.v.Close()
	calls["restore sector"], calls["restore end"] = sector, end
	calls["restore begin"] = func() error { return s.v.RestoreBegin(nil, nil, nil) }
	refused("closed", calls)
}

// TestSecretsAreWiped: keys lie in the memory that the platform gave, and nowhere there after Close.
func TestSecretsAreWiped(t *testing.T) {
	var slabs [][]byte
	v, err := New(Config{ChainID: testChain, Geometry: testGeometry(), SealingKey: [32]byte{1}, Alloc: func(n int) []byte {
		slabs = append(slabs, make([]byte, n))
		return slabs[len(slabs)-1]
	}})
	must(t, err)
	must(t, v.RestoreBegin(nil, nil, nil))
	for id := range uint32(200) {
		if _, err := v.Open(wire.Open{Sector: id}); err != nil {
			t.Fatal(err)
		}
	}
	_, err = v.Fill(wire.Fill{Sector: 1000}, nil)
	must(t, err)
	wiped := func() bool {
		for _, s := range slabs {
			if !bytes.Equal(s, make([]byte, len(s))) {
				return false
			}
		}
		return true
	}
	if len(slabs) < 2 || wiped() {
		t.Fatal("keys do not lie in the platform's memory")
	}
	v.Close()
	if !wiped() {
		t.Error("a key outlives Close")
	}
}

type broken struct{}

func (broken) Read([]byte) (int, error) { return 0, errors.New("broken") }

func TestNoRandomness(t *testing.T) {
	v, err := New(Config{ChainID: testChain, Geometry: testGeometry(), Rand: broken{}})
	must(t, err)
	must(t, v.RestoreBegin(nil, nil, nil))
	if _, err := v.Open(wire.Open{}); code(err) != wire.CodeInternal {
		t.Errorf("open: %v", err)
	}
	if _, err := v.Fill(wire.Fill{}, nil); code(err) != wire.CodeInternal {
		t.Errorf("fill: %v", err)
	}
}

func TestNewRefusesGeometry(t *testing.T) {
	g := testGeometry()
	g.FreeCells++
	for _, g := range []storageproof.Geometry{{}, g} {
		if _, err := New(Config{Geometry: g}); code(err) != wire.CodeInvalid {
			t.Errorf("%+v: %v", g, err)
		}
	}
}

// TestCloseWaits: closing while blocks are being sealed ends in order.
func TestCloseWaits(t *testing.T) {
	s := readySim(t)
	must(t, s.open(1))
	var wg sync.WaitGroup
	for w := range 4 {
		wg.Go(func() {
			for i := range 50 {
				b := expand(fmt.Sprint(w, i), 20_000)
				if _, err := s.v.Seal(wire.Seal{Sector: 1, CID: rawCID(b), Data: b}, nil); err != nil {
					if c := code(err); c != wire.CodeState && c != wire.CodeMissing && c != wire.CodeFull {
						t.Error(err)
					}
				}
				_, _ = s.v.Fill(wire.Fill{Sector: uint32(10 + w)}, nil)
			}
		})
	}
	s.v.Close()
	wg.Wait()
	for _, slab := range s.v.secrets.slabs {
		if !bytes.Equal(slab, make([]byte, len(slab))) {
			t.Error("a key outlives Close")
		}
	}
}
