package coding

import (
	"bytes"
	"fmt"

	blocks "github.com/ipfs/go-block-format"
	"github.com/ipfs/go-cid"
	"github.com/ipld/go-ipld-prime/codec/dagcbor"
	"github.com/ipld/go-ipld-prime/datamodel"
	"github.com/ipld/go-ipld-prime/fluent/qp"
	cidlink "github.com/ipld/go-ipld-prime/linking/cid"
	"github.com/ipld/go-ipld-prime/node/basicnode"
	"github.com/multiformats/go-multihash"
)

const (
	version    = 1
	partBlocks = 12_000 // CIDs in a part of the manifest, so that it takes half a MiB
	hashSize   = 32
)

// sum is the SHA-256 of a block; all blocks of a set have that hash.
type sum [hashSize]byte

func sumOf(c cid.Cid) (sum, bool) {
	p := c.Prefix()
	if h := c.Hash(); p.MhType == multihash.SHA2_256 && p.MhLength == hashSize {
		return sum(h[len(h)-hashSize:]), true
	}
	return sum{}, false
}

func (s sum) cid(codec uint64) cid.Cid {
	h, err := multihash.Encode(s[:], multihash.SHA2_256)
	if err != nil {
		panic(err) // only for hash functions that don't exist
	}
	return cid.NewCidV1(codec, h)
}

// Manifest says of which blocks each group of a file is made. A decoded one is consistent in itself; whether it is true of the file, the
// hash of each restored block tells.
type Manifest struct {
	Code
	File   cid.Cid
	Size   uint64 // bytes of the file's distinct blocks
	lens   []uint32
	leaves []sum // in the order of the groups
	parity []sum // M a group
}

func (m *Manifest) groups() int { return groupsOf(m.Code, len(m.leaves)) }

func groupsOf(c Code, leaves int) int { return (leaves + c.K - 1) / c.K }

// partGroups is how many groups a part of the manifest lists, except the last one.
func partGroups(c Code) int { return partBlocks / c.Shards() }

// group is the part of the file under one code word: its leaves, their lengths, its parity.
func (m *Manifest) group(g int) (leaves []sum, lens []uint32, parity []sum) {
	from, to := g*m.K, min((g+1)*m.K, len(m.leaves))
	return m.leaves[from:to], m.lens[from:to], m.parity[g*m.M : (g+1)*m.M]
}

// at is the block of a group at a position and its length; false where the last group has none.
func (m *Manifest) at(g, position int) (s sum, size uint32, ok bool) {
	leaves, lens, parity := m.group(g)
	switch {
	case position >= m.K:
		return parity[position-m.K], lens[0], true
	case position < len(leaves):
		return leaves[position], lens[position], true
	}
	return sum{}, 0, false
}

// head is the manifest's root block before its parts are known.
type head struct {
	Manifest
	count, block, parts int   // of leaves; bytes of the longest; of parts
	links               []sum // of the parts
}

// encode makes the manifest's blocks, root first, named as raw.
func (m *Manifest) encode() ([]blocks.Block, error) {
	var parts []blocks.Block
	per := partGroups(m.Code)
	for g := 0; g < m.groups(); g += per {
		b, err := rawBlock(m.part(g, min(g+per, m.groups())))
		if err != nil {
			return nil, err
		}
		parts = append(parts, b)
	}
	root, err := rawBlock(qp.BuildMap(basicnode.Prototype.Any, 8, func(ma datamodel.MapAssembler) {
		qp.MapEntry(ma, "version", qp.Int(version))
		qp.MapEntry(ma, "file", qp.Link(cidlink.Link{Cid: m.File}))
		qp.MapEntry(ma, "size", qp.Int(int64(m.Size)))
		qp.MapEntry(ma, "k", qp.Int(int64(m.K)))
		qp.MapEntry(ma, "m", qp.Int(int64(m.M)))
		qp.MapEntry(ma, "leaves", qp.Int(int64(len(m.leaves))))
		qp.MapEntry(ma, "block", qp.Int(int64(m.lens[0])))
		qp.MapEntry(ma, "parts", qp.List(int64(len(parts)), func(la datamodel.ListAssembler) {
			for _, p := range parts {
				s, _ := sumOf(p.Cid())
				qp.ListEntry(la, qp.Link(cidlink.Link{Cid: s.cid(cid.DagCBOR)}))
			}
		}))
	}))
	if err != nil {
		return nil, err
	}
	return append([]blocks.Block{root}, parts...), nil
}

// part is the node that lists groups: for each the lengths of its leaves, and the links to leaves and parity.
func (m *Manifest) part(from, to int) (datamodel.Node, error) {
	return qp.BuildList(basicnode.Prototype.Any, int64(to-from), func(la datamodel.ListAssembler) {
		for g := from; g < to; g++ {
			leaves, lens, parity := m.group(g)
			qp.ListEntry(la, qp.List(2, func(la datamodel.ListAssembler) {
				qp.ListEntry(la, qp.List(int64(len(lens)), func(la datamodel.ListAssembler) {
					for _, n := range lens {
						qp.ListEntry(la, qp.Int(int64(n)))
					}
				}))
				qp.ListEntry(la, qp.List(int64(len(leaves)+m.M), func(la datamodel.ListAssembler) {
					for _, s := range leaves {
						qp.ListEntry(la, qp.Link(cidlink.Link{Cid: s.cid(cid.Raw)}))
					}
					for _, s := range parity {
						qp.ListEntry(la, qp.Link(cidlink.Link{Cid: s.cid(cid.Raw)}))
					}
				}))
			}))
		}
	})
}

// rawBlock encodes a node as dag-cbor under a raw CID.
func rawBlock(n datamodel.Node, err error) (blocks.Block, error) {
	if err != nil {
		return nil, err
	}
	var buf bytes.Buffer
	if err := dagcbor.Encode(n, &buf); err != nil {
		return nil, err
	}
	if buf.Len() > MaxBlock {
		return nil, fmt.Errorf("%w: a block of %d bytes", ErrManifest, buf.Len())
	}
	return newBlock(cid.Raw, buf.Bytes())
}

func newBlock(codec uint64, data []byte) (blocks.Block, error) {
	h, err := multihash.Sum(data, multihash.SHA2_256, hashSize)
	if err != nil {
		return nil, err
	}
	return blocks.NewBlockWithCid(data, cid.NewCidV1(codec, h))
}

// decodeHead reads a manifest's root. What it claims is bounded before anything is set aside for it.
func decodeHead(p []byte) (head, error) {
	f := fields{node: decodeNode(p)}
	f.size(8)
	h := head{count: f.int("leaves", 1, maxBlocks), block: f.int("block", 1, MaxBlock)}
	f.int("version", version, version)
	h.K, h.M = f.int("k", 1, MaxShards), f.int("m", 1, MaxShards)
	h.Size = uint64(f.int("size", 1, 1<<50))
	h.File = f.link("file")
	links := f.get("parts")
	if f.node == nil || f.bad != "" {
		return head{}, fmt.Errorf("%w: root: %s", ErrManifest, f.bad)
	}
	if err := h.check(); err != nil {
		return head{}, fmt.Errorf("%w: %w", ErrManifest, err)
	}
	groups, per := groupsOf(h.Code, h.count), partGroups(h.Code)
	if h.count < h.K || h.count+groups*h.M > maxBlocks {
		return head{}, fmt.Errorf("%w: %d leaves under %s", ErrManifest, h.count, h.Code)
	}
	h.parts = (groups + per - 1) / per
	if links.Kind() != datamodel.Kind_List || links.Length() != int64(h.parts) {
		return head{}, fmt.Errorf("%w: %d parts, want %d", ErrManifest, links.Length(), h.parts)
	}
	for i := range int64(h.parts) {
		c, ok := linkAt(links, i)
		s, sha := sumOf(c)
		if !ok || !sha || c.Type() != cid.DagCBOR {
			return head{}, fmt.Errorf("%w: link to part %d", ErrManifest, i)
		}
		h.links = append(h.links, s)
	}
	return h, nil
}

// add reads the next part.
func (h *head) add(p []byte) error {
	node, done := decodeNode(p), h.groups()
	want := min(partGroups(h.Code), groupsOf(h.Code, h.count)-done)
	if node == nil || node.Kind() != datamodel.Kind_List || node.Length() != int64(want) {
		return fmt.Errorf("%w: the part at group %d does not list %d groups", ErrManifest, done, want)
	}
	for i := range want {
		if err := h.addGroup(node, int64(i)); err != nil {
			return fmt.Errorf("%w: group %d: %w", ErrManifest, done+i, err)
		}
	}
	return nil
}

func (h *head) addGroup(part datamodel.Node, i int64) error {
	wrong := func(what string) error { return fmt.Errorf("bad %s", what) }
	n := min(h.K, h.count-len(h.leaves))
	group, err := part.LookupByIndex(i)
	if err != nil || group.Kind() != datamodel.Kind_List || group.Length() != 2 {
		return wrong("form")
	}
	lens, err1 := group.LookupByIndex(0)
	links, err2 := group.LookupByIndex(1)
	if err1 != nil || err2 != nil || lens.Kind() != datamodel.Kind_List || links.Kind() != datamodel.Kind_List ||
		lens.Length() != int64(n) || links.Length() != int64(n+h.M) {
		return wrong("lists")
	}
	for j := range int64(n) {
		l, err := lens.LookupByIndex(j)
		if err != nil {
			return wrong("length")
		}
		size, err := l.AsInt()
		if last := len(h.lens) - 1; err != nil || size < 1 || last < 0 && size != int64(h.block) || last >= 0 && size > int64(h.lens[last]) {
			return wrong("length") // empty, or longer than the leaf before it
		}
		h.lens = append(h.lens, uint32(size))
	}
	for j := range int64(n + h.M) {
		c, ok := linkAt(links, j)
		s, sha := sumOf(c)
		if !ok || !sha || c.Type() != cid.Raw {
			return wrong("link")
		}
		if j < int64(n) {
			h.leaves = append(h.leaves, s)
		} else {
			h.parity = append(h.parity, s)
		}
	}
	return nil
}

// decodeNode reads dag-cbor of little depth; nil if it is none. Its memory is bounded by a small multiple of a block.
func decodeNode(p []byte) datamodel.Node {
	if len(p) > MaxBlock {
		return nil
	}
	b := basicnode.Prototype.Any.NewBuilder()
	opts := dagcbor.DecodeOptions{AllowLinks: true, AllocationBudget: 4 * MaxBlock, MaxDepth: 4}
	if opts.Decode(b, bytes.NewReader(p)) != nil {
		return nil
	}
	return b.Build()
}

func linkAt(list datamodel.Node, i int64) (cid.Cid, bool) {
	n, err := list.LookupByIndex(i)
	if err != nil {
		return cid.Undef, false
	}
	l, err := n.AsLink()
	if err != nil {
		return cid.Undef, false
	}
	c, ok := l.(cidlink.Link)
	return c.Cid, ok
}

// fields reads a map and remembers the first thing that is wrong with it.
type fields struct {
	node datamodel.Node
	bad  string
}

func (f *fields) fail(what string) {
	if f.bad == "" {
		f.bad = what
	}
}

func (f *fields) size(n int64) {
	if f.node == nil || f.node.Kind() != datamodel.Kind_Map || f.node.Length() != n {
		f.fail("not a map of the right size")
	}
}

func (f *fields) get(name string) datamodel.Node {
	if f.bad != "" {
		return nil
	}
	n, err := f.node.LookupByString(name)
	if err != nil {
		f.fail(name + " is missing")
		return nil
	}
	return n
}

func (f *fields) int(name string, lo, hi int64) int {
	n := f.get(name)
	if n == nil {
		return 0
	}
	v, err := n.AsInt()
	if err != nil || v < lo || v > hi {
		f.fail(name + " is out of bounds")
		return 0
	}
	return int(v)
}

func (f *fields) link(name string) cid.Cid {
	n := f.get(name)
	if n == nil {
		return cid.Undef
	}
	l, err := n.AsLink()
	if err != nil {
		f.fail(name + " is no link")
		return cid.Undef
	}
	c, ok := l.(cidlink.Link)
	if !ok {
		f.fail(name + " is no link")
	}
	return c.Cid
}
