package audit

import (
	"bytes"
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/cockroachdb/datadriven"

	"github.com/cella-network/cella/protocol/attestation"
	"github.com/cella-network/cella/protocol/storageproof"
)

const chainID = "audit-1"

func account(name string) (a attestation.Account) {
	copy(a[:], name)
	return a
}

// key is the enclave key of a name.
func key(name string) ed25519.PrivateKey {
	seed := sha256.Sum256([]byte(name))
	return ed25519.NewKeyFromSeed(seed[:])
}

func public(name string) [32]byte { return [32]byte(key(name).Public().(ed25519.PublicKey)) }

func rootCID() []byte {
	return storageproof.BlockKey{Codec: storageproof.CodecDagPB, Digest: sha256.Sum256([]byte("root"))}.CID()
}

func testCase() Case {
	c := Case{ID: 7, Height: 100, Deadline: 125, Answer: 10, Holder: account("holder"), Order: 3, Root: rootCID(), Quorum: 2}
	for _, name := range []string{"ann", "ben", "cat"} {
		c.Auditors = append(c.Auditors, Auditor{Account: account(name), Key: public(name)})
	}
	return c
}

func testVerdict() Verdict {
	return Verdict{ChainID: chainID, Case: 7, Auditor: account("ann"), Holder: account("holder"), Order: 3, Reason: ReasonOK,
		Block: rootCID(), Bytes: 1000, From: 101, To: 104}
}

// The transcripts follow cases from the draw to the outcome.
//
//	case [height=100] [deadline=125] [answer=10] [quorum=2] [auditors=ann,ben,cat] [holder=holder]
//	verdict auditor=ann found=ok|missing|slow [from=101 to=104] at=105 [signed=ann] [case=7] [order=3] [holder=holder] [chain=audit-1]
//	judge at=126
func TestTranscripts(t *testing.T) {
	datadriven.Walk(t, "testdata/transcripts", func(t *testing.T, path string) {
		var c Case
		var given []Verdict
		datadriven.RunTest(t, path, func(t *testing.T, d *datadriven.TestData) string {
			number := func(name string, missing int64) int64 {
				d.MaybeScanArgs(t, name, &missing)
				return missing
			}
			word := func(name, missing string) string {
				d.MaybeScanArgs(t, name, &missing)
				return missing
			}
			switch d.Cmd {
			case "case":
				c, given = testCase(), nil
				c.Height, c.Deadline, c.Answer = number("height", c.Height), number("deadline", c.Deadline), number("answer", c.Answer)
				c.Quorum, c.Holder = uint8(number("quorum", int64(c.Quorum))), account(word("holder", "holder"))
				if d.HasArg("auditors") {
					c.Auditors = nil
					for _, arg := range d.CmdArgs {
						for _, name := range arg.Vals {
							if arg.Key == "auditors" {
								c.Auditors = append(c.Auditors, Auditor{Account: account(name), Key: public(name)})
							}
						}
					}
				}
				if _, err := UnmarshalCase(c.Marshal()); err != nil {
					return "refused: " + err.Error() + "\n"
				}
				return "open\n"
			case "verdict":
				v := testVerdict()
				name := word("auditor", "ann")
				v.Auditor, v.From, v.To = account(name), number("from", 101), number("to", 104)
				v.Case, v.Order, v.Holder, v.ChainID = uint64(number("case", 7)), uint64(number("order", 3)), account(word("holder", "holder")), word("chain", chainID)
				v.Reason = map[string]Reason{"ok": ReasonOK, "missing": ReasonMissing, "slow": ReasonSlow}[word("found", "ok")]
				encoded := v.Marshal()
				got, err := c.Check(chainID, encoded, ed25519.Sign(key(word("signed", name)), encoded), number("at", 0))
				if err != nil {
					return "refused: " + err.Error() + "\n"
				}
				given = append(given, got)
				return "counted: " + got.Reason.String() + "\n"
			case "judge":
				if !c.Due(len(given), number("at", 0)) {
					return "open\n"
				}
				outcome, silent := c.Judge(given)
				out := outcome.String() + "\n"
				for _, a := range silent {
					out += "silent: " + strings.TrimRight(string(a[:]), "\x00") + "\n"
				}
				return out
			}
			d.Fatalf(t, "unknown command %q", d.Cmd)
			return ""
		})
	})
}

// TestEncodings pins both encodings: enclaves of every version sign and read them.
func TestEncodings(t *testing.T) {
	for name, c := range map[string]struct {
		encoded []byte
		want    string
	}{
		"case":    {testCase().Marshal(), "be82fb3a0394a651"},
		"verdict": {testVerdict().Marshal(), "66974810b1517e39"},
	} {
		sum := sha256.Sum256(c.encoded)
		if got := hex.EncodeToString(sum[:8]); got != c.want {
			t.Errorf("%s: %d bytes with hash %s, want %s", name, len(c.encoded), got, c.want)
		}
	}
	c, err := UnmarshalCase(testCase().Marshal())
	if err != nil || !bytes.Equal(c.Marshal(), testCase().Marshal()) {
		t.Errorf("case: %v", err)
	}
	v, err := UnmarshalVerdict(testVerdict().Marshal())
	if err != nil || !bytes.Equal(v.Marshal(), testVerdict().Marshal()) {
		t.Errorf("verdict: %v", err)
	}
}

func TestUnmarshalCaseRefuses(t *testing.T) {
	for name, change := range map[string]func(*Case){
		"no id":                        func(c *Case) { c.ID = 0 },
		"no height":                    func(c *Case) { c.Height = 0 },
		"huge height":                  func(c *Case) { c.Height = maxHeight + 1 },
		"negative height":              func(c *Case) { c.Height = -1 },
		"deadline at the draw":         func(c *Case) { c.Deadline = c.Height },
		"huge deadline":                func(c *Case) { c.Deadline = maxHeight + 1 },
		"no time to answer":            func(c *Case) { c.Answer = 0 },
		"quorum of half":               func(c *Case) { c.Quorum = 1 },
		"quorum beyond the auditors":   func(c *Case) { c.Quorum = 4 },
		"nobody":                       func(c *Case) { c.Auditors, c.Quorum = nil, 0 },
		"the holder as auditor":        func(c *Case) { c.Auditors[1].Account = c.Holder },
		"an auditor twice":             func(c *Case) { c.Auditors[1].Account = c.Auditors[0].Account },
		"too many":                     func(c *Case) { c.Auditors = many(MaxAuditors + 1); c.Quorum = 9 },
		"an inline root":               func(c *Case) { c.Root = []byte{1, storageproof.CodecRaw, 0, 1, 7} },
		"a root that is none":          func(c *Case) { c.Root = []byte("root") },
		"a root longer than a CID may": func(c *Case) { c.Root = bytes.Repeat([]byte{1}, maxRoot+1) },
	} {
		c := testCase()
		change(&c)
		if _, err := UnmarshalCase(c.Marshal()); !errors.Is(err, ErrMalformed) {
			t.Errorf("%s: %v", name, err)
		}
	}
	c := testCase()
	c.Auditors, c.Quorum = many(MaxAuditors), 8
	if _, err := UnmarshalCase(c.Marshal()); err != nil {
		t.Errorf("%d auditors: %v", MaxAuditors, err)
	}
	if p := c.Marshal(); len(p) > 4<<10 {
		t.Errorf("a full case has %d bytes: no proof can carry it to an enclave", len(p))
	}
	for n := range testCase().Marshal() {
		if _, err := UnmarshalCase(testCase().Marshal()[:n]); err == nil {
			t.Errorf("read %d bytes of a case", n)
		}
	}
	if _, err := UnmarshalCase(append(testCase().Marshal(), 0)); err == nil {
		t.Error("read a case with a tail")
	}
}

func many(n int) (out []Auditor) {
	for i := range n {
		out = append(out, Auditor{Account: account(fmt.Sprint("auditor ", i))})
	}
	return out
}

func TestUnmarshalVerdictRefuses(t *testing.T) {
	for name, change := range map[string]func(*Verdict){
		"no reason":       func(v *Verdict) { v.Reason = 0 },
		"unknown reason":  func(v *Verdict) { v.Reason = ReasonSlow + 1 },
		"no block":        func(v *Verdict) { v.Block = nil },
		"inline block":    func(v *Verdict) { v.Block = []byte{1, storageproof.CodecRaw, 0, 1, 7} },
		"long chain id":   func(v *Verdict) { v.ChainID = strings.Repeat("x", attestation.MaxChainID+1) },
		"huge from":       func(v *Verdict) { v.From = maxHeight + 1 },
		"negative height": func(v *Verdict) { v.To = -1 },
	} {
		v := testVerdict()
		change(&v)
		if _, err := UnmarshalVerdict(v.Marshal()); !errors.Is(err, ErrMalformed) {
			t.Errorf("%s: %v", name, err)
		}
	}
	for n := range testVerdict().Marshal() {
		if _, err := UnmarshalVerdict(testVerdict().Marshal()[:n]); err == nil {
			t.Errorf("read %d bytes of a verdict", n)
		}
	}
	if _, err := UnmarshalVerdict(append(testVerdict().Marshal(), 0)); err == nil {
		t.Error("read a verdict with a tail")
	}
}

// A signature over one statement is none over another, not even over one of the same bytes behind the domain.
func TestSignaturesAreSeparate(t *testing.T) {
	c, v := testCase(), testVerdict()
	encoded := v.Marshal()
	other := bytes.Replace(encoded, []byte(domainVerdict), []byte("cella/audit-verdict/v2"), 1)
	if _, err := c.Check(chainID, encoded, ed25519.Sign(key("ann"), other), 105); err == nil {
		t.Error("took a signature over another domain")
	}
	if _, err := c.Check(chainID, other, ed25519.Sign(key("ann"), other), 105); err == nil {
		t.Error("took a statement of another domain")
	}
	sig := ed25519.Sign(key("ann"), encoded)
	if _, err := c.Check(chainID, encoded, sig[:63], 105); err == nil {
		t.Error("took a short signature")
	}
	if _, err := c.Check(chainID, encoded, sig, 105); err != nil {
		t.Error(err)
	}
}

func TestIndependent(t *testing.T) {
	node := func(name string, platform attestation.Platform, id byte) attestation.Node {
		return attestation.Node{Account: account(name), Platform: platform, PlatformID: [32]byte{id}}
	}
	holder := node("holder", attestation.PlatformTPM, 1)
	for _, c := range []struct {
		name string
		n    attestation.Node
		want bool
	}{
		{"another machine", node("ann", attestation.PlatformTPM, 2), true},
		{"the same machine", node("ann", attestation.PlatformTPM, 1), false},
		{"the same id on another platform", node("ann", attestation.PlatformSGX, 1), true},
		{"the same account", node("holder", attestation.PlatformTPM, 3), false},
		{"the machine of another auditor", node("ann", attestation.PlatformTPM, 4), false},
		{"a machine without identity", node("ann", attestation.PlatformTPM, 0), true},
	} {
		if got := Independent(c.n, holder, node("ben", attestation.PlatformTPM, 4), node("cat", attestation.PlatformTPM, 0)); got != c.want {
			t.Errorf("%s: %v", c.name, got)
		}
	}
}

func FuzzCase(f *testing.F) {
	f.Add(testCase().Marshal())
	full := testCase()
	full.Auditors, full.Quorum = many(MaxAuditors), 8
	f.Add(full.Marshal())
	f.Fuzz(func(t *testing.T, p []byte) {
		c, err := UnmarshalCase(p)
		if err != nil {
			return
		}
		if !bytes.Equal(c.Marshal(), p) {
			t.Fatalf("%x reads as %+v, which has another encoding", p, c)
		}
		c.Judge(nil)
	})
}

func FuzzVerdict(f *testing.F) {
	v := testVerdict()
	f.Add(v.Marshal())
	v.Reason, v.Block = ReasonMissing, storageproof.BlockKey{Codec: storageproof.CodecRaw}.CID()
	f.Add(v.Marshal())
	c := testCase()
	f.Fuzz(func(t *testing.T, p []byte) {
		v, err := UnmarshalVerdict(p)
		if err != nil {
			return
		}
		if !bytes.Equal(v.Marshal(), p) {
			t.Fatalf("%x reads as %+v, which has another encoding", p, v)
		}
		if _, err := c.Check(chainID, p, make([]byte, 64), 105); err == nil {
			t.Fatal("took an unsigned verdict")
		}
	})
}
