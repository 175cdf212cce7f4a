package market

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"cosmossdk.io/collections"

	storetypes "github.com/cosmos/cosmos-sdk/store/v2/types"
	sdk "github.com/cosmos/cosmos-sdk/types"

	api "github.com/cella-network/cella/api/market"
	"github.com/cella-network/cella/protocol/storageproof"
)

// holding gives an operator many proven replicas.
func (w *world) holding(t testing.TB, operator string, n int, blocks int64) (refs []storageproof.OrderRef) {
	t.Helper()
	w.fund(t, "alice", 10_000_000)
	w.fund(t, operator, 10_000_000)
	for i := range n {
		root := fmt.Sprintf("root%3d", i)
		id := w.place(t, "alice", root, 1, blocks)
		w.take(t, operator, id)
		refs = append(refs, ref(id, root))
	}
	if _, err := w.add(operator, refs...); err != nil {
		t.Fatal(err)
	}
	return refs
}

func times(events []string, name string) int { return strings.Count(strings.Join(events, "\n"), name) }

// An operator whose disk is lost has many replicas, and each block tells some of them. However long that takes, none of them is
// paid for a block after the report.
func TestLostDiskIsToldInTurn(t *testing.T) {
	w := newWorld(t, params)
	n := endsPerBlock*2 + 20
	w.holding(t, "bob", n, 100)
	w.next(t, 10)
	if _, err := w.report("bob", storageproof.Report{Reset: true, Failed: 10}); err != nil {
		t.Fatal(err)
	}
	for _, want := range []int{endsPerBlock, endsPerBlock, 20, 0} {
		// The node proves its free space and hopes to be paid for what has not heard of the loss yet.
		events, err := w.report("bob", storageproof.Report{Answered: 30})
		if err != nil || times(events, "EventPaid") != 0 {
			t.Fatalf("paid for a lost disk: %q, %v", events, err)
		}
		if got := times(w.next(t, 1), "rule=lost"); got != want {
			t.Errorf("a block told %d replicas, want %d", got, want)
		}
	}
	if err := w.lists(); err != nil {
		t.Error(err)
	}
	if got := times(w.next(t, int(params.RepairBlocks)+2), "EventPenalty"); got != n {
		t.Errorf("%d of %d replicas cost their collateral", got, n)
	}
	if got := w.bank.GetBalance(w.ctx, account("bob"), denom).Amount.Int64(); got != 10_000_000-int64(n)*10 {
		t.Errorf("bob has %d left", got)
	}
}

// A host can keep a report back until the block in which the report of the loss is posted as well. What it added was lost with the
// rest, though it was proven in the very same block.
func TestLostDiskTakesWhatTheSameBlockAdded(t *testing.T) {
	w := newWorld(t, params)
	w.fund(t, "alice", 1_000)
	w.fund(t, "bob", 1_000)
	id := w.place(t, "alice", "file", 1, 100)
	w.take(t, "bob", id)
	w.next(t, 5)
	if _, err := w.add("bob", ref(id, "file")); err != nil {
		t.Fatal(err)
	}
	if _, err := w.report("bob", storageproof.Report{Reset: true, Failed: 5}); err != nil {
		t.Fatal(err)
	}
	w.next(t, 1)
	r, err := w.keeper.replicas.Get(w.ctx, collections.Join(id, account("bob")))
	if err != nil || r.Lost != 6 {
		t.Fatalf("the replica is not lost: %+v, %v", r, err)
	}
	if events, err := w.report("bob", storageproof.Report{Answered: 20}); err != nil || times(events, "EventPaid") != 0 {
		t.Errorf("paid for a lost disk: %q, %v", events, err)
	}
}

// A second loss before all replicas have heard of the first pays none of them for the time between.
func TestSecondLossIsDatedBack(t *testing.T) {
	w := newWorld(t, params)
	refs := w.holding(t, "bob", endsPerBlock+10, 100)
	w.next(t, 10)
	if _, err := w.report("bob", storageproof.Report{Reset: true, Failed: 10}); err != nil {
		t.Fatal(err)
	}
	w.next(t, 1)
	last := refs[len(refs)-1]
	if _, err := w.report("bob", storageproof.Report{Answered: 20, Added: []storageproof.OrderRef{last}}); err != nil {
		t.Fatal(err)
	}
	events, err := w.report("bob", storageproof.Report{Reset: true, Failed: 1})
	if err != nil || times(events, "EventPaid") != 0 {
		t.Fatalf("%q, %v", events, err)
	}
	w.standing(account("bob")).Proven += 50
	if n := times(w.next(t, 3), "EventPaid"); n != 0 {
		t.Errorf("%d payments for lost disks", n)
	}
	held, err := w.keeper.replicasOf(w.ctx, last.ID)
	if err != nil || len(held) != 1 || held[0].Lost == 0 || held[0].Paid != 0 {
		t.Errorf("%+v, %v", held, err)
	}
	if err := w.lists(); err != nil {
		t.Error(err)
	}
}

// What one report lets go in one block is bounded; a node that comes back in the middle keeps the rest.
func TestSilenceEndsInTurn(t *testing.T) {
	w := newWorld(t, params)
	w.holding(t, "bob", endsPerBlock*2+20, 900)
	w.next(t, int(params.SilentBlocks)-1)
	for _, want := range []int{endsPerBlock, endsPerBlock} {
		if got := times(w.next(t, 1), "EventReplicaEnded"); got != want {
			t.Errorf("a block ended %d replicas, want %d", got, want)
		}
	}
	if _, err := w.add("bob"); err != nil {
		t.Fatal(err)
	}
	if got := times(w.next(t, 100), "EventReplicaEnded"); got != 0 {
		t.Errorf("%d replicas ended though the node reports", got)
	}
	if err := w.lists(); err != nil {
		t.Error(err)
	}
}

// The silence of one operator is not looked at while others have their turn: a queue is worked off, a bounded number a block.
func TestManyAreWatched(t *testing.T) {
	w := newWorld(t, params)
	w.fund(t, "alice", 10_000_000)
	for i := range itemsPerBlock + 30 {
		name := fmt.Sprint("node", i)
		w.fund(t, name, 1_000)
		id := w.place(t, "alice", name, 1, 900)
		w.take(t, name, id)
		if _, err := w.add(name, ref(id, name)); err != nil {
			t.Fatal(err)
		}
	}
	w.next(t, int(params.WarnBlocks)-1)
	for _, want := range []int{itemsPerBlock, 30, 0} {
		if got := times(w.next(t, 1), "EventWarning"); got != want {
			t.Errorf("a block warned %d operators, want %d", got, want)
		}
	}
}

// A message that drains looks at a bounded number of replicas; the next goes on from there, however many are leaving already.
func TestDrainIsBounded(t *testing.T) {
	w := newWorld(t, params)
	w.holding(t, "bob", drainPerMessage*2+5, 100)
	m := msgServer{w.keeper}
	for _, want := range []uint32{drainPerMessage, drainPerMessage, 5, 0} {
		resp, err := m.Drain(w.ctx, &api.MsgDrain{Operator: text(account("bob"))})
		if err != nil || resp.Marked != want {
			t.Fatalf("%v, %v, want %d", resp, err, want)
		}
		if want == 0 {
			break
		}
		if resp.More != (want == drainPerMessage) {
			t.Errorf("%d marked, more=%t", resp.Marked, resp.More)
		}
	}
	if err := w.lists(); err != nil {
		t.Error(err)
	}
	if _, err := m.Drain(w.ctx, &api.MsgDrain{Operator: strings.ToUpper(text(account("bob")))}); !errors.Is(err, ErrRefused) {
		t.Error(err)
	}
}

// A report of an honest node costs the market no write beside the settlements, and what its replicas have behind them makes it no dearer.
func TestHonestReportsWriteNoConduct(t *testing.T) {
	w := newWorld(t, params)
	w.holding(t, "bob", 1, 100)
	cost := func() uint64 {
		w.next(t, 1)
		w.ctx = w.ctx.WithGasMeter(storetypes.NewGasMeter(1 << 40))
		if _, err := w.report("bob", storageproof.Report{Answered: 1}); err != nil {
			t.Fatal(err)
		}
		return w.ctx.GasMeter().GasConsumed()
	}
	cost()
	before, err := w.keeper.conducts.Get(w.ctx, account("bob"))
	if err != nil {
		t.Fatal(err)
	}
	first := cost()
	for range 5 {
		if got := cost(); got > first+first/10 {
			t.Errorf("a report costs %d gas, before it was %d", got, first)
		}
	}
	after, err := w.keeper.conducts.Get(w.ctx, account("bob"))
	if err != nil || before != after {
		t.Errorf("the conduct went from %v to %v: %v", before, after, err)
	}
}

// An audit's evidence is bounded, and one that passed changes nothing.
func TestAuditedIsBounded(t *testing.T) {
	w := newWorld(t, params)
	refs := w.holding(t, "bob", 1, 100)
	if err := w.keeper.Audited(w.ctx, account("bob"), refs[0].ID, false, strings.Repeat("x", maxEvidence+1)); !errors.Is(err, ErrRefused) {
		t.Error(err)
	}
	before, _ := w.keeper.conduct(w.ctx, account("bob"))
	if err := w.keeper.Audited(w.ctx, account("bob"), refs[0].ID, true, "audit"); err != nil {
		t.Error(err)
	}
	if after, err := w.keeper.conduct(w.ctx, account("bob")); err != nil || before != after {
		t.Errorf("%v, %v", after, err)
	}
}

// Terms that were made longer and then shorter again strand neither a lost replica nor a silent node's: anyone can settle.
func TestSettleDoesWhatIsOverdue(t *testing.T) {
	w := newWorld(t, params)
	for _, n := range []string{"alice", "bob", "carol"} {
		w.fund(t, n, 10_000)
	}
	m := msgServer{w.keeper}
	first, second := w.place(t, "alice", "one", 1, 900), w.place(t, "alice", "two", 1, 900)
	w.take(t, "bob", first)
	w.take(t, "carol", second)
	change := func(p api.Params) {
		t.Helper()
		if _, err := m.UpdateParams(w.ctx, &api.MsgUpdateParams{Authority: authority, Params: p}); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := w.add("bob", ref(first, "one")); err != nil {
		t.Fatal(err)
	}
	if _, err := w.add("carol", ref(second, "two")); err != nil {
		t.Fatal(err)
	}
	long := params
	long.RepairBlocks, long.SilentBlocks = 1<<30, 1<<30
	change(long)
	if _, err := w.report("bob", storageproof.Report{Dropped: []uint64{first}}); err != nil {
		t.Fatal(err)
	}
	w.next(t, 300) // carol is warned, and looked at again in a distant future
	change(params)
	w.next(t, 350)
	for name, id := range map[string]uint64{"bob": first, "carol": second} {
		if _, err := w.keeper.replicas.Get(w.ctx, collections.Join(id, account(name))); err != nil {
			t.Fatalf("%s waits for nothing: the test shows nothing", name)
		}
		events, err := w.tx(func(ctx sdk.Context) error {
			_, err := m.Settle(ctx, &api.MsgSettle{Sender: text(account("alice")), Order: id})
			return err
		})
		if err != nil || times(events, "EventPenalty") != 1 || times(events, "EventReplicaEnded") != 1 {
			t.Errorf("%s: %q, %v", name, events, err)
		}
		w.audit(t)
	}
	if err := w.lists(); err != nil {
		t.Error(err)
	}
}
