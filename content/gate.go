package content

import (
	"context"
	"errors"

	blocks "github.com/ipfs/go-block-format"
	"github.com/ipfs/go-cid"
	ipld "github.com/ipfs/go-ipld-format"
)

// ErrDenied is returned for a block that the node's operator does not want to fetch or announce.
var ErrDenied = errors.New("denied by the operator's lists")

// Gate is asked before anything of the store leaves the node. Its methods are called at the same time, for each block.
type Gate interface {
	// Open tells whether stored blocks are served and roots announced at all.
	Open() bool
	// Denies tells whether a block is neither served nor announced.
	Denies(c cid.Cid) bool
}

// shut tells whether the gate lets a block pass; no gate does.
func shut(g Gate, c cid.Cid) bool { return g != nil && (!g.Open() || g.Denies(c)) }

// A block that must not leave looks to peers like one that isn't here.

func (s served) Get(ctx context.Context, c cid.Cid) (blocks.Block, error) {
	if shut(s.gate, c) {
		return nil, ipld.ErrNotFound{Cid: c}
	}
	return s.Blockstore.Get(ctx, c)
}

func (s served) Has(ctx context.Context, c cid.Cid) (bool, error) {
	if shut(s.gate, c) {
		return false, nil
	}
	return s.Blockstore.Has(ctx, c)
}
