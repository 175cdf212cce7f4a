package main

import (
	"fmt"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/cosmos/cosmos-sdk/client/flags"

	"github.com/cella-network/cella/client"
)

func lsCmd() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "ls",
		Short: "List what was put from this home",
		Long: `List what was put from this home. The list is a local file, content/catalogue.json: it needs no network, and losing it loses
names only. cella stat asks the chain about one of them.`,
		Example: `  cella ls
  cella ls --json | jq -r '.[].root'`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			view := newView(cmd)
			home, _ := cmd.Flags().GetString(flags.FlagHome)
			all, err := client.New(client.Options{Home: home}).List()
			if err != nil {
				return err
			}
			if view.json {
				type item struct {
					Chain        string    `json:"chain"`
					Name         string    `json:"name"`
					Root         string    `json:"root"`
					Size         uint64    `json:"size"`
					Replicas     uint32    `json:"replicas"`
					Order        uint64    `json:"order"`
					Created      time.Time `json:"created"`
					Encrypted    bool      `json:"encrypted"`
					Acknowledged int64     `json:"acknowledged"`
					Code         string    `json:"code,omitempty"`
				}
				items := make([]item, len(all))
				for i, e := range all {
					items[i] = item{e.Chain, e.Name, e.Root, e.Size, e.Replicas, e.Order, e.Created, e.Encrypted, e.Acknowledged, e.Code}
				}
				return view.facts(items)
			}
			if len(all) == 0 {
				view.note("nothing was put yet; cella put FILE stores one")
				return nil
			}
			w := tabwriter.NewWriter(view.out, 0, 0, 2, ' ', 0)
			fmt.Fprintln(w, "NAME\tSIZE\tREPLICAS\tORDER\tSTATE\tCREATED\tCHAIN\tROOT")
			for _, e := range all {
				state := "unfinished"
				if e.Acknowledged > 0 {
					state = "stored"
				}
				if e.Encrypted {
					state += ", encrypted"
				}
				replicas := e.Code // K+M shards
				if replicas == "" {
					replicas = fmt.Sprint(e.Replicas)
				}
				fmt.Fprintf(w, "%s\t%s\t%s\t%d\t%s\t%s\t%s\t%s\n", e.Name, bytesWords(e.Size), replicas, e.Order, state, e.Created.Local().Format("2006-01-02 15:04"), e.Chain, e.Root)
			}
			return w.Flush()
		},
	}
	addJSONFlag(cmd)
	return explained(cmd)
}
