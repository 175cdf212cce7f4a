package audit

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"crypto/sha256"
	"errors"
	"fmt"
	"slices"
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

	api "github.com/cella-network/cella/api/audit"
	"github.com/cella-network/cella/protocol/attestation"
	"github.com/cella-network/cella/protocol/audit"
	"github.com/cella-network/cella/protocol/lottery"
	"github.com/cella-network/cella/protocol/storageproof"
)

const (
	authority = "gov"
	chainID   = "cella-test"
)

var params = api.Params{PeriodBlocks: 10, AnswerBlocks: 5, VerdictBlocks: 12, Auditors: 3, PauseBlocks: 25, KeepBlocks: 40}

// network stands for the modules around audit. Draws go round: the i-th draw of a seed begins at the i-th node.
type network struct {
	nodes   []attestation.Node
	holders []string // who is drawn as a holder, in turn
	holds   map[string]uint64
	over    bool // orders have ended
	heard   []string
	fails   error
	draws   int
	stalled int64 // no seed of a later height is out; 0: seeds come with their blocks
	seeds   []byte
}

// Seeds come with their blocks, but for those that a test holds back.
func (n *network) Seed(ctx context.Context, height int64) (lottery.Seed, bool, error) {
	tip, err := n.Tip(ctx)
	return lottery.Seed{1, byte(height)}, height <= tip, err
}

func (n *network) Tip(ctx context.Context) (int64, error) {
	now := sdk.UnwrapSDKContext(ctx).BlockHeight()
	if n.stalled > 0 {
		return min(now, n.stalled), nil
	}
	return now, nil
}

func (n *network) DrawActive(_ context.Context, seed lottery.Seed, subject []byte) (attestation.Node, bool, error) {
	n.draws++
	n.seeds = append(n.seeds, seed[1])
	if len(n.holders) == 0 {
		return attestation.Node{}, false, nil
	}
	return n.node(n.holders[int(subject[len(subject)-1])%len(n.holders)]), true, nil
}

func (n *network) DrawEndorser(_ context.Context, _ lottery.Seed, _ []byte, excluded []attestation.Account) (attestation.Node, bool, error) {
	n.draws++
	for _, node := range n.nodes {
		if !slices.Contains(excluded, node.Account) {
			return node, true, nil
		}
	}
	return attestation.Node{}, false, nil
}

func (n *network) node(name string) attestation.Node {
	i := slices.IndexFunc(n.nodes, func(o attestation.Node) bool { return o.Account == account(name) })
	return n.nodes[i]
}

func (n *network) Sample(_ context.Context, holder sdk.AccAddress, _ lottery.Seed) (uint64, []byte, bool, error) {
	order, ok := n.holds[string(bytes.TrimRight(holder, "\x00"))]
	return order, root, ok, n.fails
}

func (n *network) Holding(context.Context, sdk.AccAddress, uint64) (bool, error) { return !n.over, nil }

func (n *network) Audited(_ context.Context, holder sdk.AccAddress, order uint64, passed bool, evidence string) error {
	if n.fails == nil {
		n.heard = append(n.heard, fmt.Sprintf("market hears of %s: order %d, passed %v, evidence %q", bytes.TrimRight(holder, "\x00"), order, passed, evidence))
	}
	return n.fails
}

var root = storageproof.BlockKey{Codec: storageproof.CodecRaw, Digest: sha256.Sum256([]byte("root"))}.CID()

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
	w := &world{network: &network{holds: map[string]uint64{}}}
	w.cfg = moduletestutil.MakeTestEncodingConfig(AppModule{})
	keys := storetypes.NewKVStoreKeys(StoreKey)
	w.key = keys[StoreKey]
	w.ctx = testutil.DefaultContextWithKeys(keys, nil, nil).WithBlockHeight(100).WithChainID(chainID)
	w.keeper = NewKeeper(w.cfg.Codec, runtime.NewKVStoreService(w.key), address.NewBech32Codec("cella"), w, w, w, authority)
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

func (w *world) join(name string, machine byte) {
	n := attestation.Node{Account: account(name), Platform: attestation.PlatformTPM, PlatformID: [32]byte{machine}}
	copy(n.SignKey[:], signer(name).Public().(ed25519.PublicKey))
	w.nodes = append(w.nodes, n)
}

// until executes the begins of blocks up to a height and returns what happened in them.
func (w *world) until(t testing.TB, height int64) (lines []string) {
	t.Helper()
	for w.ctx.BlockHeight() < height {
		w.ctx = w.ctx.WithBlockHeight(w.ctx.BlockHeight() + 1).WithEventManager(sdk.NewEventManager())
		if err := w.module.BeginBlock(w.ctx); err != nil {
			t.Fatal(err)
		}
		for _, line := range append(events(w.ctx), w.heard...) {
			lines = append(lines, fmt.Sprintf("%d: %s", w.ctx.BlockHeight(), line))
		}
		w.heard = nil
	}
	return lines
}

func events(ctx sdk.Context) (lines []string) {
	for _, e := range ctx.EventManager().Events() {
		if name, ours := strings.CutPrefix(e.Type, "cella.audit.v1."); ours {
			var attrs []string
			for _, a := range e.Attributes {
				attrs = append(attrs, a.Key+"="+strings.ReplaceAll(a.Value, `"`, ""))
			}
			sort.Strings(attrs)
			lines = append(lines, name+" "+strings.Join(attrs, " "))
		}
	}
	return lines
}

// verdict is what an auditor's enclave says about a case by default: all came at once.
func (w *world) verdict(t testing.TB, id uint64, auditor string) audit.Verdict {
	t.Helper()
	c, _, err := w.keeper.caseOf(w.ctx, id)
	if err != nil {
		t.Fatal(err)
	}
	return audit.Verdict{ChainID: chainID, Case: id, Auditor: account(auditor), Holder: c.Holder, Order: c.Order, Reason: audit.ReasonOK,
		Block: c.Root, Bytes: 10, From: c.Height, To: c.Height}
}

// post sends a verdict in a transaction of its own.
func (w *world) post(encoded, sig []byte) ([]string, error) {
	branch, write := w.ctx.WithEventManager(sdk.NewEventManager()).CacheContext()
	if _, err := (msgServer{w.keeper}).Verdict(branch, &api.MsgVerdict{Poster: text("anyone"), Verdict: encoded, Signature: sig}); err != nil {
		return nil, err
	}
	write()
	return events(branch), nil
}

func (w *world) say(t testing.TB, id uint64, auditor string, reason audit.Reason) error {
	t.Helper()
	v := w.verdict(t, id, auditor)
	v.Reason = reason
	if reason != audit.ReasonOK {
		v.To = v.From + params.AnswerBlocks + 1
	}
	_, err := w.post(v.Marshal(), ed25519.Sign(signer(auditor), v.Marshal()))
	return err
}

// The transcripts follow a network through audits.
//
//	join NAME [machine=1] [holds=ORDER]     leave NAME     holders NAME ...     orders-end
//	until HEIGHT                            what happened in the blocks up to there
//	verdict NAME case=1 [found=missing] [by=NAME] [garbled]
//	cases     duties NAME     record NAME
func TestTranscripts(t *testing.T) {
	datadriven.Walk(t, "testdata", func(t *testing.T, path string) {
		w := newWorld(t)
		datadriven.RunTest(t, path, func(t *testing.T, d *datadriven.TestData) string {
			lines, err := w.command(t, d)
			var names []string
			for _, n := range w.nodes {
				name := string(bytes.TrimRight(n.Account[:], "\x00"))
				names = append(names, text(name), name)
			}
			if err != nil {
				lines = []string{"refused: " + err.Error()}
			}
			if len(lines) == 0 {
				lines = []string{"-"}
			}
			return strings.NewReplacer(names...).Replace(strings.Join(lines, "\n") + "\n")
		})
	})
}

func (w *world) command(t *testing.T, d *datadriven.TestData) (lines []string, err error) {
	number := func(key string, missing int64) int64 {
		d.MaybeScanArgs(t, key, &missing)
		return missing
	}
	var words []string
	for _, arg := range d.CmdArgs {
		if len(arg.Vals) == 0 {
			words = append(words, arg.Key)
		}
	}
	q := queryServer{w.keeper}
	switch d.Cmd {
	case "join":
		w.join(words[0], byte(number("machine", int64(len(w.nodes)+1))))
		if order := number("holds", 0); order > 0 {
			w.holds[words[0]] = uint64(order)
		}
	case "leave":
		w.nodes = slices.DeleteFunc(w.nodes, func(n attestation.Node) bool { return n.Account == account(words[0]) })
	case "holders":
		w.holders = words
	case "orders-end":
		w.over = true
	case "until":
		return w.until(t, number("height", 0)), nil
	case "verdict":
		v := w.verdict(t, uint64(number("case", 1)), words[0])
		found, by := "ok", words[0]
		d.MaybeScanArgs(t, "found", &found)
		d.MaybeScanArgs(t, "by", &by)
		if v.Reason = map[string]audit.Reason{"ok": audit.ReasonOK, "missing": audit.ReasonMissing, "slow": audit.ReasonSlow}[found]; v.Reason != audit.ReasonOK {
			v.To += params.AnswerBlocks + 1
		}
		v.Case = uint64(number("about", int64(v.Case)))
		encoded := v.Marshal()
		return w.post(encoded, ed25519.Sign(signer(by), encoded))
	case "cases", "duties":
		var cases []api.Case
		if d.Cmd == "cases" {
			r, err := q.Cases(w.ctx, &api.QueryCasesRequest{})
			if err != nil {
				return nil, err
			}
			cases = r.Cases
		} else {
			r, err := q.Duties(w.ctx, &api.QueryDutiesRequest{Operator: text(words[0])})
			if err != nil {
				return nil, err
			}
			cases = r.Cases
		}
		for _, c := range cases {
			line := fmt.Sprintf("%d of %d until %d: %s, order %d of %s, %d of %s", c.Id, c.Height, c.Deadline, c.Outcome, c.Order, c.Holder, c.Quorum, strings.Join(c.Auditors, " "))
			for _, v := range c.Verdicts {
				line += fmt.Sprintf("; %s found it %s from %d to %d", v.Auditor, v.Reason, v.From, v.To)
			}
			lines = append(lines, line)
		}
	case "record":
		r, err := q.Record(w.ctx, &api.QueryRecordRequest{Operator: text(words[0])})
		if err != nil {
			return nil, err
		}
		return []string{fmt.Sprintf("passed=%d failed=%d inconclusive=%d verdicts=%d silent=%d paused=%d",
			r.Record.Passed, r.Record.Failed, r.Record.Inconclusive, r.Record.Verdicts, r.Record.Silent, r.Record.Paused)}, nil
	default:
		d.Fatalf(t, "unknown command %q", d.Cmd)
	}
	return lines, nil
}

// five is a network in which ann holds order 7 and four others may audit.
func five(t testing.TB) *world {
	w := newWorld(t)
	for i, name := range []string{"ann", "ben", "cat", "dan", "eve"} {
		w.join(name, byte(i+1))
	}
	w.holders, w.holds["ann"] = []string{"ann"}, 7
	return w
}

// Enclaves look for a case under its canonical key, in its canonical encoding, and nothing else lies there.
func TestCaseIsProvable(t *testing.T) {
	w := five(t)
	w.until(t, 110)
	c, err := audit.UnmarshalCase(w.ctx.KVStore(w.key).Get(audit.CaseKey(1)))
	if err != nil || c.ID != 1 || c.Height != 110 || c.Holder != account("ann") || len(c.Auditors) != 3 {
		t.Fatalf("%+v, %v", c, err)
	}
	before := w.ctx.KVStore(w.key).Get(audit.CaseKey(1))
	if err := w.say(t, 1, "ben", audit.ReasonOK); err != nil {
		t.Fatal(err)
	}
	w.until(t, 130)
	if after := w.ctx.KVStore(w.key).Get(audit.CaseKey(1)); !bytes.Equal(before, after) {
		t.Error("a case changed while it was heard")
	}
	it := storetypes.KVStorePrefixIterator(w.ctx.KVStore(w.key), audit.CaseKey(0)[:1])
	defer it.Close()
	n := 0
	for ; it.Valid(); it.Next() {
		n++
	}
	if n != 3 {
		t.Errorf("%d values under the prefix of cases, want those of blocks 110, 120 and 130", n)
	}
}

// A broken market costs a case its time, not the chain its life, and nothing happens by half.
func TestFailingMarket(t *testing.T) {
	w := five(t)
	w.until(t, 110)
	for _, name := range []string{"ben", "cat", "dan"} {
		w.ctx = w.ctx.WithBlockHeight(118)
		if err := w.say(t, 1, name, audit.ReasonMissing); err != nil {
			t.Fatal(err)
		}
	}
	w.fails = errors.New("broken")
	w.until(t, 130)
	r, err := (queryServer{w.keeper}).Case(w.ctx, &api.QueryCaseRequest{Id: 1})
	if err != nil || r.Case.Outcome != "open" {
		t.Fatalf("%+v, %v", r, err)
	}
	if rec, err := w.keeper.record(w.ctx, account("ann")); err != nil || rec.Failed != 0 {
		t.Errorf("%+v, %v", rec, err)
	}
	w.fails = nil
	lines := strings.Join(w.until(t, 230), "\n")
	if strings.Count(lines, `evidence "audit 1"`) != 1 {
		t.Errorf("the case was not tried again:\n%s", lines)
	}
}

// A draw looks at a bounded number of nodes, and a block handles a bounded number of cases.
func TestWorkIsBounded(t *testing.T) {
	w := five(t)
	for i := range 200 {
		w.join(fmt.Sprint("node ", i), 1) // all on ann's machine: none may audit ann
	}
	slices.Reverse(w.nodes)
	w.until(t, 110)
	if most := holderDraws + int(params.Auditors) + spareDraws; w.draws > most {
		t.Errorf("%d draws in one block, at most %d", w.draws, most)
	}
	if _, _, err := w.keeper.caseOf(w.ctx, 1); err == nil {
		t.Error("a case without a quorum of auditors")
	}

	w = five(t)
	w.holders = nil
	for id := range uint64(3 * casesPerBlock) {
		c := audit.Case{ID: id + 1, Height: 90, Deadline: 95, Answer: 1, Holder: account("ann"), Order: 7, Root: root, Quorum: 1,
			Auditors: []audit.Auditor{{Account: account("ben")}}}
		if err := w.keeper.add(w.ctx, c, api.CaseInfo{Due: 96}); err != nil {
			t.Fatal(err)
		}
	}
	for block := range int64(3) {
		lines := w.until(t, 101+block)
		if got := strings.Count(strings.Join(lines, "\n"), "EventCaseClosed"); got != casesPerBlock {
			t.Errorf("block %d decided %d cases, want %d", 101+block, got, casesPerBlock)
		}
	}
}

func TestVerdictLimits(t *testing.T) {
	w := five(t)
	w.until(t, 110)
	v := w.verdict(t, 1, "ben")
	encoded := v.Marshal()
	sig := ed25519.Sign(signer("ben"), encoded)
	if _, err := w.post(make([]byte, maxVerdict+1), sig); !errors.Is(err, ErrRefused) || !strings.Contains(err.Error(), "at most") {
		t.Error("verdict too long:", err)
	}
	if _, err := w.post(encoded, sig[:63]); !errors.Is(err, ErrRefused) || !strings.Contains(err.Error(), "at most") {
		t.Error("signature too short:", err)
	}
	if _, err := w.post(encoded[1:], sig); !errors.Is(err, ErrRefused) {
		t.Error("malformed:", err)
	}
	v.ChainID, v.Block = strings.Repeat("x", attestation.MaxChainID), bytes.Repeat([]byte{1}, storageproof.MaxRoot)
	if n := len(v.Marshal()); n > maxVerdict {
		t.Errorf("the longest verdict has %d bytes, %d are taken", n, maxVerdict)
	}
	w.ctx = w.ctx.WithGasMeter(storetypes.NewGasMeter(1 << 40))
	if _, err := w.post(encoded, sig); err != nil {
		t.Fatal(err)
	}
	if got := w.ctx.GasMeter().GasConsumed(); got < gasVerdict || got > gasVerdict+60_000 {
		t.Errorf("a verdict costs %d gas, want a little above %d", got, gasVerdict)
	}
}

// lived is a network with open, decided and half-heard cases.
func lived(t testing.TB) *world {
	w := five(t)
	w.until(t, 118)
	for _, name := range []string{"ben", "cat"} {
		if err := w.say(t, 1, name, audit.ReasonMissing); err != nil {
			t.Fatal(err)
		}
	}
	w.until(t, 131)
	for id := uint64(2); id <= 3; id++ {
		c, _, err := w.keeper.caseOf(w.ctx, id)
		if err != nil {
			t.Fatal(err)
		}
		name := string(bytes.TrimRight(c.Auditors[0].Account[:], "\x00"))
		if err := w.say(t, id, name, audit.ReasonOK); err != nil {
			t.Fatal(err)
		}
	}
	return w
}

func TestGenesisRoundTrip(t *testing.T) {
	w := lived(t)
	exported := w.module.ExportGenesis(w.ctx, w.cfg.Codec)
	if err := w.module.ValidateGenesis(w.cfg.Codec, nil, exported); err != nil {
		t.Fatal(err)
	}
	again := five(t)
	again.ctx = again.ctx.WithBlockHeight(w.ctx.BlockHeight())
	again.module.InitGenesis(again.ctx, again.cfg.Codec, exported)
	if got := again.module.ExportGenesis(again.ctx, again.cfg.Codec); !bytes.Equal(got, exported) {
		t.Errorf("exported\n%s\nimported\n%s", exported, got)
	}
	for _, name := range []string{"ben", "cat", "dan", "eve"} {
		req := &api.QueryDutiesRequest{Operator: text(name)}
		a, err := (queryServer{w.keeper}).Duties(w.ctx, req)
		if err != nil {
			t.Fatal(err)
		}
		if b, err := (queryServer{again.keeper}).Duties(again.ctx, req); err != nil || len(a.Cases) != len(b.Cases) {
			t.Errorf("%s owes %d verdicts on one chain, %d on the other: %v", name, len(a.Cases), len(b.Cases), err)
		}
	}
	// The queues and lists were rebuilt: both chains go on alike.
	a, b := w.until(t, 260), again.until(t, 260)
	if len(a) < 20 || strings.Join(a, "\n") != strings.Join(b, "\n") {
		t.Errorf("one chain goes on with\n%s\nthe other with\n%s", strings.Join(a, "\n"), strings.Join(b, "\n"))
	}
	if x, y := w.module.ExportGenesis(w.ctx, w.cfg.Codec), again.module.ExportGenesis(again.ctx, again.cfg.Codec); !bytes.Equal(x, y) {
		t.Errorf("one chain arrives at\n%s\nthe other at\n%s", x, y)
	}
}

func TestGenesisRefuses(t *testing.T) {
	w := lived(t)
	good, err := w.keeper.ExportGenesis(w.ctx)
	if err != nil {
		t.Fatal(err)
	}
	for name, change := range map[string]func(*api.GenesisState){
		"no params":                func(g *api.GenesisState) { g.Params = api.Params{} },
		"malformed case":           func(g *api.GenesisState) { g.Cases[0].Case = []byte{1} },
		"case twice":               func(g *api.GenesisState) { g.Cases = append(g.Cases, g.Cases[0]) },
		"case beyond the last":     func(g *api.GenesisState) { g.LastCase = 1 },
		"unknown outcome":          func(g *api.GenesisState) { g.Cases[0].Info.Outcome = 4 },
		"decided at no height":     func(g *api.GenesisState) { g.Cases[0].Info.Closed = 0 },
		"due never":                func(g *api.GenesisState) { g.Cases[0].Info.Due = -1 },
		"malformed verdict":        func(g *api.GenesisState) { g.Cases[0].Info.Verdicts[0] = []byte{1} },
		"two verdicts of one":      func(g *api.GenesisState) { g.Cases[0].Info.Verdicts[1] = g.Cases[0].Info.Verdicts[0] },
		"a verdict of another":     func(g *api.GenesisState) { g.Cases[1].Info.Verdicts = g.Cases[0].Info.Verdicts },
		"record twice":             func(g *api.GenesisState) { g.Records = append(g.Records, g.Records[0]) },
		"record of nobody":         func(g *api.GenesisState) { g.Records[0].Operator = "" },
		"record in other letters":  func(g *api.GenesisState) { g.Records[0].Operator = strings.ToUpper(g.Records[0].Operator) },
		"paused before the chain ": func(g *api.GenesisState) { g.Records[0].Paused = -1 },
	} {
		raw, err := good.Marshal()
		if err != nil {
			t.Fatal(err)
		}
		g := new(api.GenesisState)
		if err := g.Unmarshal(raw); err != nil {
			t.Fatal(err)
		}
		change(g)
		if err := w.keeper.ValidateGenesis(g); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
	if err := w.keeper.ValidateGenesis(DefaultGenesis()); err != nil {
		t.Error(err)
	}
}

func TestUpdateParams(t *testing.T) {
	w := newWorld(t)
	m := msgServer{w.keeper}
	changed := params
	changed.PeriodBlocks = 0
	if _, err := m.UpdateParams(w.ctx, &api.MsgUpdateParams{Authority: text("mallory"), Params: changed}); !errors.Is(err, ErrRefused) {
		t.Error("a stranger changed the params:", err)
	}
	if _, err := m.UpdateParams(w.ctx, &api.MsgUpdateParams{Authority: authority, Params: changed}); err != nil {
		t.Error(err)
	}
	if lines := w.until(t, 130); len(lines) != 0 {
		t.Errorf("cases are drawn though there is no period: %v", lines)
	}
	for name, change := range map[string]func(*api.Params){
		"negative period":      func(p *api.Params) { p.PeriodBlocks = -1 },
		"no time to answer":    func(p *api.Params) { p.AnswerBlocks = 0 },
		"no time for verdicts": func(p *api.Params) { p.VerdictBlocks = p.AnswerBlocks },
		"deadline overflows":   func(p *api.Params) { p.VerdictBlocks = 1 << 62 },
		"no auditors":          func(p *api.Params) { p.Auditors = 0 },
		"too many auditors":    func(p *api.Params) { p.Auditors = audit.MaxAuditors + 1 },
		"negative pause":       func(p *api.Params) { p.PauseBlocks = -1 },
		"kept for no time":     func(p *api.Params) { p.KeepBlocks = 0 },
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

func TestQueries(t *testing.T) {
	w := lived(t)
	q := queryServer{w.keeper}
	newest, err := q.Cases(w.ctx, &api.QueryCasesRequest{Pagination: &query.PageRequest{Limit: 1, Reverse: true}})
	if err != nil || len(newest.Cases) != 1 || newest.Cases[0].Id != 3 || len(newest.Pagination.NextKey) == 0 {
		t.Errorf("%+v, %v", newest, err)
	}
	records, err := q.Records(w.ctx, &api.QueryRecordsRequest{})
	if err != nil || len(records.Records) < 4 {
		t.Errorf("%+v, %v", records, err)
	}
	if _, err := q.Case(w.ctx, &api.QueryCaseRequest{Id: 99}); !errors.Is(err, ErrRefused) {
		t.Error("a case that was never drawn:", err)
	}
	if _, err := q.Record(w.ctx, &api.QueryRecordRequest{Operator: "nobody"}); !errors.Is(err, ErrRefused) {
		t.Error("a record of nobody:", err)
	}
	if _, err := q.Duties(w.ctx, &api.QueryDutiesRequest{Operator: "nobody"}); !errors.Is(err, ErrRefused) {
		t.Error("duties of nobody:", err)
	}
}

// A case is drawn by the seed of its period's last height, when that is out. The periods in which no seeds came are not made up for.
func TestCasesWaitForSeeds(t *testing.T) {
	w := newWorld(t)
	for i, name := range []string{"ann", "ben", "cat", "dan"} {
		w.join(name, byte(i+1))
	}
	w.holders, w.holds = []string{"ann"}, map[string]uint64{"ann": 7}
	w.stalled = 109
	if lines := w.until(t, 155); len(lines) != 0 {
		t.Error("drawn without a seed:", lines)
	}
	w.stalled = 110
	lines := w.until(t, 156)
	if len(lines) != 1 || !strings.Contains(lines[0], "156: EventCaseDrawn") || !strings.Contains(lines[0], fmt.Sprint("deadline=", 156+params.VerdictBlocks)) {
		t.Error(lines)
	}
	if len(w.seeds) != 1 || w.seeds[0] != 110 {
		t.Errorf("drawn by the seeds of %v, want that of height 110", w.seeds)
	}
	w.until(t, 157)
	w.stalled = 148
	w.until(t, 160)
	if len(w.seeds) != 2 || w.seeds[1] != 140 {
		t.Errorf("drawn by the seeds of %v, want those of the heights 110 and 140", w.seeds)
	}
}
