package guarantee

import (
	"context"
	"errors"
	"slices"
	"strconv"

	"cosmossdk.io/collections"

	sdk "github.com/cosmos/cosmos-sdk/types"
	stakingtypes "github.com/cosmos/cosmos-sdk/x/staking/types"

	api "github.com/cella-network/cella/api/guarantee"
	"github.com/cella-network/cella/protocol/stake"
)

// hold keeps coins on their way out of x/staking until no power rests on them.
func (k *Keeper) hold(ctx context.Context, id uint64) error {
	kind, err := k.staking.GetUnbondingType(ctx, id)
	if err != nil || kind != stakingtypes.UnbondingType_UnbondingDelegation {
		return err
	}
	sdk.UnwrapSDKContext(ctx).GasMeter().ConsumeGas(gasPerUnbonding, "coins on their way out")
	ubd, err := k.staking.GetUnbondingDelegationByUnbondingID(ctx, id)
	if err != nil {
		return err
	}
	operator, err := k.staking.ValidatorAddressCodec().StringToBytes(ubd.ValidatorAddress)
	if err != nil {
		return err
	}
	text, err := k.addresses.BytesToString(operator)
	if err != nil {
		return err
	}
	e, err := k.era.Get(ctx)
	if err != nil {
		return err
	}
	if err := k.ensure(ctx, operator); err != nil {
		return err
	}
	if err := k.staking.PutUnbondingOnHold(ctx, id); err != nil {
		return err
	}
	return k.queue.Set(ctx, collections.Join(sdk.AccAddress(operator), id), api.Unbonding{Operator: text, Id: id, Asked: e.Number})
}

// index lets x/staking find again, by their ids, the coins on their way out of an exported state, and give no id twice: its own genesis forgets both.
func (k *Keeper) index(ctx context.Context) error {
	var all []stakingtypes.UnbondingDelegation
	if err := k.staking.IterateUnbondingDelegations(ctx, func(_ int64, u stakingtypes.UnbondingDelegation) bool {
		all = append(all, u)
		return false
	}); err != nil {
		return err
	}
	validators, err := k.staking.GetAllValidators(ctx)
	if err != nil {
		return err
	}
	last := uint64(0)
	for _, v := range validators { // their ids are of the same row: when one is unbonded, x/staking forgets what its ids name
		for _, id := range v.UnbondingIds {
			last = max(last, id)
		}
	}
	for _, ubd := range all {
		for _, e := range ubd.Entries {
			if err := k.staking.SetUnbondingDelegationByUnbondingID(ctx, ubd, e.UnbondingId); err != nil {
				return err
			}
			last = max(last, e.UnbondingId)
		}
	}
	for id := uint64(0); id < last; {
		var err error
		if id, err = k.staking.IncrementUnbondingID(ctx); err != nil {
			return err
		}
	}
	return nil
}

// entry is x/staking's entry with an id, and its place; nil if it is gone: its owner may take the request back.
func (k *Keeper) entry(ctx context.Context, id uint64) (*stakingtypes.UnbondingDelegation, int, error) {
	ubd, err := k.staking.GetUnbondingDelegationByUnbondingID(ctx, id)
	if errors.Is(err, stakingtypes.ErrNoUnbondingDelegation) {
		return nil, 0, nil
	}
	if err != nil {
		return nil, 0, err
	}
	i := slices.IndexFunc(ubd.Entries, func(e stakingtypes.UnbondingDelegationEntry) bool { return e.UnbondingId == id })
	if i < 0 {
		return nil, 0, nil
	}
	return &ubd, i, nil
}

// waiting is what the queue holds of an operator, oldest first, as the rules take it; Who is the entry's id.
func (k *Keeper) waiting(ctx context.Context, operator sdk.AccAddress) (records []api.Unbonding, queue []stake.Unbonding, err error) {
	it, err := k.queue.Iterate(ctx, collections.NewPrefixedPairRange[sdk.AccAddress, uint64](operator))
	if err != nil {
		return nil, nil, err
	}
	all, err := it.Values()
	if err != nil {
		return nil, nil, err
	}
	for _, u := range all {
		ubd, i, err := k.entry(ctx, u.Id)
		if err != nil {
			return nil, nil, err
		}
		if ubd == nil {
			if err := k.queue.Remove(ctx, collections.Join(operator, u.Id)); err != nil {
				return nil, nil, err
			}
			continue
		}
		records = append(records, u)
		queue = append(queue, stake.Unbonding{Who: strconv.FormatUint(u.Id, 10), Coins: coins(ubd.Entries[i].Balance), Asked: u.Asked, Since: u.Since})
	}
	return records, queue, nil
}

// advance looks at all coins on their way out at the beginning of an era. Power that the next set will have counts as if it were in force: a
// handover that is going on must not come to rest on coins that are gone.
func (k *Keeper) advance(ctx context.Context, r stake.Rules, era int64, all []operator) error {
	set, err := k.last(ctx)
	if err != nil {
		return err
	}
	h, err := k.handover.Get(ctx)
	if err != nil && !errors.Is(err, collections.ErrNotFound) {
		return err
	}
	power := map[string]uint64{}
	first, err := k.setAt(ctx, sdk.UnwrapSDKContext(ctx).BlockHeight()+1) // makes the era's first block still if power moved just now
	if err != nil {
		return err
	}
	for _, s := range first.Seats {
		power[s.Operator] = s.Power
	}
	for _, s := range append(slices.Clone(set.Seats), h.Seats...) {
		power[s.Operator] = max(power[s.Operator], s.Power)
	}
	for _, o := range all {
		records, queue, err := k.waiting(ctx, o.account)
		if err != nil {
			return err
		}
		if len(records) == 0 {
			continue
		}
		kept, free := r.Advance(queue, o.now, power[o.now.Address], era)
		byID := map[string]stake.Unbonding{}
		for _, u := range kept {
			byID[u.Who] = u
		}
		released := map[string]bool{}
		for _, u := range free {
			released[u.Who] = true
		}
		for _, u := range records {
			id := strconv.FormatUint(u.Id, 10)
			if released[id] {
				err = k.release(ctx, o.account, u, era)
			} else if since := byID[id].Since; since != u.Since {
				u.Since = since
				if err = k.queue.Set(ctx, collections.Join(o.account, u.Id), u); err == nil {
					err = emit(ctx, &api.EventMaturing{Operator: u.Operator, Id: u.Id, Era: era, Free: era + r.UnbondEras})
				}
			}
			if err != nil {
				return err
			}
		}
	}
	return nil
}

// release lets x/staking pay coins out. Should that fail, they stay and are tried again an era later.
func (k *Keeper) release(ctx context.Context, operator sdk.AccAddress, u api.Unbonding, era int64) error {
	branch, write := sdk.UnwrapSDKContext(ctx).CacheContext()
	if err := k.staking.UnbondingCanComplete(branch, u.Id); err != nil {
		sdk.UnwrapSDKContext(ctx).Logger().Error("coins that are free can't be let go", "unbonding", u.Id, "err", err)
		return nil
	}
	write()
	if err := k.queue.Remove(ctx, collections.Join(operator, u.Id)); err != nil {
		return err
	}
	return emit(ctx, &api.EventReleased{Operator: u.Operator, Id: u.Id, Era: era})
}
