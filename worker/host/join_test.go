package host

import (
	"bytes"
	"crypto/ed25519"
	"errors"
	"net"
	"slices"
	"testing"

	"github.com/cella-network/cella/enclave"
	"github.com/cella-network/cella/enclave/tee"
	"github.com/cella-network/cella/enclave/wire"
	"github.com/cella-network/cella/protocol/attestation"
)

// member is a running enclave and what its host remembers.
type member struct {
	*Enclave
	c       *chain
	account attestation.Account
	self    wire.InitReply
	head    int64
	seeded  int64 // seeds up to here were taught
}

// local serves an enclave in this process.
func local(t testing.TB) *Enclave {
	t.Helper()
	ours, file, err := socketpair()
	if err != nil {
		t.Fatal(err)
	}
	theirs, err := net.FileConn(file)
	if err != nil {
		t.Fatal(err)
	}
	file.Close()
	ended := make(chan error, 1)
	go func() {
		ended <- enclave.Serve(theirs, enclave.Options{Version: "test", Open: tee.Sim([32]byte{0xce, 0x11, 0xa})})
	}()
	e := newEnclave(ours, func() {})
	t.Cleanup(func() {
		e.Close()
		if err := <-ended; err != nil {
			t.Error("the loop ended with", err)
		}
	})
	return e
}

func join(t testing.TB, c *chain, e *Enclave, account byte) *member {
	t.Helper()
	m := &member{Enclave: e, c: c, account: attestation.Account{account}, head: c.height()}
	m.must(c.init(account), &m.self)
	return m
}

func newMember(t testing.TB, c *chain, account byte) *member {
	t.Helper()
	m := join(t, c, local(t), account)
	m.must(&wire.RestoreBegin{Standing: c.prove("work", standingKey(m.account))}, &wire.Empty{})
	return m
}

func (m *member) must(req wire.Request, reply wire.Message) {
	m.c.t.Helper()
	if err := m.Call(testContext(m.c.t), req, reply); err != nil {
		m.c.t.Fatalf("%T: %v", req, err)
	}
}

// code is how a request is refused, 0 if it is not.
func (m *member) code(req wire.Request, reply wire.Message) wire.Code {
	m.c.t.Helper()
	err := m.Call(testContext(m.c.t), req, reply)
	var refusal *wire.Error
	if err != nil && !errors.As(err, &refusal) {
		m.c.t.Fatalf("%T: %v", req, err)
	}
	if err == nil {
		return 0
	}
	return refusal.Code
}

// catchUp follows to the newest block.
func (m *member) catchUp() {
	m.c.t.Helper()
	if m.head < m.c.height() {
		m.must(m.c.follow(m.head), new(wire.FollowReply))
		m.head = m.c.height()
	}
}

// learn takes the seeds that are new.
func (m *member) learn() {
	m.c.t.Helper()
	from := m.seeded + 1
	if m.seeded == 0 {
		from = m.c.height() - 1
	}
	if m.head > m.seeded+1 {
		var r wire.SeedsReply
		m.must(m.c.newest(from), &r)
		m.seeded = r.Tip
	}
}

// record is what the chain stores of a registered member.
func (m *member) record() attestation.Node {
	return attestation.Node{Account: m.account, SignKey: m.self.SignKey, KEMKey: m.self.KEMKey, Platform: attestation.Platform(m.self.Platform),
		Tier: attestation.TierHigh, Measurement: m.self.Measurement, PlatformID: m.self.PlatformID, Joined: 1, Expires: 10_000}
}

// ceremony is a join of m that v was drawn to endorse, up to where a test takes over.
type ceremony struct {
	c      *chain
	m, v   *member
	r      attestation.Registration
	reg    wire.RegisterReply
	intent attestation.Intent
	node   attestation.Node
}

func newCeremony(t *testing.T) *ceremony {
	t.Helper()
	c := newChain(t)
	j := &ceremony{c: c, m: newMember(t, c, 1), v: newMember(t, c, 2)}
	j.m.must(&wire.Register{}, &j.reg)
	var err error
	if j.r, err = attestation.UnmarshalRegistration(j.reg.Registration); err != nil {
		t.Fatal(err)
	}
	j.intent = attestation.Intent{Registration: j.r.Hash(), Account: j.m.account, Endorser: j.v.account, Announced: 3, Drawn: 4}
	j.node = j.v.record()
	return j
}

// publish puts intent and node on the chain and lets both follow.
func (j *ceremony) publish() {
	j.c.t.Helper()
	j.c.put("attest", attestation.IntentKey(j.m.account), j.intent.Marshal())
	j.c.put("attest", attestation.NodeKey(j.node.Account), j.node.Marshal())
	j.c.grow(2)
	j.m.catchUp()
	j.v.catchUp()
}

func (j *ceremony) proveIntent() wire.Proof {
	return j.c.prove("attest", attestation.IntentKey(j.m.account))
}

func (j *ceremony) proveNode() wire.Proof {
	return j.c.prove("attest", attestation.NodeKey(j.node.Account))
}

func (j *ceremony) challengeRequest() *wire.Challenge {
	return &wire.Challenge{Registration: j.reg.Registration, SigM: j.reg.SigM, Intent: j.proveIntent()}
}

func (j *ceremony) challenge() wire.ChallengeReply {
	j.c.t.Helper()
	var r wire.ChallengeReply
	j.v.must(j.challengeRequest(), &r)
	return r
}

func (j *ceremony) answerRequest(ch wire.ChallengeReply) *wire.Answer {
	return &wire.Answer{Nonce: ch.Nonce, Evidence: ch.Evidence, Endorser: j.proveNode(), Intent: j.proveIntent()}
}

func (j *ceremony) answer(ch wire.ChallengeReply) wire.AnswerReply {
	j.c.t.Helper()
	var r wire.AnswerReply
	j.m.must(j.answerRequest(ch), &r)
	return r
}

func TestJoin(t *testing.T) {
	j := newCeremony(t)
	j.publish()
	if claims, err := attestation.Verify(j.r.Evidence, 0); err != nil || attestation.CheckRegistration(j.r, claims, chainID) != nil {
		t.Fatal("the chain would refuse R:", err)
	}
	if j.r.Trust.Height != 3 || j.r.Trust.Hash != j.c.hash(3) {
		t.Error("the trust root is not the trusted head")
	}
	a := j.answer(j.challenge())
	var v wire.EndorseReply
	j.v.must(&wire.Endorse{Registration: j.r.Hash(), Evidence: a.Evidence}, &v)
	var m wire.ConfirmReply
	j.m.must(&wire.Confirm{SigV: v.SigV}, &m)
	q := attestation.Quadruple{R: j.r, SigM: j.reg.SigM, Endorser: j.v.account, SigV: v.SigV, SigMV: m.SigMV}
	if err := q.VerifyEndorsed(j.v.self.SignKey); err != nil {
		t.Error(err)
	}
}

// What V refuses to challenge.
func TestChallengeRefusals(t *testing.T) {
	for name, tc := range map[string]struct {
		before func(*ceremony)                  // before intent and node are on the chain
		change func(*ceremony, *wire.Challenge) // of the honest request
		want   wire.Code
	}{
		"honest":                  {want: 0},
		"another endorser drawn":  {before: func(j *ceremony) { j.intent.Endorser = attestation.Account{9} }, want: wire.CodeInvalid},
		"nobody drawn yet":        {before: func(j *ceremony) { j.intent.Endorser = attestation.Account{} }, want: wire.CodeInvalid},
		"intent for another R":    {before: func(j *ceremony) { j.intent.Registration[0] ^= 1 }, want: wire.CodeInvalid},
		"intent by another":       {before: func(j *ceremony) { j.intent.Account = attestation.Account{9} }, want: wire.CodeInvalid},
		"intent not on the chain": {change: func(j *ceremony, m *wire.Challenge) { m.Intent.Value = nil }, want: wire.CodeMalformed},
		"intent altered": {change: func(j *ceremony, m *wire.Challenge) {
			i := j.intent
			i.Attempt++
			m.Intent.Value = i.Marshal()
		}, want: wire.CodeInvalid},
		"proof of an old height": {change: func(j *ceremony, m *wire.Challenge) {
			j.c.grow(recentBlocks + 1)
			j.v.catchUp()
		}, want: wire.CodeInvalid},
		"proof just recent enough": {change: func(j *ceremony, m *wire.Challenge) {
			j.c.grow(recentBlocks - 1)
			j.v.catchUp()
		}, want: 0},
		"proof above the head": {change: func(j *ceremony, m *wire.Challenge) {
			j.c.grow(1)
			m.Intent = j.proveIntent()
		}, want: wire.CodeState},
		"registration altered": {change: func(j *ceremony, m *wire.Challenge) {
			r := j.r
			r.Declared++
			m.Registration = r.Marshal()
		}, want: wire.CodeInvalid},
		"registration is noise": {change: func(j *ceremony, m *wire.Challenge) { m.Registration = []byte("noise") }, want: wire.CodeMalformed},
		"Sig_M(R) altered":      {change: func(j *ceremony, m *wire.Challenge) { m.SigM[3] ^= 1 }, want: wire.CodeInvalid},
		"keys swapped in R, drawn and all": {before: func(j *ceremony) {
			j.r.SignKey, j.r.KEMKey = j.r.KEMKey, j.r.SignKey
			j.reg.Registration, j.intent.Registration = j.r.Marshal(), j.r.Hash()
		}, want: wire.CodeInvalid},
		"the host's own key under M's evidence, drawn and all": {before: func(j *ceremony) {
			key := ed25519.NewKeyFromSeed(make([]byte, 32))
			copy(j.r.SignKey[:], key.Public().(ed25519.PublicKey))
			j.reg.Registration, j.intent.Registration = j.r.Marshal(), j.r.Hash()
			copy(j.reg.SigM[:], ed25519.Sign(key, j.reg.Registration))
		}, want: wire.CodeInvalid},
		"trust root of another chain, drawn and all": {before: func(j *ceremony) {
			// A genuine enclave that follows a fork signs this R itself.
			fork := forkedChain(j.c.t, "another history")
			other := newMember(j.c.t, fork, 1)
			other.must(&wire.Register{}, &j.reg)
			j.r, _ = attestation.UnmarshalRegistration(j.reg.Registration)
			j.intent.Registration = j.r.Hash()
		}, want: wire.CodeInvalid},
		"V joins by its own word": {before: func(j *ceremony) {
			j.v.must(&wire.Register{}, &j.reg)
			j.r, _ = attestation.UnmarshalRegistration(j.reg.Registration)
			j.m, j.intent.Account, j.intent.Registration = j.v, j.v.account, j.r.Hash()
		}, want: wire.CodeInvalid},
	} {
		t.Run(name, func(t *testing.T) {
			j := newCeremony(t)
			if tc.before != nil {
				tc.before(j)
			}
			j.publish()
			req := j.challengeRequest()
			if tc.change != nil {
				tc.change(j, req)
			}
			if got := j.v.code(req, new(wire.ChallengeReply)); got != tc.want {
				t.Errorf("code %d, want %d", got, tc.want)
			}
		})
	}
}

const recentBlocks = 100

// Whom M refuses to answer.
func TestAnswerRefusals(t *testing.T) {
	for name, tc := range map[string]struct {
		before func(*ceremony)
		change func(*ceremony, *wire.Answer)
		want   wire.Code
	}{
		"honest":               {want: 0},
		"endorser expired":     {before: func(j *ceremony) { j.node.Expires = 5 }, want: wire.CodeInvalid},
		"another key on chain": {before: func(j *ceremony) { j.node.SignKey[0] ^= 1 }, want: wire.CodeInvalid},
		"another KEM key":      {before: func(j *ceremony) { j.node.KEMKey[0] ^= 1 }, want: wire.CodeInvalid},
		"another program":      {before: func(j *ceremony) { j.node.Measurement[0] ^= 1 }, want: wire.CodeInvalid},
		"another machine":      {before: func(j *ceremony) { j.node.PlatformID[0] ^= 1 }, want: wire.CodeInvalid},
		"another platform":     {before: func(j *ceremony) { j.node.Platform = attestation.PlatformTPM }, want: wire.CodeInvalid},
		"endorser unknown":     {change: func(j *ceremony, m *wire.Answer) { m.Endorser.Value = nil }, want: wire.CodeMalformed},
		"node record altered": {change: func(j *ceremony, m *wire.Answer) {
			n := j.node
			n.Expires++
			m.Endorser.Value = n.Marshal()
		}, want: wire.CodeInvalid},
		"old node record": {change: func(j *ceremony, m *wire.Answer) {
			j.c.grow(recentBlocks + 1)
			j.m.catchUp()
			m.Intent = j.proveIntent()
		}, want: wire.CodeInvalid},
		"old intent": {change: func(j *ceremony, m *wire.Answer) {
			j.c.grow(recentBlocks + 1)
			j.m.catchUp()
			m.Endorser = j.proveNode()
		}, want: wire.CodeInvalid},
		"not the endorser that was drawn": {change: func(j *ceremony, m *wire.Answer) {
			// The chain draws again; V answers for the draw that it remembers.
			j.intent.Endorser = attestation.Account{9}
			j.publish()
			m.Intent, m.Endorser = j.proveIntent(), j.proveNode()
		}, want: wire.CodeInvalid},
		"evidence for an earlier registration": {change: func(j *ceremony, m *wire.Answer) {
			j.m.must(&wire.Register{}, &j.reg)
			j.r, _ = attestation.UnmarshalRegistration(j.reg.Registration)
			j.intent.Registration = j.r.Hash()
			j.publish()
			m.Intent, m.Endorser = j.proveIntent(), j.proveNode()
		}, want: wire.CodeInvalid},
		"evidence for joining": {change: func(j *ceremony, m *wire.Answer) {
			var reg wire.RegisterReply
			j.v.must(&wire.Register{}, &reg)
			r, _ := attestation.UnmarshalRegistration(reg.Registration)
			m.Evidence = r.Evidence.Marshal()
		}, want: wire.CodeInvalid},
		"evidence for another nonce": {change: func(j *ceremony, m *wire.Answer) { m.Nonce[0] ^= 1 }, want: wire.CodeInvalid},
		"evidence of an earlier challenge": {change: func(j *ceremony, m *wire.Answer) {
			m.Nonce = j.challenge().Nonce
		}, want: wire.CodeInvalid},
		"evidence is forged": {change: func(j *ceremony, m *wire.Answer) { m.Evidence[len(m.Evidence)-10] ^= 1 }, want: wire.CodeInvalid},
		"evidence is noise":  {change: func(j *ceremony, m *wire.Answer) { m.Evidence = []byte{1} }, want: wire.CodeMalformed},
	} {
		t.Run(name, func(t *testing.T) {
			j := newCeremony(t)
			if tc.before != nil {
				tc.before(j)
			}
			j.publish()
			req := j.answerRequest(j.challenge())
			req.Evidence = slices.Clone(req.Evidence)
			if tc.change != nil {
				tc.change(j, req)
			}
			if got := j.m.code(req, new(wire.AnswerReply)); got != tc.want {
				t.Errorf("code %d, want %d", got, tc.want)
			}
		})
	}
}

// What V refuses to sign.
func TestEndorseRefusals(t *testing.T) {
	refuse := func(t *testing.T, j *ceremony, e wire.Endorse, want wire.Code) {
		t.Helper()
		if got := j.v.code(&e, new(wire.EndorseReply)); got != want {
			t.Errorf("code %d, want %d", got, want)
		}
	}
	start := func(t *testing.T) (*ceremony, wire.Endorse) {
		j := newCeremony(t)
		j.publish()
		return j, wire.Endorse{Registration: j.r.Hash(), Evidence: slices.Clone(j.answer(j.challenge()).Evidence)}
	}
	t.Run("a nonce serves once", func(t *testing.T) {
		j, e := start(t)
		refuse(t, j, e, 0)
		refuse(t, j, e, wire.CodeState)
	})
	t.Run("a failed answer spends the nonce", func(t *testing.T) {
		j, e := start(t)
		refuse(t, j, wire.Endorse{Registration: e.Registration, Evidence: []byte{1}}, wire.CodeMalformed)
		refuse(t, j, e, wire.CodeState)
	})
	t.Run("replayed evidence", func(t *testing.T) {
		j, e := start(t)
		j.challenge() // voids the nonce that was answered
		refuse(t, j, e, wire.CodeInvalid)
	})
	t.Run("evidence of joining", func(t *testing.T) {
		j, e := start(t)
		e.Evidence = j.r.Evidence.Marshal()
		refuse(t, j, e, wire.CodeInvalid)
	})
	t.Run("forged evidence", func(t *testing.T) {
		j, e := start(t)
		e.Evidence[40] ^= 1
		refuse(t, j, e, wire.CodeInvalid)
	})
	t.Run("never challenged", func(t *testing.T) {
		j, e := start(t)
		e.Registration[0] ^= 1
		refuse(t, j, e, wire.CodeState)
	})
	t.Run("answered by M's next start", func(t *testing.T) {
		j, e := start(t)
		restarted := newMember(t, j.c, 1) // same machine and account, fresh keys
		var reg wire.RegisterReply
		restarted.must(&wire.Register{}, &reg)
		r, _ := attestation.UnmarshalRegistration(reg.Registration)
		e.Evidence = r.Evidence.Marshal()
		refuse(t, j, e, wire.CodeInvalid)
	})
	t.Run("answered too late", func(t *testing.T) {
		j, e := start(t)
		j.c.grow(recentBlocks + 1)
		j.v.catchUp()
		refuse(t, j, e, wire.CodeState)
	})
}

// What M refuses to confirm.
func TestConfirmRefusals(t *testing.T) {
	j := newCeremony(t)
	j.publish()
	if got := j.m.code(&wire.Confirm{}, new(wire.ConfirmReply)); got != wire.CodeState {
		t.Errorf("before Answer: code %d", got)
	}
	a := j.answer(j.challenge())
	var v wire.EndorseReply
	j.v.must(&wire.Endorse{Registration: j.r.Hash(), Evidence: a.Evidence}, &v)
	if got := j.m.code(&wire.Confirm{SigV: j.reg.SigM}, new(wire.ConfirmReply)); got != wire.CodeInvalid {
		t.Errorf("a signature by M itself: code %d", got)
	}
	j.m.must(&wire.Confirm{SigV: v.SigV}, new(wire.ConfirmReply))
	j.m.must(&wire.Register{}, new(wire.RegisterReply))
	if got := j.m.code(&wire.Confirm{SigV: v.SigV}, new(wire.ConfirmReply)); got != wire.CodeState {
		t.Errorf("after another Register: code %d", got)
	}
	if got := newMember(t, j.c, 3).code(j.answerRequest(wire.ChallengeReply{}), new(wire.AnswerReply)); got != wire.CodeState {
		t.Errorf("Answer before Register: code %d", got)
	}
}

// Nonces are never the same, and every enclave has its own keys and the same machine's id.
func TestIdentities(t *testing.T) {
	j := newCeremony(t)
	j.publish()
	a, b := j.challenge(), j.challenge()
	if a.Nonce == b.Nonce || a.Nonce == [32]byte{} {
		t.Error("a nonce came twice")
	}
	again := newMember(t, j.c, 1)
	if again.self.SignKey == j.m.self.SignKey || again.self.KEMKey == j.m.self.KEMKey {
		t.Error("keys outlived a restart")
	}
	if again.self.PlatformID != j.m.self.PlatformID || again.self.PlatformID == j.v.self.PlatformID {
		t.Error("the platform id does not name the machine")
	}
	if !bytes.Equal(again.self.Measurement[:], j.v.self.Measurement[:]) {
		t.Error("one program has two measurements")
	}
}
