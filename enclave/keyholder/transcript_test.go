package keyholder

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/cockroachdb/datadriven"

	"github.com/cella-network/cella/protocol/threshold"
)

// TestTranscript plays whole lives of groups: honest hosts, a chain of plain ceremonies.
func TestTranscript(t *testing.T) {
	datadriven.Walk(t, "testdata/transcript", func(t *testing.T, path string) {
		s := &stage{world: newWorld(), groups: map[string]*threshold.Group{}}
		datadriven.RunTest(t, path, func(t *testing.T, d *datadriven.TestData) string {
			out, err := s.step(t, d)
			if err != nil {
				return err.Error() + "\n"
			}
			return out + "\n"
		})
	})
}

type stage struct {
	*world
	groups map[string]*threshold.Group
}

func words(d *datadriven.TestData, key string) []string {
	for _, a := range d.CmdArgs {
		if a.Key == key {
			return a.Vals
		}
	}
	return nil
}

func number(d *datadriven.TestData, key string) int64 {
	if w := words(d, key); len(w) > 0 {
		n, _ := strconv.ParseInt(w[0], 10, 64)
		return n
	}
	return 0
}

func word(d *datadriven.TestData, key string) string {
	if w := words(d, key); len(w) > 0 {
		return w[0]
	}
	return ""
}

var phases = []string{"", "keys", "deals", "complaints", "readiness", "done", "failed"}

func (s *stage) step(t *testing.T, d *datadriven.TestData) (string, error) {
	switch d.Cmd {
	case "start": // names=(a,b): enclaves, those that run already anew
		for _, n := range words(d, "names") {
			s.restart(n)
		}
		return fmt.Sprintf("%d enclaves", len(s.holders)), nil
	case "begin": // members=(a,b) shares=(2,2) threshold=3 epoch=1 [attempt=1] [from=x]
		var shares []int
		for _, w := range words(d, "shares") {
			n, _ := strconv.Atoi(w)
			shares = append(shares, n)
		}
		setup := setupOf(uint64(number(d, "epoch")), uint32(number(d, "attempt")), int(number(d, "threshold")), words(d, "members"), shares)
		setup.Old = s.groups[word(d, "from")]
		return "keys", s.begin(setup)
	case "act": // [silent=(c)]
		return s.told(s.round(words(d, "silent")...))
	case "post": // by=a: what a cheat made up, in place of what its enclave would say: a deal to others than have keys
		return s.badDeal(word(d, "by"))
	case "advance":
		err := s.world.advance()
		out := phases[s.c.Phase()]
		for _, b := range s.c.Blames() {
			out += fmt.Sprintf("\nblamed: %s (%s)", strings.TrimRight(string(b.Account[:]), "\x00"), b.Rule)
		}
		return out, err
	case "charge": // as=x: the group of the ceremony
		if err := s.take(); err != nil {
			return "", err
		}
		s.groups[word(d, "as")] = s.world.charge.Keys
		return fmt.Sprintf("%s signs from the next height but one on", word(d, "as")), nil
	case "confirm":
		s.height++
		s.world.charge.Confirmed = true
		return "the group before can't come back", nil
	case "back":
		s.height++
		s.world.charge = &threshold.InCharge{Charge: threshold.Charge{Epoch: s.world.charge.Epoch + 1, From: s.height + 2,
			Group: s.before.Group, Confirmed: s.before.Confirmed}, Keys: s.before.Keys}
		return "the group before is in charge again", nil
	case "settle":
		return s.settled(words(d, "silent"))
	case "sign": // group=x epoch=1 [in=2] [by=(a,b)]
		return s.signed(d)
	case "lost": // of=c attempt=1 helpers=(a,b)
		return "keys", s.world.repair(word(d, "of"), uint32(number(d, "attempt")), words(d, "helpers")...)
	case "mend": // of=c [silent=(a)]
		return s.told(s.roundRepair(word(d, "of"), words(d, "silent")...))
	case "advance-repair": // of=c
		err := s.advanceRepair(word(d, "of"))
		return phases[s.repairs[word(d, "of")].r.Phase()], err
	}
	d.Fatalf(t, "no such step")
	return "", nil
}

func (s *stage) told(said map[string]int, err error) (string, error) {
	if err != nil {
		return "", err
	}
	var out []string
	for _, n := range s.names() {
		if said[n] > 0 {
			out = append(out, fmt.Sprintf("%s: %d", n, said[n]))
		}
	}
	if len(out) == 0 {
		return "nobody has anything to say", nil
	}
	return "accepted of " + strings.Join(out, ", "), nil
}

func (s *stage) settled(silent []string) (string, error) {
	var out []string
	for _, n := range s.names() {
		if slices.Contains(silent, n) {
			continue
		}
		st, err := s.world.settle(n)
		if err != nil {
			return "", err
		}
		line := n + ": "
		switch {
		case !st.Charged:
			line += "there is no group"
		case !st.Member:
			line += fmt.Sprintf("epoch %d, no seat", st.Epoch)
		case !st.Holds:
			line += fmt.Sprintf("epoch %d, seat %d, no shares", st.Epoch, st.Seat)
		case !st.Ready:
			line += fmt.Sprintf("epoch %d, seat %d, shares that the chain does not know of", st.Epoch, st.Seat)
		default:
			line += fmt.Sprintf("epoch %d, seat %d", st.Epoch, st.Seat)
		}
		for _, x := range s.holders[n].desks[beacon].held {
			line += fmt.Sprintf("; holds shares of epoch %d", x.group.ID.Epoch)
		}
		out = append(out, line)
	}
	return strings.Join(out, "\n"), nil
}

// signed makes the number of a height: the first of the charge, or one before it.
func (s *stage) signed(d *datadriven.TestData) (string, error) {
	g := s.groups[word(d, "group")]
	height := s.world.charge.From
	if word(d, "late") != "" {
		height = s.world.charge.From - 1
	}
	if s.world.charge.Keys.ID == g.ID {
		g = s.world.charge.Keys // as it is by now
		s.height = max(s.height, height-1)
	}
	by := words(d, "by")
	if len(by) == 0 {
		by = s.names()
	}
	sig, err := s.world.sign(g, uint64(number(d, "epoch")), height, by)
	if err != nil {
		return "", err
	}
	n := sig.Number()
	return fmt.Sprintf("number %x..", n[:6]), nil
}

func (s *stage) badDeal(by string) (string, error) {
	message, err := s.world.badDeal(by)
	if err != nil {
		return "", err
	}
	return "accepted", s.ceremony.accept(s.world, account(by), message)
}
