package beacon

import (
	"encoding/hex"
	"strings"
)

// evolve is what the entries of height h+1 must be: those of h, what became of the turn of h-1, and what block h did. last and now are the
// records of h-1 and h; who is in the set of h+1 and with what stake is taken from next.
func (r rules) evolve(last, now record, entries, next []entry) []entry {
	known := map[[20]byte]entry{}
	for _, e := range entries {
		known[e.address] = e
	}
	if last.turn != nil && last.turn.Proposer != "" {
		drawn := addressOf(last.turn.Proposer)
		if e, ok := known[drawn]; ok {
			e.turns++
			if last.proposer == drawn && last.round == 0 && !last.omitted {
				e.proposed++
			}
			known[drawn] = e
		}
	}
	for a, e := range known {
		e.omitted = e.omitted && !now.newest
		if a == now.proposer && now.omitted {
			e.omitted = true
		}
		known[a] = e
	}
	var out []entry
	for _, n := range next {
		e, ok := known[n.address]
		switch {
		case !ok:
			e = entry{address: n.address, stake: n.stake}
		case uint64(now.height+1)%r.epoch == 0:
			e = r.begin(e, n.stake)
		case e.stake == 0:
			e.stake = n.stake
		}
		out = append(out, e)
	}
	return out
}

// begin is an entry at an epoch's beginning, with another stake.
func (r rules) begin(e entry, stake uint64) entry {
	next := entry{address: e.address, stake: stake, omitted: e.omitted}
	if held := min(e.stake, stake); held > 0 {
		age := floor(big64(e.age), big64(held), big64(e.stake))
		age.Add(age, big64(held))
		if most := floor(big64(stake), big64(r.ageCap), big64(1)); age.Cmp(most) > 0 {
			age = most
		}
		next.age = age.Uint64()
	}
	return next
}

func addressOf(text string) (a [20]byte) {
	b, err := hex.DecodeString(strings.ToLower(text))
	if err == nil && len(b) == len(a) {
		a = [20]byte(b)
	}
	return a
}

// checkEntries recomputes each turn's entries from those before it.
func (v *verdict) checkEntries(p rules, at map[int64]record, height int64) {
	last, before := at[height-2]
	now, here := at[height-1]
	r := at[height]
	if !before || !here || now.turn == nil || r.turn == nil || len(now.turn.Entries) == 0 {
		return
	}
	entries, err := entriesOf(now.turn)
	if err != nil {
		v.wrongAt(height-1, "%v", err)
		return
	}
	got, err := entriesOf(r.turn)
	if err != nil {
		v.wrongAt(height, "%v", err)
		return
	}
	v.entries++
	for i, want := range p.evolve(last, now, entries, got) {
		if got[i] != want {
			v.wrongAt(height, "entry %x is %+v, want %+v", got[i].address, got[i], want)
		}
	}
	if want := uint64(height) % p.epoch; r.turn.Blocks != want {
		v.wrongAt(height, "place %d in the epoch, want %d", r.turn.Blocks, want)
	}
}
