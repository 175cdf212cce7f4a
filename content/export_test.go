package content

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/cella-network/cella/content/oddtree"
	"github.com/ipfs/boxo/blockservice"
	"github.com/ipfs/boxo/blockstore"
	"github.com/ipfs/boxo/ipld/merkledag"
	"github.com/ipfs/boxo/ipld/unixfs"
	unixfsio "github.com/ipfs/boxo/ipld/unixfs/io"
	blocks "github.com/ipfs/go-block-format"
	"github.com/ipfs/go-cid"
	ipld "github.com/ipfs/go-ipld-format"
)

func dagOver(store blockstore.Blockstore) ipld.DAGService {
	return merkledag.NewDAGService(blockservice.New(store, nil))
}

func TestExportRoundTrip(t *testing.T) {
	tests := map[string]func(path string) error{
		"empty file": file(0),
		"file":       file(5<<20 + 1),
		"odd tree":   oddtree.Write,
		"sharded":    wide(oddtree.Widest + 1),
	}
	for name, make := range tests {
		t.Run(name, func(t *testing.T) {
			src, dest := filepath.Join(t.TempDir(), "src"), filepath.Join(t.TempDir(), "dest")
			if err := make(src); err != nil {
				t.Fatal(err)
			}
			store := memStore()
			res := mustImport(t, src, store)
			var told int64
			if err := Export(testContext(t), res.Root, dagOver(store), dest, func(n int64) { told += n }); err != nil {
				t.Fatal(err)
			}
			sameTree(t, src, dest)
			if told != res.Bytes {
				t.Errorf("told of %d bytes, wrote %d", told, res.Bytes)
			}
			if again := mustImport(t, dest, memStore()); again.Root != res.Root {
				t.Errorf("the copy's root is %s, want %s", again.Root, res.Root)
			}
			onlyEntry(t, dest)
		})
	}
}

// onlyEntry fails if anything lies beside path.
func onlyEntry(t *testing.T, path string) {
	t.Helper()
	entries, err := os.ReadDir(filepath.Dir(path))
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		if e.Name() != filepath.Base(path) {
			t.Errorf("left behind: %q", e.Name())
		}
	}
}

func TestExportKeepsWhatIsThere(t *testing.T) {
	store := memStore()
	res := importBytes(t, store, []byte("new"))
	dir := t.TempDir()
	for name, make := range map[string]func(string) error{
		"file":          func(p string) error { return os.WriteFile(p, []byte("old"), 0o644) },
		"directory":     func(p string) error { return os.Mkdir(p, 0o755) },
		"dangling link": func(p string) error { return os.Symlink("nowhere", p) },
	} {
		dest := filepath.Join(dir, name)
		if err := make(dest); err != nil {
			t.Fatal(err)
		}
		if err := Export(testContext(t), res.Root, dagOver(store), dest, nil); !errors.Is(err, fs.ErrExist) {
			t.Errorf("%s: %v", name, err)
		}
	}
	// Also what appears while the export runs.
	dest := filepath.Join(t.TempDir(), "late")
	err := Export(testContext(t), res.Root, dagOver(store), dest, func(int64) {
		if err := os.WriteFile(dest, []byte("old"), 0o644); err != nil {
			t.Error(err)
		}
	})
	if !errors.Is(err, fs.ErrExist) {
		t.Errorf("late: %v", err)
	}
	if b, err := os.ReadFile(dest); err != nil || string(b) != "old" {
		t.Errorf("overwritten with %q, %v", b, err)
	}
	onlyEntry(t, dest)
}

// entry is one link of a hostile directory.
type entry struct {
	name string
	node ipld.Node
}

func putDir(t *testing.T, dag ipld.DAGService, entries ...entry) *merkledag.ProtoNode {
	t.Helper()
	dir := unixfs.EmptyDirNode()
	if err := dir.SetCidBuilder(cidBuilder); err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		if err := dag.Add(t.Context(), e.node); err != nil {
			t.Fatal(err)
		}
		link, err := ipld.MakeLink(e.node)
		if err != nil {
			t.Fatal(err)
		}
		if err := dir.AddRawLink(e.name, link); err != nil {
			t.Fatal(err)
		}
	}
	if err := dag.Add(t.Context(), dir); err != nil {
		t.Fatal(err)
	}
	return dir
}

func linkNode(t *testing.T, target string) ipld.Node {
	t.Helper()
	data, err := unixfs.SymlinkData(target)
	if err != nil {
		t.Fatal(err)
	}
	return merkledag.NodeWithData(data)
}

func TestExportRefusesHostileDirectories(t *testing.T) {
	dag := dagOver(memStore())
	evil := merkledag.NewRawNode([]byte("evil"))
	outside := t.TempDir()
	sub := putDir(t, dag, entry{"evil", evil})

	lying := unixfs.NewFSNode(unixfs.TFile)
	lying.AddBlockSize(1000)
	lyingData, err := lying.GetBytes()
	if err != nil {
		t.Fatal(err)
	}
	liar := merkledag.NodeWithData(lyingData)
	if err := liar.AddNodeLink("", evil); err != nil {
		t.Fatal(err)
	}

	tests := []struct {
		name    string
		entries []entry
		want    error
	}{
		{"parent", []entry{{"..", evil}}, ErrBadName},
		{"itself", []entry{{".", evil}}, ErrBadName},
		{"no name", []entry{{"", evil}}, ErrBadName},
		{"path out", []entry{{"../evil", evil}}, ErrBadName},
		{"path down", []entry{{"a/evil", evil}}, ErrBadName},
		{"absolute", []entry{{outside + "/evil", evil}}, ErrBadName},
		{"NUL", []entry{{"evil\x00.txt", evil}}, ErrBadName},
		{"too long", []entry{{strings.Repeat("x", 256), evil}}, ErrBadName},
		{"twice", []entry{{"a", evil}, {"a", sub}}, ErrBadName},
		{"directory over link", []entry{{"a", linkNode(t, outside)}, {"a", sub}}, ErrBadName},
		{"file over link", []entry{{"a", linkNode(t, outside+"/evil")}, {"a", evil}}, ErrBadName},
		{"directory over link inside", []entry{{"b", sub}, {"c", linkNode(t, "b")}, {"c", sub}}, ErrBadName},
		{"metadata node", []entry{{"a", merkledag.NodeWithData([]byte{0x08, 0x03})}}, ErrUnsupported},
		{"no UnixFS", []entry{{"a", merkledag.NodeWithData([]byte("junk"))}}, nil},
		{"file of a false size", []entry{{"a", liar}}, nil},
	}
	for _, tc := range tests {
		t.Run(tc.name, func(t *testing.T) {
			root := putDir(t, dag, tc.entries...)
			dest := filepath.Join(t.TempDir(), "in", "dest")
			if err := os.Mkdir(filepath.Dir(dest), 0o755); err != nil {
				t.Fatal(err)
			}
			err := Export(testContext(t), root.Cid(), dag, dest, nil)
			if err == nil || tc.want != nil && !errors.Is(err, tc.want) {
				t.Errorf("got %v, want %v", err, tc.want)
			}
			for _, dir := range []string{filepath.Dir(dest), outside} {
				if left, err := os.ReadDir(dir); err != nil || len(left) > 0 {
					t.Errorf("left in %s: %v %v", dir, left, err)
				}
			}
			onlyEntry(t, filepath.Dir(dest))
		})
	}
}

func TestExportRefusesHostileShards(t *testing.T) {
	for _, name := range []string{"../evil", "..", "a/evil", "/etc/evil", "evil\x00"} {
		dag := dagOver(memStore())
		dir, err := unixfsio.NewHAMTDirectory(dag, 0, unixfsio.WithCidBuilder(cidBuilder), unixfsio.WithMaxHAMTFanout(hamtFanout))
		if err != nil {
			t.Fatal(err)
		}
		if err := dir.AddChild(t.Context(), name, merkledag.NewRawNode([]byte("evil"))); err != nil {
			t.Fatal(err)
		}
		root, err := dir.GetNode()
		if err != nil {
			t.Fatal(err)
		}
		dest := filepath.Join(t.TempDir(), "dest")
		if err := Export(testContext(t), root.Cid(), dag, dest, nil); !errors.Is(err, ErrBadName) {
			t.Errorf("%q: %v", name, err)
		}
		onlyEntry(t, dest)
	}
}

// FuzzExport reads any bytes as the root block. Whatever they claim, nothing is left but dest.
func FuzzExport(f *testing.F) {
	leaf := merkledag.NewRawNode([]byte("leaf"))
	link := &ipld.Link{Name: "a", Cid: leaf.Cid(), Size: 4}
	shard, err := unixfs.HAMTShardData([]byte{1}, hamtFanout, 0x22)
	if err != nil {
		f.Fatal(err)
	}
	file := unixfs.NewFSNode(unixfs.TFile)
	file.AddBlockSize(4)
	fileData, err := file.GetBytes()
	if err != nil {
		f.Fatal(err)
	}
	for _, data := range [][]byte{unixfs.FolderPBData(), shard, fileData, {0x08, 0x04, 0x12, 0x01, 'x'}, nil} {
		for _, name := range []string{"a", "00a", "../a", ""} {
			node, named := merkledag.NodeWithData(data), *link
			named.Name = name
			if err := node.AddRawLink(name, &named); err != nil {
				f.Fatal(err)
			}
			f.Add(node.RawData())
		}
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		store := memStore()
		root := cid.NewCidV1(cid.DagProtobuf, blocks.NewBlock(data).Cid().Hash())
		b, err := blocks.NewBlockWithCid(data, root)
		if err != nil {
			t.Fatal(err)
		}
		if err := store.PutMany(t.Context(), []blocks.Block{b, leaf}); err != nil {
			t.Fatal(err)
		}
		dest := filepath.Join(t.TempDir(), "dest")
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
		defer cancel()
		err = Export(ctx, root, dagOver(store), dest, nil)
		if _, statErr := os.Lstat(dest); (statErr == nil) != (err == nil) {
			t.Errorf("exported with %v, found with %v", err, statErr)
		}
		onlyEntry(t, dest)
	})
}

func TestExportNestedTooDeep(t *testing.T) {
	dag := dagOver(memStore())
	node := putDir(t, dag, entry{"inner", putDir(t, dag)})
	dir, err := os.OpenRoot(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	defer dir.Close()
	ex := &exporter{dag: dag, dir: dir, progress: func(int64) {}}
	if err := ex.write(t.Context(), "deep", node, maxDepth-1); !errors.Is(err, ErrBadName) {
		t.Errorf("one too deep: %v", err)
	}
	if err := ex.write(t.Context(), "fits", node, maxDepth-2); err != nil {
		t.Errorf("deepest: %v", err)
	}
}

func TestExportMissingBlockAndCancel(t *testing.T) {
	store := memStore()
	res := importBytes(t, store, oddtree.Pattern(1, 3<<20))
	leaf, err := linksOfRoot(t, store, res)
	if err != nil {
		t.Fatal(err)
	}
	dest := filepath.Join(t.TempDir(), "dest")
	ctx, cancel := context.WithCancel(testContext(t))
	if err := Export(ctx, res.Root, dagOver(store), dest, func(int64) { cancel() }); !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled: %v", err)
	}
	onlyEntry(t, dest)
	if err := store.DeleteBlock(t.Context(), leaf); err != nil {
		t.Fatal(err)
	}
	if err := Export(testContext(t), res.Root, dagOver(store), dest, nil); err == nil {
		t.Error("exported without a block")
	}
	onlyEntry(t, dest)
}

func FuzzCheckName(f *testing.F) {
	for _, s := range append([]string{"", ".", "..", "a/b", "a\x00b", "../x", strings.Repeat("x", 256)}, oddtree.Names...) {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, name string) {
		if checkName(name) != nil {
			return
		}
		if name == "" || filepath.Base(name) != name || !filepath.IsLocal(name) || filepath.Join("d", name) != "d/"+name {
			t.Errorf("%q was taken", name)
		}
	})
}
