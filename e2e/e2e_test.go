// Package e2e holds tests of the command line and of wallets against a network of real processes. All share one devnet.
package e2e

import (
	"context"
	"crypto/rand"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"testing"
	"time"

	"github.com/cosmos/cosmos-sdk/codec"
	codectypes "github.com/cosmos/cosmos-sdk/codec/types"
	cryptocodec "github.com/cosmos/cosmos-sdk/crypto/codec"
	"github.com/cosmos/cosmos-sdk/crypto/hd"
	"github.com/cosmos/cosmos-sdk/crypto/keyring"
	sdk "github.com/cosmos/cosmos-sdk/types"
	banktypes "github.com/cosmos/cosmos-sdk/x/bank/types"
	"github.com/rogpeppe/go-internal/testscript"

	"github.com/cella-network/cella/api/work"
	"github.com/cella-network/cella/chain/app"
	"github.com/cella-network/cella/client"
	"github.com/cella-network/cella/devnet"
)

// network is the devnet that all tests share, and its user, who gives coins to the others.
type network struct {
	*devnet.Network
	chain *client.Chain
	alice *client.Account
	bin   string
}

var net *network

func TestMain(m *testing.M) {
	code, err := run(m)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		code = 1
	}
	os.Exit(code)
}

func run(m *testing.M) (code int, err error) {
	bin, err := binaries()
	if err != nil {
		return 1, err
	}
	home, err := os.MkdirTemp("", "cella-e2e-")
	if err != nil {
		return 1, err
	}
	defer os.RemoveAll(home)
	ctx, cancel := context.WithTimeout(context.Background(), 3*time.Minute)
	defer cancel()
	n, err := devnet.Start(ctx, devnet.Config{Home: filepath.Join(home, "devnet"), Binary: filepath.Join(bin, "cella"), Enclave: filepath.Join(bin, "cella-enclave")})
	if err != nil {
		return 1, err
	}
	defer func() {
		if e := n.Close(); err == nil {
			err = e
		}
	}()
	net = &network{Network: n, bin: bin}
	if net.chain, err = client.Dial(ctx, n.Nodes[0].RPC); err != nil {
		return 1, err
	}
	kr, err := openKeyring(n.User.Home)
	if err != nil {
		return 1, err
	}
	if net.alice, err = client.NewAccount(net.chain, kr, n.User.Key); err != nil {
		return 1, err
	}
	defer net.alice.Close()
	if err := net.ready(ctx, 3); err != nil {
		return 1, fmt.Errorf("no three operators offer room: %w", err)
	}
	return m.Run(), nil
}

// binaries is the folder of the built programs: $CELLA_BUILD, or build/ of the tree. A missing one is a failure.
func binaries() (string, error) {
	dir := os.Getenv("CELLA_BUILD")
	if dir == "" {
		dir = filepath.Join("..", "build")
	}
	dir, err := filepath.Abs(dir)
	if err != nil {
		return "", err
	}
	for _, name := range []string{"cella", "cella-enclave"} {
		if _, err := os.Stat(filepath.Join(dir, name)); err != nil {
			return "", fmt.Errorf("%w: run make build first", err)
		}
	}
	return dir, nil
}

func openKeyring(home string) (keyring.Keyring, error) {
	registry := codectypes.NewInterfaceRegistry()
	cryptocodec.RegisterInterfaces(registry)
	return keyring.New(app.Name, keyring.BackendTest, home, nil, codec.NewProtoCodec(registry))
}

// ready waits until so many operators have filled room for 16 MiB and more.
func (n *network) ready(ctx context.Context, operators int) error {
	return n.Wait(ctx, func(ctx context.Context) (bool, error) {
		r, err := n.chain.Work.Standings(ctx, &work.QueryStandingsRequest{})
		if err != nil {
			return false, err
		}
		with := 0
		for _, s := range r.Standings {
			if s.Free > 32<<20 {
				with++
			}
		}
		return with >= operators, nil
	})
}

// fund sends coins from alice.
func (n *network) fund(ctx context.Context, to string, ucella int64) error {
	_, err := n.alice.Post(ctx, &banktypes.MsgSend{FromAddress: n.alice.Address, ToAddress: to, Amount: sdk.NewCoins(sdk.NewInt64Coin(client.Denom, ucella))})
	return err
}

// home makes a person's home: a key with coins, and settings as `cella keys` and the stock commands know them.
func (n *network) home(ctx context.Context, dir string, ucella int64) error {
	if err := os.MkdirAll(filepath.Join(dir, "config"), 0o700); err != nil {
		return err
	}
	text := fmt.Sprintf("chain-id = %q\nnode = %q\nkeyring-backend = \"test\"\n", n.ChainID, n.Nodes[1].RPC)
	if err := os.WriteFile(filepath.Join(dir, "config", "client.toml"), []byte(text), 0o600); err != nil {
		return err
	}
	kr, err := openKeyring(dir)
	if err != nil {
		return err
	}
	rec, _, err := kr.NewMnemonic("me", keyring.English, sdk.GetConfig().GetFullBIP44Path(), "", hd.Secp256k1)
	if err != nil {
		return err
	}
	addr, err := rec.GetAddress()
	if err != nil || ucella == 0 {
		return err
	}
	return n.fund(ctx, addr.String(), ucella)
}

// The scripts are people at the command line, each with a home and 100 CELLA.
func TestScripts(t *testing.T) {
	testscript.Run(t, testscript.Params{
		Dir: "testdata/script",
		Setup: func(env *testscript.Env) error {
			ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
			defer cancel()
			home := filepath.Join(env.WorkDir, "home")
			env.Setenv("CELLA_HOME", home)
			env.Setenv("DEVNET", net.Home)
			env.Setenv("RPC", net.Nodes[0].RPC)
			env.Setenv("PATH", net.bin+string(os.PathListSeparator)+env.Getenv("PATH"))
			env.Defer(func() { // a network that a script began and did not end
				if n, err := devnet.Open(filepath.Join(env.WorkDir, "net")); err == nil {
					_ = n.Close()
				}
			})
			return net.home(ctx, home, 100_000_000)
		},
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"random":     random,
			"eventually": eventually,
			"poor":       poor,
		},
	})
}

// random FILE SIZE writes random bytes.
func random(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 2 {
		ts.Fatalf("usage: random FILE SIZE")
	}
	size, err := strconv.Atoi(args[1])
	ts.Check(err)
	b := make([]byte, size)
	rand.Read(b)
	ts.Check(os.WriteFile(ts.MkAbs(args[0]), b, 0o644))
}

// eventually PATTERN COMMAND... runs a command until it succeeds and what it prints matches, for a minute.
func eventually(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: eventually PATTERN COMMAND...")
	}
	want, err := regexp.Compile(args[0])
	ts.Check(err)
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	for {
		err := ts.Exec(args[1], args[2:]...)
		if err == nil && want.MatchString(ts.ReadFile("stdout")) {
			return
		}
		select {
		case <-ctx.Done():
			ts.Fatalf("never matched %q", args[0])
		case <-time.After(200 * time.Millisecond):
		}
	}
}

// poor DIR makes a home whose account has one coin of the smallest kind.
func poor(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 1 {
		ts.Fatalf("usage: poor DIR")
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	ts.Check(net.home(ctx, ts.MkAbs(args[0]), 1))
}
