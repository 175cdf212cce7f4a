package beacon

import (
	"bytes"
	"context"
	"encoding/hex"
	"fmt"
	"slices"
	"strings"

	api "github.com/cella-network/cella/api/beacon"
)

// verdict is what a run's heights come to.
type verdict struct {
	heights, drawn, first, fallback int // all; with somebody drawn; of those committed in round 0; drawn without the number
	numbers, prompt, expected       int // that came; within three blocks; that were to come within three blocks
	entries, omitted                int // heights whose entries were recomputed; blocks that left out a number
	late                            []string
	wrong                           []string
}

func (v *verdict) wrongAt(height int64, format string, args ...any) {
	v.wrong = append(v.wrong, fmt.Sprintf("height %d: ", height)+fmt.Sprintf(format, args...))
}

// judge recomputes everything and holds it against what happened.
func (r *run) judge(ctx context.Context) {
	r.Helper()
	c, err := r.reach(ctx)
	r.mustNow(err)
	params, err := api.NewQueryClient(c).Params(ctx, &api.QueryParamsRequest{})
	r.mustNow(err)
	p := params.Params
	// What draws the first turn with a number lies a little before it.
	records, err := c.read(ctx, max(r.first-3, 1), r.top(ctx)-1)
	r.mustNow(err)
	v := check(r.net.ChainID, rules{p.EpochBlocks, p.HalfLife, p.AgeCap, p.Prior}, records)
	v.count(records, r.first, r.weak)
	for _, w := range v.wrong {
		r.Error(w)
	}
	r.Logf("%d heights: %d proposers drawn, %d of them for blocks of round 0, %d without the number; %d mismatches", v.heights, v.drawn, v.first, v.fallback, len(v.wrong))
	r.Logf("entries of %d heights recomputed, %d blocks left out a number", v.entries, v.omitted)
	r.Logf("%d numbers came; %d of %d that were due came within 3 blocks; late: %v", v.numbers, v.prompt, v.expected, v.late)
	if v.heights < int(*heights) || v.first < v.heights/2 {
		r.Errorf("the test saw too little: %d heights, %d with the proposer that was drawn", v.heights, v.first)
	}
	if 100*v.prompt < 99*v.expected {
		r.Errorf("fewer than 99 %% of the numbers came within 3 blocks")
	}
}

// check recomputes seeds, draws and entries of consecutive heights.
func check(chain string, p rules, records []record) *verdict {
	v := &verdict{}
	at := map[int64]record{}
	for _, r := range records {
		at[r.height] = r
	}
	for _, r := range records {
		v.heights++
		if r.number != nil {
			if err := checkNumber(chain, r.number); err != nil {
				v.wrongAt(r.height, "%v", err)
			}
		}
		if r.omitted {
			v.omitted++
		}
		if r.told != r.omitted {
			v.wrongAt(r.height, "the chain says that it omitted a number: %v, recomputed %v", r.told, r.omitted)
		}
		v.checkEntries(p, at, r.height)
		if r.turn == nil || r.turn.Proposer == "" {
			continue
		}
		v.drawn++
		if _, ok := at[r.height-2]; ok {
			v.checkSeed(chain, r, at)
		}
		v.checkDraw(p, r)
	}
	return v
}

// checkSeed: by the number of two heights before if the block before carried it, else by a hash of the last one that came.
func (v *verdict) checkSeed(chain string, r record, at map[int64]record) {
	n := at[r.height-2].number
	came := n != nil && n.Number.Carried == r.height-1
	if came == r.turn.Fallback {
		v.wrongAt(r.height, "fallback is %v, but the number of %d came in block %d", r.turn.Fallback, r.height-2, carried(n))
		return
	}
	if came {
		if !bytes.Equal(r.turn.Seed, n.Number.Number) {
			v.wrongAt(r.height, "seed %x, the number of %d is %x", r.turn.Seed, r.height-2, n.Number.Number)
		}
		return
	}
	v.fallback++
	for h := r.height - 2; ; h-- { // the highest height whose number came until the block before
		last, ok := at[h]
		if !ok {
			v.fallback-- // it came before what was read
			return
		}
		if last.number == nil || last.number.Number.Carried >= r.height {
			continue
		}
		if want := fallbackSeed(chain, last.number.Number.Number, r.height); !bytes.Equal(r.turn.Seed, want) {
			v.wrongAt(r.height, "seed %x, want %x from the number of %d", r.turn.Seed, want, h)
		}
		return
	}
}

func carried(n *api.QueryNumberResponse) int64 {
	if n == nil {
		return 0
	}
	return n.Number.Carried
}

// checkDraw: the one whom the seed draws is the turn's, and made the block if it is one of the first round.
func (v *verdict) checkDraw(p rules, r record) {
	entries, err := entriesOf(r.turn)
	if err != nil {
		v.wrongAt(r.height, "%v", err)
		return
	}
	want, err := p.draw(r.turn.Seed, r.height, entries, r.turn.Blocks, r.turn.Fallback)
	if err != nil {
		v.wrongAt(r.height, "%v", err)
		return
	}
	if !strings.EqualFold(r.turn.Proposer, hex.EncodeToString(want[:])) {
		v.wrongAt(r.height, "the chain drew %s, want %X", r.turn.Proposer, want)
	}
	if r.round > 0 {
		return
	}
	v.first++
	if r.proposer != want {
		v.wrongAt(r.height, "block of round 0 by %X, drawn was %X", r.proposer, want)
	}
}

// count looks when numbers came. Those of weak heights may be late, or never come.
func (v *verdict) count(records []record, first int64, weak []span) {
	top := records[len(records)-1].height
	for _, r := range records {
		if r.height < first {
			continue
		}
		if r.number != nil {
			v.numbers++
		}
		if r.height+3 > top || slices.ContainsFunc(weak, func(s span) bool { return s.from <= r.height && r.height <= s.to }) {
			continue
		}
		v.expected++
		if r.number != nil && r.number.Number.Carried <= r.height+3 {
			v.prompt++
		} else {
			v.late = append(v.late, fmt.Sprintf("%d came in %d", r.height, carried(r.number)))
		}
	}
}
