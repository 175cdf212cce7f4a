package disk

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/cella-network/cella/protocol/storageproof"
)

// Fault is a sector that is not what the last accepted report says.
type Fault struct {
	Sector uint32
	Kind   storageproof.Kind
	What   string
}

// Survey is what Verify found. Orders are all that the report names, Broken those of them that need a faulty sector.
type Survey struct {
	Report storageproof.Report
	Free   int // sectors
	Data   int
	Bytes  uint64 // read
	Faults []Fault
	Orders []storageproof.OrderRef
	Broken []storageproof.OrderRef
}

// ErrOtherDisk says that a folder is not what it was taken for, so that nothing can be said about its sectors.
var ErrOtherDisk = errors.New("this looks like another chain's disk")

// VerifyOptions say what is looked at. Without Deep that are the roots: pages of digests, pages of tags, header pages, directories, some
// hundredth of the bytes. Deep reads every cell too, and holds those of free sectors against their digests. Those of data
// sectors only the enclave can check, for whom they are sealed; here it shows whether they can be read at all.
type VerifyOptions struct {
	Deep     bool
	Progress func(done, total int) // sectors; may be nil
}

// Verify holds a folder's files against the last report that the chain accepted, as far as the folder knows: the oldest table in it,
// for older ones go when a later one is accepted. It needs neither key nor enclave, takes no lock and changes nothing, so that a node may
// be running: what changes under its hands is looked at once more. Without a readable table it fails with ErrMissing or ErrGeneration.
func Verify(ctx context.Context, dir string, sectorSize uint64, opts VerifyOptions) (Survey, error) {
	geo, err := storageproof.NewGeometry(sectorSize)
	if err != nil {
		return Survey{}, err
	}
	v := &verifier{dir: dir, geo: geo, opts: opts, buf: make([]byte, storageproof.UnitSize)}
	for range 2 {
		var g Generation
		if g, err = oldest(dir); err != nil {
			return Survey{}, err
		}
		var s Survey
		if s, err = v.survey(ctx, g); err != nil || len(s.Faults) == 0 {
			return s, err
		}
		again, err := oldest(dir)
		if err == nil && slices.Equal(again.Report, g.Report) {
			return s, nil
		}
	}
	// The node moves faster than we look: what is faulty in both tables is what counts, and that is what the last look gave.
	g, err := oldest(dir)
	if err != nil {
		return Survey{}, err
	}
	return v.survey(ctx, g)
}

// oldest is the table of the report that was accepted last: with it accepted, all before were removed.
func oldest(dir string) (Generation, error) {
	files, err := os.ReadDir(filepath.Join(dir, "index"))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return Generation{}, err
	}
	var found *Generation
	var least uint64
	var damaged error
	for _, f := range files {
		rest, ok := strings.CutPrefix(f.Name(), "table-")
		if !ok || strings.HasSuffix(rest, ".tmp") {
			continue
		}
		number, _, _ := strings.Cut(rest, "-")
		n, err := strconv.ParseUint(number, 10, 64)
		if err != nil || found != nil && n >= least {
			continue
		}
		data, err := os.ReadFile(filepath.Join(dir, "index", f.Name()))
		if errors.Is(err, fs.ErrNotExist) {
			continue // a running node removed it
		}
		if err != nil {
			return Generation{}, err
		}
		g, err := unmarshalGeneration(data)
		if err != nil {
			damaged = fmt.Errorf("%s: %w", f.Name(), err)
			continue
		}
		found, least = &g, n
	}
	switch {
	case found != nil:
		return *found, nil
	case damaged != nil:
		return Generation{}, damaged
	}
	return Generation{}, fmt.Errorf("%s holds no table of a report: %w", filepath.Join(dir, "index"), ErrMissing)
}

type verifier struct {
	dir   string
	geo   storageproof.Geometry
	opts  VerifyOptions
	buf   []byte
	read  uint64
	sizes map[uint64]int // how many sectors there are of each size in bytes
}

func (v *verifier) survey(ctx context.Context, g Generation) (Survey, error) {
	s := Survey{Orders: g.Orders}
	var err error
	if s.Report, err = storageproof.UnmarshalReport(g.Report); err != nil {
		return Survey{}, fmt.Errorf("%w: %w", ErrGeneration, err)
	}
	links := map[storageproof.BlockKey][]storageproof.BlockKey{} // of all blocks that are there
	v.read, v.sizes = 0, map[uint64]int{}
	for i, row := range g.Rows {
		if err := ctx.Err(); err != nil {
			return Survey{}, err
		}
		if v.opts.Progress != nil {
			v.opts.Progress(i, len(g.Rows))
		}
		var fault error
		if row.Kind == storageproof.KindFree {
			s.Free++
			fault = v.free(row.Entry)
		} else {
			s.Data++
			fault = v.data(row, links)
		}
		if fault != nil && !Unreadable(fault) && !errors.Is(fault, errRoot) {
			return Survey{}, fault // not allowed to read, or too busy: that says nothing about the disk
		}
		if fault != nil {
			s.Faults = append(s.Faults, Fault{Sector: row.ID, Kind: row.Kind, What: fault.Error()})
		}
	}
	if v.sizes[v.geo.SectorSize] == 0 && len(v.sizes) == 1 {
		for size := range v.sizes {
			if _, err := storageproof.NewGeometry(size); err == nil {
				return Survey{}, fmt.Errorf("%w: its sectors have %d bytes, the chain's have %d", ErrOtherDisk, size, v.geo.SectorSize)
			}
		}
	}
	if v.opts.Progress != nil {
		v.opts.Progress(len(g.Rows), len(g.Rows))
	}
	s.Bytes = v.read
	for _, o := range g.Orders {
		if !whole(o.Root, links) {
			s.Broken = append(s.Broken, o)
		}
	}
	return s, nil
}

// whole tells whether all blocks under a root are known.
func whole(root []byte, links map[storageproof.BlockKey][]storageproof.BlockKey) bool {
	k, err := storageproof.ParseBlockKey(root)
	if err != nil {
		return false
	}
	seen := map[storageproof.BlockKey]struct{}{k: {}}
	for todo := []storageproof.BlockKey{k}; len(todo) > 0; {
		k, todo = todo[len(todo)-1], todo[:len(todo)-1]
		below, here := links[k]
		if !here {
			return false
		}
		for _, l := range below {
			if _, ok := seen[l]; !ok {
				seen[l] = struct{}{}
				todo = append(todo, l)
			}
		}
	}
	return true
}

// errRoot marks bytes that lead to another root than the accepted one.
var errRoot = errors.New("not what was accepted")

func (v *verifier) open(id uint32) (*os.File, error) {
	file, err := os.Open(filepath.Join(v.dir, "sectors", fmt.Sprintf("%06d", id)))
	if err != nil {
		return nil, err
	}
	info, err := file.Stat()
	if err == nil {
		v.sizes[uint64(info.Size())]++
	}
	if err == nil && uint64(info.Size()) != v.geo.SectorSize {
		err = fmt.Errorf("%w: the file has %d bytes, want %d", errRoot, info.Size(), v.geo.SectorSize)
	}
	if err != nil {
		file.Close()
		return nil, err
	}
	return file, nil
}

func (v *verifier) at(file *os.File, p []byte, offset int64) error {
	n, err := file.ReadAt(p, offset)
	v.read += uint64(n)
	return err
}

// free holds a free sector's pages of digests against its root, and its cells against them.
func (v *verifier) free(e storageproof.Entry) error {
	file, err := v.open(e.ID)
	if err != nil {
		return err
	}
	defer file.Close()
	pages := make([]byte, int(v.geo.FreePages)*cell)
	if err := v.at(file, pages, v.geo.FreePageOffset(0)); err != nil {
		return err
	}
	hashes := make([][32]byte, v.geo.FreePages)
	for i := range hashes {
		hashes[i] = storageproof.LeafHash(pages[i*cell : (i+1)*cell])
	}
	if storageproof.FreeRoot(hashes) != e.Root {
		return fmt.Errorf("%w: its pages of digests lead to another root", errRoot)
	}
	if !v.opts.Deep {
		return nil
	}
	for first := uint32(0); first < v.geo.FreeCells; first += unit {
		n := min(unit, v.geo.FreeCells-first)
		if err := v.at(file, v.buf[:n*cell], storageproof.FreeCellOffset(first)); err != nil {
			return err
		}
		for i := range n {
			// Digests lie one after the other: a page is full of them.
			if sum := sha256.Sum256(v.buf[i*cell : (i+1)*cell]); string(sum[:]) != string(pages[(first+i)*storageproof.DigestSize:(first+i+1)*storageproof.DigestSize]) {
				return fmt.Errorf("%w: cell %d has another digest", errRoot, first+i)
			}
		}
	}
	return nil
}

// data holds a data sector's header page, pages of tags and directory against its root, and notes its blocks.
func (v *verifier) data(row Row, links map[storageproof.BlockKey][]storageproof.BlockKey) error {
	log, err := os.ReadFile(filepath.Join(v.dir, "index", fmt.Sprintf("%06d.dir", row.ID)))
	if err != nil {
		return err
	}
	v.read += uint64(len(log))
	records, used, err := parseDirectory(log, row.Cells)
	if err != nil {
		return fmt.Errorf("%w: %w", errRoot, err)
	}
	file, err := v.open(row.ID)
	if err != nil {
		return err
	}
	defer file.Close()
	header := make([]byte, cell)
	if err := v.at(file, header, 0); err != nil {
		return err
	}
	tags, err := v.tags(file, row.Cells)
	if err != nil {
		return err
	}
	if tags != row.Tags {
		return fmt.Errorf("%w: its pages of tags lead to another root", errRoot)
	}
	if storageproof.DataRoot(row.ID, sha256.Sum256(header), row.Cells, tags, sha256.Sum256(used)) != row.Root {
		return fmt.Errorf("%w: its header page or its directory is another one", errRoot)
	}
	if v.opts.Deep {
		for first := uint32(0); first < row.Cells; first += unit {
			if err := v.at(file, v.buf[:min(unit, row.Cells-first)*cell], storageproof.CellOffset(first)); err != nil {
				return fmt.Errorf("cells from %d on: %w", first, err)
			}
		}
	}
	for _, r := range records {
		links[r.Key] = r.Links
	}
	return nil
}

// tags reads the tag root of so many cells. Behind them the last page may hold tags of later ones, which count as zeros.
func (v *verifier) tags(file *os.File, cells uint32) ([32]byte, error) {
	leaves := make([][32]byte, 0, cells/unit+1)
	page := v.buf[:cell]
	for first := uint32(0); first < cells; first += unit {
		if err := v.at(file, page, storageproof.TagPageOffset(first)); err != nil {
			return [32]byte{}, err
		}
		if n := cells - first; n < unit {
			clear(page[n*storageproof.TagSize:])
		}
		leaves = append(leaves, storageproof.LeafHash(page))
	}
	return storageproof.TagRoot(leaves), nil
}

// ErrChanged says that a folder is not any more as it was surveyed.
var ErrChanged = errors.New("a node has used the disk folder since it was checked")

// SetAside moves the files of sectors out of the way, into a new folder below lost+found/, and returns that folder. The next session
// of a node takes them for lost. No process may use the folder meanwhile: else it fails with ErrLocked and changes nothing. Nor may one
// have had a report accepted since the one that Verify named: what was faulty may be mended by now, and its file a new sector's. Then it
// fails with ErrChanged and changes nothing.
func SetAside(dir string, seen storageproof.Report, ids []uint32) (to string, err error) {
	lock, err := takeLock(dir)
	if err != nil {
		return "", err
	}
	defer lock.Close()
	now, err := oldest(dir)
	if err != nil {
		return "", err
	}
	if sha256.Sum256(now.Report) != seen.ID() {
		return "", ErrChanged
	}
	if err := os.MkdirAll(filepath.Join(dir, "lost+found"), 0o700); err != nil {
		return "", err
	}
	for n := 1; ; n++ {
		to = filepath.Join(dir, "lost+found", strconv.Itoa(n))
		if err = os.Mkdir(to, 0o700); !errors.Is(err, fs.ErrExist) {
			break
		}
	}
	if err != nil {
		return "", err
	}
	for _, id := range ids {
		sector, index := fmt.Sprintf("%06d", id), fmt.Sprintf("%06d.dir", id)
		for _, move := range [][2]string{{"index", index}, {"sectors", sector}} {
			err := os.Rename(filepath.Join(dir, move[0], move[1]), filepath.Join(to, move[1]))
			if err != nil && !errors.Is(err, fs.ErrNotExist) {
				return to, err
			}
		}
	}
	return to, errors.Join(syncDir(to), syncDir(filepath.Join(dir, "lost+found")), syncDir(filepath.Join(dir, "sectors")), syncDir(filepath.Join(dir, "index")))
}

// Free tells whether no process uses a folder; if one does, it fails with ErrLocked.
func Free(dir string) error {
	if _, err := os.Stat(dir); err != nil {
		return err
	}
	lock, err := takeLock(dir)
	if err != nil {
		return err
	}
	return lock.Close()
}
