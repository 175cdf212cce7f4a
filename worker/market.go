package worker

import (
	"context"
	"errors"
	"log/slog"
	"slices"
	"sync"

	"github.com/cosmos/cosmos-sdk/types/query"

	"github.com/cella-network/cella/api/market"
	"github.com/cella-network/cella/client"
	"github.com/cella-network/cella/enclave/wire"
	"github.com/cella-network/cella/protocol/storageproof"
)

const (
	page        = 100 // rows a query
	fetchers    = 4   // orders that are fetched at once
	marketPause = 10  // blocks that the market is left alone after an error
)

// dealer is the market loop's own state.
type dealer struct {
	*session
	asked   bool
	refused sync.Map         // ids of orders that this node will not take again
	later   map[uint64]int64 // heights before which an order is not tried again
	slots   chan struct{}    // fetchers
	jobs    sync.WaitGroup
}

// market keeps the ask posted, takes orders that fit, and lets go of those that ended.
func (s *session) market(ctx context.Context) error {
	d := &dealer{session: s, later: map[uint64]int64{}, slots: make(chan struct{}, fetchers)}
	defer d.jobs.Wait()
	for {
		next := s.heads.latest() + 1
		if err := d.look(ctx); err != nil && ctx.Err() == nil {
			s.Log.Warn("market", told(err)...)
			next += marketPause
		}
		if _, err := s.heads.wait(ctx, next); err != nil {
			return nil
		}
	}
}

func (d *dealer) look(ctx context.Context) error {
	if !d.asked {
		if err := d.ask(ctx); err != nil {
			return err
		}
		d.asked = true
	}
	mine, err := d.replicas(ctx)
	if err != nil {
		return err
	}
	if err := d.review(ctx, mine); err != nil {
		return err
	}
	return d.take(ctx, mine)
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

// review compares what is held with what the chain says: a replica that is gone from the chain is let go, one that was
// accepted before a restart is fetched again.
func (d *dealer) review(ctx context.Context, mine map[uint64]market.Replica) error {
	for _, o := range d.held.list(fetching) {
		if _, ok := mine[o.ID]; !ok {
			d.held.stop(o.ID)
		}
	}
	for _, o := range d.held.list(complete, held) {
		if _, ok := mine[o.ID]; !ok {
			if err := d.drop(o.ID); err != nil {
				return err
			}
		}
	}
	known := map[uint64]bool{}
	for _, o := range d.held.list(fetching, complete, held, dropping) {
		known[o.ID] = true
	}
	for id, r := range mine {
		if _, no := d.refused.Load(id); no || r.Proven || known[id] {
			continue
		}
		q, err := d.Queries.Market.Order(ctx, &market.QueryOrderRequest{Id: id})
		if err != nil {
			return err
		}
		d.begin(ctx, q.Order)
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
			if _, err := d.Poster.Post(ctx, &market.MsgAccept{Operator: d.Address, Order: o.Id}); err != nil {
				if ctx.Err() != nil {
					return nil
				}
				d.later[o.Id] = d.heads.latest() + marketPause
				level := slog.LevelWarn
				if client.IsKind(err, client.KindRefused) {
					level = slog.LevelDebug // others were faster, mostly
				}
				d.Log.Log(ctx, level, "order not taken", told(err, "order", o.Id)...)
				continue
			}
			d.Log.Info("order accepted", "order", o.Id, "bytes", o.Size_)
			d.Metrics.orders.WithLabelValues("accepted").Inc()
			d.begin(ctx, o)
		}
		if r.Pagination == nil || len(r.Pagination.NextKey) == 0 {
			return nil
		}
		req.Pagination.Key = r.Pagination.NextKey
	}
	return nil
}

// wants tells whether an order fits the ask, the room, and lasts long enough to be proven.
func (d *dealer) wants(o market.Order) bool {
	head := d.heads.latest()
	if _, no := d.refused.Load(o.Id); no || head < d.later[o.Id] {
		return false
	}
	delete(d.later, o.Id)
	return d.Config.Ask.Price <= o.Price && o.Size_ <= d.Config.Ask.MaxSize && o.End > head+2*d.terms.slot && estimate(o.Size_) <= d.space.room()
}

// begin starts to fetch an accepted order.
func (d *dealer) begin(ctx context.Context, o market.Order) {
	ctx, cancel := context.WithCancel(ctx)
	ref := storageproof.OrderRef{ID: o.Id, Root: o.Root, Size: o.Size_}
	if !d.held.begin(ref, cancel) {
		cancel()
		return
	}
	p := d.space.promise(estimate(o.Size_))
	d.changed.pulse()
	d.jobs.Go(func() {
		defer d.loosened.pulse()
		defer d.changed.pulse()
		defer p.end()
		defer cancel()
		select {
		case d.slots <- struct{}{}:
			defer func() { <-d.slots }()
		case <-ctx.Done():
			d.held.forget(o.Id)
			return
		}
		if !d.fulfil(ctx, o, p) {
			d.held.forget(o.Id)
		}
	})
}
