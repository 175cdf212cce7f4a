package attestation

import (
	"bytes"
	"crypto/ed25519"
	"errors"
	"strings"
	"testing"
)

func testDevice() ed25519.PrivateKey {
	seed := named("device")
	return ed25519.NewKeyFromSeed(seed[:])
}

func testRegistration() Registration {
	r := Registration{ChainID: testChain, Account: Account{1}, SignKey: named("sign"), KEMKey: named("kem"), Declared: 5, Table: named("table"),
		Trust: TrustRoot{Height: 7, Hash: named("block")}}
	r.Evidence = SimQuote{Measurement: named("program"), ReportData: r.Binding(PurposeJoin, r.Trust.Hash).ReportData()}.Evidence(testDevice())
	return r
}

func TestVerifySim(t *testing.T) {
	q := SimQuote{Measurement: named("program"), ReportData: [64]byte{1, 2}, Debug: true}
	e := q.Evidence(testDevice())
	c, err := Verify(e, 1)
	if err != nil {
		t.Fatal(err)
	}
	if c.Platform != PlatformSim || c.Measurement != q.Measurement || c.ReportData != q.ReportData || !c.Debug || c.NotAfter != 0 ||
		c.PlatformID == [32]byte{} {
		t.Errorf("claims %+v", c)
	}
	for i := range e.Quote { // every byte is covered by the signature
		forged := Evidence{Platform: PlatformSim, Quote: bytes.Clone(e.Quote)}
		forged.Quote[i] ^= 1
		if _, err := Verify(forged, 1); !errors.Is(err, ErrEvidence) {
			t.Fatalf("byte %d changed: %v", i, err)
		}
	}
	for name, change := range map[string]func(*Evidence){
		"cut":      func(e *Evidence) { e.Quote = e.Quote[:len(e.Quote)-1] },
		"longer":   func(e *Evidence) { e.Quote = append(bytes.Clone(e.Quote), 0) },
		"empty":    func(e *Evidence) { e.Quote = nil },
		"with log": func(e *Evidence) { e.Log = []byte{1} },
		"certs":    func(e *Evidence) { e.Certs = []byte{1} },
	} {
		x := e
		change(&x)
		if _, err := Verify(x, 1); !errors.Is(err, ErrEvidence) {
			t.Errorf("%s: %v", name, err)
		}
	}
	for _, p := range []Platform{0, PlatformTPM, PlatformSGX, PlatformTDX, PlatformSNP, 6, 255} {
		x := e
		x.Platform = p
		if _, err := Verify(x, 1); !errors.Is(err, ErrPlatform) {
			t.Errorf("%s: %v", p, err)
		}
	}
	if !strings.Contains(PlatformSim.String(), "INSECURE") {
		t.Error("the simulator is not labelled")
	}
}

func TestJudge(t *testing.T) {
	listed := []Listed{
		{PlatformSim, named("program"), TierHigh},
		{PlatformTPM, named("program"), TierHigh},
		{PlatformSGX, named("program"), TierHigh},
		{PlatformTDX, named("program"), TierLow},
		{PlatformSNP, named("program"), 3},
	}
	good := Claims{Platform: PlatformSGX, Measurement: named("program"), PlatformID: named("machine")}
	with := func(change func(*Claims)) Claims {
		c := good
		change(&c)
		return c
	}
	for name, tc := range map[string]struct {
		devnet bool
		c      Claims
		want   Tier // 0: refused
	}{
		"listed":                    {c: good, want: TierHigh},
		"listed low":                {c: with(func(c *Claims) { c.Platform = PlatformTDX }), want: TierLow},
		"listed without a tier":     {c: with(func(c *Claims) { c.Platform = PlatformSNP })},
		"another program":           {c: with(func(c *Claims) { c.Measurement[0] ^= 1 })},
		"another platform":          {c: with(func(c *Claims) { c.Platform = 9 })},
		"debug":                     {c: with(func(c *Claims) { c.Debug = true })},
		"debug in a devnet":         {devnet: true, c: with(func(c *Claims) { c.Debug = true })},
		"masked machine":            {c: with(func(c *Claims) { c.PlatformID = [32]byte{} }), want: TierLow},
		"TPM stays low":             {c: with(func(c *Claims) { c.Platform = PlatformTPM }), want: TierLow},
		"TPM in a devnet":           {devnet: true, c: with(func(c *Claims) { c.Platform = PlatformTPM }), want: TierHigh},
		"simulator":                 {c: with(func(c *Claims) { c.Platform = PlatformSim })},
		"simulator in a devnet":     {devnet: true, c: with(func(c *Claims) { c.Platform = PlatformSim }), want: TierHigh},
		"unlisted sim in a devnet":  {devnet: true, c: with(func(c *Claims) { c.Platform, c.Measurement = PlatformSim, named("other") })},
		"masked machine in devnets": {devnet: true, c: with(func(c *Claims) { c.PlatformID = [32]byte{} }), want: TierLow},
	} {
		got, err := Policy{Devnet: tc.devnet, Measurements: listed}.Judge(tc.c)
		if got != tc.want || (err != nil) != (tc.want == 0) || err != nil && !errors.Is(err, ErrPolicy) {
			t.Errorf("%s: tier %d, %v", name, got, err)
		}
	}
	if _, err := (Policy{}).Judge(good); !errors.Is(err, ErrPolicy) {
		t.Error("an empty list allows something")
	}
}

// Each field of a binding counts, and no two fields run into each other.
func TestBinding(t *testing.T) {
	b := Binding{ChainID: "a", Account: Account{2}, Purpose: PurposeJoin, Challenge: named(3), SignKey: named(4), KEMKey: named(5)}
	seen := map[[64]byte]string{b.ReportData(): "itself"}
	for name, change := range map[string]func(*Binding){
		"chain":     func(b *Binding) { b.ChainID = "b" },
		"account":   func(b *Binding) { b.Account[0]++ },
		"purpose":   func(b *Binding) { b.Purpose = PurposeEndorse },
		"challenge": func(b *Binding) { b.Challenge[0]++ },
		"sign key":  func(b *Binding) { b.SignKey[0]++ },
		"kem key":   func(b *Binding) { b.KEMKey[0]++ },
		"keys":      func(b *Binding) { b.SignKey, b.KEMKey = b.KEMKey, b.SignKey },
	} {
		x := b
		change(&x)
		if other, twice := seen[x.ReportData()]; twice {
			t.Errorf("%s has the report data of %s", name, other)
		}
		seen[x.ReportData()] = name
	}
}

// The checks that the transcript can't reach, because honest platforms of one kind play in it.
func TestExchangeChecks(t *testing.T) {
	r := testRegistration()
	if err := (Intent{Registration: r.Hash(), Account: r.Account}).CheckDrawn(r, Account{}); !errors.Is(err, ErrRefused) {
		t.Errorf("nobody is drawn: %v", err)
	}
	v := Node{Account: Account{2}, SignKey: named("v"), KEMKey: named("w"), Platform: PlatformSGX, Measurement: named("program"), PlatformID: named("m"), Expires: 9}
	good := Claims{Platform: v.Platform, Measurement: v.Measurement, PlatformID: v.PlatformID, ReportData: Binding{ChainID: r.ChainID, Account: v.Account,
		Purpose: PurposeEndorse, Challenge: r.Challenge(named("nonce")), SignKey: v.SignKey, KEMKey: v.KEMKey}.ReportData()}
	joined := Claims{Platform: PlatformSGX, Measurement: named("program"), PlatformID: named("m")}
	answer := joined
	answer.ReportData = r.Binding(PurposeAnswer, r.Challenge(named("nonce"))).ReportData()
	if err := CheckEndorser(r, v, good, named("nonce"), 8); err != nil {
		t.Error(err)
	}
	if err := CheckAnswer(r, joined, answer, named("nonce")); err != nil {
		t.Error(err)
	}
	for name, change := range map[string]func(*Claims){
		"debug":       func(c *Claims) { c.Debug = true },
		"platform":    func(c *Claims) { c.Platform = PlatformTDX },
		"measurement": func(c *Claims) { c.Measurement[0] ^= 1 },
		"machine":     func(c *Claims) { c.PlatformID[0] ^= 1 },
		"report data": func(c *Claims) { c.ReportData[0] ^= 1 },
	} {
		x, y := good, answer
		change(&x)
		change(&y)
		if err := CheckEndorser(r, v, x, named("nonce"), 8); !errors.Is(err, ErrRefused) {
			t.Errorf("endorser with other %s: %v", name, err)
		}
		if err := CheckAnswer(r, joined, y, named("nonce")); !errors.Is(err, ErrRefused) {
			t.Errorf("answer with other %s: %v", name, err)
		}
	}
	// Evidence of one exchange, or of one side of it, serves in no other.
	other := r
	other.Declared++
	asJoiner := r.Binding(PurposeAnswer, r.Challenge(named("nonce")))
	asJoiner.Account, asJoiner.SignKey, asJoiner.KEMKey = v.Account, v.SignKey, v.KEMKey
	swapped := good
	swapped.ReportData = asJoiner.ReportData()
	for name, err := range map[string]error{
		"endorser, another nonce":        CheckEndorser(r, v, good, named("other"), 8),
		"endorser, another registration": CheckEndorser(other, v, good, named("nonce"), 8),
		"endorser, its answer as joiner": CheckEndorser(r, v, swapped, named("nonce"), 8),
		"answer, another nonce":          CheckAnswer(r, joined, answer, named("other")),
		"answer, another registration":   CheckAnswer(other, joined, answer, named("nonce")),
		"answer, as endorser": func() error {
			x := joined
			x.ReportData = r.Binding(PurposeEndorse, r.Challenge(named("nonce"))).ReportData()
			return CheckAnswer(r, joined, x, named("nonce"))
		}(),
	} {
		if !errors.Is(err, ErrRefused) {
			t.Errorf("%s: %v", name, err)
		}
	}
	for name, change := range map[string]func(*Registration){
		"account":  func(r *Registration) { r.Account = Account{} },
		"sign key": func(r *Registration) { r.SignKey = [32]byte{} },
		"KEM key":  func(r *Registration) { r.KEMKey = [32]byte{} },
	} {
		x := r
		change(&x)
		c := Claims{ReportData: x.Binding(PurposeJoin, x.Trust.Hash).ReportData()}
		if err := CheckRegistration(x, c, testChain); !errors.Is(err, ErrRefused) {
			t.Errorf("zero %s: %v", name, err)
		}
	}
}

func TestRegistrationLimits(t *testing.T) {
	r := testRegistration()
	for name, change := range map[string]func(*Registration){
		"chain id":      func(r *Registration) { r.ChainID = strings.Repeat("c", MaxChainID+1) },
		"evidence":      func(r *Registration) { r.Evidence.Log = make([]byte, MaxEvidence) },
		"height 0":      func(r *Registration) { r.Trust.Height = 0 },
		"height":        func(r *Registration) { r.Trust.Height = 1<<62 + 1 },
		"height is < 0": func(r *Registration) { r.Trust.Height = -1 },
	} {
		x := r
		change(&x)
		if _, err := UnmarshalRegistration(x.Marshal()); !errors.Is(err, ErrMalformed) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := UnmarshalRegistration(make([]byte, MaxRegistration+1)); !errors.Is(err, ErrMalformed) {
		t.Error("an encoding above the limit was read")
	}
}

// The statements that keys sign begin with different domains, so that none is taken for another.
func TestStatementsDiffer(t *testing.T) {
	r := testRegistration()
	all := [][]byte{r.Marshal(), EndorsementBytes(r, Account{1}), ConfirmationBytes(r, Account{1}, [64]byte{}),
		Node{}.Marshal(), Intent{}.Marshal(), SimQuote{}.body(make([]byte, 32))}
	for i, a := range all {
		for j, b := range all {
			if n := 2 + int(a[1]); i != j && bytes.HasPrefix(b, a[:n]) {
				t.Errorf("statements %d and %d have one domain", i, j)
			}
		}
	}
	if bytes.Equal(NodeKey(Account{1}), IntentKey(Account{1})) {
		t.Error("two records have one key")
	}
}

// roundTrip holds a parser to its one encoding.
func roundTrip[T interface{ Marshal() []byte }](t *testing.T, in []byte, parse func([]byte) (T, error)) {
	v, err := parse(in)
	if err != nil {
		if !errors.Is(err, ErrMalformed) {
			t.Error(err)
		}
		return
	}
	if !bytes.Equal(v.Marshal(), in) {
		t.Errorf("%x parses but encodes as %x", in, v.Marshal())
	}
}

func FuzzRegistration(f *testing.F) {
	r := testRegistration()
	f.Add(r.Marshal())
	f.Add(Registration{Trust: TrustRoot{Height: 1}}.Marshal())
	f.Add([]byte{})
	f.Fuzz(func(t *testing.T, in []byte) {
		roundTrip(t, in, UnmarshalRegistration)
		if r, err := UnmarshalRegistration(in); err == nil {
			if c, err := Verify(r.Evidence, 0); err == nil {
				_ = CheckRegistration(r, c, testChain)
			}
			_ = Quadruple{R: r}.VerifyEndorsed([32]byte{})
		}
	})
}

func FuzzEvidence(f *testing.F) {
	f.Add(testRegistration().Evidence.Marshal())
	f.Add(Evidence{Platform: PlatformTDX, Quote: []byte{1}, Certs: []byte{2}, Log: []byte{3}}.Marshal())
	f.Add([]byte{})
	f.Fuzz(func(t *testing.T, in []byte) {
		roundTrip(t, in, UnmarshalEvidence)
		if e, err := UnmarshalEvidence(in); err == nil {
			if _, err := Verify(e, 0); err != nil && !errors.Is(err, ErrEvidence) && !errors.Is(err, ErrPlatform) {
				t.Error(err)
			}
		}
	})
}

func FuzzNode(f *testing.F) {
	f.Add(Node{Account: Account{1}, Platform: PlatformSim, Tier: TierLow, Joined: 1, Expires: 2}.Marshal())
	f.Add([]byte{})
	f.Fuzz(func(t *testing.T, in []byte) { roundTrip(t, in, UnmarshalNode) })
}

func FuzzIntent(f *testing.F) {
	f.Add(Intent{Account: Account{1}, Endorser: Account{2}, Announced: 1, Drawn: 2, Attempt: 3}.Marshal())
	f.Add([]byte{})
	f.Fuzz(func(t *testing.T, in []byte) { roundTrip(t, in, UnmarshalIntent) })
}
