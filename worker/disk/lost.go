package disk

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"

	"github.com/cella-network/cella/protocol/storageproof"
)

// ErrGone says that the folder is not where Open found it, as after its file system was unmounted. Nothing is lost by that alone.
var ErrGone = errors.New("the disk folder is gone")

// Present fails with ErrGone unless the folder's path still leads to the folder that Open took.
func (d *Disk) Present() error {
	held, err := d.lock.Stat()
	if err != nil {
		return fmt.Errorf("%s: %w: %w", d.dir, ErrGone, err)
	}
	if now, err := os.Stat(d.lock.Name()); err != nil || !os.SameFile(held, now) {
		return fmt.Errorf("%s: %w; bring it back, or mount its disk again", d.dir, ErrGone)
	}
	return nil
}

// remake makes the folders that somebody deleted under our hands: what is still to be written must find its place.
func (d *Disk) remake() error {
	if err := d.Present(); err != nil {
		return err
	}
	return makeFolders(d.dir)
}

// Unreadable tells errors that say that bytes are gone from those that may pass, such as too many open files.
func Unreadable(err error) bool {
	for _, gone := range []error{fs.ErrNotExist, io.EOF, io.ErrUnexpectedEOF, ErrMissing, unix.EIO, unix.EBADMSG, unix.EUCLEAN, unix.ENODATA} {
		if errors.Is(err, gone) {
			return true
		}
	}
	return false
}

// Forget takes blocks out of the index that can't be read in a sector; one that was written elsewhere since stays.
func (d *Disk) Forget(id uint32, keys []storageproof.BlockKey) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, k := range keys {
		if at, ok := d.index[k]; ok && at.Sector == id {
			delete(d.index, k)
			delete(d.links, k)
		}
	}
}

// Damaged lists the sectors in use whose files are missing or shorter than they were written, in rising order. It looks at no
// byte of them, so it is cheap.
func (d *Disk) Damaged() ([]uint32, error) {
	if err := d.Present(); err != nil {
		return nil, err
	}
	var out []uint32
	for _, s := range d.all() {
		s.mu.Lock()
		whole, err := d.whole(s)
		s.mu.Unlock()
		if err != nil {
			return nil, err
		}
		if !whole {
			out = append(out, s.id)
		}
	}
	return out, nil
}

// whole looks at the files of a sector; the caller holds its lock.
func (d *Disk) whole(s *sector) (bool, error) {
	if s.held || s.state != resting && s.state != writing {
		return true, nil
	}
	info, err := os.Stat(d.sectorPath(s.id))
	if err == nil && uint64(info.Size()) < d.geo.SectorSize {
		return false, nil
	}
	if err == nil && s.kind == storageproof.KindData {
		info, err = os.Stat(d.dirPath(s.id))
		if err == nil && info.Size() < s.listed {
			return false, nil
		}
	}
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	return err == nil, err
}

// Mark is what an operator decided about a folder. It is a file there, so that it outlives processes and goes with the disk.
type Mark string

const (
	MarkLost     Mark = "lost"     // what the chain's last report names is lost; a node may begin empty if it does not find it here
	MarkDraining Mark = "draining" // the operator wants to leave: no offers, no further orders
)

var markWords = map[Mark]string{
	MarkLost:     "The operator has declared what this folder held lost (cella repair --lost). Gone once the chain has accepted that.\n",
	MarkDraining: "The operator wants to leave (cella node drain): no offers are made, no orders taken. cella node drain --cancel removes this.\n",
}

// Set leaves the mark in a folder, durably. The folder is made if need be.
func (m Mark) Set(dir string) error {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	if err := writeSynced(m.path(dir), []byte(markWords[m])); err != nil {
		return err
	}
	return syncDir(dir)
}

// Clear removes the mark; one that is not there is no error.
func (m Mark) Clear(dir string) error {
	if err := os.Remove(m.path(dir)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}

// Stands tells whether the mark is in a folder.
func (m Mark) Stands(dir string) bool {
	_, err := os.Stat(m.path(dir))
	return err == nil
}

func (m Mark) path(dir string) string { return filepath.Join(dir, string(m)) }
