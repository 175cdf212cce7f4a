package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"syscall"
	"time"

	genutiltypes "github.com/cosmos/cosmos-sdk/x/genutil/types"

	"github.com/cella-network/cella/api/attest"
	"github.com/cella-network/cella/api/beacon"
	"github.com/cella-network/cella/api/committee"
	"github.com/cella-network/cella/bench/meter"
	"github.com/cella-network/cella/bench/table"
	"github.com/cella-network/cella/chain/app"
	"github.com/cella-network/cella/chain/node"
	"github.com/cella-network/cella/client"
	"github.com/cella-network/cella/devnet"
)

const (
	intervalMost = 1.10
	settle       = 3 // blocks after a thaw before those that count

	never    = 1 << 40               // blocks: a phase that does not end
	loopback = 50 * time.Millisecond // that a devnet takes off its block time for voting
)

// intervals is the comparison of two networks by the time between their blocks.
type intervals struct {
	bin    string
	turns  int // of each network
	blocks int // of a turn
}

// measure has two networks of n validators take turns. Both run the same programs with the same settings, a node's own pause between blocks
// among them; all enclaves are registered, draw and report. In the plain one the ceremony for a key never leaves its first phase and votes
// have no extensions: nothing is signed, no block carries a number, and CometBFT's rotation proposes.
func (i intervals) measure(ctx context.Context, n int) (rows []table.Row, err error) {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Minute)
	defer cancel()
	dir, err := os.MkdirTemp("", "bench-interval-")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(dir)
	var both [2]*subject
	for k := range both {
		s, starting := i.start(ctx, filepath.Join(dir, fmt.Sprint(k)), n, k == 0)
		if starting != nil {
			return nil, starting
		}
		defer func() { err = errors.Join(err, s.close()) }()
		both[k] = s
	}
	for range i.turns {
		for _, s := range both {
			if err := s.turn(ctx, i.blocks); err != nil {
				return nil, err
			}
		}
	}
	with, without := both[0], both[1]
	carried, err := with.carried(ctx)
	if err != nil {
		return nil, err
	}
	a, b := with.median().Seconds(), without.median().Seconds()
	blocks := len(with.took)
	return []table.Row{
		{What: fmt.Sprintf("block interval, %d validators, numbers and drawn proposers", n), Ours: fmt.Sprintf("%.3f s, median of %d", a, blocks),
			Beside: fmt.Sprintf("%.3f s, median of %d: same programs, no key, no extensions, stock rotation", b, len(without.took)),
			Ratio:  a / b, Wanted: fmt.Sprintf("at most %.2f", intervalMost), Met: a/b <= intervalMost},
		{What: "  mean; nine of ten are below", Ours: fmt.Sprintf("%.3f s; %.3f s", with.mean(), with.part(9, 10).Seconds()),
			Beside: fmt.Sprintf("%.3f s; %.3f s", without.mean(), without.part(9, 10).Seconds()), Ratio: with.mean() / without.mean()},
		{What: "  CPU of a node and block, chain, worker and enclave", Ours: fmt.Sprintf("%.0f ms", with.each(n)), Beside: fmt.Sprintf("%.0f ms", without.each(n))},
		{What: "  blocks that carried the number of the height before", Ours: fmt.Sprintf("%d of %d", carried, blocks), Wanted: "all but one of twenty", Met: carried*20 >= blocks*19},
	}, nil
}

// subject is a network that is measured from time to time and frozen meanwhile.
type subject struct {
	*devnet.Network
	chain   *client.Chain
	nodes   []int // process ids
	heights []int64
	took    []time.Duration
	cpu     time.Duration
}

// start makes a network and returns it frozen, once it is ready to be measured.
func (i intervals) start(ctx context.Context, home string, n int, key bool) (s *subject, err error) {
	cfg := devnet.Config{Home: home, Nodes: n, Binary: filepath.Join(i.bin, "cella"), Enclave: filepath.Join(i.bin, "cella-enclave"),
		BlockTime: node.DefaultSettings().Comet.Consensus.TimeoutCommit + loopback, Sectors: 2}
	if !key {
		cfg.Tweak = func(g app.Genesis) error {
			var state committee.GenesisState
			return g.Change("committee", &state, func() error { state.Params.PhaseBlocks = never; return nil })
		}
	}
	info, err := devnet.Create(cfg)
	if err == nil && !key {
		err = noExtensions(info)
	}
	if err != nil {
		return nil, err
	}
	before, err := meter.Children(os.Getpid())
	if err != nil {
		return nil, err
	}
	s = &subject{}
	if s.Network, err = devnet.Start(ctx, cfg); err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, s.close())
		}
	}()
	if s.nodes, err = meter.Children(os.Getpid()); err != nil {
		return nil, err
	}
	s.nodes = slices.DeleteFunc(s.nodes, func(pid int) bool { return slices.Contains(before, pid) })
	if s.chain, err = client.Dial(ctx, s.Nodes[0].RPC); err != nil {
		return nil, err
	}
	if err := s.Wait(ctx, func(ctx context.Context) (bool, error) { return s.ready(ctx, n, key) }); err != nil {
		return nil, err
	}
	return s, s.signal(syscall.SIGSTOP)
}

// noExtensions turns extensions off in the genesis files of a network that has not run.
func noExtensions(info devnet.Info) error {
	for _, n := range info.Nodes {
		path := filepath.Join(n.Home, "config", "genesis.json")
		g, err := genutiltypes.AppGenesisFromFile(path)
		if err != nil {
			return err
		}
		g.Consensus.Params.ABCI.VoteExtensionsEnableHeight = 0
		if err := g.SaveAs(path); err != nil {
			return err
		}
	}
	return nil
}

// ready says whether all enclaves are registered and, if there is to be a key, numbers come as fast as blocks.
func (s *subject) ready(ctx context.Context, n int, key bool) (bool, error) {
	r, err := s.chain.Attest.Nodes(ctx, &attest.QueryNodesRequest{})
	if err != nil || len(r.Nodes) < n {
		return false, errors.Join(err, errors.New("enclaves are not registered"))
	}
	if !key {
		return true, nil
	}
	head, err := s.chain.Latest(ctx)
	if err != nil {
		return false, err
	}
	last, err := s.chain.Beacon.Number(ctx, &beacon.QueryNumberRequest{})
	if err != nil {
		return false, err
	}
	return last.Number.Height >= head-2, fmt.Errorf("the last number is that of height %d, the last block %d", last.Number.Height, head)
}

// pass waits for some blocks.
func (s *subject) pass(ctx context.Context, blocks int64) error {
	if err := s.chain.Wait(ctx, 1); err != nil { // bears a connection that went stale in a freeze
		return err
	}
	now, err := s.chain.Latest(ctx)
	if err != nil {
		return err
	}
	return s.chain.Wait(ctx, now+blocks)
}

// turn thaws the network, measures some blocks and freezes it again.
func (s *subject) turn(ctx context.Context, blocks int) error {
	if err := s.signal(syscall.SIGCONT); err != nil {
		return err
	}
	if err := s.pass(ctx, settle); err != nil {
		return err
	}
	from, err := s.chain.Latest(ctx)
	if err != nil {
		return err
	}
	used, err := s.used()
	if err != nil {
		return err
	}
	if err := s.chain.Wait(ctx, from+int64(blocks)); err != nil {
		return err
	}
	after, err := s.used()
	if err != nil {
		return err
	}
	s.cpu += after - used
	last, err := s.chain.Block(ctx, from)
	if err != nil {
		return err
	}
	for h := from + 1; h <= from+int64(blocks); h++ {
		b, err := s.chain.Block(ctx, h)
		if err != nil {
			return err
		}
		s.heights, s.took = append(s.heights, h), append(s.took, b.Time.Sub(last.Time))
		last = b
	}
	return s.signal(syscall.SIGSTOP)
}

// processes are those of all nodes, enclaves included.
func (s *subject) processes() (all []int, err error) {
	for _, pid := range s.nodes {
		family, err := meter.Family(pid)
		if err != nil {
			return nil, err
		}
		all = append(all, family...)
	}
	return all, nil
}

func (s *subject) signal(what syscall.Signal) error {
	all, err := s.processes()
	if err != nil {
		return err
	}
	for _, pid := range all {
		if err := syscall.Kill(pid, what); err != nil {
			return fmt.Errorf("signal process %d: %w", pid, err)
		}
	}
	return nil
}

func (s *subject) used() (sum time.Duration, err error) {
	all, err := s.processes()
	if err != nil {
		return 0, err
	}
	for _, pid := range all {
		used, err := meter.CPU(pid)
		if err != nil {
			return 0, err
		}
		sum += used
	}
	return sum, nil
}

// close ends the network, which must run to hear of it.
func (s *subject) close() error { return errors.Join(s.signal(syscall.SIGCONT), s.Close()) }

// carried counts the measured blocks that brought the number of the height before them.
func (s *subject) carried(ctx context.Context) (count int, err error) {
	if err := s.signal(syscall.SIGCONT); err != nil {
		return 0, err
	}
	if err := s.pass(ctx, 1); err != nil {
		return 0, err
	}
	for _, h := range s.heights {
		r, err := s.chain.Beacon.Number(ctx, &beacon.QueryNumberRequest{Height: h - 1})
		if err == nil && r.Number.Carried == h {
			count++
		}
	}
	return count, s.signal(syscall.SIGSTOP)
}

func (s *subject) median() time.Duration { return s.part(1, 2) }

// part is the interval that a part of all does not reach.
func (s *subject) part(of, in int) time.Duration {
	sorted := slices.Sorted(slices.Values(s.took))
	return sorted[min(len(sorted)*of/in, len(sorted)-1)]
}

func (s *subject) mean() float64 {
	var sum time.Duration
	for _, t := range s.took {
		sum += t
	}
	return sum.Seconds() / float64(len(s.took))
}

// each is the CPU time in milliseconds of one of n nodes for a block.
func (s *subject) each(n int) float64 { return s.cpu.Seconds() * 1e3 / float64(n*len(s.took)) }
