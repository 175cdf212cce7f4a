package guarantee

import (
	"context"
	"fmt"

	api "github.com/cella-network/cella/api/guarantee"
	"github.com/cella-network/cella/protocol/stake"
	"github.com/cella-network/cella/protocol/threshold"
)

// msgServer answers the module's messages.
type msgServer struct{ *Keeper }

var _ api.MsgServer = msgServer{}

func (k msgServer) UpdateParams(ctx context.Context, msg *api.MsgUpdateParams) (*api.MsgUpdateParamsResponse, error) {
	if msg.Authority != k.authority {
		return nil, ErrRefused.Wrapf("params are changed by %s", k.authority)
	}
	before, err := k.params.Get(ctx)
	if err != nil {
		return nil, err
	}
	if err := validateParams(msg.Params); err != nil {
		return nil, refused(err)
	}
	if msg.Params.PowerUnit != before.PowerUnit {
		return nil, ErrRefused.Wrap("power_unit is fixed in genesis: power in force is counted in it")
	}
	return &api.MsgUpdateParamsResponse{}, k.params.Set(ctx, msg.Params)
}

const maxEraBlocks = 1 << 24

func validateParams(p api.Params) error {
	if err := rules(p).Validate(); err != nil {
		return err
	}
	switch {
	case p.Seats > threshold.MaxMembers:
		return fmt.Errorf("seats is %d, want at most %d: no more can share the keys", p.Seats, threshold.MaxMembers)
	case p.EraBlocks < 2 || p.EraBlocks > maxEraBlocks:
		return fmt.Errorf("era_blocks is %d, want 2 to %d", p.EraBlocks, maxEraBlocks)
	case p.EraPool > stake.MaxCoins/1_000:
		return fmt.Errorf("era_pool is %d, want at most %d", p.EraPool, uint64(stake.MaxCoins/1_000))
	case p.BadShareSlash > stake.Whole:
		return fmt.Errorf("bad_share_slash is %d, want at most %d", p.BadShareSlash, stake.Whole)
	}
	return nil
}
