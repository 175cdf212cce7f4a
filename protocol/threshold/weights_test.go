package threshold

import (
	"fmt"
	"math/rand/v2"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/cockroachdb/datadriven"
)

// shapes are how stake is spread over n members.
var shapes = map[string]func(n, i int) uint64{
	"equal": func(_, _ int) uint64 { return 1000 },
	"ramp":  func(_, i int) uint64 { return uint64(1000 * (i + 1)) },
	"harmonic": func(_, i int) uint64 { // as on large chains: the k-th has 1/k of the first
		return 1_000_000 / uint64(i+1)
	},
	"whale": func(n, i int) uint64 { // one with 30 %
		if i == 0 {
			return uint64(n-1) * 1000 * 3 / 7
		}
		return 1000
	},
}

func stakesOf(shape string, n int) []uint64 {
	out := make([]uint64, n)
	for i := range out {
		out[i] = shapes[shape](n, i)
	}
	return out
}

func sum(of []uint64) (s uint64) {
	for _, x := range of {
		s += x
	}
	return s
}

// The table of docs/protocol/threshold.md.
func TestWeights(t *testing.T) {
	datadriven.Walk(t, "testdata/weights", func(t *testing.T, path string) {
		datadriven.RunTest(t, path, func(t *testing.T, d *datadriven.TestData) string {
			var b strings.Builder
			switch d.Cmd {
			case "table":
				fmt.Fprintf(&b, "%4s %-9s %7s %7s %10s %8s %8s\n", "n", "stake", "shares", "sign", "none held", "largest", "secrecy")
				for _, n := range []int{4, 7, 10, 16, 32, 64, 100, 128} {
					for _, shape := range []string{"equal", "ramp", "harmonic", "whale"} {
						stakes := stakesOf(shape, n)
						w, err := Weigh(stakes)
						must(t, err)
						none := 0
						for _, s := range w.Shares {
							if s == 0 {
								none++
							}
						}
						fmt.Fprintf(&b, "%4d %-9s %7d %7d %10d %8d %7d.%d%%\n", n, shape, w.Total, w.Threshold, none, slices.Max(w.Shares),
							w.Secrecy*1000/sum(stakes)/10, w.Secrecy*1000/sum(stakes)%10)
					}
				}
			case "bounds": // over all n from 4 to 128
				for _, shape := range []string{"equal", "ramp", "harmonic", "whale"} {
					low, of, most := uint64(1000), 0, 0
					for n := 4; n <= MaxMembers; n++ {
						stakes := stakesOf(shape, n)
						w, err := Weigh(stakes)
						must(t, err)
						most = max(most, w.Total)
						if s := w.Secrecy * 1000 / sum(stakes); s < low {
							low, of = s, n
						}
					}
					fmt.Fprintf(&b, "%-9s secrecy at least %d.%d%% (n = %d), at most %d shares\n", shape, low/10, low%10, of, most)
				}
			default:
				d.Fatalf(t, "no such step")
			}
			return b.String()
		})
	})
}

// Every set above two thirds of the stake has the threshold, some set has not one share more than that, no set up to the
// secrecy bound has it, and some set one unit above does: by looking at all sets of few, and at drawn ones of many.
func TestWeightsHold(t *testing.T) {
	random := rand.New(rand.NewPCG(3, 4))
	for n := 1; n <= 10; n++ {
		for range 20 {
			stakes := make([]uint64, n)
			for i := range stakes {
				stakes[i] = uint64(1 + random.ExpFloat64()*1000)
			}
			w, err := Weigh(stakes)
			must(t, err)
			tight, poor := false, false
			for set := range 1 << n {
				var stake uint64
				shares := 0
				for i := range n {
					if set>>i&1 == 1 {
						stake, shares = stake+stakes[i], shares+w.Shares[i]
					}
				}
				if 3*stake > 2*sum(stakes) && shares < w.Threshold {
					t.Fatalf("%v: %b has two thirds of the stake and %d shares of %d", stakes, set, shares, w.Threshold)
				}
				if stake <= w.Secrecy && shares >= w.Threshold {
					t.Fatalf("%v: %b has stake %d up to %d and %d shares", stakes, set, stake, w.Secrecy, shares)
				}
				tight = tight || 3*stake > 2*sum(stakes) && shares == w.Threshold
				poor = poor || shares >= w.Threshold && stake == w.Secrecy+1
			}
			if !tight || !poor {
				t.Fatalf("%v: the bounds are not tight: %v %v", stakes, tight, poor)
			}
		}
	}
	for n := 4; n <= MaxMembers; n++ {
		for shape := range shapes {
			stakes := stakesOf(shape, n)
			w, err := Weigh(stakes)
			must(t, err)
			if total := w.Total; total < 3*n/2 || total > 3*n {
				t.Errorf("%s, n = %d: %d shares", shape, n, total)
			}
			for range 20 {
				var stake uint64
				shares := 0
				for _, i := range random.Perm(n) {
					if 3*stake > 2*sum(stakes) {
						break
					}
					stake, shares = stake+stakes[i], shares+w.Shares[i]
				}
				if shares < w.Threshold {
					t.Fatalf("%s, n = %d: two thirds of the stake have %d shares of %d", shape, n, shares, w.Threshold)
				}
			}
		}
	}
}

func TestWeighRefuses(t *testing.T) {
	for name, stakes := range map[string][]uint64{
		"nobody": nil, "no stake": {0, 0}, "too many": make([]uint64, MaxMembers+1), "too much": {1 << 60, 1}, "overflow": {1 << 63, 1 << 63},
	} {
		if _, err := Weigh(stakes); err == nil {
			t.Errorf("%s: weighed", name)
		}
	}
	w, err := Weigh([]uint64{1 << 59, 1 << 59})
	must(t, err)
	if w.Total != 4 || w.Threshold != 4 {
		t.Errorf("two large stakes: %+v", w)
	}
}

// docs/protocol/threshold.md shows rows of the table and the bounds.
func TestWeightsInTheDocs(t *testing.T) {
	table, err := os.ReadFile("testdata/weights/table")
	must(t, err)
	page, err := os.ReadFile("../../docs/protocol/threshold.md")
	must(t, err)
	rows := 0
	for _, line := range strings.Split(string(table), "\n") {
		f := strings.Fields(line)
		if len(f) == 7 && slices.Contains([]string{"4", "16", "64", "100", "128"}, f[0]) {
			rows++
			line = "| " + strings.Join(f, " | ") + " |"
		} else if !strings.Contains(line, "secrecy at least") {
			continue
		}
		if !strings.Contains(string(page), line) {
			t.Errorf("the page does not show %s", line)
		}
	}
	if rows != 20 {
		t.Errorf("%d rows of the table found, want 20", rows)
	}
}
