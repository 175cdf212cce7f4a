package market

import (
	"bytes"
	"context"

	"cosmossdk.io/collections"

	sdk "github.com/cosmos/cosmos-sdk/types"
	"github.com/cosmos/cosmos-sdk/types/query"

	api "github.com/cella-network/cella/api/market"
)

// queryServer answers the module's queries.
type queryServer struct{ *Keeper }

var _ api.QueryServer = queryServer{}

func (k queryServer) Params(ctx context.Context, _ *api.QueryParamsRequest) (*api.QueryParamsResponse, error) {
	p, err := k.params.Get(ctx)
	return &api.QueryParamsResponse{Params: p}, err
}

// Asks leaves out what operators offer whose registration is over: Accept would not take them.
func (k queryServer) Asks(ctx context.Context, req *api.QueryAsksRequest) (*api.QueryAsksResponse, error) {
	asks, page, err := query.CollectionFilteredPaginate(ctx, k.asks, req.Pagination,
		func(operator sdk.AccAddress, _ api.Ask) (bool, error) { return k.registry.IsActive(ctx, operator) },
		func(_ sdk.AccAddress, a api.Ask) (api.Ask, error) { return a, nil })
	return &api.QueryAsksResponse{Asks: asks, Pagination: page}, err
}

func (k queryServer) Order(ctx context.Context, req *api.QueryOrderRequest) (*api.QueryOrderResponse, error) {
	t, now, err := k.terms(ctx)
	if err != nil {
		return nil, err
	}
	shown, err := k.shown(ctx, req.Id)
	if err != nil {
		return nil, err
	}
	held, tallies, err := k.heldOf(ctx, req.Id)
	if err != nil {
		return nil, err
	}
	resp := &api.QueryOrderResponse{Order: shown}
	for _, r := range held {
		accrued, err := t.Accrued(orderOf(shown), r, tallies(r.Node), now)
		if err != nil {
			return nil, err
		}
		resp.Replicas, resp.Accrued = append(resp.Replicas, replicaTo(r)), append(resp.Accrued, accrued)
	}
	return resp, nil
}

// Orders goes through the narrowest list that the request names and filters by the rest.
func (k queryServer) Orders(ctx context.Context, req *api.QueryOrdersRequest) (*api.QueryOrdersResponse, error) {
	resp := new(api.QueryOrdersResponse)
	now := sdk.UnwrapSDKContext(ctx).BlockHeight()
	wanted := func(id uint64) (bool, error) {
		if req.Owner == "" && len(req.Root) == 0 && !req.Open {
			return true, nil
		}
		o, err := k.order(ctx, id)
		if err != nil || (req.Owner != "" && o.Owner != req.Owner) || (len(req.Root) > 0 && !bytes.Equal(o.Root, req.Root) && !bytes.Equal(o.Of, req.Root)) {
			return false, err
		}
		if !req.Open {
			return true, nil
		}
		free, err := k.open.Has(ctx, id)
		return free && now < o.End, err
	}
	var err error
	switch {
	case req.Owner != "":
		owner, e := k.account(req.Owner)
		if e != nil {
			return nil, e
		}
		resp.Orders, resp.Pagination, err = pageOfPairs(ctx, k, k.byOwner, owner, req.Pagination, wanted)
	case len(req.Root) > 0:
		resp.Orders, resp.Pagination, err = pageOfPairs(ctx, k, k.byRoot, req.Root, req.Pagination, wanted)
	case req.Open:
		resp.Orders, resp.Pagination, err = query.CollectionFilteredPaginate(ctx, k.open, req.Pagination,
			func(id uint64, _ collections.NoValue) (bool, error) { return wanted(id) },
			func(id uint64, _ collections.NoValue) (api.Order, error) { return k.shown(ctx, id) })
	default:
		resp.Orders, resp.Pagination, err = query.CollectionPaginate(ctx, k.orders, req.Pagination,
			func(id uint64, _ api.Order) (api.Order, error) { return k.shown(ctx, id) })
	}
	return resp, err
}

// Replicas lists what an operator holds or has accepted.
func (k queryServer) Replicas(ctx context.Context, req *api.QueryReplicasRequest) (*api.QueryReplicasResponse, error) {
	operator, err := k.account(req.Operator)
	if err != nil {
		return nil, err
	}
	replicas, page, err := query.CollectionPaginate(ctx, k.held, req.Pagination,
		func(key collections.Pair[sdk.AccAddress, uint64], _ collections.NoValue) (api.Replica, error) {
			return k.replicas.Get(ctx, collections.Join(key.K2(), key.K1()))
		}, query.WithCollectionPaginationPairPrefix[sdk.AccAddress, uint64](operator))
	return &api.QueryReplicasResponse{Replicas: replicas, Pagination: page}, err
}

// Conduct shows what stands against an operator.
func (k queryServer) Conduct(ctx context.Context, req *api.QueryConductRequest) (*api.QueryConductResponse, error) {
	operator, err := k.account(req.Operator)
	if err != nil {
		return nil, err
	}
	c, err := k.conduct(ctx, operator)
	return &api.QueryConductResponse{Conduct: conductTo(c)}, err
}

// shown loads an order with its addrs.
func (k queryServer) shown(ctx context.Context, id uint64) (api.Order, error) {
	o, err := k.order(ctx, id)
	if err != nil {
		return api.Order{}, err
	}
	a, err := k.addrs.Get(ctx, id)
	if err != nil {
		return api.Order{}, err
	}
	o.Addrs = a.Addrs
	return orderTo(o), nil
}

func pageOfPairs[K any](ctx context.Context, k queryServer, set collections.KeySet[collections.Pair[K, uint64]], prefix K, page *query.PageRequest, wanted func(uint64) (bool, error)) ([]api.Order, *query.PageResponse, error) {
	return query.CollectionFilteredPaginate(ctx, set, page,
		func(key collections.Pair[K, uint64], _ collections.NoValue) (bool, error) { return wanted(key.K2()) },
		func(key collections.Pair[K, uint64], _ collections.NoValue) (api.Order, error) {
			return k.shown(ctx, key.K2())
		},
		query.WithCollectionPaginationPairPrefix[K, uint64](prefix))
}
