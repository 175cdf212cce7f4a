package attestation

import (
	"crypto/ed25519"
	"crypto/sha256"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/cockroachdb/datadriven"
)

const testChain = "transcript-1"

// machine makes evidence of the simulator's kind.
type machine struct{ device ed25519.PrivateKey }

// starter is an enclave's side of joining, played with the package's rules.
type starter struct {
	account Account
	machine string
	program string
	debug   bool
	sign    ed25519.PrivateKey
	kem     [32]byte
	r       Registration
	sigM    [64]byte

	challenged map[[32]byte][32]byte // V: nonce by registration
	answered   Account               // M: whom it answered
	key        [32]byte
}

type world struct {
	policy   Policy
	machines map[string]machine
	all      map[string]*starter
	starts   int
	nodes    map[Account]Node
	intents  map[Account]Intent
	evidence map[string]Evidence // by the name under which a step stored it
	sigs     map[string][64]byte
	nonces   byte
	head     int64
}

func named(parts ...any) [32]byte { return sha256.Sum256([]byte(fmt.Sprint(parts...))) }

func newWorld() *world {
	return &world{machines: map[string]machine{}, all: map[string]*starter{}, nodes: map[Account]Node{}, intents: map[Account]Intent{},
		evidence: map[string]Evidence{}, sigs: map[string][64]byte{}, head: 100}
}

func (w *world) start(name, account, onMachine, program string, debug bool) {
	w.starts++
	seed := named("key", w.starts)
	s := &starter{machine: onMachine, program: program, debug: debug, sign: ed25519.NewKeyFromSeed(seed[:]), kem: named("kem", w.starts),
		challenged: map[[32]byte][32]byte{}}
	h := named("account", account)
	copy(s.account[:], h[:])
	if _, ok := w.machines[onMachine]; !ok {
		seed := named("device", onMachine)
		w.machines[onMachine] = machine{ed25519.NewKeyFromSeed(seed[:])}
	}
	w.all[name] = s
}

func (s *starter) public() [32]byte { return [32]byte(s.sign.Public().(ed25519.PublicKey)) }

func (s *starter) signature(p []byte) [64]byte { return [64]byte(ed25519.Sign(s.sign, p)) }

func (w *world) attest(s *starter, purpose Purpose, challenge [32]byte) Evidence {
	b := Binding{ChainID: testChain, Account: s.account, Purpose: purpose, Challenge: challenge, SignKey: s.public(), KEMKey: s.kem}
	return SimQuote{Measurement: named("program", s.program), ReportData: b.ReportData(), Debug: s.debug}.Evidence(w.machines[s.machine].device)
}

// admit is the chain's verdict of R.
func (w *world) admit(s *starter) (Tier, error) {
	r, err := UnmarshalRegistration(s.r.Marshal())
	if err != nil {
		return 0, err
	}
	c, err := Verify(r.Evidence, 0)
	if err != nil {
		return 0, err
	}
	tier, err := w.policy.Judge(c)
	if err != nil {
		return 0, err
	}
	if err := CheckRegistration(r, c, testChain); err != nil {
		return 0, err
	}
	return tier, Quadruple{R: r, SigM: s.sigM}.VerifySelf()
}

// kind is an error without its figures.
func kind(err error) string {
	for _, k := range []error{ErrMalformed, ErrPlatform, ErrEvidence, ErrPolicy, ErrSignature, ErrRefused} {
		if errors.Is(err, k) {
			return err.Error()
		}
	}
	return "UNKNOWN KIND: " + err.Error()
}

func TestTranscript(t *testing.T) {
	datadriven.Walk(t, "testdata/transcript", func(t *testing.T, path string) {
		w := newWorld()
		datadriven.RunTest(t, path, func(t *testing.T, d *datadriven.TestData) string {
			out, err := w.step(t, d)
			if err != nil {
				return kind(err) + "\n"
			}
			return out + "\n"
		})
	})
}

// step plays one line of a transcript.
func (w *world) step(t *testing.T, d *datadriven.TestData) (string, error) {
	arg := func(key string) string {
		var v string
		d.MaybeScanArgs(t, key, &v)
		return v
	}
	who := func(key string) *starter {
		s, ok := w.all[arg(key)]
		if !ok {
			d.Fatalf(t, "%s names nobody", key)
		}
		return s
	}
	switch d.Cmd {
	case "policy":
		w.policy = Policy{Devnet: d.HasArg("devnet")}
		for _, line := range strings.Fields(d.Input) {
			f := strings.Split(line, "/") // platform/program/tier
			l := Listed{Measurement: named("program", f[1])}
			l.Platform = map[string]Platform{"sim": PlatformSim, "tpm": PlatformTPM, "sgx": PlatformSGX}[f[0]]
			l.Tier = map[string]Tier{"low": TierLow, "high": TierHigh}[f[2]]
			w.policy.Measurements = append(w.policy.Measurements, l)
		}
		return "ok", nil

	case "start": // name [account] [machine] [program] [debug]
		name := d.CmdArgs[0].Key
		or := func(key, other string) string {
			if v := arg(key); v != "" {
				return v
			}
			return other
		}
		w.start(name, or("account", name), or("machine", name), or("program", "cella"), d.HasArg("debug"))
		return "fresh keys", nil

	case "register": // by=M [alter=...]: M makes R; the chain judges it
		s := who("by")
		s.r = Registration{ChainID: testChain, Account: s.account, SignKey: s.public(), KEMKey: s.kem, Declared: 1 << 30, Table: named("table"),
			Trust: TrustRoot{Height: w.head, Hash: named("block", w.head)}}
		s.r.Evidence = w.attest(s, PurposeJoin, s.r.Trust.Hash)
		alter := func() {}
		switch arg("alter") {
		case "":
		case "keys":
			alter = func() { s.r.SignKey, s.r.KEMKey = s.r.KEMKey, s.r.SignKey }
		case "key":
			alter = func() { s.r.KEMKey[0] ^= 1 }
		case "account":
			alter = func() { s.r.Account[0] ^= 1 }
		case "chain":
			alter = func() { s.r.ChainID = "transcript-2" }
		case "declared":
			alter = func() { s.r.Declared *= 2 }
		case "trust":
			alter = func() { s.r.Trust.Hash[0] ^= 1 }
		case "evidence":
			alter = func() { s.r.Evidence.Quote[200] ^= 1 }
		case "purpose":
			s.r.Evidence = w.attest(s, PurposeEndorse, s.r.Trust.Hash)
		case "platform":
			s.r.Evidence.Platform = PlatformSGX
		case "nokey":
			s.kem = [32]byte{}
			s.r.KEMKey = s.kem
			s.r.Evidence = w.attest(s, PurposeJoin, s.r.Trust.Hash)
		default:
			d.Fatalf(t, "alter=%s", arg("alter"))
		}
		if !d.HasArg("after-signing") {
			alter()
		}
		s.sigM = s.signature(s.r.Marshal())
		if d.HasArg("after-signing") {
			alter()
		}
		tier, err := w.admit(s)
		if err != nil {
			return "", err
		}
		return fmt.Sprintf("the chain admits R at tier %d", tier), nil

	case "active": // name [expires]: the chain holds a Node for it
		s := w.all[d.CmdArgs[0].Key]
		c, _ := Verify(w.attest(s, PurposeJoin, [32]byte{}), 0)
		n := Node{Account: s.account, SignKey: s.public(), KEMKey: s.kem, Platform: c.Platform, Tier: TierHigh, Measurement: c.Measurement,
			PlatformID: c.PlatformID, Joined: 1, Expires: 1000}
		if e := arg("expires"); e != "" {
			_, _ = fmt.Sscan(e, &n.Expires)
		}
		got, err := UnmarshalNode(n.Marshal())
		w.nodes[s.account] = got
		return "ok", err

	case "draw": // for=M endorser=V: the chain draws
		m, v := who("for"), who("endorser")
		i := Intent{Registration: m.r.Hash(), Account: m.account, Endorser: v.account, Announced: w.head, Drawn: w.head + 1}
		got, err := UnmarshalIntent(i.Marshal())
		w.intents[m.account] = got
		return "ok", err

	case "challenge": // by=V for=M: V's side
		v, m := who("by"), who("for")
		if err := w.intents[m.account].CheckDrawn(m.r, v.account); err != nil {
			return "", err
		}
		if err := (Quadruple{R: m.r, SigM: m.sigM}).VerifySelf(); err != nil {
			return "", err
		}
		c, err := Verify(m.r.Evidence, 0)
		if err != nil {
			return "", err
		}
		if err := CheckRegistration(m.r, c, testChain); err != nil {
			return "", err
		}
		w.nonces++
		v.challenged[m.r.Hash()] = named("nonce", w.nonces)
		w.evidence["challenge"] = w.attest(v, PurposeEndorse, m.r.Challenge(v.challenged[m.r.Hash()]))
		return "nonce and evidence", nil

	case "answer": // by=M endorser=V [nonce-of=V] [keep=name]: M's side
		m, v := who("by"), who("endorser")
		if err := w.intents[m.account].CheckDrawn(m.r, v.account); err != nil {
			return "", err
		}
		c, err := Verify(w.evidence["challenge"], 0)
		if err != nil {
			return "", err
		}
		if err := CheckEndorser(m.r, w.nodes[v.account], c, v.challenged[m.r.Hash()], w.head); err != nil {
			return "", err
		}
		w.evidence["answer"] = w.attest(m, PurposeAnswer, m.r.Challenge(v.challenged[m.r.Hash()]))
		if k := arg("keep"); k != "" {
			w.evidence[k] = w.evidence["answer"]
		}
		m.answered, m.key = v.account, w.nodes[v.account].SignKey
		return "evidence over the nonce", nil

	case "endorse": // by=V for=M [with=evidence] [answered-by=X]: V's side
		v, m := who("by"), who("for")
		e := w.evidence["answer"]
		if k := arg("with"); k == "joining" {
			e = m.r.Evidence
		} else if k != "" {
			e = w.evidence[k]
		}
		if x := arg("answered-by"); x != "" {
			e = w.attest(w.all[x], PurposeAnswer, m.r.Challenge(v.challenged[m.r.Hash()]))
		}
		joined, err := Verify(m.r.Evidence, 0)
		if err != nil {
			return "", err
		}
		answered, err := Verify(e, 0)
		if err != nil {
			return "", err
		}
		if err := CheckAnswer(m.r, joined, answered, v.challenged[m.r.Hash()]); err != nil {
			return "", err
		}
		w.sigs["V"] = v.signature(EndorsementBytes(m.r, v.account))
		return "Sig_V(R)", nil

	case "confirm": // by=M: M's side
		m := who("by")
		sig := w.sigs["V"]
		if !ed25519.Verify(m.key[:], EndorsementBytes(m.r, m.answered), sig[:]) {
			return "", fmt.Errorf("%w: Sig_V(R) is not by whom M answered", ErrSignature)
		}
		w.sigs["MV"] = m.signature(ConfirmationBytes(m.r, m.answered, sig))
		return "Sig_M(Sig_V(R))", nil

	case "complete": // by=M endorser=V [alter=...]: the chain's last verdict
		m, v := who("by"), who("endorser")
		q := Quadruple{R: m.r, SigM: m.sigM, Endorser: v.account, SigV: w.sigs["V"], SigMV: w.sigs["MV"]}
		switch arg("alter") {
		case "sigm":
			q.SigM[0] ^= 1
		case "sigv":
			q.SigV[0] ^= 1
		case "sigmv":
			q.SigMV[0] ^= 1
		case "r":
			q.R.Declared++
		}
		if err := w.intents[m.account].CheckDrawn(q.R, v.account); err != nil {
			return "", err
		}
		if err := q.VerifyEndorsed(w.nodes[v.account].SignKey); err != nil {
			return "", err
		}
		return "registered", nil

	case "blocks":
		var n int64
		_, _ = fmt.Sscan(d.CmdArgs[0].Key, &n)
		w.head += n
		return fmt.Sprintf("head %d", w.head), nil
	}
	d.Fatalf(t, "unknown command")
	return "", nil
}
