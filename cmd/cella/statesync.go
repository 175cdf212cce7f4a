package main

import (
	"bytes"
	"context"
	"encoding/hex"
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"

	rpchttp "github.com/cometbft/cometbft/rpc/client/http"
	cmttypes "github.com/cometbft/cometbft/types"

	"github.com/cosmos/cosmos-sdk/client/flags"

	"github.com/cella-network/cella/chain/node"
	"github.com/cella-network/cella/client"
)

// trustBehind is how far behind the newest block a trust point lies: older than the newest snapshot, so that a light client goes forwards.
const trustBehind = 2000

// trustPoint is a block that whoever starts a node takes for true.
type trustPoint struct {
	servers []string
	height  int64
	hash    string // hex, upper case
}

func stateSyncCmd() *cobra.Command {
	var p trustPoint
	cmd := &cobra.Command{
		Use:   "statesync --rpc URL[,URL]",
		Short: "Let a fresh node begin with a recent state instead of all blocks since the first",
		Long: `Let a fresh node begin with a recent state instead of all blocks since the first.

It looks up a block to trust, prints it, and writes the section [statesync] of config.toml; the next start of the node does the rest. All
of the chain is checked from the trusted block on: compare its hash with what somebody you trust sees at that height.`,
		Example: `  cella chain statesync --rpc https://rpc1.example.org:443,https://rpc2.example.org:443
  cella chain statesync --rpc https://rpc1.example.org:443 --trust-height 120000 --trust-hash 5B1E...`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			home, _ := cmd.Flags().GetString(flags.FlagHome)
			return p.write(cmd.Context(), cmd.OutOrStdout(), home)
		},
	}
	// The stock way to read config.toml takes its section [rpc] for the flag of that name.
	cmd.PersistentPreRunE = func(*cobra.Command, []string) error { return nil }
	f := cmd.Flags()
	f.StringSliceVar(&p.servers, "rpc", nil, "RPC addresses of nodes of the chain, best of two operators (required)")
	f.Int64Var(&p.height, "trust-height", 0, fmt.Sprintf("height of the block to trust (default: %d below the newest one)", trustBehind))
	f.StringVar(&p.hash, "trust-hash", "", "hash of that block, in hex (default: what the nodes say)")
	return explained(cmd)
}

func (p trustPoint) write(ctx context.Context, out io.Writer, home string) error {
	if len(p.servers) == 0 {
		return &client.Error{Kind: client.KindUsage, What: "--rpc names no node", Hint: "any node of the chain that answers RPC, such as https://rpc.example.org:443"}
	}
	if hash, err := hex.DecodeString(p.hash); p.height < 0 || err != nil || p.hash != "" && (p.height == 0 || len(hash) != 32) {
		return &client.Error{Kind: client.KindUsage, What: "--trust-height and --trust-hash name no block", Hint: "give both, the hash as 64 digits in hex, or neither"}
	}
	p.hash = strings.ToUpper(p.hash)
	hints, err := p.ask(ctx)
	if err != nil {
		return err
	}
	if len(p.servers) == 1 {
		p.servers = append(p.servers, p.servers[0]) // CometBFT wants two, to compare them
	}
	peers, err := node.EnableStateSync(home, p.servers, p.height, p.hash)
	if err != nil {
		return &client.Error{Kind: client.KindUsage, What: "no state sync for this home", Cause: err, Hint: "it needs a home without blocks: cella node init or cella chain init makes one"}
	}
	fmt.Fprintf(out, "trusted   height %d\nhash      %s\nwritten   %s/config/config.toml\n", p.height, p.hash, home)
	if !peers {
		fmt.Fprintf(out, "\nThe node knows nobody to fetch the state from: set p2p.persistent_peers in config.toml, to such as\n\n  %s\n", hints)
	}
	fmt.Fprintf(out, "\nCompare the hash with somebody you trust, then start the node.\n")
	return nil
}

// ask fills in what wasn't given and has all servers agree on it. It returns how the first calls itself as a peer.
func (p *trustPoint) ask(ctx context.Context) (peer string, err error) {
	for i, url := range p.servers {
		c, err := rpchttp.New(url, "/websocket")
		if err != nil {
			return "", &client.Error{Kind: client.KindUsage, What: "--rpc " + url, Cause: err, Hint: "write https://HOST:PORT or tcp://HOST:PORT"}
		}
		if i == 0 {
			s, err := c.Status(ctx)
			if err != nil {
				return "", unreachable(url, err)
			}
			if p.height == 0 {
				p.height = max(s.SyncInfo.LatestBlockHeight-trustBehind, s.SyncInfo.EarliestBlockHeight, 1)
			}
			peer = fmt.Sprintf("%s@%s", s.NodeInfo.DefaultNodeID, strings.TrimPrefix(s.NodeInfo.ListenAddr, "tcp://"))
		}
		b, err := c.Commit(ctx, &p.height)
		if err != nil {
			return "", unreachable(url, err)
		}
		if err := agree(&p.hash, b.Header, url); err != nil {
			return "", err
		}
	}
	return peer, nil
}

// agree compares a server's block with the trusted one, or takes it for that.
func agree(hash *string, h *cmttypes.Header, url string) error {
	if h == nil {
		return unreachable(url, fmt.Errorf("no header"))
	}
	if *hash == "" {
		*hash = h.Hash().String()
	}
	if want, err := hex.DecodeString(*hash); err != nil || !bytes.Equal(want, h.Hash()) {
		return &client.Error{Kind: client.KindUnproven, What: fmt.Sprintf("%s has another block %d: %s, not %s", url, h.Height, h.Hash(), *hash),
			Hint: "one of them is on another chain or lies: ask somebody you trust for the hash"}
	}
	return nil
}

func unreachable(url string, err error) error {
	return &client.Error{Kind: client.KindNetwork, What: url, Cause: err, Hint: "is it the address of a node's RPC? It must still have the trusted block"}
}
