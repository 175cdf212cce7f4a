package vault

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/hkdf"
	"crypto/sha256"
	"encoding/binary"
	"io"

	"golang.org/x/crypto/cryptobyte"

	"github.com/cella-network/cella/enclave/wire"
	"github.com/cella-network/cella/protocol/storageproof"
)

const keySize = 32

// keyring hands out keys from slabs of the platform's secret memory and wipes them when they come back.
type keyring struct {
	alloc func(int) []byte
	slabs [][]byte
	free  [][]byte
}

func newKeyring(alloc func(int) []byte) *keyring {
	if alloc == nil {
		alloc = func(n int) []byte { return make([]byte, n) }
	}
	return &keyring{alloc: alloc}
}

// get returns a key of zeros.
func (k *keyring) get() []byte {
	if len(k.free) == 0 {
		slab := k.alloc(4096)
		k.slabs = append(k.slabs, slab)
		for i := 0; i < len(slab); i += keySize {
			k.free = append(k.free, slab[i:i+keySize:i+keySize])
		}
	}
	b := k.free[len(k.free)-1]
	k.free = k.free[:len(k.free)-1]
	return b
}

func (k *keyring) put(b []byte) {
	clear(b)
	k.free = append(k.free, b)
}

func (k *keyring) wipe() {
	for _, s := range k.slabs {
		clear(s)
	}
}

// draw fills a fresh key from the vault's randomness.
func (v *Vault) draw() ([]byte, error) {
	k := v.secrets.get()
	if _, err := io.ReadFull(v.cfg.Rand, k); err != nil {
		v.secrets.put(k)
		return nil, refuse(wire.CodeInternal, "no randomness: %v", err)
	}
	return k, nil
}

func newGCM(key []byte) (cipher.AEAD, error) {
	b, err := aes.NewCipher(key)
	if err != nil {
		return nil, refuse(wire.CodeInternal, "cipher: %v", err)
	}
	g, err := cipher.NewGCM(b)
	if err != nil {
		return nil, refuse(wire.CodeInternal, "cipher: %v", err)
	}
	return g, nil
}

// A header page is magic, salt and the sector's key under a key derived from that salt; the rest is zeros. The wrapping key
// serves once, so its nonce is zero.
const (
	headerMagic = "cella/sector/v1\x00"
	saltSize    = 32
	wrapSize    = keySize + storageproof.TagSize
)

// header wraps a sector's key.
func (v *Vault) header(id uint32, key []byte) ([]byte, error) {
	page := make([]byte, storageproof.CellSize)
	n := copy(page, headerMagic)
	salt := page[n : n+saltSize]
	if _, err := io.ReadFull(v.cfg.Rand, salt); err != nil {
		return nil, refuse(wire.CodeInternal, "no randomness: %v", err)
	}
	g, err := v.wrapping(id, salt)
	if err != nil {
		return nil, err
	}
	n += saltSize
	g.Seal(page[n:n], make([]byte, g.NonceSize()), key, page[:n])
	return page, nil
}

// unwrap puts the key of a header page into key, which must be a zeroed one of the ring; it tells whether this vault made the page.
func (v *Vault) unwrap(id uint32, page, key []byte) bool {
	const n = len(headerMagic) + saltSize
	if len(page) != storageproof.CellSize {
		return false
	}
	g, err := v.wrapping(id, page[len(headerMagic):n])
	if err != nil {
		return false
	}
	_, err = g.Open(key[:0], make([]byte, g.NonceSize()), page[n:n+wrapSize], page[:n])
	return err == nil
}

// wrapping derives the key under which one opening of one sector of one account of one chain is wrapped.
func (v *Vault) wrapping(id uint32, salt []byte) (cipher.AEAD, error) {
	var info cryptobyte.Builder
	for _, s := range []string{"cella/sector-key/v1", v.cfg.ChainID} {
		info.AddUint16LengthPrefixed(func(b *cryptobyte.Builder) { b.AddBytes([]byte(s)) })
	}
	info.AddBytes(v.cfg.Account[:])
	info.AddUint32(id)
	k, err := hkdf.Key(sha256.New, v.sealing, salt, string(info.BytesOrPanic()), keySize)
	if err != nil {
		return nil, refuse(wire.CodeInternal, "key derivation: %v", err)
	}
	defer clear(k)
	return newGCM(k)
}

// cellNonce is a cell's index: unique under a sector's key because cells are only ever appended.
func cellNonce(n *[12]byte, cell uint32) []byte {
	binary.BigEndian.PutUint32(n[8:], cell)
	return n[:]
}
