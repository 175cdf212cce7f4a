package vault

import (
	"bytes"
	"slices"
	"testing"

	"github.com/cella-network/cella/enclave/wire"
	"github.com/cella-network/cella/protocol/storageproof"
)

// TestCompleteCountsOnce: a block that a DAG names often counts once, and inline blocks count nothing.
func TestCompleteCountsOnce(t *testing.T) {
	s := readySim(t)
	must(t, s.open(1))
	leaf := expand("leaf", 1000)
	inner := node([]byte("inner"), rawCID(leaf), rawCID(leaf))
	root := node([]byte("root"), pbCID(inner), rawCID(leaf), pbCID(inner), inlineCID(storageproof.CodecRaw, []byte("hi")), inlineCID(storageproof.CodecDagPB, node(nil, rawCID(leaf))))
	for _, b := range [][]byte{inner, root} {
		_, err := s.seal(1, pbCID(b), b)
		must(t, err)
	}
	size := uint64(len(leaf) + len(inner) + len(root))
	if r, err := s.complete(1, pbCID(root), size); err != nil || !bytes.Equal(r.Missing, rawCID(leaf)) {
		t.Fatalf("%x, %v", r.Missing, err)
	}
	_, err := s.seal(1, rawCID(leaf), leaf)
	must(t, err)
	for _, wrong := range []uint64{0, size - 1, size + 1, size + 1000} {
		if _, err := s.complete(1, pbCID(root), wrong); code(err) != wire.CodeInvalid {
			t.Errorf("size %d of %d: %v", wrong, size, err)
		}
	}
	r, err := s.complete(1, pbCID(root), size)
	if err != nil || len(r.Missing) != 0 || r.Blocks != 3 || r.Size != size {
		t.Fatalf("%+v, %v", r, err)
	}
	if _, err := s.complete(1, pbCID(inner), uint64(len(inner)+len(leaf))); code(err) != wire.CodeInvalid {
		t.Errorf("the same order with another root: %v", err)
	}
	twin := expand("twin", int(size))
	_, err = s.seal(1, rawCID(twin), twin)
	must(t, err)
	if _, err := s.complete(1, rawCID(twin), size); code(err) != wire.CodeInvalid {
		t.Errorf("the same order with another root of its size: %v", err)
	}
	if _, err := s.complete(2, inlineCID(storageproof.CodecRaw, []byte("hi")), 2); code(err) != wire.CodeInvalid {
		t.Errorf("an inline root: %v", err)
	}
	must(t, s.v.Drop(wire.Drop{Orders: []uint64{1, 1}}))
	must(t, s.v.Release(wire.Release{Sectors: []uint32{1}}))
	if r, err := s.complete(3, pbCID(root), size); err != nil || len(r.Missing) == 0 {
		t.Errorf("an order over a released sector: %+v, %v", r, err)
	}
}

// TestSealAgain: what lies in a released sector is sealed again elsewhere, and its old place is forgotten.
func TestSealAgain(t *testing.T) {
	s := readySim(t)
	must(t, s.open(1))
	must(t, s.open(2))
	d := newDag("d", 10_000)
	s.store(1, d)
	s.slot()
	must(t, s.v.Release(wire.Release{Sectors: []uint32{1}}))
	s.store(2, d)
	must(t, s.readBack(d))
	_, err := s.complete(1, d.root, d.size)
	must(t, err)
	s.slot()
	must(t, s.readBack(d))
	if s.disk[1] != nil {
		t.Error("sector 1 was not released")
	}
	if s.v.stale != 0 || len(s.v.blocks) != 2 {
		t.Errorf("%d blocks, %d stale", len(s.v.blocks), s.v.stale)
	}
	must(t, s.open(1)) // its number is free again
}

// TestMoveHolds: the order holds the sector to which its blocks were moved, and no longer the old one; what lies in both after a
// restart is where the sector brought first has it.
func TestMoveHolds(t *testing.T) {
	s := readySim(t)
	must(t, s.open(1))
	must(t, s.open(2))
	d := newDag("d", 10_000)
	s.store(1, d)
	_, err := s.complete(1, d.root, d.size)
	must(t, err)
	for _, c := range d.cids {
		_, err := s.move(c, 2)
		must(t, err)
	}
	if err := s.v.Release(wire.Release{Sectors: []uint32{2}}); code(err) != wire.CodeState {
		t.Errorf("new sector: %v", err)
	}
	s.slot()
	if lost := s.restart(); len(lost.LostOrders) != 0 {
		t.Fatalf("lost %v", lost.LostOrders)
	}
	must(t, s.readBack(d))
	if p := s.index[string(d.root)]; p.sector != 1 {
		t.Errorf("the block is in sector %d", p.sector)
	}
	must(t, s.v.Release(wire.Release{Sectors: []uint32{2}}))
	if err := s.v.Release(wire.Release{Sectors: []uint32{1}}); code(err) != wire.CodeState {
		t.Errorf("old sector, which counts again: %v", err)
	}
}

// TestReleasedAfterSigning: a report that was signed before the release and accepted after it keeps the sector: its draws are owed.
func TestReleasedAfterSigning(t *testing.T) {
	s := readySim(t)
	must(t, s.fill(1))
	must(t, s.open(2))
	b := expand("b", 100)
	_, err := s.seal(2, rawCID(b), b)
	must(t, err)
	_, err = s.report()
	must(t, err)
	must(t, s.v.Release(wire.Release{Sectors: []uint32{1, 2}}))
	must(t, s.post(s.posted))
	if r, err := s.accept(); err != nil || len(r.Released) != 0 {
		t.Fatalf("released %v, %v", r.Released, err)
	}
	s.now += 20
	if _, failed := s.draw(); failed != 0 {
		t.Errorf("%d draws failed", failed)
	}
	_, err = s.report()
	must(t, err)
	must(t, s.post(s.posted))
	if r, err := s.accept(); err != nil || !slices.Equal(r.Released, []uint32{1, 2}) {
		t.Fatalf("then released %v, %v", r.Released, err)
	}
}

// TestReleasedIsForgotten: once a report without it is accepted, nothing of a sector is left.
func TestReleasedIsForgotten(t *testing.T) {
	s := readySim(t)
	must(t, s.open(1))
	d := newDag("d", 10_000)
	s.store(1, d)
	s.slot()
	key := s.v.slots[s.v.byID[1]].key
	must(t, s.v.Release(wire.Release{Sectors: []uint32{1}}))
	must(t, s.v.Release(wire.Release{Sectors: []uint32{1}}))
	s.slot()
	if !bytes.Equal(key, make([]byte, keySize)) {
		t.Error("its key is still there")
	}
	if len(s.v.blocks) != 0 || len(s.v.links) != 0 {
		t.Error("its blocks are still there")
	}
	if _, err := s.v.Read(wire.Read{CID: d.root}, nil); code(err) != wire.CodeMissing {
		t.Error(err)
	}
	if err := s.v.Release(wire.Release{Sectors: []uint32{1}}); code(err) != wire.CodeMissing {
		t.Error(err)
	}
}
