package vault

import (
	"crypto/sha256"
	"slices"
	"sort"

	"github.com/cella-network/cella/enclave/wire"
	"github.com/cella-network/cella/protocol/lottery"
	"github.com/cella-network/cella/protocol/storageproof"
)

// maxPending is how many reports on top of one base are remembered. The chain may accept any of them, but only one.
const maxPending = 8

// snapshot is what one report says.
type snapshot struct {
	id      [32]byte
	counter uint64
	height  int64
	since   int64                   // block that accepted it, once it is the base
	table   *storageproof.Table     // nil: unknown, the disk is lost
	orders  []storageproof.OrderRef // in rising order of ids
	reply   wire.ReportReply
}

func (s *snapshot) names(order uint64) bool {
	i := sort.Search(len(s.orders), func(i int) bool { return s.orders[i].ID >= order })
	return i < len(s.orders) && s.orders[i].ID == order
}

// rows are the table's; there are none without a snapshot, and none known of a lost disk.
func (s *snapshot) rows() []storageproof.Entry {
	if s == nil || s.table == nil {
		return nil
	}
	return s.table.Entries()
}

func rowOf(rows []storageproof.Entry, id uint32) (storageproof.Entry, bool) {
	i := sort.Search(len(rows), func(i int) bool { return rows[i].ID >= id })
	if i == len(rows) || rows[i].ID != id {
		return storageproof.Entry{}, false
	}
	return rows[i], true
}

// Draw answers the spot check of the next owed height; seed is that of the height at SeedHeight, which the caller verified; an absent
// cell needs none. Whatever the host brings, the height is settled: absent or wrong bytes count
// as failed, and so does every height over the table of a lost disk. Over an empty table there is nothing to show and the height counts
// as answered.
func (v *Vault) Draw(seed lottery.Seed, m wire.Draw) (wire.DrawReply, error) {
	v.mu.Lock()
	defer v.mu.Unlock()
	if err := v.want(ready); err != nil {
		return wire.DrawReply{}, err
	}
	if v.base == nil {
		return wire.DrawReply{}, refuse(wire.CodeState, "no report is accepted yet, so no draw is owed")
	}
	if m.Height != v.drawn+1 {
		return wire.DrawReply{}, refuse(wire.CodeState, "draws come in order: height %d is next", v.drawn+1)
	}
	ok := false // over a table that is lost
	if v.base.table != nil {
		d, owed := v.base.table.Draw(seed, m.Height, v.cfg.Account)
		ok = !owed || !m.Absent && v.shown(d, m)
	}
	v.drawn = m.Height
	v.results = append(v.results, ok)
	return wire.DrawReply{Answered: ok}, nil
}

// tally counts the draws since the base by how they ended.
func (v *Vault) tally() (answered, failed uint64) {
	for _, ok := range v.results {
		if ok {
			answered++
		} else {
			failed++
		}
	}
	return answered, failed
}

// shown tells whether the host brought the cell that was drawn.
func (v *Vault) shown(d storageproof.Draw, m wire.Draw) bool {
	row, _ := rowOf(v.base.rows(), d.Sector)
	if row.Kind == storageproof.KindFree {
		return storageproof.VerifyFree(row.Root, v.cfg.Geometry, d.Cell, m.Cell, m.Page, m.Path)
	}
	slot, known := v.byID[d.Sector]
	if !known || len(m.Cell) != storageproof.CellSize || len(m.Tag) != storageproof.TagSize {
		return false
	}
	aead, err := v.slots[slot].cipher()
	if err != nil {
		return false
	}
	// Nobody but this vault has sealed under the sector's key, and it sealed one cell under this nonce.
	sealed := append(append(make([]byte, 0, storageproof.CellSize+storageproof.TagSize), m.Cell...), m.Tag...)
	var nonce [12]byte
	_, err = aead.Open(sealed[:0], cellNonce(&nonce, d.Cell), sealed, nil)
	clear(sealed)
	return err == nil
}

// Report signs what the vault holds and how it answered the draws up to the last drawn height, or gives again the report
// already signed for that height; no height ever gets another. head is the trusted head, which dates the first report; hash
// gives verified block hashes; sign is by the enclave's registered key. The report may cover blocks whose Seal replies the host has not read yet:
// it must have written them all before it posts the report.
func (v *Vault) Report(head int64, hash func(height int64) ([32]byte, bool), sign func([]byte) [64]byte) (wire.ReportReply, error) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.settle()
	if err := v.want(ready); err != nil {
		return wire.ReportReply{}, err
	}
	r := storageproof.Report{ChainID: v.cfg.ChainID, Account: v.cfg.Account, Counter: 1, From: head, Height: head}
	if v.base != nil {
		if v.drawn == v.base.height {
			return wire.ReportReply{}, refuse(wire.CodeState, "no height was drawn since the report of height %d", v.base.height)
		}
		r.Counter, r.Prev, r.From, r.Height = v.base.counter+1, v.base.id, v.base.height, v.drawn
		r.Answered, r.Failed = v.tally()
		r.Reset = v.base.table == nil
	}
	if n := len(v.pending); n > 0 {
		if newest := v.pending[n-1]; newest.height == r.Height {
			return newest.reply, nil
		}
	}
	if r.Height <= v.signed {
		return wire.ReportReply{}, refuse(wire.CodeState, "another report of height %d is signed already", v.signed)
	}
	var known bool
	if r.Hash, known = hash(r.Height); !known {
		return wire.ReportReply{}, refuse(wire.CodeState, "the block hash at height %d is not known", r.Height)
	}
	table, tags, err := v.table()
	if err != nil {
		return wire.ReportReply{}, err
	}
	s := &snapshot{counter: r.Counter, height: r.Height, table: table}
	s.orders, r.Added, r.Dropped = v.nextOrders()
	r.Free, r.Stored, r.Sectors = table.Free(), table.Stored(), uint32(len(table.Entries()))
	r.Table, r.Orders = table.Root(), storageproof.OrdersRoot(s.orders)

	s.reply.Report = r.Marshal()
	s.reply.Sig = sign(s.reply.Report)
	v.signed = r.Height
	s.id = sha256.Sum256(s.reply.Report)
	s.reply.Changed, s.reply.TagRoots, s.reply.Removed = v.changes(table, tags)
	if v.pending = append(v.pending, s); len(v.pending) > maxPending {
		v.pending = v.pending[1:]
	}
	return s.reply, nil
}

// nextOrders are the orders after the next report, and what it adds to those of the last accepted one and takes away. What is
// above a report's limits waits for a later one; broken orders go first.
func (v *Vault) nextOrders() (held, added []storageproof.OrderRef, dropped []uint64) {
	var waived []uint64 // by the host, all their blocks still there
	for _, o := range v.orders {
		switch {
		case o.accepted && o.broken:
			dropped = append(dropped, o.ref.ID)
		case o.accepted && o.dropping:
			waived = append(waived, o.ref.ID)
		case !o.accepted && !o.broken && !o.dropping:
			added = append(added, o.ref)
		}
	}
	sort.Slice(added, func(i, j int) bool { return added[i].ID < added[j].ID })
	slices.Sort(dropped)
	slices.Sort(waived)
	dropped = append(dropped, waived...)
	added, dropped = added[:min(len(added), storageproof.MaxAdded)], dropped[:min(len(dropped), storageproof.MaxDropped)]
	slices.Sort(dropped)

	gone := map[uint64]bool{}
	for _, id := range dropped {
		gone[id] = true
	}
	if v.base != nil {
		for _, o := range v.base.orders {
			if !gone[o.ID] {
				held = append(held, o)
			}
		}
	}
	held = append(held, added...)
	sort.Slice(held, func(i, j int) bool { return held[i].ID < held[j].ID })
	return held, added, dropped
}

// changes are the rows that differ from the last accepted table, and the sectors that only that one names. Beside the table of a
// lost disk all rows are new.
func (v *Vault) changes(t *storageproof.Table, tags map[uint32][32]byte) (rows, tagRoots [][]byte, removed []uint32) {
	for _, e := range t.Entries() {
		if was, named := rowOf(v.base.rows(), e.ID); named && was == e {
			continue
		}
		rows = append(rows, e.Append(nil))
		var tag []byte
		if root, ok := tags[e.ID]; ok {
			tag = append(tag, root[:]...)
		}
		tagRoots = append(tagRoots, tag)
	}
	for _, e := range v.base.rows() {
		if _, named := rowOf(t.Entries(), e.ID); !named {
			removed = append(removed, e.ID)
		}
	}
	return rows, tagRoots, removed
}

// Accepted takes the account's standing, which the caller has proven: the report that it names becomes the base. The heights up
// to the block that accepted it are owed over the base before, so they must be drawn, and count in the next report; draws of later
// heights are void and made again over the new base. So a host that dislikes a draw can't escape it by a report that stops
// ahead of it. The reply names the sectors that may be overwritten; asked again, it says the same.
func (v *Vault) Accepted(standing storageproof.Standing) (wire.AcceptedReply, error) {
	v.mu.Lock()
	defer v.mu.Unlock()
	if err := v.want(ready); err != nil {
		return wire.AcceptedReply{}, err
	}
	if standing.Account != v.cfg.Account {
		return wire.AcceptedReply{}, refuse(wire.CodeInvalid, "the standing is another account's")
	}
	if v.base != nil && standing.Report == v.base.id {
		return v.last, nil
	}
	var accepted *snapshot
	for _, p := range v.pending {
		if p.id == standing.Report {
			accepted = p
		}
	}
	if accepted == nil {
		return wire.AcceptedReply{}, refuse(wire.CodeState, "report %d of the chain is not one that waits here: restore to it", standing.Counter)
	}
	if standing.Since <= accepted.height {
		return wire.AcceptedReply{}, refuse(wire.CodeInvalid, "block %d can't accept a report of height %d", standing.Since, accepted.height)
	}
	old := v.base
	switch {
	case old == nil:
		v.drawn, v.results = accepted.height, nil
	case v.drawn < standing.Since:
		return wire.AcceptedReply{}, refuse(wire.CodeState, "heights up to %d must be drawn over the report before", standing.Since)
	default:
		v.drawn = standing.Since
		v.results = append([]bool(nil), v.results[accepted.height-old.height:standing.Since-old.height]...)
	}
	v.base, v.pending = accepted, nil
	v.base.since, v.base.reply = standing.Since, wire.ReportReply{}
	for _, o := range v.orders {
		o.accepted = v.base.names(o.ref.ID)
	}
	for _, o := range v.orders {
		v.letGo(o)
	}
	v.last = wire.AcceptedReply{Counter: v.base.counter, Released: v.free(old)}
	v.sweep()
	return v.last, nil
}

// free ends the sectors that the new base no longer needs, and names them in rising order: released ones, and lost ones
// that only the old base named.
func (v *Vault) free(old *snapshot) []uint32 {
	var ids []uint32
	for id, slot := range v.byID {
		s := v.slots[slot]
		if _, named := rowOf(v.base.rows(), id); s.released && !named {
			v.forget(s)
			ids = append(ids, id)
		}
	}
	for _, e := range old.rows() {
		_, named := rowOf(v.base.rows(), e.ID)
		if _, alive := v.byID[e.ID]; !named && !alive && !slices.Contains(ids, e.ID) {
			ids = append(ids, e.ID)
		}
	}
	slices.Sort(ids)
	return ids
}
