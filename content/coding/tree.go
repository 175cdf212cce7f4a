package coding

import (
	"fmt"

	"github.com/ipfs/boxo/ipld/merkledag"
	blocks "github.com/ipfs/go-block-format"
	"github.com/ipfs/go-cid"
	ipld "github.com/ipfs/go-ipld-format"
)

const (
	fanout    = 1024
	nameIndex = "index"
	nameShard = "shard"
)

// link is a block to which a node links, and the bytes that lie under it.
type link struct {
	cid  cid.Cid
	size uint64
}

// grow builds a balanced tree of dag-pb nodes over links and returns its root and the nodes. It has one node at least.
func grow(links []link) (link, []blocks.Block, error) {
	var nodes []blocks.Block
	for {
		var above []link
		for from := 0; from == 0 || from < len(links); from += fanout {
			b, size, err := pbNode(nil, "", links[from:min(from+fanout, len(links))]...)
			if err != nil {
				return link{}, nil, err
			}
			nodes = append(nodes, b)
			above = append(above, link{b.Cid(), size})
		}
		if links = above; len(links) == 1 {
			return links[0], nodes, nil
		}
	}
}

// pbNode makes a node; its links all have one name, or none.
func pbNode(data []byte, name string, links ...link) (blocks.Block, uint64, error) {
	n := merkledag.NodeWithData(data)
	if err := n.SetCidBuilder(cid.V1Builder{Codec: cid.DagProtobuf, MhType: 0x12}); err != nil {
		return nil, 0, err
	}
	var size uint64
	for _, l := range links {
		if err := n.AddRawLink(name, &ipld.Link{Cid: l.cid, Size: l.size}); err != nil {
			return nil, 0, err
		}
		size += l.size
	}
	return finish(n, size)
}

func finish(n *merkledag.ProtoNode, below uint64) (blocks.Block, uint64, error) {
	b, err := blocks.NewBlockWithCid(n.RawData(), n.Cid())
	return b, below + uint64(len(n.RawData())), err
}

// shardRoot is what an order for a shard names.
func shardRoot(shard int, index, content link) (blocks.Block, error) {
	n := merkledag.NodeWithData([]byte{version, byte(shard)})
	if err := n.SetCidBuilder(cid.V1Builder{Codec: cid.DagProtobuf, MhType: 0x12}); err != nil {
		return nil, err
	}
	for name, l := range map[string]link{nameIndex: index, nameShard: content} { // the node sorts them
		if err := n.AddRawLink(name, &ipld.Link{Cid: l.cid, Size: l.size}); err != nil {
			return nil, err
		}
	}
	b, _, err := finish(n, 0)
	return b, err
}

// readShardRoot finds the index in a block that may be a shard's root.
func readShardRoot(b blocks.Block) (index link, err error) {
	n, err := merkledag.DecodeProtobufBlock(b)
	if err != nil {
		return link{}, fmt.Errorf("%w: shard root %s: %w", ErrManifest, b.Cid(), err)
	}
	p, ok := n.(*merkledag.ProtoNode)
	if !ok || len(p.Data()) != 2 || p.Data()[0] != version || len(p.Links()) != 2 || p.Links()[0].Name != nameIndex || p.Links()[1].Name != nameShard {
		return link{}, fmt.Errorf("%w: %s is no shard's root", ErrManifest, b.Cid())
	}
	return link{p.Links()[0].Cid, p.Links()[0].Size}, nil
}

// linksOf are the blocks to which a block of a file links; inline content counts as the block's own.
func linksOf(b blocks.Block) ([]cid.Cid, error) {
	if b.Cid().Type() != cid.DagProtobuf {
		return nil, nil
	}
	n, err := merkledag.DecodeProtobufBlock(b)
	if err != nil {
		return nil, fmt.Errorf("block %s: %w", b.Cid(), err)
	}
	var out []cid.Cid
	for _, l := range n.Links() {
		inline := l.Cid.Prefix().MhType == 0
		if inline && l.Cid.Type() == cid.Raw {
			continue
		}
		if _, ok := sumOf(l.Cid); !ok || l.Cid.Type() != cid.Raw && l.Cid.Type() != cid.DagProtobuf {
			return nil, fmt.Errorf("%w: block %s links to %s", ErrUnsupported, b.Cid(), l.Cid)
		}
		out = append(out, l.Cid)
	}
	return out, nil
}

// blocksOf are the links to a shard's distinct blocks, groups in order.
func (m *Manifest) blocksOf(shard int) []link {
	seen := map[sum]bool{}
	var out []link
	for g := range m.groups() {
		s, size, ok := m.at(g, m.positionIn(g, shard))
		if ok && !seen[s] {
			seen[s] = true
			out = append(out, link{s.cid(cid.Raw), uint64(size)})
		}
	}
	return out
}

// shard builds the nodes of a shard above its blocks; the first one is its root.
func (m *Manifest) shard(shard int, index link) ([]blocks.Block, error) {
	content, nodes, err := grow(m.blocksOf(shard))
	if err != nil {
		return nil, err
	}
	root, err := shardRoot(shard, index, content)
	return append([]blocks.Block{root}, nodes...), err
}
