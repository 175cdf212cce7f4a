package market

import (
	"fmt"
	"testing"

	"github.com/cella-network/cella/protocol/lottery"
	"github.com/cella-network/cella/protocol/storageproof"
)

// A draw for an audit falls on each proven replica of a running order with about the same chance, and on nothing else.
func TestSample(t *testing.T) {
	w := newWorld(t, params)
	w.fund(t, "alice", 10_000_000)
	w.fund(t, "bob", 1_000_000)
	w.fund(t, "carol", 1_000_000)
	bob := account("bob")
	sample := func(i int) (uint64, bool) {
		t.Helper()
		id, root, ok, err := w.keeper.Sample(w.ctx, bob[:], lottery.BlockSeed("sample", int64(i), [32]byte{}))
		if err != nil {
			t.Fatal(err)
		}
		if ok && string(root) != fmt.Sprintf("root%2d", id) {
			t.Fatalf("order %d with root %q", id, root)
		}
		return id, ok
	}
	if _, ok := sample(0); ok {
		t.Error("drew an order of an empty market")
	}
	var refs []storageproof.OrderRef
	for i := uint64(1); i <= 100; i++ {
		root := fmt.Sprintf("root%2d", i)
		id := w.place(t, "alice", root, 1, 100)
		switch {
		case i%4 == 0: // nobody's
		case i%4 == 1:
			w.take(t, "carol", id)
		case i == 98: // accepted, not proven
			w.take(t, "bob", id)
		default:
			w.take(t, "bob", id)
			refs = append(refs, ref(id, root))
		}
	}
	if _, ok := sample(0); ok {
		t.Error("drew a replica that is not proven")
	}
	if _, err := w.add("bob", refs...); err != nil {
		t.Fatal(err)
	}
	const draws = 4000
	drawn := map[uint64]int{}
	for i := range draws {
		id, ok := sample(i)
		if !ok {
			t.Fatal("drew nothing")
		}
		drawn[id]++
	}
	if len(drawn) != len(refs) {
		t.Errorf("%d of %d replicas were drawn", len(drawn), len(refs))
	}
	for _, r := range refs {
		if n, want := drawn[r.ID], draws/len(refs); n < want/2 || n > want*2 {
			t.Errorf("order %d was drawn %d times of %d", r.ID, n, draws)
		}
	}
	holding := func(id uint64, want bool) {
		t.Helper()
		if got, err := w.keeper.Holding(w.ctx, bob, id); err != nil || got != want {
			t.Errorf("order %d is held: %v, %v", id, got, err)
		}
	}
	holding(refs[0].ID, true)
	holding(98, false)
	holding(4, false)
	holding(5, false)
	holding(999, false)
	// Nothing is owed once the orders have ended, though they are not closed yet.
	w.next(t, 101)
	holding(refs[0].ID, false)
	if _, ok := sample(0); ok {
		t.Error("drew a replica of an order that has ended")
	}
}
