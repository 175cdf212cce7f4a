package journal

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/cella-network/cella/client"
)

// Ledger is an account's entries on disk, in a folder of its own below a node's journal/. One process appends; any number may read,
// and one may put a rebuilt ledger in its place.
type Ledger struct {
	Dir     string
	Chain   string // chain id
	Account string // cella1...

	unsynced bool // nothing is lost if the machine stops: it is being made anew
}

// fileBlocks is how many blocks one file is about: a day or so.
const fileBlocks = 100_000

// head is the first line of a file.
type head struct {
	Version int    `json:"version"`
	Chain   string `json:"chain"`
	Account string `json:"account"`
	After   int64  `json:"after"`   // height of the last block before the file's
	Balance int64  `json:"balance"` // ucella after that block
}

// end is the last line of a block, or of blocks without entries.
type end struct {
	Height  int64 `json:"height"`
	Balance int64 `json:"balance"` // ucella after it
}

// line is one line of a file: one of these.
type line struct {
	Head  *head  `json:"head,omitempty"`
	Entry *Entry `json:"entry,omitempty"`
	End   *end   `json:"end,omitempty"`
}

const version = 1

// state is where a ledger ends.
type state struct {
	end
	file  string      // of the last line
	info  fs.FileInfo // of the file
	size  int64       // of it, without what a crash left behind
	first int64       // height after which the file begins
}

// OpenDir finds the ledger that a folder holds. The error is fs.ErrNotExist if there is none.
func OpenDir(dir string) (Ledger, error) {
	names, err := files(dir)
	if err != nil {
		return Ledger{}, err
	}
	if len(names) == 0 {
		return Ledger{}, fmt.Errorf("%s: %w", dir, fs.ErrNotExist)
	}
	f, err := os.Open(filepath.Join(dir, names[len(names)-1]))
	if err != nil {
		return Ledger{}, err
	}
	defer f.Close()
	l := Ledger{Dir: dir}
	var x line
	if err := json.NewDecoder(f).Decode(&x); err != nil || x.Head == nil {
		return Ledger{}, l.foreign(names[len(names)-1], nil)
	}
	l.Chain, l.Account = x.Head.Chain, x.Head.Account
	return l, nil
}

// Last returns the height of the last block that is entered and the balance after it; ok is false for a ledger that has not begun.
func (l Ledger) Last() (height, balance int64, ok bool, err error) {
	unlock, err := l.lock(unix.LOCK_SH)
	if err != nil {
		return 0, 0, false, err
	}
	defer unlock()
	s, ok, err := l.tail()
	return s.Height, s.Balance, ok, err
}

// Scan calls each with every entry of blocks from a height on, the opening balance or what was before that height first. It returns the
// height and balance of the ledger's end. Each file is checked to add up.
func (l Ledger) Scan(from int64, each func(Entry) error) (last, balance int64, err error) {
	unlock, err := l.lock(unix.LOCK_SH)
	if err != nil {
		return 0, 0, err
	}
	defer unlock()
	names, err := files(l.Dir)
	if err != nil {
		return 0, 0, err
	}
	if len(names) == 0 {
		return 0, 0, fs.ErrNotExist
	}
	// The last file that begins before from holds what is asked for.
	for len(names) > 1 && startOf(names[1]) <= from {
		names = names[1:]
	}
	var opening *Entry
	var at end
	for i, name := range names {
		if _, err := l.scan(name, func(h *head, block []Entry, e end) error {
			if h != nil && i > 0 && (h.After != at.Height || h.Balance != at.Balance) {
				return l.damaged(name, fmt.Errorf("it begins after block %d with %d ucella, the file before ends at block %d with %d", h.After, h.Balance, at.Height, at.Balance))
			}
			at = e
			if h != nil && i > 0 {
				return nil
			}
			if h != nil || e.Height < from {
				opening = &Entry{Height: e.Height, Kind: KindOpening, Amount: e.Balance}
				return nil
			}
			if opening != nil {
				if err := each(*opening); err != nil {
					return err
				}
				opening = nil
			}
			for _, entry := range block {
				if err := each(entry); err != nil {
					return err
				}
			}
			return nil
		}); err != nil {
			return 0, 0, err
		}
	}
	if opening != nil {
		if err := each(*opening); err != nil {
			return 0, 0, err
		}
	}
	return at.Height, at.Balance, nil
}

// scan reads a file up to its last whole block and checks that it adds up. It calls each with the head and with every block.
func (l Ledger) scan(name string, each func(h *head, block []Entry, e end) error) (state, error) {
	path := filepath.Join(l.Dir, name)
	f, err := os.Open(path)
	if err != nil {
		return state{}, err
	}
	defer f.Close()
	s := state{file: name}
	if s.info, err = f.Stat(); err != nil {
		return s, err
	}
	r := bufio.NewReaderSize(f, 1<<16)
	var at int64
	var block []Entry
	var torn error
	ends := 0 // behind what is torn
	for begun := false; ; {
		raw, err := r.ReadBytes('\n')
		if errors.Is(err, io.EOF) {
			break // a line without an end is torn
		}
		if err != nil {
			return s, err
		}
		at += int64(len(raw))
		var x line
		if err := decode(raw, &x); err != nil && torn == nil {
			torn = fmt.Errorf("byte %d: %w", at-int64(len(raw)), err)
		}
		switch {
		case torn != nil:
			// A crash may lose a page of the last write and keep the next one, but it loses nothing of what was written before.
			if x.End != nil {
				ends++
			}
			if ends > 1 {
				return s, l.damaged(name, torn)
			}
		case !begun:
			h := x.Head
			if h == nil || h.Version != version || h.Chain != l.Chain || h.Account != l.Account {
				return s, l.foreign(name, h)
			}
			begun, s.end, s.first, s.size = true, end{h.After, h.Balance}, h.After, at
			if err := each(h, nil, s.end); err != nil {
				return s, err
			}
		case x.Entry != nil:
			block = append(block, *x.Entry)
		case x.End != nil:
			if sum := s.Balance + Sum(block); sum != x.End.Balance || x.End.Height <= s.Height {
				return s, l.damaged(name, fmt.Errorf("byte %d: block %d ends with %d ucella, the entries after block %d add up to %d", at, x.End.Height, x.End.Balance, s.Height, sum))
			}
			s.end, s.size = *x.End, at
			if err := each(nil, block, s.end); err != nil {
				return s, err
			}
			block = nil
		}
	}
	if s.size == 0 {
		return s, l.foreign(name, nil)
	}
	return s, nil
}

func decode(raw []byte, x *line) error {
	if err := json.Unmarshal(raw, x); err != nil {
		return err
	}
	if x.Head == nil && x.Entry == nil && x.End == nil {
		return errors.New("it is no line of a ledger")
	}
	return nil
}

// tail finds where the ledger ends; ok is false if it has not begun.
func (l Ledger) tail() (s state, ok bool, err error) {
	names, err := files(l.Dir)
	if err != nil || len(names) == 0 {
		return state{}, false, err
	}
	s, err = l.scan(names[len(names)-1], func(*head, []Entry, end) error { return nil })
	return s, err == nil, err
}

// begin makes the ledger, or its next file. A file gets its name when its head is on disk.
func (l Ledger) begin(after end) (state, error) {
	if err := os.MkdirAll(l.Dir, 0o700); err != nil {
		return state{}, err
	}
	raw, err := json.Marshal(line{Head: &head{Version: version, Chain: l.Chain, Account: l.Account, After: after.Height, Balance: after.Balance}})
	if err != nil {
		return state{}, err
	}
	s, err := l.write(state{end: after, first: after.Height, file: fileName(after.Height+1) + ".new"}, append(raw, '\n'))
	if err != nil {
		return s, err
	}
	made := filepath.Join(l.Dir, s.file)
	s.file = fileName(after.Height + 1)
	if err := os.Rename(made, filepath.Join(l.Dir, s.file)); err != nil {
		return s, err
	}
	return s, syncDir(l.Dir)
}

// append enters blocks after the ledger's end: the entries of the last of them, if any, and its end. It fails with errMoved if s is not
// where the ledger ends.
func (l Ledger) append(s state, entries []Entry, height int64) (state, error) {
	unlock, err := l.lock(unix.LOCK_EX)
	if err != nil {
		return s, err
	}
	defer unlock()
	if now, err := os.Stat(filepath.Join(l.Dir, s.file)); err != nil || now.Size() != s.info.Size() || !os.SameFile(now, s.info) {
		return s, errMoved
	}
	if s.Height-s.first >= fileBlocks {
		if s, err = l.begin(s.end); err != nil {
			return s, err
		}
	}
	var raw bytes.Buffer
	enc := json.NewEncoder(&raw)
	for _, e := range entries {
		if err := enc.Encode(line{Entry: &e}); err != nil {
			return s, err
		}
	}
	next := s
	next.end = end{height, s.Balance + Sum(entries)}
	if err := enc.Encode(line{End: &next.end}); err != nil {
		return s, err
	}
	return l.write(next, raw.Bytes())
}

// errMoved says that the ledger ends elsewhere than was thought: it was replaced, or a write failed half way.
var errMoved = errors.New("the ledger was changed by another process")

// write puts bytes behind the first s.size of a file, on disk when it returns. What lies there is cut off.
func (l Ledger) write(s state, b []byte) (state, error) {
	f, err := os.OpenFile(filepath.Join(l.Dir, s.file), os.O_CREATE|os.O_WRONLY, 0o600)
	if err != nil {
		return s, err
	}
	defer f.Close()
	if err := f.Truncate(s.size); err != nil {
		return s, err
	}
	if _, err := f.WriteAt(b, s.size); err != nil {
		return s, err
	}
	if !l.unsynced {
		if err := f.Sync(); err != nil {
			return s, err
		}
	}
	s.size += int64(len(b))
	s.info, err = f.Stat()
	return s, err
}

// replace puts another ledger's folder in the place of this one's.
func (l Ledger) replace(other string) error {
	unlock, err := l.lock(unix.LOCK_EX)
	if err != nil {
		return err
	}
	defer unlock()
	old := l.Dir + ".old"
	if err := os.RemoveAll(old); err != nil {
		return err
	}
	if err := os.Rename(l.Dir, old); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if err := os.Rename(other, l.Dir); err != nil {
		return errors.Join(err, os.Rename(old, l.Dir))
	}
	return errors.Join(syncDir(filepath.Dir(l.Dir)), os.RemoveAll(old))
}

// lock keeps a reader or writer of the ledger from its replacement. The lock lies beside the folder, which is replaced.
func (l Ledger) lock(how int) (unlock func(), err error) {
	if err := os.MkdirAll(filepath.Dir(l.Dir), 0o700); err != nil {
		return nil, err
	}
	f, err := os.OpenFile(l.Dir+".lock", os.O_CREATE|os.O_RDWR, 0o600)
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
		return nil, err
	}
	return func() { f.Close() }, nil
}

const rebuildHint = "cella node explain --rebuild makes it anew from the blocks that the node keeps"

func (l Ledger) damaged(name string, err error) error {
	return &client.Error{Kind: client.KindLocal, What: "ledger " + filepath.Join(l.Dir, name) + " is damaged", Cause: err, Hint: rebuildHint}
}

func (l Ledger) foreign(name string, h *head) error {
	e := &client.Error{Kind: client.KindLocal, What: "ledger " + filepath.Join(l.Dir, name) + " begins with no head", Hint: rebuildHint}
	switch {
	case h == nil:
	case h.Version != version:
		e.What, e.Hint = fmt.Sprintf("ledger %s is of version %d", filepath.Join(l.Dir, name), h.Version), "it was written by another cella; "+rebuildHint
	default:
		e.What = fmt.Sprintf("ledger %s is of %s on chain %s, want %s on %s", filepath.Join(l.Dir, name), h.Account, h.Chain, l.Account, l.Chain)
		e.Hint = "move it away"
	}
	return e
}

const suffix = ".jsonl"

func fileName(first int64) string { return fmt.Sprintf("%012d%s", first, suffix) }

// startOf is the first height that a file is about.
func startOf(name string) int64 {
	var h int64
	_, _ = fmt.Sscanf(name, "%d", &h)
	return h
}

// files are the names of a ledger's files in the order of their blocks.
func files(dir string) ([]string, error) {
	list, err := os.ReadDir(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	var names []string
	for _, e := range list {
		if strings.HasSuffix(e.Name(), suffix) && startOf(e.Name()) > 0 {
			names = append(names, e.Name())
		}
	}
	return names, nil // ReadDir sorts, and names are of one length
}

func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	defer d.Close()
	return d.Sync()
}
