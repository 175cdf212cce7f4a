package main

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/rand"
	"crypto/sha256"
	"encoding/binary"
	"runtime"

	"github.com/cella-network/cella/enclave/vault"
	"github.com/cella-network/cella/enclave/wire"
	"github.com/cella-network/cella/protocol/storageproof"
)

const sectorSize = 256 << 20

// blocks are random and of 1 MiB each.
type blocks struct {
	data   []byte
	cids   [][]byte
	serial uint64
}

func newBlocks(n int) (*blocks, error) {
	b := &blocks{data: make([]byte, n*block), cids: make([][]byte, n)}
	_, err := rand.Read(b.data)
	return b, err
}

func (b *blocks) at(i int) []byte { return b.data[i*block : (i+1)*block] }

// renew makes blocks that no vault has seen.
func (b *blocks) renew() {
	for i := range b.cids {
		b.serial++
		binary.BigEndian.PutUint64(b.at(i), b.serial)
		sum := sha256.Sum256(b.at(i))
		b.cids[i] = append([]byte{1, 0x55, 0x12, 32}, sum[:]...)
	}
}

// limit is the least that is to be done with bytes.
type limit struct {
	block cipher.Block
	gcm   cipher.AEAD
	out   []byte
	sink  byte
}

func newLimit() (*limit, error) {
	c, err := aes.NewCipher(make([]byte, 32))
	if err != nil {
		return nil, err
	}
	g, err := cipher.NewGCM(c)
	return &limit{block: c, gcm: g, out: make([]byte, block+g.Overhead())}, err
}

// seal hashes and encrypts each block.
func (l *limit) seal(b *blocks) {
	var nonce [12]byte
	for i := range b.cids {
		l.sink ^= sha256.Sum256(b.at(i))[0]
		nonce[0]++
		l.gcm.Seal(l.out[:0], nonce[:], b.at(i), nil)
	}
}

// fill makes and hashes n blocks of random bytes.
func (l *limit) fill(n int) {
	var iv [16]byte
	for range n {
		iv[0]++
		out := l.out[:block]
		cipher.NewCTR(l.block, iv[:]).XORKeyStream(out, out)
		l.sink ^= sha256.Sum256(out)[0]
	}
}

// memory measures the vault alone.
func memory(rounds, size int) (seal, fill figures, err error) {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	g, err := storageproof.NewGeometry(sectorSize)
	if err != nil {
		return seal, fill, err
	}
	v, err := vault.New(vault.Config{ChainID: "bench", Geometry: g})
	if err != nil {
		return seal, fill, err
	}
	defer v.Close()
	if err := v.RestoreBegin(nil, nil, nil); err != nil {
		return seal, fill, err
	}
	b, err := newBlocks(size)
	if err != nil {
		return seal, fill, err
	}
	l, err := newLimit()
	if err != nil {
		return seal, fill, err
	}
	m := &memoryBench{vault: v, cells: g.DataCells, blocks: b, out: make([]byte, vault.BufferSize)}
	seal = compare(rounds, size*block, func() { b.renew() }, m.seal, func() { l.seal(b) })
	fill = compare(rounds, size*block, func() {}, m.fill, func() { l.fill(size) })
	return seal, fill, m.err
}

type memoryBench struct {
	vault  *vault.Vault
	cells  uint32
	sector uint32 // that is sealed or filled
	left   uint32 // cells left in it
	blocks *blocks
	out    []byte
	err    error // the first
}

func (m *memoryBench) failed(err error) bool {
	if m.err == nil {
		m.err = err
	}
	return m.err != nil
}

func (m *memoryBench) seal() {
	for i, cid := range m.blocks.cids {
		if m.left < block/storageproof.CellSize {
			m.sector, m.left = m.sector+1, m.cells
			if _, err := m.vault.Open(wire.Open{Sector: m.sector}); m.failed(err) {
				return
			}
		}
		r, err := m.vault.Seal(wire.Seal{Sector: m.sector, CID: cid, Data: m.blocks.at(i)}, m.out)
		if m.failed(err) {
			return
		}
		m.left -= uint32(len(r.Tags)) / storageproof.TagSize
	}
}

func (m *memoryBench) fill() {
	for range m.blocks.cids {
		r, err := m.vault.Fill(wire.Fill{Sector: 1<<30 + m.sector}, m.out)
		if m.failed(err) {
			return
		}
		if r.Done {
			m.sector++
		}
	}
}

// compare times both sides in turns, the first of them changing from round to round.
func compare(rounds, bytes int, before, ours, limit func()) figures {
	var a, l []float64
	for i := range rounds + 1 {
		before()
		var x, y float64
		if i%2 == 0 {
			x, y = threadTime(ours), threadTime(limit)
		} else {
			y, x = threadTime(limit), threadTime(ours)
		}
		if i > 0 { // the first warms up
			a, l = append(a, x), append(l, y)
		}
	}
	return medians(a, l, bytes)
}
