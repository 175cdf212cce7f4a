package guarantee

import (
	"context"
	"errors"
	"time"

	"cosmossdk.io/collections"
	"cosmossdk.io/core/address"
	"cosmossdk.io/core/store"
	errorsmod "cosmossdk.io/errors"

	"github.com/cosmos/cosmos-sdk/codec"
	sdk "github.com/cosmos/cosmos-sdk/types"
	slashingtypes "github.com/cosmos/cosmos-sdk/x/slashing/types"
	stakingkeeper "github.com/cosmos/cosmos-sdk/x/staking/keeper"
	stakingtypes "github.com/cosmos/cosmos-sdk/x/staking/types"

	api "github.com/cella-network/cella/api/guarantee"
	"github.com/cella-network/cella/protocol/beacon"
	"github.com/cella-network/cella/protocol/stake"
	"github.com/cella-network/cella/protocol/threshold"
)

const (
	// ModuleName names the module and its account, which makes each era's pool and holds what is carried.
	ModuleName = "guarantee"
	// StoreKey is the name of the module's store.
	StoreKey = ModuleName
	// Purpose is the committee's whose keys the validators hold.
	Purpose = beacon.Purpose

	updateDelay = 2     // a set that EndBlock of h returns makes block h+2
	keepSets    = 1_000 // heights for which old sets are kept at the least
	lateSeeds   = 10    // how far seeds may lag behind for a block to count in its era
	patience    = 2     // eras after which a handover that neither came nor failed gives way to a newer one

	gasPerUnbonding = 30_000 // coins on their way out are looked at at the end of each era
)

// ErrRefused is what a message that breaks a rule fails with; the text names the rule.
var ErrRefused = errorsmod.Register(ModuleName, 2, "refused")

// Bank makes, moves and burns coins.
type Bank interface {
	MintCoins(ctx context.Context, module string, amount sdk.Coins) error
	BurnCoins(ctx context.Context, module string, amount sdk.Coins) error
	SendCoinsFromModuleToModule(ctx context.Context, from, to string, amount sdk.Coins) error
	GetAllBalances(ctx context.Context, addr sdk.AccAddress) sdk.Coins
	GetBalance(ctx context.Context, addr sdk.AccAddress, denom string) sdk.Coin
}

// Distribution keeps what operators and guarantors have earned until they withdraw it.
type Distribution interface {
	AllocateTokensToValidator(ctx context.Context, validator stakingtypes.ValidatorI, tokens sdk.DecCoins) error
}

// Committee owns the ceremonies (x/committee).
type Committee interface {
	// Begin starts to share the keys of the group in charge anew among exactly these members.
	Begin(ctx context.Context, purpose string, members []threshold.Stakeholder) error
	// Charges gives the group in charge; nil if the chain has none yet.
	Charges(ctx context.Context, purpose string) (now, before *threshold.InCharge, err error)
}

// Seeds knows how far the heights' seeds have come (x/beacon).
type Seeds interface {
	Tip(ctx context.Context) (int64, error)
}

// Slashing keeps the records of who signs (x/slashing).
type Slashing interface {
	GetValidatorSigningInfo(ctx context.Context, consensus sdk.ConsAddress) (slashingtypes.ValidatorSigningInfo, error)
	SetValidatorSigningInfo(ctx context.Context, consensus sdk.ConsAddress, info slashingtypes.ValidatorSigningInfo) error
	DowntimeJailDuration(ctx context.Context) (time.Duration, error)
}

// Keeper stores what protocol/stake decides, and makes the stock modules follow it.
type Keeper struct {
	addresses address.Codec
	staking   *stakingkeeper.Keeper
	bank      Bank
	distr     Distribution
	committee Committee
	seeds     Seeds
	slashing  Slashing
	authority string
	denom     string

	params collections.Item[api.Params]
	era    collections.Item[api.Era]
	nodes  collections.Map[sdk.AccAddress, api.Node]
	// sets are kept by the height from which they make blocks; the last one is what CometBFT was told.
	sets     collections.Map[int64, api.Set]
	handover collections.Item[api.Handover]
	holders  collections.Item[api.Set] // those in whose hands the keys are, by account
	queue    collections.Map[collections.Pair[sdk.AccAddress, uint64], api.Unbonding]
	starts   collections.Map[int64, int64] // first height of an era -> its number
}

// NewKeeper opens the module's store. Only authority may change the params; denom is the coin of all stakes.
func NewKeeper(cdc codec.BinaryCodec, service store.KVStoreService, addresses address.Codec, staking *stakingkeeper.Keeper, bank Bank, distr Distribution,
	authority, denom string) *Keeper {
	sb := collections.NewSchemaBuilder(service)
	account := sdk.AccAddressKey
	k := &Keeper{
		addresses: addresses, staking: staking, bank: bank, distr: distr, authority: authority, denom: denom,

		params:   collections.NewItem(sb, collections.NewPrefix(0), "params", codec.CollValue[api.Params](cdc)),
		era:      collections.NewItem(sb, collections.NewPrefix(1), "era", codec.CollValue[api.Era](cdc)),
		nodes:    collections.NewMap(sb, collections.NewPrefix(2), "nodes", account, codec.CollValue[api.Node](cdc)),
		sets:     collections.NewMap(sb, collections.NewPrefix(3), "sets", collections.Int64Key, codec.CollValue[api.Set](cdc)),
		handover: collections.NewItem(sb, collections.NewPrefix(4), "handover", codec.CollValue[api.Handover](cdc)),
		queue: collections.NewMap(sb, collections.NewPrefix(5), "queue",
			collections.PairKeyCodec(account, collections.Uint64Key), codec.CollValue[api.Unbonding](cdc)),
		holders: collections.NewItem(sb, collections.NewPrefix(7), "holders", codec.CollValue[api.Set](cdc)),
		starts:  collections.NewMap(sb, collections.NewPrefix(6), "starts", collections.Int64Key, collections.Int64Value),
	}
	if _, err := sb.Build(); err != nil {
		panic(err) // two collections with one prefix: a programming error found at the first start
	}
	return k
}

// Join adds the modules that themselves need this one; it must be called once, before the first block. Without a committee nothing can be
// reshared and power moves by the rules alone; without seeds every block counts.
func (k *Keeper) Join(c Committee, s Seeds, sl Slashing) { k.committee, k.seeds, k.slashing = c, s, sl }

// rules are the params as protocol/stake takes them.
func rules(p api.Params) stake.Rules {
	return stake.Rules{Rate: p.Rate, GraceEras: p.GraceEras, DecayEras: p.DecayEras, RegainEras: p.RegainEras, Seats: int(p.Seats), MinOwn: p.MinOwn,
		PowerUnit: p.PowerUnit, AuthorShare: p.AuthorShare, UnbondEras: p.UnbondEras}
}

func (k *Keeper) rules(ctx context.Context) (stake.Rules, error) {
	p, err := k.params.Get(ctx)
	return rules(p), err
}

// record loads what is kept of an operator; an empty one if it is new.
func (k *Keeper) record(ctx context.Context, operator sdk.AccAddress) (api.Node, error) {
	n, err := k.nodes.Get(ctx, operator)
	if errors.Is(err, collections.ErrNotFound) {
		return api.Node{}, nil
	}
	return n, err
}

// inCharge tells whether there is a group whose keys the validators hold.
func (k *Keeper) inCharge(ctx context.Context) (bool, error) {
	if k.committee == nil {
		return false, nil
	}
	now, _, err := k.committee.Charges(ctx, Purpose)
	return now != nil, err
}

func refused(err error) error { return ErrRefused.Wrap(err.Error()) }

func emit(ctx context.Context, event interface {
	Reset()
	String() string
	ProtoMessage()
}) error {
	return sdk.UnwrapSDKContext(ctx).EventManager().EmitTypedEvent(event)
}
