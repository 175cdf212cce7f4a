package audit

import (
	"context"

	"cosmossdk.io/collections"

	sdk "github.com/cosmos/cosmos-sdk/types"
	"github.com/cosmos/cosmos-sdk/types/query"

	api "github.com/cella-network/cella/api/audit"
	"github.com/cella-network/cella/protocol/attestation"
	"github.com/cella-network/cella/protocol/audit"
)

// queryServer answers the module's queries.
type queryServer struct{ *Keeper }

var _ api.QueryServer = queryServer{}

func (k queryServer) Params(ctx context.Context, _ *api.QueryParamsRequest) (*api.QueryParamsResponse, error) {
	p, err := k.params.Get(ctx)
	return &api.QueryParamsResponse{Params: p}, err
}

func (k queryServer) Case(ctx context.Context, req *api.QueryCaseRequest) (*api.QueryCaseResponse, error) {
	c, err := k.shown(ctx, req.Id)
	return &api.QueryCaseResponse{Case: c}, err
}

func (k queryServer) Cases(ctx context.Context, req *api.QueryCasesRequest) (*api.QueryCasesResponse, error) {
	cases, page, err := query.CollectionPaginate(ctx, k.cases, req.Pagination, func(id uint64, _ []byte) (api.Case, error) { return k.shown(ctx, id) })
	return &api.QueryCasesResponse{Cases: cases, Pagination: page}, err
}

func (k queryServer) Duties(ctx context.Context, req *api.QueryDutiesRequest) (*api.QueryDutiesResponse, error) {
	operator, err := k.addresses.StringToBytes(req.Operator)
	if err != nil {
		return nil, ErrRefused.Wrapf("address %q: %s", req.Operator, err)
	}
	cases, page, err := query.CollectionPaginate(ctx, k.duties, req.Pagination,
		func(key collections.Pair[sdk.AccAddress, uint64], _ collections.NoValue) (api.Case, error) {
			return k.shown(ctx, key.K2())
		},
		query.WithCollectionPaginationPairPrefix[sdk.AccAddress, uint64](operator))
	return &api.QueryDutiesResponse{Cases: cases, Pagination: page}, err
}

func (k queryServer) Record(ctx context.Context, req *api.QueryRecordRequest) (*api.QueryRecordResponse, error) {
	operator, err := k.addresses.StringToBytes(req.Operator)
	if err != nil || len(operator) != len(attestation.Account{}) {
		return nil, ErrRefused.Wrapf("address %q: want 20 bytes: %v", req.Operator, err)
	}
	r, err := k.record(ctx, attestation.Account(operator))
	return &api.QueryRecordResponse{Record: r}, err
}

func (k queryServer) Records(ctx context.Context, req *api.QueryRecordsRequest) (*api.QueryRecordsResponse, error) {
	records, page, err := query.CollectionPaginate(ctx, k.records, req.Pagination, func(_ sdk.AccAddress, r api.Record) (api.Record, error) { return r, nil })
	return &api.QueryRecordsResponse{Records: records, Pagination: page}, err
}

func (k queryServer) shown(ctx context.Context, id uint64) (api.Case, error) {
	c, info, err := k.caseOf(ctx, id)
	if err != nil {
		return api.Case{}, err
	}
	out := api.Case{Id: c.ID, Height: c.Height, Deadline: c.Deadline, AnswerBlocks: c.Answer, Order: c.Order, Root: c.Root,
		Quorum: uint32(c.Quorum), Outcome: audit.Outcome(info.Outcome).String(), Closed: info.Closed}
	if out.Holder, err = k.text(c.Holder); err != nil {
		return out, err
	}
	for _, a := range c.Auditors {
		text, err := k.text(a.Account)
		if err != nil {
			return out, err
		}
		out.Auditors = append(out.Auditors, text)
	}
	verdicts, err := verdictsOf(info)
	if err != nil {
		return out, err
	}
	for _, v := range verdicts {
		text, err := k.text(v.Auditor)
		if err != nil {
			return out, err
		}
		out.Verdicts = append(out.Verdicts, api.Verdict{Auditor: text, Reason: v.Reason.String(), Block: v.Block, Bytes: v.Bytes, From: v.From, To: v.To})
	}
	return out, nil
}
