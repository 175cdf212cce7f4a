package e2e

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/ipfs/go-cid"
	"github.com/libp2p/go-libp2p/core/peer"

	"github.com/cella-network/cella/api/work"
	"github.com/cella-network/cella/client"
	"github.com/cella-network/cella/content"
	"github.com/cella-network/cella/worker"
)

// An operator opts in to a list that somebody published: once it is loaded the node serves nothing that the list denies, follows its next
// version without a restart, and goes on to prove what it holds. Until it is loaded the node serves nothing at all.
func TestModeration(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), 4*time.Minute)
	defer cancel()
	dir, last := t.TempDir(), len(net.Nodes)-1
	home := filepath.Join(dir, "home")
	if err := net.home(ctx, home, 500_000_000); err != nil {
		t.Fatal(err)
	}
	cella := func(args ...string) string {
		t.Helper()
		cmd := exec.CommandContext(ctx, filepath.Join(net.bin, "cella"), append(args, "--home", home)...)
		out, err := cmd.CombinedOutput()
		if err != nil {
			t.Fatalf("cella %s: %v\n%s", strings.Join(args, " "), err, out)
		}
		return string(out)
	}
	// Every node holds both files, so the one that opts in does.
	var roots []cid.Cid
	for _, name := range []string{"bad", "good"} {
		c := client.New(client.Options{Home: home, Chain: net.chain, Account: net.alice, Listen: []string{"/ip4/127.0.0.1/tcp/0"}, Loopback: true})
		put, err := c.Put(ctx, client.PutRequest{Path: randomFile(t, filepath.Join(dir, name), 100_000), Replicas: uint32(len(net.Nodes)), Days: 1})
		if err != nil {
			t.Fatal(err)
		}
		roots = append(roots, cid.MustParse(put.Root))
	}
	bad, good := roots[0], roots[1]
	list := filepath.Join(dir, "spam.deny")
	publish := func(text string) string {
		t.Helper()
		if err := os.WriteFile(list, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		out := strings.Fields(cella("moderation", "publish", list, "--name", "spam", "--days", "1", "--replicas", "2"))
		return out[len(out)-1]
	}

	cfg := nodeConfig(t, last)
	before := cfg.Moderation
	restart := func(m worker.ModerationConfig) {
		t.Helper()
		if err := net.Stop(last); err != nil {
			t.Fatal(err)
		}
		cfg.Moderation = m
		if err := cfg.Save(filepath.Join(net.Nodes[last].Home, "config", "cella.toml")); err != nil {
			t.Fatal(err)
		}
		if err := net.StartNode(last); err != nil {
			t.Fatal(err)
		}
	}
	defer func() { restart(before) }()

	name := net.meName(t, home) + "/spam"
	restart(worker.ModerationConfig{Lists: []string{name}})
	counter := func() uint64 {
		r, err := net.chain.Work.Standing(ctx, &work.QueryStandingRequest{Operator: net.Nodes[last].Address})
		if err != nil {
			return 0
		}
		return r.Standing.Counter
	}
	reports := func() {
		t.Helper()
		at := counter()
		if err := net.Wait(ctx, func(context.Context) (bool, error) { return counter() > at+1, nil }); err != nil {
			t.Fatalf("reports don't go on: %v", err)
		}
	}
	reports()
	for _, c := range roots {
		if serves(ctx, t, last, c) {
			t.Errorf("%s is served before the list is there", c)
		}
	}

	if got := publish(fmt.Sprintf("/ipfs/%s\n/ipns/domain.example\n", bad)); got != name {
		t.Fatalf("published %s, want %s", got, name)
	}
	if err := net.Wait(ctx, func(ctx context.Context) (bool, error) { return serves(ctx, t, last, good), nil }); err != nil {
		t.Fatalf("the node does not open once the list is there: %v", err)
	}
	if serves(ctx, t, last, bad) {
		t.Error("a denied block is served")
	}
	if !serves(ctx, t, 0, bad) {
		t.Error("another node does not serve it either; nobody else opted in")
	}
	check := func(c cid.Cid) string {
		t.Helper()
		out, err := exec.CommandContext(ctx, filepath.Join(net.bin, "cella"), "moderation", "check", c.String(), "--home", net.Nodes[last].Home).CombinedOutput()
		if err != nil {
			t.Fatalf("%v: %s", err, out)
		}
		return string(out)
	}
	if got, want := check(bad), fmt.Sprintf("denied  %s  %s:1  /ipfs/%s\n", bad, name, bad); got != want {
		t.Errorf("%q, want %q", got, want)
	}

	publish(fmt.Sprintf("/ipfs/%s\n", good))
	if err := net.Wait(ctx, func(ctx context.Context) (bool, error) { return serves(ctx, t, last, bad), nil }); err != nil {
		t.Fatalf("the next version is not taken up: %v", err)
	}
	if serves(ctx, t, last, good) {
		t.Error("a block is served that the next version denies")
	}
	reports()
	if out := cella("moderation", "list"); !strings.Contains(out, name+"  2 ") {
		t.Errorf("listed:\n%s", out)
	}
	if out := cella("moderation", "withdraw", "spam"); !strings.Contains(out, "10 CELLA came back") {
		t.Error(out)
	}
}

func nodeConfig(t *testing.T, i int) worker.Config {
	t.Helper()
	cfg, err := worker.LoadConfig(filepath.Join(net.Nodes[i].Home, "config", "cella.toml"))
	if err != nil {
		t.Fatal(err)
	}
	return cfg
}

// meName is the address of the key in a person's home.
func (n *network) meName(t *testing.T, home string) string {
	t.Helper()
	kr, err := openKeyring(home)
	if err != nil {
		t.Fatal(err)
	}
	rec, err := kr.Key("me")
	if err != nil {
		t.Fatal(err)
	}
	addr, err := rec.GetAddress()
	if err != nil {
		t.Fatal(err)
	}
	return addr.String()
}

// serves asks one node alone for a block.
func serves(ctx context.Context, t *testing.T, node int, c cid.Cid) bool {
	t.Helper()
	ctx, cancel := context.WithTimeout(ctx, 3*time.Second)
	defer cancel()
	id, err := content.LoadIdentity(filepath.Join(net.Nodes[node].Home, "content", "identity"))
	if err != nil {
		t.Fatal(err)
	}
	at, err := peer.IDFromPrivateKey(id)
	if err != nil {
		t.Fatal(err)
	}
	v, err := content.NewVisit(ctx, []string{net.Nodes[node].Content + "/p2p/" + at.String()}, true)
	if err != nil {
		t.Fatal(err)
	}
	defer v.Close()
	_, err = v.Block(ctx, c)
	if err != nil && !errors.Is(err, context.DeadlineExceeded) {
		t.Fatal(err)
	}
	return err == nil
}
