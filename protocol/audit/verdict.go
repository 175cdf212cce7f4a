package audit

import (
	"fmt"

	"golang.org/x/crypto/cryptobyte"

	"github.com/cella-network/cella/protocol/attestation"
	"github.com/cella-network/cella/protocol/storageproof"
)

// Reason is what an auditor found.
type Reason uint8

const (
	ReasonOK      Reason = 1 // all blocks of the path came in time
	ReasonMissing Reason = 2 // a block did not come
	ReasonSlow    Reason = 3 // all came, but too late
)

func (r Reason) String() string {
	switch r {
	case ReasonOK:
		return "ok"
	case ReasonMissing:
		return "missing"
	case ReasonSlow:
		return "slow"
	}
	return fmt.Sprintf("reason %d", uint8(r))
}

// Verdict is what an auditor's enclave signs about a case.
type Verdict struct {
	ChainID string
	Case    uint64
	Auditor attestation.Account
	Holder  attestation.Account
	Order   uint64
	Reason  Reason
	Block   []byte // binary CID of the block that was asked for last
	Bytes   uint64 // of the blocks that came
	From    int64  // trusted head when the enclave began
	To      int64  // trusted head when the last block came, or when the enclave gave up
}

// Marshal returns the verdict's one encoding, which is what the enclave signs.
func (v Verdict) Marshal() []byte {
	var b cryptobyte.Builder
	addString(&b, domainVerdict)
	addString(&b, v.ChainID)
	b.AddUint64(v.Case)
	b.AddBytes(v.Auditor[:])
	b.AddBytes(v.Holder[:])
	b.AddUint64(v.Order)
	b.AddUint8(uint8(v.Reason))
	addBytes(&b, v.Block)
	b.AddUint64(v.Bytes)
	b.AddUint64(uint64(v.From))
	b.AddUint64(uint64(v.To))
	return b.BytesOrPanic()
}

// UnmarshalVerdict reads what Marshal wrote and nothing else.
func UnmarshalVerdict(p []byte) (Verdict, error) {
	var v Verdict
	var reason uint8
	s := cryptobyte.String(p)
	ok := readDomain(&s, domainVerdict) && readString(&s, &v.ChainID, attestation.MaxChainID) && s.ReadUint64(&v.Case) &&
		s.CopyBytes(v.Auditor[:]) && s.CopyBytes(v.Holder[:]) && s.ReadUint64(&v.Order) && s.ReadUint8(&reason) &&
		readBytes(&s, &v.Block, maxRoot) && s.ReadUint64(&v.Bytes) && readHeight(&s, &v.From) && readHeight(&s, &v.To) && s.Empty()
	v.Reason = Reason(reason)
	if !ok || v.Reason < ReasonOK || v.Reason > ReasonSlow {
		return Verdict{}, fmt.Errorf("%w: verdict", ErrMalformed)
	}
	if _, err := storageproof.ParseBlockKey(v.Block); err != nil {
		return Verdict{}, fmt.Errorf("%w: verdict: block: %w", ErrMalformed, err)
	}
	return v, nil
}

func addString(b *cryptobyte.Builder, s string) { addBytes(b, []byte(s)) }

func addBytes(b *cryptobyte.Builder, p []byte) {
	b.AddUint16LengthPrefixed(func(b *cryptobyte.Builder) { b.AddBytes(p) })
}

func readBytes(s *cryptobyte.String, out *[]byte, limit int) bool {
	var v cryptobyte.String
	if !s.ReadUint16LengthPrefixed(&v) || len(v) > limit {
		return false
	}
	*out = append([]byte(nil), v...)
	return true
}

func readString(s *cryptobyte.String, out *string, limit int) bool {
	var p []byte
	if !readBytes(s, &p, limit) {
		return false
	}
	*out = string(p)
	return true
}

func readDomain(s *cryptobyte.String, want string) bool {
	var got string
	return readString(s, &got, len(want)) && got == want
}

func readHeight(s *cryptobyte.String, out *int64) bool {
	var v uint64
	if !s.ReadUint64(&v) || v > maxHeight {
		return false
	}
	*out = int64(v)
	return true
}
