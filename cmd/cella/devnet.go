package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/cosmos/cosmos-sdk/client/flags"

	"github.com/cella-network/cella/chain/app"
	"github.com/cella-network/cella/devnet"
)

// devnetCmd runs a whole network in the background.
func devnetCmd() *cobra.Command {
	cmd := &cobra.Command{Use: "devnet", Short: "Run a whole network on this machine, to try things out (INSECURE)"}
	cmd.AddCommand(devnetUpCmd(), devnetDownCmd(), devnetStatusCmd())
	return cmd
}

// devnetHome is --home, or devnet/ below the usual home: a network is no node.
func devnetHome(cmd *cobra.Command) (string, error) {
	home, err := cmd.Flags().GetString(flags.FlagHome)
	if err != nil || cmd.Flags().Changed(flags.FlagHome) {
		return home, err
	}
	return filepath.Join(app.DefaultHome(), "devnet"), nil
}

func devnetUpCmd() *cobra.Command {
	var cfg devnet.Config
	var asJSON, chainOnly bool
	var timeout time.Duration
	cmd := &cobra.Command{
		Use:   "up",
		Short: "Start a network in the background, or the one that is there again, and wait until it makes blocks",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			var err error
			if cfg.Home, err = devnetHome(cmd); err != nil {
				return err
			}
			if cfg.Binary, err = os.Executable(); err != nil {
				return err
			}
			if chainOnly {
				cfg.Enclave = ""
			} else if cfg.Enclave == "" {
				cfg.Enclave = filepath.Join(filepath.Dir(cfg.Binary), "cella-enclave")
			}
			cfg.Detach = true
			ctx, cancel := context.WithTimeout(cmd.Context(), timeout)
			defer cancel()
			n, err := devnet.Start(ctx, cfg)
			if err != nil {
				return err
			}
			return printNetwork(cmd.OutOrStdout(), n.Info, asJSON)
		},
	}
	f := cmd.Flags()
	f.IntVar(&cfg.Nodes, "nodes", 4, "number of nodes")
	f.StringVar(&cfg.Enclave, "enclave", "", "path of cella-enclave (default: beside this program)")
	f.BoolVar(&chainOnly, "chain-only", false, "run the chain alone, without workers and enclaves")
	f.StringVar(&cfg.ChainID, "chain-id", "", "chain id (default cella-devnet-1)")
	f.DurationVar(&cfg.BlockTime, "block-time", time.Second, "time between blocks")
	f.Uint32Var(&cfg.Sectors, "sectors", 8, "quota of each node in sectors of 16 MiB")
	f.Uint64Var(&cfg.Price, "price", 0, "what each node asks, in ucella per GiB-day and replica (default 1,000,000)")
	f.DurationVar(&timeout, "timeout", time.Minute, "how long to wait until it makes blocks")
	f.BoolVar(&asJSON, "json", false, "print network.json")
	return cmd
}

func devnetDownCmd() *cobra.Command {
	var purge bool
	cmd := &cobra.Command{
		Use:   "down",
		Short: "Stop the network; its data stays",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			home, err := devnetHome(cmd)
			if err != nil {
				return err
			}
			n, err := devnet.Open(home)
			if err != nil {
				return noNetwork(home, err)
			}
			if err := n.Close(); err != nil {
				return err
			}
			if purge {
				return n.Purge()
			}
			return nil
		},
	}
	cmd.Flags().BoolVar(&purge, "purge", false, "remove the network's keys and data too")
	return cmd
}

func devnetStatusCmd() *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "status",
		Short: "Show the network's nodes, heights and memory",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			home, err := devnetHome(cmd)
			if err != nil {
				return err
			}
			n, err := devnet.Open(home)
			if err != nil {
				return noNetwork(home, err)
			}
			return printStatus(cmd.Context(), cmd.OutOrStdout(), n, asJSON)
		},
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "print as JSON")
	return cmd
}

func noNetwork(home string, err error) error {
	if errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("there is no network at %s; `cella devnet up` makes one", home)
	}
	return err
}

func printNetwork(w io.Writer, info devnet.Info, asJSON bool) error {
	if asJSON {
		return writeJSON(w, info)
	}
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintf(t, "chain\t%s\nnetwork\t%s\nuser\tcella --home %s  (%s, %s)\n\n", info.ChainID, info.Home, info.User.Home, info.User.Key, info.User.Address)
	fmt.Fprintln(t, "NODE\tRPC\tGRPC\tREST\tMETRICS\tCONTENT\tOPERATOR")
	for i, n := range info.Nodes {
		fmt.Fprintf(t, "%d\t%s\t%s\t%s\t%s\t%s\t%s\n", i, n.RPC, n.GRPC, n.REST, n.Metrics, n.Content, n.Address)
	}
	return t.Flush()
}

// nodeStatus is a node as `devnet status` shows it; memory is proportional and in bytes.
type nodeStatus struct {
	Node    int    `json:"node"`
	Running bool   `json:"running"`
	Height  int64  `json:"height"`
	Memory  uint64 `json:"memory"`
	RPC     string `json:"rpc"`
}

func printStatus(ctx context.Context, w io.Writer, n *devnet.Network, asJSON bool) error {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	var all []nodeStatus
	var sum uint64
	for i, node := range n.Nodes {
		s := nodeStatus{Node: i, Running: n.Running(i), RPC: node.RPC}
		if s.Running {
			s.Height, _ = n.Height(ctx, i) // 0 while it starts
			var err error
			if s.Memory, err = n.Memory(i); err != nil {
				return err
			}
		}
		sum += s.Memory
		all = append(all, s)
	}
	if asJSON {
		return writeJSON(w, all)
	}
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(t, "NODE\tRUNNING\tHEIGHT\tMEMORY\tRPC")
	for _, s := range all {
		fmt.Fprintf(t, "%d\t%t\t%d\t%d MiB\t%s\n", s.Node, s.Running, s.Height, s.Memory>>20, s.RPC)
	}
	fmt.Fprintf(t, "all\t\t\t%d MiB\t\n", sum>>20)
	return t.Flush()
}

func writeJSON(w io.Writer, v any) error {
	e := json.NewEncoder(w)
	e.SetIndent("", "  ")
	return e.Encode(v)
}
