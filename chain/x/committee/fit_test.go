package committee

import (
	"testing"

	"github.com/cella-network/cella/protocol/threshold"
)

// What a transaction may ask for, and what wallets ask for: so much more than they simulated. All is chain/app's or client's.
const (
	txGas      = 20_000_000
	txByte     = 10
	txOverhead = 60_000 // reads, signature and fee, all that is not the message
)

func asked(gas uint64, bytes int) uint64 {
	return (gas+txByte*uint64(bytes)+txOverhead)*14/10 + 20_000
}

// shapes are groups of all sizes: of equals, of some with so many percent each, and of a few who have nearly all together.
func shapes(t *testing.T, each func(g *threshold.Group, n, large int, percent float64)) {
	shape := func(n, large int, all uint64) { // in thousandths, of all that are large
		var stakes []uint64
		for i := range n {
			stake := (1000 - all) * 1000 / uint64(n-large)
			if i < large {
				stake = all * 1000 / uint64(large)
			}
			stakes = append(stakes, stake)
		}
		weights, err := threshold.Weigh(stakes)
		must(t, err)
		g := &threshold.Group{Threshold: weights.Threshold}
		for _, shares := range weights.Shares {
			if shares > 0 {
				g.Seats = append(g.Seats, threshold.Seat{Shares: shares})
			}
		}
		each(g, n, large, float64(all)/10)
	}
	for n := 4; n <= threshold.MaxMembers; n++ {
		shape(n, 0, 0)
		for large := 1; large <= 15 && large < n; large++ {
			for _, percent := range []int{3, 10, 15, 30} { // each
				if large <= 6 && large*percent <= 90 {
					shape(n, large, uint64(large*percent*10))
				}
			}
			for all := uint64(700); large >= 2 && all <= 950; all += 50 {
				shape(n, large, all)
			}
		}
	}
}

// Whoever holds how much: the dearest message of a repair that may begin fits into a transaction, and so does its longest. What is kept of a repair
// stays small.
func TestRepairsFit(t *testing.T) {
	k := &Keeper{blinds: threshold.MaxBlinds}
	repaired, handed := 0, 0
	shapes(t, func(g *threshold.Group, n, large int, percent float64) {
		for seat, s := range g.Seats {
			if seat > 0 && s == g.Seats[seat-1] {
				continue // costs what the last one does
			}
			blinds := g.Blinds(seat)
			if !k.repairable(g, seat) {
				handed++
				continue
			}
			repaired++
			if blinds > threshold.MaxBlinds {
				t.Errorf("%d members, %d of them with %.0f%%, %d shares lost: %d blinds", n, large, percent, s.Shares, blinds)
			}
			contribution := 200 + (len(g.Seats)-1)*s.Shares*48 + s.Shares*32
			for _, m := range []struct {
				phase threshold.Phase
				bytes int
			}{{threshold.PhaseDeal, contribution}, {threshold.PhaseComplain, 300}} {
				read, each := repairCost(g, seat, name(m.phase), blinds*96+len(g.Seats)*(50+s.Shares*32))
				if gas := asked(read+each+gasPerByte*uint64(m.bytes), m.bytes); gas > txGas || m.bytes > threshold.MaxPostedBytes {
					t.Errorf("%d members, %d of them with %.0f%%, %d shares lost: %d gas is asked for, a message of %d bytes in phase %s",
						n, large, percent, s.Shares, gas, m.bytes, name(m.phase))
				}
			}
		}
		if n == 100 && large == 10 && percent == 95 && !k.repairable(g, 0) {
			t.Errorf("%d shares of ten that hold nearly all can't be repaired", g.Seats[0].Shares)
		}
	})
	if repaired < 1000 || handed < 100 {
		t.Errorf("%d repairs and %d handovers were looked at", repaired, handed)
	}
}

// Whatever a seat has to say in a ceremony fits into transactions, told as workers do: so many messages and bytes at once.
func TestCeremoniesFit(t *testing.T) {
	k, dealt, several := 0, 0, 0
	shapes(t, func(g *threshold.Group, n, large int, percent float64) {
		total := 0
		for _, s := range g.Seats {
			total += s.Shares
		}
		state := len(g.Seats)*60 + total + 96*g.Threshold + 192*total
		read := gasPerSeat*uint64(len(g.Seats)) + gasPerOld*uint64(state)
		for seat, s := range g.Seats {
			if seat > 0 && s == g.Seats[seat-1] {
				continue
			}
			for _, m := range []struct {
				phase        threshold.Phase
				bytes, count int
			}{
				{threshold.PhaseDeal, 210 + 48*g.Threshold + 32*total, s.Shares}, // handed on by those who hold the key already
				{threshold.PhaseComplain, 300, total},
				{threshold.PhaseReady, 100 + 96*s.Shares, 1},
			} {
				each := uint64(gasMessage)
				if m.phase != threshold.PhaseDeal {
					each += gasPairing + gasPerTerm*uint64(g.Threshold*s.Shares)
				}
				count := max(1, min(m.count, threshold.Posted(m.phase, g.Threshold, s.Shares), threshold.MaxPostedBytes/m.bytes))
				bytes := count * m.bytes
				if gas := asked(read+uint64(count)*each+gasPerByte*uint64(bytes), bytes); gas > txGas || bytes > threshold.MaxPostedBytes {
					t.Errorf("%d members, %d of them with %.0f%%, %d shares: %d gas is asked for, %d messages of %d bytes in phase %s",
						n, large, percent, s.Shares, gas, count, m.bytes, name(m.phase))
				}
				k++
				if m.phase == threshold.PhaseDeal {
					dealt = max(dealt, m.bytes)
				} else if count > 1 {
					several++
				}
			}
		}
	})
	if k < 1000 || dealt < 16_000 || several < 100 {
		t.Errorf("%d messages, the longest deal of %d bytes, %d transactions with several complaints were looked at", k, dealt, several)
	}
}
