package storageproof

import (
	"encoding/binary"
	"errors"
	"fmt"
	"sort"

	"github.com/cella-network/cella/protocol/lottery"
)

// Kind says what a sector holds.
type Kind uint8

const (
	KindFree Kind = 1 // random bytes whose key was erased
	KindData Kind = 2 // sealed cells
)

// Entry is one row of a sector table. Root commits to the sector's content: the digest tree of a free sector; header, tags and
// directory of a data sector. Ids are never used twice by one table's successors while the sector is named.
type Entry struct {
	ID    uint32
	Kind  Kind
	Cells uint32 // cells that count and may be drawn
	Root  [32]byte
}

// EntrySize is the length of an encoded entry.
const EntrySize = 4 + 1 + 4 + 32

// Append adds the entry's one encoding to b.
func (e Entry) Append(b []byte) []byte {
	b = binary.BigEndian.AppendUint32(b, e.ID)
	b = append(b, byte(e.Kind))
	b = binary.BigEndian.AppendUint32(b, e.Cells)
	return append(b, e.Root[:]...)
}

// ErrTable is the kind of every error about a sector table.
var ErrTable = errors.New("bad sector table")

// UnmarshalEntry reads what Append wrote.
func UnmarshalEntry(p []byte) (Entry, error) {
	if len(p) != EntrySize {
		return Entry{}, fmt.Errorf("%w: entry of %d bytes, want %d", ErrTable, len(p), EntrySize)
	}
	e := Entry{ID: binary.BigEndian.Uint32(p), Kind: Kind(p[4]), Cells: binary.BigEndian.Uint32(p[5:])}
	copy(e.Root[:], p[9:])
	if e.Kind != KindFree && e.Kind != KindData {
		return Entry{}, fmt.Errorf("%w: sector %d of kind %d", ErrTable, e.ID, e.Kind)
	}
	return e, nil
}

// Table is a node's sectors in the order of their ids.
type Table struct {
	entries []Entry
	before  []uint64 // before[i]: cells of all entries ahead of entry i
	cells   uint64
	free    uint64
	root    [32]byte
}

// NewTable sorts the entries and refuses a doubled id.
func NewTable(entries []Entry) (*Table, error) {
	t := &Table{entries: append([]Entry(nil), entries...)}
	sort.Slice(t.entries, func(i, j int) bool { return t.entries[i].ID < t.entries[j].ID })
	t.before = make([]uint64, len(t.entries))
	leaves := make([][32]byte, len(t.entries))
	for i, e := range t.entries {
		if i > 0 && t.entries[i-1].ID == e.ID {
			return nil, fmt.Errorf("%w: sector %d is named twice", ErrTable, e.ID)
		}
		t.before[i] = t.cells
		t.cells += uint64(e.Cells)
		if e.Kind == KindFree {
			t.free += uint64(e.Cells)
		}
		leaves[i] = LeafHash(e.Append(nil))
	}
	t.root = MerkleRoot(leaves)
	return t, nil
}

// Root commits to the whole table.
func (t *Table) Root() [32]byte { return t.root }

// Entries are the rows in the order of their ids; the caller must not change them.
func (t *Table) Entries() []Entry { return t.entries }

// Free and Stored are the bytes that count.
func (t *Table) Free() uint64 { return t.free * CellSize }

// Stored is the bytes of sealed cells, each counted once.
func (t *Table) Stored() uint64 { return (t.cells - t.free) * CellSize }

// Draw is the spot check of one height: which cell of which sector must be shown.
type Draw struct {
	Height int64
	Sector uint32
	Cell   uint32
}

// Draw picks a cell uniformly over the table's bytes; it depends on the seed, the height, the account and the table, never on the
// enclave's identity, so that neither a restart nor a rejoin changes the question. The heights that one seed decides, see
// Standing.SeedHeight, draw each for itself. An empty table has no draw.
func (t *Table) Draw(seed lottery.Seed, height int64, account [20]byte) (Draw, bool) {
	if t.cells == 0 {
		return Draw{}, false
	}
	subject := append(append([]byte(nil), account[:]...), t.root[:]...)
	subject = binary.BigEndian.AppendUint64(subject, uint64(height))
	at := seed.Uniform("spot-check", subject, t.cells)
	i := sort.Search(len(t.before), func(i int) bool { return t.before[i] > at }) - 1
	return Draw{Height: height, Sector: t.entries[i].ID, Cell: uint32(at - t.before[i])}, true
}
