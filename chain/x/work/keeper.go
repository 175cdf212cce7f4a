package work

import (
	"context"
	"errors"

	"cosmossdk.io/collections"
	"cosmossdk.io/core/address"
	"cosmossdk.io/core/store"
	errorsmod "cosmossdk.io/errors"

	"github.com/cosmos/cosmos-sdk/codec"
	sdk "github.com/cosmos/cosmos-sdk/types"

	api "github.com/cella-network/cella/api/work"
	"github.com/cella-network/cella/protocol/attestation"
	"github.com/cella-network/cella/protocol/storageproof"
)

const (
	// ModuleName names the module.
	ModuleName = "work"
	// StoreKey is the name of the module's store, known to enclaves.
	StoreKey = storageproof.StoreName

	maxReport = 32 << 10 // bytes; a full report has about 23 KiB

	gasReport   = 40_000 // signature and hashing
	gasPerByte  = 10
	gasPerOrder = 3_000 // an order that a report names is looked up by the market
)

// ErrRefused is what a message that breaks a rule fails with; the text names the rule.
var ErrRefused = errorsmod.Register(ModuleName, 2, "refused work")

// Registry knows the registered enclaves and recent blocks.
type Registry interface {
	Active(ctx context.Context, account attestation.Account) (attestation.Node, bool, error)
	Cap(ctx context.Context, tier attestation.Tier) (uint64, error)
	BlockHash(ctx context.Context, height int64) ([32]byte, bool, error)
}

// Seeds knows how far the chain's seeds have come.
type Seeds interface {
	Tip(ctx context.Context) (int64, error)
}

// Market hears of each accepted report, after its standing was stored.
type Market interface {
	Reported(ctx context.Context, operator sdk.AccAddress, report storageproof.Report, standing storageproof.Standing) error
}

// Keeper stores standings and holds reports against them.
type Keeper struct {
	addresses address.Codec
	registry  Registry
	seeds     Seeds
	market    Market
	authority string

	params collections.Item[api.Params]
	// standings are kept under storageproof.StandingKey in their canonical encoding, so that enclaves can check them.
	standings collections.Map[sdk.AccAddress, []byte]
	tips      collections.Map[int64, int64] // of recent blocks: the last height whose seed was out in it
}

// NewKeeper opens the module's store. Only authority may change the params. The market, which itself asks this keeper, is
// joined by SetMarket.
func NewKeeper(cdc codec.BinaryCodec, service store.KVStoreService, addresses address.Codec, registry Registry, seeds Seeds, authority string) *Keeper {
	sb := collections.NewSchemaBuilder(service)
	k := &Keeper{
		addresses: addresses, registry: registry, seeds: seeds, authority: authority,
		standings: collections.NewMap(sb, collections.NewPrefix(storageproof.StandingKey([20]byte{})[:1]), "standings", sdk.AccAddressKey, collections.BytesValue),
		params:    collections.NewItem(sb, collections.NewPrefix(2), "params", codec.CollValue[api.Params](cdc)),
		tips:      collections.NewMap(sb, collections.NewPrefix(3), "tips", collections.Int64Key, collections.Int64Value),
	}
	if _, err := sb.Build(); err != nil {
		panic(err) // two collections with one prefix: a programming error found at the first start
	}
	return k
}

// SetMarket joins the market; it must be called once, before the first block.
func (k *Keeper) SetMarket(m Market) { k.market = m }

// Standing is the record of an operator's reports; it is empty for one that never reported.
func (k *Keeper) Standing(ctx context.Context, operator sdk.AccAddress) (storageproof.Standing, error) {
	st, err := k.standing(ctx, operator)
	if err != nil || st == nil {
		return storageproof.Standing{}, err
	}
	return *st, nil
}

// standing loads an account's standing; nil if it never reported.
func (k *Keeper) standing(ctx context.Context, operator sdk.AccAddress) (*storageproof.Standing, error) {
	b, err := k.standings.Get(ctx, operator)
	if errors.Is(err, collections.ErrNotFound) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	st, err := storageproof.UnmarshalStanding(b)
	return &st, err
}

// accept holds a signed report against the rules, stores the new standing and tells the market.
func (k *Keeper) accept(ctx context.Context, encoded, sig []byte) error {
	c := sdk.UnwrapSDKContext(ctx)
	r, err := storageproof.UnmarshalReport(encoded)
	if err != nil {
		return refused(err)
	}
	c.GasMeter().ConsumeGas(gasPerOrder*uint64(len(r.Added)+len(r.Dropped)), "orders of a report")
	operator := sdk.AccAddress(r.Account[:])
	node, active, err := k.registry.Active(ctx, r.Account)
	if err != nil {
		return err
	}
	if !active {
		return ErrRefused.Wrapf("%s has no registered enclave", operator)
	}
	limit, err := k.registry.Cap(ctx, node.Tier)
	if err != nil {
		return err
	}
	p, err := k.params.Get(ctx)
	if err != nil {
		return err
	}
	before, err := k.standing(ctx, operator)
	if err != nil {
		return err
	}
	now := c.BlockHeight()
	if c.ExecMode() == sdk.ExecModeSimulate {
		now++ // a simulation stands on the last block and speaks of the next
	}
	var failed error
	rules := storageproof.Rules{ChainID: c.ChainID(), Account: r.Account, SignKey: node.SignKey,
		SlotBlocks: p.SlotBlocks, Now: now, MaxAge: p.MaxAgeBlocks, LateBlocks: p.LateBlocks, Cap: limit,
		Tip: func(block int64) int64 {
			tip, err := k.tip(ctx, block)
			failed = errors.Join(failed, err)
			return tip
		},
		BlockHash: func(height int64) ([32]byte, bool) {
			hash, ok, err := k.registry.BlockHash(ctx, height)
			failed = errors.Join(failed, err)
			return hash, ok && err == nil
		}}
	r, next, err := storageproof.Accept(rules, before, encoded, sig)
	if failed != nil {
		return failed
	}
	if err != nil {
		return refused(err)
	}
	if err := k.standings.Set(ctx, operator, next.Marshal()); err != nil {
		return err
	}
	text, err := k.addresses.BytesToString(operator)
	if err != nil {
		return err
	}
	late := next.Late
	if before != nil {
		late -= before.Late
	}
	if err := c.EventManager().EmitTypedEvent(&api.EventReport{Operator: text, Counter: r.Counter, Height: r.Height,
		Answered: r.Answered, Failed: r.Failed, Free: r.Free, Stored: r.Stored, Late: late, Lost: r.Reset}); err != nil {
		return err
	}
	return k.market.Reported(ctx, operator, r, next)
}

func refused(err error) error { return ErrRefused.Wrap(err.Error()) }
