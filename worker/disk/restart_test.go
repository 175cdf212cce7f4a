package disk

import (
	"bufio"
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/cella-network/cella/protocol/storageproof"
)

func report(counter uint64) []byte {
	return storageproof.Report{ChainID: "test", Counter: counter, Height: int64(counter)}.Marshal()
}

func TestRestartFindsWhatTheTableNames(t *testing.T) {
	dir := t.TempDir()
	d := open(t, dir, 4)
	free := d.freeSector(t)
	id := d.dataSector(t)
	a, b, late := block(1, 1<<20), block(2, 9000), block(3, 9000)
	named := d.put(t, id, d.put(t, id, 0, a), b)
	d.put(t, id, named, late) // after the report
	stray := d.dataSector(t)
	d.put(t, stray, 0, block(4, 10))
	if err := d.Sync(); err != nil {
		t.Fatal(err)
	}
	d.Close()

	d = open(t, dir, 4)
	if _, ok := d.Find(a.key); ok {
		t.Fatal("found before its sector was adopted")
	}
	row := storageproof.Entry{ID: id, Kind: storageproof.KindData, Cells: named}
	header, records, err := d.Directory(row)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(header, noise(uint64(id), cell)) || !bytes.Equal(records, append(a.record(0), b.record(256)...)) {
		t.Fatal("header or records of the row's cells are not what was written")
	}
	for _, e := range []storageproof.Entry{free, row} {
		if err := d.Adopt(e); err != nil {
			t.Fatal(err)
		}
		if err := d.Adopt(e); err == nil {
			t.Error("a sector was adopted twice")
		}
	}
	d.want(t, a)
	d.want(t, b)
	if _, ok := d.Find(late.key); ok {
		t.Error("found a block that the table does not name")
	}
	if got := d.Blocks(id); len(got) != 2 || got[0] != a.key || got[1] != b.key {
		t.Errorf("blocks %x", got)
	}
	if err := d.Append(id, named, late.cells, late.tags, late.record(named)); err == nil {
		t.Error("a sector of an earlier session was written again")
	}
	if s, err := d.Sample(free, 7); err != nil || !storageproof.VerifyFree(free.Root, d.Geometry(), 7, s.Cell, s.Page, s.Path) {
		t.Errorf("the free sector's draw fails (%v)", err)
	}
	d.Hold(9) // named by the table, but its file is lost
	if n, err := d.Prune(); err != nil || n != 1 {
		t.Fatalf("pruned %d (%v), want the stray sector alone", n, err)
	}
	if used, _ := d.Usage(); used != 3 {
		t.Errorf("%d sectors in use, want 3: two adopted, one held", used)
	}
	if _, err := os.Stat(filepath.Join(dir, "index", "000002.dir")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the stray sector's directory is still there (%v)", err)
	}
	d.want(t, a)
}

func TestAdoptRefusesWhatIsNotThere(t *testing.T) {
	dir := t.TempDir()
	d := open(t, dir, 4)
	id := d.dataSector(t)
	n := d.put(t, id, 0, block(1, 9000))
	free := d.freeSector(t)
	d.Close()
	row := storageproof.Entry{ID: id, Kind: storageproof.KindData, Cells: n}
	dirFile := filepath.Join(dir, "index", "000000.dir")
	log, err := os.ReadFile(dirFile)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(filepath.Join(dir, "sectors", "000001"), cell); err != nil {
		t.Fatal(err)
	}
	d = open(t, dir, 4)
	if err := d.Adopt(free); err == nil {
		t.Error("adopted a free sector that was cut off")
	}
	more := row
	more.Cells++
	if err := d.Adopt(more); err == nil {
		t.Error("adopted a sector whose directory names fewer cells")
	}
	// A crash may tear the log anywhere: less than the row's cells is refused, more is ignored.
	for cut := range len(log) {
		if err := os.WriteFile(dirFile, log[:cut], 0o600); err != nil {
			t.Fatal(err)
		}
		if _, _, err := d.Directory(row); err == nil {
			t.Fatalf("a directory cut to %d of %d bytes was taken", cut, len(log))
		}
	}
	torn := append(log, block(2, 500).record(n)[:17]...)
	if err := os.WriteFile(dirFile, torn, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, records, err := d.Directory(row); err != nil || !bytes.Equal(records, log) {
		t.Errorf("a torn tail behind the row's cells matters (%v)", err)
	}
	if err := os.Remove(dirFile); err != nil {
		t.Fatal(err)
	}
	if err := d.Adopt(row); !errors.Is(err, ErrMissing) {
		t.Errorf("%v, want ErrMissing for a lost directory", err)
	}
}

// TestMovedBlockIsFoundWhereTheVaultLooks holds that of two copies the first adopted counts after a restart, the last written before.
func TestMovedBlockIsFoundWhereTheVaultLooks(t *testing.T) {
	dir := t.TempDir()
	d := open(t, dir, 4)
	b := block(1, 5000)
	from, to := d.dataSector(t), d.dataSector(t)
	d.put(t, from, 0, b)
	d.put(t, to, 0, b)
	if at, _ := d.Find(b.key); at.Sector != to {
		t.Fatalf("found in sector %d, want where it was moved", at.Sector)
	}
	if got := d.Blocks(from); len(got) != 0 {
		t.Fatalf("the old sector still lists %d blocks", len(got))
	}
	d.Close()
	d = open(t, dir, 4)
	for _, id := range []uint32{from, to} {
		if err := d.Adopt(storageproof.Entry{ID: id, Kind: storageproof.KindData, Cells: b.count()}); err != nil {
			t.Fatal(err)
		}
	}
	if at, _ := d.Find(b.key); at.Sector != from {
		t.Fatalf("found in sector %d, want the one adopted first", at.Sector)
	}
	if err := d.Delete(to); err != nil {
		t.Fatal(err)
	}
	d.want(t, b)
	if err := d.Delete(from); err != nil {
		t.Fatal(err)
	}
	if _, ok := d.Find(b.key); ok {
		t.Fatal("found in a sector that is gone")
	}
}

func generation(counter uint64) Generation {
	g := Generation{Report: report(counter), Sig: [64]byte{byte(counter)}}
	for i := range uint32(3) {
		g.Rows = append(g.Rows, Row{Entry: storageproof.Entry{ID: i, Kind: storageproof.KindFree, Cells: i, Root: [32]byte{byte(i)}}, Tags: [32]byte{byte(i + 1)}})
	}
	g.Orders = []storageproof.OrderRef{{ID: 5, Root: []byte{1, 2, 3}, Size: 7}, {ID: 6, Root: []byte{4}, Size: 8}}
	return g
}

func TestGenerationsLiveUntilOneIsAccepted(t *testing.T) {
	dir := t.TempDir()
	d := open(t, dir, 1)
	again := generation(2)
	again.Report = storageproof.Report{ChainID: "test", Counter: 2, Height: 9}.Marshal() // the same counter, another report
	for _, g := range []Generation{generation(1), generation(2), again} {
		if err := d.Save(g); err != nil {
			t.Fatal(err)
		}
	}
	for _, want := range []Generation{generation(1), generation(2), again} {
		got, err := d.Load(sha256.Sum256(want.Report))
		if err != nil || fmt.Sprint(got) != fmt.Sprint(want) {
			t.Fatalf("loaded %v (%v), want %v", got, err, want)
		}
	}
	if err := d.Keep(sha256.Sum256(generation(2).Report), sha256.Sum256(again.Report)); err != nil {
		t.Fatal(err)
	}
	if names, _ := d.tables(); len(names) != 2 {
		t.Errorf("%v, want the two tables that may still be accepted", names)
	}
	if err := d.Keep(sha256.Sum256(again.Report)); err != nil {
		t.Fatal(err)
	}
	if _, err := d.Load(sha256.Sum256(again.Report)); err != nil {
		t.Error(err)
	}
	for _, gone := range []Generation{generation(1), generation(2)} {
		if _, err := d.Load(sha256.Sum256(gone.Report)); !errors.Is(err, ErrMissing) {
			t.Errorf("%v, want ErrMissing", err)
		}
	}
}

func TestHalfMadeTablesAreCleared(t *testing.T) {
	dir := t.TempDir()
	d := open(t, dir, 1)
	if err := d.Save(generation(1)); err != nil {
		t.Fatal(err)
	}
	names, _ := d.tables()
	path := filepath.Join(dir, "index", names[0])
	whole, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	d.Close()
	for _, litter := range []string{names[0] + ".tmp", "000007.dir"} {
		if err := os.WriteFile(filepath.Join(dir, "index", litter), whole[:10], 0o600); err != nil {
			t.Fatal(err)
		}
	}
	d = open(t, dir, 1)
	left, _ := os.ReadDir(filepath.Join(dir, "index"))
	if len(left) != 2 || left[0].Name() != "000007.dir" || left[1].Name() != names[0] {
		t.Errorf("index holds %v, want the whole table, and the directory whose sector may still be mounted", left)
	}
	if _, err := d.Prune(); err != nil {
		t.Fatal(err)
	}
	if left, _ = os.ReadDir(filepath.Join(dir, "index")); len(left) != 1 || left[0].Name() != names[0] {
		t.Errorf("index holds %v after all, want the whole table alone", left)
	}
	for cut := range len(whole) {
		if err := os.WriteFile(path, whole[:cut], 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := d.Load(sha256.Sum256(report(1))); err == nil {
			t.Fatalf("a table cut to %d bytes was taken", cut)
		}
	}
}

const crashVar = "CELLA_TEST_CRASH_DIR"

// TestKillLosesNothingAcknowledged kills a process that seals and saves at full speed, again and again, and checks that
// what it said was durable can be restored.
func TestKillLosesNothingAcknowledged(t *testing.T) {
	if dir := os.Getenv(crashVar); dir != "" {
		crashChild(t, dir)
		return
	}
	dir := t.TempDir()
	for round := range 4 {
		cmd := exec.Command(os.Args[0], "-test.run=^TestKillLosesNothingAcknowledged$")
		cmd.Env = append(os.Environ(), crashVar+"="+dir)
		out, err := cmd.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		last, enough := uint64(0), uint64(3+8*round)
		for lines := bufio.NewScanner(out); lines.Scan(); {
			if n, ok := strings.CutPrefix(lines.Text(), "saved "); ok {
				if last, err = strconv.ParseUint(n, 10, 64); err != nil {
					t.Fatal(err)
				}
			}
			if last == enough { // it goes on writing meanwhile
				if err := cmd.Process.Kill(); err != nil {
					t.Fatal(err)
				}
			}
		}
		_ = cmd.Wait()
		if last < enough {
			t.Fatalf("round %d: the child ended by itself after %d tables", round, last)
		}
		d := open(t, dir, 64)
		g, err := d.Load(sha256.Sum256(report(last)))
		if err != nil {
			t.Fatalf("round %d: %v", round, err)
		}
		checked := 0
		for _, row := range g.Rows {
			if err := d.Adopt(row.Entry); err != nil {
				t.Fatalf("round %d: %v", round, err)
			}
			for range d.Blocks(row.ID) {
				checked++
			}
		}
		for i := range checked {
			d.want(t, block(uint64(i), blockLength(i)))
		}
		if checked == 0 {
			t.Errorf("round %d: nothing to check", round)
		}
		if _, err := d.Prune(); err != nil {
			t.Fatal(err)
		}
		d.Close()
		for _, part := range []string{"sectors", "index"} {
			os.RemoveAll(filepath.Join(dir, part))
		}
	}
}

func blockLength(i int) uint32 { return uint32(1 + i*7919%300_000) }

// crashChild seals numbered blocks, two sectors at most, and saves a generation every few blocks until it is killed.
func crashChild(t *testing.T, dir string) {
	d := open(t, dir, 64)
	id, next := d.dataSector(t), uint32(0)
	var rows []Row
	for i := 0; ; i++ {
		b := block(uint64(i), blockLength(i))
		if next+b.count() > d.Geometry().DataCells {
			rows = append(rows, Row{Entry: storageproof.Entry{ID: id, Kind: storageproof.KindData, Cells: next}})
			if err := d.Finish(id); err != nil {
				t.Fatal(err)
			}
			if len(rows) == 60 {
				return
			}
			id, next = d.dataSector(t), 0
		}
		next = d.put(t, id, next, b)
		if i%5 != 4 {
			continue
		}
		counter := uint64(i/5 + 1)
		g := Generation{Report: report(counter), Rows: append(rows[:len(rows):len(rows)], Row{Entry: storageproof.Entry{ID: id, Kind: storageproof.KindData, Cells: next}})}
		if err := errors.Join(d.Sync(), d.Save(g)); err != nil {
			t.Fatal(err)
		}
		fmt.Printf("saved %d\n", counter)
	}
}

// TestAdoptTakesWhatWasCutShort holds that a node starts with a data sector that was cut short while it was down: what is left of it is
// there, and Damaged names it.
func TestAdoptTakesWhatWasCutShort(t *testing.T) {
	dir := t.TempDir()
	d := open(t, dir, 4)
	id := d.dataSector(t)
	b := block(1, 9000)
	n := d.put(t, id, 0, b)
	d.Close()
	if err := os.Truncate(filepath.Join(dir, "sectors", "000000"), sectorSize/2); err != nil {
		t.Fatal(err)
	}
	d = open(t, dir, 4)
	if err := d.Adopt(storageproof.Entry{ID: id, Kind: storageproof.KindData, Cells: n}); err != nil {
		t.Fatal(err)
	}
	if _, _, err := d.Read(b.key); err != nil {
		t.Error(err)
	}
	if bad, err := d.Damaged(); err != nil || len(bad) != 1 || bad[0] != id {
		t.Errorf("%v (%v), want the sector", bad, err)
	}
}
