package vault

import (
	"github.com/cella-network/cella/enclave/wire"
	"github.com/cella-network/cella/protocol/storageproof"
)

// linksOf returns the distinct blocks to which a block links, in order. Links of inline content count as its own.
func linksOf(codec uint8, data []byte) ([]storageproof.BlockKey, error) {
	if codec == storageproof.CodecRaw {
		return nil, nil
	}
	var out []storageproof.BlockKey
	seen := map[storageproof.BlockKey]bool{}
	err := eachLink(data, func(hash []byte) error { return addLinks(hash, seen, &out) })
	return out, err
}

// addLinks adds what a link leads to. Inline content is shorter than the CID that carries it, which bounds the recursion.
func addLinks(hash []byte, seen map[storageproof.BlockKey]bool, out *[]storageproof.BlockKey) error {
	c, err := storageproof.ParseCID(hash)
	if err != nil {
		return refuse(wire.CodeInvalid, "%v", err)
	}
	if !c.Inline {
		if !seen[c.Key] {
			seen[c.Key] = true
			*out = append(*out, c.Key)
		}
		return nil
	}
	if c.Key.Codec == storageproof.CodecRaw {
		return nil
	}
	return eachLink(c.Body, func(hash []byte) error { return addLinks(hash, seen, out) })
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
