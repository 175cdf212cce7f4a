package guarantee

import (
	"context"
	"errors"
	"slices"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"cosmossdk.io/collections"

	sdk "github.com/cosmos/cosmos-sdk/types"
	"github.com/cosmos/cosmos-sdk/types/query"

	api "github.com/cella-network/cella/api/guarantee"
	"github.com/cella-network/cella/protocol/stake"
)

// queryServer answers the module's queries.
type queryServer struct{ *Keeper }

var _ api.QueryServer = queryServer{}

func (k queryServer) Params(ctx context.Context, _ *api.QueryParamsRequest) (*api.QueryParamsResponse, error) {
	p, err := k.params.Get(ctx)
	return &api.QueryParamsResponse{Params: p}, err
}

func (k queryServer) Era(ctx context.Context, _ *api.QueryEraRequest) (*api.QueryEraResponse, error) {
	p, err := k.params.Get(ctx)
	if err != nil {
		return nil, err
	}
	e, err := k.era.Get(ctx)
	if err != nil {
		return nil, err
	}
	out := &api.QueryEraResponse{Era: e, Left: max(p.EraBlocks-e.Blocks, 0)}
	h, err := k.handover.Get(ctx)
	if errors.Is(err, collections.ErrNotFound) {
		return out, nil
	}
	out.Handover = &h
	return out, err
}

func (k queryServer) Node(ctx context.Context, req *api.QueryNodeRequest) (*api.QueryNodeResponse, error) {
	account, err := k.addresses.StringToBytes(req.Operator)
	if err != nil {
		return nil, ErrRefused.Wrapf("address %q: %s", req.Operator, err)
	}
	known, err := k.nodes.Has(ctx, account)
	if err != nil {
		return nil, err
	}
	if !known {
		return nil, status.Errorf(codes.NotFound, "%s has neither reported storage nor bonded stake", req.Operator)
	}
	p, err := k.params.Get(ctx)
	if err != nil {
		return nil, err
	}
	e, err := k.era.Get(ctx)
	if err != nil {
		return nil, err
	}
	all, err := k.operators(ctx)
	if err != nil {
		return nil, err
	}
	set, err := k.last(ctx)
	if err != nil {
		return nil, err
	}
	i := slices.IndexFunc(all, func(o operator) bool { return o.account.Equals(sdk.AccAddress(account)) })
	o := all[i]
	r := rules(p)
	soFar := o.record
	soFar.Reports = max(soFar.Reports, 1) // who has not reported yet still may
	bytes, _ := proven(soFar)
	out := &api.QueryNodeResponse{Standing: standing(o, set), Rank: rank(r, all, o.now.Address), Proven: bytes,
		Late: (o.record.Storage.Debt + r.RegainEras - 1) / r.RegainEras, Next: r.Prove(o.now.Storage, bytes).Limit,
		Full: r.BytesFor(min(o.now.Own+o.now.Guaranteed, stake.MaxCoins))}
	pay, _, _, err := shares(r, p, e, all)
	if err != nil {
		return out, nil // an era without pay
	}
	out.Reward, out.Guarantors = pay[i].Author+pay[i].Own+pay[i].Cut, pay[i].Guarantors
	return out, nil
}

// rank is an operator's place among all that may be elected, from 1; 0 if it may not.
func rank(r stake.Rules, all []operator, operator string) uint32 {
	validators, candidates := r.Elect(nodesOf(all))
	i := slices.IndexFunc(append(validators, candidates...), func(s stake.Seat) bool { return s.Node == operator })
	return uint32(i + 1)
}

func (k queryServer) Nodes(ctx context.Context, req *api.QueryNodesRequest) (*api.QueryNodesResponse, error) {
	set, err := k.last(ctx)
	if err != nil {
		return nil, err
	}
	nodes, page, err := query.CollectionPaginate(ctx, k.nodes, req.Pagination, func(account sdk.AccAddress, n api.Node) (api.Standing, error) {
		o, err := k.operator(ctx, account, n)
		return standing(o, set), err
	})
	return &api.QueryNodesResponse{Nodes: nodes, Pagination: page}, err
}

func standing(o operator, set api.Set) api.Standing {
	n := o.now
	all := n.Own + n.Guaranteed
	out := api.Standing{Operator: n.Address, Node: o.record, Own: n.Own, Guaranteed: n.Guaranteed, Effective: n.Effective(),
		Room: n.Storage.Limit - min(n.Storage.Limit, all), Jailed: o.validator != nil && o.validator.Jailed}
	for _, s := range set.Seats {
		if s.Operator == n.Address {
			out.Power = s.Power
		}
	}
	return out
}

func (k queryServer) Set(ctx context.Context, req *api.QuerySetRequest) (*api.QuerySetResponse, error) {
	height := req.Height
	if height <= 0 {
		height = sdk.UnwrapSDKContext(ctx).BlockHeight() + 1
	}
	set, err := k.setAt(ctx, height)
	if err == nil && len(set.Seats) == 0 {
		err = ErrRefused.Wrapf("the validators of height %d are forgotten", height)
	}
	return &api.QuerySetResponse{Set: set}, err
}
