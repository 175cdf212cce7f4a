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
	"github.com/cella-network/cella/protocol/storageproof"
)

// terms returns the rules in force and the block's height.
func (k *Keeper) terms(ctx context.Context) (market.Terms, int64, error) {
	p, err := k.params.Get(ctx)
	if err != nil {
		return market.Terms{}, 0, err
	}
	t, now := termsOf(p), sdk.UnwrapSDKContext(ctx).BlockHeight()
	lag, err := k.lag(ctx)
	for _, blocks := range []*int64{&t.AcceptBlocks, &t.MendBlocks, &t.RepairBlocks, &t.WarnBlocks, &t.SilentBlocks} {
		*blocks += lag
	}
	return t, now, err
}

// lag is for how many blocks nobody can have proven anything, as their draws have no seeds yet. Whatever a node must prove in time it
// may prove by so much later; what is queued by a longer lag than there is in the end only waits a little longer.
func (k *Keeper) lag(ctx context.Context) (int64, error) {
	clock, err := k.work.Clock(ctx)
	return max(sdk.UnwrapSDKContext(ctx).BlockHeight()-clock, 0), err
}

func termsOf(p api.Params) market.Terms {
	return market.Terms{DayBlocks: p.DayBlocks, MinBlocks: p.MinBlocks, MaxBlocks: p.MaxBlocks,
		AcceptBlocks: p.AcceptBlocks, GraceBlocks: p.GraceBlocks, Collateral: p.Collateral,
		MendBlocks: p.MendBlocks, ClearBlocks: p.ClearBlocks, FaultFactor: p.FaultFactor,
		RepairBlocks: p.RepairBlocks, WarnBlocks: p.WarnBlocks, SilentBlocks: p.SilentBlocks,
		AuditFaults: p.AuditFaults, LapseFee: p.LapseFee}
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

// removeReplica forgets a replica and all that is listed of it; queues find it gone.
func (k *Keeper) removeReplica(ctx context.Context, o market.Order, operator sdk.AccAddress) error {
	if err := k.replicas.Remove(ctx, collections.Join(o.ID, operator)); err != nil {
		return err
	}
	if err := k.leaving.Remove(ctx, collections.Join(o.ID, operator)); err != nil {
		return err
	}
	for _, key := range copyKeys(o) {
		at := collections.Join(operator, key)
		id, err := k.copies.Get(ctx, at)
		if err != nil && !errors.Is(err, collections.ErrNotFound) {
			return err
		}
		if err == nil && id == o.ID {
			if err := k.copies.Remove(ctx, at); err != nil {
				return err
			}
		}
	}
	return k.held.Remove(ctx, collections.Join(operator, o.ID))
}

// copyKeys name what an operator may hold once: the content, and one part of an owner's file.
func copyKeys(o market.Order) [][]byte {
	keys := [][]byte{append([]byte{0}, o.Root...)}
	if len(o.Of) > 0 {
		// An owner's text has no zero byte, so that no two pairs read alike.
		keys = append(keys, append(append([]byte{1}, o.Owner+"\x00"...), o.Of...))
	}
	return keys
}

// apply stores what a rule made of an order and one of its replicas and tells of it; the coins remain to be transferred.
func (k *Keeper) apply(ctx context.Context, t market.Terms, operator sdk.AccAddress, o market.Order, r market.Replica, step market.Step, now int64) error {
	if step.Order.Escrow != o.Escrow || step.Order.Standing != o.Standing {
		if err := k.setOrder(ctx, step.Order); err != nil {
			return err
		}
	}
	if err := k.announce(ctx, step.Moves); err != nil {
		return err
	}
	if err := k.warn(ctx, r.Node, step.Notices, now); err != nil {
		return err
	}
	if step.Ended != "" {
		return k.free(ctx, step, operator, now)
	}
	if step.Replica == r {
		return nil
	}
	meter := sdk.UnwrapSDKContext(ctx).GasMeter()
	meter.ConsumeGas(gasPerReplica, "a replica")
	if err := k.setReplica(ctx, operator, step.Replica); err != nil {
		return err
	}
	if step.Replica.Lost != r.Lost && step.Replica.Lost != 0 {
		meter.ConsumeGas(gasPerItem, "the time to repair")
		if err := k.repairs.Set(ctx, collections.Join3(t.RepairAt(step.Replica), o.ID, operator)); err != nil {
			return err
		}
	}
	return k.listLeaving(ctx, operator, r, step.Replica)
}

// listLeaving keeps the list of replicas that could be replaced.
func (k *Keeper) listLeaving(ctx context.Context, operator sdk.AccAddress, before, after market.Replica) error {
	listed := func(r market.Replica) bool { return r.Leaving && r.Proven && r.Lost == 0 }
	key := collections.Join(after.Order, operator)
	switch {
	case listed(after) && !listed(before):
		return k.leaving.Set(ctx, key)
	case listed(before) && !listed(after):
		return k.leaving.Remove(ctx, key)
	}
	return nil
}

// free removes a replica that ended and opens its place again while the order runs, unless it was one that left its place to
// others before. An operator that did not prove or keep what it took is not let in again.
func (k *Keeper) free(ctx context.Context, step market.Step, operator sdk.AccAddress, now int64) error {
	o := step.Order
	sdk.UnwrapSDKContext(ctx).GasMeter().ConsumeGas(gasPerReplica, "a replica")
	if err := k.removeReplica(ctx, o, operator); err != nil {
		return err
	}
	if now < o.End {
		if step.Barred() {
			if err := k.lapsed.Set(ctx, collections.Join(o.ID, operator)); err != nil {
				return err
			}
		}
		if !step.Replica.Leaving {
			if err := k.open.Set(ctx, o.ID); err != nil {
				return err
			}
		}
	}
	return k.emit(ctx, &api.EventReplicaEnded{Order: o.ID, Operator: step.Replica.Node, Rule: string(step.Ended), Height: now})
}

// conduct loads what is remembered of an operator; it is never missing.
func (k *Keeper) conduct(ctx context.Context, operator sdk.AccAddress) (market.Conduct, error) {
	c, err := k.conducts.Get(ctx, operator)
	if errors.Is(err, collections.ErrNotFound) {
		c.Operator, err = k.addresses.BytesToString(operator)
	}
	return conductOf(c), err
}

// setConduct stores a conduct if it changed, with its entries in the queues.
func (k *Keeper) setConduct(ctx context.Context, operator sdk.AccAddress, before, after market.Conduct) error {
	if before == after {
		return nil
	}
	if before.Watch != after.Watch {
		if err := k.watch.Remove(ctx, collections.Join(before.Watch, operator)); err != nil {
			return err
		}
	}
	if after.ResetAt == 0 {
		if err := k.sweeps.Remove(ctx, operator); err != nil {
			return err
		}
	}
	if err := k.indexConduct(ctx, operator, after); err != nil {
		return err
	}
	return k.conducts.Set(ctx, operator, conductTo(after))
}

func (k *Keeper) indexConduct(ctx context.Context, operator sdk.AccAddress, c market.Conduct) error {
	if c.Watch != 0 {
		if err := k.watch.Set(ctx, collections.Join(c.Watch, operator)); err != nil {
			return err
		}
	}
	if c.ResetAt != 0 {
		return k.sweeps.Set(ctx, operator)
	}
	return nil
}

// tally loads all that is counted of an operator.
func (k *Keeper) tally(ctx context.Context, operator sdk.AccAddress) (market.Tally, error) {
	standing, err := k.work.Standing(ctx, operator)
	if err != nil {
		return market.Tally{}, err
	}
	conduct, err := k.conduct(ctx, operator)
	return tallyOf(standing, conduct), err
}

func tallyOf(s storageproof.Standing, c market.Conduct) market.Tally {
	return market.Tally{Proven: s.Proven, Report: s.Counter, Since: s.Since, Conduct: c}
}

// heldFrom lists at most limit of the orders after one of which an operator has a replica.
func (k *Keeper) heldFrom(ctx context.Context, operator sdk.AccAddress, after uint64, limit int) (ids []uint64, err error) {
	if limit <= 0 {
		return nil, nil
	}
	err = k.held.Walk(ctx, collections.NewPrefixedPairRange[sdk.AccAddress, uint64](operator).StartExclusive(after),
		func(key collections.Pair[sdk.AccAddress, uint64]) (bool, error) {
			ids = append(ids, key.K2())
			return len(ids) == limit, nil
		})
	return ids, err
}

// replicasOf loads an order's replicas: at most market.MaxReplicas, and as many that want to leave.
func (k *Keeper) replicasOf(ctx context.Context, id uint64) (held []market.Replica, err error) {
	err = k.replicas.Walk(ctx, collections.NewPrefixedPairRange[uint64, sdk.AccAddress](id),
		func(_ collections.Pair[uint64, sdk.AccAddress], r api.Replica) (bool, error) {
			held = append(held, replicaOf(r))
			return false, nil
		})
	return held, err
}

// heldOf loads an order's replicas with what is counted of their nodes.
func (k *Keeper) heldOf(ctx context.Context, id uint64) ([]market.Replica, market.Tallies, error) {
	held, err := k.replicasOf(ctx, id)
	if err != nil {
		return nil, nil, err
	}
	counts := map[string]market.Tally{}
	for _, r := range held {
		operator, err := k.account(r.Node)
		if err != nil {
			return nil, nil, err
		}
		if counts[r.Node], err = k.tally(ctx, operator); err != nil {
			return nil, nil, err
		}
	}
	return held, func(node string) market.Tally { return counts[node] }, nil
}

// dueClosings lists at most limit orders whose height has come, earliest first.
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
	if len(o.Of) > 0 {
		if err := k.byRoot.Set(ctx, collections.Join(o.Of, o.ID)); err != nil {
			return err
		}
	}
	due := t.ExpireAt(o)
	if o.Closed {
		due = t.PruneAt(o)
	}
	return k.closings.Set(ctx, collections.Join(due, o.ID))
}

// indexReplica stores a replica's entries in its operator's lists and in the queue that it waits in.
func (k *Keeper) indexReplica(ctx context.Context, t market.Terms, operator sdk.AccAddress, o market.Order, r market.Replica) error {
	if err := k.held.Set(ctx, collections.Join(operator, r.Order)); err != nil {
		return err
	}
	for _, key := range copyKeys(o) {
		if err := k.copies.Set(ctx, collections.Join(operator, key), o.ID); err != nil {
			return err
		}
	}
	switch {
	case !r.Proven:
		return k.lapses.Set(ctx, collections.Join3(t.LapseAt(r), r.Order, operator))
	case r.Lost != 0:
		return k.repairs.Set(ctx, collections.Join3(t.RepairAt(r), r.Order, operator))
	}
	return k.listLeaving(ctx, operator, market.Replica{}, r)
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
		Start: o.Start, End: o.End, Escrow: o.Escrow, Addrs: o.Addrs, Closed: o.Closed, Of: o.Of, Standing: o.Standing}
}

func orderTo(o market.Order) api.Order {
	return api.Order{Id: o.ID, Owner: o.Owner, Root: o.Root, Size_: o.Size, Replicas: o.Replicas, Price: o.Price,
		Start: o.Start, End: o.End, Escrow: o.Escrow, Addrs: o.Addrs, Closed: o.Closed, Of: o.Of, Standing: o.Standing}
}

func replicaOf(r api.Replica) market.Replica {
	return market.Replica{Order: r.Order, Node: r.Operator, Price: r.Price, Accepted: r.Accepted, Until: r.Until, Collateral: r.Collateral,
		Proven: r.Proven, Report: r.Report, Since: r.Since, Base: r.Base, Earned: r.Earned, Paid: r.Paid, Lost: r.Lost,
		FaultBase: r.FaultBase, Fined: r.Fined, AuditBase: r.AuditBase, AuditFined: r.AuditFined, Leaving: r.Leaving}
}

func replicaTo(r market.Replica) api.Replica {
	return api.Replica{Order: r.Order, Operator: r.Node, Price: r.Price, Accepted: r.Accepted, Until: r.Until, Collateral: r.Collateral,
		Proven: r.Proven, Report: r.Report, Since: r.Since, Base: r.Base, Earned: r.Earned, Paid: r.Paid, Lost: r.Lost,
		FaultBase: r.FaultBase, Fined: r.Fined, AuditBase: r.AuditBase, AuditFined: r.AuditFined, Leaving: r.Leaving}
}

func conductOf(c api.Conduct) market.Conduct {
	return market.Conduct{Node: c.Operator, Seen: c.Seen,
		Draws:  market.Charge{Faults: c.Faults, Warned: c.Warned, Last: c.Last, Evidence: c.Evidence},
		Audits: market.Charge{Faults: c.AuditFaults, Warned: c.AuditWarned, Last: c.AuditLast, Evidence: c.AuditEvidence},
		Silent: c.Silent, Watch: c.Watch, Reset: c.Reset_, ResetAt: c.ResetAt, ResetProven: c.ResetProven, Swept: c.Swept, Drained: c.Drained, Again: c.Again}
}

func conductTo(c market.Conduct) api.Conduct {
	return api.Conduct{Operator: c.Node, Seen: c.Seen, Faults: c.Draws.Faults, Warned: c.Draws.Warned, Last: c.Draws.Last, Evidence: c.Draws.Evidence,
		AuditFaults: c.Audits.Faults, AuditWarned: c.Audits.Warned, AuditLast: c.Audits.Last, AuditEvidence: c.Audits.Evidence,
		Silent: c.Silent, Watch: c.Watch, Reset_: c.Reset, ResetAt: c.ResetAt, ResetProven: c.ResetProven, Swept: c.Swept, Drained: c.Drained, Again: c.Again}
}
