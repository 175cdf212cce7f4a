package attestation

import (
	"fmt"

	"golang.org/x/crypto/cryptobyte"
)

// Tier is what governance trusts a platform and measurement with.
type Tier uint8

const (
	TierLow  Tier = 1 // capped storage, no key shares, no endorsing outside a devnet
	TierHigh Tier = 2 // key shares, contracts, endorsing
)

const (
	domainNode   = "cella/node/v1"
	domainIntent = "cella/intent/v1"
)

// Node is the chain's record of a registered enclave. It is stored under the chain's canonical key in exactly this
// encoding, so that another enclave can check it with a store proof.
type Node struct {
	Account     Account
	SignKey     [32]byte
	KEMKey      [32]byte
	Platform    Platform
	Tier        Tier
	Measurement [32]byte
	PlatformID  [32]byte
	Joined      int64 // height of the registration
	Expires     int64 // first height at which the registration no longer holds
}

// Marshal returns the record's one encoding.
func (n Node) Marshal() []byte {
	var b cryptobyte.Builder
	addString(&b, domainNode)
	b.AddBytes(n.Account[:])
	b.AddBytes(n.SignKey[:])
	b.AddBytes(n.KEMKey[:])
	b.AddUint8(uint8(n.Platform))
	b.AddUint8(uint8(n.Tier))
	b.AddBytes(n.Measurement[:])
	b.AddBytes(n.PlatformID[:])
	b.AddUint64(uint64(n.Joined))
	b.AddUint64(uint64(n.Expires))
	return b.BytesOrPanic()
}

// UnmarshalNode reads what Marshal wrote.
func UnmarshalNode(p []byte) (Node, error) {
	var n Node
	var platform, tier uint8
	var joined, expires uint64
	s := cryptobyte.String(p)
	ok := readDomain(&s, domainNode) &&
		s.CopyBytes(n.Account[:]) && s.CopyBytes(n.SignKey[:]) && s.CopyBytes(n.KEMKey[:]) &&
		s.ReadUint8(&platform) && s.ReadUint8(&tier) &&
		s.CopyBytes(n.Measurement[:]) && s.CopyBytes(n.PlatformID[:]) &&
		s.ReadUint64(&joined) && s.ReadUint64(&expires) && s.Empty()
	if !ok || joined > 1<<62 || expires > 1<<62 {
		return Node{}, fmt.Errorf("%w: node record", ErrMalformed)
	}
	n.Platform, n.Tier, n.Joined, n.Expires = Platform(platform), Tier(tier), int64(joined), int64(expires)
	return n, nil
}

// Intent is a paid wish to join that waits for its endorser. Like Node it is stored in this encoding, so that the endorser's
// enclave can see by a store proof that it was the one drawn.
type Intent struct {
	Registration [32]byte // hash of R
	Account      Account
	Endorser     Account // zero until drawn
	Announced    int64   // height of the announcement
	Drawn        int64   // height of the last draw
	Attempt      uint32  // how many endorsers stayed silent so far
}

// Marshal returns the record's one encoding.
func (i Intent) Marshal() []byte {
	var b cryptobyte.Builder
	addString(&b, domainIntent)
	b.AddBytes(i.Registration[:])
	b.AddBytes(i.Account[:])
	b.AddBytes(i.Endorser[:])
	b.AddUint64(uint64(i.Announced))
	b.AddUint64(uint64(i.Drawn))
	b.AddUint32(i.Attempt)
	return b.BytesOrPanic()
}

// UnmarshalIntent reads what Marshal wrote.
func UnmarshalIntent(p []byte) (Intent, error) {
	var i Intent
	var announced, drawn uint64
	s := cryptobyte.String(p)
	ok := readDomain(&s, domainIntent) &&
		s.CopyBytes(i.Registration[:]) && s.CopyBytes(i.Account[:]) && s.CopyBytes(i.Endorser[:]) &&
		s.ReadUint64(&announced) && s.ReadUint64(&drawn) && s.ReadUint32(&i.Attempt) && s.Empty()
	if !ok || announced > 1<<62 || drawn > 1<<62 {
		return Intent{}, fmt.Errorf("%w: intent", ErrMalformed)
	}
	i.Announced, i.Drawn = int64(announced), int64(drawn)
	return i, nil
}

// StoreName is the store of x/attest, shared with the enclaves that check proofs against it.
const StoreName = "attest"

// NodeKey is where x/attest keeps a Node.
func NodeKey(a Account) []byte { return append([]byte{0x01}, a[:]...) }

// IntentKey is where x/attest keeps the Intent of an account.
func IntentKey(a Account) []byte { return append([]byte{0x02}, a[:]...) }
