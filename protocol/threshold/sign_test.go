package threshold

import (
	"bytes"
	"math/big"
	"math/rand/v2"
	"slices"
	"testing"

	blst "github.com/supranational/blst/bindings/go"
)

// schoolSecret is the group's secret by school arithmetic from the given shares: what no single place ever holds.
func schoolSecret(t *team, xs []int) *big.Int {
	of := map[int]*big.Int{}
	for seat, s := range t.shares {
		for i, x := range seats(t.group.Seats).numbers(seat) {
			of[x] = new(big.Int).SetBytes(s.secrets[i].Serialize())
		}
	}
	sum := new(big.Int)
	for _, x := range xs {
		term := new(big.Int).Set(of[x])
		for _, y := range xs {
			if x != y {
				inverse := new(big.Int).ModInverse(big.NewInt(int64(y-x)), order)
				if inverse == nil {
					inverse = new(big.Int).ModInverse(new(big.Int).Mod(big.NewInt(int64(y-x)), order), order)
				}
				term.Mul(term, big.NewInt(int64(y))).Mul(term, inverse).Mod(term, order)
			}
		}
		sum.Add(sum, term).Mod(sum, order)
	}
	return sum
}

// plainSign is a signature by one key, as any BLS library makes it.
func plainSign(secret *big.Int, message []byte) []byte {
	var b [32]byte
	sk := new(blst.SecretKey).Deserialize(secret.FillBytes(b[:]))
	return new(blst.P1Affine).Sign(sk, message, []byte("CELLA-V1-beacon-BLS12381G1_XMD:SHA-256_SSWU_RO_")).Compress()
}

// Any set at the threshold reconstructs and signs, and what it makes is the one plain BLS signature of the group's key.
func TestAnyQuorumSignsAlike(t *testing.T) {
	stakes := []uint64{700, 90, 80, 400, 300, 210, 10, 333, 150}
	w, err := Weigh(stakes)
	must(t, err)
	var names []string
	var shares []int
	for i, s := range w.Shares {
		if s > 0 {
			names, shares = append(names, string(rune('a'+i))), append(shares, s)
		}
	}
	setup := Setup{ID: ID{testChain, "beacon", 1, 0}, Seats: seatsOf(names, shares), Threshold: w.Threshold}
	first := honest(t, setup, nil, 1)
	next := honest(t, equal(t, 5, 2, "n"), first, 2)
	key := first.group.Key()
	if next.group.Key() != key {
		t.Fatal("the key changed hands and did not stay the same")
	}
	random := rand.New(rand.NewPCG(1, 2))
	message := at(1, 77)
	var want []byte
	for _, tm := range []*team{first, next} {
		total := seats(tm.group.Seats).total()
		for range 12 {
			xs := random.Perm(total)[:tm.group.Threshold]
			for i := range xs {
				xs[i]++
			}
			secret := schoolSecret(tm, xs)
			got := plainSign(secret, message)
			if want == nil {
				want = got
			}
			if !bytes.Equal(got, want) {
				t.Fatal("two sets of shares make two secrets")
			}
			order := random.Perm(len(tm.group.Seats))
			s, err := tm.sign(message, order...)
			must(t, err)
			if !bytes.Equal(s[:], want) {
				t.Fatal("the combined signature is not the plain one")
			}
			few := schoolSecret(tm, xs[1:])
			if bytes.Equal(plainSign(few, message), want) {
				t.Fatal("one share fewer made the secret")
			}
		}
	}
	pk := new(blst.P2Affine).Uncompress(key[:])
	sig := new(blst.P1Affine).Uncompress(want)
	if !sig.Verify(true, pk, true, message, []byte("CELLA-V1-beacon-BLS12381G1_XMD:SHA-256_SSWU_RO_")) {
		t.Fatal("plain BLS refuses the signature")
	}
	var s Signature
	copy(s[:], want)
	if next.group.Verify(at(1, 78), s) || next.group.Verify(at(2, 77), s) || !next.group.Verify(message, s) {
		t.Fatal("a signature is of one height and epoch")
	}
	s[3] ^= 1
	if next.group.Verify(message, s) || next.group.Verify(message, Signature{}) || next.group.Verify(message, Signature{0xc0}) {
		t.Fatal("a changed signature, none, or infinity verifies")
	}
}

func TestPurposesDoNotMix(t *testing.T) {
	a := equal(t, 4, 1, "a")
	tm := honest(t, a, nil, 3)
	s, err := tm.sign(at(1, 1), 0, 1, 2, 3)
	must(t, err)
	other := *tm.group
	other.ID.Purpose = "contracts"
	if other.Verify(at(1, 1), s) {
		t.Fatal("a beacon's signature is one of another purpose")
	}
}

func TestCheckFindsTheBadOnes(t *testing.T) {
	tm := honest(t, equal(t, 10, 1, "a"), nil, 4)
	message := at(1, 5)
	all := tm.seats()
	for _, bad := range [][]int{nil, {0}, {9}, {3, 4}, {0, 5, 9}, all} {
		ps, err := tm.partials(message, all...)
		must(t, err)
		wrong, err := tm.partials(at(1, 6), bad...)
		must(t, err)
		for i, b := range bad {
			ps[b].points[1] = wrong[i].points[1]
		}
		if got := tm.group.Check(message, ps); !slices.Equal(got, bad) {
			t.Errorf("bad %v: found %v", bad, got)
		}
	}
	// Errors that cancel in a plain sum do not in a weighted one.
	ps, err := tm.partials(message, all...)
	must(t, err)
	x := generator()
	for i, seat := range []int{2, 7} {
		var j blst.P1
		j.FromAffine(&ps[seat].points[0])
		if i == 0 {
			j.AddAssign(&x)
		} else {
			j.SubAssign(&x)
		}
		ps[seat].points[0] = *j.ToAffine()
	}
	if got := tm.group.Check(message, ps); !slices.Equal(got, []int{2, 7}) {
		t.Errorf("cancelling errors: found %v", got)
	}
	// A good point plus one of an order that no pairing sees: in the equation nothing is wrong, but the sum is another signature.
	ps, err = tm.partials(message, all...)
	must(t, err)
	unseen := cofactor(t)
	var j blst.P1
	j.FromAffine(&ps[4].points[0])
	ps[4].points[0] = *j.AddAssign(&unseen).ToAffine()
	if got := tm.group.Check(message, ps); !slices.Equal(got, []int{4}) {
		t.Errorf("outside of the group: found %v", got)
	}
}

// outside is a point of the curve that is not in G1.
func outside(t testing.TB) point {
	t.Helper()
	for x := byte(1); x < 100; x++ {
		var b [48]byte
		b[0], b[47] = 0x80, x
		if p := new(point).Uncompress(b[:]); p != nil && !p.InG1() {
			return *p
		}
	}
	t.Fatal("no such point")
	return point{}
}

// cofactor is a point of the curve whose order is prime to that of G1.
func cofactor(t testing.TB) point {
	t.Helper()
	p := outside(t)
	var sum, base blst.P1
	base.FromAffine(&p)
	for i := order.BitLen() - 1; i >= 0; i-- {
		sum.AddAssign(&sum)
		if order.Bit(i) == 1 {
			sum.AddAssign(&base)
		}
	}
	return *sum.ToAffine()
}

func TestGroupRoundTrip(t *testing.T) {
	tm := honest(t, equal(t, 4, 1, "a"), nil, 5)
	p := tm.group.Marshal()
	g, err := UnmarshalGroup(p)
	must(t, err)
	if !bytes.Equal(g.Marshal(), p) || g.Key() != tm.group.Key() {
		t.Fatal("changed on the way")
	}
	for i := 0; i < len(p); i += 13 {
		if _, err := UnmarshalGroup(p[:i]); err == nil {
			t.Fatalf("read from %d of %d bytes", i, len(p))
		}
	}
	_, err = g.Quorum([]int{0, 0, 1, 2})
	if err == nil {
		t.Fatal("a seat counted twice")
	}
}
