package guarantee

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"cosmossdk.io/collections"
	"cosmossdk.io/math"

	sdk "github.com/cosmos/cosmos-sdk/types"
	authtypes "github.com/cosmos/cosmos-sdk/x/auth/types"
	distrtypes "github.com/cosmos/cosmos-sdk/x/distribution/types"
	stakingtypes "github.com/cosmos/cosmos-sdk/x/staking/types"

	api "github.com/cella-network/cella/api/guarantee"
	"github.com/cella-network/cella/protocol/stake"
)

// begin starts the first era of a chain with its first block; until then coins are bonded as genesis says.
func (k *Keeper) begin(ctx context.Context) error {
	e, err := k.era.Get(ctx)
	if err != nil || e.Start > 0 {
		return err
	}
	e.Start = sdk.UnwrapSDKContext(ctx).BlockHeight()
	if err := k.starts.Set(ctx, e.Start, e.Number); err != nil {
		return err
	}
	return k.era.Set(ctx, e)
}

// author gives a block's fees to who made it, and counts it.
func (k *Keeper) author(ctx context.Context) error {
	c := sdk.UnwrapSDKContext(ctx)
	set, err := k.setAt(ctx, c.BlockHeight())
	if err != nil {
		return err
	}
	i := slices.IndexFunc(set.Seats, func(s api.Seat) bool {
		consensus := consensusOf(s.Key)
		return slices.Equal(consensus[:], c.BlockHeader().ProposerAddress)
	})
	if i < 0 {
		return nil // fees wait for the next block's author
	}
	account, err := k.addresses.StringToBytes(set.Seats[i].Operator)
	if err != nil {
		return err
	}
	n, err := k.record(ctx, account)
	if err != nil {
		return err
	}
	n.Blocks++
	fees := k.bank.GetAllBalances(ctx, authtypes.NewModuleAddress(authtypes.FeeCollectorName))
	v, err := k.validator(ctx, set.Seats[i].Operator)
	if err != nil {
		return err
	}
	if !fees.IsZero() && v != nil {
		if err := k.bank.SendCoinsFromModuleToModule(ctx, authtypes.FeeCollectorName, distrtypes.ModuleName, fees); err != nil {
			return err
		}
		if err := k.allocate(ctx, *v, fees, stake.Whole); err != nil {
			return err
		}
		n.Fees = min(n.Fees+coins(fees.AmountOf(k.denom)), stake.MaxCoins)
		if err := emit(ctx, &api.EventFees{Operator: set.Seats[i].Operator, Amount: fees.String(), Height: c.BlockHeight()}); err != nil {
			return err
		}
	}
	return k.nodes.Set(ctx, account, n)
}

// allocate gives x/distribution's coins to a node, a part of it (in hundredths of a percent) to its operator alone.
func (k *Keeper) allocate(ctx context.Context, v stakingtypes.Validator, amount sdk.Coins, part uint64) error {
	v.Commission.Rate = math.LegacyNewDecWithPrec(int64(part), 4)
	return k.distr.AllocateTokensToValidator(ctx, v, sdk.NewDecCoinsFromCoins(amount...))
}

// tick counts a block and tells whether its era is over. While no seeds come nobody can prove anything, and the era stands still.
func (k *Keeper) tick(ctx context.Context, p api.Params) (api.Era, bool, error) {
	e, err := k.era.Get(ctx)
	if err != nil {
		return e, false, err
	}
	height := sdk.UnwrapSDKContext(ctx).BlockHeight()
	tip := height
	if k.seeds != nil {
		if tip, err = k.seeds.Tip(ctx); err != nil {
			return e, false, err
		}
	}
	if tip < height-lateSeeds {
		return e, false, nil
	}
	e.Blocks++
	return e, e.Blocks >= p.EraBlocks, k.era.Set(ctx, e)
}

// endEra pays the era, gives each operator its limit for the next, elects, and lets coins go that no power rests on.
func (k *Keeper) endEra(ctx context.Context, p api.Params, e api.Era) error {
	r := rules(p)
	all, err := k.operators(ctx)
	if err != nil {
		return err
	}
	if e.Carry, err = k.pay(ctx, p, e, all); err != nil {
		return err
	}
	for i := range all {
		if err := k.prove(ctx, r, e, &all[i]); err != nil {
			return err
		}
	}
	if err := k.elect(ctx, r, e, all); err != nil {
		return err
	}
	next := api.Era{Number: e.Number + 1, Start: sdk.UnwrapSDKContext(ctx).BlockHeight() + 1, Carry: e.Carry}
	if err := k.advance(ctx, r, next.Number, all); err != nil {
		return err
	}
	for _, o := range all {
		if err := k.renew(ctx, o); err != nil {
			return err
		}
	}
	if err := k.starts.Set(ctx, next.Start, next.Number); err != nil {
		return err
	}
	// Of older eras all coins that are still on their way out answer for each: none of them needs to know which it was.
	if err := k.forgetEras(ctx, next.Number-r.UnbondEras-patience); err != nil {
		return err
	}
	return k.era.Set(ctx, next)
}

func (k *Keeper) forgetEras(ctx context.Context, before int64) error {
	it, err := k.starts.Iterate(ctx, nil)
	if err != nil {
		return err
	}
	all, err := it.KeyValues()
	if err != nil {
		return err
	}
	for _, kv := range all {
		if kv.Value < before {
			if err := k.starts.Remove(ctx, kv.Key); err != nil {
				return err
			}
		}
	}
	return nil
}

// shares is what an era ends with for each operator: it stands as at the era's beginning, less what went since.
func shares(r stake.Rules, p api.Params, e api.Era, all []operator) (pay []stake.Pay, minted, carry uint64, err error) {
	nodes, work := nodesOf(all), make([]stake.Work, len(all))
	counts := false
	for i, o := range all {
		n := &nodes[i]
		n.Own, n.Guaranteed = min(n.Own, o.record.Own), min(n.Guaranteed, o.record.Guaranteed)
		counts = counts || !n.Jailed && n.Own >= r.MinOwn && n.Effective() >= r.PowerUnit
		if o.validator != nil {
			work[i].Blocks = o.record.Blocks
		}
	}
	minted = min(p.EraPool, stake.MaxCoins-min(e.Carry, stake.MaxCoins))
	pay, carry, err = r.Reward(e.Carry+minted, nodes, work)
	if err != nil {
		return nil, 0, e.Carry, err
	}
	if !counts { // what nobody's stake has earned is not made: else it would all be the first one's
		paid := e.Carry + minted - carry
		minted = min(minted, paid)
		carry = e.Carry + minted - paid
	}
	return pay, minted, carry, nil
}

// pay makes the era's pool and pays it out through x/distribution. It returns what is left over.
func (k *Keeper) pay(ctx context.Context, p api.Params, e api.Era, all []operator) (uint64, error) {
	c := sdk.UnwrapSDKContext(ctx)
	pay, minted, carry, err := shares(rules(p), p, e, all)
	if err != nil {
		c.Logger().Error("an era without pay", "era", e.Number, "err", err)
		return e.Carry, nil
	}
	if minted > 0 {
		if err := k.bank.MintCoins(ctx, ModuleName, k.coins(minted)); err != nil {
			return 0, err
		}
	}
	paid := e.Carry + minted - carry
	if paid > 0 {
		if err := k.bank.SendCoinsFromModuleToModule(ctx, ModuleName, distrtypes.ModuleName, k.coins(paid)); err != nil {
			return 0, err
		}
	}
	for i, o := range all {
		a := pay[i]
		if a.Sum() == 0 {
			continue
		}
		if a.Author > 0 {
			if err := k.allocate(ctx, *o.validator, k.coins(a.Author), stake.Whole); err != nil {
				return 0, err
			}
		}
		if earned := a.Own + a.Cut + a.Guarantors; earned > 0 {
			// All coins of the node earn alike less the cut, which its operator has of its own too: that is what Split comes to.
			if err := k.allocate(ctx, *o.validator, k.coins(earned), o.now.Cut); err != nil {
				return 0, err
			}
		}
		if err := emit(ctx, &api.EventPaid{Era: e.Number, Operator: o.now.Address, Author: a.Author, Own: a.Own, Cut: a.Cut, Guarantors: a.Guarantors,
			Height: c.BlockHeight()}); err != nil {
			return 0, err
		}
	}
	return carry, emit(ctx, &api.EventEra{Era: e.Number, Minted: minted, Carried: e.Carry, Paid: paid, Carry: carry, Height: c.BlockHeight()})
}

func (k *Keeper) coins(amount uint64) sdk.Coins {
	return sdk.NewCoins(sdk.NewCoin(k.denom, intOf(amount)))
}

// proven is what an operator has proven all era long, as it stands.
func proven(n api.Node) (bytes uint64, rule string) {
	switch {
	case n.Reports == 0:
		return 0, "silent"
	case n.Unproven:
		return 0, "unproven"
	}
	return n.Least, "less"
}

// prove gives an operator its limit for the next era.
func (k *Keeper) prove(ctx context.Context, r stake.Rules, e api.Era, o *operator) error {
	bytes, rule := proven(o.record)
	before := o.now.Storage
	o.now.Storage = r.Prove(before, bytes)
	s := o.now.Storage
	o.record.Storage = api.Storage{Limit: s.Limit, Base: s.Base, Debt: s.Debt}
	late := s.Debt > before.Debt || before.Debt > 0 && s.Debt == before.Debt
	if !late || before.Limit == 0 {
		return nil
	}
	return emit(ctx, &api.EventLate{Era: e.Number, Operator: o.now.Address, Rule: rule, Limit: s.Limit, Debt: s.Debt,
		Height: sdk.UnwrapSDKContext(ctx).BlockHeight()})
}

// elect begins the way to the next set, unless one is still going on: the committee is asked to hand the keys on, also where jail has made the set
// another than the one that has them. As long as nobody's stake counts, the set stays.
func (k *Keeper) elect(ctx context.Context, r stake.Rules, e api.Era, all []operator) error {
	h, err := k.handover.Get(ctx)
	if err == nil && (h.Reshared || h.Failures == 0 && e.Number-h.Era < patience) {
		return nil
	}
	if err != nil && !errors.Is(err, collections.ErrNotFound) {
		return err
	}
	set, err := k.last(ctx)
	if err != nil || len(set.Seats) == 0 {
		return err
	}
	now := seatsOf(set.Seats)
	next := now
	if elected, _ := r.Elect(nodesOf(all)); len(elected) > 0 {
		next = r.Toward(now, elected)
	}
	h = api.Handover{Era: e.Number}
	for _, s := range next {
		h.Seats = append(h.Seats, api.Seat{Operator: s.Node, Power: s.Power, Stake: max(s.Power*r.PowerUnit, 1)})
	}
	group, err := k.inCharge(ctx)
	if err != nil {
		return err
	}
	held, err := k.held(ctx, h.Seats)
	if err != nil || slices.Equal(next, now) && (!group || held) {
		return err
	}
	if h.Reshared = !group; group { // without keys there is nothing to share anew
		if err := k.reshare(ctx, h); err != nil {
			return k.failed(ctx, e.Number, err.Error())
		}
	}
	if err := k.handover.Set(ctx, h); err != nil {
		return err
	}
	return emit(ctx, &api.EventHandover{Era: e.Number, Validators: uint32(len(h.Seats)), Height: sdk.UnwrapSDKContext(ctx).BlockHeight()})
}

// reshare begins the ceremony or leaves nothing behind.
func (k *Keeper) reshare(ctx context.Context, h api.Handover) error {
	members, err := k.stakeholders(h.Seats)
	if err != nil {
		return err
	}
	branch, write := sdk.UnwrapSDKContext(ctx).CacheContext()
	if err := k.committee.Begin(branch, Purpose, members); err != nil {
		return fmt.Errorf("the ceremony can't begin: %w", err)
	}
	write()
	return nil
}

// renew stores an operator as it begins the next era. One that has and brings nothing is forgotten, but not before the last coins have left it.
func (k *Keeper) renew(ctx context.Context, o operator) error {
	n := o.record
	if o.validator == nil && n.Reports == 0 && n.Storage.Limit == 0 {
		left, _, err := k.waiting(ctx, o.account)
		if err != nil {
			return err
		}
		if len(left) == 0 {
			return k.nodes.Remove(ctx, o.account)
		}
	}
	n.Least, n.Reports, n.Unproven, n.Blocks, n.Fees = n.Bytes, 0, false, 0, 0
	n.Own, n.Guaranteed = o.now.Own, o.now.Guaranteed
	return k.nodes.Set(ctx, o.account, n)
}
