package work

import (
	"context"
	"fmt"

	sdk "github.com/cosmos/cosmos-sdk/types"

	api "github.com/cella-network/cella/api/work"
	"github.com/cella-network/cella/protocol/storageproof"
)

const maxBlocks = 1 << 40 // bounds params that count blocks, far from overflow

// DefaultGenesis is a chain on which nobody has reported; slots of 100 blocks, sectors of 256 MiB.
func DefaultGenesis() *api.GenesisState {
	return &api.GenesisState{Params: api.Params{SlotBlocks: 100, MaxAgeBlocks: 100, LateBlocks: 300, SectorSize: 256 << 20}}
}

func validateParams(p api.Params) error {
	if p.LateBlocks < p.SlotBlocks || p.LateBlocks > maxBlocks {
		return fmt.Errorf("late_blocks is %d: want at least a slot of %d and at most %d", p.LateBlocks, p.SlotBlocks, int64(maxBlocks))
	}
	if p.SlotBlocks < 1 || p.SlotBlocks > maxBlocks || p.MaxAgeBlocks < 1 || p.MaxAgeBlocks > maxBlocks {
		return fmt.Errorf("slot_blocks is %d, max_age_blocks %d: want 1 to %d", p.SlotBlocks, p.MaxAgeBlocks, int64(maxBlocks))
	}
	if p.SectorSize < 4<<20 || p.SectorSize > 1<<32 || p.SectorSize&(p.SectorSize-1) != 0 {
		return fmt.Errorf("sector_size is %d, want a power of two from 4 MiB to 4 GiB", p.SectorSize)
	}
	return nil
}

// ValidateGenesis refuses a state that the module could not have written.
func ValidateGenesis(g *api.GenesisState) error {
	if err := validateParams(g.Params); err != nil {
		return err
	}
	seen := map[[20]byte]bool{}
	for _, b := range g.Standings {
		s, err := storageproof.UnmarshalStanding(b)
		if err != nil {
			return err
		}
		if seen[s.Account] {
			return fmt.Errorf("two standings of %x", s.Account)
		}
		seen[s.Account] = true
	}
	return nil
}

// InitGenesis stores a state.
func (k *Keeper) InitGenesis(ctx context.Context, g *api.GenesisState) error {
	if err := ValidateGenesis(g); err != nil {
		return err
	}
	for _, b := range g.Standings {
		s, err := storageproof.UnmarshalStanding(b)
		if err != nil {
			return err
		}
		if err := k.standings.Set(ctx, s.Account[:], b); err != nil {
			return err
		}
	}
	return k.params.Set(ctx, g.Params)
}

// ExportGenesis returns the whole state.
func (k *Keeper) ExportGenesis(ctx context.Context) (*api.GenesisState, error) {
	p, err := k.params.Get(ctx)
	if err != nil {
		return nil, err
	}
	g := &api.GenesisState{Params: p}
	err = k.standings.Walk(ctx, nil, func(_ sdk.AccAddress, b []byte) (bool, error) {
		g.Standings = append(g.Standings, b)
		return false, nil
	})
	return g, err
}
