package vault

import (
	"crypto/sha256"
	"hash"
	"sort"

	"github.com/cella-network/cella/enclave/wire"
	"github.com/cella-network/cella/protocol/storageproof"
)

// restoration is a data sector whose directory is coming in.
type restoration struct {
	row       storageproof.Entry
	begun     bool
	bad       bool
	key       []byte
	header    [32]byte
	tags      [32]byte
	cells     uint32
	directory hash.Hash
	rest      []byte // bytes of a record that is not whole yet
	records   []storageproof.Record
}

// RestoreBegin brings the vault back to what the chain last accepted: standing is the account's proven record, nil if the
// caller proved that there is none. entries are the rows of its table, orders those that it holds. Sectors that were open are
// never opened again.
func (v *Vault) RestoreBegin(standing *storageproof.Standing, entries []byte, orders []wire.Order) error {
	v.mu.Lock()
	defer v.mu.Unlock()
	if err := v.restorable(); err != nil {
		return err
	}
	if standing == nil {
		if len(entries) != 0 || len(orders) != 0 {
			return refuse(wire.CodeInvalid, "the chain knows no report, so there is nothing to restore")
		}
		v.reset()
		v.phase = ready
		return nil
	}
	base, known, err := v.baseOf(standing, entries, orders)
	if err != nil {
		return err
	}
	v.reset()
	v.phase = restoring
	v.base, v.drawn = base, base.height
	v.last.Counter = base.counter
	v.wanted = map[uint32]*restoration{}
	for _, e := range base.table.Entries() {
		if e.Kind == storageproof.KindData {
			v.wanted[e.ID] = &restoration{row: e, directory: sha256.New()}
			continue
		}
		s := &sector{id: e.ID, slot: uint32(len(v.slots)), kind: e.Kind, row: e}
		v.slots = append(v.slots, s)
		v.byID[e.ID] = s.slot
	}
	v.orders = known
	return nil
}

// baseOf checks rows and orders against the standing.
func (v *Vault) baseOf(standing *storageproof.Standing, entries []byte, orders []wire.Order) (*snapshot, map[uint64]*order, error) {
	if standing.Account != v.cfg.Account {
		return nil, nil, refuse(wire.CodeInvalid, "the standing is another account's")
	}
	var rows []storageproof.Entry
	for ; len(entries) >= storageproof.EntrySize; entries = entries[storageproof.EntrySize:] {
		e, err := storageproof.UnmarshalEntry(entries[:storageproof.EntrySize])
		if err != nil {
			return nil, nil, refuse(wire.CodeInvalid, "%v", err)
		}
		rows = append(rows, e)
	}
	if len(entries) != 0 {
		return nil, nil, refuse(wire.CodeMalformed, "rows end in the middle of one")
	}
	table, err := storageproof.NewTable(rows)
	if err != nil {
		return nil, nil, refuse(wire.CodeInvalid, "%v", err)
	}
	if table.Root() != standing.Table {
		return nil, nil, refuse(wire.CodeInvalid, "these rows are not the table of report %d", standing.Counter)
	}
	base := &snapshot{id: standing.Report, counter: standing.Counter, height: standing.Height, since: standing.Since, table: table}
	known := map[uint64]*order{}
	for _, o := range orders {
		ref := storageproof.OrderRef{ID: o.ID, Root: append([]byte(nil), o.Root...), Size: o.Size}
		root, err := blockKey(o.Root)
		if err != nil {
			return nil, nil, err
		}
		known[o.ID] = &order{ref: ref, root: root, accepted: true}
		base.orders = append(base.orders, ref)
	}
	sort.Slice(base.orders, func(i, j int) bool { return base.orders[i].ID < base.orders[j].ID })
	if storageproof.OrdersRoot(base.orders) != standing.Orders {
		return nil, nil, refuse(wire.CodeInvalid, "these orders are not those of report %d", standing.Counter)
	}
	return base, known, nil
}

// RestoreSector takes the next part of a data sector's directory; the first part brings header page and tag root. With the last it
// tells whether all matches the sector's row. Records behind the row's last cell are ignored: the report did not name them. A block
// that lies in two sectors, because it was being moved, is from then on where the sector brought first has it.
func (v *Vault) RestoreSector(m wire.RestoreSector) (wire.RestoreSectorReply, error) {
	v.mu.Lock()
	defer v.mu.Unlock()
	if err := v.want(restoring); err != nil {
		return wire.RestoreSectorReply{}, err
	}
	r := v.wanted[m.Sector]
	if r == nil {
		return wire.RestoreSectorReply{}, refuse(wire.CodeMissing, "sector %d is not a data sector that waits to be restored", m.Sector)
	}
	if !r.begun {
		r.begun, r.key, r.header, r.tags = true, v.secrets.get(), sha256.Sum256(m.Header), m.TagRoot
		r.bad = !v.unwrap(m.Sector, m.Header, r.key)
	}
	if !r.bad {
		r.read(m.Directory)
	}
	if !m.Last {
		return wire.RestoreSectorReply{}, nil
	}
	delete(v.wanted, m.Sector)
	row := r.row
	if r.bad || r.cells != row.Cells ||
		storageproof.DataRoot(row.ID, r.header, r.cells, r.tags, [32]byte(r.directory.Sum(nil))) != row.Root {
		v.secrets.put(r.key)
		v.restore.LostSectors = append(v.restore.LostSectors, row.ID)
		return wire.RestoreSectorReply{}, nil
	}
	v.revive(r)
	return wire.RestoreSectorReply{Matched: true}, nil
}

// read takes records until the row's cells are reached. What they say is believed once the row's root has matched.
func (r *restoration) read(part []byte) {
	p := append(r.rest, part...)
	for r.cells < r.row.Cells {
		rec, n, ok := storageproof.ReadRecord(p)
		if r.bad = !ok; r.bad || n == 0 {
			break
		}
		r.directory.Write(p[:n])
		r.records = append(r.records, rec)
		r.cells += rec.Cells()
		p = p[n:]
	}
	if r.bad || r.cells >= r.row.Cells {
		p = nil
	}
	r.rest = append([]byte(nil), p...)
}

// revive makes a sector that matched count again, closed.
func (v *Vault) revive(r *restoration) {
	s := &sector{id: r.row.ID, slot: uint32(len(v.slots)), kind: r.row.Kind, row: r.row, tags: r.tags, key: r.key, header: r.header}
	v.slots = append(v.slots, s)
	v.byID[s.id] = s.slot
	for _, rec := range r.records {
		if _, known := v.blocks[rec.Key]; !known { // a block that was moved lies in two sectors
			v.index(s, rec.Key, rec.First, rec.Length, rec.Links)
		}
	}
}

// RestoreLost goes on from the account's proven standing with an empty disk: everything that the chain knows of is lost. The table that
// the standing names is unknown, so every draw over it fails, and the next report says Reset. No key of an old sector
// is left, and a new one has a key of its own, so its number may be any.
func (v *Vault) RestoreLost(standing *storageproof.Standing) error {
	v.mu.Lock()
	defer v.mu.Unlock()
	if err := v.restorable(); err != nil {
		return err
	}
	if standing == nil {
		return refuse(wire.CodeInvalid, "the chain knows no report, so there is nothing to lose")
	}
	if standing.Account != v.cfg.Account {
		return refuse(wire.CodeInvalid, "the standing is another account's")
	}
	v.reset()
	v.phase = ready
	v.base = &snapshot{id: standing.Report, counter: standing.Counter, height: standing.Height, since: standing.Since}
	v.drawn, v.last.Counter = standing.Height, standing.Counter
	return nil
}

// restorable refuses to restore a vault that is ready: it would forget draws that failed.
func (v *Vault) restorable() error {
	if v.phase == ready {
		return refuse(wire.CodeState, "the vault is restored; only a new enclave can be restored anew")
	}
	if v.phase == closed {
		return v.want(fresh)
	}
	return nil
}

// RestoreEnd ends the restore. Sectors that did not match are lost: their draws fail, and the next report leaves them out,
// with the orders that need them, unless Complete finds those whole before.
func (v *Vault) RestoreEnd() (wire.RestoreEndReply, error) {
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.phase == ready {
		return v.told(), nil
	}
	if err := v.want(restoring); err != nil {
		return wire.RestoreEndReply{}, err
	}
	for id, r := range v.wanted {
		if r.begun {
			v.secrets.put(r.key)
		}
		v.restore.LostSectors = append(v.restore.LostSectors, id)
	}
	sort.Slice(v.restore.LostSectors, func(i, j int) bool { return v.restore.LostSectors[i] < v.restore.LostSectors[j] })
	v.wanted = nil
	for _, ref := range v.base.orders {
		o := v.orders[ref.ID]
		if found, _, missing := v.walk(o.root, v.live); missing == nil {
			o.counted = true
			v.count(found, 1)
			continue
		}
		o.broken = true
		v.restore.LostOrders = append(v.restore.LostOrders, ref.ID)
	}
	v.phase = ready
	return v.told(), nil
}

// told is what was lost, as far as it fits into a message.
func (v *Vault) told() wire.RestoreEndReply {
	sectors, orders := v.restore.LostSectors, v.restore.LostOrders
	return wire.RestoreEndReply{LostSectors: sectors[:min(len(sectors), maxLost)], LostOrders: orders[:min(len(orders), maxLost)]}
}
