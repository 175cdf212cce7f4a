package app_test

import (
	"bytes"
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/cosmos/gogoproto/proto"

	sdk "github.com/cosmos/cosmos-sdk/types"
	"github.com/cosmos/cosmos-sdk/types/msgservice"
	authtypes "github.com/cosmos/cosmos-sdk/x/auth/types"
	"github.com/cosmos/cosmos-sdk/x/authz"
	banktypes "github.com/cosmos/cosmos-sdk/x/bank/types"
	"github.com/cosmos/cosmos-sdk/x/feegrant"
	govv1 "github.com/cosmos/cosmos-sdk/x/gov/types/v1"
	stakingtypes "github.com/cosmos/cosmos-sdk/x/staking/types"

	guaranteeapi "github.com/cella-network/cella/api/guarantee"
	"github.com/cella-network/cella/api/market"
	"github.com/cella-network/cella/chain/x/guarantee"
)

// busy runs a chain through a little of everything and returns the height that it reached.
func busy(t *testing.T) (*chain, int64) {
	t.Helper()
	c := newChain(t)
	user, operator := address(c.user), address(c.operator)
	limit := sdk.NewCoins(cella(5))
	allowance, err := feegrant.NewMsgGrantAllowance(&feegrant.BasicAllowance{SpendLimit: limit}, user, operator)
	if err != nil {
		t.Fatal(err)
	}
	expiry := start.Add(time.Hour)
	grant, err := authz.NewMsgGrant(user, operator, banktypes.NewSendAuthorization(limit, nil), &expiry)
	if err != nil {
		t.Fatal(err)
	}
	text, err := govv1.NewMsgSubmitProposal(nil, sdk.NewCoins(cella(10)), user.String(), "metadata", "title", "summary", false)
	if err != nil {
		t.Fatal(err)
	}
	cid := append([]byte{0x01, 0x55, 0x12, 0x20}, bytes.Repeat([]byte{7}, 32)...)
	messages := []sdk.Msg{
		banktypes.NewMsgSend(user, operator, sdk.NewCoins(cella(1))),
		stakingtypes.NewMsgDelegate(user.String(), sdk.ValAddress(operator).String(), cella(20)),
		allowance, grant, text,
		&market.MsgPlaceOrder{Owner: user.String(), Root: cid, Size_: 1 << 20, Blocks: 20_000, Replicas: 3, Price: 1000,
			Addrs: []string{"/ip4/127.0.0.1/tcp/4001/p2p/12D3KooWD3eckifWpRn9wQpMG9R9hX3sD158z7EqHWmweQAJU5SA"}},
		stakingtypes.NewMsgUndelegate(user.String(), sdk.ValAddress(operator).String(), cella(3)),
	}
	height := int64(1)
	for i, m := range messages {
		for _, r := range c.block(height, c.sign(c.user, 0, uint64(i), 400_000, m)) {
			if r.Code != 0 {
				t.Fatalf("%T: %s", m, r.Log)
			}
		}
		height++
	}
	return c, height
}

func TestSameBlocksSameState(t *testing.T) {
	a, _ := busy(t)
	b, _ := busy(t)
	if !bytes.Equal(a.LastCommitID().Hash, b.LastCommitID().Hash) {
		t.Fatalf("two runs end in %X and %X", a.LastCommitID().Hash, b.LastCommitID().Hash)
	}
}

// A chain that was exported and imported goes on as the one that was not.
func TestExportImport(t *testing.T) {
	old, height := busy(t)
	exported, err := old.Export(nil)
	if err != nil {
		t.Fatal(err)
	}
	if exported.Height != height {
		t.Fatalf("exported for height %d, want %d", exported.Height, height)
	}
	again := &chain{App: newApp(t), t: t, validator: old.validator, operator: old.operator, user: old.user}
	again.initChain(exported.AppState, height)
	for h := height; h < height+3; h++ {
		old.block(h)
		again.block(h)
	}
	want, got := modules(t, old), modules(t, again)
	for name := range want {
		if !bytes.Equal(want[name], got[name]) {
			t.Errorf("%s differs:\nexported %s\nimported %s", name, want[name], got[name])
		}
	}
	if len(got) != len(want) {
		t.Errorf("%d modules, want %d", len(got), len(want))
	}
}

func modules(t *testing.T, c *chain) map[string]json.RawMessage {
	t.Helper()
	e, err := c.Export(nil)
	if err != nil {
		t.Fatal(err)
	}
	var m map[string]json.RawMessage
	if err := json.Unmarshal(e.AppState, &m); err != nil {
		t.Fatal(err)
	}
	return m
}

func TestDefaultGenesis(t *testing.T) {
	a := newApp(t)
	g := a.DefaultGenesis()
	if _, err := a.Doc(g, chainID); err != nil {
		t.Fatal(err)
	}
	for name, raw := range g.Modules {
		if bytes.Contains(raw, []byte(`"stake"`)) {
			t.Errorf("%s speaks of the SDK's default coin: %s", name, raw)
		}
	}
	for name, of := range a.Account.GetModulePermissions() {
		if of.HasPermission(authtypes.Minter) != (name == guarantee.ModuleName) {
			t.Errorf("%s may make coins, or guarantee may not: each era's pool is all that is made", name)
		}
	}
	var stakes guaranteeapi.GenesisState
	a.Codec.MustUnmarshalJSON(g.Modules[guarantee.ModuleName], &stakes)
	if stakes.Params.EraPool == 0 {
		t.Error("nobody is paid")
	}
	var bank banktypes.GenesisState
	a.Codec.MustUnmarshalJSON(g.Modules[banktypes.ModuleName], &bank)
	if len(bank.DenomMetadata) != 1 {
		t.Fatalf("%d coins have metadata, want 1", len(bank.DenomMetadata))
	}
	if err := bank.DenomMetadata[0].Validate(); err != nil {
		t.Error(err)
	}
}

func TestProtoAnnotations(t *testing.T) {
	files, err := proto.MergedRegistry()
	if err != nil {
		t.Fatal(err)
	}
	if err := msgservice.ValidateProtoAnnotations(files); err != nil {
		t.Error(err)
	}
}

// Coins sent by hand to a module's account would break the sums that the module keeps.
func TestModuleAccountsTakeNoCoins(t *testing.T) {
	c := newChain(t)
	height := int64(1)
	for i, name := range []string{"market", "attest", "moderation", authtypes.FeeCollectorName, stakingtypes.BondedPoolName} {
		send := banktypes.NewMsgSend(address(c.user), authtypes.NewModuleAddress(name), sdk.NewCoins(cella(1)))
		r := c.block(height, c.sign(c.user, 0, uint64(i), 200_000, send))[0]
		if r.Code == 0 || !strings.Contains(r.Log, "not allowed to receive funds") {
			t.Errorf("%s: code %d, %s", name, r.Code, r.Log)
		}
		height++
	}
}

func TestLimits(t *testing.T) {
	c := newChain(t)
	send := banktypes.NewMsgSend(address(c.user), address(c.operator), sdk.NewCoins(cella(1)))
	many := make([]sdk.Msg, 65)
	for i := range many {
		many[i] = send
	}
	long := &banktypes.MsgMultiSend{Inputs: []banktypes.Input{banktypes.NewInput(address(c.user), sdk.NewCoins(cella(9000)))}}
	for range 9000 {
		long.Outputs = append(long.Outputs, banktypes.NewOutput(address(c.operator), sdk.NewCoins(cella(1))))
	}
	for _, test := range []struct {
		name string
		tx   []byte
		want string
	}{
		{"gas", c.sign(c.user, 0, 0, 20_000_001, send), "invalid gas limit"},
		{"messages", c.sign(c.user, 0, 0, 1_000_000, many...), "65 messages, at most 64"},
		{"bytes", c.sign(c.user, 0, 0, 20_000_000, long), "at most 262144"},
	} {
		r := c.block(c.LastBlockHeight()+1, test.tx)[0]
		if r.Code == 0 || !strings.Contains(r.Log, test.want) {
			t.Errorf("%s: code %d, log %q, want %q", test.name, r.Code, r.Log, test.want)
		}
	}
	if r := c.block(c.LastBlockHeight()+1, c.sign(c.user, 0, 0, 20_000_000, send))[0]; r.Code != 0 {
		t.Errorf("a transaction within the limits: %s", r.Log)
	}
}
