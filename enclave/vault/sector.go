package vault

import (
	"crypto/cipher"
	"crypto/sha256"
	"hash"

	"github.com/cella-network/cella/enclave/wire"
	"github.com/cella-network/cella/protocol/storageproof"
)

// sector is one file of the host's disk.
type sector struct {
	id       uint32
	slot     uint32
	kind     storageproof.Kind
	released bool
	row      storageproof.Entry // once nothing is added any more
	tags     [32]byte           // data: tag root of row
	fill     *filling           // free: while its runs are made
	key      []byte             // data: of the keyring
	header   [32]byte           // data: hash of the header page
	open     *opening           // data: while blocks may be added
	held     uint32             // data: blocks here that an order needs
	blocks   int                // data: blocks here
}

// opening is what an open sector keeps beyond a closed one.
type opening struct {
	aead      cipher.AEAD
	reserved  uint32 // cells handed out
	cells     uint32 // cells committed: all before are sealed
	queue     []*reservation
	directory hash.Hash                               // over the records of the committed blocks
	leaves    [][32]byte                              // LeafHash of the whole pages of tags
	pages     map[uint32]*[storageproof.CellSize]byte // pages of tags that are not whole, by unit
	closing   bool
}

// reservation is a run of cells between being handed out and being committed. Cells are handed out in one order and
// encrypted in any; they are committed in the first, so that a report always covers a prefix of the sector.
type reservation struct {
	key    storageproof.BlockKey
	links  []storageproof.BlockKey
	first  uint32
	cells  uint32
	length uint32
	record []byte
	pages  [2]*[storageproof.CellSize]byte // of the unit of first, and of the next
	done   bool
}

// cells is how many cells count by now.
func (s *sector) cells() uint32 {
	if s.open != nil {
		return s.open.cells
	}
	return s.row.Cells
}

// entry is the sector's row by now, and its tag root.
func (s *sector) entry() (storageproof.Entry, [32]byte) {
	if s.open == nil {
		return s.row, s.tags
	}
	o := s.open
	leaves := append(make([][32]byte, 0, len(o.leaves)+1), o.leaves...)
	if n := o.cells % storageproof.UnitCells; n > 0 {
		var page [storageproof.CellSize]byte
		copy(page[:n*storageproof.TagSize], o.pages[o.cells/storageproof.UnitCells][:])
		leaves = append(leaves, storageproof.LeafHash(page[:]))
	}
	tags := storageproof.TagRoot(leaves)
	row := storageproof.Entry{ID: s.id, Kind: s.kind, Cells: o.cells,
		Root: storageproof.DataRoot(s.id, s.header, o.cells, tags, [32]byte(o.directory.Sum(nil)))}
	return row, tags
}

// close ends an open sector in which nothing is under way.
func (s *sector) close() {
	s.row, s.tags = s.entry()
	s.open = nil
}

// named are the sectors of the next report, in no order.
func (v *Vault) named() []*sector {
	out := make([]*sector, 0, len(v.byID))
	for _, slot := range v.byID {
		if s := v.slots[slot]; !s.released && s.cells() > 0 {
			out = append(out, s)
		}
	}
	return out
}

// table is the sector table by now, with the tag roots of its data sectors. While broken orders are overdue it leaves out no row of the
// last accepted table.
func (v *Vault) table() (*storageproof.Table, map[uint32][32]byte, error) {
	var rows []storageproof.Entry
	tags := map[uint32][32]byte{}
	if v.overdue() {
		for _, e := range v.base.rows() {
			if slot, alive := v.byID[e.ID]; !alive || v.slots[slot].released {
				rows = append(rows, e)
			}
		}
	}
	for _, s := range v.named() {
		row, t := s.entry()
		rows = append(rows, row)
		if s.kind == storageproof.KindData {
			tags[s.id] = t
		}
	}
	t, err := storageproof.NewTable(rows)
	if err != nil {
		return nil, nil, refuse(wire.CodeInternal, "%v", err)
	}
	return t, tags, nil
}

// add makes a sector of a free id. An id that the last accepted table names can't be used again before a later report released it.
func (v *Vault) add(id uint32, kind storageproof.Kind) (*sector, error) {
	if _, taken := v.byID[id]; taken {
		return nil, refuse(wire.CodeState, "sector %d is in use", id)
	}
	if _, named := rowOf(v.base.rows(), id); named {
		return nil, refuse(wire.CodeState, "sector %d is named by the last accepted report", id)
	}
	s := &sector{id: id, slot: uint32(len(v.slots)), kind: kind}
	v.slots = append(v.slots, s)
	v.byID[id] = s.slot
	return s, nil
}

// find returns a sector by its id.
func (v *Vault) find(id uint32) (*sector, error) {
	slot, ok := v.byID[id]
	if !ok {
		return nil, refuse(wire.CodeMissing, "sector %d is not known", id)
	}
	return v.slots[slot], nil
}

// forget wipes a sector's key and takes it out of the vault. Places that point to it are stale from then on.
func (v *Vault) forget(s *sector) {
	if s.key != nil {
		v.secrets.put(s.key)
		s.key = nil
	}
	if s.fill != nil {
		v.endFill(s)
	}
	v.slots[s.slot] = nil
	delete(v.byID, s.id)
	v.stale += s.blocks
}

// Open begins a data sector under a fresh random key. Once 64 are open, the oldest is closed.
func (v *Vault) Open(m wire.Open) (wire.OpenReply, error) {
	v.mu.Lock()
	defer v.mu.Unlock()
	if err := v.want(ready); err != nil {
		return wire.OpenReply{}, err
	}
	key, err := v.draw()
	if err != nil {
		return wire.OpenReply{}, err
	}
	page, err := v.header(m.Sector, key)
	if err == nil {
		err = v.open(m.Sector, key, page)
	}
	if err != nil {
		v.secrets.put(key)
		return wire.OpenReply{}, err
	}
	return wire.OpenReply{Header: page}, nil
}

func (v *Vault) open(id uint32, key, page []byte) error {
	aead, err := newGCM(key)
	if err != nil {
		return err
	}
	s, err := v.add(id, storageproof.KindData)
	if err != nil {
		return err
	}
	s.key, s.header = key, sha256.Sum256(page)
	s.open = &opening{aead: aead, directory: sha256.New(), pages: map[uint32]*[storageproof.CellSize]byte{}}
	v.closeOldest()
	return nil
}

// closeOldest keeps the number of open sectors bounded.
func (v *Vault) closeOldest() {
	var oldest *sector
	open := 0
	for _, s := range v.slots { // slots are in the order of opening
		if s != nil && s.open != nil && !s.open.closing {
			if open++; oldest == nil {
				oldest = s
			}
		}
	}
	if open <= maxOpen {
		return
	}
	oldest.open.closing = true
	if oldest.open.reserved == oldest.open.cells {
		oldest.close()
	}
}

// Release leaves sectors out of the next reports. It is refused for all of them if one holds a block of an order that an
// accepted report names, or the next one would. A sector on which blocks are being sealed is waited for.
func (v *Vault) Release(m wire.Release) error {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.settle()
	if err := v.want(ready); err != nil {
		return err
	}
	for _, id := range m.Sectors {
		s, err := v.find(id)
		if err != nil {
			return err
		}
		if s.held > 0 {
			return refuse(wire.CodeState, "sector %d holds %d blocks of orders", id, s.held)
		}
		if s.open != nil && s.open.reserved != s.open.cells {
			return refuse(wire.CodeState, "sector %d is being sealed", id)
		}
	}
	for _, id := range m.Sectors {
		s := v.slots[v.byID[id]]
		if s.open != nil {
			s.close()
		}
		s.released = true
	}
	return nil
}
