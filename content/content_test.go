package content

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/cella-network/cella/content/oddtree"
	"github.com/ipfs/boxo/blockstore"
	"github.com/ipfs/boxo/ipld/merkledag"
	"github.com/ipfs/boxo/ipld/unixfs"
	blocks "github.com/ipfs/go-block-format"
	"github.com/ipfs/go-cid"
	"github.com/ipfs/go-datastore"
	dssync "github.com/ipfs/go-datastore/sync"
	ipld "github.com/ipfs/go-ipld-format"
	"github.com/libp2p/go-libp2p/core/crypto"
	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/multiformats/go-multihash"
)

// memStore is an empty blockstore in memory.
func memStore() blockstore.Blockstore {
	return blockstore.NewBlockstore(dssync.MutexWrap(datastore.NewMapDatastore()))
}

func testContext(t *testing.T) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 60*time.Second)
	t.Cleanup(cancel)
	return ctx
}

// startNode runs a node on a free loopback port until the test ends.
func startNode(t *testing.T, store blockstore.Blockstore, bootstrap ...string) *Node {
	t.Helper()
	return startConfig(t, Config{Store: store, Listen: []string{"/ip4/127.0.0.1/tcp/0"}, Bootstrap: bootstrap, Loopback: true})
}

// startConfig runs a node with a fresh identity until the test ends.
func startConfig(t *testing.T, cfg Config) *Node {
	t.Helper()
	key, _, err := crypto.GenerateEd25519Key(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	cfg.Identity = key
	n, err := New(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := n.Close(); err != nil {
			t.Errorf("close: %v", err)
		}
	})
	return n
}

// eventually waits for a condition that another goroutine or machine brings about.
func eventually(t *testing.T, what string, cond func() bool) {
	t.Helper()
	deadline := time.Now().Add(20 * time.Second)
	for !cond() {
		if time.Now().After(deadline) {
			t.Fatalf("timed out: %s", what)
		}
		time.Sleep(20 * time.Millisecond)
	}
}

func mustImport(t *testing.T, path string, store blockstore.Blockstore) Result {
	t.Helper()
	res, err := Import(testContext(t), path, store, nil)
	if err != nil {
		t.Fatal(err)
	}
	return res
}

// importBytes imports one file of the given content.
func importBytes(t *testing.T, store blockstore.Blockstore, data []byte) Result {
	t.Helper()
	path := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(path, data, 0o644); err != nil {
		t.Fatal(err)
	}
	return mustImport(t, path, store)
}

// collect is a Visit that keeps blocks in a store and notes their order.
type collect struct {
	blockstore.Blockstore
	mu   sync.Mutex
	cids []cid.Cid
	size uint64
}

func newCollect() *collect { return &collect{Blockstore: memStore()} }

func (c *collect) visit(b blocks.Block) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.cids = append(c.cids, b.Cid())
	c.size += uint64(len(b.RawData()))
	return c.Put(context.Background(), b)
}

// sameTree fails unless both paths hold the same names, kinds, link targets and bytes.
func sameTree(t *testing.T, want, got string) {
	t.Helper()
	list := func(root string) map[string]string {
		m := map[string]string{}
		err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
			if err != nil {
				return err
			}
			rel, err := filepath.Rel(root, path)
			if err != nil {
				return err
			}
			switch {
			case d.IsDir():
				m[rel] = "dir"
			case d.Type()&fs.ModeSymlink != 0:
				target, err := os.Readlink(path)
				m[rel] = "link to " + target
				return err
			default:
				b, err := os.ReadFile(path)
				m[rel] = "file " + string(b)
				return err
			}
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
		return m
	}
	a, b := list(want), list(got)
	for name, v := range a {
		if b[name] != v {
			t.Errorf("%q differs", name)
		}
	}
	for name := range b {
		if _, ok := a[name]; !ok {
			t.Errorf("%q is new", name)
		}
	}
}

func TestFetchFromPeer(t *testing.T) {
	store := memStore()
	res := importBytes(t, store, oddtree.Pattern(1, 5<<20+17))
	owner := startNode(t, store)
	kept := newCollect()
	holder := startNode(t, kept)

	stat, err := holder.Fetch(testContext(t), FetchOptions{
		Root: res.Root, From: append([]string{"junk", "/ip4/127.0.0.1/tcp/1"}, owner.Addrs()...), Limit: res.Size, Visit: kept.visit,
	})
	if err != nil {
		t.Fatal(err)
	}
	if stat.Size != res.Size || stat.Blocks != uint64(res.Blocks) || stat.Known != 0 {
		t.Errorf("stat %+v, imported %+v", stat, res)
	}
	if len(kept.cids) != res.Blocks || kept.size != res.Size || kept.cids[0] != res.Root {
		t.Errorf("visited %d blocks, %d bytes, first %s", len(kept.cids), kept.size, kept.cids[0])
	}

	// What was stored is served on, and what is known isn't fetched again.
	third := newCollect()
	reader := startNode(t, third)
	if _, err := reader.Fetch(testContext(t), FetchOptions{Root: res.Root, From: holder.Addrs(), Limit: res.Size, Visit: third.visit}); err != nil {
		t.Fatal(err)
	}
	stat, err = reader.Fetch(testContext(t), FetchOptions{Root: res.Root, Limit: res.Size, Have: third.Has,
		Visit: func(b blocks.Block) error { return fmt.Errorf("visited again: %s", b.Cid()) }})
	if err != nil || stat.Known != uint64(res.Blocks) || stat.Size != res.Size {
		t.Errorf("second fetch: %+v, %v", stat, err)
	}
}

func TestFetchVisitsRepeatedBlocksOnce(t *testing.T) {
	store := memStore()
	res := importBytes(t, store, bytes.Repeat(oddtree.Pattern(2, 1<<20), 6))
	if res.Blocks != 2 || res.Bytes != 6<<20 || res.Size >= 2<<20 {
		t.Fatalf("import: %+v", res)
	}
	owner := startNode(t, store)
	kept := newCollect()
	holder := startNode(t, kept)
	stat, err := holder.Fetch(testContext(t), FetchOptions{Root: res.Root, From: owner.Addrs(), Limit: res.Size, Visit: kept.visit})
	if err != nil || stat.Blocks != 2 || len(kept.cids) != 2 || stat.Size != res.Size {
		t.Errorf("%+v, %d visited, %v", stat, len(kept.cids), err)
	}
}

// Other tools put small files into the CID itself. Such content is no block, but what it links to is.
func TestInlineContent(t *testing.T) {
	store := memStore()
	dag := dagOver(store)
	leaf := merkledag.NewRawNode([]byte("leaf"))
	if err := dag.Add(t.Context(), leaf); err != nil {
		t.Fatal(err)
	}
	inlineOf := func(codec uint64, data []byte) *merkledag.ProtoNode {
		h, err := multihash.Sum(data, multihash.IDENTITY, -1)
		if err != nil {
			t.Fatal(err)
		}
		dir := unixfs.EmptyDirNode()
		if err := dir.AddRawLink("in", &ipld.Link{Cid: cid.NewCidV1(codec, h)}); err != nil {
			t.Fatal(err)
		}
		return dir
	}
	inner := unixfs.EmptyDirNode()
	if err := inner.AddNodeLink("leaf", leaf); err != nil {
		t.Fatal(err)
	}
	linking := inlineOf(cid.DagProtobuf, inner.RawData())
	raw := inlineOf(cid.Raw, []byte("abc"))
	root := putDir(t, dag, entry{"linking", linking}, entry{"raw", raw})

	owner, kept := startNode(t, store), newCollect()
	holder := startNode(t, kept)
	stat, err := holder.Fetch(testContext(t), FetchOptions{Root: root.Cid(), From: owner.Addrs(), Limit: 1 << 20, Visit: kept.visit})
	if err != nil || stat.Blocks != 4 {
		t.Fatalf("%+v, %v", stat, err)
	}
	dest := filepath.Join(t.TempDir(), "dest")
	if err := Export(testContext(t), root.Cid(), holder.Session(t.Context()), dest, nil); err != nil {
		t.Fatal(err)
	}
	for path, want := range map[string]string{"linking/in/leaf": "leaf", "raw/in": "abc"} {
		if b, err := os.ReadFile(filepath.Join(dest, path)); err != nil || string(b) != want {
			t.Errorf("%s: %q, %v", path, b, err)
		}
	}
}

// A peer that asks for the empty block gets it, though the bitswap server wouldn't send a block of size zero.
func TestEmptyBlockIsServed(t *testing.T) {
	store := memStore()
	res := importBytes(t, store, nil)
	owner := startNode(t, store)
	holder := startNode(t, nil)
	ctx := testContext(t)
	holder.connect(ctx, knownPeers(owner.Addrs()))
	if b, err := holder.swap.GetBlock(ctx, res.Root); err != nil || len(b.RawData()) != 0 {
		t.Errorf("%v, %v", b, err)
	}
	// We need nobody for it.
	alone := startNode(t, nil)
	kept := newCollect()
	if stat, err := alone.Fetch(ctx, FetchOptions{Root: res.Root, Limit: 1, Visit: kept.visit}); err != nil || stat.Blocks != 1 || len(kept.cids) != 1 {
		t.Errorf("%+v, %v", stat, err)
	}
	if _, err := alone.Session(ctx).Get(ctx, res.Root); err != nil {
		t.Error(err)
	}
}

func TestFetchThroughDHT(t *testing.T) {
	meeting := startNode(t, nil)
	store := memStore()
	res := importBytes(t, store, oddtree.Pattern(3, 2<<20))
	owner := startNode(t, store, meeting.Addrs()...)
	holder := startNode(t, nil, meeting.Addrs()...)
	eventually(t, "both know the meeting point", func() bool {
		return len(owner.Host().Network().Peers()) > 0 && len(holder.Host().Network().Peers()) > 0
	})
	eventually(t, "the root is announced", func() bool { return owner.Provide(testContext(t), res.Root) == nil })
	kept := newCollect()
	if _, err := holder.Fetch(testContext(t), FetchOptions{Root: res.Root, Limit: res.Size, Visit: kept.visit}); err != nil {
		t.Fatal(err)
	}
	if kept.size != res.Size {
		t.Errorf("got %d of %d bytes", kept.size, res.Size)
	}
}

func TestProvideIsRetried(t *testing.T) {
	alone := startNode(t, memStore())
	root := importBytes(t, memStore(), []byte("x")).Root
	if err := alone.Provide(testContext(t), root); err == nil {
		t.Fatal("announced to nobody")
	}
	if c, wait := alone.nextDue(); c != root || wait > provideRetry {
		t.Errorf("next %s in %s", c, wait)
	}
	alone.Unprovide(root)
	if c, _ := alone.nextDue(); c.Defined() {
		t.Errorf("%s is still due", c)
	}
	alone.setDue(root, time.Now(), false)
	if c, _ := alone.nextDue(); c.Defined() {
		t.Error("a late announcement brought the root back")
	}
}

func TestFetchStops(t *testing.T) {
	store := memStore()
	res := importBytes(t, store, oddtree.Pattern(4, 4<<20))
	owner := startNode(t, store)
	boom := errors.New("disk full")

	tests := []struct {
		name  string
		opts  func(*FetchOptions, context.CancelFunc)
		want  error
		bytes uint64 // most that may have been visited
	}{
		{"limit one byte short", func(o *FetchOptions, _ context.CancelFunc) { o.Limit = res.Size - 1 }, ErrTooLarge, res.Size - 1},
		{"limit below the root", func(o *FetchOptions, _ context.CancelFunc) { o.Limit = 1 }, ErrTooLarge, 0},
		{"too many blocks", func(o *FetchOptions, _ context.CancelFunc) { o.MaxBlocks = 3 }, ErrTooLarge, res.Size},
		{"visit fails", func(o *FetchOptions, _ context.CancelFunc) {
			o.Visit = func(blocks.Block) error { return boom }
		}, boom, 0},
		{"cancelled", func(o *FetchOptions, cancel context.CancelFunc) {
			next := o.Visit
			o.Visit = func(b blocks.Block) error { cancel(); return next(b) }
		}, context.Canceled, 1 << 20},
		{"nobody has it", func(o *FetchOptions, _ context.CancelFunc) {
			o.Root, o.Stall = blocks.NewBlock([]byte("nowhere")).Cid(), 300*time.Millisecond
		}, ErrStalled, 0},
		{"inline root", func(o *FetchOptions, _ context.CancelFunc) {
			inline, err := multihash.Sum([]byte("abc"), multihash.IDENTITY, -1)
			if err != nil {
				t.Fatal(err)
			}
			o.Root = cid.NewCidV1(cid.Raw, inline)
		}, ErrUnsupported, 0},
		{"foreign codec", func(o *FetchOptions, _ context.CancelFunc) {
			o.Root = cid.NewCidV1(cid.DagCBOR, res.Root.Hash())
		}, ErrUnsupported, 0},
		{"no dag-pb under its CID", func(o *FetchOptions, _ context.CancelFunc) {
			bad := blocks.NewBlock([]byte("these bytes are no protobuf"))
			if err := store.Put(t.Context(), bad); err != nil {
				t.Fatal(err)
			}
			o.Root = cid.NewCidV1(cid.DagProtobuf, bad.Cid().Hash())
		}, nil, 0},
	}
	for _, tc := range tests {
		t.Run(tc.name, func(t *testing.T) {
			holder := startNode(t, nil)
			ctx, cancel := context.WithCancel(testContext(t))
			defer cancel()
			kept := newCollect()
			opts := FetchOptions{Root: res.Root, From: owner.Addrs(), Limit: res.Size, Visit: kept.visit}
			tc.opts(&opts, cancel)
			stat, err := holder.Fetch(ctx, opts)
			if err == nil || tc.want != nil && !errors.Is(err, tc.want) {
				t.Errorf("got %v, want %v", err, tc.want)
			}
			if kept.size > tc.bytes {
				t.Errorf("visited %d bytes, at most %d were allowed", kept.size, tc.bytes)
			}
			if stat.Size > opts.Limit {
				t.Errorf("counted %d above the limit %d", stat.Size, opts.Limit)
			}
		})
	}
}

func TestFetchGoesOnWithAnotherPeer(t *testing.T) {
	data := oddtree.Pattern(5, 12<<20)
	store := memStore()
	res := importBytes(t, store, data)
	first, second := startNode(t, store), startNode(t, store)
	kept := newCollect()
	holder := startNode(t, kept)
	var gone sync.Once
	_, err := holder.Fetch(testContext(t), FetchOptions{
		Root: res.Root, From: append(first.Addrs(), second.Addrs()...), Limit: res.Size, Parallel: 2,
		Visit: func(b blocks.Block) error {
			gone.Do(func() { _ = first.Host().Close() })
			return kept.visit(b)
		},
	})
	if err != nil || kept.size != res.Size {
		t.Fatalf("%d of %d bytes, %v", kept.size, res.Size, err)
	}
}

// liar serves other bytes than were asked for.
type liar struct{ blockstore.Blockstore }

func (l liar) Get(ctx context.Context, c cid.Cid) (blocks.Block, error) {
	b, err := l.Blockstore.Get(ctx, c)
	if err != nil {
		return nil, err
	}
	data := bytes.Clone(b.RawData())
	data[len(data)/2] ^= 1
	return blocks.NewBlockWithCid(data, c)
}

func TestFetchIgnoresLies(t *testing.T) {
	store := memStore()
	res := importBytes(t, store, oddtree.Pattern(6, 3<<20))
	cheat := startNode(t, liar{store})
	holder := startNode(t, nil)
	kept := newCollect()
	_, err := holder.Fetch(testContext(t), FetchOptions{Root: res.Root, From: cheat.Addrs(), Limit: res.Size,
		Visit: kept.visit, Stall: 500 * time.Millisecond})
	if !errors.Is(err, ErrStalled) || len(kept.cids) != 0 {
		t.Errorf("%d blocks, %v", len(kept.cids), err)
	}
	honest := startNode(t, store)
	_, err = holder.Fetch(testContext(t), FetchOptions{Root: res.Root, From: append(cheat.Addrs(), honest.Addrs()...), Limit: res.Size, Visit: kept.visit})
	if err != nil || kept.size != res.Size {
		t.Errorf("beside an honest peer: %d bytes, %v", kept.size, err)
	}
}

func TestSessionStoresNothing(t *testing.T) {
	store := memStore()
	data := oddtree.Pattern(7, 3<<20)
	res := importBytes(t, store, data)
	owner := startNode(t, store)
	own := memStore()
	reader := startNode(t, own)
	dest := filepath.Join(t.TempDir(), "out")
	ctx := testContext(t)
	var told int64
	if err := Export(ctx, res.Root, reader.Session(ctx, owner.Addrs()...), dest, func(n int64) { told += n }); err != nil {
		t.Fatal(err)
	}
	got, err := os.ReadFile(dest)
	if err != nil || !bytes.Equal(got, data) || told != int64(len(data)) {
		t.Errorf("got %d bytes, told %d, %v", len(got), told, err)
	}
	keys, err := own.AllKeysChan(ctx)
	if err != nil {
		t.Fatal(err)
	}
	for k := range keys {
		t.Errorf("stored %s", k)
	}
}

func TestFetchOverQUICFromPublicNode(t *testing.T) {
	store := memStore()
	res := importBytes(t, store, oddtree.Pattern(10, 2<<20))
	quic := []string{"/ip4/127.0.0.1/udp/0/quic-v1"}
	owner := startConfig(t, Config{Store: store, Listen: quic})
	holder := startConfig(t, Config{Listen: quic})
	kept := newCollect()
	if _, err := holder.Fetch(testContext(t), FetchOptions{Root: res.Root, From: owner.Addrs(), Limit: res.Size, Visit: kept.visit}); err != nil {
		t.Fatal(err)
	}
	for _, c := range holder.Host().Network().Conns() {
		if !strings.Contains(c.RemoteMultiaddr().String(), "quic-v1") {
			t.Errorf("connected over %s", c.RemoteMultiaddr())
		}
	}
}

func TestAnnouncedAddresses(t *testing.T) {
	n := startConfig(t, Config{Listen: []string{"/ip4/127.0.0.1/tcp/0"}, Announce: []string{"/dns4/node.example/tcp/4001"}})
	want := "/dns4/node.example/tcp/4001/p2p/" + n.Host().ID().String()
	if got := n.Addrs(); len(got) != 1 || got[0] != want {
		t.Errorf("%v, want %s", got, want)
	}
	for _, cfg := range []Config{
		{},
		{Identity: n.Host().Peerstore().PrivKey(n.Host().ID()), Announce: []string{"node.example"}},
		{Identity: n.Host().Peerstore().PrivKey(n.Host().ID()), Bootstrap: []string{"/ip4/127.0.0.1/tcp/1"}},
		{Identity: n.Host().Peerstore().PrivKey(n.Host().ID()), Listen: []string{"127.0.0.1:4001"}},
	} {
		if _, err := New(t.Context(), cfg); err == nil {
			t.Errorf("%+v was taken", cfg)
		}
	}
}

// An order's addresses are written by a stranger: they make us dial a few peers at most.
func TestKnownPeersAreFew(t *testing.T) {
	var addrs []string
	for i := range 1000 {
		_, key, err := crypto.GenerateEd25519Key(rand.Reader)
		if err != nil {
			t.Fatal(err)
		}
		id, err := peer.IDFromPublicKey(key)
		if err != nil {
			t.Fatal(err)
		}
		addrs = append(addrs, fmt.Sprintf("/ip4/127.0.0.1/tcp/%d/p2p/%s", 1+i, id))
	}
	if got := knownPeers(addrs); len(got) != maxFrom {
		t.Errorf("%d peers, want %d", len(got), maxFrom)
	}
	same := make([]string, 1000)
	for i := range same {
		same[i] = fmt.Sprintf("/ip4/127.0.0.1/tcp/%d%s", 1+i, addrs[0][strings.Index(addrs[0], "/p2p/"):])
	}
	if got := knownPeers(same); len(got) != 1 || len(got[0].Addrs) > 4*maxFrom {
		t.Errorf("%d peers with %d addresses", len(got), len(got[0].Addrs))
	}
}

// The links that wait are bounded, whatever shape a DAG has.
func TestPendingLinksAreBounded(t *testing.T) {
	w := &walk{opts: FetchOptions{MaxBlocks: 2 * maxPending}, seen: map[blockKey]struct{}{}, stack: make([]cid.Cid, maxPending-1)}
	link := func(s string) []cid.Cid { return []cid.Cid{blocks.NewBlock([]byte(s)).Cid()} }
	if err := w.push(link("a")); err != nil {
		t.Errorf("the last that fits: %v", err)
	}
	if err := w.push(link("a")); err != nil {
		t.Errorf("one that was seen: %v", err)
	}
	if err := w.push(link("b")); !errors.Is(err, ErrTooLarge) {
		t.Errorf("one too many: %v", err)
	}
}

func TestIdentity(t *testing.T) {
	path := filepath.Join(t.TempDir(), "content", "identity")
	a, err := LoadIdentity(path)
	if err != nil {
		t.Fatal(err)
	}
	b, err := LoadIdentity(path)
	if err != nil || !a.Equals(b) || a.Type() != crypto.Ed25519 {
		t.Errorf("loaded another key, %v", err)
	}
	info, err := os.Stat(path)
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("mode %v, %v", info.Mode(), err)
	}
	if err := os.Chmod(path, 0o640); err != nil {
		t.Fatal(err)
	}
	if _, err := LoadIdentity(path); err == nil {
		t.Error("a key that others can read was taken")
	}
	junk := filepath.Join(t.TempDir(), "junk")
	if err := os.WriteFile(junk, []byte("junk"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := LoadIdentity(junk); err == nil {
		t.Error("junk was taken for a key")
	}
}
