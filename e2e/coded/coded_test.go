// Package coded kills an operator that holds a shard, reads the file without it, and waits until another operator has made the shard
// again of the others.
package coded

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/cella-network/cella/api/market"
	"github.com/cella-network/cella/chain/app"
	"github.com/cella-network/cella/client"
	"github.com/cella-network/cella/devnet"
)

// impatient takes a node's replicas away soon after it fell silent.
func impatient(g app.Genesis) error {
	var state market.GenesisState
	return g.Change("market", &state, func() error {
		state.Params.WarnBlocks, state.Params.SilentBlocks = 15, 30
		return nil
	})
}

type run struct {
	*testing.T
	net   *devnet.Network
	cella string
	dir   string
}

func TestShardOfAKilledOperatorIsMadeAgain(t *testing.T) {
	build := os.Getenv("CELLA_BUILD")
	if build == "" {
		build = filepath.Join("..", "..", "build")
	}
	build, err := filepath.Abs(build)
	if err != nil {
		t.Fatal(err)
	}
	r := &run{T: t, dir: t.TempDir(), cella: filepath.Join(build, "cella")}
	ctx, cancel := context.WithTimeout(t.Context(), 8*time.Minute)
	defer cancel()
	if r.net, err = devnet.Start(ctx, devnet.Config{Home: filepath.Join(r.dir, "net"), Nodes: 4, Binary: r.cella,
		Enclave: filepath.Join(build, "cella-enclave"), Sectors: 8, Tweak: impatient}); err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := r.net.Close(); err != nil {
			t.Error(err)
		}
	}()

	data := make([]byte, 7_000_000)
	rand.Read(data)
	path := filepath.Join(r.dir, "film")
	if err := os.WriteFile(path, data, 0o644); err != nil {
		t.Fatal(err)
	}
	r.run(ctx, 0, r.net.User.Home, "put", path, "--code", "2+1", "--days", "1")

	before := r.holders(ctx, 0, "film")
	if len(before) != 3 {
		t.Fatalf("shards lie with %v", before)
	}
	victim := slices.IndexFunc(r.net.Nodes, func(n devnet.NodeInfo) bool { return n.Address == before[1] })
	if victim < 0 {
		t.Fatalf("%s is none of the nodes", before[1])
	}
	if err := r.net.Kill(victim); err != nil {
		t.Fatal(err)
	}
	alive := (victim + 1) % len(r.net.Nodes)

	// A stranger who knows nothing but the root reads it at once: what the dead one held is made of the rest.
	root := r.stat(ctx, alive, "film").Root
	out := filepath.Join(r.dir, "back")
	var facts struct {
		Made uint64 `json:"made"`
	}
	got := r.run(ctx, alive, filepath.Join(r.dir, "stranger"), "get", root, "--output", out, "--json")
	if err := json.Unmarshal(got, &facts); err != nil {
		t.Fatal(err)
	}
	if facts.Made == 0 {
		t.Error("nothing was made of other blocks: the killed node can't have held any")
	}
	r.same(data, out)

	// The chain opens the dead one's place, and the fourth operator takes it: it makes the shard again, since nobody can send it.
	if err := r.net.Wait(ctx, func(ctx context.Context) (bool, error) {
		now := r.holders(ctx, alive, "film")
		return len(now) == 3 && !slices.Contains(now, before[1]), fmt.Errorf("shards lie with %v, %s was killed", now, before[1])
	}); err != nil {
		t.Fatal(err)
	}
	if s := r.stat(ctx, alive, "film"); len(s.Sets) != 1 || s.Sets[0].Proven != 3 || s.Sets[0].Margin != 1 {
		t.Errorf("after the repair: %+v", s.Sets)
	}
	out = filepath.Join(r.dir, "again")
	got = r.run(ctx, alive, filepath.Join(r.dir, "stranger"), "get", root, "--output", out, "--json")
	if err := json.Unmarshal(got, &facts); err != nil {
		t.Fatal(err)
	}
	if facts.Made != 0 {
		t.Errorf("%d blocks had to be made: the shard is not served", facts.Made)
	}
	r.same(data, out)
}

// run is the command line over one node.
func (r *run) run(ctx context.Context, node int, home string, args ...string) []byte {
	r.Helper()
	cmd := exec.CommandContext(ctx, r.cella, append(args, "--home", home, "--node", r.net.Nodes[node].RPC)...)
	out, err := cmd.Output()
	if err != nil {
		var exit *exec.ExitError
		if errors.As(err, &exit) {
			err = fmt.Errorf("%w: %s", err, bytes.TrimSpace(exit.Stderr))
		}
		r.Fatalf("cella %v: %v", args, err)
	}
	return out
}

func (r *run) stat(ctx context.Context, node int, name string) (s client.Stat) {
	r.Helper()
	if err := json.Unmarshal(r.run(ctx, node, r.net.User.Home, "stat", name, "--json"), &s); err != nil {
		r.Fatal(err)
	}
	return s
}

// holders are the operators that have a shard proven, in the order of the orders.
func (r *run) holders(ctx context.Context, node int, name string) (out []string) {
	r.Helper()
	for _, o := range slices.Backward(r.stat(ctx, node, name).Orders) {
		for _, h := range o.Holders {
			if h.Proven {
				out = append(out, h.Operator)
			}
		}
	}
	return out
}

func (r *run) same(want []byte, path string) {
	r.Helper()
	got, err := os.ReadFile(path)
	if err != nil || !bytes.Equal(got, want) {
		r.Fatalf("%s differs (%v)", path, err)
	}
}
