package tee

import (
	"crypto/ed25519"
	"crypto/hkdf"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/cella-network/cella/protocol/attestation"
)

// FuseSize is the length of the simulator's fuse file.
const FuseSize = 32

// Measure returns the measurement of the running program, which is the SHA-256 of its file. It must run before the process
// shuts itself off from the filesystem.
func Measure() ([32]byte, error) {
	f, err := os.Open("/proc/self/exe")
	if err != nil {
		return [32]byte{}, fmt.Errorf("measure: %w", err)
	}
	defer f.Close()
	h := sha256.New()
	if _, err := io.Copy(h, f); err != nil {
		return [32]byte{}, fmt.Errorf("measure: %w", err)
	}
	return [32]byte(h.Sum(nil)), nil
}

// sim plays a platform with a fuse of 32 bytes that the host keeps in a file. INSECURE: the host can read all that this
// enclave seals and can state anything in its name.
type sim struct {
	measurement [32]byte
	device      ed25519.PrivateKey
	root        []byte // of the sealing keys
}

// Sim opens simulators for a program of this measurement.
func Sim(measurement [32]byte) Open {
	return func(fuse []byte) (Platform, error) {
		defer clear(fuse)
		if len(fuse) != FuseSize {
			return nil, fmt.Errorf("simulator: fuse of %d bytes, want %d", len(fuse), FuseSize)
		}
		seed, err := hkdf.Key(sha256.New, fuse, nil, "cella/simulator/device/v1", ed25519.SeedSize)
		if err != nil {
			return nil, fmt.Errorf("simulator: %w", err)
		}
		defer clear(seed)
		root, err := hkdf.Key(sha256.New, fuse, measurement[:], "cella/simulator/sealing/v1", 32)
		if err != nil {
			return nil, fmt.Errorf("simulator: %w", err)
		}
		return &sim{measurement: measurement, device: ed25519.NewKeyFromSeed(seed), root: root}, nil
	}
}

func (s *sim) Kind() attestation.Platform { return attestation.PlatformSim }

func (s *sim) Attest(reportData [64]byte) (attestation.Evidence, error) {
	if s.device == nil {
		return attestation.Evidence{}, errClosed
	}
	return attestation.SimQuote{Measurement: s.measurement, ReportData: reportData}.Evidence(s.device), nil
}

func (s *sim) SealingKey(info string) ([32]byte, error) {
	if s.root == nil {
		return [32]byte{}, errClosed
	}
	k, err := hkdf.Expand(sha256.New, s.root, "cella/simulator/seal/v1:"+info, 32)
	if err != nil {
		return [32]byte{}, fmt.Errorf("simulator: %w", err)
	}
	defer clear(k)
	return [32]byte(k), nil
}

func (s *sim) Close() error {
	clear(s.device)
	clear(s.root)
	s.device, s.root = nil, nil
	return nil
}

var errClosed = errors.New("platform is closed")
