package lottery

import (
	"crypto/sha256"
	"encoding/binary"
	"math/bits"
)

// Seed is the public randomness of one height: 32 bytes nobody could choose before the height was decided.
type Seed [32]byte

// BlockSeed derives the seed of a height from its block hash. It stands where there is no number: before the first group is in charge,
// and for heights whose numbers can never come since the key was lost; then the hash is that of the block that says so. A proposer can
// grind it by trying other blocks.
func BlockSeed(chainID string, height int64, hash [32]byte) Seed {
	h := sha256.New()
	writeBytes(h, []byte("cella/seed/block/v1"))
	writeBytes(h, []byte(chainID))
	writeUint64(h, uint64(height))
	h.Write(hash[:])
	return Seed(h.Sum(nil))
}

// Uniform draws a number in [0, n) from the seed for one purpose and subject; n must not be zero. The bias against a
// perfect draw is below n/2^128.
func (s Seed) Uniform(purpose string, subject []byte, n uint64) uint64 {
	h := sha256.New()
	writeBytes(h, []byte("cella/draw/v1"))
	h.Write(s[:])
	writeBytes(h, []byte(purpose))
	writeBytes(h, subject)
	sum := h.Sum(nil)
	// floor(x * n / 2^128) for the 128-bit x in the first half of the digest.
	hi, lo := binary.BigEndian.Uint64(sum[:8]), binary.BigEndian.Uint64(sum[8:16])
	carry, _ := bits.Mul64(lo, n)
	top, low := bits.Mul64(hi, n)
	_, c := bits.Add64(low, carry, 0)
	return top + c
}

type writer interface{ Write([]byte) (int, error) }

func writeUint64(w writer, v uint64) {
	var b [8]byte
	binary.BigEndian.PutUint64(b[:], v)
	_, _ = w.Write(b[:]) // hash.Hash never returns an error
}

func writeBytes(w writer, p []byte) {
	writeUint64(w, uint64(len(p)))
	_, _ = w.Write(p)
}
