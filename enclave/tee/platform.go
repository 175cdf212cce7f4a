// Package tee is what the enclave needs of the machine that it runs on: evidence over 64 bytes of its choosing and a key
// that only the same program on the same machine gets again. Nothing above it knows which platform it is.
//
// The simulator is the only platform so far. It is INSECURE: a file of the host's plays the hardware.
package tee

import "github.com/cella-network/cella/protocol/attestation"

// Platform is safe for use by one goroutine at a time.
type Platform interface {
	Kind() attestation.Platform
	// Attest makes evidence that this program runs here and asked for reportData to be signed.
	Attest(reportData [64]byte) (attestation.Evidence, error)
	// SealingKey is the same for the same program, machine and info after each restart, and unknown to the host. The caller
	// wipes it.
	SealingKey(info string) ([32]byte, error)
	// Close wipes what the platform holds.
	Close() error
}

// Open makes a platform of the settings that the host sends with Init. It wipes the settings when it has read them.
type Open func(settings []byte) (Platform, error)
