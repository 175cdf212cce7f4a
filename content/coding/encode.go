package coding

import (
	"cmp"
	"context"
	"fmt"
	"slices"

	"github.com/ipfs/boxo/blockstore"
	blocks "github.com/ipfs/go-block-format"
	"github.com/ipfs/go-cid"
	"github.com/klauspost/reedsolomon"
)

// Shard is what one order stores.
type Shard struct {
	Root cid.Cid
	Size uint64 // bytes of the distinct blocks under Root
}

// Set is a file's shards. The code's K is less than was asked for if the file has fewer leaves.
type Set struct {
	Code
	Manifest cid.Cid // dag-cbor; stored and sent as raw
	Shards   []Shard
}

// Stored is the bytes of all shards together.
func (s Set) Stored() (n uint64) {
	for _, sh := range s.Shards {
		n += sh.Size
	}
	return n
}

// Encode adds parity, manifest and the shards' nodes to the store that holds the whole DAG under root. One group is in memory at a
// time. If the store has a Sync method, it is called at the end. progress, unless nil, is told of the bytes of leaves that were coded.
func Encode(ctx context.Context, store blockstore.Blockstore, root cid.Cid, code Code, progress func(n int64)) (Set, error) {
	set, err := encode(ctx, store, root, code, progress)
	if err == nil {
		if s, ok := store.(interface{ Sync(context.Context) error }); ok {
			err = s.Sync(ctx)
		}
	}
	if err != nil {
		return Set{}, fmt.Errorf("code %s: %w", root, err)
	}
	return set, nil
}

func encode(ctx context.Context, store blockstore.Blockstore, root cid.Cid, code Code, progress func(int64)) (Set, error) {
	if err := code.check(); err != nil {
		return Set{}, err
	}
	dag, err := survey(ctx, store, root)
	if err != nil {
		return Set{}, err
	}
	if len(dag.leaves) == 0 {
		return Set{}, fmt.Errorf("%w: it has no bytes to code", ErrUnsupported)
	}
	code.K = min(code.K, len(dag.leaves))
	m := &Manifest{Code: code, File: root, Size: dag.size}
	for _, l := range dag.leaves {
		m.leaves, m.lens = append(m.leaves, l.sum), append(m.lens, l.size)
	}
	if len(m.leaves)+m.groups()*m.M > maxBlocks {
		return Set{}, fmt.Errorf("%w: more than %d blocks", ErrUnsupported, maxBlocks)
	}
	if err := m.code(ctx, store, progress); err != nil {
		return Set{}, err
	}
	return m.lay(ctx, store, dag.inner)
}

// block is a block of the file.
type block struct {
	sum  sum
	size uint32
}

// key tells blocks apart: one may be a leaf and an inner block too.
type key struct {
	sum  sum
	node bool
}

// outline is what is known of a DAG without reading its leaves.
type outline struct {
	leaves []block // raw and not empty, the longest first
	inner  []block // the others, in the DAG's order
	size   uint64
}

// survey walks the DAG, parents before children, each distinct block once.
func survey(ctx context.Context, store blockstore.Blockstore, root cid.Cid) (outline, error) {
	var out outline
	seen := map[key]struct{}{}
	for todo := []cid.Cid{root}; len(todo) > 0; {
		c := todo[len(todo)-1]
		todo = todo[:len(todo)-1]
		s, ok := sumOf(c)
		if !ok || c.Type() != cid.Raw && c.Type() != cid.DagProtobuf {
			return out, fmt.Errorf("%w: %s", ErrUnsupported, c)
		}
		k := key{s, c.Type() == cid.DagProtobuf}
		if _, again := seen[k]; again {
			continue
		}
		seen[k] = struct{}{}
		if len(seen) > maxBlocks {
			return out, fmt.Errorf("%w: more than %d blocks", ErrUnsupported, maxBlocks)
		}
		links, size, err := look(ctx, store, c)
		if err != nil {
			return out, err
		}
		if size > MaxBlock {
			return out, fmt.Errorf("%w: block %s has %d bytes", ErrUnsupported, c, size)
		}
		out.size += uint64(size)
		if b := (block{s, uint32(size)}); c.Type() == cid.Raw && size > 0 {
			out.leaves = append(out.leaves, b)
		} else {
			out.inner = append(out.inner, b)
		}
		slices.Reverse(links)
		todo = append(todo, links...)
	}
	slices.SortStableFunc(out.leaves, func(a, b block) int { return cmp.Compare(b.size, a.size) })
	return out, nil
}

// look returns a block's links and size; a leaf isn't read.
func look(ctx context.Context, store blockstore.Blockstore, c cid.Cid) ([]cid.Cid, int, error) {
	if c.Type() == cid.Raw {
		size, err := store.GetSize(ctx, c)
		return nil, size, err
	}
	b, err := store.Get(ctx, c)
	if err != nil {
		return nil, 0, err
	}
	links, err := linksOf(b)
	return links, len(b.RawData()), err
}

// code computes and stores the parity, group by group.
func (m *Manifest) code(ctx context.Context, store blockstore.Blockstore, progress func(int64)) error {
	enc, err := m.coder()
	if err != nil {
		return err
	}
	for g := range m.groups() {
		if err := m.codeGroup(ctx, store, enc, g, progress); err != nil {
			return err
		}
	}
	return nil
}

func (m *Manifest) codeGroup(ctx context.Context, store blockstore.Blockstore, enc reedsolomon.Encoder, g int, progress func(int64)) error {
	from, to := g*m.K, min((g+1)*m.K, len(m.leaves))
	var data [][]byte
	for i := from; i < to; i++ {
		b, err := store.Get(ctx, m.leaves[i].cid(cid.Raw))
		if err != nil {
			return err
		}
		data = append(data, b.RawData())
		if progress != nil {
			progress(int64(len(b.RawData())))
		}
	}
	parity, err := m.Code.parity(enc, data)
	if err != nil {
		return err
	}
	var out []blocks.Block
	for _, p := range parity {
		b, err := newBlock(cid.Raw, p)
		if err != nil {
			return err
		}
		s, _ := sumOf(b.Cid())
		m.parity = append(m.parity, s)
		out = append(out, b)
	}
	return store.PutMany(ctx, out)
}

// lay stores the index and the nodes of all shards.
func (m *Manifest) lay(ctx context.Context, store blockstore.Blockstore, inner []block) (Set, error) {
	manifest, err := m.encode()
	if err != nil {
		return Set{}, err
	}
	if err := store.PutMany(ctx, manifest); err != nil {
		return Set{}, err
	}
	var listed []link
	shared := map[cid.Cid]uint64{} // what every shard holds
	list := func(c cid.Cid, size uint64) {
		if _, again := shared[c]; !again {
			shared[c] = size
			listed = append(listed, link{c, size})
		}
	}
	for _, b := range manifest {
		list(b.Cid(), uint64(len(b.RawData())))
	}
	for _, b := range inner {
		list(b.sum.cid(cid.Raw), uint64(b.size))
	}
	index, nodes, err := grow(listed)
	if err != nil {
		return Set{}, err
	}
	if err := store.PutMany(ctx, nodes); err != nil {
		return Set{}, err
	}
	for _, b := range nodes {
		shared[b.Cid()] = uint64(len(b.RawData()))
	}
	top, _ := sumOf(manifest[0].Cid())
	set := Set{Code: m.Code, Manifest: top.cid(cid.DagCBOR)}
	for i := range m.Shards() {
		nodes, err := m.shard(i, index)
		if err != nil {
			return Set{}, err
		}
		if err := store.PutMany(ctx, nodes); err != nil {
			return Set{}, err
		}
		set.Shards = append(set.Shards, Shard{Root: nodes[0].Cid(), Size: m.sizeOf(i, nodes, shared)})
	}
	return set, nil
}

// sizeOf counts the bytes of a shard's distinct blocks. A leaf of the file may be the very bytes of a block of the index.
func (m *Manifest) sizeOf(shard int, nodes []blocks.Block, shared map[cid.Cid]uint64) (n uint64) {
	for _, size := range shared {
		n += size
	}
	add := func(c cid.Cid, size uint64) {
		if _, ok := shared[c]; !ok {
			n += size
		}
	}
	for _, b := range nodes { // distinct: each holds other links than those before it
		add(b.Cid(), uint64(len(b.RawData())))
	}
	for _, l := range m.blocksOf(shard) {
		add(l.cid, l.size)
	}
	return n
}
