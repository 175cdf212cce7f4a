package market

import (
	"fmt"
	"strings"
	"testing"

	"github.com/cockroachdb/datadriven"

	sdk "github.com/cosmos/cosmos-sdk/types"

	api "github.com/cella-network/cella/api/market"
	"github.com/cella-network/cella/protocol/storageproof"
)

// The transcripts follow orders through the module. Names stand for addresses; the books are held after each command and
// each block.
func TestTranscripts(t *testing.T) {
	datadriven.Walk(t, "testdata", func(t *testing.T, path string) {
		w := newWorld(t, params)
		names := strings.NewReplacer()
		known := map[string]bool{}
		learn := func(name string) {
			known[name] = true
			var pairs []string
			for n := range known {
				pairs = append(pairs, text(account(n)), n, account(n).String(), n)
			}
			names = strings.NewReplacer(pairs...)
		}
		datadriven.RunTest(t, path, func(t *testing.T, d *datadriven.TestData) string {
			lines, err := w.command(t, d, learn)
			w.audit(t)
			if err != nil {
				reason, _, _ := strings.Cut(err.Error(), " [") // the SDK adds files and lines
				return names.Replace("refused: " + reason + "\n")
			}
			if len(lines) == 0 {
				return "ok\n"
			}
			return names.Replace(strings.Join(lines, "\n") + "\n")
		})
	})
}

func (w *world) command(t *testing.T, d *datadriven.TestData, learn func(string)) ([]string, error) {
	number := func(key string) (v int64) {
		d.MaybeScanArgs(t, key, &v)
		return v
	}
	word := func(key string) (v string) {
		d.MaybeScanArgs(t, key, &v)
		return v
	}
	who := ""
	if len(d.CmdArgs) > 0 && len(d.CmdArgs[0].Vals) == 0 {
		who = d.CmdArgs[0].Key
		if _, isNumber := fmt.Sscan(who, new(int)); isNumber != nil {
			learn(who)
		}
	}
	list := func(key string) (ids []uint64) {
		for _, arg := range d.CmdArgs {
			if arg.Key == key {
				for i := range arg.Vals {
					var id uint64
					arg.Scan(t, i, &id)
					ids = append(ids, id)
				}
			}
		}
		return ids
	}
	order := uint64(number("order"))
	msgs := msgServer{w.keeper}
	queries := queryServer{w.keeper}
	switch d.Cmd {
	case "fund":
		w.fund(t, who, number("amount"))
		return nil, nil
	case "join":
		w.active[string(account(who))] = true
		return nil, nil
	case "leave":
		w.active[string(account(who))] = false
		return nil, nil
	case "asks":
		resp, err := queries.Asks(w.ctx, &api.QueryAsksRequest{})
		var lines []string
		for _, a := range resp.Asks {
			lines = append(lines, fmt.Sprintf("%s price=%d", a.Operator, a.Price))
		}
		return lines, err
	case "ask":
		return w.tx(func(ctx sdk.Context) error {
			_, err := msgs.SetAsk(ctx, &api.MsgSetAsk{Operator: text(account(who)), Price: uint64(number("price")), MaxSize: uint64(number("takes")) << 30})
			return err
		})
	case "place":
		return w.tx(func(ctx sdk.Context) error {
			_, err := msgs.PlaceOrder(ctx, &api.MsgPlaceOrder{Owner: text(account(who)), Root: []byte(word("root")), Size_: uint64(number("size")) << 30,
				Blocks: number("blocks"), Replicas: uint32(number("replicas")), Price: uint64(number("price")), Addrs: []string{"/dns/" + who}, Of: []byte(word("of"))})
			return err
		})
	case "accept":
		return w.tx(func(ctx sdk.Context) error {
			_, err := msgs.Accept(ctx, &api.MsgAccept{Operator: text(account(who)), Order: order})
			return err
		})
	case "report":
		r := storageproof.Report{Answered: uint64(number("proven")), Failed: uint64(number("failed")), Reset: d.HasArg("reset"), Dropped: list("drop")}
		w.standing(account(who)).Late += uint64(number("late"))
		for _, id := range list("add") {
			ref := storageproof.OrderRef{ID: id, Root: []byte(word("root")), Size: uint64(number("size")) << 30}
			if o, err := w.keeper.order(w.ctx, id); err == nil && len(ref.Root) == 0 {
				ref.Root, ref.Size = o.Root, o.Size
			}
			r.Added = append(r.Added, ref)
		}
		return w.report(who, r)
	case "audit":
		return w.tx(func(ctx sdk.Context) error {
			return w.keeper.Audited(ctx, account(who), order, d.HasArg("passed"), word("evidence"))
		})
	case "drain":
		return w.tx(func(ctx sdk.Context) error {
			_, err := msgs.Drain(ctx, &api.MsgDrain{Operator: text(account(who))})
			return err
		})
	case "conduct":
		resp, err := queries.Conduct(w.ctx, &api.QueryConductRequest{Operator: text(account(who))})
		c := resp.Conduct
		return []string{fmt.Sprintf("%s faults=%d warned=%d; audits: faults=%d warned=%d; silent=%d", who, c.Faults, c.Warned, c.AuditFaults, c.AuditWarned, c.Silent)}, err
	case "params":
		p, err := w.keeper.params.Get(w.ctx)
		for key, v := range map[string]*int64{"mend": &p.MendBlocks, "clear": &p.ClearBlocks, "repair": &p.RepairBlocks, "warn": &p.WarnBlocks, "silent": &p.SilentBlocks} {
			d.MaybeScanArgs(t, key, v)
		}
		for key, v := range map[string]*uint64{"factor": &p.FaultFactor, "audit": &p.AuditFaults, "fee": &p.LapseFee, "collateral": &p.Collateral} {
			d.MaybeScanArgs(t, key, v)
		}
		if err != nil {
			return nil, err
		}
		_, err = msgs.UpdateParams(w.ctx, &api.MsgUpdateParams{Authority: authority, Params: p})
		return nil, err
	case "renew":
		return w.tx(func(ctx sdk.Context) error {
			_, err := msgs.Renew(ctx, &api.MsgRenew{Owner: text(account(who)), Order: order, Blocks: number("blocks")})
			return err
		})
	case "end":
		return w.tx(func(ctx sdk.Context) error {
			_, err := msgs.End(ctx, &api.MsgEnd{Owner: text(account(who)), Order: order})
			return err
		})
	case "settle":
		return w.tx(func(ctx sdk.Context) error {
			_, err := msgs.Settle(ctx, &api.MsgSettle{Sender: text(account("anyone")), Order: order})
			return err
		})
	case "next":
		return w.next(t, int(number("blocks"))), nil
	case "order":
		resp, err := queries.Order(w.ctx, &api.QueryOrderRequest{Id: order})
		if err != nil {
			return nil, err
		}
		lines := []string{orderLine(resp.Order)}
		for i, r := range resp.Replicas {
			line := fmt.Sprintf("  %s price=%d proven=%t paid=%d accrued=%d collateral=%d", r.Operator, r.Price, r.Proven, r.Paid, resp.Accrued[i], r.Collateral)
			if r.Fined+r.AuditFined > 0 {
				line += fmt.Sprintf(" fined=%d", r.Fined+r.AuditFined)
			}
			if r.Lost != 0 {
				line += fmt.Sprintf(" lost=%d", r.Lost)
			}
			if r.Leaving {
				line += " leaving"
			}
			lines = append(lines, line)
		}
		return lines, nil
	case "orders":
		req := &api.QueryOrdersRequest{Root: []byte(word("root")), Open: d.HasArg("open")}
		if owner := word("owner"); owner != "" {
			req.Owner = text(account(owner))
		}
		resp, err := queries.Orders(w.ctx, req)
		if err != nil {
			return nil, err
		}
		var lines []string
		for _, o := range resp.Orders {
			lines = append(lines, orderLine(o))
		}
		return lines, nil
	case "balances":
		var lines []string
		for _, arg := range d.CmdArgs {
			lines = append(lines, fmt.Sprintf("%s %s", arg.Key, w.bank.GetBalance(w.ctx, account(arg.Key), denom)))
		}
		return lines, nil
	}
	d.Fatalf(t, "unknown command %q", d.Cmd)
	return nil, nil
}

func orderLine(o api.Order) string {
	return fmt.Sprintf("order %d of %s: root=%s replicas=%d %d to %d escrow=%d closed=%t %s", o.Id, o.Owner, o.Root, o.Replicas, o.Start, o.End, o.Escrow, o.Closed, o.Addrs)
}
