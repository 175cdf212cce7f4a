package attestation

import (
	"errors"
	"fmt"
)

// ErrRefused is the kind of every statement that is well-formed but does not fit the others.
var ErrRefused = errors.New("join refused")

func refused(format string, args ...any) error {
	return fmt.Errorf("%w: %s", ErrRefused, fmt.Sprintf(format, args...))
}

// CheckRegistration holds R against the claims of its own evidence: the platform vouched for these keys, for this account on
// this chain, after the block that R names as trust root. That the block is a recent one of this chain is for the
// chain to check.
func CheckRegistration(r Registration, c Claims, chainID string) error {
	if r.ChainID != chainID {
		return refused("registration for chain %q", r.ChainID)
	}
	if r.Account == (Account{}) || r.SignKey == [32]byte{} || r.KEMKey == [32]byte{} {
		return refused("zero account or key")
	}
	if c.ReportData != r.Binding(PurposeJoin, r.Trust.Hash).ReportData() {
		return refused("the evidence does not bind the registration's keys, account and trust root")
	}
	return nil
}

// Binding is what evidence of R's enclave must bind for a purpose and challenge.
func (r Registration) Binding(purpose Purpose, challenge [32]byte) Binding {
	return Binding{ChainID: r.ChainID, Account: r.Account, Purpose: purpose, Challenge: challenge, SignKey: r.SignKey, KEMKey: r.KEMKey}
}

// CheckDrawn says whether the chain drew this endorser for exactly this registration. Nobody endorses itself.
func (i Intent) CheckDrawn(r Registration, endorser Account) error {
	switch {
	case i.Account != r.Account || i.Registration != r.Hash():
		return refused("the intent is for another registration")
	case i.Endorser == Account{} || i.Endorser != endorser:
		return refused("the intent does not name this endorser")
	case endorser == r.Account:
		return refused("an enclave can't endorse itself")
	}
	return nil
}

// CheckEndorser is how M checks V before it answers: v is V's proven record, c the claims of V's evidence, nonce what came with
// it, head the height of the newest block that M trusts.
func CheckEndorser(r Registration, v Node, c Claims, nonce [32]byte, head int64) error {
	if v.Expires <= head {
		return refused("the endorser's registration ended at height %d", v.Expires)
	}
	if c.Debug || c.Platform != v.Platform || c.Measurement != v.Measurement || c.PlatformID != v.PlatformID {
		return refused("the endorser's evidence is not of the program and machine that the chain registered")
	}
	b := Binding{ChainID: r.ChainID, Account: v.Account, Purpose: PurposeEndorse, Challenge: r.Challenge(nonce), SignKey: v.SignKey, KEMKey: v.KEMKey}
	if c.ReportData != b.ReportData() {
		return refused("the endorser's evidence does not bind its keys, this registration and the nonce")
	}
	return nil
}

// CheckAnswer is how V checks M before it signs R: joined are the claims of R's own evidence, answered those of M's answer to
// V's nonce.
func CheckAnswer(r Registration, joined, answered Claims, nonce [32]byte) error {
	if answered.Debug {
		return refused("the answer comes from an enclave in debug mode")
	}
	if answered.Platform != joined.Platform || answered.Measurement != joined.Measurement || answered.PlatformID != joined.PlatformID {
		return refused("the answer comes from another program or machine than the registration")
	}
	if answered.ReportData != r.Binding(PurposeAnswer, r.Challenge(nonce)).ReportData() {
		return refused("the answer does not bind the registration's keys and the nonce")
	}
	return nil
}
