package market

import (
	"context"
	"errors"
	"fmt"

	"github.com/cosmos/gogoproto/proto"

	"cosmossdk.io/collections"
	"cosmossdk.io/core/address"
	sdkmath "cosmossdk.io/math"

	sdk "github.com/cosmos/cosmos-sdk/types"

	api "github.com/cella-network/cella/api/market"
	"github.com/cella-network/cella/protocol/market"
)

// terms returns the rules in force and the block's height.
func (k *Keeper) terms(ctx context.Context) (market.Terms, int64, error) {
	p, err := k.params.Get(ctx)
	return termsOf(p), sdk.UnwrapSDKContext(ctx).BlockHeight(), err
}

func termsOf(p api.Params) market.Terms {
	return market.Terms{DayBlocks: p.DayBlocks, MinBlocks: p.MinBlocks, MaxBlocks: p.MaxBlocks,
		AcceptBlocks: p.AcceptBlocks, GraceBlocks: p.GraceBlocks, Collateral: p.Collateral}
}

func (k *Keeper) account(text string) (sdk.AccAddress, error) { return accountOf(k.addresses, text) }

// accountOf reads an address. It has one spelling: bech32 knows capitals as well, and the rules, which compare texts, would
// take one operator for two.
func accountOf(addresses address.Codec, text string) (sdk.AccAddress, error) {
	b, err := addresses.StringToBytes(text)
	if err != nil {
		return nil, ErrRefused.Wrapf("address %q: %s", text, err)
	}
	if canonical, err := addresses.BytesToString(b); err != nil || canonical != text {
		return nil, ErrRefused.Wrapf("address %q: not how this chain writes it", text)
	}
	return b, nil
}

func (k *Keeper) emit(ctx context.Context, event proto.Message) error {
	return sdk.UnwrapSDKContext(ctx).EventManager().EmitTypedEvent(event)
}

// order loads an order without its addrs.
func (k *Keeper) order(ctx context.Context, id uint64) (market.Order, error) {
	o, err := k.orders.Get(ctx, id)
	if errors.Is(err, collections.ErrNotFound) {
		return market.Order{}, ErrRefused.Wrapf("there is no order %d", id)
	}
	return orderOf(o), err
}

// setOrder stores an order; its addrs were stored when it was placed and never change.
func (k *Keeper) setOrder(ctx context.Context, o market.Order) error {
	o.Addrs = nil
	return k.orders.Set(ctx, o.ID, orderTo(o))
}

// replica loads an operator's replica with its order; ok is false if there is none.
func (k *Keeper) replica(ctx context.Context, id uint64, operator sdk.AccAddress) (o market.Order, r market.Replica, ok bool, err error) {
	stored, err := k.replicas.Get(ctx, collections.Join(id, operator))
	if errors.Is(err, collections.ErrNotFound) {
		return o, r, false, nil
	}
	if err != nil {
		return o, r, false, err
	}
	o, err = k.order(ctx, id)
	return o, replicaOf(stored), err == nil, err
}

func (k *Keeper) setReplica(ctx context.Context, operator sdk.AccAddress, r market.Replica) error {
	return k.replicas.Set(ctx, collections.Join(r.Order, operator), replicaTo(r))
}

func (k *Keeper) removeReplica(ctx context.Context, id uint64, operator sdk.AccAddress) error {
	if err := k.replicas.Remove(ctx, collections.Join(id, operator)); err != nil {
		return err
	}
	return k.held.Remove(ctx, collections.Join(operator, id))
}

// heldOf loads an order's replicas, at most market.MaxReplicas, with what their nodes have proven.
func (k *Keeper) heldOf(ctx context.Context, id uint64) ([]market.Replica, market.Proven, error) {
	var held []market.Replica
	counts := map[string]uint64{}
	err := k.replicas.Walk(ctx, collections.NewPrefixedPairRange[uint64, sdk.AccAddress](id),
		func(key collections.Pair[uint64, sdk.AccAddress], r api.Replica) (bool, error) {
			n, err := k.work.Proven(ctx, key.K2())
			held, counts[r.Operator] = append(held, replicaOf(r)), n
			return false, err
		})
	return held, func(node string) uint64 { return counts[node] }, err
}

// dueLapses and dueClosings list at most limit items whose height has come, earliest first.
func (k *Keeper) dueLapses(ctx context.Context, now int64, limit int) (keys []collections.Triple[int64, uint64, sdk.AccAddress], err error) {
	err = k.lapses.Walk(ctx, nil, func(key collections.Triple[int64, uint64, sdk.AccAddress]) (bool, error) {
		if key.K1() > now || len(keys) == limit {
			return true, nil
		}
		keys = append(keys, key)
		return false, nil
	})
	return keys, err
}

func (k *Keeper) dueClosings(ctx context.Context, now int64, limit int) (keys []collections.Pair[int64, uint64], err error) {
	err = k.closings.Walk(ctx, nil, func(key collections.Pair[int64, uint64]) (bool, error) {
		if key.K1() > now || len(keys) == limit {
			return true, nil
		}
		keys = append(keys, key)
		return false, nil
	})
	return keys, err
}

// index stores an order's entries in the lists by owner and root and the height at which it closes, or is forgotten.
func (k *Keeper) index(ctx context.Context, t market.Terms, o market.Order) error {
	owner, err := k.account(o.Owner)
	if err != nil {
		return err
	}
	if err := k.byOwner.Set(ctx, collections.Join(owner, o.ID)); err != nil {
		return err
	}
	if err := k.byRoot.Set(ctx, collections.Join(o.Root, o.ID)); err != nil {
		return err
	}
	due := t.ExpireAt(o)
	if o.Closed {
		due = t.PruneAt(o)
	}
	return k.closings.Set(ctx, collections.Join(due, o.ID))
}

// indexReplica stores a replica's entry in its operator's list and, until it is proven, the height of its lapse.
func (k *Keeper) indexReplica(ctx context.Context, t market.Terms, operator sdk.AccAddress, r market.Replica) error {
	if err := k.held.Set(ctx, collections.Join(operator, r.Order)); err != nil {
		return err
	}
	if r.Proven {
		return nil
	}
	return k.lapses.Set(ctx, collections.Join3(t.LapseAt(r), r.Order, operator))
}

// Owed is what the module's account must hold: the escrow of all orders and the collateral of all replicas. It reads the
// whole store, for tests and audits.
func (k *Keeper) Owed(ctx context.Context) (sdk.Coin, error) {
	owed := sdk.NewInt64Coin(k.denom, 0)
	add := func(amount uint64) { owed = owed.Add(sdk.NewCoin(k.denom, intOf(amount))) }
	if err := k.orders.Walk(ctx, nil, func(_ uint64, o api.Order) (bool, error) { add(o.Escrow); return false, nil }); err != nil {
		return owed, err
	}
	err := k.replicas.Walk(ctx, nil, func(_ collections.Pair[uint64, sdk.AccAddress], r api.Replica) (bool, error) {
		add(r.Collateral)
		return false, nil
	})
	if err != nil {
		return owed, fmt.Errorf("replicas: %w", err)
	}
	return owed, nil
}

func intOf(amount uint64) sdkmath.Int { return sdkmath.NewIntFromUint64(amount) }

func sum(moved []market.Move, rule market.Rule) (total uint64) {
	for _, m := range moved {
		if m.Rule == rule {
			total += m.Amount
		}
	}
	return total
}

func orderOf(o api.Order) market.Order {
	return market.Order{ID: o.Id, Owner: o.Owner, Root: o.Root, Size: o.Size_, Replicas: o.Replicas, Price: o.Price,
		Start: o.Start, End: o.End, Escrow: o.Escrow, Addrs: o.Addrs, Closed: o.Closed}
}

func orderTo(o market.Order) api.Order {
	return api.Order{Id: o.ID, Owner: o.Owner, Root: o.Root, Size_: o.Size, Replicas: o.Replicas, Price: o.Price,
		Start: o.Start, End: o.End, Escrow: o.Escrow, Addrs: o.Addrs, Closed: o.Closed}
}

func replicaOf(r api.Replica) market.Replica {
	return market.Replica{Order: r.Order, Node: r.Operator, Price: r.Price, Accepted: r.Accepted, Proven: r.Proven,
		Since: r.Since, Base: r.Base, Paid: r.Paid, Collateral: r.Collateral}
}

func replicaTo(r market.Replica) api.Replica {
	return api.Replica{Order: r.Order, Operator: r.Node, Price: r.Price, Accepted: r.Accepted, Proven: r.Proven,
		Since: r.Since, Base: r.Base, Paid: r.Paid, Collateral: r.Collateral}
}
