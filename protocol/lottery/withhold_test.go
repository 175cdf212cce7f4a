package lottery

import (
	"math"
	"slices"
	"testing"
)

// Whoever proposes block h+1 knows the number of height h, and so the proposer of h+2, before it decides whether to carry it. It also
// knows whom the fallback would draw, for many heights ahead. Decision 015 derives what that is worth; these tests play it.

// withheldShare is the greatest long-run share of proposers for members who hold a share c of the weights and act as one: they pick
// the better of number and fallback whenever one of them proposes, and see all fallback draws ahead. q bounds their share of a
// fallback draw, from which those who omitted are left out.
func withheldShare(c, q float64) float64 {
	ahead := q * q / (1 - q)
	return c * (1 + q*(1-c) + ahead) / (1 + c*ahead)
}

// revealedShare is the same where they can hold back the number at every height, whoever proposes, and nobody is left out for it: the
// last revealers. It is found by iterating the values of all states, which are the next fallback draws: theirs or not.
func revealedShare(c float64) float64 {
	const ahead = 8
	chance := func(bits int) float64 {
		p := 1.0
		for i := range ahead {
			if bits>>i&1 == 1 {
				p *= c
			} else {
				p *= 1 - c
			}
		}
		return p
	}
	value, share := make([]float64, 1<<ahead), 0.0
	for range 200 {
		fresh := 0.0
		for bits, v := range value {
			fresh += chance(bits) * v
		}
		next := make([]float64, len(value))
		for bits := range value {
			rest := bits >> 1
			withhold := float64(bits&1) + (1-c)*value[rest] + c*value[rest|1<<(ahead-1)]
			next[bits] = c*max(1+fresh, withhold) + (1-c)*max(fresh, withhold)
		}
		share = next[0] - value[0]
		base := next[0]
		for i := range next {
			next[i] -= base
		}
		value = next
	}
	return share
}

// game is a chain of draws among equal validators, of which the first are members of one coalition.
type game struct {
	t        *testing.T
	rules    Rules
	entries  []Entry
	members  int
	last     Seed // the last number that came
	proposer int  // of the block that is made now
	turns    int  // that members have had
}

func newGame(t *testing.T, stakes []uint64, members int) *game {
	g := &game{t: t, rules: Rules{Epoch: 500, HalfLife: 100, AgeCap: 8, Prior: 8}, members: members, proposer: len(stakes) - 1}
	for i, s := range stakes {
		g.entries = append(g.entries, Entry{Address: address(i), Stake: s})
	}
	return g
}

func (g *game) draw(seed Seed, height int64, entries []Entry, fallback bool) int {
	i, err := g.rules.Draw(seed, height, entries, uint64(height)%g.rules.Epoch, fallback)
	if err != nil {
		g.t.Fatal(err)
	}
	return i
}

// run is how many fallback draws in a row from a height on would be the members', if each of them omitted its number.
func (g *game) run(height int64) int {
	entries, p := slices.Clone(g.entries), g.proposer
	for n := 0; ; n++ {
		entries[p].Omitted = true
		if p = g.draw(Fallback("game", g.last, height+int64(n)), height+int64(n), entries, true); p >= g.members || n == 20 {
			return n
		}
	}
}

// play runs heights and returns the members' share of proposers. At each block that one of them makes, omit says whether it leaves out the
// number, which would draw a member or not, where so many fallback draws ahead are theirs. With punish an omission is a missed turn.
func (g *game) play(heights int64, punish bool, omit func(number bool, run int) bool) float64 {
	for h := int64(1); h <= heights; h++ { // block h is made; the number of h-1 is known, the proposer of h+1 is drawn
		if uint64(h)%g.rules.Epoch == 0 {
			for i, e := range g.entries {
				g.entries[i] = g.rules.Next(e, e.Stake)
			}
		}
		number := BlockSeed("game", h, [32]byte{}) // stands for the beacon's: nobody can choose it
		next, omitted := g.draw(number, h+1, g.entries, false), false
		if g.proposer < g.members {
			g.turns++
			omitted = omit(next < g.members, g.run(h+1))
		}
		g.entries[g.proposer] = g.entries[g.proposer].Took(!omitted || !punish)
		if omitted {
			g.entries[g.proposer].Omitted = true
			next = g.draw(Fallback("game", g.last, h+1), h+1, g.entries, true)
		} else {
			g.last = number
			for i := range g.entries {
				g.entries[i].Omitted = false
			}
		}
		g.proposer = next
	}
	return float64(g.turns) / float64(heights)
}

// best is the best of all strategies: it omits where only the fallback is theirs, and to keep a longer run than a new one would be.
func best(number bool, run int) bool { return run >= 2 || run == 1 && !number }

func equal(n int) []uint64 {
	out := make([]uint64, n)
	for i := range out {
		out[i] = 1_000_000
	}
	return out
}

// slack is three standard deviations of a share over heights, for draws each of which makes the next more likely by a third at most.
func slack(share float64, heights int64) float64 {
	return 3 * math.Sqrt(2*share*(1-share)/float64(heights))
}

// A coalition gains no more than the bound; without the punishment it nearly reaches it, so that the bound is no idle one.
func TestWithholdingGainsNoMoreThanTheBound(t *testing.T) {
	const heights = 20_000
	for _, members := range []int{6, 29} {
		const all = 90
		c := float64(members) / all
		bound := withheldShare(c, c)
		free := newGame(t, equal(all), members).play(heights, false, best)
		if room := slack(bound, heights); free > bound+room || free < withheldShare(c, float64(members-1)/(all-1))-0.01-room {
			t.Errorf("%d of %d members: share %.4f without punishment, the bound is %.4f", members, all, free, bound)
		}
		paid := newGame(t, equal(all), members).play(heights, true, best)
		if paid > bound+slack(bound, heights) || paid > free+slack(free, heights) {
			t.Errorf("%d of %d members: share %.4f with punishment, the bound is %.4f", members, all, paid, bound)
		}
		t.Logf("%d of %d: %.4f of the weights, bound %.4f, played %.4f, with missed turns counted %.4f", members, all, c, bound, free, paid)
	}
}

// One validator alone gains nothing by withholding, however large it is: it is left out of the fallback that it brings about.
func TestWithholdingAloneGainsNothing(t *testing.T) {
	const heights = 20_000
	stakes := append([]uint64{44_000_000}, equal(89)...) // 33 % in one hand
	c := 44.0 / 133
	for name, omit := range map[string]func(bool, int) bool{
		"whenever another is drawn": func(number bool, _ int) bool { return !number },
		"as a coalition would":      best,
		"never":                     func(bool, int) bool { return false },
	} {
		if share := newGame(t, stakes, 1).play(heights, false, omit); share > c+slack(c, heights) {
			t.Errorf("%s: share %.4f of the turns with %.4f of the weights", name, share, c)
		}
	}
}

// The figures are those of decision 015.
func TestBoundsOfThePage(t *testing.T) {
	for _, row := range []struct{ c, withheld, revealed float64 }{
		{0.05, 0.053, 0.196}, {0.10, 0.110, 0.303}, {0.20, 0.240, 0.467}, {1.0 / 3, 0.439, 0.644},
	} {
		if got := withheldShare(row.c, row.c); math.Abs(got-row.withheld) > 0.0006 {
			t.Errorf("share %.3f: bound %.4f, the page says %.3f", row.c, got, row.withheld)
		}
		if got := revealedShare(row.c); math.Abs(got-row.revealed) > 0.0006 {
			t.Errorf("share %.3f: the last revealers' is %.4f, the page says %.3f", row.c, got, row.revealed)
		}
	}
}
