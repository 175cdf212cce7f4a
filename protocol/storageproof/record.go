package storageproof

import "encoding/binary"

// MaxLinks bounds the links of a block: the shortest link of a dag-pb block takes 38 bytes.
const MaxLinks = MaxBlock / 38

const (
	keySize    = 1 + 32
	recordSize = keySize + 4 + 4
)

// Record says where a data sector holds a block. A directory is one record a block, in the order of their cells. It is
// public; the sector's root commits to it.
//
//	codec u8 | digest 32 | first cell u32 | length u32 | dag-pb only: links u32, then codec u8 | digest 32 for each
type Record struct {
	Key    BlockKey
	First  uint32     // its first cell
	Length uint32     // bytes, at most MaxBlock
	Links  []BlockKey // distinct blocks to which it links, in order, at most MaxLinks; a raw block has none
}

// Cells is how many cells the block fills.
func (r Record) Cells() uint32 { return uint32(CellsOf(uint64(r.Length))) }

// Append adds the record's one encoding to b.
func (r Record) Append(b []byte) []byte {
	b = appendKey(b, r.Key)
	b = binary.BigEndian.AppendUint32(b, r.First)
	b = binary.BigEndian.AppendUint32(b, r.Length)
	if r.Key.Codec == CodecDagPB {
		b = binary.BigEndian.AppendUint32(b, uint32(len(r.Links)))
		for _, l := range r.Links {
			b = appendKey(b, l)
		}
	}
	return b
}

func appendKey(b []byte, k BlockKey) []byte { return append(append(b, k.Codec), k.Digest[:]...) }

// ReadRecord reads the record at the beginning of p and tells how many bytes it takes. It returns size 0 if more bytes are
// needed, and false for bytes that begin no record. Which cells are a sector's, and that records leave no gap, is the caller's to
// check.
func ReadRecord(p []byte) (r Record, size int, ok bool) {
	if len(p) == 0 {
		return r, 0, true
	}
	if !sealable(p[0]) {
		return r, 0, false
	}
	if len(p) < recordSize {
		return r, 0, true
	}
	r.Key, _ = readKey(p)
	r.First = binary.BigEndian.Uint32(p[keySize:])
	r.Length = binary.BigEndian.Uint32(p[keySize+4:])
	if r.Length > MaxBlock {
		return r, 0, false
	}
	if r.Key.Codec == CodecRaw {
		return r, recordSize, true
	}
	p = p[recordSize:]
	if len(p) < 4 {
		return r, 0, true
	}
	n := binary.BigEndian.Uint32(p)
	if n > MaxLinks {
		return r, 0, false
	}
	if p = p[4:]; len(p) < int(n)*keySize {
		return r, 0, true
	}
	if n > 0 {
		r.Links = make([]BlockKey, n)
	}
	for i := range r.Links {
		if r.Links[i], ok = readKey(p[i*keySize:]); !ok {
			return r, 0, false
		}
	}
	return r, recordSize + 4 + int(n)*keySize, true
}

func readKey(p []byte) (BlockKey, bool) {
	return BlockKey{p[0], [32]byte(p[1:keySize])}, sealable(p[0])
}
