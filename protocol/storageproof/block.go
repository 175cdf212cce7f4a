package storageproof

import (
	"errors"
	"fmt"
)

// Codecs of the blocks that are sealed.
const (
	CodecRaw   = 0x55
	CodecDagPB = 0x70
)

// Hash functions of the CIDs that are understood.
const (
	hashID     = 0x00 // the content stands in the CID itself
	hashSHA256 = 0x12
)

// BlockKey names a sealed block: what its bytes mean, and their SHA-256. Versions 0 and 1 of a CID have the same key.
type BlockKey struct {
	Codec  uint8
	Digest [32]byte
}

// CID is the block's binary CID of version 1.
func (k BlockKey) CID() []byte { return append([]byte{1, k.Codec, hashSHA256, 32}, k.Digest[:]...) }

// ParseBlockKey is ParseCID for a CID that must name a block.
func ParseBlockKey(cid []byte) (BlockKey, error) {
	c, err := ParseCID(cid)
	if err != nil {
		return BlockKey{}, err
	}
	if c.Inline {
		return BlockKey{}, errors.New("an inline CID names no block")
	}
	return c.Key, nil
}

// CID is a parsed CID: the name of a block, or inline content.
type CID struct {
	Key    BlockKey // only the codec if Inline
	Inline bool
	Body   []byte // inline content; aliases what was parsed
}

// ParseCID reads a binary CID and nothing else: version 0 or 1, raw or dag-pb, SHA-256 or inline of at most 127 bytes. All
// their varints are single bytes.
func ParseCID(p []byte) (CID, error) {
	if len(p) == 34 && p[0] == hashSHA256 && p[1] == 32 {
		return CID{Key: BlockKey{CodecDagPB, [32]byte(p[2:])}}, nil
	}
	if len(p) < 4 || p[0] != 1 {
		return CID{}, errors.New("not a binary CID of version 0 or 1")
	}
	codec, function, length, body := p[1], p[2], p[3], p[4:]
	if !sealable(codec) {
		return CID{}, fmt.Errorf("CID of codec %#x: only raw and dag-pb are stored", codec)
	}
	if length > 127 || int(length) != len(body) {
		return CID{}, errors.New("CID whose hash is not of its length")
	}
	switch {
	case function == hashSHA256 && length == 32:
		return CID{Key: BlockKey{codec, [32]byte(body)}}, nil
	case function == hashID:
		return CID{Key: BlockKey{Codec: codec}, Inline: true, Body: body}, nil
	default:
		return CID{}, fmt.Errorf("CID of hash function %#x with %d bytes: only sha2-256 is stored", function, length)
	}
}

func sealable(codec uint8) bool { return codec == CodecRaw || codec == CodecDagPB }
