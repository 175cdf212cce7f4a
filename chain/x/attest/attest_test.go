package attest

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"crypto/sha256"
	"fmt"
	"sort"
	"strings"
	"testing"
	"time"

	"github.com/cockroachdb/datadriven"

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

	api "github.com/cella-network/cella/api/attest"
	"github.com/cella-network/cella/protocol/attestation"
	"github.com/cella-network/cella/protocol/lottery"
)

const (
	denom     = "ucella"
	faucet    = "faucet"
	authority = "gov"
	chainID   = "cella-test"
)

var (
	program = sha256.Sum256([]byte("cella-enclave")) // may join, high tier
	lesser  = sha256.Sum256([]byte("lesser"))        // may join, low tier
)

var params = api.Params{
	Devnet: true, EntryStake: sdk.NewInt64Coin(denom, 100), MinEndorsers: 2, EndorseBlocks: 5, IntentBlocks: 20,
	RegistrationBlocks: 1000, TrustBlocks: 30, CapLow: 1, CapHigh: 2,
	Measurements: []api.Measurement{
		{Platform: uint32(attestation.PlatformSim), Measurement: program[:], Tier: uint32(attestation.TierHigh)},
		{Platform: uint32(attestation.PlatformSim), Measurement: lesser[:], Tier: uint32(attestation.TierLow)},
	},
}

// enclave is a simulated enclave on a simulated machine: INSECURE, and all that a test needs.
type enclave struct {
	account attestation.Account
	machine ed25519.PrivateKey
	key     ed25519.PrivateKey
	program [32]byte
	debug   bool
}

func keyOf(name string) ed25519.PrivateKey {
	seed := sha256.Sum256([]byte(name))
	return ed25519.NewKeyFromSeed(seed[:])
}

func newEnclave(name, machine string, start int) *enclave {
	return &enclave{account: account(name), machine: keyOf("machine " + machine), key: keyOf(fmt.Sprint("enclave ", name, start)), program: program}
}

// register makes R with evidence over a trust root.
func (e *enclave) register(height int64, hash [32]byte) attestation.Registration {
	r := attestation.Registration{ChainID: chainID, Account: e.account, Trust: attestation.TrustRoot{Height: height, Hash: hash}}
	copy(r.SignKey[:], e.key.Public().(ed25519.PublicKey))
	r.KEMKey = sha256.Sum256(r.SignKey[:])
	e.attest(&r)
	return r
}

// attest makes the evidence of what R says.
func (e *enclave) attest(r *attestation.Registration) {
	r.Evidence = attestation.SimQuote{Measurement: e.program, Debug: e.debug,
		ReportData: r.Binding(attestation.PurposeJoin, r.Trust.Hash).ReportData()}.Evidence(e.machine)
}

func (e *enclave) sign(message []byte) []byte { return ed25519.Sign(e.key, message) }

type world struct {
	ctx      sdk.Context
	key      *storetypes.KVStoreKey
	keeper   *Keeper
	bank     bankkeeper.Keeper
	module   AppModule
	cfg      moduletestutil.TestEncodingConfig
	holds    map[string]bool
	enclaves map[string]*enclave
	starts   map[string]int
	regs     map[string]attestation.Registration
	stalled  int64 // no seed of a later height is out; 0: seeds come with their blocks
	oldest   int64 // seeds of lower heights are not kept
}

// Seed, Tip and Holds stand for the modules around attest. Seeds come with their blocks, but for those that a test holds back.
func (w *world) Seed(ctx context.Context, height int64) (lottery.Seed, bool, error) {
	tip, err := w.Tip(ctx)
	return lottery.BlockSeed(chainID, height, hashOf(height)), height <= tip && height >= w.oldest, err
}

func (w *world) Tip(ctx context.Context) (int64, error) {
	now := sdk.UnwrapSDKContext(ctx).BlockHeight()
	if w.stalled > 0 {
		return min(now, w.stalled), nil
	}
	return now, nil
}

func (w *world) Holds(_ context.Context, operator sdk.AccAddress) (bool, error) {
	return w.holds[string(operator)], nil
}

func newWorld(t testing.TB, p api.Params) *world {
	t.Helper()
	w := &world{holds: map[string]bool{}, enclaves: map[string]*enclave{}, starts: map[string]int{}, regs: map[string]attestation.Registration{}}
	w.cfg = moduletestutil.MakeTestEncodingConfig(auth.AppModuleBasic{}, bank.AppModuleBasic{}, AppModule{})
	keys := storetypes.NewKVStoreKeys(authtypes.StoreKey, "bank", StoreKey)
	w.key = keys[StoreKey]
	w.ctx = testutil.DefaultContextWithKeys(keys, nil, nil).WithChainID(chainID)
	codec := address.NewBech32Codec("cella")
	accounts := authkeeper.NewAccountKeeper(w.cfg.Codec, runtime.NewKVStoreService(keys[authtypes.StoreKey]), authtypes.ProtoBaseAccount,
		map[string][]string{ModuleName: nil, faucet: {authtypes.Minter}}, codec, "cella", authority)
	w.bank = bankkeeper.NewBaseKeeper(w.cfg.Codec, runtime.NewKVStoreService(keys["bank"]), accounts,
		map[string]bool{authtypes.NewModuleAddress(faucet).String(): true}, textOf(authtypes.NewModuleAddress(authority)), log.NewNopLogger())
	w.keeper = NewKeeper(w.cfg.Codec, runtime.NewKVStoreService(w.key), codec, w.bank, w, authority, denom)
	w.keeper.SetReplicas(w)
	w.module = NewAppModule(w.keeper)
	if err := w.keeper.InitGenesis(w.ctx, &api.GenesisState{Params: p}); err != nil {
		t.Fatal(err)
	}
	w.next(t, 10)
	return w
}

func account(name string) (a attestation.Account) {
	copy(a[:], name)
	return a
}

func textOf(a []byte) string {
	s, err := address.NewBech32Codec("cella").BytesToString(a)
	if err != nil {
		panic(err)
	}
	return s
}

func text(name string) string {
	a := account(name)
	return textOf(a[:])
}

func hashOf(height int64) [32]byte { return sha256.Sum256([]byte(fmt.Sprint("block ", height))) }

func (w *world) fund(t testing.TB, to string, amount int64) {
	t.Helper()
	coins := sdk.NewCoins(sdk.NewCoin(denom, sdkmath.NewInt(amount)))
	if err := w.bank.MintCoins(w.ctx, faucet, coins); err != nil {
		t.Fatal(err)
	}
	a := account(to)
	if err := w.bank.SendCoinsFromModuleToAccount(w.ctx, faucet, a[:], coins); err != nil {
		t.Fatal(err)
	}
}

func (w *world) balance(name string) string {
	a := account(name)
	return w.bank.GetBalance(w.ctx, a[:], denom).String()
}

// next runs the beginning of n blocks of a second each, holding the books after each.
func (w *world) next(t testing.TB, n int) (events []string) {
	t.Helper()
	for range n {
		height := w.ctx.BlockHeight() + 1
		hash := hashOf(height)
		w.ctx = w.ctx.WithBlockHeight(height).WithHeaderHash(hash[:]).WithBlockTime(time.Unix(1_000_000+height, 0))
		block := w.ctx.WithEventManager(sdk.NewEventManager())
		if err := w.module.BeginBlock(block); err != nil {
			t.Fatal(err)
		}
		for _, line := range eventsOf(block) {
			events = append(events, fmt.Sprintf("%d: %s", height, line))
		}
		w.audit(t)
	}
	return events
}

// audit holds the module's balance against the locked stakes, and the lists against the records.
func (w *world) audit(t testing.TB) {
	t.Helper()
	g, err := w.keeper.ExportGenesis(w.ctx)
	if err != nil {
		t.Fatal(err)
	}
	locked := sdk.NewInt64Coin(denom, 0)
	for _, s := range g.Stakes {
		locked = locked.Add(s.Amount)
	}
	if got := w.bank.GetBalance(w.ctx, authtypes.NewModuleAddress(ModuleName), denom); !got.Equal(locked) {
		t.Fatalf("height %d: the module holds %s, stakes are %s", w.ctx.BlockHeight(), got, locked)
	}
	active := uint64(0)
	for _, n := range g.Nodes {
		record, err := attestation.UnmarshalNode(n.Record)
		if err != nil {
			t.Fatal(err)
		}
		if w.ctx.BlockHeight() < record.Expires {
			active++
		}
	}
	if count, err := w.keeper.count.Get(w.ctx); err != nil || count != active {
		t.Fatalf("height %d: %d nodes are counted as active, %d are", w.ctx.BlockHeight(), count, active)
	}
}

func eventsOf(ctx sdk.Context) (lines []string) {
	for _, e := range ctx.EventManager().Events() {
		name, ours := strings.CutPrefix(e.Type, "cella.attest.v1.")
		if !ours {
			continue
		}
		var attrs []string
		for _, a := range e.Attributes {
			if a.Key != "registration" {
				attrs = append(attrs, a.Key+"="+strings.Trim(a.Value, `"`))
			}
		}
		sort.Strings(attrs)
		lines = append(lines, name+" "+strings.Join(attrs, " "))
	}
	return lines
}

// tx runs a message as a transaction does: all or nothing.
func (w *world) tx(run func(ctx sdk.Context) error) ([]string, error) {
	branch, write := w.ctx.WithEventManager(sdk.NewEventManager()).CacheContext()
	if err := run(branch); err != nil {
		return nil, err
	}
	write()
	return eventsOf(branch), nil
}

func (w *world) announce(r attestation.Registration, sigM []byte, operator string, addrs ...string) ([]string, error) {
	return w.tx(func(ctx sdk.Context) error {
		_, err := msgServer{w.keeper}.Announce(ctx, &api.MsgAnnounce{Operator: operator, Registration: r.Marshal(), SigM: sigM, Addrs: addrs})
		return err
	})
}

// join announces an enclave over the last block.
func (w *world) join(t testing.TB, e *enclave) []string {
	t.Helper()
	height := w.ctx.BlockHeight() - 1
	r := e.register(height, hashOf(height))
	events, err := w.announce(r, e.sign(r.Marshal()), textOf(e.account[:]))
	if err != nil {
		t.Fatal(err)
	}
	return events
}

// TestTranscripts follows joins, honest and not. The chain has run for ten blocks; two active nodes of the high tier are
// the least that can endorse; an entry stake is 100. What a command changes about an honest message it names.
func TestTranscripts(t *testing.T) {
	datadriven.Walk(t, "testdata", func(t *testing.T, path string) {
		p := params
		if strings.HasSuffix(path, "bootstrap") {
			p.Bootstrap, p.BootstrapNodes = []string{text("ann"), text("ben")}, 2
		}
		w := newWorld(t, p)
		known := map[string]bool{}
		datadriven.RunTest(t, path, func(t *testing.T, d *datadriven.TestData) string {
			lines, err := w.command(t, d, known)
			w.audit(t)
			var pairs []string
			for n := range known {
				a := account(n)
				pairs = append(pairs, text(n), n, sdk.AccAddress(a[:]).String(), n)
			}
			names := strings.NewReplacer(pairs...)
			if err != nil {
				reason, _, _ := strings.Cut(err.Error(), " [")
				return names.Replace("refused: " + reason + "\n")
			}
			if len(lines) == 0 {
				return "ok\n"
			}
			return names.Replace(strings.Join(lines, "\n") + "\n")
		})
	})
}

// called resolves "drawn", the endorser drawn for an account, and "other", which is Ann or Ben, whoever it is not.
func (w *world) called(name, who string, known map[string]bool) string {
	a := account(who)
	in, _, _, err := w.keeper.intent(w.ctx, a[:])
	if err != nil {
		panic(err)
	}
	drawn := ""
	for n := range known {
		if account(n) == in.Endorser {
			drawn = n
		}
	}
	switch {
	case name == "drawn":
		return drawn
	case name == "other" && drawn == "ann":
		return "ben"
	case name == "other":
		return "ann"
	}
	return name
}

func (w *world) command(t *testing.T, d *datadriven.TestData, known map[string]bool) ([]string, error) {
	number := func(key string, missing int64) int64 {
		d.MaybeScanArgs(t, key, &missing)
		return missing
	}
	word := func(key, missing string) string {
		d.MaybeScanArgs(t, key, &missing)
		return missing
	}
	who := ""
	if len(d.CmdArgs) > 0 && len(d.CmdArgs[0].Vals) == 0 {
		who = d.CmdArgs[0].Key
		known[who] = true
	}
	msgs, queries := msgServer{w.keeper}, queryServer{w.keeper}
	switch d.Cmd {
	case "fund":
		for _, arg := range d.CmdArgs {
			known[arg.Key] = true
			w.fund(t, arg.Key, 1000)
		}
		return nil, nil
	case "start":
		// A fresh enclave: new keys on the same machine, unless told otherwise.
		w.starts[who]++
		w.enclaves[who] = newEnclave(who, word("machine", who), w.starts[who])
		switch word("program", "") {
		case "lesser":
			w.enclaves[who].program = lesser
		case "unknown":
			w.enclaves[who].program = [32]byte{1}
		}
		w.enclaves[who].debug = d.HasArg("debug")
		return nil, nil
	case "announce":
		e := w.enclaves[who]
		height := number("trust", w.ctx.BlockHeight()-1)
		hash := hashOf(height)
		if d.HasArg("fork") {
			hash[0]++
		}
		r := e.register(height, hash)
		switch word("lie", "") {
		case "chain": // evidence and registration for another chain
			r.ChainID = "other"
			e.attest(&r)
		case "keys": // evidence of other keys than R names
			r.KEMKey[0]++
		case "challenge": // old evidence under a new trust root
			old := e.register(height-1, hashOf(height-1))
			r.Evidence = old.Evidence
		case "quote": // evidence that the machine never signed
			r.Evidence.Quote[len(r.Evidence.Quote)-1]++
		case "platform": // nobody verifies it
			r.Evidence.Platform = attestation.PlatformSGX
		}
		sig := e.sign(r.Marshal())
		if by := word("signed-by", ""); by != "" {
			sig = w.enclaves[by].sign(r.Marshal())
		}
		w.regs[who] = r
		return w.announce(r, sig, text(word("as", who)), "/dns/"+who)
	case "register":
		e, r := w.enclaves[who], w.regs[who]
		endorser := w.called(word("endorser", ""), who, known)
		v := w.enclaves[w.called(word("signed-by", endorser), who, known)]
		sigV := [64]byte(v.sign(attestation.EndorsementBytes(r, account(w.called(word("vouching-as", endorser), who, known)))))
		sigMV := e.sign(attestation.ConfirmationBytes(r, account(w.called(word("confirming", endorser), who, known)), sigV))
		if d.HasArg("changed") {
			r.Declared++ // what was announced and endorsed said something else
		}
		return w.tx(func(ctx sdk.Context) error {
			_, err := msgs.Register(ctx, &api.MsgRegister{Operator: text(word("as", who)), Registration: r.Marshal(), SigM: e.sign(r.Marshal()),
				Endorser: text(endorser), SigV: sigV[:], SigMv: sigMV})
			return err
		})
	case "leave":
		return w.tx(func(ctx sdk.Context) error {
			_, err := msgs.Leave(ctx, &api.MsgLeave{Operator: text(who)})
			return err
		})
	case "addrs":
		return w.tx(func(ctx sdk.Context) error {
			_, err := msgs.SetAddrs(ctx, &api.MsgSetAddrs{Operator: text(who), Addrs: []string{word("to", "")}})
			return err
		})
	case "holds":
		a := account(who)
		w.holds[string(a[:])] = !d.HasArg("nothing")
		return nil, nil
	case "next":
		return w.next(t, int(number("blocks", 1))), nil
	case "node":
		resp, err := queries.Node(w.ctx, &api.QueryNodeRequest{Operator: text(who)})
		if err != nil {
			return nil, err
		}
		n := resp.Node
		return []string{fmt.Sprintf("tier=%d joined=%d expires=%d active=%t endorser=%s silent=%d addrs=%v", n.Tier, n.Joined, n.Expires, n.Active, n.Endorser, n.Silent, n.Addrs),
			fmt.Sprintf("its latest keys: %t", bytes.Equal(n.SignKey, w.enclaves[who].key.Public().(ed25519.PublicKey)))}, nil
	case "intents":
		resp, err := queries.Intents(w.ctx, &api.QueryIntentsRequest{})
		if err != nil {
			return nil, err
		}
		var lines []string
		for _, i := range resp.Intents {
			lines = append(lines, fmt.Sprintf("%s announced=%d endorser=%s drawn=%d attempt=%d addrs=%v", i.Operator, i.Announced, i.Endorser, i.Drawn, i.Attempt, i.Addrs))
		}
		return lines, nil
	case "expire-endorser", "demote-endorser":
		v := account(w.called("drawn", who, known))
		n, _, err := w.keeper.node(w.ctx, v[:])
		if err != nil {
			return nil, err
		}
		info, err := w.keeper.nodeInfo(w.ctx, v[:])
		if err != nil {
			return nil, err
		}
		if d.Cmd == "demote-endorser" {
			n.Tier = attestation.TierLow
			return nil, w.keeper.setNode(w.ctx, n, info)
		}
		n.Expires = w.ctx.BlockHeight()
		if err := w.keeper.deactivate(w.ctx, n, info); err != nil {
			return nil, err
		}
		return nil, w.keeper.setNode(w.ctx, n, info)
	case "endorsers":
		it, err := w.keeper.seatOf.Iterate(w.ctx, nil)
		if err != nil {
			return nil, err
		}
		accounts, err := it.Keys()
		var lines []string
		for _, a := range accounts {
			if ok, err := w.keeper.endorses(w.ctx, a); err != nil {
				return nil, err
			} else if ok {
				lines = append(lines, textOf(a))
			}
		}
		return lines, err
	case "balances":
		var lines []string
		for _, arg := range d.CmdArgs {
			lines = append(lines, arg.Key+" "+w.balance(arg.Key))
		}
		return lines, nil
	}
	d.Fatalf(t, "unknown command %q", d.Cmd)
	return nil, nil
}
