package market

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"sort"
	"strings"
	"testing"

	"github.com/cockroachdb/datadriven"

	"cosmossdk.io/log/v2"
	sdkmath "cosmossdk.io/math"

	"github.com/cosmos/cosmos-sdk/codec/address"
	"github.com/cosmos/cosmos-sdk/runtime"
	storetypes "github.com/cosmos/cosmos-sdk/store/v2/types"
	"github.com/cosmos/cosmos-sdk/testutil"
	sdk "github.com/cosmos/cosmos-sdk/types"
	moduletestutil "github.com/cosmos/cosmos-sdk/types/module/testutil"
	"github.com/cosmos/cosmos-sdk/types/query"
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
	proven map[string]uint64
	active map[string]bool
}

func (n *network) Proven(_ context.Context, operator sdk.AccAddress) (uint64, error) {
	return n.proven[string(operator)], nil
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
	w := &world{network: &network{proven: map[string]uint64{}, active: map[string]bool{}}}
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

var params = api.Params{DayBlocks: 100, MinBlocks: 50, MaxBlocks: 1000, AcceptBlocks: 20, GraceBlocks: 10, Collateral: 10}

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
			attrs = append(attrs, a.Key+"="+strings.Trim(a.Value, `"`))
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

func (w *world) report(operator string, added []storageproof.OrderRef, dropped []uint64) ([]string, error) {
	return w.tx(func(ctx sdk.Context) error {
		return w.keeper.Reported(ctx, account(operator), storageproof.Report{Added: added, Dropped: dropped},
			storageproof.Standing{Proven: w.proven[string(account(operator))]})
	})
}

// The transcripts follow orders through the module. Names stand for addresses; the books are held after each command and
// each block.
func TestTranscripts(t *testing.T) {
	datadriven.Walk(t, "testdata", func(t *testing.T, path string) {
		w := newWorld(t, params)
		names := strings.NewReplacer()
		known := map[string]bool{}
		learn := func(name string) {
			known[name] = true
			var pairs []string
			for n := range known {
				pairs = append(pairs, text(account(n)), n, account(n).String(), n)
			}
			names = strings.NewReplacer(pairs...)
		}
		datadriven.RunTest(t, path, func(t *testing.T, d *datadriven.TestData) string {
			lines, err := w.command(t, d, learn)
			w.audit(t)
			if err != nil {
				reason, _, _ := strings.Cut(err.Error(), " [") // the SDK adds files and lines
				return names.Replace("refused: " + reason + "\n")
			}
			if len(lines) == 0 {
				return "ok\n"
			}
			return names.Replace(strings.Join(lines, "\n") + "\n")
		})
	})
}

func (w *world) command(t *testing.T, d *datadriven.TestData, learn func(string)) ([]string, error) {
	number := func(key string) (v int64) {
		d.MaybeScanArgs(t, key, &v)
		return v
	}
	word := func(key string) (v string) {
		d.MaybeScanArgs(t, key, &v)
		return v
	}
	who := ""
	if len(d.CmdArgs) > 0 && len(d.CmdArgs[0].Vals) == 0 {
		who = d.CmdArgs[0].Key
		if _, isNumber := fmt.Sscan(who, new(int)); isNumber != nil {
			learn(who)
		}
	}
	order := uint64(number("order"))
	msgs := msgServer{w.keeper}
	queries := queryServer{w.keeper}
	switch d.Cmd {
	case "fund":
		w.fund(t, who, number("amount"))
		return nil, nil
	case "join":
		w.active[string(account(who))] = true
		return nil, nil
	case "ask":
		return w.tx(func(ctx sdk.Context) error {
			_, err := msgs.SetAsk(ctx, &api.MsgSetAsk{Operator: text(account(who)), Price: uint64(number("price")), MaxSize: uint64(number("takes")) << 30})
			return err
		})
	case "place":
		return w.tx(func(ctx sdk.Context) error {
			_, err := msgs.PlaceOrder(ctx, &api.MsgPlaceOrder{Owner: text(account(who)), Root: []byte(word("root")), Size_: uint64(number("size")) << 30,
				Blocks: number("blocks"), Replicas: uint32(number("replicas")), Price: uint64(number("price")), Addrs: []string{"/dns/" + who}})
			return err
		})
	case "accept":
		return w.tx(func(ctx sdk.Context) error {
			_, err := msgs.Accept(ctx, &api.MsgAccept{Operator: text(account(who)), Order: order})
			return err
		})
	case "report":
		w.proven[string(account(who))] += uint64(number("proven"))
		var added []storageproof.OrderRef
		var dropped []uint64
		if id := uint64(number("add")); id != 0 {
			ref := storageproof.OrderRef{ID: id, Root: []byte(word("root")), Size: uint64(number("size")) << 30}
			if o, err := w.keeper.order(w.ctx, id); err == nil && len(ref.Root) == 0 {
				ref.Root, ref.Size = o.Root, o.Size
			}
			added = append(added, ref)
		}
		if id := uint64(number("drop")); id != 0 {
			dropped = append(dropped, id)
		}
		return w.report(who, added, dropped)
	case "renew":
		return w.tx(func(ctx sdk.Context) error {
			_, err := msgs.Renew(ctx, &api.MsgRenew{Owner: text(account(who)), Order: order, Blocks: number("blocks")})
			return err
		})
	case "end":
		return w.tx(func(ctx sdk.Context) error {
			_, err := msgs.End(ctx, &api.MsgEnd{Owner: text(account(who)), Order: order})
			return err
		})
	case "settle":
		return w.tx(func(ctx sdk.Context) error {
			_, err := msgs.Settle(ctx, &api.MsgSettle{Sender: text(account("anyone")), Order: order})
			return err
		})
	case "next":
		return w.next(t, int(number("blocks"))), nil
	case "order":
		resp, err := queries.Order(w.ctx, &api.QueryOrderRequest{Id: order})
		if err != nil {
			return nil, err
		}
		lines := []string{orderLine(resp.Order)}
		for i, r := range resp.Replicas {
			lines = append(lines, fmt.Sprintf("  %s price=%d proven=%t paid=%d accrued=%d collateral=%d", r.Operator, r.Price, r.Proven, r.Paid, resp.Accrued[i], r.Collateral))
		}
		return lines, nil
	case "orders":
		req := &api.QueryOrdersRequest{Root: []byte(word("root")), Open: d.HasArg("open")}
		if owner := word("owner"); owner != "" {
			req.Owner = text(account(owner))
		}
		resp, err := queries.Orders(w.ctx, req)
		if err != nil {
			return nil, err
		}
		var lines []string
		for _, o := range resp.Orders {
			lines = append(lines, orderLine(o))
		}
		return lines, nil
	case "balances":
		var lines []string
		for _, arg := range d.CmdArgs {
			lines = append(lines, fmt.Sprintf("%s %s", arg.Key, w.bank.GetBalance(w.ctx, account(arg.Key), denom)))
		}
		return lines, nil
	}
	d.Fatalf(t, "unknown command %q", d.Cmd)
	return nil, nil
}

func orderLine(o api.Order) string {
	return fmt.Sprintf("order %d of %s: root=%s replicas=%d %d to %d escrow=%d closed=%t %s", o.Id, o.Owner, o.Root, o.Replicas, o.Start, o.End, o.Escrow, o.Closed, o.Addrs)
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

// One report settles 64 replicas and the next goes on from there, so that a report is bounded work and nobody starves.
func TestReportSettlesInTurn(t *testing.T) {
	w := newWorld(t, params)
	w.fund(t, "alice", 1_000_000)
	w.fund(t, "bob", 1_000_000)
	var refs []storageproof.OrderRef
	for range settlePerReport*2 + 10 {
		id := w.place(t, "alice", "root", 1, 100)
		w.take(t, "bob", id)
		refs = append(refs, storageproof.OrderRef{ID: id, Root: []byte("root"), Size: 1 << 30})
	}
	if _, err := w.report("bob", refs, nil); err != nil {
		t.Fatal(err)
	}
	w.next(t, 10)
	w.proven[string(account("bob"))] += 10
	paid := map[string]int{}
	for range 3 {
		events, err := w.report("bob", nil, nil)
		if err != nil {
			t.Fatal(err)
		}
		if len(events) > settlePerReport {
			t.Fatalf("one report settled %d replicas", len(events))
		}
		for _, e := range events {
			paid[e]++
		}
		w.audit(t)
	}
	if len(paid) != len(refs) {
		t.Fatalf("%d of %d replicas were settled", len(paid), len(refs))
	}
	for e, n := range paid {
		if n != 1 || !strings.Contains(e, "amount=10 ") {
			t.Errorf("%d times %s", n, e)
		}
	}
}

// A report costs gas by what it settles, and what owners wrote into their orders does not make it dearer.
func TestReportGasIsBounded(t *testing.T) {
	gasOf := func(addrs []string) uint64 {
		w := newWorld(t, params)
		w.fund(t, "alice", 1_000_000)
		w.fund(t, "bob", 1_000_000)
		var refs []storageproof.OrderRef
		for range settlePerReport {
			resp, err := msgServer{w.keeper}.PlaceOrder(w.ctx, &api.MsgPlaceOrder{Owner: text(account("alice")), Root: []byte("root"), Size_: 1 << 30,
				Blocks: 100, Replicas: 1, Price: 100, Addrs: addrs})
			if err != nil {
				t.Fatal(err)
			}
			w.take(t, "bob", resp.Id)
			refs = append(refs, storageproof.OrderRef{ID: resp.Id, Root: []byte("root"), Size: 1 << 30})
		}
		if _, err := w.report("bob", refs, nil); err != nil {
			t.Fatal(err)
		}
		w.next(t, 10)
		w.proven[string(account("bob"))] += 10
		w.ctx = w.ctx.WithGasMeter(storetypes.NewGasMeter(1 << 40))
		if _, err := w.report("bob", nil, nil); err != nil {
			t.Fatal(err)
		}
		return w.ctx.GasMeter().GasConsumed()
	}
	long := make([]string, 16)
	for i := range long {
		long[i] = "/" + strings.Repeat("a", 255)
	}
	short, full := gasOf(nil), gasOf(long)
	if short != full {
		t.Errorf("settling costs %d gas, with long addresses %d", short, full)
	}
	if short > settlePerReport*40_000 {
		t.Errorf("settling %d replicas costs %d gas", settlePerReport, short)
	}
}

// A block handles a bounded number of due items; the rest follows in the next ones.
func TestBlockWorkIsBounded(t *testing.T) {
	w := newWorld(t, params)
	w.fund(t, "alice", 10_000_000)
	w.fund(t, "bob", 1_000_000)
	for range itemsPerBlock + 30 {
		w.take(t, "bob", w.place(t, "alice", "root", 1, 100))
	}
	w.next(t, 19)
	if n := len(w.next(t, 1)); n != itemsPerBlock {
		t.Errorf("the first block lapsed %d", n)
	}
	if n := len(w.next(t, 1)); n != 30 {
		t.Errorf("the second block lapsed %d", n)
	}
	w.next(t, 88)
	if n := len(w.next(t, 1)); n != itemsPerBlock {
		t.Errorf("the first block closed %d", n)
	}
	if n := len(w.next(t, 1)); n != 30 {
		t.Errorf("the second block closed %d", n)
	}
}

// Closing counts by replicas: many of them in few orders are no less work.
func TestClosingCountsReplicas(t *testing.T) {
	w := newWorld(t, params)
	w.fund(t, "alice", 10_000_000)
	var ids []uint64
	for range 6 {
		ids = append(ids, w.place(t, "alice", "root", 30, 50))
	}
	for i := range 30 {
		name := fmt.Sprint("node", i)
		w.fund(t, name, 1_000)
		var refs []storageproof.OrderRef
		for _, id := range ids {
			w.take(t, name, id)
			refs = append(refs, storageproof.OrderRef{ID: id, Root: []byte("root"), Size: 1 << 30})
		}
		if _, err := w.report(name, refs, nil); err != nil {
			t.Fatal(err)
		}
	}
	w.next(t, 59)
	for _, want := range []int{4, 2, 0} {
		if n := strings.Count(strings.Join(w.next(t, 1), "\n"), "EventClosed"); n != want {
			t.Errorf("a block closed %d orders of 30 replicas, want %d", n, want)
		}
	}
}

// An item whose time was put off, by a renewal or by governance, comes again at the new time.
func TestPutOff(t *testing.T) {
	w := newWorld(t, params)
	w.fund(t, "alice", 1_000_000)
	w.fund(t, "bob", 1_000_000)
	id := w.place(t, "alice", "root", 1, 100)
	w.take(t, "bob", id)
	m := msgServer{w.keeper}
	longer := params
	longer.AcceptBlocks += 7
	if _, err := m.UpdateParams(w.ctx, &api.MsgUpdateParams{Authority: authority, Params: longer}); err != nil {
		t.Fatal(err)
	}
	if _, err := m.Renew(w.ctx, &api.MsgRenew{Owner: text(account("alice")), Order: id, Blocks: 30}); err != nil {
		t.Fatal(err)
	}
	got := strings.Join(w.next(t, 150), "\n")
	for _, want := range []string{"28: EventCollateralReturned", "141: EventClosed"} {
		if !strings.Contains(got, want) {
			t.Errorf("want %s in\n%s", want, got)
		}
	}
}

// What can't be executed waits and stops neither the chain nor the others.
func TestFailingItemWaits(t *testing.T) {
	w := newWorld(t, params)
	w.fund(t, "alice", 1_000_000)
	w.fund(t, "bob", 1_000_000)
	first, second := w.place(t, "alice", "root", 1, 100), w.place(t, "alice", "root", 1, 100)
	w.take(t, "bob", first)
	w.take(t, "bob", second)
	o, err := w.keeper.orders.Get(w.ctx, first)
	if err != nil {
		t.Fatal(err)
	}
	good := o.Owner
	o.Owner = text(authtypes.NewModuleAddress(faucet)) // can't be paid
	if err := w.keeper.orders.Set(w.ctx, first, o); err != nil {
		t.Fatal(err)
	}
	events := w.next(t, 110)
	if got := strings.Join(events, "\n"); strings.Count(got, "EventClosed") != 1 || !strings.Contains(got, fmt.Sprintf("EventClosed order=%d ", second)) {
		t.Fatalf("want only order %d closed:\n%s", second, got)
	}
	if o, err = w.keeper.orders.Get(w.ctx, first); err != nil || o.Closed || o.Escrow == 0 {
		t.Fatalf("half of a failing item happened: %v, %v", o, err)
	}
	o.Owner = good
	if err := w.keeper.orders.Set(w.ctx, first, o); err != nil {
		t.Fatal(err)
	}
	if events := w.next(t, retryBlocks); len(events) != 1 {
		t.Fatalf("want order %d closed, got %q", first, events)
	}
}

func TestGenesisRoundTrip(t *testing.T) {
	w := newWorld(t, params)
	w.fund(t, "alice", 1_000_000)
	for _, n := range []string{"bob", "carol"} {
		w.fund(t, n, 1_000_000)
	}
	proven, open, closed := w.place(t, "alice", "one", 2, 100), w.place(t, "alice", "two", 1, 200), w.place(t, "alice", "three", 1, 100)
	w.take(t, "bob", proven)
	w.take(t, "carol", proven)
	w.take(t, "bob", open)
	if _, err := w.report("bob", []storageproof.OrderRef{{ID: proven, Root: []byte("one"), Size: 1 << 30}}, nil); err != nil {
		t.Fatal(err)
	}
	if _, err := (msgServer{w.keeper}).End(w.ctx, &api.MsgEnd{Owner: text(account("alice")), Order: closed}); err != nil {
		t.Fatal(err)
	}
	lapsing := w.place(t, "alice", "four", 1, 100)
	w.fund(t, "dave", 1_000_000)
	w.take(t, "dave", lapsing)
	if _, err := w.report("dave", nil, []uint64{lapsing}); err != nil {
		t.Fatal(err)
	}
	exported := w.module.ExportGenesis(w.ctx, w.cfg.Codec)
	if err := w.module.ValidateGenesis(w.cfg.Codec, nil, exported); err != nil {
		t.Fatal(err)
	}
	again := newWorld(t, params)
	var state api.GenesisState
	w.cfg.Codec.MustUnmarshalJSON(exported, &state)
	if len(state.Lapses) != 1 {
		t.Errorf("exported %d lapses, want dave's", len(state.Lapses))
	}
	poor, _ := again.ctx.CacheContext()
	if err := again.keeper.InitGenesis(poor, &state); err == nil || !strings.Contains(err.Error(), "owed") {
		t.Errorf("started without the coins that are owed: %v", err)
	}
	coins := w.bank.GetBalance(w.ctx, authtypes.NewModuleAddress(ModuleName), denom)
	again.fund(t, "bank", coins.Amount.Int64())
	if err := again.bank.SendCoinsFromAccountToModule(again.ctx, account("bank"), ModuleName, sdk.NewCoins(coins)); err != nil {
		t.Fatal(err)
	}
	again.module.InitGenesis(again.ctx, again.cfg.Codec, exported)
	if got := again.module.ExportGenesis(again.ctx, again.cfg.Codec); !bytes.Equal(got, exported) {
		t.Errorf("exported\n%s\nimported\n%s", exported, got)
	}
	// The queues and lists were rebuilt: both chains go on alike.
	a, b := w.next(t, 250), again.next(t, 250)
	if len(a) == 0 || strings.Join(a, "\n") != strings.Join(b, "\n") {
		t.Errorf("one chain goes on with\n%s\nthe other with\n%s", strings.Join(a, "\n"), strings.Join(b, "\n"))
	}
	if _, err := (msgServer{again.keeper}).PlaceOrder(again.ctx, &api.MsgPlaceOrder{Owner: text(account("bank"))}); err == nil {
		t.Error("an empty order was placed")
	}
}

func TestGenesisRefused(t *testing.T) {
	w := newWorld(t, params)
	alice := text(account("alice"))
	order := api.Order{Id: 1, Owner: alice, Root: []byte("r"), Size_: 1, Replicas: 1, Price: 1, End: 100}
	two := order
	two.Replicas = 2
	replica := func(name string) api.Replica { return api.Replica{Order: 1, Operator: text(account(name)), Price: 1} }
	if err := ValidateGenesis(&api.GenesisState{Params: params, LastOrder: 1, Orders: []api.Order{two},
		Replicas: []api.Replica{replica("alice"), replica("bob")}, Lapses: []api.Lapse{{Order: 1, Operator: alice}}}, w.keeper.addresses); err != nil {
		t.Fatal(err)
	}
	broken := order
	broken.End = -1
	for name, g := range map[string]api.GenesisState{
		"bad params":          {},
		"doubled ask":         {Params: params, Asks: []api.Ask{{Operator: alice}, {Operator: alice}}},
		"order without id":    {Params: params, LastOrder: 1, Orders: []api.Order{{Owner: alice}}},
		"order of the future": {Params: params, Orders: []api.Order{order}},
		"doubled order":       {Params: params, LastOrder: 1, Orders: []api.Order{order, order}},
		"owner unreadable":    {Params: params, LastOrder: 1, Orders: []api.Order{{Id: 1}}},
		"replica of nothing":  {Params: params, Replicas: []api.Replica{{Order: 1, Operator: alice}}},
		"too many replicas": {Params: params, LastOrder: 1, Orders: []api.Order{order},
			Replicas: []api.Replica{replica("alice"), replica("bob")}},
		"doubled replica": {Params: params, LastOrder: 1, Orders: []api.Order{two}, Replicas: []api.Replica{replica("alice"), replica("alice")}},
		"two spellings": {Params: params, LastOrder: 1, Orders: []api.Order{two},
			Replicas: []api.Replica{replica("alice"), {Order: 1, Operator: strings.ToUpper(alice), Price: 1}}},
		"impossible order": {Params: params, LastOrder: 1, Orders: []api.Order{broken}},
		"lapse of nothing": {Params: params, Lapses: []api.Lapse{{Order: 1, Operator: alice}}},
		"lapse of nobody":  {Params: params, LastOrder: 1, Orders: []api.Order{order}, Lapses: []api.Lapse{{Order: 1}}},
	} {
		if err := ValidateGenesis(&g, w.keeper.addresses); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
	if err := ValidateGenesis(DefaultGenesis(), w.keeper.addresses); err != nil {
		t.Error(err)
	}
}

func TestUpdateParams(t *testing.T) {
	w := newWorld(t, params)
	m := msgServer{w.keeper}
	changed := params
	changed.GraceBlocks = 11
	if _, err := m.UpdateParams(w.ctx, &api.MsgUpdateParams{Authority: text(account("mallory")), Params: changed}); !errors.Is(err, ErrRefused) {
		t.Error("a stranger changed the params:", err)
	}
	if _, err := m.UpdateParams(w.ctx, &api.MsgUpdateParams{Authority: authority, Params: changed}); err != nil {
		t.Error(err)
	}
	otherDay, bad := changed, changed
	otherDay.DayBlocks, bad.MinBlocks = 99, 0
	for _, p := range []api.Params{otherDay, bad} {
		if _, err := m.UpdateParams(w.ctx, &api.MsgUpdateParams{Authority: authority, Params: p}); !errors.Is(err, ErrRefused) {
			t.Errorf("%v: %v", p, err)
		}
	}
	if p, err := w.keeper.params.Get(w.ctx); err != nil || p != changed {
		t.Error(p, err)
	}
}

// Whoever can't be paid can't order or accept, for its coins could never be given back.
func TestBlockedAddresses(t *testing.T) {
	w := newWorld(t, params)
	w.fund(t, "alice", 1_000_000)
	id := w.place(t, "alice", "root", 1, 100)
	blocked := authtypes.NewModuleAddress(faucet)
	w.active[string(blocked)] = true
	m := msgServer{w.keeper}
	if _, err := m.PlaceOrder(w.ctx, &api.MsgPlaceOrder{Owner: text(blocked), Root: []byte("r"), Size_: 1, Blocks: 100, Replicas: 1, Price: 1}); !errors.Is(err, ErrRefused) || !strings.Contains(err.Error(), "refund") {
		t.Error(err)
	}
	if _, err := m.SetAsk(w.ctx, &api.MsgSetAsk{Operator: text(blocked), Price: 1, MaxSize: 1 << 40}); err != nil {
		t.Error(err)
	}
	if _, err := m.Accept(w.ctx, &api.MsgAccept{Operator: text(blocked), Order: id}); !errors.Is(err, ErrRefused) || !strings.Contains(err.Error(), "paid") {
		t.Error(err)
	}
}

func TestQueriesPage(t *testing.T) {
	w := newWorld(t, params)
	w.fund(t, "alice", 1_000_000)
	w.fund(t, "bob", 1_000_000)
	for range 5 {
		w.take(t, "bob", w.place(t, "alice", "root", 1, 100))
	}
	q := queryServer{w.keeper}
	for name, req := range map[string]*api.QueryOrdersRequest{
		"all": {}, "owner": {Owner: text(account("alice"))}, "root": {Root: []byte("root")},
	} {
		var ids []uint64
		req.Pagination = &query.PageRequest{Limit: 2}
		for {
			resp, err := q.Orders(w.ctx, req)
			if err != nil {
				t.Fatal(name, err)
			}
			for _, o := range resp.Orders {
				ids = append(ids, o.Id)
			}
			if len(resp.Orders) > 2 {
				t.Fatal(name, "page of", len(resp.Orders))
			}
			if len(resp.Pagination.NextKey) == 0 {
				break
			}
			req.Pagination = &query.PageRequest{Limit: 2, Key: resp.Pagination.NextKey}
		}
		if fmt.Sprint(ids) != "[1 2 3 4 5]" {
			t.Error(name, ids)
		}
	}
	replicas, err := q.Replicas(w.ctx, &api.QueryReplicasRequest{Operator: text(account("bob")), Pagination: &query.PageRequest{Limit: 3}})
	if err != nil || len(replicas.Replicas) != 3 || len(replicas.Pagination.NextKey) == 0 {
		t.Error(replicas, err)
	}
	asks, err := q.Asks(w.ctx, &api.QueryAsksRequest{})
	if err != nil || len(asks.Asks) != 1 {
		t.Error(asks, err)
	}
	if p, err := q.Params(w.ctx, nil); err != nil || p.Params != params {
		t.Error(p, err)
	}
}
