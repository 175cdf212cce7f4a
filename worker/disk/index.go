package disk

import (
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/cella-network/cella/protocol/storageproof"
)

// Location is where a sealed block lies.
type Location struct {
	Sector uint32
	Cell   uint32 // its first cell
	Length uint32 // plaintext bytes
}

// Find tells where a block lies.
func (d *Disk) Find(k storageproof.BlockKey) (Location, bool) {
	d.mu.RLock()
	defer d.mu.RUnlock()
	at, ok := d.index[k]
	return at, ok
}

// Links are the blocks to which a block links; the caller must not change them.
func (d *Disk) Links(k storageproof.BlockKey) []storageproof.BlockKey {
	d.mu.RLock()
	defer d.mu.RUnlock()
	return d.links[k]
}

// Blocks lists the blocks whose place is in a sector, in the order in which they were written.
func (d *Disk) Blocks(id uint32) []storageproof.BlockKey {
	d.mu.RLock()
	defer d.mu.RUnlock()
	s := d.sectors[id]
	if s == nil {
		return nil
	}
	var out []storageproof.BlockKey
	for _, k := range s.keys {
		if at, ok := d.index[k]; ok && at.Sector == id { // not moved elsewhere since
			out = append(out, k)
		}
	}
	return out
}

// Keys lists all blocks that can be found.
func (d *Disk) Keys() []storageproof.BlockKey {
	d.mu.RLock()
	defer d.mu.RUnlock()
	out := make([]storageproof.BlockKey, 0, len(d.index))
	for k := range d.index {
		out = append(out, k)
	}
	return out
}

// Directory reads what the vault needs to take a data sector of an earlier session back: its header page and the records
// of the cells that the row counts. What a crash left behind them is left out.
func (d *Disk) Directory(e storageproof.Entry) (header, records []byte, err error) {
	if _, err := d.get(e.ID); err != nil {
		return nil, nil, err
	}
	file, err := os.Open(d.sectorPath(e.ID))
	if err != nil {
		return nil, nil, err
	}
	defer file.Close()
	header = make([]byte, cell)
	if _, err := io.ReadFull(file, header); err != nil {
		return nil, nil, fmt.Errorf("header of sector %06d: %w", e.ID, err)
	}
	_, records, err = d.records(e)
	return header, records, err
}

// Adopt takes a sector of an earlier session into use, as a row of an accepted table names it: its blocks can be found and
// its cells drawn. It is never written again. A block that lies in two sectors is found in the one adopted first, as the vault does.
// A data sector that was cut short is taken too: Damaged names it, and what can still be read is sealed again elsewhere.
func (d *Disk) Adopt(e storageproof.Entry) error {
	s, err := d.get(e.ID)
	if err != nil {
		return err
	}
	var recs []storageproof.Record
	var log []byte
	if e.Kind == storageproof.KindData {
		if recs, log, err = d.records(e); err != nil {
			return err
		}
	}
	if info, err := os.Stat(d.sectorPath(e.ID)); err != nil {
		return err
	} else if e.Kind == storageproof.KindFree && uint64(info.Size()) != d.geo.SectorSize {
		return fmt.Errorf("sector %06d has %d bytes, want %d: %w", e.ID, info.Size(), d.geo.SectorSize, ErrMissing)
	}
	s.mu.Lock()
	if s.state != orphan {
		s.mu.Unlock()
		return fmt.Errorf("sector %06d is in use", e.ID)
	}
	s.kind, s.state, s.next, s.listed = e.Kind, resting, e.Cells, int64(len(log))
	s.mu.Unlock()
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, r := range recs {
		if _, ok := d.index[r.Key]; !ok {
			d.note(s, r)
		}
	}
	return nil
}

// note puts a record in the index; the caller holds d.mu.
func (d *Disk) note(s *sector, r storageproof.Record) {
	d.index[r.Key] = Location{Sector: s.id, Cell: r.First, Length: r.Length}
	if len(r.Links) > 0 {
		d.links[r.Key] = r.Links
	}
	s.keys = append(s.keys, r.Key)
}

// forget takes a sector's blocks out of the index; the caller holds d.mu.
func (d *Disk) forget(s *sector) {
	for _, k := range s.keys {
		if at, ok := d.index[k]; ok && at.Sector == s.id {
			delete(d.index, k)
			delete(d.links, k)
		}
	}
}

// records reads a directory as far as the row counts.
func (d *Disk) records(e storageproof.Entry) ([]storageproof.Record, []byte, error) {
	log, err := os.ReadFile(d.dirPath(e.ID))
	if errors.Is(err, os.ErrNotExist) {
		return nil, nil, fmt.Errorf("directory of sector %06d: %w", e.ID, ErrMissing)
	}
	if err != nil {
		return nil, nil, err
	}
	return parseDirectory(log, e.Cells)
}

// parseDirectory reads records up to so many cells, which they must fill without a gap, and returns them and their bytes.
func parseDirectory(log []byte, cells uint32) ([]storageproof.Record, []byte, error) {
	var out []storageproof.Record
	rest := log
	for at := uint32(0); at < cells; {
		r, size, _ := storageproof.ReadRecord(rest)
		if size == 0 || r.First != at || r.Cells() > cells-at {
			return nil, nil, fmt.Errorf("directory holds %d of %d cells: no directory record", at, cells)
		}
		at += r.Cells()
		rest = rest[size:]
		out = append(out, r)
	}
	return out, log[:len(log)-len(rest)], nil
}
