package beacon

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"math/big"
	"testing"
)

// A second implementation of the proposer lottery, from the words of docs/protocol/lottery.md and decision 015 alone, over big integers. It
// shares no code with protocol/lottery: what both come to is what the documents say.

// rules are the figures that governance sets.
type rules struct{ epoch, halfLife, ageCap, prior uint64 }

// entry is a validator in the lottery.
type entry struct {
	address                     [20]byte
	stake, age, turns, proposed uint64
	omitted                     bool
}

func big64(v uint64) *big.Int { return new(big.Int).SetUint64(v) }

// floor is a * b / c without what is left over.
func floor(a, b, c *big.Int) *big.Int {
	p := new(big.Int).Mul(a, b)
	return p.Div(p, c)
}

// decay is 2^(-blocks / half-life) in units of 2^-32: exact at half-lives, linear between them.
func (r rules) decay(blocks uint64) *big.Int {
	from := new(big.Int).Rsh(big64(1<<32), uint(min(blocks/r.halfLife, 64)))
	fall := floor(new(big.Int).Rsh(from, 1), big64(blocks%r.halfLife), big64(r.halfLife))
	return fall.Sub(from, fall)
}

func (r rules) weight(e entry, blocks uint64) *big.Int {
	if e.stake == 0 {
		return new(big.Int)
	}
	age, most := big64(e.age), new(big.Int).Mul(big64(e.stake), big64(r.ageCap))
	if age.Cmp(most) > 0 {
		age = most
	}
	w := floor(age, r.decay(blocks), new(big.Int).Lsh(big64(r.ageCap), 32))
	w.Add(w, big64(e.stake))
	w = floor(w, big64(min(e.proposed, e.turns)+r.prior), big64(e.turns+r.prior))
	if w.Sign() == 0 {
		return big64(1)
	}
	return w
}

// weights of all entries. Those who omitted have none in a fallback draw, as long as anybody is left.
func (r rules) weights(entries []entry, blocks uint64, fallback bool) (all []*big.Int, sum *big.Int) {
	sum = new(big.Int)
	for _, e := range entries {
		w := r.weight(e, blocks)
		if fallback && e.omitted {
			w = new(big.Int)
		}
		all, sum = append(all, w), sum.Add(sum, w)
	}
	if sum.Sign() == 0 && fallback {
		return r.weights(entries, blocks, false)
	}
	return all, sum
}

// draw is who proposes a height.
func (r rules) draw(seed []byte, height int64, entries []entry, blocks uint64, fallback bool) ([20]byte, error) {
	for i := 1; i < len(entries); i++ {
		if bytes.Compare(entries[i-1].address[:], entries[i].address[:]) >= 0 {
			return [20]byte{}, fmt.Errorf("entry %d is not above the one before", i)
		}
	}
	all, sum := r.weights(entries, blocks, fallback)
	if sum.Sign() == 0 {
		return [20]byte{}, errors.New("nobody has stake")
	}
	at := uniform(seed, "proposer", binary.BigEndian.AppendUint64(nil, uint64(height)), sum)
	for i, w := range all {
		if at.Cmp(w) < 0 {
			return entries[i].address, nil
		}
		at.Sub(at, w)
	}
	panic("a number below the sum is above all its parts")
}

// uniform is a number below n: the first 16 bytes of a hash, as a part of 2^128, of n.
func uniform(seed []byte, purpose string, subject []byte, n *big.Int) *big.Int {
	h := sha256.New()
	h.Write(prefixed("cella/draw/v1"))
	h.Write(seed)
	h.Write(prefixed(purpose))
	h.Write(prefixed(string(subject)))
	x := new(big.Int).SetBytes(h.Sum(nil)[:16])
	return x.Mul(x, n).Rsh(x, 128)
}

// fallbackSeed draws the proposer of a height if the number for it did not come.
func fallbackSeed(chain string, last []byte, height int64) []byte {
	b := append(prefixed("cella/seed/fallback/v1"), prefixed(chain)...)
	b = append(b, last...)
	sum := sha256.Sum256(binary.BigEndian.AppendUint64(b, uint64(height)))
	return sum[:]
}

// prefixed is a string behind its length in eight bytes.
func prefixed(s string) []byte {
	return append(binary.BigEndian.AppendUint64(nil, uint64(len(s))), s...)
}

// TestSecondImplementation holds it against figures worked out by hand or pinned elsewhere in this repository.
func TestSecondImplementation(t *testing.T) {
	r := rules{epoch: 1000, halfLife: 250, ageCap: 16, prior: 8}
	for _, c := range []struct {
		name   string
		e      entry
		blocks uint64
		want   uint64
	}{
		{"no stake", entry{age: 5}, 0, 0},
		{"new coins", entry{stake: 1000}, 0, 1000},
		{"full age doubles", entry{stake: 1000, age: 16_000}, 0, 2000},
		{"a straight line between half-lives", entry{stake: 1000, age: 16_000}, 125, 1750},
		{"a quarter after two", entry{stake: 1000, age: 16_000}, 500, 1250},
		{"nothing at last", entry{stake: 1000, age: 16_000}, 1 << 40, 1000},
		{"age above the cap counts no more", entry{stake: 1000, age: 99_999}, 0, 2000},
		{"one turn missed: 8 of 9", entry{stake: 900, turns: 1}, 0, 800},
		{"never nothing", entry{stake: 1, turns: 1000}, 0, 1},
	} {
		if got := r.weight(c.e, c.blocks); got.Cmp(big64(c.want)) != 0 {
			t.Errorf("%s: %d, want %d", c.name, got, c.want)
		}
	}
	// The seed of height 1 of cella-test over a block hash of zeros: eight bytes before each string, the height in eight more.
	h := sha256.New()
	for _, p := range [][]byte{prefixed("cella/seed/block/v1"), prefixed("cella-test"), binary.BigEndian.AppendUint64(nil, 1), make([]byte, 32)} {
		h.Write(p)
	}
	seed := h.Sum(nil)
	var entries []entry
	for i := range 10 {
		e := entry{stake: uint64(1000 * (i + 1)), age: uint64(3000 * i), turns: uint64(i), proposed: uint64(i / 2)}
		binary.BigEndian.PutUint32(e.address[16:], uint32(i))
		entries = append(entries, e)
	}
	for height, want := range []byte{3, 8, 9, 7, 7, 6, 2, 8, 3, 2, 9, 4} {
		s, fallback := seed, height%2 == 1
		if fallback {
			s = fallbackSeed("cella-test", seed, int64(height))
		}
		got, err := r.draw(s, int64(height), entries, uint64(height)*50, fallback)
		if err != nil || got[19] != want {
			t.Errorf("height %d: %d (%v), want %d", height, got[19], err, want)
		}
	}
}

// TestSecondImplementationLeavesOut: in a fallback draw nobody who omitted is drawn, unless all did.
func TestSecondImplementationLeavesOut(t *testing.T) {
	r := rules{epoch: 1000, halfLife: 250, ageCap: 16, prior: 8}
	entries := []entry{{address: [20]byte{1}, stake: 1 << 40, omitted: true}, {address: [20]byte{2}, stake: 1}}
	for h := range int64(100) {
		if got, err := r.draw(fallbackSeed("c", make([]byte, 32), h), h, entries, 0, true); err != nil || got != entries[1].address {
			t.Fatalf("height %d: %x, %v", h, got, err)
		}
	}
	entries[1].omitted = true
	if got, err := r.draw(make([]byte, 32), 1, entries, 0, true); err != nil || got != entries[0].address {
		t.Errorf("all omitted: %s, %v", hex.EncodeToString(got[:]), err)
	}
}
