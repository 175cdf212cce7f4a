package guarantee

import (
	"context"
	"errors"

	"cosmossdk.io/math"

	sdk "github.com/cosmos/cosmos-sdk/types"
	stakingtypes "github.com/cosmos/cosmos-sdk/x/staking/types"

	api "github.com/cella-network/cella/api/guarantee"
	"github.com/cella-network/cella/protocol/stake"
	"github.com/cella-network/cella/protocol/storageproof"
)

const accountLength = 20 // of an operator's address: longer ones are modules'

// operator is one with all that counts of it.
type operator struct {
	account   sdk.AccAddress
	record    api.Node
	validator *stakingtypes.Validator // nil if it has none in x/staking
	now       stake.Node
}

// operator loads one by its account.
func (k *Keeper) operator(ctx context.Context, account sdk.AccAddress, record api.Node) (operator, error) {
	o := operator{account: account, record: record}
	text, err := k.addresses.BytesToString(account)
	if err != nil {
		return o, err
	}
	o.now = stake.Node{Address: text, Storage: storageOf(record.Storage), Jailed: true}
	v, err := k.staking.GetValidator(ctx, sdk.ValAddress(account))
	if errors.Is(err, stakingtypes.ErrNoValidatorFound) {
		return o, nil
	}
	if err != nil {
		return o, err
	}
	o.validator = &v
	own := math.ZeroInt()
	d, err := k.staking.GetDelegation(ctx, account, sdk.ValAddress(account))
	switch {
	case err == nil:
		own = v.TokensFromShares(d.Shares).TruncateInt()
	case !errors.Is(err, stakingtypes.ErrNoDelegation):
		return o, err
	}
	o.now.Own, o.now.Guaranteed = coins(own), coins(v.Tokens.Sub(own))
	o.now.Cut = coins(v.Commission.Rate.MulInt64(stake.Whole).TruncateInt())
	// Whoever x/staking doesn't take as bonded is none of its candidates, and could not be slashed by it.
	o.now.Jailed = v.Jailed || !v.IsBonded() || len(account) != accountLength
	return o, nil
}

// operators loads all, in the order of their accounts.
func (k *Keeper) operators(ctx context.Context) (out []operator, err error) {
	it, err := k.nodes.Iterate(ctx, nil)
	if err != nil {
		return nil, err
	}
	all, err := it.KeyValues()
	if err != nil {
		return nil, err
	}
	for _, kv := range all {
		o, err := k.operator(ctx, kv.Key, kv.Value)
		if err != nil {
			return nil, err
		}
		out = append(out, o)
	}
	return out, nil
}

func nodesOf(all []operator) []stake.Node {
	out := make([]stake.Node, len(all))
	for i, o := range all {
		out[i] = o.now
	}
	return out
}

// Reported hears of an accepted report (x/work): what it proves counts for the era from the level at its beginning downwards. It never refuses one:
// the enclave has signed it already.
func (k *Keeper) Reported(ctx context.Context, account sdk.AccAddress, report storageproof.Report, standing storageproof.Standing) error {
	n, err := k.record(ctx, account)
	if err != nil {
		return err
	}
	n.Bytes = report.Free + report.Stored // what a tier allows at the most: x/work refuses more
	n.Least = min(n.Least, n.Bytes)
	n.Reports++
	missed := standing.Unproven()
	n.Unproven = n.Unproven || missed > n.Missed
	n.Missed = missed
	return k.nodes.Set(ctx, account, n)
}

// ensure keeps a record for an operator from now on.
func (k *Keeper) ensure(ctx context.Context, account sdk.AccAddress) error {
	has, err := k.nodes.Has(ctx, account)
	if err != nil || has {
		return err
	}
	return k.nodes.Set(ctx, account, api.Node{})
}

func storageOf(s api.Storage) stake.Storage {
	return stake.Storage{Limit: s.Limit, Base: s.Base, Debt: s.Debt}
}

// coins are at most MaxCoins: no sum of two or three can overflow.
func coins(i math.Int) uint64 {
	if i.IsNegative() {
		return 0
	}
	if !i.IsUint64() || i.Uint64() > stake.MaxCoins {
		return stake.MaxCoins
	}
	return i.Uint64()
}

func intOf(c uint64) math.Int { return math.NewIntFromUint64(c) }
