package worker

import (
	"context"
	"errors"
	"fmt"
	"time"

	blocks "github.com/ipfs/go-block-format"
	"github.com/ipfs/go-cid"
	"golang.org/x/sync/errgroup"

	"github.com/cella-network/cella/api/attest"
	"github.com/cella-network/cella/api/market"
	"github.com/cella-network/cella/content"
	"github.com/cella-network/cella/enclave/wire"
	"github.com/cella-network/cella/protocol/storageproof"
)

const (
	againLeast = 2 * time.Second // before an order is fetched again after a failure
	againMost  = time.Minute
	vainMost   = 5 // attempts in a row after which a new order is given up of which no block arrives
)

// estimate is what is set aside for an order: its bytes, the padding of blocks to cells, a unit at the least.
func estimate(size uint64) uint64 { return size + size/8 + storageproof.MaxBlock }

// errHopeless marks orders that no retry fulfils.
var errHopeless = errors.New("the order cannot be fulfilled")

// fulfil fetches, seals and completes an order, and tries again until it is held by the enclave or no longer ours: the chain lets an
// acceptance lapse that stays unproven, and ends a replica that was lost and not proven again. A new order of which nothing arrives is
// given up before that, so that orders whose owner is gone don't stand in the way of others.
func (d *dealer) fulfil(ctx context.Context, o market.Order, proven bool, p *promise) bool {
	vain := 0
	for wait := d.again; ; wait = min(2*wait, againMost) {
		before, waits := p.written(), d.waits.Load()
		losses := d.held.losses(o.Id)
		err := d.attempt(ctx, o, proven, p)
		if p.written() > before {
			vain, wait = 0, d.again
		}
		switch {
		case err == nil && d.held.complete(o.Id, losses):
			d.Log.Info("order complete", "order", o.Id, "bytes", o.Size_)
			d.Metrics.orders.WithLabelValues("complete").Inc()
			return true
		case err == nil:
			continue
		case ctx.Err() != nil:
			return false
		case errors.Is(err, errHopeless) || errors.Is(err, errBlock) || errors.Is(err, content.ErrTooLarge) || errors.Is(err, content.ErrDenied):
			return d.giveUp(o, err)
		case errors.Is(err, content.ErrStalled) && d.waits.Load() == waits: // else it was us who did not take them
			if vain++; vain >= vainMost && !proven {
				return d.giveUp(o, err)
			}
		}
		d.Log.Warn("order not fetched yet; trying again", told(err, "order", o.Id, "in", wait)...)
		if pause(ctx, wait) != nil {
			return false
		}
	}
}

// giveUp ends the fetching of an order for good.
func (d *dealer) giveUp(o market.Order, err error) bool {
	d.refused.Store(o.Id, true)
	d.Log.Warn("order given up; its acceptance lapses", "order", o.Id, "err", err)
	d.Metrics.orders.WithLabelValues("failed").Inc()
	return false
}

// slot waits for a turn to fetch. What was held and is lost does not wait behind new orders.
func (d *dealer) slot(ctx context.Context, proven bool) (done func(), err error) {
	turns := d.slots
	if proven {
		turns = d.menders
	}
	select {
	case turns <- struct{}{}:
		return func() { <-turns }, nil
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// attempt fetches what is not sealed yet, seals it and asks the enclave to complete the order.
func (d *dealer) attempt(ctx context.Context, o market.Order, proven bool, p *promise) error {
	done, err := d.slot(ctx, proven)
	if err != nil {
		return err
	}
	defer done()
	root, err := cid.Cast(o.Root)
	if err != nil {
		return fmt.Errorf("%w: root: %w", errHopeless, err)
	}
	if err := d.allowed(o); err != nil {
		return err
	}
	if err := d.fetch(ctx, o, root, p); err != nil {
		return err
	}
	var whole wire.CompleteReply
	err = d.call(&wire.Complete{Order: wire.Order{ID: o.Id, Root: o.Root, Size: o.Size_}}, &whole)
	var refusal *wire.Error
	switch {
	case errors.As(err, &refusal) && refusal.Code == wire.CodeInvalid:
		return fmt.Errorf("%w: %w", errHopeless, err)
	case err != nil:
		return err
	case len(whole.Missing) > 0:
		return fmt.Errorf("block %x is missing after all", whole.Missing)
	}
	return nil
}

// fetch brings the blocks under an order's root and seals them as they come.
func (d *dealer) fetch(ctx context.Context, o market.Order, root cid.Cid, p *promise) error {
	from := append(d.holders(ctx, o.Id), o.Addrs...)
	most := 4*estimate(o.Size_) + 64*storageproof.CellSize
	g, ctx := errgroup.WithContext(ctx)
	arrived := make(chan blocks.Block, sealLanes)
	for range sealLanes {
		g.Go(func() error {
			for b := range arrived {
				n, err := d.sealBlock(ctx, o.Id, b)
				if err != nil {
					return err
				}
				if p.spend(n) > most {
					return fmt.Errorf("%w: it is made of so many small blocks that they take more than %d bytes", errHopeless, most)
				}
			}
			return nil
		})
	}
	g.Go(func() error {
		defer close(arrived)
		opts := content.FetchOptions{Root: root, From: from, Limit: o.Size_, Stall: d.stall,
			Visit: func(b blocks.Block) error {
				select {
				case arrived <- b:
					return nil
				case <-ctx.Done():
					return ctx.Err()
				}
			},
			Have: func(_ context.Context, c cid.Cid) (bool, error) { return d.have(o.Id, c), nil },
			Deny: d.Deny.Denies,
		}
		if err := d.behind(ctx, o, &opts); err != nil {
			return err
		}
		_, err := d.Content.Fetch(ctx, opts)
		return err
	})
	return g.Wait()
}

// have tells whether a block is sealed already, and keeps it from compaction for this order. A release can't come between the
// two.
func (d *dealer) have(order uint64, c cid.Cid) bool {
	k, err := storageproof.ParseBlockKey(c.Bytes())
	if err != nil {
		return false
	}
	d.gate.RLock()
	defer d.gate.RUnlock()
	at, ok := d.disk.Find(k)
	if !ok || d.space.isReleased(at.Sector) {
		return false
	}
	d.held.need(order, k)
	return true
}

// holders are the addresses of nodes that have proven the order already.
func (d *dealer) holders(ctx context.Context, id uint64) []string {
	q, err := d.Queries.Market.Order(ctx, &market.QueryOrderRequest{Id: id})
	if err != nil {
		return nil // the order's own addresses remain
	}
	var out []string
	for _, r := range q.Replicas {
		if !r.Proven || r.Operator == d.Address || len(out) > 2*maxAddrs {
			continue
		}
		if n, err := d.Queries.Attest.Node(ctx, &attest.QueryNodeRequest{Operator: r.Operator}); err == nil {
			out = append(out, n.Node.Addrs...)
		}
	}
	return out
}
