package threshold

import (
	"crypto/sha256"
	"crypto/sha3"

	blst "github.com/supranational/blst/bindings/go"
	"golang.org/x/crypto/cryptobyte"
)

// Message is what a beacon's group signs at a height.
type Message struct {
	ChainID string
	Epoch   uint64
	Height  int64
}

// Marshal returns the message's one encoding.
func (m Message) Marshal() []byte {
	var b cryptobyte.Builder
	addString(&b, domainBeacon)
	addString(&b, m.ChainID)
	b.AddUint64(m.Epoch)
	b.AddUint64(uint64(m.Height))
	return b.BytesOrPanic()
}

// Tag is the domain separation tag of a purpose's signatures (RFC 9380): what an outsider gives to a BLS library.
func Tag(purpose string) string { return "CELLA-V1-" + purpose + "-BLS12381G1_XMD:SHA-256_SSWU_RO_" }

func hashToPoint(purpose string, message []byte) *point {
	return blst.HashToG1(message, []byte(Tag(purpose))).ToAffine()
}

// Signature is a group's signature: a compressed point of G1. There is exactly one for each group key and message, whoever
// made it.
type Signature [48]byte

// Number is the random number that the signature stands for.
func (s Signature) Number() [32]byte { return sha256.Sum256(s[:]) }

// Verify checks a group's signature: one equation of pairings.
func (g *Group) Verify(message []byte, s Signature) bool {
	sig := new(point).Uncompress(s[:])
	return sig != nil && sig.Verify(true, &g.key, false, message, []byte(Tag(g.ID.Purpose)))
}

// Partial is one seat's part of a signature: one point for each of its shares.
type Partial struct {
	Seat   int
	points []point
}

// Marshal returns the points alone; whose they are, the receiver knows.
func (p Partial) Marshal() []byte {
	var out []byte
	for i := range p.points {
		out = append(out, p.points[i].Compress()...)
	}
	return out
}

// UnmarshalPartial reads what the seat sent. That the points are in the group is for Check: Combine does not need it.
func (g *Group) UnmarshalPartial(seat int, b []byte) (Partial, error) {
	if !g.Ready(seat) || len(b) != len(g.keys[seat])*pointSize {
		return Partial{}, malformed("partial signature of seat %d", seat)
	}
	p := Partial{Seat: seat, points: make([]point, len(g.keys[seat]))}
	for i := range p.points {
		if p.points[i].Uncompress(b[i*pointSize:][:pointSize]) == nil {
			return Partial{}, malformed("partial signature of seat %d", seat)
		}
	}
	return p, nil
}

const batchBits = 128

// batchFactors are 128-bit factors that nobody can choose points for: they hash all of them.
func batchFactors(of []byte, n int) []byte {
	h := sha3.NewSHAKE256()
	h.Write([]byte(domainBatch))
	h.Write(of)
	out := make([]byte, n*batchBits/8)
	h.Read(out)
	return out
}

// Check returns the seats whose partial signatures are wrong, in the order given. All are checked with one equation; if it does not
// hold, halves are, down to the bad ones. One partial at a time is checked the same way.
func (g *Group) Check(message []byte, partials []Partial) []int {
	b := batch{hash: hashToPoint(g.ID.Purpose, message)}
	all := append([]byte(nil), message...)
	var bad []int
	var items []batchItem
	n := 0
	for _, p := range partials {
		it := batchItem{seat: p.Seat, points: p.points}
		sound := g.Ready(p.Seat) && len(p.points) == len(g.keys[p.Seat])
		for i := range p.points {
			sound = sound && p.points[i].KeyValidate()
		}
		if sound {
			it.keys = g.keys[p.Seat]
			all = append(append(all, byte(p.Seat)), p.Marshal()...)
			n += len(p.points)
		}
		items = append(items, it)
	}
	factors := batchFactors(all, n)
	for i := range items {
		k := len(items[i].keys) * batchBits / 8
		items[i].factors, factors = factors[:k], factors[k:]
	}
	b.search(items, &bad)
	return bad
}

type batchItem struct {
	seat    int
	points  []point
	keys    []pubkey // nil: refused before any pairing
	factors []byte
}

type batch struct{ hash *point }

func (b batch) search(items []batchItem, bad *[]int) {
	switch {
	case len(items) == 0 || b.holds(items):
	case len(items) == 1:
		*bad = append(*bad, items[0].seat)
	default:
		b.search(items[:len(items)/2], bad)
		b.search(items[len(items)/2:], bad)
	}
}

// holds: the sum of the signatures pairs with the generator as the message's point does with the sum of the keys.
func (b batch) holds(items []batchItem) bool {
	var points []point
	var keys []pubkey
	var factors []byte
	for _, it := range items {
		if it.keys == nil {
			return false
		}
		points, keys, factors = append(points, it.points...), append(keys, it.keys...), append(factors, it.factors...)
	}
	left := blst.P1Affines(points).Mult(factors, batchBits).ToAffine()
	right := blst.P2Affines(keys).Mult(factors, batchBits).ToAffine()
	g2 := blst.P2Generator().ToAffine()
	return blst.Fp12FinalVerify(blst.Fp12MillerLoop(g2, left), blst.Fp12MillerLoop(right, b.hash))
}

// Quorum is a set of seats that can sign, with the coefficients of their shares. The same seats sign most heights, so
// keep it.
type Quorum struct {
	seats  []int
	take   []int // shares that each seat gives
	coeffs []byte
}

// Quorum takes the given seats in their order until the threshold is reached.
func (g *Group) Quorum(of []int) (*Quorum, error) {
	q := &Quorum{}
	var xs []int
	seen := map[int]bool{}
	for _, seat := range of {
		if !g.Ready(seat) || seen[seat] {
			return nil, refused("seat %d is not ready, or named twice", seat)
		}
		seen[seat] = true
		k := min(g.Seats[seat].Shares, g.Threshold-len(xs))
		if k == 0 {
			break
		}
		q.seats, q.take = append(q.seats, seat), append(q.take, k)
		xs = append(xs, seats(g.Seats).numbers(seat)[:k]...)
	}
	if len(xs) < g.Threshold {
		return nil, refused("%d shares of %d", len(xs), g.Threshold)
	}
	q.coeffs = littleEndian(lagrange(xs, 0))
	return q, nil
}

// Seats are those whose partial signatures Combine needs.
func (q *Quorum) Seats() []int { return append([]int(nil), q.seats...) }

// Combine makes the group's signature out of the partial ones. It checks none of them: Verify the result, and only if that
// fails let Check find who is to blame.
func (q *Quorum) Combine(partials []Partial) (Signature, error) {
	of := map[int]Partial{}
	for _, p := range partials {
		of[p.Seat] = p
	}
	var points []point
	for i, seat := range q.seats {
		if len(of[seat].points) < q.take[i] {
			return Signature{}, refused("no partial signature of seat %d", seat)
		}
		points = append(points, of[seat].points[:q.take[i]]...)
	}
	return Signature(blst.P1Affines(points).Mult(q.coeffs, 255).ToAffine().Compress()), nil
}
