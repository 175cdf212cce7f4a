package lightclient

import (
	"crypto/sha512"

	"filippo.io/edwards25519"
)

// holds says whether an Ed25519 signature holds by ZIP 215, the rule by which consensus counts votes. crypto/ed25519 refuses some that it
// takes, and a validator can make such ones on purpose: a commit with just enough power to be one must not look like less to us.
//
// Nothing here is secret: the time it takes may vary.
func holds(key [32]byte, message, signature []byte) bool {
	a, err := new(edwards25519.Point).SetBytes(key[:])
	if err != nil {
		return false
	}
	r, err := new(edwards25519.Point).SetBytes(signature[:32])
	if err != nil {
		return false
	}
	s, err := new(edwards25519.Scalar).SetCanonicalBytes(signature[32:])
	if err != nil {
		return false
	}
	hash := sha512.New()
	hash.Write(signature[:32])
	hash.Write(key[:])
	hash.Write(message)
	k, err := new(edwards25519.Scalar).SetUniformBytes(hash.Sum(nil))
	if err != nil {
		return false
	}
	// [8](s B - k A - R) = 0
	sum := new(edwards25519.Point).VarTimeDoubleScalarBaseMult(k, a.Negate(a), s)
	sum.MultByCofactor(sum.Subtract(sum, r))
	return sum.Equal(edwards25519.NewIdentityPoint()) == 1
}
