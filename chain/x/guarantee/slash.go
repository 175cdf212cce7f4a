package guarantee

import (
	"context"
	"errors"

	abci "github.com/cometbft/cometbft/abci/types"

	"cosmossdk.io/collections"
	"cosmossdk.io/math"

	sdk "github.com/cosmos/cosmos-sdk/types"
	slashingtypes "github.com/cosmos/cosmos-sdk/x/slashing/types"
	stakingkeeper "github.com/cosmos/cosmos-sdk/x/staking/keeper"
	stakingtypes "github.com/cosmos/cosmos-sdk/x/staking/types"

	api "github.com/cella-network/cella/api/guarantee"
	"github.com/cella-network/cella/protocol/stake"
)

// Staking is x/staking's keeper as x/slashing, x/evidence and x/genutil get it: what is slashed is the real stake, whatever power CometBFT names.
type Staking struct {
	*stakingkeeper.Keeper
	guarantee *Keeper
}

// Staking wraps the keeper of x/staking.
func (k *Keeper) Staking() Staking { return Staking{k.staking, k} }

// Slash burns a fraction of all that answers for what a validator did at a height.
func (s Staking) Slash(ctx context.Context, consensus sdk.ConsAddress, height, power int64, fraction math.LegacyDec) (math.Int, error) {
	return s.SlashWithInfractionReason(ctx, consensus, height, power, fraction, stakingtypes.Infraction_INFRACTION_UNSPECIFIED)
}

// SlashWithInfractionReason is Slash with the rule's name.
func (s Staking) SlashWithInfractionReason(ctx context.Context, consensus sdk.ConsAddress, height, _ int64, fraction math.LegacyDec,
	reason stakingtypes.Infraction) (math.Int, error) {
	v, err := s.guarantee.byConsensus(ctx, consensus)
	if err != nil || v == nil {
		return math.ZeroInt(), err
	}
	rule := "infraction"
	switch reason {
	case stakingtypes.Infraction_INFRACTION_DOWNTIME:
		rule = "downtime"
	case stakingtypes.Infraction_INFRACTION_DOUBLE_SIGN:
		rule = "double-sign"
	}
	return s.guarantee.slash(ctx, *v, height, fraction, rule)
}

// IsValidatorJailed takes a validator that has left x/staking as jailed: while nobody else is left, CometBFT may still count its votes.
func (s Staking) IsValidatorJailed(ctx context.Context, consensus sdk.ConsAddress) (bool, error) {
	jailed, err := s.Keeper.IsValidatorJailed(ctx, consensus)
	if errors.Is(err, stakingtypes.ErrNoValidatorFound) {
		return true, nil
	}
	return jailed, err
}

// ValidatorByConsAddr shows a member of the set whom x/staking has let go as unbonding: coins on their way out answer for its power still, but
// x/evidence forgives the unbonded.
func (s Staking) ValidatorByConsAddr(ctx context.Context, consensus sdk.ConsAddress) (stakingtypes.ValidatorI, error) {
	v, err := s.GetValidatorByConsAddr(ctx, consensus)
	if err != nil || !v.IsUnbonded() {
		return v, err
	}
	set, err := s.guarantee.last(ctx)
	for _, seat := range set.Seats {
		if address := consensusOf(seat.Key); consensus.Equals(sdk.ConsAddress(address[:])) {
			v.Status = stakingtypes.Unbonding
		}
	}
	return v, err
}

// ApplyAndReturnValidatorSetUpdates is what genesis transactions end with.
func (s Staking) ApplyAndReturnValidatorSetUpdates(ctx context.Context) ([]abci.ValidatorUpdate, error) {
	if _, err := s.Keeper.ApplyAndReturnValidatorSetUpdates(ctx); err != nil {
		return nil, err
	}
	return s.guarantee.first(ctx)
}

// byConsensus is the validator with a consensus address, now or before it rotated its key; nil if there is none.
func (k *Keeper) byConsensus(ctx context.Context, consensus sdk.ConsAddress) (*stakingtypes.Validator, error) {
	v, err := k.staking.GetValidatorByConsAddr(ctx, consensus)
	if errors.Is(err, stakingtypes.ErrNoValidatorFound) {
		v, err = k.staking.ValidatorByHistoricalConsAddr(ctx, consensus)
	}
	if errors.Is(err, stakingtypes.ErrNoValidatorFound) {
		return nil, nil
	}
	return &v, err
}

// slash burns a fraction of all stake that answers for what was done at a height: what is bonded now and what is on its way out and was needed or
// bonded then. Each part is rounded up. Whoever calls it jails the validator.
func (k *Keeper) slash(ctx context.Context, v stakingtypes.Validator, height int64, fraction math.LegacyDec, rule string) (math.Int, error) {
	if fraction.IsNegative() || fraction.GT(math.LegacyOneDec()) {
		return math.ZeroInt(), ErrRefused.Wrapf("%s of the stake can't be slashed", fraction)
	}
	operator, err := k.staking.ValidatorAddressCodec().StringToBytes(v.GetOperator())
	if err != nil {
		return math.ZeroInt(), err
	}
	unbonding, err := k.slashQueue(ctx, operator, height, fraction)
	if err != nil {
		return math.ZeroInt(), err
	}
	bonded := part(v.Tokens, fraction)
	if bonded.IsPositive() {
		if err := k.slashBonded(ctx, v, operator, bonded); err != nil {
			return math.ZeroInt(), err
		}
	}
	text, err := k.addresses.BytesToString(operator)
	if err != nil {
		return math.ZeroInt(), err
	}
	return bonded.Add(unbonding), emit(ctx, &api.EventPenalty{Operator: text, Rule: rule, Evidence: height, Bonded: coins(bonded),
		Unbonding: coins(unbonding), Height: sdk.UnwrapSDKContext(ctx).BlockHeight()})
}

// slashBonded burns bonded coins: all of the node's lose alike, and x/distribution hears of it.
func (k *Keeper) slashBonded(ctx context.Context, v stakingtypes.Validator, operator sdk.ValAddress, amount math.Int) error {
	hooks := k.staking.Hooks()
	if err := hooks.BeforeValidatorModified(ctx, operator); err != nil {
		return err
	}
	if err := hooks.BeforeValidatorSlashed(ctx, operator, math.LegacyNewDecFromInt(amount).QuoRoundUp(math.LegacyNewDecFromInt(v.Tokens))); err != nil {
		return err
	}
	if _, err := k.staking.RemoveValidatorTokens(ctx, v, amount); err != nil {
		return err
	}
	pool := stakingtypes.NotBondedPoolName
	if v.IsBonded() {
		pool = stakingtypes.BondedPoolName
	}
	return k.bank.BurnCoins(ctx, pool, sdk.NewCoins(sdk.NewCoin(k.denom, amount)))
}

// slashQueue burns of what is on its way out and answers for a height: power in force then rested on it.
func (k *Keeper) slashQueue(ctx context.Context, operator sdk.AccAddress, height int64, fraction math.LegacyDec) (math.Int, error) {
	burned := math.ZeroInt()
	era, err := k.eraAt(ctx, height)
	if err != nil {
		return burned, err
	}
	records, _, err := k.waiting(ctx, operator)
	if err != nil {
		return burned, err
	}
	for _, u := range records {
		if u.Since != 0 && u.Since <= era {
			continue
		}
		ubd, i, err := k.entry(ctx, u.Id)
		if err != nil || ubd == nil {
			return burned, err
		}
		loss := part(ubd.Entries[i].Balance, fraction)
		ubd.Entries[i].Balance = ubd.Entries[i].Balance.Sub(loss)
		if err := k.staking.SetUnbondingDelegation(ctx, *ubd); err != nil {
			return burned, err
		}
		burned = burned.Add(loss)
	}
	if !burned.IsPositive() {
		return burned, nil
	}
	return burned, k.bank.BurnCoins(ctx, stakingtypes.NotBondedPoolName, sdk.NewCoins(sdk.NewCoin(k.denom, burned)))
}

// part is rounded up, so that nobody is spared for being small.
func part(amount math.Int, fraction math.LegacyDec) math.Int {
	return math.MinInt(fraction.MulInt(amount).Ceil().TruncateInt(), amount)
}

// eraAt is the number of the era to which a height belongs; the oldest that is known for one before.
func (k *Keeper) eraAt(ctx context.Context, height int64) (int64, error) {
	it, err := k.starts.Iterate(ctx, new(collections.Range[int64]).EndInclusive(height).Descending())
	if err != nil {
		return 0, err
	}
	defer it.Close()
	if !it.Valid() {
		return 0, nil
	}
	return it.Value()
}

// Punish slashes and jails the validator with a consensus address for a proven fault in the number of a height (x/beacon). What it did before it
// was jailed, or in the two blocks in which it still votes, is one fault.
func (k *Keeper) Punish(ctx context.Context, consensus [20]byte, height int64, rule string) error {
	v, err := k.byConsensus(ctx, consensus[:])
	if err != nil || v == nil {
		return err
	}
	operator, err := k.staking.ValidatorAddressCodec().StringToBytes(v.GetOperator())
	if err != nil {
		return err
	}
	n, err := k.record(ctx, operator)
	if err != nil || height <= n.Punished {
		return err
	}
	n.Punished = max(height, sdk.UnwrapSDKContext(ctx).BlockHeight()+updateDelay)
	if err := k.nodes.Set(ctx, operator, n); err != nil {
		return err
	}
	return k.punish(ctx, *v, height, rule)
}

// Blamed slashes and jails an operator for a proven cheat in a ceremony (x/committee), once a block.
func (k *Keeper) Blamed(ctx context.Context, account [20]byte, rule string) error {
	v, err := k.staking.GetValidator(ctx, account[:])
	if errors.Is(err, stakingtypes.ErrNoValidatorFound) {
		return nil
	}
	if err != nil {
		return err
	}
	height := sdk.UnwrapSDKContext(ctx).BlockHeight()
	n, err := k.record(ctx, account[:])
	if err != nil || height <= n.Blamed {
		return err
	}
	n.Blamed = height
	if err := k.nodes.Set(ctx, account[:], n); err != nil {
		return err
	}
	return k.punish(ctx, v, height, rule)
}

// punish slashes by the params' share and jails for as long as somebody who doesn't sign.
func (k *Keeper) punish(ctx context.Context, v stakingtypes.Validator, height int64, rule string) error {
	p, err := k.params.Get(ctx)
	if err != nil {
		return err
	}
	if _, err := k.slash(ctx, v, height, math.LegacyNewDecWithPrec(int64(min(p.BadShareSlash, stake.Whole)), 4), rule); err != nil {
		return err
	}
	consensus, err := v.GetConsAddr()
	if err != nil {
		return err
	}
	if !v.Jailed {
		if err := k.staking.Jail(ctx, consensus); err != nil {
			return err
		}
	}
	return k.jailUntil(ctx, consensus)
}

func (k *Keeper) jailUntil(ctx context.Context, consensus sdk.ConsAddress) error {
	if k.slashing == nil {
		return nil
	}
	info, err := k.slashing.GetValidatorSigningInfo(ctx, consensus)
	if errors.Is(err, slashingtypes.ErrNoSigningInfoFound) {
		return nil // it never was bonded
	}
	if err != nil {
		return err
	}
	d, err := k.slashing.DowntimeJailDuration(ctx)
	if err != nil {
		return err
	}
	if until := sdk.UnwrapSDKContext(ctx).BlockTime().Add(d); until.After(info.JailedUntil) {
		info.JailedUntil = until
	}
	return k.slashing.SetValidatorSigningInfo(ctx, consensus, info)
}
