package worker

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"maps"
	"slices"
	"sync"

	"github.com/cosmos/cosmos-sdk/types/query"

	"github.com/cella-network/cella/api/market"
	"github.com/cella-network/cella/client"
	"github.com/cella-network/cella/enclave/wire"
	"github.com/cella-network/cella/protocol/storageproof"
	"github.com/cella-network/cella/worker/disk"
)

const (
	page        = 100 // rows a query
	fetchers    = 4   // orders that are fetched at once, and as many that are mended
	marketPause = 10  // blocks that the market is left alone after an error, and an order after a first refusal
)

// dealer is the market loop's own state.
type dealer struct {
	*session
	asked   bool
	idle    bool                    // the operator wants to leave
	refused sync.Map                // ids of orders that this node will not take again
	later   map[uint64]delay        // orders that the chain refused
	parts   map[uint64]market.Order // the orders of the node's replicas
	warned  map[string]bool         // warnings that were logged
	slots   chan struct{}           // fetchers
	menders chan struct{}
	jobs    sync.WaitGroup
}

// delay keeps an order from being tried at every block. It doubles with each refusal: most are for good, and of the others somebody
// faster makes use.
type delay struct {
	until, last int64 // heights, blocks
}

// market keeps the ask posted, takes orders that fit, and lets go of those that ended.
func (s *session) market(ctx context.Context) error {
	d := &dealer{session: s, later: map[uint64]delay{}, parts: map[uint64]market.Order{}, warned: map[string]bool{},
		slots: make(chan struct{}, fetchers), menders: make(chan struct{}, fetchers)}
	defer d.jobs.Wait()
	for {
		broken := s.broken.next()
		next := s.heads.latest() + 1
		if err := d.look(ctx); err != nil && ctx.Err() == nil {
			s.Log.Warn("market", told(err)...)
			next += marketPause
		}
		if err := s.waitOr(ctx, next, broken); err != nil {
			return nil
		}
	}
}

// waitOr waits for a head, or until woken.
func (s *session) waitOr(ctx context.Context, height int64, woken <-chan struct{}) error {
	inner, cancel := context.WithCancel(ctx)
	defer cancel()
	go func() {
		select {
		case <-woken:
			cancel()
		case <-inner.Done():
		}
	}()
	_, _ = s.heads.wait(inner, height)
	return ctx.Err()
}

func (d *dealer) look(ctx context.Context) error {
	d.tellDenied()
	mine, err := d.replicas(ctx)
	if err != nil {
		return err
	}
	if err := d.review(ctx, mine); err != nil {
		return err
	}
	d.warn(ctx, mine)
	if d.leaving(mine) {
		return nil
	}
	if !d.asked {
		if err := d.ask(ctx); err != nil {
			return err
		}
		d.asked = true
	}
	return d.take(ctx, mine)
}

// leaving tells whether the operator wants to leave: then nothing is offered and nothing taken. The chain remembers it by the replicas
// that wait for a successor, the disk also when there are none.
func (d *dealer) leaving(mine map[uint64]market.Replica) bool {
	now := disk.MarkDraining.Stands(d.Dir)
	for _, r := range mine {
		now = now || r.Leaving
	}
	if now != d.idle {
		d.idle, d.asked = now, false
		if now {
			d.Log.Info("draining: no offers are made and no orders taken", "replicas", len(mine), "hint", "cella node drain shows how far it is; cella node drain --cancel ends it")
		} else {
			d.Log.Info("not draining any more")
		}
	}
	return now
}

// ask puts the configured offer on chain if another one stands there.
func (d *dealer) ask(ctx context.Context) error {
	want := market.Ask{Operator: d.Address, Price: d.Config.Ask.Price, MaxSize: d.Config.Ask.MaxSize}
	var stands market.Ask
	req := &market.QueryAsksRequest{Pagination: &query.PageRequest{Limit: page}}
	for {
		r, err := d.Queries.Market.Asks(ctx, req)
		if err != nil {
			return err
		}
		if i := slices.IndexFunc(r.Asks, func(a market.Ask) bool { return a.Operator == d.Address }); i >= 0 {
			stands = r.Asks[i]
			break
		}
		if r.Pagination == nil || len(r.Pagination.NextKey) == 0 {
			break
		}
		req.Pagination.Key = r.Pagination.NextKey
	}
	if stands.Price == want.Price && (want.Price == 0 || stands.MaxSize == want.MaxSize) {
		return nil
	}
	_, err := d.Poster.Post(ctx, &market.MsgSetAsk{Operator: d.Address, Price: want.Price, MaxSize: want.MaxSize})
	if err == nil {
		d.Log.Info("ask posted", "price", want.Price, "max_size", want.MaxSize)
	}
	return err
}

// replicas are the node's own on chain, by order.
func (d *dealer) replicas(ctx context.Context) (map[uint64]market.Replica, error) {
	out := map[uint64]market.Replica{}
	req := &market.QueryReplicasRequest{Operator: d.Address, Pagination: &query.PageRequest{Limit: page}}
	for {
		r, err := d.Queries.Market.Replicas(ctx, req)
		if err != nil {
			return nil, err
		}
		for _, rep := range r.Replicas {
			out[rep.Order] = rep
		}
		if r.Pagination == nil || len(r.Pagination.NextKey) == 0 {
			return out, nil
		}
		req.Pagination.Key = r.Pagination.NextKey
	}
}

// review compares what is held with what the chain says: a replica that is gone from the chain is let go, one that the chain counts on
// and that is not here, or not whole, is fetched: after a restart, after a loss.
func (d *dealer) review(ctx context.Context, mine map[uint64]market.Replica) error {
	for _, o := range d.held.list(fetching, mending) {
		if _, ok := mine[o.ID]; !ok {
			d.refused.Store(o.ID, true) // the chain does not give it to us twice
			d.held.stop(o.ID)
		}
	}
	for _, o := range d.held.list(complete, held, mending) {
		if _, ok := mine[o.ID]; !ok {
			if err := d.drop(o.ID); err != nil {
				return err
			}
		}
	}
	for id := range d.parts {
		if _, ok := mine[id]; !ok {
			delete(d.parts, id)
		}
	}
	for _, id := range slices.Sorted(maps.Keys(mine)) {
		o, known := d.parts[id]
		if !known {
			q, err := d.Queries.Market.Order(ctx, &market.QueryOrderRequest{Id: id})
			if err != nil {
				return err
			}
			o = q.Order
			d.parts[id] = o
		}
		if _, no := d.refused.Load(id); no || o.Closed || !d.held.idle(id) {
			continue
		}
		if mine[id].Proven {
			d.Log.Info("order is to be mended", "order", id, "bytes", o.Size_)
		}
		d.begin(ctx, o, mine[id].Proven)
	}
	return nil
}

// drop lets an order go with the next report.
func (d *dealer) drop(id uint64) error {
	err := d.call(&wire.Drop{Orders: []uint64{id}}, &wire.Empty{})
	var refusal *wire.Error
	if errors.As(err, &refusal) && refusal.Code == wire.CodeMissing {
		err = nil // it is gone already
	}
	if err != nil {
		return err
	}
	d.held.drop(id)
	d.Log.Info("order let go: it is over on chain", "order", id)
	d.Metrics.orders.WithLabelValues("ended").Inc()
	d.changed.pulse()
	return nil
}

// take accepts open orders that fit price, size and room.
func (d *dealer) take(ctx context.Context, mine map[uint64]market.Replica) error {
	req := &market.QueryOrdersRequest{Open: true, Pagination: &query.PageRequest{Limit: page}}
	for d.Config.Ask.Price > 0 {
		r, err := d.Queries.Market.Orders(ctx, req)
		if err != nil {
			return err
		}
		for _, o := range r.Orders {
			_, have := mine[o.Id]
			if have || !d.wants(o) {
				continue
			}
			if disk.MarkDraining.Stands(d.Dir) {
				return nil // since this look began: what is taken now would be given up at a fee
			}
			if _, err := d.Poster.Post(ctx, &market.MsgAccept{Operator: d.Address, Order: o.Id}); err != nil {
				if ctx.Err() != nil {
					return nil
				}
				wait := max(marketPause, 2*d.later[o.Id].last)
				d.later[o.Id] = delay{until: d.heads.latest() + wait, last: wait}
				level := slog.LevelWarn
				if client.IsKind(err, client.KindRefused) {
					level = slog.LevelDebug // others were faster, mostly
				}
				d.Log.Log(ctx, level, "order not taken", told(err, "order", o.Id)...)
				continue
			}
			d.Log.Info("order accepted", "order", o.Id, "bytes", o.Size_)
			d.Metrics.orders.WithLabelValues("accepted").Inc()
			delete(d.later, o.Id)
			d.parts[o.Id] = o
			d.begin(ctx, o, false)
		}
		if r.Pagination == nil || len(r.Pagination.NextKey) == 0 {
			return nil
		}
		req.Pagination.Key = r.Pagination.NextKey
	}
	return nil
}

// wants tells whether an order fits the ask, the room, and lasts long enough to be proven; and whether it would be a copy that counts: of
// one file, or of its parts, the chain lets an operator hold one only.
func (d *dealer) wants(o market.Order) bool {
	head := d.heads.latest()
	if _, no := d.refused.Load(o.Id); no || head < d.later[o.Id].until {
		return false
	}
	for _, have := range d.parts {
		if have.Owner == o.Owner && (bytes.Equal(have.Root, o.Root) || len(o.Of) > 0 && bytes.Equal(have.Of, o.Of)) {
			return false
		}
	}
	return d.Config.Ask.Price <= o.Price && o.Size_ <= d.Config.Ask.MaxSize && o.End > head+2*d.terms.slot && estimate(o.Size_) <= d.space.room() && d.wanted(o)
}

// begin starts to fetch an accepted order; proven says that it was held before.
func (d *dealer) begin(ctx context.Context, o market.Order, proven bool) {
	ctx, cancel := context.WithCancel(ctx)
	ref := storageproof.OrderRef{ID: o.Id, Root: o.Root, Size: o.Size_}
	if !d.held.begin(ref, cancel) {
		cancel()
		return
	}
	p := d.space.promise(estimate(d.held.missing(d.disk, o.Id, o.Size_)))
	d.changed.pulse()
	d.jobs.Go(func() {
		defer d.loosened.pulse()
		defer d.changed.pulse()
		defer p.end()
		defer cancel()
		if !d.fulfil(ctx, o, proven, p) {
			d.held.abandon(o.Id)
		}
	})
}
