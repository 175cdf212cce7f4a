package threshold

import (
	"io"
	"math/big"

	blst "github.com/supranational/blst/bindings/go"
)

// Commitments, encryption keys and signatures are points of G1, the keys that signatures are checked with are points of G2.
type (
	scalar = blst.Scalar
	point  = blst.P1Affine
	pubkey = blst.P2Affine
)

const (
	scalarSize = blst.BLST_SCALAR_BYTES
	pointSize  = blst.BLST_P1_COMPRESS_BYTES
	pubkeySize = blst.BLST_P2_COMPRESS_BYTES
)

// order is the order r of G1 and G2.
var order, _ = new(big.Int).SetString("73eda753299d7d483339d80809a1d80553bda402fffe5bfeffffffff00000001", 16)

// randomScalar reads 64 bytes and reduces them, so that every scalar is as likely as any other.
func randomScalar(random io.Reader) (*scalar, error) {
	var b [64]byte
	defer clear(b[:])
	if _, err := io.ReadFull(random, b[:]); err != nil {
		return nil, err
	}
	s := new(scalar).FromBEndian(b[:])
	if s == nil {
		return nil, refused("the randomness is all zero")
	}
	return s, nil
}

func randomScalars(random io.Reader, n int) ([]scalar, error) {
	out := make([]scalar, n)
	for i := range out {
		s, err := randomScalar(random)
		if err != nil {
			wipe(out)
			return nil, err
		}
		out[i] = *s
		s.Zeroize()
	}
	return out, nil
}

func wipe(s []scalar) {
	for i := range s {
		s[i].Zeroize()
	}
}

func small(x int) *scalar {
	var b [scalarSize]byte
	b[30], b[31] = byte(x>>8), byte(x)
	s := new(scalar)
	s.FromBEndian(b[:])
	return s
}

// evalSecret computes the polynomial at x: Horner with blst's constant-time products and sums.
func evalSecret(coefs []scalar, x int) *scalar {
	at, sum := small(x), coefs[len(coefs)-1]
	for k := len(coefs) - 2; k >= 0; k-- {
		sum.MulAssign(at)
		sum.AddAssign(&coefs[k])
	}
	return &sum
}

// evalPublic computes the committed polynomial at a small x > 0. Its time tells x, which is public.
func evalPublic(commits []point, x int) *point {
	var sum blst.P1
	sum.FromAffine(&commits[len(commits)-1])
	top := big.NewInt(int64(x)).BitLen() - 1
	for k := len(commits) - 2; k >= 0; k-- {
		base := sum
		for bit := top - 1; bit >= 0; bit-- {
			sum.AddAssign(&sum)
			if x>>bit&1 == 1 {
				sum.AddAssign(&base)
			}
		}
		sum.AddAssign(&commits[k])
	}
	return sum.ToAffine()
}

// lagrange gives the coefficients with which the values at xs add up to the value at a point that is not among them. All are
// share numbers, small and public; so whole products are taken before they are reduced, and one inversion serves all.
func lagrange(xs []int, at int) []scalar {
	product := func(skip, from int) *big.Int { // of from-x over all x but the skipped one
		out, part := big.NewInt(1), int64(1)
		for j, x := range xs {
			if j == skip {
				continue
			}
			if part *= int64(from - x); part > 1<<50 || part < -1<<50 {
				out.Mul(out, big.NewInt(part))
				part = 1
			}
		}
		out.Mul(out, big.NewInt(part))
		return out.Mod(out, order)
	}
	mul := func(a, b *big.Int) *big.Int { c := new(big.Int).Mul(a, b); return c.Mod(c, order) }
	above := product(-1, at)
	below := make([]*big.Int, len(xs))
	before := make([]*big.Int, len(xs)) // product of all below before this one
	run := big.NewInt(1)
	for i, x := range xs {
		below[i] = mul(product(i, x), big.NewInt(int64(at-x)))
		before[i] = run
		run = mul(run, below[i])
	}
	inverse := new(big.Int).ModInverse(run, order)
	out := make([]scalar, len(xs))
	for i := len(xs) - 1; i >= 0; i-- {
		var b [scalarSize]byte
		mul(above, mul(inverse, before[i])).FillBytes(b[:])
		out[i].FromBEndian(b[:])
		inverse = mul(inverse, below[i])
	}
	return out
}

// littleEndian lays scalars out for blst's sums of products.
func littleEndian(s []scalar) []byte {
	out := make([]byte, 0, len(s)*scalarSize)
	for i := range s {
		out = append(out, s[i].ToLEndian()...)
	}
	return out
}

// timesSecret multiplies a point by a secret: blst_p1_mult takes the same steps for every scalar.
func timesSecret(p *point, s *scalar) *point {
	var j blst.P1
	j.FromAffine(p)
	out := j.MultAssign(s).ToAffine()
	j = blst.P1{}
	return out
}

// sumOfProducts adds up public products.
func sumOfProducts(points []point, scalars []scalar) *point {
	return blst.P1Affines(points).Mult(littleEndian(scalars), 255).ToAffine()
}

// readPoint takes a compressed point of G1 and refuses infinity and points outside of the group.
func readPoint(b []byte) (point, bool) {
	var p point
	return p, p.Uncompress(b) != nil && p.KeyValidate()
}

func readPubkey(b []byte) (pubkey, bool) {
	var p pubkey
	return p, p.Uncompress(b) != nil && p.KeyValidate()
}
