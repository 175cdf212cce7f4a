package disk

import (
	"encoding/binary"
	"errors"

	"github.com/cella-network/cella/protocol/storageproof"
)

// Codecs of the blocks that a vault seals, and the multihash that names them.
const (
	codecRaw   = 0x55
	codecDagPB = 0x70
	sha256Code = 0x12
)

// Key names a block: the codec of its CID and its SHA-256. Versions 0 and 1 of a CID have the same key.
type Key [33]byte

// ParseKey reads a binary CID; false for one that no vault seals.
func ParseKey(cid []byte) (Key, bool) {
	var k Key
	switch {
	case len(cid) == 34 && cid[0] == sha256Code && cid[1] == 32:
		k[0] = codecDagPB
		copy(k[1:], cid[2:])
		return k, true
	case len(cid) == 36 && cid[0] == 1 && (cid[1] == codecRaw || cid[1] == codecDagPB) && cid[2] == sha256Code && cid[3] == 32:
		k[0] = cid[1]
		copy(k[1:], cid[4:])
		return k, true
	}
	return k, false
}

// CID is the block's binary CID of version 1.
func (k Key) CID() []byte {
	return append([]byte{1, k[0], sha256Code, 32}, k[1:]...)
}

// A directory record, as enclave/vault makes it:
//
//	codec u8 | digest 32 | first cell u32 | length u32 | dag-pb only: links u32, then codec u8 | digest 32 for each
const (
	recordSize = len(Key{}) + 4 + 4
	maxLinks   = storageproof.MaxBlock / 38 // the shortest link of a dag-pb block takes 38 bytes
)

type record struct {
	key    Key
	first  uint32
	length uint32
	links  []Key
}

// cells is how many cells the block fills.
func (r record) cells() uint32 { return uint32(storageproof.CellsOf(uint64(r.length))) }

var errRecord = errors.New("no directory record")

// parseRecord reads the record at the beginning of p and returns what follows it. A torn record is an error.
func parseRecord(p []byte) (record, []byte, error) {
	var r record
	if len(p) < recordSize {
		return r, nil, errRecord
	}
	r.key = Key(p[:len(r.key)])
	r.first = binary.BigEndian.Uint32(p[len(r.key):])
	r.length = binary.BigEndian.Uint32(p[len(r.key)+4:])
	if !r.key.known() || r.length > storageproof.MaxBlock {
		return r, nil, errRecord
	}
	p = p[recordSize:]
	if r.key[0] == codecRaw {
		return r, p, nil
	}
	if len(p) < 4 {
		return r, nil, errRecord
	}
	n := binary.BigEndian.Uint32(p)
	p = p[4:]
	if n > maxLinks || len(p) < int(n)*len(r.key) {
		return r, nil, errRecord
	}
	for ; n > 0; n-- {
		k := Key(p[:len(r.key)])
		if !k.known() {
			return r, nil, errRecord
		}
		r.links = append(r.links, k)
		p = p[len(k):]
	}
	return r, p, nil
}

func (k Key) known() bool { return k[0] == codecRaw || k[0] == codecDagPB }
