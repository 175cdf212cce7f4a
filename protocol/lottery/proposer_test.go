package lottery

import (
	"encoding/binary"
	"errors"
	"math"
	"math/big"
	"math/rand/v2"
	"testing"
)

var rules = Rules{Epoch: 1000, HalfLife: 250, AgeCap: 16, Prior: 8}

func address(i int) (a [20]byte) {
	binary.BigEndian.PutUint32(a[16:], uint32(i))
	return a
}

func TestWeight(t *testing.T) {
	old := Entry{Stake: 1000, Age: 16_000}
	for _, c := range []struct {
		name   string
		entry  Entry
		blocks uint64
		want   uint64
	}{
		{"no stake", Entry{Age: 5}, 0, 0},
		{"new coins", Entry{Stake: 1000}, 0, 1000},
		{"full age doubles", old, 0, 2000},
		{"half of it after a half-life", old, 250, 1500},
		{"a straight line between", old, 125, 1750},
		{"a quarter after two", old, 500, 1250},
		{"nothing at last", old, 250 * 32, 1000},
		{"age above the cap counts no more", Entry{Stake: 1000, Age: 99_999}, 0, 2000},
		{"half the age", Entry{Stake: 1000, Age: 8000}, 0, 1500},
		{"one turn missed: 8 of 9", Entry{Stake: 900, Turns: 1}, 0, 800},
		{"all turns used", Entry{Stake: 900, Turns: 50, Proposed: 50}, 0, 900},
		{"efficiency comes first: the oldest coins make up for half of it", Entry{Stake: 1000, Age: 16_000, Turns: 8}, 0, 1000},
		{"never nothing", Entry{Stake: 1, Turns: 1000}, 0, 1},
		{"more used than had is all used", Entry{Stake: 900, Turns: 1, Proposed: 7}, 0, 900},
		{"the largest figures", Entry{Stake: maxStake, Age: maxStake * 16}, 0, maxStake * 2},
	} {
		if got := rules.Weight(c.entry, c.blocks); got != c.want {
			t.Errorf("%s: %d, want %d", c.name, got, c.want)
		}
	}
}

// Splitting a stake among validators gains no weight, and so no turns.
func TestSplittingGainsNothing(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 1))
	for range 2000 {
		e := Entry{Stake: 2 + random.Uint64N(1<<50), Turns: random.Uint64N(100)}
		e.Age = random.Uint64N(e.Stake * rules.AgeCap)
		e.Proposed = random.Uint64N(e.Turns + 1)
		a, b := e, e
		a.Stake = 1 + random.Uint64N(e.Stake-1)
		b.Stake = e.Stake - a.Stake
		a.Age = mulDiv(e.Age, a.Stake, e.Stake)
		b.Age = e.Age - a.Age
		k := random.Uint64N(rules.Epoch)
		if sum, one := rules.Weight(a, k)+rules.Weight(b, k), rules.Weight(e, k); sum > one+2 {
			t.Fatalf("%+v weighs %d, in two parts %d", e, one, sum)
		}
	}
}

func TestNext(t *testing.T) {
	e := Entry{Address: address(1), Stake: 100, Turns: 9, Proposed: 3}
	for _, c := range []struct{ stake, age uint64 }{
		{100, 100},   // stayed for an epoch
		{100, 200},   // for two
		{300, 300},   // what was added is new
		{300, 600},   //
		{150, 450},   // half of it left: half of 600, and one epoch for 150
		{0, 0},       // nothing stayed
		{1000, 0},    // so all is new
		{1000, 1000}, //
	} {
		e = rules.Next(e, c.stake)
		if (e != Entry{Address: address(1), Stake: c.stake, Age: c.age}) {
			t.Fatalf("%+v, want a stake of %d aged %d", e, c.stake, c.age)
		}
	}
	for range 40 {
		e = rules.Next(e, 1000)
	}
	if e.Age != 16_000 {
		t.Errorf("coins of %d grew to the age %d, the cap is 16 epochs", e.Stake, e.Age)
	}
	if e.Omitted = true; !rules.Next(e, 5).Omitted {
		t.Error("an epoch's end pardons an omission")
	}
}

func TestDrawRefuses(t *testing.T) {
	a, b := Entry{Address: address(1), Stake: 1}, Entry{Address: address(2), Stake: 1}
	huge := Entry{Address: address(3), Stake: maxStake}
	for name, entries := range map[string][]Entry{
		"nobody": nil, "no stake": {{Address: address(1)}}, "out of order": {b, a}, "one twice": {a, a}, "overflow": {a, huge},
	} {
		if _, err := rules.Draw(Seed{}, 1, entries, 0, false); !errors.Is(err, ErrLottery) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestRulesRefused(t *testing.T) {
	if err := rules.Validate(); err != nil {
		t.Fatal(err)
	}
	for _, change := range []func(*Rules){
		func(r *Rules) { r.Epoch = 0 }, func(r *Rules) { r.HalfLife = 0 }, func(r *Rules) { r.AgeCap = 0 },
		func(r *Rules) { r.AgeCap = maxAge + 1 }, func(r *Rules) { r.Prior = 0 }, func(r *Rules) { r.Prior = math.MaxUint64 },
	} {
		r := rules
		change(&r)
		if err := r.Validate(); !errors.Is(err, ErrLottery) {
			t.Errorf("%+v: %v", r, err)
		}
	}
}

// Who omitted a number is drawn by no fallback, whatever it weighs; a number draws it like all others.
func TestFallbackLeavesOutWhoOmitted(t *testing.T) {
	entries := []Entry{{Address: address(1), Stake: 1 << 40, Omitted: true}, {Address: address(2), Stake: 1}}
	byNumber := 0
	for h := range int64(200) {
		i, err := rules.Draw(Fallback("c", Seed{9}, h), h, entries, 0, true)
		if err != nil || i != 1 {
			t.Fatalf("height %d: %d, %v", h, i, err)
		}
		if i, err = rules.Draw(Seed{byte(h)}, h, entries, 0, false); err == nil && i == 0 {
			byNumber++
		}
	}
	if byNumber < 190 {
		t.Errorf("numbers drew it %d of 200 times", byNumber)
	}
	entries[1].Omitted = true
	if _, err := rules.Draw(Seed{}, 1, entries, 0, true); err != nil {
		t.Errorf("when all omitted: %v", err)
	}
}

// TestProposerKnownAnswers pins the draw: a second implementation must come to the same.
func TestProposerKnownAnswers(t *testing.T) {
	var entries []Entry
	for i := range 10 {
		entries = append(entries, Entry{Address: address(i), Stake: uint64(1000 * (i + 1)), Age: uint64(3000 * i), Turns: uint64(i), Proposed: uint64(i / 2)})
	}
	var got []int
	seed := BlockSeed("cella-test", 1, [32]byte{})
	for h := range int64(12) {
		s, fallback := seed, h%2 == 1
		if fallback {
			s = Fallback("cella-test", seed, h)
		}
		i, err := rules.Draw(s, h, entries, uint64(h)*50, fallback)
		if err != nil {
			t.Fatal(err)
		}
		got = append(got, i)
	}
	want := []int{3, 8, 9, 7, 7, 6, 2, 8, 3, 2, 9, 4}
	for i := range want {
		if got[i] != want[i] {
			t.Fatalf("drawn %v, want %v", got, want)
		}
	}
}

// The draw over cumulative weights, held against big integers.
func TestDrawIsTheFormula(t *testing.T) {
	random := rand.New(rand.NewPCG(2, 2))
	for h := range int64(500) {
		var entries []Entry
		for i := range 1 + random.IntN(20) {
			e := Entry{Address: address(i), Stake: 1 + random.Uint64N(1<<50), Turns: random.Uint64N(50)}
			e.Age, e.Proposed = random.Uint64N(e.Stake*16), random.Uint64N(e.Turns+1)
			entries = append(entries, e)
		}
		k := random.Uint64N(2000)
		var cumulative []*big.Int
		sum := new(big.Int)
		for _, e := range entries {
			q, m := k/rules.HalfLife, k%rules.HalfLife
			top := new(big.Int).Rsh(big.NewInt(whole), uint(q))
			half := new(big.Int).Rsh(top, 1)
			d := new(big.Int).Sub(top, half.Mul(half, big.NewInt(int64(m))).Div(half, big.NewInt(int64(rules.HalfLife))))
			w := new(big.Int).SetUint64(e.Age)
			w.Mul(w, d).Div(w, big.NewInt(whole)).Div(w, new(big.Int).SetUint64(rules.AgeCap))
			w.Add(w, new(big.Int).SetUint64(e.Stake))
			w.Mul(w, new(big.Int).SetUint64(e.Proposed+rules.Prior)).Div(w, new(big.Int).SetUint64(e.Turns+rules.Prior))
			sum = new(big.Int).Add(sum, w)
			cumulative = append(cumulative, sum)
		}
		seed := Seed{byte(h), byte(h >> 8)}
		at := new(big.Int).SetUint64(seed.Uniform("proposer", binary.BigEndian.AppendUint64(nil, uint64(h)), sum.Uint64()))
		want := 0
		for cumulative[want].Cmp(at) <= 0 {
			want++
		}
		if got, err := rules.Draw(seed, h, entries, k, false); err != nil || got != want {
			t.Fatalf("height %d: drawn %d, want %d (%v)", h, got, want, err)
		}
	}
}

// TestFrequencies: over 20,000 heights with epochs, coins that come and go and validators that miss turns, each is drawn as often as its
// weights say, within three standard deviations.
func TestFrequencies(t *testing.T) {
	const heights, validators = 20_000, 25
	for _, chain := range []string{"cella-a", "cella-b"} {
		random := rand.New(rand.NewPCG(3, 3))
		var entries []Entry
		for i := range validators {
			entries = append(entries, Entry{Address: address(i), Stake: 1_000_000 * (1 + random.Uint64N(50))})
		}
		var drawn, want, variance [validators]float64
		for h := int64(0); h < heights; h++ {
			k := uint64(h) % rules.Epoch
			if k == 0 {
				for i, e := range entries {
					stake := e.Stake
					if random.IntN(3) == 0 {
						stake = stake/2 + random.Uint64N(stake)
					}
					entries[i] = rules.Next(e, stake)
				}
			}
			weights, total := rules.Weights(entries, k, false), 0.0
			for _, w := range weights {
				total += float64(w)
			}
			for i, w := range weights {
				p := float64(w) / total
				want[i] += p
				variance[i] += p * (1 - p)
			}
			i, err := rules.Draw(BlockSeed(chain, h, [32]byte{}), h, entries, k, false)
			if err != nil {
				t.Fatal(err)
			}
			drawn[i]++
			entries[i] = entries[i].Took(random.IntN(validators+5) > i) // the last ones miss most of their turns
		}
		chi := 0.0
		for i := range validators {
			sigma := math.Sqrt(variance[i])
			off := (drawn[i] - want[i]) / sigma
			chi += off * off
			if math.Abs(off) > 3 {
				t.Errorf("%s, validator %d: drawn %.0f times, want %.0f within 3 * %.1f", chain, i, drawn[i], want[i], sigma)
			}
		}
		if chi > 60 { // 25 of them, 99.99 % below
			t.Errorf("%s: squares of the deviations add up to %.0f", chain, chi)
		}
	}
}
