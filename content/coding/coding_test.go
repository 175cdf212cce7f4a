package coding

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/ipfs/boxo/blockstore"
	"github.com/ipfs/boxo/ipld/merkledag"
	blocks "github.com/ipfs/go-block-format"
	"github.com/ipfs/go-cid"
	"github.com/ipfs/go-datastore"
	dssync "github.com/ipfs/go-datastore/sync"
	ipld "github.com/ipfs/go-ipld-format"

	"github.com/cella-network/cella/content"
	"github.com/cella-network/cella/content/oddtree"
)

func memStore() blockstore.Blockstore {
	return blockstore.NewBlockstore(dssync.MutexWrap(datastore.NewMapDatastore()))
}

// noise is size bytes that differ from one seed to the next.
func noise(seed uint64, size int) []byte {
	r := rand.New(rand.NewPCG(seed, 1))
	b := make([]byte, size)
	for i := range b {
		b[i] = byte(r.Uint32())
	}
	return b
}

func file(seed uint64, size int) func(string) error {
	return func(path string) error { return os.WriteFile(path, noise(seed, size), 0o600) }
}

// tree is a folder of files of these sizes.
func tree(sizes ...int) func(string) error {
	return func(path string) error {
		if err := os.Mkdir(path, 0o700); err != nil {
			return err
		}
		for i, n := range sizes {
			if err := file(uint64(i), n)(filepath.Join(path, fmt.Sprint(i))); err != nil {
				return err
			}
		}
		return nil
	}
}

// coded is a file that was imported and coded.
type coded struct {
	store blockstore.Blockstore
	root  cid.Cid
	size  uint64
	set   Set
}

func code(t testing.TB, write func(string) error, c Code) coded {
	t.Helper()
	path := filepath.Join(t.TempDir(), "x")
	if err := write(path); err != nil {
		t.Fatal(err)
	}
	out := coded{store: memStore()}
	res, err := content.Import(t.Context(), path, out.store, nil)
	if err != nil {
		t.Fatal(err)
	}
	out.root, out.size = res.Root, res.Size
	if out.set, err = Encode(t.Context(), out.store, res.Root, c, nil); err != nil {
		t.Fatal(err)
	}
	return out
}

// holders are who answers: each has the blocks of one shard.
type holders struct {
	mu    sync.Mutex
	have  map[sum][]byte // of all that answer; like a node, they answer for any codec
	asked int
}

// under lists the distinct blocks below a root.
func under(t testing.TB, get func(cid.Cid) (blocks.Block, error), root cid.Cid) map[cid.Cid][]byte {
	t.Helper()
	out := map[cid.Cid][]byte{}
	for todo := []cid.Cid{root}; len(todo) > 0; {
		c := todo[0]
		todo = todo[1:]
		if _, ok := out[c]; ok {
			continue
		}
		b, err := get(c)
		if err != nil {
			t.Fatalf("%s: %v", c, err)
		}
		if !bytes.Equal(mustSum(t, c), b.Cid().Hash()) {
			t.Fatalf("%s came for %s", b.Cid(), c)
		}
		out[c] = b.RawData()
		links, err := linksOf(b)
		if err != nil {
			t.Fatal(err)
		}
		todo = append(todo, links...)
	}
	return out
}

func mustSum(t testing.TB, c cid.Cid) []byte {
	if _, ok := sumOf(c); !ok {
		t.Fatalf("%s has another hash", c)
	}
	return c.Hash()
}

// left are the holders of some shards.
func (c coded) left(t testing.TB, shards ...int) *holders {
	h := &holders{have: map[sum][]byte{}}
	for _, s := range shards {
		for k, data := range under(t, func(k cid.Cid) (blocks.Block, error) { return c.store.Get(t.Context(), k) }, c.set.Shards[s].Root) {
			x, _ := sumOf(k)
			h.have[x] = data
		}
	}
	return h
}

// ask answers, or waits like a network in which nobody has the block.
func (h *holders) ask(ctx context.Context, c cid.Cid) (blocks.Block, error) {
	s, _ := sumOf(c)
	h.mu.Lock()
	h.asked++
	data, ok := h.have[s]
	h.mu.Unlock()
	if !ok {
		<-ctx.Done()
		return nil, ctx.Err()
	}
	return blocks.NewBlockWithCid(data, c)
}

func (c coded) restorer(shard cid.Cid) *Restorer {
	return NewRestorer(Options{File: c.root, Shard: shard, Limit: 64 << 20, Patience: 20 * time.Millisecond,
		Roots: func(context.Context) ([]cid.Cid, error) {
			var out []cid.Cid
			for _, s := range c.set.Shards {
				out = append(out, s.Root)
			}
			return out, nil
		}})
}

// subsets are all choices of k of n.
func subsets(n, k int) [][]int {
	if k == 0 {
		return [][]int{nil}
	}
	var out [][]int
	for last := k - 1; last < n; last++ {
		for _, s := range subsets(last, k-1) {
			out = append(out, append(s[:len(s):len(s)], last))
		}
	}
	return out
}

// TestAnyKShardsRestoreTheFile takes every choice of K shards of files of many shapes.
func TestAnyKShardsRestoreTheFile(t *testing.T) {
	const mib = 1 << 20
	tests := []struct {
		name  string
		write func(string) error
		code  Code
		want  Code
	}{
		{"one byte", file(1, 1), Code{4, 2}, Code{1, 2}},
		{"one leaf", file(1, mib), Code{2, 1}, Code{1, 1}},
		{"two leaves, the last short", file(1, mib+5), Code{2, 1}, Code{2, 1}},
		{"fewer leaves than K", file(1, 3*mib), Code{4, 2}, Code{3, 2}},
		{"last group of one", file(1, 4*mib+1), Code{2, 2}, Code{2, 2}},
		{"whole groups", file(1, 6*mib), Code{3, 2}, Code{3, 2}},
		{"leaves of many sizes", tree(1, 70_000, 3, 0, mib, 2*mib+9, 70_000), Code{3, 1}, Code{3, 1}},
		{"equal leaves", func(p string) error { return os.WriteFile(p, make([]byte, 3*mib), 0o600) }, Code{2, 1}, Code{1, 1}},
		{"odd tree", oddtree.Write, Code{2, 1}, Code{2, 1}},
		{"many shards", file(1, 9*mib), Code{8, 2}, Code{8, 2}},
	}
	for _, tc := range tests {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			f := code(t, tc.write, tc.code)
			if f.set.Code != tc.want || len(f.set.Shards) != tc.want.Shards() {
				t.Fatalf("%d shards of %s, want %s", len(f.set.Shards), f.set.Code, tc.want)
			}
			get := func(c cid.Cid) (blocks.Block, error) { return f.store.Get(t.Context(), c) }
			whole := under(t, get, f.root)
			for i, s := range f.set.Shards {
				var size uint64
				for _, data := range under(t, get, s.Root) {
					size += uint64(len(data))
				}
				if size != s.Size {
					t.Errorf("shard %d has %d bytes, says %d", i, size, s.Size)
				}
			}
			for _, left := range subsets(tc.want.Shards(), tc.want.K) {
				h, r := f.left(t, left...), f.restorer(cid.Undef)
				got := under(t, func(c cid.Cid) (blocks.Block, error) { return r.Bring(t.Context(), c, h.ask) }, f.root)
				if len(got) != len(whole) {
					t.Fatalf("shards %v: %d blocks of %d", left, len(got), len(whole))
				}
				for c, data := range whole {
					if !bytes.Equal(got[c], data) {
						t.Fatalf("shards %v: block %s differs", left, c)
					}
				}
			}
		})
	}
}

// TestAnyShardIsRebuilt loses a shard and as many others as the code bears, and has its very order again.
func TestAnyShardIsRebuilt(t *testing.T) {
	f := code(t, tree(5<<20+7, 1<<20, 300, 9), Code{3, 2})
	get := func(c cid.Cid) (blocks.Block, error) { return f.store.Get(t.Context(), c) }
	for lost := range f.set.Shards {
		var left []int
		for i := range f.set.Shards {
			if i != lost && i != (lost+1)%5 {
				left = append(left, i)
			}
		}
		h, r := f.left(t, left...), f.restorer(f.set.Shards[lost].Root)
		want := under(t, get, f.set.Shards[lost].Root)
		got := under(t, func(c cid.Cid) (blocks.Block, error) { return r.Bring(t.Context(), c, h.ask) }, f.set.Shards[lost].Root)
		if len(got) != len(want) || r.Restored() == 0 {
			t.Errorf("shard %d: %d blocks of %d, %d made", lost, len(got), len(want), r.Restored())
		}
	}
}

// Nothing is read but what was asked for while everybody answers.
func TestNothingIsReadWithoutNeed(t *testing.T) {
	f := code(t, file(1, 5<<20), Code{2, 1})
	h, r := f.left(t, 0, 1, 2), f.restorer(cid.Undef)
	r.opts.Patience = time.Minute
	got := under(t, func(c cid.Cid) (blocks.Block, error) { return r.Bring(t.Context(), c, h.ask) }, f.root)
	if h.asked != len(got) || r.Restored() != 0 || len(r.plans) != 0 {
		t.Errorf("%d asked for %d blocks, %d made, %d manifests", h.asked, len(got), r.Restored(), len(r.plans))
	}
}

// A block that comes after all is taken, and too few of a group are an error for as long as they are too few.
func TestTooFew(t *testing.T) {
	f := code(t, file(1, 4<<20), Code{2, 1})
	h, r := f.left(t, 0), f.restorer(cid.Undef)
	all := f.left(t, 0, 1, 2)
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	var missing cid.Cid
	for c := range under(t, func(c cid.Cid) (blocks.Block, error) { return f.store.Get(ctx, c) }, f.root) {
		if s, _ := sumOf(c); c.Type() == cid.Raw && h.have[s] == nil {
			missing = c
		}
	}
	if _, err := r.load(ctx, missing, 0, h.ask); err != nil {
		t.Fatal(err)
	}
	if _, err := r.restore(ctx, missing, h.ask); !errors.Is(err, ErrTooFew) {
		t.Fatalf("%v, want too few", err)
	}
	brought := start(func() (blocks.Block, error) { return r.Bring(ctx, missing, h.ask) })
	h.mu.Lock()
	h.have = all.have
	h.mu.Unlock()
	if o := <-brought; o.err != nil || !o.block.Cid().Equals(missing) {
		t.Fatal(o.err)
	}
}

// forge codes a file and lets change edit the manifest before the shards are laid.
func forge(t *testing.T, f coded, change func(*Manifest)) coded {
	t.Helper()
	dag, err := survey(t.Context(), f.store, f.root)
	if err != nil {
		t.Fatal(err)
	}
	m := &Manifest{Code: f.set.Code, File: f.root, Size: dag.size}
	for _, l := range dag.leaves {
		m.leaves, m.lens = append(m.leaves, l.sum), append(m.lens, l.size)
	}
	if err := m.code(t.Context(), f.store, nil); err != nil {
		t.Fatal(err)
	}
	change(m)
	out := f
	if out.set, err = m.lay(t.Context(), f.store, dag.inner); err != nil {
		t.Fatal(err)
	}
	return out
}

// TestFalseManifests holds that what strangers order for the same file hurts nobody: what is made of a false manifest is thrown
// away, and the true one is used.
func TestFalseManifests(t *testing.T) {
	f := code(t, file(1, 4<<20), Code{2, 1})
	whole := under(t, func(c cid.Cid) (blocks.Block, error) { return f.store.Get(t.Context(), c) }, f.root)
	foreign := code(t, file(2, 4<<20), Code{2, 1})
	for name, forged := range map[string]coded{
		"parity of nothing": forge(t, f, func(m *Manifest) { m.parity[0], m.parity[1] = m.parity[1], m.parity[0] }),
		"leaves swapped":    forge(t, f, func(m *Manifest) { m.leaves[0], m.leaves[2] = m.leaves[2], m.leaves[0] }),
		"parity made up": forge(t, f, func(m *Manifest) {
			for i := range m.parity {
				b, err := newBlock(cid.Raw, noise(uint64(100+i), int(m.lens[i*m.K])))
				if err != nil || f.store.Put(t.Context(), b) != nil {
					t.Fatal(err)
				}
				m.parity[i], _ = sumOf(b.Cid())
			}
		}),
		"another file": foreign,
		"lengths wrong": forge(t, f, func(m *Manifest) {
			for i := range m.lens {
				m.lens[i] = 77
			}
		}),
	} {
		t.Run(name, func(t *testing.T) {
			h := f.left(t, 1, 2) // shard 0 is gone
			for s, b := range forged.left(t, 0, 1, 2).have {
				if _, ok := f.left(t, 0).have[s]; !ok { // they serve what is theirs alone
					h.have[s] = b
				}
			}
			var lost []cid.Cid
			for k := range whole {
				if s, _ := sumOf(k); h.have[s] == nil {
					lost = append(lost, k)
				}
			}
			if len(lost) == 0 {
				t.Fatal("nothing is lost")
			}
			both := append([]Shard{}, forged.set.Shards...)
			r := NewRestorer(Options{File: f.root, Limit: 1 << 20, Patience: 20 * time.Millisecond, Roots: func(context.Context) ([]cid.Cid, error) {
				var out []cid.Cid
				for _, s := range both {
					out = append(out, s.Root)
				}
				return out, nil
			}})
			ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
			defer cancel()
			_, err := r.restore(ctx, lost[0], h.ask)
			if !errors.Is(err, ErrManifest) && (name == "parity made up" || !errors.Is(err, ErrTooFew)) {
				t.Fatalf("from false manifests alone: %v", err)
			}
			if len(r.plans) != 0 && errors.Is(err, ErrManifest) {
				t.Fatal("a manifest that is known to be false, or of another file, is kept")
			}
			both = append(both, f.set.Shards...)
			for _, k := range lost {
				b, err := r.Bring(ctx, k, h.ask)
				if err != nil || !bytes.Equal(b.RawData(), whole[k]) {
					t.Fatalf("with the true one: %v", err)
				}
			}
		})
	}
}

// TestManyUselessManifests holds that strangers can't keep the true manifest out by many that say nothing false: their leaves are the
// file's, but nobody has their parity.
func TestManyUselessManifests(t *testing.T) {
	f := code(t, file(1, 4<<20), Code{2, 1})
	h := f.left(t, 1, 2)
	var roots []cid.Cid
	for i := range maxPlans + 1 {
		forged := forge(t, f, func(m *Manifest) {
			for j := range m.parity {
				m.parity[j] = sum(sha256.Sum256([]byte{byte(i), byte(j)}))
			}
		})
		for _, c := range manifestBlocks(t, forged) {
			b, err := forged.store.Get(t.Context(), c)
			if err != nil {
				t.Fatal(err)
			}
			s, _ := sumOf(c)
			h.have[s] = b.RawData()
		}
		roots = append(roots, forged.set.Shards[1].Root)
	}
	roots = append(roots, f.set.Shards[1].Root)
	r := NewRestorer(Options{File: f.root, Limit: 1 << 20, Patience: 5 * time.Millisecond, Roots: func(context.Context) ([]cid.Cid, error) { return roots, nil }})
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	lost := 0
	for k, want := range under(t, func(c cid.Cid) (blocks.Block, error) { return f.store.Get(t.Context(), c) }, f.root) {
		if s, _ := sumOf(k); h.have[s] != nil {
			continue
		}
		lost++
		b, err := r.Bring(ctx, k, h.ask)
		if err != nil || !bytes.Equal(b.RawData(), want) {
			t.Fatalf("%s: %v", k, err)
		}
		if len(r.plans) > maxPlans {
			t.Fatalf("%d manifests are kept", len(r.plans))
		}
	}
	if lost == 0 {
		t.Fatal("nothing is lost")
	}
}

// TestManifestThatNeverComes holds that a stranger who sends the root of a shard, or an index as well, and then nothing more is
// passed over.
func TestManifestThatNeverComes(t *testing.T) {
	nowhere := sum(sha256.Sum256([]byte("nowhere"))).cid(cid.DagProtobuf)
	index := merkledag.NodeWithData(nil)
	if err := errors.Join(index.SetCidBuilder(cid.V1Builder{Codec: cid.DagProtobuf, MhType: 0x12}), index.AddRawLink("", &ipld.Link{Cid: nowhere})); err != nil {
		t.Fatal(err)
	}
	for name, first := range map[string]blocks.Block{"root": nil, "index": index} {
		t.Run(name, func(t *testing.T) { passedOver(t, nowhere, first) })
	}
}

// passedOver has a file restored beside a shard whose index is first, or if there is none, never comes.
func passedOver(t *testing.T, nowhere cid.Cid, first blocks.Block) {
	f := code(t, file(1, 4<<20), Code{2, 1})
	h := f.left(t, 1, 2)
	if first != nil {
		nowhere = first.Cid()
		s, _ := sumOf(nowhere)
		h.have[s] = first.RawData()
	}
	root, err := shardRoot(0, link{nowhere, 1}, link{nowhere, 1})
	if err != nil {
		t.Fatal(err)
	}
	s, _ := sumOf(root.Cid())
	h.have[s] = root.RawData()
	r := NewRestorer(Options{File: f.root, Limit: 1 << 20, Patience: 5 * time.Millisecond, Roots: func(context.Context) ([]cid.Cid, error) {
		return []cid.Cid{root.Cid(), f.set.Shards[1].Root}, nil
	}})
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	ask := func(ctx context.Context, c cid.Cid) (blocks.Block, error) {
		if err := ctx.Err(); err != nil { // as the network does it
			return nil, err
		}
		return h.ask(ctx, c)
	}
	for k, want := range under(t, func(c cid.Cid) (blocks.Block, error) { return f.store.Get(t.Context(), c) }, f.root) {
		b, err := r.Bring(ctx, k, ask)
		if err != nil || !bytes.Equal(b.RawData(), want) {
			t.Fatalf("%s: %v", k, err)
		}
	}
}

// manifestBlocks are the blocks that lead from the root of a set's second shard to its manifest.
func manifestBlocks(t *testing.T, c coded) []cid.Cid {
	root, err := c.store.Get(t.Context(), c.set.Shards[1].Root)
	if err != nil {
		t.Fatal(err)
	}
	index, err := readShardRoot(root)
	if err != nil {
		t.Fatal(err)
	}
	out := []cid.Cid{root.Cid()}
	for todo := []cid.Cid{index.cid}; len(todo) > 0; todo = todo[1:] {
		out = append(out, todo[0])
		b, err := c.store.Get(t.Context(), todo[0])
		if err != nil {
			t.Fatal(err)
		}
		links, err := linksOf(b)
		if err != nil {
			t.Fatal(err)
		}
		todo = append(todo, links...)
	}
	return out
}

// A manifest that doesn't lead to the order's root says nothing about the order.
func TestShardOfAnotherSet(t *testing.T) {
	f, g := code(t, file(1, 4<<20), Code{2, 1}), code(t, file(1, 4<<20), Code{3, 1})
	r := f.restorer(g.set.Shards[0].Root)
	if _, err := r.load(t.Context(), g.set.Shards[0].Root, 0, f.left(t, 0, 1, 2).ask); !errors.Is(err, ErrManifest) {
		t.Fatalf("%v, want a bad manifest", err)
	}
}

// TestManifestLimit holds that no more of a manifest is read than the order is large.
func TestManifestLimit(t *testing.T) {
	f := code(t, file(1, 4<<20), Code{2, 1})
	r := f.restorer(cid.Undef)
	r.opts.Limit = 100
	if _, err := r.load(t.Context(), f.root, 0, f.left(t, 0, 1, 2).ask); !errors.Is(err, ErrManifest) {
		t.Fatalf("%v, want a bad manifest", err)
	}
}

func TestEncodeRefuses(t *testing.T) {
	store := memStore()
	big, _ := blocks.NewBlockWithCid(noise(1, MaxBlock+1), blocks.NewBlock(noise(1, MaxBlock+1)).Cid())
	raw, err := newBlock(cid.Raw, big.RawData())
	if err != nil {
		t.Fatal(err)
	}
	if err := store.Put(t.Context(), raw); err != nil {
		t.Fatal(err)
	}
	empty, _ := newBlock(cid.Raw, nil)
	if err := store.Put(t.Context(), empty); err != nil {
		t.Fatal(err)
	}
	cbor, _ := sumOf(raw.Cid())
	for name, c := range map[string]struct {
		root cid.Cid
		code Code
		want error
	}{
		"a block that is too long": {raw.Cid(), Code{2, 1}, ErrUnsupported},
		"nothing to code":          {empty.Cid(), Code{2, 1}, ErrUnsupported},
		"another codec":            {cbor.cid(cid.DagCBOR), Code{2, 1}, ErrUnsupported},
		"no parity":                {raw.Cid(), Code{2, 0}, ErrCode},
		"too many shards":          {raw.Cid(), Code{40, 40}, ErrCode},
		"not here":                 {blocks.NewBlock([]byte("x")).Cid(), Code{2, 1}, ipld.ErrNotFound{}},
	} {
		_, err := Encode(t.Context(), store, c.root, c.code, nil)
		if absent := ipld.IsNotFound(c.want) && ipld.IsNotFound(err); !absent && !errors.Is(err, c.want) {
			t.Errorf("%s: %v, want %v", name, err, c.want)
		}
	}
}

func TestParseCode(t *testing.T) {
	for in, want := range map[string]Code{"4+2": {4, 2}, "1+1": {1, 1}, "48+16": {48, 16}} {
		if c, err := ParseCode(in); err != nil || c != want || c.String() != in {
			t.Errorf("%s: %v, %v", in, c, err)
		}
	}
	for _, in := range []string{"", "4", "4+", "+2", "0+1", "1+0", "-1+3", "4 + 2", "04+2", "60+5", "4+2+1", "9223372036854775807+1"} {
		if c, err := ParseCode(in); !errors.Is(err, ErrCode) {
			t.Errorf("%q: %v, %v", in, c, err)
		}
	}
}
