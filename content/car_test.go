package content

import (
	"bytes"
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/ipfs/boxo/blockservice"
	"github.com/ipfs/boxo/blockstore"
	"github.com/ipfs/boxo/exchange/offline"
	"github.com/ipfs/boxo/ipld/merkledag"
	blocks "github.com/ipfs/go-block-format"
	"github.com/ipfs/go-cid"
	ipld "github.com/ipfs/go-ipld-format"
	car "github.com/ipld/go-car/v2"
	"github.com/ipld/go-car/v2/storage"
	"github.com/multiformats/go-multihash"

	"github.com/cella-network/cella/content/oddtree"
)

func dagOf(store blockstore.Blockstore) ipld.DAGService {
	return merkledag.NewDAGService(blockservice.New(store, offline.Exchange(store)))
}

// carFile writes blocks, whatever they are, as a CAR.
func carFile(t testing.TB, roots []cid.Cid, list []blocks.Block, opts ...car.Option) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "x.car")
	f, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	w, err := storage.NewWritable(f, roots, append(opts, car.AllowDuplicatePuts(true), car.StoreIdentityCIDs(true))...)
	if err != nil {
		t.Fatal(err)
	}
	for _, b := range list {
		if err := w.Put(t.Context(), b.Cid().KeyString(), b.RawData()); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Finalize(); err != nil {
		t.Fatal(err)
	}
	return path
}

func raw(t testing.TB, data string) blocks.Block {
	t.Helper()
	return hashed(t, data, cid.Raw, multihash.SHA2_256)
}

func hashed(t testing.TB, data string, codec, hash uint64) blocks.Block {
	t.Helper()
	c, err := cid.V1Builder{Codec: codec, MhType: hash}.Sum([]byte(data))
	if err != nil {
		t.Fatal(err)
	}
	return claimed(t, data, c)
}

// claimed is a block under a CID that need not be its own.
func claimed(t testing.TB, data string, c cid.Cid) blocks.Block {
	t.Helper()
	b, err := blocks.NewBlockWithCid([]byte(data), c)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// parent is a dag-pb block that links to others.
func parent(t testing.TB, children ...cid.Cid) blocks.Block {
	t.Helper()
	n := merkledag.NodeWithData([]byte("x"))
	if err := n.SetCidBuilder(cidBuilder); err != nil {
		t.Fatal(err)
	}
	for _, c := range children {
		if err := n.AddRawLink("", &ipld.Link{Cid: c}); err != nil {
			t.Fatal(err)
		}
	}
	return n
}

func cids(list ...blocks.Block) (out []cid.Cid) {
	for _, b := range list {
		out = append(out, b.Cid())
	}
	return out
}

// What goes out as a CAR comes in as it was, and every export of a root is the same file.
func TestCARRoundTrip(t *testing.T) {
	for name, make := range map[string]func(string) error{"odd tree": oddtree.Write, "file": file(3<<20 + 1), "empty file": file(0), "shards": wide(oddtree.Widest + 1), "one leaf": file(10)} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			if err := make(filepath.Join(dir, "in")); err != nil {
				t.Fatal(err)
			}
			store := memStore()
			want := mustImport(t, filepath.Join(dir, "in"), store)
			var told int64
			if err := ExportCAR(t.Context(), want.Root, dagOf(store), filepath.Join(dir, "a.car"), func(n int64) { told += n }); err != nil {
				t.Fatal(err)
			}
			if uint64(told) != want.Size {
				t.Errorf("%d bytes were told, the blocks have %d", told, want.Size)
			}
			other := memStore()
			var read int64
			got, err := ImportCAR(t.Context(), filepath.Join(dir, "a.car"), other, func(n int64) { read += n })
			if err != nil {
				t.Fatal(err)
			}
			if got.Root != want.Root || got.Size != want.Size || got.Blocks != want.Blocks {
				t.Errorf("got %+v, want %+v", got, want)
			}
			if walked := walkStore(t, other, got.Root); walked.size != want.Size {
				t.Errorf("the store has %d bytes, want %d", walked.size, want.Size)
			}
			if err := ExportCAR(t.Context(), got.Root, dagOf(other), filepath.Join(dir, "b.car"), nil); err != nil {
				t.Fatal(err)
			}
			a, err := os.ReadFile(filepath.Join(dir, "a.car"))
			if err != nil {
				t.Fatal(err)
			}
			b, err := os.ReadFile(filepath.Join(dir, "b.car"))
			if err != nil || !bytes.Equal(a, b) {
				t.Errorf("two exports of one root differ (%v)", err)
			}
			if read != int64(len(a)) {
				t.Errorf("%d bytes were told, the file has %d", read, len(a))
			}
		})
	}
}

func TestImportCARTakes(t *testing.T) {
	leaf, extra := raw(t, "leaf"), raw(t, "nobody links to it")
	inline := hashed(t, "inline", cid.Raw, multihash.IDENTITY)
	top := parent(t, leaf.Cid(), leaf.Cid(), inline.Cid())
	old := merkledag.NodeWithData([]byte("old"))
	empty := raw(t, "")
	for name, tc := range map[string]struct {
		path   string
		root   cid.Cid
		blocks int
	}{
		"version 1":                      {carFile(t, cids(top), []blocks.Block{top, leaf}, car.WriteAsCarV1(true)), top.Cid(), 2},
		"version 2, with an index":       {carFile(t, cids(top), []blocks.Block{top, leaf}), top.Cid(), 2},
		"children first":                 {carFile(t, cids(top), []blocks.Block{leaf, top}), top.Cid(), 2},
		"a block twice":                  {carFile(t, cids(top), []blocks.Block{leaf, leaf, top, leaf}), top.Cid(), 2},
		"an inline block":                {carFile(t, cids(top), []blocks.Block{leaf, inline, top}), top.Cid(), 2},
		"blocks that nobody links to":    {carFile(t, cids(top), []blocks.Block{top, extra, leaf}), top.Cid(), 2},
		"a CID of version 0":             {carFile(t, cids(old), []blocks.Block{old}), old.Cid(), 1},
		"the empty block is not in it":   {carFile(t, cids(empty), nil), empty.Cid(), 1},
		"largest block":                  {carFile(t, cids(raw(t, big(maxCARBlock))), []blocks.Block{raw(t, big(maxCARBlock))}), raw(t, big(maxCARBlock)).Cid(), 1},
		"an unlinked block too many":     {carFile(t, cids(leaf), []blocks.Block{leaf, top}), leaf.Cid(), 1},
		"more blocks than go in a batch": {carFile(t, cids(many(t)[0]), many(t)), many(t)[0].Cid(), batchBlocks + 2},
	} {
		t.Run(name, func(t *testing.T) {
			res, err := ImportCAR(t.Context(), tc.path, memStore(), nil)
			if err != nil {
				t.Fatal(err)
			}
			if !res.Root.Equals(tc.root) || res.Blocks != tc.blocks {
				t.Errorf("got %s with %d blocks, want %s with %d", res.Root, res.Blocks, tc.root, tc.blocks)
			}
		})
	}
}

func big(n int) string { return strings.Repeat("x", n) }

// many is a parent and more leaves than one batch takes.
func many(t testing.TB) []blocks.Block {
	var leaves []blocks.Block
	for i := range batchBlocks + 1 {
		leaves = append(leaves, raw(t, strings.Repeat("y", i+1)))
	}
	return append([]blocks.Block{parent(t, cids(leaves...)...)}, leaves...)
}

func TestImportCARRefuses(t *testing.T) {
	leaf := raw(t, "leaf")
	top := parent(t, leaf.Cid())
	whole, err := os.ReadFile(carFile(t, cids(top), []blocks.Block{top, leaf}, car.WriteAsCarV1(true)))
	if err != nil {
		t.Fatal(err)
	}
	written := func(b []byte) string {
		path := filepath.Join(t.TempDir(), "x.car")
		if err := os.WriteFile(path, b, 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	cbor := hashed(t, "\xa0", cid.DagCBOR, multihash.SHA2_256)
	blake := hashed(t, "leaf", cid.Raw, multihash.BLAKE2B_MIN+31)
	weak := hashed(t, "leaf", cid.Raw, multihash.MD5)
	for name, tc := range map[string]struct {
		path string
		want error
		text string
	}{
		"no root":                     {carFile(t, nil, []blocks.Block{leaf}), ErrBadCAR, "it has 0 roots, want one"},
		"two roots":                   {carFile(t, cids(top, leaf), []blocks.Block{top, leaf}), ErrBadCAR, "it has 2 roots, want one"},
		"a block of another content":  {carFile(t, cids(top), []blocks.Block{top, claimed(t, "loaf", leaf.Cid())}), ErrBadCAR, "has other content than its CID says"},
		"a missing leaf":              {carFile(t, cids(top), []blocks.Block{top}), ErrBadCAR, "lacks block " + leaf.Cid().String()},
		"a missing root":              {carFile(t, cids(top), []blocks.Block{leaf}), ErrBadCAR, "lacks block " + top.Cid().String()},
		"another codec":               {carFile(t, cids(cbor), []blocks.Block{cbor}), ErrUnsupported, "is neither raw nor dag-pb"},
		"another codec further below": {carFile(t, cids(top), []blocks.Block{top, leaf, cbor}), ErrUnsupported, "is neither raw nor dag-pb"},
		"a link of another codec":     {carFile(t, cids(parent(t, cbor.Cid())), []blocks.Block{parent(t, cbor.Cid())}), ErrUnsupported, "is neither raw nor dag-pb"},
		"another hash":                {carFile(t, cids(blake), []blocks.Block{blake}), ErrUnsupported, "only sha2-256 can be stored"},
		"a weak hash":                 {carFile(t, cids(weak), []blocks.Block{weak}), ErrUnsupported, ""},
		"an inline root":              {carFile(t, cids(hashed(t, "in", cid.Raw, multihash.IDENTITY)), nil), ErrUnsupported, "holds its content itself"},
		"a block that is too large":   {carFile(t, cids(raw(t, big(maxCARBlock+1))), []blocks.Block{raw(t, big(maxCARBlock+1))}), ErrUnsupported, "at most 1048576 can be stored"},
		"a section of a terabyte":     {written(append(bytes.Clone(whole), append([]byte{0x80, 0x80, 0x80, 0x80, 0x80, 0x20}, leaf.Cid().Bytes()...)...)), ErrUnsupported, "can be stored"},
		"cut off within a block":      {written(whole[:len(whole)-1]), ErrBadCAR, "unexpected EOF"},
		"cut off within a CID":        {written(whole[:len(whole)-len("leaf")-5]), ErrBadCAR, ""},
		"cut off within a length":     {written(append(bytes.Clone(whole), 0x80)), ErrBadCAR, ""},
		"cut off within the header":   {written(whole[:20]), ErrBadCAR, ""},
		"an empty file":               {written(nil), ErrBadCAR, ""},
		"no CAR at all":               {written([]byte("a plain text file that is no archive of anything")), ErrBadCAR, ""},
		"a dag-pb block that can't be read": {carFile(t, cids(hashed(t, "\xff\xff", cid.DagProtobuf, multihash.SHA2_256)),
			[]blocks.Block{hashed(t, "\xff\xff", cid.DagProtobuf, multihash.SHA2_256)}), nil, "block"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := ImportCAR(t.Context(), tc.path, memStore(), nil)
			if err == nil || (tc.want != nil && !errors.Is(err, tc.want)) || !strings.Contains(err.Error(), tc.text) {
				t.Errorf("got %v, want %v with %q", err, tc.want, tc.text)
			}
		})
	}
	if _, err := ImportCAR(t.Context(), filepath.Join(t.TempDir(), "none"), memStore(), nil); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("no file: %v", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := ImportCAR(ctx, written(whole), memStore(), nil); !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled: %v", err)
	}
}

// What fails leaves nothing behind.
func TestExportCARIsWholeOrAbsent(t *testing.T) {
	dir := t.TempDir()
	leaf := raw(t, "leaf")
	top := parent(t, leaf.Cid())
	store := memStore()
	if err := store.Put(t.Context(), top); err != nil {
		t.Fatal(err)
	}
	dest := filepath.Join(dir, "out.car")
	if err := ExportCAR(t.Context(), top.Cid(), dagOf(store), dest, nil); !ipld.IsNotFound(err) {
		t.Errorf("a missing block: %v", err)
	}
	if err := os.WriteFile(dest, []byte("mine"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := ExportCAR(t.Context(), top.Cid(), dagOf(store), dest, nil); !errors.Is(err, os.ErrExist) {
		t.Errorf("a file that is there: %v", err)
	}
	if err := ExportCAR(t.Context(), top.Cid(), dagOf(store), filepath.Join(dir, "no", "out.car"), nil); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("no folder: %v", err)
	}
	left, err := os.ReadDir(dir)
	if err != nil || len(left) != 1 {
		t.Errorf("it left %v, %v", left, err)
	}
}

// Whatever a CAR says, the import neither panics nor puts a block under a CID that isn't its own.
func FuzzImportCAR(f *testing.F) {
	leaf := raw(f, "leaf")
	top := parent(f, leaf.Cid())
	for _, opts := range [][]car.Option{nil, {car.WriteAsCarV1(true)}} {
		b, err := os.ReadFile(carFile(f, cids(top), []blocks.Block{top, leaf}, opts...))
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		path := filepath.Join(t.TempDir(), "x.car")
		if err := os.WriteFile(path, b, 0o600); err != nil {
			t.Fatal(err)
		}
		store := memStore()
		res, err := ImportCAR(t.Context(), path, store, nil)
		if err != nil {
			return
		}
		if walked := walkStore(t, store, res.Root); walked.size != res.Size || walked.blocks != res.Blocks {
			t.Errorf("result %+v, but the root leads to %+v", res, walked)
		}
	})
}
