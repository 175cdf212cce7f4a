package e2e

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

	"github.com/ipfs/boxo/blockstore"
	"github.com/ipfs/go-datastore"
	dssync "github.com/ipfs/go-datastore/sync"

	"github.com/cella-network/cella/api/market"
	"github.com/cella-network/cella/client"
	"github.com/cella-network/cella/content"
)

// An unmodified kubo reads from the sealed store of a holder, and holders take an order whose blocks only a kubo has.
func TestKubo(t *testing.T) {
	k := startKubo(t) // the first time this builds for minutes
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
	defer cancel()
	dir := t.TempDir()
	c := client.New(client.Options{Home: dir, Chain: net.chain, Account: net.alice, Listen: []string{"/ip4/127.0.0.1/tcp/0"}, Loopback: true})

	ours := randomFile(t, filepath.Join(dir, "ours"), 3<<20+1)
	put, err := c.Put(ctx, client.PutRequest{Path: ours, Replicas: 2, Days: 1})
	if err != nil {
		t.Fatal(err)
	}
	if root := k.run("add", "-Q", "--only-hash", ours); root != put.Root {
		t.Fatalf("kubo names it %s, cella put %s", root, put.Root)
	}
	stat, err := c.Stat(ctx, put.Root)
	if err != nil {
		t.Fatal(err)
	}
	k.run("swarm", "connect", stat.Orders[0].Holders[0].Addrs[0])
	k.get(put.Root, filepath.Join(dir, "ours-back"))
	sameFile(t, ours, filepath.Join(dir, "ours-back"))

	// In shards nobody holds the whole file, and kubo, connected to all of them, sees no difference.
	coded := randomFile(t, filepath.Join(dir, "coded"), 5<<20+1)
	if put, err = c.Put(ctx, client.PutRequest{Path: coded, Replicas: 2, Days: 1, Code: "2+1"}); err != nil {
		t.Fatal(err)
	}
	if stat, err = c.Stat(ctx, put.Root); err != nil || len(stat.Orders) != 3 {
		t.Fatalf("%d orders: %v", len(stat.Orders), err)
	}
	for _, o := range stat.Orders {
		k.run("swarm", "connect", o.Holders[0].Addrs[0])
	}
	k.get(put.Root, filepath.Join(dir, "coded-back"))
	sameFile(t, coded, filepath.Join(dir, "coded-back"))

	theirs := randomFile(t, filepath.Join(dir, "theirs"), 2<<20+7)
	root := k.run("add", "-Q", theirs)
	res, err := content.Import(ctx, theirs, blockstore.NewBlockstore(dssync.MutexWrap(datastore.NewMapDatastore())), nil)
	if err != nil {
		t.Fatal(err)
	}
	if res.Root.String() != root {
		t.Fatalf("kubo names it %s, our importer %s", root, res.Root)
	}
	addr := regexp.MustCompile(`/ip4/127\.0\.0\.1/tcp/\d+/p2p/\w+`).FindString(k.run("id"))
	_, err = net.alice.Post(ctx, &market.MsgPlaceOrder{Owner: net.alice.Address, Root: res.Root.Bytes(), Size_: res.Size, Blocks: 1000, Replicas: 2,
		Price: 1_000_000, Addrs: []string{addr}})
	if err != nil {
		t.Fatal(err)
	}
	err = net.Wait(ctx, func(ctx context.Context) (bool, error) {
		st, err := c.Stat(ctx, root)
		return err == nil && len(st.Orders) == 1 && st.Orders[0].Proven == 2, err
	})
	if err != nil {
		t.Fatal(err)
	}
	k.stop()
	if _, err := c.Get(ctx, client.GetRequest{Ref: root, Output: filepath.Join(dir, "theirs-back")}); err != nil {
		t.Fatal(err)
	}
	sameFile(t, theirs, filepath.Join(dir, "theirs-back"))
}

// kubo is a running daemon under the import profile that cella-v1 equals, on loopback and without bootstrap peers.
type kubo struct {
	t    *testing.T
	bin  string
	repo string
	stop func()
}

func startKubo(t *testing.T) *kubo {
	t.Helper()
	bin, err := filepath.Abs("../build/kubo/ipfs")
	if err != nil {
		t.Fatal(err)
	}
	build := exec.CommandContext(t.Context(), "go", "build", "-o", bin, "github.com/ipfs/kubo/cmd/ipfs")
	build.Dir = "../content/interop/kubo"
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("kubo can't be built: %v\n%s", err, out)
	}
	k := &kubo{t: t, bin: bin, repo: filepath.Join(t.TempDir(), "repo")}
	k.run("init", "--profile=unixfs-v1-2025,test")
	daemon := k.command(context.Background(), "daemon") // stop ends it
	out, err := daemon.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := daemon.Start(); err != nil {
		t.Fatal(err)
	}
	k.stop = func() {
		_ = daemon.Process.Signal(syscall.SIGTERM)
		_ = daemon.Wait() // ended by our signal, or before
	}
	t.Cleanup(func() { k.stop() })
	for lines := bufio.NewScanner(out); lines.Scan(); {
		if lines.Text() == "Daemon is ready" {
			return k
		}
	}
	t.Fatal("kubo's daemon ended before it was ready")
	return nil
}

func (k *kubo) command(ctx context.Context, args ...string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, k.bin, args...)
	cmd.Env = append(os.Environ(), "IPFS_PATH="+k.repo, "IPFS_TELEMETRY=off")
	return cmd
}

func (k *kubo) run(args ...string) string {
	k.t.Helper()
	out, err := k.try(2*time.Minute, args...)
	if err != nil {
		k.t.Fatal(err)
	}
	return out
}

// get fetches a root. A request that kubo never answers is made again, as a person would: now and then its session asks nobody a
// second time for a block that nobody had at first.
func (k *kubo) get(root, path string) {
	k.t.Helper()
	for range 3 {
		_, err := k.try(40*time.Second, "get", "-o", path, root)
		if err == nil {
			return
		}
		k.t.Logf("%v\npeers: %s", err, k.run("swarm", "peers"))
		if err := os.RemoveAll(path); err != nil {
			k.t.Fatal(err)
		}
	}
	k.t.Fatalf("kubo did not get %s in three attempts", root)
}

func (k *kubo) try(limit time.Duration, args ...string) (string, error) {
	ctx, cancel := context.WithTimeout(k.t.Context(), limit)
	defer cancel()
	cmd := k.command(ctx, args...)
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		return "", fmt.Errorf("ipfs %s: %w\n%s", strings.Join(args, " "), err, stderr.String())
	}
	return strings.TrimSpace(string(out)), nil
}

func randomFile(t *testing.T, path string, size int) string {
	t.Helper()
	b := make([]byte, size)
	rand.Read(b)
	if err := os.WriteFile(path, b, 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func sameFile(t *testing.T, a, b string) {
	t.Helper()
	x, err := os.ReadFile(a)
	if err != nil {
		t.Fatal(err)
	}
	y, err := os.ReadFile(b)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(x, y) {
		t.Fatalf("%s and %s differ", a, b)
	}
}
