package main

import (
	"errors"
	"io"
	"net"
	"path/filepath"
	"strings"
	"testing"

	"github.com/cometbft/cometbft/privval"
	dbm "github.com/cosmos/cosmos-db"

	"cosmossdk.io/log/v2"

	cryptocodec "github.com/cosmos/cosmos-sdk/crypto/codec"
	"github.com/cosmos/cosmos-sdk/crypto/keyring"
	"github.com/cosmos/cosmos-sdk/crypto/keys/secp256k1"
	sdk "github.com/cosmos/cosmos-sdk/types"

	"github.com/cella-network/cella/chain/app"
	"github.com/cella-network/cella/chain/node"
	"github.com/cella-network/cella/client"
	"github.com/cella-network/cella/content"
)

// quietSettings let a node run in a test.
func quietSettings() node.Settings {
	s := node.DefaultSettings()
	s.Comet.RPC.ListenAddress, s.Comet.P2P.ListenAddress = "tcp://127.0.0.1:0", "tcp://127.0.0.1:0"
	s.Comet.Instrumentation.Prometheus, s.App.Telemetry.Enabled = false, false //nolint:staticcheck // registered once a process
	s.App.API.Enable, s.App.GRPC.Enable = false, false
	return s
}

// storageHome makes the home of a storage node of a chain of which it is the one validator.
func storageHome(t *testing.T) string {
	t.Helper()
	maker, home := t.TempDir(), filepath.Join(t.TempDir(), "home")
	a, err := app.New(log.NewNopLogger(), dbm.NewMemDB(), maker)
	if err != nil {
		t.Fatal(err)
	}
	key, err := privval.GenFilePV("", "").GetPubKey()
	if err != nil {
		t.Fatal(err)
	}
	consensus, err := cryptocodec.FromCmtPubKeyInterface(key)
	if err != nil {
		t.Fatal(err)
	}
	g := a.DefaultGenesis()
	if err := g.Bond(sdk.AccAddress(secp256k1.GenPrivKey().PubKey().Address()), consensus, "one", sdk.NewInt64Coin(app.Denom, 100_000_000)); err != nil {
		t.Fatal(err)
	}
	doc, err := a.Doc(g, "cella-test-1")
	if err != nil {
		t.Fatal(err)
	}
	genesis := filepath.Join(maker, "genesis.json")
	if err := doc.SaveAs(genesis); err != nil {
		t.Fatal(err)
	}
	p := nodePlan{home: home, genesis: genesis, key: "operator", backend: keyring.BackendTest, sectors: 4, listen: []string{"/ip4/127.0.0.1/tcp/0"}}
	if err := p.create(io.Discard); err != nil {
		t.Fatal(err)
	}
	return home
}

// TestPortTaken holds that a node whose port somebody else has says so, and what to do.
func TestPortTaken(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	said := func(t *testing.T, err error) {
		t.Helper()
		var e *client.Error
		if !errors.As(err, &e) || e.Hint == "" || !strings.Contains(err.Error(), l.Addr().String()) {
			t.Errorf("%v, want an error that names %s, and a hint", err, l.Addr())
		}
	}
	for name, set := range map[string]func(*node.Settings){
		"peers": func(s *node.Settings) { s.Comet.P2P.ListenAddress = "tcp://" + l.Addr().String() },
		"rpc":   func(s *node.Settings) { s.Comet.RPC.ListenAddress = "tcp://" + l.Addr().String() },
	} {
		t.Run(name, func(t *testing.T) {
			home, s := storageHome(t), quietSettings()
			set(&s)
			if err := s.Write(home); err != nil {
				t.Fatal(err)
			}
			said(t, runNode(t.Context(), home, nil, io.Discard))
		})
	}
	t.Run("content", func(t *testing.T) {
		identity, err := content.LoadIdentity(filepath.Join(t.TempDir(), "identity"))
		if err != nil {
			t.Fatal(err)
		}
		host, port, _ := net.SplitHostPort(l.Addr().String())
		n, err := content.New(t.Context(), content.Config{Identity: identity, Listen: []string{"/ip4/" + host + "/tcp/" + port}, Loopback: true})
		if err == nil {
			n.Close()
			t.Fatal("it listens all the same")
		}
		said(t, portTaken(err))
	})
}
