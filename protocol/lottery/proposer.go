package lottery

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"math/bits"
)

const (
	maxStake  = 1 << 56 // ucella of all validators together
	maxAge    = 128     // epochs
	maxBlocks = 1 << 32 // of an epoch
	whole     = 1 << 32 // what decays
)

// ErrLottery is the kind of all refusals; the text beside it says what was off.
var ErrLottery = errors.New("bad proposer lottery")

// Rules are the figures of the proposer lottery that governance sets.
type Rules struct {
	Epoch    uint64 // blocks from one reset to the next
	HalfLife uint64 // blocks in which what coin age adds falls by half
	AgeCap   uint64 // epochs after which coins grow no older
	Prior    uint64 // turns taken for had and used at an epoch's beginning
}

// Validate refuses figures under which a weight could overflow or vanish.
func (r Rules) Validate() error {
	for _, f := range []struct {
		name      string
		v, lo, hi uint64
	}{
		{"epoch", r.Epoch, 1, maxBlocks},
		{"half_life", r.HalfLife, 1, maxBlocks},
		{"age_cap", r.AgeCap, 1, maxAge},
		{"prior", r.Prior, 1, maxBlocks},
	} {
		if f.v < f.lo || f.v > f.hi {
			return fmt.Errorf("%w: %s is %d, want %d to %d", ErrLottery, f.name, f.v, f.lo, f.hi)
		}
	}
	return nil
}

// Entry is a validator in the lottery. Turns and blocks are counted anew in each epoch.
type Entry struct {
	Address  [20]byte
	Stake    uint64 // ucella of effective stake
	Age      uint64 // coin age: ucella times the epochs that they have stayed, AgeCap at the most
	Turns    uint64 // heights for which it was drawn
	Proposed uint64 // those of them whose block is its own
	Omitted  bool   // it left out a number that it could have carried, and no number came since
}

// Took counts a height for which the validator was drawn: used says that the block is its own, of the first round, and carries the number
// that it could carry.
func (e Entry) Took(used bool) Entry {
	e.Turns++
	if used {
		e.Proposed++
	}
	return e
}

// Next is the entry at the next epoch's beginning, when it has another stake. Coins that stayed are one epoch older; those that went took
// their part of the age with them. It must be told of each epoch.
func (r Rules) Next(e Entry, stake uint64) Entry {
	age := uint64(0)
	if held := min(e.Stake, stake); held > 0 {
		age = min(mulDiv(e.Age, held, e.Stake)+held, stake*r.AgeCap)
	}
	return Entry{Address: e.Address, Stake: stake, Age: age, Omitted: e.Omitted}
}

// Weight is an entry's after so many blocks of the epoch:
//
//	floor((Stake + floor(Age * decay / AgeCap)) * (Proposed + Prior) / (Turns + Prior)), decay = 2^(-blocks / HalfLife)
//
// at most twice the stake, and at least one as long as there is stake: whoever missed each turn may still come back.
func (r Rules) Weight(e Entry, blocks uint64) uint64 {
	if e.Stake == 0 {
		return 0
	}
	coins := e.Stake + mulDiv(min(e.Age, e.Stake*r.AgeCap), r.decay(blocks), whole*r.AgeCap)
	return max(mulDiv(coins, min(e.Proposed, e.Turns)+r.Prior, e.Turns+r.Prior), 1)
}

// decay is 2^(-blocks/HalfLife) in units of 1/whole: exact at each half-life, a straight line between two of them.
func (r Rules) decay(blocks uint64) uint64 {
	halves := blocks / r.HalfLife
	if halves >= 32 {
		return 0
	}
	top := uint64(whole) >> halves
	return top - mulDiv(top/2, blocks%r.HalfLife, r.HalfLife)
}

// Weights are those of all entries for a draw. In a fallback draw, which is made without the number that is missing, whoever omitted
// one has none, unless nobody else is left.
func (r Rules) Weights(entries []Entry, blocks uint64, fallback bool) []uint64 {
	weights, left := make([]uint64, len(entries)), false
	for i, e := range entries {
		if !fallback || !e.Omitted {
			weights[i] = r.Weight(e, blocks)
			left = left || weights[i] > 0
		}
	}
	if !left && fallback {
		return r.Weights(entries, blocks, false)
	}
	return weights
}

// Draw picks the proposer of a height, an index into entries, which must be in strictly ascending order of their addresses.
func (r Rules) Draw(seed Seed, height int64, entries []Entry, blocks uint64, fallback bool) (int, error) {
	stake := uint64(0)
	for i, e := range entries {
		if i > 0 && bytes.Compare(entries[i-1].Address[:], e.Address[:]) >= 0 {
			return 0, fmt.Errorf("%w: entry %d of %d is not in order", ErrLottery, i, len(entries))
		}
		if e.Stake > maxStake-stake {
			return 0, fmt.Errorf("%w: stakes overflow", ErrLottery)
		}
		stake += e.Stake
	}
	if stake == 0 {
		return 0, fmt.Errorf("%w: none of %d entries has stake", ErrLottery, len(entries))
	}
	weights, total := r.Weights(entries, blocks, fallback), uint64(0)
	for _, w := range weights {
		total += w
	}
	at := seed.Uniform("proposer", binary.BigEndian.AppendUint64(nil, uint64(height)), total)
	for i, w := range weights {
		if at < w {
			return i, nil
		}
		at -= w
	}
	return 0, fmt.Errorf("%w: the draw is beyond the weights", ErrLottery) // at < total
}

// Fallback is the seed for the proposer of a height whose number is missing: from the last number that came. Everybody can compute it
// ahead, so nothing but this lottery may use it.
func Fallback(chainID string, last Seed, height int64) Seed {
	h := sha256.New()
	writeBytes(h, []byte("cella/seed/fallback/v1"))
	writeBytes(h, []byte(chainID))
	h.Write(last[:])
	writeUint64(h, uint64(height))
	return Seed(h.Sum(nil))
}

// mulDiv is floor(a * b / c) over a 128-bit product. The callers keep b <= c, so that it fits.
func mulDiv(a, b, c uint64) uint64 {
	hi, lo := bits.Mul64(a, b)
	quo, _ := bits.Div64(hi, lo, c)
	return quo
}
