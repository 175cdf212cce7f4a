package beacon

import (
	"crypto/sha256"
	"errors"

	"golang.org/x/crypto/cryptobyte"

	"github.com/cella-network/cella/protocol/lottery"
)

// ErrMalformed is the kind of what can't be read.
var ErrMalformed = errors.New("malformed")

// Purpose is that of the group whose signatures are the numbers: a threshold.ID's, and part of its tag.
const Purpose = "beacon"

// StoreName is the store in which the chain keeps its tip.
const StoreName = "beacon"

// TipKey is where x/beacon keeps the Tip.
func TipKey() []byte { return []byte{0x01} }

// Tip is the end of the chain of seeds: the seeds of all heights up to Height, one after the other, make Hash. One proof of
// it covers any number of seeds.
type Tip struct {
	Height int64
	Hash   [32]byte
}

// Append is the tip with the next height's seed.
func (t Tip) Append(seed lottery.Seed) Tip {
	var b cryptobyte.Builder
	b.AddUint16LengthPrefixed(func(b *cryptobyte.Builder) { b.AddBytes([]byte("cella/seeds/v1")) })
	b.AddBytes(t.Hash[:])
	b.AddUint64(uint64(t.Height) + 1)
	b.AddBytes(seed[:])
	return Tip{Height: t.Height + 1, Hash: sha256.Sum256(b.BytesOrPanic())}
}

// Marshal returns the tip's one encoding.
func (t Tip) Marshal() []byte {
	var b cryptobyte.Builder
	b.AddUint64(uint64(t.Height))
	b.AddBytes(t.Hash[:])
	return b.BytesOrPanic()
}

// UnmarshalTip reads what Marshal wrote and nothing else.
func UnmarshalTip(p []byte) (Tip, error) {
	var t Tip
	var height uint64
	s := cryptobyte.String(p)
	if !s.ReadUint64(&height) || !s.CopyBytes(t.Hash[:]) || !s.Empty() || height > maxHeight {
		return Tip{}, ErrMalformed
	}
	t.Height = int64(height)
	return t, nil
}
