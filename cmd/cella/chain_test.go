package main

import (
	"bytes"
	"context"
	"path/filepath"
	"strings"
	"testing"

	"github.com/cosmos/cosmos-sdk/client"
	"github.com/cosmos/cosmos-sdk/server"
	genutiltypes "github.com/cosmos/cosmos-sdk/x/genutil/types"

	"github.com/cella-network/cella/chain/app"
)

// cella runs one command line in this process.
func cella(t *testing.T, args ...string) string {
	t.Helper()
	ctx := context.WithValue(t.Context(), client.ClientContextKey, &client.Context{})
	ctx = context.WithValue(ctx, server.ServerContextKey, server.NewDefaultContext())
	cmd := root()
	var out bytes.Buffer
	cmd.SetOut(&out)
	cmd.SetErr(&out)
	cmd.SetArgs(args)
	if err := cmd.ExecuteContext(ctx); err != nil {
		t.Fatalf("cella %s: %v\n%s", strings.Join(args, " "), err, &out)
	}
	return out.String()
}

func TestEveryModuleHasCommands(t *testing.T) {
	cmd := root()
	for _, path := range []string{
		"chain query attest nodes", "chain query work standings", "chain query market orders", "chain query bank balances",
		"chain tx attest leave", "chain tx market place-order", "chain tx work report", "chain tx staking delegate",
		"chain genesis validate", "chain comet show-node-id", "chain export", "chain rollback", "chain prune", "chain snapshots list",
		"chain init", "chain start", "keys add", "devnet up",
	} {
		got, rest, err := cmd.Find(strings.Fields(path))
		if err != nil || len(rest) > 0 || got.CommandPath() != "cella "+path {
			t.Errorf("%s: found %q, left %v, %v", path, got.CommandPath(), rest, err)
		}
	}
}

func TestInitWritesThisChainsGenesis(t *testing.T) {
	home := t.TempDir()
	cella(t, "chain", "init", "somebody", "--chain-id", "cella-test-1", "--home", home)
	g, err := genutiltypes.AppGenesisFromFile(filepath.Join(home, "config", "genesis.json"))
	if err != nil {
		t.Fatal(err)
	}
	if g.ChainID != "cella-test-1" || g.Consensus.Params.Block != app.ConsensusParams().Block || g.Consensus.Params.Evidence != app.ConsensusParams().Evidence {
		t.Errorf("chain %s with %+v", g.ChainID, g.Consensus.Params)
	}
	if !bytes.Contains(g.AppState, []byte(`"base": "ucella"`)) {
		t.Error("the coin has no metadata")
	}
	cella(t, "chain", "genesis", "validate", "--home", home)
	if got := cella(t, "keys", "add", "me", "--keyring-backend", "test", "--home", home); !strings.Contains(got, "address: cella1") {
		t.Errorf("keys add: %s", got)
	}
}
