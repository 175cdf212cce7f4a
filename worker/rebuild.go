package worker

import (
	"bytes"
	"context"
	"fmt"
	"time"

	"github.com/cosmos/cosmos-sdk/types/query"
	"github.com/ipfs/go-cid"

	"github.com/cella-network/cella/api/market"
	"github.com/cella-network/cella/content"
	"github.com/cella-network/cella/content/coding"
)

// rebuildPatience is how long a shard's block may be late before it is made of others. An owner who serves all shards at once over a
// thin line is slow to each; rebuilding from him would make him slower.
const rebuildPatience = 20 * time.Second

// maxSiblings is how many orders for parts of one file are looked at; a set has at most coding.MaxShards.
const maxSiblings = 2 * coding.MaxShards

// behind lets a fetch fall back on the rest of a coded file: an order for a shard that nobody sends any more is made of the others, of
// which the chain knows who holds them. Other orders are fetched as they are.
func (d *dealer) behind(ctx context.Context, o market.Order, opts *content.FetchOptions) error {
	if len(o.Of) == 0 {
		return nil
	}
	file, err := cid.Cast(o.Of)
	if err != nil {
		return fmt.Errorf("%w: the file of which it is a part: %w", errHopeless, err)
	}
	siblings, err := d.siblings(ctx, o)
	if err != nil {
		return err
	}
	for _, s := range siblings {
		opts.From = append(opts.From, d.holders(ctx, s.Id)...)
	}
	opts.Peers = maxSiblings
	opts.Bring = coding.NewRestorer(coding.Options{File: file, Shard: opts.Root, Limit: o.Size_, Patience: d.patience,
		Roots: func(ctx context.Context) ([]cid.Cid, error) {
			var out []cid.Cid
			for _, s := range siblings {
				if root, err := cid.Cast(s.Root); err == nil {
					out = append(out, root)
				}
			}
			return out, nil
		}}).Bring
	return nil
}

// siblings are the owner's other running orders for parts of the same file.
func (d *dealer) siblings(ctx context.Context, o market.Order) ([]market.Order, error) {
	var out []market.Order
	req := &market.QueryOrdersRequest{Owner: o.Owner, Root: o.Of, Pagination: &query.PageRequest{Limit: page}}
	for {
		r, err := d.Queries.Market.Orders(ctx, req)
		if err != nil {
			return nil, err
		}
		for _, s := range r.Orders {
			if s.Id != o.Id && !s.Closed && bytes.Equal(s.Of, o.Of) && len(out) < maxSiblings {
				out = append(out, s)
			}
		}
		if r.Pagination == nil || len(r.Pagination.NextKey) == 0 || len(out) == maxSiblings {
			return out, nil
		}
		req.Pagination.Key = r.Pagination.NextKey
	}
}
