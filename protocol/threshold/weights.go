package threshold

import (
	"errors"
	"fmt"
	"math/bits"
)

// Limits of a group, so that every step of a ceremony is bounded work.
const (
	MaxMembers = 128
	MaxShares  = 512 // shares of one group, all members together
)

const maxStake = 1 << 60 // of all members together: three times it fits in 64 bits

// Errors are of two kinds: what can't be read, and what can be read but does not fit.
var (
	ErrMalformed = errors.New("malformed")
	ErrRefused   = errors.New("refused")
)

func malformed(format string, args ...any) error {
	return fmt.Errorf("%w: %s", ErrMalformed, fmt.Sprintf(format, args...))
}

func refused(format string, args ...any) error {
	return fmt.Errorf("%w: %s", ErrRefused, fmt.Sprintf(format, args...))
}

// Weights says how many shares each stake gets and how many of them make the group's signature.
type Weights struct {
	Shares    []int // in the order of the stakes; 0 for a stake too small for a share
	Total     int
	Threshold int    // any set with more than two thirds of the stake holds at least so many shares
	Secrecy   uint64 // no set with at most this much stake holds as many
}

// Weigh gives each stake its part of 2n shares, rounded to the nearest. Threshold and Secrecy are exact: the lightest set
// above two thirds of the stake and the poorest set at the threshold are found among all sets, not bounded.
func Weigh(stakes []uint64) (Weights, error) {
	n := len(stakes)
	if n == 0 || n > MaxMembers {
		return Weights{}, refused("%d stakes: want 1 to %d", n, MaxMembers)
	}
	var all uint64
	for _, s := range stakes {
		if s > maxStake || all+s > maxStake {
			return Weights{}, refused("more than 2^60 of stake")
		}
		all += s
	}
	if all == 0 {
		return Weights{}, refused("no stake")
	}
	w := Weights{Shares: make([]int, n)}
	for i, s := range stakes {
		hi, lo := bits.Mul64(s, uint64(4*n))
		lo, carry := bits.Add64(lo, all, 0)
		q, _ := bits.Div64(hi+carry, lo, 2*all) // (2n * stake / all) rounded
		w.Shares[i] = int(q)
		w.Total += w.Shares[i]
	}
	if w.Total == 0 {
		return Weights{}, refused("no stake is large enough for a share")
	}
	rich := make([]uint64, w.Total+1) // most stake of any set of at most so many shares
	for i, s := range stakes {
		for k := w.Total; k >= w.Shares[i]; k-- {
			rich[k] = max(rich[k], rich[k-w.Shares[i]]+s)
		}
	}
	for 3*rich[w.Threshold] <= 2*all {
		w.Threshold++
	}
	w.Threshold = max(w.Threshold, 1)
	poor := make([]uint64, w.Threshold+1) // least stake of any set of at least so many shares
	for k := 1; k <= w.Threshold; k++ {
		poor[k] = maxStake + 1
	}
	for i, s := range stakes {
		for k := w.Threshold; k > 0; k-- {
			poor[k] = min(poor[k], poor[max(0, k-w.Shares[i])]+s)
		}
	}
	w.Secrecy = poor[w.Threshold] - 1
	return w, nil
}
