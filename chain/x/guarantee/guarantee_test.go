package guarantee

import (
	"errors"
	"math"
	"strings"
	"testing"

	sdkmath "cosmossdk.io/math"

	authtypes "github.com/cosmos/cosmos-sdk/x/auth/types"
	stakingtypes "github.com/cosmos/cosmos-sdk/x/staking/types"

	api "github.com/cella-network/cella/api/guarantee"
	"github.com/cella-network/cella/protocol/stake"
	"github.com/cella-network/cella/protocol/storageproof"
	"github.com/cella-network/cella/protocol/threshold"
)

// four is a chain of four validators that prove 200 GiB each for an own stake of 100 CELLA, at the beginning of era 2.
func four(t testing.TB) *world {
	t.Helper()
	return fourWith(t, params)
}

func fourWith(t testing.TB, p api.Params) *world {
	t.Helper()
	w := newWorld(t, p)
	for _, name := range []string{"ann", "bob", "cat", "dan"} {
		if err := w.validator(t, name, 100*cella, 10); err != nil {
			t.Fatal(err)
		}
		w.bytes[name] = 200 * gib
	}
	w.start(t)
	w.era(t)
	w.era(t)
	return w
}

// All doors by which coins are bonded stand under the limit, and a node's own coins as well as its guarantors'.
func TestNobodyBondsAboveTheLimit(t *testing.T) {
	w := four(t)
	if err := w.bond(t, "ann", "ann", 100*cella+1); !errors.Is(err, ErrRefused) {
		t.Errorf("own stake above the limit: %v", err)
	}
	if err := w.bond(t, "ann", "gil", 100*cella); err != nil {
		t.Fatal(err)
	}
	if err := w.bond(t, "ann", "gil", 1); !errors.Is(err, ErrRefused) {
		t.Errorf("a guarantee above the limit: %v", err)
	}
	if err := w.unbond("ann", "gil", 10*cella); err != nil {
		t.Fatal(err)
	}
	if err := w.bond(t, "ann", "hal", 10*cella); err != nil {
		t.Fatal(err)
	}
	if err := w.cancel("ann", "gil", 10*cella); !errors.Is(err, ErrRefused) {
		t.Errorf("coins that are taken back above the limit: %v", err)
	}
	if err := w.validator(t, "eve", 10*cella, 0); !errors.Is(err, ErrRefused) {
		t.Errorf("a validator without storage: %v", err)
	}
	if _, err := w.server.BeginRedelegate(w.ctx, stakingtypes.NewMsgBeginRedelegate(text(account("gil")), valoper("ann"), valoper("bob"), ucella(1))); !errors.Is(err, ErrRefused) {
		t.Errorf("a guarantor that moves: %v", err)
	}
	huge := sdkmath.NewIntFromUint64(math.MaxUint64).MulRaw(1000)
	if err := w.keeper.bond(w.ctx, valoper("ann"), text(account("gil")), huge); !errors.Is(err, ErrRefused) {
		t.Errorf("more coins than can be counted: %v", err)
	}
	long, err := validators.BytesToString(make([]byte, 32))
	if err != nil {
		t.Fatal(err)
	}
	if err := w.keeper.bond(w.ctx, long, "", sdkmath.OneInt()); !errors.Is(err, ErrRefused) {
		t.Errorf("an operator that no committee could name: %v", err)
	}
}

// Stake that leaves while power rests on it is slashed for what that power does.
func TestSlashCantBeEscapedByUnbonding(t *testing.T) {
	w := four(t)
	w.fresh = true
	w.block(t)
	before := w.ctx.BlockHeight()
	if err := w.unbond("ann", "ann", 90*cella); err != nil {
		t.Fatal(err)
	}
	for range 15 { // x/staking's own time is over, and the request far behind
		w.block(t)
	}
	if set, err := w.keeper.last(w.ctx); err != nil || powerOf(seatsOf(set.Seats)) != 400 {
		t.Fatalf("power moved without keys: %v %v", set, err)
	}
	h := w.ctx.BlockHeight()
	if before >= h-10 {
		t.Fatal("the test is too short")
	}
	if err := w.keeper.Punish(w.ctx, consensusOf(keyOf("ann").Key), h, "bad-share"); err != nil {
		t.Fatal(err)
	}
	if _, err := w.keeper.slash(w.ctx, mustValidator(t, w, "bob"), h, sdkmath.LegacyNewDecWithPrec(1, 18), "infraction"); err != nil {
		t.Fatal(err)
	}
	if err := w.staking.Jail(w.ctx, addressOf(string(keyOf("bob").Key))); err != nil {
		t.Fatal(err)
	}
	got := events(w.ctx)
	for i, want := range []string{"bonded=1000000 evidence=36 operator=ann rule=bad-share unbonding=9000000", "bonded=1 evidence=36 operator=bob rule=infraction"} {
		if !strings.Contains(w.readable(got[i]), want) {
			t.Errorf("%s, want %s", w.readable(got[i]), want)
		}
	}
	w.count(w.ctx)
	w.audit(t)
}

func mustValidator(t testing.TB, w *world, name string) stakingtypes.Validator {
	t.Helper()
	v, err := w.staking.GetValidator(w.ctx, account(name).Bytes())
	if err != nil {
		t.Fatal(err)
	}
	return v
}

// Exactly the set that was elected must hold the keys: one ucella or member more is another ceremony.
func TestPowerNeedsExactlyItsKeys(t *testing.T) {
	for name, change := range map[string]func([]threshold.Stakeholder) []threshold.Stakeholder{
		"as begun":        nil,
		"another order":   func(m []threshold.Stakeholder) []threshold.Stakeholder { m[0], m[1] = m[1], m[0]; return m },
		"more stake":      func(m []threshold.Stakeholder) []threshold.Stakeholder { m[0].Stake++; return m },
		"a member less":   func(m []threshold.Stakeholder) []threshold.Stakeholder { return m[1:] },
		"another account": func(m []threshold.Stakeholder) []threshold.Stakeholder { m[0].Account[0]++; return m },
	} {
		w := four(t)
		w.fresh = true
		w.block(t)
		if err := w.bond(t, "ann", "gil", 30*cella); err != nil {
			t.Fatal(err)
		}
		w.era(t)
		if change != nil {
			w.begun = change(w.begun)
		}
		w.done = true
		lines := strings.Join(w.block(t), "\n")
		moves := name == "as begun" || name == "another order"
		if strings.Contains(lines, "power of ann is 130") != moves {
			t.Errorf("%s: %s", name, lines)
		}
	}
	w := four(t)
	if err := w.keeper.Reshared(w.ctx, "contracts", nil); err != nil {
		t.Error(err)
	}
	if _, err := w.keeper.Members(w.ctx, "contracts"); !errors.Is(err, ErrRefused) {
		t.Error(err)
	}
}

// A third at once is refused even if the committee has done it.
func TestAThirdAtOnceIsRefused(t *testing.T) {
	w := four(t)
	h := api.Handover{Reshared: true, Seats: []api.Seat{{Operator: text(account("ann")), Power: 300, Stake: 300 * cella}, {Operator: text(account("bob")), Power: 100, Stake: 100 * cella}}}
	if err := w.keeper.handover.Set(w.ctx, h); err != nil {
		t.Fatal(err)
	}
	lines := strings.Join(w.block(t), "\n")
	if !strings.Contains(lines, stake.ErrMoved.Error()) || strings.Contains(lines, "power of") {
		t.Errorf("%s", lines)
	}
}

// If all are jailed the chain goes on with them, and whoever is elected takes over by thirds.
func TestAllJailed(t *testing.T) {
	w := four(t)
	for _, name := range []string{"ann", "bob", "cat", "dan"} {
		if err := w.keeper.Blamed(w.ctx, [20]byte(account(name)), "false-share"); err != nil {
			t.Fatal(err)
		}
	}
	w.count(w.ctx)
	w.block(t)
	if set, err := w.keeper.last(w.ctx); err != nil || len(set.Seats) != 4 {
		t.Fatalf("%v, %v", set, err)
	}
	w.bytes["eve"] = 500 * gib
	w.era(t)
	w.era(t)
	if err := w.validator(t, "eve", 400*cella, 0); err != nil {
		t.Fatal(err)
	}
	for range 4 {
		w.era(t)
	}
	set, err := w.keeper.last(w.ctx)
	if err != nil || len(set.Seats) != 1 || set.Seats[0].Operator != text(account("eve")) {
		t.Errorf("%v, %v", set, err)
	}
}

// Figures at their ends: nothing overflows and no era's end fails.
func TestExtremes(t *testing.T) {
	p := params
	p.EraPool = stake.MaxCoins / 1_000
	w := newWorld(t, p)
	for _, name := range []string{"ann", "bob", "cat", "dan"} {
		if err := w.validator(t, name, 1<<54, 100); err != nil {
			t.Fatal(err)
		}
		w.bytes[name] = math.MaxUint64
	}
	w.start(t)
	for range 4 {
		w.era(t)
	}
	if err := w.keeper.Reported(w.ctx, account("ann"), storageproof.Report{Free: math.MaxUint64}, storageproof.Standing{Failed: math.MaxUint64}); err != nil {
		t.Error(err)
	}
	w.era(t)
}

func TestParamsAndMessages(t *testing.T) {
	w := four(t)
	m := msgServer{w.keeper}
	for name, change := range map[string]func(*api.Params){
		"era_blocks":      func(p *api.Params) { p.EraBlocks = 1 },
		"era_pool":        func(p *api.Params) { p.EraPool = math.MaxUint64 },
		"bad_share_slash": func(p *api.Params) { p.BadShareSlash = stake.Whole + 1 },
		"seats":           func(p *api.Params) { p.Seats = 3 },
		"power_unit":      func(p *api.Params) { p.PowerUnit++ },
	} {
		p := params
		change(&p)
		if _, err := m.UpdateParams(w.ctx, &api.MsgUpdateParams{Authority: authority, Params: p}); !errors.Is(err, ErrRefused) || !strings.Contains(err.Error(), name) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := m.UpdateParams(w.ctx, &api.MsgUpdateParams{Authority: "ann", Params: params}); !errors.Is(err, ErrRefused) {
		t.Error(err)
	}
	p := params
	p.EraBlocks = 5
	if _, err := m.UpdateParams(w.ctx, &api.MsgUpdateParams{Authority: authority, Params: p}); err != nil {
		t.Error(err)
	}
	if r, err := (queryServer{w.keeper}).Params(w.ctx, nil); err != nil || r.Params != p {
		t.Error(r, err)
	}
}

func TestQueries(t *testing.T) {
	w := four(t)
	q := queryServer{w.keeper}
	if r, err := q.Nodes(w.ctx, &api.QueryNodesRequest{}); err != nil || len(r.Nodes) != 4 || r.Nodes[0].Power != 100 {
		t.Error(r, err)
	}
	if r, err := q.Era(w.ctx, nil); err != nil || r.Era.Number != 2 || r.Left != 10 || r.Handover != nil {
		t.Error(r, err)
	}
	if r, err := q.Set(w.ctx, &api.QuerySetRequest{}); err != nil || len(r.Set.Seats) != 4 {
		t.Error(r, err)
	}
	for _, bad := range []string{"", "nobody", text(account("gil"))} {
		if _, err := q.Node(w.ctx, &api.QueryNodeRequest{Operator: bad}); err == nil {
			t.Errorf("%q is an operator", bad)
		}
	}
	// What the era brings is what it then pays.
	r, err := q.Node(w.ctx, &api.QueryNodeRequest{Operator: text(account("ann"))})
	if err != nil || r.Rank != 2 || r.Proven != 200*gib || r.Next != 200*cella {
		t.Fatal(r, err)
	}
	for range 9 {
		w.block(t)
	}
	r, err = q.Node(w.ctx, &api.QueryNodeRequest{Operator: text(account("bob"))})
	if err != nil || r.Reward == 0 {
		t.Fatal(r, err)
	}
	if lines := w.readable(strings.Join(w.block(t), "\n")); !strings.Contains(lines, "operator=bob own=200000000") {
		t.Error(lines)
	}
}

// Old sets are kept as long as somebody may ask, and no longer.
func TestSetsAreForgotten(t *testing.T) {
	w := four(t)
	for i := range 3 {
		w.ctx = w.ctx.WithBlockHeight(int64(1000 * (i + 1)))
		set, err := w.keeper.last(w.ctx)
		if err != nil {
			t.Fatal(err)
		}
		for h := range int64(7) {
			w.sets[w.ctx.BlockHeight()+h-4] = map[string]int64{}
			for _, s := range set.Seats {
				w.sets[w.ctx.BlockHeight()+h-4][string(s.Key)] = int64(s.Power)
			}
		}
		if err := w.bond(t, "ann", "gil", cella); err != nil {
			t.Fatal(err)
		}
		w.era(t)
		w.block(t)
	}
	it, err := w.keeper.sets.Iterate(w.ctx, nil)
	if err != nil {
		t.Fatal(err)
	}
	keys, err := it.Keys()
	if err != nil || len(keys) != 3 || keys[0] < 1000 {
		t.Errorf("sets from %v (%v)", keys, err)
	}
	if _, err := w.keeper.Voters(w.ctx, 5); !errors.Is(err, ErrRefused) {
		t.Error(err)
	}
}

// Genesis round: a chain that goes on from an exported state has the same power, limits and queues, and lets coins go that were held.
func TestExport(t *testing.T) {
	w := four(t)
	if err := w.bond(t, "ann", "gil", 50*cella); err != nil {
		t.Fatal(err)
	}
	w.era(t)
	w.block(t)
	if err := w.unbond("ann", "gil", 20*cella); err != nil {
		t.Fatal(err)
	}
	w.block(t)
	g, err := w.keeper.ExportGenesis(w.ctx)
	if err != nil {
		t.Fatal(err)
	}
	if named, err := w.keeper.GenesisValidators(w.ctx); err != nil || len(named) != 4 || named[0].Name != "ann" || named[0].Power != 150 ||
		string(named[0].Address) != string(addressOf(string(keyOf("ann").Key))) {
		t.Errorf("%v, %v", named, err)
	}
	stock := w.staking.ExportGenesis(w.ctx)
	n := w.restart(t, g, stock)
	again, err := n.keeper.ExportGenesis(n.ctx)
	if err != nil || again.String() != g.String() {
		t.Errorf("%v\n%v (%v)", again, g, err)
	}
	records, _, err := n.keeper.waiting(n.ctx, account("ann"))
	if err != nil || len(records) != 1 {
		t.Fatalf("%v, %v", records, err)
	}
	if id, err := n.staking.IncrementUnbondingID(n.ctx); err != nil || id != records[0].Id+1 {
		t.Errorf("the next id is %d (%v)", id, err)
	}
	if err := n.keeper.release(n.ctx, account("ann"), records[0], 9); err != nil {
		t.Error(err)
	}
	if ubd, i, err := n.keeper.entry(n.ctx, records[0].Id); err != nil || ubd != nil && ubd.Entries[i].OnHold() {
		t.Errorf("%v, %v", ubd, err)
	}

	for name, change := range map[string]func(*api.GenesisState){
		"params":       func(g *api.GenesisState) { g.Params.Rate = 0 },
		"carry":        func(g *api.GenesisState) { g.Era.Carry = 1 << 40 },
		"no set":       func(g *api.GenesisState) { g.Set = nil },
		"doubled seat": func(g *api.GenesisState) { g.Set[1] = g.Set[0] },
		"no power":     func(g *api.GenesisState) { g.Set[0].Power = 0 },
		"short key":    func(g *api.GenesisState) { g.Set[0].Key = nil },
		"stranger":     func(g *api.GenesisState) { g.Set[0].Operator = text(account("gil")) },
		"doubled node": func(g *api.GenesisState) { g.Nodes = append(g.Nodes, g.Nodes[0]) },
		"limit":        func(g *api.GenesisState) { g.Nodes[0].Node.Storage.Limit = stake.MaxCoins },
		"queue":        func(g *api.GenesisState) { g.Queue[0].Since = 1 << 40 },
	} {
		var bad api.GenesisState
		b := w.cfg.Codec.MustMarshalJSON(g)
		w.cfg.Codec.MustUnmarshalJSON(b, &bad)
		change(&bad)
		n := newWorld(t, params)
		if err := n.keeper.InitGenesis(n.ctx, &bad); err == nil {
			t.Errorf("%s: taken", name)
		}
	}
	if err := w.module.ValidateGenesis(w.cfg.Codec, nil, w.module.DefaultGenesis(w.cfg.Codec)); err != nil {
		t.Error(err)
	}
}

// restart makes a chain from what another exported. The stock modules' other state is made up.
func (w *world) restart(t testing.TB, g *api.GenesisState, stock *stakingtypes.GenesisState) *world {
	t.Helper()
	n := newWorld(t, params)
	for _, pool := range []string{stakingtypes.BondedPoolName, stakingtypes.NotBondedPoolName} {
		n.fund(t, authtypes.NewModuleAddress(pool), w.bank.GetBalance(w.ctx, authtypes.NewModuleAddress(pool), denom).Amount.Int64())
	}
	n.fund(t, authtypes.NewModuleAddress(ModuleName), int64(g.Era.Carry))
	if err := n.keeper.InitGenesis(n.ctx, g); err != nil {
		t.Fatal(err)
	}
	updates := n.stock.InitGenesis(n.ctx, n.cfg.Codec, n.cfg.Codec.MustMarshalJSON(stock))
	if len(updates) != len(g.Set) || updates[0].Power != int64(g.Set[0].Power) {
		t.Fatalf("%v, want %v", updates, g.Set)
	}
	return n
}

// A handover that takes long must not come to rest on coins that left meanwhile.
func TestHandoverRestsOnNoCoinsThatLeft(t *testing.T) {
	w := four(t)
	w.fresh = true
	w.block(t)
	if err := w.bond(t, "ann", "gil", 30*cella); err != nil {
		t.Fatal(err)
	}
	w.era(t)
	if err := w.unbond("ann", "gil", 30*cella); err != nil {
		t.Fatal(err)
	}
	w.era(t)
	w.done = true
	if lines := strings.Join(w.block(t), "\n"); !strings.Contains(lines, "power of ann is 130") {
		t.Fatal(lines)
	}
	for range params.UnbondEras + 2 { // nothing comes of the ceremonies that follow: the world sees whether all power is answered for
		w.era(t)
	}
	records, _, err := w.keeper.waiting(w.ctx, account("ann"))
	if err != nil || len(records) != 1 || records[0].Since != 0 {
		t.Errorf("%v, %v", records, err)
	}
}

// Who gets a seat long after it bonded has a whole window before what it missed can jail it.
func TestNewMemberIsGivenAWindow(t *testing.T) {
	w := four(t)
	w.bytes["eve"] = 200 * gib
	w.era(t)
	w.era(t)
	if err := w.validator(t, "eve", 150*cella, 0); err != nil {
		t.Fatal(err)
	}
	w.absent["eve"] = true
	w.era(t)
	w.block(t)
	set, err := w.keeper.last(w.ctx)
	if err != nil || set.Seats[0].Operator != text(account("eve")) {
		t.Fatal(set, err)
	}
	for w.ctx.BlockHeight() < set.From+8 {
		w.block(t)
	}
	if mustValidator(t, w, "eve").Jailed {
		t.Error("jailed in its first window")
	}
	w.block(t)
	w.block(t)
	if !mustValidator(t, w, "eve").Jailed {
		t.Error("not jailed after it")
	}
}

// Coins come back from a node that is no more: x/staking forgets a validator with its last coin, which is then still held.
func TestCoinsLeaveWhoIsNoMore(t *testing.T) {
	w := four(t)
	if err := w.keeper.Blamed(w.ctx, [20]byte(account("ann")), "false-share"); err != nil {
		t.Fatal(err)
	}
	w.count(w.ctx)
	w.silent["ann"] = true
	for range 8 { // jailed for longer than x/staking unbonds, without storage for longer than a limit is kept
		w.era(t)
	}
	if err := w.unbond("ann", "ann", 90*cella); err != nil {
		t.Fatal(err)
	}
	if v, err := w.keeper.validator(w.ctx, text(account("ann"))); err != nil || v != nil {
		t.Fatal(v, err)
	}
	for range params.UnbondEras + 1 {
		w.era(t)
	}
	if got := w.bank.GetBalance(w.ctx, account("ann"), denom).Amount.Int64(); got < 90*cella {
		t.Errorf("%d came back", got)
	}
	w.era(t)
	if has, err := w.keeper.nodes.Has(w.ctx, account("ann")); err != nil || has {
		t.Errorf("still kept: %v", err)
	}
}
