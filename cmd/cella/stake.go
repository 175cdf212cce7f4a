package main

import (
	"fmt"
	"io"
	"path/filepath"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"github.com/cosmos/cosmos-sdk/client/flags"

	"github.com/cella-network/cella/client"
	"github.com/cella-network/cella/worker"
)

func stakeCmd() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "stake [OPERATOR]",
		Short: "Show how much of an operator's stake counts, what more storage would let count, and what the era brings",
		Long: `Show how much of an operator's stake counts, what more storage would let count, and what the era brings.

Stake counts up to a limit that proven storage gives. The strongest operators by what counts make blocks; the others are candidates, who are paid
for their stake as well. Without OPERATOR it is the one of the home's node.`,
		Example: `  cella stake
  cella stake cella1qypqxpq9qcrsszg2pvxq6rs0zqg3yyc5lzv7xu
  cella stake --json`,
		Args: cobra.MaximumNArgs(1),
		RunE: runStake,
	}
	addNodeFlag(cmd)
	addJSONFlag(cmd)
	return explained(cmd)
}

func runStake(cmd *cobra.Command, args []string) error {
	chain, operator, err := stakeOf(cmd, args)
	if err != nil {
		return err
	}
	s, err := chain.Stake(cmd.Context(), operator)
	if err != nil {
		return err
	}
	view := newView(cmd)
	if view.json {
		return view.facts(s)
	}
	return writeStake(view.out, s)
}

// stakeOf finds the chain and whose stake is meant.
func stakeOf(cmd *cobra.Command, args []string) (*client.Chain, string, error) {
	if len(args) == 1 {
		p, err := find(cmd)
		if err != nil {
			return nil, "", err
		}
		chain, _, err := dial(cmd.Context(), p.nodes)
		return chain, args[0], err
	}
	home, _ := cmd.Flags().GetString(flags.FlagHome)
	cfg, err := worker.LoadConfig(filepath.Join(home, "config", "cella.toml"))
	if err != nil {
		return nil, "", &client.Error{Kind: client.KindUsage, What: "this is no storage node's home", Cause: err, Hint: "name an operator, or the home with --home"}
	}
	operator, err := operatorOf(cmd, home, cfg.Key)
	if err != nil {
		return nil, "", err
	}
	rpc, err := nodeRPC(cmd, home)
	if err != nil {
		return nil, "", err
	}
	chain, err := client.Dial(cmd.Context(), rpc)
	return chain, operator, err
}

// operatorOf is the address of the key that a home's node speaks with.
func operatorOf(cmd *cobra.Command, home, key string) (string, error) {
	stock, err := clientConfig(home)
	if err != nil {
		return "", err
	}
	kr, err := openKeyring(home, stock.KeyringBackend, cmd.InOrStdin())
	if err != nil {
		return "", &client.Error{Kind: client.KindLocal, What: "keyring", Cause: err}
	}
	record, err := kr.Key(key)
	if err != nil {
		return "", &client.Error{Kind: client.KindNotFound, What: "operator's key " + key, Cause: err}
	}
	address, err := record.GetAddress()
	if err != nil {
		return "", err
	}
	return address.String(), nil
}

func writeStake(out io.Writer, s client.Stake) error {
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	fmt.Fprintf(w, "operator\t%s\n", s.Operator)
	fmt.Fprintf(w, "bonded\t%s own, %s guaranteed\n", coins(s.Own), coins(s.Guaranteed))
	fmt.Fprintf(w, "limit\t%s by proven storage, %s after this era as it stands\n", coins(s.Limit), coins(s.Next))
	fmt.Fprintf(w, "counts\t%s\n", coins(s.Effective))
	fmt.Fprintf(w, "storage\t%s proven all era long, %s in the last report\n", bytesWords(s.Proven), bytesWords(s.Reported))
	fmt.Fprintf(w, "more\t%s\n", moreWords(s))
	if s.Late > 0 {
		fmt.Fprintf(w, "late\t%d eras, %d are free; after those the limit falls\n", s.Late, s.Grace)
	}
	fmt.Fprintf(w, "place\t%s\n", placeWords(s))
	fmt.Fprintf(w, "era\t%d ends in %d blocks\n", s.Era, s.Left)
	fmt.Fprintf(w, "reward\t%s if it ended now, and %s for the guarantors\n", coins(s.Reward), coins(s.Guarantors))
	return w.Flush()
}

// moreWords say what would let more stake count: coins as long as there is room, else storage.
func moreWords(s client.Stake) string {
	each := fmt.Sprintf("each GiB more lets %s count", coins(s.PerGiB))
	all := s.Own + s.Guaranteed
	switch {
	case all > s.Limit:
		return fmt.Sprintf("all would count with %s proven all era long; %s", bytesWords(s.Full), each)
	case s.Room > 0:
		return fmt.Sprintf("room for %s to be bonded; %s", coins(s.Room), each)
	}
	return "no room for more stake; " + each
}

func placeWords(s client.Stake) string {
	switch s.Place {
	case "validator":
		return fmt.Sprintf("validator with a power of %d", s.Power)
	case "elected":
		return fmt.Sprintf("elected at rank %d; the power comes with the next handovers", s.Rank)
	case "candidate":
		return fmt.Sprintf("candidate at rank %d for %d seats", s.Rank, s.Seats)
	case "jailed":
		return "jailed: neither elected nor paid for its stake; cella chain tx slashing unjail ends it when it may"
	}
	return fmt.Sprintf("none: a candidate has at least %s of its own bonded, and storage under it", coins(s.MinOwn))
}
