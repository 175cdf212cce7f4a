package guarantee

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sort"
	"strings"
	"testing"
	"time"

	abci "github.com/cometbft/cometbft/abci/types"
	cmtproto "github.com/cometbft/cometbft/proto/tendermint/types"

	"cosmossdk.io/log/v2"
	sdkmath "cosmossdk.io/math"

	"github.com/cosmos/cosmos-sdk/baseapp"
	"github.com/cosmos/cosmos-sdk/codec/address"
	"github.com/cosmos/cosmos-sdk/crypto/keys/ed25519"
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
	"github.com/cosmos/cosmos-sdk/x/distribution"
	distrkeeper "github.com/cosmos/cosmos-sdk/x/distribution/keeper"
	distrtypes "github.com/cosmos/cosmos-sdk/x/distribution/types"
	"github.com/cosmos/cosmos-sdk/x/evidence"
	evidencekeeper "github.com/cosmos/cosmos-sdk/x/evidence/keeper"
	evidencetypes "github.com/cosmos/cosmos-sdk/x/evidence/types"
	govtypes "github.com/cosmos/cosmos-sdk/x/gov/types"
	"github.com/cosmos/cosmos-sdk/x/slashing"
	slashingkeeper "github.com/cosmos/cosmos-sdk/x/slashing/keeper"
	slashingtypes "github.com/cosmos/cosmos-sdk/x/slashing/types"
	"github.com/cosmos/cosmos-sdk/x/staking"
	stakingkeeper "github.com/cosmos/cosmos-sdk/x/staking/keeper"
	stakingtypes "github.com/cosmos/cosmos-sdk/x/staking/types"

	api "github.com/cella-network/cella/api/guarantee"
	"github.com/cella-network/cella/protocol/storageproof"
	"github.com/cella-network/cella/protocol/threshold"
)

const (
	denom     = "ucella"
	faucet    = "faucet"
	authority = "gov"
	cella     = 1_000_000
	gib       = 1 << 30
)

// A GiB lets a CELLA count; eras of ten blocks.
var params = api.Params{EraBlocks: 10, Rate: cella, GraceEras: 2, DecayEras: 4, RegainEras: 3, Seats: 4, MinOwn: 10 * cella, PowerUnit: cella,
	AuthorShare: 2000, UnbondEras: 3, EraPool: 1000 * cella, BadShareSlash: 1000}

// ceremonies stands for x/committee and x/beacon.
type ceremonies struct {
	group   bool // one is in charge
	refuses bool
	begun   []threshold.Stakeholder
	done    bool  // at the end of this block
	fresh   bool  // the same, with a key that the group made anew for those in force
	lag     int64 // of the seeds
	height  int64
}

func (c *ceremonies) Begin(_ context.Context, _ string, members []threshold.Stakeholder) error {
	if c.refuses {
		return errors.New("too few members with enclaves")
	}
	c.begun = members
	return nil
}

func (c *ceremonies) Charges(context.Context, string) (now, before *threshold.InCharge, err error) {
	if c.group {
		now = &threshold.InCharge{}
	}
	return now, nil, nil
}

func (c *ceremonies) Tip(context.Context) (int64, error) { return c.height - c.lag, nil }

// world is a chain of the stock modules and ours, with a CometBFT that believes what it is told.
type world struct {
	*ceremonies
	ctx      sdk.Context
	keeper   *Keeper
	staking  *stakingkeeper.Keeper
	slashing slashingkeeper.Keeper
	distr    distrkeeper.Keeper
	evidence *evidencekeeper.Keeper
	bank     bankkeeper.Keeper
	cfg      moduletestutil.TestEncodingConfig
	module   AppModule
	stock    StakingModule
	fees     DistributionModule
	server   stakingServer

	sets   map[int64]map[string]int64 // CometBFT's, by height: key -> power
	known  map[string]bool            // operators
	bytes  map[string]uint64          // what each one reports
	missed map[string]uint64
	fails  map[string]bool // heights that it doesn't prove
	silent map[string]bool
	absent map[string]bool // doesn't sign blocks
	double []abci.Misbehavior
	fee    int64
	made   sdkmath.Int // coins out of the faucet
	minted uint64
	burned uint64
	said   []string // by the last transaction
	votes  *storetypes.KVStoreKey
}

var (
	accounts   = address.NewBech32Codec("cella")
	validators = address.NewBech32Codec("cellavaloper")
	consensus  = address.NewBech32Codec("cellavalcons")
)

func newWorld(t testing.TB, p api.Params) *world {
	t.Helper()
	w := &world{ceremonies: &ceremonies{}, sets: map[int64]map[string]int64{}, known: map[string]bool{}, bytes: map[string]uint64{}, missed: map[string]uint64{},
		fails: map[string]bool{}, silent: map[string]bool{}, absent: map[string]bool{}, made: sdkmath.ZeroInt()}
	w.cfg = moduletestutil.MakeTestEncodingConfig(auth.AppModuleBasic{}, bank.AppModuleBasic{}, staking.AppModuleBasic{}, distribution.AppModuleBasic{},
		slashing.AppModuleBasic{}, evidence.AppModuleBasic{}, AppModule{})
	keys := storetypes.NewKVStoreKeys(authtypes.StoreKey, "bank", stakingtypes.StoreKey, distrtypes.StoreKey, slashingtypes.StoreKey, evidencetypes.StoreKey, govtypes.StoreKey, StoreKey)
	w.votes = keys[govtypes.StoreKey]
	kv := func(name string) *storetypes.KVStoreKey { return keys[name] }
	w.ctx = testutil.DefaultContextWithKeys(keys, nil, nil).WithBlockTime(time.Unix(1_000_000, 0).UTC())
	gov := text(authtypes.NewModuleAddress(govtypes.ModuleName))
	ak := authkeeper.NewAccountKeeper(w.cfg.Codec, runtime.NewKVStoreService(kv(authtypes.StoreKey)), authtypes.ProtoBaseAccount, map[string][]string{
		authtypes.FeeCollectorName: nil, distrtypes.ModuleName: nil, ModuleName: {authtypes.Minter}, faucet: {authtypes.Minter},
		stakingtypes.BondedPoolName:         {authtypes.Burner, authtypes.Staking},
		stakingtypes.NotBondedPoolName:      {authtypes.Burner, authtypes.Staking},
		stakingtypes.KeyRotationFeePoolName: {authtypes.Burner},
	}, accounts, "cella", gov)
	w.bank = bankkeeper.NewBaseKeeper(w.cfg.Codec, runtime.NewKVStoreService(kv("bank")), ak, nil, gov, log.NewNopLogger())
	w.staking = stakingkeeper.NewKeeper(w.cfg.Codec, runtime.NewKVStoreService(kv(stakingtypes.StoreKey)), ak, w.bank, gov, validators, consensus)
	w.distr = distrkeeper.NewKeeper(w.cfg.Codec, runtime.NewKVStoreService(kv(distrtypes.StoreKey)), ak, w.bank, w.staking, authtypes.FeeCollectorName, gov)
	w.keeper = NewKeeper(w.cfg.Codec, runtime.NewKVStoreService(kv(StoreKey)), accounts, w.staking, w.bank, w.distr, authority, denom)
	w.slashing = slashingkeeper.NewKeeper(w.cfg.Codec, w.cfg.Amino, runtime.NewKVStoreService(kv(slashingtypes.StoreKey)), w.keeper.Staking(), gov)
	w.evidence = evidencekeeper.NewKeeper(w.cfg.Codec, runtime.NewKVStoreService(kv(evidencetypes.StoreKey)), w.keeper.Staking(), w.slashing, accounts,
		runtime.ProvideCometInfoService())
	w.staking.SetHooks(stakingtypes.NewMultiStakingHooks(w.distr.Hooks(), w.slashing.Hooks(), w.keeper.Hooks()))
	w.keeper.Join(w, w, w.slashing)
	w.module = NewAppModule(w.keeper)
	w.stock = NewStakingModule(staking.NewAppModule(w.cfg.Codec, w.staking, ak, w.bank), w.keeper)
	w.fees = NewDistributionModule(distribution.NewAppModule(w.cfg.Codec, w.distr, ak, w.bank, w.staking), w.distr)
	w.server = stakingServer{stakingkeeper.NewMsgServerImpl(w.staking), w.keeper}

	w.module.InitGenesis(w.ctx, w.cfg.Codec, w.cfg.Codec.MustMarshalJSON(&api.GenesisState{Params: p}))
	w.distr.InitGenesis(w.ctx, *distrtypes.DefaultGenesisState())
	g := stakingtypes.DefaultGenesisState()
	g.Params.BondDenom, g.Params.UnbondingTime, g.Params.MaxValidators = denom, 10*time.Second, 1000
	g.Params.KeyRotationFee = sdk.NewInt64Coin(denom, 1)
	if updates := w.stock.InitGenesis(w.ctx, w.cfg.Codec, w.cfg.Codec.MustMarshalJSON(g)); len(updates) > 0 {
		t.Fatal("validators out of nothing")
	}
	s := slashingtypes.DefaultGenesisState()
	s.Params.SignedBlocksWindow, s.Params.MinSignedPerWindow = 8, sdkmath.LegacyNewDecWithPrec(5, 1)
	w.slashing.InitGenesis(w.ctx, w.staking, s)
	return w
}

func account(name string) sdk.AccAddress { return append([]byte(name), make([]byte, 20-len(name))...) }

func nameOf(a []byte) string { return string(bytes.TrimRight(a, "\x00")) }

func text(a sdk.AccAddress) string {
	s, err := accounts.BytesToString(a)
	if err != nil {
		panic(err)
	}
	return s
}

func valoper(name string) string {
	s, err := validators.BytesToString(account(name))
	if err != nil {
		panic(err)
	}
	return s
}

func keyOf(name string) *ed25519.PubKey {
	return ed25519.GenPrivKeyFromSecret([]byte(name)).PubKey().(*ed25519.PubKey)
}

func ucella(amount int64) sdk.Coin { return sdk.NewInt64Coin(denom, amount) }

func (w *world) fund(t testing.TB, who sdk.AccAddress, amount int64) {
	t.Helper()
	coins := sdk.NewCoins(ucella(amount))
	if err := errors.Join(w.bank.MintCoins(w.ctx, faucet, coins), w.bank.SendCoinsFromModuleToAccount(w.ctx, faucet, who, coins)); err != nil {
		t.Fatal(err)
	}
	w.made = w.made.AddRaw(amount)
}

// validator sends the message that makes one, with a cut in percent.
func (w *world) validator(t testing.TB, name string, own, cut int64) error {
	t.Helper()
	w.fund(t, account(name), own)
	w.known[name] = true
	rate := sdkmath.LegacyNewDecWithPrec(cut, 2)
	msg, err := stakingtypes.NewMsgCreateValidator(valoper(name), keyOf(name), ucella(own), stakingtypes.NewDescription(name, "", "", "", ""),
		stakingtypes.NewCommissionRates(rate, sdkmath.LegacyOneDec(), sdkmath.LegacyOneDec()), sdkmath.OneInt())
	if err != nil {
		t.Fatal(err)
	}
	return w.tx(func(ctx context.Context) error { _, err := w.server.CreateValidator(ctx, msg); return err })
}

// start ends genesis, as x/genutil does.
func (w *world) start(t testing.TB) {
	t.Helper()
	updates, err := w.keeper.Staking().ApplyAndReturnValidatorSetUpdates(w.ctx)
	if err != nil {
		t.Fatal(err)
	}
	w.sets[1] = applied(t, nil, updates)
	w.sets[2] = w.sets[1]
}

func applied(t testing.TB, set map[string]int64, updates []abci.ValidatorUpdate) map[string]int64 {
	t.Helper()
	out, seen := maps.Clone(set), map[string]bool{}
	if out == nil {
		out = map[string]int64{}
	}
	for _, u := range updates {
		key := string(u.PubKey.GetEd25519())
		_, in := out[key]
		if seen[key] || u.Power < 0 || u.Power == 0 && !in {
			t.Fatalf("CometBFT refuses the update %v", u)
		}
		seen[key] = true
		if out[key] = u.Power; u.Power == 0 {
			delete(out, key)
		}
	}
	if len(out) == 0 {
		t.Fatal("CometBFT has no validators left")
	}
	return out
}

// tx runs a message as a transaction does: all or nothing.
func (w *world) tx(run func(ctx context.Context) error) error {
	branch, write := w.ctx.WithEventManager(sdk.NewEventManager()).CacheContext()
	if err := run(branch); err != nil {
		return err
	}
	write()
	w.count(branch)
	w.said = events(branch)
	return nil
}

// bond, unbond and cancel send x/staking's messages.
func (w *world) bond(t testing.TB, node, who string, amount int64) error {
	w.fund(t, account(who), amount)
	return w.tx(func(ctx context.Context) error {
		_, err := w.server.Delegate(ctx, stakingtypes.NewMsgDelegate(text(account(who)), valoper(node), ucella(amount)))
		return err
	})
}

func (w *world) unbond(node, who string, amount int64) error {
	return w.tx(func(ctx context.Context) error {
		_, err := w.server.Undelegate(ctx, stakingtypes.NewMsgUndelegate(text(account(who)), valoper(node), ucella(amount)))
		return err
	})
}

// block executes one block and holds the books. It returns our events and what CometBFT is told.
func (w *world) block(t testing.TB) (lines []string) {
	t.Helper()
	h := w.ctx.BlockHeight() + 1
	w.ceremonies.height = h
	set := slices.Sorted(maps.Keys(w.sets[h]))
	proposer := set[h%int64(len(set))]
	voters := slices.Sorted(maps.Keys(w.sets[h-1]))
	var votes []abci.VoteInfo
	for _, key := range voters {
		flag := cmtproto.BlockIDFlagCommit
		if w.absent[w.named(key)] {
			flag = cmtproto.BlockIDFlagAbsent
		}
		votes = append(votes, abci.VoteInfo{Validator: abci.Validator{Address: addressOf(key), Power: w.sets[h-1][key]}, BlockIdFlag: flag})
	}
	info := baseapp.NewBlockInfo(w.double, nil, addressOf(proposer), abci.CommitInfo{Votes: votes})
	w.double = nil
	w.ctx = w.ctx.WithBlockHeader(cmtproto.Header{Height: h, Time: w.ctx.BlockTime().Add(time.Second), ProposerAddress: addressOf(proposer)}).
		WithVoteInfos(votes).WithCometInfo(info).WithEventManager(sdk.NewEventManager())
	for _, begin := range []func() error{
		func() error { return w.fees.BeginBlock(w.ctx) },
		func() error { return slashing.BeginBlocker(w.ctx, w.slashing) },
		func() error { return w.evidence.BeginBlocker(w.ctx) },
		func() error { return w.stock.BeginBlock(w.ctx) },
	} {
		if err := begin(); err != nil {
			t.Fatalf("block %d: %v", h, err)
		}
	}
	w.reports(t)
	if w.fee > 0 {
		w.fund(t, authtypes.NewModuleAddress(authtypes.FeeCollectorName), w.fee)
	}
	if w.fresh {
		members, err := w.keeper.Members(w.ctx, Purpose)
		if err != nil {
			t.Fatal(err)
		}
		w.begun, w.group, w.done, w.fresh = members, true, true, false
	}
	if w.done {
		if err := w.keeper.Reshared(w.ctx, Purpose, w.begun); err != nil {
			t.Fatal(err)
		}
		w.done = false
	}
	updates, err := w.stock.EndBlock(w.ctx)
	if err != nil {
		t.Fatalf("block %d: %v", h, err)
	}
	w.sets[h+2] = applied(t, w.sets[h+1], updates)
	w.count(w.ctx)
	lines = append(events(w.ctx), w.told(updates)...)
	w.ctx = w.ctx.WithEventManager(sdk.NewEventManager())
	w.audit(t)
	return lines
}

// reports are accepted at the third and the eighth block of ten.
func (w *world) reports(t testing.TB) {
	if h := w.ctx.BlockHeight() % 10; h != 3 && h != 8 {
		return
	}
	for _, name := range slices.Sorted(maps.Keys(w.bytes)) {
		if w.silent[name] {
			continue
		}
		if w.fails[name] {
			w.missed[name]++
		}
		r := storageproof.Report{Free: w.bytes[name]}
		if err := w.keeper.Reported(w.ctx, account(name), r, storageproof.Standing{Failed: w.missed[name]}); err != nil {
			t.Fatal(err)
		}
	}
}

// era runs blocks until one ends it.
func (w *world) era(t testing.TB) (lines []string) {
	t.Helper()
	before, err := w.keeper.era.Get(w.ctx)
	if err != nil {
		t.Fatal(err)
	}
	for range 200 {
		lines = append(lines, w.block(t)...)
		if e, err := w.keeper.era.Get(w.ctx); err != nil || e.Number != before.Number {
			return lines
		}
	}
	return append(lines, "the era does not end")
}

func addressOf(key string) []byte {
	a := consensusOf([]byte(key))
	return a[:]
}

// named is whose key it is; a rotated one has a mark.
func (w *world) named(key string) string {
	for name := range w.known {
		for _, mark := range []string{"", "'"} {
			if string(keyOf(name+mark).Key) == key {
				return name + mark
			}
		}
	}
	return "?"
}

func (w *world) told(updates []abci.ValidatorUpdate) (lines []string) {
	for _, u := range updates {
		lines = append(lines, fmt.Sprintf("power of %s is %d", w.named(string(u.PubKey.GetEd25519())), u.Power))
	}
	return lines
}

// count follows what is made and burned by what the events say.
func (w *world) count(ctx sdk.Context) {
	for _, e := range ctx.EventManager().ABCIEvents() {
		msg, err := sdk.ParseTypedEvent(e)
		if err != nil {
			continue
		}
		switch m := msg.(type) {
		case *api.EventEra:
			w.minted += m.Minted
		case *api.EventPenalty:
			w.burned += m.Bonded + m.Unbonding
		}
	}
}

// events are ours, with their figures in the order of their names.
func events(ctx sdk.Context) (lines []string) {
	for _, e := range ctx.EventManager().Events() {
		name, ours := strings.CutPrefix(e.Type, "cella.guarantee.v1.Event")
		if !ours {
			continue
		}
		var attrs []string
		for _, a := range e.Attributes {
			if value := strings.Trim(a.Value, `"`); value != "0" && a.Key != "height" {
				attrs = append(attrs, a.Key+"="+value)
			}
		}
		sort.Strings(attrs)
		lines = append(lines, name+" "+strings.Join(attrs, " "))
	}
	return lines
}
