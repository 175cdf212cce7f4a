package disk

import (
	"context"
	"crypto/sha256"
	"errors"
	"io"
	"os"
	"path/filepath"
	"syscall"
	"testing"

	"github.com/cella-network/cella/protocol/storageproof"
)

// row is the row of a data sector of noise that holds these blocks, as a vault would report it.
func row(t *testing.T, id uint32, blocks ...sealed) Row {
	t.Helper()
	var tags, records []byte
	cells := uint32(0)
	for _, b := range blocks {
		tags, records = append(tags, b.tags...), append(records, b.record(cells)...)
		cells += b.count()
	}
	var leaves [][32]byte
	for len(tags) > 0 {
		var page [cell]byte
		tags = tags[copy(page[:], tags):]
		leaves = append(leaves, storageproof.LeafHash(page[:]))
	}
	r := Row{Tags: storageproof.TagRoot(leaves)}
	r.Entry = storageproof.Entry{ID: id, Kind: storageproof.KindData, Cells: cells,
		Root: storageproof.DataRoot(id, sha256.Sum256(noise(uint64(id), cell)), cells, r.Tags, sha256.Sum256(records))}
	return r
}

// surveyed is a closed folder with one free sector, two data sectors and the table of an accepted report.
func surveyed(t *testing.T) (dir string, a, b sealed) {
	t.Helper()
	dir = t.TempDir()
	d := open(t, dir, 4)
	a, b = block(1, 1<<20), block(2, 300_000)
	rows := []Row{{Entry: d.freeSector(t)}}
	first, second := d.dataSector(t), d.dataSector(t)
	d.put(t, first, 0, a)
	d.put(t, second, 0, b)
	d.put(t, second, b.count(), block(3, 9000)) // behind what the report names
	rows = append(rows, row(t, first, a), row(t, second, b))
	orders := []storageproof.OrderRef{{ID: 1, Root: a.key.CID(), Size: 1 << 20}, {ID: 2, Root: b.key.CID(), Size: 300_000}}
	save(t, d, 7, rows, orders)
	if err := errors.Join(d.Sync(), d.Close()); err != nil {
		t.Fatal(err)
	}
	return dir, a, b
}

func save(t *testing.T, d *Disk, counter uint64, rows []Row, orders []storageproof.OrderRef) {
	t.Helper()
	if err := d.Save(Generation{Report: report(counter), Rows: rows, Orders: orders}); err != nil {
		t.Fatal(err)
	}
}

func spoil(t *testing.T, path string, at int64) {
	t.Helper()
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	var p [1]byte
	if _, err := f.ReadAt(p[:], at); err != nil {
		t.Fatal(err)
	}
	p[0] ^= 1
	if _, err := f.WriteAt(p[:], at); err != nil {
		t.Fatal(err)
	}
}

// TestVerify spoils one thing after the other and expects the sector named, and the order that needs it.
func TestVerify(t *testing.T) {
	geo, err := storageproof.NewGeometry(sectorSize)
	if err != nil {
		t.Fatal(err)
	}
	remove := func(name string) func(*testing.T, string) {
		return func(t *testing.T, dir string) {
			if err := os.Remove(filepath.Join(dir, name)); err != nil {
				t.Fatal(err)
			}
		}
	}
	flip := func(name string, at int64) func(*testing.T, string) {
		return func(t *testing.T, dir string) { spoil(t, filepath.Join(dir, name), at) }
	}
	cut := func(name string, size int64) func(*testing.T, string) {
		return func(t *testing.T, dir string) {
			if err := os.Truncate(filepath.Join(dir, name), size); err != nil {
				t.Fatal(err)
			}
		}
	}
	for _, c := range []struct {
		name   string
		do     func(*testing.T, string)
		deep   bool // is seen only when every cell is read
		sector int  // -1: none
		order  uint64
	}{
		{name: "nothing", do: func(*testing.T, string) {}, sector: -1},
		{name: "page of digests", do: flip("sectors/000000", geo.FreePageOffset(0)+5), sector: 0},
		{name: "last page of digests", do: flip("sectors/000000", geo.FreePageOffset(geo.FreeCells-1)), sector: 0},
		{name: "free cell", do: flip("sectors/000000", storageproof.FreeCellOffset(9)+1), deep: true, sector: 0},
		{name: "last free cell", do: flip("sectors/000000", storageproof.FreeCellOffset(geo.FreeCells-1)), deep: true, sector: 0},
		{name: "free sector deleted", do: remove("sectors/000000"), sector: 0},
		{name: "free sector cut", do: cut("sectors/000000", sectorSize-1), sector: 0},
		{name: "header page", do: flip("sectors/000001", 17), sector: 1, order: 1},
		{name: "page of tags", do: flip("sectors/000001", storageproof.TagPageOffset(0)), sector: 1, order: 1},
		{name: "last tag", do: flip("sectors/000002", storageproof.TagOffset(73)), sector: 2, order: 2},
		{name: "tag behind the report's last cell", do: flip("sectors/000002", storageproof.TagOffset(74)), sector: -1},
		{name: "directory", do: flip("index/000001.dir", 8), sector: 1, order: 1},
		{name: "directory deleted", do: remove("index/000002.dir"), sector: 2, order: 2},
		{name: "directory cut", do: cut("index/000002.dir", 10), sector: 2, order: 2},
		{name: "data sector deleted", do: remove("sectors/000002"), sector: 2, order: 2},
	} {
		t.Run(c.name, func(t *testing.T) {
			dir, _, _ := surveyed(t)
			c.do(t, dir)
			for _, deep := range []bool{false, true} {
				last := 0
				s, err := Verify(t.Context(), dir, sectorSize, VerifyOptions{Deep: deep, Progress: func(done, total int) {
					if last = done; total != 3 {
						t.Errorf("%d sectors in all, want 3", total)
					}
				}})
				if err != nil || s.Report.Counter != 7 || s.Free != 1 || s.Data != 2 || len(s.Orders) != 2 || last != 3 {
					t.Fatalf("survey %+v, progress %d (%v)", s, last, err)
				}
				if c.sector < 0 || c.deep && !deep {
					if len(s.Faults) > 0 || len(s.Broken) > 0 {
						t.Errorf("faults %v, broken %v", s.Faults, s.Broken)
					}
					continue
				}
				if len(s.Faults) != 1 || int(s.Faults[0].Sector) != c.sector || s.Faults[0].What == "" {
					t.Errorf("faults %v, want sector %d", s.Faults, c.sector)
				}
				if c.order == 0 != (len(s.Broken) == 0) || len(s.Broken) > 0 && s.Broken[0].ID != c.order {
					t.Errorf("broken %v, want order %d", s.Broken, c.order)
				}
			}
		})
	}
}

// TestVerifyChangesNothing holds that looking leaves every file as it is, under a running node too.
func TestVerifyChangesNothing(t *testing.T) {
	dir, _, _ := surveyed(t)
	if err := os.WriteFile(filepath.Join(dir, "index", "table-9-00.tmp"), []byte("half"), 0o600); err != nil {
		t.Fatal(err)
	}
	list := func() (out []string) {
		_ = filepath.Walk(dir, func(path string, info os.FileInfo, _ error) error {
			if out = append(out, path); !info.IsDir() {
				p, _ := os.ReadFile(path)
				sum := sha256.Sum256(p)
				out = append(out, string(sum[:]), info.ModTime().String())
			}
			return nil
		})
		return out
	}
	before := list()
	if _, err := Verify(t.Context(), dir, sectorSize, VerifyOptions{Deep: true}); err != nil {
		t.Fatal(err)
	}
	after := list()
	if len(before) != len(after) {
		t.Fatalf("%d entries became %d", len(before), len(after))
	}
	for i := range before {
		if before[i] != after[i] {
			t.Errorf("%q changed", before[i])
		}
	}
}

// TestVerifyPicksTheAcceptedTable holds that of several tables the oldest counts, and that none at all is an error.
func TestVerifyPicksTheAcceptedTable(t *testing.T) {
	dir, a, _ := surveyed(t)
	d := open(t, dir, 4)
	save(t, d, 8, []Row{row(t, 9, a)}, nil) // posted, and not accepted as far as we know
	d.Close()
	s, err := Verify(t.Context(), dir, sectorSize, VerifyOptions{})
	if err != nil || s.Report.Counter != 7 || len(s.Faults) != 0 {
		t.Fatalf("%+v (%v)", s, err)
	}
	tables, _ := filepath.Glob(filepath.Join(dir, "index", "table-*"))
	for _, p := range tables {
		spoil(t, p, 50)
	}
	if _, err := Verify(t.Context(), dir, sectorSize, VerifyOptions{}); !errors.Is(err, ErrGeneration) {
		t.Errorf("%v, want ErrGeneration", err)
	}
	for _, p := range tables {
		os.Remove(p)
	}
	if _, err := Verify(t.Context(), dir, sectorSize, VerifyOptions{}); !errors.Is(err, ErrMissing) {
		t.Errorf("%v, want ErrMissing", err)
	}
	if _, err := Verify(t.Context(), filepath.Join(dir, "nowhere"), sectorSize, VerifyOptions{}); !errors.Is(err, ErrMissing) {
		t.Errorf("%v, want ErrMissing", err)
	}
}

// TestVerifyOfAnotherChain says nothing about sectors whose size is not the chain's.
func TestVerifyOfAnotherChain(t *testing.T) {
	dir, _, _ := surveyed(t)
	if _, err := Verify(t.Context(), dir, 2*sectorSize, VerifyOptions{}); !errors.Is(err, ErrOtherDisk) {
		t.Errorf("%v, want ErrOtherDisk", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := Verify(ctx, dir, sectorSize, VerifyOptions{}); !errors.Is(err, context.Canceled) {
		t.Errorf("%v, want Canceled", err)
	}
}

// TestSetAside moves and never deletes, and not while a node uses the folder.
func TestSetAside(t *testing.T) {
	dir, _, _ := surveyed(t)
	seen, err := Verify(t.Context(), dir, sectorSize, VerifyOptions{})
	if err != nil {
		t.Fatal(err)
	}
	d := open(t, dir, 4)
	if _, err := SetAside(dir, seen.Report, []uint32{1}); !errors.Is(err, ErrLocked) {
		t.Fatalf("%v, want ErrLocked", err)
	}
	if err := Free(dir); !errors.Is(err, ErrLocked) {
		t.Fatalf("%v, want ErrLocked", err)
	}
	d.Close()
	if err := Free(dir); err != nil {
		t.Fatal(err)
	}
	sector, err := os.ReadFile(filepath.Join(dir, "sectors", "000001"))
	if err != nil {
		t.Fatal(err)
	}
	to, err := SetAside(dir, seen.Report, []uint32{0, 1, 9}) // the last is lost already
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"000000", "000001", "000001.dir"} {
		if _, err := os.Stat(filepath.Join(to, name)); err != nil {
			t.Error(err)
		}
	}
	if moved, _ := os.ReadFile(filepath.Join(to, "000001")); string(moved) != string(sector) {
		t.Error("the sector is not what it was")
	}
	if s, err := Verify(t.Context(), dir, sectorSize, VerifyOptions{}); err != nil || len(s.Faults) != 2 || len(s.Broken) != 1 {
		t.Errorf("%+v (%v)", s, err)
	}
	if again, err := SetAside(dir, seen.Report, []uint32{2}); err != nil || again == to {
		t.Errorf("moved to %s again (%v)", again, err)
	}
	open(t, dir, 4) // lost+found is in nobody's way
}

// TestSetAsideOfAnotherDay holds that a survey says nothing about a disk that a node has used since: the ids of the sectors that were
// faulty may be those of new ones.
func TestSetAsideOfAnotherDay(t *testing.T) {
	dir, a, b := surveyed(t)
	spoil(t, filepath.Join(dir, "sectors", "000001"), 0)
	seen, err := Verify(t.Context(), dir, sectorSize, VerifyOptions{})
	if err != nil || len(seen.Faults) != 1 || seen.Faults[0].Sector != 1 {
		t.Fatalf("%+v (%v)", seen, err)
	}
	// The person who was asked is away. Meanwhile the node is started, mends, and is stopped.
	d := open(t, dir, 4)
	if err := d.Delete(1); err != nil {
		t.Fatal(err)
	}
	id := d.dataSector(t)
	if id != 1 {
		t.Fatalf("sector %d, want the id of the faulty one again", id)
	}
	d.put(t, id, 0, a)
	save(t, d, 8, []Row{row(t, id, a), row(t, 2, b)}, seen.Orders)
	now := sha256.Sum256(report(8))
	if err := errors.Join(d.Sync(), d.Keep(now), d.Close()); err != nil {
		t.Fatal(err)
	}
	if to, err := SetAside(dir, seen.Report, []uint32{1}); !errors.Is(err, ErrChanged) {
		t.Errorf("moved to %q (%v), want ErrChanged", to, err)
	}
	if s, err := Verify(t.Context(), dir, sectorSize, VerifyOptions{}); err != nil || len(s.Faults) != 0 {
		t.Errorf("%+v (%v)", s, err)
	}
}

// TestDamaged finds files that are gone or cut short while they are in use, and none that nobody counts on.
func TestDamaged(t *testing.T) {
	d := open(t, t.TempDir(), 9)
	free := d.freeSector(t)
	a := d.dataSector(t)
	d.put(t, a, 0, block(1, 9000))
	b := d.dataSector(t)
	d.put(t, b, 0, block(2, 9000))
	d.Hold(7) // lost, and known to be
	bad, err := d.Damaged()
	if err != nil || len(bad) != 0 {
		t.Fatalf("%v (%v)", bad, err)
	}
	for _, err := range []error{os.Remove(d.sectorPath(free.ID)), os.Truncate(d.dirPath(a), 3), os.Remove(d.dirPath(b))} {
		if err != nil {
			t.Fatal(err)
		}
	}
	if bad, err = d.Damaged(); err != nil || len(bad) != 3 {
		t.Fatalf("%v (%v), want all three", bad, err)
	}
	// Folders that somebody deleted are made again for what is still to be written.
	if err := errors.Join(os.RemoveAll(filepath.Join(d.dir, "index")), os.RemoveAll(filepath.Join(d.dir, "sectors"))); err != nil {
		t.Fatal(err)
	}
	c := d.dataSector(t)
	d.put(t, c, 0, block(3, 9000))
	save(t, d, 1, nil, nil)
	if err := d.Sync(); err != nil {
		t.Fatal(err)
	}
}

// TestGone holds that a folder which was taken away is neither damaged nor written elsewhere.
func TestGone(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "disk")
	d := open(t, dir, 4)
	d.freeSector(t)
	if err := d.Present(); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(dir, dir+".away"); err != nil {
		t.Fatal(err)
	}
	if err := os.MkdirAll(dir, 0o700); err != nil { // the empty mount point
		t.Fatal(err)
	}
	_, reserve := d.Reserve()
	_, damaged := d.Damaged()
	for name, err := range map[string]error{"Present": d.Present(), "Damaged": damaged, "Reserve": reserve, "Save": d.Save(Generation{Report: report(1)})} {
		if !errors.Is(err, ErrGone) {
			t.Errorf("%s: %v, want ErrGone", name, err)
		}
	}
	if files, _ := os.ReadDir(dir); len(files) != 0 {
		t.Errorf("%d files were written into another folder", len(files))
	}
}

// TestForget takes blocks out of the index where they are lost, not where they were written since.
func TestForget(t *testing.T) {
	d := open(t, t.TempDir(), 4)
	a, b := block(1, 9000), block(2, 9000)
	old := d.dataSector(t)
	d.put(t, old, d.put(t, old, 0, a), b)
	next := d.dataSector(t)
	d.put(t, next, 0, b)
	d.Forget(old, []storageproof.BlockKey{a.key, b.key})
	if _, ok := d.Find(a.key); ok {
		t.Error("a lost block can be found")
	}
	if at, ok := d.Find(b.key); !ok || at.Sector != next {
		t.Errorf("the block is at %v, %v", at, ok)
	}
}

func TestUnreadable(t *testing.T) {
	for err, want := range map[error]bool{
		os.ErrNotExist: true, io.ErrUnexpectedEOF: true, syscall.EIO: true, ErrMissing: true,
		syscall.EMFILE: false, syscall.ENOMEM: false, os.ErrPermission: false, ErrGone: false,
	} {
		if got := Unreadable(&os.PathError{Op: "read", Path: "x", Err: err}); got != want {
			t.Errorf("%v: %v, want %v", err, got, want)
		}
	}
}

func TestMarks(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "disk")
	for _, m := range []Mark{MarkLost, MarkDraining} {
		if m.Stands(dir) {
			t.Fatal("stands before it was set")
		}
		if err := errors.Join(m.Set(dir), m.Set(dir)); err != nil || !m.Stands(dir) {
			t.Fatalf("%s does not stand (%v)", m, err)
		}
		d := open(t, dir, 4) // and is in nobody's way
		d.Close()
		if err := errors.Join(m.Clear(dir), m.Clear(dir)); err != nil || m.Stands(dir) {
			t.Fatalf("%s still stands (%v)", m, err)
		}
	}
}
