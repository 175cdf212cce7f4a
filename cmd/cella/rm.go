package main

import (
	"fmt"

	"github.com/spf13/cobra"
)

func rmCmd() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "rm ROOT|NAME",
		Short: "End a file's order and forget it",
		Long: `End a file's order and forget it. Holders that have proven it are paid for the market's shortest term at least; what is left of the
escrow comes back. The network may serve the file for a while longer, to whoever knows its root.`,
		Example: `  cella rm photos`,
		Args:    exactly("ROOT or NAME"),
		RunE: func(cmd *cobra.Command, args []string) error {
			view := newView(cmd)
			s, err := connect(cmd.Context(), cmd, true, nil)
			if err != nil {
				return err
			}
			defer s.close()
			res, err := s.Remove(cmd.Context(), args[0])
			if err != nil {
				return err
			}
			if view.json {
				orders := res.Ended
				if orders == nil {
					orders = []uint64{}
				}
				return view.facts(struct {
					Root   string   `json:"root"`
					Name   string   `json:"name,omitempty"`
					Ended  []uint64 `json:"ended"`
					Refund uint64   `json:"refund"`
				}{res.Entry.Root, res.Entry.Name, orders, res.Refund})
			}
			fmt.Fprintf(view.out, "%s: %d orders ended, %s came back\n", args[0], len(res.Ended), coins(res.Refund))
			return nil
		},
	}
	addKeyFlags(cmd)
	addJSONFlag(cmd)
	return explained(cmd)
}
