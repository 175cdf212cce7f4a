package interop

import (
	"bufio"
	"bytes"
	"context"
	"crypto/rand"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/cella-network/cella/content"
	"github.com/cella-network/cella/content/oddtree"
	"github.com/ipfs/boxo/blockstore"
	blocks "github.com/ipfs/go-block-format"
	"github.com/ipfs/go-datastore"
	dssync "github.com/ipfs/go-datastore/sync"
	"github.com/libp2p/go-libp2p/core/crypto"
)

// ipfs is the path of the kubo binary.
var ipfs string

func TestMain(m *testing.M) {
	var err error
	if ipfs, err = buildKubo(); err != nil {
		fmt.Fprintln(os.Stderr, "kubo can't be built:", err)
		os.Exit(1)
	}
	os.Exit(m.Run())
}

// buildKubo builds into build/ of the repository; the first build takes minutes, later ones a moment.
func buildKubo() (string, error) {
	path, err := filepath.Abs("../../build/kubo/ipfs")
	if err != nil {
		return "", err
	}
	cmd := exec.Command("go", "build", "-o", path, "github.com/ipfs/kubo/cmd/ipfs")
	cmd.Dir = "kubo"
	cmd.Stderr = os.Stderr
	return path, cmd.Run()
}

// kubo is one repository under the import profile that cella-v1 claims to equal, without bootstrap peers, on loopback.
type kubo struct {
	t    *testing.T
	repo string
}

func newKubo(t *testing.T) *kubo {
	t.Helper()
	k := &kubo{t: t, repo: filepath.Join(t.TempDir(), "repo")}
	k.run("init", "--profile=unixfs-v1-2025,test")
	if out := k.run("version", "--number"); out != "0.41.0" {
		t.Fatalf("kubo %s, want 0.41.0", out)
	}
	return k
}

func (k *kubo) command(ctx context.Context, args ...string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, ipfs, args...)
	cmd.Env = append(os.Environ(), "IPFS_PATH="+k.repo, "IPFS_TELEMETRY=off")
	return cmd
}

// run gives the trimmed output of one command.
func (k *kubo) run(args ...string) string {
	k.t.Helper()
	ctx, cancel := context.WithTimeout(k.t.Context(), time.Minute)
	defer cancel()
	cmd := k.command(ctx, args...)
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	if err := cmd.Run(); err != nil {
		k.t.Fatalf("ipfs %s: %v\n%s", strings.Join(args, " "), err, stderr.String())
	}
	return strings.TrimSpace(stdout.String())
}

// start runs the daemon until the test ends.
func (k *kubo) start() {
	k.t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	cmd := k.command(ctx, "daemon")
	cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGTERM) }
	cmd.WaitDelay = 20 * time.Second
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		k.t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		k.t.Fatal(err)
	}
	ready, ended := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(ended)
		for lines := bufio.NewScanner(out); lines.Scan(); {
			if lines.Text() == "Daemon is ready" {
				close(ready)
			}
		}
	}()
	k.t.Cleanup(func() {
		cancel()
		<-ended
		_ = cmd.Wait() // ended by our signal
	})
	select {
	case <-ready:
	case <-ended:
		k.t.Fatal("the daemon ended")
	case <-time.After(time.Minute):
		k.t.Fatal("the daemon doesn't get ready")
	}
}

// addr is a multiaddr of the running daemon.
func (k *kubo) addr() string {
	k.t.Helper()
	addr := regexp.MustCompile(`/ip4/127\.0\.0\.1/tcp/\d+/p2p/\w+`).FindString(k.run("id"))
	if addr == "" {
		k.t.Fatal("the daemon has no loopback address")
	}
	return addr
}

func memStore() blockstore.Blockstore {
	return blockstore.NewBlockstore(dssync.MutexWrap(datastore.NewMapDatastore()))
}

func startNode(t *testing.T, store blockstore.Blockstore, bootstrap ...string) *content.Node {
	t.Helper()
	key, _, err := crypto.GenerateEd25519Key(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	n, err := content.New(t.Context(), content.Config{
		Identity: key, Store: store, Listen: []string{"/ip4/127.0.0.1/tcp/0"}, Bootstrap: bootstrap, Loopback: true,
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { n.Close() })
	return n
}

func testContext(t *testing.T) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	t.Cleanup(cancel)
	return ctx
}

// sources are the inputs of which both sides must make the same root.
func sources() map[string]func(path string) error {
	file := func(n int) func(string) error {
		return func(path string) error { return oddtree.File(path, 1, n) }
	}
	wide := func(n int) func(string) error {
		return func(path string) error { return oddtree.Wide(path, n) }
	}
	return map[string]func(string) error{
		"empty file":                 file(0),
		"small file":                 file(1000),
		"1 MiB":                      file(1 << 20),
		"1 MiB and a byte":           file(1<<20 + 1),
		"3 MiB and a byte":           file(3<<20 + 1),
		"two levels of nodes":        func(path string) error { return sparse(path, 1025<<20+5) },
		"empty directory":            func(path string) error { return os.Mkdir(path, 0o755) },
		"odd tree":                   oddtree.Write,
		"widest plain directory":     wide(oddtree.Widest),
		"smallest sharded directory": wide(oddtree.Widest + 1),
		"two levels of shards":       wide(4000),
	}
}

// sparse makes a file of n bytes that takes no space: zeros.
func sparse(path string, n int64) error {
	f, err := os.Create(path)
	if err != nil {
		return err
	}
	if err := f.Truncate(n); err != nil {
		f.Close()
		return err
	}
	return f.Close()
}

func TestSameRoot(t *testing.T) {
	k := newKubo(t)
	for name, make := range sources() {
		t.Run(name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "source")
			if err := make(path); err != nil {
				t.Fatal(err)
			}
			ours, err := content.Import(testContext(t), path, memStore(), nil)
			if err != nil {
				t.Fatal(err)
			}
			theirs := k.run("add", "--only-hash", "--recursive", "--hidden", "--quieter", "--progress=false", path)
			if ours.Root.String() != theirs {
				t.Errorf("we say %s, kubo says %s", ours.Root, theirs)
			}
		})
	}
}

func TestKuboFetchesFromUs(t *testing.T) {
	dir := t.TempDir()
	src := filepath.Join(dir, "src")
	if err := oddtree.Write(src); err != nil {
		t.Fatal(err)
	}
	if err := oddtree.File(filepath.Join(src, "large"), 9, 20<<20+3); err != nil {
		t.Fatal(err)
	}
	if err := oddtree.Wide(filepath.Join(src, "wide"), oddtree.Widest+1); err != nil {
		t.Fatal(err)
	}
	store := memStore()
	res, err := content.Import(testContext(t), src, store, nil)
	if err != nil {
		t.Fatal(err)
	}
	node := startNode(t, store)
	k := newKubo(t)
	k.start()
	k.run("swarm", "connect", loopback(t, node))
	k.run("pin", "add", "--progress=false", res.Root.String())
	// All that is under the root came over, and makes the same files.
	stat := k.run("dag", "stat", "--progress=false", res.Root.String())
	if !strings.Contains(stat, fmt.Sprint(res.Size)) || !strings.Contains(stat, fmt.Sprint(res.Blocks)) {
		t.Errorf("imported %+v, kubo says\n%s", res, stat)
	}
	k.run("get", "--progress=false", "--output", filepath.Join(dir, "got"), res.Root.String())
	if again := k.run("add", "--only-hash", "--recursive", "--hidden", "--quieter", "--progress=false", filepath.Join(dir, "got")); again != res.Root.String() {
		t.Errorf("kubo's copy has root %s, want %s", again, res.Root)
	}
}

func TestWeFetchFromKubo(t *testing.T) {
	dir := t.TempDir()
	src := filepath.Join(dir, "src")
	if err := oddtree.Write(src); err != nil {
		t.Fatal(err)
	}
	if err := oddtree.File(filepath.Join(src, "large"), 9, 20<<20+3); err != nil {
		t.Fatal(err)
	}
	want, err := content.Import(testContext(t), src, memStore(), nil)
	if err != nil {
		t.Fatal(err)
	}
	k := newKubo(t)
	k.start()
	if root := k.run("add", "--recursive", "--hidden", "--quieter", "--progress=false", src); root != want.Root.String() {
		t.Fatalf("kubo's root is %s, want %s", root, want.Root)
	}
	store := memStore()
	node := startNode(t, store)
	stat, err := node.Fetch(testContext(t), content.FetchOptions{
		Root: want.Root, From: []string{k.addr()}, Limit: want.Size, Visit: putIn(t, store),
	})
	if err != nil || stat.Size != want.Size || stat.Blocks != uint64(want.Blocks) {
		t.Fatalf("%+v, want %+v, %v", stat, want, err)
	}
	dest := filepath.Join(dir, "got")
	ctx := testContext(t)
	if err := content.Export(ctx, want.Root, node.Session(ctx), dest, nil); err != nil {
		t.Fatal(err)
	}
	if again, err := content.Import(testContext(t), dest, memStore(), nil); err != nil || again.Root != want.Root {
		t.Errorf("the copy has root %s, want %s, %v", again.Root, want.Root, err)
	}
}

// Both sides know only a third node, which has nothing, and find one another in the DHT.
func TestThroughDHT(t *testing.T) {
	meeting := startNode(t, nil)
	k := newKubo(t)
	k.start()
	k.run("swarm", "connect", loopback(t, meeting))

	store := memStore()
	path := filepath.Join(t.TempDir(), "ours")
	if err := oddtree.File(path, 3, 2<<20); err != nil {
		t.Fatal(err)
	}
	ours, err := content.Import(testContext(t), path, store, nil)
	if err != nil {
		t.Fatal(err)
	}
	owner := startNode(t, store, meeting.Addrs()...)
	deadline := time.Now().Add(30 * time.Second)
	for owner.Provide(testContext(t), ours.Root) != nil {
		if time.Now().After(deadline) {
			t.Fatal("our root can't be announced")
		}
		time.Sleep(50 * time.Millisecond)
	}
	k.run("pin", "add", "--progress=false", ours.Root.String())

	theirPath := filepath.Join(t.TempDir(), "theirs")
	if err := oddtree.File(theirPath, 4, 2<<20); err != nil {
		t.Fatal(err)
	}
	theirs, err := content.Import(testContext(t), theirPath, memStore(), nil)
	if err != nil {
		t.Fatal(err)
	}
	k.run("add", "--quieter", "--progress=false", theirPath)
	k.run("routing", "provide", theirs.Root.String())
	holder := startNode(t, nil, meeting.Addrs()...)
	if _, err := holder.Fetch(testContext(t), content.FetchOptions{Root: theirs.Root, Limit: theirs.Size, Visit: putIn(t, memStore())}); err != nil {
		t.Error(err)
	}
}

// loopback is the node's address for a daemon on the same machine.
func loopback(t *testing.T, n *content.Node) string {
	t.Helper()
	for _, a := range n.Addrs() {
		if strings.HasPrefix(a, "/ip4/127.0.0.1/tcp/") {
			return a
		}
	}
	t.Fatalf("no loopback address among %v", n.Addrs())
	return ""
}

func putIn(t *testing.T, store blockstore.Blockstore) func(blocks.Block) error {
	return func(b blocks.Block) error { return store.Put(t.Context(), b) }
}
