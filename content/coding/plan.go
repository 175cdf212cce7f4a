package coding

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"sync"
	"time"

	blocks "github.com/ipfs/go-block-format"
	"github.com/ipfs/go-cid"
	"github.com/klauspost/reedsolomon"
)

const (
	keptGroups = 2 // gathered groups that are kept: their other blocks are often asked for next
	stripes    = 16
)

// plan is a manifest at work.
type plan struct {
	*Manifest
	index    cid.Cid
	enc      reedsolomon.Encoder
	patience time.Duration
	where    map[[16]byte]uint32      // a leaf's number, or the number of leaves plus that of a parity block
	nodes    map[cid.Cid]blocks.Block // of the shard that is rebuilt

	striped [stripes]chan struct{} // a group is gathered by one goroutine at a time

	mu   sync.Mutex
	came []time.Time // when each shard sent something last
	gone []time.Time // when a block of it was given up last
	kept []gathered
}

// gathered is what was found of a group.
type gathered struct {
	group  int
	blocks [][]byte
}

// place is where a block belongs: a node of a shard, or a position in a group.
type place struct {
	plan            *plan
	node            blocks.Block
	group, position int
}

func (p place) shard() int { return p.plan.shardAt(p.group, p.position) }

// newPlan makes a manifest ready for use. For a shard it must lead to exactly the order's root.
func newPlan(m *Manifest, index link, opts Options) (*plan, error) {
	enc, err := m.coder()
	if err != nil {
		return nil, err
	}
	p := &plan{Manifest: m, index: index.cid, enc: enc, patience: opts.Patience, where: make(map[[16]byte]uint32, len(m.leaves)+len(m.parity)),
		came: make([]time.Time, m.Shards()), gone: make([]time.Time, m.Shards())}
	for i := range p.striped {
		p.striped[i] = make(chan struct{}, 1)
	}
	for i, s := range m.leaves {
		p.enter(s, i)
	}
	for i, s := range m.parity {
		p.enter(s, len(m.leaves)+i)
	}
	for i := range m.Shards() {
		if !opts.Shard.Defined() {
			break
		}
		nodes, err := m.shard(i, index)
		if err != nil {
			return nil, err
		}
		if sameBlock(nodes[0].Cid(), opts.Shard) {
			p.nodes = map[cid.Cid]blocks.Block{}
			for _, b := range nodes {
				p.nodes[b.Cid()] = b
			}
			return p, nil
		}
	}
	if opts.Shard.Defined() {
		return nil, fmt.Errorf("%w: %s is none of its shards", ErrManifest, opts.Shard)
	}
	return p, nil
}

// blocks is how many the manifest lists.
func (p *plan) blocks() int { return len(p.leaves) + len(p.Manifest.parity) }

func (p *plan) enter(s sum, number int) {
	k := [16]byte(s[:])
	if _, ok := p.where[k]; !ok {
		p.where[k] = uint32(number)
	}
}

func (p *plan) find(c cid.Cid) (place, bool) {
	if b, ok := p.nodes[c]; ok {
		return place{plan: p, node: b}, true
	}
	s, ok := sumOf(c)
	if !ok || c.Type() != cid.Raw {
		return place{}, false
	}
	n, ok := p.where[[16]byte(s[:])]
	if !ok {
		return place{}, false
	}
	i := int(n)
	if i < len(p.leaves) {
		return place{plan: p, group: i / p.K, position: i % p.K}, true
	}
	i -= len(p.leaves)
	return place{plan: p, group: i / p.M, position: p.K + i%p.M}, true
}

func (p *plan) note(shard int, came bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if came {
		p.came[shard] = time.Now()
	} else {
		p.gone[shard] = time.Now()
	}
}

func (p *plan) missing(shard int) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.gone[shard].After(p.came[shard])
}

// compute makes a block of others of its group.
func (p *plan) compute(ctx context.Context, c cid.Cid, at place, ask Ask, slots chan struct{}) (blocks.Block, error) {
	for _, door := range []chan struct{}{p.striped[at.group%stripes], slots} {
		select {
		case door <- struct{}{}:
			defer func() { <-door }()
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
	have := p.recall(at)
	if have == nil {
		var err error
		if have, err = p.gather(ctx, at, ask); err != nil {
			return nil, err
		}
		p.keep(gathered{at.group, have})
	}
	leaves, lens, _ := p.group(at.group)
	data := have[at.position] // gathered for another
	if data == nil {
		var err error
		if data, err = p.restore(p.enc, have, len(leaves), int(lens[0]), at.position); err != nil {
			return nil, err
		}
	}
	_, size, _ := p.at(at.group, at.position)
	b, err := newBlock(cid.Raw, data[:size])
	if err != nil {
		return nil, err
	}
	if !sameBlock(b.Cid(), c) {
		return nil, fmt.Errorf("%w: group %d does not make %s", ErrManifest, at.group, c)
	}
	return b, nil
}

// gather brings enough of a group's blocks other than the one at a position: those of shards that answered of late first, and more
// when they are slow.
func (p *plan) gather(ctx context.Context, at place, ask Ask) ([][]byte, error) {
	leaves, _, _ := p.group(at.group)
	need := len(leaves)
	var others []int
	for i := range p.Shards() {
		if _, _, ok := p.at(at.group, i); ok && i != at.position {
			others = append(others, i)
		}
	}
	slices.SortStableFunc(others, func(a, b int) int { return cmp.Compare(p.doubt(at.group, a), p.doubt(at.group, b)) })
	ctx, cancel := context.WithTimeout(ctx, 8*p.patience)
	defer cancel()
	type arrival struct {
		position int
		outcome
	}
	arrived := make(chan arrival, len(others))
	next, running := 0, 0
	more := func() {
		if next == len(others) {
			return
		}
		i := others[next]
		next++
		running++
		s, _, _ := p.at(at.group, i)
		go func() {
			b, err := ask(ctx, s.cid(cid.Raw))
			arrived <- arrival{i, outcome{b, err}}
		}()
	}
	for range need {
		more()
	}
	hedge := time.NewTicker(max(p.patience/8, time.Millisecond))
	defer hedge.Stop()
	have := make([][]byte, p.Shards())
	for got := 0; got < need; {
		if running == 0 {
			return nil, fmt.Errorf("%w: %d of %d came", ErrTooFew, got, need)
		}
		select {
		case a := <-arrived:
			running--
			_, size, _ := p.at(at.group, a.position)
			switch {
			case a.err != nil:
				more()
			case len(a.block.RawData()) != int(size):
				return nil, fmt.Errorf("%w: %s has %d bytes, not %d", ErrManifest, a.block.Cid(), len(a.block.RawData()), size)
			default:
				p.note(p.shardAt(at.group, a.position), true)
				have[a.position] = a.block.RawData()
				got++
			}
		case <-hedge.C:
			more()
		case <-ctx.Done():
			return nil, fmt.Errorf("%w: %d of %d came (%w)", ErrTooFew, got, need, ctx.Err())
		}
	}
	return have, nil
}

// doubt orders a group's blocks by whether their shards answered of late.
func (p *plan) doubt(group, position int) int {
	if p.missing(p.shardAt(group, position)) {
		return 1
	}
	return 0
}

// recall returns what was gathered for another block of the group.
func (p *plan) recall(at place) [][]byte {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, g := range p.kept {
		if g.group == at.group {
			return g.blocks
		}
	}
	return nil
}

func (p *plan) keep(g gathered) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.kept = append(p.kept, g)
	if len(p.kept) > keptGroups {
		p.kept = slices.Delete(p.kept, 0, 1)
	}
}
