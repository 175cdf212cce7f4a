package beacon

import (
	"crypto/sha256"
	"fmt"
	"strings"
	"testing"

	blst "github.com/supranational/blst/bindings/go"

	api "github.com/cella-network/cella/api/beacon"
)

// chainOf makes the records of a chain without processes: one key signs all numbers, every ninth proposer omits one, which comes two
// blocks later, and every eleventh height needs a second round.
func chainOf(t *testing.T, p rules, heights int64) []record {
	t.Helper()
	key := blst.KeyGen(make([]byte, 32))
	public := new(blst.P2Affine).From(key)
	const tag = "CELLA-V1-beacon-BLS12381G1_XMD:SHA-256_SSWU_RO_"
	var entries []entry
	for i := range 5 {
		entries = append(entries, entry{address: [20]byte{byte(i)}, stake: 1000 * uint64(i+1)})
	}
	records := []record{{height: 1}}
	for h := int64(1); h <= heights; h++ { // records[h-1] is the one of h, records[h] has its turn
		now, last := &records[h-1], record{}
		if h > 1 {
			last = records[h-2]
		}
		now.omitted = h > 9 && h%9 == 0 // the number of h-1 comes in h+1
		now.told = now.omitted
		now.newest = h > 1 && !now.omitted
		message := append(append(append(short("cella/beacon/v1"), short("test")...), eight(1)...), eight(uint64(h))...)
		signature := new(blst.P1Affine).Sign(key, message, []byte(tag)).Compress()
		number := sha256.Sum256(signature)
		carried := h + 1
		if carried > 9 && carried%9 == 0 {
			carried++
		}
		now.number = &api.QueryNumberResponse{Key: public.Compress(), Tag: tag, Message: message,
			Number: api.Number{Height: h, Epoch: 1, Signature: signature, Number: number[:], Carried: carried}}
		if now.turn != nil && now.turn.Proposer != "" {
			now.proposer = addressOf(now.turn.Proposer)
		}
		if now.round = 0; h%11 == 0 {
			now.round, now.proposer = 1, entries[h%5].address
		}
		entries = p.evolve(last, *now, entries, entries)
		turn := &api.Turn{Height: h + 1, Blocks: uint64(h+1) % p.epoch}
		for _, e := range entries {
			turn.Entries = append(turn.Entries, api.Entry{Address: fmt.Sprintf("%X", e.address), Stake: e.stake, Age: e.age, Turns: e.turns, Proposed: e.proposed, Omitted: e.omitted})
		}
		if h > 2 {
			seed := records[h-2].number.Number.Number
			if turn.Fallback = now.omitted; turn.Fallback {
				seed = fallbackSeed("test", records[h-3].number.Number.Number, h+1)
			}
			proposer, err := p.draw(seed, h+1, entries, turn.Blocks, turn.Fallback)
			if err != nil {
				t.Fatal(err)
			}
			turn.Seed, turn.Proposer = seed, fmt.Sprintf("%X", proposer)
		}
		records = append(records, record{height: h + 1, turn: turn})
	}
	return records[:heights]
}

// TestJudge: a chain that keeps to the rules passes, and whatever in it is not as it should be is found.
func TestJudge(t *testing.T) {
	p := rules{epoch: 20, halfLife: 5, ageCap: 4, prior: 2}
	v := check("test", p, chainOf(t, p, 60))
	v.count(chainOf(t, p, 60), 1, []span{{18, 26}})
	if len(v.wrong) > 0 || v.drawn != 57 || v.first != 52 || v.fallback != 5 || v.entries != 58 || v.omitted != 5 || v.prompt != v.expected || v.expected != 48 {
		t.Errorf("an honest chain: %+v", v)
	}
	for name, c := range map[string]struct {
		spoil func(r *record)
		want  string
	}{
		"another proposer":            {func(r *record) { r.proposer[19]++ }, "block of round 0 by"},
		"another one is drawn":        {func(r *record) { r.turn.Proposer = fmt.Sprintf("%X", [20]byte{9}) }, "the chain drew"},
		"another seed":                {func(r *record) { r.turn.Seed = make([]byte, 32) }, "seed 00"},
		"a fallback without need":     {func(r *record) { r.turn.Fallback = true }, "fallback is true"},
		"another weight":              {func(r *record) { r.turn.Entries[0].Age++ }, "entry 00"},
		"a turn too many":             {func(r *record) { r.turn.Entries[4].Turns++ }, "entry 04"},
		"an omission that nobody did": {func(r *record) { r.told = true }, "recomputed false"},
		"a place in the epoch":        {func(r *record) { r.turn.Blocks++ }, "place"},
		"a number of another height":  {func(r *record) { r.number.Message = []byte("hello") }, "signs"},
		"a number by another key":     {func(r *record) { r.number.Key = blst.P2Generator().ToAffine().Compress() }, "not the group's"},
		"a number that was chosen":    {func(r *record) { r.number.Number.Number = make([]byte, 32) }, "the hash of its signature"},
	} {
		all := chainOf(t, p, 60)
		c.spoil(&all[30])
		if v := check("test", p, all); !strings.Contains(strings.Join(v.wrong, "\n"), c.want) {
			t.Errorf("%s: found %q, want %q", name, v.wrong, c.want)
		}
	}
	all := chainOf(t, p, 60)
	all[30].number = nil
	v = check("test", p, all)
	if v.count(all, 1, nil); v.prompt != v.expected-1 {
		t.Errorf("a number that never came: %+v", v)
	}
}
