package vault

import (
	"github.com/cella-network/cella/enclave/wire"
)

// Codecs and hash functions of CIDs that the vault understands.
const (
	codecRaw   = 0x55
	codecDagPB = 0x70
	hashID     = 0x00 // the content stands in the CID itself
	hashSHA256 = 0x12
)

// key names a block: what its bytes mean, and their SHA-256.
type key struct {
	codec  uint8
	digest [32]byte
}

// cid is a parsed CID: the name of a block, or inline content.
type cid struct {
	key    key
	inline bool
	body   []byte // inline content; aliases what was parsed
}

// bytes is the CIDv1 of the block.
func (k key) bytes() []byte { return append([]byte{1, k.codec, hashSHA256, 32}, k.digest[:]...) }

// parseCID reads a binary CID and nothing else: version 0 or 1, raw or dag-pb, SHA-256 or inline of at most 127 bytes. All
// their varints are single bytes.
func parseCID(p []byte) (cid, error) {
	if len(p) == 34 && p[0] == hashSHA256 && p[1] == 32 {
		return cid{key: key{codecDagPB, [32]byte(p[2:])}}, nil
	}
	if len(p) < 4 || p[0] != 1 {
		return cid{}, refuse(wire.CodeInvalid, "not a binary CID of version 0 or 1")
	}
	codec, function, length, body := p[1], p[2], p[3], p[4:]
	if codec != codecRaw && codec != codecDagPB {
		return cid{}, refuse(wire.CodeInvalid, "CID of codec %#x: only raw and dag-pb are stored", codec)
	}
	if length > 127 || int(length) != len(body) {
		return cid{}, refuse(wire.CodeInvalid, "CID whose hash is not of its length")
	}
	switch {
	case function == hashSHA256 && length == 32:
		return cid{key: key{codec, [32]byte(body)}}, nil
	case function == hashID:
		return cid{key: key{codec: codec}, inline: true, body: body}, nil
	default:
		return cid{}, refuse(wire.CodeInvalid, "CID of hash function %#x with %d bytes: only sha2-256 is stored", function, length)
	}
}

// blockKey is parseCID for a CID that must name a block.
func blockKey(p []byte) (key, error) {
	c, err := parseCID(p)
	if err != nil {
		return key{}, err
	}
	if c.inline {
		return key{}, refuse(wire.CodeInvalid, "an inline CID names no block")
	}
	return c.key, nil
}

// linksOf returns the distinct blocks to which a block links, in order. Links of inline content count as its own.
func linksOf(codec uint8, data []byte) ([]key, error) {
	if codec == codecRaw {
		return nil, nil
	}
	var out []key
	seen := map[key]bool{}
	err := eachLink(data, func(hash []byte) error { return addLinks(hash, seen, &out) })
	return out, err
}

// addLinks adds what a link leads to. Inline content is shorter than the CID that carries it, which bounds the recursion.
func addLinks(hash []byte, seen map[key]bool, out *[]key) error {
	c, err := parseCID(hash)
	if err != nil {
		return err
	}
	if !c.inline {
		if !seen[c.key] {
			seen[c.key] = true
			*out = append(*out, c.key)
		}
		return nil
	}
	if c.key.codec == codecRaw {
		return nil
	}
	return eachLink(c.body, func(hash []byte) error { return addLinks(hash, seen, out) })
}

// Protobuf tags of dag-pb: field number and wire type.
const (
	tagNodeData  = 1<<3 | 2
	tagNodeLink  = 2<<3 | 2
	tagLinkHash  = 1<<3 | 2
	tagLinkName  = 2<<3 | 2
	tagLinkTsize = 3 << 3
)

// eachLink reads a dag-pb node strictly and calls fn with the binary CID of each link: no unknown field, at most one Data, links not torn
// apart by it, in each link a Hash, then at most one Name, then at most one Tsize, shortest varints. So no other reader sees other links.
func eachLink(p []byte, fn func(hash []byte) error) error {
	bad := func(what string) error { return refuse(wire.CodeInvalid, "dag-pb block: %s", what) }
	data, links, after := false, false, false // after: links came behind the data
	for len(p) > 0 {
		tag := p[0]
		body, rest, ok := lengthPrefixed(p[1:])
		if !ok || tag != tagNodeData && tag != tagNodeLink {
			return bad("bad field of the node")
		}
		p = rest
		if tag == tagNodeData {
			if data {
				return bad("data given twice")
			}
			data, after = true, !links
			continue
		}
		if data && !after {
			return bad("data between links")
		}
		links = true
		hash, ok := linkHash(body)
		if !ok {
			return bad("bad link")
		}
		if err := fn(hash); err != nil {
			return err
		}
	}
	return nil
}

func linkHash(p []byte) ([]byte, bool) {
	if len(p) == 0 || p[0] != tagLinkHash {
		return nil, false
	}
	hash, p, ok := lengthPrefixed(p[1:])
	if ok && len(p) > 0 && p[0] == tagLinkName {
		_, p, ok = lengthPrefixed(p[1:])
	}
	if ok && len(p) > 0 && p[0] == tagLinkTsize {
		_, p, ok = varint(p[1:])
	}
	return hash, ok && len(p) == 0
}

func lengthPrefixed(p []byte) (body, rest []byte, ok bool) {
	n, p, ok := varint(p)
	if !ok || n > uint64(len(p)) {
		return nil, nil, false
	}
	return p[:n], p[n:], true
}

// varint reads an unsigned varint in its shortest form.
func varint(p []byte) (v uint64, rest []byte, ok bool) {
	for i, b := range p {
		if i == 9 && b > 1 || i > 0 && b == 0 {
			return 0, nil, false
		}
		v |= uint64(b&0x7f) << (7 * i)
		if b < 0x80 {
			return v, p[i+1:], true
		}
	}
	return 0, nil, false
}
