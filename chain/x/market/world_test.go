package market

import (
	"context"
	"fmt"
	"sort"
	"strings"
	"testing"

	"cosmossdk.io/log/v2"
	sdkmath "cosmossdk.io/math"

	"github.com/cosmos/cosmos-sdk/codec/address"
	"github.com/cosmos/cosmos-sdk/runtime"
	storetypes "github.com/cosmos/cosmos-sdk/store/v2/types"
	"github.com/cosmos/cosmos-sdk/testutil"
	sdk "github.com/cosmos/cosmos-sdk/types"
	moduletestutil "github.com/cosmos/cosmos-sdk/types/module/testutil"
	"github.com/cosmos/cosmos-sdk/x/auth"
	authkeeper "github.com/cosmos/cosmos-sdk/x/auth/keeper"
	authtypes "github.com/cosmos/cosmos-sdk/x/auth/types"
	"github.com/cosmos/cosmos-sdk/x/bank"
	bankkeeper "github.com/cosmos/cosmos-sdk/x/bank/keeper"

	api "github.com/cella-network/cella/api/market"
	"github.com/cella-network/cella/protocol/storageproof"
)

const (
	denom     = "ucella"
	faucet    = "faucet"
	authority = "gov"
)

// network stands for the modules around the market.
type network struct {
	standings map[string]*storageproof.Standing
	active    map[string]bool
	stalled   int64 // nobody can have drawn a later height; 0: all can
}

func (n *network) Clock(ctx context.Context) (int64, error) {
	now := sdk.UnwrapSDKContext(ctx).BlockHeight()
	if n.stalled > 0 {
		return min(now, n.stalled), nil
	}
	return now, nil
}

func (n *network) Standing(_ context.Context, operator sdk.AccAddress) (storageproof.Standing, error) {
	return *n.standing(operator), nil
}

func (n *network) standing(operator sdk.AccAddress) *storageproof.Standing {
	s := n.standings[string(operator)]
	if s == nil {
		s = &storageproof.Standing{}
		n.standings[string(operator)] = s
	}
	return s
}

func (n *network) IsActive(_ context.Context, operator sdk.AccAddress) (bool, error) {
	return n.active[string(operator)], nil
}

type world struct {
	*network
	ctx    sdk.Context
	keeper *Keeper
	bank   bankkeeper.Keeper
	module AppModule
	cfg    moduletestutil.TestEncodingConfig
}

func newWorld(t testing.TB, params api.Params) *world {
	t.Helper()
	w := &world{network: &network{standings: map[string]*storageproof.Standing{}, active: map[string]bool{}}}
	w.cfg = moduletestutil.MakeTestEncodingConfig(auth.AppModuleBasic{}, bank.AppModuleBasic{}, AppModule{})
	keys := storetypes.NewKVStoreKeys(authtypes.StoreKey, "bank", StoreKey)
	w.ctx = testutil.DefaultContextWithKeys(keys, nil, nil).WithBlockHeight(1)
	codec := address.NewBech32Codec("cella")
	accounts := authkeeper.NewAccountKeeper(w.cfg.Codec, runtime.NewKVStoreService(keys[authtypes.StoreKey]), authtypes.ProtoBaseAccount,
		map[string][]string{ModuleName: nil, faucet: {authtypes.Minter}}, codec, "cella", authority)
	w.bank = bankkeeper.NewBaseKeeper(w.cfg.Codec, runtime.NewKVStoreService(keys["bank"]), accounts,
		map[string]bool{authtypes.NewModuleAddress(faucet).String(): true}, text(authtypes.NewModuleAddress(authority)), log.NewNopLogger())
	w.keeper = NewKeeper(w.cfg.Codec, runtime.NewKVStoreService(keys[StoreKey]), codec, w.bank, w, w, authority, denom)
	w.module = NewAppModule(w.keeper)
	if err := w.keeper.InitGenesis(w.ctx, &api.GenesisState{Params: params}); err != nil {
		t.Fatal(err)
	}
	return w
}

var params = api.Params{DayBlocks: 100, MinBlocks: 50, MaxBlocks: 1000, AcceptBlocks: 20, GraceBlocks: 10, Collateral: 10,
	MendBlocks: 20, ClearBlocks: 40, FaultFactor: 2, RepairBlocks: 30, WarnBlocks: 200, SilentBlocks: 400, AuditFaults: 5}

func account(name string) sdk.AccAddress { return append([]byte(name), make([]byte, 20-len(name))...) }

func text(a sdk.AccAddress) string {
	s, err := address.NewBech32Codec("cella").BytesToString(a)
	if err != nil {
		panic(err)
	}
	return s
}

func (w *world) fund(t testing.TB, name string, amount int64) {
	t.Helper()
	coins := sdk.NewCoins(sdk.NewCoin(denom, sdkmath.NewInt(amount)))
	if err := w.bank.MintCoins(w.ctx, faucet, coins); err != nil {
		t.Fatal(err)
	}
	if err := w.bank.SendCoinsFromModuleToAccount(w.ctx, faucet, account(name), coins); err != nil {
		t.Fatal(err)
	}
}

// tx runs a message as a transaction does: all or nothing. It returns the events' names and figures.
func (w *world) tx(run func(ctx sdk.Context) error) ([]string, error) {
	branch, write := w.ctx.WithEventManager(sdk.NewEventManager()).CacheContext()
	if err := run(branch); err != nil {
		return nil, err
	}
	write()
	return eventsOf(branch), nil
}

func eventsOf(ctx sdk.Context) (lines []string) {
	for _, e := range ctx.EventManager().Events() {
		name, ours := strings.CutPrefix(e.Type, "cella.market.v1.")
		if !ours {
			continue
		}
		var attrs []string
		for _, a := range e.Attributes {
			value := strings.Trim(a.Value, `"`)
			if a.Key == "evidence" && len(value) == 64 {
				value = "report" + strings.TrimLeft(value[:4], "0")
			}
			attrs = append(attrs, a.Key+"="+value)
		}
		sort.Strings(attrs)
		lines = append(lines, name+" "+strings.Join(attrs, " "))
	}
	return lines
}

// next runs the beginning of n blocks, holding the books after each.
func (w *world) next(t testing.TB, n int) (events []string) {
	t.Helper()
	for range n {
		w.ctx = w.ctx.WithBlockHeight(w.ctx.BlockHeight() + 1)
		block := w.ctx.WithEventManager(sdk.NewEventManager())
		if err := w.module.BeginBlock(block); err != nil {
			t.Fatal(err)
		}
		for _, line := range eventsOf(block) {
			events = append(events, fmt.Sprintf("%d: %s", w.ctx.BlockHeight(), line))
		}
		w.audit(t)
	}
	return events
}

// audit holds the module's balance against what its orders and replicas say.
func (w *world) audit(t testing.TB) {
	t.Helper()
	owed, err := w.keeper.Owed(w.ctx)
	if err != nil {
		t.Fatal(err)
	}
	if got := w.bank.GetBalance(w.ctx, authtypes.NewModuleAddress(ModuleName), denom); !got.Equal(owed) {
		t.Fatalf("height %d: the module holds %s, its orders and replicas say %s", w.ctx.BlockHeight(), got, owed)
	}
}

// report is one that x/work accepted: it has a counter and a hash, and says what it is told to.
func (w *world) report(operator string, r storageproof.Report) ([]string, error) {
	s := w.standing(account(operator))
	s.Counter++
	s.Since = w.ctx.BlockHeight()
	s.Report = [32]byte{byte(s.Counter >> 8), byte(s.Counter)}
	s.Proven += r.Answered
	s.Failed += r.Failed
	return w.tx(func(ctx sdk.Context) error { return w.keeper.Reported(ctx, account(operator), r, *s) })
}

// add reports orders as held.
func (w *world) add(operator string, refs ...storageproof.OrderRef) ([]string, error) {
	return w.report(operator, storageproof.Report{Added: refs})
}

func ref(order uint64, root string) storageproof.OrderRef {
	return storageproof.OrderRef{ID: order, Root: []byte(root), Size: 1 << 30}
}

// place and take are short cuts for the tests below.
func (w *world) place(t testing.TB, owner, root string, replicas uint32, blocks int64) uint64 {
	t.Helper()
	resp, err := msgServer{w.keeper}.PlaceOrder(w.ctx, &api.MsgPlaceOrder{Owner: text(account(owner)), Root: []byte(root), Size_: 1 << 30,
		Blocks: blocks, Replicas: replicas, Price: 100})
	if err != nil {
		t.Fatal(err)
	}
	return resp.Id
}

func (w *world) take(t testing.TB, operator string, order uint64) {
	t.Helper()
	w.active[string(account(operator))] = true
	m := msgServer{w.keeper}
	if _, err := m.SetAsk(w.ctx, &api.MsgSetAsk{Operator: text(account(operator)), Price: 100, MaxSize: 1 << 40}); err != nil {
		t.Fatal(err)
	}
	if _, err := m.Accept(w.ctx, &api.MsgAccept{Operator: text(account(operator)), Order: order}); err != nil {
		t.Fatal(err)
	}
}
