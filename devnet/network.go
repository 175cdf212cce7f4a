package devnet

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"syscall"
	"time"

	rpchttp "github.com/cometbft/cometbft/rpc/client/http"
	"golang.org/x/sync/errgroup"
)

// Network is a devnet. Its methods may be called from several goroutines.
type Network struct {
	Info
	binary  string
	program func(node int) []string
	detach  bool

	mu        sync.Mutex
	processes []*process // nil: not running
}

// Start makes a network, or takes up the one that Config.Home holds, runs its nodes and returns once each has committed
// a block since. If that takes longer than ctx allows or a node ends, it stops what it started.
func Start(ctx context.Context, cfg Config) (*Network, error) {
	if err := cfg.complete(); err != nil {
		return nil, err
	}
	info, err := ReadInfo(cfg.Home)
	if errors.Is(err, fs.ErrNotExist) {
		info, err = Create(cfg)
	} else if err == nil {
		err = takeUp(info)
	}
	if err != nil {
		return nil, err
	}
	n := &Network{Info: info, binary: cfg.Binary, program: cfg.Program, detach: cfg.Detach, processes: make([]*process, len(info.Nodes))}
	if info.Namespaces {
		if err := wire(len(info.Nodes)); err != nil {
			return nil, errors.Join(fmt.Errorf("devnet: %w", err), n.Close())
		}
	}
	if err := n.startAll(ctx); err != nil {
		return nil, errors.Join(err, n.Close())
	}
	return n, nil
}

// takeUp claims the ports of a network that was made before, unless it runs.
func takeUp(info Info) error {
	n, err := Open(info.Home)
	if err != nil {
		return err
	}
	if n.running() > 0 {
		return fmt.Errorf("devnet: the network at %s is running", info.Home)
	}
	_, err = claimPorts(info.Home, info.Ports)
	return err
}

// Open finds the running nodes of the network at home by their pid files. Its nodes can be stopped; to start one again
// takes Start.
func Open(home string) (*Network, error) {
	info, err := ReadInfo(home)
	if err != nil {
		return nil, err
	}
	n := &Network{Info: info, processes: make([]*process, len(info.Nodes))}
	for i, node := range info.Nodes {
		if p, err := readPid(node.Home); err == nil && p.running() {
			n.processes[i] = &process{proc: p}
		}
	}
	return n, nil
}

func (n *Network) startAll(ctx context.Context) error {
	for i := range n.Nodes {
		if err := n.StartNode(i); err != nil {
			return err
		}
	}
	seen := make([]int64, len(n.Nodes)) // 1 + the height at which each was seen first
	return n.Wait(ctx, func(ctx context.Context) (bool, error) {
		for i := range n.Nodes {
			h, err := n.Height(ctx, i)
			if err != nil {
				return false, err
			}
			if seen[i] == 0 {
				seen[i] = h + 1
			}
			if h < seen[i] {
				return false, fmt.Errorf("%s stays at height %d", nodeName(i), h)
			}
		}
		return true, nil
	})
}

// StartNode runs a node that isn't running. It doesn't wait until it has caught up.
func (n *Network) StartNode(i int) error {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.binary == "" {
		return errors.New("devnet: a network that was only opened starts no nodes")
	}
	if p := n.processes[i]; p != nil && p.running() {
		return fmt.Errorf("devnet: %s is running", nodeName(i))
	}
	command := []string{n.binary}
	if n.program != nil {
		if other := n.program(i); other != nil {
			command = slices.Clone(other)
		}
	}
	if n.Namespaces {
		command = append([]string{"ip", "netns", "exec", namespace(i)}, command...)
	}
	p, err := launch(command, n.Nodes[i].Home, n.Worker, n.detach)
	if err != nil {
		return fmt.Errorf("devnet: %s: %w", nodeName(i), err)
	}
	n.processes[i] = p
	return nil
}

// Kill ends a node with SIGKILL, as a power cut would, and returns when it is gone.
func (n *Network) Kill(i int) error { return n.end(i, syscall.SIGKILL) }

// Stop asks a node to end and returns when it has.
func (n *Network) Stop(i int) error { return n.end(i, syscall.SIGTERM) }

func (n *Network) end(i int, s syscall.Signal) error {
	n.mu.Lock()
	p := n.processes[i]
	n.processes[i] = nil
	n.mu.Unlock()
	if p == nil {
		return nil
	}
	return p.end(s)
}

// Height is the height of a node's latest block, or 0 before the first.
func (n *Network) Height(ctx context.Context, i int) (int64, error) {
	c, err := rpchttp.NewWithTimeout(n.Nodes[i].RPC, "/websocket", 2)
	if err != nil {
		return 0, err
	}
	s, err := c.Status(ctx)
	if err != nil {
		return 0, fmt.Errorf("%s: %w", nodeName(i), err)
	}
	return s.SyncInfo.LatestBlockHeight, nil
}

// Wait asks for a condition until it holds. It fails when ctx ends, with what the condition last complained of, and as
// soon as a node ended that nobody stopped.
func (n *Network) Wait(ctx context.Context, holds func(context.Context) (bool, error)) error {
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	for {
		ok, last := holds(ctx)
		if ok {
			return nil
		}
		if err := n.died(); err != nil {
			return err
		}
		select {
		case <-ctx.Done():
			return errors.Join(fmt.Errorf("devnet: %w", context.Cause(ctx)), last)
		case <-tick.C:
		}
	}
}

func (n *Network) died() error {
	n.mu.Lock()
	defer n.mu.Unlock()
	for i, p := range n.processes {
		if p != nil && !p.running() {
			return fmt.Errorf("devnet: %s ended by itself; its log ends:\n%s", nodeName(i), tail(n.Nodes[i].Home))
		}
	}
	return nil
}

func (n *Network) running() (count int) {
	for i := range n.Nodes {
		if n.Running(i) {
			count++
		}
	}
	return count
}

// Running tells whether a node's process runs.
func (n *Network) Running(i int) bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.processes[i] != nil && n.processes[i].running()
}

// Memory is the proportional set size in bytes of a node's processes, 0 if it isn't running.
func (n *Network) Memory(i int) (uint64, error) {
	n.mu.Lock()
	p := n.processes[i]
	n.mu.Unlock()
	if p == nil {
		return 0, nil
	}
	return p.memory()
}

// KillEnclave ends a node's enclave with SIGKILL and leaves its host running, which starts another.
func (n *Network) KillEnclave(i int) error {
	n.mu.Lock()
	p := n.processes[i]
	n.mu.Unlock()
	if p == nil {
		return fmt.Errorf("devnet: %s is not running", nodeName(i))
	}
	children, err := p.children()
	if err != nil {
		return err
	}
	for _, c := range children {
		if err := syscall.Kill(c.Pid, syscall.SIGKILL); err != nil && !errors.Is(err, syscall.ESRCH) {
			return err
		}
	}
	return nil
}

// Close stops all nodes and gives the ports back. The homes stay.
func (n *Network) Close() error {
	var g errgroup.Group
	for i := range n.Nodes {
		g.Go(func() error { return n.Stop(i) })
	}
	err := errors.Join(g.Wait(), releasePorts(n.Home))
	if n.Namespaces {
		err = errors.Join(err, unwire(len(n.Nodes)))
	}
	return err
}

// Purge removes what the network wrote to its home. It refuses while a node runs.
func (n *Network) Purge() error {
	if n.running() > 0 {
		return errors.New("devnet: the network is running")
	}
	for _, home := range append([]string{n.User.Home, filepath.Join(n.Home, "content")}, n.homes()...) {
		if filepath.Dir(home) != n.Home { // network.json was edited: remove nothing that isn't surely ours
			return fmt.Errorf("devnet: %s lies outside of %s", home, n.Home)
		}
		if err := os.RemoveAll(home); err != nil {
			return err
		}
	}
	if err := os.Remove(infoPath(n.Home)); err != nil {
		return err
	}
	if err := os.Remove(n.Home); err != nil && !errors.Is(err, syscall.ENOTEMPTY) {
		return err
	}
	return nil
}

func (n *Network) homes() (homes []string) {
	for _, node := range n.Nodes {
		homes = append(homes, node.Home)
	}
	return homes
}
