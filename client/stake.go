package client

import (
	"context"

	"github.com/cella-network/cella/api/guarantee"
)

// Stake is what an operator's stake counts and why; amounts are ucella.
type Stake struct {
	Operator string `json:"operator"`
	Height   int64  `json:"height"`
	Era      int64  `json:"era"`
	Left     int64  `json:"blocks_left"` // in the era

	Own        uint64 `json:"own"`
	Guaranteed uint64 `json:"guaranteed"`
	Limit      uint64 `json:"limit"`     // what storage lets count in this era
	Next       uint64 `json:"next"`      // the limit after it, if it ends as it stands
	Effective  uint64 `json:"effective"` // what counts
	Room       uint64 `json:"room"`      // what may be bonded beside it

	Proven   uint64 `json:"proven"`   // bytes that the era proves so far
	Reported uint64 `json:"reported"` // bytes of the last report
	Full     uint64 `json:"full"`     // bytes that must be proven for all coins to count
	PerGiB   uint64 `json:"per_gib"`  // ucella that each more GiB lets count
	Late     uint64 `json:"late"`     // late eras that are not forgotten
	Grace    uint64 `json:"grace"`    // how many are free

	Place      string `json:"place"` // validator, elected, candidate, jailed or none
	Rank       uint32 `json:"rank,omitempty"`
	Power      uint64 `json:"power,omitempty"`
	Seats      uint32 `json:"seats"`
	MinOwn     uint64 `json:"min_own"`
	Reward     uint64 `json:"reward"`     // the operator's for the era, if it ended now
	Guarantors uint64 `json:"guarantors"` // its guarantors'
}

// Stake asks what an operator's stake counts. It is a KindNotFound error if the operator has neither reported storage nor bonded stake.
func (c *Chain) Stake(ctx context.Context, operator string) (Stake, error) {
	height, err := c.Latest(ctx)
	if err != nil {
		return Stake{}, err
	}
	return readStake(AtHeight(ctx, height), guarantee.NewQueryClient(queryConn{c.rpc}), operator, height)
}

func readStake(ctx context.Context, q guarantee.QueryClient, operator string, height int64) (Stake, error) {
	n, err := q.Node(ctx, &guarantee.QueryNodeRequest{Operator: operator})
	if err != nil {
		return Stake{}, err
	}
	e, err := q.Era(ctx, &guarantee.QueryEraRequest{})
	if err != nil {
		return Stake{}, err
	}
	p, err := q.Params(ctx, &guarantee.QueryParamsRequest{})
	if err != nil {
		return Stake{}, err
	}
	s := n.Standing
	return Stake{Operator: operator, Height: height, Era: e.Era.Number, Left: e.Left,
		Own: s.Own, Guaranteed: s.Guaranteed, Limit: s.Node.Storage.Limit, Next: n.Next, Effective: s.Effective, Room: s.Room,
		Proven: n.Proven, Reported: s.Node.Bytes, Full: n.Full, PerGiB: p.Params.Rate, Late: n.Late, Grace: p.Params.GraceEras,
		Place: place(s, n.Rank, p.Params.Seats), Rank: n.Rank, Power: s.Power, Seats: p.Params.Seats, MinOwn: p.Params.MinOwn,
		Reward: n.Reward, Guarantors: n.Guarantors}, nil
}

func place(s guarantee.Standing, rank, seats uint32) string {
	switch {
	case s.Jailed:
		return "jailed"
	case s.Power > 0:
		return "validator"
	case rank > 0 && rank <= seats:
		return "elected" // the seat comes with a handover
	case rank > 0:
		return "candidate"
	}
	return "none"
}
