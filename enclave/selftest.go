package enclave

import (
	"bytes"
	"crypto/aes"
	"crypto/cipher"
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"

	blst "github.com/supranational/blst/bindings/go"
)

// SelfTest checks the primitives against published answers before the first key is made: a miscompiled or tampered
// primitive must not sign, seal or verify anything.
func SelfTest() error {
	return errors.Join(testSHA256(), testGCM(), testEd25519(), testBLS())
}

// FIPS 180-2, appendix B.1.
func testSHA256() error {
	sum := sha256.Sum256([]byte("abc"))
	return same("SHA-256", sum[:], "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad")
}

// McGrew and Viega, test case 14: AES-256-GCM of one zero block under a zero key and nonce.
func testGCM() error {
	block, err := aes.NewCipher(make([]byte, 32))
	if err != nil {
		return err
	}
	gcm, err := cipher.NewGCM(block)
	if err != nil {
		return err
	}
	sealed := gcm.Seal(nil, make([]byte, 12), make([]byte, 16), nil)
	if err := same("AES-256-GCM", sealed, "cea7403d4d606b6e074ec5d3baf39d18d0d1c8a799996bf0265b98b5d48ab919"); err != nil {
		return err
	}
	sealed[0] ^= 1
	if _, err := gcm.Open(nil, make([]byte, 12), sealed, nil); err == nil {
		return errors.New("self-test: AES-256-GCM opened forged ciphertext")
	}
	return nil
}

// RFC 8032, section 7.1, test 2.
func testEd25519() error {
	key := ed25519.NewKeyFromSeed(unhex("4ccd089b28ff96da9db6c346ec114e0f5b8a319f35aba624da8cf6ed4fb8a6fb"))
	sig := ed25519.Sign(key, []byte{0x72})
	if err := same("Ed25519", sig, "92a009a9f0d4cab8720e820b5f642540a2b27b5416503f8fb3762223ebdb69da"+
		"085ac1e43e15996e458f3613d0f11d8c387b2eaeb4302aeeb00d291612bb0c00"); err != nil {
		return err
	}
	if !ed25519.Verify(key.Public().(ed25519.PublicKey), []byte{0x72}, sig) || ed25519.Verify(key.Public().(ed25519.PublicKey), []byte{0x73}, sig) {
		return errors.New("self-test: Ed25519 verification is wrong")
	}
	return nil
}

// A signature of Ethereum's consensus test vectors (bls/sign): secret key 263dbd79...40e3, message of 32 zeros. Verifying it takes hashing to the
// curve, both groups and a pairing.
func testBLS() error {
	dst := []byte("BLS_SIG_BLS12381G2_XMD:SHA-256_SSWU_RO_POP_")
	secret := new(blst.SecretKey).Deserialize(unhex("263dbd792f5b1be47ed85f8938c0f29586af0d3ac7b977f21c278fe1462040e3"))
	if secret == nil {
		return errors.New("self-test: BLS12-381 key does not parse")
	}
	public := new(blst.P1Affine).From(secret)
	sig := new(blst.P2Affine).Uncompress(unhex("b6ed936746e01f8ecf281f020953fbf1f01debd5657c4a383940b020b26507f6" +
		"076334f91e2366c96e9ab279fb5158090352ea1c5b0c9274504f4f0e7053af24802e51e4568d164fe986834f41e55c8e850ce1f98458c0cfc9ab380b55285a55"))
	if sig == nil {
		return errors.New("self-test: BLS12-381 signature does not parse")
	}
	if !sig.Verify(true, public, true, make([]byte, 32), dst) {
		return errors.New("self-test: BLS12-381 signature does not verify")
	}
	if sig.Verify(true, public, true, make([]byte, 31), dst) {
		return errors.New("self-test: BLS12-381 verifies another message")
	}
	return nil
}

func same(what string, got []byte, want string) error {
	if !bytes.Equal(got, unhex(want)) {
		return fmt.Errorf("self-test: %s gives %x, want %s", what, got, want)
	}
	return nil
}

func unhex(s string) []byte {
	b, err := hex.DecodeString(s)
	if err != nil {
		panic(err) // the constants above
	}
	return b
}
