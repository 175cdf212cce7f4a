package vault

import (
	"crypto/rand"
	"fmt"
	"io"
	"sync"

	"github.com/cella-network/cella/enclave/wire"
	"github.com/cella-network/cella/protocol/storageproof"
)

// BufferSize is what the buffer handed to Fill, Seal, Read or Move needs to hold, so that they allocate none.
const BufferSize = storageproof.UnitCells*(storageproof.CellSize+storageproof.DigestSize) + storageproof.TagSize

// maxLinks bounds how many links of dag-pb blocks a vault remembers, 33 bytes each: enough for 32 TiB in leaves of 1 MiB. A stranger's
// order may consist of almost nothing else, and would take as much memory as disk.
const maxLinks = 1 << 25

// maxOpen bounds the data sectors that are open at once, and with it what they keep in memory.
const maxOpen = 64

// Config is what a vault is made of.
type Config struct {
	ChainID    string
	Account    [20]byte
	Geometry   storageproof.Geometry
	SealingKey [32]byte           // from the platform, the same after a restart; the caller wipes its own copy
	Rand       io.Reader          // nil: crypto/rand
	Alloc      func(n int) []byte // memory for secrets, zeroed; nil: the heap
}

type phase uint8

const (
	fresh phase = iota
	restoring
	ready
	closed
)

// Vault is safe for concurrent use. Fill, Seal, Read and Move do their bulk work outside of its lock.
type Vault struct {
	cfg     Config
	secrets *keyring
	sealing []byte

	mu      sync.Mutex
	settled sync.Cond // a reservation was committed
	phase   phase

	slots  []*sector         // by slot, which is never used twice; nil: gone
	byID   map[uint32]uint32 // slot of a sector
	blocks map[storageproof.BlockKey]place
	links  map[storageproof.BlockKey][]storageproof.BlockKey // of blocks that have any
	linked int                                               // links of all of them
	flying map[storageproof.BlockKey]bool                    // blocks between reservation and commit
	stale  int                                               // places whose sector is gone

	orders  map[uint64]*order
	base    *snapshot   // the last accepted report, nil before the first
	pending []*snapshot // signed on top of base, oldest first

	drawn   int64              // heights up to here are drawn
	results []bool             // of the draws from the height behind the base's on
	signed  int64              // the highest height that a report was signed for, by this process
	last    wire.AcceptedReply // what the last Accepted answered

	wanted  map[uint32]*restoration // rows that wait for RestoreSector
	restore wire.RestoreEndReply    // what the last restore lost
}

// New makes a vault that waits for RestoreBegin.
func New(c Config) (*Vault, error) {
	if g, err := storageproof.NewGeometry(c.Geometry.SectorSize); err != nil || g != c.Geometry {
		return nil, refuse(wire.CodeInvalid, "geometry of %d byte sectors is not the protocol's", c.Geometry.SectorSize)
	}
	if c.Rand == nil {
		c.Rand = rand.Reader
	}
	v := &Vault{cfg: c, secrets: newKeyring(c.Alloc)}
	v.sealing = v.secrets.get()
	copy(v.sealing, c.SealingKey[:])
	clear(v.cfg.SealingKey[:])
	v.settled.L = &v.mu
	v.reset()
	return v, nil
}

// Close waits for what is being sealed and wipes all keys. Every later request is refused.
func (v *Vault) Close() {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.phase = closed
	for len(v.flying) > 0 {
		v.settled.Wait()
	}
	v.reset()
	v.secrets.wipe()
}

// Status tells the vault's part of the reply; the caller adds what it knows of the chain.
func (v *Vault) Status() wire.StatusReply {
	v.mu.Lock()
	defer v.mu.Unlock()
	r := wire.StatusReply{Drawn: v.drawn, Restored: v.phase == ready}
	if v.base != nil {
		r.Counter = v.base.counter
	}
	for _, o := range v.orders {
		if !o.dropping {
			r.Orders++
		}
	}
	for _, s := range v.named() {
		n := uint64(s.cells()) * storageproof.CellSize
		if s.kind == storageproof.KindFree {
			r.Free += n
		} else {
			r.Stored += n
		}
	}
	return r
}

// Table is what a registration declares: the bytes that count now and the root of the sector table.
func (v *Vault) Table() (declared uint64, root [32]byte, err error) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.settle()
	if err := v.want(ready); err != nil {
		return 0, root, err
	}
	t, _, err := v.table()
	if err != nil {
		return 0, root, err
	}
	return t.Free() + t.Stored(), t.Root(), nil
}

// Next is the height whose draw is owed next, 0 if none is: before the first accepted report.
func (v *Vault) Next() int64 {
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.phase != ready || v.base == nil {
		return 0
	}
	return v.drawn + 1
}

// SeedHeight is the height whose seed decides the draw of a height: see storageproof.Standing.
func (v *Vault) SeedHeight(height int64) int64 {
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.base == nil {
		return height
	}
	return storageproof.Standing{Since: v.base.since}.SeedHeight(height)
}

// want refuses unless the vault is in phase p. The lock is held.
func (v *Vault) want(p phase) error {
	switch {
	case v.phase == p:
		return nil
	case v.phase == closed:
		return refuse(wire.CodeState, "the vault is closed")
	case p == restoring:
		return refuse(wire.CodeState, "no restore has begun")
	default:
		return refuse(wire.CodeState, "the vault is not restored yet")
	}
}

// settle waits for what was being sealed when it was called. What a host was told is sealed may still queue behind a block
// that another goroutine encrypts. State must be looked at after it, not before.
func (v *Vault) settle() {
	targets := map[*sector]uint32{}
	for _, slot := range v.byID {
		if s := v.slots[slot]; s.open != nil && s.open.cells < s.open.reserved {
			targets[s] = s.open.reserved
		}
	}
	for s, target := range targets {
		for s.open != nil && s.open.cells < target {
			v.settled.Wait()
		}
	}
}

// reset forgets everything but the sealing key and what was signed.
func (v *Vault) reset() {
	for _, s := range v.slots {
		if s != nil {
			v.forget(s)
		}
	}
	for _, r := range v.wanted {
		if r.begun {
			v.secrets.put(r.key)
		}
	}
	v.slots, v.byID = nil, map[uint32]uint32{}
	v.blocks, v.flying, v.stale = map[storageproof.BlockKey]place{}, map[storageproof.BlockKey]bool{}, 0
	v.links, v.linked = map[storageproof.BlockKey][]storageproof.BlockKey{}, 0
	v.orders, v.base, v.pending = map[uint64]*order{}, nil, nil
	v.drawn, v.results, v.last = 0, nil, wire.AcceptedReply{}
	v.wanted, v.restore = nil, wire.RestoreEndReply{}
}

func refuse(code wire.Code, format string, args ...any) error {
	return &wire.Error{Code: code, Message: fmt.Sprintf(format, args...)}
}
