package work

import (
	"context"

	sdk "github.com/cosmos/cosmos-sdk/types"
	"github.com/cosmos/cosmos-sdk/types/query"

	api "github.com/cella-network/cella/api/work"
	"github.com/cella-network/cella/protocol/storageproof"
)

// queryServer answers the module's queries.
type queryServer struct{ *Keeper }

var _ api.QueryServer = queryServer{}

func (k queryServer) Params(ctx context.Context, _ *api.QueryParamsRequest) (*api.QueryParamsResponse, error) {
	p, err := k.params.Get(ctx)
	return &api.QueryParamsResponse{Params: p}, err
}

func (k queryServer) Standing(ctx context.Context, req *api.QueryStandingRequest) (*api.QueryStandingResponse, error) {
	operator, err := k.addresses.StringToBytes(req.Operator)
	if err != nil {
		return nil, ErrRefused.Wrapf("address %q: %s", req.Operator, err)
	}
	b, err := k.standings.Get(ctx, operator)
	if err != nil {
		return nil, ErrRefused.Wrapf("%s never reported", req.Operator)
	}
	shown, err := k.shown(operator, b)
	return &api.QueryStandingResponse{Standing: shown}, err
}

func (k queryServer) Standings(ctx context.Context, req *api.QueryStandingsRequest) (*api.QueryStandingsResponse, error) {
	standings, page, err := query.CollectionPaginate(ctx, k.standings, req.Pagination, k.shown)
	return &api.QueryStandingsResponse{Standings: standings, Pagination: page}, err
}

func (k queryServer) shown(operator sdk.AccAddress, encoded []byte) (api.Standing, error) {
	s, err := storageproof.UnmarshalStanding(encoded)
	if err != nil {
		return api.Standing{}, err
	}
	text, err := k.addresses.BytesToString(operator)
	return api.Standing{Operator: text, Counter: s.Counter, Report: s.Report[:], Height: s.Height, Free: s.Free, Stored: s.Stored,
		Table: s.Table[:], Orders: s.Orders[:], Proven: s.Proven, Failed: s.Failed, Late: s.Late}, err
}
