package main

import (
	"math"
	"math/rand/v2"
	"slices"
)

// layout is how a file lies: n parts with different operators, any k of them restore it. Replicas are k = 1.
type layout struct {
	name string
	k, n int
}

func (l layout) overhead() float64 { return float64(l.n) / float64(l.k) }

// world is what happens to operators. Times are in years.
type world struct {
	loss   float64 // share of operators that are lost for good within a year, each by itself
	shocks float64 // events a year that strike many at once: a bad release, a region, a law
	hit    float64 // the chance of each operator to be lost in such an event
	repair float64 // mean time from a loss until another operator has proven the part
}

func (w world) rate() float64 { return -math.Log1p(-w.loss) }

// exact is the probability that fewer than k parts are left at some moment of a year. Repairs take exponentially long, each by
// itself, so that the number of missing parts is a Markov chain; it is solved by uniformization, in which all terms are
// positive: small probabilities keep their digits.
func (w world) exact(l layout) float64 {
	bear := l.n - l.k // so many may be missing
	rates := make([][]float64, bear+1)
	top := 0.0
	for i := range rates { // i are missing; bear+1 means that the file is lost
		rates[i] = make([]float64, bear+2)
		rates[i][i+1] += float64(l.n-i) * w.rate()
		if i > 0 {
			rates[i][i-1] += float64(i) / w.repair
		}
		for more, p := range binomial(l.n-i, w.hit) {
			if more > 0 {
				rates[i][min(i+more, bear+1)] += w.shocks * p
			}
		}
		sum := 0.0
		for _, r := range rates[i] {
			sum += r
		}
		top = max(top, sum)
	}
	state, lost, gone := make([]float64, bear+1), 0.0, 0.0
	state[0] = 1
	steps := int(top + 12*math.Sqrt(top) + 50)
	for step := 0; step <= steps; step++ {
		g, _ := math.Lgamma(float64(step) + 1)
		lost += math.Exp(float64(step)*math.Log(top)-top-g) * gone
		next := make([]float64, bear+1)
		for i, p := range state {
			stay := p
			for j, r := range rates[i] {
				if r == 0 {
					continue
				}
				moved := p * r / top
				stay -= moved
				if j > bear {
					gone += moved
				} else {
					next[j] += moved
				}
			}
			next[i] += max(stay, 0)
		}
		state = next
	}
	return lost
}

// binomial is the distribution of how many of n are hit.
func binomial(n int, p float64) []float64 {
	out := make([]float64, n+1)
	for i := range out {
		a, _ := math.Lgamma(float64(n + 1))
		b, _ := math.Lgamma(float64(i + 1))
		c, _ := math.Lgamma(float64(n - i + 1))
		switch {
		case p == 0 && i == 0, p == 1 && i == n:
			out[i] = 1
		case p > 0 && p < 1:
			out[i] = math.Exp(a - b - c + float64(i)*math.Log(p) + float64(n-i)*math.Log1p(-p))
		}
	}
	return out
}

// simulate plays years of one file each and returns in how many it was lost. With fixed, each repair takes exactly the mean time, as
// it nearly does on the chain: the blocks until silence is found out, and the transfer.
func (w world) simulate(l layout, years int, seed uint64, fixed bool) int {
	random := rand.New(rand.NewPCG(seed, 0))
	lost := 0
	for range years {
		if w.year(l, random, fixed) {
			lost++
		}
	}
	return lost
}

// year tells whether a file is lost in a year that begins with all parts in place.
func (w world) year(l layout, random *rand.Rand, fixed bool) bool {
	var back []float64 // when each missing part is there again
	for now := 0.0; ; {
		alone := float64(l.n-len(back)) * w.rate()
		now += random.ExpFloat64() / (alone + w.shocks)
		// A part that comes back before that can be lost too: draw again from that moment.
		if len(back) > 0 {
			if first := slices.Min(back); first <= now {
				now = first
				back = slices.DeleteFunc(back, func(t float64) bool { return t <= now })
				continue
			}
		}
		if now >= 1 {
			return false
		}
		struck := 1
		if random.Float64()*(alone+w.shocks) >= alone {
			struck = 0
			for range l.n - len(back) {
				if random.Float64() < w.hit {
					struck++
				}
			}
		}
		for range struck {
			takes := w.repair
			if !fixed {
				takes *= random.ExpFloat64()
			}
			back = append(back, now+takes)
		}
		if l.n-len(back) < l.k {
			return true
		}
	}
}
