package market

import (
	"context"
	"errors"

	"cosmossdk.io/collections"

	sdk "github.com/cosmos/cosmos-sdk/types"

	"github.com/cella-network/cella/protocol/market"
)

// BeginBlock does what has become due, a bounded number of items a block: acceptances lapse, lost replicas are forfeited, the
// replicas of a lost disk and of silent nodes hear of it, orders close and closed ones are forgotten.
func (k *Keeper) BeginBlock(ctx context.Context) error {
	t, now, err := k.terms(ctx)
	if err != nil {
		return err
	}
	if err := k.run(ctx, k.lapses, now, func(ctx context.Context, id uint64, operator sdk.AccAddress) error {
		return k.lapse(ctx, t, id, operator, now)
	}); err != nil {
		return err
	}
	if err := k.run(ctx, k.repairs, now, func(ctx context.Context, id uint64, operator sdk.AccAddress) error {
		return k.forfeit(ctx, t, id, operator, now)
	}); err != nil {
		return err
	}
	if err := k.sweepAll(ctx, t, now); err != nil {
		return err
	}
	if err := k.watchAll(ctx, t, now); err != nil {
		return err
	}
	return k.closeAll(ctx, t, now)
}

// run runs the due items of a queue of replicas.
func (k *Keeper) run(ctx context.Context, queue collections.KeySet[collections.Triple[int64, uint64, sdk.AccAddress]], now int64, item func(ctx context.Context, id uint64, operator sdk.AccAddress) error) error {
	var due []collections.Triple[int64, uint64, sdk.AccAddress]
	if err := queue.Walk(ctx, nil, func(key collections.Triple[int64, uint64, sdk.AccAddress]) (bool, error) {
		if key.K1() > now || len(due) == itemsPerBlock {
			return true, nil
		}
		due = append(due, key)
		return false, nil
	}); err != nil {
		return err
	}
	for _, key := range due {
		if err := queue.Remove(ctx, key); err != nil {
			return err
		}
		once := func(ctx context.Context) error { return item(ctx, key.K2(), key.K3()) }
		again := func() error { return queue.Set(ctx, collections.Join3(now+retryBlocks, key.K2(), key.K3())) }
		if err := k.try(ctx, once, again); err != nil {
			return err
		}
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
	step, err := t.Lapse(o, r, now)
	if err != nil {
		return err
	}
	if err := k.apply(ctx, t, operator, o, r, step, now); err != nil {
		return err
	}
	return k.transfer(ctx, step.Moves)
}

func (k *Keeper) forfeit(ctx context.Context, t market.Terms, id uint64, operator sdk.AccAddress, now int64) error {
	o, r, ok, err := k.replica(ctx, id, operator)
	if err != nil || !ok || r.Lost == 0 {
		return err // it is over, or repaired
	}
	if due := t.RepairAt(r); due > now {
		return k.repairs.Set(ctx, collections.Join3(due, id, operator)) // it was repaired and lost once more, or the terms changed
	}
	step, err := t.Forfeit(o, r, now)
	if err != nil {
		return err
	}
	if err := k.apply(ctx, t, operator, o, r, step, now); err != nil {
		return err
	}
	return k.transfer(ctx, step.Moves)
}

// sweepAll tells replicas that their node's disk is lost, at most endsPerBlock of them. Each operator has its share of that, for one
// that has many replicas and loses its disk in every slot would else keep the others from hearing of their loss.
func (k *Keeper) sweepAll(ctx context.Context, t market.Terms, now int64) error {
	var operators []sdk.AccAddress
	if err := k.sweeps.Walk(ctx, nil, func(operator sdk.AccAddress) (bool, error) {
		operators = append(operators, operator)
		return len(operators) == endsPerBlock, nil
	}); err != nil || len(operators) == 0 {
		return err
	}
	limit := endsPerBlock / len(operators)
	for _, operator := range operators {
		sweep := func(ctx context.Context) error { return k.sweep(ctx, t, operator, now, limit) }
		if err := k.try(ctx, sweep, func() error { return nil }); err != nil {
			return err
		}
	}
	return nil
}

func (k *Keeper) sweep(ctx context.Context, t market.Terms, operator sdk.AccAddress, now int64, limit int) error {
	n, err := k.tally(ctx, operator)
	if err != nil {
		return err
	}
	ids, err := k.heldFrom(ctx, operator, n.Conduct.Swept, limit)
	if err != nil {
		return err
	}
	var moved []market.Move
	for _, id := range ids {
		o, r, ok, err := k.replica(ctx, id, operator)
		if err != nil {
			return err
		}
		if !ok || !n.Conduct.Gone(r) {
			continue
		}
		step, err := t.Drop(o, r, n, now)
		if err != nil {
			return err
		}
		if err := k.apply(ctx, t, operator, o, r, step, now); err != nil {
			return err
		}
		moved = append(moved, step.Moves...)
	}
	conduct := n.Conduct
	if len(ids) < limit {
		conduct = conduct.AllHeard()
	} else {
		conduct.Swept = ids[len(ids)-1]
	}
	if err := k.setConduct(ctx, operator, n.Conduct, conduct); err != nil {
		return err
	}
	return k.transfer(ctx, moved)
}

// watchAll looks at operators whose silence is due to be looked at, and ends some replicas of those that were silent for too long:
// endsPerBlock in all, shared alike, but at least one each.
func (k *Keeper) watchAll(ctx context.Context, t market.Terms, now int64) error {
	var due []collections.Pair[int64, sdk.AccAddress]
	if err := k.watch.Walk(ctx, nil, func(key collections.Pair[int64, sdk.AccAddress]) (bool, error) {
		if key.K1() > now || len(due) == itemsPerBlock {
			return true, nil
		}
		due = append(due, key)
		return false, nil
	}); err != nil {
		return err
	}
	limit := max(1, endsPerBlock/max(1, len(due)))
	for _, key := range due {
		look := func(ctx context.Context) error { return k.look(ctx, t, key.K2(), now, limit) }
		again := func() error {
			conduct, err := k.conduct(ctx, key.K2())
			if err != nil {
				return err
			}
			later := conduct
			later.Watch = now + retryBlocks
			return k.setConduct(ctx, key.K2(), conduct, later)
		}
		if err := k.try(ctx, look, again); err != nil {
			return err
		}
	}
	return nil
}

// look looks at one operator's silence and ends at most limit of its replicas for it.
func (k *Keeper) look(ctx context.Context, t market.Terms, operator sdk.AccAddress, now int64, limit int) error {
	n, err := k.tally(ctx, operator)
	if err != nil {
		return err
	}
	holds, err := k.Holds(ctx, operator)
	if err != nil {
		return err
	}
	if !holds {
		conduct := n.Conduct
		conduct.Watch, conduct.Silent = 0, 0
		return k.setConduct(ctx, operator, n.Conduct, conduct)
	}
	conduct, notices, silent := t.Watch(n.Conduct, n.Since, now)
	if err := k.warn(ctx, conduct.Node, notices, now); err != nil {
		return err
	}
	if err := k.setConduct(ctx, operator, n.Conduct, conduct); err != nil || !silent {
		return err
	}
	ids, err := k.heldFrom(ctx, operator, 0, limit)
	if err != nil {
		return err
	}
	var moved []market.Move
	for _, id := range ids {
		o, r, ok, err := k.replica(ctx, id, operator)
		if err != nil {
			return err
		}
		if !ok {
			continue
		}
		step, err := t.Silence(o, r, n, now)
		if err != nil {
			return err
		}
		if err := k.apply(ctx, t, operator, o, r, step, now); err != nil {
			return err
		}
		moved = append(moved, step.Moves...)
	}
	return k.transfer(ctx, moved)
}

// closeAll closes orders by time and forgets closed ones.
func (k *Keeper) closeAll(ctx context.Context, t market.Terms, now int64) error {
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
	held, tallies, err := k.heldOf(ctx, id)
	if err != nil {
		return 0, err
	}
	o, moved, err := t.Expire(o, held, tallies, now)
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
		k.byOwner.Remove(ctx, collections.Join(owner, o.ID)), k.byRoot.Remove(ctx, collections.Join(o.Root, o.ID)),
		k.byRoot.Remove(ctx, collections.Join(o.Of, o.ID)))
}
