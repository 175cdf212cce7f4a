package committee

import (
	"bytes"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/cockroachdb/datadriven"

	sdk "github.com/cosmos/cosmos-sdk/types"

	api "github.com/cella-network/cella/api/committee"
	"github.com/cella-network/cella/protocol/threshold"
)

// The transcripts follow members through ceremonies, once with one keeper and once with a new one on the same store for each block:
// both must leave the same bytes and ask for the same gas. Members act by themselves in each block, as their enclaves would.
//
//	join NAME ... [stake=10]         leave NAME ...: who would hold a fresh key
//	off NAME ...: no registered enclave      on NAME ...: a new one      restart NAME ...: off and on, all shares are gone
//	mute NAME ...: posts and signs nothing    speak NAME ...    quiet: nobody signs    loud
//	cheat NAME how=deal|complaint|contribution|unready|no
//	late NAME: says what it kept to itself as unready
//	begin NAME ...: as an era would      blocks n=5: what happened      ask NAME [epoch=1]      repairs
//	blinds most=100: of a repair; beyond it the key is handed on
//	charge: who is in charge, and who of its members holds shares
func TestTranscripts(t *testing.T) {
	datadriven.Walk(t, "testdata", func(t *testing.T, path string) {
		one, two := newWorld(t), newWorld(t)
		two.restart = true
		datadriven.RunTest(t, path, func(t *testing.T, d *datadriven.TestData) string {
			a, b := one.command(t, d), two.command(t, d)
			if a != b {
				t.Errorf("%s: with one keeper\n%sand with a new one for each block\n%s", d.Pos, a, b)
			}
			return a
		})
		if !slices.Equal(one.dumps, two.dumps) {
			t.Error("a keeper that was made anew stored something else")
		}
		if !slices.Equal(one.gas, two.gas) {
			t.Errorf("a keeper that was made anew asks for other gas: %v, %v", one.gas, two.gas)
		}
	})
}

func (w *world) command(t *testing.T, d *datadriven.TestData) string {
	var words []string
	for _, arg := range d.CmdArgs {
		if len(arg.Vals) == 0 {
			words = append(words, arg.Key)
		}
	}
	number := func(key string, missing int) int {
		d.MaybeScanArgs(t, key, &missing)
		return missing
	}
	each := func(do func(p *person)) {
		for _, name := range words {
			do(w.people[name])
		}
	}
	var lines []string
	var err error
	switch d.Cmd {
	case "join":
		w.join(uint64(number("stake", 10)), words...)
	case "leave":
		w.stakes = slices.DeleteFunc(w.stakes, func(s threshold.Stakeholder) bool {
			return len(w.of(words...)) > 0 && slices.Contains(w.of(words...), s)
		})
	case "off":
		each(func(p *person) { p.active, p.member, p.shares = false, nil, nil })
	case "on", "restart":
		each(func(p *person) { p.start() })
	case "mute", "speak":
		each(func(p *person) { p.mute = d.Cmd == "mute" })
	case "quiet", "loud":
		w.quiet = d.Cmd == "quiet"
	case "cheat":
		each(func(p *person) { d.ScanArgs(t, "how", &p.cheat) })
	case "late":
		w.ctx = w.ctx.WithEventManager(sdk.NewEventManager())
		err = w.post(w.people[words[0]], w.people[words[0]].late)
		lines = w.happened(nil)
	case "blinds":
		w.blinds = number("most", 0)
		w.open()
	case "begin":
		w.ctx = w.ctx.WithEventManager(sdk.NewEventManager())
		err = w.keeper.Begin(w.ctx, Purpose, w.of(words...))
		lines = w.happened(nil)
	case "blocks":
		lines = w.blocks(number("n", 1))
	case "ask":
		now, _, _ := w.keeper.Charges(w.ctx, Purpose)
		err = w.ask(words[0], uint64(number("epoch", int(now.Epoch))))
	case "repairs":
		r, e := queryServer{w.keeper}.Repairs(w.ctx, &api.QueryRepairsRequest{Purpose: Purpose})
		must(t, e)
		for _, r := range r.Repairs {
			a := w.parse(r.Account)
			lines = append(lines, fmt.Sprintf("%s attempt %d: %s until %d, helpers %v", bytes.TrimRight(a[:], "\x00"), r.Attempt, r.Phase, r.Ends, r.Helpers))
		}
	case "charge":
		lines = w.charged()
	default:
		d.Fatalf(t, "unknown command %q", d.Cmd)
	}
	if err != nil {
		lines = append(lines, "refused: "+err.Error())
	}
	if len(lines) == 0 {
		lines = []string{"-"}
	}
	var pairs []string
	for _, p := range w.sorted() {
		pairs = append(pairs, text(p.name), p.name)
	}
	return strings.NewReplacer(pairs...).Replace(strings.Join(lines, "\n") + "\n")
}

func (w *world) charged() (lines []string) {
	now, before, err := w.keeper.Charges(w.ctx, Purpose)
	must(w.tb, err)
	for i, c := range []*threshold.InCharge{now, before} {
		if c == nil {
			continue
		}
		which := []string{"now", "before"}[i]
		line := fmt.Sprintf("%s: epoch %d from %d", which, c.Epoch, c.From)
		if c.Confirmed {
			line += ", confirmed"
		}
		total := 0
		for i, s := range c.Keys.Seats {
			total += s.Shares
			p := w.people[string(bytes.TrimRight(s.Account[:], "\x00"))]
			line += fmt.Sprintf("; %s", p.name)
			if !c.Keys.Ready(i) {
				line += " not ready"
			}
			if p.shares[c.Keys.ID] == nil {
				line += " without shares"
			}
		}
		lines = append(lines, fmt.Sprintf("%s; %d of %d sign", line, c.Keys.Threshold, total))
	}
	return lines
}
