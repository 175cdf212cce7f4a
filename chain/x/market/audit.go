package market

import (
	"context"

	"cosmossdk.io/collections"

	sdk "github.com/cosmos/cosmos-sdk/types"

	"github.com/cella-network/cella/protocol/lottery"
	"github.com/cella-network/cella/protocol/market"
)

// samplePool is how many of a holder's orders a draw for an audit looks at. It begins at a random id, so each order's chance depends
// on the ids of as many orders before it, and a holder can't hide one behind a single other of its own.
const samplePool = 32

// Sample draws one of the holder's proven replicas of running orders, for an audit; ok is false if it found none among the
// samplePool orders that the holder has from a random id on.
func (k *Keeper) Sample(ctx context.Context, holder sdk.AccAddress, seed lottery.Seed) (order uint64, root []byte, ok bool, err error) {
	last, err := k.lastOrder.Get(ctx)
	if err != nil || last == 0 {
		return 0, nil, false, err
	}
	from := 1 + seed.Uniform("audit order", holder, last)
	var ids []uint64
	for _, part := range []*collections.PairRange[sdk.AccAddress, uint64]{
		collections.NewPrefixedPairRange[sdk.AccAddress, uint64](holder).StartInclusive(from),
		collections.NewPrefixedPairRange[sdk.AccAddress, uint64](holder).EndExclusive(from),
	} {
		if err := k.held.Walk(ctx, part, func(key collections.Pair[sdk.AccAddress, uint64]) (bool, error) {
			if len(ids) < samplePool {
				ids = append(ids, key.K2())
			}
			return len(ids) == samplePool, nil
		}); err != nil {
			return 0, nil, false, err
		}
	}
	now := sdk.UnwrapSDKContext(ctx).BlockHeight()
	var fit []market.Order
	for _, id := range ids {
		o, r, held, err := k.replica(ctx, id, holder)
		if err != nil {
			return 0, nil, false, err
		}
		if held && r.Proven && r.Lost == 0 && !o.Closed && now < o.End {
			fit = append(fit, o)
		}
	}
	if len(fit) == 0 {
		return 0, nil, false, nil
	}
	o := fit[seed.Uniform("audit replica", holder, uint64(len(fit)))]
	return o.ID, o.Root, true, nil
}

// Holding tells whether an operator still owes an order's content: it has proven it, and the order runs. Who admitted a loss owes it
// until its replica ends.
func (k *Keeper) Holding(ctx context.Context, holder sdk.AccAddress, order uint64) (bool, error) {
	o, r, ok, err := k.replica(ctx, order, holder)
	return ok && (r.Proven || r.Lost != 0) && !o.Closed && sdk.UnwrapSDKContext(ctx).BlockHeight() < o.End, err
}
