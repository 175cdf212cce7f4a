// Package repair damages the disks of a network's nodes, and lets one leave. A file that is stored there stays whole.
package repair

import (
	"bytes"
	"context"
	crand "crypto/rand"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"github.com/cella-network/cella/api/market"
	"github.com/cella-network/cella/api/work"
	"github.com/cella-network/cella/client"
	"github.com/cella-network/cella/devnet"
)

const replicas = 3 // on four nodes

// run is a network and a file on it.
type run struct {
	*testing.T
	net   *devnet.Network
	chain *client.Chain
	cella string
	home  string // of the file's owner
	order uint64
}

// binaries is the folder of the built programs: $CELLA_BUILD, or build/ of the tree.
func binaries(t *testing.T) string {
	dir := os.Getenv("CELLA_BUILD")
	if dir == "" {
		dir = filepath.Join("..", "..", "build")
	}
	dir, err := filepath.Abs(dir)
	if err != nil {
		t.Fatal(err)
	}
	return dir
}

func TestDisksAreRepaired(t *testing.T) {
	bin := binaries(t)
	r := &run{T: t, cella: filepath.Join(bin, "cella"), home: filepath.Join(t.TempDir(), "home")}
	ctx, cancel := context.WithTimeout(context.Background(), 12*time.Minute)
	defer cancel()
	var err error
	if r.net, err = devnet.Start(ctx, devnet.Config{Home: filepath.Join(r.home, "devnet"), Nodes: 4, Binary: r.cella,
		Enclave: filepath.Join(bin, "cella-enclave"), Sectors: 8}); err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := r.net.Close(); err != nil {
			t.Error(err)
		}
	}()
	if r.chain, err = client.Dial(ctx, r.net.Nodes[0].RPC); err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "file")
	data := make([]byte, 12<<20)
	crand.Read(data)
	if err := os.WriteFile(file, data, 0o600); err != nil {
		t.Fatal(err)
	}
	r.put(ctx, file)

	r.damaged(ctx, r.holders(ctx)[0])
	r.lost(ctx, r.holders(ctx)[1])
	r.drained(ctx, r.holders(ctx)[2])

	back := filepath.Join(t.TempDir(), "back")
	r.run(ctx, r.home, "get", "file", "-o", back)
	if got, err := os.ReadFile(back); err != nil || !bytes.Equal(got, data) {
		t.Fatalf("the file came back otherwise (%v)", err)
	}
}

// run executes cella with a home and returns what it printed; it must succeed.
func (r *run) run(ctx context.Context, home string, args ...string) string {
	r.Helper()
	out, err := r.try(ctx, home, args...)
	if err != nil {
		r.Fatalf("cella %v: %v\n%s", args, err, out)
	}
	return out
}

func (r *run) try(ctx context.Context, home string, args ...string) (string, error) {
	cmd := exec.CommandContext(ctx, r.cella, append(args, "--home", home)...)
	out, err := cmd.CombinedOutput()
	return string(out), err
}

// put stores the file once the network offers room for it.
func (r *run) put(ctx context.Context, file string) {
	r.wait(ctx, "the file is stored", func(ctx context.Context) (bool, error) {
		cmd := exec.CommandContext(ctx, r.cella, "put", file, "--replicas", fmt.Sprint(replicas), "--json", "--home", r.home)
		out, err := cmd.Output()
		if err != nil {
			return false, nil // not all operators offer room yet
		}
		var told struct {
			Order uint64 `json:"order"`
		}
		if err := json.Unmarshal(out, &told); err != nil || told.Order == 0 {
			return false, fmt.Errorf("put said %s: %w", out, err)
		}
		r.order = told.Order
		return true, nil
	})
}

func (r *run) wait(ctx context.Context, what string, holds func(context.Context) (bool, error)) {
	r.Helper()
	ctx, cancel := context.WithTimeout(ctx, 3*time.Minute)
	defer cancel()
	if err := r.net.Wait(ctx, holds); err != nil {
		r.Fatalf("%s: %v", what, err)
	}
}

func (r *run) replicas(ctx context.Context) ([]market.Replica, error) {
	q, err := r.chain.Market.Order(ctx, &market.QueryOrderRequest{Id: r.order})
	if err != nil {
		return nil, err
	}
	return q.Replicas, nil
}

// holders are the nodes that have proven the file, by their place in the network.
func (r *run) holders(ctx context.Context) (nodes []int) {
	r.Helper()
	held, err := r.replicas(ctx)
	if err != nil {
		r.Fatal(err)
	}
	for _, h := range held {
		for i, n := range r.net.Nodes {
			if n.Address == h.Operator && h.Proven {
				nodes = append(nodes, i)
			}
		}
	}
	if len(nodes) != replicas {
		r.Fatalf("nodes %v have proven the file, want %d", nodes, replicas)
	}
	return nodes
}

// stands waits until a node's replica is proven and not lost; seen says that it was lost meanwhile.
func (r *run) stands(ctx context.Context, node int, since uint64) {
	r.Helper()
	r.wait(ctx, fmt.Sprintf("node %d has proven the file again", node), func(ctx context.Context) (bool, error) {
		held, err := r.replicas(ctx)
		if err != nil {
			return false, err
		}
		for _, h := range held {
			if h.Operator == r.net.Nodes[node].Address {
				return h.Proven && h.Lost == 0 && h.Report > since, nil
			}
		}
		return false, fmt.Errorf("node %d has lost its replica for good", node)
	})
}

// report is the counter of the report that named the order last.
func (r *run) report(ctx context.Context, node int) uint64 {
	held, err := r.replicas(ctx)
	if err != nil {
		r.Fatal(err)
	}
	for _, h := range held {
		if h.Operator == r.net.Nodes[node].Address {
			return h.Report
		}
	}
	return 0
}

// failed is how many heights of a node the chain counts as failed.
func (r *run) failed(ctx context.Context, node int) (uint64, error) {
	st, err := r.chain.Work.Standing(ctx, &work.QueryStandingRequest{Operator: r.net.Nodes[node].Address})
	if err != nil {
		return 0, err
	}
	return st.Standing.Failed, nil
}

// damaged overwrites the data sectors of a running node. It finds that out by itself, and is whole again in time.
func (r *run) damaged(ctx context.Context, node int) {
	home := r.net.Nodes[node].Home
	r.run(ctx, home, "verify", "--deep")
	if out, err := r.try(ctx, home, "repair"); err == nil || !bytes.Contains([]byte(out), []byte("a node uses this disk")) {
		r.Fatalf("repair of a running node: %v\n%s", err, out)
	}
	before, err := r.failed(ctx, node)
	if err != nil {
		r.Fatal(err)
	}
	dirs, err := filepath.Glob(filepath.Join(home, "disk", "index", "*.dir"))
	if err != nil || len(dirs) == 0 {
		r.Fatalf("no data sectors: %v", err)
	}
	for _, d := range dirs {
		path := filepath.Join(home, "disk", "sectors", filepath.Base(d)[:6])
		info, err := os.Stat(path)
		if err != nil {
			r.Fatal(err)
		}
		if err := os.WriteFile(path, bytes.Repeat([]byte{0xa5}, int(info.Size())), 0o600); err != nil {
			r.Fatal(err)
		}
	}
	// On its way the node may be faster than a look at its disk: that it had something to mend is what failed draws say.
	r.wait(ctx, "the node mends its disk", func(ctx context.Context) (bool, error) {
		now, err := r.failed(ctx, node)
		if err != nil || now == before {
			return false, err
		}
		_, err = r.try(ctx, home, "verify", "--deep")
		return err == nil, nil
	})
	r.stands(ctx, node, 0)
}

// lost deletes the whole disk of a node. It does not go on by itself, but when its operator says so.
func (r *run) lost(ctx context.Context, node int) {
	home := r.net.Nodes[node].Home
	before := r.report(ctx, node)
	if err := r.net.Stop(node); err != nil {
		r.Fatal(err)
	}
	if err := os.RemoveAll(filepath.Join(home, "disk")); err != nil {
		r.Fatal(err)
	}
	if out, err := r.try(ctx, home, "verify"); err == nil {
		r.Fatalf("verify finds nothing:\n%s", out)
	}
	r.run(ctx, home, "repair", "--lost", "--yes")
	if err := r.net.StartNode(node); err != nil {
		r.Fatal(err)
	}
	r.stands(ctx, node, before)
	r.wait(ctx, "its disk is sound", func(ctx context.Context) (bool, error) {
		_, err := r.try(ctx, home, "verify", "--deep")
		return err == nil, nil
	})
}

// drained lets a node hand its replica over and leave.
func (r *run) drained(ctx context.Context, node int) {
	n := r.net.Nodes[node]
	out := r.run(ctx, n.Home, "node", "drain", "--leave")
	if !bytes.Contains([]byte(out), []byte("the entry stake is back")) {
		r.Fatalf("drain said\n%s", out)
	}
	held, err := r.replicas(ctx)
	if err != nil {
		r.Fatal(err)
	}
	proven := 0
	for _, h := range held {
		if h.Operator == n.Address {
			r.Error("the drained node still has a replica")
		}
		if h.Proven && h.Lost == 0 {
			proven++
		}
	}
	if proven != replicas {
		r.Errorf("%d replicas are proven after one was handed over, want %d", proven, replicas)
	}
}
