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
			step := rapid.SampledFrom([]string{"place", "accept", "accept", "accept", "add", "add", "add", "drop", "renew", "end", "settle", "blocks", "blocks", "blocks"}).Draw(rt, "step")
			_, err := w.tx(func(ctx sdk.Context) (err error) {
				switch step {
				case "place":
					_, err = m.PlaceOrder(ctx, &api.MsgPlaceOrder{Owner: text(account(owner)), Root: []byte("root"), Size_: 1 << 30,
						Blocks: rapid.Int64Range(50, 120).Draw(rt, "blocks"), Replicas: rapid.Uint32Range(1, 3).Draw(rt, "replicas"), Price: 100})
				case "accept":
					_, err = m.Accept(ctx, &api.MsgAccept{Operator: text(account(operator)), Order: id})
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
			if step == "add" || step == "drop" {
				w.proven[string(account(operator))] += rapid.Uint64Range(0, 20).Draw(rt, "proven")
				var added []storageproof.OrderRef
				var dropped []uint64
				if step == "drop" {
					dropped = append(dropped, id)
				} else {
					added = append(added, storageproof.OrderRef{ID: id, Root: []byte("root"), Size: 1 << 30})
				}
				if _, err := w.report(operator, added, dropped); err != nil {
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

// lists holds the index of open orders and the operators' lists against the records.
func (w *world) lists() error {
	replicas := map[uint64]uint32{}
	err := w.keeper.replicas.Walk(w.ctx, nil, func(key collections.Pair[uint64, sdk.AccAddress], _ api.Replica) (bool, error) {
		replicas[key.K1()]++
		if ok, err := w.keeper.held.Has(w.ctx, collections.Join(key.K2(), key.K1())); err != nil || !ok {
			return true, fmt.Errorf("a replica of order %d is missing from its operator's list: %w", key.K1(), err)
		}
		replicas[0]++
		return false, nil
	})
	if err != nil {
		return err
	}
	listed := uint32(0)
	if err := w.keeper.held.Walk(w.ctx, nil, func(collections.Pair[sdk.AccAddress, uint64]) (bool, error) {
		listed++
		return false, nil
	}); err != nil {
		return err
	}
	if listed != replicas[0] {
		return fmt.Errorf("%d replicas, the lists have %d", replicas[0], listed)
	}
	return w.keeper.orders.Walk(w.ctx, nil, func(id uint64, o api.Order) (bool, error) {
		open, err := w.keeper.open.Has(w.ctx, id)
		if err != nil {
			return true, err
		}
		free := !o.Closed && replicas[id] < o.Replicas
		if running := w.ctx.BlockHeight() < o.End; open && !free || running && free && !open {
			return true, fmt.Errorf("order %d has %d of %d replicas, closed=%t, and is listed as open: %t", id, replicas[id], o.Replicas, o.Closed, open)
		}
		return false, nil
	})
}
