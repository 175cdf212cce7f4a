package enclave

import (
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"sync"
	"sync/atomic"

	"github.com/cella-network/cella/enclave/keyholder"
	"github.com/cella-network/cella/enclave/tee"
	"github.com/cella-network/cella/enclave/vault"
	"github.com/cella-network/cella/enclave/wire"
	"github.com/cella-network/cella/protocol/attestation"
	"github.com/cella-network/cella/protocol/lightclient"
	"github.com/cella-network/cella/protocol/storageproof"
	"github.com/cella-network/cella/protocol/threshold"
)

const (
	// trustingPeriod is how many seconds may lie between two heads. It is below the 21 days for which a validator that left
	// can still be punished.
	trustingPeriod = 14 * 24 * 60 * 60
	keepHeaders    = 100_000 // about 10 MB
	maxRows        = 1 << 20 // of the sector table, 256 TiB in sectors of 256 MiB; and orders
	recentBlocks   = 100     // how old a proof about joining or restoring may be, below the trusted head
)

// Options are what the enclave gets of its process.
type Options struct {
	Version string
	Open    tee.Open           // makes the platform of what Init brings
	Alloc   func(n int) []byte // zeroed memory for keys; nil: the heap
	Crash   func(cause any)    // ends the process after a panic, without showing secrets; nil: the runtime does
}

// Serve answers requests until the stream ends: nil when it was closed between two frames. It wipes all keys before it
// returns; the caller then ends the process.
func Serve(stream io.ReadWriteCloser, o Options) error {
	if o.Alloc == nil {
		o.Alloc = func(n int) []byte { return make([]byte, n) }
	}
	n := &node{options: o}
	l := newLoop(stream, vault.BufferSize, n.handle)
	l.crash = o.Crash
	err := l.run()
	_ = stream.Close()
	if err == nil { // else a lane may still be at work; the process ends right away
		n.close()
	}
	return err
}

// node is the enclave's state. Only the short lane touches it, except for the vault, which bulk requests go to directly, and what
// ceremony.go uses.
type node struct {
	options  Options
	chainID  string
	account  attestation.Account
	platform tee.Platform
	chain    *lightclient.Client
	id       *identity
	join     joiner
	endorse  endorser
	audits   audits
	seeds    seeds
	keys     *keyholder.Holder
	trust    sync.RWMutex                // held while chain moves, and by the slow lane while it reads it
	rows     []byte                      // parts of a RestoreBegin that go ahead of it
	orders   []wire.Order                // the same
	vault    atomic.Pointer[vault.Vault] // nil before Init
}

func (n *node) close() {
	if v := n.vault.Load(); v != nil {
		v.Close()
		n.keys.Close()
		n.id.wipe()
		_ = n.platform.Close()
	}
}

// handle answers one request.
func (n *node) handle(req wire.Request, work []byte) (wire.Message, error) {
	v := n.vault.Load()
	if init, ok := req.(*wire.Init); ok {
		if v != nil {
			return nil, refuse(wire.CodeState, "Init comes once")
		}
		return answer(n.init(init))
	}
	if v == nil {
		return nil, refuse(wire.CodeState, "Init comes first")
	}
	switch m := req.(type) {
	case *wire.Follow:
		return answer(n.follow(m))
	case *wire.History:
		return answer(n.history(m))
	case *wire.Seeds:
		return answer(n.learn(m))
	case *wire.Status:
		s := v.Status()
		s.Height, s.Oldest = n.chain.Head().Height, n.chain.Oldest()
		return &s, nil

	case *wire.Register:
		return answer(n.register(v))
	case *wire.Challenge:
		return answer(n.challenge(m))
	case *wire.Answer:
		return answer(n.answer(m))
	case *wire.Endorse:
		return answer(n.endorseR(m))
	case *wire.Confirm:
		return answer(n.confirm(m))

	case *wire.AuditBegin:
		return answer(n.auditBegin(m))
	case *wire.AuditBlock:
		return answer(n.auditBlock(m))
	case *wire.AuditEnd:
		return answer(n.auditEnd(m))

	case *wire.CeremonyBegin:
		return &wire.Empty{}, n.ceremonyBegin(m)
	case *wire.CeremonyFeed:
		return answer(n.ceremonyFeed(m))
	case *wire.CeremonyAct:
		return answer(n.ceremonyAct(m))
	case *wire.RepairBegin:
		return &wire.Empty{}, n.repairBegin(m)
	case *wire.RepairFeed:
		return answer(n.repairFeed(m))
	case *wire.RepairAct:
		return answer(n.repairAct(m))
	case *wire.Settle:
		return answer(n.settle(m))
	case *wire.Sign:
		return answer(n.sign(m))

	case *wire.Fill:
		return answer(v.Fill(*m, work))
	case *wire.Seal:
		return answer(v.Seal(*m, work))
	case *wire.Read:
		return answer(v.Read(*m, work))
	case *wire.Move:
		return answer(v.Move(*m, work))
	case *wire.Open:
		return answer(v.Open(*m))
	case *wire.Release:
		return &wire.Empty{}, v.Release(*m)
	case *wire.Complete:
		return answer(v.Complete(*m))
	case *wire.Drop:
		return &wire.Empty{}, v.Drop(*m)
	case *wire.Lose:
		return answer(v.Lose(*m))

	case *wire.Draw:
		return answer(n.draw(v, m))
	case *wire.Report:
		return answer(v.Report(n.chain.Head().Height, n.blockHash, n.id.signature))
	case *wire.Accepted:
		return answer(n.accepted(v, m))
	case *wire.RestoreBegin:
		return &wire.Empty{}, n.restore(v, m)
	case *wire.RestoreSector:
		return answer(v.RestoreSector(*m))
	case *wire.RestoreEnd:
		return answer(v.RestoreEnd())
	}
	return nil, refuse(wire.CodeMalformed, "request of kind %d is not served", req.Kind())
}

// answer lets a handler return its reply by value.
func answer[T any, P interface {
	*T
	wire.Message
}](reply T, err error) (wire.Message, error) {
	if err != nil {
		return nil, err
	}
	return P(&reply), nil
}

// init checks the trust root and makes the keys. Nothing stays when it fails, so that the host may try again.
func (n *node) init(m *wire.Init) (wire.InitReply, error) {
	fail := func(err error) (wire.InitReply, error) { return wire.InitReply{}, err }
	geometry, err := storageproof.NewGeometry(m.SectorSize)
	if err != nil {
		return fail(refuse(wire.CodeInvalid, "%v", err))
	}
	if m.Account == [20]byte{} {
		return fail(refuse(wire.CodeInvalid, "the account is zero"))
	}
	root, err := lightclient.ParseHeader(m.Header)
	if err != nil {
		return fail(err)
	}
	// The host picks the root. A registration names the head that was reached from it, and the chain takes only one that is its
	// own recent block; so a root on another chain leads nowhere.
	chain, err := lightclient.New(m.ChainID, root.Height, root.Hash,
		lightclient.Block{Header: m.Header, Commit: m.Commit, Validators: m.Validators},
		lightclient.Options{TrustingPeriod: trustingPeriod, Keep: keepHeaders})
	if err != nil {
		return fail(err)
	}
	platform, err := n.options.Open(m.Platform)
	if err != nil {
		return fail(refuse(wire.CodeInternal, "%v", err))
	}
	claims, err := ownClaims(platform, root.Time)
	if err != nil {
		_ = platform.Close()
		return fail(err)
	}
	sealing, err := platform.SealingKey("vault")
	if err != nil {
		_ = platform.Close()
		return fail(refuse(wire.CodeInternal, "sealing key: %v", err))
	}
	defer clear(sealing[:])
	v, err := vault.New(vault.Config{ChainID: m.ChainID, Account: m.Account, Geometry: geometry, SealingKey: sealing, Alloc: n.options.Alloc})
	if err != nil {
		_ = platform.Close()
		return fail(err)
	}
	id, err := newIdentity(n.options.Alloc)
	if err != nil {
		v.Close()
		_ = platform.Close()
		return fail(refuse(wire.CodeInternal, "%v", err))
	}
	n.chainID, n.account, n.platform, n.chain, n.id = m.ChainID, m.Account, platform, chain, id
	n.keys = keyholder.New(m.ChainID, m.Account, rand.Reader)
	n.vault.Store(v)
	return wire.InitReply{Version: n.options.Version, Platform: uint8(claims.Platform), PlatformID: claims.PlatformID,
		Measurement: claims.Measurement, SignKey: id.sign, KEMKey: id.kem}, nil
}

// ownClaims is what the network will read in this enclave's evidence. The report data of all zeros binds nothing.
func ownClaims(p tee.Platform, now int64) (attestation.Claims, error) {
	e, err := p.Attest([64]byte{})
	if err != nil {
		return attestation.Claims{}, refuse(wire.CodeInternal, "evidence: %v", err)
	}
	c, err := attestation.Verify(e, now/1e9)
	if err != nil {
		return attestation.Claims{}, refuse(wire.CodeInternal, "own evidence: %v", err)
	}
	return c, nil
}

func (n *node) follow(m *wire.Follow) (wire.FollowReply, error) {
	n.trust.Lock()
	defer n.trust.Unlock()
	if err := n.chain.Follow(m.Headers, m.Commit, m.Validators); err != nil {
		return wire.FollowReply{}, err
	}
	head := n.chain.Head()
	return wire.FollowReply{Height: head.Height, Hash: head.Hash}, nil
}

func (n *node) history(m *wire.History) (wire.HistoryReply, error) {
	n.trust.Lock()
	defer n.trust.Unlock()
	if err := n.chain.History(m.Headers); err != nil {
		return wire.HistoryReply{}, err
	}
	return wire.HistoryReply{Height: n.chain.Oldest()}, nil
}

func (n *node) blockHash(height int64) ([32]byte, bool) {
	h, ok := n.chain.Header(height)
	return h.Hash, ok
}

func (n *node) accepted(v *vault.Vault, m *wire.Accepted) (wire.AcceptedReply, error) {
	s, err := n.standing(m.Standing)
	if err != nil {
		return wire.AcceptedReply{}, err
	}
	if s == nil {
		return wire.AcceptedReply{}, refuse(wire.CodeInvalid, "the chain knows no report of this account")
	}
	return v.Accepted(*s)
}

// restore begins a restore, once all its parts are there.
func (n *node) restore(v *vault.Vault, m *wire.RestoreBegin) error {
	rows, orders := append(n.rows, m.Entries...), append(n.orders, m.Orders...)
	n.rows, n.orders = nil, nil
	if len(rows) > maxRows*storageproof.EntrySize || len(orders) > maxRows {
		return refuse(wire.CodeInvalid, "more than %d rows or orders", maxRows)
	}
	if m.More {
		n.rows, n.orders = rows, orders
		return nil
	}
	if err := n.recent(m.Standing); err != nil {
		return err
	}
	s, err := n.standing(m.Standing)
	if err != nil {
		return err
	}
	if !m.Lost {
		return v.RestoreBegin(s, rows, orders)
	}
	if len(rows) != 0 || len(orders) != 0 {
		return refuse(wire.CodeInvalid, "a lost disk has no rows and no orders")
	}
	return v.RestoreLost(s)
}

// standing is the proven standing of this account, nil if it is proven that the chain has none.
func (n *node) standing(p wire.Proof) (*storageproof.Standing, error) {
	if err := n.proven(storageproof.StoreName, storageproof.StandingKey(n.account), p); err != nil {
		return nil, err
	}
	if len(p.Value) == 0 {
		return nil, nil
	}
	s, err := storageproof.UnmarshalStanding(p.Value)
	if err != nil {
		return nil, err
	}
	return &s, nil
}

// proven checks that the chain's state after the proof's height holds its value, or nothing, at a key.
func (n *node) proven(store string, key []byte, p wire.Proof) error {
	return n.chain.Value(p.Height, store, key, p.Value, lightclient.Proof{Store: p.Store, Root: p.Root})
}

// recent refuses a proof of an old state, in which the host may prefer to live.
func (n *node) recent(p wire.Proof) error {
	if head := n.chain.Head().Height; p.Height < head-recentBlocks {
		return refuse(wire.CodeInvalid, "proof at height %d is more than %d blocks below the head %d", p.Height, recentBlocks, head)
	}
	return nil
}

func refuse(code wire.Code, format string, args ...any) error {
	return &wire.Error{Code: code, Message: fmt.Sprintf(format, args...)}
}

// refusal is an error as the host gets it. An error of an unknown kind is the enclave's own.
func refusal(err error) *wire.Error {
	var known *wire.Error
	code := wire.CodeInternal
	switch {
	case errors.As(err, &known):
		code = known.Code
	case errors.Is(err, wire.ErrMalformed), errors.Is(err, lightclient.ErrMalformed), errors.Is(err, attestation.ErrMalformed),
		errors.Is(err, threshold.ErrMalformed):
		code = wire.CodeMalformed
	case errors.Is(err, lightclient.ErrUnknown), errors.Is(err, keyholder.ErrState):
		code = wire.CodeState
	case errors.Is(err, keyholder.ErrRefused), errors.Is(err, threshold.ErrRefused), errors.Is(err, lightclient.ErrUntrusted), errors.Is(err, lightclient.ErrExpired), errors.Is(err, lightclient.ErrProof),
		errors.Is(err, attestation.ErrEvidence), errors.Is(err, attestation.ErrPlatform), errors.Is(err, attestation.ErrRefused),
		errors.Is(err, attestation.ErrSignature), errors.Is(err, storageproof.ErrReport), errors.Is(err, storageproof.ErrTable):
		code = wire.CodeInvalid
	}
	text := err.Error()
	if len(text) > 500 {
		text = text[:500]
	}
	return &wire.Error{Code: code, Message: text}
}
