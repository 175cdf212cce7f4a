package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"

	"github.com/cosmos/cosmos-sdk/client/flags"

	"github.com/cella-network/cella/client"
	"github.com/cella-network/cella/worker/disk"
)

// repair is what `repair` is told.
type repair struct {
	lost, deep, dry, yes bool
	in                   io.Reader
	view                 *view
}

func repairCmd() *cobra.Command {
	var r repair
	cmd := &cobra.Command{
		Use:   "repair",
		Short: "Give up sectors of a stopped node that are broken, so that it fetches their orders again",
		Long: `Give up sectors of a stopped node that are broken, so that it fetches their orders again. It runs cella verify, shows what is wrong and what
that will cost, and asks. Then it moves the files of broken sectors to lost+found/ in the disk folder; it deletes nothing. The next start of the node
reports them as lost, fetches what the orders need from other holders and proves it again.

--lost is for a disk folder that is gone for good, or whose table is: it declares all lost that the chain counts on here. The next start begins
with an empty disk and fetches every order again. Where the table is there after all, the declaration is without effect.

A running node needs none of this: what its draws find it mends by itself.`,
		Example: `  cella repair --dry-run
  cella repair --deep
  cella repair --lost`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			home, _ := cmd.Flags().GetString(flags.FlagHome)
			r.in, r.view = cmd.InOrStdin(), newView(cmd)
			d, err := findSealed(home)
			if err != nil {
				return err
			}
			if err := d.stopped(); err != nil {
				return err
			}
			if r.lost {
				return r.declare(d)
			}
			return r.run(cmd.Context(), d)
		},
	}
	f := cmd.Flags()
	f.BoolVar(&r.lost, "lost", false, "declare the whole disk lost")
	f.BoolVar(&r.deep, "deep", false, "read every cell")
	f.BoolVar(&r.dry, "dry-run", false, "show what would be done and do nothing")
	f.BoolVar(&r.yes, "yes", false, "do not ask")
	addJSONFlag(cmd)
	return explained(cmd)
}

// run gives up broken sectors.
func (r repair) run(ctx context.Context, d sealed) error {
	f, err := d.verify(ctx, r.view, r.deep)
	if err != nil {
		return err
	}
	if len(f.Faults) == 0 {
		return r.done(f, "")
	}
	if len(f.Faults) == f.Free+f.Data {
		return &client.Error{Kind: client.KindLocal, What: "not one sector in " + d.dir + " is what it should be",
			Hint: "is its disk mounted? If they are gone for good, just start the node: it says so to the chain and fetches the orders again"}
	}
	if !r.view.json {
		f.write(r.view.out)
		fmt.Fprintln(r.view.out)
		d.price(r.view.out, len(f.Broken))
	}
	if r.dry {
		return r.done(f, "")
	}
	if err := r.confirm(fmt.Sprintf("Move %d sectors to lost+found?", len(f.Faults))); err != nil {
		return err
	}
	ids := make([]uint32, len(f.Faults))
	for i, x := range f.Faults {
		ids[i] = x.Sector
	}
	to, err := disk.SetAside(d.dir, f.seen, ids)
	if errors.Is(err, disk.ErrChanged) {
		return &client.Error{Kind: client.KindBusy, What: "nothing was changed", Cause: err, Hint: "run cella repair again: what was broken may be mended"}
	}
	if err != nil {
		return &client.Error{Kind: client.KindLocal, What: "the sectors could not be moved", Cause: err}
	}
	return r.done(f, to)
}

// done tells what came of it.
func (r repair) done(f faults, to string) error {
	if r.view.json {
		return r.view.facts(struct {
			faults
			Moved string `json:"moved_to,omitempty"`
		}{f, to})
	}
	switch {
	case to != "":
		fmt.Fprintf(r.view.out, "moved to %s; delete that folder when the node is well again. Now start the node.\n", to)
	case len(f.Faults) == 0:
		fmt.Fprintln(r.view.out, "nothing to repair: all sectors are what the chain accepted")
	default:
		fmt.Fprintln(r.view.out, "nothing was changed")
	}
	return nil
}

// price says what a loss costs.
func (d sealed) price(out io.Writer, orders int) {
	fmt.Fprintln(out, "The node's next report says that these sectors are lost; until then, their draws fail.")
	if orders == 0 {
		return
	}
	fmt.Fprintf(out, "%d orders are fetched again from other holders. Until they are proven again they earn nothing.\n", orders)
	if d.repair > 0 {
		fmt.Fprintf(out, "The chain warns, and gives %d blocks for it (unless that was changed since genesis). What is not proven again by then\ncosts the order's collateral.\n", d.repair)
	}
}

// declare marks the whole disk as lost.
func (r repair) declare(d sealed) error {
	if r.view.json {
		return &client.Error{Kind: client.KindUsage, What: "--lost has no --json"}
	}
	fmt.Fprintf(r.view.out, "disk      %s\n\nEverything that the chain counts on here is declared lost. The next start of the node begins with an empty disk, its next\nreport says so, and every order is fetched again from other holders.\n", d.dir)
	if d.repair > 0 {
		fmt.Fprintf(r.view.out, "The chain warns, and gives %d blocks for it (unless that was changed since genesis). What is not proven again by then\ncosts the order's collateral.\n", d.repair)
	}
	fmt.Fprintln(r.view.out, "If the folder can still be found or brought back from a copy that is not older than the last report, do that instead.")
	if r.dry {
		fmt.Fprintln(r.view.out, "\nnothing was changed")
		return nil
	}
	if err := r.confirm("Declare the disk lost?"); err != nil {
		return err
	}
	if err := disk.MarkLost.Set(d.dir); err != nil {
		return &client.Error{Kind: client.KindLocal, What: "the disk could not be marked", Cause: err}
	}
	fmt.Fprintln(r.view.out, "declared lost. Now start the node.")
	return nil
}

// confirm asks a person, unless --yes was given.
func (r repair) confirm(question string) error {
	if r.yes {
		return nil
	}
	fmt.Fprintf(r.view.err, "%s [y/N] ", question)
	line, _ := bufio.NewReader(r.in).ReadString('\n')
	switch strings.ToLower(strings.TrimSpace(line)) {
	case "y", "yes":
		return nil
	}
	return &client.Error{Kind: client.KindStopped, What: "nothing was changed", Hint: "answer y, or give --yes"}
}
