package threshold

import (
	"crypto/sha256"

	"golang.org/x/crypto/cryptobyte"
)

// What the chain keeps of its groups for those who believe nothing but its store: enclaves.

// StoreName is the store in which the chain keeps these records.
const StoreName = "committee"

// TranscriptKey is where x/committee keeps the transcript of a purpose's ceremony, the last one if none goes on.
func TranscriptKey(purpose string) []byte { return append([]byte{0x01}, purpose...) }

// ChargeKey is where x/committee keeps which group is in charge of a purpose.
func ChargeKey(purpose string) []byte { return append([]byte{0x02}, purpose...) }

// RepairKey is where x/committee keeps the transcript of the repair of an account's shares.
func RepairKey(purpose string, account [20]byte) []byte {
	return append(append([]byte{0x03}, purpose...), account[:]...)
}

// Transcript commits to all that happened in a ceremony or a repair, in its order: whoever replays the same messages and ends
// of phases has the same one, so that one proof of it covers them all.
type Transcript struct {
	Count uint64 // messages and ends of phases
	Hash  [32]byte
}

// Transcript begins the record of a ceremony in which nothing has happened yet.
func (s Setup) Transcript() Transcript { return Transcript{Hash: s.session()} }

// Transcript begins the record of a repair in which nothing has happened yet.
func (r *Repair) Transcript() Transcript { return Transcript{Hash: r.session} }

// Accepted is the transcript after a message was accepted.
func (t Transcript) Accepted(from [20]byte, message []byte) Transcript {
	return t.next(1, from[:], message)
}

// Advanced is the transcript after a phase was ended.
func (t Transcript) Advanced() Transcript { return t.next(2, nil, nil) }

func (t Transcript) next(kind uint8, from, message []byte) Transcript {
	var b cryptobyte.Builder
	addString(&b, domainTranscript)
	b.AddUint64(t.Count)
	b.AddBytes(t.Hash[:])
	b.AddUint8(kind)
	b.AddBytes(from)
	b.AddBytes(message)
	return Transcript{Count: t.Count + 1, Hash: sha256.Sum256(b.BytesOrPanic())}
}

// Marshal returns the transcript's one encoding.
func (t Transcript) Marshal() []byte {
	var b cryptobyte.Builder
	b.AddUint64(t.Count)
	b.AddBytes(t.Hash[:])
	return b.BytesOrPanic()
}

// UnmarshalTranscript reads what Marshal wrote and nothing else.
func UnmarshalTranscript(p []byte) (Transcript, error) {
	var t Transcript
	s := cryptobyte.String(p)
	if !s.ReadUint64(&t.Count) || !s.CopyBytes(t.Hash[:]) || !s.Empty() {
		return Transcript{}, malformed("transcript")
	}
	return t, nil
}

// Charge says which group is in charge of a purpose. Each change of it is an epoch, which is part of every message that is signed.
type Charge struct {
	Epoch     uint64
	From      int64    // first height for which it signs
	Group     [32]byte // hash of the group's encoding (Group.Hash)
	Confirmed bool     // it has signed: the group before it can't come back, and is to wipe its shares
}

// Hash names a group with all that is known of it.
func (g *Group) Hash() [32]byte { return sha256.Sum256(g.Marshal()) }

// Marshal returns the charge's one encoding.
func (c Charge) Marshal() []byte {
	var b cryptobyte.Builder
	b.AddUint64(c.Epoch)
	b.AddUint64(uint64(c.From))
	b.AddBytes(c.Group[:])
	if c.Confirmed {
		b.AddUint8(1)
	} else {
		b.AddUint8(0)
	}
	return b.BytesOrPanic()
}

// UnmarshalCharge reads what Marshal wrote and nothing else.
func UnmarshalCharge(p []byte) (Charge, error) {
	var c Charge
	var from uint64
	var confirmed uint8
	s := cryptobyte.String(p)
	if !s.ReadUint64(&c.Epoch) || !s.ReadUint64(&from) || !s.CopyBytes(c.Group[:]) || !s.ReadUint8(&confirmed) || !s.Empty() ||
		from > 1<<62 || confirmed > 1 {
		return Charge{}, malformed("charge")
	}
	c.From, c.Confirmed = int64(from), confirmed == 1
	return c, nil
}

// PostStatement is what an enclave signs with its registered key beside a message of a ceremony or repair, so that the chain knows
// that no key or share of it was ever outside: the message names its ceremony itself.
func PostStatement(chainID string, account [20]byte, message []byte) []byte {
	var b cryptobyte.Builder
	addString(&b, domainPost)
	addString(&b, chainID)
	b.AddBytes(account[:])
	b.AddBytes(message)
	return b.BytesOrPanic()
}

// InCharge is a group with the charge that it has.
type InCharge struct {
	Charge
	Keys *Group
}

// Stakeholder is who is to have a seat in proportion to its stake.
type Stakeholder struct {
	Account [20]byte
	Stake   uint64
}
