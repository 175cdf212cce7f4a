package committee

import (
	"context"
	"fmt"

	api "github.com/cella-network/cella/api/committee"
	"github.com/cella-network/cella/protocol/threshold"
)

const maxBlocks = 1 << 40 // bounds params that count blocks, far from overflow

// DefaultGenesis is a chain without groups. At a second a block, a phase lasts a minute and a lost key is made anew after ten.
func DefaultGenesis() *api.GenesisState {
	return &api.GenesisState{Params: api.Params{PhaseBlocks: 60, RetryBlocks: 30, Attempts: 3, ConfirmBlocks: 100, StallBlocks: 600, Repairs: 4}}
}

// ValidateGenesis refuses params with which ceremonies could not end.
func ValidateGenesis(g *api.GenesisState) error { return validateParams(g.Params) }

func validateParams(p api.Params) error {
	for _, f := range []struct {
		name     string
		v, least int64
	}{
		{"phase_blocks", p.PhaseBlocks, 2}, {"retry_blocks", p.RetryBlocks, 1}, {"confirm_blocks", p.ConfirmBlocks, 3},
		{"stall_blocks", p.StallBlocks, p.ConfirmBlocks},
	} {
		if f.v < f.least || f.v > maxBlocks {
			return fmt.Errorf("%s is %d, want %d to %d", f.name, f.v, f.least, int64(maxBlocks))
		}
	}
	if p.Attempts < 1 {
		return fmt.Errorf("attempts is 0: a handover is tried at least once")
	}
	if p.Repairs < 1 || p.Repairs > threshold.MaxMembers {
		return fmt.Errorf("repairs is %d, want 1 to %d", p.Repairs, threshold.MaxMembers)
	}
	return nil
}

// InitGenesis stores the params.
func (k *Keeper) InitGenesis(ctx context.Context, g *api.GenesisState) error {
	if err := ValidateGenesis(g); err != nil {
		return err
	}
	return k.params.Set(ctx, g.Params)
}

// ExportGenesis returns the params. Shares live in enclaves: a chain that starts anew makes a fresh key.
func (k *Keeper) ExportGenesis(ctx context.Context) (*api.GenesisState, error) {
	p, err := k.params.Get(ctx)
	return &api.GenesisState{Params: p}, err
}
