package storageproof

import (
	"crypto/sha256"

	"golang.org/x/crypto/cryptobyte"
)

// DataRoot is the root of a data sector: which sector it is, how it was opened, how many cells are sealed, their tags, and
// the directory that says what they hold. header and directory are SHA-256 of the header page and of the directory's
// records one after the other; tags is TagRoot.
func DataRoot(id uint32, header [32]byte, cells uint32, tags, directory [32]byte) [32]byte {
	var b cryptobyte.Builder
	addString(&b, "cella/sector/data/v1")
	b.AddUint32(id)
	b.AddBytes(header[:])
	b.AddUint32(cells)
	b.AddBytes(tags[:])
	b.AddBytes(directory[:])
	return sha256.Sum256(b.BytesOrPanic())
}

// TagRoot is the Merkle root over a data sector's pages of tags, given LeafHash of each page in order. The last page counts
// up to the last sealed cell, with zeros behind. It uses pages as its workspace.
func TagRoot(pages [][32]byte) [32]byte { return MerkleRoot(pages) }

// FreeRoot is the root of a free sector, given LeafHash of each of its pages of digests in order. It uses pages as its
// workspace.
func FreeRoot(pages [][32]byte) [32]byte { return MerkleRoot(pages) }

// FreePath is what a prover shows beside a cell and its page of digests: the hashes from that page to the root, 32 bytes
// each. It returns nil for a cell that is out of range.
func FreePath(pages [][32]byte, cell uint32) []byte {
	page := int(cell / PageLeaves)
	if page >= len(pages) {
		return nil
	}
	path := []byte{}
	for _, h := range MerklePath(pages, page) {
		path = append(path, h[:]...)
	}
	return path
}

// VerifyFree tells whether data is the given cell of the free sector with that root: its digest stands at its place in the
// page, and the page leads to the root.
func VerifyFree(root [32]byte, g Geometry, cell uint32, data, page, path []byte) bool {
	if cell >= g.FreeCells || len(data) != CellSize || len(page) != CellSize {
		return false
	}
	at := cell % PageLeaves * DigestSize
	if sha256.Sum256(data) != [32]byte(page[at:at+DigestSize]) {
		return false
	}
	got, ok := foldPath(LeafHash(page), int(cell/PageLeaves), int(g.FreePages), path)
	return ok && got == root
}

// Spot is what a host reads from a sector's file to answer a draw: one whole cell, and the tag of a data cell or the whole
// page of digests of a free one. A free cell's answer also needs FreePath.
type Spot struct {
	Cell    int64 // offset of the cell, CellSize bytes
	Witness int64 // offset of the tag or page
	Length  int   // bytes of it: TagSize or CellSize
}

// Spot tells where the answer to a draw of a cell lies.
func (g Geometry) Spot(kind Kind, cell uint32) Spot {
	if kind == KindFree {
		return Spot{Cell: FreeCellOffset(cell), Witness: g.FreePageOffset(cell), Length: CellSize}
	}
	return Spot{Cell: CellOffset(cell), Witness: TagOffset(cell), Length: TagSize}
}
