package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/cosmos/cosmos-sdk/client/flags"

	"github.com/cella-network/cella/client"
	"github.com/cella-network/cella/worker"
	"github.com/cella-network/cella/worker/journal"
)

// explanation is what `node explain` is asked for.
type explanation struct {
	home    string
	account string // other than the operator's; empty: the operator's, from the ledger
	since   string
	order   uint64
	rule    string
	check   bool
	rebuild bool
	view    *view
}

func explainCmd() *cobra.Command {
	var x explanation
	cmd := &cobra.Command{
		Use:   "explain",
		Short: "Show each payment, fee, warning and penalty of the operator's account, and why",
		Long: `Show each payment, fee, warning and penalty of the operator's account, and why; then what stands against the node and until when.

A running node keeps a ledger of its operator's account in journal/ of the home, because the chain's own records of the reasons are pruned. The
amounts add up to the account's balance, to the last ucella: --check compares. --rebuild makes the ledger anew from the blocks that the node
still has. --account explains any other account, straight from those blocks.`,
		Example: `  cella node explain --since 24h
  cella node explain --rule penalty
  cella node explain --order 17 --json
  cella node explain --check`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			x.home, _ = cmd.Flags().GetString(flags.FlagHome)
			x.view = newView(cmd)
			return x.run(cmd)
		},
	}
	f := cmd.Flags()
	f.StringVar(&x.since, "since", "", "from a block's height on, or for the last hours: 1200, 24h")
	f.Uint64Var(&x.order, "order", 0, "only what is about this order")
	f.StringVar(&x.rule, "rule", "", "only entries of this kind or rule, such as penalty, warning, pay, fee, lost")
	f.StringVar(&x.account, "account", "", "explain this account (cella1...) from the blocks that the node has, without a ledger")
	f.BoolVar(&x.check, "check", false, "compare the ledger's sum with the balance on the chain; fails if they differ")
	f.BoolVar(&x.rebuild, "rebuild", false, "make the ledger anew from the blocks that the node has")
	addNodeFlag(cmd)
	addJSONFlag(cmd)
	return explained(cmd)
}

func (x explanation) run(cmd *cobra.Command) error {
	ctx := cmd.Context()
	// Only the ledger can be read without a node.
	chain, err := x.dial(ctx, cmd)
	if err != nil && (x.account != "" || x.check || x.rebuild) {
		return err
	}
	src := journal.Node{Chain: chain}
	if x.account != "" {
		if _, err := client.DecodeAddress(x.account); err != nil {
			return err
		}
		return x.fromBlocks(ctx, src)
	}
	ledger, lerr := x.ledger(cmd, chain)
	if lerr != nil {
		return lerr
	}
	if x.rebuild {
		if err := x.make(ctx, src, ledger); err != nil {
			return err
		}
	}
	if x.check {
		return x.compare(ctx, src, ledger)
	}
	if err := x.fromLedger(ledger); err != nil {
		return err
	}
	if x.view.json {
		return nil
	}
	if err != nil {
		x.view.note("no node answers, so what stands against this one now isn't shown")
		return nil
	}
	return writeStanding(ctx, x.view.out, chain, ledger.Account)
}

func (x explanation) dial(ctx context.Context, cmd *cobra.Command) (*client.Chain, error) {
	ctx, cancel := context.WithTimeout(ctx, 15*time.Second)
	defer cancel()
	rpc, err := nodeRPC(cmd, x.home)
	if err != nil {
		return nil, err
	}
	return client.Dial(ctx, rpc)
}

// journalDir is where a home keeps the ledger of an account.
func journalDir(home, account string) string { return filepath.Join(home, "journal", account) }

// ledger finds the operator's: the only one there is, or that of the key that config/cella.toml names.
func (x explanation) ledger(cmd *cobra.Command, chain *client.Chain) (journal.Ledger, error) {
	found, err := filepath.Glob(journalDir(x.home, client.Prefix+"1*"))
	if err != nil {
		return journal.Ledger{}, err
	}
	var dirs []string
	for _, path := range found {
		if info, err := os.Stat(path); err == nil && info.IsDir() && !strings.Contains(filepath.Base(path), ".") {
			dirs = append(dirs, path)
		}
	}
	if len(dirs) == 1 && !x.rebuild {
		return journal.OpenDir(dirs[0])
	}
	if len(dirs) == 0 && !x.rebuild {
		return journal.Ledger{}, &client.Error{Kind: client.KindNotFound, What: "there is no ledger in " + filepath.Join(x.home, "journal"),
			Hint: "a running node writes it; cella node explain --rebuild makes it from the blocks of a node that runs"}
	}
	address, err := operatorAddress(cmd, x.home)
	if err != nil {
		return journal.Ledger{}, err
	}
	if chain != nil {
		return journal.Ledger{Dir: journalDir(x.home, address), Chain: chain.ID, Account: address}, nil
	}
	return journal.OpenDir(journalDir(x.home, address))
}

func (x explanation) make(ctx context.Context, src journal.Source, ledger journal.Ledger) error {
	said := time.Now()
	first, err := journal.Follower{Ledger: ledger, Source: src, Log: slog.New(slog.DiscardHandler)}.Rebuild(ctx, func(h, last int64) {
		if time.Since(said) > 5*time.Second {
			said = time.Now()
			x.view.note("block %d of %d", h, last)
		}
	})
	if err != nil {
		return err
	}
	if first > 1 {
		x.view.note("the ledger begins with block %d: the node has the results of none before", first)
	}
	return nil
}

// compare checks the ledger against the chain.
func (x explanation) compare(ctx context.Context, src journal.Source, ledger journal.Ledger) error {
	height, sum, balance, err := journal.Check(ctx, src, ledger)
	if err != nil {
		return err
	}
	if x.view.json {
		if err := x.view.facts(struct {
			Account string `json:"account"`
			Height  int64  `json:"height"`
			Ledger  int64  `json:"ledger"`
			Chain   int64  `json:"chain"`
		}{ledger.Account, height, sum, balance}); err != nil {
			return err
		}
	}
	if sum != balance {
		return &client.Error{Kind: client.KindUnproven, What: fmt.Sprintf("at block %d the ledger has %d ucella and the chain %d", height, sum, balance),
			Hint: "cella node explain --rebuild makes the ledger anew"}
	}
	if !x.view.json {
		fmt.Fprintf(x.view.out, "at block %d the ledger and the chain both have %s\n", height, coins(uint64(balance)))
	}
	return nil
}

// bounds are where to begin: a height, or a time.
func (x explanation) bounds() (height int64, after time.Time, err error) {
	if x.since == "" {
		return 0, after, nil
	}
	if height, err = strconv.ParseInt(x.since, 10, 64); err == nil && height >= 0 {
		return height, after, nil
	}
	d, err := time.ParseDuration(x.since)
	if err != nil || d < 0 {
		return 0, after, &client.Error{Kind: client.KindUsage, What: fmt.Sprintf("--since %s", x.since), Hint: "write a height such as 1200, or a time such as 24h or 90m"}
	}
	return 0, time.Now().Add(-d), nil
}

func (x explanation) wanted(e journal.Entry) bool {
	return (x.order == 0 || e.Order == x.order) && (x.rule == "" || x.rule == e.Rule || x.rule == string(e.Kind))
}

func (x explanation) filtered() bool { return x.order != 0 || x.rule != "" }

func (x explanation) fromLedger(ledger journal.Ledger) error {
	from, after, err := x.bounds()
	if err != nil {
		return err
	}
	w := newEntryWriter(x.view)
	var before *journal.Entry // what entries up to after add up to
	_, balance, err := ledger.Scan(from, func(e journal.Entry) error {
		if e.Kind == journal.KindOpening || (e.Time.Before(after) && before != nil) {
			if before == nil {
				before = &journal.Entry{Kind: journal.KindOpening}
			}
			before.Amount += e.Amount
			before.Height = e.Height
			return nil
		}
		if before != nil && !x.filtered() {
			w.add(*before)
		}
		before = nil
		if x.wanted(e) {
			w.add(e)
		}
		return nil
	})
	if errors.Is(err, fs.ErrNotExist) {
		return &client.Error{Kind: client.KindNotFound, What: "there is no ledger in " + ledger.Dir, Hint: "a running node writes it"}
	}
	if err != nil {
		return err
	}
	if before != nil && !x.filtered() {
		w.add(*before)
	}
	if x.filtered() {
		return w.close("")
	}
	return w.close(fmt.Sprintf("%s has %s", ledger.Account, coins(uint64(balance))))
}

// fromBlocks explains an account without a ledger.
func (x explanation) fromBlocks(ctx context.Context, src journal.Node) error {
	from, after, err := x.bounds()
	if err != nil {
		return err
	}
	first, last, err := src.Span(ctx)
	if err != nil {
		return err
	}
	if from < first {
		if from > 0 {
			x.view.note("the node has blocks from %d on", first)
		}
		from = first
	}
	if !after.IsZero() {
		if from, err = heightAt(ctx, src, after, from, last); err != nil {
			return err
		}
	}
	w := newEntryWriter(x.view)
	if !x.filtered() {
		balance, err := journal.BalanceBefore(ctx, src, x.account, from)
		if err != nil {
			return err
		}
		w.add(journal.Entry{Height: from - 1, Kind: journal.KindOpening, Amount: balance})
	}
	if err := journal.Read(ctx, src, x.account, from, last, func(entries []journal.Entry) error {
		for _, e := range entries {
			if x.wanted(e) {
				w.add(e)
			}
		}
		return nil
	}); err != nil {
		return err
	}
	return w.close("")
}

// heightAt is the first block of from to to that is not older than a time.
func heightAt(ctx context.Context, src journal.Source, after time.Time, from, to int64) (int64, error) {
	for from < to {
		middle := from + (to-from)/2
		b, err := src.Block(ctx, middle)
		if err != nil {
			return 0, err
		}
		if b.Block.Time.Before(after) {
			from = middle + 1
		} else {
			to = middle
		}
	}
	return from, nil
}

// entryWriter prints entries as lines of JSON or as a table.
type entryWriter struct {
	view  *view
	table *tabwriter.Writer
	err   error
}

func newEntryWriter(v *view) *entryWriter {
	w := &entryWriter{view: v}
	if !v.json {
		w.table = tabwriter.NewWriter(v.out, 0, 0, 2, ' ', 0)
		fmt.Fprintln(w.table, "TIME\tHEIGHT\tCELLA\tORDER\tEVIDENCE\tWHAT")
	}
	return w
}

func (w *entryWriter) add(e journal.Entry) {
	if w.view.json {
		if err := json.NewEncoder(w.view.out).Encode(e); err != nil {
			w.err = err
		}
		return
	}
	at, order, what := "", "", e.Words()
	if !e.Time.IsZero() {
		at = e.Time.Local().Format("2006-01-02 15:04:05")
	}
	if e.Order > 0 {
		order = strconv.FormatUint(e.Order, 10)
	}
	switch {
	case e.Kind == journal.KindPenalty:
		what += fmt.Sprintf(" (%s of the collateral)", coins(uint64(-e.Locked)))
	case e.Kind == journal.KindWarning && e.Deadline > 0:
		what += fmt.Sprintf(" (costs from block %d on)", e.Deadline)
	}
	fmt.Fprintf(w.table, "%s\t%d\t%s\t%s\t%s\t%s\n", at, e.Height, signedCoins(e.Amount), order, shortEvidence(e), what)
}

// close ends the output, with a last line for a person.
func (w *entryWriter) close(last string) error {
	if w.table != nil {
		w.err = errors.Join(w.err, w.table.Flush())
		if last != "" {
			fmt.Fprintln(w.view.out, last)
		}
	}
	return w.err
}

// signedCoins writes ucella as CELLA with all six places, so that a column can be read.
func signedCoins(ucella int64) string {
	if ucella == 0 {
		return "0"
	}
	sign, n := "+", uint64(ucella)
	if ucella < 0 {
		sign, n = "-", uint64(-ucella)
	}
	return fmt.Sprintf("%s%d.%06d", sign, n/1e6, n%1e6)
}

func shortEvidence(e journal.Entry) string {
	switch {
	case len(e.Evidence) > 16:
		return e.Evidence[:16]
	case e.Evidence != "":
		return e.Evidence
	case e.Tx != "" && (e.Kind == journal.KindFee || e.Kind == journal.KindTransfer):
		return "tx " + e.Tx[:16]
	}
	return ""
}

// followJournal keeps the operator's ledger while the node runs.
func followJournal(home string, chain *client.Chain, account string, log *slog.Logger) journal.Follower {
	return journal.Follower{
		Ledger: journal.Ledger{Dir: journalDir(home, account), Chain: chain.ID, Account: account},
		Source: journal.Node{Chain: chain}, Log: log,
	}
}

// nodeRPC is where the home's own node answers, unless --node says otherwise.
func nodeRPC(cmd *cobra.Command, home string) (string, error) {
	if n, _ := cmd.Flags().GetString(flags.FlagNode); n != "" {
		return n, nil
	}
	stock, err := clientConfig(home)
	if err != nil {
		return "", err
	}
	return strings.Replace(stock.Node, "tcp://", "http://", 1), nil
}

// operatorAddress reads the address of the key that config/cella.toml names.
func operatorAddress(cmd *cobra.Command, home string) (string, error) {
	cfg, err := worker.LoadConfig(filepath.Join(home, "config", "cella.toml"))
	if err != nil {
		return "", &client.Error{Kind: client.KindUsage, What: "this is no storage node's home", Cause: err, Hint: "name it with --home"}
	}
	stock, err := clientConfig(home)
	if err != nil {
		return "", err
	}
	kr, err := openKeyring(home, stock.KeyringBackend, cmd.InOrStdin())
	if err != nil {
		return "", err
	}
	record, err := kr.Key(cfg.Key)
	if err != nil {
		return "", &client.Error{Kind: client.KindNotFound, What: "operator's key " + cfg.Key, Cause: err}
	}
	address, err := record.GetAddress()
	return address.String(), err
}

// writeStanding shows what stands against an operator and until when.
func writeStanding(ctx context.Context, out io.Writer, chain *client.Chain, operator string) error {
	against, err := journal.Against(ctx, chain.Market, operator)
	if err != nil {
		return err
	}
	if len(against) == 0 {
		fmt.Fprintln(out, "nothing stands against this node")
		return nil
	}
	now, err := chain.Latest(ctx)
	if err != nil {
		return err
	}
	fmt.Fprintf(out, "what stands against this node at block %d:\n", now)
	for _, e := range against {
		line := e.Words()
		if e.Order > 0 {
			line = fmt.Sprintf("order %d: %s", e.Order, line)
		}
		if e.Height > 0 {
			line += fmt.Sprintf(", since block %d", e.Height)
		}
		switch {
		case e.Deadline > now:
			line += fmt.Sprintf("; costs from block %d on, %d blocks from now", e.Deadline, e.Deadline-now)
		case e.Deadline > 0:
			line += fmt.Sprintf("; costs since block %d", e.Deadline)
		}
		fmt.Fprintln(out, "  "+line)
	}
	return nil
}
