package main

import (
	"math"
	"os"
	"strings"
	"testing"
)

// One part and no repair worth the name: the file is lost with its operator.
func TestExactOfOnePart(t *testing.T) {
	for _, loss := range losses {
		if got := (world{loss: loss, repair: 1}).exact(layout{"one", 1, 1}); math.Abs(got-loss) > 1e-9 {
			t.Errorf("one copy at a loss of %g: %g", loss, got)
		}
	}
}

// Two replicas are lost at about the rate 2 r^2 T while the repair time T is short.
func TestExactOfTwoReplicas(t *testing.T) {
	w := world{loss: 0.05, repair: 0.5 * day}
	if got, want := w.exact(layout{"two", 1, 2}), 2*w.rate()*w.rate()*w.repair; math.Abs(got/want-1) > 0.01 {
		t.Errorf("%g, want about %g", got, want)
	}
}

// Without repair the losses are a binomial distribution.
func TestExactWithoutRepair(t *testing.T) {
	w := world{loss: 0.2, repair: math.Inf(1)}
	l := layout{"4+2", 4, 6}
	want := 0.0
	for lost, p := range binomial(l.n, w.loss) {
		if lost > l.n-l.k {
			want += p
		}
	}
	if got := w.exact(l); math.Abs(got/want-1) > 1e-6 {
		t.Errorf("%g, want %g", got, want)
	}
}

// Played years agree with the exact figures within four standard deviations.
func TestPlayedYearsAgree(t *testing.T) {
	const years = 200_000
	for _, w := range []world{{loss: 0.2, repair: 7 * day}, {loss: 0.1, repair: 30 * day}, {loss: 0.05, shocks: 0.5, hit: 0.3, repair: 7 * day}} {
		for _, l := range layouts {
			p := w.exact(l)
			if p*years < 20 {
				continue
			}
			got, want := float64(w.simulate(l, years, seed, false)), p*years
			if off := math.Abs(got-want) / math.Sqrt(want*(1-p)); off > 4 {
				t.Errorf("%+v %s: lost %.0f times, want about %.0f", w, l.name, got, want)
			}
		}
	}
}

// More parity never hurts.
func TestMoreParityIsSafer(t *testing.T) {
	for _, loss := range losses {
		for n := 4; n < 12; n++ {
			w := world{loss: loss, shocks: 0.2, hit: 0.1, repair: 2 * day}
			if a, b := w.exact(layout{"", 4, n}), w.exact(layout{"", 4, n + 1}); b > a {
				t.Errorf("4 of %d: %g, 4 of %d: %g", n, a, n+1, b)
			}
		}
	}
}

// The page holds what the program says.
func TestPageIsCurrent(t *testing.T) {
	page, err := os.ReadFile("../../docs/durability.md")
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(string(page), begin+exactTables()) {
		t.Error("docs/durability.md has other tables: run go run ./bench/durability -write docs/durability.md")
	}
}
