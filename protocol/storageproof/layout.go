package storageproof

import "fmt"

// The sealed layout. A disk is a row of sectors of one size, each a file of that many bytes.
//
//	data sector:  header page | unit 0 | unit 1 | ...      unit: 256 cells of 4 KiB, then one page of their 256 tags
//	free sector:  cells of random bytes | pages of their SHA-256 digests, 128 a page
//
// Everything is aligned to 4 KiB; a spot check reads one cell and one page.
const (
	CellSize   = 4096
	TagSize    = 16
	DigestSize = 32
	UnitCells  = CellSize / TagSize            // 256: a page of tags covers one unit
	UnitSize   = UnitCells*CellSize + CellSize // cells and their tag page
	PageLeaves = CellSize / DigestSize         // 128: digests a page of a free sector
	MinSector  = 4 << 20                       // smallest sector size that the chain accepts
	MaxSector  = 1 << 30                       // largest
	MaxBlock   = UnitCells * CellSize          // 1 MiB: the largest block that is sealed
)

// Geometry gives the counts that follow from a sector size.
type Geometry struct {
	SectorSize uint64
	DataCells  uint32 // sealed cells that a data sector holds
	FreeCells  uint32 // random cells that a free sector holds
	FreePages  uint32 // digest pages of a free sector
}

// NewGeometry refuses sizes that are not a multiple of a cell or out of range.
func NewGeometry(sectorSize uint64) (Geometry, error) {
	if sectorSize%CellSize != 0 || sectorSize < MinSector || sectorSize > MaxSector {
		return Geometry{}, fmt.Errorf("sector size %d: want a multiple of %d between %d and %d", sectorSize, CellSize, MinSector, MaxSector)
	}
	pages := uint32(sectorSize / CellSize)
	digests := (pages + PageLeaves) / (PageLeaves + 1) // smallest d with (pages-d) <= d*PageLeaves
	return Geometry{
		SectorSize: sectorSize,
		DataCells:  uint32((sectorSize-CellSize)/UnitSize) * UnitCells,
		FreeCells:  pages - digests,
		FreePages:  digests,
	}, nil
}

// CellOffset is where a data sector's cell lies in its file.
func CellOffset(cell uint32) int64 {
	return CellSize + int64(cell/UnitCells)*UnitSize + int64(cell%UnitCells)*CellSize
}

// TagOffset is where that cell's tag lies; TagPageOffset is where its page begins.
func TagOffset(cell uint32) int64 { return TagPageOffset(cell) + int64(cell%UnitCells)*TagSize }

// TagPageOffset is where the page of tags of the cell's unit begins.
func TagPageOffset(cell uint32) int64 {
	return CellSize + int64(cell/UnitCells)*UnitSize + UnitCells*CellSize
}

// CellsOf is how many cells a block of n bytes fills: the last one is padded. An empty block fills one too, so that the
// first cell of a block names it within its sector.
func CellsOf(n uint64) uint64 {
	if n == 0 {
		return 1
	}
	return (n-1)/CellSize + 1
}

// FreeCellOffset is where a free sector's cell lies in its file.
func FreeCellOffset(cell uint32) int64 { return int64(cell) * CellSize }

// FreePageOffset is where the page of digests that covers a free sector's cell begins.
func (g Geometry) FreePageOffset(cell uint32) int64 {
	return (int64(g.FreeCells) + int64(cell/PageLeaves)) * CellSize
}
