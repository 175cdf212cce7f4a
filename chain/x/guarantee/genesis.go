package guarantee

import (
	"context"
	"fmt"

	"github.com/cometbft/cometbft/crypto/ed25519"
	cmttypes "github.com/cometbft/cometbft/types"

	"cosmossdk.io/collections"
	"cosmossdk.io/core/address"

	sdk "github.com/cosmos/cosmos-sdk/types"
	authtypes "github.com/cosmos/cosmos-sdk/x/auth/types"

	api "github.com/cella-network/cella/api/guarantee"
	"github.com/cella-network/cella/protocol/stake"
)

// DefaultParams are for eras of a day at a block a second. A proven TiB lets 512 CELLA count (docs/economy.md).
func DefaultParams() api.Params {
	return api.Params{EraBlocks: 86_400, Rate: 500_000, GraceEras: 2, DecayEras: 8, RegainEras: 10, Seats: 100, MinOwn: 100_000_000,
		PowerUnit: 1_000_000, AuthorShare: 2_000, UnbondEras: 21, EraPool: 70_000_000_000, BadShareSlash: 500}
}

// DefaultGenesis is the state of a new chain: no era has begun, nothing is proven.
func DefaultGenesis() *api.GenesisState { return &api.GenesisState{Params: DefaultParams()} }

// ValidateGenesis refuses what the rules could not have led to.
func ValidateGenesis(g *api.GenesisState, addresses address.Codec) error {
	if err := validateParams(g.Params); err != nil {
		return err
	}
	if g.Era.Number < 0 || g.Era.Start < 0 || g.Era.Blocks < 0 || g.Era.Carry > stake.MaxCoins {
		return fmt.Errorf("era %d begins at %d with %d blocks and carries %d", g.Era.Number, g.Era.Start, g.Era.Blocks, g.Era.Carry)
	}
	if (g.Era.Start == 0) != (len(g.Set) == 0) || g.Era.Start == 0 && (g.Era.Number != 0 || len(g.Queue) > 0) {
		return fmt.Errorf("a set of %d and a queue of %d in era %d, begun at %d: a new chain has none, one that goes on a set", len(g.Set), len(g.Queue),
			g.Era.Number, g.Era.Start)
	}
	known := map[string]bool{}
	for _, n := range g.Nodes {
		if _, err := addresses.StringToBytes(n.Operator); err != nil {
			return fmt.Errorf("node %q has no address: %w", n.Operator, err)
		}
		if known[n.Operator] {
			return fmt.Errorf("node %q is doubled", n.Operator)
		}
		known[n.Operator] = true
		if s := n.Node.Storage; s.Limit > stake.MaxCoins || s.Base > stake.MaxCoins || n.Node.Own > stake.MaxCoins || n.Node.Guaranteed > stake.MaxCoins ||
			n.Node.Blocks > stake.MaxCoins || n.Node.Fees > stake.MaxCoins || s.Limit > s.Base {
			return fmt.Errorf("node %s has impossible figures: %+v", n.Operator, n.Node)
		}
	}
	return validateSet(g, known)
}

func validateSet(g *api.GenesisState, known map[string]bool) error {
	seen, power := map[string]bool{}, uint64(0)
	for _, s := range g.Set {
		if !known[s.Operator] || seen[s.Operator] || seen[string(s.Key)] || len(s.Key) != 32 || s.Power == 0 || s.Power > stake.MaxCoins-power || s.Stake > stake.MaxCoins {
			return fmt.Errorf("seat of %s: unknown or doubled operator or key, or a power of %d", s.Operator, s.Power)
		}
		seen[s.Operator], seen[string(s.Key)] = true, true
		power += s.Power
	}
	ids := map[uint64]bool{}
	for _, u := range g.Queue {
		if !known[u.Operator] || ids[u.Id] || u.Asked < 0 || u.Asked > g.Era.Number || u.Since < 0 || u.Since > g.Era.Number {
			return fmt.Errorf("unbonding %d of %s: unknown operator, doubled id or of an era to come", u.Id, u.Operator)
		}
		ids[u.Id] = true
	}
	return nil
}

// InitGenesis stores a state. x/staking's comes after it.
func (k *Keeper) InitGenesis(ctx context.Context, g *api.GenesisState) error {
	if err := ValidateGenesis(g, k.addresses); err != nil {
		return err
	}
	if held := k.bank.GetBalance(ctx, authtypes.NewModuleAddress(ModuleName), k.denom).Amount; held.LT(intOf(g.Era.Carry)) {
		return fmt.Errorf("the module's account holds %s, the era carries %d", held, g.Era.Carry)
	}
	if err := k.params.Set(ctx, g.Params); err != nil {
		return err
	}
	if err := k.era.Set(ctx, g.Era); err != nil {
		return err
	}
	for _, n := range g.Nodes {
		account, err := k.addresses.StringToBytes(n.Operator)
		if err != nil {
			return err
		}
		if err := k.nodes.Set(ctx, account, n.Node); err != nil {
			return err
		}
	}
	for _, u := range g.Queue {
		account, err := k.addresses.StringToBytes(u.Operator)
		if err != nil {
			return err
		}
		if err := k.queue.Set(ctx, collections.Join(sdk.AccAddress(account), u.Id), u); err != nil {
			return err
		}
	}
	if len(g.Set) == 0 {
		return nil
	}
	if err := k.starts.Set(ctx, 0, g.Era.Number); err != nil {
		return err
	}
	return k.sets.Set(ctx, 0, api.Set{Seats: g.Set})
}

// ExportGenesis is the state that another chain can start with.
func (k *Keeper) ExportGenesis(ctx context.Context) (*api.GenesisState, error) {
	g := &api.GenesisState{}
	var err error
	if g.Params, err = k.params.Get(ctx); err != nil {
		return nil, err
	}
	if g.Era, err = k.era.Get(ctx); err != nil {
		return nil, err
	}
	if err := k.nodes.Walk(ctx, nil, func(account sdk.AccAddress, n api.Node) (bool, error) {
		text, err := k.addresses.BytesToString(account)
		g.Nodes = append(g.Nodes, api.GenesisNode{Operator: text, Node: n})
		return false, err
	}); err != nil {
		return nil, err
	}
	if err := k.queue.Walk(ctx, nil, func(_ collections.Pair[sdk.AccAddress, uint64], u api.Unbonding) (bool, error) {
		g.Queue = append(g.Queue, u)
		return false, nil
	}); err != nil {
		return nil, err
	}
	if g.Era.Start == 0 {
		return g, nil
	}
	set, err := k.last(ctx)
	g.Set = set.Seats
	return g, err
}

// GenesisValidators are the set that CometBFT was told last, as the genesis document of a chain that goes on names them.
func (k *Keeper) GenesisValidators(ctx context.Context) ([]cmttypes.GenesisValidator, error) {
	set, err := k.last(ctx)
	if err != nil {
		return nil, err
	}
	var out []cmttypes.GenesisValidator
	for _, s := range set.Seats {
		v, err := k.validator(ctx, s.Operator)
		if err != nil {
			return nil, err
		}
		key := ed25519.PubKey(s.Key)
		g := cmttypes.GenesisValidator{Address: key.Address(), PubKey: key, Power: int64(s.Power)}
		if v != nil {
			g.Name = v.GetMoniker()
		}
		out = append(out, g)
	}
	return out, nil
}
