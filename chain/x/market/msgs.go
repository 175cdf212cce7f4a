package market

import (
	"context"
	"errors"

	"cosmossdk.io/collections"

	sdk "github.com/cosmos/cosmos-sdk/types"

	api "github.com/cella-network/cella/api/market"
	"github.com/cella-network/cella/protocol/market"
)

// msgServer answers the module's messages; each handler loads, asks protocol/market and stores.
type msgServer struct{ *Keeper }

var _ api.MsgServer = msgServer{}

func (k msgServer) SetAsk(ctx context.Context, msg *api.MsgSetAsk) (*api.MsgSetAskResponse, error) {
	operator, err := k.account(msg.Operator)
	if err != nil {
		return nil, err
	}
	if msg.Price == 0 {
		return &api.MsgSetAskResponse{}, k.asks.Remove(ctx, operator)
	}
	if err := (market.Ask{Node: msg.Operator, Price: msg.Price, MaxSize: msg.MaxSize}).Validate(); err != nil {
		return nil, refused(err)
	}
	return &api.MsgSetAskResponse{}, k.asks.Set(ctx, operator, api.Ask{Operator: msg.Operator, Price: msg.Price, MaxSize: msg.MaxSize})
}

func (k msgServer) PlaceOrder(ctx context.Context, msg *api.MsgPlaceOrder) (*api.MsgPlaceOrderResponse, error) {
	owner, err := k.account(msg.Owner)
	if err != nil {
		return nil, err
	}
	if k.bank.BlockedAddr(owner) {
		return nil, ErrRefused.Wrapf("%s can't take a refund", msg.Owner)
	}
	t, now, err := k.terms(ctx)
	if err != nil {
		return nil, err
	}
	last, err := k.lastOrder.Get(ctx)
	if err != nil {
		return nil, err
	}
	o, moved, err := t.Place(market.Order{ID: last + 1, Owner: msg.Owner, Root: msg.Root, Of: msg.Of, Size: msg.Size_,
		Replicas: msg.Replicas, Price: msg.Price, Addrs: msg.Addrs}, msg.Blocks, now)
	if err != nil {
		return nil, refused(err)
	}
	if err := k.execute(ctx, moved); err != nil {
		return nil, err
	}
	if err := k.lastOrder.Set(ctx, o.ID); err != nil {
		return nil, err
	}
	if err := k.addrs.Set(ctx, o.ID, api.Order{Addrs: o.Addrs}); err != nil {
		return nil, err
	}
	if err := k.setOrder(ctx, o); err != nil {
		return nil, err
	}
	if err := k.index(ctx, t, o); err != nil {
		return nil, err
	}
	if err := k.open.Set(ctx, o.ID); err != nil {
		return nil, err
	}
	return &api.MsgPlaceOrderResponse{Id: o.ID, Escrow: o.Escrow},
		k.emit(ctx, &api.EventOrderPlaced{Order: o.ID, Owner: o.Owner, Escrow: o.Escrow})
}

func (k msgServer) Accept(ctx context.Context, msg *api.MsgAccept) (*api.MsgAcceptResponse, error) {
	operator, err := k.account(msg.Operator)
	if err != nil {
		return nil, err
	}
	active, err := k.registry.IsActive(ctx, operator)
	if err != nil {
		return nil, err
	}
	if !active {
		return nil, ErrRefused.Wrapf("%s has no registered enclave", msg.Operator)
	}
	if k.bank.BlockedAddr(operator) {
		return nil, ErrRefused.Wrapf("%s can't be paid", msg.Operator)
	}
	ask, err := k.asks.Get(ctx, operator)
	if errors.Is(err, collections.ErrNotFound) {
		return nil, ErrRefused.Wrapf("%s offers nothing", msg.Operator)
	}
	if err != nil {
		return nil, err
	}
	t, now, err := k.terms(ctx)
	if err != nil {
		return nil, err
	}
	o, err := k.order(ctx, msg.Order)
	if err != nil {
		return nil, err
	}
	if err := k.apart(ctx, operator, o, now); err != nil {
		return nil, err
	}
	held, err := k.replicasOf(ctx, o.ID)
	if err != nil {
		return nil, err
	}
	lapsed, err := k.lapsed.Has(ctx, collections.Join(o.ID, operator))
	if err != nil {
		return nil, err
	}
	known := held
	if lapsed {
		known = append(known, market.Replica{Order: o.ID, Node: msg.Operator, Lapsed: true})
	}
	r, moved, err := t.Accept(o, known, market.Ask{Node: ask.Operator, Price: ask.Price, MaxSize: ask.MaxSize}, now)
	if err != nil {
		return nil, refused(err)
	}
	if err := k.execute(ctx, moved); err != nil {
		return nil, err
	}
	if err := k.setReplica(ctx, operator, r); err != nil {
		return nil, err
	}
	sdk.UnwrapSDKContext(ctx).GasMeter().ConsumeGas(gasPerItem, "the time to prove")
	if err := k.indexReplica(ctx, t, operator, o, r); err != nil {
		return nil, err
	}
	taken := uint32(1)
	for _, other := range held {
		if !other.Leaving {
			taken++
		}
	}
	if taken == o.Replicas {
		if err := k.open.Remove(ctx, o.ID); err != nil {
			return nil, err
		}
	}
	return &api.MsgAcceptResponse{},
		k.emit(ctx, &api.EventAccepted{Order: o.ID, Operator: r.Node, Price: r.Price, Collateral: r.Collateral})
}

// apart refuses an order that an operator may not hold beside another that it holds.
func (k msgServer) apart(ctx context.Context, operator sdk.AccAddress, o market.Order, now int64) error {
	for _, key := range copyKeys(o) {
		id, err := k.copies.Get(ctx, collections.Join(operator, key))
		if errors.Is(err, collections.ErrNotFound) {
			continue
		}
		if err != nil {
			return err
		}
		other, err := k.order(ctx, id)
		if err != nil {
			return err
		}
		if err := o.Apart(other, now); err != nil {
			return refused(err)
		}
	}
	return nil
}

func (k msgServer) Renew(ctx context.Context, msg *api.MsgRenew) (*api.MsgRenewResponse, error) {
	t, now, o, err := k.owned(ctx, msg.Order, msg.Owner)
	if err != nil {
		return nil, err
	}
	o, moved, err := t.Renew(o, msg.Blocks, now)
	if err != nil {
		return nil, refused(err)
	}
	if err := k.execute(ctx, moved); err != nil {
		return nil, err
	}
	// The item that waits for the former end stays queued; when it comes up it is put off to the new one.
	if err := k.setOrder(ctx, o); err != nil {
		return nil, err
	}
	return &api.MsgRenewResponse{}, k.emit(ctx, &api.EventRenewed{Order: o.ID, End: o.End, Escrow: sum(moved, market.RuleRenew), Owner: o.Owner})
}

func (k msgServer) End(ctx context.Context, msg *api.MsgEnd) (*api.MsgEndResponse, error) {
	t, now, o, err := k.owned(ctx, msg.Order, msg.Owner)
	if err != nil {
		return nil, err
	}
	held, tallies, err := k.heldOf(ctx, o.ID)
	if err != nil {
		return nil, err
	}
	// Unless the order was renewed since, this is where it waits for its term.
	if err := k.closings.Remove(ctx, collections.Join(t.ExpireAt(o), o.ID)); err != nil {
		return nil, err
	}
	o, moved, err := t.EndEarly(o, held, tallies, now)
	if err != nil {
		return nil, refused(err)
	}
	return &api.MsgEndResponse{Refund: sum(moved, market.RuleOwner)}, k.close(ctx, t, o, held, moved, market.RuleOwner)
}

func (k msgServer) Settle(ctx context.Context, msg *api.MsgSettle) (*api.MsgSettleResponse, error) {
	t, now, err := k.terms(ctx)
	if err != nil {
		return nil, err
	}
	o, err := k.order(ctx, msg.Order)
	if err != nil {
		return nil, err
	}
	held, err := k.replicasOf(ctx, o.ID)
	if err != nil {
		return nil, err
	}
	paid := uint64(0)
	for _, r := range held {
		operator, err := k.account(r.Node)
		if err != nil {
			return nil, err
		}
		n, err := k.tally(ctx, operator)
		if err != nil {
			return nil, err
		}
		moved, err := k.settle(ctx, t, o.ID, operator, n, now)
		if err != nil {
			return nil, err
		}
		if err := k.transfer(ctx, moved); err != nil {
			return nil, err
		}
		paid += sum(moved, market.RuleProof)
		// The queues do the rest by themselves, unless governance made a term longer and then shorter again: then an item waits
		// for a height that is no longer due.
		if err := k.overdue(ctx, t, o.ID, operator, n, now); err != nil {
			return nil, err
		}
	}
	if !o.Closed && now >= t.ExpireAt(o) {
		if _, err := k.expire(ctx, t, o.ID, now); err != nil {
			return nil, err
		}
	}
	return &api.MsgSettleResponse{Paid: paid}, nil
}

// overdue does with one replica what the queues would do when it comes up.
func (k msgServer) overdue(ctx context.Context, t market.Terms, id uint64, operator sdk.AccAddress, n market.Tally, now int64) error {
	if err := k.lapse(ctx, t, id, operator, now); err != nil {
		return err
	}
	if err := k.forfeit(ctx, t, id, operator, now); err != nil {
		return err
	}
	o, r, ok, err := k.replica(ctx, id, operator)
	if err != nil || !ok || n.Conduct.Silent == 0 || now < t.SilentAt(n.Conduct, n.Since) {
		return err
	}
	step, err := t.Silence(o, r, n, now)
	if err != nil {
		return err
	}
	if err := k.apply(ctx, t, operator, o, r, step, now); err != nil {
		return err
	}
	return k.transfer(ctx, step.Moves)
}

// Drain withdraws the operator's offer and lets a bounded number of its replicas begin to leave.
func (k msgServer) Drain(ctx context.Context, msg *api.MsgDrain) (*api.MsgDrainResponse, error) {
	operator, err := k.account(msg.Operator)
	if err != nil {
		return nil, err
	}
	t, now, err := k.terms(ctx)
	if err != nil {
		return nil, err
	}
	if err := k.asks.Remove(ctx, operator); err != nil {
		return nil, err
	}
	before, err := k.conduct(ctx, operator)
	if err != nil {
		return nil, err
	}
	ids, err := k.heldFrom(ctx, operator, before.Drained, drainPerMessage)
	if err != nil {
		return nil, err
	}
	resp := &api.MsgDrainResponse{More: len(ids) == drainPerMessage}
	for _, id := range ids {
		o, r, ok, err := k.replica(ctx, id, operator)
		if err != nil {
			return nil, err
		}
		step, err := t.Leave(o, r, now)
		if !ok || r.Leaving || errors.Is(err, market.ErrState) {
			continue // it is leaving already, or the order is over
		}
		if err != nil {
			return nil, err
		}
		if err := k.apply(ctx, t, operator, o, r, step, now); err != nil {
			return nil, err
		}
		if err := k.transfer(ctx, step.Moves); err != nil {
			return nil, err
		}
		resp.Marked++
		if step.Ended != "" {
			continue
		}
		if err := k.open.Set(ctx, id); err != nil {
			return nil, err
		}
		if err := k.emit(ctx, &api.EventLeaving{Order: id, Operator: msg.Operator, Height: now}); err != nil {
			return nil, err
		}
	}
	after := before
	if after.Drained = 0; resp.More {
		after.Drained = ids[len(ids)-1]
	}
	return resp, k.setConduct(ctx, operator, before, after)
}

func (k msgServer) UpdateParams(ctx context.Context, msg *api.MsgUpdateParams) (*api.MsgUpdateParamsResponse, error) {
	if msg.Authority != k.authority {
		return nil, ErrRefused.Wrapf("params are changed by %s", k.authority)
	}
	before, err := k.params.Get(ctx)
	if err != nil {
		return nil, err
	}
	if err := termsOf(msg.Params).Validate(); err != nil {
		return nil, refused(err)
	}
	if msg.Params.DayBlocks != before.DayBlocks {
		return nil, ErrRefused.Wrap("day_blocks is fixed in genesis: the escrow of running orders rests on it")
	}
	return &api.MsgUpdateParamsResponse{}, k.params.Set(ctx, msg.Params)
}

// owned loads an order for its owner.
func (k msgServer) owned(ctx context.Context, id uint64, owner string) (market.Terms, int64, market.Order, error) {
	t, now, err := k.terms(ctx)
	if err != nil {
		return t, now, market.Order{}, err
	}
	o, err := k.order(ctx, id)
	if err != nil {
		return t, now, o, err
	}
	if o.Owner != owner {
		return t, now, o, ErrRefused.Wrapf("order %d belongs to %s", id, o.Owner)
	}
	return t, now, o, nil
}

func refused(err error) error { return ErrRefused.Wrap(err.Error()) }
