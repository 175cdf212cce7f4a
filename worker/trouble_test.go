package worker

import (
	"bytes"
	"context"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"testing"

	sdk "github.com/cosmos/cosmos-sdk/types"
	"github.com/ipfs/boxo/blockstore"
	blocks "github.com/ipfs/go-block-format"
	"github.com/ipfs/go-cid"
	ipld "github.com/ipfs/go-ipld-format"

	"github.com/cella-network/cella/api/work"
	"github.com/cella-network/cella/protocol/storageproof"
	"github.com/cella-network/cella/worker/disk"
)

func geometry(t *testing.T) storageproof.Geometry {
	g, err := storageproof.NewGeometry(testSector)
	if err != nil {
		t.Fatal(err)
	}
	return g
}

// TestLostSectorsLeaveTheTable takes one data sector and one free sector away while the node is down: what is left goes on.
func TestLostSectorsLeaveTheTable(t *testing.T) {
	c := newFakeChain(t)
	o, owner := newOperator(t, c, 1, 8), newOwner(t, c)
	o.start()
	f := owner.order(2_000_000, 1)
	o.proves(f.order)
	o.stop()
	var gone []string
	dirs, _ := filepath.Glob(filepath.Join(o.dir, "index", "*.dir"))
	free, _ := filepath.Glob(filepath.Join(o.dir, "sectors", "*"))
	free = slices.DeleteFunc(free, func(p string) bool {
		return slices.Contains(dirs, filepath.Join(o.dir, "index", filepath.Base(p)+".dir"))
	})
	for _, d := range dirs {
		gone = append(gone, filepath.Join(o.dir, "sectors", filepath.Base(d)[:6]))
	}
	gone = append(gone, free[0])
	for _, p := range gone {
		if err := os.Remove(p); err != nil {
			t.Fatal(err)
		}
	}
	c.eventually("its replica was proven", func() bool { return c.replicas[f.order][o.address].Proven })
	o.start()
	// The order is let go, fetched again from its owner and proven again.
	o.mends(f.order)
	o.serves(f)
	at := look(c, func() storageproof.Standing { return *c.standing(o.account) })
	o.stands("draws succeed again", func(st storageproof.Standing) bool { return st.Proven >= at.Proven+20 && st.Failed == at.Failed })
}

// TestLostTable starts on a disk without the accepted table, as after a wrong mount: nothing is deleted, and when it is back all goes on.
func TestLostTable(t *testing.T) {
	c := newFakeChain(t)
	o, owner := newOperator(t, c, 1, 6), newOwner(t, c)
	o.start()
	f := owner.order(1_000_000, 1)
	o.proves(f.order)
	o.stop()
	index, away := filepath.Join(o.dir, "index"), filepath.Join(t.TempDir(), "index")
	if err := os.Rename(index, away); err != nil {
		t.Fatal(err)
	}
	before, _ := filepath.Glob(filepath.Join(o.dir, "sectors", "*"))
	o.start()
	c.eventually("it tries again", func() bool {
		o.mu.Lock()
		defer o.mu.Unlock()
		return o.starts >= 3
	})
	o.stop()
	if after, _ := filepath.Glob(filepath.Join(o.dir, "sectors", "*")); len(after) != len(before) {
		t.Fatalf("%d of %d sectors are left", len(after), len(before))
	}
	if err := errors.Join(os.RemoveAll(index), os.Rename(away, index)); err != nil {
		t.Fatal(err)
	}
	o.start()
	at := look(c, func() uint64 { return c.standing(o.account).Counter })
	o.stands("reports go on", func(st storageproof.Standing) bool { return st.Counter > at+1 && st.Failed == 0 })
	o.serves(f)
}

// TestLongDowntime starts a node again when its chain's node keeps the blocks no more whose draws it owes: they fail, and all goes on.
func TestLongDowntime(t *testing.T) {
	c := newFakeChain(t)
	o := newOperator(t, c, 1, 4)
	o.start()
	o.stands("filled", func(st storageproof.Standing) bool { return st.Free > 0 && st.Proven > 4 })
	o.stop()
	before := look(c, func() storageproof.Standing { return *c.standing(o.account) })
	c.eventually("ten blocks pass", func() bool { return int64(len(c.headers)) > before.Since+10 })
	c.mu.Lock()
	c.oldest = int64(len(c.headers))
	gone := c.oldest - before.Since - 2
	c.mu.Unlock()
	o.start()
	o.stands("the lost heights fail", func(st storageproof.Standing) bool { return st.Failed > before.Failed })
	at := look(c, func() storageproof.Standing { return *c.standing(o.account) })
	if failed := int64(at.Failed - before.Failed); failed < gone {
		t.Errorf("%d heights failed, %d could not be answered", failed, gone)
	}
	o.stands("reports go on", func(st storageproof.Standing) bool {
		return st.Counter > at.Counter+1 && st.Failed == at.Failed && st.Proven > at.Proven+4
	})
}

// TestRotFailsItsDraws overwrites every sector: the enclave notices, the report says so, and other sectors take their place.
func TestRotFailsItsDraws(t *testing.T) {
	c := newFakeChain(t)
	o := newOperator(t, c, 1, 4)
	o.start()
	o.stands("filled", func(st storageproof.Standing) bool { return st.Free > 0 && st.Proven > 4 })
	if look(c, func() uint64 { return c.standing(o.account).Failed }) != 0 {
		t.Fatal("heights failed before anything was wrong")
	}
	at := uint64(0)
	files, _ := filepath.Glob(filepath.Join(o.dir, "sectors", "*"))
	for _, p := range files {
		if err := os.WriteFile(p, bytes.Repeat([]byte{1}, testSector), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	o.stands("failed draws are reported", func(st storageproof.Standing) bool { return st.Failed > 0 })
	sound := uint64(0)
	o.stands("draws succeed again", func(st storageproof.Standing) bool {
		if bad := st.Failed; bad != sound {
			sound, at = bad, st.Proven
		}
		return st.Free > 0 && st.Proven > at+40
	})
}

// TestTierLimitsTheDisk holds that a node does not report more than its tier may prove.
func TestTierLimitsTheDisk(t *testing.T) {
	c := newFakeChain(t)
	one := uint64(geometry(t).FreeCells) * storageproof.CellSize
	c.capacity = 5*one + one/2
	o := newOperator(t, c, 1, 12)
	o.start()
	o.stands("filled as far as the tier allows, less the spare", func(st storageproof.Standing) bool { return st.Free == 4*one })
	at := look(c, func() uint64 { return c.standing(o.account).Counter })
	o.stands("it stays so", func(st storageproof.Standing) bool { return st.Counter > at+2 && st.Free == 4*one })
}

// TestOrdersThatDoNotFit holds that a node takes nothing that its quota cannot hold, and that a lie about an order's size costs it
// nothing but the fetch.
func TestOrdersThatDoNotFit(t *testing.T) {
	c := newFakeChain(t)
	o, owner := newOperator(t, c, 1, 5), newOwner(t, c)
	o.start()
	big := owner.order(13_000_000, 1)
	lie := owner.order(500_000, 1)
	c.mu.Lock()
	order := c.orders[lie.order]
	order.Size -= 1000
	c.orders[lie.order] = order
	c.mu.Unlock()
	good := owner.order(500_000, 1)
	o.proves(good.order)
	c.eventually("the lie was accepted", func() bool { return len(c.replicas[lie.order]) == 1 })
	at := look(c, func() uint64 { return c.standing(o.account).Counter })
	o.stands("reports go on", func(st storageproof.Standing) bool { return st.Counter > at+3 && st.Failed == 0 })
	if look(c, func() bool { return c.replicas[lie.order][o.address].Proven || len(c.replicas[big.order]) > 0 }) {
		t.Error("proved an order of another size, or took one that does not fit")
	}
	files, _ := filepath.Glob(filepath.Join(o.dir, "sectors", "*"))
	if len(files) > 5 {
		t.Errorf("%d sector files, quota 5", len(files))
	}
}

// TestFreeSectorsMakeRoom seals an order that needs more sectors than the spare: free ones are given up for it, whether the disk is
// full already or still being filled.
func TestFreeSectorsMakeRoom(t *testing.T) {
	one := uint64(geometry(t).FreeCells) * storageproof.CellSize
	for _, filled := range []uint64{6, 3, 0} {
		c := newFakeChain(t)
		o, owner := newOperator(t, c, 1, 8), newOwner(t, c)
		o.start()
		o.stands("disk filled so far", func(st storageproof.Standing) bool { return st.Free >= filled*one })
		f := owner.order(16_000_000, 1)
		o.proves(f.order)
		o.serves(f)
		o.stands("no height failed", func(st storageproof.Standing) bool { return st.Failed == 0 })
		o.stop()
	}
}

// TestQuotaCanBeLowered restarts a full node with a lower quota: free sectors go until it is kept.
func TestQuotaCanBeLowered(t *testing.T) {
	c := newFakeChain(t)
	one := uint64(geometry(t).FreeCells) * storageproof.CellSize
	o, owner := newOperator(t, c, 1, 9), newOwner(t, c)
	o.start()
	f := owner.order(1_000_000, 1)
	o.proves(f.order)
	o.stands("disk filled", func(st storageproof.Standing) bool { return st.Free >= 5*one })
	o.stop()
	o.quota = 4
	o.start()
	c.eventually("the files keep the quota", func() bool {
		files, _ := filepath.Glob(filepath.Join(o.dir, "sectors", "*"))
		return len(files) <= 4
	})
	o.serves(f)
	o.stands("no height failed", func(st storageproof.Standing) bool { return st.Failed == 0 && st.Stored > 0 })
}

// TestStore holds the sealed store to what a blockstore owes.
func TestStore(t *testing.T) {
	ctx := context.Background()
	c := newFakeChain(t)
	o, owner := newOperator(t, c, 1, 6), newOwner(t, c)
	f := owner.order(2_500_000, 1)
	absent := blocks.NewBlock([]byte("absent"))
	var store blockstore.Blockstore = o.store
	// Between sessions it is empty, not broken.
	if ok, err := store.Has(ctx, f.root); ok || err != nil {
		t.Fatalf("has %v, %v before the first session", ok, err)
	}
	if _, err := store.Get(ctx, f.root); !ipld.IsNotFound(err) {
		t.Fatalf("%v, want not found", err)
	}
	o.start()
	o.proves(f.order)
	keys, err := store.AllKeysChan(ctx)
	if err != nil {
		t.Fatal(err)
	}
	n := 0
	for k := range keys {
		n++
		want, err := owner.store.Get(ctx, k)
		if err != nil {
			t.Fatal(err)
		}
		got, err := store.Get(ctx, k)
		if err != nil || !bytes.Equal(got.RawData(), want.RawData()) || got.Cid() != k {
			t.Fatalf("block %s reads back differently (%v)", k, err)
		}
		if size, err := store.GetSize(ctx, k); err != nil || size != len(want.RawData()) {
			t.Fatalf("size %d (%v), want %d", size, err, len(want.RawData()))
		}
		if ok, err := store.Has(ctx, k); !ok || err != nil {
			t.Fatalf("has %v, %v", ok, err)
		}
	}
	if n != 4 {
		t.Errorf("%d blocks, want three leaves and a root", n)
	}
	for _, k := range []cid.Cid{absent.Cid(), cid.NewCidV1(cid.DagCBOR, absent.Cid().Hash())} {
		if _, err := store.Get(ctx, k); !ipld.IsNotFound(err) {
			t.Errorf("%v, want not found", err)
		}
		if _, err := store.GetSize(ctx, k); !ipld.IsNotFound(err) {
			t.Errorf("%v, want not found", err)
		}
	}
	for name, err := range map[string]error{"Put": store.Put(ctx, absent), "PutMany": store.PutMany(ctx, []blocks.Block{absent}), "DeleteBlock": store.DeleteBlock(ctx, f.root)} {
		if !errors.Is(err, ErrReadOnly) {
			t.Errorf("%s: %v, want ErrReadOnly", name, err)
		}
	}
	short, cancel := context.WithCancel(ctx)
	if keys, err = store.AllKeysChan(short); err != nil {
		t.Fatal(err)
	}
	<-keys
	cancel()
	for range keys { // it ends
	}
	o.stop()
	if ok, _ := store.Has(ctx, f.root); ok {
		t.Error("has blocks after the session ended")
	}
}

// TestLostReports holds reports back for longer than they are good for, as a chain under load may: the node signs later ones and
// goes on with whichever the chain takes, without a restart.
func TestLostReports(t *testing.T) {
	c := newFakeChain(t)
	o, owner := newOperator(t, c, 1, 6), newOwner(t, c)
	o.start()
	f := owner.order(1_000_000, 1)
	o.proves(f.order)
	key := look(c, func() []byte { return c.nodes[o.account].SignKey })
	c.mu.Lock()
	c.hold = func(m sdk.Msg) bool { _, ok := m.(*work.MsgReport); return ok }
	began := int64(len(c.headers))
	c.mu.Unlock()
	c.eventually("two reports wait, the first too old", func() bool { return len(c.queue) >= 2 && int64(len(c.headers)) > began+60 })
	c.mu.Lock()
	c.hold = nil
	c.mu.Unlock()
	at := look(c, func() uint64 { return c.standing(o.account).Counter })
	o.stands("reports go on", func(st storageproof.Standing) bool { return st.Counter > at+2 && st.Failed == 0 })
	if !bytes.Equal(look(c, func() []byte { return c.nodes[o.account].SignKey }), key) {
		t.Error("the enclave was restarted")
	}
	if tables, _ := filepath.Glob(filepath.Join(o.dir, "index", "table-*")); len(tables) > 2 {
		t.Errorf("%d tables are kept, want those of the last accepted report and the next", len(tables))
	}
	o.serves(f)
}

// TestDiskInUse holds that a second worker on one folder ends instead of retrying for ever.
func TestDiskInUse(t *testing.T) {
	c := newFakeChain(t)
	o := newOperator(t, c, 1, 4)
	d, err := disk.Open(o.dir, 4, testSector)
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	w := New(Options{Dir: o.dir, Config: Config{Disk: DiskConfig{Sectors: 4}}, Chain: c, Queries: c.queries()})
	if err := w.Run(context.Background()); !errors.Is(err, disk.ErrLocked) {
		t.Fatalf("%v, want ErrLocked", err)
	}
}
