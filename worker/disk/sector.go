package disk

import (
	"errors"
	"fmt"
	"os"

	"github.com/cella-network/cella/protocol/storageproof"
)

const (
	cell = storageproof.CellSize
	unit = storageproof.UnitCells
)

// BeginFree makes a reserved sector a free one, to be written by Fill.
func (d *Disk) BeginFree(id uint32) error { return d.begin(id, storageproof.KindFree, nil) }

// BeginData makes a reserved sector a data sector with the vault's header page, to be written by Append.
func (d *Disk) BeginData(id uint32, header []byte) error {
	if len(header) != cell {
		return fmt.Errorf("sector %06d: header of %d bytes, want %d", id, len(header), cell)
	}
	return d.begin(id, storageproof.KindData, header)
}

func (d *Disk) begin(id uint32, kind storageproof.Kind, header []byte) error {
	s, err := d.get(id)
	if err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.state != reserved || s.file == nil {
		return s.closed()
	}
	if kind == storageproof.KindData {
		if s.dir, err = os.OpenFile(d.dirPath(id), os.O_RDWR|os.O_CREATE|os.O_TRUNC, 0o600); err != nil {
			return s.fail(d.full(err, cell))
		}
		if _, err := s.file.WriteAt(header, 0); err != nil {
			return s.fail(err)
		}
		s.page = pages(cell)
	}
	s.direct = openDirect(d.sectorPath(id))
	s.kind, s.state, s.dirty = kind, writing, true
	d.renamed.Store(true)
	return nil
}

// Fill writes the next run of a free sector: whole cells from cell first on, and their pages of digests, of which the last ends in
// zeros. The last run rests the sector.
func (d *Disk) Fill(id, first uint32, cells, digests []byte, last bool) error {
	s, err := d.get(id)
	if err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	n := uint32(len(cells) / cell)
	pages := (n + storageproof.PageLeaves - 1) / storageproof.PageLeaves
	switch {
	case s.state != writing || s.kind != storageproof.KindFree || s.err != nil:
		return s.closed()
	case len(cells)%cell != 0 || n == 0 || len(digests) != int(pages)*cell || first != s.next || first%storageproof.PageLeaves != 0 || n > d.geo.FreeCells-first:
		return fmt.Errorf("sector %06d: run of %d cells at %d does not follow cell %d", id, n, first, s.next)
	case last != (first+n == d.geo.FreeCells):
		return fmt.Errorf("sector %06d: run ends at cell %d of %d", id, first+n, d.geo.FreeCells)
	}
	s.dirty = true
	if err := s.write(storageproof.FreeCellOffset(first), cells); err != nil {
		return s.fail(d.full(err, d.geo.SectorSize))
	}
	if err := s.write(d.geo.FreePageOffset(first), digests); err != nil {
		return s.fail(d.full(err, d.geo.SectorSize))
	}
	s.next += n
	if !last {
		return nil
	}
	return s.rest()
}

// Append writes a sealed block: its cells, their tags and its directory record. Blocks come in the order of their cells.
// After an error the sector takes no more, and what the block's cells hold is unknown.
func (d *Disk) Append(id, first uint32, cells, tags, record []byte) error {
	s, err := d.get(id)
	if err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	n := uint32(len(cells) / cell)
	switch {
	case s.state != writing || s.kind != storageproof.KindData || s.err != nil:
		return s.closed()
	case len(cells)%cell != 0 || n == 0 || len(tags) != int(n)*storageproof.TagSize || first != s.next || n > d.geo.DataCells-first:
		return fmt.Errorf("sector %06d: %d cells at %d do not follow cell %d", id, n, first, s.next)
	}
	rec, size, _ := storageproof.ReadRecord(record)
	if size == 0 || size != len(record) || rec.First != first || rec.Cells() != n {
		return fmt.Errorf("sector %06d: directory record does not describe %d cells at %d", id, n, first)
	}
	s.dirty = true
	for at := first; len(cells) > 0; {
		k := min(unit-at%unit, uint32(len(cells)/cell)) // cells of this unit
		copy(s.page[at%unit*storageproof.TagSize:], tags[:k*storageproof.TagSize])
		// The page is written whole each time: the tags of earlier cells in it stay what they were, even in a torn write.
		if k == unit { // the page follows the unit's last cell
			err = s.write(storageproof.CellOffset(at), cells[:k*cell], s.page)
		} else if err = s.write(storageproof.CellOffset(at), cells[:k*cell]); err == nil {
			err = s.write(storageproof.TagPageOffset(at), s.page)
		}
		if err != nil {
			return s.fail(d.full(err, d.geo.SectorSize))
		}
		at, cells, tags = at+k, cells[k*cell:], tags[k*storageproof.TagSize:]
		if at%unit == 0 {
			clear(s.page)
		}
		s.next = at
	}
	if _, err := s.dir.Write(record); err != nil {
		return s.fail(d.full(err, uint64(len(record))))
	}
	s.listed += int64(len(record))
	d.mu.Lock()
	d.note(s, rec)
	d.mu.Unlock()
	return nil
}

// Finish rests a sector that takes no more blocks.
func (d *Disk) Finish(id uint32) error {
	s, err := d.get(id)
	if err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.state != writing {
		return nil
	}
	return s.rest()
}

// Read brings the cells and tags of a sealed block.
func (d *Disk) Read(k storageproof.BlockKey) (cells, tags []byte, err error) {
	at, ok := d.Find(k)
	if !ok {
		return nil, nil, ErrMissing
	}
	file, err := os.Open(d.sectorPath(at.Sector))
	if err != nil {
		return nil, nil, err
	}
	defer file.Close()
	n := uint32(storageproof.CellsOf(uint64(at.Length)))
	cells, tags = make([]byte, n*cell), make([]byte, n*storageproof.TagSize)
	for done := uint32(0); done < n; {
		c := at.Cell + done
		k := min(unit-c%unit, n-done)
		if _, err := file.ReadAt(cells[done*cell:(done+k)*cell], storageproof.CellOffset(c)); err != nil {
			return nil, nil, err
		}
		if _, err := file.ReadAt(tags[done*storageproof.TagSize:(done+k)*storageproof.TagSize], storageproof.TagOffset(c)); err != nil {
			return nil, nil, err
		}
		done += k
	}
	return cells, tags, nil
}

// Sample is what answers a draw: a cell with its tag, or with its page of digests and the path from that page to the root.
type Sample struct {
	Cell []byte
	Tag  []byte
	Page []byte
	Path []byte
}

// Sample reads what a draw of cell n of the given sector asks for.
func (d *Disk) Sample(e storageproof.Entry, n uint32) (Sample, error) {
	s, err := d.get(e.ID)
	if err != nil {
		return Sample{}, err
	}
	file, err := os.Open(d.sectorPath(s.id))
	if err != nil {
		return Sample{}, err
	}
	defer file.Close()
	if e.Kind == storageproof.KindData && n >= d.geo.DataCells || e.Kind == storageproof.KindFree && n >= d.geo.FreeCells {
		return Sample{}, fmt.Errorf("sector %06d has no cell %d", e.ID, n)
	}
	spot := d.geo.Spot(e.Kind, n)
	out := Sample{Cell: make([]byte, cell)}
	witness := make([]byte, spot.Length)
	if _, err := file.ReadAt(out.Cell, spot.Cell); err != nil {
		return Sample{}, err
	}
	if _, err := file.ReadAt(witness, spot.Witness); err != nil {
		return Sample{}, err
	}
	if e.Kind == storageproof.KindData {
		out.Tag = witness
		return out, nil
	}
	hashes, err := d.pageHashes(s.id, file)
	if err != nil {
		return Sample{}, err
	}
	out.Page, out.Path = witness, storageproof.FreePath(hashes, n)
	return out, nil
}

// pageHashes reads the hashes of a free sector's digest pages once; a draw needs two pages then, not the whole tree.
func (d *Disk) pageHashes(id uint32, file *os.File) ([][32]byte, error) {
	if h, ok := d.pages.Get(id); ok {
		return h, nil
	}
	pages := make([]byte, int(d.geo.FreePages)*cell)
	if _, err := file.ReadAt(pages, d.geo.FreePageOffset(0)); err != nil {
		return nil, err
	}
	hashes := make([][32]byte, d.geo.FreePages)
	for i := range hashes {
		hashes[i] = storageproof.LeafHash(pages[i*cell : (i+1)*cell])
	}
	d.pages.Add(id, hashes)
	return hashes, nil
}

// closed tells why a sector takes nothing.
func (s *sector) closed() error {
	if s.err != nil {
		return fmt.Errorf("sector %06d takes no more after a failed write: %w", s.id, s.err)
	}
	return fmt.Errorf("sector %06d is not open for this", s.id)
}

func (s *sector) fail(err error) error {
	s.err = err
	return fmt.Errorf("sector %06d: %w", s.id, err)
}

// sync makes what was written durable. An error is told once and closes the sector: what the kernel could not write back is
// gone from its cache, so asking again would prove nothing.
func (s *sector) sync() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.dirty {
		return nil
	}
	s.dirty = false
	for _, f := range []*os.File{s.file, s.dir} {
		if f == nil {
			continue
		}
		if err := f.Sync(); err != nil {
			return s.fail(err)
		}
	}
	return nil
}

// rest syncs and closes; the caller holds the sector's lock.
func (s *sector) rest() error {
	var errs []error
	for _, f := range []*os.File{s.file, s.dir} {
		if f != nil {
			errs = append(errs, f.Sync(), f.Close())
		}
	}
	s.closeDirect()
	s.file, s.dir, s.page, s.state, s.dirty = nil, nil, nil, resting, false
	if err := errors.Join(errs...); err != nil {
		return s.fail(err)
	}
	return nil
}

func (s *sector) close() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, f := range []*os.File{s.file, s.dir} {
		if f != nil {
			f.Close()
		}
	}
	s.closeDirect()
	s.file, s.dir = nil, nil
	if s.state == writing || s.state == reserved {
		s.state = resting
	}
}
