package attestation

import (
	"errors"
	"fmt"
)

// Kinds of refusal of evidence.
var (
	ErrPlatform = errors.New("platform not supported") // no verifier for this kind of evidence
	ErrEvidence = errors.New("bad evidence")           // the evidence does not verify
	ErrPolicy   = errors.New("refused by policy")      // it verifies, but governance does not allow it
)

// Claims is what verified evidence says.
type Claims struct {
	Platform    Platform
	Measurement [32]byte // of the program that runs
	PlatformID  [32]byte // of the machine; zero where the platform hides it
	ReportData  [64]byte // what the program asked the platform to sign: Binding.ReportData
	Debug       bool     // the machine's owner can look inside
	NotAfter    int64    // unix seconds up to which the collateral holds; 0: no end
}

// Verify checks evidence by its platform's rules; now is the block's time in unix seconds. It does not judge: claims
// that verify may still be of a program or machine that nobody wants.
func Verify(e Evidence, now int64) (Claims, error) {
	switch e.Platform {
	case PlatformSim:
		return verifySim(e)
	}
	return Claims{}, fmt.Errorf("%w: %s", ErrPlatform, e.Platform)
}

// Listed is a program that governance allows on one platform.
type Listed struct {
	Platform    Platform
	Measurement [32]byte
	Tier        Tier
}

// Policy is what governance decided about machines.
type Policy struct {
	Devnet       bool // the chain is a toy: the simulator may join
	Measurements []Listed
}

// Judge gives the tier that claims earn. Outside a devnet the simulator is refused and a TPM, which the machine's owner
// can tamper with, stays low; so does a machine that hides its identity, since it can't be counted.
func (p Policy) Judge(c Claims) (Tier, error) {
	refuse := func(why string) (Tier, error) { return 0, fmt.Errorf("%w: %s", ErrPolicy, why) }
	if c.Platform == PlatformSim && !p.Devnet {
		return refuse("the simulator is INSECURE and joins devnets only")
	}
	if c.Debug {
		return refuse("the enclave runs in debug mode")
	}
	for _, m := range p.Measurements {
		if m.Platform != c.Platform || m.Measurement != c.Measurement {
			continue
		}
		if m.Tier != TierLow && m.Tier != TierHigh {
			return refuse("the measurement is listed without a tier")
		}
		if c.Platform == PlatformTPM && !p.Devnet || c.PlatformID == [32]byte{} {
			return TierLow, nil
		}
		return m.Tier, nil
	}
	return refuse(fmt.Sprintf("measurement %x is not listed for %s", c.Measurement, c.Platform))
}
