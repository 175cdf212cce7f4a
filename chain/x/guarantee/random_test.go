package guarantee

import (
	"errors"
	"slices"
	"testing"

	"pgregory.net/rapid"

	"github.com/cella-network/cella/protocol/stake"
)

// Lives at random on the stock modules: operators that come, prove, fail and cheat, guarantors that come and go, ceremonies that fail. After each block the
// world adds up all coins to the ucella, holds our validators against CometBFT's and sees that coins which can be slashed answer for all power.
func TestRandomLives(t *testing.T) {
	moved, burned, released := 0, uint64(0), 0
	rapid.Check(t, func(r *rapid.T) {
		p := params
		p.EraBlocks = rapid.Int64Range(2, 6).Draw(r, "era")
		p.UnbondEras = rapid.Int64Range(1, 3).Draw(r, "unbond")
		p.EraPool = rapid.Uint64Range(0, 10*cella).Draw(r, "pool")
		p.Seats = rapid.Uint32Range(4, 6).Draw(r, "seats")
		w := newWorld(t, p)
		names := []string{"ann", "bob", "cat", "dan", "eve", "fay", "gus"}
		for i, name := range names[:5] {
			if err := w.validator(t, name, int64(20+10*i)*cella, int64(10*i)); err != nil {
				r.Fatal(err)
			}
			w.bytes[name] = 200 * gib
		}
		w.known["fay"], w.known["gus"] = true, true
		w.bytes["fay"], w.bytes["gus"] = 200*gib, 100*gib
		w.start(t)
		w.fresh = rapid.Bool().Draw(r, "group")
		for range 8 {
			w.block(t)
		}
		for range rapid.IntRange(5, 25).Draw(r, "steps") {
			name := rapid.SampledFrom(names).Draw(r, "node")
			who := rapid.SampledFrom([]string{name, "gil", "hal"}).Draw(r, "who")
			amount := rapid.Int64Range(1, 60*cella).Draw(r, "amount")
			step := rapid.SampledFrom([]string{"bond", "bond", "unbond", "unbond", "cancel", "create", "prove", "fail", "silent", "bad", "blamed", "absent",
				"reshared", "reshared", "failed", "fees", "unjail", "rotate"}).Draw(r, "step")
			var err error
			switch step {
			case "bond":
				err = w.bond(t, name, who, amount)
			case "unbond":
				err = w.unbond(name, who, amount)
			case "cancel":
				err = w.cancel(name, who, amount)
			case "create":
				err = w.validator(t, name, amount, 5)
			case "prove":
				w.bytes[name] = rapid.Uint64Range(0, 300).Draw(r, "gib") * gib
			case "fail":
				w.fails[name] = !w.fails[name]
			case "silent":
				w.silent[name] = !w.silent[name]
			case "absent":
				w.absent[name] = !w.absent[name]
			case "bad":
				err = w.keeper.Punish(w.ctx, consensusOf(keyOf(name).Key), w.ctx.BlockHeight()-rapid.Int64Range(0, 5).Draw(r, "ago"), "bad-share")
				w.count(w.ctx)
			case "blamed":
				err = w.keeper.Blamed(w.ctx, [20]byte(account(name)), "false-share")
				w.count(w.ctx)
			case "reshared":
				w.done = len(w.begun) > 0
			case "failed":
				err = w.keeper.Failed(w.ctx, Purpose)
			case "fees":
				w.fee = rapid.Int64Range(0, 99).Draw(r, "fee")
			case "unjail":
				err = w.unjail(name)
			case "rotate":
				err = w.rotate(t, name)
			}
			if errors.Is(err, stake.ErrState) {
				r.Fatal(err)
			}
			for range rapid.IntRange(1, 6).Draw(r, "blocks") {
				for _, line := range w.block(t) {
					if len(line) > 8 && line[:8] == "Released" {
						released++
					}
				}
			}
		}
		it, err := w.keeper.sets.Iterate(w.ctx, nil)
		if err != nil {
			r.Fatal(err)
		}
		keys, err := it.Keys()
		if err != nil {
			r.Fatal(err)
		}
		moved, burned = moved+len(slices.Compact(keys))-1, burned+w.burned
	})
	if moved == 0 || burned == 0 || released == 0 {
		t.Errorf("the lives are too dull: %d sets, %d burned, %d let go", moved, burned, released)
	}
}
