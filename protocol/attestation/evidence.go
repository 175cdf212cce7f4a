package attestation

import (
	"fmt"

	"golang.org/x/crypto/cryptobyte"
)

// Platform is the kind of trusted hardware that made a piece of evidence.
type Platform uint8

const (
	PlatformSim Platform = 1 // INSECURE: a key in a file plays the hardware; refused outside a devnet
	PlatformTPM Platform = 2
	PlatformSGX Platform = 3
	PlatformTDX Platform = 4
	PlatformSNP Platform = 5
)

func (p Platform) String() string {
	switch p {
	case PlatformSim:
		return "simulator (INSECURE)"
	case PlatformTPM:
		return "tpm"
	case PlatformSGX:
		return "sgx"
	case PlatformTDX:
		return "tdx"
	case PlatformSNP:
		return "snp"
	}
	return fmt.Sprintf("platform(%d)", uint8(p))
}

// Evidence is what a platform hands out to prove what runs on it.
type Evidence struct {
	Platform Platform
	Quote    []byte // the signed statement: SGX/TDX quote, SNP report, TPM attest, simulator quote
	Certs    []byte // chain that the quote does not carry itself
	Log      []byte // event log, where registers must be replayed
}

// Marshal returns the evidence's one encoding.
func (e Evidence) Marshal() []byte {
	var b cryptobyte.Builder
	e.add(&b)
	return b.BytesOrPanic()
}

// UnmarshalEvidence reads what Marshal wrote.
func UnmarshalEvidence(p []byte) (Evidence, error) {
	s := cryptobyte.String(p)
	var e Evidence
	if !e.read(&s) || !s.Empty() {
		return Evidence{}, fmt.Errorf("%w: evidence", ErrMalformed)
	}
	return e, nil
}

func (e Evidence) add(b *cryptobyte.Builder) {
	b.AddUint8(uint8(e.Platform))
	for _, p := range [][]byte{e.Quote, e.Certs, e.Log} {
		b.AddUint24LengthPrefixed(func(b *cryptobyte.Builder) { b.AddBytes(p) })
	}
}

func (e *Evidence) read(s *cryptobyte.String) bool {
	var platform uint8
	if !s.ReadUint8(&platform) {
		return false
	}
	e.Platform = Platform(platform)
	total := 0
	for _, field := range []*[]byte{&e.Quote, &e.Certs, &e.Log} {
		var v cryptobyte.String
		if !s.ReadUint24LengthPrefixed(&v) {
			return false
		}
		total += len(v)
		if total > MaxEvidence {
			return false
		}
		*field = append([]byte(nil), v...)
	}
	return true
}
