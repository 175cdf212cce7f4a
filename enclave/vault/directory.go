package vault

import (
	"encoding/binary"

	"github.com/cella-network/cella/protocol/storageproof"
)

// A directory says what a data sector holds: one record a block, in the order of its cells. It is public; the sector's
// root commits to it.
//
//	codec u8 | digest 32 | first cell u32 | length u32 | dag-pb only: links u32, then codec u8 | digest 32 for each
const (
	recordSize = 1 + 32 + 4 + 4
	linkSize   = 1 + 32
	blockLinks = storageproof.MaxBlock / 38 // the shortest link of a dag-pb block takes 38 bytes
)

type record struct {
	key    key
	first  uint32
	length uint32
	links  []key
}

func (r record) append(b []byte) []byte {
	b = appendKey(b, r.key)
	b = binary.BigEndian.AppendUint32(b, r.first)
	b = binary.BigEndian.AppendUint32(b, r.length)
	if r.key.codec == codecDagPB {
		b = binary.BigEndian.AppendUint32(b, uint32(len(r.links)))
		for _, l := range r.links {
			b = appendKey(b, l)
		}
	}
	return b
}

func appendKey(b []byte, k key) []byte { return append(append(b, k.codec), k.digest[:]...) }

// readRecord reads the record at the beginning of p. It returns size 0 if more bytes are needed, and false for bytes that
// begin no record.
func readRecord(p []byte) (r record, size int, ok bool) {
	if len(p) == 0 {
		return r, 0, true
	}
	if !readKey(p[:1], &r.key) {
		return r, 0, false
	}
	if len(p) < recordSize {
		return r, 0, true
	}
	readKey(p, &r.key)
	r.first = binary.BigEndian.Uint32(p[linkSize:])
	r.length = binary.BigEndian.Uint32(p[linkSize+4:])
	if r.length > storageproof.MaxBlock {
		return r, 0, false
	}
	if r.key.codec == codecRaw {
		return r, recordSize, true
	}
	p = p[recordSize:]
	if len(p) < 4 {
		return r, 0, true
	}
	n := binary.BigEndian.Uint32(p)
	if n > blockLinks {
		return r, 0, false
	}
	if p = p[4:]; len(p) < int(n)*linkSize {
		return r, 0, true
	}
	if n > 0 {
		r.links = make([]key, n)
	}
	for i := range r.links {
		if !readKey(p[i*linkSize:], &r.links[i]) {
			return r, 0, false
		}
	}
	return r, recordSize + 4 + int(n)*linkSize, true
}

// readKey reads a codec and, if it is there, the digest.
func readKey(p []byte, k *key) bool {
	k.codec = p[0]
	if len(p) >= linkSize {
		k.digest = [32]byte(p[1:linkSize])
	}
	return k.codec == codecRaw || k.codec == codecDagPB
}
