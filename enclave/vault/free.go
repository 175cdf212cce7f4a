package vault

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/sha256"
	"encoding/binary"

	"github.com/cella-network/cella/enclave/wire"
	"github.com/cella-network/cella/protocol/storageproof"
)

// A run is what one Fill makes: 256 cells, whose digests fill two pages.
const (
	runCells = storageproof.UnitCells
	runPages = runCells / storageproof.PageLeaves
)

// filling is a free sector whose runs are being made.
type filling struct {
	key    []byte
	block  cipher.Block
	runs   uint32
	next   uint32
	made   uint32
	leaves [][32]byte // of the pages of digests
}

var zeros [storageproof.CellSize]byte

// Fill makes the next run of a free sector, into buf if that has room for BufferSize. Runs may be asked for
// concurrently; Done comes with the one that is finished last. Digests are whole pages, padded with zeros.
func (v *Vault) Fill(m wire.Fill, buf []byte) (wire.FillReply, error) {
	s, f, run, err := v.nextRun(m.Sector)
	if err != nil {
		return wire.FillReply{}, err
	}
	g := v.cfg.Geometry
	first := run * runCells
	count := min(runCells, g.FreeCells-first)
	pages := (count + storageproof.PageLeaves - 1) / storageproof.PageLeaves
	buf = room(buf, int(count+pages)*storageproof.CellSize)
	cells, digests := buf[:count*storageproof.CellSize:count*storageproof.CellSize], buf[count*storageproof.CellSize:]

	var iv [aes.BlockSize]byte
	binary.BigEndian.PutUint64(iv[:], uint64(run)) // a run is 2^16 blocks of the counter's lower half
	stream := cipher.NewCTR(f.block, iv[:])
	for i := range count {
		cell := cells[i*storageproof.CellSize : (i+1)*storageproof.CellSize]
		stream.XORKeyStream(cell, zeros[:])
		d := sha256.Sum256(cell)
		copy(digests[i*storageproof.DigestSize:], d[:])
	}
	clear(digests[count*storageproof.DigestSize:])
	for p := range pages {
		f.leaves[run*runPages+p] = storageproof.LeafHash(digests[p*storageproof.CellSize : (p+1)*storageproof.CellSize])
	}

	r := wire.FillReply{First: first, Cells: cells, Digests: digests}
	v.mu.Lock()
	defer v.mu.Unlock()
	if s.fill != f {
		return wire.FillReply{}, refuse(wire.CodeState, "sector %d was given up", m.Sector)
	}
	if f.made++; f.made < f.runs {
		return r, nil
	}
	s.row = storageproof.Entry{ID: s.id, Kind: storageproof.KindFree, Cells: g.FreeCells, Root: storageproof.FreeRoot(f.leaves)}
	v.endFill(s)
	r.Done, r.Entry = true, s.row.Append(nil)
	return r, nil
}

// nextRun hands out a run, and begins the sector with its first.
func (v *Vault) nextRun(id uint32) (*sector, *filling, uint32, error) {
	v.mu.Lock()
	defer v.mu.Unlock()
	if err := v.want(ready); err != nil {
		return nil, nil, 0, err
	}
	slot, known := v.byID[id]
	if !known {
		if err := v.beginFill(id); err != nil {
			return nil, nil, 0, err
		}
		slot = v.byID[id]
	}
	s := v.slots[slot]
	if s.fill == nil || s.released || s.fill.next == s.fill.runs {
		return nil, nil, 0, refuse(wire.CodeState, "sector %d has no run left to fill", id)
	}
	s.fill.next++
	return s, s.fill, s.fill.next - 1, nil
}

func (v *Vault) beginFill(id uint32) error {
	key, err := v.draw()
	if err != nil {
		return err
	}
	block, err := aes.NewCipher(key)
	if err != nil {
		v.secrets.put(key)
		return refuse(wire.CodeInternal, "cipher: %v", err)
	}
	s, err := v.add(id, storageproof.KindFree)
	if err != nil {
		v.secrets.put(key)
		return err
	}
	s.fill = &filling{key: key, block: block, runs: (v.cfg.Geometry.FreeCells + runCells - 1) / runCells,
		leaves: make([][32]byte, v.cfg.Geometry.FreePages)}
	return nil
}

// endFill erases the key: from here on nobody can make the bytes again.
func (v *Vault) endFill(s *sector) {
	v.secrets.put(s.fill.key)
	s.fill = nil
}

// room returns n bytes, of buf if it has them.
func room(buf []byte, n int) []byte {
	if cap(buf) < n {
		return make([]byte, n)
	}
	return buf[:n]
}
