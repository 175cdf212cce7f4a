package content

import (
	"context"

	"github.com/ipfs/boxo/blockstore"
	blocks "github.com/ipfs/go-block-format"
	"github.com/ipfs/go-cid"
	ipld "github.com/ipfs/go-ipld-format"
)

// The empty block, which every empty file is, needs care on both sides: boxo's bitswap server answers a want for a block of size zero
// with HAVE and never with the block, so whoever asks waits forever. We don't ask, and as a server we don't say zero.

// emptyBlock is the block of c if that is the empty one, which needs no peer.
func emptyBlock(c cid.Cid) (blocks.Block, bool) {
	if sum, err := c.Prefix().Sum(nil); err != nil || !sum.Equals(c) {
		return nil, false
	}
	b, err := blocks.NewBlockWithCid(nil, c)
	return b, err == nil
}

// served is a store as the bitswap server sees it. The server takes sizes for its queues alone.
type served struct {
	blockstore.Blockstore
	gate Gate // may be nil
}

func (s served) GetSize(ctx context.Context, c cid.Cid) (int, error) {
	if shut(s.gate, c) {
		return -1, ipld.ErrNotFound{Cid: c}
	}
	n, err := s.Blockstore.GetSize(ctx, c)
	if n == 0 && err == nil {
		n = 1
	}
	return n, err
}
