package vault

import (
	"crypto/ed25519"
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"

	"github.com/cella-network/cella/enclave/wire"
	"github.com/cella-network/cella/protocol/storageproof"
)

// TestNoDrawIsKnownBeforeItsTable: a host that signs late knows the blocks of the last heights, and would try tables, a small block
// more or less, until the draws of those heights spare what it has lost. So no block up to the accepting one may decide a
// draw over the new table: neither in the enclave that signed it nor in the next.
func TestNoDrawIsKnownBeforeItsTable(t *testing.T) {
	s := readySim(t)
	must(t, s.fill(1))
	s.slot()
	s.now += 5
	s.draw()
	must(t, s.fill(2))
	_, err := s.report()
	must(t, err)
	s.now += 15 // blocks that the host sees before it posts
	must(t, s.post(s.posted))
	st := *s.standing
	if st.Since != st.Height+16 {
		t.Fatalf("report of height %d accepted by block %d", st.Height, st.Since)
	}
	if got := s.v.SeedHeight(st.Height + 1); got != st.Height+1 || got > st.Since {
		t.Fatalf("over the table before, height %d is drawn by block %d", st.Height+1, got)
	}
	_, err = s.accept()
	must(t, err)
	if got := s.v.Next(); got != st.Since+1 || s.v.SeedHeight(got) != got {
		t.Errorf("first height over the new table is %d by block %d; block %d accepted it", got, s.v.SeedHeight(got), st.Since)
	}
	s.restart()
	for h := s.v.Next(); h <= st.Since+1; h++ {
		if got := s.v.SeedHeight(h); got != st.Since+1 {
			t.Errorf("after a restart height %d is drawn by block %d; block %d accepted the table", h, got, st.Since)
		}
	}
	if got := s.v.Next(); got != st.Height+1 {
		t.Errorf("after a restart height %d is next", got)
	}
}

// TestNoDrawIsDodged: a report that ends ahead of a draw which the host can't answer, and names another table, does not make the draw
// go away.
func TestNoDrawIsDodged(t *testing.T) {
	s := readySim(t)
	must(t, s.fill(1))
	s.slot()
	s.now += 4
	s.draw()
	must(t, s.fill(2))
	must(t, s.v.Release(wire.Release{Sectors: []uint32{1}}))
	r, err := s.report()
	must(t, err)
	if r.Failed != 0 {
		t.Fatal("nothing was lost yet")
	}
	delete(s.disk, 1) // from here on no draw over the accepted table is answered
	s.now += 3
	must(t, s.post(s.posted))
	if _, err := s.v.Accepted(*s.standing); code(err) != wire.CodeState {
		t.Fatalf("accepted with draws owed: %v", err)
	}
	_, err = s.accept()
	must(t, err)
	s.now += 5
	if _, failed := s.draw(); failed != 0 {
		t.Fatalf("%d draws over the new table failed", failed)
	}
	next, err := s.report()
	must(t, err)
	if owed := uint64(s.standing.Since - r.Height); next.Failed != owed || next.Answered+next.Failed != uint64(next.Height-next.From) {
		t.Errorf("%d answered, %d failed; want %d failed", next.Answered, next.Failed, owed)
	}
	must(t, s.post(s.posted))
}

// TestOneReportForOneHeight: the chain accepts an early report while a later one is signed. The later one's height is never signed
// for again, over whatever table.
func TestOneReportForOneHeight(t *testing.T) {
	s := readySim(t)
	must(t, s.fill(1))
	s.slot()
	s.now += 5
	s.draw()
	_, err := s.report()
	must(t, err)
	early, then := s.posted, s.now
	s.now += 6
	s.draw()
	late, err := s.report()
	must(t, err)
	now := s.now
	s.now = then // the block that took the early one, of which the host told the vault late
	must(t, s.post(early))
	s.now = now
	_, err = s.accept()
	must(t, err)
	must(t, s.fill(2))
	s.draw()
	if r, err := s.report(); code(err) != wire.CodeState {
		t.Fatalf("a second report of height %d: %+v, %v", late.Height, r, err)
	}
	s.now++
	s.draw()
	r, err := s.report()
	must(t, err)
	if r.Height != late.Height+1 {
		t.Errorf("report of height %d", r.Height)
	}
	must(t, s.post(s.posted))
}

// TestStandingFromTheFuture: figures that no chain makes don't break the vault.
func TestStandingFromTheFuture(t *testing.T) {
	for _, since := range []int64{0, 1, 99, 1 << 61} {
		s := readySim(t)
		must(t, s.fill(1))
		s.slot()
		s.now += 5
		s.draw()
		_, err := s.report()
		must(t, err)
		must(t, s.post(s.posted))
		st := *s.standing
		st.Since = since
		if _, err := s.v.Accepted(st); code(err) != wire.CodeInvalid && code(err) != wire.CodeState {
			t.Errorf("since %d: %v", since, err)
		}
	}
}

// TestLinksAreBounded: a stranger's blocks full of links take a bounded share of the memory, and give it back.
func TestLinksAreBounded(t *testing.T) {
	s := readySim(t)
	must(t, s.open(1))
	must(t, s.open(2))
	d := newDag("d", 1, 2, 3)
	s.store(1, d)
	if s.v.linked != 3 {
		t.Fatalf("%d links", s.v.linked)
	}
	must(t, s.v.Release(wire.Release{Sectors: []uint32{1}}))
	s.v.linked = maxLinks - 1
	e := newDag("e", 4, 5)
	for i, c := range e.cids[:2] {
		_, err := s.seal(2, c, e.blocks[i])
		must(t, err)
	}
	if _, err := s.seal(2, e.root, e.blocks[2]); code(err) != wire.CodeInvalid {
		t.Errorf("too many links: %v", err)
	}
	if _, err := s.seal(2, d.root, d.blocks[3]); err != nil { // known ones take no more
		t.Error(err)
	}
	s.v.linked = 3
	_, err := s.seal(2, e.root, e.blocks[2])
	must(t, err)
	s.slot()
	must(t, s.v.Release(wire.Release{Sectors: []uint32{2}}))
	s.slot()
	if s.v.linked != 0 || len(s.v.links) != 0 {
		t.Errorf("%d links of %d blocks are left", s.v.linked, len(s.v.links))
	}
}

// TestKeystreamNeverRepeats seals blocks whose first cell is all zeros, so that their first ciphertext is the bare keystream of a
// key and nonce: whatever a host asks for, in whatever order and over restarts, none comes twice.
func TestKeystreamNeverRepeats(t *testing.T) {
	s := readySim(t)
	rng := rand.New(rand.NewPCG(1, 2))
	seen := map[string]bool{}
	var cids [][]byte
	note := func(r wire.SealReply, err error) {
		if err != nil || r.Known {
			return
		}
		if first := string(r.Cells[:storageproof.CellSize]); seen[first] {
			t.Fatal("a key and nonce came twice")
		} else {
			seen[first] = true
		}
	}
	for i := range 1500 {
		id := rng.Uint32N(6)
		switch rng.IntN(10) {
		case 0, 1:
			_ = s.open(id)
		case 2, 3, 4, 5:
			b := append(make([]byte, storageproof.CellSize), fmt.Append(nil, i)...)
			c := rawCID(b)
			r, err := s.seal(id, c, b)
			note(r, err)
			if err == nil {
				cids = append(cids, c)
			}
		case 6, 7:
			if len(cids) > 0 {
				note(s.move(cids[rng.IntN(len(cids))], id))
			}
		case 8:
			_ = s.v.Release(wire.Release{Sectors: []uint32{id}})
		case 9:
			if rng.IntN(3) > 0 {
				s.slot()
			} else if s.standing != nil {
				s.restart()
			}
		}
	}
	if len(seen) < 100 || s.lives < 5 {
		t.Fatalf("only %d blocks were sealed", len(seen))
	}
}

// TestHolding lets many requests race and then holds the vault's books against a count from scratch: a sector never lets go of a
// block that an order needs, and no cell counts twice.
func TestHolding(t *testing.T) {
	s := readySim(t)
	for id := range uint32(6) {
		must(t, s.open(id))
	}
	var dags []dag
	for i := range 8 {
		dags = append(dags, newDag(fmt.Sprint("dag ", i%6), 100*(i%6), 5000)) // the last two are the first two again
	}
	var wg sync.WaitGroup
	for w := range 6 {
		wg.Go(func() {
			rng := rand.New(rand.NewPCG(7, uint64(w)))
			type at struct{ cells, tags []byte }
			mine := map[string]at{}
			for range 60 {
				d := dags[rng.IntN(len(dags))]
				id := rng.Uint32N(6)
				switch rng.IntN(7) {
				case 0, 1:
					for i, c := range d.cids {
						if r, err := s.v.Seal(wire.Seal{Sector: id, CID: c, Data: d.blocks[i]}, nil); err == nil && !r.Known {
							mine[string(c)] = at{r.Cells, r.Tags}
						}
					}
				case 2:
					for c, p := range mine {
						if r, err := s.v.Move(wire.Move{CID: []byte(c), Cells: p.cells, Tags: p.tags, Sector: id}, nil); err == nil && !r.Known {
							mine[c] = at{r.Cells, r.Tags}
						}
						break
					}
				case 3:
					_, _ = s.v.Complete(wire.Complete{Order: wire.Order{ID: rng.Uint64N(12), Root: d.root, Size: d.size}})
				case 4:
					_ = s.v.Drop(wire.Drop{Orders: []uint64{rng.Uint64N(12)}})
				case 5:
					if rng.IntN(6) == 0 {
						_ = s.v.Release(wire.Release{Sectors: []uint32{id}})
					}
				case 6:
					_, _ = s.v.Report(99, func(h int64) ([32]byte, bool) { return hashAt(h), true },
						func(p []byte) [64]byte { return [64]byte(ed25519.Sign(s.sign, p)) })
				}
			}
		})
	}
	wg.Wait()
	books(t, s.v)
	for _, o := range s.v.orders {
		if _, _, missing := s.v.walk(o.root, s.v.live); missing != nil {
			t.Errorf("order %d lost a block", o.ref.ID)
		}
	}
}

// books counts a vault's sectors and references from scratch.
func books(t *testing.T, v *Vault) {
	t.Helper()
	held, blocks, links, stale := map[uint32]uint32{}, map[uint32]int{}, 0, 0
	for k, p := range v.blocks {
		links += len(v.links[k])
		if p.slot == lost {
			continue
		}
		if v.slots[p.slot] == nil {
			stale++
			continue
		}
		blocks[p.slot]++
		if p.refs > 0 {
			held[p.slot]++
		}
	}
	for _, s := range v.slots {
		if s != nil && (s.held != held[s.slot] || s.blocks != blocks[s.slot]) {
			t.Errorf("sector %d: %d of %d blocks held, by count %d of %d", s.id, s.held, s.blocks, held[s.slot], blocks[s.slot])
		}
		if s != nil && s.released && held[s.slot] > 0 {
			t.Errorf("sector %d is released with %d blocks of orders", s.id, held[s.slot])
		}
	}
	refs := map[storageproof.BlockKey]uint32{}
	for _, o := range v.orders {
		if !o.counted {
			continue
		}
		found, _, missing := v.walk(o.root, v.known)
		if missing != nil {
			t.Errorf("order %d counts a block that is forgotten", o.ref.ID)
		}
		for k := range found {
			refs[k]++
		}
	}
	for k, p := range v.blocks {
		if p.refs != refs[k] {
			t.Errorf("a block is needed by %d orders, by count %d", p.refs, refs[k])
		}
	}
	if links != v.linked {
		t.Errorf("%d links, by count %d", v.linked, links)
	}
	if stale != v.stale {
		t.Errorf("%d places are stale, by count %d", v.stale, stale)
	}
	if len(v.flying) != 0 {
		t.Errorf("%d blocks are still being sealed", len(v.flying))
	}
}
