package stake

import (
	"errors"
	"fmt"
	"math/bits"
)

const (
	// MaxCoins is more ucella than can ever exist; figures above it are refused, so that no sum overflows.
	MaxCoins = 1 << 56
	// Whole is 100 % where shares are counted in hundredths of a percent.
	Whole = 10_000

	maxEras = 1 << 20
)

// Errors are kinds; the text beside them says which figure was off.
var (
	ErrRules   = errors.New("bad stake rules")
	ErrState   = errors.New("stake is not in the right state")
	ErrLimit   = errors.New("stake above the limit that storage gives")
	ErrReshare = errors.New("power moves only with a completed resharing")
	ErrMoved   = errors.New("a third of the power or more would move")
)

// Rules are the network-wide figures that governance sets.
type Rules struct {
	Rate        uint64 // ucella of stake that each GiB of proven storage lets count
	GraceEras   uint64 // eras that a limit is kept without its proofs
	DecayEras   uint64 // eras after that in which it falls to nothing
	RegainEras  uint64 // proven eras that win back one late era
	Seats       int    // validators of an era, at the most
	MinOwn      uint64 // ucella that an operator itself must have bonded to be elected or paid as a candidate
	PowerUnit   uint64 // ucella that make one unit of voting power
	AuthorShare uint64 // of an era's pool for the authors of its blocks, in hundredths of a percent
	UnbondEras  int64  // eras that coins stay slashable after the last power that rested on them
}

// Validate refuses rules under which a figure could overflow or a set of validators could never change.
func (r Rules) Validate() error {
	for _, f := range []struct {
		name      string
		v, lo, hi uint64
	}{
		{"rate", r.Rate, 1, 1 << 40},
		{"grace_eras", r.GraceEras, 0, maxEras},
		{"decay_eras", r.DecayEras, 1, maxEras},
		{"regain_eras", r.RegainEras, 1, maxEras},
		{"seats", uint64(max(r.Seats, 0)), 4, 10_000}, // of three, each may hold more than may move in an era
		{"min_own", r.MinOwn, 1, MaxCoins},
		{"power_unit", r.PowerUnit, 1, MaxCoins},
		{"author_share", r.AuthorShare, 0, Whole},
		{"unbond_eras", uint64(max(r.UnbondEras, 0)), 1, maxEras},
	} {
		if f.v < f.lo || f.v > f.hi {
			return fmt.Errorf("%w: %s is %d, want %d to %d", ErrRules, f.name, f.v, f.lo, f.hi)
		}
	}
	return nil
}

// mulDiv is floor(a * b / c) over a 128-bit product. The callers keep b <= c, so that it fits.
func mulDiv(a, b, c uint64) uint64 {
	hi, lo := bits.Mul64(a, b)
	quo, _ := bits.Div64(hi, lo, c)
	return quo
}
