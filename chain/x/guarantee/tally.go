package guarantee

import (
	"context"

	"cosmossdk.io/collections"
	"cosmossdk.io/math"

	sdk "github.com/cosmos/cosmos-sdk/types"
	govkeeper "github.com/cosmos/cosmos-sdk/x/gov/keeper"
	govtypes "github.com/cosmos/cosmos-sdk/x/gov/types/v1"
	stakingtypes "github.com/cosmos/cosmos-sdk/x/staking/types"

	"github.com/cella-network/cella/protocol/stake"
)

// Tally counts a proposal's votes (x/gov). A coin's vote is its part of its node's effective stake, its owner's alone: who doesn't vote isn't voted for.
// Stake on which power rests counts as long as it does: else the first who proves anything would govern a chain of others. As long as no stake
// counts at all no chain could ever be mended: then all that is bonded does.
func (k *Keeper) Tally(ctx context.Context, g govkeeper.Keeper, proposal govtypes.Proposal) (voted math.LegacyDec, all math.Int,
	results map[govtypes.VoteOption]math.LegacyDec, err error) {
	zero := func(err error) (math.LegacyDec, math.Int, map[govtypes.VoteOption]math.LegacyDec, error) {
		return math.LegacyZeroDec(), math.ZeroInt(), nil, err
	}
	nodes, total, err := k.electorate(ctx)
	if err != nil {
		return zero(err)
	}
	voted, results = math.LegacyZeroDec(), map[govtypes.VoteOption]math.LegacyDec{}
	for _, o := range []govtypes.VoteOption{govtypes.OptionYes, govtypes.OptionAbstain, govtypes.OptionNo, govtypes.OptionNoWithVeto} {
		results[o] = math.LegacyZeroDec()
	}
	var done []collections.Pair[uint64, sdk.AccAddress]
	err = g.Votes.Walk(ctx, collections.NewPrefixedPairRange[uint64, sdk.AccAddress](proposal.Id),
		func(key collections.Pair[uint64, sdk.AccAddress], vote govtypes.Vote) (bool, error) {
			done = append(done, key)
			votes, err := k.votes(ctx, nodes, key.K2())
			if err != nil || votes == 0 {
				return err != nil, err
			}
			weight := math.LegacyNewDecFromInt(intOf(votes))
			for _, o := range vote.Options {
				part, err := math.LegacyNewDecFromStr(o.Weight)
				if err != nil {
					return true, err
				}
				results[o.Option] = results[o.Option].Add(weight.Mul(part))
			}
			voted = voted.Add(weight)
			return false, nil
		})
	if err != nil {
		return zero(err)
	}
	for _, key := range done {
		if err := g.Votes.Remove(ctx, key); err != nil {
			return zero(err)
		}
	}
	return voted, total, results, nil
}

// voice is a node that votes, and its validator's rate of shares to coins.
type voice struct {
	node      stake.Node
	validator stakingtypes.Validator
}

// electorate is whose coins vote, and how much that is in all.
func (k *Keeper) electorate(ctx context.Context) (map[string]voice, math.Int, error) {
	all, err := k.operators(ctx)
	if err != nil {
		return nil, math.Int{}, err
	}
	set, err := k.last(ctx)
	if err != nil {
		return nil, math.Int{}, err
	}
	power := map[string]uint64{}
	for _, s := range set.Seats {
		power[s.Operator] = s.Stake
	}
	out, total := map[string]voice{}, math.ZeroInt()
	for _, unproven := range []bool{false, true} {
		for _, o := range all {
			if o.now.Jailed {
				continue
			}
			o.now.Storage.Limit = max(o.now.Storage.Limit, power[o.now.Address])
			if unproven {
				o.now.Storage.Limit = stake.MaxCoins
			}
			out[o.validator.GetOperator()] = voice{o.now, *o.validator}
			total = total.Add(intOf(o.now.Effective()))
		}
		if total.IsPositive() {
			break
		}
	}
	return out, total, nil
}

// votes is what somebody's coins count, with whatever nodes they lie.
func (k *Keeper) votes(ctx context.Context, nodes map[string]voice, voter sdk.AccAddress) (sum uint64, err error) {
	err = k.staking.IterateDelegations(ctx, voter, func(_ int64, d stakingtypes.DelegationI) bool {
		if v, ok := nodes[d.GetValidatorAddr()]; ok {
			sum += v.node.Share(coins(v.validator.TokensFromShares(d.GetShares()).TruncateInt()))
		}
		return false
	})
	return sum, err
}
