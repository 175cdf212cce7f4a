package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/cosmos/cosmos-sdk/client/flags"
	sdk "github.com/cosmos/cosmos-sdk/types"
	genutiltypes "github.com/cosmos/cosmos-sdk/x/genutil/types"

	"github.com/cella-network/cella/api/attest"
	"github.com/cella-network/cella/chain/app"
	"github.com/cella-network/cella/chain/node"
	"github.com/cella-network/cella/client"
	"github.com/cella-network/cella/worker"
)

// level is how bad a finding is.
type level string

const (
	levelOK   level = "ok"
	levelWarn level = "warn" // it works, but not well or not for long
	levelFail level = "fail" // it does not work
)

// finding is what one look came to.
type finding struct {
	Check string `json:"check"`
	Level level  `json:"level"`
	What  string `json:"what"`
	Fix   string `json:"fix,omitempty"` // what to type or to change
}

// doctor looks a node's home over, before its first start and while it runs.
type doctor struct {
	home     string
	cfg      worker.Config
	stock    stockConfig
	settings node.Settings
	genesis  *genutiltypes.AppGenesis
	terms    chainTerms
	operator string        // address; empty if it isn't known
	chain    *client.Chain // nil if none was reached
	asked    string        // the RPC address that was asked
	own      bool          // the home's own node runs and answers

	findings []finding
}

// chainTerms are the parameters that matter to a node: the chain's if one was reached, else those of the genesis file.
type chainTerms struct {
	sectorSize uint64
	attest     attest.Params
}

func doctorCmd() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "doctor",
		Short: "Look over a node's home, machine and chain, and say how to fix what is wrong",
		Long: `Look over a node's home, machine and chain, and say how to fix what is wrong.

It changes nothing, and works before the first start as well as while the node runs. Before the first start it knows the chain by its genesis file
only: name a node of it with --node to check more. It fails (exit code 1) if anything that was found keeps the node from working.`,
		Example: `  cella doctor --node http://203.0.113.5:26657
  cella doctor --json | jq -r '.[] | select(.level != "ok") | .fix'`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			view := newView(cmd)
			d := &doctor{}
			d.home, _ = cmd.Flags().GetString(flags.FlagHome)
			d.examine(cmd)
			if err := d.write(view); err != nil {
				return err
			}
			if n := d.count(levelFail); n > 0 {
				return fmt.Errorf("%d of %d checks failed", n, len(d.findings))
			}
			return nil
		},
	}
	addNodeFlag(cmd)
	addJSONFlag(cmd)
	return explained(cmd)
}

func (d *doctor) ok(check, format string, args ...any) {
	d.findings = append(d.findings, finding{Check: check, Level: levelOK, What: fmt.Sprintf(format, args...)})
}

func (d *doctor) warn(check, fix, format string, args ...any) {
	d.findings = append(d.findings, finding{check, levelWarn, fmt.Sprintf(format, args...), fix})
}

func (d *doctor) fail(check, fix, format string, args ...any) {
	d.findings = append(d.findings, finding{check, levelFail, fmt.Sprintf(format, args...), fix})
}

func (d *doctor) count(l level) (n int) {
	for _, f := range d.findings {
		if f.Level == l {
			n++
		}
	}
	return n
}

func (d *doctor) write(view *view) error {
	if view.json {
		return view.facts(d.findings)
	}
	w := tabwriter.NewWriter(view.out, 0, 0, 2, ' ', 0)
	for _, f := range d.findings {
		fmt.Fprintf(w, "%s\t%s\t%s\n", f.Level, f.Check, strings.Join(strings.Fields(f.What), " "))
		if f.Fix != "" {
			fmt.Fprintf(w, "\t\tfix: %s\n", f.Fix)
		}
	}
	if err := w.Flush(); err != nil {
		return err
	}
	fmt.Fprintf(view.out, "%d ok, %d warnings, %d failures\n", d.count(levelOK), d.count(levelWarn), d.count(levelFail))
	return nil
}

// examine makes all checks that make sense: without a home there is only the machine to look at.
func (d *doctor) examine(cmd *cobra.Command) {
	known := d.checkHome()
	if known {
		ctx, cancel := context.WithTimeout(cmd.Context(), 30*time.Second)
		defer cancel()
		d.checkChain(ctx, cmd)
		d.checkKey(ctx, cmd)
		d.checkEnclave()
		d.checkDisk()
		d.checkPorts()
		d.checkReach()
		d.checkPeers()
	}
	d.checkClock()
	d.checkLimits()
	d.checkMemory()
	d.checkUnit()
}

const initFix = "cella node init --genesis GENESIS.json --peers ID@HOST:26656 --disk 500GiB"

// checkHome reads all settings; false if there is nothing to go on with.
func (d *doctor) checkHome() bool {
	path := filepath.Join(d.home, "config", "cella.toml")
	var err error
	if d.cfg, err = worker.LoadConfig(path); errors.Is(err, os.ErrNotExist) {
		d.fail("home", initFix+" --home "+d.home, "%s is no storage node's home", d.home)
		return false
	} else if err != nil {
		d.fail("home", "edit "+path, "%v", err)
		return false
	}
	if d.stock, err = clientConfig(d.home); err != nil {
		d.fail("home", "edit "+filepath.Join(d.home, "config", "client.toml"), "%v", err)
		return false
	}
	if d.settings, err = node.LoadSettings(d.home); err != nil {
		d.fail("home", "edit the file, or take that of a fresh home: cella node init --home OTHER", "%v", err)
		return false
	}
	if d.genesis, err = genutiltypes.AppGenesisFromFile(filepath.Join(d.home, "config", "genesis.json")); err != nil {
		d.fail("genesis", "copy the chain's genesis file to "+filepath.Join(d.home, "config", "genesis.json"), "%v", err)
		return false
	}
	if d.terms, err = termsOfGenesis(d.genesis); err != nil {
		d.fail("genesis", "copy the chain's genesis file to "+filepath.Join(d.home, "config", "genesis.json"), "%v", err)
		return false
	}
	d.ok("home", "%s: settings and genesis of %s can be read", d.home, d.genesis.ChainID)
	if d.cfg.Disk.Sectors < 4 {
		d.fail("home", "set disk.sectors in "+path, "the quota is %d sectors, want at least 4", d.cfg.Disk.Sectors)
	}
	if d.settings.Comet.Storage.DiscardABCIResponses {
		d.warn("home", "set discard_abci_responses = false in "+filepath.Join(d.home, "config", "config.toml"),
			"results of blocks are thrown away: cella node explain can't give reasons")
	}
	return true
}

// checkKey looks for the operator's key and what it can pay.
func (d *doctor) checkKey(ctx context.Context, cmd *cobra.Command) {
	if d.stock.KeyringBackend != "test" {
		d.ok("key", "the key %q is kept by the %s backend, which asks for a password: not opened", d.cfg.Key, d.stock.KeyringBackend)
		return
	}
	kr, err := openKeyring(d.home, d.stock.KeyringBackend, cmd.InOrStdin())
	if err != nil {
		d.fail("key", "", "the keyring: %v", err)
		return
	}
	record, err := kr.Key(d.cfg.Key)
	if err != nil {
		d.fail("key", fmt.Sprintf("cella keys add %s --keyring-backend test --home %s", d.cfg.Key, d.home), "there is no key %q in the keyring: %v", d.cfg.Key, err)
		return
	}
	address, err := record.GetAddress()
	if err != nil {
		d.fail("key", "", "the key %q: %v", d.cfg.Key, err)
		return
	}
	d.operator = address.String()
	d.ok("key", "%s is the operator (key %q)", d.operator, d.cfg.Key)
	if !d.terms.attest.Devnet {
		d.warn("key", "keep little on it: move coins away with cella chain tx bank send", "whoever reads %s has its coins: the key lies there without a password", filepath.Join(d.home, "keyring-test"))
	}
	d.checkCoins(ctx)
}

// reserve is what fees of some weeks come to, in ucella.
const reserve = 1_000_000

func (d *doctor) checkCoins(ctx context.Context) {
	if d.chain == nil {
		return
	}
	has, err := d.chain.Balance(ctx, d.operator)
	if err != nil {
		d.warn("coins", "", "the balance can't be read: %v", err)
		return
	}
	need := uint64(reserve)
	n, err := d.chain.Attest.Node(ctx, &attest.QueryNodeRequest{Operator: d.operator})
	joined := err == nil && n.Node.Active
	if stake := d.terms.attest.EntryStake; !joined && stake.Denom == app.Denom && stake.Amount.IsUint64() {
		need += stake.Amount.Uint64()
	}
	send := fmt.Sprintf("cella chain tx bank send FROM %s %s", d.operator, sdk.NewInt64Coin(app.Denom, int64(need)))
	switch {
	case has >= need:
		d.ok("coins", "the operator has %s", coins(has))
	case joined:
		d.warn("coins", send, "the operator has %s: reports cost fees, and a node that can't pay them falls silent", coins(has))
	default:
		d.fail("coins", send, "the operator has %s; entry stake and first fees take %s", coins(has), coins(need))
	}
}
