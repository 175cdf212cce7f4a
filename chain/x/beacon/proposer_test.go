package beacon

import (
	"bytes"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"testing"

	api "github.com/cella-network/cella/api/beacon"
	"github.com/cella-network/cella/protocol/lottery"
)

// watcher recomputes all turns from what everybody sees: blocks, events and the validators' stakes.
type watcher struct {
	entries  map[[20]byte]lottery.Entry
	rules    lottery.Rules
	last     int64 // highest number that came
	number   lottery.Seed
	drawn    map[int64][20]byte // by height
	proposed map[int64][20]byte
	used     map[int64]bool // in round 0, and nothing omitted
}

// saw is told of an executed block and returns the turn that follows.
func (o *watcher) saw(w *world, lines []string) (seed lottery.Seed, fallback bool, entries []lottery.Entry, proposer [20]byte) {
	h := w.height
	block := w.blocks[len(w.blocks)-1]
	o.proposed[h] = [20]byte(block.ProposerAddress)
	o.used[h] = !strings.Contains(strings.Join(lines, " "), "EventOmitted")
	if d, ok := o.drawn[h-1]; ok {
		if e, in := o.entries[d]; in {
			o.entries[d] = e.Took(o.proposed[h-1] == d && block.DecidedLastCommit.Round == 0 && o.used[h-1])
		}
	}
	for n := o.last + 1; n < h; n++ {
		if r, err := (queryServer{w.keeper}).Number(w.ctx, &api.QueryNumberRequest{Height: n}); err == nil && r.Number.Carried == h {
			o.last, o.number = n, lottery.Seed(r.Number.Number)
			for a, e := range o.entries {
				e.Omitted = false
				o.entries[a] = e
			}
		}
	}
	if e, in := o.entries[o.proposed[h]]; in && !o.used[h] {
		e.Omitted = true
		o.entries[o.proposed[h]] = e
	}
	next := map[[20]byte]lottery.Entry{}
	for _, v := range w.validators {
		e, in := o.entries[v.address()]
		if !in {
			e.Address = v.address()
		}
		switch {
		case uint64(h+1)%o.rules.Epoch == 0:
			e = o.rules.Next(e, v.stake)
		case !in:
			e.Stake = v.stake
		}
		next[e.Address] = e
		entries = append(entries, e)
	}
	o.entries = next
	slices.SortFunc(entries, func(a, b lottery.Entry) int { return bytes.Compare(a.Address[:], b.Address[:]) })
	if o.last == 0 {
		return seed, false, entries, proposer
	}
	seed = o.number
	if fallback = o.last != h-1; fallback {
		seed = lottery.Fallback(testChain, o.number, h+1)
	}
	i, err := o.rules.Draw(seed, h+1, entries, uint64(h+1)%o.rules.Epoch, fallback)
	if err != nil {
		w.tb.Fatal(err)
	}
	o.drawn[h+1] = entries[i].Address
	return seed, fallback, entries, entries[i].Address
}

// Everybody who watches comes to the same turns: through missed rounds, late and omitted numbers, changing stakes, and validators that come and go.
func TestTurnsCanBeRecomputed(t *testing.T) {
	w := newWorld(t)
	w.charge(7, 3, "ann", "ben", "cat", "dan")
	o := &watcher{entries: map[[20]byte]lottery.Entry{}, rules: rulesOf(params), drawn: map[int64][20]byte{}, proposed: map[int64][20]byte{}, used: map[int64]bool{}}
	met := map[string]int{}
	guest := newWorld(t, "eve").validators[0]
	for w.height < 70 {
		h := w.height + 1
		w.round = 0
		switch {
		case h%11 == 0:
			w.proposer = int(h) // somebody else's block
		case h%13 == 0:
			w.round = 1
		case h%17 == 0:
			w.omits = true
		case h == 30 || h == 45:
			w.named("ann").stake += 700_000
		case h == 32:
			w.validators = append(w.validators, guest)
		case h == 50:
			w.validators = w.validators[:4]
		case h == 56 || h == 59:
			w.named("ben").silent, w.named("cat").silent = h == 56, h == 56
		}
		lines := w.block()
		w.omits = false
		seed, fallback, entries, proposer := o.saw(w, lines)
		r, err := (queryServer{w.keeper}).Turn(w.ctx, &api.QueryTurnRequest{})
		if err != nil {
			t.Fatal(err)
		}
		got := r.Turn
		if proposer == [20]byte{} {
			if got.Proposer != "" || len(got.Entries) != 4 {
				t.Errorf("turn %d: %s, nobody can be drawn yet", h+1, got.Proposer)
			}
			continue
		}
		if got.Height != h+1 || !bytes.Equal(got.Seed, seed[:]) || got.Fallback != fallback || got.Proposer != fmt.Sprintf("%X", proposer) {
			t.Errorf("turn %d: %+v, want %X by %x, fallback %v", h+1, got, proposer, seed, fallback)
		}
		for i, e := range entries {
			want := api.Entry{Address: fmt.Sprintf("%X", e.Address), Stake: e.Stake, Age: e.Age, Turns: e.Turns, Proposed: e.Proposed, Omitted: e.Omitted}
			if i < len(got.Entries) {
				want.Operator = got.Entries[i].Operator
			}
			if i >= len(got.Entries) || !reflect.DeepEqual(got.Entries[i], want) {
				t.Errorf("turn %d, entry %d: %+v, want %+v", h+1, i, got.Entries, want)
			}
			for name, is := range map[string]bool{"fallback": fallback, "omitted": e.Omitted, "aged": e.Age > 0, "missed": e.Proposed < e.Turns, "five": len(entries) == 5} {
				if is {
					met[name]++
				}
			}
		}
		if address, drawn, err := w.keeper.Proposer(w.ctx, h+1); err != nil || !drawn || address != proposer {
			t.Errorf("turn %d: the node is told %X, %v, %v", h+1, address, drawn, err)
		}
	}
	for _, name := range []string{"fallback", "omitted", "aged", "missed", "five"} {
		if met[name] == 0 {
			t.Errorf("the blocks brought nothing of the kind %q", name)
		}
	}
	old, err := (queryServer{w.keeper}).Turn(w.ctx, &api.QueryTurnRequest{Height: 40})
	if err != nil || len(old.Turn.Entries) != 5 || old.Turn.Proposer != fmt.Sprintf("%X", o.drawn[40]) {
		t.Errorf("an old turn: %+v, %v", old, err)
	}
	if _, err := (queryServer{w.keeper}).Turn(w.ctx, &api.QueryTurnRequest{Height: 72}); err == nil {
		t.Error("a turn that is not drawn yet")
	}
}

// A proposer that leaves a number out is told of, out of the fallback draw, and back with the next number.
func TestOmission(t *testing.T) {
	w := running(t, 10)
	w.omits, w.proposer = true, 2 // ben
	lines := strings.Join(w.block(), "\n")
	w.omits = false
	if !strings.Contains(lines, "EventOmitted height=11 missing=10 proposer=ben") {
		t.Fatal(lines)
	}
	r, err := (queryServer{w.keeper}).Turn(w.ctx, &api.QueryTurnRequest{})
	if err != nil || !r.Turn.Fallback {
		t.Fatal(r, err)
	}
	ben := fmt.Sprintf("%X", w.named("ben").address())
	for _, e := range r.Turn.Entries {
		if e.Omitted != (e.Address == ben) {
			t.Errorf("%+v", e)
		}
	}
	if lines := strings.Join(w.block(), "\n"); strings.Contains(lines, "Omitted") || !strings.Contains(lines, "height=11 late=0") || !strings.Contains(lines, "height=10 late=1") {
		t.Error(lines)
	}
	r, err = (queryServer{w.keeper}).Turn(w.ctx, &api.QueryTurnRequest{})
	if err != nil || r.Turn.Fallback || slices.ContainsFunc(r.Turn.Entries, func(e api.Entry) bool { return e.Omitted }) {
		t.Error("not forgiven", r, err)
	}
	// Two of four do not vote: nobody could make the number, nobody is to blame.
	w.named("ann").absent, w.named("cat").absent = true, true
	w.block()
	if lines := strings.Join(w.block(), "\n"); strings.Contains(lines, "Omitted") {
		t.Error("blamed for what it could not do:", lines)
	}
}

// A number that comes late and is older than the last one changes no fallback and forgives nobody: nobody is to choose the moment.
func TestOldNumberChangesNoFallback(t *testing.T) {
	w := running(t, 10)
	w.decide(nil)
	w.decide([][]byte{carrying(t, w.teams[0], 1, 11)}) // 10 is still missing
	w.proposer = 2
	w.decide([][]byte{carrying(t, w.teams[0], 1, 10)}) // ben leaves out 12
	if w.tip() != 11 {
		t.Fatal("tip", w.tip())
	}
	number := lottery.Seed(w.teams[0].sign(t, message(1, 11)).Number())
	r, err := (queryServer{w.keeper}).Turn(w.ctx, &api.QueryTurnRequest{})
	want := lottery.Fallback(testChain, number, 14)
	if err != nil || !r.Turn.Fallback || !bytes.Equal(r.Turn.Seed, want[:]) {
		t.Errorf("%+v, %v: want the fallback of number 11", r.Turn, err)
	}
	w.proposer = 3
	w.decide([][]byte{carrying(t, w.teams[0], 1, 12)}) // cat leaves out 13, but 12 is newer than 11
	r, err = (queryServer{w.keeper}).Turn(w.ctx, &api.QueryTurnRequest{})
	cat := fmt.Sprintf("%X", w.named("cat").address())
	if err != nil || slices.ContainsFunc(r.Turn.Entries, func(e api.Entry) bool { return e.Omitted != (e.Address == cat) }) {
		t.Errorf("%+v, %v: want cat alone out of the fallback", r.Turn, err)
	}
	w.proposer = 1
	w.omits = true
	w.block() // ann leaves out 13 and 14; nothing came
	r, err = (queryServer{w.keeper}).Turn(w.ctx, &api.QueryTurnRequest{})
	ann := fmt.Sprintf("%X", w.named("ann").address())
	if err != nil || slices.ContainsFunc(r.Turn.Entries, func(e api.Entry) bool { return e.Omitted != (e.Address == cat || e.Address == ann) }) {
		t.Errorf("%+v, %v: want cat and ann out of the fallback", r.Turn, err)
	}
}

// A turn is kept in few bytes.
func TestTurnsAreSmall(t *testing.T) {
	w := running(t, 40)
	most := 0
	for h := int64(20); h < 40; h++ {
		if d, err := w.keeper.turns.Get(w.ctx, h); err != nil {
			t.Fatal(err)
		} else if h%int64(params.EpochBlocks) != 0 {
			most = max(most, d.Size())
		}
	}
	if most > 150 {
		t.Errorf("%d bytes a turn", most)
	}
}
