package market

import (
	"errors"
	"strings"
	"testing"

	"cosmossdk.io/collections"

	sdk "github.com/cosmos/cosmos-sdk/types"
	authtypes "github.com/cosmos/cosmos-sdk/x/auth/types"

	api "github.com/cella-network/cella/api/market"
)

// bech32 has two spellings of an address. An operator that accepted an order in both would take two of its places with one
// copy, and the second replica would overwrite the first and its collateral.
func TestOneSpelling(t *testing.T) {
	w := newWorld(t, params)
	w.fund(t, "alice", 1_000_000)
	w.fund(t, "bob", 1_000_000)
	id := w.place(t, "alice", "file", 2, 100)
	w.take(t, "bob", id)
	m, loud := msgServer{w.keeper}, strings.ToUpper(text(account("bob")))
	if _, err := m.SetAsk(w.ctx, &api.MsgSetAsk{Operator: loud, Price: 100, MaxSize: 1 << 40}); !errors.Is(err, ErrRefused) {
		t.Error("ask:", err)
	}
	if _, err := m.Accept(w.ctx, &api.MsgAccept{Operator: loud, Order: id}); !errors.Is(err, ErrRefused) {
		t.Error("accept:", err)
	}
	if _, err := m.PlaceOrder(w.ctx, &api.MsgPlaceOrder{Owner: loud, Root: []byte("r"), Size_: 1, Blocks: 100, Replicas: 1, Price: 1}); !errors.Is(err, ErrRefused) {
		t.Error("order:", err)
	}
	w.audit(t)
}

// Orders that are placed and ended at once cost fees alone: they must leave nothing behind, whatever the term they named.
func TestEndedOrdersAreForgotten(t *testing.T) {
	w := newWorld(t, params)
	w.fund(t, "alice", 1_000_000)
	m := msgServer{w.keeper}
	for i := range 250 {
		id := w.place(t, "alice", "file", 1, params.MaxBlocks-10)
		if i%2 == 0 {
			if _, err := m.Renew(w.ctx, &api.MsgRenew{Owner: text(account("alice")), Order: id, Blocks: 10}); err != nil {
				t.Fatal(err)
			}
		}
		// More operators let it lapse than one block forgets.
		for j := range i % 2 * 2 * itemsPerBlock / 50 {
			if err := w.keeper.lapsed.Set(w.ctx, collections.Join(id, account(string(rune('a'+j))))); err != nil {
				t.Fatal(err)
			}
		}
		if _, err := m.End(w.ctx, &api.MsgEnd{Owner: text(account("alice")), Order: id}); err != nil {
			t.Fatal(err)
		}
	}
	for j := range itemsPerBlock + 5 {
		if err := w.keeper.lapsed.Set(w.ctx, collections.Join(uint64(1), append(account("z"), byte(j)))); err != nil {
			t.Fatal(err)
		}
	}
	w.next(t, int(params.GraceBlocks+params.DayBlocks)+30)
	left := func() (n int) {
		count := func(err error) {
			if err != nil {
				t.Fatal(err)
			}
		}
		count(w.keeper.orders.Walk(w.ctx, nil, func(uint64, api.Order) (bool, error) { n++; return false, nil }))
		count(w.keeper.addrs.Walk(w.ctx, nil, func(uint64, api.Order) (bool, error) { n++; return false, nil }))
		count(w.keeper.open.Walk(w.ctx, nil, func(uint64) (bool, error) { n++; return false, nil }))
		count(w.keeper.byOwner.Walk(w.ctx, nil, func(collections.Pair[sdk.AccAddress, uint64]) (bool, error) { n++; return false, nil }))
		count(w.keeper.byRoot.Walk(w.ctx, nil, func(collections.Pair[[]byte, uint64]) (bool, error) { n++; return false, nil }))
		count(w.keeper.lapsed.Walk(w.ctx, nil, func(collections.Pair[uint64, sdk.AccAddress]) (bool, error) { n++; return false, nil }))
		return n
	}
	if n := left(); n != 0 {
		t.Errorf("%d entries are left of orders that ended long ago", n)
	}
	w.next(t, int(params.MaxBlocks)) // what waited for the terms finds nothing, and goes as well
	if err := w.keeper.closings.Walk(w.ctx, nil, func(key collections.Pair[int64, uint64]) (bool, error) {
		t.Errorf("order %d waits for height %d", key.K2(), key.K1())
		return false, nil
	}); err != nil {
		t.Fatal(err)
	}
}

// Terms that governance made longer and then shorter again lock nobody's coins: what waits for a height that is far off can be
// settled by anyone.
func TestSettleFreesWhatWaits(t *testing.T) {
	w := newWorld(t, params)
	w.fund(t, "alice", 1_000)
	w.fund(t, "bob", 1_000)
	w.fund(t, "carol", 1_000)
	id := w.place(t, "alice", "file", 1, 100)
	w.take(t, "bob", id)
	m := msgServer{w.keeper}
	change := func(accept, grace int64) {
		p := params
		p.AcceptBlocks, p.GraceBlocks = accept, grace
		if _, err := m.UpdateParams(w.ctx, &api.MsgUpdateParams{Authority: authority, Params: p}); err != nil {
			t.Fatal(err)
		}
	}
	settle := func() {
		if _, err := w.tx(func(ctx sdk.Context) error {
			_, err := m.Settle(ctx, &api.MsgSettle{Sender: text(account("carol")), Order: id})
			return err
		}); err != nil {
			t.Fatal(err)
		}
		w.audit(t)
	}
	balance := func(name string) int64 { return w.bank.GetBalance(w.ctx, account(name), denom).Amount.Int64() }
	change(1<<40, 1<<40)
	w.next(t, 30)
	change(params.AcceptBlocks, params.GraceBlocks)
	w.next(t, 10)
	if balance("bob") == 1000 {
		t.Fatal("nothing waits: the test shows nothing")
	}
	settle()
	if balance("bob") != 1000 {
		t.Errorf("bob has %d back of 1000", balance("bob"))
	}
	change(1<<40, 1<<40)
	w.next(t, 150)
	change(params.AcceptBlocks, params.GraceBlocks)
	w.next(t, 10)
	if balance("alice") == 1000 {
		t.Fatal("nothing waits: the test shows nothing")
	}
	settle()
	if balance("alice") != 1000 || !w.bank.GetBalance(w.ctx, authtypes.NewModuleAddress(ModuleName), denom).IsZero() {
		t.Errorf("alice has %d back of 1000", balance("alice"))
	}
}
