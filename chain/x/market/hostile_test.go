package market

import (
	"fmt"
	"testing"

	sdk "github.com/cosmos/cosmos-sdk/types"

	api "github.com/cella-network/cella/api/market"
	"github.com/cella-network/cella/protocol/market"
	"github.com/cella-network/cella/protocol/storageproof"
)

func (w *world) drain(t testing.TB, operator string) {
	t.Helper()
	if _, err := w.tx(func(ctx sdk.Context) error {
		_, err := msgServer{w.keeper}.Drain(ctx, &api.MsgDrain{Operator: text(account(operator))})
		return err
	}); err != nil {
		t.Fatal(err)
	}
}

// An operator that drains loses its disk, or says so, in the block in which its successor is proven: before its replicas could be
// told. It must not go with its collateral as one that holds what it leaves.
func TestAttackToLeaveALostDisk(t *testing.T) {
	w := newWorld(t, params)
	refs := w.holding(t, "bob", 1, 100)
	w.fund(t, "carol", 1000)
	w.next(t, 5)
	w.drain(t, "bob")
	w.take(t, "carol", refs[0].ID)
	if _, err := w.report("bob", storageproof.Report{Reset: true, Failed: 5}); err != nil {
		t.Fatal(err)
	}
	events, err := w.add("carol", refs[0])
	if err != nil || times(events, "EventCollateralReturned") != 0 {
		t.Fatalf("%q, %v", events, err)
	}
	if got := times(w.next(t, int(params.RepairBlocks)+2), "EventPenalty"); got != 1 {
		t.Errorf("the loss cost %d collaterals, want 1", got)
	}
	if err := w.lists(); err != nil {
		t.Error(err)
	}
}

// An operator that lost more than one slot's blocks can tell says the same in each report. All of its replicas must hear of it all
// the same: what never hears of it is never forfeited and has its collateral back when the order ends.
func TestAttackToLoseWithoutEnd(t *testing.T) {
	p := params
	p.AcceptBlocks = 1000
	w := newWorld(t, p)
	w.fund(t, "alice", 1_000_000)
	w.fund(t, "bob", 1_000_000)
	for i := range 2 * endsPerBlock { // in front of the others, and nothing that a disk could lose
		w.take(t, "bob", w.place(t, "alice", fmt.Sprintf("dust%3d", i), 1, 500))
	}
	refs := w.holding(t, "bob", 5, 100)
	events := []string{}
	for range int(params.RepairBlocks) + 10 {
		if _, err := w.report("bob", storageproof.Report{Reset: true, Failed: 1}); err != nil {
			t.Fatal(err)
		}
		events = append(events, w.next(t, 1)...)
	}
	if got := times(events, "EventPenalty"); got != len(refs) {
		t.Errorf("%d of %d replicas cost their collateral", got, len(refs))
	}
}

// An operator holds places for many orders that cost nothing and loses its disk in every slot. Others are told of their losses, and
// end for their silence, all the same.
func TestAttackToLoseInFrontOfOthers(t *testing.T) {
	w := newWorld(t, params)
	w.holding(t, "dave", 3, 1000)
	w.next(t, int(params.SilentBlocks)-5)
	refs := w.holding(t, "bob", 3, 500)
	w.fund(t, "alfred", 1_000_000)
	for i := range 2 * endsPerBlock {
		w.take(t, "alfred", w.place(t, "alice", fmt.Sprintf("dust%3d", i), 1, 500))
	}
	events := []string{}
	for i := range 15 {
		if _, err := w.report("alfred", storageproof.Report{Reset: true, Failed: 1}); err != nil {
			t.Fatal(err)
		}
		if i == 0 {
			if _, err := w.report("bob", storageproof.Report{Reset: true, Failed: 1}); err != nil {
				t.Fatal(err)
			}
		}
		events = append(events, w.next(t, 1)...)
	}
	if got := times(events, "rule=lost"); got != len(refs) {
		t.Errorf("%d of %d replicas heard of their loss", got, len(refs))
	}
	if got := times(events, "EventPenalty"); got != 3 {
		t.Errorf("%d of 3 replicas ended for silence", got)
	}
}

// Operators who accept, prove, let go and drain one after the other leave lost replicas behind that keep no place from anyone. An
// order's replicas are looked at together when it ends: there must be a limit to them.
func TestAttackToCrowdAnOrder(t *testing.T) {
	p := params
	p.RepairBlocks = 1000
	w := newWorld(t, p)
	w.fund(t, "alice", 1_000_000)
	id := w.place(t, "alice", "file", 1, 100)
	for i := range 3 * market.MaxReplicas {
		name := fmt.Sprintf("op%d", i)
		w.fund(t, name, 1000)
		w.active[string(account(name))] = true
		m := msgServer{w.keeper}
		if _, err := m.SetAsk(w.ctx, &api.MsgSetAsk{Operator: text(account(name)), Price: 100, MaxSize: 1 << 40}); err != nil {
			t.Fatal(err)
		}
		if _, err := m.Accept(w.ctx, &api.MsgAccept{Operator: text(account(name)), Order: id}); err != nil {
			break
		}
		if _, err := w.add(name, ref(id, "file")); err != nil {
			t.Fatal(err)
		}
		if _, err := w.report(name, storageproof.Report{Dropped: []uint64{id}}); err != nil {
			t.Fatal(err)
		}
		w.drain(t, name)
	}
	if held, err := w.keeper.replicasOf(w.ctx, id); err != nil || len(held) > 2*market.MaxReplicas {
		t.Errorf("an order for one replica has %d, %v", len(held), err)
	}
}

// Whoever proved an order to its end may delete it. What the node is audited for after that is no concern of the order, though its
// collateral lies there until grace is over.
func TestAttackToBlameForWhatIsOver(t *testing.T) {
	p := params
	p.Collateral = 100
	w := newWorld(t, p)
	w.fund(t, "alice", 10_000)
	w.fund(t, "bob", 10_000)
	short, long := w.place(t, "alice", "short", 1, 50), w.place(t, "alice", "long", 1, 500)
	w.take(t, "bob", short)
	w.take(t, "bob", long)
	if _, err := w.add("bob", ref(short, "short"), ref(long, "long")); err != nil {
		t.Fatal(err)
	}
	fail := func() {
		t.Helper()
		if err := w.keeper.Audited(w.ctx, account("bob"), long, false, "audit"); err != nil {
			t.Fatal(err)
		}
	}
	fail()
	w.next(t, int(params.MendBlocks)+5)
	fail()
	events, err := w.report("bob", storageproof.Report{Answered: uint64(params.MendBlocks) + 5})
	if err != nil || times(events, "EventPenalty") != 1 {
		t.Fatalf("before its end the short order has its part: %q, %v", events, err)
	}
	w.next(t, int(50-params.MendBlocks-5)+2)
	fail()
	events, err = w.report("bob", storageproof.Report{Answered: 50})
	if err != nil || times(events, "EventPenalty") != 0 {
		t.Errorf("fined for what is over: %q, %v", events, err)
	}
	if events := w.next(t, int(params.GraceBlocks)+1); times(events, "EventPenalty") != 0 || times(events, "rule=end") != 1 {
		t.Errorf("%q", events)
	}
}
