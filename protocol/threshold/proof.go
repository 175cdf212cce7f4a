package threshold

import (
	"crypto/sha3"
	"io"

	blst "github.com/supranational/blst/bindings/go"
	"golang.org/x/crypto/cryptobyte"
)

// Domains separate what is hashed, proven and sent; each statement begins with its own.
const (
	domainSetup        = "cella/committee/setup/v1"
	domainRepair       = "cella/committee/repair/v1"
	domainKey          = "cella/committee/key/v1"
	domainDeal         = "cella/committee/deal/v1"
	domainComplaint    = "cella/committee/complaint/v1"
	domainReady        = "cella/committee/ready/v1"
	domainContribution = "cella/committee/contribution/v1"
	domainRepairState  = "cella/committee/repairing/v1"
	domainCeremony     = "cella/committee/ceremony/v1"
	domainTranscript   = "cella/committee/transcript/v1"
	domainPost         = "cella/committee/post/v1"
	domainGroup        = "cella/committee/group/v1"
	domainPad          = "cella/committee/pad/v1"
	domainBlind        = "cella/committee/blind/v1"
	domainBatch        = "cella/committee/batch/v1"
	domainBeacon       = "cella/beacon/v1"
	domainChallenge    = "CELLA-V1-COMMITTEE-CHALLENGE" // blst's tag for hashes to a scalar
)

// A proof shows that its maker knows the logarithm of each of some points to a base, and that pairs proven
// together have the same one (Schnorr; Chaum and Pedersen). The challenge covers a statement, which names who
// proves what in which ceremony: a proof is worth nothing under any other.
type proof struct {
	challenge scalar
	answers   []scalar
}

// relation is point = secret * base for each pair.
type relation struct{ bases, points []point }

func generator() point { return *blst.P1Generator().ToAffine() }

func challengeOf(statement []byte, rels []relation, commits []point) *scalar {
	b := append([]byte(nil), statement...)
	for _, r := range rels {
		for i := range r.points {
			b = append(append(b, r.bases[i].Compress()...), r.points[i].Compress()...)
		}
	}
	for i := range commits {
		b = append(b, commits[i].Compress()...)
	}
	return blst.HashToScalar(b, []byte(domainChallenge))
}

// prove shows rels[i] for secrets[i].
func prove(statement []byte, rels []relation, secrets []*scalar, random io.Reader) (proof, error) {
	nonces, err := randomScalars(random, len(rels))
	if err != nil {
		return proof{}, err
	}
	defer wipe(nonces)
	var commits []point
	for i, r := range rels {
		for j := range r.bases {
			commits = append(commits, *timesSecret(&r.bases[j], &nonces[i]))
		}
	}
	p := proof{challenge: *challengeOf(statement, rels, commits), answers: make([]scalar, len(rels))}
	for i := range rels {
		p.answers[i] = *secrets[i]
		p.answers[i].MulAssign(&p.challenge)
		p.answers[i].AddAssign(&nonces[i])
	}
	return p, nil
}

func (p proof) verify(statement []byte, rels []relation) bool {
	var minus scalar
	minus.SubAssign(&p.challenge)
	var commits []point
	for i, r := range rels {
		for j := range r.bases {
			var sum blst.P1
			sum.MultNAccumulate(&r.bases[j], &p.answers[i])
			sum.MultNAccumulate(&r.points[j], &minus)
			commits = append(commits, *sum.ToAffine())
		}
	}
	return challengeOf(statement, rels, commits).Equals(&p.challenge)
}

func (p proof) add(b *cryptobyte.Builder) {
	b.AddBytes(p.challenge.Serialize())
	for i := range p.answers {
		b.AddBytes(p.answers[i].Serialize())
	}
}

func (p *proof) read(s *cryptobyte.String, answers int) bool {
	p.answers = make([]scalar, answers)
	ok := readScalar(s, &p.challenge)
	for i := range p.answers {
		ok = ok && readScalar(s, &p.answers[i])
	}
	return ok
}

// sealing is who sends shares to whom in which ceremony, by which public keys. Nothing sealed for one is sealed for another.
type sealing struct {
	session  [32]byte
	from, to int
	a, b     *point // the sender's key, the receiver's
}

// stream is the bytes that only the two sides know: SHAKE256 of the Diffie-Hellman point.
func (l sealing) stream(domain string, shared *point, n int) []byte {
	var b cryptobyte.Builder
	addString(&b, domain)
	b.AddBytes(l.session[:])
	b.AddUint16(uint16(l.from))
	b.AddUint16(uint16(l.to))
	b.AddBytes(l.a.Compress())
	b.AddBytes(l.b.Compress())
	secret := shared.Compress()
	h := sha3.NewSHAKE256()
	h.Write(b.BytesOrPanic())
	h.Write(secret)
	out := make([]byte, n)
	h.Read(out)
	h.Reset()
	clear(secret)
	return out
}

// seal hides shares under the stream of the shared point.
func (l sealing) seal(shared *point, shares []scalar) []byte {
	out := l.stream(domainPad, shared, len(shares)*scalarSize)
	for i := range shares {
		b := shares[i].Serialize()
		for j := range b {
			out[i*scalarSize+j] ^= b[j]
		}
		clear(b)
	}
	return out
}

// open is the inverse of seal. It fails if a share is no scalar, which anyone who knows the shared point sees alike.
func (l sealing) open(shared *point, sealed []byte) ([]scalar, bool) {
	plain := l.stream(domainPad, shared, len(sealed))
	defer clear(plain)
	for i := range plain {
		plain[i] ^= sealed[i]
	}
	out := make([]scalar, len(plain)/scalarSize)
	for i := range out {
		if out[i].Deserialize(plain[i*scalarSize:][:scalarSize]) == nil {
			wipe(out)
			return nil, false
		}
	}
	return out, true
}

// blinds are the scalars that two helpers share in a repair.
func (l sealing) blinds(shared *point, n int) []scalar {
	b := l.stream(domainBlind, shared, n*64)
	defer clear(b)
	out := make([]scalar, n)
	for i := range out {
		out[i].FromBEndian(b[i*64:][:64])
	}
	return out
}

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

func readInt(s *cryptobyte.String, out *int, limit int) bool {
	var v uint16
	ok := s.ReadUint16(&v) && int(v) <= limit
	*out = int(v)
	return ok
}

func readScalar(s *cryptobyte.String, out *scalar) bool {
	var b []byte
	return s.ReadBytes(&b, scalarSize) && out.Deserialize(b) != nil
}

func readPoints(s *cryptobyte.String, out *[]point, n int) bool {
	*out = make([]point, n)
	for i := range *out {
		var b []byte
		ok := s.ReadBytes(&b, pointSize)
		if !ok {
			return false
		}
		if (*out)[i], ok = readPoint(b); !ok {
			return false
		}
	}
	return true
}

func readPubkeys(s *cryptobyte.String, out *[]pubkey, n int) bool {
	*out = make([]pubkey, n)
	for i := range *out {
		var b []byte
		ok := s.ReadBytes(&b, pubkeySize)
		if !ok {
			return false
		}
		if (*out)[i], ok = readPubkey(b); !ok {
			return false
		}
	}
	return true
}
