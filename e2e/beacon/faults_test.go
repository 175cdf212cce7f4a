package beacon

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	stakingtypes "github.com/cosmos/cosmos-sdk/x/staking/types"

	api "github.com/cella-network/cella/api/beacon"
	"github.com/cella-network/cella/api/committee"
	"github.com/cella-network/cella/api/guarantee"
	"github.com/cella-network/cella/chain/app"
	"github.com/cella-network/cella/protocol/threshold"
)

// step is one thing that happens to a network; when it is done, all members hold their shares again.
type step struct {
	name string
	do   func(context.Context)
}

// course is what each run goes through, in this order.
func (r *run) course() []step {
	return []step{
		{"quiet heights", func(ctx context.Context) { r.pass(ctx, 6) }},
		{"one host is killed", func(ctx context.Context) { r.killed(ctx, r.random.IntN(nodes)) }},
		{"two hosts are killed", func(ctx context.Context) { r.killed(ctx, r.two()...) }},
		{"one puts garbage beside its votes, one nothing", func(ctx context.Context) { r.misbehave(ctx, 15, "garbage", "withhold") }},
		{"two leave out numbers", r.omits},
		{"cut into 3 and 4", r.halved},
	}
}

// faults are those that may come any number of times.
func (r *run) faults() []step {
	return append(r.course()[1:],
		step{"an enclave is killed", func(ctx context.Context) {
			i, from := r.random.IntN(nodes), r.top(ctx)
			r.mustNow(r.net.KillEnclave(i))
			r.repaired(ctx, from, i)
		}},
		step{"two are cut off for 20 blocks", func(ctx context.Context) {
			r.partition(r.two()...)
			r.pass(ctx, 20)
			r.partition()
			r.pass(ctx, 5)
		}},
		step{"both doubtful ones put garbage", func(ctx context.Context) { r.misbehave(ctx, 10, "garbage", "garbage") }},
		step{"both doubtful ones withhold", func(ctx context.Context) { r.misbehave(ctx, 10, "withhold", "withhold") }},
	)
}

// ending is what each run ends with: the key is lost, and then validators are punished. One of them may come back.
func (r *run) ending() []step {
	return []step{
		{"all hosts are killed", r.allKilled},
		{"one signs two votes", r.equivocates},
		{"one signs wrong shares", r.badShares},
		{"it is elected again", r.comesBack},
		{"a newcomer begins with a snapshot", r.newcomer},
	}
}

// two are different nodes.
func (r *run) two() []int {
	p := r.random.Perm(nodes)
	return p[:2]
}

// killed ends hosts with kill -9, lets the chain go on without them, and takes them back.
func (r *run) killed(ctx context.Context, who ...int) {
	r.Helper()
	for _, i := range who {
		r.mustNow(r.net.Kill(i))
	}
	from := r.top(ctx)
	r.pass(ctx, 6)
	for _, i := range who {
		r.mustNow(r.net.StartNode(i))
	}
	r.repaired(ctx, from, who...)
}

// repaired waits until members that lost their shares after a block have them again.
func (r *run) repaired(ctx context.Context, from int64, who ...int) {
	r.Helper()
	for _, i := range who {
		address := r.net.Nodes[i].Address
		awaitEvent(ctx, r, fmt.Sprintf("node%d is repaired", i), from+1, func(e *committee.EventRepair) bool {
			return e.Purpose == purpose && e.Account == address && e.Phase == "done"
		})
	}
}

// misbehave lets both doubtful nodes do something for some blocks.
func (r *run) misbehave(ctx context.Context, blocks int64, how, other string) {
	r.Helper()
	r.behave(r.doubtful, how)
	r.behave(r.worse, other)
	r.pass(ctx, blocks)
	r.behave(r.doubtful, "")
	r.behave(r.worse, "")
	r.pass(ctx, 1)
}

// omits lets two nodes leave out numbers until the chain has noticed one of them.
func (r *run) omits(ctx context.Context) {
	from, one, other := r.top(ctx), r.consensus(r.doubtful), r.consensus(r.worse)
	r.behave(r.doubtful, "omit")
	r.behave(r.worse, "omit")
	at := awaitEvent(ctx, r, "an omission is noticed", from, func(e *api.EventOmitted) bool {
		return strings.EqualFold(e.Proposer, one) || strings.EqualFold(e.Proposer, other)
	})
	r.behave(r.doubtful, "")
	r.behave(r.worse, "")
	awaitEvent(ctx, r, "another block carries the number", at, func(e *api.EventNumber) bool { return e.Late > 0 })
}

// partition cuts nodes off, or heals the network.
func (r *run) partition(cut ...int) {
	r.Helper()
	r.mustNow(r.net.Partition(cut...))
	clear(r.cut)
	for _, i := range cut {
		r.cut[i] = true
	}
}

// halved cuts the network so that no side has two thirds, sees it halt, and heals it.
func (r *run) halved(ctx context.Context) {
	p := r.random.Perm(nodes)
	r.partition(p[:3]...)
	top, since := r.top(ctx), time.Now()
	r.await(ctx, "the chain halts", func(ctx context.Context, _ conn) (bool, error) {
		if now := r.top(ctx); now > top {
			top, since = now, time.Now()
		}
		return time.Since(since) > 6*time.Second, fmt.Errorf("it goes on at block %d", top)
	})
	r.partition()
	r.pass(ctx, 5)
	r.nothingMissing(ctx)
}

// nothingMissing waits until no number is missing but that of the last blocks.
func (r *run) nothingMissing(ctx context.Context) {
	r.await(ctx, "all numbers come", func(ctx context.Context, c conn) (bool, error) {
		q, err := api.NewQueryClient(c).Missing(ctx, &api.QueryMissingRequest{})
		if err != nil {
			return false, err
		}
		return len(q.Missing) <= 1, fmt.Errorf("missing: %v", q.Missing)
	})
}

// allKilled ends all hosts, and so all enclaves with their shares. Nobody is left to repair anybody: the key is lost, and another comes.
func (r *run) allKilled(ctx context.Context) {
	from := r.top(ctx)
	for i := range nodes {
		r.mustNow(r.net.Kill(i))
	}
	for i := range nodes {
		r.mustNow(r.net.StartNode(i))
	}
	fresh := awaitEvent(ctx, r, "a fresh key", from, func(e *committee.EventCharge) bool { return e.Reason == "fresh" })
	signed := awaitEvent(ctx, r, "its first number", fresh, func(e *api.EventNumber) bool { return true })
	r.weak = append(r.weak, span{from - 1, signed})
	r.pass(ctx, 10)
	r.nothingMissing(ctx)
}

// badShares lets one node sign wrong partial signatures until somebody has proven it.
func (r *run) badShares(ctx context.Context) {
	from, who := r.top(ctx), r.consensus(r.worse)
	r.behave(r.worse, "badshare")
	awaitEvent(ctx, r, "bad shares are proven", from, func(e *api.EventBadShare) bool { return strings.EqualFold(e.Validator, who) })
	r.punished(ctx, from, r.worse)
	r.behave(r.worse, "")
}

// comesBack lets the one that signed wrong shares end its time in jail, by the command that its operator would use. It is elected when the era ends,
// the key is handed on to a group with it, and then it proposes blocks.
func (r *run) comesBack(ctx context.Context) {
	from, n := r.top(ctx), r.net.Nodes[r.worse]
	r.await(ctx, "its time in jail is over", func(ctx context.Context, _ conn) (bool, error) {
		out, err := exec.CommandContext(ctx, r.cella, "chain", "tx", "slashing", "unjail", "--home", n.Home, "--from", n.Key,
			"--gas", "auto", "--gas-adjustment", "1.5", "--gas-prices", app.MinGasPrice, "--yes").CombinedOutput()
		if err != nil {
			return false, fmt.Errorf("%w: %s", err, out)
		}
		return true, nil
	})
	at := awaitEvent(ctx, r, "the key is handed on", from, func(e *committee.EventCharge) bool { return e.Purpose == purpose && e.Reason == "handover" })
	r.await(ctx, "it holds shares", func(ctx context.Context, c conn) (bool, error) {
		q, err := committee.NewQueryClient(c).Charge(ctx, &committee.QueryChargeRequest{Purpose: purpose})
		if err != nil || q.Charge == nil {
			return false, err
		}
		g, err := threshold.UnmarshalGroup(q.Charge.Group)
		if err != nil {
			return false, err
		}
		seat := slices.IndexFunc(g.Seats, func(s threshold.Seat) bool { return bytes.Equal(s.Account[:], account(r.T, n.Address)) })
		return q.Charge.Confirmed && g.Ready(seat), fmt.Errorf("seat %d of epoch %d, ready %v, the group confirmed %v", seat, q.Charge.Epoch, g.Ready(seat), q.Charge.Confirmed)
	})
	next, address := at, r.consensus(r.worse)
	r.await(ctx, "it proposes a block", func(ctx context.Context, c conn) (bool, error) {
		for top := r.top(ctx); next <= top; next++ {
			b, err := c.Header(ctx, &next)
			if err != nil {
				return false, err
			}
			if b.Header.ProposerAddress.String() == address {
				return true, nil
			}
		}
		return false, fmt.Errorf("not in blocks %d to %d", at, next-1)
	})
}

// equivocates lets two processes use one validator's key: the second refuses every block and so votes otherwise.
func (r *run) equivocates(ctx context.Context) {
	from := r.top(ctx)
	stop := r.twin(ctx, r.copied)
	r.punished(ctx, from, r.copied)
	stop()
}

// punished waits until a node is jailed and stake of it was burned.
func (r *run) punished(ctx context.Context, from int64, node int) {
	r.Helper()
	n := r.net.Nodes[node]
	r.await(ctx, fmt.Sprintf("node%d is jailed", node), func(ctx context.Context, c conn) (bool, error) {
		v, err := stakingtypes.NewQueryClient(c).Validator(ctx, &stakingtypes.QueryValidatorRequest{ValidatorAddr: n.Validator})
		return err == nil && v.Validator.Jailed, err
	})
	awaitEvent(ctx, r, fmt.Sprintf("stake of node%d is burned", node), from, func(e *guarantee.EventPenalty) bool {
		if e.Operator != n.Address && e.Operator != n.Validator || e.Bonded == 0 {
			return false
		}
		r.Logf("node%d loses %d ucella: %s", node, e.Bonded, e.Rule)
		return true
	})
}

// twin runs a second process with a node's consensus key, and a home and a network identity of its own.
func (r *run) twin(ctx context.Context, node int) (stop func()) {
	home := filepath.Join(r.home, "twin")
	r.mustNow(os.MkdirAll(filepath.Join(home, "data"), 0o755))
	for _, name := range []string{"config.toml", "app.toml", "genesis.json", "priv_validator_key.json"} {
		b, err := os.ReadFile(filepath.Join(r.net.Nodes[node].Home, "config", name))
		r.mustNow(err)
		r.mustNow(os.MkdirAll(filepath.Join(home, "config"), 0o755))
		r.mustNow(os.WriteFile(filepath.Join(home, "config", name), b, 0o600))
	}
	r.mustNow(os.WriteFile(filepath.Join(home, "data", "priv_validator_state.json"), []byte(`{"height":"0","round":0,"step":0}`), 0o600))
	script := filepath.Join(r.home, "behaviour-twin")
	r.mustNow(os.WriteFile(script, []byte("equivocate"), 0o644))
	_, stop = r.beside(ctx, node, home, r.twoway, "CELLA_BYZANTINE="+script)
	return stop
}

// beside runs one more node of the chain in a node's namespace, where it listens on addresses that no node has. It returns that of its RPC.
func (r *run) beside(ctx context.Context, node int, home, program string, env ...string) (rpc string, stop func()) {
	ip, _, _ := strings.Cut(r.net.Nodes[node].P2P, ":")
	port := func(i int) string { return fmt.Sprintf("%s:%d", ip, 33000+i) }
	cmd := exec.CommandContext(ctx, "ip", "netns", "exec", fmt.Sprintf("cella%d", node), program, "chain", "start", "--home", home)
	cmd.Env = append(append(os.Environ(), "CELLA_P2P_LADDR=tcp://"+port(0), "CELLA_RPC_LADDR=tcp://"+port(1),
		"CELLA_GRPC_ADDRESS="+port(2), "CELLA_API_ADDRESS=tcp://"+port(3), "CELLA_INSTRUMENTATION_PROMETHEUS_LISTEN_ADDR="+port(4)), env...)
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	log, err := os.Create(filepath.Join(home, "node.log"))
	r.mustNow(err)
	cmd.Stdout, cmd.Stderr = log, log
	r.mustNow(cmd.Start())
	return "http://" + port(1), func() {
		r.mustNow(errors.Join(cmd.Process.Kill(), log.Close()))
		_ = cmd.Wait() // it was killed
	}
}

// newcomer joins with the commands that an operator would use, and has the chain's state without its blocks.
func (r *run) newcomer(ctx context.Context) {
	home := filepath.Join(r.home, "newcomer")
	ask := func(args ...string) string {
		out, err := exec.CommandContext(ctx, r.cella, append([]string{"chain", "--home", home}, args...)...).CombinedOutput()
		if err != nil {
			r.Fatalf("cella chain %v: %v\n%s", args, err, out)
		}
		return string(out)
	}
	ask("init", "newcomer", "--chain-id", r.net.ChainID)
	one, other := r.net.Nodes[r.doubtful], r.net.Nodes[r.worse]
	genesis, err := os.ReadFile(filepath.Join(one.Home, "config", "genesis.json"))
	r.mustNow(err)
	r.mustNow(os.WriteFile(filepath.Join(home, "config", "genesis.json"), genesis, 0o644))
	said := ask("statesync", "--rpc", one.RPC+","+other.RPC)
	if !strings.Contains(said, one.NodeID+"@") {
		r.Fatalf("no hint at a peer:\n%s", said)
	}
	rpc, stop := r.beside(ctx, r.copied, home, r.cella, "CELLA_P2P_PERSISTENT_PEERS="+one.NodeID+"@"+one.P2P+","+other.NodeID+"@"+other.P2P)
	defer stop()
	r.await(ctx, "the newcomer follows", func(ctx context.Context, there conn) (bool, error) {
		c, err := dial(rpc)
		if err != nil {
			return false, err
		}
		s, err := c.Status(ctx)
		if err != nil {
			return false, err
		}
		now := s.SyncInfo.LatestBlockHeight
		if s.SyncInfo.CatchingUp || now < r.top(ctx)-2 {
			return false, fmt.Errorf("it is at block %d", now)
		}
		if s.SyncInfo.EarliestBlockHeight < 100 {
			return false, fmt.Errorf("it has blocks from %d on: that is no snapshot", s.SyncInfo.EarliestBlockHeight)
		}
		has, err := there.Header(ctx, &now)
		if err != nil {
			return false, err
		}
		r.Logf("from block %d on, now at %d", s.SyncInfo.EarliestBlockHeight, now)
		return bytes.Equal(has.Header.Hash(), s.SyncInfo.LatestBlockHash), errors.New("another block than the network's")
	})
}
