package guarantee

import (
	"context"
	"encoding/json"

	abci "github.com/cometbft/cometbft/abci/types"

	"cosmossdk.io/math"

	"github.com/cosmos/cosmos-sdk/codec"
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
	return s.MsgServer.CancelUnbondingDelegation(ctx, msg)
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
	record, err := k.record(ctx, account)
	if err != nil {
		return err
	}
	o, err := k.operator(ctx, account, record)
	if err != nil {
		return err
	}
	r, err := k.rules(ctx)
	if err != nil {
		return err
	}
	if _, err := r.Bond(o.now, sum(amount), delegator == "" || delegator == o.now.Address); err != nil {
		return refused(err)
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
