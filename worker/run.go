package worker

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	sdk "github.com/cosmos/cosmos-sdk/types"
	"github.com/ipfs/go-cid"
	"github.com/libp2p/go-libp2p/core/host"
	"golang.org/x/sync/errgroup"

	"github.com/cella-network/cella/api/attest"
	"github.com/cella-network/cella/api/audit"
	"github.com/cella-network/cella/api/beacon"
	"github.com/cella-network/cella/api/committee"
	"github.com/cella-network/cella/api/market"
	"github.com/cella-network/cella/api/work"
	"github.com/cella-network/cella/client"
	"github.com/cella-network/cella/content"
	"github.com/cella-network/cella/enclave/wire"
	"github.com/cella-network/cella/protocol/attestation"
	"github.com/cella-network/cella/worker/disk"
)

// Chain is the node's view of the chain: blocks from a height, and values with proofs. *client.Chain is one.
type Chain interface {
	Latest(ctx context.Context) (int64, error)
	Wait(ctx context.Context, height int64) error
	Block(ctx context.Context, height int64) (client.Block, error)
	Headers(ctx context.Context, from, to int64) ([][]byte, error)
	Value(ctx context.Context, store string, key []byte, height int64) (client.Proof, error)
}

// Queries are the modules' own; the enclave believes none of their answers.
type Queries struct {
	Attest attest.QueryClient
	Work   work.QueryClient
	Market market.QueryClient
	Audit  audit.QueryClient
	Beacon beacon.QueryClient

	Committee committee.QueryClient // nil: the node takes part in no ceremony
}

// Poster puts messages on chain in the operator's name and returns when a block took them. *client.Account is one.
type Poster interface {
	Post(ctx context.Context, msgs ...sdk.Msg) (client.Result, error)
}

// Content fetches and announces DAGs and reaches other nodes. *content.Node is one.
type Content interface {
	Fetch(ctx context.Context, opts content.FetchOptions) (content.Stat, error)
	Provide(ctx context.Context, root cid.Cid) error
	Unprovide(root cid.Cid)
	Addrs() []string
	Host() host.Host
}

// Enclave answers requests until it ends. *host.Enclave is one.
type Enclave interface {
	Call(ctx context.Context, req wire.Request, reply wire.Message) error
	Done() <-chan struct{}
	Close() error
}

// Options are all that a Worker needs; none may be left out but Metrics, which then counts for nobody, Deny and Evidence.
type Options struct {
	ChainID  string
	Address  string   // the operator's, cella1...
	Account  [20]byte // the same in bytes
	Config   Config
	Dir      string // folder of the disk
	Platform []byte // what the enclave's platform needs of its host: the simulator's fuse
	Chain    Chain
	Queries  Queries
	Poster   Poster
	Content  Content
	Visit    func(ctx context.Context, from []string) (Visitor, error) // to multiaddrs, as a stranger
	Store    *Store
	Deny     *Denylists // nil denies nothing
	Evidence Evidence   // nil: there is none to post
	Start    func(ctx context.Context) (Enclave, error)
	Log      *slog.Logger
	Metrics  *Metrics
}

// Worker runs one storage node.
type Worker struct {
	Options
	free  func() (uint64, error) // bytes left for the disk; nil: the file system knows
	stall time.Duration          // how long a fetch waits for any block; 0: as content does
	again time.Duration          // first pause before an order is fetched again

	patience time.Duration // how long a shard's block may be late before it is made of others

	signer atomic.Pointer[session] // whose enclave makes partial signatures
}

// New prepares a worker; Run does the work.
func New(o Options) *Worker {
	if o.Metrics == nil {
		o.Metrics = NewMetrics(nil)
	}
	return &Worker{Options: o, again: againLeast, patience: rebuildPatience}
}

const (
	backoffLeast = time.Second
	backoffMost  = 30 * time.Second
	settled      = time.Minute // a session that lived this long begins with the least backoff again
)

// errStale says that the chain's standing moved on without this session: it must be restored anew.
var errStale = errors.New("the chain accepted a report of an earlier session")

// Run keeps a session alive until ctx ends, and then returns nil. A disk that another process uses is the only error.
func (w *Worker) Run(ctx context.Context) error {
	for wait := backoffLeast; ; wait = min(2*wait, backoffMost) {
		began := time.Now()
		err := w.session(ctx)
		if ctx.Err() != nil {
			return nil
		}
		if errors.Is(err, disk.ErrLocked) {
			return err
		}
		if time.Since(began) > settled || errors.Is(err, errStale) {
			wait = backoffLeast
		}
		w.Metrics.restarts.Inc()
		w.Log.Warn("storage session ended; starting again", told(err, "in", wait)...)
		if pause(ctx, wait) != nil {
			return nil
		}
	}
}

// session is one life of an enclave.
type session struct {
	*Worker
	enc   Enclave
	disk  *disk.Disk
	terms terms

	heads heads        // trusted headers
	root  int64        // height of the first of them
	seeds seeds        // of the heights that are drawn by
	gate  sync.RWMutex // sealing and filling hold it shared, a report or release alone: both sides then agree on what is written
	space space        // sectors and what is promised of them
	lanes lanes        // open sectors, each used by one sealer at a time
	waits atomic.Int64 // how often sealing had to wait for room
	held  ledger       // orders and which blocks they need

	changed  beat // sectors, orders or the registration changed
	broken   beat // orders have lost blocks
	loosened beat // blocks may have become dead, or a sector that holds dead ones may be let go now
	joined   registration
	base     accepted // the last accepted report, owned by the report loop

	settled beat          // the enclave was shown a charge
	epoch   atomic.Uint64 // of that charge
}

// session runs one enclave until it ends or ctx does.
func (w *Worker) session(parent context.Context) (err error) {
	ctx, cancel := context.WithCancelCause(parent)
	defer cancel(nil)
	if err := w.Chain.Wait(ctx, 3); err != nil { // before, a chain has no state that can be proven
		return err
	}
	t, err := w.readTerms(ctx)
	if err != nil {
		return fmt.Errorf("read the chain's parameters: %w", err)
	}
	d, err := disk.Open(w.Dir, w.Config.Disk.Sectors, t.sectorSize)
	if err != nil {
		return err
	}
	if w.free != nil {
		d.Measure(w.free)
	}
	defer func() { err = errors.Join(err, d.Sync(), d.Close()) }()
	enc, err := w.Start(ctx)
	if err != nil {
		return err
	}
	defer enc.Close()
	go func() {
		select {
		case <-enc.Done():
			cancel(errors.New("the enclave ended"))
		case <-ctx.Done():
		}
	}()
	s := &session{Worker: w, enc: enc, disk: d, terms: t}
	s.held.init()
	s.space.init(d, w.Config.Disk.Sectors)
	s.lanes.init()
	if err := s.begin(ctx); err != nil {
		return reason(ctx, err)
	}
	defer w.Store.detach(s)
	return reason(ctx, s.work(ctx))
}

// reason prefers why the session was cancelled over what broke because of it.
func reason(ctx context.Context, err error) error {
	if cause := context.Cause(ctx); cause != nil {
		return cause
	}
	return err
}

// begin introduces the enclave to the chain and brings its vault back.
func (s *session) begin(ctx context.Context) error {
	latest, err := s.Chain.Latest(ctx)
	if err != nil {
		return err
	}
	root, err := s.Chain.Block(ctx, latest-1) // there is a block over it, which has its whole commit
	if err != nil {
		return err
	}
	var hello wire.InitReply
	if err := s.call(&wire.Init{ChainID: s.ChainID, Account: s.Account, SectorSize: s.terms.sectorSize, Platform: s.Platform,
		Header: root.Header, Commit: root.Commit, Validators: root.Validators}, &hello); err != nil {
		return fmt.Errorf("the enclave refused to begin: %w", err)
	}
	s.joined.key = hello.SignKey
	s.heads.set(root.Height)
	s.root = root.Height
	s.Log.Info("enclave started, platform: "+attestation.Platform(hello.Platform).String(), "version", hello.Version,
		"measurement", fmt.Sprintf("%x", hello.Measurement[:8]), "height", root.Height)
	return nil
}

// work runs the loops.
func (s *session) work(ctx context.Context) error {
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error { return s.follow(ctx) })
	g.Go(func() error {
		if err := s.restore(ctx); err != nil {
			return fmt.Errorf("restore: %w", err)
		}
		s.Store.attach(s)
		s.announceRoots(ctx, s.held.list(held))
		if err := s.join(ctx); err != nil {
			return fmt.Errorf("join: %w", err)
		}
		if err := s.confirmStanding(ctx); err != nil {
			return err
		}
		s.serveEndorsing(ctx)
		g.Go(func() error { return s.learn(ctx) })
		g.Go(func() error { return s.report(ctx) })
		g.Go(func() error { return s.fill(ctx) })
		g.Go(func() error { return s.market(ctx) })
		g.Go(func() error { return s.compact(ctx) })
		g.Go(func() error { return s.scrub(ctx) })
		g.Go(func() error { return s.audit(ctx) })
		g.Go(func() error { return s.keepJoined(ctx) })
		g.Go(func() error { return s.keys(ctx) })
		g.Go(func() error { return s.accuse(ctx) })
		return nil
	})
	return g.Wait()
}

// call asks the enclave. A request that was sent takes effect even if nobody waits for it, so waiting does not end with a
// context, only with the reply or the enclave.
func (s *session) call(req wire.Request, reply wire.Message) error {
	return s.enc.Call(context.Background(), req, reply)
}

// terms are the chain's parameters that a session needs. They are read once a session; sizes never change.
type terms struct {
	sectorSize uint64
	slot       int64 // blocks
	maxAge     int64 // blocks that a report may lie behind
	accept     int64 // blocks that an accepted replica may stay unproven
	mend       int64 // blocks after a warning in which unproven heights cost no more than their pay
	repair     int64 // blocks in which a lost replica may be proven again
	warn       int64 // blocks without an accepted report after which a node is warned
	silent     int64 // and loses its replicas
	trust      int64 // blocks that a registration's trust root may be old
	capLow     uint64
	capHigh    uint64
}

// provable is the most bytes that a node of a tier may report.
func (t terms) provable(tier attestation.Tier) uint64 {
	if tier == attestation.TierHigh {
		return t.capHigh
	}
	return t.capLow
}

func (w *Worker) readTerms(ctx context.Context) (terms, error) {
	wp, err := w.Queries.Work.Params(ctx, &work.QueryParamsRequest{})
	if err != nil {
		return terms{}, err
	}
	ap, err := w.Queries.Attest.Params(ctx, &attest.QueryParamsRequest{})
	if err != nil {
		return terms{}, err
	}
	mp, err := w.Queries.Market.Params(ctx, &market.QueryParamsRequest{})
	if err != nil {
		return terms{}, err
	}
	t := terms{sectorSize: wp.Params.SectorSize, slot: wp.Params.SlotBlocks, maxAge: wp.Params.MaxAgeBlocks, accept: mp.Params.AcceptBlocks,
		mend: mp.Params.MendBlocks, repair: mp.Params.RepairBlocks, warn: mp.Params.WarnBlocks, silent: mp.Params.SilentBlocks,
		trust: ap.Params.TrustBlocks, capLow: ap.Params.CapLow, capHigh: ap.Params.CapHigh}
	if t.slot < 1 || t.maxAge < 1 {
		return terms{}, fmt.Errorf("slot of %d blocks, reports of at most %d blocks age", t.slot, t.maxAge)
	}
	return t, nil
}

// beat wakes all who wait for a change.
type beat struct {
	mu sync.Mutex
	ch chan struct{}
}

// next is closed at the next pulse. Take it before looking, then look, then wait.
func (b *beat) next() <-chan struct{} {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.ch == nil {
		b.ch = make(chan struct{})
	}
	return b.ch
}

func (b *beat) pulse() {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.ch != nil {
		close(b.ch)
		b.ch = nil
	}
}

// pause waits unless ctx ends first.
func pause(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-t.C:
		return nil
	}
}
