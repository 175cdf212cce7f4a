package market

import (
	"errors"
	"fmt"
	"testing"

	"pgregory.net/rapid"

	"cosmossdk.io/collections"

	sdk "github.com/cosmos/cosmos-sdk/types"
	sdkerrors "github.com/cosmos/cosmos-sdk/types/errors"

	api "github.com/cella-network/cella/api/market"
	"github.com/cella-network/cella/protocol/storageproof"
)

// Whatever operators and owners do, the books are balanced and the lists say what the records say. Coins are audited after every
// step and block.
func TestRandomMarkets(t *testing.T) {
	operators, owners := []string{"bob", "carol", "dave", "eve"}, []string{"alice", "zoe"}
	rapid.Check(t, func(rt *rapid.T) {
		w := newWorld(t, params)
		m := msgServer{w.keeper}
		for _, n := range append(operators, owners...) {
			w.fund(t, n, 5_000)
		}
		for _, n := range operators {
			w.active[string(account(n))] = true
			if _, err := m.SetAsk(w.ctx, &api.MsgSetAsk{Operator: text(account(n)), Price: uint64(60 + len(n)), MaxSize: 1 << 40}); err != nil {
				t.Fatal(err)
			}
		}
		last := uint64(0)
		for range rapid.IntRange(5, 60).Draw(rt, "steps") {
			operator, owner := rapid.SampledFrom(operators).Draw(rt, "operator"), rapid.SampledFrom(owners).Draw(rt, "owner")
			id := rapid.Uint64Range(1, last+1).Draw(rt, "order")
			step := rapid.SampledFrom([]string{"place", "accept", "accept", "accept", "add", "add", "add", "add", "drop", "reset", "drain", "ask", "audit", "renew", "end", "settle", "blocks", "blocks", "blocks"}).Draw(rt, "step")
			_, err := w.tx(func(ctx sdk.Context) (err error) {
				switch step {
				case "place":
					_, err = m.PlaceOrder(ctx, &api.MsgPlaceOrder{Owner: text(account(owner)), Root: []byte{'r', byte(last % 3)}, Size_: 1 << 30, Of: []byte("file")[:4*(last%2)],
						Blocks: rapid.Int64Range(50, 120).Draw(rt, "blocks"), Replicas: rapid.Uint32Range(1, 3).Draw(rt, "replicas"), Price: 100})
				case "accept":
					_, err = m.Accept(ctx, &api.MsgAccept{Operator: text(account(operator)), Order: id})
				case "drain":
					_, err = m.Drain(ctx, &api.MsgDrain{Operator: text(account(operator))})
				case "audit":
					err = w.keeper.Audited(ctx, account(operator), id, rapid.Bool().Draw(rt, "passed"), "audit")
				case "ask":
					_, err = m.SetAsk(ctx, &api.MsgSetAsk{Operator: text(account(operator)), Price: uint64(60 + len(operator)), MaxSize: 1 << 40})
				case "renew":
					_, err = m.Renew(ctx, &api.MsgRenew{Owner: text(account(owner)), Order: id, Blocks: rapid.Int64Range(1, 100).Draw(rt, "more")})
				case "end":
					_, err = m.End(ctx, &api.MsgEnd{Owner: text(account(owner)), Order: id})
				case "settle":
					_, err = m.Settle(ctx, &api.MsgSettle{Sender: text(account(owner)), Order: id})
				}
				return err
			})
			if step == "place" && err == nil {
				last++
			}
			if step == "add" || step == "drop" || step == "reset" {
				r := storageproof.Report{Answered: rapid.Uint64Range(0, 20).Draw(rt, "proven"), Failed: rapid.Uint64Range(0, 3).Draw(rt, "failed")}
				switch step {
				case "drop":
					r.Dropped = append(r.Dropped, id)
				case "reset":
					r.Reset, r.Answered = true, 0
				}
				if o, err := w.keeper.order(w.ctx, id); err == nil && step != "drop" {
					r.Added = append(r.Added, ref(id, string(o.Root)))
				}
				if _, err := w.report(operator, r); err != nil {
					rt.Fatalf("a report was refused: %s", err)
				}
			}
			if step == "blocks" {
				w.next(t, rapid.IntRange(1, 25).Draw(rt, "pass"))
			}
			if err != nil && !errors.Is(err, ErrRefused) && !errors.Is(err, sdkerrors.ErrInsufficientFunds) {
				rt.Fatalf("%s: %s", step, err)
			}
			w.audit(t)
			if err := w.lists(); err != nil {
				rt.Fatalf("height %d, after %s: %s", w.ctx.BlockHeight(), step, err)
			}
		}
		// In the end everything closes and every coin is back with somebody.
		w.ctx = w.ctx.WithBlockHeight(w.ctx.BlockHeight() + 1100)
		w.next(t, 2)
		owed, err := w.keeper.Owed(w.ctx)
		if err != nil || !owed.IsZero() {
			rt.Fatalf("%s is held for nobody: %v", owed, err)
		}
		if err := w.lists(); err != nil {
			rt.Fatal(err)
		}
	})
}

// lists holds what is listed against the records.
func (w *world) lists() error {
	places, replicas := map[uint64]uint32{}, 0
	if err := w.keeper.replicas.Walk(w.ctx, nil, func(key collections.Pair[uint64, sdk.AccAddress], r api.Replica) (bool, error) {
		replicas++
		if !r.Leaving {
			places[key.K1()]++
		}
		return false, w.listed(key.K2(), r)
	}); err != nil {
		return err
	}
	if n := count(w, w.keeper.held); n != replicas {
		return fmt.Errorf("%d replicas, the lists have %d", replicas, n)
	}
	if err := w.keeper.copies.Walk(w.ctx, nil, func(key collections.Pair[sdk.AccAddress, []byte], id uint64) (bool, error) {
		if ok, err := w.keeper.replicas.Has(w.ctx, collections.Join(id, key.K1())); err != nil || !ok {
			return true, fmt.Errorf("order %d is listed as held and isn't: %w", id, err)
		}
		return false, nil
	}); err != nil {
		return err
	}
	if err := w.keeper.conducts.Walk(w.ctx, nil, func(operator sdk.AccAddress, c api.Conduct) (bool, error) {
		watched, err := w.keeper.watch.Has(w.ctx, collections.Join(c.Watch, operator))
		if err != nil || watched != (c.Watch != 0) {
			return true, fmt.Errorf("the silence of %s is looked at: %t, at %d: %w", c.Operator, watched, c.Watch, err)
		}
		swept, err := w.keeper.sweeps.Has(w.ctx, operator)
		if err != nil || swept != (c.ResetAt != 0) {
			return true, fmt.Errorf("%s lost its disk at %d, listed: %t: %w", c.Operator, c.ResetAt, swept, err)
		}
		return false, conductOf(c).Audit()
	}); err != nil {
		return err
	}
	t, _, err := w.keeper.terms(w.ctx)
	if err != nil {
		return err
	}
	return w.keeper.orders.Walk(w.ctx, nil, func(id uint64, o api.Order) (bool, error) {
		open, err := w.keeper.open.Has(w.ctx, id)
		if err != nil {
			return true, err
		}
		free := !o.Closed && places[id] < o.Replicas
		if running := w.ctx.BlockHeight() < o.End; open && !free || running && free && !open {
			return true, fmt.Errorf("order %d has %d of %d replicas, closed=%t, and is listed as open: %t", id, places[id], o.Replicas, o.Closed, open)
		}
		held, err := w.keeper.replicasOf(w.ctx, id)
		if err != nil {
			return true, err
		}
		return false, t.Audit(orderOf(o), held)
	})
}

// listed holds the lists that must name a replica against it.
func (w *world) listed(operator sdk.AccAddress, r api.Replica) error {
	if ok, err := w.keeper.held.Has(w.ctx, collections.Join(operator, r.Order)); err != nil || !ok {
		return fmt.Errorf("a replica of order %d is missing from its operator's list: %w", r.Order, err)
	}
	standing := r.Proven && r.Lost == 0
	if ok, err := w.keeper.leaving.Has(w.ctx, collections.Join(r.Order, operator)); err != nil || ok != (r.Leaving && standing) {
		return fmt.Errorf("a replica of order %d is listed as leaving: %t: %w", r.Order, ok, err)
	}
	waits := false
	if err := w.keeper.repairs.Walk(w.ctx, nil, func(key collections.Triple[int64, uint64, sdk.AccAddress]) (bool, error) {
		waits = key.K2() == r.Order && key.K3().Equals(operator)
		return waits, nil
	}); err != nil || r.Lost != 0 && !waits {
		return fmt.Errorf("nobody waits for the repair of order %d: %w", r.Order, err)
	}
	c, err := w.keeper.conduct(w.ctx, operator)
	if err != nil || r.Proven && c.Watch == 0 {
		return fmt.Errorf("nobody watches the silence of %s: %w", r.Operator, err)
	}
	return nil
}

func count[K any](w *world, set collections.KeySet[K]) (n int) {
	if err := set.Walk(w.ctx, nil, func(K) (bool, error) { n++; return false, nil }); err != nil {
		panic(err)
	}
	return n
}
