package disk

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/cella-network/cella/protocol/storageproof"
)

const sectorSize = storageproof.MinSector

func open(t *testing.T, dir string, quota uint32) *Disk {
	t.Helper()
	d, err := Open(dir, quota, sectorSize)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { d.Close() })
	return d
}

// sealed is a block as a vault would seal it: noise that only depends on its number.
type sealed struct {
	key    storageproof.BlockKey
	length uint32
	cells  []byte
	tags   []byte
}

func noise(seed uint64, n int) []byte {
	r := rand.NewChaCha8([32]byte(binary.LittleEndian.AppendUint64(make([]byte, 24), seed)))
	p := make([]byte, n)
	_, _ = r.Read(p) // never fails
	return p
}

func block(seed uint64, length uint32) sealed {
	n := int(storageproof.CellsOf(uint64(length)))
	b := sealed{length: length, cells: noise(2*seed, n*cell), tags: noise(2*seed+1, n*storageproof.TagSize)}
	b.key = storageproof.BlockKey{Codec: storageproof.CodecRaw, Digest: sha256.Sum256(binary.BigEndian.AppendUint64(nil, seed))}
	return b
}

func (b sealed) record(first uint32) []byte {
	return storageproof.Record{Key: b.key, First: first, Length: b.length}.Append(nil)
}

func (b sealed) count() uint32 { return uint32(len(b.cells) / cell) }

func (d *Disk) put(t *testing.T, id, first uint32, b sealed) uint32 {
	t.Helper()
	if err := d.Append(id, first, b.cells, b.tags, b.record(first)); err != nil {
		t.Fatal(err)
	}
	return first + b.count()
}

func (d *Disk) want(t *testing.T, b sealed) {
	t.Helper()
	cells, tags, err := d.Read(b.key)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(cells, b.cells) || !bytes.Equal(tags, b.tags) {
		t.Fatalf("block %x reads back differently", b.key.Digest[:8])
	}
}

// dataSector reserves and begins a data sector.
func (d *Disk) dataSector(t *testing.T) uint32 {
	t.Helper()
	id, err := d.Reserve()
	if err != nil {
		t.Fatal(err)
	}
	if err := d.BeginData(id, noise(uint64(id), cell)); err != nil {
		t.Fatal(err)
	}
	return id
}

// freeSector fills a free sector and returns its row.
func (d *Disk) freeSector(t *testing.T) storageproof.Entry {
	t.Helper()
	id, err := d.Reserve()
	if err != nil {
		t.Fatal(err)
	}
	if err := d.BeginFree(id); err != nil {
		t.Fatal(err)
	}
	g := d.Geometry()
	var leaves [][32]byte
	for first := uint32(0); first < g.FreeCells; first += unit {
		n := min(unit, g.FreeCells-first)
		cells := noise(uint64(id)<<32|uint64(first), int(n)*cell)
		digests := make([]byte, (n+storageproof.PageLeaves-1)/storageproof.PageLeaves*cell)
		for i := range int(n) {
			sum := sha256.Sum256(cells[i*cell : (i+1)*cell])
			copy(digests[i*storageproof.DigestSize:], sum[:])
		}
		for p := 0; p < len(digests); p += cell {
			leaves = append(leaves, storageproof.LeafHash(digests[p:p+cell]))
		}
		if err := d.Fill(id, first, cells, digests, first+n == g.FreeCells); err != nil {
			t.Fatal(err)
		}
	}
	return storageproof.Entry{ID: id, Kind: storageproof.KindFree, Cells: g.FreeCells, Root: storageproof.FreeRoot(leaves)}
}

func TestFreeSectorAnswersItsDraws(t *testing.T) {
	d := open(t, t.TempDir(), 2)
	d.freeSector(t)
	e := d.freeSector(t)
	for _, n := range []uint32{0, 1, storageproof.PageLeaves - 1, storageproof.PageLeaves, 300, e.Cells - 1} {
		s, err := d.Sample(e, n)
		if err != nil {
			t.Fatal(err)
		}
		if !storageproof.VerifyFree(e.Root, d.Geometry(), n, s.Cell, s.Page, s.Path) {
			t.Errorf("cell %d does not verify", n)
		}
		if storageproof.VerifyFree(e.Root, d.Geometry(), n^1, s.Cell, s.Page, s.Path) {
			t.Errorf("cell %d verifies in another place", n)
		}
	}
	if _, err := d.Sample(e, e.Cells); err == nil {
		t.Error("a cell behind the last one was read")
	}
}

func TestFillRefusesGapsAndEarlyEnds(t *testing.T) {
	d := open(t, t.TempDir(), 1)
	id, err := d.Reserve()
	if err != nil {
		t.Fatal(err)
	}
	if err := d.BeginFree(id); err != nil {
		t.Fatal(err)
	}
	run, digests := make([]byte, unit*cell), make([]byte, 2*cell)
	for name, err := range map[string]error{
		"gap":           d.Fill(id, unit, run, digests, false),
		"early end":     d.Fill(id, 0, run, digests, true),
		"short digests": d.Fill(id, 0, run, digests[:cell], false),
		"half a cell":   d.Fill(id, 0, run[:cell+1], digests[:cell], false),
		"nothing":       d.Fill(id, 0, nil, nil, false),
		"sealing":       d.Append(id, 0, run, make([]byte, unit*storageproof.TagSize), block(1, 1<<20).record(0)),
	} {
		if err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
}

// TestBlocksKeepTheirPlace holds the layout of a data sector byte by byte: blocks that cross units, pages of tags that are not
// full, a last block that fills the sector.
func TestBlocksKeepTheirPlace(t *testing.T) {
	dir := t.TempDir()
	d := open(t, dir, 1)
	id := d.dataSector(t)
	file, err := os.ReadFile(filepath.Join(dir, "sectors", "000000"))
	if err != nil || len(file) != sectorSize {
		t.Fatalf("a sector of %d bytes (%v), want it allocated whole", len(file), err)
	}
	total := d.Geometry().DataCells
	var blocks []sealed
	var firsts []uint32
	next := uint32(0)
	for i, length := range []uint32{1 << 20, 100, 0, 4096, 4097, 1 << 20, 700_000} {
		b := block(uint64(i), length)
		if next+b.count() > total {
			t.Fatal("test does not fit")
		}
		firsts, blocks = append(firsts, next), append(blocks, b)
		next = d.put(t, id, next, b)
		d.want(t, b) // at once, while its page of tags is not full
	}
	if file, err = os.ReadFile(filepath.Join(dir, "sectors", "000000")); err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(file[:cell], noise(0, cell)) {
		t.Error("the header page changed")
	}
	for i, b := range blocks {
		for c := uint32(0); c < b.count(); c++ {
			at, tag := storageproof.CellOffset(firsts[i]+c), storageproof.TagOffset(firsts[i]+c)
			if !bytes.Equal(file[at:at+cell], b.cells[c*cell:(c+1)*cell]) {
				t.Fatalf("block %d: cell %d lies elsewhere", i, c)
			}
			if !bytes.Equal(file[tag:tag+storageproof.TagSize], b.tags[c*storageproof.TagSize:(c+1)*storageproof.TagSize]) {
				t.Fatalf("block %d: tag of cell %d lies elsewhere", i, c)
			}
			s, err := d.Sample(storageproof.Entry{ID: id, Kind: storageproof.KindData, Cells: next}, firsts[i]+c)
			if err != nil || !bytes.Equal(s.Cell, file[at:at+cell]) || !bytes.Equal(s.Tag, file[tag:tag+storageproof.TagSize]) {
				t.Fatalf("block %d: draw of cell %d reads something else (%v)", i, c, err)
			}
		}
		d.want(t, b)
	}
}

func TestAppendRefusesWhatDoesNotFollow(t *testing.T) {
	d := open(t, t.TempDir(), 1)
	id := d.dataSector(t)
	a, b := block(1, 5000), block(2, 5000)
	d.put(t, id, 0, a)
	cases := map[string]error{
		"gap":          d.Append(id, 3, b.cells, b.tags, b.record(3)),
		"overlap":      d.Append(id, 1, b.cells, b.tags, b.record(1)),
		"other record": d.Append(id, 2, b.cells, b.tags, b.record(0)),
		"torn record":  d.Append(id, 2, b.cells, b.tags, b.record(2)[:40]),
		"two records":  d.Append(id, 2, b.cells, b.tags, append(b.record(2), b.record(4)...)),
		"short tags":   d.Append(id, 2, b.cells, b.tags[1:], b.record(2)),
		"no cells":     d.Append(id, 2, nil, nil, b.record(2)),
	}
	for name, err := range cases {
		if err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
	if err := d.Finish(id); err != nil {
		t.Fatal(err)
	}
	if err := d.Append(id, 2, b.cells, b.tags, b.record(2)); err == nil {
		t.Error("a sector was opened again")
	}
	d.want(t, a)
	big := open(t, t.TempDir(), 1)
	id = big.dataSector(t)
	next := uint32(0)
	for i := uint64(0); next < big.Geometry().DataCells; i++ {
		next = big.put(t, id, next, block(i, 1<<20))
	}
	if err := big.Append(id, next, b.cells, b.tags, b.record(next)); err == nil {
		t.Error("a full sector took more")
	}
}

func TestQuotaIsHard(t *testing.T) {
	dir := t.TempDir()
	d := open(t, dir, 2)
	for want := uint32(0); want < 2; want++ {
		if id, err := d.Reserve(); err != nil || id != want {
			t.Fatalf("sector %d (%v), want %d", id, err, want)
		}
	}
	_, err := d.Reserve()
	var quota *QuotaError
	if !errors.As(err, &quota) || quota.Sectors != 2 || !strings.Contains(err.Error(), "disk.sectors") {
		t.Fatalf("%v, want a QuotaError with a hint", err)
	}
	if err := d.Delete(0); err != nil {
		t.Fatal(err)
	}
	if id, err := d.Reserve(); err != nil || id != 0 {
		t.Fatalf("sector %d (%v) after a delete, want 0", id, err)
	}
	d.Close()
	// Files count whoever made them: a lower quota makes no more, and deletes nothing by itself.
	d = open(t, dir, 1)
	if used, _ := d.Usage(); used != 2 {
		t.Fatalf("%d sectors in use, want 2", used)
	}
	if _, err := d.Reserve(); !errors.As(err, &quota) {
		t.Fatalf("%v, want a QuotaError", err)
	}
}

func TestFullFileSystemIsNamed(t *testing.T) {
	dir := t.TempDir()
	d := open(t, dir, 1)
	for _, err := range []error{
		d.room(1 << 62),
		d.full(&os.PathError{Op: "write", Path: "x", Err: syscall.ENOSPC}, 1<<62),
		d.full(&os.PathError{Op: "write", Path: "x", Err: syscall.EDQUOT}, 1<<62),
	} {
		var full *SpaceError
		if !errors.As(err, &full) || full.Path != dir || full.Need != 1<<62 || full.Free == 0 {
			t.Errorf("%v, want a SpaceError that names %s and bytes", err, dir)
		}
	}
	if other := d.full(os.ErrPermission, 1); !errors.Is(other, os.ErrPermission) {
		t.Errorf("%v, want other errors left alone", other)
	}
}

func TestOneProcessAtATime(t *testing.T) {
	dir := t.TempDir()
	d := open(t, dir, 1)
	if _, err := Open(dir, 1, sectorSize); !errors.Is(err, ErrLocked) {
		t.Fatalf("%v, want ErrLocked", err)
	}
	d.Close()
	open(t, dir, 1)
}

func TestOpenRefuses(t *testing.T) {
	for name, err := range map[string]error{
		"no quota":        second(Open(t.TempDir(), 0, sectorSize)),
		"too many":        second(Open(t.TempDir(), 1_000_000, sectorSize)),
		"odd sector size": second(Open(t.TempDir(), 1, sectorSize+1)),
	} {
		if err == nil {
			t.Errorf("%s: opened", name)
		}
	}
	dir := t.TempDir()
	open(t, dir, 1).Close()
	if err := os.WriteFile(filepath.Join(dir, "sectors", "holiday.jpg"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(dir, 1, sectorSize); err == nil || !strings.Contains(err.Error(), "holiday.jpg") {
		t.Errorf("%v, want the strange file named", err)
	}
}

func second[T any](_ T, err error) error { return err }
