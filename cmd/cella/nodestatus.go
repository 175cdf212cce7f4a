package main

import (
	"context"
	"fmt"
	"io"
	"path/filepath"
	"strings"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"github.com/cosmos/cosmos-sdk/client/flags"
	"github.com/cosmos/cosmos-sdk/types/query"

	"github.com/cella-network/cella/api/attest"
	"github.com/cella-network/cella/api/market"
	"github.com/cella-network/cella/api/work"
	"github.com/cella-network/cella/client"
	"github.com/cella-network/cella/worker"
)

// readNode asks the home's own node, which must run, about the home's operator.
func readNode(ctx context.Context, cmd *cobra.Command) (nodeFacts, error) {
	home, _ := cmd.Flags().GetString(flags.FlagHome)
	cfg, err := worker.LoadConfig(filepath.Join(home, "config", "cella.toml"))
	if err != nil {
		return nodeFacts{}, &client.Error{Kind: client.KindUsage, What: "this is no storage node's home", Cause: err, Hint: "name it with --home"}
	}
	stock, err := clientConfig(home)
	if err != nil {
		return nodeFacts{}, err
	}
	rpc := strings.Replace(stock.Node, "tcp://", "http://", 1)
	if n, _ := cmd.Flags().GetString(flags.FlagNode); n != "" {
		rpc = n
	}
	chain, err := client.Dial(ctx, rpc)
	if err != nil {
		return nodeFacts{}, err
	}
	kr, err := openKeyring(home, stock.KeyringBackend, cmd.InOrStdin())
	if err != nil {
		return nodeFacts{}, err
	}
	record, err := kr.Key(cfg.Key)
	if err != nil {
		return nodeFacts{}, &client.Error{Kind: client.KindNotFound, What: "operator's key " + cfg.Key, Cause: err}
	}
	address, err := record.GetAddress()
	if err != nil {
		return nodeFacts{}, err
	}
	return gatherNode(ctx, chain, address.String())
}

func gatherNode(ctx context.Context, chain *client.Chain, operator string) (nodeFacts, error) {
	f := nodeFacts{ChainID: chain.ID, Operator: operator}
	var err error
	if f.Height, err = chain.Latest(ctx); err != nil {
		return f, err
	}
	if f.Balance, err = chain.Balance(ctx, operator); err != nil {
		return f, err
	}
	n, err := chain.Attest.Node(ctx, &attest.QueryNodeRequest{Operator: operator})
	switch {
	case err == nil:
		f.Registered, f.Platform, f.Tier, f.Expires = n.Node.Active, n.Node.Platform, n.Node.Tier, n.Node.Expires
	case !client.IsKind(err, client.KindNotFound):
		return f, err
	}
	st, err := chain.Work.Standing(ctx, &work.QueryStandingRequest{Operator: operator})
	switch {
	case err == nil:
		f.Reports, f.LastReport, f.Free, f.Stored = st.Standing.Counter, st.Standing.Height, st.Standing.Free, st.Standing.Stored
		f.Proven, f.Failed = st.Standing.Proven, st.Standing.Failed
	case !client.IsKind(err, client.KindNotFound):
		return f, err
	}
	p, err := chain.Work.Params(ctx, &work.QueryParamsRequest{})
	if err != nil {
		return f, err
	}
	if slot := p.Params.SlotBlocks; f.Reports > 0 && slot > 0 {
		f.NextReport = (f.LastReport/slot + 1) * slot
	}
	return f, f.trade(ctx, chain)
}

// trade counts replicas and looks up the ask.
func (f *nodeFacts) trade(ctx context.Context, chain *client.Chain) error {
	held := &market.QueryReplicasRequest{Operator: f.Operator, Pagination: &query.PageRequest{Limit: 500}}
	for {
		r, err := chain.Market.Replicas(ctx, held)
		if err != nil {
			return err
		}
		for _, rep := range r.Replicas {
			if rep.Proven {
				f.Held++
			} else {
				f.Accepted++
			}
		}
		if r.Pagination == nil || len(r.Pagination.NextKey) == 0 {
			break
		}
		held.Pagination.Key = r.Pagination.NextKey
	}
	asks := &market.QueryAsksRequest{Pagination: &query.PageRequest{Limit: 500}}
	for {
		r, err := chain.Market.Asks(ctx, asks)
		if err != nil {
			return err
		}
		for _, a := range r.Asks {
			if a.Operator == f.Operator {
				f.Ask = a.Price
				return nil
			}
		}
		if r.Pagination == nil || len(r.Pagination.NextKey) == 0 {
			return nil
		}
		asks.Pagination.Key = r.Pagination.NextKey
	}
}

func (f nodeFacts) write(out io.Writer) error {
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	fmt.Fprintf(w, "chain\t%s at block %d\n", f.ChainID, f.Height)
	fmt.Fprintf(w, "operator\t%s with %s\n", f.Operator, coins(f.Balance))
	if f.Registered {
		fmt.Fprintf(w, "registered\tuntil block %d (%d to go), renewed before\n", f.Expires, f.Expires-f.Height)
		fmt.Fprintf(w, "platform\t%s, tier %d\n", f.Platform, f.Tier)
	} else {
		fmt.Fprintf(w, "registered\tno; the node's log says why\n")
	}
	if f.Reports > 0 {
		fmt.Fprintf(w, "report\t%d, at block %d; the next from block %d on\n", f.Reports, f.LastReport, f.NextReport)
	} else {
		fmt.Fprintf(w, "report\tnone yet\n")
	}
	fmt.Fprintf(w, "space\t%s stored, %s free\n", bytesWords(f.Stored), bytesWords(f.Free))
	fmt.Fprintf(w, "heights\t%d proven, %d failed\n", f.Proven, f.Failed)
	fmt.Fprintf(w, "orders\t%d held, %d accepted and not proven yet\n", f.Held, f.Accepted)
	if f.Ask > 0 {
		fmt.Fprintf(w, "ask\t%s per GiB-day and replica\n", coins(f.Ask))
	} else {
		fmt.Fprintf(w, "ask\tnone\n")
	}
	return w.Flush()
}
