package disk

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sort"
	"strconv"
	"sync"
	"sync/atomic"
	"syscall"

	lru "github.com/hashicorp/golang-lru/v2"
	"golang.org/x/sys/unix"

	"github.com/cella-network/cella/protocol/storageproof"
)

// spare is what stays free on the file system for directories and tables when a sector is allocated.
const spare = 64 << 20

// QuotaError says that every sector that the operator allowed is in use.
type QuotaError struct{ Sectors uint32 }

func (e *QuotaError) Error() string {
	return fmt.Sprintf("all %d sectors of the quota are in use; raise disk.sectors in cella.toml to store more", e.Sectors)
}

// SpaceError says that the file system has no room: Need and Free are bytes.
type SpaceError struct {
	Path       string
	Need, Free uint64
}

func (e *SpaceError) Error() string {
	return fmt.Sprintf("%s: disk full: %d bytes needed, %d free; make room there or lower disk.sectors in cella.toml", e.Path, e.Need, e.Free)
}

// ErrLocked says that another process uses the folder.
var ErrLocked = errors.New("the disk folder is in use by another process")

// ErrMissing says that a sector or block is not on this disk.
var ErrMissing = errors.New("not on this disk")

// Disk is an opened folder. Its methods may be called from several goroutines.
type Disk struct {
	dir   string
	quota uint32
	geo   storageproof.Geometry
	lock  *os.File
	pages *lru.Cache[uint32, [][32]byte] // hashes of free sectors' digest pages, for the paths of draws
	free  func() (uint64, error)         // bytes left on the file system

	mu      sync.RWMutex
	sectors map[uint32]*sector
	index   map[storageproof.BlockKey]Location
	links   map[storageproof.BlockKey][]storageproof.BlockKey // of the dag-pb blocks in the index
	renamed atomic.Bool                                       // a file appeared or disappeared since the last Sync
}

type state uint8

const (
	reserved state = iota
	writing
	resting
	orphan
)

type sector struct {
	mu     sync.Mutex // held while its files are written
	id     uint32
	kind   storageproof.Kind
	state  state
	file   *os.File // while writing
	dir    *os.File // while writing a data sector
	direct *os.File // while writing: the file again, past the page cache; may be nil
	stage  []byte   // while writing: what is copied to begin on a page
	next   uint32   // cell at which the next write begins
	page   []byte   // data: the page of tags of the unit in which next lies
	dirty  bool
	listed int64                   // data: bytes of its directory
	held   bool                    // its id is kept for the sake of an accepted table; the files may be gone
	err    error                   // a failed write: the file's tail can't be trusted
	keys   []storageproof.BlockKey // of the blocks written here, under Disk.mu
}

// Open takes the folder for this process, makes it if need be, and finds what files it holds. It holds at most quota
// sectors of sectorSize bytes. No block can be found before Adopt names its sector.
func Open(dir string, quota uint32, sectorSize uint64) (*Disk, error) {
	geo, err := storageproof.NewGeometry(sectorSize)
	if err != nil {
		return nil, err
	}
	if quota == 0 || quota > 999_999 {
		return nil, fmt.Errorf("disk.sectors is %d: want 1 to 999999", quota)
	}
	if err := makeFolders(dir); err != nil {
		return nil, err
	}
	lock, err := takeLock(dir)
	if err != nil {
		return nil, err
	}
	pages, _ := lru.New[uint32, [][32]byte](1024) // fails for sizes below one only
	d := &Disk{dir: dir, quota: quota, geo: geo, lock: lock, pages: pages, sectors: map[uint32]*sector{},
		index: map[storageproof.BlockKey]Location{}, links: map[storageproof.BlockKey][]storageproof.BlockKey{}}
	d.free = d.available
	if err := d.scan(); err != nil {
		lock.Close()
		return nil, err
	}
	return d, nil
}

// Measure replaces the question to the file system how many bytes are left, where its own answer is not the true one. Call it
// before anything is written.
func (d *Disk) Measure(free func() (uint64, error)) { d.free = free }

// takeLock takes the folder for this process, until the file is closed.
func takeLock(dir string) (*os.File, error) {
	lock, err := os.OpenFile(filepath.Join(dir, "lock"), os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, err
	}
	if err := unix.Flock(int(lock.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		lock.Close()
		if errors.Is(err, unix.EWOULDBLOCK) {
			return nil, fmt.Errorf("%s: %w", dir, ErrLocked)
		}
		return nil, fmt.Errorf("lock %s: %w", dir, err)
	}
	return lock, nil
}

func makeFolders(dir string) error {
	return errors.Join(os.MkdirAll(filepath.Join(dir, "sectors"), 0o700), os.MkdirAll(filepath.Join(dir, "index"), 0o700))
}

// scan notes every sector file as an orphan and clears what a crash left half made.
func (d *Disk) scan() error {
	files, err := os.ReadDir(filepath.Join(d.dir, "sectors"))
	if err != nil {
		return err
	}
	for _, f := range files {
		id, err := strconv.ParseUint(f.Name(), 10, 32)
		if err != nil || d.sectorPath(uint32(id)) != filepath.Join(d.dir, "sectors", f.Name()) {
			return fmt.Errorf("%s: not a sector; move it away", filepath.Join(d.dir, "sectors", f.Name()))
		}
		d.sectors[uint32(id)] = &sector{id: uint32(id), state: orphan}
	}
	return d.clearTemporaries()
}

// Close ends all writing and gives the folder back. Call Sync first to keep what was written.
func (d *Disk) Close() error {
	for _, s := range d.all() {
		s.close()
	}
	return d.lock.Close()
}

// Geometry is the layout of every sector here.
func (d *Disk) Geometry() storageproof.Geometry { return d.geo }

// Usage counts the sectors in use, reserved ones and orphans included, and the quota.
func (d *Disk) Usage() (used, quota uint32) {
	d.mu.RLock()
	defer d.mu.RUnlock()
	return uint32(len(d.sectors)), d.quota
}

// Reserve makes the file of a new sector under the lowest id in use by none, allocated whole, so that a sector never runs out of
// space half way. It fails with a QuotaError or a SpaceError; the id is taken until Delete.
func (d *Disk) Reserve() (uint32, error) {
	d.mu.Lock()
	if uint32(len(d.sectors)) >= d.quota {
		d.mu.Unlock()
		return 0, &QuotaError{Sectors: d.quota}
	}
	var id uint32
	for d.sectors[id] != nil {
		id++
	}
	s := &sector{id: id, state: reserved}
	d.sectors[id] = s
	d.mu.Unlock()

	s.mu.Lock()
	err := d.allocate(s)
	s.mu.Unlock()
	if err != nil {
		d.mu.Lock()
		delete(d.sectors, id)
		d.mu.Unlock()
		return 0, err
	}
	return id, nil
}

func (d *Disk) allocate(s *sector) error {
	if err := d.remake(); err != nil {
		return err
	}
	if err := d.room(d.geo.SectorSize + spare); err != nil {
		return err
	}
	path := d.sectorPath(s.id)
	file, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return d.full(err, d.geo.SectorSize)
	}
	if err := allocate(file, int64(d.geo.SectorSize)); err != nil {
		file.Close()
		os.Remove(path)
		return d.full(fmt.Errorf("allocate %s: %w", path, err), d.geo.SectorSize)
	}
	s.file = file
	d.renamed.Store(true)
	return nil
}

// Hold keeps an id from being used again although its sector is lost: an accepted table still names it. Delete lets it go.
func (d *Disk) Hold(id uint32) {
	d.mu.Lock()
	s := d.sectors[id]
	if s == nil {
		s = &sector{id: id, state: orphan}
		d.sectors[id] = s
	}
	d.mu.Unlock()
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.state == orphan {
		s.state, s.held = resting, true
	}
}

// Fits is how many further sectors the file system has room for, whatever the quota.
func (d *Disk) Fits() (uint32, error) {
	free, err := d.free()
	if err != nil || free < spare {
		return 0, err
	}
	return uint32(min((free-spare)/d.geo.SectorSize, 999_999)), nil
}

// room checks that the file system has at least need bytes left.
func (d *Disk) room(need uint64) error {
	free, err := d.free()
	if err != nil {
		return fmt.Errorf("free space of %s: %w", d.dir, err)
	}
	if free < need {
		return &SpaceError{Path: d.dir, Need: need, Free: free}
	}
	return nil
}

func (d *Disk) available() (uint64, error) {
	var st unix.Statfs_t
	if err := unix.Statfs(d.dir, &st); err != nil {
		return 0, err
	}
	return st.Bavail * uint64(st.Bsize), nil
}

// full turns an out-of-space error into a SpaceError and leaves others alone.
func (d *Disk) full(err error, need uint64) error {
	if !errors.Is(err, syscall.ENOSPC) && !errors.Is(err, syscall.EDQUOT) {
		return err
	}
	free, _ := d.free() // the figure is for the message alone
	return &SpaceError{Path: d.dir, Need: need, Free: free}
}

// Delete removes a sector's files at once; the id can be reserved again. Deleting what is not there is no error.
func (d *Disk) Delete(id uint32) error {
	s, err := d.get(id)
	if err != nil {
		return nil
	}
	s.close() // no write can begin from here on
	d.mu.Lock()
	defer d.mu.Unlock()
	d.forget(s)
	d.pages.Remove(id)
	d.renamed.Store(true)
	// The directory goes first: a sector without one is an orphan, a directory without a sector would be litter.
	for _, p := range []string{d.dirPath(id), d.sectorPath(id)} {
		if err := os.Remove(p); err != nil && !errors.Is(err, os.ErrNotExist) {
			return err
		}
	}
	delete(d.sectors, id)
	return nil
}

// Prune deletes every sector file that was neither adopted nor created since Open, with directories without one, and tells how many. Call it once no
// report of an earlier session can be accepted any more.
func (d *Disk) Prune() (int, error) {
	n := 0
	for _, s := range d.all() {
		s.mu.Lock()
		left := s.state == orphan
		s.mu.Unlock()
		if !left {
			continue
		}
		if err := d.Delete(s.id); err != nil {
			return n, err
		}
		n++
	}
	return n, d.clearDirectories()
}

// Sync makes all that was written so far durable.
func (d *Disk) Sync() error {
	renamed := d.renamed.Swap(false)
	for _, s := range d.all() {
		if err := s.sync(); err != nil {
			d.renamed.Store(renamed)
			return err
		}
	}
	if !renamed {
		return nil
	}
	if err := d.remake(); err != nil {
		return err
	}
	for _, name := range []string{"sectors", "index"} {
		if err := syncDir(filepath.Join(d.dir, name)); err != nil {
			d.renamed.Store(true)
			return err
		}
	}
	return nil
}

// all lists the sectors in the order of their ids.
func (d *Disk) all() []*sector {
	d.mu.RLock()
	defer d.mu.RUnlock()
	out := make([]*sector, 0, len(d.sectors))
	for _, s := range d.sectors {
		out = append(out, s)
	}
	sort.Slice(out, func(i, j int) bool { return out[i].id < out[j].id })
	return out
}

func syncDir(path string) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	return f.Sync()
}

func (d *Disk) sectorPath(id uint32) string {
	return filepath.Join(d.dir, "sectors", fmt.Sprintf("%06d", id))
}

func (d *Disk) dirPath(id uint32) string {
	return filepath.Join(d.dir, "index", fmt.Sprintf("%06d.dir", id))
}

func (d *Disk) get(id uint32) (*sector, error) {
	d.mu.RLock()
	defer d.mu.RUnlock()
	if s := d.sectors[id]; s != nil {
		return s, nil
	}
	return nil, fmt.Errorf("sector %06d: %w", id, ErrMissing)
}
