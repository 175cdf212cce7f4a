package attestation

import (
	"crypto/ed25519"
	"crypto/sha256"
	"fmt"

	"golang.org/x/crypto/cryptobyte"
)

const domainSimQuote = "cella/simulator-quote/INSECURE/v1"

// SimQuote is the statement of a simulated platform. INSECURE: whoever holds the device key can state anything, and the
// host holds it. It exists so that a whole network runs on a machine without trusted hardware.
type SimQuote struct {
	Measurement [32]byte
	ReportData  [64]byte
	Debug       bool
}

// Evidence signs the statement with a device key. The platform id in its claims is the SHA-256 of the key's public half.
func (q SimQuote) Evidence(device ed25519.PrivateKey) Evidence {
	body := q.body(device.Public().(ed25519.PublicKey))
	return Evidence{Platform: PlatformSim, Quote: append(body, ed25519.Sign(device, body)...)}
}

// body is what the device signs; the signature follows it.
func (q SimQuote) body(device []byte) []byte {
	var b cryptobyte.Builder
	addString(&b, domainSimQuote)
	b.AddBytes(device)
	b.AddBytes(q.Measurement[:])
	b.AddBytes(q.ReportData[:])
	debug := uint8(0)
	if q.Debug {
		debug = 1
	}
	b.AddUint8(debug)
	return b.BytesOrPanic()
}

func verifySim(e Evidence) (Claims, error) {
	refuse := func(why string) (Claims, error) {
		return Claims{}, fmt.Errorf("%w: simulator quote: %s", ErrEvidence, why)
	}
	var q SimQuote
	var device [ed25519.PublicKeySize]byte
	var sig [ed25519.SignatureSize]byte
	var debug uint8
	s := cryptobyte.String(e.Quote)
	ok := readDomain(&s, domainSimQuote) &&
		s.CopyBytes(device[:]) &&
		s.CopyBytes(q.Measurement[:]) &&
		s.CopyBytes(q.ReportData[:]) &&
		s.ReadUint8(&debug) && debug <= 1 &&
		s.CopyBytes(sig[:]) &&
		s.Empty()
	if !ok || len(e.Certs) != 0 || len(e.Log) != 0 {
		return refuse("malformed")
	}
	q.Debug = debug == 1
	if !ed25519.Verify(device[:], q.body(device[:]), sig[:]) {
		return refuse("not signed by its device key")
	}
	return Claims{Platform: PlatformSim, Measurement: q.Measurement, PlatformID: sha256.Sum256(device[:]),
		ReportData: q.ReportData, Debug: q.Debug}, nil
}
