// Package beacon strikes at networks of real processes that make random numbers and draw proposers by them: kill -9 of members, cut
// cables, validators that misbehave. Whatever happens, every proposer must be the one whom a second implementation of the lottery draws
// from what the RPC tells, and numbers must come as long as more than two thirds of the power are up.
//
// The test runs itself again in a network namespace of its own, where each node has one as well. Validators that misbehave run a
// program that the test builds with the tag `byzantine` (chain/app/byzantine.go). With -heights beyond what the fixed course takes, faults
// are drawn by -seed until the chain is that long.
package beacon

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/cosmos/gogoproto/proto"

	sdk "github.com/cosmos/cosmos-sdk/types"
	slashingtypes "github.com/cosmos/cosmos-sdk/x/slashing/types"

	api "github.com/cella-network/cella/api/beacon"
	"github.com/cella-network/cella/api/committee"
	"github.com/cella-network/cella/api/guarantee"
	"github.com/cella-network/cella/chain/app"
	"github.com/cella-network/cella/devnet"
)

var (
	heights = flag.Int64("heights", 60, "how many heights with numbers the test lasts at least")
	seed    = flag.Uint64("seed", 1, "of the faults beyond the fixed course, their victims and moments")
	limit   = flag.Duration("limit", 10*time.Minute, "give up after this")
	keep    = flag.String("keep", "", "a folder for the network's home, which is left there; a temporary one if empty")
)

const (
	nodes   = 7
	inside  = "CELLA_BEACON_INSIDE" // set in the environment of the test that runs in the namespace
	purpose = "beacon"

	patience = 3 * time.Minute // for one step
)

// TestMain enters a namespace and begins again there.
func TestMain(m *testing.M) {
	flag.Parse()
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

// run is one test's network, and what is known of its course.
type run struct {
	*testing.T
	net    *devnet.Network
	random *rand.Rand
	cella  string // the program that is shipped
	twoway string // the program that can misbehave
	home   string
	cut    map[int]bool // nodes that the test can't reach

	// Nodes that run the program that can misbehave: those with the first seats of a group, so that their shares are among those that
	// make a number. And one whose key a second process uses.
	doubtful, worse, copied int

	first int64  // the height from which on there are numbers
	weak  []span // heights at which no number could be expected: two thirds were not up, or had no shares
}

type span struct{ from, to int64 }

func TestBeaconNetwork(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), *limit)
	defer cancel()
	r := start(ctx, t)
	defer func() {
		if err := r.net.Close(); err != nil {
			t.Error(err)
		}
	}()
	began := time.Now()
	whole := r.step(ctx, step{"the first group", r.firstGroup}) && r.steps(ctx, r.course())
	for faults := r.faults(); whole && r.top(ctx)-r.first < *heights; {
		whole = r.step(ctx, faults[r.random.IntN(len(faults))])
	}
	if whole {
		r.steps(ctx, r.ending())
	}
	r.judge(ctx)
	t.Logf("seed %d: %s in all", *seed, time.Since(began).Round(time.Second))
}

func start(ctx context.Context, t *testing.T) *run {
	build, err := filepath.Abs(cmp.Or(os.Getenv("CELLA_BUILD"), "../../build"))
	if err != nil {
		t.Fatal(err)
	}
	r := &run{T: t, home: cmp.Or(*keep, t.TempDir()), random: rand.New(rand.NewPCG(*seed, 1)), cut: map[int]bool{}}
	r.cella, r.twoway = filepath.Join(build, "cella"), filepath.Join(r.home, "cella-byzantine")
	r.mustNow(os.MkdirAll(r.home, 0o755))
	if out, err := exec.CommandContext(ctx, "go", "build", "-tags", "byzantine", "-o", r.twoway, "../../cmd/cella").CombinedOutput(); err != nil {
		t.Fatalf("building the program that misbehaves: %v\n%s", err, out)
	}
	config := devnet.Config{Home: filepath.Join(r.home, "net"), Nodes: nodes, Binary: r.cella, Program: r.program,
		Enclave: filepath.Join(build, "cella-enclave"), Sectors: 2, BlockTime: 500 * time.Millisecond, Namespaces: true, Tweak: quick}
	info, err := devnet.Create(config)
	r.mustNow(err)
	seats := []int{0, 1, 2, 3, 4, 5, 6}
	slices.SortFunc(seats, func(i, j int) int {
		return bytes.Compare(account(t, info.Nodes[i].Address), account(t, info.Nodes[j].Address))
	})
	r.doubtful, r.worse, r.copied = seats[0], seats[1], seats[2]
	if r.net, err = devnet.Start(ctx, config); err != nil {
		t.Fatal(err)
	}
	return r
}

func account(t *testing.T, address string) []byte {
	b, err := sdk.AccAddressFromBech32(address)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// program is what runs a node.
func (r *run) program(node int) []string {
	if node != r.doubtful && node != r.worse {
		return nil
	}
	return []string{"env", "CELLA_BYZANTINE=" + r.script(node), r.twoway}
}

// script is the file that says how a doubtful node misbehaves at this moment.
func (r *run) script(node int) string {
	return filepath.Join(r.home, fmt.Sprintf("behaviour-%d", node))
}

func (r *run) behave(node int, how string) {
	r.Helper()
	r.mustNow(os.WriteFile(r.script(node), []byte(how), 0o644))
}

// quick makes all that is waited for short: phases, the silence after which a key counts as lost, eras, jail, epochs of the lottery.
func quick(g app.Genesis) error {
	var c committee.GenesisState
	if err := g.Change("committee", &c, func() error {
		p := &c.Params
		p.PhaseBlocks, p.RetryBlocks, p.ConfirmBlocks, p.StallBlocks, p.Repairs = 4, 3, 12, 20, nodes
		return nil
	}); err != nil {
		return err
	}
	if err := devnet.Steady(g); err != nil {
		return err
	}
	var gu guarantee.GenesisState
	if err := g.Change("guarantee", &gu, func() error {
		gu.Params.Rate *= 8 // one sector is as good as a devnet's eight
		gu.Params.EraBlocks = 60
		return nil
	}); err != nil {
		return err
	}
	var jail slashingtypes.GenesisState
	if err := g.Change(slashingtypes.ModuleName, &jail, func() error {
		jail.Params.DowntimeJailDuration = time.Minute // no less is allowed
		return nil
	}); err != nil {
		return err
	}
	var b api.GenesisState
	return g.Change("beacon", &b, func() error {
		b.Params.EpochBlocks, b.Params.HalfLife = 40, 10
		return nil
	})
}

// step does one thing to the network and tells how long it took, and whether all went as it should.
func (r *run) step(ctx context.Context, s step) bool {
	outer := r.T
	defer func() { r.T = outer }()
	return outer.Run(s.name, func(t *testing.T) {
		r.T = t
		ctx, cancel := context.WithTimeout(ctx, patience)
		defer cancel()
		from, began := r.top(ctx), time.Now()
		s.do(ctx)
		r.Logf("blocks %d to %d, %s", from, r.top(ctx), time.Since(began).Round(time.Second))
	})
}

// steps does one after the other until one fails.
func (r *run) steps(ctx context.Context, all []step) bool {
	for _, s := range all {
		if !r.step(ctx, s) {
			return false
		}
	}
	return true
}

// firstGroup waits until a group has signed, which makes its charge a confirmed one.
func (r *run) firstGroup(ctx context.Context) {
	r.await(ctx, "a group is in charge", func(ctx context.Context, c conn) (bool, error) {
		q, err := committee.NewQueryClient(c).Charge(ctx, &committee.QueryChargeRequest{Purpose: purpose})
		if err != nil || q.Charge == nil {
			return false, err
		}
		r.first = q.Charge.From
		return q.Charge.Confirmed, fmt.Errorf("group %d has not signed", q.Charge.Epoch)
	})
	r.pass(ctx, 1)
}

// reach is a node that runs and isn't cut off.
func (r *run) reach(ctx context.Context) (c conn, err error) {
	err = errors.New("no node answers")
	for i := range nodes {
		if r.cut[i] || !r.net.Running(i) {
			continue
		}
		if c, err = dial(r.net.Nodes[i].RPC); err == nil {
			if _, err = c.Status(ctx); err == nil {
				return c, nil
			}
		}
	}
	return conn{}, err
}

// await asks a node until what is waited for is there.
func (r *run) await(ctx context.Context, what string, holds func(context.Context, conn) (bool, error)) {
	r.Helper()
	if err := r.net.Wait(ctx, func(ctx context.Context) (bool, error) {
		c, err := r.reach(ctx)
		if err != nil {
			return false, err
		}
		return holds(ctx, c)
	}); err != nil {
		r.Fatalf("%s: %v", what, err)
	}
}

// top is the height of the node that is furthest.
func (r *run) top(ctx context.Context) (top int64) {
	for i := range nodes {
		if r.net.Running(i) && !r.cut[i] {
			if h, err := r.net.Height(ctx, i); err == nil {
				top = max(top, h)
			}
		}
	}
	return top
}

// pass waits until the chain is so many blocks longer.
func (r *run) pass(ctx context.Context, blocks int64) {
	r.Helper()
	from := r.top(ctx)
	r.await(ctx, "the chain goes on", func(ctx context.Context, _ conn) (bool, error) {
		top := r.top(ctx)
		return top >= from+blocks, fmt.Errorf("block %d, want %d", top, from+blocks)
	})
}

// awaitEvent waits until a block from a height on tells of what is looked for, and returns its height.
func awaitEvent[T proto.Message](ctx context.Context, r *run, what string, from int64, is func(T) bool) (at int64) {
	r.Helper()
	next := from
	r.await(ctx, what, func(ctx context.Context, c conn) (bool, error) {
		for top := r.top(ctx); next <= top; next++ {
			events, err := c.eventsOf(ctx, next)
			if err != nil {
				return false, err
			}
			for _, e := range typed[T](events) {
				if is(e) {
					at = next
					return true, nil
				}
			}
		}
		return false, fmt.Errorf("blocks %d to %d tell nothing of it", from, next-1)
	})
	return at
}

// consensus is a node's address among validators, upper case hex.
func (r *run) consensus(node int) string {
	r.Helper()
	var key struct {
		Address string `json:"address"`
	}
	b, err := os.ReadFile(filepath.Join(r.net.Nodes[node].Home, "config", "priv_validator_key.json"))
	r.mustNow(err)
	r.mustNow(json.Unmarshal(b, &key))
	return key.Address
}

func (r *run) mustNow(err error) {
	r.Helper()
	if err != nil {
		r.Fatal(err)
	}
}
