package stake

import "math/bits"

const gibShift = 30

// Storage is what a node's proofs have earned it.
type Storage struct {
	Limit uint64 // ucella that may count this era
	Base  uint64 // limit that was proven last; what falls is a part of it
	Debt  uint64 // late eras times RegainEras, less one for each proven era since
}

// LimitOf is how many ucella so many proven bytes let count, MaxCoins at the most.
func (r Rules) LimitOf(bytes uint64) uint64 {
	hi, lo := bits.Mul64(bytes, r.Rate)
	if hi>>gibShift != 0 {
		return MaxCoins
	}
	return min(hi<<(64-gibShift)|lo>>gibShift, MaxCoins)
}

// BytesFor is how many bytes must be proven for so many ucella to count.
func (r Rules) BytesFor(coins uint64) uint64 {
	hi, lo := bits.Mul64(min(coins, MaxCoins), 1<<gibShift)
	lo, carry := bits.Add64(lo, r.Rate-1, 0)
	hi += carry
	if hi >= r.Rate {
		return 1<<64 - 1 // more than can be counted: LimitOf gives less for any figure
	}
	quo, _ := bits.Div64(hi, lo, r.Rate)
	return quo
}

// Prove ends an era in which bytes were proven all along, which is 0 where heights were not proven. Growth counts at once. What shrinks
// faster than a limit decays is late: first the limit is kept, then it falls, whether the node confesses or says nothing. Grace is a
// purse that proven eras fill again slowly, for else whoever proves each second era would have the limit of all.
func (r Rules) Prove(s Storage, bytes uint64) Storage {
	proven := r.LimitOf(bytes)
	if proven >= mulDiv(s.Base, r.DecayEras-1, r.DecayEras) {
		return Storage{Limit: proven, Base: proven, Debt: s.Debt - min(s.Debt, 1)}
	}
	s.Debt = min(s.Debt+r.RegainEras, (r.GraceEras+r.DecayEras)*r.RegainEras)
	late := s.Debt / r.RegainEras
	kept := mulDiv(s.Base, r.DecayEras-(late-min(late, r.GraceEras)), r.DecayEras)
	if proven >= kept {
		return Storage{Limit: proven, Base: proven, Debt: s.Debt}
	}
	s.Limit = kept
	return s
}
