package client

import (
	"context"
	"fmt"
	"slices"

	"github.com/cosmos/cosmos-sdk/types/query"

	"github.com/cella-network/cella/api/attest"
	marketapi "github.com/cella-network/cella/api/market"
	"github.com/cella-network/cella/api/work"
	"github.com/cella-network/cella/protocol/market"
)

// terms are the market's figures as protocol/market computes with them.
func (c *Chain) terms(ctx context.Context) (market.Terms, error) {
	r, err := c.Market.Params(ctx, &marketapi.QueryParamsRequest{})
	if err != nil {
		return market.Terms{}, err
	}
	p := r.Params
	return market.Terms{DayBlocks: p.DayBlocks, MinBlocks: p.MinBlocks, MaxBlocks: p.MaxBlocks, AcceptBlocks: p.AcceptBlocks,
		GraceBlocks: p.GraceBlocks, Collateral: p.Collateral}, nil
}

// price is what to offer so that n operators would take an order of this size today: the n-th cheapest ask of those whose
// last report shows room for it.
func (c *Chain) price(ctx context.Context, size uint64, n uint32) (uint64, error) {
	prices, err := c.offers(ctx, size)
	if err != nil {
		return 0, err
	}
	if uint32(len(prices)) < n {
		e := &Error{Kind: KindBusy, What: fmt.Sprintf("%d operators offer room for %d bytes now, %d replicas are asked for", len(prices), size, n)}
		if len(prices) > 0 {
			e.Hint = fmt.Sprintf("ask for --replicas %d, or name a --price and wait for more operators", len(prices))
		} else {
			e.Hint = "name a --price and wait for operators, or try again later"
		}
		return 0, e
	}
	return prices[n-1], nil
}

// offers are the prices of the asks that take an order of this size and whose operator's last report shows room for it, the
// cheapest first.
func (c *Chain) offers(ctx context.Context, size uint64) ([]uint64, error) {
	free, err := c.free(ctx)
	if err != nil {
		return nil, err
	}
	var prices []uint64
	err = pages(func(page *query.PageRequest) (*query.PageResponse, error) {
		r, err := c.Market.Asks(ctx, &marketapi.QueryAsksRequest{Pagination: page})
		if err != nil {
			return nil, err
		}
		for _, a := range r.Asks {
			if a.Price > 0 && a.MaxSize >= size && free[a.Operator] >= size {
				prices = append(prices, a.Price)
			}
		}
		return r.Pagination, nil
	})
	slices.Sort(prices)
	return prices, err
}

// free is each operator's empty room in bytes, by its last report.
func (c *Chain) free(ctx context.Context) (map[string]uint64, error) {
	free := map[string]uint64{}
	err := pages(func(page *query.PageRequest) (*query.PageResponse, error) {
		r, err := c.Work.Standings(ctx, &work.QueryStandingsRequest{Pagination: page})
		if err != nil {
			return nil, err
		}
		for _, s := range r.Standings {
			free[s.Operator] = s.Free
		}
		return r.Pagination, nil
	})
	return free, err
}

// activeNodes lists the nodes whose registration holds.
func (c *Chain) activeNodes(ctx context.Context) ([]attest.Node, error) {
	var active []attest.Node
	err := pages(func(page *query.PageRequest) (*query.PageResponse, error) {
		r, err := c.Attest.Nodes(ctx, &attest.QueryNodesRequest{Pagination: page})
		if err != nil {
			return nil, err
		}
		for _, n := range r.Nodes {
			if n.Active {
				active = append(active, n)
			}
		}
		return r.Pagination, nil
	})
	return active, err
}

// pages runs a paginated query to its end.
func pages(ask func(*query.PageRequest) (*query.PageResponse, error)) error {
	var next []byte
	for {
		r, err := ask(&query.PageRequest{Key: next, Limit: pageLimit})
		if err != nil {
			return err
		}
		if r == nil || len(r.NextKey) == 0 {
			return nil
		}
		next = r.NextKey
	}
}
