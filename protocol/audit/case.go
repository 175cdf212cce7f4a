package audit

import (
	"bytes"
	"crypto/ed25519"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"

	"golang.org/x/crypto/cryptobyte"

	"github.com/cella-network/cella/protocol/attestation"
	"github.com/cella-network/cella/protocol/storageproof"
)

const (
	// MaxAuditors bounds the auditors of a case.
	MaxAuditors = 15
	// MaxDepth is the most blocks on a path from the root; a longer path ends there. Files and folders as people make them are
	// less deep.
	MaxDepth = 32

	maxRoot   = storageproof.MaxRoot // bytes of a binary CID
	maxHeight = 1 << 62

	domainCase    = "cella/audit-case/v1"
	domainVerdict = "cella/audit-verdict/v1"
)

var (
	// ErrMalformed is the kind of every decoding error of this package.
	ErrMalformed = errors.New("malformed audit record")
	// ErrRefused is the kind of every error about a verdict that breaks a rule.
	ErrRefused = errors.New("verdict refused")
)

// StoreName is the store of x/audit, shared with the enclaves that check proofs against it.
const StoreName = "audit"

// CaseKey is where x/audit keeps a Case.
func CaseKey(id uint64) []byte { return binary.BigEndian.AppendUint64([]byte{0x01}, id) }

// Auditor is a node that was drawn, with the key of the enclave that ran then.
type Auditor struct {
	Account attestation.Account
	Key     [32]byte // Ed25519
}

// Case is one audit as the chain draws it. It is stored in exactly this encoding, so that an auditor's enclave can check it with a
// store proof, and never changes.
type Case struct {
	ID       uint64 // from 1, one more for each case
	Height   int64  // of the block that drew it
	Deadline int64  // last block that takes a verdict
	Answer   int64  // blocks within which the holder must hand out all that an auditor asks for
	Holder   attestation.Account
	Order    uint64
	Root     []byte // binary CID of the order's root, which names a block
	Quorum   uint8  // auditors that must agree
	Auditors []Auditor
}

// Marshal returns the case's one encoding.
func (c Case) Marshal() []byte {
	var b cryptobyte.Builder
	addString(&b, domainCase)
	b.AddUint64(c.ID)
	b.AddUint64(uint64(c.Height))
	b.AddUint64(uint64(c.Deadline))
	b.AddUint64(uint64(c.Answer))
	b.AddBytes(c.Holder[:])
	b.AddUint64(c.Order)
	addBytes(&b, c.Root)
	b.AddUint8(c.Quorum)
	b.AddUint8(uint8(len(c.Auditors)))
	for _, a := range c.Auditors {
		b.AddBytes(a.Account[:])
		b.AddBytes(a.Key[:])
	}
	return b.BytesOrPanic()
}

// UnmarshalCase reads what Marshal wrote and nothing else.
func UnmarshalCase(p []byte) (Case, error) {
	var c Case
	var count uint8
	s := cryptobyte.String(p)
	ok := readDomain(&s, domainCase) && s.ReadUint64(&c.ID) && readHeight(&s, &c.Height) && readHeight(&s, &c.Deadline) &&
		readHeight(&s, &c.Answer) && s.CopyBytes(c.Holder[:]) && s.ReadUint64(&c.Order) && readBytes(&s, &c.Root, maxRoot) &&
		s.ReadUint8(&c.Quorum) && s.ReadUint8(&count)
	if !ok || count > MaxAuditors {
		return Case{}, fmt.Errorf("%w: case", ErrMalformed)
	}
	c.Auditors = make([]Auditor, count)
	for i := range c.Auditors {
		a := &c.Auditors[i]
		if !s.CopyBytes(a.Account[:]) || !s.CopyBytes(a.Key[:]) {
			return Case{}, fmt.Errorf("%w: case", ErrMalformed)
		}
	}
	if !s.Empty() {
		return Case{}, fmt.Errorf("%w: case", ErrMalformed)
	}
	return c, c.validate()
}

// validate refuses a case that no draw makes.
func (c Case) validate() error {
	if _, err := storageproof.ParseBlockKey(c.Root); err != nil {
		return fmt.Errorf("%w: root: %w", ErrMalformed, err)
	}
	if c.ID == 0 || c.Height < 1 || c.Answer < 1 || c.Deadline <= c.Height ||
		int(c.Quorum) > len(c.Auditors) || 2*int(c.Quorum) <= len(c.Auditors) {
		return fmt.Errorf("%w: case %d of block %d until %d, %d blocks to answer, quorum %d of %d",
			ErrMalformed, c.ID, c.Height, c.Deadline, c.Answer, c.Quorum, len(c.Auditors))
	}
	for i, a := range c.Auditors {
		if a.Account == c.Holder || slices.ContainsFunc(c.Auditors[:i], func(b Auditor) bool { return a.Account == b.Account }) {
			return fmt.Errorf("%w: an auditor is the holder or named twice", ErrMalformed)
		}
	}
	return nil
}

// Auditor gives an account's entry; ok is false for one that is no auditor of the case.
func (c Case) Auditor(account attestation.Account) (a Auditor, ok bool) {
	i := slices.IndexFunc(c.Auditors, func(a Auditor) bool { return a.Account == account })
	if i < 0 {
		return Auditor{}, false
	}
	return c.Auditors[i], true
}

// Due tells whether a case with so many verdicts is to be closed in the block at height now.
func (c Case) Due(verdicts int, now int64) bool {
	return verdicts == len(c.Auditors) || now > c.Deadline
}

// Check decides whether the block at height now takes a signed verdict. Errors are ErrMalformed and ErrRefused.
func (c Case) Check(chainID string, encoded, sig []byte, now int64) (Verdict, error) {
	refuse := func(format string, args ...any) (Verdict, error) {
		return Verdict{}, fmt.Errorf("%w: %s", ErrRefused, fmt.Sprintf(format, args...))
	}
	v, err := UnmarshalVerdict(encoded)
	if err != nil {
		return Verdict{}, err
	}
	auditor, ok := c.Auditor(v.Auditor)
	switch {
	case v.ChainID != chainID:
		return refuse("it is of chain %q", v.ChainID)
	case v.Case != c.ID || v.Holder != c.Holder || v.Order != c.Order:
		return refuse("it is about another case")
	case !ok:
		return refuse("its signer is no auditor of case %d", c.ID)
	case len(sig) != ed25519.SignatureSize || !ed25519.Verify(auditor.Key[:], encoded, sig):
		return refuse("it is not signed by the key that the auditor had when it was drawn")
	case now > c.Deadline:
		return refuse("the deadline of case %d was block %d", c.ID, c.Deadline)
	case v.From < c.Height || v.To < v.From || v.To > now:
		return refuse("it speaks of blocks %d to %d in block %d, the case is of block %d", v.From, v.To, now, c.Height)
	case v.Reason == ReasonOK && v.To-v.From > c.Answer || v.Reason != ReasonOK && v.To-v.From <= c.Answer:
		return refuse("%s after %d blocks, the holder has %d", v.Reason, v.To-v.From, c.Answer)
	}
	return v, nil
}

// Outcome is what became of a case.
type Outcome uint8

const (
	OutcomeOpen         Outcome = 0
	OutcomePassed       Outcome = 1
	OutcomeFailed       Outcome = 2
	OutcomeInconclusive Outcome = 3
)

func (o Outcome) String() string {
	switch o {
	case OutcomeOpen:
		return "open"
	case OutcomePassed:
		return "passed"
	case OutcomeFailed:
		return "failed"
	case OutcomeInconclusive:
		return "inconclusive"
	}
	return fmt.Sprintf("outcome %d", uint8(o))
}

// Judge decides a case by the verdicts that Check held, one an auditor, and names the auditors that were silent.
func (c Case) Judge(verdicts []Verdict) (o Outcome, silent []attestation.Account) {
	var passed, failed int
	for _, a := range c.Auditors {
		i := slices.IndexFunc(verdicts, func(v Verdict) bool { return v.Auditor == a.Account })
		switch {
		case i < 0:
			silent = append(silent, a.Account)
		case verdicts[i].Reason == ReasonOK:
			passed++
		default:
			failed++
		}
	}
	switch quorum := int(c.Quorum); {
	case failed >= quorum:
		return OutcomeFailed, silent
	case passed >= quorum:
		return OutcomePassed, silent
	}
	return OutcomeInconclusive, silent
}

// Quorum is how many of so many wanted auditors must agree: more than half.
func Quorum(wanted uint32) uint32 { return wanted/2 + 1 }

// Independent tells whether a node may audit beside the others, the holder among them: another account, on another machine. Machines
// without an identity can't be told apart.
func Independent(n attestation.Node, others ...attestation.Node) bool {
	return !slices.ContainsFunc(others, func(o attestation.Node) bool {
		return n.Account == o.Account ||
			n.PlatformID != [32]byte{} && n.Platform == o.Platform && bytes.Equal(n.PlatformID[:], o.PlatformID[:])
	})
}
