package attestation

import (
	"crypto/ed25519"
	"crypto/sha256"
	"crypto/sha512"
	"errors"
	"fmt"

	"golang.org/x/crypto/cryptobyte"
)

// Domains separate what an enclave signs. A signature is made over the statement's whole encoding, whose first field is
// its domain, so that no statement can be read as another.
const (
	domainBinding      = "cella/binding/v1"
	domainRegistration = "cella/registration/v1"
	domainChallenge    = "cella/challenge/v1"
	domainEndorsement  = "cella/endorsement/v1"
	domainConfirmation = "cella/confirmation/v1"
)

// Limits of what a stranger may send. They bound the work of a decoder before anything is paid for.
const (
	MaxEvidence     = 48 << 10 // bytes of quote, certificates and log together
	MaxRegistration = 64 << 10 // bytes of an encoded registration
	MaxChainID      = 64       // bytes
)

// ErrMalformed is the kind of every decoding error of this package.
var ErrMalformed = errors.New("malformed statement")

// Account is an operator's address in bytes: one account runs at most one node.
type Account [20]byte

// TrustRoot names the block from which an enclave follows the chain.
type TrustRoot struct {
	Height int64
	Hash   [32]byte
}

// Registration is R of the quadruple (Crust III.A): what a node says of itself when it joins. The evidence binds the keys,
// and the keys sign the rest.
type Registration struct {
	ChainID  string
	Account  Account
	SignKey  [32]byte // Ed25519 public key, fresh at each start
	KEMKey   [32]byte // X25519 public key, fresh at each start
	Evidence Evidence
	Declared uint64    // bytes of storage that the sector table names
	Table    [32]byte  // root of the sector table: the free-space root
	Trust    TrustRoot // a recent block; also the evidence's challenge
}

// Binding is what the platform's quote signs: the only thing an enclave ever asks the hardware to vouch for.
type Binding struct {
	ChainID   string
	Account   Account
	Purpose   Purpose
	Challenge [32]byte // the trust root's hash when joining, Registration.Challenge in the exchange
	SignKey   [32]byte
	KEMKey    [32]byte
}

// Purpose says why evidence was made, so that evidence made for one exchange never serves in another.
type Purpose uint8

const (
	PurposeJoin    Purpose = 1 // evidence inside a registration
	PurposeEndorse Purpose = 2 // the endorser's evidence to the joiner
	PurposeAnswer  Purpose = 3 // the joiner's answer to the endorser
)

// ReportData is the 64 bytes that go into the quote.
func (b Binding) ReportData() [64]byte {
	var c cryptobyte.Builder
	addString(&c, domainBinding)
	addString(&c, b.ChainID)
	c.AddBytes(b.Account[:])
	c.AddUint8(uint8(b.Purpose))
	c.AddBytes(b.Challenge[:])
	c.AddBytes(b.SignKey[:])
	c.AddBytes(b.KEMKey[:])
	return sha512.Sum512(c.BytesOrPanic())
}

// Marshal returns the statement's one encoding.
func (r Registration) Marshal() []byte {
	var b cryptobyte.Builder
	addString(&b, domainRegistration)
	addString(&b, r.ChainID)
	b.AddBytes(r.Account[:])
	b.AddBytes(r.SignKey[:])
	b.AddBytes(r.KEMKey[:])
	r.Evidence.add(&b)
	b.AddUint64(r.Declared)
	b.AddBytes(r.Table[:])
	b.AddUint64(uint64(r.Trust.Height))
	b.AddBytes(r.Trust.Hash[:])
	return b.BytesOrPanic()
}

// UnmarshalRegistration reads what Marshal wrote and nothing else: another encoding of the same registration is refused.
func UnmarshalRegistration(p []byte) (Registration, error) {
	var r Registration
	if len(p) > MaxRegistration {
		return r, fmt.Errorf("%w: registration of %d bytes, at most %d", ErrMalformed, len(p), MaxRegistration)
	}
	s := cryptobyte.String(p)
	var height uint64
	ok := readDomain(&s, domainRegistration) &&
		readString(&s, &r.ChainID, MaxChainID) &&
		s.CopyBytes(r.Account[:]) &&
		s.CopyBytes(r.SignKey[:]) &&
		s.CopyBytes(r.KEMKey[:]) &&
		r.Evidence.read(&s) &&
		s.ReadUint64(&r.Declared) &&
		s.CopyBytes(r.Table[:]) &&
		s.ReadUint64(&height) &&
		s.CopyBytes(r.Trust.Hash[:]) &&
		s.Empty()
	if !ok || height == 0 || height > 1<<62 {
		return Registration{}, fmt.Errorf("%w: registration", ErrMalformed)
	}
	r.Trust.Height = int64(height)
	return r, nil
}

// Hash names a registration in the statements made about it.
func (r Registration) Hash() [32]byte { return sha256.Sum256(r.Marshal()) }

// Challenge is what evidence in the exchange about a registration must bind: which registration, and the endorser's fresh nonce. So
// neither side's evidence serves in another exchange.
func (r Registration) Challenge(nonce [32]byte) [32]byte {
	var b cryptobyte.Builder
	addString(&b, domainChallenge)
	h := r.Hash()
	b.AddBytes(h[:])
	b.AddBytes(nonce[:])
	return sha256.Sum256(b.BytesOrPanic())
}

// Quadruple is {R, Sig_M(R), Sig_V(R), Sig_M(Sig_V(R))}: M is the joining enclave, V the endorser that was drawn for it.
type Quadruple struct {
	R        Registration
	SigM     [64]byte
	Endorser Account
	SigV     [64]byte
	SigMV    [64]byte
}

// EndorsementBytes is what V signs: R by its hash, and who V is.
func EndorsementBytes(r Registration, endorser Account) []byte {
	var b cryptobyte.Builder
	addString(&b, domainEndorsement)
	h := r.Hash()
	b.AddBytes(h[:])
	b.AddBytes(endorser[:])
	return b.BytesOrPanic()
}

// ConfirmationBytes is what M signs of V's signature: M accepts this endorser and no other.
func ConfirmationBytes(r Registration, endorser Account, sigV [64]byte) []byte {
	var b cryptobyte.Builder
	addString(&b, domainConfirmation)
	h := r.Hash()
	b.AddBytes(h[:])
	b.AddBytes(endorser[:])
	b.AddBytes(sigV[:])
	return b.BytesOrPanic()
}

// VerifySelf checks Sig_M(R).
func (q Quadruple) VerifySelf() error {
	if !ed25519.Verify(q.R.SignKey[:], q.R.Marshal(), q.SigM[:]) {
		return fmt.Errorf("%w: Sig_M(R) is not by the key that R names", ErrSignature)
	}
	return nil
}

// VerifyEndorsed checks all three signatures; endorserKey is the signing key under which the chain knows the endorser.
func (q Quadruple) VerifyEndorsed(endorserKey [32]byte) error {
	if err := q.VerifySelf(); err != nil {
		return err
	}
	if !ed25519.Verify(endorserKey[:], EndorsementBytes(q.R, q.Endorser), q.SigV[:]) {
		return fmt.Errorf("%w: Sig_V(R) is not by the endorser's registered key", ErrSignature)
	}
	if !ed25519.Verify(q.R.SignKey[:], ConfirmationBytes(q.R, q.Endorser, q.SigV), q.SigMV[:]) {
		return fmt.Errorf("%w: Sig_M(Sig_V(R)) is not by the key that R names", ErrSignature)
	}
	return nil
}

// ErrSignature is the kind of every signature that does not verify.
var ErrSignature = errors.New("bad signature")

func addString(b *cryptobyte.Builder, s string) {
	b.AddUint16LengthPrefixed(func(b *cryptobyte.Builder) { b.AddBytes([]byte(s)) })
}

func readString(s *cryptobyte.String, out *string, limit int) bool {
	var v cryptobyte.String
	if !s.ReadUint16LengthPrefixed(&v) || len(v) > limit {
		return false
	}
	*out = string(v)
	return true
}

func readDomain(s *cryptobyte.String, want string) bool {
	var got string
	return readString(s, &got, len(want)) && got == want
}
