package moderation

import (
	"context"
	"fmt"

	"cosmossdk.io/collections"
	sdkmath "cosmossdk.io/math"

	sdk "github.com/cosmos/cosmos-sdk/types"

	api "github.com/cella-network/cella/api/moderation"
)

// DefaultGenesis is a chain on which nobody has published a list: at most 16 an account, of at most 64 MiB each, for 10 CELLA each.
func (k *Keeper) DefaultGenesis() *api.GenesisState {
	return &api.GenesisState{Params: api.Params{Deposit: sdk.NewCoin(k.denom, sdkmath.NewInt(10_000_000)), MaxLists: 16, MaxSize: 64 << 20}}
}

func (k *Keeper) validateParams(p api.Params) error {
	if err := k.checkDeposit(p.Deposit); err != nil {
		return err
	}
	if p.MaxLists > maxLists {
		return fmt.Errorf("max_lists is %d, want at most %d", p.MaxLists, maxLists)
	}
	if p.MaxSize < 1 || p.MaxSize > maxSize {
		return fmt.Errorf("max_size is %d, want 1 to %d", p.MaxSize, maxSize)
	}
	return nil
}

func (k *Keeper) checkDeposit(d sdk.Coin) error {
	if d.Amount.IsNil() || d.IsNegative() || d.Denom != k.denom {
		return fmt.Errorf("deposit %s is not an amount of %s", d, k.denom)
	}
	return nil
}

// ValidateGenesis refuses a state that the module could not have written.
func (k *Keeper) ValidateGenesis(g *api.GenesisState) error {
	if err := k.validateParams(g.Params); err != nil {
		return err
	}
	seen := map[string]bool{}
	for _, l := range g.Lists {
		publisher, err := k.account(l.Publisher)
		if err != nil {
			return err
		}
		what := fmt.Sprintf("list %q of %s", l.Name, l.Publisher)
		// Governance may have made the largest file smaller since.
		if err := checkList(maxSize, l); err != nil {
			return fmt.Errorf("%s: %w", what, err)
		}
		if err := k.checkDeposit(l.Deposit); err != nil {
			return fmt.Errorf("%s: %w", what, err)
		}
		if l.Sequence == 0 || l.Height < 0 {
			return fmt.Errorf("%s has sequence %d, height %d", what, l.Sequence, l.Height)
		}
		id := string(publisher) + "/" + l.Name
		if seen[id] {
			return fmt.Errorf("%s is there twice", what)
		}
		seen[id] = true
	}
	return nil
}

// InitGenesis stores a state. The deposits lie in the bank's genesis.
func (k *Keeper) InitGenesis(ctx context.Context, g *api.GenesisState) error {
	if err := k.ValidateGenesis(g); err != nil {
		return err
	}
	for _, l := range g.Lists {
		publisher, err := k.account(l.Publisher)
		if err != nil {
			return err
		}
		if err := k.lists.Set(ctx, collections.Join(publisher, l.Name), l); err != nil {
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
	err = k.lists.Walk(ctx, nil, func(_ listKey, l api.List) (bool, error) {
		g.Lists = append(g.Lists, l)
		return false, nil
	})
	return g, err
}
