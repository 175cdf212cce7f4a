package content

import (
	"context"
	"errors"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/cella-network/cella/content/oddtree"
	"github.com/ipfs/boxo/blockstore"
	"github.com/ipfs/boxo/ipld/merkledag"
	"github.com/ipfs/boxo/ipld/unixfs"
	blocks "github.com/ipfs/go-block-format"
	"github.com/ipfs/go-cid"
)

// TestImportKnownRoots holds the profile: these roots are written on chain, and kubo gives the same (package interop).
func TestImportKnownRoots(t *testing.T) {
	tests := []struct {
		name   string
		make   func(path string) error
		root   string
		blocks int // 0: not fixed here
	}{
		{"empty file", file(0), "bafkreihdwdcefgh4dqkjv67uzcmw7ojee6xedzdetojuzjevtenxquvyku", 1},
		{"one byte", file(1), "bafkreiazcuw57oqzhnnqt7fybun3uusi6nqcpqdoqftq3nnhcrx3mvgu5q", 1},
		{"1 MiB", file(1 << 20), "bafkreigqkjlfhmze6r4q6ntr6gxt7kdbooraeo4skyqesqjnd33nxt37na", 1},
		{"1 MiB and a byte", file(1<<20 + 1), "bafybeignyervryqsdbm66zb6ie6u5bd6s7tboglyifaws5nkin74cgeev4", 3},
		{"3 MiB and a byte", file(3<<20 + 1), "bafybeihkvjfjde7u22fwc3gdiezoyvayaxuqkrvv36rrqa3n7pn5frzedq", 5},
		{"empty directory", wide(0), "bafybeiczsscdsbs7ffqz55asqdf3smv6klcw3gofszvwlyarci47bgf354", 1},
		{"odd tree", oddtree.Write, "bafybeiengrao7mbgqdx4vahoc225qfisebu7vedobgz3wlebjzgryfmrru", 0},
		{"widest plain directory", wide(oddtree.Widest), "bafybeigjpbmno23v75cchusi22v2on44cb77q6por5sdtat3bbcmoai3d4", 2},
		{"smallest sharded directory", wide(oddtree.Widest + 1), "bafybeihfpgkel36plgtbchabm2zsqsmv7rywckzvcfwh4ghbcxw6gja3rm", 230},
	}
	for _, tc := range tests {
		t.Run(tc.name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "x")
			if err := tc.make(path); err != nil {
				t.Fatal(err)
			}
			store := memStore()
			res := mustImport(t, path, store)
			if res.Root.String() != tc.root {
				t.Errorf("root %s, want %s", res.Root, tc.root)
			}
			if tc.blocks != 0 && res.Blocks != tc.blocks {
				t.Errorf("%d blocks, want %d", res.Blocks, tc.blocks)
			}
			walked := walkStore(t, store, res.Root)
			if walked.blocks != res.Blocks || walked.size != res.Size {
				t.Errorf("result %+v, but the root leads to %+v", res, walked)
			}
		})
	}
}

func file(n int) func(string) error {
	return func(path string) error { return oddtree.File(path, 0, n) }
}

func wide(n int) func(string) error {
	return func(path string) error {
		if err := os.Mkdir(path, 0o755); err != nil {
			return err
		}
		return oddtree.Wide(path, n)
	}
}

type walked struct {
	blocks int
	size   uint64
}

// walkStore follows the links from root, and fails if the store holds anything else.
func walkStore(t *testing.T, store blockstore.Blockstore, root cid.Cid) walked {
	t.Helper()
	var sum walked
	seen := map[blockKey]bool{keyOf(root): true}
	for stack := []cid.Cid{root}; len(stack) > 0; {
		c := stack[0]
		stack = stack[1:]
		b, err := store.Get(t.Context(), c)
		if err != nil {
			t.Fatal(err)
		}
		sum.blocks++
		sum.size += uint64(len(b.RawData()))
		links, err := linksOf(b)
		if err != nil {
			t.Fatal(err)
		}
		for _, l := range links {
			if !seen[keyOf(l)] {
				seen[keyOf(l)] = true
				stack = append(stack, l)
			}
		}
	}
	keys, err := store.AllKeysChan(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	total := 0
	for range keys {
		total++
	}
	if total != sum.blocks {
		t.Errorf("the store holds %d blocks, %d are under the root", total, sum.blocks)
	}
	return sum
}

func TestImportCounts(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "x")
	if err := oddtree.Write(dir); err != nil {
		t.Fatal(err)
	}
	var told int64
	res, err := Import(testContext(t), dir, memStore(), func(n int64) { told += n })
	if err != nil {
		t.Fatal(err)
	}
	if res.Files != oddtree.Files || res.Links != 5 || told != res.Bytes {
		t.Errorf("%+v, told %d", res, told)
	}
	// The same tree under another name and mode, reached over a link, has the same root.
	other := filepath.Join(t.TempDir(), "y")
	if err := os.Rename(dir, other); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(filepath.Join(other, "a"), 0o700); err != nil {
		t.Fatal(err)
	}
	link := filepath.Join(t.TempDir(), "link")
	if err := os.Symlink(other, link); err != nil {
		t.Fatal(err)
	}
	if again := mustImport(t, link, memStore()); again != res {
		t.Errorf("%+v, then %+v", res, again)
	}
}

func TestImportRefuses(t *testing.T) {
	fifo := func(t *testing.T, path string) {
		if err := syscall.Mkfifo(path, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	socket := func(t *testing.T, path string) {
		l, err := net.Listen("unix", path)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { l.Close() })
	}
	for name, make := range map[string]func(*testing.T, string){"fifo": fifo, "socket": socket} {
		t.Run(name, func(t *testing.T) {
			dir, err := os.MkdirTemp("", "cella") // a socket's path must be short
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { os.RemoveAll(dir) })
			path := filepath.Join(dir, "special")
			make(t, path)
			for _, p := range []string{path, dir} {
				_, err := Import(testContext(t), p, memStore(), nil)
				if !errors.Is(err, ErrUnsupported) || !containsPath(err, path) {
					t.Errorf("import %s: %v", p, err)
				}
			}
		})
	}
	if _, err := Import(testContext(t), "/dev/null", memStore(), nil); !errors.Is(err, ErrUnsupported) {
		t.Errorf("device: %v", err)
	}
	if _, err := Import(testContext(t), filepath.Join(t.TempDir(), "absent"), memStore(), nil); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("absent: %v", err)
	}
}

// A file that became a link or a fifo after it was listed is neither followed nor waited for.
func TestImportRefusesSwappedFile(t *testing.T) {
	dir := t.TempDir()
	fifo, link := filepath.Join(dir, "fifo"), filepath.Join(dir, "link")
	if err := syscall.Mkfifo(fifo, 0o644); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink("/etc/passwd", link); err != nil {
		t.Fatal(err)
	}
	im := &importer{ctx: testContext(t), sink: newSink(t.Context(), memStore()), progress: func(int64) {}}
	for _, path := range []string{fifo, link} {
		if _, err := im.addFile(path); err == nil {
			t.Errorf("%s was read", path)
		}
	}
}

type failingStore struct{ blockstore.Blockstore }

var errDiskFull = errors.New("disk full")

func (failingStore) Put(context.Context, blocks.Block) error       { return errDiskFull }
func (failingStore) PutMany(context.Context, []blocks.Block) error { return errDiskFull }

func TestImportReportsFailures(t *testing.T) {
	path := filepath.Join(t.TempDir(), "x")
	if err := oddtree.File(path, 1, 40<<20); err != nil {
		t.Fatal(err)
	}
	if _, err := Import(testContext(t), path, failingStore{memStore()}, nil); !errors.Is(err, errDiskFull) {
		t.Errorf("full disk: %v", err)
	}
	ctx, cancel := context.WithCancel(testContext(t))
	var read int64
	_, err := Import(ctx, path, memStore(), func(n int64) { read += n; cancel() })
	if !errors.Is(err, context.Canceled) || read > 2<<20 {
		t.Errorf("cancelled after %d bytes: %v", read, err)
	}
}

func TestStoreNeverServesDamage(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "content", "blocks")
	src := filepath.Join(t.TempDir(), "x")
	if err := oddtree.File(src, 8, 2<<20); err != nil {
		t.Fatal(err)
	}
	store, err := OpenStore(dir)
	if err != nil {
		t.Fatal(err)
	}
	res := mustImport(t, src, store)
	if _, err := OpenStore(dir); err == nil {
		t.Error("two have the store at once")
	}
	if err := store.Close(); err != nil {
		t.Fatal(err)
	}
	// What a power cut may leave: files of the right name without their bytes.
	err = filepath.WalkDir(dir, func(path string, _ fs.DirEntry, err error) error {
		if filepath.Ext(path) == ".data" {
			return os.Truncate(path, 7)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	if store, err = OpenStore(dir); err != nil {
		t.Fatal(err)
	}
	defer store.Close()
	if _, err := store.Get(t.Context(), res.Root); !errors.Is(err, blockstore.ErrHashMismatch) {
		t.Errorf("damaged block: %v", err)
	}
	mustImport(t, src, store)
	if got := walkStore(t, store, res.Root); got.size != res.Size {
		t.Errorf("after importing again: %+v", got)
	}
}

func TestSymlinkNode(t *testing.T) {
	dir := t.TempDir()
	if err := os.Symlink("../target", filepath.Join(dir, "l")); err != nil {
		t.Fatal(err)
	}
	store := memStore()
	res := mustImport(t, dir, store)
	dag := merkledag.NewReadOnlyDagService(&reader{node: &Node{store: store}})
	node, err := dag.Get(t.Context(), res.Root)
	if err != nil {
		t.Fatal(err)
	}
	child, err := dag.Get(t.Context(), node.Links()[0].Cid)
	if err != nil {
		t.Fatal(err)
	}
	fsNode, err := unixfs.ExtractFSNode(child)
	if err != nil || fsNode.Type() != unixfs.TSymlink || string(fsNode.Data()) != "../target" {
		t.Errorf("%v %v", fsNode, err)
	}
}

func containsPath(err error, path string) bool {
	return err != nil && strings.Contains(err.Error(), path)
}

// linksOfRoot is the last link of an imported file's root.
func linksOfRoot(t *testing.T, store blockstore.Blockstore, res Result) (cid.Cid, error) {
	t.Helper()
	b, err := store.Get(t.Context(), res.Root)
	if err != nil {
		return cid.Undef, err
	}
	links, err := linksOf(b)
	if err != nil {
		return cid.Undef, err
	}
	return links[len(links)-1], nil
}
