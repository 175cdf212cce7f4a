package content

import (
	"context"
	"errors"

	"github.com/ipfs/boxo/exchange"
	"github.com/ipfs/boxo/ipld/merkledag"
	blocks "github.com/ipfs/go-block-format"
	"github.com/ipfs/go-cid"
	ipld "github.com/ipfs/go-ipld-format"
)

// Session reads DAGs: blocks come from the node's store, and else from the network, first from the peers at the multiaddrs
// from. Nothing is stored. The session ends with ctx. A read blocks until the block turns up or its own context ends.
func (n *Node) Session(ctx context.Context, from ...string) ipld.DAGService {
	if peers := knownPeers(from); len(peers) > 0 {
		go n.connect(ctx, peers)
	}
	return merkledag.NewReadOnlyDagService(&reader{node: n, net: n.swap.NewSession(ctx)})
}

type reader struct {
	node *Node
	net  exchange.Fetcher
}

func (r *reader) Get(ctx context.Context, c cid.Cid) (ipld.Node, error) {
	if err := checkCID(c); err != nil {
		return nil, err
	}
	b, err := r.node.stored(ctx, c)
	if ipld.IsNotFound(err) {
		b, err = r.net.GetBlock(ctx, c)
	}
	if err != nil {
		return nil, err
	}
	return decode(b)
}

// GetMany asks the network for all absent blocks at once; they arrive in any order.
func (r *reader) GetMany(ctx context.Context, cids []cid.Cid) <-chan *ipld.NodeOption {
	out := make(chan *ipld.NodeOption, len(cids)) // never blocks
	go func() {
		defer close(out)
		send := func(b blocks.Block, err error) {
			var node ipld.Node
			if err == nil {
				node, err = decode(b)
			}
			out <- &ipld.NodeOption{Node: node, Err: err}
		}
		var absent []cid.Cid
		asked := cid.NewSet()
		for _, c := range cids {
			if !asked.Visit(c) {
				continue
			}
			if err := checkCID(c); err != nil {
				send(nil, err)
				return
			}
			b, err := r.node.stored(ctx, c)
			if ipld.IsNotFound(err) {
				absent = append(absent, c)
				continue
			}
			send(b, err)
		}
		found, err := r.net.GetBlocks(ctx, absent)
		if err != nil {
			send(nil, err)
			return
		}
		left := len(absent)
		for b := range found {
			send(b, nil)
			left--
		}
		if left > 0 {
			err := context.Cause(ctx)
			if err == nil {
				err = errors.New("the session has ended")
			}
			send(nil, err)
		}
	}()
	return out
}

// stored reads a block of the node's own store, or one that needs no store: inline content and the empty block. ipld.ErrNotFound if there is none.
func (n *Node) stored(ctx context.Context, c cid.Cid) (blocks.Block, error) {
	if isInline(c) {
		return inlineBlock(c)
	}
	if b, ok := emptyBlock(c); ok {
		return b, nil
	}
	if n.store == nil {
		return nil, ipld.ErrNotFound{Cid: c}
	}
	return n.store.Get(ctx, c)
}
