package market

import (
	"context"
	"encoding/hex"
	"errors"

	"cosmossdk.io/collections"

	sdk "github.com/cosmos/cosmos-sdk/types"

	api "github.com/cella-network/cella/api/market"
	"github.com/cella-network/cella/protocol/market"
	"github.com/cella-network/cella/protocol/storageproof"
)

// Reported is called with each report that x/work accepted. The node's conduct is judged by it; orders that it dropped lose this
// replica, orders that it added are proven if they match, and up to 64 of the node's replicas are settled, in turn. A report names
// what its enclave holds, not what the market has agreed to: an order that isn't the node's or doesn't match is passed over.
func (k *Keeper) Reported(ctx context.Context, operator sdk.AccAddress, report storageproof.Report, standing storageproof.Standing) error {
	t, now, err := k.terms(ctx)
	if err != nil {
		return err
	}
	before, err := k.conduct(ctx, operator)
	if err != nil {
		return err
	}
	conduct, notices := t.Judge(before, standing.Unproven(), hex.EncodeToString(standing.Report[:]), now)
	if report.Reset {
		holds, err := k.Holds(ctx, operator)
		if err != nil {
			return err
		}
		if holds {
			conduct = conduct.LoseAll(standing.Counter, standing.Proven, now)
		}
	}
	if err := k.warn(ctx, conduct.Node, notices, now); err != nil {
		return err
	}
	if err := k.setConduct(ctx, operator, before, conduct); err != nil {
		return err
	}
	n := tallyOf(standing, conduct)
	var moved []market.Move
	for _, id := range report.Dropped {
		o, r, ok, err := k.replica(ctx, id, operator)
		if err != nil {
			return err
		}
		if !ok {
			continue
		}
		step, err := t.Drop(o, r, n, now)
		if err != nil {
			return err
		}
		if err := k.apply(ctx, t, operator, o, r, step, now); err != nil {
			return err
		}
		moved = append(moved, step.Moves...)
	}
	for _, ref := range report.Added {
		out, err := k.prove(ctx, t, operator, ref, n, now)
		if err != nil {
			return err
		}
		moved = append(moved, out...)
	}
	due, err := k.turn(ctx, operator)
	if err != nil {
		return err
	}
	for _, id := range due {
		out, err := k.settle(ctx, t, id, operator, n, now)
		if err != nil {
			return err
		}
		moved = append(moved, out...)
	}
	return k.transfer(ctx, moved)
}

// prove marks one order of a report as proven and, if that makes one replica too many, ends one that wants to leave. From its
// first proven replica on the operator's silence is watched; a warning from long before it held that is lifted.
func (k *Keeper) prove(ctx context.Context, t market.Terms, operator sdk.AccAddress, ref storageproof.OrderRef, n market.Tally, now int64) ([]market.Move, error) {
	o, r, ok, err := k.replica(ctx, ref.ID, operator)
	if err != nil || !ok {
		return nil, err
	}
	step, err := t.Prove(o, r, ref.Root, ref.Size, n, now)
	if errors.Is(err, market.ErrProof) || errors.Is(err, market.ErrState) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	if err := k.apply(ctx, t, operator, o, r, step, now); err != nil || step.Ended != "" {
		return step.Moves, err
	}
	if err := k.emit(ctx, &api.EventProven{Order: o.ID, Operator: r.Node, Height: now}); err != nil {
		return nil, err
	}
	conduct, err := k.conduct(ctx, operator)
	if err != nil {
		return nil, err
	}
	if conduct.Watch == 0 {
		watched, notices := t.Resume(conduct, now)
		if err := k.warn(ctx, conduct.Node, notices, now); err != nil {
			return nil, err
		}
		if err := k.setConduct(ctx, operator, conduct, watched); err != nil {
			return nil, err
		}
	}
	out, err := k.replace(ctx, t, step.Order, now)
	return append(step.Moves, out...), err
}

// replace ends a replica that wants to leave an order which stands without it: the one of the lowest address.
func (k *Keeper) replace(ctx context.Context, t market.Terms, o market.Order, now int64) ([]market.Move, error) {
	if !o.Crowded() {
		return nil, nil
	}
	var operator sdk.AccAddress
	err := k.leaving.Walk(ctx, collections.NewPrefixedPairRange[uint64, sdk.AccAddress](o.ID), func(key collections.Pair[uint64, sdk.AccAddress]) (bool, error) {
		operator = key.K2()
		return true, nil
	})
	if err != nil || operator == nil {
		return nil, err
	}
	o, r, ok, err := k.replica(ctx, o.ID, operator)
	if err != nil || !ok {
		return nil, err
	}
	n, err := k.tally(ctx, operator)
	if err != nil {
		return nil, err
	}
	step, err := t.Replace(o, r, n, now)
	if err != nil {
		return nil, err
	}
	return step.Moves, k.apply(ctx, t, operator, o, r, step, now)
}

// turn names the replicas that the operator's report settles: the ones after those of its last report.
func (k *Keeper) turn(ctx context.Context, operator sdk.AccAddress) ([]uint64, error) {
	cursor, err := k.cursors.Get(ctx, operator)
	if err != nil && !errors.Is(err, collections.ErrNotFound) {
		return nil, err
	}
	ids, err := k.heldFrom(ctx, operator, cursor, settlePerReport)
	if err != nil {
		return nil, err
	}
	if left := settlePerReport - len(ids); left > 0 {
		err := k.held.Walk(ctx, collections.NewPrefixedPairRange[sdk.AccAddress, uint64](operator).EndInclusive(cursor),
			func(key collections.Pair[sdk.AccAddress, uint64]) (bool, error) {
				if left == 0 {
					return true, nil
				}
				left--
				ids = append(ids, key.K2())
				return false, nil
			})
		if err != nil {
			return nil, err
		}
	}
	if len(ids) == 0 {
		return nil, k.cursors.Remove(ctx, operator)
	}
	return ids, k.cursors.Set(ctx, operator, ids[len(ids)-1])
}

// settle pays and fines one replica and stores the outcome.
func (k *Keeper) settle(ctx context.Context, t market.Terms, id uint64, operator sdk.AccAddress, n market.Tally, now int64) ([]market.Move, error) {
	o, r, ok, err := k.replica(ctx, id, operator)
	if err != nil || !ok {
		return nil, err
	}
	step, err := t.Settle(o, r, n, now)
	if err != nil {
		return nil, err
	}
	return step.Moves, k.apply(ctx, t, operator, o, r, step, now)
}

// Audited is called with the outcome of each audit of an operator's replica; evidence names the audit, at most 128 bytes. Only a
// failed one counts, and only against a replica that the operator has proven. One that it has lost since counts as well: to admit
// a loss when one is drawn must be no way out.
func (k *Keeper) Audited(ctx context.Context, holder sdk.AccAddress, order uint64, passed bool, evidence string) error {
	if len(evidence) > maxEvidence {
		return ErrRefused.Wrapf("evidence of %d bytes, at most %d", len(evidence), maxEvidence)
	}
	t, now, err := k.terms(ctx)
	if err != nil {
		return err
	}
	_, r, ok, err := k.replica(ctx, order, holder)
	if err != nil || !ok || passed || !r.Proven {
		return err
	}
	before, err := k.conduct(ctx, holder)
	if err != nil {
		return err
	}
	conduct, notices := t.Blame(before, evidence, now)
	if err := k.warn(ctx, conduct.Node, notices, now); err != nil {
		return err
	}
	if err := k.setConduct(ctx, holder, before, conduct); err != nil {
		return err
	}
	// The node's other replicas are fined when they are settled; this one at once, for its owner waits for it.
	n, err := k.tally(ctx, holder)
	if err != nil {
		return err
	}
	moved, err := k.settle(ctx, t, order, holder, n, now)
	if err != nil {
		return err
	}
	return k.transfer(ctx, moved)
}

// warn emits the events of warnings. The deadline that it names is the first height at which it can cost: it is later by as much as
// seeds lag behind then.
func (k *Keeper) warn(ctx context.Context, operator string, notices []market.Notice, now int64) error {
	if len(notices) == 0 {
		return nil
	}
	lag, err := k.lag(ctx)
	if err != nil {
		return err
	}
	for _, w := range notices {
		if w.Deadline == 0 {
			err = k.emit(ctx, &api.EventWarningLifted{Operator: operator, Rule: string(w.Rule), Height: now, Order: w.Order})
		} else {
			err = k.emit(ctx, &api.EventWarning{Operator: operator, Rule: string(w.Rule), Evidence: w.Evidence, Height: now,
				Deadline: w.Deadline - lag, Heights: w.Heights, Order: w.Order})
		}
		if err != nil {
			return err
		}
	}
	return nil
}
