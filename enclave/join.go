package enclave

import (
	"crypto/ed25519"
	"crypto/rand"

	"github.com/cella-network/cella/enclave/vault"
	"github.com/cella-network/cella/enclave/wire"
	"github.com/cella-network/cella/protocol/attestation"
)

// maxChallenges bounds what V remembers of joins that may never go on; the oldest makes room.
const maxChallenges = 64

// joiner is what M remembers of its own join.
type joiner struct {
	r        *attestation.Registration // nil before the first Register
	endorser attestation.Account       // whom M answered
	key      [32]byte                  // that endorser's signing key, zero before the first Answer
}

// endorser is what V remembers of joins that it challenged, oldest first.
type endorser struct{ pending []challenge }

type challenge struct {
	hash   [32]byte // of r
	r      attestation.Registration
	claims attestation.Claims // of r's own evidence
	nonce  [32]byte
	height int64 // trusted head when the nonce was made
}

// put remembers a challenge; an earlier one for the same registration is void.
func (e *endorser) put(c challenge) {
	e.take(c.hash)
	if len(e.pending) == maxChallenges {
		e.pending = e.pending[1:]
	}
	e.pending = append(e.pending, c)
}

// take removes a challenge: each serves once.
func (e *endorser) take(hash [32]byte) (challenge, bool) {
	for i, c := range e.pending {
		if c.hash == hash {
			e.pending = append(e.pending[:i:i], e.pending[i+1:]...)
			return c, true
		}
	}
	return challenge{}, false
}

// now is the trusted head's time in unix seconds.
func (n *node) now() int64 { return n.chain.Head().Time / 1e9 }

// evidence binds this enclave's keys.
func (n *node) evidence(purpose attestation.Purpose, challenge [32]byte) (attestation.Evidence, error) {
	b := attestation.Binding{ChainID: n.chainID, Account: n.account, Purpose: purpose, Challenge: challenge, SignKey: n.id.sign, KEMKey: n.id.kem}
	e, err := n.platform.Attest(b.ReportData())
	if err != nil {
		return attestation.Evidence{}, refuse(wire.CodeInternal, "evidence: %v", err)
	}
	return e, nil
}

// register makes R and Sig_M(R).
func (n *node) register(v *vault.Vault) (wire.RegisterReply, error) {
	declared, table, err := v.Table()
	if err != nil {
		return wire.RegisterReply{}, err
	}
	head := n.chain.Head()
	e, err := n.evidence(attestation.PurposeJoin, head.Hash)
	if err != nil {
		return wire.RegisterReply{}, err
	}
	r := attestation.Registration{ChainID: n.chainID, Account: n.account, SignKey: n.id.sign, KEMKey: n.id.kem, Evidence: e,
		Declared: declared, Table: table, Trust: attestation.TrustRoot{Height: head.Height, Hash: head.Hash}}
	n.join = joiner{r: &r}
	encoded := r.Marshal()
	return wire.RegisterReply{Registration: encoded, SigM: n.id.signature(encoded)}, nil
}

// challenge is V's first step: it looks at R and gives a nonce.
func (n *node) challenge(m *wire.Challenge) (wire.ChallengeReply, error) {
	fail := func(err error) (wire.ChallengeReply, error) { return wire.ChallengeReply{}, err }
	r, err := attestation.UnmarshalRegistration(m.Registration)
	if err != nil {
		return fail(err)
	}
	if err := n.drawn(m.Intent, r, n.account); err != nil {
		return fail(err)
	}
	if err := (attestation.Quadruple{R: r, SigM: m.SigM}).VerifySelf(); err != nil {
		return fail(err)
	}
	claims, err := attestation.Verify(r.Evidence, n.now())
	if err != nil {
		return fail(err)
	}
	if err := attestation.CheckRegistration(r, claims, n.chainID); err != nil {
		return fail(err)
	}
	// A root below what V remembers is the chain's to check, which keeps the hashes of all roots that it takes.
	if hash, known := n.blockHash(r.Trust.Height); known && hash != r.Trust.Hash {
		return fail(refuse(wire.CodeInvalid, "the registration's trust root is not a block of this chain"))
	}
	c := challenge{hash: r.Hash(), r: r, claims: claims, height: n.chain.Head().Height}
	if _, err := rand.Read(c.nonce[:]); err != nil {
		return fail(refuse(wire.CodeInternal, "no randomness: %v", err))
	}
	e, err := n.evidence(attestation.PurposeEndorse, r.Challenge(c.nonce))
	if err != nil {
		return fail(err)
	}
	n.endorse.put(c)
	return wire.ChallengeReply{Nonce: c.nonce, Evidence: e.Marshal()}, nil
}

// answer is M's step: it checks V and answers the nonce.
func (n *node) answer(m *wire.Answer) (wire.AnswerReply, error) {
	fail := func(err error) (wire.AnswerReply, error) { return wire.AnswerReply{}, err }
	if n.join.r == nil {
		return fail(refuse(wire.CodeState, "Register comes first"))
	}
	v, err := attestation.UnmarshalNode(m.Endorser.Value)
	if err != nil {
		return fail(err)
	}
	if err := n.recent(m.Endorser); err != nil {
		return fail(err)
	}
	if err := n.proven(attestation.StoreName, attestation.NodeKey(v.Account), m.Endorser); err != nil {
		return fail(err)
	}
	if err := n.drawn(m.Intent, *n.join.r, v.Account); err != nil {
		return fail(err)
	}
	e, err := attestation.UnmarshalEvidence(m.Evidence)
	if err != nil {
		return fail(err)
	}
	claims, err := attestation.Verify(e, n.now())
	if err != nil {
		return fail(err)
	}
	if err := attestation.CheckEndorser(*n.join.r, v, claims, m.Nonce, n.chain.Head().Height); err != nil {
		return fail(err)
	}
	own, err := n.evidence(attestation.PurposeAnswer, n.join.r.Challenge(m.Nonce))
	if err != nil {
		return fail(err)
	}
	n.join.endorser, n.join.key = v.Account, v.SignKey
	return wire.AnswerReply{Evidence: own.Marshal()}, nil
}

// endorseR is V's last step: it signs R if its enclave answered the nonce.
func (n *node) endorseR(m *wire.Endorse) (wire.EndorseReply, error) {
	fail := func(err error) (wire.EndorseReply, error) { return wire.EndorseReply{}, err }
	c, ok := n.endorse.take(m.Registration)
	if !ok {
		return fail(refuse(wire.CodeState, "no open challenge for this registration"))
	}
	if head := n.chain.Head().Height; head-c.height > recentBlocks {
		return fail(refuse(wire.CodeState, "the challenge is more than %d blocks old", recentBlocks))
	}
	e, err := attestation.UnmarshalEvidence(m.Evidence)
	if err != nil {
		return fail(err)
	}
	claims, err := attestation.Verify(e, n.now())
	if err != nil {
		return fail(err)
	}
	if err := attestation.CheckAnswer(c.r, c.claims, claims, c.nonce); err != nil {
		return fail(err)
	}
	return wire.EndorseReply{SigV: n.id.signature(attestation.EndorsementBytes(c.r, n.account))}, nil
}

// confirm is M's last step: it signs V's signature if V is whom it answered.
func (n *node) confirm(m *wire.Confirm) (wire.ConfirmReply, error) {
	if n.join.r == nil || n.join.key == [32]byte{} {
		return wire.ConfirmReply{}, refuse(wire.CodeState, "Answer comes first")
	}
	if !ed25519.Verify(n.join.key[:], attestation.EndorsementBytes(*n.join.r, n.join.endorser), m.SigV[:]) {
		return wire.ConfirmReply{}, refuse(wire.CodeInvalid, "the signature is not by the endorser that was answered")
	}
	return wire.ConfirmReply{SigMV: n.id.signature(attestation.ConfirmationBytes(*n.join.r, n.join.endorser, m.SigV))}, nil
}

// drawn checks a recent proof that the chain drew an endorser for exactly this registration.
func (n *node) drawn(p wire.Proof, r attestation.Registration, by attestation.Account) error {
	if err := n.recent(p); err != nil {
		return err
	}
	if err := n.proven(attestation.StoreName, attestation.IntentKey(r.Account), p); err != nil {
		return err
	}
	i, err := attestation.UnmarshalIntent(p.Value)
	if err != nil {
		return err
	}
	return i.CheckDrawn(r, by)
}
