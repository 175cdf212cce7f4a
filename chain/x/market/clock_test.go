package market

import (
	"fmt"
	"strings"
	"testing"

	"github.com/cella-network/cella/protocol/storageproof"
)

// While seeds don't come nobody can report: no acceptance lapses, no loss is forfeited, no silence is held against anyone and no
// time to mend runs out. Orders end by blocks all the same.
func TestNothingIsDueWithoutSeeds(t *testing.T) {
	w := newWorld(t, params)
	refs := w.holding(t, "bob", 2, 900)
	w.next(t, 10)
	events, err := w.report("bob", storageproof.Report{Dropped: []uint64{refs[0].ID}, Failed: 10})
	if err != nil || times(events, "EventWarning") != 2 {
		t.Fatal(events, err)
	}
	w.fund(t, "carol", 10_000)
	w.take(t, "carol", w.place(t, "alice", "new", 1, 900))
	w.place(t, "alice", "short", 1, params.MinBlocks)

	w.stalled = w.ctx.BlockHeight() + 5
	for _, e := range w.next(t, 500) {
		if !strings.Contains(e, "EventClosed") {
			t.Error("without seeds:", e)
		}
	}
	// A warning names the height from which on it can cost.
	w.fund(t, "dan", 10_000)
	id := w.place(t, "alice", "third", 1, 900)
	w.take(t, "dan", id)
	if _, err := w.add("dan", ref(id, "third")); err != nil {
		t.Fatal(err)
	}
	events, err = w.report("dan", storageproof.Report{Failed: 1})
	if want := fmt.Sprint("deadline=", w.ctx.BlockHeight()+params.MendBlocks); err != nil || times(events, want) != 1 {
		t.Error(events, err, "want", want)
	}
	// The first report afterwards is in time for all.
	w.stalled += 2
	events, err = w.report("bob", storageproof.Report{Added: refs[:1], Failed: 3})
	if err != nil || times(events, "EventProven") != 1 || times(events, "EventPenalty") != 0 {
		t.Error(events, err)
	}
	w.stalled = 0
	events = w.next(t, int(params.AcceptBlocks))
	if times(events, "EventWarning") != 0 || times(events, "operator="+text(account("carol"))) == 0 {
		t.Error("carol's acceptance stands, or somebody is warned:", events)
	}
	if err := w.lists(); err != nil {
		t.Error(err)
	}
}
