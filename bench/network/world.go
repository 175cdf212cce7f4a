package main

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"strings"

	cmtproto "github.com/cometbft/cometbft/proto/tendermint/types"
	dbm "github.com/cosmos/cosmos-db"
	"github.com/cosmos/gogoproto/proto"

	abci "github.com/cometbft/cometbft/abci/types"

	"cosmossdk.io/log/v2"
	sdkmath "cosmossdk.io/math"

	"github.com/cosmos/cosmos-sdk/baseapp"
	"github.com/cosmos/cosmos-sdk/codec"
	"github.com/cosmos/cosmos-sdk/codec/address"
	codectypes "github.com/cosmos/cosmos-sdk/codec/types"
	"github.com/cosmos/cosmos-sdk/runtime"
	"github.com/cosmos/cosmos-sdk/store/v2/rootmulti"
	storetypes "github.com/cosmos/cosmos-sdk/store/v2/types"
	sdk "github.com/cosmos/cosmos-sdk/types"
	"github.com/cosmos/cosmos-sdk/types/module"
	authkeeper "github.com/cosmos/cosmos-sdk/x/auth/keeper"
	authtypes "github.com/cosmos/cosmos-sdk/x/auth/types"
	bankkeeper "github.com/cosmos/cosmos-sdk/x/bank/keeper"
	banktypes "github.com/cosmos/cosmos-sdk/x/bank/types"
	"github.com/cosmos/cosmos-sdk/x/tx/signing"

	marketapi "github.com/cella-network/cella/api/market"
	workapi "github.com/cella-network/cella/api/work"
	"github.com/cella-network/cella/chain/app"
	"github.com/cella-network/cella/chain/x/market"
	"github.com/cella-network/cella/chain/x/work"
	"github.com/cella-network/cella/protocol/attestation"
)

const (
	chainID   = "bench-1"
	faucet    = "faucet"
	authority = "gov"
	nodeCap   = 64 << 40 // bytes
)

// world is the chain's own report, market, bank and account code over a store in memory. Registrations are given; fees and
// transaction signatures are left out.
type world struct {
	ctx    sdk.Context
	keys   map[string]*storetypes.KVStoreKey
	bank   bankkeeper.Keeper
	market *market.Keeper
	router *baseapp.MsgServiceRouter
	nodes  map[attestation.Account]attestation.Node
	minted sdkmath.Int
}

func newWorld(p marketapi.Params, w workapi.Params) (*world, error) {
	config := sdk.GetConfig()
	addresses := address.NewBech32Codec(config.GetBech32AccountAddrPrefix())
	registry, err := codectypes.NewInterfaceRegistryWithOptions(codectypes.InterfaceRegistryOptions{ProtoFiles: proto.HybridResolver,
		SigningOptions: signing.Options{AddressCodec: addresses, ValidatorAddressCodec: address.NewBech32Codec(config.GetBech32ValidatorAddrPrefix())}})
	if err != nil {
		return nil, err
	}
	authtypes.RegisterInterfaces(registry)
	banktypes.RegisterInterfaces(registry)
	cdc := codec.NewProtoCodec(registry)
	out := &world{keys: storetypes.NewKVStoreKeys(authtypes.StoreKey, banktypes.StoreKey, work.StoreKey, market.StoreKey),
		router: baseapp.NewMsgServiceRouter(), nodes: map[attestation.Account]attestation.Node{}, minted: sdkmath.ZeroInt()}
	store := rootmulti.NewStore(dbm.NewMemDB(), log.NewNopLogger())
	for _, k := range out.keys {
		store.MountStoreWithDB(k, storetypes.StoreTypeDB, dbm.NewMemDB())
	}
	if err := store.LoadLatestVersion(); err != nil {
		return nil, err
	}
	out.ctx = sdk.NewContext(store, cmtproto.Header{ChainID: chainID, Height: 1}, false, log.NewNopLogger()).WithChainID(chainID).WithBlockHeight(1)
	accounts := authkeeper.NewAccountKeeper(cdc, runtime.NewKVStoreService(out.keys[authtypes.StoreKey]), authtypes.ProtoBaseAccount,
		map[string][]string{market.ModuleName: nil, faucet: {authtypes.Minter}}, addresses, app.Prefix, authority)
	out.bank = bankkeeper.NewBaseKeeper(cdc, runtime.NewKVStoreService(out.keys[banktypes.StoreKey]), accounts, map[string]bool{},
		authtypes.NewModuleAddress(authority).String(), log.NewNopLogger())
	reports := work.NewKeeper(cdc, runtime.NewKVStoreService(out.keys[work.StoreKey]), addresses, out, out, authority)
	out.market = market.NewKeeper(cdc, runtime.NewKVStoreService(out.keys[market.StoreKey]), addresses, out.bank, out, reports, authority, app.Denom)
	reports.SetMarket(out.market)
	out.router.SetInterfaceRegistry(registry)
	services := module.NewConfigurator(cdc, out.router, baseapp.NewGRPCQueryRouter())
	for _, m := range []interface {
		RegisterInterfaces(codectypes.InterfaceRegistry)
		RegisterServices(module.Configurator)
	}{work.NewAppModule(reports), market.NewAppModule(out.market)} {
		m.RegisterInterfaces(registry)
		m.RegisterServices(services)
	}
	return out, errors.Join(reports.InitGenesis(out.ctx, &workapi.GenesisState{Params: w}), out.market.InitGenesis(out.ctx, &marketapi.GenesisState{Params: p}))
}

// Active, Cap, BlockHash and IsActive are what x/attest tells: every node is registered.
func (w *world) Active(_ context.Context, a attestation.Account) (attestation.Node, bool, error) {
	n, ok := w.nodes[a]
	return n, ok, nil
}

func (w *world) Cap(context.Context, attestation.Tier) (uint64, error) { return nodeCap, nil }

func (w *world) BlockHash(_ context.Context, height int64) ([32]byte, bool, error) {
	return hashOf(height), true, nil
}

func (w *world) IsActive(_ context.Context, operator sdk.AccAddress) (bool, error) {
	_, ok := w.nodes[attestation.Account(operator)]
	return ok, nil
}

// Tip is what x/beacon tells: no number is ever late.
func (w *world) Tip(context.Context) (int64, error) { return w.ctx.BlockHeight(), nil }

func hashOf(height int64) [32]byte {
	return sha256.Sum256(binary.BigEndian.AppendUint64([]byte("block"), uint64(height)))
}

func (w *world) fund(to sdk.AccAddress, amount int64) error {
	coins := sdk.NewCoins(sdk.NewInt64Coin(app.Denom, amount))
	w.minted = w.minted.AddRaw(amount)
	return errors.Join(w.bank.MintCoins(w.ctx, faucet, coins), w.bank.SendCoinsFromModuleToAccount(w.ctx, faucet, to, coins))
}

// do executes a message as a transaction does, all or nothing.
func (w *world) do(msg sdk.Msg) ([]event, error) {
	branch, write := w.ctx.CacheContext()
	r, err := w.router.Handler(msg)(branch, msg)
	if err != nil {
		return nil, err
	}
	write()
	return eventsOf(r.Events), nil
}

// next begins a block.
func (w *world) next() ([]event, error) {
	w.ctx = w.ctx.WithBlockHeight(w.ctx.BlockHeight() + 1)
	branch, write := w.ctx.WithEventManager(sdk.NewEventManager()).CacheContext()
	if err := w.market.BeginBlock(branch); err != nil {
		return nil, err
	}
	write()
	return eventsOf(branch.EventManager().ABCIEvents()), nil
}

// audit holds the books: all balances are positive and sum up to what was minted, and the market's is what its orders and replicas are
// owed.
func (w *world) audit() error {
	sum := sdkmath.ZeroInt()
	var failed error
	w.bank.IterateAllBalances(w.ctx, func(who sdk.AccAddress, c sdk.Coin) bool {
		if !c.Amount.IsPositive() {
			failed = fmt.Errorf("%s has %s", who, c)
		}
		sum = sum.Add(c.Amount)
		return failed != nil
	})
	if failed != nil {
		return failed
	}
	if supply := w.bank.GetSupply(w.ctx, app.Denom).Amount; !sum.Equal(w.minted) || !supply.Equal(w.minted) {
		return fmt.Errorf("coins are not conserved: %s were minted, accounts hold %s, the supply is %s", w.minted, sum, supply)
	}
	owed, err := w.market.Owed(w.ctx)
	if err != nil {
		return err
	}
	if has := w.bank.GetBalance(w.ctx, authtypes.NewModuleAddress(market.ModuleName), app.Denom); !has.Equal(owed) {
		return fmt.Errorf("the market holds %s and owes %s", has, owed)
	}
	return nil
}

// size is the bytes of all keys and values.
func (w *world) size() (n int) {
	for _, k := range w.keys {
		it := w.ctx.MultiStore().GetKVStore(k).Iterator(nil, nil)
		for ; it.Valid(); it.Next() {
			n += len(it.Key()) + len(it.Value())
		}
		it.Close()
	}
	return n
}

// event is one of the market's.
type event struct {
	name string
	attr map[string]string
}

func eventsOf(all []abci.Event) (out []event) {
	for _, e := range all {
		name, ours := strings.CutPrefix(e.Type, "cella.market.v1.Event")
		if !ours || name == "Paid" {
			continue
		}
		v := event{name: name, attr: make(map[string]string, len(e.Attributes))}
		for _, a := range e.Attributes {
			v.attr[a.Key] = strings.Trim(a.Value, `"`)
		}
		out = append(out, v)
	}
	return out
}
