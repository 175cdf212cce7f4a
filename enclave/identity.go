package enclave

import (
	"crypto/ecdh"
	"crypto/ed25519"
	"crypto/rand"
	"fmt"
)

// identity is the enclave's two keys, fresh at each start. Their seeds lie in secret memory; the standard library makes
// transient copies in the heap while it signs, which it alone can't avoid.
type identity struct {
	signSeed []byte // Ed25519
	kemSeed  []byte // X25519; no request uses it yet
	sign     [32]byte
	kem      [32]byte
}

func newIdentity(alloc func(int) []byte) (*identity, error) {
	id := &identity{signSeed: alloc(ed25519.SeedSize), kemSeed: alloc(32)}
	for _, seed := range [][]byte{id.signSeed, id.kemSeed} {
		if _, err := rand.Read(seed); err != nil {
			return nil, fmt.Errorf("no randomness: %w", err)
		}
	}
	key := ed25519.NewKeyFromSeed(id.signSeed)
	defer clear(key)
	copy(id.sign[:], key[ed25519.SeedSize:])
	kem, err := ecdh.X25519().NewPrivateKey(id.kemSeed)
	if err != nil {
		return nil, fmt.Errorf("X25519 key: %w", err)
	}
	copy(id.kem[:], kem.PublicKey().Bytes())
	return id, nil
}

// signature signs a statement whose first field is its domain.
func (id *identity) signature(statement []byte) [64]byte {
	key := ed25519.NewKeyFromSeed(id.signSeed)
	defer clear(key)
	return [64]byte(ed25519.Sign(key, statement))
}

func (id *identity) wipe() {
	clear(id.signSeed)
	clear(id.kemSeed)
}
