// Package crash kills hosts and enclaves with SIGKILL while files are put, and then asks for every file that was acknowledged.
package crash

import (
	"bytes"
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

	"github.com/cella-network/cella/devnet"
)

var (
	kills = flag.Int("kills", 10, "how often a host or an enclave is killed")
	seed  = flag.Uint64("seed", 1, "of the moments, the victims and the files")
)

const nodes = 4

// ack is a line of the log that is kept outside of the network.
type ack struct {
	Root   string   `json:"root"`
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

func TestAcknowledgedFilesSurviveKills(t *testing.T) {
	build, err := filepath.Abs("../../build")
	if err != nil {
		t.Fatal(err)
	}
	r := &run{T: t, dir: t.TempDir(), cella: filepath.Join(build, "cella")}
	ctx, cancel := context.WithTimeout(context.Background(), 15*time.Minute)
	defer cancel()
	if r.net, err = devnet.Start(ctx, devnet.Config{Home: filepath.Join(r.dir, "net"), Nodes: nodes, Binary: r.cella,
		Enclave: filepath.Join(build, "cella-enclave"), Sectors: 16}); err != nil {
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
	r.kill(ctx)
	close(done)
	putting.Wait()
	t.Logf("seed %d: %d kills, %d files acknowledged", *seed, *kills, len(r.acks))
	if len(r.acks) < *kills/2 {
		t.Fatalf("only %d files were acknowledged: the test saw too little", len(r.acks))
	}
	r.fetch(ctx)
}

// kill strikes at random moments: a host or an enclave, and starts the host again. Between two strikes the chain must have moved on, and
// after every second one a put must have come through, so that what is acknowledged has lived through kills, on a slow machine too.
func (r *run) kill(ctx context.Context) {
	random := rand.New(rand.NewPCG(*seed, 1))
	for i := range *kills {
		moment := time.NewTimer(time.Duration(random.IntN(4000)) * time.Millisecond)
		select {
		case <-moment.C:
		case <-ctx.Done():
			r.Error(ctx.Err())
			return
		}
		victim, host := random.IntN(nodes), random.IntN(2) == 0
		if host {
			r.must(r.net.Kill(victim))
			r.must(r.net.StartNode(victim))
		} else {
			r.must(r.net.KillEnclave(victim))
		}
		r.Logf("kill %d: node%d, host %v", i+1, victim, host)
		r.moves(ctx)
		r.must(r.net.Wait(ctx, func(context.Context) (bool, error) {
			n, want := r.acked.Load(), int64(i+1)/2
			return n >= want, fmt.Errorf("%d files are acknowledged, want %d", n, want)
		}))
	}
}

// moves waits until every node has seen two more blocks than the furthest had.
func (r *run) moves(ctx context.Context) {
	top := int64(0)
	for i := range nodes {
		if h, err := r.net.Height(ctx, i); err == nil {
			top = max(top, h)
		}
	}
	r.must(r.net.Wait(ctx, func(ctx context.Context) (bool, error) {
		for i := range nodes {
			if h, err := r.net.Height(ctx, i); err != nil || h < top+2 {
				return false, fmt.Errorf("node%d is at %d of %d: %w", i, h, top+2, err)
			}
		}
		return true, nil
	}))
}

// put stores one file after another, each until it is acknowledged; a put that fails because its node was killed is run again, as a person would.
func (r *run) put(ctx context.Context, done chan struct{}) {
	random := rand.New(rand.NewPCG(*seed, 2))
	for i := 0; ; i++ {
		content := make([]byte, 1+random.IntN(3<<20))
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
			limit, cancel := context.WithTimeout(ctx, 2*time.Minute)
			cmd := exec.CommandContext(limit, r.cella, "put", path, "--replicas", "3", "--days", "1", "--json", "--home", r.net.User.Home, "--node", r.net.Nodes[try%nodes].RPC)
			out, err := cmd.Output()
			cancel()
			if err != nil {
				r.Logf("put %d, try %d: %v", i, try+1, stderr(err))
				continue
			}
			var facts struct {
				Root         string `json:"root"`
				Acknowledged int64  `json:"acknowledged"`
			}
			r.must(json.Unmarshal(out, &facts))
			if facts.Acknowledged == 0 {
				r.Errorf("put returned before %s was acknowledged", facts.Root)
			}
			r.acked.Add(1)
			r.acks = append(r.acks, ack{Root: facts.Root, Digest: sha256.Sum256(content)})
			line, err := json.Marshal(r.acks[len(r.acks)-1])
			r.must(err)
			_, err = r.log.Write(append(line, '\n'))
			r.must(err)
			break
		}
	}
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
			limit, cancel := context.WithTimeout(ctx, time.Minute)
			defer cancel()
			cmd := exec.CommandContext(limit, r.cella, "get", a.Root, "--output", out, "--home", filepath.Join(r.dir, "fresh"), "--node", r.net.Nodes[i%nodes].RPC)
			if _, err := cmd.Output(); err != nil {
				return false, fmt.Errorf("get %s: %s", a.Root, stderr(err))
			}
			return true, nil
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

func stderr(err error) string {
	var exit *exec.ExitError
	if errors.As(err, &exit) {
		return fmt.Sprintf("%v: %s", err, bytes.TrimSpace(exit.Stderr))
	}
	return err.Error()
}
