package moderation

import (
	"context"
	"errors"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"cosmossdk.io/collections"

	sdk "github.com/cosmos/cosmos-sdk/types"
	"github.com/cosmos/cosmos-sdk/types/query"

	api "github.com/cella-network/cella/api/moderation"
)

// queryServer answers the module's queries.
type queryServer struct{ *Keeper }

var _ api.QueryServer = queryServer{}

func (k queryServer) Params(ctx context.Context, _ *api.QueryParamsRequest) (*api.QueryParamsResponse, error) {
	p, err := k.params.Get(ctx)
	return &api.QueryParamsResponse{Params: p}, err
}

func (k queryServer) List(ctx context.Context, req *api.QueryListRequest) (*api.QueryListResponse, error) {
	publisher, err := k.account(req.Publisher)
	if err != nil {
		return nil, err
	}
	l, err := k.lists.Get(ctx, collections.Join(publisher, req.Name))
	if errors.Is(err, collections.ErrNotFound) {
		return nil, status.Errorf(codes.NotFound, "%s has no list %q", req.Publisher, req.Name)
	}
	if err != nil {
		return nil, err
	}
	return &api.QueryListResponse{List: l}, nil
}

func (k queryServer) Lists(ctx context.Context, req *api.QueryListsRequest) (*api.QueryListsResponse, error) {
	shown := func(_ listKey, l api.List) (api.List, error) { return l, nil }
	var resp api.QueryListsResponse
	if req.Publisher == "" {
		var err error
		resp.Lists, resp.Pagination, err = query.CollectionPaginate(ctx, k.lists, req.Pagination, shown)
		return &resp, err
	}
	publisher, err := k.account(req.Publisher)
	if err != nil {
		return nil, err
	}
	resp.Lists, resp.Pagination, err = query.CollectionPaginate(ctx, k.lists, req.Pagination, shown,
		query.WithCollectionPaginationPairPrefix[sdk.AccAddress, string](publisher))
	return &resp, err
}
