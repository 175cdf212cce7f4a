package tee

import (
	"bytes"
	"crypto/sha256"
	"os"
	"testing"

	"github.com/cella-network/cella/protocol/attestation"
)

func openSim(t *testing.T, measurement, fuse byte) Platform {
	t.Helper()
	f := bytes.Repeat([]byte{fuse}, FuseSize)
	p, err := Sim([32]byte{measurement})(f)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(f, make([]byte, FuseSize)) {
		t.Error("the fuse was not wiped")
	}
	return p
}

func claims(t *testing.T, p Platform, data [64]byte) attestation.Claims {
	t.Helper()
	e, err := p.Attest(data)
	if err != nil {
		t.Fatal(err)
	}
	c, err := attestation.Verify(e, 0)
	if err != nil {
		t.Fatal(err)
	}
	if c.ReportData != data || c.Platform != p.Kind() || c.Debug {
		t.Errorf("claims %+v", c)
	}
	return c
}

func key(t *testing.T, p Platform, info string) [32]byte {
	t.Helper()
	k, err := p.SealingKey(info)
	if err != nil || k == [32]byte{} {
		t.Fatal(k, err)
	}
	return k
}

func TestSim(t *testing.T) {
	a := openSim(t, 1, 1)
	again, upgraded, elsewhere := openSim(t, 1, 1), openSim(t, 2, 1), openSim(t, 1, 2)
	ca := claims(t, a, [64]byte{7})
	if ca.Measurement != [32]byte{1} || ca != claims(t, again, [64]byte{7}) {
		t.Error("the same program on the same machine makes other claims")
	}
	if claims(t, upgraded, [64]byte{7}).PlatformID != ca.PlatformID || claims(t, elsewhere, [64]byte{7}).PlatformID == ca.PlatformID {
		t.Error("the platform id does not name the machine")
	}
	if key(t, a, "x") != key(t, again, "x") {
		t.Error("the sealing key changed over a restart")
	}
	if key(t, a, "x") == key(t, a, "y") || key(t, a, "x") == key(t, upgraded, "x") || key(t, a, "x") == key(t, elsewhere, "x") {
		t.Error("a sealing key is shared by purposes, programs or machines")
	}
	for _, p := range []Platform{a, a} {
		if err := p.Close(); err != nil {
			t.Error(err)
		}
	}
	if _, err := a.Attest([64]byte{}); err == nil {
		t.Error("a closed platform attests")
	}
	if _, err := a.SealingKey("x"); err == nil {
		t.Error("a closed platform has keys")
	}
	for _, n := range []int{0, FuseSize - 1, FuseSize + 1} {
		if _, err := Sim([32]byte{})(make([]byte, n)); err == nil {
			t.Errorf("a fuse of %d bytes was taken", n)
		}
	}
}

func TestMeasure(t *testing.T) {
	path, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if got, err := Measure(); err != nil || got != sha256.Sum256(b) {
		t.Errorf("%x, %v", got, err)
	}
}
