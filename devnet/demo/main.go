// Command demo shows the whole of it on one machine: five nodes, each a host and an enclave process, hold a file for money. The
// disk of one holder is overwritten and another holder ends for good; both are caught, the file is whole again, and comes back.
//
// It fails, and says in which step, if anything does not hold. What it prints of heights and amounts it has checked with store proofs
// in this process, outside the network.
package main

import (
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/ipfs/go-cid"

	"github.com/cella-network/cella/client"
	"github.com/cella-network/cella/devnet"
	"github.com/cella-network/cella/protocol/storageproof"
)

const (
	nodes    = 5
	replicas = 3
	price    = 1_000_000_000 // ucella per GiB-day: high enough that a minute of a small file can be seen
)

func main() {
	file := flag.String("file", "", "file or folder to store; empty: the files of this repository")
	bin := flag.String("bin", "build", "folder of cella and cella-enclave")
	limit := flag.Duration("limit", 25*time.Minute, "give up after this")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	ctx, cancel := context.WithTimeout(ctx, *limit)
	defer cancel()
	if err := run(ctx, *file, *bin); err != nil {
		fmt.Fprintln(os.Stderr, "demo failed:", err)
		os.Exit(1)
	}
	fmt.Println("\ndemo: every step held")
}

// demo is what the steps share.
type demo struct {
	work  string // everything that is written lies below
	cella string
	file  string
	net   *devnet.Network
	put   putFacts
	order client.OrderStat
	proof []proven
	began time.Time

	corrupted, lost int // holders that are harmed
}

// putFacts is what `cella put --json` prints.
type putFacts struct {
	Root         string `json:"root"`
	Size         uint64 `json:"size"`
	Order        uint64 `json:"order"`
	Escrow       uint64 `json:"escrow"`
	Acknowledged int64  `json:"acknowledged"`
}

// proven is a replica whose standing was checked outside the network.
type proven struct {
	holder   client.Holder
	node     int
	standing storageproof.Standing
}

func run(ctx context.Context, file, bin string) (err error) {
	work, err := os.MkdirTemp("", "cella-demo-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(work)
	if bin, err = filepath.Abs(bin); err != nil {
		return err
	}
	d := &demo{work: work, cella: filepath.Join(bin, "cella"), file: file, began: time.Now()}
	if file == "" {
		if d.file, err = repository(ctx, filepath.Join(work, "repository")); err != nil {
			return fmt.Errorf("copying this repository's files: %w", err)
		}
	} else if d.file, err = filepath.Abs(file); err != nil {
		return err
	}
	size, err := bytesUnder(d.file)
	if err != nil {
		return err
	}

	d.say("starting %d nodes, each a host and an enclave (simulator: INSECURE)", nodes)
	d.net, err = devnet.Start(ctx, devnet.Config{
		Home: filepath.Join(work, "net"), Nodes: nodes, Binary: d.cella, Enclave: filepath.Join(bin, "cella-enclave"),
		Sectors: sectorsFor(size), Price: price, Tweak: impatient,
	})
	if err != nil {
		return fmt.Errorf("starting the network: %w", err)
	}
	defer func() {
		if closing := d.net.Close(); err == nil && closing != nil {
			err = fmt.Errorf("taking the network down: %w", closing)
		}
	}()
	for _, step := range []func(context.Context) error{d.join, d.store, d.check, d.harm, d.caught, d.whole, d.read, d.table, d.reckon} {
		if err := step(ctx); err != nil {
			return err
		}
	}
	return nil
}

func (d *demo) say(format string, args ...any) {
	fmt.Printf("%6.1fs  %s\n", time.Since(d.began).Seconds(), fmt.Sprintf(format, args...))
}

// join waits until every node is registered, most of them endorsed by another, and has offered its disk.
func (d *demo) join(ctx context.Context) error {
	chain, err := client.Dial(ctx, d.net.Nodes[0].RPC)
	if err != nil {
		return err
	}
	verifier, err := d.verifier(ctx, chain)
	if err != nil {
		return err
	}
	for i, n := range d.net.Nodes {
		account, err := client.DecodeAddress(n.Address)
		if err != nil {
			return err
		}
		err = d.net.Wait(ctx, func(ctx context.Context) (bool, error) {
			height, err := chain.Latest(ctx)
			if err != nil {
				return false, err
			}
			st, _, err := verifier.Standing(ctx, account, height-1)
			return err == nil && st.Counter > 0, err
		})
		if err != nil {
			return fmt.Errorf("node %d has not joined and reported: %w", i, err)
		}
	}
	d.say("all %d enclaves are registered and have reported their disks", nodes)
	return nil
}

// store puts the file as a person would, with a process of its own that is gone afterwards.
func (d *demo) store(ctx context.Context) error {
	err := d.command(ctx, &d.put, "put", d.file, "--replicas", fmt.Sprint(replicas), "--days", "1", "--json", "--home", d.net.User.Home, "--node", d.net.Nodes[0].RPC)
	if err != nil {
		return fmt.Errorf("put: %w", err)
	}
	d.say("put %s: %d bytes, acknowledged at height %d; the uploader is gone", d.put.Root, d.put.Size, d.put.Acknowledged)
	return nil
}

// check proves each replica in this process: headers signed by the validators, store proofs under them.
func (d *demo) check(ctx context.Context) error {
	chain, err := client.Dial(ctx, d.net.Nodes[0].RPC)
	if err != nil {
		return err
	}
	if d.order, err = d.stat(ctx, chain); err != nil {
		return err
	}
	root, err := cid.Decode(d.put.Root)
	if err != nil {
		return err
	}
	verifier, err := d.verifier(ctx, chain)
	if err != nil {
		return err
	}
	if err := chain.Wait(ctx, d.put.Acknowledged+1); err != nil { // whose header proves the state after it
		return err
	}
	ref := storageproof.OrderRef{ID: d.order.ID, Root: root.Bytes(), Size: d.order.Size}
	seen := map[string]bool{}
	for _, h := range d.order.Holders {
		if !h.Proven || seen[h.Operator] {
			continue
		}
		seen[h.Operator] = true
		account, err := client.DecodeAddress(h.Operator)
		if err != nil {
			return err
		}
		standing, err := verifier.Holds(ctx, account, ref)
		if err != nil {
			return fmt.Errorf("proof of %s: %w", h.Operator, err)
		}
		d.proof = append(d.proof, proven{holder: h, node: d.indexOf(h.Operator), standing: standing})
	}
	if len(d.proof) != replicas {
		return fmt.Errorf("%d replicas are proven, want %d", len(d.proof), replicas)
	}
	d.say("checked the store proofs of %d replicas outside the network", len(d.proof))
	return nil
}

// table prints heights and amounts once pay has flowed to each surviving holder.
func (d *demo) table(ctx context.Context) error {
	chain, err := client.Dial(ctx, d.net.Nodes[0].RPC)
	if err != nil {
		return err
	}
	err = d.net.Wait(ctx, func(ctx context.Context) (bool, error) {
		if d.order, err = d.stat(ctx, chain); err != nil {
			return false, err
		}
		for _, h := range d.order.Holders {
			if h.Paid == 0 && d.net.Running(d.indexOf(h.Operator)) {
				return false, fmt.Errorf("%s has not been paid yet", h.Operator)
			}
		}
		return true, nil
	})
	if err != nil {
		return err
	}
	fmt.Printf("\norder %d   root %s\nplaced at %d, acknowledged at %d, ends at %d; escrow left %d ucella\n\n",
		d.order.ID, d.put.Root, d.order.Start, d.put.Acknowledged, d.order.End, d.order.Escrow)
	fmt.Printf("%-6s %-45s %8s %8s %8s %12s %12s\n", "node", "operator", "since", "report", "height", "stored MiB", "paid ucella")
	for _, p := range d.proof {
		var paid uint64
		for _, h := range d.order.Holders {
			if h.Operator == p.holder.Operator {
				paid = h.Paid
			}
		}
		fmt.Printf("%-6d %-45s %8d %8d %8d %12.1f %12d\n", p.node, p.holder.Operator, p.holder.Since, p.standing.Counter, p.standing.Height,
			float64(p.standing.Stored)/(1<<20), paid)
	}
	return nil
}

func (d *demo) stat(ctx context.Context, chain *client.Chain) (client.OrderStat, error) {
	st, err := client.New(client.Options{Home: filepath.Join(d.work, "reader"), Chain: chain}).Stat(ctx, d.put.Root)
	if err != nil {
		return client.OrderStat{}, err
	}
	for _, o := range st.Orders {
		if o.ID == d.put.Order {
			return o, nil
		}
	}
	return client.OrderStat{}, fmt.Errorf("order %d is not on the chain", d.put.Order)
}

// verifier trusts the first block because every node names the same one; a person would have its hash from the genesis announcement.
func (d *demo) verifier(ctx context.Context, chain *client.Chain) (*client.Verifier, error) {
	var hash [32]byte
	for i, n := range d.net.Nodes {
		if !d.net.Running(i) {
			continue
		}
		c, err := client.Dial(ctx, n.RPC)
		if err != nil {
			return nil, err
		}
		h, err := c.BlockHash(ctx, 1)
		if err != nil {
			return nil, err
		}
		if hash != [32]byte{} && hash != h {
			return nil, fmt.Errorf("node %d names another first block", i)
		}
		hash = h
	}
	return client.NewVerifier(ctx, chain, 1, hash)
}

func (d *demo) indexOf(operator string) int {
	for i, n := range d.net.Nodes {
		if n.Address == operator {
			return i
		}
	}
	return -1
}

// command runs the person's command; what it says goes to standard error, its facts are decoded.
func (d *demo) command(ctx context.Context, facts any, args ...string) error {
	cmd := exec.CommandContext(ctx, d.cella, args...)
	cmd.Stderr = os.Stderr
	out, err := cmd.Output()
	if err != nil {
		return fmt.Errorf("cella %s: %w", strings.Join(args, " "), err)
	}
	if facts == nil {
		return nil
	}
	return json.Unmarshal(out, facts)
}

// sectorsFor gives a node room for the file twice over and some to prove beside it.
func sectorsFor(size int64) uint32 {
	const perSector = 14 << 20 // sealed bytes that a sector of 16 MiB surely holds
	return uint32(size/perSector)*5/4 + 10
}
