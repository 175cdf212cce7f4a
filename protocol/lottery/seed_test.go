package lottery

import (
	"encoding/hex"
	"math/big"
	"testing"

	"crypto/sha256"
	"encoding/binary"
)

// TestKnownAnswers pins the encodings: a chain and its enclaves must draw alike in every version.
func TestKnownAnswers(t *testing.T) {
	hash := sha256.Sum256([]byte("block"))
	for _, c := range []struct {
		chain  string
		height int64
		want   string
	}{
		{"cella-test", 1, "7464c4e1c09b4169c65360541030c74e85f793395af29b4425d56e6a649d27de"},
		{"cella-test", 2, "3795735c5ff9b5d8efbabd5e767924f20bdf6bafc0fa6fd2d03be424ffec451b"},
		{"cella-other", 1, "4542423fad0a07d08713dbdd42efbad352cb6a92d3cadd653a9035aaf50c9031"},
		{"", 0, "96f8ff70d7f110cf2c6adb92d7bf3e88217128057fbebee168285b9690f03eb3"},
	} {
		s := BlockSeed(c.chain, c.height, hash)
		if got := hex.EncodeToString(s[:]); got != c.want {
			t.Errorf("BlockSeed(%q, %d) = %s, want %s", c.chain, c.height, got, c.want)
		}
	}
	seed := BlockSeed("cella-test", 1, hash)
	for _, c := range []struct {
		purpose, subject string
		n, want          uint64
	}{
		{"spot-check", "a", 1, 0},
		{"spot-check", "a", 1000, 658},
		{"spot-check", "b", 1000, 707},
		{"endorser", "a", 1000, 369},
		{"spot-check", "a", 1 << 63, 6071337962995003942},
		{"spot-check", "a", 1<<64 - 1, 12142675925990007884},
	} {
		if got := seed.Uniform(c.purpose, []byte(c.subject), c.n); got != c.want {
			t.Errorf("Uniform(%q, %q, %d) = %d, want %d", c.purpose, c.subject, c.n, got, c.want)
		}
	}
}

// TestUniformIsTheFormula holds the arithmetic against big integers.
func TestUniformIsTheFormula(t *testing.T) {
	for i := range 2000 {
		var seed Seed
		binary.BigEndian.PutUint64(seed[:], uint64(i))
		n := uint64(i)*0x9e3779b97f4a7c15 | 1
		h := sha256.New()
		writeBytes(h, []byte("cella/draw/v1"))
		h.Write(seed[:])
		writeBytes(h, []byte("p"))
		writeBytes(h, []byte("s"))
		x := new(big.Int).SetBytes(h.Sum(nil)[:16])
		x.Mul(x, new(big.Int).SetUint64(n)).Rsh(x, 128)
		if got := seed.Uniform("p", []byte("s"), n); got != x.Uint64() {
			t.Fatalf("seed %d, n %d: %d, want %d", i, n, got, x)
		}
	}
}

// TestUniformSpread is a chi-square test over fixed seeds: 64 bins, 63 degrees of freedom, 99.99 % below 116.
func TestUniformSpread(t *testing.T) {
	const bins, draws = 64, 64000
	var count [bins]float64
	for i := range draws {
		count[BlockSeed("c", int64(i), [32]byte{}).Uniform("p", nil, bins)]++
	}
	chi := 0.0
	for _, c := range count {
		d := c - draws/bins
		chi += d * d / (draws / bins)
	}
	if chi > 116 {
		t.Errorf("chi-square %.1f over %d bins", chi, bins)
	}
}

// TestDrawsAreSeparate: fields can't slide into each other.
func TestDrawsAreSeparate(t *testing.T) {
	seed := Seed{1}
	const n = 1<<64 - 1
	if seed.Uniform("ab", []byte("c"), n) == seed.Uniform("a", []byte("bc"), n) {
		t.Error("purpose and subject run into each other")
	}
	if BlockSeed("a", 1, [32]byte{}) == BlockSeed("a", 1, [32]byte{1}) {
		t.Error("the block hash does not matter")
	}
}
