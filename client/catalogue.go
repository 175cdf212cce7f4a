package client

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"time"

	"golang.org/x/sys/unix"
)

// Entry is a line of the catalogue: something that was put, or is being put.
type Entry struct {
	Chain     string    `json:"chain"` // chain id
	Name      string    `json:"name"`  // unique within a chain
	Root      string    `json:"root"`  // CID
	Size      uint64    `json:"size"`  // bytes of the distinct blocks under Root
	Replicas  uint32    `json:"replicas"`
	Order     uint64    `json:"order"` // 0 until the order is on the chain
	Created   time.Time `json:"created"`
	Encrypted bool      `json:"encrypted"`
	// Acknowledged is the height at which all replicas were found to be proven; 0 until then.
	Acknowledged int64 `json:"acknowledged"`

	// Code is such as 4+2 for a file that lies in shards instead of replicas; then Order is that of the first shard. Manifest is the
	// dag-cbor CID of what says which blocks belong together.
	Code     string       `json:"code,omitempty"`
	Manifest string       `json:"manifest,omitempty"`
	Shards   []ShardEntry `json:"shards,omitempty"`

	// Until is the last height at which an order that was sent but not seen yet can appear.
	Until int64 `json:"until,omitempty"`
	// Source and Digest tell an encrypted put that is run again from a new one: the path, and the SHA-256 of what was encrypted.
	Source string `json:"source,omitempty"`
	Digest string `json:"digest,omitempty"`
	// Recipients are those, beside oneself, for whom an encrypted put was encrypted: age1..., sorted. With others it is another file.
	Recipients []string `json:"recipients,omitempty"`
}

// ShardEntry is a shard of a coded file.
type ShardEntry struct {
	Root  string `json:"root"`  // CID
	Size  uint64 `json:"size"`  // bytes of the distinct blocks under Root
	Order uint64 `json:"order"` // 0 until it is on the chain
}

// catalogue is the file that remembers what was put. Every change reads, changes and replaces it under a lock, so any number of
// processes may use it.
type catalogue struct{ path string }

type catalogueFile struct {
	Version int     `json:"version"`
	Entries []Entry `json:"entries"`
}

func (c catalogue) read() ([]Entry, error) {
	b, err := os.ReadFile(c.path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, wrap(KindLocal, "catalogue", err)
	}
	var f catalogueFile
	if err := json.Unmarshal(b, &f); err != nil {
		return nil, &Error{Kind: KindLocal, What: "catalogue " + c.path, Cause: err, Hint: "move it away: files stay readable by their root"}
	}
	if f.Version != 1 {
		return nil, &Error{Kind: KindLocal, What: fmt.Sprintf("catalogue %s has version %d, want 1", c.path, f.Version), Hint: "it was written by a newer cella"}
	}
	return f.Entries, nil
}

// change replaces the entries by what edit makes of them, atomically and durably.
func (c catalogue) change(edit func([]Entry) ([]Entry, error)) error {
	if err := os.MkdirAll(filepath.Dir(c.path), 0o700); err != nil {
		return wrap(KindLocal, "catalogue", err)
	}
	unlock, err := lockFile(c.path+".lock", true)
	if err != nil {
		return wrap(KindLocal, "catalogue", err)
	}
	defer unlock()
	before, err := c.read()
	if err != nil {
		return err
	}
	after, err := edit(before)
	if err != nil {
		return err
	}
	b, err := json.MarshalIndent(catalogueFile{Version: 1, Entries: after}, "", "  ")
	if err != nil {
		return wrap(KindLocal, "catalogue", err)
	}
	return wrap(KindLocal, "catalogue", replaceFile(c.path, append(b, '\n'), 0o600))
}

// find returns the entry of a chain that a name or a root means.
func (c catalogue) find(chain, ref string) (Entry, bool, error) {
	all, err := c.read()
	if err != nil {
		return Entry{}, false, err
	}
	if i := indexOf(all, chain, ref); i >= 0 {
		return all[i], true, nil
	}
	return Entry{}, false, nil
}

func indexOf(all []Entry, chain, ref string) int {
	return slices.IndexFunc(all, func(e Entry) bool { return e.Chain == chain && (e.Root == ref || e.Name == ref) })
}

// save writes an entry over the one with the same root, or adds it under a free name: "notes", then "notes-2".
func (c catalogue) save(e *Entry) error {
	return c.change(func(all []Entry) ([]Entry, error) {
		if i := indexOf(all, e.Chain, e.Root); i >= 0 {
			e.Name = all[i].Name
			all[i] = *e
			return all, nil
		}
		want := e.Name
		for n := 2; indexOf(all, e.Chain, e.Name) >= 0; n++ {
			e.Name = fmt.Sprintf("%s-%d", want, n)
		}
		return append(all, *e), nil
	})
}

// remove drops the entry of a root.
func (c catalogue) remove(chain, root string) error {
	return c.change(func(all []Entry) ([]Entry, error) {
		return slices.DeleteFunc(all, func(e Entry) bool { return e.Chain == chain && e.Root == root }), nil
	})
}

// errLocked says that another process holds a lock.
var errLocked = errors.New("locked by another process")

// lockFile takes an exclusive lock that ends with unlock or with the process, and whose file goes with it; without wait it fails with
// errLocked when another holds it.
func lockFile(path string, wait bool) (unlock func(), err error) {
	how := unix.LOCK_EX
	if !wait {
		how |= unix.LOCK_NB
	}
	for {
		f, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o600)
		if err != nil {
			return nil, err
		}
		for {
			if err = unix.Flock(int(f.Fd()), how); !errors.Is(err, unix.EINTR) {
				break
			}
		}
		if err != nil {
			f.Close()
			if errors.Is(err, unix.EWOULDBLOCK) {
				return nil, errLocked
			}
			return nil, err
		}
		// Whoever held it before removed the file: a lock on what has no name keeps nobody out.
		mine, err1 := f.Stat()
		named, err2 := os.Stat(path)
		if err1 == nil && err2 == nil && os.SameFile(mine, named) {
			return func() {
				os.Remove(path)
				f.Close()
			}, nil
		}
		f.Close()
	}
}

// replaceFile makes path hold b or, whatever happens, what it held before.
func replaceFile(path string, b []byte, mode fs.FileMode) error {
	f, err := os.CreateTemp(filepath.Dir(path), "."+filepath.Base(path)+"-*")
	if err != nil {
		return err
	}
	defer os.Remove(f.Name())
	_, err = f.Write(b)
	if err == nil {
		err = f.Chmod(mode)
	}
	if err == nil {
		err = f.Sync()
	}
	if e := f.Close(); err == nil {
		err = e
	}
	if err == nil {
		err = os.Rename(f.Name(), path)
	}
	if err != nil {
		return err
	}
	d, err := os.Open(filepath.Dir(path))
	if err != nil {
		return err
	}
	defer d.Close()
	return d.Sync()
}
