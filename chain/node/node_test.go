package node

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/cometbft/cometbft/privval"
	dbm "github.com/cosmos/cosmos-db"

	"cosmossdk.io/log/v2"

	cryptocodec "github.com/cosmos/cosmos-sdk/crypto/codec"
	"github.com/cosmos/cosmos-sdk/crypto/keys/secp256k1"
	sdk "github.com/cosmos/cosmos-sdk/types"

	"github.com/cella-network/cella/chain/app"
)

// output collects a node's log, which several goroutines write.
type output struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (o *output) Write(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.buf.Write(p)
}

func (o *output) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.buf.String()
}

// newHome makes a chain of one validator. Nothing listens on a port that was chosen before.
func newHome(t *testing.T) string {
	t.Helper()
	return newHomes(t, "127.0.0.1:0", 100)[0]
}

// newHomes makes a chain with a validator at each address, which has so many coins.
func newHomes(t *testing.T, address string, coins ...int64) (homes []string) {
	t.Helper()
	a, err := app.New(log.NewNopLogger(), dbm.NewMemDB(), t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	g := a.DefaultGenesis()
	for i, n := range coins {
		s := testSettings(address)
		home := t.TempDir()
		if err := s.Write(home); err != nil {
			t.Fatal(err)
		}
		homes = append(homes, home)
		s.Comet.SetRoot(home)
		pv := privval.LoadOrGenFilePV(s.Comet.PrivValidatorKeyFile(), s.Comet.PrivValidatorStateFile())
		key, err := pv.GetPubKey()
		if err != nil {
			t.Fatal(err)
		}
		consensus, err := cryptocodec.FromCmtPubKeyInterface(key)
		if err != nil {
			t.Fatal(err)
		}
		operator := sdk.AccAddress(secp256k1.GenPrivKey().PubKey().Address())
		if err := g.Bond(operator, consensus, fmt.Sprint("number ", i), sdk.NewInt64Coin(app.Denom, n*1_000_000)); err != nil {
			t.Fatal(err)
		}
	}
	doc, err := a.Doc(g, "cella-test-1")
	if err != nil {
		t.Fatal(err)
	}
	for _, home := range homes {
		if err := doc.SaveAs(filepath.Join(home, "config", "genesis.json")); err != nil {
			t.Fatal(err)
		}
	}
	return homes
}

// testSettings are those of a node that makes blocks quickly and serves nothing but RPC.
func testSettings(address string) Settings {
	s := DefaultSettings()
	s.Comet.RPC.ListenAddress, s.Comet.P2P.ListenAddress = "tcp://127.0.0.1:0", "tcp://"+address
	s.Comet.Consensus.TimeoutCommit, s.Comet.Consensus.PeerGossipSleepDuration = 20*time.Millisecond, 10*time.Millisecond
	s.Comet.Instrumentation.Prometheus, s.App.Telemetry.Enabled = false, false //nolint:staticcheck // registered once a process
	s.App.API.Enable, s.App.GRPC.Enable = false, false
	s.App.StateSync.SnapshotInterval = 0 // the SDK panics if it is closed while it makes one
	s.Comet.P2P.PexReactor = false       // a stopped address book still writes its file, while the test's folder is removed
	return s
}

// run starts a node, waits until its height is above a given one, stops it and returns its height.
func run(t *testing.T, home string, above int64) int64 {
	t.Helper()
	out := new(output)
	n, err := New(t.Context(), Config{Home: home, Log: out})
	if err != nil {
		t.Fatal(err)
	}
	if err := n.Start(); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	height := int64(0)
	for height <= above {
		s, err := n.RPC().Status(ctx)
		if err != nil || ctx.Err() != nil {
			t.Fatalf("at height %d, want above %d: %v, %v\n%s", height, above, err, ctx.Err(), out)
		}
		height = s.SyncInfo.LatestBlockHeight
		time.Sleep(5 * time.Millisecond)
	}
	if err := n.Stop(); err != nil {
		t.Error(err)
	}
	if err := n.Wait(ctx); err != nil {
		t.Errorf("wait after stop: %v", err)
	}
	return height
}

func TestNodeGoesOnWhereItStopped(t *testing.T) {
	home := newHome(t)
	h := run(t, home, 3)
	if again := run(t, home, h+2); again <= h {
		t.Errorf("after the restart at height %d, before it at %d", again, h)
	}
}

func TestNewRefuses(t *testing.T) {
	home := newHome(t)
	for name, spoil := range map[string]func(path string) error{
		"genesis.json": os.Remove,
		"config.toml":  func(p string) error { return os.WriteFile(p, []byte("moniker = 5 5"), 0o644) },
		"app.toml":     func(p string) error { return os.WriteFile(p, []byte("minimum-gas-prices = ["), 0o644) },
	} {
		path := filepath.Join(home, "config", name)
		good, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		if err := spoil(path); err != nil {
			t.Fatal(err)
		}
		if _, err := New(t.Context(), Config{Home: home, Log: new(output)}); err == nil {
			t.Errorf("a node without a good %s", name)
		}
		if err := os.WriteFile(path, good, 0o644); err != nil {
			t.Fatal(err)
		}
	}
}

func TestSettings(t *testing.T) {
	home := t.TempDir()
	want := DefaultSettings()
	want.Comet.Moniker = "somebody"
	want.Comet.Consensus.TimeoutCommit = 1234 * time.Millisecond
	want.App.MinGasPrices = "7ucella"
	if err := want.Write(home); err != nil {
		t.Fatal(err)
	}
	got, options, err := load(home)
	if err != nil {
		t.Fatal(err)
	}
	if got.Comet.Moniker != "somebody" || got.Comet.Consensus.TimeoutCommit != 1234*time.Millisecond || got.App.MinGasPrices != "7ucella" {
		t.Errorf("read back %q, %v, %q", got.Comet.Moniker, got.Comet.Consensus.TimeoutCommit, got.App.MinGasPrices)
	}
	if options.GetString("home") != home || options.GetString("minimum-gas-prices") != "7ucella" {
		t.Errorf("options: home %q, price %q", options.GetString("home"), options.GetString("minimum-gas-prices"))
	}
	t.Setenv("CELLA_MONIKER", "somebody else")
	t.Setenv("CELLA_HOME", "/nowhere")
	if got, _, err = load(home); err != nil || got.Comet.Moniker != "somebody else" || got.Comet.RootDir != home {
		t.Errorf("with a variable set: %q in %q, %v", got.Comet.Moniker, got.Comet.RootDir, err)
	}
}
