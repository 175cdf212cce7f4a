package stake

import (
	"errors"
	"fmt"
	"slices"
	"testing"

	"pgregory.net/rapid"
)

// In every life of a network coins are conserved, nothing wraps, all power in force rests on coins that can be slashed, and each era's
// set may be handed over to.
func TestRandomLives(t *testing.T) {
	moved := 0
	rapid.Check(t, func(t *rapid.T) {
		r := Rules{
			Rate:        rapid.Uint64Range(1, 1000).Draw(t, "rate"),
			GraceEras:   rapid.Uint64Range(0, 3).Draw(t, "grace"),
			DecayEras:   rapid.Uint64Range(1, 5).Draw(t, "decay"),
			RegainEras:  rapid.Uint64Range(1, 5).Draw(t, "regain"),
			Seats:       rapid.IntRange(4, 7).Draw(t, "seats"),
			MinOwn:      rapid.Uint64Range(1, 50).Draw(t, "minown"),
			PowerUnit:   rapid.Uint64Range(1, 20).Draw(t, "unit"),
			AuthorShare: rapid.Uint64Range(0, Whole).Draw(t, "authors"),
			UnbondEras:  rapid.Int64Range(1, 4).Draw(t, "unbond"),
		}
		if err := r.Validate(); err != nil {
			t.Fatal(err)
		}
		w := newWorld(r)
		for i := range 10 {
			name := fmt.Sprintf("n%d", i)
			w.nodes = append(w.nodes, Node{Address: name, Cut: rapid.Uint64Range(0, Whole).Draw(t, "cut"), Storage: r.Prove(Storage{}, 100<<30)})
			w.fund(name, 50_000)
			w.fund(fmt.Sprintf("g%d", i), 50_000)
			_ = w.bond(name, name, rapid.Uint64Range(1, 50*r.Rate).Draw(t, "own"))
		}
		for range rapid.IntRange(10, 80).Draw(t, "steps") {
			i := rapid.IntRange(0, len(w.nodes)-1).Draw(t, "node")
			node := w.nodes[i].Address
			who := rapid.SampledFrom([]string{node, "g0", "g1", "g2"}).Draw(t, "who")
			var err error
			step := rapid.SampledFrom([]string{"bond", "bond", "unbond", "prove", "slash", "free", "turn", "turn"}).Draw(t, "step")
			switch step {
			case "bond":
				err = w.bond(node, who, rapid.Uint64Range(0, 60_000).Draw(t, "coins"))
			case "unbond":
				err = w.unbond(node, who, rapid.Uint64Range(0, 50_000).Draw(t, "coins"))
			case "prove":
				w.nodes[i].Storage = r.Prove(w.nodes[i].Storage, rapid.Uint64Range(0, 200).Draw(t, "gib")<<30)
			case "free":
				w.nodes[i].Jailed = slices.Contains(w.gone, node)
			case "slash":
				if len(w.set) > 0 && len(Without(w.set, append(slices.Clone(w.gone), node))) == 0 {
					break // a chain without validators is no chain
				}
				_, err = w.slash(node, w.era-rapid.Int64Range(0, 3).Draw(t, "ago"), rapid.Uint64Range(0, Whole).Draw(t, "part"))
			case "turn":
				work := make([]Work, len(w.nodes))
				for j := range work {
					work[j] = Work{rapid.Uint64Range(0, 9).Draw(t, "blocks"), rapid.Uint64Range(0, 9).Draw(t, "fees")}
				}
				pool := rapid.Uint64Range(0, 5000).Draw(t, "pool")
				held := w.pool
				pay, err := w.reward(pool, work)
				if err != nil {
					t.Fatal(err)
				}
				fees, sum := uint64(0), uint64(0)
				for j, p := range pay {
					fees, sum = fees+work[j].Fees, sum+p.Sum()
				}
				if sum > held+pool+fees {
					t.Fatalf("paid %d out of %d and %d", sum, held+pool, fees)
				}
				before := slices.Clone(w.set)
				reshared := rapid.IntRange(0, 3).Draw(t, "reshared") > 0
				elected, _ := r.Elect(w.nodes)
				nobody := len(elected) == 0 // then the set stays, less those who must go
				err = w.turn(reshared)
				if !reshared && errors.Is(err, ErrReshare) || nobody && errors.Is(err, ErrState) {
					err = nil
				}
				if err != nil {
					t.Fatal(err)
				}
				if !slices.Equal(before, w.set) {
					moved++
				}
			}
			if err != nil && !refusal(err) {
				t.Fatal(err)
			}
			if err := w.check(); err != nil {
				t.Fatalf("after %s: %s", step, err)
			}
		}
	})
	if moved == 0 {
		t.Error("no set ever changed: the lives are too dull")
	}
}

func drawSet(t *rapid.T, name string, n int, most uint64) []Seat {
	var out []Seat
	for i := range n {
		if p := rapid.Uint64Range(0, most).Draw(t, name); p > 0 {
			out = append(out, Seat{fmt.Sprintf("v%d", i), p})
		}
	}
	slices.SortFunc(out, stronger)
	return out
}

// From any set to any other: each step may be handed over to, each commit of the next set has more than a third of the power of the one before,
// and the elected set is reached.
func TestTowardKeepsAThirdAndArrives(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		r := Rules{Seats: rapid.IntRange(4, 8).Draw(t, "seats"), PowerUnit: 1}
		now, elected := drawSet(t, "now", 8, 300), drawSet(t, "elected", 10, 300)
		if len(now) == 0 || len(elected) < 4 {
			return
		}
		now, elected = now[:min(len(now), r.Seats)], elected[:min(len(elected), r.Seats)]
		for i := range now {
			now[i].Power += 10
		}
		for era := 0; !slices.Equal(now, elected); era++ {
			if era == 60 {
				t.Fatalf("not there after %d eras: %v, elected %v", era, now, elected)
			}
			next := r.Toward(now, elected)
			if got, err := r.Handover(now, next, nil, true); err != nil || !slices.Equal(got, next) {
				t.Fatalf("%v to %v: %v", now, next, err)
			}
			total, all := uint64(0), uint64(0)
			old := map[string]uint64{}
			for _, s := range now {
				old[s.Node], total = s.Power, total+s.Power
			}
			for _, s := range next {
				all += s.Power
			}
			for signers := range 1 << len(next) {
				sum, trusted := uint64(0), uint64(0)
				for i, s := range next {
					if signers>>i&1 == 1 {
						sum, trusted = sum+s.Power, trusted+old[s.Node]
					}
				}
				if 3*sum > 2*all && 3*trusted <= total {
					t.Fatalf("%v to %v: a commit with %d of %d before", now, next, trusted, total)
				}
			}
			now = next
		}
	})
}

// A limit never rises above what was proven, and no pattern of proving less than RegainEras of RegainEras+1 eras keeps it.
func TestLimitNeedsProofs(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		r := Rules{Rate: 1 << 20, GraceEras: rapid.Uint64Range(0, 4).Draw(t, "grace"), DecayEras: rapid.Uint64Range(1, 9).Draw(t, "decay"),
			RegainEras: rapid.Uint64Range(1, 10).Draw(t, "regain")}
		s := Storage{}
		for range 100 {
			bytes := rapid.Uint64Range(0, 1<<40).Draw(t, "bytes")
			next := r.Prove(s, bytes)
			if next.Limit > max(s.Limit, r.LimitOf(bytes)) || next.Limit < r.LimitOf(bytes) || next.Limit > next.Base {
				t.Fatalf("%+v with %d proven bytes: %+v", s, bytes, next)
			}
			s = next
		}
	})
	r := Rules{Rate: 1, GraceEras: 2, DecayEras: 8, RegainEras: 10}
	for every := uint64(2); every < 15; every++ { // absent in one era of so many
		s, whole, eras, settled := Storage{}, uint64(0), uint64(4000), uint64(2000)
		for era := range eras {
			bytes := uint64(1 << 40)
			if era%every == 0 && era > 0 {
				bytes = 0
			}
			if s = r.Prove(s, bytes); bytes == 0 && era >= settled {
				whole += s.Limit
			}
		}
		kept := float64(whole) / float64((eras-1)/every-(settled-1)/every) / 1024
		if every <= r.RegainEras && kept > 0.05 || every > r.RegainEras && kept < 1 {
			t.Errorf("absent each %d. era: %.2f of the limit is kept in such an era", every, kept)
		}
	}
}

func TestLimitIsTheInverseOfBytes(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		r := Rules{Rate: rapid.Uint64Range(1, 1<<40).Draw(t, "rate")}
		coins := rapid.Uint64Range(0, MaxCoins).Draw(t, "coins")
		b := r.BytesFor(coins)
		if b == 1<<64-1 {
			if r.LimitOf(b) > coins {
				t.Fatalf("%d coins need less than all bytes", coins)
			}
			return
		}
		if r.LimitOf(b) < coins || b > 0 && r.LimitOf(b-1) >= coins && coins > 0 {
			t.Fatalf("rate %d: %d coins by %d bytes, which give %d", r.Rate, coins, b, r.LimitOf(b))
		}
	})
}
