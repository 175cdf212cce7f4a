package market

import (
	"bytes"
	"errors"
	"fmt"
	"strings"
	"testing"

	storetypes "github.com/cosmos/cosmos-sdk/store/v2/types"
	sdk "github.com/cosmos/cosmos-sdk/types"
	"github.com/cosmos/cosmos-sdk/types/query"
	authtypes "github.com/cosmos/cosmos-sdk/x/auth/types"

	api "github.com/cella-network/cella/api/market"
	"github.com/cella-network/cella/protocol/storageproof"
)

// One report settles 64 replicas and the next goes on from there, so that a report is bounded work and nobody starves.
func TestReportSettlesInTurn(t *testing.T) {
	w := newWorld(t, params)
	w.fund(t, "alice", 1_000_000)
	w.fund(t, "bob", 1_000_000)
	var refs []storageproof.OrderRef
	for i := range settlePerReport*2 + 10 {
		root := fmt.Sprint("root", i)
		id := w.place(t, "alice", root, 1, 100)
		w.take(t, "bob", id)
		refs = append(refs, ref(id, root))
	}
	if _, err := w.add("bob", refs...); err != nil {
		t.Fatal(err)
	}
	w.next(t, 10)
	w.standing(account("bob")).Proven += 10
	paid := map[string]int{}
	for range 3 {
		events, err := w.add("bob")
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
		for i := range settlePerReport {
			root := fmt.Sprintf("root%2d", i)
			resp, err := msgServer{w.keeper}.PlaceOrder(w.ctx, &api.MsgPlaceOrder{Owner: text(account("alice")), Root: []byte(root), Size_: 1 << 30,
				Blocks: 100, Replicas: 1, Price: 100, Addrs: addrs})
			if err != nil {
				t.Fatal(err)
			}
			w.take(t, "bob", resp.Id)
			refs = append(refs, ref(resp.Id, root))
		}
		if _, err := w.add("bob", refs...); err != nil {
			t.Fatal(err)
		}
		w.next(t, 10)
		w.standing(account("bob")).Proven += 10
		w.ctx = w.ctx.WithGasMeter(storetypes.NewGasMeter(1 << 40))
		if _, err := w.add("bob"); err != nil {
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
	for i := range itemsPerBlock + 30 {
		w.take(t, "bob", w.place(t, "alice", fmt.Sprint("root", i), 1, 100))
	}
	w.next(t, 19)
	lapsed := func() int { return strings.Count(strings.Join(w.next(t, 1), "\n"), "EventReplicaEnded") }
	if n := lapsed(); n != itemsPerBlock {
		t.Errorf("the first block lapsed %d", n)
	}
	if n := lapsed(); n != 30 {
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
	for i := range 6 {
		ids = append(ids, w.place(t, "alice", fmt.Sprint("root", i), 30, 50))
	}
	for i := range 30 {
		name := fmt.Sprint("node", i)
		w.fund(t, name, 1_000)
		var refs []storageproof.OrderRef
		for i, id := range ids {
			w.take(t, name, id)
			refs = append(refs, ref(id, fmt.Sprint("root", i)))
		}
		if _, err := w.add(name, refs...); err != nil {
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
	first, second := w.place(t, "alice", "one", 1, 100), w.place(t, "alice", "two", 1, 100)
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
	// Erin is warned, fined and wants to leave one order, has lost another, and her disk since; Frank's part of a file is new.
	for _, n := range []string{"erin", "frank"} {
		w.fund(t, n, 1_000_000)
	}
	staying, lost, part := w.place(t, "alice", "five", 1, 200), w.place(t, "alice", "six", 1, 200), w.place(t, "alice", "seven", 2, 200)
	for _, id := range []uint64{staying, lost, part} {
		w.take(t, "erin", id)
	}
	for _, r := range []storageproof.Report{
		{Added: []storageproof.OrderRef{ref(staying, "five"), ref(lost, "six"), ref(part, "seven")}},
		{Failed: 3}, {Failed: 2, Dropped: []uint64{lost}}} {
		if _, err := w.report("erin", r); err != nil {
			t.Fatal(err)
		}
		w.next(t, int(params.MendBlocks))
	}
	if err := w.keeper.Audited(w.ctx, account("erin"), staying, false, "audit"); err != nil {
		t.Fatal(err)
	}
	if _, err := (msgServer{w.keeper}).Drain(w.ctx, &api.MsgDrain{Operator: text(account("erin"))}); err != nil {
		t.Fatal(err)
	}
	if _, err := w.report("erin", storageproof.Report{Reset: true, Failed: 1, Added: []storageproof.OrderRef{ref(staying, "five")}}); err != nil {
		t.Fatal(err)
	}
	if resp, err := (msgServer{w.keeper}).PlaceOrder(w.ctx, &api.MsgPlaceOrder{Owner: text(account("alice")), Root: []byte("p1"), Of: []byte("whole"),
		Size_: 1 << 30, Blocks: 100, Replicas: 1, Price: 100}); err != nil {
		t.Fatal(err)
	} else {
		w.take(t, "frank", resp.Id)
	}
	proven, open, closed := w.place(t, "alice", "one", 2, 100), w.place(t, "alice", "two", 1, 200), w.place(t, "alice", "three", 1, 100)
	w.take(t, "bob", proven)
	w.take(t, "carol", proven)
	w.take(t, "bob", open)
	if _, err := w.add("bob", ref(proven, "one")); err != nil {
		t.Fatal(err)
	}
	if _, err := (msgServer{w.keeper}).End(w.ctx, &api.MsgEnd{Owner: text(account("alice")), Order: closed}); err != nil {
		t.Fatal(err)
	}
	lapsing := w.place(t, "alice", "four", 1, 100)
	w.fund(t, "dave", 1_000_000)
	w.take(t, "dave", lapsing)
	if _, err := w.report("dave", storageproof.Report{Dropped: []uint64{lapsing}}); err != nil {
		t.Fatal(err)
	}
	if err := w.lists(); err != nil {
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
	again.standings, again.ctx = w.standings, again.ctx.WithBlockHeight(w.ctx.BlockHeight())
	if err := again.lists(); err != nil {
		t.Error(err)
	}
	if n, m := count(w, w.keeper.leaving), count(again, again.keeper.leaving); n != m || n == 0 {
		t.Errorf("%d replicas are leaving, %d after the import", n, m)
	}
	if n, m := count(w, w.keeper.sweeps), count(again, again.keeper.sweeps); n != m || n == 0 {
		t.Errorf("%d disks are lost, %d after the import", n, m)
	}
	// The queues and lists were rebuilt: both chains go on alike.
	a, b := w.next(t, 450), again.next(t, 450)
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
	replica := func(name string) api.Replica {
		return api.Replica{Order: 1, Operator: text(account(name)), Price: 1, Until: 100}
	}
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
			Replicas: []api.Replica{replica("alice"), {Order: 1, Operator: strings.ToUpper(alice), Price: 1, Until: 100}}},
		"impossible order":          {Params: params, LastOrder: 1, Orders: []api.Order{broken}},
		"conduct of nobody":         {Params: params, Conducts: []api.Conduct{{}}},
		"doubled conduct":           {Params: params, Conducts: []api.Conduct{{Operator: alice}, {Operator: alice}}},
		"faults without end":        {Params: params, Conducts: []api.Conduct{{Operator: alice, Faults: 1 << 62}}},
		"warned in the far future":  {Params: params, Conducts: []api.Conduct{{Operator: alice, Warned: 1 << 62, Last: 1 << 62}}},
		"half a lost disk":          {Params: params, Conducts: []api.Conduct{{Operator: alice, ResetAt: 5}}},
		"failed before the warning": {Params: params, Conducts: []api.Conduct{{Operator: alice, Warned: 6, Last: 5}}},
		"lapse of nothing":          {Params: params, Lapses: []api.Lapse{{Order: 1, Operator: alice}}},
		"lapse of nobody":           {Params: params, LastOrder: 1, Orders: []api.Order{order}, Lapses: []api.Lapse{{Order: 1}}},
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
	w.fund(t, "zoe", 1_000_000)
	for range 5 {
		w.place(t, "alice", "root", 1, 100)
	}
	for i := range 5 {
		id := w.place(t, "zoe", fmt.Sprint("root", i), 1, 100)
		w.take(t, "bob", id)
	}
	q := queryServer{w.keeper}
	for name, req := range map[string]*api.QueryOrdersRequest{
		"owner": {Owner: text(account("alice"))}, "root": {Root: []byte("root")},
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
