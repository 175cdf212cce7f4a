package guarantee

import (
	"bytes"
	"context"
	"encoding/json"
	"slices"

	abci "github.com/cometbft/cometbft/abci/types"

	"cosmossdk.io/math"

	"github.com/cosmos/cosmos-sdk/codec"
	cdctypes "github.com/cosmos/cosmos-sdk/codec/types"
	"github.com/cosmos/cosmos-sdk/crypto/keys/ed25519"
	sdk "github.com/cosmos/cosmos-sdk/types"
	"github.com/cosmos/cosmos-sdk/types/module"
	distr "github.com/cosmos/cosmos-sdk/x/distribution"
	distrkeeper "github.com/cosmos/cosmos-sdk/x/distribution/keeper"
	"github.com/cosmos/cosmos-sdk/x/staking"
	stakingkeeper "github.com/cosmos/cosmos-sdk/x/staking/keeper"
	stakingtypes "github.com/cosmos/cosmos-sdk/x/staking/types"

	"github.com/cella-network/cella/protocol/stake"
)

// StakingModule is x/staking with our validators instead of its own. It keeps the books of coins and of who is bonded, which here means: may be
// elected, may be slashed.
type StakingModule struct {
	staking.AppModule
	keeper *Keeper
}

// NewStakingModule wraps x/staking's module.
func NewStakingModule(m staking.AppModule, k *Keeper) StakingModule { return StakingModule{m, k} }

var (
	_ module.HasABCIGenesis  = StakingModule{}
	_ module.HasABCIEndBlock = StakingModule{}
	_ module.HasServices     = StakingModule{}
)

// RegisterServices serves x/staking's messages, held against the limits, and its queries. No state of an older version is ever migrated.
func (m StakingModule) RegisterServices(cfg module.Configurator) {
	stakingtypes.RegisterMsgServer(cfg.MsgServer(), stakingServer{stakingkeeper.NewMsgServerImpl(m.keeper.staking), m.keeper})
	stakingtypes.RegisterQueryServer(cfg.QueryServer(), stakingkeeper.Querier{Keeper: m.keeper.staking})
}

// InitGenesis stores x/staking's state and begins with our validators. Our own state must be there already.
func (m StakingModule) InitGenesis(ctx sdk.Context, cdc codec.JSONCodec, raw json.RawMessage) []abci.ValidatorUpdate {
	_ = m.AppModule.InitGenesis(ctx, cdc, raw)
	if err := m.keeper.index(ctx); err != nil {
		panic(err)
	}
	updates, err := m.keeper.first(ctx)
	if err != nil {
		panic(err)
	}
	return updates
}

// BeginBlock of the first block begins the first era.
func (m StakingModule) BeginBlock(ctx context.Context) error {
	if err := m.keeper.begin(ctx); err != nil {
		return err
	}
	return m.AppModule.BeginBlock(ctx)
}

// EndBlock keeps x/staking's books and returns our validators.
func (m StakingModule) EndBlock(ctx context.Context) ([]abci.ValidatorUpdate, error) {
	if _, err := m.AppModule.EndBlock(ctx); err != nil {
		return nil, err
	}
	return m.keeper.EndBlock(ctx)
}

// DistributionModule is x/distribution without its sharing of fees: they are their author's.
type DistributionModule struct {
	distr.AppModule
	keeper distrkeeper.Keeper
}

// NewDistributionModule wraps x/distribution's module.
func NewDistributionModule(m distr.AppModule, k distrkeeper.Keeper) DistributionModule {
	return DistributionModule{m, k}
}

// BeginBlock remembers the proposer, which the module's genesis wants to know.
func (m DistributionModule) BeginBlock(ctx context.Context) error {
	return m.keeper.SetPreviousProposerConsAddr(ctx, sdk.UnwrapSDKContext(ctx).BlockHeader().ProposerAddress)
}

// stakingServer holds x/staking's messages against the limits. All that bonds coins comes through here, genesis too.
type stakingServer struct {
	stakingtypes.MsgServer
	keeper *Keeper
}

func (s stakingServer) CreateValidator(ctx context.Context, msg *stakingtypes.MsgCreateValidator) (*stakingtypes.MsgCreateValidatorResponse, error) {
	if err := s.keeper.mayVote(ctx, msg.ValidatorAddress, msg.Pubkey); err != nil {
		return nil, err
	}
	if err := s.keeper.bond(ctx, msg.ValidatorAddress, "", msg.Value.Amount); err != nil {
		return nil, err
	}
	return s.MsgServer.CreateValidator(ctx, msg)
}

func (s stakingServer) Delegate(ctx context.Context, msg *stakingtypes.MsgDelegate) (*stakingtypes.MsgDelegateResponse, error) {
	if err := s.keeper.bond(ctx, msg.ValidatorAddress, msg.DelegatorAddress, msg.Amount.Amount); err != nil {
		return nil, err
	}
	return s.MsgServer.Delegate(ctx, msg)
}

func (s stakingServer) CancelUnbondingDelegation(ctx context.Context, msg *stakingtypes.MsgCancelUnbondingDelegation) (
	*stakingtypes.MsgCancelUnbondingDelegationResponse, error) {
	if err := s.keeper.bond(ctx, msg.ValidatorAddress, msg.DelegatorAddress, msg.Amount.Amount); err != nil {
		return nil, err
	}
	if err := s.keeper.noDust(ctx, msg); err != nil {
		return nil, err
	}
	return s.MsgServer.CancelUnbondingDelegation(ctx, msg)
}

func (s stakingServer) Undelegate(ctx context.Context, msg *stakingtypes.MsgUndelegate) (*stakingtypes.MsgUndelegateResponse, error) {
	if err := s.keeper.unbond(ctx, msg); err != nil {
		return nil, err
	}
	return s.MsgServer.Undelegate(ctx, msg)
}

func (s stakingServer) RotateConsPubKey(ctx context.Context, msg *stakingtypes.MsgRotateConsPubKey) (*stakingtypes.MsgRotateConsPubKeyResponse, error) {
	if err := s.keeper.mayVote(ctx, msg.ValidatorAddress, msg.NewPubkey); err != nil {
		return nil, err
	}
	return s.MsgServer.RotateConsPubKey(ctx, msg)
}

func (s stakingServer) UpdateParams(ctx context.Context, msg *stakingtypes.MsgUpdateParams) (*stakingtypes.MsgUpdateParamsResponse, error) {
	if msg.Params.BondDenom != s.keeper.denom {
		return nil, ErrRefused.Wrapf("stake is in %s: all that is bonded already is", s.keeper.denom)
	}
	return s.MsgServer.UpdateParams(ctx, msg)
}

func (stakingServer) BeginRedelegate(context.Context, *stakingtypes.MsgBeginRedelegate) (*stakingtypes.MsgBeginRedelegateResponse, error) {
	return nil, ErrRefused.Wrap("a guarantor can't move to another node without unbonding")
}

// bond refuses coins above what storage lets count; genesis is excepted. An amount that is no sum of coins is left to x/staking to refuse.
func (k *Keeper) bond(ctx context.Context, validator, delegator string, amount math.Int) error {
	account, err := k.staking.ValidatorAddressCodec().StringToBytes(validator)
	if err != nil {
		return refused(err)
	}
	if len(account) != accountLength {
		return ErrRefused.Wrapf("an operator's address has %d bytes, not %d", accountLength, len(account))
	}
	e, err := k.era.Get(ctx)
	if err != nil {
		return err
	}
	if e.Start == 0 || amount.IsNil() || !amount.IsPositive() {
		return nil
	}
	r, err := k.rules(ctx)
	if err != nil {
		return err
	}
	record, err := k.record(ctx, account)
	if err != nil {
		return err
	}
	o, err := k.operator(ctx, account, record)
	if err != nil {
		return err
	}
	own := delegator == "" || delegator == o.now.Address
	if amount.LT(intOf(r.PowerUnit)) && (!own || !amount.Equal(intOf(r.Lacks(o.now)))) { // with what it lacks, all that can leave is no dust
		return dust(r)
	}
	if _, err := r.Bond(o.now, sum(amount), own); err != nil {
		return refused(err)
	}
	return nil
}

// unbond refuses to take out less than a unit of power, unless it is all: each part that is on its way out is looked at as long as it is.
func (k *Keeper) unbond(ctx context.Context, msg *stakingtypes.MsgUndelegate) error {
	r, err := k.rules(ctx)
	if err != nil || msg.Amount.Amount.IsNil() || !msg.Amount.Amount.LT(intOf(r.PowerUnit)) {
		return err
	}
	operator, err := k.staking.ValidatorAddressCodec().StringToBytes(msg.ValidatorAddress)
	if err != nil {
		return refused(err)
	}
	owner, err := k.addresses.StringToBytes(msg.DelegatorAddress)
	if err != nil {
		return refused(err)
	}
	v, err := k.staking.GetValidator(ctx, operator)
	if err != nil {
		return err
	}
	d, err := k.staking.GetDelegation(ctx, owner, operator)
	if err != nil {
		return err
	}
	if v.TokensFromShares(d.Shares).TruncateInt().GT(msg.Amount.Amount) {
		return dust(r)
	}
	return nil
}

// noDust refuses to take back so much that less than a unit of power stays on its way out.
func (k *Keeper) noDust(ctx context.Context, msg *stakingtypes.MsgCancelUnbondingDelegation) error {
	r, err := k.rules(ctx)
	if err != nil || msg.Amount.Amount.IsNil() {
		return err
	}
	operator, err := k.staking.ValidatorAddressCodec().StringToBytes(msg.ValidatorAddress)
	if err != nil {
		return refused(err)
	}
	owner, err := k.addresses.StringToBytes(msg.DelegatorAddress)
	if err != nil {
		return refused(err)
	}
	ubd, err := k.staking.GetUnbondingDelegation(ctx, owner, operator)
	if err != nil {
		return err
	}
	i := slices.IndexFunc(ubd.Entries, func(e stakingtypes.UnbondingDelegationEntry) bool { return e.CreationHeight == msg.CreationHeight })
	if i < 0 {
		return nil // x/staking refuses it
	}
	if rest := ubd.Entries[i].Balance.Sub(msg.Amount.Amount); rest.IsPositive() && rest.LT(intOf(r.PowerUnit)) {
		return dust(r)
	}
	return nil
}

func dust(r stake.Rules) error {
	return ErrRefused.Wrapf("less than %d ucella, a unit of power, neither come nor go, nor stay on their way out", r.PowerUnit)
}

// mayVote refuses a consensus key that CometBFT or committees could not take: one of another kind, or one that another member of the set has, who
// may have left x/staking and still make blocks.
func (k *Keeper) mayVote(ctx context.Context, validator string, packed *cdctypes.Any) error {
	operator, err := k.staking.ValidatorAddressCodec().StringToBytes(validator)
	if err != nil {
		return refused(err)
	}
	text, err := k.addresses.BytesToString(operator)
	if err != nil {
		return err
	}
	if packed == nil {
		return ErrRefused.Wrap("a consensus key is missing")
	}
	key, ok := packed.GetCachedValue().(*ed25519.PubKey)
	if !ok || len(key.Key) != ed25519.PubKeySize {
		return ErrRefused.Wrap("a consensus key must be an ed25519 one")
	}
	set, err := k.last(ctx)
	if err != nil {
		return err
	}
	for _, s := range set.Seats {
		if s.Operator != text && bytes.Equal(s.Key, key.Key) {
			return ErrRefused.Wrapf("the consensus key is that of %s, who makes blocks", s.Operator)
		}
	}
	return nil
}

// sum is an amount for the rules, which refuse one above all coins that can exist.
func sum(i math.Int) uint64 {
	if !i.IsUint64() {
		return stake.MaxCoins + 1
	}
	return i.Uint64()
}

// Hooks are what this module does when x/staking's books change.
type Hooks struct{ keeper *Keeper }

// Hooks of the keeper; x/staking is given them beside those of the stock modules.
func (k *Keeper) Hooks() Hooks { return Hooks{k} }

var _ stakingtypes.StakingHooks = Hooks{}

// AfterUnbondingInitiated holds coins as long as power rests on them.
func (h Hooks) AfterUnbondingInitiated(ctx context.Context, id uint64) error {
	return h.keeper.hold(ctx, id)
}

// AfterValidatorCreated keeps a record of each operator.
func (h Hooks) AfterValidatorCreated(ctx context.Context, operator sdk.ValAddress) error {
	return h.keeper.ensure(ctx, sdk.AccAddress(operator))
}

func (Hooks) BeforeValidatorModified(context.Context, sdk.ValAddress) error { return nil }
func (Hooks) AfterValidatorRemoved(context.Context, sdk.ConsAddress, sdk.ValAddress) error {
	return nil
}
func (Hooks) AfterValidatorConsKeyUpdated(context.Context, sdk.ConsAddress, sdk.ConsAddress, sdk.ValAddress) error {
	return nil
}
func (Hooks) AfterValidatorBonded(context.Context, sdk.ConsAddress, sdk.ValAddress) error { return nil }
func (Hooks) AfterValidatorBeginUnbonding(context.Context, sdk.ConsAddress, sdk.ValAddress) error {
	return nil
}
func (Hooks) BeforeDelegationCreated(context.Context, sdk.AccAddress, sdk.ValAddress) error {
	return nil
}
func (Hooks) BeforeDelegationSharesModified(context.Context, sdk.AccAddress, sdk.ValAddress) error {
	return nil
}
func (Hooks) BeforeDelegationRemoved(context.Context, sdk.AccAddress, sdk.ValAddress) error {
	return nil
}
func (Hooks) AfterDelegationModified(context.Context, sdk.AccAddress, sdk.ValAddress) error {
	return nil
}
func (Hooks) BeforeValidatorSlashed(context.Context, sdk.ValAddress, math.LegacyDec) error {
	return nil
}
