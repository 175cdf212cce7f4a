package worker

import (
	"bufio"
	"bytes"
	"context"
	crand "crypto/rand"
	"io"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	sdk "github.com/cosmos/cosmos-sdk/types"
	"github.com/ipfs/boxo/blockstore"
	blocks "github.com/ipfs/go-block-format"
	"github.com/ipfs/go-cid"
	"github.com/libp2p/go-libp2p/core/crypto"

	"github.com/cella-network/cella/api/work"
	"github.com/cella-network/cella/client"
	"github.com/cella-network/cella/content"
	"github.com/cella-network/cella/enclave"
	"github.com/cella-network/cella/enclave/tee"
	"github.com/cella-network/cella/enclave/wire"
	"github.com/cella-network/cella/protocol/storageproof"
)

// insideEnclave is an enclave in this process, over a pipe.
type insideEnclave struct {
	conn    net.Conn
	mu      sync.Mutex
	pen     sync.Mutex
	next    uint64
	pending map[uint64]chan wire.Frame
	done    chan struct{}
}

func startInside(context.Context) (Enclave, error) {
	ours, theirs := net.Pipe()
	go func() { _ = enclave.Serve(theirs, enclave.Options{Version: "test", Open: tee.Sim([32]byte{1})}) }()
	e := &insideEnclave{conn: ours, pending: map[uint64]chan wire.Frame{}, done: make(chan struct{})}
	go func() {
		defer close(e.done)
		for r := bufio.NewReader(ours); ; {
			f, err := wire.ReadFrame(r, nil)
			if err != nil {
				return
			}
			e.mu.Lock()
			ticket := e.pending[f.ID]
			delete(e.pending, f.ID)
			e.mu.Unlock()
			ticket <- f
		}
	}()
	return e, nil
}

func (e *insideEnclave) Call(ctx context.Context, req wire.Request, reply wire.Message) error {
	ticket := make(chan wire.Frame, 1)
	e.mu.Lock()
	e.next++
	id := e.next
	e.pending[id] = ticket
	e.mu.Unlock()
	p, err := wire.NewPacket(id, req.Kind(), req)
	if err != nil {
		return err
	}
	e.pen.Lock()
	_, err = p.WriteTo(e.conn)
	e.pen.Unlock()
	if err != nil {
		return err
	}
	select {
	case f := <-ticket:
		if f.Kind == wire.KindError {
			refusal := new(wire.Error)
			if err := wire.Decode(refusal, f.Body); err != nil {
				return err
			}
			return refusal
		}
		return wire.Decode(reply, f.Body)
	case <-e.done:
		return io.ErrClosedPipe
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (e *insideEnclave) Done() <-chan struct{} { return e.done }
func (e *insideEnclave) Close() error          { return e.conn.Close() }

// operator is one storage node of a test: a home that lives over restarts, and the worker that runs in it now.
type operator struct {
	t       *testing.T
	chain   *fakeChain
	account [20]byte
	address string
	dir     string
	quota   uint32
	store   *Store
	content *content.Node
	free    func() (uint64, error) // of the disk, unless nil
	log     journal
	scrub   uint32 // MiB/s
	hurry   bool   // to give up orders that can't be fetched

	visit func(ctx context.Context, from []string) (Visitor, error) // of nodes that it audits

	mu      sync.Mutex
	worker  *Worker
	enclave Enclave
	starts  int    // of enclaves
	stop    func() // ends the worker and waits
}

// journal is what a node logged.
type journal struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (j *journal) Write(p []byte) (int, error) {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.text.Write(p)
}

func (j *journal) says(words string) bool {
	j.mu.Lock()
	defer j.mu.Unlock()
	return bytes.Contains(j.text.Bytes(), []byte(words))
}

func newOperator(t *testing.T, c *fakeChain, n byte, quota uint32) *operator {
	o := &operator{t: t, chain: c, account: [20]byte{n}, dir: filepath.Join(t.TempDir(), "disk"), quota: quota, store: NewStore()}
	var err error
	if o.address, err = client.EncodeAddress(o.account[:]); err != nil {
		t.Fatal(err)
	}
	o.content = newContent(t, o.store)
	o.visit = func(ctx context.Context, from []string) (Visitor, error) { return content.NewVisit(ctx, from, true) }
	return o
}

func newContent(t *testing.T, store blockstore.Blockstore) *content.Node {
	key, _, err := crypto.GenerateEd25519Key(crand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	n, err := content.New(context.Background(), content.Config{Identity: key, Store: store, Listen: []string{"/ip4/127.0.0.1/tcp/0"}, Loopback: true})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { n.Close() })
	return n
}

func (o *operator) start() {
	o.t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	level := slog.LevelWarn
	if testing.Verbose() {
		level = slog.LevelDebug
	}
	w := New(Options{
		ChainID: testChain, Address: o.address, Account: o.account, Dir: o.dir, Platform: bytes.Repeat([]byte{o.account[0]}, tee.FuseSize),
		Config: Config{Disk: DiskConfig{Sectors: o.quota, Scrub: o.scrub}, Ask: AskConfig{Price: 10, MaxSize: 1 << 30}},
		Chain:  o.chain, Queries: o.chain.queries(), Poster: o.chain, Content: o.content, Store: o.store,
		Visit: func(ctx context.Context, from []string) (Visitor, error) { return o.visit(ctx, from) },
		Start: func(ctx context.Context) (Enclave, error) {
			e, err := startInside(ctx)
			o.mu.Lock()
			o.enclave = e
			o.starts++
			o.mu.Unlock()
			return e, err
		},
		Log: slog.New(slog.NewMultiHandler(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: level}),
			slog.NewTextHandler(&o.log, &slog.HandlerOptions{Level: slog.LevelDebug}))).With("node", o.account[0]),
	})
	o.worker = w
	w.free = o.free
	w.patience = 300 * time.Millisecond
	if o.hurry {
		w.stall, w.again = 100*time.Millisecond, time.Millisecond
	}
	var running sync.WaitGroup
	running.Go(func() {
		if err := w.Run(ctx); err != nil {
			o.t.Error(err)
		}
	})
	o.stop = sync.OnceFunc(func() { cancel(); running.Wait() })
	o.t.Cleanup(o.stop)
}

// stands waits until the account's standing is as f wants it.
func (o *operator) stands(what string, f func(storageproof.Standing) bool) {
	o.t.Helper()
	o.chain.eventually(what, func() bool {
		st := o.chain.standing(o.account)
		return st != nil && f(*st)
	})
}

func (o *operator) proves(order uint64) {
	o.t.Helper()
	o.chain.eventually("order proven", func() bool { return o.chain.replicas[order][o.address].Proven })
}

// mends waits until an order's blocks are here again, whether or not the chain heard of the loss.
func (o *operator) mends(order uint64) {
	o.t.Helper()
	o.chain.eventually("order mended", func() bool {
		r := o.chain.replicas[order][o.address]
		if !r.Proven || r.Lost > 0 {
			return false
		}
		s := o.store.current()
		if s == nil {
			return false
		}
		s.held.mu.Lock()
		defer s.held.mu.Unlock()
		h := s.held.orders[order]
		return h != nil && h.stage == held
	})
}

// owner hosts files and orders them.
type owner struct {
	t     *testing.T
	chain *fakeChain
	store *content.Store
	node  *content.Node
}

func newOwner(t *testing.T, c *fakeChain) *owner {
	store, err := content.OpenStore(filepath.Join(t.TempDir(), "blocks"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { store.Close() })
	return &owner{t: t, chain: c, store: store, node: newContent(t, store)}
}

// file is an ordered file.
type file struct {
	order uint64
	root  cid.Cid
	size  uint64
}

// order hosts a file of random bytes and places an order for it.
func (o *owner) order(bytes int, replicas uint32) file {
	o.t.Helper()
	data := make([]byte, bytes)
	crand.Read(data)
	path := filepath.Join(o.t.TempDir(), "file")
	if err := os.WriteFile(path, data, 0o600); err != nil {
		o.t.Fatal(err)
	}
	r, err := content.Import(context.Background(), path, o.store, nil)
	if err != nil {
		o.t.Fatal(err)
	}
	return file{order: o.chain.place(r.Root.Bytes(), r.Size, replicas, o.node.Addrs()), root: r.Root, size: r.Size}
}

// fetches reads a file from an operator over bitswap, and nobody else.
func (o *operator) serves(f file) {
	o.t.Helper()
	reader := newContent(o.t, nil)
	st, err := reader.Fetch(context.Background(), content.FetchOptions{Root: f.root, From: o.content.Addrs(), Limit: f.size,
		Visit: func(blocks.Block) error { return nil }})
	if err != nil || st.Size != f.size {
		o.t.Fatalf("fetched %d bytes of %d: %v", st.Size, f.size, err)
	}
}

// TestLife is one whole life of a node: join, fill, accept an order, seal it, report it, restart, drop it, and give the room back.
func TestLife(t *testing.T) {
	c := newFakeChain(t)
	o, owner := newOperator(t, c, 1, 8), newOwner(t, c)
	full := uint64(geometry(t).FreeCells) * storageproof.CellSize * 6 // the quota less two spares

	o.start()
	o.stands("disk filled and reported", func(st storageproof.Standing) bool { return st.Free == full })
	f := owner.order(3_000_000, 1)
	o.proves(f.order)
	o.serves(f)

	// A restart: fresh keys, the same standing, no height failed, and the file is still served.
	before := look(c, func() []byte { return c.nodes[o.account].SignKey })
	o.stop()
	o.start()
	c.eventually("registered anew", func() bool { return !bytes.Equal(c.nodes[o.account].SignKey, before) })
	at := look(c, func() uint64 { return c.standing(o.account).Counter })
	o.stands("reports go on", func(st storageproof.Standing) bool { return st.Counter > at+1 })
	o.serves(f)

	c.end(f.order)
	o.stands("dropped and its room given back", func(st storageproof.Standing) bool { return st.Stored == 0 && st.Free == full })
	if st := look(c, func() *storageproof.Standing { return c.standing(o.account) }); st.Failed != 0 || st.Proven == 0 {
		t.Errorf("%d heights proven and %d failed, want none failed", st.Proven, st.Failed)
	}
	files, err := os.ReadDir(filepath.Join(o.dir, "sectors"))
	if err != nil || len(files) > 8 {
		t.Errorf("%d sector files (%v), quota 8", len(files), err)
	}
}

// TestEnclaveDies holds that a dead enclave is replaced without a failed height.
func TestEnclaveDies(t *testing.T) {
	c := newFakeChain(t)
	o, owner := newOperator(t, c, 1, 6), newOwner(t, c)
	o.start()
	f := owner.order(1_500_000, 1)
	o.proves(f.order)
	before := look(c, func() []byte { return c.nodes[o.account].SignKey })
	o.mu.Lock()
	o.enclave.Close()
	o.mu.Unlock()
	c.eventually("registered anew", func() bool { return !bytes.Equal(c.nodes[o.account].SignKey, before) })
	at := look(c, func() uint64 { return c.standing(o.account).Counter })
	o.stands("reports go on", func(st storageproof.Standing) bool { return st.Counter > at+1 && st.Failed == 0 })
	o.serves(f)
}

// TestReportOfAnEarlierSessionComesInLate holds the hardest moment of a restart: a report that was posted before it is
// included after the vault was restored to the one before, and names blocks that only it knows.
func TestReportOfAnEarlierSessionComesInLate(t *testing.T) {
	c := newFakeChain(t)
	o, owner := newOperator(t, c, 1, 6), newOwner(t, c)
	o.start()
	o.stands("first report", func(st storageproof.Standing) bool { return st.Counter >= 1 })
	f := owner.order(1_500_000, 1)
	c.mu.Lock()
	c.hold = func(m sdk.Msg) bool { // the report that names the order stays in the mempool
		r, ok := m.(*work.MsgReport)
		if !ok {
			return false
		}
		report, err := storageproof.UnmarshalReport(r.Report)
		return err == nil && len(report.Added) > 0
	}
	c.mu.Unlock()
	held := func() (n int) {
		for _, q := range c.queue {
			if c.hold(q.msgs[0]) {
				n++
			}
		}
		return n
	}
	c.eventually("a report waits in the mempool", func() bool { return held() > 0 })
	o.stop()
	// The new session restores to the older report, and its announcement finds the late one in the block before.
	c.mu.Lock()
	late := c.hold
	c.hold = func(m sdk.Msg) bool { _, report := m.(*work.MsgReport); return !report || late(m) }
	c.mu.Unlock()
	o.start()
	c.eventually("the new session announces itself", func() bool { return len(c.queue) > 1 })
	c.mu.Lock()
	c.hold = nil
	c.mu.Unlock()
	o.proves(f.order)
	at := look(c, func() uint64 { return c.standing(o.account).Counter })
	o.stands("reports go on", func(st storageproof.Standing) bool { return st.Counter > at+1 && st.Failed == 0 })
	o.serves(f)
}

// TestCompaction holds that a sector that is mostly dead gives its room back and keeps what lives.
func TestCompaction(t *testing.T) {
	c := newFakeChain(t)
	o, owner := newOperator(t, c, 10, 10), newOwner(t, c)
	o.start()
	small := owner.order(300_000, 1)
	o.proves(small.order)
	big := owner.order(6_000_000, 1)
	o.proves(big.order)
	stored := look(c, func() uint64 { return c.standing(o.account).Stored })
	c.end(big.order)
	o.stands("the big file's cells are gone", func(st storageproof.Standing) bool { return st.Stored < stored/2 && st.Failed == 0 })
	o.serves(small)
	if look(c, func() bool { return !c.replicas[small.order][o.address].Proven }) {
		t.Error("the small file's replica is gone")
	}
}
