// Package soak strikes at a network of real processes while files are put: kill -9 of hosts and enclaves, cut cables, changed
// and deleted sealed bytes, a chain that halts. In the end every acknowledged file must come back as it was, every order must
// be whole again, and every account's explained entries must add up to the change of its balance.
//
// The test runs itself again in a network namespace of its own, where each node has one as well.
package soak

import (
	"bytes"
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/cella-network/cella/chain/app"
	"github.com/cella-network/cella/devnet"

	"github.com/cella-network/cella/api/market"
)

var (
	rounds = flag.Int("rounds", 8, "how often something is done to the network")
	seed   = flag.Uint64("seed", 1, "of the moments, the victims and the files")
	hours  = flag.Int("hours", 0, "how many hours of the chain the test lasts at least; one has 60 blocks")
	limit  = flag.Duration("limit", 20*time.Minute, "give up after this")
)

const (
	nodes     = 5
	replicas  = 3
	inside    = "CELLA_SOAK_INSIDE" // set in the environment of the test that runs in the namespace
	dayBlocks = 24 * 60
)

// TestMain enters a namespace and begins again there.
func TestMain(m *testing.M) {
	if os.Getenv(inside) != "" {
		os.Exit(m.Run())
	}
	// The names of namespaces are files: they get a folder of their own, which ends with the mount namespace.
	const private = `mkdir -p /run/netns && mount -t tmpfs none /run/netns && exec "$0" "$@"`
	cmd := exec.Command("unshare", append([]string{"--net", "--mount", "sh", "-c", private, os.Args[0]}, os.Args[1:]...)...)
	cmd.Env = append(os.Environ(), inside+"=yes")
	cmd.Stdout, cmd.Stderr = os.Stdout, os.Stderr
	if err := cmd.Run(); err != nil {
		fmt.Fprintln(os.Stderr, "in a namespace (which takes root):", err)
		os.Exit(1)
	}
}

// ack is a line of the log that is kept outside of the network.
type ack struct {
	Root   string   `json:"root"`
	Order  uint64   `json:"order"`
	Digest [32]byte `json:"digest"`
}

// run is one test's network, its log and its choices.
type run struct {
	*testing.T
	net   *devnet.Network
	cella string
	dir   string
	log   *os.File
	acks  []ack
	acked atomic.Int64 // of acks
}

func TestAcknowledgedFilesSurvive(t *testing.T) {
	build, err := filepath.Abs(cmp.Or(os.Getenv("CELLA_BUILD"), "../../build"))
	if err != nil {
		t.Fatal(err)
	}
	r := &run{T: t, dir: t.TempDir(), cella: filepath.Join(build, "cella")}
	ctx, cancel := context.WithTimeout(context.Background(), *limit)
	defer cancel()
	if r.net, err = devnet.Start(ctx, devnet.Config{Home: filepath.Join(r.dir, "net"), Nodes: nodes, Binary: r.cella,
		Enclave: filepath.Join(build, "cella-enclave"), Sectors: 24, BlockTime: 500 * time.Millisecond, Price: 1_000_000_000, Namespaces: true, Tweak: shortDays}); err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := r.net.Close(); err != nil {
			t.Error(err)
		}
	}()
	if r.log, err = os.Create(filepath.Join(r.dir, "acknowledged.log")); err != nil {
		t.Fatal(err)
	}
	defer r.log.Close()

	done := make(chan struct{})
	var putting sync.WaitGroup
	putting.Go(func() { r.put(ctx, done) })
	r.strike(ctx)
	r.last(ctx)
	close(done)
	putting.Wait()
	t.Logf("seed %d: %d rounds, %d files acknowledged, block %d", *seed, *rounds, len(r.acks), r.top(ctx))
	if len(r.acks) < *rounds/2 || t.Failed() {
		t.Fatalf("only %d files were acknowledged: the test saw too little", len(r.acks))
	}
	r.fetch(ctx)
	r.whole(ctx)
	r.books(ctx)
}

// shortDays makes a day of the market as long as 24 hours of 60 blocks. Blows don't move power: two of five stop the chain whoever they are.
func shortDays(g app.Genesis) error {
	if err := devnet.Steady(g); err != nil {
		return err
	}
	var mk market.GenesisState
	return g.Change("market", &mk, func() error {
		mk.Params.DayBlocks, mk.Params.MaxBlocks = dayBlocks, 30*dayBlocks
		return nil
	})
}

// blow is one thing that can happen to a network; it returns when the network is in one piece again, as far as its owner
// would see to that.
type blow struct {
	name string
	do   func(ctx context.Context, random *rand.Rand) error
}

func (r *run) blows() []blow {
	return []blow{
		{"a host is killed", func(_ context.Context, random *rand.Rand) error {
			i := random.IntN(nodes)
			return errors.Join(r.net.Kill(i), r.net.StartNode(i))
		}},
		{"an enclave is killed", func(_ context.Context, random *rand.Rand) error {
			return r.net.KillEnclave(random.IntN(nodes))
		}},
		{"two hosts are killed at once", func(_ context.Context, random *rand.Rand) error {
			i := random.IntN(nodes)
			j := (i + 1 + random.IntN(nodes-1)) % nodes
			return errors.Join(r.net.Kill(i), r.net.Kill(j), r.net.StartNode(i), r.net.StartNode(j))
		}},
		{"a node is cut off for 20 blocks", func(ctx context.Context, random *rand.Rand) error {
			i := random.IntN(nodes)
			err := r.net.Partition(i)
			r.pass(ctx, 20, i)
			return errors.Join(err, r.net.Partition())
		}},
		{"two of five are cut off, the chain halts, a minority goes on alone", func(ctx context.Context, random *rand.Rand) error {
			i := random.IntN(nodes)
			err := r.net.Partition(i, (i+1)%nodes)
			r.halted(ctx, i)
			return errors.Join(err, r.net.Partition())
		}},
		{"bytes of a sector are changed", func(ctx context.Context, random *rand.Rand) error {
			return r.change(random.IntN(nodes), random, func(path string) error { return flip(path, random) })
		}},
		{"a sector file is deleted under a stopped node", func(ctx context.Context, random *rand.Rand) error {
			i := random.IntN(nodes)
			return errors.Join(r.net.Kill(i), r.change(i, random, os.Remove), r.net.StartNode(i))
		}},
	}
}

// strike does something at random moments. Between two blows the chain must have moved on, and after every second one a put must have
// come through, so that what is acknowledged has lived through blows, on a slow machine too.
func (r *run) strike(ctx context.Context) {
	random := rand.New(rand.NewPCG(*seed, 1))
	all := r.blows()
	order := random.Perm(len(all))
	for i := range *rounds {
		moment := time.NewTimer(time.Duration(random.IntN(3000)) * time.Millisecond)
		select {
		case <-moment.C:
		case <-ctx.Done():
			r.Error(ctx.Err())
			return
		}
		if i%len(all) == 0 { // each comes once before one comes again
			order = random.Perm(len(all))
		}
		b := all[order[i%len(all)]]
		r.Logf("round %d at block %d: %s", i+1, r.top(ctx), b.name)
		r.must(b.do(ctx, random))
		r.pass(ctx, 2, -1)
		r.must(r.net.Wait(ctx, func(context.Context) (bool, error) {
			n, want := r.acked.Load(), int64(i+1)/2
			return n >= want, fmt.Errorf("%d files are acknowledged, want %d", n, want)
		}))
		if r.Failed() {
			return
		}
	}
}

// last waits until the chain is old enough.
func (r *run) last(ctx context.Context) {
	r.must(r.net.Wait(ctx, func(ctx context.Context) (bool, error) {
		top := r.top(ctx)
		return top >= int64(*hours)*60, fmt.Errorf("block %d of %d", top, *hours*60)
	}))
}

// top is the height of the node that is furthest.
func (r *run) top(ctx context.Context) (top int64) {
	for i := range nodes {
		if h, err := r.net.Height(ctx, i); err == nil {
			top = max(top, h)
		}
	}
	return top
}

// pass waits until every node but one has seen so many more blocks than the furthest had.
func (r *run) pass(ctx context.Context, blocks int64, but int) {
	top := r.top(ctx)
	r.must(r.net.Wait(ctx, func(ctx context.Context) (bool, error) {
		for i := range nodes {
			if i == but {
				continue
			}
			if h, err := r.net.Height(ctx, i); err != nil || h < top+blocks {
				return false, fmt.Errorf("node%d is at %d of %d: %w", i, h, top+blocks, err)
			}
		}
		return true, nil
	}))
}

// halted waits until no block has come for 20 s, seen from the nodes that are still there.
func (r *run) halted(ctx context.Context, cut int) {
	top, since := r.top(ctx), time.Now()
	r.must(r.net.Wait(ctx, func(ctx context.Context) (bool, error) {
		if now := r.top(ctx); now > top {
			top, since = now, time.Now()
		}
		return time.Since(since) > 20*time.Second, fmt.Errorf("the chain goes on at block %d without node%d and the next", top, cut)
	}))
}

// change does something to one of a node's sector files.
func (r *run) change(node int, random *rand.Rand, do func(path string) error) error {
	files, err := filepath.Glob(filepath.Join(r.net.Nodes[node].Home, "disk", "sectors", "[0-9]*"))
	if err != nil || len(files) == 0 {
		return err
	}
	err = do(files[random.IntN(len(files))])
	if errors.Is(err, os.ErrNotExist) {
		return nil // the node let it go at this moment
	}
	return err
}

// flip overwrites a tenth of a file with noise, in pieces of a cell.
func flip(path string, random *rand.Rand) error {
	f, err := os.OpenFile(path, os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return err
	}
	cells := info.Size() / 4096
	noise := make([]byte, 4096)
	for range cells / 10 {
		for k := range noise {
			noise[k] = byte(random.Uint32())
		}
		if _, err := f.WriteAt(noise, random.Int64N(cells)*4096); err != nil {
			return err
		}
	}
	return nil
}

// put stores one file after another, each until it is acknowledged; a put that fails because its node was hit is run again, as a person would.
func (r *run) put(ctx context.Context, done chan struct{}) {
	random := rand.New(rand.NewPCG(*seed, 2))
	for i := 0; ; i++ {
		content := make([]byte, 1+random.IntN(2<<20))
		for k := range content {
			content[k] = byte(random.Uint32())
		}
		path := filepath.Join(r.dir, fmt.Sprintf("file-%d", i))
		r.must(os.WriteFile(path, content, 0o644))
		for try := 0; ; try++ {
			select {
			case <-done:
				return
			case <-ctx.Done():
				return
			default:
			}
			out, err := r.command(ctx, 2*time.Minute, "put", path, "--replicas", fmt.Sprint(replicas), "--days", "7", "--json",
				"--home", r.net.User.Home, "--node", r.net.Nodes[try%nodes].RPC)
			if err != nil {
				r.Logf("put %d, try %d: %v", i, try+1, err)
				continue
			}
			var facts struct {
				Root         string `json:"root"`
				Order        uint64 `json:"order"`
				Acknowledged int64  `json:"acknowledged"`
			}
			r.must(json.Unmarshal(out, &facts))
			if facts.Acknowledged == 0 {
				r.Errorf("put returned before %s was acknowledged", facts.Root)
			}
			r.acks = append(r.acks, ack{Root: facts.Root, Order: facts.Order, Digest: sha256.Sum256(content)})
			line, err := json.Marshal(r.acks[len(r.acks)-1])
			r.must(err)
			_, err = r.log.Write(append(line, '\n'))
			r.must(err)
			r.acked.Add(1)
			break
		}
	}
}

// command runs cella; what it complained of is in the error.
func (r *run) command(ctx context.Context, most time.Duration, args ...string) ([]byte, error) {
	ctx, cancel := context.WithTimeout(ctx, most)
	defer cancel()
	out, err := exec.CommandContext(ctx, r.cella, args...).Output()
	var exit *exec.ExitError
	if errors.As(err, &exit) {
		err = fmt.Errorf("%w: %s", err, bytes.TrimSpace(exit.Stderr))
	}
	return out, err
}

// fetch reads every acknowledged file with a client that has never seen it.
func (r *run) fetch(ctx context.Context) {
	lines, err := os.ReadFile(r.log.Name())
	r.must(err)
	for i, line := range bytes.Split(bytes.TrimSpace(lines), []byte("\n")) {
		var a ack
		r.must(json.Unmarshal(line, &a))
		out := filepath.Join(r.dir, fmt.Sprintf("back-%d", i))
		err := r.net.Wait(ctx, func(ctx context.Context) (bool, error) {
			_, err := r.command(ctx, time.Minute, "get", a.Root, "--output", out, "--home", filepath.Join(r.dir, "fresh"), "--node", r.net.Nodes[i%nodes].RPC)
			return err == nil, err
		})
		if err != nil {
			r.Fatal(err)
		}
		content, err := os.ReadFile(out)
		r.must(err)
		if sha256.Sum256(content) != a.Digest {
			r.Fatalf("%s came back changed", a.Root)
		}
	}
}

func (r *run) must(err error) {
	r.Helper()
	if err != nil {
		r.Error(err)
	}
}
