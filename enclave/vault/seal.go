package vault

import (
	"crypto/cipher"
	"crypto/sha256"

	"github.com/cella-network/cella/enclave/wire"
	"github.com/cella-network/cella/protocol/storageproof"
)

// place is where a block lies. It holds no pointer, so that a map of millions costs the collector nothing.
type place struct {
	slot   uint32
	cell   uint32
	length uint32
	refs   uint32 // orders that need it
}

// live returns the block's place if its sector will be in the next report.
func (v *Vault) live(k storageproof.BlockKey) (place, bool) {
	p, ok := v.blocks[k]
	if !ok {
		return p, false
	}
	s := v.at(p)
	return p, s != nil && !s.released
}

// Seal stores one block, into buf if that has room for BufferSize. The CID is recomputed; a block that is already sealed is
// not sealed again. Records belong to the sector's directory in the order of their cells, whichever reply comes first.
func (v *Vault) Seal(m wire.Seal, buf []byte) (wire.SealReply, error) {
	k, err := blockKey(m.CID)
	if err != nil {
		return wire.SealReply{}, err
	}
	if len(m.Data) > storageproof.MaxBlock {
		return wire.SealReply{}, refuse(wire.CodeInvalid, "block of %d bytes, at most %d", len(m.Data), storageproof.MaxBlock)
	}
	if sha256.Sum256(m.Data) != k.Digest {
		return wire.SealReply{}, refuse(wire.CodeInvalid, "the bytes are not those that the CID names")
	}
	links, err := linksOf(k.Codec, m.Data)
	if err != nil {
		return wire.SealReply{}, err
	}
	return v.store(k, links, m.Data, m.Sector, false, buf)
}

// Move seals a known block again in another open sector, so that its old one can be released. The block is at its new place
// once the reply is there: a Read of the old cells fails from then on.
func (v *Vault) Move(m wire.Move, buf []byte) (wire.SealReply, error) {
	k, err := blockKey(m.CID)
	if err != nil {
		return wire.SealReply{}, err
	}
	data, links, err := v.decrypt(k, m.Cells, m.Tags, nil)
	if err != nil {
		return wire.SealReply{}, err
	}
	defer clear(data)
	return v.store(k, links, data, m.Sector, true, buf)
}

// Read opens a sealed block, into buf if that has room for BufferSize.
func (v *Vault) Read(m wire.Read, buf []byte) (wire.ReadReply, error) {
	k, err := blockKey(m.CID)
	if err != nil {
		return wire.ReadReply{}, err
	}
	data, _, err := v.decrypt(k, m.Cells, m.Tags, buf)
	return wire.ReadReply{Data: data}, err
}

// blockKey is storageproof.ParseBlockKey with the refusal that the host gets.
func blockKey(cid []byte) (storageproof.BlockKey, error) {
	k, err := storageproof.ParseBlockKey(cid)
	if err != nil {
		return k, refuse(wire.CodeInvalid, "%v", err)
	}
	return k, nil
}

func (v *Vault) decrypt(k storageproof.BlockKey, cells, tags, buf []byte) (data []byte, links []storageproof.BlockKey, err error) {
	p, links, aead, err := v.locate(k)
	if err != nil {
		return nil, nil, err
	}
	n := int(storageproof.CellsOf(uint64(p.length)))
	if len(cells) != n*storageproof.CellSize || len(tags) != n*storageproof.TagSize {
		return nil, nil, refuse(wire.CodeInvalid, "%d bytes of cells and %d of tags: want %d cells", len(cells), len(tags), n)
	}
	data = room(buf, n*storageproof.CellSize)
	var sealed [storageproof.CellSize + storageproof.TagSize]byte
	var nonce [12]byte
	for i := range n {
		copy(sealed[:], cells[i*storageproof.CellSize:(i+1)*storageproof.CellSize])
		copy(sealed[storageproof.CellSize:], tags[i*storageproof.TagSize:(i+1)*storageproof.TagSize])
		at := i * storageproof.CellSize
		if _, err := aead.Open(data[at:at:at+storageproof.CellSize], cellNonce(&nonce, p.cell+uint32(i)), sealed[:], nil); err != nil {
			clear(data)
			return nil, nil, refuse(wire.CodeInvalid, "cell %d is not the one that was sealed", p.cell+uint32(i))
		}
	}
	return data[:p.length], links, nil
}

// locate finds a block that is sealed, in a released sector too as long as that is not overwritten.
func (v *Vault) locate(k storageproof.BlockKey) (place, []storageproof.BlockKey, cipher.AEAD, error) {
	v.mu.Lock()
	defer v.mu.Unlock()
	if err := v.want(ready); err != nil {
		return place{}, nil, nil, err
	}
	p, ok := v.blocks[k]
	if !ok || v.at(p) == nil {
		return place{}, nil, nil, refuse(wire.CodeMissing, "the block is not known")
	}
	aead, err := v.at(p).cipher()
	return p, v.links[k], aead, err
}

// cipher is the sector's; that of a closed one is made from its key each time, so that only the ring holds it.
func (s *sector) cipher() (cipher.AEAD, error) {
	if s.open != nil {
		return s.open.aead, nil
	}
	return newGCM(s.key)
}

// store reserves cells, encrypts outside of the lock, and commits.
func (v *Vault) store(k storageproof.BlockKey, links []storageproof.BlockKey, data []byte, sector uint32, move bool, buf []byte) (wire.SealReply, error) {
	s, r, known, err := v.reserve(k, links, len(data), sector, move)
	if err != nil || r == nil {
		return known, err
	}
	n := int(r.cells)
	size := n * storageproof.CellSize
	buf = room(buf, size+storageproof.TagSize+n*storageproof.TagSize)
	tags := buf[size+storageproof.TagSize:]
	s.encrypt(r, buf[:size+storageproof.TagSize], tags, data)
	v.commit(s.sector, r)
	return wire.SealReply{Sector: sector, Cell: r.first, Length: r.length, Cells: buf[:size:size], Tags: tags, Record: r.record}, nil
}

// target is an open sector and its cipher, taken under the lock.
type target struct {
	sector *sector
	aead   cipher.AEAD
}

// reserve hands out cells for a block. Without a reservation the reply says that the block is known.
func (v *Vault) reserve(k storageproof.BlockKey, links []storageproof.BlockKey, length int, id uint32, move bool) (target, *reservation, wire.SealReply, error) {
	v.mu.Lock()
	defer v.mu.Unlock()
	none := func(err error) (target, *reservation, wire.SealReply, error) {
		return target{}, nil, wire.SealReply{}, err
	}
	for v.flying[k] {
		v.settled.Wait()
	}
	if err := v.want(ready); err != nil {
		return none(err)
	}
	if p, ok := v.live(k); ok && (!move || v.slots[p.slot].id == id) {
		return target{}, nil, wire.SealReply{Known: true, Sector: v.slots[p.slot].id, Cell: p.cell, Length: p.length}, nil
	}
	s, err := v.find(id)
	if err != nil {
		return none(err)
	}
	if s.kind != storageproof.KindData {
		return none(refuse(wire.CodeState, "sector %d is no data sector", id))
	}
	if _, counted := v.links[k]; !counted && len(links) > 0 && len(links) > maxLinks-v.linked {
		return none(refuse(wire.CodeInvalid, "the vault remembers no more links of blocks"))
	}
	n := uint32(storageproof.CellsOf(uint64(length)))
	if s.open == nil || s.open.closing || n > v.cfg.Geometry.DataCells-s.open.reserved {
		return none(refuse(wire.CodeFull, "sector %d has no room for %d cells", id, n))
	}
	o := s.open
	r := &reservation{key: k, links: links, first: o.reserved, cells: n, length: uint32(length)}
	r.record = storageproof.Record{Key: k, First: r.first, Length: r.length, Links: links}.Append(nil)
	for i, unit := 0, r.first/storageproof.UnitCells; unit <= (r.first+n-1)/storageproof.UnitCells; i, unit = i+1, unit+1 {
		if o.pages[unit] == nil {
			o.pages[unit] = new([storageproof.CellSize]byte)
		}
		r.pages[i] = o.pages[unit]
	}
	o.reserved += n
	o.queue = append(o.queue, r)
	v.flying[k] = true
	return target{sector: s, aead: o.aead}, r, wire.SealReply{}, nil
}

// encrypt seals data cell by cell into cells, which has room for one tag behind the last cell: each tag falls onto the
// beginning of the next cell, is saved to the tags, and is then overwritten. No byte is copied twice.
func (t target) encrypt(r *reservation, cells, tags, data []byte) {
	var nonce [12]byte
	var last [storageproof.CellSize]byte
	for i := range int(r.cells) {
		at := i * storageproof.CellSize
		end := at + storageproof.CellSize
		plain := last[:]
		if end <= len(data) {
			plain = data[at:end]
		} else {
			copy(last[:], data[at:])
		}
		cell := r.first + uint32(i)
		t.aead.Seal(cells[at:at:end+storageproof.TagSize], cellNonce(&nonce, cell), plain, nil)
		tag := cells[end : end+storageproof.TagSize]
		copy(tags[i*storageproof.TagSize:], tag)
		page := r.pages[cell/storageproof.UnitCells-r.first/storageproof.UnitCells]
		copy(page[cell%storageproof.UnitCells*storageproof.TagSize:], tag)
	}
	clear(last[:])
}

// commit makes the sector's oldest reservations count, as far as they are encrypted.
func (v *Vault) commit(s *sector, r *reservation) {
	v.mu.Lock()
	defer v.mu.Unlock()
	r.done = true
	o := s.open
	for len(o.queue) > 0 && o.queue[0].done {
		r := o.queue[0]
		o.queue = o.queue[1:]
		o.directory.Write(r.record)
		o.cells += r.cells
		for unit := r.first / storageproof.UnitCells; (unit+1)*storageproof.UnitCells <= o.cells; unit++ {
			o.leaves = append(o.leaves, storageproof.LeafHash(o.pages[unit][:]))
			delete(o.pages, unit)
		}
		v.index(s, r.key, r.first, r.length, r.links)
		delete(v.flying, r.key)
	}
	if len(o.queue) == 0 && (o.closing || o.cells == v.cfg.Geometry.DataCells) {
		s.close()
	}
	v.settled.Broadcast()
}

// index notes where a block lies now; the orders that need it need it there.
func (v *Vault) index(s *sector, k storageproof.BlockKey, cell, length uint32, links []storageproof.BlockKey) {
	was, known := v.blocks[k]
	if known {
		if old := v.at(was); old != nil {
			old.blocks--
			if was.refs > 0 {
				old.held--
			}
		} else if was.slot != lost {
			v.stale--
		}
		if was.refs > 0 {
			s.held++
		}
	}
	s.blocks++
	v.blocks[k] = place{slot: s.slot, cell: cell, length: length, refs: was.refs}
	if len(links) > 0 {
		v.linked += len(links) - len(v.links[k])
		v.links[k] = links
	}
}

// sweep drops the places whose sectors are gone, once they are many.
func (v *Vault) sweep() {
	if v.stale*2 <= len(v.blocks) {
		return
	}
	for k, p := range v.blocks {
		if p.slot != lost && v.slots[p.slot] == nil {
			v.forgetBlock(k)
		}
	}
	v.stale = 0
}
