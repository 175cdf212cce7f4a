package beacon

import (
	"context"
	"fmt"

	api "github.com/cella-network/cella/api/beacon"
	"github.com/cella-network/cella/protocol/lottery"
)

const maxBlocks = 1 << 40 // bounds params that count blocks, far from overflow

// DefaultGenesis is a chain whose seeds are kept for a week at 6 seconds a block; decision 015 has the reasons for the lottery's figures.
func DefaultGenesis() *api.GenesisState {
	return &api.GenesisState{Params: api.Params{KeepBlocks: 100_000, EpochBlocks: 14_400, HalfLife: 3_600, AgeCap: 16, Prior: 8}}
}

func rulesOf(p api.Params) lottery.Rules {
	return lottery.Rules{Epoch: p.EpochBlocks, HalfLife: p.HalfLife, AgeCap: p.AgeCap, Prior: p.Prior}
}

func validateParams(p api.Params) error {
	if p.KeepBlocks < provable || p.KeepBlocks > maxBlocks {
		return fmt.Errorf("keep_blocks is %d, want %d to %d", p.KeepBlocks, provable, int64(maxBlocks))
	}
	return rulesOf(p).Validate()
}

// ValidateGenesis refuses a state that the module could not have written.
func (k *Keeper) ValidateGenesis(g *api.GenesisState) error { return validateParams(g.Params) }

// InitGenesis stores a validated state.
func (k *Keeper) InitGenesis(ctx context.Context, g *api.GenesisState) error {
	if err := k.ValidateGenesis(g); err != nil {
		return err
	}
	return k.params.Set(ctx, g.Params)
}

// ExportGenesis returns the params: numbers belong to the heights of one chain.
func (k *Keeper) ExportGenesis(ctx context.Context) (*api.GenesisState, error) {
	p, err := k.params.Get(ctx)
	return &api.GenesisState{Params: p}, err
}
