package beacon

import (
	"golang.org/x/crypto/cryptobyte"

	"github.com/cella-network/cella/protocol/threshold"
)

// Limits of what a validator puts beside its vote.
const (
	MaxPartials  = 3                                        // the height that is voted on and two that are missing
	MaxExtension = 1 + 8 + 1 + MaxPartials*(8+2+maxPartial) // bytes

	maxPartial = 48 * threshold.MaxShares
)

const extensionVersion = 1

// Extension is what a validator puts beside its vote.
type Extension struct {
	Epoch    uint64 // of the group that signed: the one in charge at the height that is voted on
	Partials []Partial
}

// Partial is a seat's partial signature on a height. What is signed names the epoch in which the height was executed.
type Partial struct {
	Height int64
	Points []byte // threshold.Partial
}

// Marshal returns the extension's one encoding. Partials must be in strictly ascending order of heights.
func (e Extension) Marshal() []byte {
	var b cryptobyte.Builder
	b.AddUint8(extensionVersion)
	b.AddUint64(e.Epoch)
	b.AddUint8(uint8(len(e.Partials)))
	for _, p := range e.Partials {
		b.AddUint64(uint64(p.Height))
		b.AddUint16LengthPrefixed(func(b *cryptobyte.Builder) { b.AddBytes(p.Points) })
	}
	return b.BytesOrPanic()
}

// UnmarshalExtension reads what Marshal wrote and nothing else.
func UnmarshalExtension(p []byte) (Extension, error) {
	var e Extension
	var version, n uint8
	s := cryptobyte.String(p)
	if !s.ReadUint8(&version) || version != extensionVersion || !s.ReadUint64(&e.Epoch) || !s.ReadUint8(&n) || n == 0 || n > MaxPartials {
		return Extension{}, ErrMalformed
	}
	last := int64(0)
	for range n {
		var points cryptobyte.String
		height, ok := readHeight(&s, last)
		if !ok || !s.ReadUint16LengthPrefixed(&points) || len(points) == 0 || len(points) > maxPartial {
			return Extension{}, ErrMalformed
		}
		last = height
		e.Partials = append(e.Partials, Partial{Height: height, Points: points})
	}
	if !s.Empty() {
		return Extension{}, ErrMalformed
	}
	return e, nil
}

// readHeight reads a height above another.
func readHeight(s *cryptobyte.String, above int64) (int64, bool) {
	var h uint64
	ok := s.ReadUint64(&h) && h <= maxHeight && int64(h) > above
	return int64(h), ok
}
