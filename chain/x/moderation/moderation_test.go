package moderation

import (
	"bytes"
	"context"
	"crypto/sha256"
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

	api "github.com/cella-network/cella/api/moderation"
)

const (
	denom     = "ucella"
	faucet    = "faucet"
	authority = "gov"
)

var params = api.Params{Deposit: sdk.NewInt64Coin(denom, 10), MaxLists: 2, MaxSize: 1000}

type world struct {
	ctx    sdk.Context
	keeper *Keeper
	bank   bankkeeper.Keeper
	cfg    moduletestutil.TestEncodingConfig
	module AppModule
}

func newWorld(t testing.TB) *world {
	t.Helper()
	w := &world{cfg: moduletestutil.MakeTestEncodingConfig(auth.AppModuleBasic{}, bank.AppModuleBasic{}, AppModule{})}
	keys := storetypes.NewKVStoreKeys(authtypes.StoreKey, "bank", StoreKey)
	w.ctx = testutil.DefaultContextWithKeys(keys, nil, nil).WithBlockHeight(1)
	codec := address.NewBech32Codec("cella")
	accounts := authkeeper.NewAccountKeeper(w.cfg.Codec, runtime.NewKVStoreService(keys[authtypes.StoreKey]), authtypes.ProtoBaseAccount,
		map[string][]string{ModuleName: nil, faucet: {authtypes.Minter}}, codec, "cella", authority)
	w.bank = bankkeeper.NewBaseKeeper(w.cfg.Codec, runtime.NewKVStoreService(keys["bank"]), accounts, nil,
		text(authtypes.NewModuleAddress(authority)), log.NewNopLogger())
	w.keeper = NewKeeper(w.cfg.Codec, runtime.NewKVStoreService(keys[StoreKey]), codec, w.bank, authority, denom)
	w.module = NewAppModule(w.keeper)
	if err := w.keeper.InitGenesis(w.ctx, &api.GenesisState{Params: params}); err != nil {
		t.Fatal(err)
	}
	return w
}

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

func (w *world) balance(a sdk.AccAddress) int64 {
	return w.bank.GetBalance(w.ctx, a, denom).Amount.Int64()
}

// audit holds the module's balance against the deposits that its lists name.
func (w *world) audit(t testing.TB) {
	t.Helper()
	g, err := w.keeper.ExportGenesis(w.ctx)
	if err != nil {
		t.Fatal(err)
	}
	var sum int64
	for _, l := range g.Lists {
		sum += l.Deposit.Amount.Int64()
	}
	if has := w.balance(authtypes.NewModuleAddress(ModuleName)); has != sum {
		t.Errorf("the module holds %d, its lists' deposits are %d", has, sum)
	}
}

// tx runs a message as a transaction does: all or nothing. It returns the events' names and figures.
func (w *world) tx(run func(ctx sdk.Context) error) string {
	branch, write := w.ctx.WithEventManager(sdk.NewEventManager()).CacheContext()
	if err := run(branch); err != nil {
		return "refused: " + err.Error() + "\n"
	}
	write()
	var out strings.Builder
	for _, e := range branch.EventManager().Events() {
		name, ours := strings.CutPrefix(e.Type, "cella.moderation.v1.")
		if !ours {
			continue
		}
		var attrs []string
		for _, a := range e.Attributes {
			if a.Key != "msg_index" && a.Key != "sha256" && a.Key != "cid" && a.Key != "publisher" {
				attrs = append(attrs, a.Key+"="+strings.ReplaceAll(a.Value, `"`, ""))
			}
		}
		sort.Strings(attrs)
		fmt.Fprintln(&out, name, strings.Join(attrs, " "))
	}
	return out.String()
}

func hashOf(s string) []byte { h := sha256.Sum256([]byte(s)); return h[:] }

func cidOf(s string) []byte { return append([]byte{1, 0x55, 0x12, 32}, hashOf(s)...) }

func message(from, name string, sequence uint64) *api.MsgPublish {
	return &api.MsgPublish{Publisher: text(account(from)), Name: name, Sequence: sequence, Sha256: hashOf(name), Cid: cidOf(name), Size_: 100}
}

// The transcript is the specification.
func TestTranscript(t *testing.T) {
	datadriven.Walk(t, "testdata", func(t *testing.T, path string) {
		w := newWorld(t)
		srv := msgServer{w.keeper}
		datadriven.RunTest(t, path, func(t *testing.T, d *datadriven.TestData) string {
			defer w.audit(t)
			who := d.CmdArgs[0].Key
			arg := func(key string, or uint64) uint64 {
				d.MaybeScanArgs(t, key, &or)
				return or
			}
			name := ""
			d.MaybeScanArgs(t, "name", &name)
			switch d.Cmd {
			case "fund":
				w.fund(t, who, int64(arg("amount", 0)))
				return ""
			case "publish":
				m := message(who, name, arg("sequence", 1))
				m.Size_ = arg("size", m.Size_)
				m.Sha256 = m.Sha256[:arg("hash", 32)]
				if d.HasArg("cid") {
					var kind string
					d.ScanArgs(t, "cid", &kind)
					switch kind {
					case "inline":
						m.Cid = []byte{1, 0x55, 0, 1, 'x'}
					case "v0":
						m.Cid = append([]byte{0x12, 32}, hashOf(name)...)
					case "none":
						m.Cid = nil
					}
				}
				return w.tx(func(ctx sdk.Context) error { _, err := srv.Publish(ctx, m); return err })
			case "withdraw":
				return w.tx(func(ctx sdk.Context) error {
					_, err := srv.Withdraw(ctx, &api.MsgWithdraw{Publisher: text(account(who)), Name: name})
					return err
				})
			case "params":
				p := params
				p.Deposit = sdk.NewInt64Coin(denom, int64(arg("deposit", 10)))
				p.MaxLists, p.MaxSize = uint32(arg("max_lists", 2)), arg("max_size", 1000)
				return w.tx(func(ctx sdk.Context) error {
					_, err := srv.UpdateParams(ctx, &api.MsgUpdateParams{Authority: who, Params: p})
					return err
				})
			case "show":
				r, err := queryServer{w.keeper}.Lists(w.ctx, &api.QueryListsRequest{Publisher: text(account(who))})
				if err != nil {
					return err.Error()
				}
				out := fmt.Sprintf("balance %d\n", w.balance(account(who)))
				for _, l := range r.Lists {
					out += fmt.Sprintf("%s sequence %d, %d bytes, deposit %s\n", l.Name, l.Sequence, l.Size_, l.Deposit)
				}
				return out
			}
			t.Fatalf("unknown command %q", d.Cmd)
			return ""
		})
	})
}

func TestQueries(t *testing.T) {
	w := newWorld(t)
	w.fund(t, "alice", 100)
	w.fund(t, "bob", 100)
	srv, q := msgServer{w.keeper}, queryServer{w.keeper}
	for _, m := range []*api.MsgPublish{message("alice", "a", 1), message("bob", "b", 1), message("bob", "c", 1)} {
		if _, err := srv.Publish(w.ctx, m); err != nil {
			t.Fatal(err)
		}
	}
	one, err := q.List(w.ctx, &api.QueryListRequest{Publisher: text(account("bob")), Name: "c"})
	if err != nil || one.List.Name != "c" || !bytes.Equal(one.List.Sha256, hashOf("c")) || one.List.Height != 1 {
		t.Error(one, err)
	}
	// Nobody publishes in another's name: the same name of another account is another list.
	if _, err := q.List(w.ctx, &api.QueryListRequest{Publisher: text(account("alice")), Name: "c"}); err == nil {
		t.Error("alice has bob's list")
	}
	all, err := q.Lists(w.ctx, &api.QueryListsRequest{Pagination: &query.PageRequest{Limit: 2}})
	if err != nil || len(all.Lists) != 2 || len(all.Pagination.NextKey) == 0 {
		t.Error(all, err)
	}
	his, err := q.Lists(w.ctx, &api.QueryListsRequest{Publisher: text(account("bob"))})
	if err != nil || len(his.Lists) != 2 {
		t.Error(his, err)
	}
	if _, err := q.Lists(w.ctx, &api.QueryListsRequest{Publisher: "nobody"}); err == nil {
		t.Error("no address")
	}
	if p, err := q.Params(w.ctx, nil); err != nil || !p.Params.Deposit.Equal(params.Deposit) {
		t.Error(p, err)
	}
}

func TestGenesis(t *testing.T) {
	w := newWorld(t)
	w.fund(t, "bob", 100)
	for _, name := range []string{"b", "a"} {
		if _, err := (msgServer{w.keeper}).Publish(w.ctx, message("bob", name, 1)); err != nil {
			t.Fatal(err)
		}
	}
	state := w.module.ExportGenesis(w.ctx, w.cfg.Codec)
	again := newWorld(t)
	again.module.InitGenesis(again.ctx, again.cfg.Codec, state)
	if got := again.module.ExportGenesis(again.ctx, again.cfg.Codec); !bytes.Equal(got, state) {
		t.Errorf("exported\n%s\nimported\n%s", state, got)
	}
	if err := w.module.ValidateGenesis(w.cfg.Codec, nil, w.module.DefaultGenesis(w.cfg.Codec)); err != nil {
		t.Error(err)
	}
	for name, spoil := range map[string]func(*api.GenesisState){
		"twice":    func(g *api.GenesisState) { g.Lists = append(g.Lists, g.Lists[0]) },
		"name":     func(g *api.GenesisState) { g.Lists[0].Name = "A" },
		"hash":     func(g *api.GenesisState) { g.Lists[0].Sha256 = nil },
		"nobody":   func(g *api.GenesisState) { g.Lists[0].Publisher = "bob" },
		"sequence": func(g *api.GenesisState) { g.Lists[0].Sequence = 0 },
		"deposit":  func(g *api.GenesisState) { g.Lists[0].Deposit = sdk.NewInt64Coin("other", 1) },
		"params":   func(g *api.GenesisState) { g.Params.MaxLists = 1000 },
		"size":     func(g *api.GenesisState) { g.Params.MaxSize = 0 },
		"coin":     func(g *api.GenesisState) { g.Params.Deposit = sdk.Coin{Denom: denom} },
	} {
		g, err := w.keeper.ExportGenesis(w.ctx)
		if err != nil {
			t.Fatal(err)
		}
		spoil(g)
		if err := w.keeper.ValidateGenesis(g); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
}

// A list costs gas beyond its bytes, however small it is.
func TestPublishCostsGas(t *testing.T) {
	w := newWorld(t)
	w.fund(t, "bob", 100)
	before := w.ctx.GasMeter().GasConsumed()
	if _, err := (msgServer{w.keeper}).Publish(context.Context(w.ctx), message("bob", "a", 1)); err != nil {
		t.Fatal(err)
	}
	if used := w.ctx.GasMeter().GasConsumed() - before; used < gasPublish {
		t.Errorf("%d gas", used)
	}
}
