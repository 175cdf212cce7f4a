package beacon

import (
	"context"
	"errors"

	"github.com/cosmos/gogoproto/proto"

	"cosmossdk.io/collections"
	"cosmossdk.io/core/store"
	errorsmod "cosmossdk.io/errors"

	"github.com/cosmos/cosmos-sdk/codec"
	sdk "github.com/cosmos/cosmos-sdk/types"

	api "github.com/cella-network/cella/api/beacon"

	"github.com/cella-network/cella/protocol/beacon"
	"github.com/cella-network/cella/protocol/lottery"
	"github.com/cella-network/cella/protocol/threshold"
)

const (
	// ModuleName names the module.
	ModuleName = "beacon"
	// StoreKey is the name of the module's store, known to enclaves.
	StoreKey = beacon.StoreName
	// Purpose is what the group of validators signs for.
	Purpose = beacon.Purpose

	provable = 1000 // blocks for which a bad share can be proven

	plain, chained = 32, 64 // bytes of a seed without and with the tip's hash
)

// ErrRefused is what a message that breaks a rule fails with; the text names the rule.
var ErrRefused = errorsmod.Register(ModuleName, 2, "refused by beacon")

// Committee knows which group signs, and hears that it did.
type Committee interface {
	// Charges are the group in charge, which may be so from a coming height on, and the one before if it still matters; nil if there is none.
	Charges(ctx context.Context, purpose string) (now, before *threshold.InCharge, err error)
	// Signed is told of each height whose signature was verified.
	Signed(ctx context.Context, purpose string, height int64) error
}

// Validators knows who votes at a height, at most one above that of the block which is being executed.
type Validators interface {
	Voters(ctx context.Context, height int64) ([]beacon.Voter, error)
}

// Punisher punishes a validator for what it did at a height.
type Punisher interface {
	Punish(ctx context.Context, consensus [20]byte, height int64, rule string) error
}

// Signer is this node's enclave: partial signatures on heights of one epoch, nil for those that it does not sign.
type Signer interface {
	Partial(ctx context.Context, epoch uint64, heights []int64) (partials [][]byte, err error)
}

// Keeper brings numbers into blocks, chains seeds, and draws proposers.
type Keeper struct {
	committee  Committee
	validators Validators
	punisher   Punisher
	authority  string

	// tip lies under beacon.TipKey in its canonical encoding: enclaves check it.
	tip     collections.Item[[]byte]
	params  collections.Item[api.Params]
	state   collections.Item[api.State]
	seeds   collections.Map[int64, []byte]     // seed, and once the tip is there its hash
	missing collections.Map[int64, uint64]     // epoch of what is to be signed
	numbers collections.Map[int64, api.Number] // without the number itself
	keys    collections.Map[int64, []byte]     // the group's key, by the first height that it signed for
	lottery collections.Item[api.Lottery]
	turns   collections.Map[int64, api.Drawn]
	voters  collections.Map[int64, api.Voters] // by the first height at which they vote
	proven  collections.KeySet[collections.Pair[int64, []byte]]

	node node // what this node alone knows; nothing of it enters the state
}

// NewKeeper opens the module's store. Only authority may change the params.
func NewKeeper(cdc codec.BinaryCodec, service store.KVStoreService, committee Committee, authority string) *Keeper {
	sb := collections.NewSchemaBuilder(service)
	height := collections.Int64Key
	k := &Keeper{
		committee: committee, authority: authority,

		tip:     collections.NewItem(sb, collections.NewPrefix(beacon.TipKey()), "tip", collections.BytesValue),
		params:  collections.NewItem(sb, collections.NewPrefix(2), "params", codec.CollValue[api.Params](cdc)),
		state:   collections.NewItem(sb, collections.NewPrefix(3), "state", codec.CollValue[api.State](cdc)),
		seeds:   collections.NewMap(sb, collections.NewPrefix(4), "seeds", height, collections.BytesValue),
		missing: collections.NewMap(sb, collections.NewPrefix(5), "missing", height, collections.Uint64Value),
		numbers: collections.NewMap(sb, collections.NewPrefix(6), "numbers", height, codec.CollValue[api.Number](cdc)),
		keys:    collections.NewMap(sb, collections.NewPrefix(7), "keys", height, collections.BytesValue),
		lottery: collections.NewItem(sb, collections.NewPrefix(8), "lottery", codec.CollValue[api.Lottery](cdc)),
		turns:   collections.NewMap(sb, collections.NewPrefix(9), "turns", height, codec.CollValue[api.Drawn](cdc)),
		voters:  collections.NewMap(sb, collections.NewPrefix(10), "voters", height, codec.CollValue[api.Voters](cdc)),
		proven:  collections.NewKeySet(sb, collections.NewPrefix(11), "proven", collections.PairKeyCodec(height, collections.BytesKey)),
	}
	if _, err := sb.Build(); err != nil {
		panic(err) // two collections with one prefix: a programming error found at the first start
	}
	return k
}

// Join ties the knot with the modules that know the validators, once, before the first block.
func (k *Keeper) Join(v Validators, p Punisher) { k.validators, k.punisher = v, p }

// Seed is the seed of a height; false if it is not known yet, or forgotten.
func (k *Keeper) Seed(ctx context.Context, height int64) (lottery.Seed, bool, error) {
	b, ok, err := maybe(k.seeds.Get(ctx, height))
	if err != nil || !ok || len(b) != chained {
		return lottery.Seed{}, false, err // above the tip: others have to come first
	}
	return lottery.Seed(b[:plain]), true, nil
}

// Tip is the height of the last seed that is known.
func (k *Keeper) Tip(ctx context.Context) (int64, error) {
	t, err := k.tipOf(ctx)
	return t.Height, err
}

func (k *Keeper) tipOf(ctx context.Context) (beacon.Tip, error) {
	b, ok, err := maybe(k.tip.Get(ctx))
	if err != nil || !ok {
		return beacon.Tip{}, err
	}
	return beacon.UnmarshalTip(b)
}

// Proposer is the consensus address that was drawn for a height, of the last ones or the next; false if nobody was.
func (k *Keeper) Proposer(ctx context.Context, height int64) (address [20]byte, ok bool, err error) {
	t, _, err := maybe(k.turns.Get(ctx, height))
	if err != nil || len(t.Proposer) != len(address) {
		return address, false, err
	}
	return [20]byte(t.Proposer), true, nil
}

// maybe tells what is not there from what can't be read.
func maybe[T any](v T, err error) (T, bool, error) {
	if errors.Is(err, collections.ErrNotFound) {
		return v, false, nil
	}
	return v, err == nil, err
}

func emit(ctx context.Context, event proto.Message) error {
	return sdk.UnwrapSDKContext(ctx).EventManager().EmitTypedEvent(event)
}

func refused(err error) error { return ErrRefused.Wrap(err.Error()) }
