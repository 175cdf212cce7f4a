package content

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/ipfs/boxo/exchange"
	blocks "github.com/ipfs/go-block-format"
	"github.com/ipfs/go-cid"
	"github.com/libp2p/go-libp2p/core/peer"
)

var (
	// ErrTooLarge is returned when a DAG has more bytes, blocks or pending links than the fetch allows.
	ErrTooLarge = errors.New("DAG exceeds the limit")
	// ErrStalled is returned when no block arrived for FetchOptions.Stall.
	ErrStalled = errors.New("no peer sends the missing blocks")
)

const (
	defaultParallel  = 32
	defaultStall     = 2 * time.Minute
	defaultMaxBlocks = 16 << 20
	maxPending       = 1 << 20 // links seen and not yet followed; a directory has at most some ten thousand
	maxFrom          = 16      // peers that an order may make us dial
	redialEvery      = 5 * time.Second
	fetchTag         = "cella-fetch" // keeps the peers of a running fetch connected
)

// FetchOptions says what to fetch and where it goes.
type FetchOptions struct {
	Root  cid.Cid
	From  []string // multiaddrs with /p2p/ that are tried first; those that can't be read are passed over
	Limit uint64   // most bytes of distinct blocks; required

	// Visit gets each distinct block once, one call at a time, parents before children. It may store the block in
	// the node's store, and then peers can have it at once. Its error ends the fetch. Bitswap has checked the block's hash.
	Visit func(blocks.Block) error

	// Have, unless nil, tells which blocks already lie in the node's store: they are counted and walked but neither fetched nor
	// visited.
	Have func(context.Context, cid.Cid) (bool, error)

	// Deny, unless nil, tells which blocks are not wanted: one of them ends the fetch with ErrDenied before anybody is asked for it.
	Deny func(cid.Cid) bool

	// Bring, unless nil, gets the blocks that are neither empty nor known to Have. It may ask for the block, for others, and
	// make one of others: then it has checked the hash. ask looks into the node's store first and waits as long as its context.
	Bring func(ctx context.Context, c cid.Cid, ask func(context.Context, cid.Cid) (blocks.Block, error)) (blocks.Block, error)

	Peers     int           // most peers of From that are dialled; 0 means 16
	Parallel  int           // blocks under way at once, each up to 2 MiB of memory; 0 means 32
	MaxBlocks uint64        // most distinct blocks; about 60 bytes of memory each; 0 means 16 Mi
	Stall     time.Duration // longest wait for any block to arrive; 0 means 2 minutes
}

// Stat is what a fetch saw of the DAG, distinct blocks counted once.
type Stat struct {
	Size   uint64 // bytes of all blocks, as an order names them
	Blocks uint64
	Known  uint64 // blocks that Have named
}

// Fetch walks the DAG under the root and hands its blocks to Visit. After an error, Stat tells how far it came.
func (n *Node) Fetch(ctx context.Context, opts FetchOptions) (Stat, error) {
	if opts.Visit == nil || opts.Limit == 0 {
		return Stat{}, errors.New("fetch: Visit and Limit are required")
	}
	if err := checkCID(opts.Root); err != nil {
		return Stat{}, fmt.Errorf("fetch: %w", err)
	}
	if isInline(opts.Root) {
		return Stat{}, fmt.Errorf("fetch: %w: %s is inline and names no block", ErrUnsupported, opts.Root)
	}
	if opts.Parallel <= 0 {
		opts.Parallel = defaultParallel
	}
	if opts.Peers <= 0 {
		opts.Peers = maxFrom
	}
	if opts.MaxBlocks == 0 {
		opts.MaxBlocks = defaultMaxBlocks
	}
	if opts.Stall <= 0 {
		opts.Stall = defaultStall
	}
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	w := &walk{node: n, opts: opts, cancel: cancel, seen: map[blockKey]struct{}{}}
	w.change = sync.NewCond(&w.mu)
	if err := w.push([]cid.Cid{opts.Root}); err != nil {
		return Stat{}, fmt.Errorf("fetch: %w", err)
	}
	w.stall = time.AfterFunc(opts.Stall, func() { cancel(ErrStalled) })
	defer w.stall.Stop()
	defer context.AfterFunc(ctx, w.wakeAll)()

	var helpers sync.WaitGroup
	peers := firstPeers(opts.From, opts.Peers)
	for _, p := range peers {
		n.host.ConnManager().Protect(p.ID, fetchTag)
		defer n.host.ConnManager().Unprotect(p.ID, fetchTag)
	}
	n.connect(ctx, peers) // before the session asks its connected peers, or it would go to the DHT first
	w.net = n.swap.NewSession(ctx)
	stopped := make(chan struct{})
	helpers.Go(func() { n.redial(ctx, stopped, peers) })

	var workers sync.WaitGroup
	for range opts.Parallel {
		workers.Go(func() { w.work(ctx) })
	}
	workers.Wait()
	close(stopped)
	err := context.Cause(ctx)
	cancel(nil)
	helpers.Wait()
	if err != nil {
		return w.stat, fmt.Errorf("fetch %s: %w", opts.Root, err)
	}
	return w.stat, nil
}

// redial brings back peers that went away while the fetch runs.
func (n *Node) redial(ctx context.Context, stopped <-chan struct{}, peers []peer.AddrInfo) {
	tick := time.NewTicker(redialEvery)
	defer tick.Stop()
	for len(peers) > 0 {
		select {
		case <-tick.C:
			n.connect(ctx, peers)
		case <-stopped:
			return
		case <-ctx.Done():
			return
		}
	}
}

// walk is one running fetch: workers take CIDs from the stack, newest first so that it stays as shallow as the DAG.
type walk struct {
	node   *Node
	opts   FetchOptions
	net    exchange.Fetcher
	cancel context.CancelCauseFunc
	stall  *time.Timer

	visit sync.Mutex // held while Visit runs

	mu      sync.Mutex
	change  *sync.Cond // the stack grew, the walk ended, or it failed
	stack   []cid.Cid
	seen    map[blockKey]struct{}
	working int // workers that hold a CID
	failed  bool
	stat    Stat
}

func (w *walk) work(ctx context.Context) {
	for {
		c, ok := w.pop()
		if !ok {
			return
		}
		links, err := w.take(ctx, c)
		if err == nil {
			err = w.push(links)
		}
		if err != nil {
			w.cancel(err)
		}
		w.mu.Lock()
		w.working--
		w.mu.Unlock()
		w.change.Broadcast()
	}
}

// pop waits for a CID to work on; false means that there will be none.
func (w *walk) pop() (cid.Cid, bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for {
		switch {
		case w.failed:
			return cid.Undef, false
		case len(w.stack) > 0:
			last := len(w.stack) - 1
			c := w.stack[last]
			w.stack = w.stack[:last]
			w.working++
			return c, true
		case w.working == 0:
			return cid.Undef, false
		}
		w.change.Wait()
	}
}

// push adds the links that weren't seen yet, the first on top.
func (w *walk) push(links []cid.Cid) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	for i := len(links) - 1; i >= 0; i-- {
		key := keyOf(links[i])
		if _, ok := w.seen[key]; ok {
			continue
		}
		if len(w.stack) == maxPending || uint64(len(w.seen)) == w.opts.MaxBlocks {
			return fmt.Errorf("%w: too many blocks", ErrTooLarge)
		}
		w.seen[key] = struct{}{}
		w.stack = append(w.stack, links[i])
	}
	return nil
}

// take brings one block, counts it, hands it on, and returns the links to follow.
func (w *walk) take(ctx context.Context, c cid.Cid) ([]cid.Cid, error) {
	if w.opts.Deny != nil && w.opts.Deny(c) {
		return nil, fmt.Errorf("block %s: %w", c, ErrDenied)
	}
	if w.opts.Have != nil {
		if known, err := w.opts.Have(ctx, c); err != nil {
			return nil, err
		} else if known {
			return w.takeKnown(ctx, c)
		}
	}
	b, ok := emptyBlock(c)
	if !ok {
		var err error
		if b, err = w.bring(ctx, c); err != nil {
			return nil, err
		}
		w.stall.Reset(w.opts.Stall)
	}
	links, err := linksOf(b)
	if err != nil {
		return nil, err
	}
	if err := w.count(uint64(len(b.RawData())), false); err != nil {
		return nil, err
	}
	w.visit.Lock()
	defer w.visit.Unlock()
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	if err := w.opts.Visit(b); err != nil {
		return nil, fmt.Errorf("block %s: %w", c, err)
	}
	w.stall.Reset(w.opts.Stall) // a slow Visit is no stall of the network
	if server := w.node.swap.Server; server != nil {
		return links, server.NotifyNewBlocks(ctx, b)
	}
	return links, nil
}

func (w *walk) bring(ctx context.Context, c cid.Cid) (blocks.Block, error) {
	if w.opts.Bring == nil {
		return w.net.GetBlock(ctx, c)
	}
	b, err := w.opts.Bring(ctx, c, w.ask)
	if err == nil && !b.Cid().Equals(c) {
		err = fmt.Errorf("block %s came for %s", b.Cid(), c)
	}
	return b, err
}

// ask gets any block, in the name of Bring.
func (w *walk) ask(ctx context.Context, c cid.Cid) (blocks.Block, error) {
	if err := checkCID(c); err != nil {
		return nil, err
	}
	if w.opts.Deny != nil && w.opts.Deny(c) {
		return nil, fmt.Errorf("block %s: %w", c, ErrDenied)
	}
	b, err := w.node.stored(ctx, c)
	if err == nil {
		return b, nil
	}
	if b, err = w.net.GetBlock(ctx, c); err == nil && ctx.Err() == nil {
		w.stall.Reset(w.opts.Stall)
	}
	return b, err
}

// takeKnown walks a block of the own store; a leaf isn't even read.
func (w *walk) takeKnown(ctx context.Context, c cid.Cid) ([]cid.Cid, error) {
	if w.node.store == nil {
		return nil, errors.New("Have names blocks, but the node has no store")
	}
	w.stall.Reset(w.opts.Stall)
	if c.Type() == cid.Raw {
		size, err := w.node.store.GetSize(ctx, c)
		if err != nil {
			return nil, err
		}
		return nil, w.count(uint64(size), true)
	}
	b, err := w.node.store.Get(ctx, c)
	if err != nil {
		return nil, err
	}
	if err := w.count(uint64(len(b.RawData())), true); err != nil {
		return nil, err
	}
	return linksOf(b)
}

// count adds a block before it is handed on, so that what was handed on never exceeds the limit.
func (w *walk) count(size uint64, known bool) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if size > w.opts.Limit-w.stat.Size {
		return fmt.Errorf("%w: more than %d bytes", ErrTooLarge, w.opts.Limit)
	}
	w.stat.Size += size
	w.stat.Blocks++
	if known {
		w.stat.Known++
	}
	return nil
}

// wakeAll ends the workers that wait for CIDs once the fetch was cancelled.
func (w *walk) wakeAll() {
	w.mu.Lock()
	w.failed = true
	w.mu.Unlock()
	w.change.Broadcast()
}

// knownPeers reads addresses that strangers wrote: what can't be read is left out, and so is what is too much.
func knownPeers(addrs []string) []peer.AddrInfo { return firstPeers(addrs, maxFrom) }

func firstPeers(addrs []string, most int) []peer.AddrInfo {
	if len(addrs) > 4*most {
		addrs = addrs[:4*most]
	}
	byID := map[peer.ID]int{}
	var peers []peer.AddrInfo
	for _, s := range addrs {
		info, err := peer.AddrInfoFromString(s)
		if err != nil {
			continue
		}
		if i, ok := byID[info.ID]; ok {
			peers[i].Addrs = append(peers[i].Addrs, info.Addrs...)
		} else if len(peers) < most {
			byID[info.ID] = len(peers)
			peers = append(peers, *info)
		}
	}
	return peers
}
