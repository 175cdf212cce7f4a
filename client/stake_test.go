package client

import (
	"context"
	"errors"
	"testing"

	"google.golang.org/grpc"

	"github.com/cella-network/cella/api/guarantee"
)

// stakes answers as x/guarantee does.
type stakes struct {
	guarantee.QueryClient
	node guarantee.QueryNodeResponse
	err  error
}

func (s stakes) Node(context.Context, *guarantee.QueryNodeRequest, ...grpc.CallOption) (*guarantee.QueryNodeResponse, error) {
	return &s.node, s.err
}

func (stakes) Era(context.Context, *guarantee.QueryEraRequest, ...grpc.CallOption) (*guarantee.QueryEraResponse, error) {
	return &guarantee.QueryEraResponse{Era: guarantee.Era{Number: 4}, Left: 6}, nil
}

func (stakes) Params(context.Context, *guarantee.QueryParamsRequest, ...grpc.CallOption) (*guarantee.QueryParamsResponse, error) {
	return &guarantee.QueryParamsResponse{Params: guarantee.Params{Seats: 2, Rate: 5}}, nil
}

func TestStakeNamesThePlace(t *testing.T) {
	for want, n := range map[string]guarantee.QueryNodeResponse{
		"validator": {Standing: guarantee.Standing{Power: 1}, Rank: 9},
		"elected":   {Rank: 2},
		"candidate": {Rank: 3},
		"jailed":    {Standing: guarantee.Standing{Jailed: true, Power: 1}},
		"none":      {},
	} {
		s, err := readStake(t.Context(), stakes{node: n}, "ann", 7)
		if err != nil || s.Place != want || s.Era != 4 || s.Left != 6 || s.Height != 7 || s.PerGiB != 5 {
			t.Errorf("%+v (%v), want %s", s, err, want)
		}
	}
	broken := errors.New("broken")
	if _, err := readStake(t.Context(), stakes{err: broken}, "ann", 7); !errors.Is(err, broken) {
		t.Error(err)
	}
}
