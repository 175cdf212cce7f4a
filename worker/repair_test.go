package worker

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"sync/atomic"
	"testing"

	"github.com/ipfs/go-cid"

	"github.com/cella-network/cella/protocol/storageproof"
	"github.com/cella-network/cella/worker/disk"
)

// sealedIn is the data sector that holds a file's root, and where all blocks lie.
func (o *operator) sealedIn(f file) (id uint32, at map[storageproof.BlockKey]disk.Location) {
	o.t.Helper()
	s := o.store.current()
	root, err := storageproof.ParseBlockKey(f.root.Bytes())
	if err != nil {
		o.t.Fatal(err)
	}
	where, ok := s.disk.Find(root)
	if !ok {
		o.t.Fatal("the root is not sealed")
	}
	at = map[storageproof.BlockKey]disk.Location{}
	for _, k := range s.disk.Keys() {
		at[k], _ = s.disk.Find(k)
	}
	return where.Sector, at
}

func (o *operator) sectorFile(id uint32) string { return filepath.Join(o.dir, "sectors", number(id)) }
func (o *operator) dirFile(id uint32) string {
	return filepath.Join(o.dir, "index", number(id)+".dir")
}

func number(id uint32) string {
	return string([]byte{'0', '0', '0', '0', '0' + byte(id/10), '0' + byte(id%10)})
}

// flip turns the bits of so many bytes of a file.
func flip(t *testing.T, path string, at int64, n int) {
	t.Helper()
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	p := make([]byte, n)
	if _, err := f.ReadAt(p, at); err != nil {
		t.Fatal(err)
	}
	for i := range p {
		p[i] ^= 0xff
	}
	if _, err := f.WriteAt(p, at); err != nil {
		t.Fatal(err)
	}
}

// sound waits until so many heights in a row succeeded.
func (o *operator) sound() {
	o.t.Helper()
	var failed, since uint64
	o.stands("draws succeed again", func(st storageproof.Standing) bool {
		if st.Failed != failed {
			failed, since = st.Failed, st.Proven
		}
		return st.Proven >= since+30
	})
}

func removeAll(t *testing.T, pattern string) {
	t.Helper()
	all, err := filepath.Glob(pattern)
	if err != nil || len(all) == 0 {
		t.Fatalf("%s: %v", pattern, err)
	}
	for _, p := range all {
		if err := os.RemoveAll(p); err != nil {
			t.Fatal(err)
		}
	}
}

// TestDamage does to a disk what disks and people do to it. The node notices, fetches what it lost, proves it again and goes on.
func TestDamage(t *testing.T) {
	for _, c := range []struct {
		name    string
		stopped bool // while the node is down
		lost    bool // the operator must declare the disk lost
		kept    bool // nothing needs to be fetched
		do      func(t *testing.T, o *operator, id uint32, at map[storageproof.BlockKey]disk.Location)
	}{
		{name: "cells flipped", do: func(t *testing.T, o *operator, id uint32, at map[storageproof.BlockKey]disk.Location) {
			for k, l := range at {
				if k.Codec == cid.Raw {
					flip(t, o.sectorFile(l.Sector), storageproof.CellOffset(l.Cell), int(l.Length)) // in one unit or in two, tags between
				}
			}
		}},
		{name: "tag page flipped", do: func(t *testing.T, o *operator, id uint32, at map[storageproof.BlockKey]disk.Location) {
			flip(t, o.sectorFile(id), storageproof.TagPageOffset(0), storageproof.CellSize)
		}},
		{name: "header page flipped", stopped: true, do: func(t *testing.T, o *operator, id uint32, at map[storageproof.BlockKey]disk.Location) {
			flip(t, o.sectorFile(id), 0, storageproof.CellSize)
		}},
		{name: "directory flipped", stopped: true, do: func(t *testing.T, o *operator, id uint32, at map[storageproof.BlockKey]disk.Location) {
			flip(t, o.dirFile(id), 40, 1)
		}},
		{name: "directory deleted", kept: true, do: func(t *testing.T, o *operator, id uint32, at map[storageproof.BlockKey]disk.Location) {
			removeAll(t, o.dirFile(id))
		}},
		{name: "sector file deleted", do: func(t *testing.T, o *operator, id uint32, at map[storageproof.BlockKey]disk.Location) {
			removeAll(t, o.sectorFile(id))
		}},
		{name: "sector file cut short", do: func(t *testing.T, o *operator, id uint32, at map[storageproof.BlockKey]disk.Location) {
			if err := os.Truncate(o.sectorFile(id), 1<<20); err != nil {
				t.Fatal(err)
			}
		}},
		{name: "sector file cut short, node down", stopped: true, do: func(t *testing.T, o *operator, id uint32, at map[storageproof.BlockKey]disk.Location) {
			if err := os.Truncate(o.sectorFile(id), 1<<20); err != nil {
				t.Fatal(err)
			}
		}},
		{name: "all data deleted with the index intact", do: func(t *testing.T, o *operator, id uint32, at map[storageproof.BlockKey]disk.Location) {
			removeAll(t, filepath.Join(o.dir, "sectors"))
		}},
		{name: "all data deleted with the index intact, node down", stopped: true, do: func(t *testing.T, o *operator, id uint32, at map[storageproof.BlockKey]disk.Location) {
			removeAll(t, filepath.Join(o.dir, "sectors"))
		}},
		{name: "index deleted with the data intact", kept: true, do: func(t *testing.T, o *operator, id uint32, at map[storageproof.BlockKey]disk.Location) {
			removeAll(t, filepath.Join(o.dir, "index"))
		}},
		{name: "index deleted with the data intact, node down", stopped: true, lost: true, do: func(t *testing.T, o *operator, id uint32, at map[storageproof.BlockKey]disk.Location) {
			removeAll(t, filepath.Join(o.dir, "index"))
		}},
		{name: "whole folder deleted", lost: true, do: func(t *testing.T, o *operator, id uint32, at map[storageproof.BlockKey]disk.Location) {
			removeAll(t, o.dir)
		}},
		{name: "table flipped", stopped: true, lost: true, do: func(t *testing.T, o *operator, id uint32, at map[storageproof.BlockKey]disk.Location) {
			tables, _ := filepath.Glob(filepath.Join(o.dir, "index", "table-*"))
			for _, p := range tables {
				flip(t, p, 100, 1)
			}
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			chain := newFakeChain(t)
			o, owner := newOperator(t, chain, 1, 5), newOwner(t, chain)
			f := owner.order(2_200_000, 1) // before any sector is filled, so that it lies in the first
			o.start()
			o.proves(f.order)
			o.mends(f.order)
			if c.kept { // whoever fetched would find nothing
				keys, err := owner.store.AllKeysChan(context.Background())
				if err != nil {
					t.Fatal(err)
				}
				for k := range keys {
					if err := owner.store.DeleteBlock(context.Background(), k); err != nil {
						t.Fatal(err)
					}
				}
			}
			id, at := o.sealedIn(f)
			if c.stopped {
				o.stop()
				c.do(t, o, id, at)
				if s, err := disk.Verify(t.Context(), o.dir, testSector, disk.VerifyOptions{}); err == nil && (len(s.Faults) == 0 || len(s.Broken) != 1) {
					t.Errorf("verify finds %d faults and %d broken orders", len(s.Faults), len(s.Broken))
				}
				o.start()
			} else {
				c.do(t, o, id, at)
			}
			if c.lost {
				chain.eventually("the node asks for its disk", func() bool { return o.log.says("cella repair --lost") })
				if err := disk.MarkLost.Set(o.dir); err != nil {
					t.Fatal(err)
				}
			}
			counter := look(chain, func() uint64 { return chain.standing(o.account).Counter })
			o.stands("reports go on", func(st storageproof.Standing) bool { return st.Counter > counter+1 })
			chain.eventually("the damage is known", func() bool {
				return o.log.says("draw failed") || o.log.says("is lost") || o.log.says("sector lost") || o.log.says("missing or cut short")
			})
			o.mends(f.order)
			o.sound()
			o.serves(f)
			if disk.MarkLost.Stands(o.dir) {
				t.Error("the disk is still declared lost")
			}
			if files, _ := filepath.Glob(filepath.Join(o.dir, "sectors", "*")); len(files) > 5 {
				t.Errorf("%d sector files, quota 5", len(files))
			}
			// What was mended is there after a restart too.
			o.stop()
			if s, err := disk.Verify(t.Context(), o.dir, testSector, disk.VerifyOptions{Deep: true}); err != nil || len(s.Faults) > 0 || len(s.Broken) > 0 {
				t.Errorf("verify finds %+v, %d broken orders (%v)", s.Faults, len(s.Broken), err)
			}
			o.start()
			counter = look(chain, func() uint64 { return chain.standing(o.account).Counter })
			o.stands("reports go on after a restart", func(st storageproof.Standing) bool { return st.Counter > counter+1 })
			o.mends(f.order)
			o.serves(f)
		})
	}
}

// TestOnlyTheMissingBlocksAreFetched flips one block of a file whose owner has kept that one alone: the others are moved, not fetched.
// It is mended before the next report, so the chain never hears of it but for the failed heights.
func TestOnlyTheMissingBlocksAreFetched(t *testing.T) {
	chain := newFakeChain(t)
	chain.slot = 200
	o, owner := newOperator(t, chain, 1, 4), newOwner(t, chain)
	f := owner.order(2_200_000, 1)
	o.start()
	chain.eventually("a report waits for the slot", func() bool { return chain.standing(o.account) != nil })
	o.mends(f.order)
	_, at := o.sealedIn(f)
	spoilt := false
	for k, l := range at {
		c, err := cid.Cast(k.CID())
		if err != nil {
			t.Fatal(err)
		}
		if !spoilt && l.Length == 1<<20 {
			spoilt = true
			flip(t, o.sectorFile(l.Sector), storageproof.CellOffset(l.Cell), 200*storageproof.CellSize)
			continue
		}
		if err := owner.store.DeleteBlock(context.Background(), c); err != nil {
			t.Fatal(err)
		}
	}
	chain.eventually("a draw failed", func() bool { return o.log.says("draw failed") })
	reports := look(chain, func() int { return chain.reports })
	o.mends(f.order)
	chain.eventually("order complete", func() bool { s := o.store.current(); return len(s.held.list(mending)) == 0 })
	o.serves(f)
	if look(chain, func() int { return chain.reports }) == reports && look(chain, func() int { return chain.losses }) != 0 {
		t.Error("the chain heard of a loss that was mended in time")
	}
	chain.eventually("the report after it", func() bool { return chain.reports > reports+1 })
	if n := look(chain, func() int { return chain.losses }); n != 0 {
		t.Errorf("the chain heard of %d losses, want none", n)
	}
}

// TestDiskIsTakenAway renames the folder under a running node, as when it is unmounted: nothing is admitted as lost, and when it is back
// all goes on.
func TestDiskIsTakenAway(t *testing.T) {
	chain := newFakeChain(t)
	o, owner := newOperator(t, chain, 1, 4), newOwner(t, chain)
	f := owner.order(1_200_000, 1)
	o.start()
	o.mends(f.order)
	away := filepath.Join(t.TempDir(), "away")
	if err := os.Rename(o.dir, away); err != nil {
		t.Fatal(err)
	}
	chain.eventually("the node asks for its disk", func() bool { return o.log.says("bring this account's disk folder back") })
	if err := os.RemoveAll(o.dir); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(away, o.dir); err != nil {
		t.Fatal(err)
	}
	at := look(chain, func() uint64 { return chain.standing(o.account).Counter })
	o.stands("reports go on", func(st storageproof.Standing) bool { return st.Counter > at+2 })
	o.serves(f)
	if n := look(chain, func() int { return chain.losses }); n != 0 {
		t.Errorf("%d replicas were let go", n)
	}
}

// TestDeclaredLostButThere holds that a declaration costs nothing where the table is there after all.
func TestDeclaredLostButThere(t *testing.T) {
	chain := newFakeChain(t)
	o, owner := newOperator(t, chain, 1, 4), newOwner(t, chain)
	f := owner.order(1_200_000, 1)
	o.start()
	o.mends(f.order)
	o.stop()
	if err := disk.MarkLost.Set(o.dir); err != nil {
		t.Fatal(err)
	}
	o.start()
	at := look(chain, func() uint64 { return chain.standing(o.account).Counter })
	o.stands("reports go on", func(st storageproof.Standing) bool { return st.Counter > at+1 && st.Failed == 0 })
	o.serves(f)
	if disk.MarkLost.Stands(o.dir) || look(chain, func() int { return chain.losses }) != 0 {
		t.Error("the declaration still stands, or was acted on")
	}
}

// TestFullDisk takes the room away: orders wait, draws are answered, and with the room the orders are sealed.
func TestFullDisk(t *testing.T) {
	chain := newFakeChain(t)
	o, owner := newOperator(t, chain, 1, 12), newOwner(t, chain)
	var left atomic.Uint64
	left.Store(1 << 40)
	o.free = func() (uint64, error) { return left.Load(), nil }
	one := uint64(geometry(t).FreeCells) * storageproof.CellSize
	o.start()
	o.stands("some sectors are filled", func(st storageproof.Standing) bool { return st.Free >= 2*one })
	left.Store(1 << 20)
	at := look(chain, func() storageproof.Standing { return *chain.standing(o.account) })
	o.stands("reports go on", func(st storageproof.Standing) bool { return st.Counter > at.Counter+4 && st.Failed == 0 })
	f := owner.order(1_200_000, 1)
	at = look(chain, func() storageproof.Standing { return *chain.standing(o.account) })
	o.stands("reports go on", func(st storageproof.Standing) bool { return st.Counter > at.Counter+4 && st.Failed == 0 })
	if look(chain, func() bool { return chain.replicas[f.order][o.address].Proven }) {
		t.Error("sealed without room")
	}
	left.Store(1 << 40)
	o.proves(f.order)
	o.stands("no height failed", func(st storageproof.Standing) bool { return st.Failed == 0 })
}

// TestDiskFillsWhileSealing lets the file system run full between the acceptance of an order and its sealing.
func TestDiskFillsWhileSealing(t *testing.T) {
	chain := newFakeChain(t)
	o, owner := newOperator(t, chain, 1, 12), newOwner(t, chain)
	var cleared atomic.Bool
	o.free = func() (uint64, error) {
		if taken := look(chain, func() bool { return len(chain.replicas) > 0 }); taken && !cleared.Load() {
			return 1 << 20, nil
		}
		return 1 << 40, nil
	}
	o.start()
	o.stands("the first report", func(st storageproof.Standing) bool { return st.Counter > 1 })
	f := owner.order(12_000_000, 1)
	chain.eventually("sealing pauses", func() bool { return o.log.says("sealing pauses until there is room") })
	at := look(chain, func() storageproof.Standing { return *chain.standing(o.account) })
	o.stands("reports go on", func(st storageproof.Standing) bool { return st.Counter > at.Counter+3 && st.Failed == 0 })
	cleared.Store(true)
	o.proves(f.order)
	o.serves(f)
	o.stands("no height failed", func(st storageproof.Standing) bool { return st.Failed == 0 })
}

// TestScrub flips one cell among thousands, which draws would meet after minutes. The scrub finds it.
func TestScrub(t *testing.T) {
	chain := newFakeChain(t)
	o, owner := newOperator(t, chain, 1, 4), newOwner(t, chain)
	o.scrub = 1 << 10
	f := owner.order(2_900_000, 1)
	o.start()
	o.mends(f.order)
	_, at := o.sealedIn(f)
	cells := map[uint32]uint64{}
	for _, l := range at {
		cells[l.Sector] += storageproof.CellsOf(uint64(l.Length))
	}
	o.stop()
	for _, l := range at { // a sector that is less than half full would be compacted, and that finds it too
		if 2*cells[l.Sector] >= uint64(geometry(t).DataCells) {
			flip(t, o.sectorFile(l.Sector), storageproof.CellOffset(l.Cell), 1)
			break
		}
	}
	o.start()
	chain.eventually("the scrub finds it", func() bool { return o.log.says("scrub: a sealed block can't be opened") })
	o.mends(f.order)
	chain.eventually("it is fetched again", func() bool { return o.log.says("order complete") })
	o.serves(f)
}

// TestPassingErrorIsNoLoss makes a sector impossible to open for a reason that says nothing about its bytes: the node does not begin, and
// lets nothing go. With the reason gone it goes on.
func TestPassingErrorIsNoLoss(t *testing.T) {
	chain := newFakeChain(t)
	o, owner := newOperator(t, chain, 1, 4), newOwner(t, chain)
	f := owner.order(1_200_000, 1)
	o.start()
	o.mends(f.order)
	id, _ := o.sealedIn(f)
	o.stop()
	path := o.sectorFile(id)
	if err := os.Rename(path, path+".away"); err != nil {
		t.Fatal(err)
	}
	away := filepath.Join(t.TempDir(), "sector")
	if err := os.Rename(path+".away", away); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(path, path); err != nil { // opens to ELOOP
		t.Fatal(err)
	}
	starts := func() int {
		o.mu.Lock()
		defer o.mu.Unlock()
		return o.starts
	}
	before := starts()
	o.start()
	chain.eventually("it tries again and again", func() bool { return starts() >= before+3 })
	o.stop()
	if err := errors.Join(os.Remove(path), os.Rename(away, path)); err != nil {
		t.Fatal(err)
	}
	at := look(chain, func() uint64 { return chain.standing(o.account).Counter })
	o.start()
	o.stands("reports go on", func(st storageproof.Standing) bool { return st.Counter > at+1 })
	o.serves(f)
	if n := look(chain, func() int { return chain.losses }); n != 0 {
		t.Errorf("%d replicas were let go", n)
	}
}

// TestTwice holds that a block is admitted to be lost only if it could not be read a second time.
func TestTwice(t *testing.T) {
	keys := []storageproof.BlockKey{{Codec: 1}, {Codec: 2}, {Codec: 3}}
	tries := map[storageproof.BlockKey]int{}
	bad, first, err := twice(keys, func(k storageproof.BlockKey) error {
		if tries[k]++; k == keys[2] || k == keys[1] && tries[k] == 1 {
			return errUnreadable
		}
		return nil
	})
	if err != nil || !errors.Is(first, errUnreadable) || len(bad) != 1 || bad[0] != keys[2] {
		t.Errorf("%v are bad (%v, %v), want the third alone", bad, first, err)
	}
	if tries[keys[0]] != 1 || tries[keys[1]] != 2 || tries[keys[2]] != 2 {
		t.Errorf("tried %v", tries)
	}
	other := errors.New("no room")
	clear(tries)
	if bad, _, err := twice(keys, func(k storageproof.BlockKey) error {
		if tries[k]++; k == keys[1] {
			return other
		}
		return errUnreadable
	}); len(bad) != 1 || bad[0] != keys[0] || tries[keys[0]] != 2 || tries[keys[2]] != 0 || !errors.Is(err, other) {
		t.Errorf("%v are bad (%v) after %v tries, want the first alone", bad, err, tries)
	}
}
