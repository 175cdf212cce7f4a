package worker

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"

	"google.golang.org/grpc"

	"github.com/cella-network/cella/api/attest"
	beaconapi "github.com/cella-network/cella/api/beacon"
	"github.com/cella-network/cella/api/market"
	"github.com/cella-network/cella/api/work"
	"github.com/cella-network/cella/client"
	"github.com/cella-network/cella/protocol/beacon"
	rules "github.com/cella-network/cella/protocol/market"
)

func (c *fakeChain) queries() Queries {
	q := Queries{Attest: attestQueries{c: c}, Work: workQueries{c: c}, Market: marketQueries{c: c}, Audit: auditQueries{c: c}, Beacon: beaconQueries{c: c}}
	if c.keys != nil {
		q.Committee = c.keys
	}
	return q
}

type beaconQueries struct {
	beaconapi.QueryClient
	c *fakeChain
}

func (q beaconQueries) Seeds(_ context.Context, r *beaconapi.QuerySeedsRequest, _ ...grpc.CallOption) (*beaconapi.QuerySeedsResponse, error) {
	q.c.mu.Lock()
	defer q.c.mu.Unlock()
	if r.From < q.c.oldest {
		return nil, fmt.Errorf("the seed of height %d is forgotten", r.From)
	}
	tip := q.c.tip(int64(len(q.c.headers))).Height
	out := &beaconapi.QuerySeedsResponse{Before: make([]byte, 32), Tip: tip}
	var before beacon.Tip
	for h := int64(1); h <= min(tip, r.From+int64(r.Limit)-1); h++ {
		seed := seedOf(h)
		if h >= r.From {
			out.Seeds = append(out.Seeds, seed[:])
		} else if before = before.Append(seed); h == r.From-1 {
			out.Before = before.Hash[:]
		}
	}
	return out, nil
}

type attestQueries struct {
	attest.QueryClient
	c *fakeChain
}

func (q attestQueries) Params(context.Context, *attest.QueryParamsRequest, ...grpc.CallOption) (*attest.QueryParamsResponse, error) {
	return &attest.QueryParamsResponse{Params: attest.Params{Devnet: true, TrustBlocks: 100, CapLow: q.c.capacity, CapHigh: q.c.capacity}}, nil
}

func (q attestQueries) Node(_ context.Context, r *attest.QueryNodeRequest, _ ...grpc.CallOption) (*attest.QueryNodeResponse, error) {
	account, err := client.DecodeAddress(r.Operator)
	if err != nil {
		return nil, err
	}
	n := look(q.c, func() *attest.Node { return q.c.nodes[account] })
	if n == nil {
		return nil, errors.New("not found")
	}
	return &attest.QueryNodeResponse{Node: *n}, nil
}

func (q attestQueries) Nodes(context.Context, *attest.QueryNodesRequest, ...grpc.CallOption) (*attest.QueryNodesResponse, error) {
	return &attest.QueryNodesResponse{}, nil
}

func (q attestQueries) Intent(_ context.Context, r *attest.QueryIntentRequest, _ ...grpc.CallOption) (*attest.QueryIntentResponse, error) {
	account, err := client.DecodeAddress(r.Operator)
	if err != nil {
		return nil, err
	}
	in := look(q.c, func() *attest.Intent { return q.c.intents[account] })
	if in == nil {
		return nil, errors.New("not found")
	}
	return &attest.QueryIntentResponse{Intent: *in}, nil
}

type workQueries struct {
	work.QueryClient
	c *fakeChain
}

func (q workQueries) Params(context.Context, *work.QueryParamsRequest, ...grpc.CallOption) (*work.QueryParamsResponse, error) {
	return &work.QueryParamsResponse{Params: work.Params{SlotBlocks: q.c.slot, MaxAgeBlocks: 50, SectorSize: testSector}}, nil
}

type marketQueries struct {
	market.QueryClient
	c *fakeChain
}

func (q marketQueries) Params(context.Context, *market.QueryParamsRequest, ...grpc.CallOption) (*market.QueryParamsResponse, error) {
	return &market.QueryParamsResponse{Params: market.Params{AcceptBlocks: testTerms.AcceptBlocks, MendBlocks: testTerms.MendBlocks,
		RepairBlocks: testTerms.RepairBlocks, WarnBlocks: testTerms.WarnBlocks, SilentBlocks: testTerms.SilentBlocks}}, nil
}

func (q marketQueries) Asks(context.Context, *market.QueryAsksRequest, ...grpc.CallOption) (*market.QueryAsksResponse, error) {
	return &market.QueryAsksResponse{Asks: look(q.c, func() []market.Ask { return slices.Collect(maps.Values(q.c.asks)) })}, nil
}

func (q marketQueries) Conduct(context.Context, *market.QueryConductRequest, ...grpc.CallOption) (*market.QueryConductResponse, error) {
	return &market.QueryConductResponse{Conduct: look(q.c, func() market.Conduct { return q.c.conduct })}, nil
}

func shownOrder(o rules.Order) market.Order {
	return market.Order{Id: o.ID, Owner: o.Owner, Root: o.Root, Size_: o.Size, Replicas: o.Replicas, Price: o.Price, Start: o.Start, End: o.End, Addrs: o.Addrs, Closed: o.Closed, Of: o.Of}
}

func shownReplica(r rules.Replica) market.Replica {
	return market.Replica{Order: r.Order, Operator: r.Node, Price: r.Price, Accepted: r.Accepted, Proven: r.Proven, Since: r.Since, Lost: r.Lost, Leaving: r.Leaving}
}

func (q marketQueries) Order(_ context.Context, r *market.QueryOrderRequest, _ ...grpc.CallOption) (*market.QueryOrderResponse, error) {
	return look(q.c, func() *market.QueryOrderResponse {
		out := &market.QueryOrderResponse{Order: shownOrder(q.c.orders[r.Id])}
		for _, rep := range q.c.replicas[r.Id] {
			out.Replicas = append(out.Replicas, shownReplica(rep))
		}
		return out
	}), nil
}

func (q marketQueries) Orders(_ context.Context, r *market.QueryOrdersRequest, _ ...grpc.CallOption) (*market.QueryOrdersResponse, error) {
	return look(q.c, func() *market.QueryOrdersResponse {
		out := &market.QueryOrdersResponse{}
		for _, id := range slices.Sorted(maps.Keys(q.c.orders)) {
			o := q.c.orders[id]
			named := len(r.Root) > 0 && (bytes.Equal(o.Root, r.Root) || bytes.Equal(o.Of, r.Root))
			if named || len(r.Root) == 0 && !o.Closed && len(q.c.replicas[id]) < int(o.Replicas) {
				out.Orders = append(out.Orders, shownOrder(o))
			}
		}
		return out
	}), nil
}

func (q marketQueries) Replicas(_ context.Context, r *market.QueryReplicasRequest, _ ...grpc.CallOption) (*market.QueryReplicasResponse, error) {
	return look(q.c, func() *market.QueryReplicasResponse {
		out := &market.QueryReplicasResponse{}
		for _, held := range q.c.replicas {
			if rep, ok := held[r.Operator]; ok {
				out.Replicas = append(out.Replicas, shownReplica(rep))
			}
		}
		return out
	}), nil
}
