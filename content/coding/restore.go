package coding

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	blocks "github.com/ipfs/go-block-format"
	"github.com/ipfs/go-cid"
)

// Ask brings a block from a store or the network and waits for it as long as ctx does. It has checked the block's hash.
type Ask = func(ctx context.Context, c cid.Cid) (blocks.Block, error)

const (
	defaultPatience = 8 * time.Second
	maxRoots        = 4 * MaxShards
	maxPlans        = 8 // manifests of one file at once: strangers may order the same file under other codes, or pretend to
)

// Options say for what a Restorer stands in. File, Roots and Limit are required.
type Options struct {
	File  cid.Cid
	Shard cid.Cid // root of the order that is to be rebuilt; Undef if the file itself is read
	// Roots are the roots of orders that may be shards of File; those that come first are believed first.
	Roots func(ctx context.Context) ([]cid.Cid, error)
	Limit uint64 // most bytes of a manifest
	// Patience is how long a block may fail to arrive before it is made of others; 0 means 8 seconds. It is less for blocks of a shard
	// that failed before.
	Patience time.Duration
}

// Restorer stands behind a fetch of a coded file, or of one of its shards: blocks that don't arrive are made of others of their group.
// It reads a manifest only when it needs one. All methods may be called at the same time; a few groups are in memory at most.
type Restorer struct {
	opts     Options
	restored atomic.Uint64

	loading chan struct{} // one goroutine loads manifests at a time
	slots   chan struct{} // groups that are gathered at once

	mu      sync.Mutex
	arrived time.Time        // when a block came last that was asked for
	plans   []*plan          // what made a block last, or was read last, at the end
	tried   map[cid.Cid]bool // indexes that were read, or are bad
	letGo   []cid.Cid        // indexes of manifests that made room for others
}

// NewRestorer prepares one; it does nothing until blocks are late.
func NewRestorer(opts Options) *Restorer {
	if opts.Patience <= 0 {
		opts.Patience = defaultPatience
	}
	return &Restorer{opts: opts, loading: make(chan struct{}, 1), slots: make(chan struct{}, 2), tried: map[cid.Cid]bool{}}
}

// Restored is how many blocks were made of others so far.
func (r *Restorer) Restored() uint64 { return r.restored.Load() }

// outcome is a block or why there is none.
type outcome struct {
	block blocks.Block
	err   error
}

func start(f func() (blocks.Block, error)) <-chan outcome {
	out := make(chan outcome, 1)
	go func() {
		b, err := f()
		out <- outcome{b, err}
	}()
	return out
}

// Bring asks for a block, and once that takes too long makes it of others too; what comes first is returned. It ends with ctx.
func (r *Restorer) Bring(ctx context.Context, c cid.Cid, ask Ask) (blocks.Block, error) {
	ctx, cancel := context.WithCancel(ctx)
	var running sync.WaitGroup
	defer running.Wait()
	defer cancel()
	run := func(f func() (blocks.Block, error)) <-chan outcome {
		running.Add(1)
		return start(func() (blocks.Block, error) { defer running.Done(); return f() })
	}
	asked := run(func() (blocks.Block, error) { return ask(ctx, c) })
	since := time.Now()
	for wait := r.wait(c); ; wait = r.wait(c) {
		late := time.NewTimer(wait)
		select {
		case o := <-asked:
			late.Stop()
			r.noted(c, o.err == nil)
			return o.block, o.err
		case <-late.C:
		}
		if wait == r.opts.Patience && time.Since(since) < 8*wait && r.flows() {
			continue // the line is slow, not the holder: asking for more would make it slower
		}
		made := run(func() (blocks.Block, error) { return r.restore(ctx, c, ask) })
		select {
		case o := <-asked:
			r.noted(c, o.err == nil)
			return o.block, o.err
		case o := <-made:
			if o.err == nil {
				r.noted(c, false)
				r.restored.Add(1)
				return o.block, nil
			}
			if err := pause(ctx, r.opts.Patience/2); err != nil {
				return nil, err
			}
		}
	}
}

func pause(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// flows tells whether blocks that were asked for have come of late.
func (r *Restorer) flows() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return time.Since(r.arrived) < r.opts.Patience
}

// wait is how long a block may take.
func (r *Restorer) wait(c cid.Cid) time.Duration {
	for _, h := range r.find(c) {
		switch {
		case h.node != nil:
			return 0
		case h.plan.missing(h.shard()):
			return r.opts.Patience / 16
		}
	}
	return r.opts.Patience
}

// noted remembers whether a block's shard answers.
func (r *Restorer) noted(c cid.Cid, came bool) {
	if came {
		r.mu.Lock()
		r.arrived = time.Now()
		r.mu.Unlock()
	}
	for _, h := range r.find(c) {
		if h.node == nil {
			h.plan.note(h.shard(), came)
		}
	}
}

// restore makes a block without asking for it: by the manifest that was of use last, else by one that was not read yet, else by the
// others. Each may cost a lot of waiting, if nobody sends what it lists.
func (r *Restorer) restore(ctx context.Context, c cid.Cid, ask Ask) (blocks.Block, error) {
	found := r.find(c)
	first := min(len(found), 1)
	b, err := r.compute(ctx, c, found[:first], ask)
	if err == nil {
		return b, nil
	}
	fresh, e := r.load(ctx, c, len(found), ask)
	rest := found[first:]
	if fresh != nil {
		rest = fresh
	}
	if len(rest) == 0 {
		return nil, errors.Join(err, e)
	}
	return r.compute(ctx, c, rest, ask)
}

// compute tries the places of a block in turn. A manifest that turns out to be false is forgotten.
func (r *Restorer) compute(ctx context.Context, c cid.Cid, found []place, ask Ask) (blocks.Block, error) {
	err := fmt.Errorf("%w: none that is known lists %s", ErrManifest, c)
	for _, at := range found {
		if at.node != nil {
			return at.node, nil
		}
		var b blocks.Block
		if b, err = at.plan.compute(ctx, c, at, ask, r.slots); err == nil {
			r.rank(at.plan, true)
			return b, nil
		}
		if errors.Is(err, ErrManifest) {
			r.rank(at.plan, false)
		}
	}
	return nil, err
}

// rank makes a known manifest the last to be let go, or forgets it.
func (r *Restorer) rank(p *plan, keep bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	i := slices.Index(r.plans, p)
	if i < 0 {
		return
	}
	r.plans = slices.Delete(r.plans, i, i+1)
	if keep {
		r.plans = append(r.plans, p)
	}
}

// room lets go of manifests that have not been of use for longest, until so many further blocks can be listed beside the others. They
// may come back once all were read: strangers can order a file under more codes than are kept, and name parity that nobody sends.
func (r *Restorer) room(blocks int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, p := range r.plans {
		blocks += p.blocks()
	}
	for len(r.plans) > 0 && (len(r.plans) >= maxPlans || blocks > maxBlocks) {
		blocks -= r.plans[0].blocks()
		r.letGo = append(r.letGo, r.plans[0].index)
		r.plans = slices.Delete(r.plans, 0, 1)
	}
}

// find lists where known manifests place a block.
func (r *Restorer) find(c cid.Cid) []place {
	r.mu.Lock()
	defer r.mu.Unlock()
	var out []place
	for _, p := range slices.Backward(r.plans) {
		if at, ok := p.find(c); ok {
			out = append(out, at)
		}
	}
	return out
}

// load reads manifests until another one than those that are known lists c, and returns where. Without one, those that were let go may be
// read again the next time.
func (r *Restorer) load(ctx context.Context, c cid.Cid, known int, ask Ask) ([]place, error) {
	select {
	case r.loading <- struct{}{}:
		defer func() { <-r.loading }()
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	if now := r.find(c); len(now) > known {
		return now[:1], nil
	}
	roots, err := r.opts.Roots(ctx)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, 8*r.opts.Patience)
	defer cancel()
	asked := r.rootBlocks(ctx, roots, ask)
	soon, cancel := context.WithTimeout(ctx, r.opts.Patience/4)
	defer cancel()
	for _, until := range []context.Context{soon, ctx} { // whoever is quick goes first, in the order of the roots
		var slow []<-chan outcome
		for _, a := range asked {
			o, ok := await(until, a)
			if !ok {
				slow = append(slow, a)
				continue
			}
			e := o.err
			if e == nil {
				if ctx.Err() != nil { // the rest has its turn the next time
					return nil, errors.Join(err, ctx.Err())
				}
				var p *plan
				if p, e = r.loadFrom(ctx, o.block, ask); p != nil {
					if at, lists := p.find(c); lists {
						return []place{at}, nil
					}
				}
			}
			err = errors.Join(err, e)
		}
		asked = slow
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, index := range r.letGo {
		delete(r.tried, index)
	}
	r.letGo = nil
	return nil, err
}

func await(ctx context.Context, from <-chan outcome) (outcome, bool) {
	select {
	case o := <-from: // also after the end of ctx
		return o, true
	default:
	}
	select {
	case o := <-from:
		return o, true
	case <-ctx.Done():
		return outcome{}, false
	}
}

// rootBlocks asks for all roots at once; the order of the answers is that of the roots. Each is waited for a while only.
func (r *Restorer) rootBlocks(ctx context.Context, roots []cid.Cid, ask Ask) []<-chan outcome {
	var out []<-chan outcome
	for _, c := range roots[:min(len(roots), maxRoots)] {
		if c.Equals(r.opts.Shard) {
			continue // nobody has it, or it would have come
		}
		out = append(out, start(func() (blocks.Block, error) {
			ctx, cancel := context.WithTimeout(ctx, r.opts.Patience)
			defer cancel()
			return ask(ctx, c)
		}))
	}
	return out
}

// loadFrom reads the manifest to which a shard's root leads; nil if it was read before.
func (r *Restorer) loadFrom(ctx context.Context, root blocks.Block, ask Ask) (*plan, error) {
	index, err := readShardRoot(root)
	if err != nil {
		return nil, err
	}
	r.mu.Lock()
	skip := r.tried[index.cid]
	r.mu.Unlock()
	if skip {
		return nil, nil
	}
	p, err := r.read(ctx, index, ask)
	r.mu.Lock()
	defer r.mu.Unlock()
	r.tried[index.cid] = ctx.Err() != context.Canceled || err == nil
	if err != nil && !errors.Is(err, ErrManifest) {
		r.letGo = append(r.letGo, index.cid) // others have their turn before it is asked for again
	}
	if err != nil {
		return nil, err
	}
	r.plans = append(r.plans, p)
	return p, nil
}

// read brings the manifest under an index, which may be hostile, and checks it against the file and the shard.
func (r *Restorer) read(ctx context.Context, index link, ask Ask) (*plan, error) {
	left := r.opts.Limit
	bring := func(c cid.Cid) (blocks.Block, error) {
		b, err := ask(ctx, c)
		if err != nil {
			return nil, err
		}
		if uint64(len(b.RawData())) > left {
			return nil, fmt.Errorf("%w: more than %d bytes", ErrManifest, r.opts.Limit)
		}
		left -= uint64(len(b.RawData()))
		return b, nil
	}
	b, err := bring(index.cid)
	for depth := 0; err == nil && b.Cid().Type() != cid.Raw; depth++ {
		links, bad := linksOf(b)
		if bad != nil {
			return nil, fmt.Errorf("%w: index %s: %w", ErrManifest, index.cid, bad)
		}
		if len(links) == 0 || depth == 4 {
			return nil, fmt.Errorf("%w: index %s leads nowhere", ErrManifest, index.cid)
		}
		b, err = bring(links[0])
	}
	if err != nil {
		return nil, err
	}
	h, err := decodeHead(b.RawData())
	if err != nil {
		return nil, err
	}
	if !sameBlock(h.File, r.opts.File) {
		return nil, fmt.Errorf("%w: it is of %s", ErrManifest, h.File)
	}
	r.room(h.count + groupsOf(h.Code, h.count)*h.M)
	for _, s := range h.links {
		b, err := bring(s.cid(cid.Raw))
		if err != nil {
			return nil, err
		}
		if err := h.add(b.RawData()); err != nil {
			return nil, err
		}
	}
	return newPlan(&h.Manifest, index, r.opts)
}

// sameBlock tells whether two CIDs, of version 0 or 1, name one block.
func sameBlock(a, b cid.Cid) bool {
	x, ok1 := sumOf(a)
	y, ok2 := sumOf(b)
	return ok1 && ok2 && x == y && a.Type() == b.Type()
}
