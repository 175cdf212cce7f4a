package market

import (
	"context"
	"errors"

	"cosmossdk.io/collections"

	sdk "github.com/cosmos/cosmos-sdk/types"

	"github.com/cella-network/cella/protocol/market"
)

// BeginBlock lapses acceptances, closes orders and forgets closed ones whose time has come, a bounded number a block.
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
	budget := itemsPerBlock // a closing counts for as many items as it ends replicas, a forgotten order for its lapses
	for _, key := range closings {
		if budget <= 0 {
			return nil
		}
		if err := k.closings.Remove(ctx, key); err != nil {
			return err
		}
		items := 0
		expire := func(ctx context.Context) (err error) {
			items, err = k.expire(ctx, t, key.K2(), now)
			return err
		}
		again := func() error { return k.closings.Set(ctx, collections.Join(now+retryBlocks, key.K2())) }
		if err := k.try(ctx, expire, again); err != nil {
			return err
		}
		budget -= 1 + items
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
	if err := k.free(ctx, o, r, operator, now); err != nil {
		return err
	}
	return k.execute(ctx, o, moved)
}

// expire closes an order by time, or forgets a closed one, and returns how many items of other lists that took.
func (k *Keeper) expire(ctx context.Context, t market.Terms, id uint64, now int64) (int, error) {
	if known, err := k.orders.Has(ctx, id); err != nil || !known {
		return 0, err // it was ended early, and forgotten since
	}
	o, err := k.order(ctx, id)
	if err != nil {
		return 0, err
	}
	due := t.ExpireAt(o)
	if o.Closed {
		due = t.PruneAt(o)
	}
	if due > now {
		return 0, k.closings.Set(ctx, collections.Join(due, id)) // it was renewed, or ended early
	}
	if o.Closed {
		return k.prune(ctx, o, now)
	}
	held, proven, err := k.heldOf(ctx, id)
	if err != nil {
		return 0, err
	}
	o, moved, err := t.Expire(o, held, proven, now)
	if err != nil {
		return 0, err
	}
	return len(held), k.close(ctx, t, o, held, moved, market.RuleTerm)
}

// prune forgets a closed order: placing and ending orders costs no more than fees, so it must not grow the state for ever.
func (k *Keeper) prune(ctx context.Context, o market.Order, now int64) (int, error) {
	var lapsed []collections.Pair[uint64, sdk.AccAddress]
	if err := k.lapsed.Walk(ctx, collections.NewPrefixedPairRange[uint64, sdk.AccAddress](o.ID), func(key collections.Pair[uint64, sdk.AccAddress]) (bool, error) {
		lapsed = append(lapsed, key)
		return len(lapsed) == itemsPerBlock, nil
	}); err != nil {
		return 0, err
	}
	for _, key := range lapsed {
		if err := k.lapsed.Remove(ctx, key); err != nil {
			return 0, err
		}
	}
	if len(lapsed) == itemsPerBlock {
		return len(lapsed), k.closings.Set(ctx, collections.Join(now+1, o.ID)) // there may be more
	}
	owner, err := k.account(o.Owner)
	if err != nil {
		return 0, err
	}
	return len(lapsed), errors.Join(k.orders.Remove(ctx, o.ID), k.addrs.Remove(ctx, o.ID),
		k.byOwner.Remove(ctx, collections.Join(owner, o.ID)), k.byRoot.Remove(ctx, collections.Join(o.Root, o.ID)))
}
