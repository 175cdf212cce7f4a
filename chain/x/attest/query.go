package attest

import (
	"context"

	sdk "github.com/cosmos/cosmos-sdk/types"
	"github.com/cosmos/cosmos-sdk/types/query"

	api "github.com/cella-network/cella/api/attest"
	"github.com/cella-network/cella/protocol/attestation"
)

// queryServer answers the module's queries.
type queryServer struct{ *Keeper }

var _ api.QueryServer = queryServer{}

func (k queryServer) Params(ctx context.Context, _ *api.QueryParamsRequest) (*api.QueryParamsResponse, error) {
	p, err := k.params.Get(ctx)
	return &api.QueryParamsResponse{Params: p}, err
}

func (k queryServer) Node(ctx context.Context, req *api.QueryNodeRequest) (*api.QueryNodeResponse, error) {
	operator, err := k.operator(req.Operator)
	if err != nil {
		return nil, err
	}
	b, err := k.nodes.Get(ctx, operator)
	if err != nil {
		return nil, ErrRefused.Wrapf("%s has no registration", req.Operator)
	}
	shown, err := k.shownNode(ctx, operator, b)
	return &api.QueryNodeResponse{Node: shown}, err
}

func (k queryServer) Nodes(ctx context.Context, req *api.QueryNodesRequest) (*api.QueryNodesResponse, error) {
	nodes, page, err := query.CollectionPaginate(ctx, k.nodes, req.Pagination,
		func(operator sdk.AccAddress, b []byte) (api.Node, error) { return k.shownNode(ctx, operator, b) })
	return &api.QueryNodesResponse{Nodes: nodes, Pagination: page}, err
}

func (k queryServer) Intent(ctx context.Context, req *api.QueryIntentRequest) (*api.QueryIntentResponse, error) {
	operator, err := k.operator(req.Operator)
	if err != nil {
		return nil, err
	}
	if ok, err := k.intents.Has(ctx, operator); err != nil || !ok {
		return nil, ErrRefused.Wrapf("%s announced no join", req.Operator)
	}
	shown, err := k.shownIntent(ctx, operator)
	return &api.QueryIntentResponse{Intent: shown}, err
}

func (k queryServer) Intents(ctx context.Context, req *api.QueryIntentsRequest) (*api.QueryIntentsResponse, error) {
	intents, page, err := query.CollectionPaginate(ctx, k.intents, req.Pagination,
		func(operator sdk.AccAddress, _ []byte) (api.Intent, error) { return k.shownIntent(ctx, operator) })
	return &api.QueryIntentsResponse{Intents: intents, Pagination: page}, err
}

func (k queryServer) shownNode(ctx context.Context, operator sdk.AccAddress, encoded []byte) (api.Node, error) {
	n, err := attestation.UnmarshalNode(encoded)
	if err != nil {
		return api.Node{}, err
	}
	info, err := k.nodeInfo(ctx, operator)
	if err != nil {
		return api.Node{}, err
	}
	text, err := k.addresses.BytesToString(operator)
	return api.Node{Operator: text, SignKey: n.SignKey[:], KemKey: n.KEMKey[:], Platform: n.Platform.String(), Tier: uint32(n.Tier),
		Measurement: n.Measurement[:], PlatformId: n.PlatformID[:], Joined: n.Joined, Expires: n.Expires,
		Active: sdk.UnwrapSDKContext(ctx).BlockHeight() < n.Expires,
		Addrs:  info.Addrs, Endorser: info.Endorser, Silent: info.Silent}, err
}

func (k queryServer) shownIntent(ctx context.Context, operator sdk.AccAddress) (api.Intent, error) {
	in, info, _, err := k.intent(ctx, operator)
	if err != nil {
		return api.Intent{}, err
	}
	shown := api.Intent{Registration: info.Registration, SigM: info.SigM, Announced: in.Announced, Drawn: in.Drawn,
		Attempt: in.Attempt, Addrs: info.Addrs}
	if shown.Operator, err = k.addresses.BytesToString(operator); err != nil {
		return shown, err
	}
	if in.Endorser != (attestation.Account{}) {
		shown.Endorser, err = k.addresses.BytesToString(in.Endorser[:])
	}
	return shown, err
}
