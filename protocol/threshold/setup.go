package threshold

import (
	"crypto/sha256"

	"golang.org/x/crypto/cryptobyte"
)

// Limits of names.
const (
	maxChainID = 64
	maxPurpose = 16
)

// ID names a ceremony and the group that comes out of it.
type ID struct {
	ChainID string
	Purpose string // lower case letters; groups of different purposes can't sign for each other
	Epoch   uint64
	Attempt uint32
}

func (id ID) add(b *cryptobyte.Builder) {
	addString(b, id.ChainID)
	addString(b, id.Purpose)
	b.AddUint64(id.Epoch)
	b.AddUint32(id.Attempt)
}

func readID(s *cryptobyte.String, id *ID) bool {
	return readString(s, &id.ChainID, maxChainID) && readString(s, &id.Purpose, maxPurpose) && s.ReadUint64(&id.Epoch) && s.ReadUint32(&id.Attempt) &&
		id.check() == nil
}

func (id ID) check() error {
	if id.ChainID == "" || len(id.ChainID) > maxChainID || id.Purpose == "" || len(id.Purpose) > maxPurpose {
		return refused("a group needs a chain and a purpose, of at most %d and %d bytes", maxChainID, maxPurpose)
	}
	for _, c := range []byte(id.Purpose) {
		if c < 'a' || c > 'z' {
			return refused("purpose %q: want lower case letters", id.Purpose)
		}
	}
	return nil
}

// Seat is one member's place in a group: seats are numbered from 0, and shares from 1 on, seat by seat.
type Seat struct {
	Account [20]byte
	Shares  int // at least 1
}

type seats []Seat

func (s seats) check(threshold int) error {
	if len(s) == 0 || len(s) > MaxMembers {
		return refused("%d seats: want 1 to %d", len(s), MaxMembers)
	}
	known := map[[20]byte]bool{}
	for i, m := range s {
		if m.Shares < 1 || m.Shares > MaxShares || m.Account == [20]byte{} || known[m.Account] {
			return refused("seat %d has no share, no account or that of another seat", i)
		}
		known[m.Account] = true
	}
	if total := s.total(); total > MaxShares || threshold < 1 || threshold > total {
		return refused("%d of %d shares: want a threshold among at most %d shares", threshold, total, MaxShares)
	}
	return nil
}

func (s seats) total() int {
	sum := 0
	for _, m := range s {
		sum += m.Shares
	}
	return sum
}

// numbers are the shares of a seat: where the polynomial is taken.
func (s seats) numbers(seat int) []int {
	out := make([]int, s[seat].Shares)
	for i := range out {
		out[i] = s[:seat].total() + i + 1
	}
	return out
}

// holder is the seat of a share number.
func (s seats) holder(number int) int {
	for i, m := range s {
		if number -= m.Shares; number <= 0 {
			return i
		}
	}
	return -1
}

func (s seats) find(account [20]byte) int {
	for i, m := range s {
		if m.Account == account {
			return i
		}
	}
	return -1
}

func (s seats) add(b *cryptobyte.Builder) {
	b.AddUint16(uint16(len(s)))
	for _, m := range s {
		b.AddBytes(m.Account[:])
		b.AddUint16(uint16(m.Shares))
	}
}

func readSeats(s *cryptobyte.String, out *[]Seat) bool {
	var n int
	if !readInt(s, &n, MaxMembers) {
		return false
	}
	*out = make([]Seat, n)
	for i := range *out {
		m := &(*out)[i]
		if !s.CopyBytes(m.Account[:]) || !readInt(s, &m.Shares, MaxShares) {
			return false
		}
	}
	return true
}

// Setup is what is fixed before a ceremony begins. Everyone who takes part or watches starts from the same.
type Setup struct {
	ID        ID
	Seats     []Seat
	Threshold int
	Old       *Group // hands its key on to the new seats; nil for a fresh key
}

func (s Setup) check() error {
	if err := s.ID.check(); err != nil {
		return err
	}
	if err := seats(s.Seats).check(s.Threshold); err != nil {
		return err
	}
	if s.Old != nil && (s.Old.ID.ChainID != s.ID.ChainID || s.Old.ID.Purpose != s.ID.Purpose || s.Old.ID.Epoch >= s.ID.Epoch) {
		return refused("the old group is of another chain or purpose, or not of an earlier epoch")
	}
	return nil
}

// session names the ceremony in every message and proof. It covers all of the setup.
func (s Setup) session() [32]byte {
	var b cryptobyte.Builder
	addString(&b, domainSetup)
	s.ID.add(&b)
	seats(s.Seats).add(&b)
	b.AddUint16(uint16(s.Threshold))
	if s.Old != nil {
		old := s.Old.commitment()
		b.AddBytes(old[:])
	}
	return sha256.Sum256(b.BytesOrPanic())
}

// dealers is how many deals there may be: one of each seat for a fresh key, one for each old share when a key is handed on.
func (s Setup) dealers() int {
	if s.Old != nil {
		return seats(s.Old.Seats).total()
	}
	return len(s.Seats)
}

// dealer says whose a deal is and what it weighs. Deals are numbered from 0.
func (s Setup) dealer(deal int) (account [20]byte, weight int) {
	if s.Old != nil {
		return s.Old.Seats[seats(s.Old.Seats).holder(deal+1)].Account, 1
	}
	return s.Seats[deal].Account, s.Seats[deal].Shares
}

// quorum is the weight of deals that it takes: with so much at least one dealer of a fresh key is honest, and so many
// old shares make the old key.
func (s Setup) quorum() int {
	if s.Old != nil {
		return s.Old.Threshold
	}
	return s.Threshold
}
