package vault

import (
	"crypto/ed25519"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"
	"testing/synctest"

	"github.com/cella-network/cella/enclave/wire"
	"github.com/cella-network/cella/protocol/storageproof"
)

// hold seals a DAG and completes it as an order.
func (s *sim) hold(order uint64, sector uint32, d dag) {
	s.t.Helper()
	s.store(sector, d)
	r, err := s.complete(order, d.root, d.size)
	must(s.t, err)
	if len(r.Missing) != 0 {
		s.t.Fatalf("order %d lacks a block", order)
	}
}

// TestLoseRefuses: what can't be meant is refused, what may be meant of a disk that moves on is passed over.
func TestLoseRefuses(t *testing.T) {
	s := readySim(t)
	must(t, s.open(1))
	must(t, s.fill(2))
	d := newDag("d", 5000)
	s.hold(1, 1, d)
	unknown := expand("unknown", 10)
	for name, c := range map[string]struct {
		sector uint32
		cids   [][]byte
		want   wire.Code
	}{
		"an unknown sector":          {9, nil, wire.CodeMissing},
		"an unknown sector's block":  {9, d.cids[:1], wire.CodeMissing},
		"no CID":                     {1, [][]byte{d.cids[0], {}}, wire.CodeInvalid},
		"an inline CID":              {1, [][]byte{d.cids[0], inlineCID(storageproof.CodecRaw, []byte("x"))}, wire.CodeInvalid},
		"an unknown block":           {1, [][]byte{rawCID(unknown)}, 0},
		"a block that lies not here": {2, d.cids, 0},
		"a free sector":              {2, nil, 0},
	} {
		if orders, err := s.lose(c.sector, c.cids...); code(err) != c.want || len(orders) != 0 {
			t.Errorf("%s: orders %v, %v", name, orders, err)
		}
		must(t, s.readBack(d))
	}
	books(t, s.v)
}

// TestLoseNamesWhatBreaks: a block that two orders share breaks both, at whatever depth, and blocks that no order needs are just gone.
func TestLoseNamesWhatBreaks(t *testing.T) {
	s := readySim(t)
	must(t, s.open(1))
	must(t, s.open(2))
	leaf, other, waste := expand("leaf", 5000), expand("other", 6000), expand("waste", 70)
	inner := node([]byte("inner"), rawCID(leaf))
	deep, flat := node([]byte("deep"), pbCID(inner), rawCID(other)), node([]byte("flat"), rawCID(leaf))
	var size uint64
	for _, b := range [][]byte{inner, deep, flat} {
		_, err := s.seal(1, pbCID(b), b)
		must(t, err)
	}
	for _, b := range [][]byte{leaf, other, waste} {
		_, err := s.seal(1, rawCID(b), b)
		must(t, err)
	}
	for id, c := range map[uint64]struct {
		root []byte
		size uint64
	}{
		7: {pbCID(deep), uint64(len(deep) + len(inner) + len(leaf) + len(other))},
		8: {pbCID(flat), uint64(len(flat) + len(leaf))},
		9: {rawCID(other), uint64(len(other))},
	} {
		r, err := s.complete(id, c.root, c.size)
		must(t, err)
		size += r.Size
	}
	s.slot()
	if orders, err := s.lose(1, rawCID(waste)); err != nil || len(orders) != 0 {
		t.Errorf("waste: %v, %v", orders, err)
	}
	if orders, err := s.lose(1, rawCID(leaf), rawCID(leaf), rawCID(waste)); err != nil || !slices.Equal(orders, []uint64{7, 8}) {
		t.Errorf("a shared leaf: %v, %v", orders, err)
	}
	// The inner node lists the lost leaf; without it the walk to that leaf is lost as well, and the books still are right.
	if orders, err := s.lose(1, pbCID(inner)); err != nil || !slices.Equal(orders, []uint64{7, 8}) {
		t.Errorf("an inner node: %v, %v", orders, err)
	}
	books(t, s.v)
	if r := s.slot(); !slices.Equal(r.Dropped, []uint64{7, 8}) {
		t.Errorf("dropped %v", r.Dropped)
	}
	books(t, s.v)
	if len(s.v.orders) != 1 || len(s.v.blocks) != 3 {
		t.Errorf("%d orders and %d blocks are left", len(s.v.orders), len(s.v.blocks))
	}
}

// TestLoseToEscapeADraw: a host that lacks a sector admits it, releases it and has a report signed without it. All heights up to the
// block that accepts the report are drawn over the table that names the sector, so they fail as if nothing had been said.
func TestLoseToEscapeADraw(t *testing.T) {
	s := readySim(t)
	must(t, s.open(1))
	s.hold(1, 1, newDag("d", 5000))
	s.slot()
	delete(s.disk, 1)
	_, err := s.lose(1)
	must(t, err)
	must(t, s.v.Release(wire.Release{Sectors: []uint32{1}}))
	if err := s.open(1); code(err) != wire.CodeState {
		t.Fatalf("a sector that is still drawn was opened anew: %v", err)
	}
	s.now += 5
	if answered, failed := s.draw(); answered != 0 || failed == 0 {
		t.Errorf("%d answered, %d failed", answered, failed)
	}
	r, err := s.report()
	must(t, err)
	if r.Answered != 0 || r.Sectors != 0 || !slices.Equal(r.Dropped, []uint64{1}) {
		t.Errorf("%d answered; %d sectors, dropped %v", r.Answered, r.Sectors, r.Dropped)
	}
	s.now += 3
	must(t, s.post(s.posted))
	if _, err := s.v.Accepted(*s.standing); code(err) != wire.CodeState {
		t.Fatalf("accepted with draws owed: %v", err)
	}
	_, err = s.accept()
	must(t, err)
	s.now += 5
	s.draw()
	next, err := s.report()
	must(t, err)
	if owed := uint64(s.standing.Since - r.Height); next.Failed != owed {
		t.Errorf("%d failed, want the %d up to the accepting block", next.Failed, owed)
	}
}

// TestLoseAndComplete: no order is held, and none mended, over a block that was lost.
func TestLoseAndComplete(t *testing.T) {
	s := readySim(t)
	must(t, s.open(1))
	must(t, s.open(2))
	old, young := newDag("old", 5000), newDag("young", 6000)
	s.hold(1, 1, old)
	s.slot()
	s.hold(2, 1, young)
	_, err := s.lose(1, old.cids[0], young.cids[0])
	must(t, err)
	for id, d := range map[uint64]dag{1: old, 2: young, 3: young} {
		if r, err := s.complete(id, d.root, d.size); err != nil || len(r.Missing) == 0 {
			t.Errorf("order %d is held without a block: %+v, %v", id, r, err)
		}
	}
	if r := s.slot(); len(r.Added) != 0 || !slices.Equal(r.Dropped, []uint64{1}) || r.Orders != storageproof.OrdersRoot(nil) {
		t.Errorf("added %v, dropped %v", r.Added, r.Dropped)
	}
	books(t, s.v)
}

// TestLoseAndKeepTheOrder: more orders break at once than one report can let go. Until the last ones are in a report, none leaves out
// the sector in which they were: else the host would be paid for orders of which nothing is drawn.
func TestLoseAndKeepTheOrder(t *testing.T) {
	const n = storageproof.MaxDropped + 10
	for name, lose := range map[string]func(s *sim){
		"admitted": func(s *sim) {
			must(s.t, s.v.Drop(wire.Drop{Orders: []uint64{1}})) // what is lost goes ahead of it
			_, err := s.lose(1)
			must(s.t, err)
			must(s.t, s.v.Release(wire.Release{Sectors: []uint32{1}}))
		},
		"found by a restart": func(s *sim) {
			delete(s.disk, 1)
			if r := s.restart(); !slices.Equal(r.LostSectors, []uint32{1}) || len(r.LostOrders) != n {
				s.t.Fatalf("lost sectors %v and %d orders", r.LostSectors, len(r.LostOrders))
			}
			must(s.t, s.v.Drop(wire.Drop{Orders: []uint64{1}}))
		},
	} {
		s := readySim(t)
		must(t, s.open(1))
		must(t, s.open(2))
		s.hold(1, 2, newDag("whole", 40))
		b := expand("b", 10)
		_, err := s.seal(1, rawCID(b), b)
		must(t, err)
		for id := range uint64(n) {
			_, err := s.complete(2+id, rawCID(b), 10)
			must(t, err)
		}
		s.slot()
		s.slot()
		lose(s)
		delete(s.disk, 1)
		if err := s.open(1); code(err) != wire.CodeState {
			t.Errorf("%s: a sector that is still drawn was opened anew: %v", name, err)
		}
		first := s.slot()
		if len(first.Dropped) != storageproof.MaxDropped || first.Dropped[0] == 1 || first.Sectors != 2 {
			t.Errorf("%s: the first report drops %d orders from %d on and names %d sectors", name, len(first.Dropped), first.Dropped[0], first.Sectors)
		}
		last := s.slot()
		if len(last.Dropped) != 11 || last.Dropped[0] != 1 || last.Sectors != 1 {
			t.Errorf("%s: the second report drops %d orders and names %d sectors", name, len(last.Dropped), last.Sectors)
		}
		books(t, s.v)
		must(t, s.open(1)) // the report was accepted: the number is free
	}
}

// TestLoseWhileSealing: Lose waits for what is being sealed, and so loses it as well. Sealed anew, it gets cells of its own.
func TestLoseWhileSealing(t *testing.T) {
	for _, whole := range []bool{true, false} {
		synctest.Test(t, func(t *testing.T) {
			s := readySim(t)
			must(t, s.open(1))
			must(t, s.open(2))
			a, data := begin(t, s.v, 1, "a")
			over := false
			go func() {
				var cids [][]byte
				if !whole {
					cids = [][]byte{rawCID(data)}
				}
				if _, err := s.v.Lose(wire.Lose{Sector: 1, CIDs: cids}); err != nil {
					t.Error(err)
				}
				over = true
			}()
			synctest.Wait()
			if over {
				t.Error("did not wait")
			}
			a.end()
			synctest.Wait()
			if !over {
				t.Error("still waits")
			}
			if r, err := s.complete(1, rawCID(data), uint64(len(data))); err != nil || len(r.Missing) == 0 {
				t.Errorf("an order over a lost block: %+v, %v", r, err)
			}
			sector := uint32(1)
			if whole {
				if _, err := s.seal(1, rawCID(data), data); code(err) != wire.CodeFull {
					t.Errorf("a lost sector takes a block: %v", err)
				}
				sector = 2
			}
			r, err := s.seal(sector, rawCID(data), data)
			if err != nil || r.Known || !whole && r.Cell == 0 {
				t.Errorf("sealed anew: %+v, %v", r, err)
			}
			_, err = s.complete(1, rawCID(data), uint64(len(data)))
			must(t, err)
			books(t, s.v)
			s.v.Close()
		})
	}
}

// TestLoseWhileClosing: a vault that ends while Lose waits does not leave it waiting.
func TestLoseWhileClosing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := readySim(t)
		must(t, s.open(1))
		a, _ := begin(t, s.v, 1, "a")
		var err error
		over := false
		go func() {
			_, err = s.v.Lose(wire.Lose{Sector: 1})
			over = true
		}()
		synctest.Wait()
		b, _ := begin(t, s.v, 1, "b") // comes while Lose waits, and makes it wait longer
		a.end()
		synctest.Wait()
		go s.v.Close()
		synctest.Wait()
		if over {
			t.Error("did not wait")
		}
		b.end()
		synctest.Wait()
		if !over || code(err) != wire.CodeState {
			t.Errorf("over: %v, %v", over, err)
		}
	})
}

// TestMoveOfALostBlock: a Move that had read its block before Lose came ends in order, and one that comes later is refused.
func TestMoveOfALostBlock(t *testing.T) {
	s := readySim(t)
	must(t, s.open(1))
	must(t, s.open(2))
	d := newDag("d", 5000)
	s.hold(1, 1, d)
	s.slot()
	cells, tags := s.load(d.cids[0])
	k, err := blockKey(d.cids[0])
	must(t, err)
	data, links, err := s.v.decrypt(k, cells, tags, nil)
	must(t, err)
	orders, err := s.lose(1, d.cids...)
	if err != nil || !slices.Equal(orders, []uint64{1}) {
		t.Fatalf("orders %v, %v", orders, err)
	}
	r, err := s.v.store(k, links, data, 2, true, nil) // the rest of the Move
	must(t, err)
	s.write(d.cids[0], r)
	if _, err := s.v.Move(wire.Move{CID: d.root, Cells: cells, Tags: tags, Sector: 2}, nil); code(err) != wire.CodeMissing {
		t.Errorf("a lost block is moved: %v", err)
	}
	s.hold(1, 2, d)
	must(t, s.readBack(d))
	must(t, s.v.Release(wire.Release{Sectors: []uint32{1}}))
	if r := s.slot(); len(r.Added)+len(r.Dropped) != 0 || r.Sectors != 1 {
		t.Errorf("added %v, dropped %v, %d sectors", r.Added, r.Dropped, r.Sectors)
	}
	books(t, s.v)
}

// TestPendingReportNamesALostOrder: the chain accepts a report that was signed before the loss. What is remembered of the lost blocks
// outlives the sectors that the report let go, so that the order can still be mended, or let go by the next one.
func TestPendingReportNamesALostOrder(t *testing.T) {
	s := readySim(t)
	must(t, s.open(1))
	must(t, s.open(2))
	d := newDag("d", 5000, 6000)
	s.hold(1, 1, d)
	for i := range 9 {
		b := expand(fmt.Sprint("waste", i), 10)
		_, err := s.seal(2, rawCID(b), b)
		must(t, err)
	}
	s.slot()
	must(t, s.v.Release(wire.Release{Sectors: []uint32{2}}))
	s.now += 5
	s.draw()
	_, err := s.report()
	must(t, err)
	_, err = s.lose(1)
	must(t, err)
	must(t, s.post(s.posted))
	r, err := s.accept()
	if err != nil || !slices.Equal(r.Released, []uint32{2}) || len(s.v.blocks) != len(d.cids) {
		t.Fatalf("released %v with %d blocks left, %v", r.Released, len(s.v.blocks), err)
	}
	books(t, s.v)
	must(t, s.open(3))
	s.hold(1, 3, d)
	books(t, s.v)
	if r := s.slot(); len(r.Added)+len(r.Dropped) != 0 {
		t.Errorf("added %v, dropped %v", r.Added, r.Dropped)
	}
	_, err = s.lose(3, d.root)
	must(t, err)
	if r := s.slot(); !slices.Equal(r.Dropped, []uint64{1}) {
		t.Errorf("dropped %v", r.Dropped)
	}
	books(t, s.v)
}

// TestLosing lets Lose race with all else and then holds the books against a count from scratch: an order that is not
// broken is whole.
func TestLosing(t *testing.T) {
	s := readySim(t)
	for id := range uint32(4) {
		must(t, s.open(id))
	}
	var dags []dag
	for i := range 6 {
		dags = append(dags, newDag(fmt.Sprint("dag ", i%5), 100*(i%5), 5000))
	}
	hash := func(h int64) ([32]byte, bool) { return hashAt(h), true }
	sign := func(p []byte) [64]byte { return [64]byte(ed25519.Sign(s.sign, p)) }
	var wg sync.WaitGroup
	for w := range 6 {
		wg.Go(func() {
			rng := rand.New(rand.NewPCG(11, uint64(w)))
			type at struct{ cells, tags []byte }
			mine := map[string]at{}
			for range 80 {
				d := dags[rng.IntN(len(dags))]
				id := rng.Uint32N(8)
				switch rng.IntN(9) {
				case 0, 1, 2:
					for i, c := range d.cids {
						if r, err := s.v.Seal(wire.Seal{Sector: id, CID: c, Data: d.blocks[i]}, nil); err == nil && !r.Known {
							mine[string(c)] = at{r.Cells, r.Tags}
						}
					}
				case 3:
					for c, p := range mine {
						if r, err := s.v.Move(wire.Move{CID: []byte(c), Cells: p.cells, Tags: p.tags, Sector: id}, nil); err == nil && !r.Known {
							mine[c] = at{r.Cells, r.Tags}
						}
						break
					}
				case 4:
					_, _ = s.v.Complete(wire.Complete{Order: wire.Order{ID: rng.Uint64N(12), Root: d.root, Size: d.size}})
				case 5:
					_, _ = s.v.Lose(wire.Lose{Sector: id, CIDs: d.cids[:1+rng.IntN(len(d.cids))]})
				case 6:
					if _, err := s.v.Lose(wire.Lose{Sector: id}); err == nil {
						_, _ = s.v.Open(wire.Open{Sector: 4 + rng.Uint32N(4)})
					}
				case 7:
					if rng.IntN(2) == 0 {
						_ = s.v.Release(wire.Release{Sectors: []uint32{id}})
					} else {
						_ = s.v.Drop(wire.Drop{Orders: []uint64{rng.Uint64N(12)}})
					}
				case 8:
					_, _ = s.v.Report(99, hash, sign)
				}
			}
		})
	}
	wg.Wait()
	books(t, s.v)
	wholeOrBroken(t, s.v)
}

// wholeOrBroken holds what the vault thinks of its orders against their blocks.
func wholeOrBroken(t *testing.T, v *Vault) {
	t.Helper()
	for id, o := range v.orders {
		if _, _, missing := v.walk(o.root, v.live); missing != nil && !o.broken {
			t.Errorf("order %d lacks a block and is not broken", id)
		}
	}
	for k, p := range v.blocks {
		if p.slot == lost && p.refs == 0 {
			t.Errorf("block %x is remembered, needed by nobody", k.Digest[:4])
		}
	}
}
