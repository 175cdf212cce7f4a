package market

import (
	"context"

	"cosmossdk.io/collections"

	sdk "github.com/cosmos/cosmos-sdk/types"

	"github.com/cella-network/cella/protocol/market"
)

// BeginBlock lapses acceptances and closes orders whose time has come, a bounded number a block.
func (k *Keeper) BeginBlock(ctx context.Context) error {
	t, now, err := k.terms(ctx)
	if err != nil {
		return err
	}
	lapses, err := k.dueLapses(ctx, now, itemsPerBlock)
	if err != nil {
		return err
	}
	for _, key := range lapses {
		if err := k.lapses.Remove(ctx, key); err != nil {
			return err
		}
		lapse := func(ctx context.Context) error { return k.lapse(ctx, t, key.K2(), key.K3(), now) }
		again := func() error { return k.lapses.Set(ctx, collections.Join3(now+retryBlocks, key.K2(), key.K3())) }
		if err := k.try(ctx, lapse, again); err != nil {
			return err
		}
	}
	closings, err := k.dueClosings(ctx, now, itemsPerBlock)
	if err != nil {
		return err
	}
	budget := itemsPerBlock // a closing counts for as many items as it ends replicas
	for _, key := range closings {
		if budget <= 0 {
			return nil
		}
		if err := k.closings.Remove(ctx, key); err != nil {
			return err
		}
		replicas := 0
		expire := func(ctx context.Context) (err error) {
			replicas, err = k.expire(ctx, t, key.K2(), now)
			return err
		}
		again := func() error { return k.closings.Set(ctx, collections.Join(now+retryBlocks, key.K2())) }
		if err := k.try(ctx, expire, again); err != nil {
			return err
		}
		budget -= 1 + replicas
	}
	return nil
}

// try runs one item of a queue on a branch of the state. An item that fails is a bug, but one that must neither stop the
// chain nor half happen: it is logged, and tried again later.
func (k *Keeper) try(ctx context.Context, item func(context.Context) error, again func() error) error {
	c := sdk.UnwrapSDKContext(ctx)
	branch, write := c.CacheContext()
	if err := item(branch); err != nil {
		c.Logger().Error("market: an item of the queue failed and waits", "height", c.BlockHeight(), "err", err)
		return again()
	}
	write()
	return nil
}

func (k *Keeper) lapse(ctx context.Context, t market.Terms, id uint64, operator sdk.AccAddress, now int64) error {
	o, r, ok, err := k.replica(ctx, id, operator)
	if err != nil || !ok || r.Proven {
		return err // it was dropped or closed, or the report came in time
	}
	if due := t.LapseAt(r); due > now {
		// The replica is a later one than that which was queued, or governance lengthened the term.
		return k.lapses.Set(ctx, collections.Join3(due, id, operator))
	}
	moved, err := t.Lapse(o, r, now)
	if err != nil {
		return err
	}
	if err := k.free(ctx, o, operator, now); err != nil {
		return err
	}
	return k.execute(ctx, o, moved)
}

// expire closes an order by time and returns how many replicas that took.
func (k *Keeper) expire(ctx context.Context, t market.Terms, id uint64, now int64) (int, error) {
	o, err := k.order(ctx, id)
	if err != nil || o.Closed {
		return 0, err
	}
	if due := t.ExpireAt(o); due > now {
		return 0, k.closings.Set(ctx, collections.Join(due, id)) // it was renewed
	}
	held, proven, err := k.heldOf(ctx, id)
	if err != nil {
		return 0, err
	}
	o, moved, err := t.Expire(o, held, proven, now)
	if err != nil {
		return 0, err
	}
	return len(held), k.close(ctx, o, held, moved, market.RuleTerm)
}
