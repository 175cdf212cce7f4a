package node

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/cometbft/cometbft/crypto"
	"github.com/cometbft/cometbft/light"
	"github.com/cometbft/cometbft/light/provider"
	lighthttp "github.com/cometbft/cometbft/light/provider/http"
	lightdb "github.com/cometbft/cometbft/light/store/db"
	"github.com/cometbft/cometbft/p2p"
	"github.com/cometbft/cometbft/privval"
	cmttypes "github.com/cometbft/cometbft/types"

	cmtdb "github.com/cometbft/cometbft-db"
)

// loopback is an address that nobody else listens on: the whole of 127.0.0.0/8 is this machine.
func loopback(i int) string {
	pid := os.Getpid()
	return fmt.Sprintf("127.%d.%d.%d:26656", 64+pid>>16&63, pid>>8&255, pid&63<<2+i)
}

// network is a chain of nodes in this process.
type network struct {
	homes []string
	drawn proposers
	nodes []*Node // nil if it doesn't run
	logs  []*output
}

// newNetwork makes a chain of as many validators as there are stakes. Nobody runs yet.
func newNetwork(t *testing.T, coins ...int64) *network {
	t.Helper()
	w := &network{homes: newHomes(t, loopback(0), coins...), nodes: make([]*Node, len(coins)), logs: make([]*output, len(coins))}
	for i := range w.homes {
		w.connect(t, i, func(*Settings) {})
	}
	w.drawn = taking(w.addresses(t))
	t.Cleanup(func() { w.stop(t) })
	return w
}

// connect gives a node its place, with all nodes before it as peers.
func (w *network) connect(t *testing.T, i int, change func(*Settings)) {
	t.Helper()
	s := testSettings(loopback(i))
	var peers []string
	for j, home := range w.homes[:i] {
		key, err := p2p.LoadOrGenNodeKey(home + "/config/node_key.json")
		if err != nil {
			t.Fatal(err)
		}
		peers = append(peers, fmt.Sprintf("%s@%s", key.ID(), loopback(j)))
	}
	s.Comet.P2P.PersistentPeers = strings.Join(peers, ",")
	s.Comet.P2P.AddrBookStrict, s.Comet.P2P.AllowDuplicateIP = false, true
	change(&s)
	if err := s.Write(w.homes[i]); err != nil {
		t.Fatal(err)
	}
}

func (w *network) addresses(t *testing.T) (all []crypto.Address) {
	t.Helper()
	for _, home := range w.homes {
		pv := privval.LoadFilePV(home+"/config/priv_validator_key.json", home+"/data/priv_validator_state.json")
		all = append(all, pv.GetAddress())
	}
	return all
}

// taking is a draw by turns out of step with the power of those who are drawn: at each tenth height nobody is, at each seventh a stranger.
func taking(all []crypto.Address) draw {
	return func(height int64) (address [20]byte, ok bool, err error) {
		switch {
		case height%10 == 0:
			return address, false, nil
		case height%7 == 0:
			return [20]byte{1}, true, nil
		}
		return [20]byte(all[uint32(height)*2654435761>>16%uint32(len(all))]), true, nil
	}
}

func (w *network) start(t *testing.T, which ...int) {
	t.Helper()
	for _, i := range which {
		w.logs[i] = new(output)
		n, err := New(t.Context(), Config{Home: w.homes[i], Log: w.logs[i], drawn: w.drawn})
		if err != nil {
			t.Fatalf("node %d: %v\n%s", i, err, w.logs[i])
		}
		if err := n.Start(); err != nil {
			t.Fatalf("node %d: %v\n%s", i, err, w.logs[i])
		}
		w.nodes[i] = n
	}
}

// stop stops some nodes, or all.
func (w *network) stop(t *testing.T, which ...int) {
	t.Helper()
	for i, n := range w.nodes {
		if n == nil || len(which) > 0 && !slices.Contains(which, i) {
			continue
		}
		if err := n.Stop(); err != nil {
			t.Errorf("node %d: %v", i, err)
		}
		w.nodes[i] = nil
	}
}

// reach waits until all nodes that run are at a height.
func (w *network) reach(t *testing.T, height int64) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	for i, n := range w.nodes {
		for n != nil {
			s, err := n.RPC().Status(ctx)
			if err != nil || ctx.Err() != nil {
				t.Fatalf("node %d doesn't come to height %d: %v, %v\n%s", i, height, err, ctx.Err(), w.logs[i])
			}
			if s.SyncInfo.LatestBlockHeight >= height && !s.SyncInfo.CatchingUp {
				break
			}
			time.Sleep(5 * time.Millisecond)
		}
	}
}

// check holds the proposers of a node's blocks against the draw, and returns how many first rounds it found of whom.
func (w *network) check(t *testing.T, i int, from, to int64) map[string]int {
	t.Helper()
	had := map[string]int{}
	for h := from; h <= to; h++ {
		c, err := w.nodes[i].RPC().Commit(t.Context(), &h)
		if err != nil {
			t.Fatal(err)
		}
		address, ok, _ := w.drawn.Proposer(h)
		if h == 1 || !ok || address == [20]byte{1} || c.Commit.Round > 0 {
			continue
		}
		had[c.ProposerAddress.String()]++
		if [20]byte(c.ProposerAddress) != address {
			t.Errorf("node %d, height %d: %s proposed the first round, %X was drawn", i, h, c.ProposerAddress, address)
		}
	}
	return had
}

func TestOneValidator(t *testing.T) {
	w := newNetwork(t, 100)
	w.start(t, 0)
	w.reach(t, 15)
	w.stop(t, 0)
	w.start(t, 0)
	w.reach(t, 30)
	w.check(t, 0, 1, 29)
}

// A node whose consensus fails says so and comes to its end, instead of answering calls about a chain that it has left.
func TestConsensusFails(t *testing.T) {
	w := newNetwork(t, 100)
	honest := w.drawn
	w.drawn = draw(func(h int64) ([20]byte, bool, error) {
		if h == 5 {
			return [20]byte{}, false, errors.New("no such state")
		}
		return honest.Proposer(h)
	})
	w.start(t, 0)
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	if err := w.nodes[0].Wait(ctx); err == nil || !strings.Contains(err.Error(), "consensus has stopped") {
		t.Errorf("the node ended with %v", err)
	}
	if err := w.nodes[0].Stop(); err == nil || !strings.Contains(err.Error(), "consensus has stopped") {
		t.Errorf("the node stopped with %v", err)
	}
	w.nodes[0] = nil
}

// The powers differ tenfold, the draw doesn't care: everybody proposes, through restarts of one node and of all.
func TestFourValidators(t *testing.T) {
	w := newNetwork(t, 400, 400, 400, 40)
	w.start(t, 0, 1, 2, 3)
	w.reach(t, 20)
	w.stop(t, 1)
	w.reach(t, 24)
	w.start(t, 1)
	w.reach(t, 30)
	w.stop(t)
	w.start(t, 3, 2, 1, 0)
	w.reach(t, 50)
	if had := w.check(t, 2, 1, 49); len(had) != 4 {
		t.Errorf("first rounds: %v, want all four", had)
	}
	w.verifySkipping(t, 48)
	w.verifyIBC(t, 2, 3, 17, 48)
	// What RPC tells is what runs.
	d, err := w.nodes[0].RPC().DumpConsensusState(t.Context())
	if err != nil || strings.Contains(string(d.RoundState), `"height":"1"`) || len(d.Peers) == 0 {
		t.Errorf("dump_consensus_state: %v, %d peers\n%s", err, len(d.Peers), d.RoundState)
	}
	s, err := w.nodes[0].RPC().ConsensusState(t.Context())
	if err != nil || strings.Contains(string(s.RoundState), `"height/round/step":"1/`) {
		t.Errorf("consensus_state: %v\n%s", err, s.RoundState)
	}
}

// validators are those of a height, as RPC tells.
func (w *network) validators(t *testing.T, h int64) *cmttypes.ValidatorSet {
	t.Helper()
	v, err := w.nodes[0].RPC().Validators(t.Context(), &h, nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	set, err := cmttypes.ValidatorSetFromExistingValidators(v.Validators)
	if err != nil {
		t.Fatal(err)
	}
	return set
}

// verifySkipping lets CometBFT's own light client go from the first header to one far off, in leaps.
func (w *network) verifySkipping(t *testing.T, to int64) {
	t.Helper()
	var all []provider.Provider
	for _, n := range w.nodes {
		p, err := lighthttp.New("cella-test-1", "http://"+n.comet.listeners[0].Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, p)
	}
	first, err := all[0].LightBlock(t.Context(), 1)
	if err != nil {
		t.Fatal(err)
	}
	c, err := light.NewClient(t.Context(), "cella-test-1", light.TrustOptions{Period: time.Hour, Height: 1, Hash: first.Hash()},
		all[0], all[1:], lightdb.New(cmtdb.NewMemDB(), "light"), light.SkippingVerification(light.DefaultTrustLevel))
	if err != nil {
		t.Fatal(err)
	}
	b, err := c.VerifyLightBlockAtHeight(t.Context(), to, time.Now())
	if err != nil || b.Height != to {
		t.Errorf("a light client at height %d: %v", to, err)
	}
}

// A second round happens when whoever was drawn is away. All must agree on whose it is, and the chain goes on.
func TestDrawnIsAway(t *testing.T) {
	w := newNetwork(t, 100, 100, 100, 100)
	away := [20]byte(w.addresses(t)[3])
	w.drawn = draw(func(int64) ([20]byte, bool, error) { return away, true, nil })
	for i := range 3 {
		w.connect(t, i, func(s *Settings) { s.Comet.Consensus.TimeoutPropose = 100 * time.Millisecond })
	}
	w.start(t, 0, 1, 2)
	w.reach(t, 8)
	for h := int64(2); h < 8; h++ {
		c, err := w.nodes[0].RPC().Commit(t.Context(), &h)
		if err != nil || c.Commit.Round == 0 {
			t.Errorf("height %d: round %d, %v", h, c.Commit.Round, err)
		}
	}
}

// A node that fails at any of CometBFT's own points of failure, such as between the application's commit and that of CometBFT, comes back
// with the same proposers. The other validator never runs: each of its heights has a second round.
func TestReplayAfterEachFailure(t *testing.T) {
	if os.Getenv("FAIL_TEST_INDEX") != "" {
		failing(t)
		return
	}
	w := newNetwork(t, 100, 10)
	w.connect(t, 0, func(s *Settings) {
		s.Comet.BlockSync.AdaptiveSync = true // else it waits for the other one
		s.Comet.Consensus.TimeoutPropose = 50 * time.Millisecond
	})
	last := int64(1)
	for index := range 10 { // as many points as there are in a block
		cmd := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^TestReplayAfterEachFailure$", "-test.timeout=2m")
		cmd.Env = append(os.Environ(), fmt.Sprint("FAIL_TEST_INDEX=", 15+index), "FAIL_TEST_HOMES="+strings.Join(w.homes, "\n"))
		out, err := cmd.CombinedOutput()
		if e := (*exec.ExitError)(nil); !errors.As(err, &e) || !strings.Contains(string(out), "*** fail-test") {
			t.Fatalf("index %d: %v, want a failure of CometBFT's own\n%s", index, err, out)
		}
		w.start(t, 0)
		w.reach(t, last+5)
		s, err := w.nodes[0].RPC().Status(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		w.check(t, 0, last, s.SyncInfo.LatestBlockHeight-1)
		last = s.SyncInfo.LatestBlockHeight
		w.stop(t)
	}
}

// failing runs the node of the test above until CometBFT ends the process.
func failing(t *testing.T) {
	w := &network{homes: strings.Split(os.Getenv("FAIL_TEST_HOMES"), "\n"), nodes: make([]*Node, 2), logs: make([]*output, 2)}
	w.drawn = taking(w.addresses(t))
	w.start(t, 0)
	w.reach(t, 1<<40)
}
