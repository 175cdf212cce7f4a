// Command putget stores a file of 1 GiB in one replica and reads it back, beside `ipfs add` and `ipfs cat` of kubo under the same import
// settings, and compares their CPU seconds.
//
// Ours is everything that the network spends on that one sealed copy: `cella put` or `cella get`, and the node that holds it, its
// chain and its enclave, in user and kernel together, from the start of the command to its end; on a put that is when the
// replica is proven. The node also makes blocks, which it does without any put: what it used just before, while nothing was stored, times the
// duration, is told beside, and a second ratio leaves it out. kubo works on its own repository without a daemon, network,
// encryption or proofs; a third ratio is beside kubo daemons that do the same job, one adding and another fetching, without sealing and
// proofs. All read from and write to the same disk; what the kernel's own threads write back later counts for none.
//
//	go run ./bench/putget [flags]     -help lists them
package main

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/cella-network/cella/api/attest"
	"github.com/cella-network/cella/bench/meter"
	"github.com/cella-network/cella/bench/table"
	"github.com/cella-network/cella/client"
	"github.com/cella-network/cella/devnet"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, unix.SIGTERM)
	defer stop()
	var b bench
	flag.IntVar(&b.mib, "mib", 1024, "MiB of the file")
	flag.IntVar(&b.rounds, "rounds", 2, "files; of each side the best counts")
	flag.StringVar(&b.bin, "bin", "build", "folder of cella, cella-enclave and kubo/ipfs")
	dir := flag.String("dir", "build", "where to make a folder for all of it: a real disk")
	rows := flag.String("rows", "", "append the table's rows to this file")
	flag.Parse()
	if err := b.run(ctx, *dir, *rows); err != nil {
		stop()
		fmt.Fprintln(os.Stderr, "bench/putget:", err)
		os.Exit(1)
	}
}

// bench is one network and one kubo repository.
type bench struct {
	mib, rounds int
	bin, dir    string

	net  *devnet.Network
	ipfs *repo
	node []int   // its processes
	idle float64 // CPU seconds a second
}

// side is what one command took.
type side struct{ cpu, wall, idle float64 } // seconds; idle is the part of cpu that the node uses anyway

func (b *bench) run(ctx context.Context, dir, rows string) (err error) {
	if b.bin, err = filepath.Abs(b.bin); err != nil {
		return err
	}
	if err := b.buildKubo(ctx); err != nil {
		return err
	}
	if b.dir, err = os.MkdirTemp(dir, "bench-putget-"); err != nil {
		return err
	}
	defer os.RemoveAll(b.dir)
	if b.dir, err = filepath.Abs(b.dir); err != nil {
		return err
	}
	if err := b.start(ctx); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, b.net.Close()) }()
	if b.ipfs, err = newRepo(ctx, filepath.Join(b.bin, "kubo", "ipfs"), filepath.Join(b.dir, "ipfs")); err != nil {
		return err
	}
	var put, get, add, cat, farAdd, farCat side
	for range b.rounds {
		if err := b.round(ctx, []func(side){best(&put), best(&get), best(&add), best(&cat), best(&farAdd), best(&farCat)}); err != nil {
			return err
		}
	}
	fmt.Printf("%d MiB, best of %d: put %.1f s by the clock, get %.1f; ipfs add %.1f, ipfs cat %.1f\n", b.mib, b.rounds, put.wall, get.wall, add.wall, cat.wall)
	return table.Add(rows, append(b.rows("put", put, "ipfs add", add, farAdd), b.rows("get", get, "ipfs cat", cat, farCat)...)...)
}

// best keeps the cheaper of two.
func best(to *side) func(side) {
	return func(s side) {
		if to.cpu == 0 || s.cpu < to.cpu {
			*to = s
		}
	}
}

// rows are for one command of ours beside kubo's own, and beside kubo doing it between two machines.
func (b *bench) rows(what string, ours side, peer string, theirs, distant side) []table.Row {
	rate := func(cpu float64) string { return fmt.Sprintf("%.0f MiB/CPU s (%.2f s)", float64(b.mib)/cpu, cpu) }
	net := ours.cpu - ours.idle
	return []table.Row{
		{What: fmt.Sprintf("%s, %d MiB, one sealed copy", what, b.mib), Ours: rate(ours.cpu), Beside: peer + ": " + rate(theirs.cpu), Ratio: theirs.cpu / ours.cpu, Goal: 1},
		{What: "  without the idle chain", Ours: rate(net), Beside: peer + ": " + rate(theirs.cpu), Ratio: theirs.cpu / net},
		{What: "  beside kubo between two daemons", Ours: rate(ours.cpu), Beside: peer + " and fetch: " + rate(distant.cpu), Ratio: distant.cpu / ours.cpu},
	}
}

// buildKubo builds it as content/interop does; when that is done it takes a moment.
func (b *bench) buildKubo(ctx context.Context) error {
	cmd := exec.CommandContext(ctx, "go", "build", "-o", filepath.Join(b.bin, "kubo", "ipfs"), "github.com/ipfs/kubo/cmd/ipfs")
	cmd.Dir = filepath.Join("content", "interop", "kubo")
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("kubo can't be built: %w\n%s", err, out)
	}
	return nil
}

// start runs a network of one node with room for all rounds and waits until it has filled it and rests.
func (b *bench) start(ctx context.Context) error {
	net, err := devnet.Start(ctx, devnet.Config{Home: filepath.Join(b.dir, "net"), Nodes: 1, Sectors: uint32(b.rounds*b.mib*5/4/16 + 16),
		Binary: filepath.Join(b.bin, "cella"), Enclave: filepath.Join(b.bin, "cella-enclave")})
	if err != nil {
		return err
	}
	b.net = net
	chain, err := client.Dial(ctx, net.Nodes[0].RPC)
	if err != nil {
		return errors.Join(err, net.Close())
	}
	err = net.Wait(ctx, func(ctx context.Context) (bool, error) {
		r, err := chain.Attest.Nodes(ctx, &attest.QueryNodesRequest{})
		return err == nil && len(r.Nodes) == 1, err
	})
	if err == nil {
		err = b.rest(ctx)
	}
	if err != nil {
		return errors.Join(err, net.Close())
	}
	return nil
}

// rest waits until the node only makes blocks, and notes what that costs.
func (b *bench) rest(ctx context.Context) error {
	children, err := meter.Children(os.Getpid())
	if err != nil {
		return err
	}
	if len(children) != 1 {
		return fmt.Errorf("%d processes beside this one, want the node alone", len(children))
	}
	if b.node, err = meter.Family(children[0]); err != nil {
		return err
	}
	for quiet := 0; quiet < 2; {
		before, began := b.used(), time.Now()
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(5 * time.Second):
		}
		rate := (b.used() - before) / time.Since(began).Seconds()
		if rate < 0.4 {
			quiet++
		} else {
			quiet = 0
		}
		b.idle = rate
	}
	return nil
}

// used is the CPU time of the node's processes so far.
func (b *bench) used() (s float64) {
	for _, pid := range b.node {
		if t, err := meter.CPU(pid); err == nil {
			s += t.Seconds()
		}
	}
	return s
}

// round stores and reads one file on both sides.
func (b *bench) round(ctx context.Context, took []func(side)) error {
	file := filepath.Join(b.dir, "file")
	if err := makeFile(file, b.mib); err != nil {
		return err
	}
	defer os.Remove(file)
	if err := b.rest(ctx); err != nil {
		return err
	}
	var facts struct {
		Root string `json:"root"`
	}
	s, out, err := b.cella(ctx, "put", file, "--replicas", "1", "--days", "1", "--json")
	if err == nil {
		err = json.Unmarshal(out, &facts)
	}
	if err != nil {
		return err
	}
	took[0](s)
	back := filepath.Join(b.dir, "back")
	if s, _, err = b.cella(ctx, "get", facts.Root, "-o", back); err != nil {
		return err
	}
	took[1](s)
	if err := sameThenGone(file, back); err != nil {
		return err
	}
	if s, out, err = timed(b.ipfs.command(ctx, append(addArgs, file)...), nil); err != nil {
		return err
	}
	if root := strings.TrimSpace(string(out)); root != facts.Root {
		return fmt.Errorf("kubo's root is %s, ours %s: the import settings differ", root, facts.Root)
	}
	took[2](s)
	to, err := os.Create(back)
	if err != nil {
		return err
	}
	s, _, err = timed(b.ipfs.command(ctx, "cat", facts.Root), to)
	if err := errors.Join(err, to.Close()); err != nil {
		return err
	}
	took[3](s)
	if err := sameThenGone(file, back); err != nil {
		return err
	}
	return b.distant(ctx, file, facts.Root, back, took[4], took[5])
}

// addArgs are kubo's words for the import settings of ours.
var addArgs = []string{"add", "-Q", "--raw-leaves", "--chunker=size-1048576", "--cid-version=1"}

// cella runs a command of ours and counts the node's work in.
func (b *bench) cella(ctx context.Context, args ...string) (side, []byte, error) {
	cmd := exec.CommandContext(ctx, filepath.Join(b.bin, "cella"), append(args, "--home", b.net.Home)...)
	cmd.Env = append(os.Environ(), "CELLA_NODE="+b.net.Nodes[0].RPC)
	before := b.used()
	s, out, err := timed(cmd, nil)
	s.cpu += b.used() - before
	s.idle = b.idle * s.wall
	return s, out, err
}

// timed runs a command; what it prints goes to a file, if there is one.
func timed(cmd *exec.Cmd, to *os.File) (side, []byte, error) {
	var out, stderr strings.Builder
	cmd.Stdout, cmd.Stderr = &out, &stderr
	if to != nil {
		cmd.Stdout = to
	}
	began := time.Now()
	if err := cmd.Run(); err != nil {
		return side{}, nil, fmt.Errorf("%s: %w\n%s", strings.Join(cmd.Args[:2], " "), err, stderr.String())
	}
	p := cmd.ProcessState
	return side{cpu: (p.UserTime() + p.SystemTime()).Seconds(), wall: time.Since(began).Seconds()}, []byte(out.String()), nil
}

func makeFile(path string, mib int) error {
	f, err := os.Create(path)
	if err != nil {
		return err
	}
	_, err = io.CopyN(f, rand.Reader, int64(mib)<<20)
	return errors.Join(err, f.Sync(), f.Close())
}

// sameThenGone compares two files and removes the second.
func sameThenGone(a, b string) error {
	if err := exec.Command("cmp", a, b).Run(); err != nil {
		return fmt.Errorf("%s came back as another file: %w", a, err)
	}
	return os.Remove(b)
}
