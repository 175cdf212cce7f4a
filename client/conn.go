package client

import (
	"context"
	"errors"
	"fmt"
	"strconv"

	rpcclient "github.com/cometbft/cometbft/rpc/client"
	grpctypes "github.com/cosmos/cosmos-sdk/types/grpc"
	"github.com/cosmos/gogoproto/proto"
	"google.golang.org/grpc"
	"google.golang.org/grpc/metadata"
)

// queryConn carries gRPC queries as ABCI queries, so that a node's RPC is the only endpoint a client needs.
type queryConn struct{ rpc rpcclient.ABCIClient }

// Invoke runs one unary query, at the height that the outgoing metadata names, if any.
func (q queryConn) Invoke(ctx context.Context, method string, args, reply any, _ ...grpc.CallOption) error {
	req, ok := args.(proto.Message)
	rep, ok2 := reply.(proto.Message)
	if !ok || !ok2 {
		return fmt.Errorf("%s: %T and %T are no protobuf messages", method, args, reply)
	}
	body, err := proto.Marshal(req)
	if err != nil {
		return wrap(KindUsage, "query "+method, err)
	}
	var opts rpcclient.ABCIQueryOptions
	if md, ok := metadata.FromOutgoingContext(ctx); ok {
		if v := md.Get(grpctypes.GRPCBlockHeightHeader); len(v) > 0 {
			if opts.Height, err = strconv.ParseInt(v[0], 10, 64); err != nil {
				return wrap(KindUsage, "query height", err)
			}
		}
	}
	r, err := q.rpc.ABCIQueryWithOptions(ctx, method, body, opts)
	if err != nil {
		return wrap(KindNetwork, "query", err)
	}
	if r.Response.Code != 0 {
		return refusal("query", r.Response.Codespace, r.Response.Code, r.Response.Log)
	}
	return wrap(KindNetwork, "answer to "+method, proto.Unmarshal(r.Response.Value, rep))
}

// NewStream is part of the interface; no query streams.
func (queryConn) NewStream(context.Context, *grpc.StreamDesc, string, ...grpc.CallOption) (grpc.ClientStream, error) {
	return nil, errors.New("queries do not stream")
}

// AtHeight makes the queries of a context read the state after the block of a height instead of the latest.
func AtHeight(ctx context.Context, height int64) context.Context {
	return metadata.AppendToOutgoingContext(ctx, grpctypes.GRPCBlockHeightHeader, strconv.FormatInt(height, 10))
}
