package attest

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	storetypes "github.com/cosmos/cosmos-sdk/store/v2/types"
	sdk "github.com/cosmos/cosmos-sdk/types"
	"github.com/cosmos/cosmos-sdk/types/query"
	authtypes "github.com/cosmos/cosmos-sdk/x/auth/types"

	api "github.com/cella-network/cella/api/attest"
	"github.com/cella-network/cella/protocol/attestation"
	"github.com/cella-network/cella/protocol/lottery"
)

// started gives a world with two endorsers and a funded third account.
func started(t testing.TB) (*world, *enclave) {
	t.Helper()
	w := newWorld(t, params)
	for _, n := range []string{"ann", "ben"} {
		w.fund(t, n, 1000)
		w.enclaves[n] = newEnclave(n, n, 1)
		w.join(t, w.enclaves[n])
	}
	w.fund(t, "cat", 1000)
	return w, newEnclave("cat", "cat", 1)
}

// Enclaves look for nodes and intents under their canonical keys, in their canonical encodings, and nothing else lies there.
func TestRecordsAreProvable(t *testing.T) {
	w, cat := started(t)
	w.join(t, cat)
	w.next(t, 1)
	store := w.ctx.KVStore(w.key)
	n, err := attestation.UnmarshalNode(store.Get(attestation.NodeKey(account("ann"))))
	if err != nil || n.Account != account("ann") || !bytes.Equal(n.SignKey[:], w.enclaves["ann"].key[32:]) || n.Expires != n.Joined+params.RegistrationBlocks {
		t.Errorf("%+v, %v", n, err)
	}
	in, err := attestation.UnmarshalIntent(store.Get(attestation.IntentKey(account("cat"))))
	if err != nil || in.Account != account("cat") || in.Endorser == (attestation.Account{}) || in.Drawn != w.ctx.BlockHeight() {
		t.Errorf("%+v, %v", in, err)
	}
	for _, c := range []struct {
		key  []byte
		want int
	}{{attestation.NodeKey(account(""))[:1], 2}, {attestation.IntentKey(account(""))[:1], 1}} {
		it := storetypes.KVStorePrefixIterator(store, c.key)
		n := 0
		for ; it.Valid(); it.Next() {
			n++
		}
		if err := it.Close(); err != nil || n != c.want {
			t.Errorf("%d values under prefix %x, want %d: %v", n, c.key, c.want, err)
		}
	}
}

func TestMessageLimits(t *testing.T) {
	w, cat := started(t)
	height := w.ctx.BlockHeight() - 1
	r := cat.register(height, hashOf(height))
	sig := cat.sign(r.Marshal())
	m := msgServer{w.keeper}
	many, long := make([]string, maxAddrs+1), []string{"/" + strings.Repeat("a", maxAddr)}
	for i := range many {
		many[i] = "/dns/a"
	}
	for name, msg := range map[string]api.MsgAnnounce{
		"long registration":   {Operator: text("cat"), Registration: make([]byte, attestation.MaxRegistration+1), SigM: sig},
		"short signature":     {Operator: text("cat"), Registration: r.Marshal(), SigM: sig[:63]},
		"long signature":      {Operator: text("cat"), Registration: r.Marshal(), SigM: append(sig, 0)},
		"many addresses":      {Operator: text("cat"), Registration: r.Marshal(), SigM: sig, Addrs: many},
		"long address":        {Operator: text("cat"), Registration: r.Marshal(), SigM: sig, Addrs: long},
		"empty address":       {Operator: text("cat"), Registration: r.Marshal(), SigM: sig, Addrs: []string{""}},
		"unprintable address": {Operator: text("cat"), Registration: r.Marshal(), SigM: sig, Addrs: []string{"/dns/\xff"}},
		"no operator":         {Registration: r.Marshal(), SigM: sig},
		"long account":        {Operator: textOf(make([]byte, 32)), Registration: r.Marshal(), SigM: sig},
		"no registration":     {Operator: text("cat"), SigM: sig},
	} {
		if _, err := m.Announce(w.ctx, &msg); !errors.Is(err, ErrRefused) {
			t.Errorf("announce with %s: %v", name, err)
		}
	}
	w.join(t, cat)
	w.next(t, 1)
	for name, msg := range map[string]api.MsgRegister{
		"long registration": {Operator: text("cat"), Registration: make([]byte, attestation.MaxRegistration+1), SigM: sig, Endorser: text("ann"), SigV: sig, SigMv: sig},
		"short sig_m":       {Operator: text("cat"), Registration: r.Marshal(), SigM: sig[1:], Endorser: text("ann"), SigV: sig, SigMv: sig},
		"short sig_v":       {Operator: text("cat"), Registration: r.Marshal(), SigM: sig, Endorser: text("ann"), SigV: sig[1:], SigMv: sig},
		"short sig_mv":      {Operator: text("cat"), Registration: r.Marshal(), SigM: sig, Endorser: text("ann"), SigV: sig, SigMv: sig[1:]},
		"no endorser":       {Operator: text("cat"), Registration: r.Marshal(), SigM: sig, SigV: sig, SigMv: sig},
	} {
		if _, err := m.Register(w.ctx, &msg); !errors.Is(err, ErrRefused) {
			t.Errorf("register with %s: %v", name, err)
		}
	}
	for name, addrs := range map[string][]string{"many": many, "long": long} {
		if _, err := m.SetAddrs(w.ctx, &api.MsgSetAddrs{Operator: text("ann"), Addrs: addrs}); !errors.Is(err, ErrRefused) {
			t.Errorf("%s addresses: %v", name, err)
		}
	}
}

// Evidence is paid for before it is looked at, by its size.
func TestEvidenceGas(t *testing.T) {
	w, _ := started(t)
	gasOf := func(size int) uint64 {
		w.ctx = w.ctx.WithGasMeter(storetypes.NewGasMeter(1 << 40))
		_, err := msgServer{w.keeper}.Announce(w.ctx, &api.MsgAnnounce{Operator: text("cat"), Registration: make([]byte, size), SigM: make([]byte, 64)})
		if !errors.Is(err, ErrRefused) {
			t.Fatal(err)
		}
		return w.ctx.GasMeter().GasConsumed()
	}
	small, big := gasOf(0), gasOf(attestation.MaxRegistration)
	if small < gasEvidence || big-small != gasPerByte*attestation.MaxRegistration {
		t.Errorf("%d gas, with %d bytes %d", small, attestation.MaxRegistration, big)
	}
}

// A draw falls on every seat but the excluded ones with the same chance, and seats stay without a gap when nodes come and
// go: among them are a node that renews its registration, which is an endorser itself but never its own, and the silent.
func TestSeats(t *testing.T) {
	w, _ := started(t) // ann and ben sit
	var all []sdk.AccAddress
	for i := range 8 {
		a := account(fmt.Sprint("seat", i))
		all = append(all, a[:])
		if err := errors.Join(w.keeper.seat(w.ctx, a[:]), w.keeper.seat(w.ctx, a[:])); err != nil {
			t.Fatal(err)
		}
	}
	gone := []sdk.AccAddress{all[7], all[0], all[3], all[3]}
	for _, a := range gone {
		if err := w.keeper.unseat(w.ctx, a); err != nil {
			t.Fatal(err)
		}
	}
	if n, err := w.keeper.seated(w.ctx); err != nil || n != 7 {
		t.Fatal(n, err)
	}
	count := map[string]int{}
	for i := range 5000 {
		subject := fmt.Appendf(nil, "%d", i)
		a, err := w.keeper.drawn(w.ctx, lottery.Seed{}, subject, []sdk.AccAddress{all[1], all[5], all[1], gone[0]})
		if err != nil {
			t.Fatal(err)
		}
		count[string(a)]++
	}
	if len(count) != 5 || count[string(all[1])]+count[string(all[5])]+count[string(all[3])] != 0 {
		t.Errorf("drawn: %v", count)
	}
	for a, n := range count {
		if n < 800 || n > 1200 {
			t.Errorf("%q was drawn %d times of 5000, want about 1000", a, n)
		}
	}
	ann, ben := account("ann"), account("ben")
	if a, err := w.keeper.drawn(w.ctx, lottery.Seed{}, nil, append(all, ann[:], ben[:])); a != nil || err != nil {
		t.Errorf("all are excluded, drawn is %s: %v", a, err)
	}
}

// A block with due intents costs as much on a network of ten endorsers as on one of thousands.
func TestDrawIsBounded(t *testing.T) {
	gas := func(endorsers int) uint64 {
		w, cat := started(t)
		for i := range endorsers {
			a := account(fmt.Sprintf("endorser%010d", i))
			if err := w.keeper.seat(w.ctx, a[:]); err != nil {
				t.Fatal(err)
			}
		}
		w.join(t, cat)
		w.ctx = w.ctx.WithGasMeter(storetypes.NewGasMeter(1 << 40)).WithBlockHeight(w.ctx.BlockHeight() + 1)
		if err := w.keeper.draw(w.ctx, params); err != nil {
			t.Fatal(err)
		}
		in, _, _, err := w.keeper.intent(w.ctx, cat.account[:])
		if err != nil || in.Endorser == (attestation.Account{}) {
			t.Fatalf("nobody was drawn: %v", err)
		}
		return w.ctx.GasMeter().GasConsumed()
	}
	if few, many := gas(10), gas(5000); many > few+few/10 {
		t.Errorf("%d gas with 10 endorsers, %d with 5000", few, many)
	}
}

// bech32 knows capitals: an account must not pass for two by its spelling.
func TestOneSpelling(t *testing.T) {
	w, _ := started(t)
	if _, err := w.keeper.operator(strings.ToUpper(text("cat"))); !errors.Is(err, ErrRefused) {
		t.Error(err)
	}
}

// Whoever can't be paid can't lock a stake, for it could never go back.
func TestBlockedAddress(t *testing.T) {
	w, cat := started(t)
	cat.account = attestation.Account(authtypes.NewModuleAddress(faucet))
	r := cat.register(9, hashOf(9))
	if _, err := w.announce(r, cat.sign(r.Marshal()), textOf(cat.account[:])); !errors.Is(err, ErrRefused) || !strings.Contains(err.Error(), "stake back") {
		t.Error(err)
	}
}

// A registration ends when its evidence's collateral does, if that is sooner.
func TestCollateralEnds(t *testing.T) {
	w, cat := started(t)
	now := w.ctx.BlockTime().Unix()
	v := verdict{r: cat.register(9, hashOf(9)), tier: attestation.TierHigh,
		claims: attestation.Claims{Platform: attestation.PlatformSim, PlatformID: [32]byte{7}, NotAfter: now + 50}}
	if err := w.keeper.admit(w.ctx, params, v, "", nil); err != nil {
		t.Fatal(err)
	}
	active := func() bool {
		ok, err := w.keeper.IsActive(w.ctx, cat.account[:])
		if err != nil {
			t.Fatal(err)
		}
		return ok
	}
	if events := w.next(t, 49); len(events) != 0 || !active() {
		t.Fatal(events)
	}
	if events := w.next(t, 1); len(events) != 1 || !strings.Contains(events[0], "EventInactive") || active() {
		t.Fatal(events)
	}
	n, _, err := w.keeper.Active(w.ctx, cat.account)
	if err != nil || n.Expires != w.ctx.BlockHeight() {
		t.Errorf("the record that enclaves see must end as well: %+v, %v", n, err)
	}
	if events := w.next(t, 2000); len(events) != 2 {
		t.Errorf("cat ended twice: %q", events)
	}
	if err := w.keeper.mayJoin(w.ctx, params, cat.account[:], v.claims); !errors.Is(err, ErrRefused) {
		t.Error("outdated evidence:", err)
	}
	// Its machine is free for another account.
	v.r.Account, v.claims.NotAfter = account("dan"), 0
	if err := w.keeper.mayJoin(w.ctx, params, v.r.Account[:], v.claims); err != nil {
		t.Error(err)
	}
}

// A machine that hides its identity can't be counted, so it is no reason to refuse another.
func TestZeroPlatformID(t *testing.T) {
	w, _ := started(t)
	for _, name := range []string{"one", "two"} {
		e := newEnclave(name, name, 1)
		v := verdict{r: e.register(9, hashOf(9)), tier: attestation.TierLow, claims: attestation.Claims{Platform: attestation.PlatformSim}}
		if err := w.keeper.mayJoin(w.ctx, params, e.account[:], v.claims); err != nil {
			t.Fatal(err)
		}
		if err := w.keeper.admit(w.ctx, params, v, "", nil); err != nil {
			t.Fatal(err)
		}
	}
	w.audit(t)
}

// Block hashes are kept as long as a trust root may be old, also after governance shortened that.
func TestHashesArePruned(t *testing.T) {
	w := newWorld(t, params)
	w.next(t, 100)
	count := func() (n int, oldest int64) {
		it, err := w.keeper.hashes.Iterate(w.ctx, nil)
		if err != nil {
			t.Fatal(err)
		}
		heights, err := it.Keys()
		if err != nil {
			t.Fatal(err)
		}
		return len(heights), heights[0]
	}
	if n, oldest := count(); n != 31 || oldest != w.ctx.BlockHeight()-30 {
		t.Errorf("%d hashes from %d at %d", n, oldest, w.ctx.BlockHeight())
	}
	if hash, ok, err := w.keeper.BlockHash(w.ctx, w.ctx.BlockHeight()); err != nil || !ok || hash != hashOf(w.ctx.BlockHeight()) {
		t.Error("this block's hash is not known:", ok, err)
	}
	if _, ok, err := w.keeper.BlockHash(w.ctx, w.ctx.BlockHeight()+1); err != nil || ok {
		t.Error("a later block's hash is known:", ok, err)
	}
	shorter := params
	shorter.TrustBlocks = 10
	if _, err := (msgServer{w.keeper}).UpdateParams(w.ctx, &api.MsgUpdateParams{Authority: authority, Params: shorter}); err != nil {
		t.Fatal(err)
	}
	// What is not pruned yet is too old all the same.
	w.fund(t, "cat", 1000)
	cat := newEnclave("cat", "cat", 1)
	old := cat.register(w.ctx.BlockHeight()-11, hashOf(w.ctx.BlockHeight()-11))
	if _, err := w.announce(old, cat.sign(old.Marshal()), text("cat")); !errors.Is(err, ErrRefused) {
		t.Error("a trust root that is too old:", err)
	}
	w.next(t, 25)
	if n, oldest := count(); n != 11 || oldest != w.ctx.BlockHeight()-10 {
		t.Errorf("%d hashes from %d at %d", n, oldest, w.ctx.BlockHeight())
	}
}

// A block handles a bounded number of due items; the rest follows in the next ones.
func TestBlockWorkIsBounded(t *testing.T) {
	w, _ := started(t)
	for i := range intentsPerBlock + 10 {
		name := fmt.Sprint("joiner", i)
		w.fund(t, name, 1000)
		w.join(t, newEnclave(name, name, 1))
	}
	if n := strings.Count(strings.Join(w.next(t, 1), "\n"), "EventEndorserDrawn"); n != intentsPerBlock {
		t.Errorf("the first block drew %d", n)
	}
	if n := strings.Count(strings.Join(w.next(t, 1), "\n"), "EventEndorserDrawn"); n != 10 {
		t.Errorf("the second block drew %d", n)
	}
	for i := range expiriesPerBlock + 10 {
		e := newEnclave(fmt.Sprint("node", i), fmt.Sprint("node", i), 1)
		v := verdict{r: e.register(9, hashOf(9)), tier: attestation.TierLow, claims: attestation.Claims{Platform: attestation.PlatformSim, PlatformID: sha256.Sum256(e.account[:])}}
		p := params
		p.RegistrationBlocks = 30
		if err := w.keeper.admit(w.ctx, p, v, "", nil); err != nil {
			t.Fatal(err)
		}
	}
	expired := func(n int) (count int) {
		for range n {
			w.ctx = w.ctx.WithBlockHeight(w.ctx.BlockHeight() + 1)
			block := w.ctx.WithEventManager(sdk.NewEventManager())
			if err := w.module.BeginBlock(block); err != nil {
				t.Fatal(err)
			}
			count += strings.Count(strings.Join(eventsOf(block), "\n"), "EventInactive")
		}
		return count
	}
	if n := expired(29); n != 0 {
		t.Errorf("%d ended too early", n)
	}
	if n := expired(1); n != expiriesPerBlock {
		t.Errorf("the first block ended %d", n)
	}
	// Those that wait for the list are inactive all the same: the record says so.
	if ok, err := w.keeper.IsActive(w.ctx, newEnclave(fmt.Sprint("node", expiriesPerBlock+9), "", 1).account[:]); err != nil || ok {
		t.Error("an ended registration is active:", err)
	}
	if n := expired(1); n != 10 {
		t.Errorf("the second block ended %d", n)
	}
}

// What can't be executed waits and stops neither the chain nor the others.
func TestFailingIntentWaits(t *testing.T) {
	w, cat := started(t)
	w.join(t, cat)
	good, err := w.keeper.stakes.Get(w.ctx, cat.account[:])
	if err != nil {
		t.Fatal(err)
	}
	bad := good
	bad.Amount = sdk.NewInt64Coin(denom, 1<<40) // more than the module holds
	if err := w.keeper.stakes.Set(w.ctx, cat.account[:], bad); err != nil {
		t.Fatal(err)
	}
	for range params.IntentBlocks + 1 { // without the audit of next, which would notice
		w.ctx = w.ctx.WithBlockHeight(w.ctx.BlockHeight() + 1)
		if err := w.module.BeginBlock(w.ctx); err != nil {
			t.Fatal(err)
		}
	}
	if ok, err := w.keeper.intents.Has(w.ctx, cat.account[:]); err != nil || !ok {
		t.Error("half of a failing item happened:", err)
	}
	if err := w.keeper.stakes.Set(w.ctx, cat.account[:], good); err != nil {
		t.Fatal(err)
	}
	w.next(t, retryBlocks)
	if got := w.balance("cat"); got != "1000"+denom {
		t.Error("the stake did not go back:", got)
	}
}

func TestGenesisRoundTrip(t *testing.T) {
	w, cat := started(t)
	w.fund(t, "dan", 1000)
	w.join(t, cat)
	w.next(t, 7) // one endorser was silent
	w.enclaves["ann"] = newEnclave("ann", "ann", 2)
	w.fund(t, "eve", 1000)
	w.join(t, newEnclave("eve", "eve", 1))
	p := params
	p.RegistrationBlocks = 3
	short := newEnclave("dan", "dan", 1)
	if err := w.keeper.admit(w.ctx, p, verdict{r: short.register(9, hashOf(9)), tier: attestation.TierHigh,
		claims: attestation.Claims{Platform: attestation.PlatformSim, PlatformID: [32]byte{1}, NotAfter: 1 << 40}}, text("ann"), []string{"/dns/dan"}); err != nil {
		t.Fatal(err)
	}
	for _, n := range []string{"fay", "gus"} {
		e := newEnclave(n, n, 1)
		if err := w.keeper.admit(w.ctx, params, verdict{r: e.register(9, hashOf(9)), tier: attestation.TierHigh,
			claims: attestation.Claims{Platform: attestation.PlatformSim}}, "", nil); err != nil {
			t.Fatal(err)
		}
	}
	w.next(t, 4)                 // one registration ended
	w.join(t, w.enclaves["ann"]) // and one node was restarted: it endorses nobody
	exported := w.module.ExportGenesis(w.ctx, w.cfg.Codec)
	if err := w.module.ValidateGenesis(w.cfg.Codec, nil, exported); err != nil {
		t.Fatal(err)
	}
	again := newWorld(t, params)
	again.ctx = again.ctx.WithBlockHeight(w.ctx.BlockHeight()).WithBlockTime(w.ctx.BlockTime())
	for _, h := range mustKeys(t, again) {
		if err := again.keeper.hashes.Remove(again.ctx, h); err != nil {
			t.Fatal(err)
		}
	}
	var state api.GenesisState
	w.cfg.Codec.MustUnmarshalJSON(exported, &state)
	broke, _ := again.ctx.CacheContext()
	if err := again.keeper.InitGenesis(broke, &state); err == nil || !strings.Contains(err.Error(), "account holds") {
		t.Errorf("started with stakes that nobody paid in: %v", err)
	}
	coins := w.bank.GetBalance(w.ctx, authtypes.NewModuleAddress(ModuleName), denom)
	again.fund(t, "bank", coins.Amount.Int64())
	from := account("bank")
	if err := again.bank.SendCoinsFromAccountToModule(again.ctx, from[:], ModuleName, sdk.NewCoins(coins)); err != nil {
		t.Fatal(err)
	}
	doubled := state
	doubled.Nodes = slices.Clone(state.Nodes)
	for i, gn := range state.Nodes {
		if n, err := attestation.UnmarshalNode(gn.Record); err == nil && n.Account == account("ben") {
			n.Account = account("ben's other")
			doubled.Nodes = append(doubled.Nodes, api.GenesisNode{Record: n.Marshal(), Info: state.Nodes[i].Info})
		}
	}
	shared, _ := again.ctx.CacheContext()
	if err := again.keeper.InitGenesis(shared, &doubled); err == nil || !strings.Contains(err.Error(), "machine") {
		t.Errorf("started with two nodes on one machine: %v", err)
	}
	again.module.InitGenesis(again.ctx, again.cfg.Codec, exported)
	if got := again.module.ExportGenesis(again.ctx, again.cfg.Codec); !bytes.Equal(got, exported) {
		t.Errorf("exported\n%s\nimported\n%s", exported, got)
	}
	for _, x := range []*world{w, again} {
		a := account("ann")
		if ok, err := x.keeper.endorses(x.ctx, a[:]); err != nil || ok {
			t.Error("a restarted node endorses:", err)
		}
	}
	// The queues and lists were rebuilt: both chains go on alike.
	a, b := w.next(t, 1100), again.next(t, 1100)
	if len(a) < 5 || strings.Join(a, "\n") != strings.Join(b, "\n") {
		t.Errorf("one chain goes on with\n%s\nthe other with\n%s", strings.Join(a, "\n"), strings.Join(b, "\n"))
	}
	if x, y := w.module.ExportGenesis(w.ctx, w.cfg.Codec), again.module.ExportGenesis(again.ctx, again.cfg.Codec); !bytes.Equal(x, y) {
		t.Errorf("one chain arrives at\n%s\nthe other at\n%s", x, y)
	}
}

func mustKeys(t *testing.T, w *world) []int64 {
	t.Helper()
	it, err := w.keeper.hashes.Iterate(w.ctx, nil)
	if err != nil {
		t.Fatal(err)
	}
	keys, err := it.Keys()
	if err != nil {
		t.Fatal(err)
	}
	return keys
}

// Params that would let a toy into a real network, or stop the chain, are refused in genesis and from governance alike.
func TestParams(t *testing.T) {
	w := newWorld(t, params)
	real := params
	real.Devnet = false
	real.Measurements = []api.Measurement{{Platform: uint32(attestation.PlatformSGX), Measurement: program[:], Tier: uint32(attestation.TierHigh)}}
	if err := w.keeper.validateParams(real); err != nil {
		t.Fatal(err)
	}
	measured := func(m ...api.Measurement) func(*api.Params) { return func(p *api.Params) { p.Measurements = m } }
	for name, change := range map[string]func(*api.Params){
		"simulator":                measured(params.Measurements...),
		"TPM of the high tier":     measured(api.Measurement{Platform: uint32(attestation.PlatformTPM), Measurement: program[:], Tier: uint32(attestation.TierHigh)}),
		"short measurement":        measured(api.Measurement{Platform: 3, Measurement: program[:31], Tier: 1}),
		"long version":             measured(api.Measurement{Platform: 3, Measurement: program[:], Tier: 1, Version: strings.Repeat("v", maxVersion+1)}),
		"platform 0":               measured(api.Measurement{Measurement: program[:], Tier: 1}),
		"platform beyond a byte":   measured(api.Measurement{Platform: 256 + 3, Measurement: program[:], Tier: 1}),
		"no tier":                  measured(api.Measurement{Platform: 3, Measurement: program[:]}),
		"doubled measurement":      measured(real.Measurements[0], real.Measurements[0]),
		"too many measurements":    func(p *api.Params) { p.Measurements = make([]api.Measurement, maxMeasurements+1) },
		"too many bootstrap names": func(p *api.Params) { p.Bootstrap = make([]string, maxBootstrap+1) },
		"bootstrap of nobody":      func(p *api.Params) { p.Bootstrap = []string{"nobody"} },
		"no endorse_blocks":        func(p *api.Params) { p.EndorseBlocks = 0 },
		"no intent_blocks":         func(p *api.Params) { p.IntentBlocks = 0 },
		"no registration_blocks":   func(p *api.Params) { p.RegistrationBlocks = 0 },
		"trust_blocks overflows":   func(p *api.Params) { p.TrustBlocks = 1 << 62 },
		"no min_endorsers":         func(p *api.Params) { p.MinEndorsers = 0 },
		"another coin":             func(p *api.Params) { p.EntryStake.Denom = "other" },
		"negative stake":           func(p *api.Params) { p.EntryStake.Amount = p.EntryStake.Amount.Neg() },
		"no stake":                 func(p *api.Params) { p.EntryStake = sdk.Coin{} },
		"cap overflows":            func(p *api.Params) { p.CapHigh = 1 << 63 },
	} {
		p := real
		change(&p)
		if err := w.keeper.ValidateGenesis(&api.GenesisState{Params: p}); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
	m := msgServer{w.keeper}
	changed := params
	changed.MinEndorsers = 3
	if _, err := m.UpdateParams(w.ctx, &api.MsgUpdateParams{Authority: text("mallory"), Params: changed}); !errors.Is(err, ErrRefused) {
		t.Error("a stranger changed the params:", err)
	}
	if _, err := m.UpdateParams(w.ctx, &api.MsgUpdateParams{Authority: authority, Params: changed}); err != nil {
		t.Error(err)
	}
	if _, err := m.UpdateParams(w.ctx, &api.MsgUpdateParams{Authority: authority, Params: real}); !errors.Is(err, ErrRefused) {
		t.Error("a devnet became a real chain:", err)
	}
	changed.MinEndorsers = 0
	if _, err := m.UpdateParams(w.ctx, &api.MsgUpdateParams{Authority: authority, Params: changed}); !errors.Is(err, ErrRefused) {
		t.Error("bad params:", err)
	}
	if err := w.keeper.ValidateGenesis(w.keeper.DefaultGenesis()); err != nil {
		t.Error(err)
	}
	other := newWorld(t, real)
	if _, err := (msgServer{other.keeper}).UpdateParams(other.ctx, &api.MsgUpdateParams{Authority: authority, Params: params}); !errors.Is(err, ErrRefused) {
		t.Error("a real chain became a devnet:", err)
	}
}

func TestGenesisRefused(t *testing.T) {
	w := newWorld(t, params)
	node := api.GenesisNode{Record: attestation.Node{Account: account("ann"), Platform: attestation.PlatformSim}.Marshal()}
	intent := api.GenesisIntent{Record: attestation.Intent{Account: account("ann")}.Marshal()}
	stake := api.Stake{Operator: text("ann"), Amount: sdk.NewInt64Coin(denom, 1)}
	real := params
	real.Devnet, real.Measurements = false, nil
	for name, g := range map[string]api.GenesisState{
		"malformed node":   {Params: params, Nodes: []api.GenesisNode{{Record: []byte{1}}}},
		"doubled node":     {Params: params, Nodes: []api.GenesisNode{node, node}},
		"simulated node":   {Params: real, Nodes: []api.GenesisNode{node}},
		"bad address":      {Params: params, Nodes: []api.GenesisNode{{Record: node.Record, Info: api.NodeInfo{Addrs: []string{"x"}}}}},
		"malformed intent": {Params: params, Intents: []api.GenesisIntent{{}}},
		"doubled intent":   {Params: params, Intents: []api.GenesisIntent{intent, intent}},
		"intent of nobody": {Params: params, Intents: []api.GenesisIntent{{Record: attestation.Intent{}.Marshal()}}},
		"never due":        {Params: params, Intents: []api.GenesisIntent{{Record: intent.Record, Info: api.IntentInfo{Due: 1 << 41}}}},
		"silent nobody":    {Params: params, Intents: []api.GenesisIntent{{Record: intent.Record, Info: api.IntentInfo{Silent: []string{"x"}}}}},
		"doubled stake":    {Params: params, Stakes: []api.Stake{stake, stake}},
		"stake of nobody":  {Params: params, Stakes: []api.Stake{{Amount: stake.Amount}}},
		"stake of nothing": {Params: params, Stakes: []api.Stake{{Operator: text("ann")}}},
		"short hash":       {Params: params, Hashes: []api.BlockHash{{Height: 1, Hash: []byte{1}}}},
	} {
		if err := w.keeper.ValidateGenesis(&g); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
	if err := w.keeper.ValidateGenesis(&api.GenesisState{Params: params, Nodes: []api.GenesisNode{node}, Intents: []api.GenesisIntent{intent}, Stakes: []api.Stake{stake}}); err != nil {
		t.Error(err)
	}
}

func TestCapsAndQueries(t *testing.T) {
	w, cat := started(t)
	w.join(t, cat)
	low, err1 := w.keeper.Cap(w.ctx, attestation.TierLow)
	high, err2 := w.keeper.Cap(w.ctx, attestation.TierHigh)
	if low != params.CapLow || high != params.CapHigh || err1 != nil || err2 != nil {
		t.Error(low, high, err1, err2)
	}
	q := queryServer{w.keeper}
	nodes, err := q.Nodes(w.ctx, &api.QueryNodesRequest{Pagination: &query.PageRequest{Limit: 1}})
	if err != nil || len(nodes.Nodes) != 1 || len(nodes.Pagination.NextKey) == 0 {
		t.Error(nodes, err)
	}
	in, err := q.Intent(w.ctx, &api.QueryIntentRequest{Operator: text("cat")})
	if err != nil || sha256.Sum256(in.Intent.Registration) != cat.register(9, hashOf(9)).Hash() || in.Intent.Endorser != "" {
		t.Error(in, err)
	}
	if _, err := q.Intent(w.ctx, &api.QueryIntentRequest{Operator: text("ann")}); !errors.Is(err, ErrRefused) {
		t.Error(err)
	}
	if p, err := q.Params(w.ctx, nil); err != nil || !p.Params.EntryStake.Equal(params.EntryStake) {
		t.Error(p, err)
	}
}
