package main

import (
	"fmt"
	"io"
	"slices"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"github.com/cella-network/cella/client"
)

func statCmd() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "stat ROOT|NAME",
		Short: "Show who holds a file, when it was last proven, and what it costs",
		Example: `  cella stat photos
  cella stat bafybeigdyrzt5sfp7udm7hu76uh7y26nf3efuylqabf3oclgtqy55fbzdi --json`,
		Args: exactly("ROOT or NAME"),
		RunE: func(cmd *cobra.Command, args []string) error {
			view := newView(cmd)
			s, err := connect(cmd.Context(), cmd, false, nil)
			if err != nil {
				return err
			}
			defer s.close()
			res, err := s.Stat(cmd.Context(), args[0])
			if err != nil {
				return err
			}
			if view.json {
				return view.facts(res)
			}
			return writeStat(view.out, res)
		},
	}
	addNodeFlag(cmd)
	addJSONFlag(cmd)
	return explained(cmd)
}

func writeStat(out io.Writer, s client.Stat) error {
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	fmt.Fprintf(w, "root\t%s\n", s.Root)
	if s.Name != "" {
		fmt.Fprintf(w, "name\t%s\n", s.Name)
	}
	if len(s.Orders) == 0 {
		fmt.Fprintf(w, "order\tnone on the chain\n")
	}
	for _, set := range s.Sets {
		writeSet(w, s, set)
	}
	for _, o := range s.Orders {
		if o.Of != "" && !o.Closed && o.End > s.Height {
			continue // in its set
		}
		fmt.Fprintf(w, "\norder\t%d of %s%s\n", o.ID, o.Owner, map[bool]string{true: ", closed"}[o.Closed])
		fmt.Fprintf(w, "size\t%s\n", bytesWords(o.Size))
		fmt.Fprintf(w, "proven\t%d of %d replicas at block %d\n", o.Proven, o.Replicas, s.Height)
		fmt.Fprintf(w, "end\tblock %d, about %s\n", o.End, o.EndTime.Local().Format("2006-01-02 15:04"))
		fmt.Fprintf(w, "price\tat most %s per GiB-day and replica\n", coins(o.Price))
		fmt.Fprintf(w, "paid\t%s so far, %s in escrow\n", coins(o.Paid), coins(o.Escrow))
		fmt.Fprintf(w, "month\t%s\n", coins(o.Month))
		for i, h := range o.Holders {
			title := ""
			if i == 0 {
				title = "holders"
			}
			proof := "accepted, not proven yet"
			if h.Proven {
				proof = fmt.Sprintf("last proof at block %d", h.LastProof)
			}
			fmt.Fprintf(w, "%s\t%s  %s, paid %s\n", title, h.Operator, proof, coins(h.Paid))
		}
	}
	return w.Flush()
}

// writeSet shows the shards of a coded file, one a line.
func writeSet(w io.Writer, s client.Stat, set client.SetStat) {
	fmt.Fprintf(w, "\nshards\t%d of %s, %d proven at block %d\n", set.Shards, set.Owner, set.Proven, s.Height)
	if set.Code != "" {
		fmt.Fprintf(w, "code\t%s, manifest %s\n", set.Code, set.Manifest)
		fmt.Fprintf(w, "margin\t%s\n", marginWords(set.Margin))
	}
	var paid, escrow, month uint64
	for _, o := range slices.Backward(s.Orders) {
		if o.Of == "" || o.Owner != set.Owner || o.Closed || o.End <= s.Height {
			continue
		}
		paid, escrow, month = paid+o.Paid, escrow+o.Escrow, month+o.Month
		state := "waits for an operator"
		for _, h := range o.Holders {
			state = h.Operator + "  accepted, not proven yet"
			if h.Proven {
				state = fmt.Sprintf("%s  last proof at block %d", h.Operator, h.LastProof)
			}
		}
		fmt.Fprintf(w, "order %d\t%s, until about %s, %s\n", o.ID, bytesWords(o.Size), o.EndTime.Local().Format("2006-01-02 15:04"), state)
	}
	fmt.Fprintf(w, "paid\t%s so far, %s in escrow\n", coins(paid), coins(escrow))
	fmt.Fprintf(w, "month\t%s\n", coins(month))
}

// marginWords say how many shards may still be lost.
func marginWords(n int) string {
	switch {
	case n < 0:
		return fmt.Sprintf("%d: its holders can't restore the file now; put it again from the original", n)
	case n == 0:
		return "0: no shard may be lost; put it again from the original, which serves what is missing"
	case n == 1:
		return "1 shard may be lost; lost ones are being placed again by the market"
	}
	return fmt.Sprintf("%d shards may be lost", n)
}
