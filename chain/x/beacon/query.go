package beacon

import (
	"context"
	"fmt"

	"cosmossdk.io/collections"

	sdk "github.com/cosmos/cosmos-sdk/types"

	api "github.com/cella-network/cella/api/beacon"
	"github.com/cella-network/cella/protocol/threshold"
)

const (
	maxListed = 1000   // missing heights
	maxSeeds  = 10_000 // of one answer
)

// queryServer answers the module's queries.
type queryServer struct{ *Keeper }

var _ api.QueryServer = queryServer{}

func (k queryServer) Params(ctx context.Context, _ *api.QueryParamsRequest) (*api.QueryParamsResponse, error) {
	p, err := k.params.Get(ctx)
	return &api.QueryParamsResponse{Params: p}, err
}

func (k queryServer) Number(ctx context.Context, req *api.QueryNumberRequest) (*api.QueryNumberResponse, error) {
	height := req.Height
	if height == 0 {
		state, _, err := maybe(k.state.Get(ctx))
		if err != nil {
			return nil, err
		}
		height = state.Last
	}
	n, ok, err := maybe(k.numbers.Get(ctx, height))
	if err != nil {
		return nil, err
	}
	if !ok || len(n.Signature) != len(threshold.Signature{}) {
		return nil, ErrRefused.Wrapf("the number of height %d did not come, or is forgotten", height)
	}
	number := threshold.Signature(n.Signature).Number()
	n.Number = number[:]
	key, err := k.keyAt(ctx, height)
	if err != nil {
		return nil, err
	}
	m := threshold.Message{ChainID: sdk.UnwrapSDKContext(ctx).ChainID(), Epoch: n.Epoch, Height: height}
	return &api.QueryNumberResponse{Number: n, Key: key, Tag: threshold.Tag(Purpose), Message: m.Marshal()}, nil
}

// keyAt is the key under which a height's number is signed.
func (k *Keeper) keyAt(ctx context.Context, height int64) (key []byte, err error) {
	r := new(collections.Range[int64]).EndInclusive(height).Descending()
	err = k.keys.Walk(ctx, r, func(_ int64, b []byte) (bool, error) {
		key = b
		return true, nil
	})
	return key, err
}

func (k queryServer) Missing(ctx context.Context, _ *api.QueryMissingRequest) (*api.QueryMissingResponse, error) {
	out := &api.QueryMissingResponse{}
	err := k.missing.Walk(ctx, nil, func(height int64, epoch uint64) (bool, error) {
		out.Missing = append(out.Missing, api.Missing{Height: height, Epoch: epoch})
		return len(out.Missing) == maxListed, nil
	})
	return out, err
}

func (k queryServer) Seeds(ctx context.Context, req *api.QuerySeedsRequest) (*api.QuerySeedsResponse, error) {
	tip, err := k.Tip(ctx)
	if err != nil {
		return nil, err
	}
	if req.From < 1 || req.From > tip+1 || req.Limit > maxSeeds {
		return nil, ErrRefused.Wrapf("%d seeds from height %d: want at most %d from 1 to %d", req.Limit, req.From, maxSeeds, tip+1)
	}
	out := &api.QuerySeedsResponse{Tip: tip}
	if out.Before, err = k.hashAt(ctx, req.From-1); err != nil {
		return nil, err
	}
	limit := req.Limit
	if limit == 0 {
		limit = maxSeeds
	}
	r := new(collections.Range[int64]).StartInclusive(req.From).EndInclusive(min(tip, req.From+int64(limit)-1))
	if req.From > tip {
		return out, nil
	}
	err = k.seeds.Walk(ctx, r, func(_ int64, b []byte) (bool, error) {
		out.Seeds = append(out.Seeds, b[:plain])
		return false, nil
	})
	return out, err
}

// hashAt is the hash of the chain of seeds up to a height.
func (k *Keeper) hashAt(ctx context.Context, height int64) ([]byte, error) {
	state, _, err := maybe(k.state.Get(ctx))
	if err != nil {
		return nil, err
	}
	if height == state.First-1 {
		return make([]byte, chained-plain), nil
	}
	b, ok, err := maybe(k.seeds.Get(ctx, height))
	if err != nil {
		return nil, err
	}
	if !ok || len(b) != chained {
		return nil, ErrRefused.Wrapf("the seed of height %d is forgotten", height)
	}
	return b[plain:], nil
}

func (k queryServer) Turn(ctx context.Context, req *api.QueryTurnRequest) (*api.QueryTurnResponse, error) {
	height := req.Height
	if height == 0 {
		state, _, err := maybe(k.state.Get(ctx))
		if err != nil {
			return nil, err
		}
		height = state.Head + 1
	}
	d, candidates, err := k.turn(ctx, height)
	if err != nil {
		return nil, err
	}
	out := api.Turn{Height: height, Seed: d.Seed, Fallback: d.Fallback, Blocks: d.Blocks}
	if len(d.Proposer) > 0 {
		out.Proposer = fmt.Sprintf("%X", d.Proposer)
	}
	for _, c := range candidates {
		out.Entries = append(out.Entries, api.Entry{Address: fmt.Sprintf("%X", c.Address), Operator: sdk.ValAddress(c.Operator).String(), Stake: c.Stake,
			Age: c.Age, Turns: c.Turns, Proposed: c.Proposed, Omitted: c.Omitted})
	}
	return &api.QueryTurnResponse{Turn: out}, nil
}
