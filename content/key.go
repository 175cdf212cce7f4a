package content

import (
	"encoding/binary"
	"fmt"

	"github.com/ipfs/boxo/ipld/merkledag"
	"github.com/ipfs/boxo/verifcid"
	blocks "github.com/ipfs/go-block-format"
	"github.com/ipfs/go-cid"
	ipld "github.com/ipfs/go-ipld-format"
	"github.com/multiformats/go-multihash"
)

// blockKey tells blocks apart within one DAG in little memory: codec and the first 16 bytes of the digest. CIDv0 and CIDv1 of one dag-pb
// block share it. Whoever finds a collision (2^64 hashes) hides one of his own blocks from the walk and gains nothing.
type blockKey [20]byte

func keyOf(c cid.Cid) blockKey {
	var k blockKey
	binary.BigEndian.PutUint32(k[:4], uint32(c.Type()))
	h := c.Hash()
	copy(k[4:], h[len(h)-min(len(h), 16):])
	return k
}

// checkCID refuses CIDs of which nothing is ever read: weak hashes, and codecs whose links aren't understood.
func checkCID(c cid.Cid) error {
	if !c.Defined() {
		return fmt.Errorf("%w: no CID", ErrUnsupported)
	}
	if c.Type() != cid.Raw && c.Type() != cid.DagProtobuf {
		return fmt.Errorf("%w: %s is neither raw nor dag-pb", ErrUnsupported, c)
	}
	if err := verifcid.ValidateCid(verifcid.DefaultAllowlist, c); err != nil {
		return fmt.Errorf("%w: %s: %w", ErrUnsupported, c, err)
	}
	return nil
}

// isInline tells whether the CID holds its content itself and so names no block: nobody stores, sends or counts it.
func isInline(c cid.Cid) bool { return c.Prefix().MhType == multihash.IDENTITY }

// inlineBlock is the content of an inline CID in the form of a block.
func inlineBlock(c cid.Cid) (blocks.Block, error) {
	h, err := multihash.Decode(c.Hash())
	if err != nil {
		return nil, err
	}
	return blocks.NewBlockWithCid(h.Digest, c)
}

func decode(b blocks.Block) (ipld.Node, error) {
	var n ipld.Node
	var err error
	if b.Cid().Type() == cid.Raw {
		n, err = merkledag.DecodeRawBlock(b)
	} else {
		n, err = merkledag.DecodeProtobufBlock(b)
	}
	if err != nil {
		return nil, fmt.Errorf("block %s: %w", b.Cid(), err)
	}
	return n, nil
}

// linksOf are the blocks to which a block links, in order. Links of inline content count as its own.
func linksOf(b blocks.Block) ([]cid.Cid, error) { return appendLinks(nil, b) }

func appendLinks(links []cid.Cid, b blocks.Block) ([]cid.Cid, error) {
	if b.Cid().Type() == cid.Raw {
		return links, nil
	}
	node, err := decode(b)
	if err != nil {
		return nil, err
	}
	for _, l := range node.Links() {
		if err := checkCID(l.Cid); err != nil {
			return nil, fmt.Errorf("block %s: %w", b.Cid(), err)
		}
		if !isInline(l.Cid) {
			links = append(links, l.Cid)
			continue
		}
		// Inline content is shorter than the CID that carries it, which bounds the recursion.
		inner, err := inlineBlock(l.Cid)
		if err != nil {
			return nil, fmt.Errorf("block %s: %w", b.Cid(), err)
		}
		if links, err = appendLinks(links, inner); err != nil {
			return nil, err
		}
	}
	return links, nil
}
