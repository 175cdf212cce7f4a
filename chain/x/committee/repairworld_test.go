package committee

import (
	"bytes"
	"fmt"
	"slices"

	api "github.com/cella-network/cella/api/committee"
	"github.com/cella-network/cella/protocol/threshold"
)

// repairView is what a member makes of the chain's answers about a repair.
func (w *world) repairView(r api.Repair) (*threshold.Repair, *threshold.Group) {
	w.tb.Helper()
	now, _, err := w.keeper.Charges(w.ctx, Purpose)
	must(w.tb, err)
	a := w.parse(r.Account)
	full, err := queryServer{w.keeper}.Repair(w.ctx, &api.QueryRepairRequest{Purpose: Purpose, Account: r.Account})
	must(w.tb, err)
	var helpers []int
	for _, h := range r.Helpers {
		helpers = append(helpers, int(h))
	}
	v, err := threshold.NewRepair(now.Keys, r.Attempt, int(r.Seat), helpers)
	must(w.tb, err)
	t := v.Transcript()
	for _, e := range full.Entries {
		if e.From == "" {
			must(w.tb, v.Advance())
			t = t.Advanced()
			continue
		}
		must(w.tb, v.Accept(w.parse(e.From), e.Message))
		t = t.Accepted(w.parse(e.From), e.Message)
	}
	if proven := w.ctx.KVStore(w.key).Get(threshold.RepairKey(Purpose, a)); !bytes.Equal(proven, t.Marshal()) {
		w.tb.Fatalf("the entries make another transcript than the chain proves: %x, %x", t.Marshal(), proven)
	}
	return v, now.Keys
}

func (w *world) actRepairs() (lines []string) {
	all, err := queryServer{w.keeper}.Repairs(w.ctx, &api.QueryRepairsRequest{Purpose: Purpose})
	must(w.tb, err)
	for _, r := range all.Repairs {
		v, g := w.repairView(r)
		a := w.parse(r.Account)
		about := string(bytes.TrimRight(a[:], "\x00"))
		for _, p := range w.sorted() {
			seat := seatOf(g.Seats, p.name)
			if !p.active || p.mute || p.low || seat < 0 || !p.once("repair of %s %d %d %s", about, r.Epoch, r.Attempt, r.Phase) {
				continue
			}
			if err := w.help(p, v, g, seat, about, fmt.Sprint(about, r.Attempt)); err != nil {
				lines = append(lines, p.name+": "+err.Error())
			}
		}
	}
	return lines
}

func (w *world) help(p *person, r *threshold.Repair, g *threshold.Group, seat int, about, id string) error {
	lost := p.name == about
	switch r.Phase() {
	case threshold.PhaseKeys:
		if !lost && p.shares[g.ID] == nil {
			return nil
		}
		f, message, err := threshold.JoinRepair(r, seat, p.random)
		must(w.tb, err)
		p.fixers[id] = f
		return w.postRepair(p, about, message)
	case threshold.PhaseDeal:
		if p.fixers[id] == nil || !slices.Contains(r.Helpers(), seat) {
			return nil
		}
		message, err := p.fixers[id].Contribute(r, p.shares[g.ID])
		must(w.tb, err)
		if p.cheat == "contribution" {
			message[len(message)-1] ^= 1
		}
		return w.postRepair(p, about, message)
	case threshold.PhaseComplain:
		if p.fixers[id] == nil {
			return nil
		}
		messages, err := p.fixers[id].Check(r, p.random)
		must(w.tb, err)
		return w.postRepair(p, about, messages...)
	case threshold.PhaseDone:
		if p.fixers[id] == nil || !lost {
			return nil
		}
		s, message, err := p.fixers[id].Recover(r)
		must(w.tb, err)
		p.shares[g.ID] = s
		if g.Ready(seat) {
			return nil
		}
		return w.postRepair(p, about, message)
	}
	return nil
}
