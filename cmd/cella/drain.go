package main

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"time"

	"github.com/spf13/cobra"

	"github.com/cosmos/cosmos-sdk/client/flags"
	"github.com/cosmos/cosmos-sdk/types/query"

	"github.com/cella-network/cella/api/attest"
	"github.com/cella-network/cella/api/market"
	"github.com/cella-network/cella/client"
	"github.com/cella-network/cella/worker"
	"github.com/cella-network/cella/worker/disk"
)

// drain is what `node drain` is told, and whom it speaks for.
type drain struct {
	detach, leave, cancel, now bool
	dir                        string
	view                       *view
	chain                      *client.Chain
	account                    *client.Account
}

func drainCmd() *cobra.Command {
	var d drain
	cmd := &cobra.Command{
		Use:   "drain",
		Short: "Leave in order: hand every replica over to other operators, then stop without a penalty",
		Long: `Leave in order: hand every replica over to other operators, then stop without a penalty.

The node offers nothing more and takes no orders. Each of its replicas waits for a successor; when another operator has proven the order, the
replica is paid, its collateral comes back, and it is gone. Until then the node must go on running and proving. The command shows how many
still wait, until none does; it may be ended and run again. --leave then ends the node's registration, which returns the entry stake.

Orders that were accepted and are not proven yet would each cost the lapse fee. The node takes no more of them, and the handing over begins
once all are proven or have lapsed; --now pays the fee and begins at once.

--cancel lets the node offer space again; replicas that wait for a successor already go on leaving.`,
		Example: `  cella node drain
  cella node drain --leave
  cella node drain --detach
  cella node drain --now
  cella node drain --cancel`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return d.run(cmd) },
	}
	f := cmd.Flags()
	f.BoolVar(&d.detach, "detach", false, "begin, and do not wait for the end")
	f.BoolVar(&d.leave, "leave", false, "end the registration once nothing is stored here any more")
	f.BoolVar(&d.cancel, "cancel", false, "offer space again")
	f.BoolVar(&d.now, "now", false, "give up orders that are accepted and not proven yet, each for the lapse fee")
	cmd.MarkFlagsMutuallyExclusive("detach", "leave", "cancel")
	cmd.MarkFlagsMutuallyExclusive("now", "cancel")
	addNodeFlag(cmd)
	addJSONFlag(cmd)
	return explained(cmd)
}

func (d *drain) run(cmd *cobra.Command) error {
	ctx := cmd.Context()
	home, _ := cmd.Flags().GetString(flags.FlagHome)
	cfg, err := worker.LoadConfig(filepath.Join(home, "config", "cella.toml"))
	if err != nil {
		return &client.Error{Kind: client.KindUsage, What: "this is no storage node's home", Cause: err, Hint: "name it with --home"}
	}
	d.dir, d.view = diskDir(home, cfg), newView(cmd)
	if d.cancel {
		if err := disk.MarkDraining.Clear(d.dir); err != nil {
			return &client.Error{Kind: client.KindLocal, What: "the mark could not be removed", Cause: err}
		}
		d.view.note("the node offers space again once none of its replicas waits for a successor")
		return nil
	}
	if err := d.connect(cmd, home, cfg.Key); err != nil {
		return err
	}
	defer d.account.Close()
	if err := d.begin(ctx); err != nil {
		return err
	}
	left, err := d.follow(ctx)
	if err != nil {
		return err
	}
	if left == 0 && d.leave {
		if _, err := d.account.Post(ctx, &attest.MsgLeave{Operator: d.account.Address}); err != nil && !d.gone(ctx) {
			return err
		}
	}
	return d.tell(ctx, left)
}

func (d *drain) connect(cmd *cobra.Command, home, key string) error {
	rpc, err := nodeRPC(cmd, home)
	if err != nil {
		return err
	}
	if d.chain, err = client.Dial(cmd.Context(), rpc); err != nil {
		return err
	}
	stock, err := clientConfig(home)
	if err != nil {
		return err
	}
	kr, err := openKeyring(home, stock.KeyringBackend, cmd.InOrStdin())
	if err != nil {
		return &client.Error{Kind: client.KindLocal, What: "keyring", Cause: err}
	}
	d.account, err = client.NewAccount(d.chain, kr, key)
	return err
}

// begin marks the disk, so that the node makes no further offer, and lets all replicas begin to leave.
func (d *drain) begin(ctx context.Context) error {
	fresh := !disk.MarkDraining.Stands(d.dir)
	if err := disk.MarkDraining.Set(d.dir); err != nil {
		return &client.Error{Kind: client.KindLocal, What: "the disk could not be marked", Cause: err}
	}
	if err := d.settled(ctx, fresh); err != nil {
		if fresh && ctx.Err() == nil {
			err = errors.Join(err, disk.MarkDraining.Clear(d.dir))
		}
		return err
	}
	for more, first := true, true; more; first = false {
		res, err := d.account.Post(ctx, &market.MsgDrain{Operator: d.account.Address})
		if err != nil {
			if fresh && first {
				err = errors.Join(err, disk.MarkDraining.Clear(d.dir))
			}
			return err
		}
		var reply market.MsgDrainResponse
		if err := res.Response(0, &reply); err != nil {
			return err
		}
		more = reply.More
	}
	return nil
}

// underway is how many blocks an acceptance may be on its way that the node posted before it saw the mark.
const underway = 2

// settled returns once no accepted order waits for its first proof: giving one up costs the lapse fee. What is not proven in time
// lapses, so that the wait ends.
func (d *drain) settled(ctx context.Context, fresh bool) error {
	if d.now {
		return nil
	}
	stopped := func(err error) error {
		if ctx.Err() == nil {
			return err
		}
		return &client.Error{Kind: client.KindStopped, What: "stopped before anything was handed over; the node takes no more orders",
			Hint: "run it again to go on, or cella node drain --cancel to stay"}
	}
	if fresh {
		head, err := d.chain.Latest(ctx)
		if err == nil {
			err = d.chain.Wait(ctx, head+underway)
		}
		if err != nil {
			return stopped(err)
		}
	}
	for said := 0; ; {
		_, unproven, err := d.held(ctx)
		if err != nil {
			return stopped(err)
		}
		if unproven == 0 {
			return nil
		}
		if unproven != said {
			d.view.note("%d accepted orders are not proven yet; waiting until they are, or have lapsed (--now gives them up, each for the lapse fee)", unproven)
			said = unproven
		}
		select {
		case <-time.After(drainPause):
		case <-ctx.Done():
			return stopped(nil)
		}
	}
}

// held counts the node's replicas, and those of them that were never proven.
func (d *drain) held(ctx context.Context) (all, unproven int, err error) {
	req := &market.QueryReplicasRequest{Operator: d.account.Address, Pagination: &query.PageRequest{Limit: 500}}
	for {
		r, err := d.chain.Market.Replicas(ctx, req)
		if err != nil {
			return 0, 0, err
		}
		all += len(r.Replicas)
		for _, rep := range r.Replicas {
			if !rep.Proven {
				unproven++
			}
		}
		if r.Pagination == nil || len(r.Pagination.NextKey) == 0 {
			return all, unproven, nil
		}
		req.Pagination.Key = r.Pagination.NextKey
	}
}

const drainPause = 2 * time.Second

// follow shows how many replicas wait until none does.
func (d *drain) follow(ctx context.Context) (left int, err error) {
	defer d.view.close()
	for said := -1; ; {
		if left, _, err = d.held(ctx); err != nil && ctx.Err() == nil {
			return 0, err
		}
		if ctx.Err() != nil {
			return 0, &client.Error{Kind: client.KindStopped, What: "stopped watching; the node goes on handing over", Hint: "run it again to see how far it is"}
		}
		if left == 0 || d.detach {
			return left, nil
		}
		if left != said {
			d.view.note("%d replicas wait for a successor; keep the node running", left)
			said = left
		}
		select {
		case <-time.After(drainPause):
		case <-ctx.Done():
		}
	}
}

// gone tells whether the chain knows the node no more.
func (d *drain) gone(ctx context.Context) bool {
	_, err := d.chain.Attest.Node(ctx, &attest.QueryNodeRequest{Operator: d.account.Address})
	return client.IsKind(err, client.KindNotFound) || client.IsKind(err, client.KindRefused)
}

func (d *drain) tell(ctx context.Context, left int) error {
	away := d.gone(ctx)
	if d.view.json {
		return d.view.facts(struct {
			Operator string `json:"operator"`
			Waiting  int    `json:"replicas_waiting"`
			Left     bool   `json:"left"`
		}{d.account.Address, left, away})
	}
	switch {
	case left > 0:
		fmt.Fprintf(d.view.out, "%d replicas wait for a successor; keep the node running, and run this again to see how far it is\n", left)
	case away:
		fmt.Fprintln(d.view.out, "drained, and the registration has ended: the entry stake is back. Stop the node now.")
	default:
		fmt.Fprintln(d.view.out, "drained: no order counts on this node any more. cella node drain --leave returns the entry stake; then stop the node.")
	}
	return nil
}
