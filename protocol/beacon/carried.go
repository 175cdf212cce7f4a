package beacon

import (
	"bytes"

	"golang.org/x/crypto/cryptobyte"

	"github.com/cella-network/cella/protocol/threshold"
)

// MaxCarried is how many numbers a block carries at the most.
const MaxCarried = 4

// carriedMagic begins what carries numbers. A transaction is an encoded protobuf message and can't begin with a zero: no field has the
// number zero.
const carriedMagic = "\x00cella/beacon/carried/v1"

// Carried are the numbers that a block carries, as its first transaction.
type Carried []Number

// Number is a height's random number: the group's signature on it.
type Number struct {
	Height    int64
	Signature threshold.Signature
}

// Marshal returns the one encoding. Numbers must be in strictly ascending order of heights.
func (c Carried) Marshal() []byte {
	var b cryptobyte.Builder
	b.AddBytes([]byte(carriedMagic))
	b.AddUint8(uint8(len(c)))
	for _, n := range c {
		b.AddUint64(uint64(n.Height))
		b.AddBytes(n.Signature[:])
	}
	return b.BytesOrPanic()
}

// IsCarried tells what carries numbers, or pretends to, from a transaction.
func IsCarried(tx []byte) bool { return bytes.HasPrefix(tx, []byte(carriedMagic)) }

// UnmarshalCarried reads what Marshal wrote and nothing else.
func UnmarshalCarried(tx []byte) (Carried, error) {
	var n uint8
	if !IsCarried(tx) {
		return nil, ErrMalformed
	}
	s := cryptobyte.String(tx[len(carriedMagic):])
	if !s.ReadUint8(&n) || n == 0 || n > MaxCarried {
		return nil, ErrMalformed
	}
	c, last := make(Carried, n), int64(0)
	for i := range c {
		var ok bool
		if c[i].Height, ok = readHeight(&s, last); !ok || !s.CopyBytes(c[i].Signature[:]) {
			return nil, ErrMalformed
		}
		last = c[i].Height
	}
	if !s.Empty() {
		return nil, ErrMalformed
	}
	return c, nil
}
