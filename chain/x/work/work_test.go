package work

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"crypto/sha256"
	"errors"
	"fmt"
	"sort"
	"strings"
	"testing"

	"github.com/cockroachdb/datadriven"

	"github.com/cosmos/cosmos-sdk/codec/address"
	"github.com/cosmos/cosmos-sdk/runtime"
	storetypes "github.com/cosmos/cosmos-sdk/store/v2/types"
	"github.com/cosmos/cosmos-sdk/testutil"
	sdk "github.com/cosmos/cosmos-sdk/types"
	moduletestutil "github.com/cosmos/cosmos-sdk/types/module/testutil"
	"github.com/cosmos/cosmos-sdk/types/query"

	api "github.com/cella-network/cella/api/work"
	"github.com/cella-network/cella/protocol/attestation"
	"github.com/cella-network/cella/protocol/storageproof"
)

const (
	authority = "gov"
	chainID   = "cella-test"
)

var params = api.Params{SlotBlocks: 5, MaxAgeBlocks: 10, LateBlocks: 1000, SectorSize: 16 << 20}

// network stands for the modules around work.
type network struct {
	active map[attestation.Account]attestation.Node
	cap    uint64
	heard  []string
	fails  error

	stalled int64 // no seed of a later height is out; 0: seeds come with their blocks
}

func (n *network) Tip(ctx context.Context) (int64, error) {
	now := sdk.UnwrapSDKContext(ctx).BlockHeight()
	if n.stalled > 0 {
		return min(now, n.stalled), nil
	}
	return now, nil
}

func (n *network) Active(_ context.Context, a attestation.Account) (attestation.Node, bool, error) {
	node, ok := n.active[a]
	return node, ok, nil
}

func (n *network) Cap(_ context.Context, tier attestation.Tier) (uint64, error) {
	return n.cap * uint64(tier), nil
}

func (n *network) BlockHash(_ context.Context, height int64) ([32]byte, bool, error) {
	return hashOf(height), height > 0, n.fails
}

func (n *network) Reported(_ context.Context, operator sdk.AccAddress, r storageproof.Report, s storageproof.Standing) error {
	if len(r.Added)+len(r.Dropped) > 0 {
		n.heard = append(n.heard, fmt.Sprintf("market hears of %d added, %d dropped, proven %d", len(r.Added), len(r.Dropped), s.Proven))
	}
	return nil
}

func hashOf(height int64) [32]byte { return sha256.Sum256([]byte(fmt.Sprint("block ", height))) }

type world struct {
	*network
	ctx    sdk.Context
	key    *storetypes.KVStoreKey
	keeper *Keeper
	module AppModule
	cfg    moduletestutil.TestEncodingConfig
}

func newWorld(t testing.TB) *world {
	t.Helper()
	w := &world{network: &network{active: map[attestation.Account]attestation.Node{}, cap: 1 << 30}}
	w.cfg = moduletestutil.MakeTestEncodingConfig(AppModule{})
	keys := storetypes.NewKVStoreKeys(StoreKey)
	w.key = keys[StoreKey]
	w.ctx = testutil.DefaultContextWithKeys(keys, nil, nil).WithBlockHeight(100).WithChainID(chainID)
	w.keeper = NewKeeper(w.cfg.Codec, runtime.NewKVStoreService(w.key), address.NewBech32Codec("cella"), w, w, authority)
	w.keeper.SetMarket(w)
	w.module = NewAppModule(w.keeper)
	if err := w.keeper.InitGenesis(w.ctx, &api.GenesisState{Params: params}); err != nil {
		t.Fatal(err)
	}
	return w
}

func account(name string) (a attestation.Account) {
	copy(a[:], name)
	return a
}

func text(name string) string {
	a := account(name)
	s, err := address.NewBech32Codec("cella").BytesToString(a[:])
	if err != nil {
		panic(err)
	}
	return s
}

func signer(name string) ed25519.PrivateKey {
	seed := sha256.Sum256([]byte(name))
	return ed25519.NewKeyFromSeed(seed[:])
}

func (w *world) join(name string, tier attestation.Tier) {
	n := attestation.Node{Account: account(name), Tier: tier}
	copy(n.SignKey[:], signer(name).Public().(ed25519.PublicKey))
	w.active[n.Account] = n
}

func (w *world) standingOf(t testing.TB, name string) *storageproof.Standing {
	t.Helper()
	a := account(name)
	s, err := w.keeper.standing(w.ctx, a[:])
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// honest is the report that an account's enclave would sign over the last block, all draws answered.
func (w *world) honest(t testing.TB, name string) storageproof.Report {
	height := w.ctx.BlockHeight() - 1
	r := storageproof.Report{ChainID: chainID, Account: account(name), Counter: 1, From: height, Height: height, Hash: hashOf(height),
		Free: 1 << 20, Stored: 4096, Sectors: 1, Table: sha256.Sum256([]byte("table"))}
	if s := w.standingOf(t, name); s != nil {
		r.Counter, r.Prev, r.From = s.Counter+1, s.Report, s.Height
		r.Answered = uint64(r.Height - r.From)
	}
	return r
}

// post sends a report in a transaction of its own.
func (w *world) post(encoded, sig []byte) ([]string, error) {
	branch, write := w.ctx.WithEventManager(sdk.NewEventManager()).CacheContext()
	if _, err := (msgServer{w.keeper}).Report(branch, &api.MsgReport{Reporter: text("anyone"), Report: encoded, Signature: sig}); err != nil {
		return nil, err
	}
	write()
	var lines []string
	for _, e := range branch.EventManager().Events() {
		if name, ours := strings.CutPrefix(e.Type, "cella.work.v1."); ours {
			var attrs []string
			for _, a := range e.Attributes {
				attrs = append(attrs, a.Key+"="+strings.Trim(a.Value, `"`))
			}
			sort.Strings(attrs)
			lines = append(lines, name+" "+strings.Join(attrs, " "))
		}
	}
	return lines, nil
}

// The transcript follows a node's reports, honest and not. A report is the honest one of the moment, changed by what the
// command names.
func TestTranscripts(t *testing.T) {
	datadriven.Walk(t, "testdata", func(t *testing.T, path string) {
		w := newWorld(t)
		datadriven.RunTest(t, path, func(t *testing.T, d *datadriven.TestData) string {
			w.heard = nil
			lines, err := w.command(t, d)
			names := strings.NewReplacer(text("bob"), "bob", text("carol"), "carol", sdk.AccAddress(append([]byte("bob"), make([]byte, 17)...)).String(), "bob",
				sdk.AccAddress(append([]byte("carol"), make([]byte, 15)...)).String(), "carol")
			if err != nil {
				return names.Replace("refused: " + err.Error() + "\n")
			}
			lines = append(lines, w.heard...)
			if len(lines) == 0 {
				return "ok\n"
			}
			return names.Replace(strings.Join(lines, "\n") + "\n")
		})
	})
}

func (w *world) command(t *testing.T, d *datadriven.TestData) ([]string, error) {
	number := func(key string, missing int64) int64 {
		d.MaybeScanArgs(t, key, &missing)
		return missing
	}
	who := ""
	if len(d.CmdArgs) > 0 && len(d.CmdArgs[0].Vals) == 0 {
		who = d.CmdArgs[0].Key
	}
	switch d.Cmd {
	case "join":
		tier := attestation.TierLow
		if d.HasArg("high") {
			tier = attestation.TierHigh
		}
		w.join(who, tier)
		return nil, nil
	case "expire":
		delete(w.active, account(who))
		return nil, nil
	case "next":
		w.ctx = w.ctx.WithBlockHeight(w.ctx.BlockHeight() + number("blocks", 1))
		return []string{fmt.Sprint("block ", w.ctx.BlockHeight())}, nil
	case "standing":
		resp, err := queryServer{w.keeper}.Standing(w.ctx, &api.QueryStandingRequest{Operator: text(who)})
		if err != nil {
			return nil, err
		}
		s := resp.Standing
		return []string{fmt.Sprintf("report %d at %d: free=%d stored=%d proven=%d failed=%d", s.Counter, s.Height, s.Free, s.Stored, s.Proven, s.Failed)}, nil
	case "report":
		r := w.honest(t, who)
		r.Height = number("height", r.Height)
		if r.Counter == 1 {
			r.From = r.Height
		}
		if d.HasArg("height") {
			r.Hash = hashOf(r.Height)
			r.Answered = uint64(r.Height - r.From)
		}
		r.Failed = uint64(number("failed", 0))
		r.Answered = uint64(number("answered", int64(r.Answered-r.Failed)))
		r.Counter = uint64(number("counter", int64(r.Counter)))
		r.Free = uint64(number("free", int64(r.Free)))
		r.From = number("from", r.From)
		d.MaybeScanArgs(t, "chain", &r.ChainID)
		if d.HasArg("fork") {
			r.Hash[0]++
		}
		if d.HasArg("forgets") {
			r.Prev[0]++
		}
		for i := range number("add", 0) {
			r.Added = append(r.Added, storageproof.OrderRef{ID: uint64(i + 1), Root: []byte("root"), Size: 1})
		}
		for i := range number("drop", 0) {
			r.Dropped = append(r.Dropped, uint64(i+100))
		}
		by := who
		d.MaybeScanArgs(t, "by", &by)
		return w.post(r.Marshal(), ed25519.Sign(signer(by), r.Marshal()))
	}
	d.Fatalf(t, "unknown command %q", d.Cmd)
	return nil, nil
}

// Enclaves look for a standing under its canonical key, in its canonical encoding.
func TestStandingIsProvable(t *testing.T) {
	w := newWorld(t)
	w.join("bob", attestation.TierLow)
	r := w.honest(t, "bob")
	if _, err := w.post(r.Marshal(), ed25519.Sign(signer("bob"), r.Marshal())); err != nil {
		t.Fatal(err)
	}
	raw := w.ctx.KVStore(w.key).Get(storageproof.StandingKey(account("bob")))
	s, err := storageproof.UnmarshalStanding(raw)
	if err != nil || s.Account != account("bob") || s.Counter != 1 || s.Report != r.ID() {
		t.Fatalf("%x: %+v, %v", raw, s, err)
	}
	// Nothing else lies under the prefix of standings.
	it := storetypes.KVStorePrefixIterator(w.ctx.KVStore(w.key), storageproof.StandingKey(account(""))[:1])
	defer it.Close()
	n := 0
	for ; it.Valid(); it.Next() {
		n++
	}
	if n != 1 {
		t.Errorf("%d values under the prefix of standings", n)
	}
}

func TestReportLimits(t *testing.T) {
	w := newWorld(t)
	w.join("bob", attestation.TierLow)
	r := w.honest(t, "bob")
	for i := range storageproof.MaxAdded {
		r.Added = append(r.Added, storageproof.OrderRef{ID: uint64(i), Root: bytes.Repeat([]byte{1}, storageproof.MaxRoot), Size: 1})
	}
	for i := range storageproof.MaxDropped {
		r.Dropped = append(r.Dropped, uint64(1000+i))
	}
	full := r.Marshal()
	sig := ed25519.Sign(signer("bob"), full)
	if _, err := w.post(make([]byte, maxReport+1), sig); !errors.Is(err, ErrRefused) || !strings.Contains(err.Error(), "at most") {
		t.Error("report too long:", err)
	}
	if _, err := w.post(full, sig[:63]); !errors.Is(err, ErrRefused) || !strings.Contains(err.Error(), "at most") {
		t.Error("signature too short:", err)
	}
	if _, err := w.post(full[:len(full)-1], sig); !errors.Is(err, ErrRefused) {
		t.Error("malformed:", err)
	}
	w.ctx = w.ctx.WithGasMeter(storetypes.NewGasMeter(1 << 40))
	if _, err := w.post(full, sig); err != nil {
		t.Fatal("the longest report fails:", err)
	}
	least := uint64(gasReport + gasPerByte*len(full) + gasPerOrder*(storageproof.MaxAdded+storageproof.MaxDropped))
	if got := w.ctx.GasMeter().GasConsumed(); got < least || got > least+200_000 {
		t.Errorf("the longest report costs %d gas, want a little above %d", got, least)
	}
}

// A failing store is an error of the chain, never a verdict about the report.
func TestFailingRegistry(t *testing.T) {
	w := newWorld(t)
	w.join("bob", attestation.TierLow)
	w.fails = errors.New("broken")
	r := w.honest(t, "bob")
	if _, err := w.post(r.Marshal(), ed25519.Sign(signer("bob"), r.Marshal())); !errors.Is(err, w.fails) {
		t.Error(err)
	}
}

// A wallet simulates on the state after the last block; a report over that very block must pass there as it will in the next.
func TestSimulation(t *testing.T) {
	w := newWorld(t)
	w.join("bob", attestation.TierLow)
	w.ctx = w.ctx.WithBlockHeight(101)
	r := w.honest(t, "bob")
	w.ctx = w.ctx.WithBlockHeight(100)
	sig := ed25519.Sign(signer("bob"), r.Marshal())
	if _, err := w.post(r.Marshal(), sig); !errors.Is(err, ErrRefused) {
		t.Error("a block reports itself:", err)
	}
	w.ctx = w.ctx.WithExecMode(sdk.ExecModeSimulate)
	if _, err := w.post(r.Marshal(), sig); err != nil {
		t.Error(err)
	}
}

func TestGenesisRoundTrip(t *testing.T) {
	w := newWorld(t)
	for _, n := range []string{"bob", "carol"} {
		w.join(n, attestation.TierLow)
		r := w.honest(t, n)
		if _, err := w.post(r.Marshal(), ed25519.Sign(signer(n), r.Marshal())); err != nil {
			t.Fatal(err)
		}
	}
	exported := w.module.ExportGenesis(w.ctx, w.cfg.Codec)
	if err := w.module.ValidateGenesis(w.cfg.Codec, nil, exported); err != nil {
		t.Fatal(err)
	}
	again := newWorld(t)
	again.module.InitGenesis(again.ctx, again.cfg.Codec, exported)
	if got := again.module.ExportGenesis(again.ctx, again.cfg.Codec); !bytes.Equal(got, exported) {
		t.Errorf("exported\n%s\nimported\n%s", exported, got)
	}
	resp, err := queryServer{again.keeper}.Standings(again.ctx, &api.QueryStandingsRequest{Pagination: &query.PageRequest{Limit: 1}})
	if err != nil || len(resp.Standings) != 1 || len(resp.Pagination.NextKey) == 0 {
		t.Error(resp, err)
	}
	standing := w.standingOf(t, "bob").Marshal()
	for name, g := range map[string]*api.GenesisState{
		"no params":        {},
		"malformed":        {Params: params, Standings: [][]byte{{1}}},
		"doubled standing": {Params: params, Standings: [][]byte{standing, standing}},
	} {
		if err := ValidateGenesis(g); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
	if err := ValidateGenesis(DefaultGenesis()); err != nil {
		t.Error(err)
	}
}

func TestUpdateParams(t *testing.T) {
	w := newWorld(t)
	m := msgServer{w.keeper}
	changed := params
	changed.SlotBlocks = 7
	if _, err := m.UpdateParams(w.ctx, &api.MsgUpdateParams{Authority: text("mallory"), Params: changed}); !errors.Is(err, ErrRefused) {
		t.Error("a stranger changed the params:", err)
	}
	if _, err := m.UpdateParams(w.ctx, &api.MsgUpdateParams{Authority: authority, Params: changed}); err != nil {
		t.Error(err)
	}
	for name, change := range map[string]func(*api.Params){
		"no slot":         func(p *api.Params) { p.SlotBlocks = 0 },
		"no age":          func(p *api.Params) { p.MaxAgeBlocks = 0 },
		"slot overflows":  func(p *api.Params) { p.SlotBlocks = 1 << 62 },
		"odd sectors":     func(p *api.Params) { p.SectorSize++ },
		"another layout":  func(p *api.Params) { p.SectorSize *= 2 },
		"too big sectors": func(p *api.Params) { p.SectorSize = 1 << 40 },
	} {
		p := changed
		change(&p)
		if _, err := m.UpdateParams(w.ctx, &api.MsgUpdateParams{Authority: authority, Params: p}); !errors.Is(err, ErrRefused) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if resp, err := (queryServer{w.keeper}).Params(w.ctx, nil); err != nil || resp.Params != changed {
		t.Error(resp, err)
	}
}
