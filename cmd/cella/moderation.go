package main

import (
	"bufio"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"text/tabwriter"

	"github.com/ipfs/go-cid"
	"github.com/spf13/cobra"

	"github.com/cosmos/cosmos-sdk/client/flags"

	"github.com/cella-network/cella/client"
	"github.com/cella-network/cella/content/denylist"
	"github.com/cella-network/cella/worker"
)

func moderationCmd() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "moderation",
		Short: "Publish deny lists, and see what the lists of a node deny",
		Long: `Publish deny lists, and see what the lists of a node deny.

A deny list is a file in the compact format of IPFS (.deny). It binds nobody: an operator opts in by naming it in config/cella.toml,

  [moderation]
  lists = ["cella1.../name"]    # published on chain
  files = ["/path/own.deny"]    # one's own; they go first and may allow what a list denies

and then takes, fetches and serves nothing that it denies. Content is served only once all lists are loaded.`,
	}
	cmd.AddCommand(publishCmd(), withdrawCmd(), listsCmd(), checkCmd())
	return cmd
}

func publishCmd() *cobra.Command {
	var req client.PublishRequest
	cmd := &cobra.Command{
		Use:   "publish FILE",
		Short: "Store a deny list and put its hash on chain, or the next version of one",
		Long: `Store a deny list and put its hash on chain, or the next version of one.

The file is stored as cella put does it, for --days; nodes that load it later need it to be there: run the command again before that to keep it
stored. A list costs a deposit while it is published, which cella moderation withdraw returns. Whoever names ADDRESS/NAME in the settings of a
node follows each version that is published.`,
		Example: `  cella moderation publish spam.deny --name spam
  cella moderation publish spam.deny --name spam --days 365 --replicas 5`,
		Args: exactly("FILE"),
		RunE: func(cmd *cobra.Command, args []string) error {
			req.Path = args[0]
			view := newView(cmd)
			defer view.close()
			s, err := connect(cmd.Context(), cmd, true, view.progress)
			if err != nil {
				return err
			}
			defer s.close()
			res, err := s.PublishDenylist(cmd.Context(), req)
			if err != nil {
				return err
			}
			view.close()
			if view.json {
				return view.facts(struct {
					client.Denylist
					Rules     int  `json:"rules"`
					Passed    int  `json:"passed"`
					Unchanged bool `json:"unchanged"`
				}{res.Denylist, res.Rules, res.Passed, res.Unchanged})
			}
			tellSkipped(view, res.Passed, res.Skipped)
			if res.Unchanged {
				view.note("this version is published already")
			}
			view.note("version %d, %d rules, deposit %s", res.Sequence, res.Rules, coins(res.Deposit))
			fmt.Fprintf(view.out, "%s/%s\n", res.Publisher, res.Name)
			return nil
		},
	}
	f := cmd.Flags()
	f.StringVar(&req.Name, "name", "", "what the list is called: a-z, 0-9 and -; at most 32 of them (required)")
	f.Uint32Var(&req.Replicas, "replicas", 3, "operators that hold the file, each another one")
	f.Uint32Var(&req.Days, "days", 180, "how long they are paid")
	f.Uint64Var(&req.Price, "price", 0, "most to pay, in ucella per GiB-day and replica (default: what enough operators ask now)")
	_ = cmd.MarkFlagRequired("name")
	addKeyFlags(cmd)
	addJSONFlag(cmd)
	return explained(cmd)
}

// tellSkipped warns of lines that do less than their author may think.
func tellSkipped(view *view, n int, lines []denylist.Skipped) {
	if n == 0 {
		return
	}
	view.note("%d lines deny nothing here:", n)
	for _, l := range lines[:min(len(lines), 10)] {
		view.note("  line %d: %s: %q", l.Line, l.Why, l.Text)
	}
}

func withdrawCmd() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "withdraw NAME",
		Short: "End a published deny list and take its deposit back",
		Long: `End a published deny list and take its deposit back.

Nodes that have loaded it keep its last version in force until their operators take it out of their settings.`,
		Example: `  cella moderation withdraw spam`,
		Args:    exactly("NAME"),
		RunE: func(cmd *cobra.Command, args []string) error {
			view := newView(cmd)
			s, err := connect(cmd.Context(), cmd, true, nil)
			if err != nil {
				return err
			}
			defer s.close()
			back, err := s.WithdrawDenylist(cmd.Context(), args[0])
			if err != nil {
				return err
			}
			fmt.Fprintf(view.out, "%s: withdrawn, %s came back\n", args[0], coins(back))
			return nil
		},
	}
	addKeyFlags(cmd)
	return explained(cmd)
}

func listsCmd() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "list [PUBLISHER]",
		Short: "List the deny lists that are published on chain",
		Example: `  cella moderation list
  cella moderation list cella1qypqxpq9qcrsszg2pvxq6rs0zqg3yyc5lzv7xu --json`,
		Args: cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			view := newView(cmd)
			s, err := connect(cmd.Context(), cmd, false, nil)
			if err != nil {
				return err
			}
			defer s.close()
			all, err := s.Denylists(cmd.Context(), strings.Join(args, ""))
			if err != nil {
				return err
			}
			if view.json {
				if all == nil {
					all = []client.Denylist{}
				}
				return view.facts(all)
			}
			if len(all) == 0 {
				view.note("no list is published; cella moderation publish FILE --name NAME publishes one")
				return nil
			}
			w := tabwriter.NewWriter(view.out, 0, 0, 2, ' ', 0)
			fmt.Fprintln(w, "LIST\tVERSION\tSIZE\tBLOCK\tDEPOSIT\tROOT")
			for _, l := range all {
				fmt.Fprintf(w, "%s/%s\t%d\t%s\t%d\t%s\t%s\n", l.Publisher, l.Name, l.Sequence, bytesWords(l.Size), l.Height, coins(l.Deposit), l.Root)
			}
			return w.Flush()
		},
	}
	addNodeFlag(cmd)
	addJSONFlag(cmd)
	return explained(cmd)
}

// checkFacts is what `moderation check` shows.
type checkFacts struct {
	CID    string   `json:"cid"`
	Denied bool     `json:"denied"`
	List   string   `json:"list,omitempty"` // that decides
	Line   int      `json:"line,omitempty"`
	Text   string   `json:"text,omitempty"`
	Absent []string `json:"absent,omitempty"` // lists that could not be asked
}

func checkCmd() *cobra.Command {
	var files []string
	cmd := &cobra.Command{
		Use:   "check CID",
		Short: "Show which line of which deny list of this node decides about a block",
		Example: `  cella moderation check bafybeigdyrzt5sfp7udm7hu76uh7y26nf3efuylqabf3oclgtqy55fbzdi
  cella moderation check bafybeigdyrzt5sfp7udm7hu76uh7y26nf3efuylqabf3oclgtqy55fbzdi --file spam.deny`,
		Args: exactly("CID"),
		RunE: func(cmd *cobra.Command, args []string) error {
			view := newView(cmd)
			c, err := cid.Decode(strings.TrimPrefix(args[0], "/ipfs/"))
			if err != nil {
				return &client.Error{Kind: client.KindUsage, What: fmt.Sprintf("%q is no CID", args[0]), Cause: err}
			}
			home, _ := cmd.Flags().GetString(flags.FlagHome)
			facts, err := checkDenied(home, files, c)
			if err != nil {
				return err
			}
			if view.json {
				return view.facts(facts)
			}
			for _, a := range facts.Absent {
				view.note("not asked: %s", a)
			}
			word := "not denied"
			if facts.Denied {
				word = "denied"
			}
			fmt.Fprintf(view.out, "%s  %s", word, facts.CID)
			if facts.Line > 0 {
				fmt.Fprintf(view.out, "  %s:%d  %s", facts.List, facts.Line, facts.Text)
			}
			fmt.Fprintln(view.out)
			return nil
		},
	}
	cmd.Flags().StringSliceVar(&files, "file", nil, "ask these .deny files instead of the node's lists")
	addJSONFlag(cmd)
	return explained(cmd)
}

// checkDenied asks the lists of a home, or the files, in their order.
func checkDenied(home string, files []string, c cid.Cid) (checkFacts, error) {
	facts := checkFacts{CID: c.String()}
	cfg := worker.ModerationConfig{}
	for _, f := range files {
		abs, err := filepath.Abs(f)
		if err != nil {
			return facts, &client.Error{Kind: client.KindUsage, What: f, Cause: err}
		}
		cfg.Files = append(cfg.Files, abs)
	}
	if len(files) == 0 {
		all, err := worker.LoadConfig(filepath.Join(home, "config", "cella.toml"))
		if errors.Is(err, fs.ErrNotExist) {
			return facts, &client.Error{Kind: client.KindUsage, What: home + " is no storage node's home", Hint: "name it with --home, or name files with --file"}
		}
		if err != nil {
			return facts, &client.Error{Kind: client.KindUsage, What: "settings", Cause: err}
		}
		cfg = all.Moderation
	}
	lists, absent, err := worker.StoredDenylists(cfg, denyDir(home))
	if err != nil {
		return facts, &client.Error{Kind: client.KindLocal, What: "deny lists", Cause: err}
	}
	if facts.Absent = absent; len(files) > 0 && len(absent) > 0 {
		return facts, &client.Error{Kind: client.KindUsage, What: "deny list " + absent[0]}
	}
	var set denylist.Set
	paths := map[string]string{}
	for _, l := range lists {
		set = append(set, l.Named)
		paths[l.From] = l.Path
	}
	if v, ok := set.Find(c); ok {
		facts.Denied, facts.List, facts.Line = !v.Allow, v.From, v.Line
		facts.Text, err = lineOf(paths[v.From], v.Line)
	}
	return facts, err
}

// lineOf reads one line of a file, from 1.
func lineOf(path string, n int) (string, error) {
	f, err := os.Open(path)
	if err != nil {
		return "", &client.Error{Kind: client.KindLocal, What: "deny list", Cause: err}
	}
	defer f.Close()
	s := bufio.NewScanner(f)
	s.Buffer(nil, 4<<20)
	for ; n > 0 && s.Scan(); n-- {
	}
	return strings.TrimSpace(s.Text()), s.Err()
}
