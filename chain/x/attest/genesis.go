package attest

import (
	"context"
	"errors"
	"fmt"

	"cosmossdk.io/collections"
	sdkmath "cosmossdk.io/math"

	sdk "github.com/cosmos/cosmos-sdk/types"
	authtypes "github.com/cosmos/cosmos-sdk/x/auth/types"

	api "github.com/cella-network/cella/api/attest"
	"github.com/cella-network/cella/protocol/attestation"
)

// Limits of the params.
const (
	maxBlocks       = 1 << 40 // bounds params that count blocks, far from overflow
	maxMeasurements = 256
	maxBootstrap    = 1000
	maxVersion      = 64 // bytes
)

// DefaultGenesis is a chain that no program may join yet.
func (k *Keeper) DefaultGenesis() *api.GenesisState {
	return &api.GenesisState{Params: api.Params{
		EntryStake: sdk.NewCoin(k.denom, sdkmath.NewInt(100_000_000)), MinEndorsers: 4, EndorseBlocks: 50, IntentBlocks: 1000,
		RegistrationBlocks: 14400 * 30, TrustBlocks: 14400, CapLow: 1 << 40, CapHigh: 64 << 40}}
}

// validateParams refuses params under which a rule of joining would fail or a figure overflow.
func (k *Keeper) validateParams(p api.Params) error {
	for _, f := range []struct {
		name string
		v    int64
	}{
		{"endorse_blocks", p.EndorseBlocks}, {"intent_blocks", p.IntentBlocks},
		{"registration_blocks", p.RegistrationBlocks}, {"trust_blocks", p.TrustBlocks},
	} {
		if f.v < 1 || f.v > maxBlocks {
			return fmt.Errorf("%s is %d, want 1 to %d", f.name, f.v, int64(maxBlocks))
		}
	}
	if p.EntryStake.Amount.IsNil() || p.EntryStake.IsNegative() || p.EntryStake.Denom != k.denom {
		return fmt.Errorf("entry_stake %s is not an amount of %s", p.EntryStake, k.denom)
	}
	if p.MinEndorsers < 1 {
		return errors.New("min_endorsers is 0: then nobody could endorse the first node")
	}
	if p.CapLow > 1<<62 || p.CapHigh > 1<<62 {
		return errors.New("cap beyond 2^62 bytes")
	}
	if len(p.Bootstrap) > maxBootstrap || len(p.Measurements) > maxMeasurements {
		return fmt.Errorf("%d bootstrap accounts and %d measurements, at most %d and %d", len(p.Bootstrap), len(p.Measurements), maxBootstrap, maxMeasurements)
	}
	for _, b := range p.Bootstrap {
		if _, err := k.operator(b); err != nil {
			return err
		}
	}
	type program struct {
		platform    uint32
		measurement string
	}
	seen := map[program]bool{}
	for _, m := range p.Measurements {
		platform := attestation.Platform(m.Platform)
		switch {
		case len(m.Measurement) != 32 || len(m.Version) > maxVersion:
			return fmt.Errorf("measurement %x of %d bytes, version of %d, want 32 and at most %d", m.Measurement, len(m.Measurement), len(m.Version), maxVersion)
		case m.Platform < uint32(attestation.PlatformSim) || m.Platform > uint32(attestation.PlatformSNP):
			return fmt.Errorf("measurement %x: there is no platform %d", m.Measurement, m.Platform)
		case m.Tier != uint32(attestation.TierLow) && m.Tier != uint32(attestation.TierHigh):
			return fmt.Errorf("measurement %x: there is no tier %d", m.Measurement, m.Tier)
		case platform == attestation.PlatformSim && !p.Devnet:
			return fmt.Errorf("measurement %x: the simulator is INSECURE and this chain is no devnet", m.Measurement)
		case platform == attestation.PlatformTPM && m.Tier == uint32(attestation.TierHigh) && !p.Devnet:
			return fmt.Errorf("measurement %x: a TPM is of the low tier outside a devnet", m.Measurement)
		case seen[program{m.Platform, string(m.Measurement)}]:
			return fmt.Errorf("measurement %x is listed twice for %s", m.Measurement, platform)
		}
		seen[program{m.Platform, string(m.Measurement)}] = true
	}
	return nil
}

// policyOf is what the params say about machines.
func policyOf(p api.Params) attestation.Policy {
	policy := attestation.Policy{Devnet: p.Devnet}
	for _, m := range p.Measurements {
		policy.Measurements = append(policy.Measurements, attestation.Listed{Platform: attestation.Platform(m.Platform),
			Measurement: [32]byte(m.Measurement), Tier: attestation.Tier(m.Tier)})
	}
	return policy
}

// ValidateGenesis refuses a state that the module could not have written.
func (k *Keeper) ValidateGenesis(g *api.GenesisState) error {
	if err := k.validateParams(g.Params); err != nil {
		return err
	}
	nodes, intents, stakes := map[attestation.Account]bool{}, map[attestation.Account]bool{}, map[string]bool{}
	for _, gn := range g.Nodes {
		n, err := attestation.UnmarshalNode(gn.Record)
		if err != nil {
			return err
		}
		if nodes[n.Account] {
			return fmt.Errorf("two nodes of %x", n.Account)
		}
		if n.Platform == attestation.PlatformSim && !g.Params.Devnet {
			return fmt.Errorf("node of %x: the simulator is INSECURE and this chain is no devnet", n.Account)
		}
		nodes[n.Account] = true
		if err := checkAddrs(gn.Info.Addrs); err != nil {
			return err
		}
	}
	for _, gi := range g.Intents {
		in, err := attestation.UnmarshalIntent(gi.Record)
		if err != nil {
			return err
		}
		if intents[in.Account] || in.Account == (attestation.Account{}) {
			return fmt.Errorf("two intents of %x, or one of nobody", in.Account)
		}
		intents[in.Account] = true
		if err := checkAddrs(gi.Info.Addrs); err != nil {
			return err
		}
		if gi.Info.Due < 0 || gi.Info.Due > in.Announced+maxBlocks {
			return fmt.Errorf("intent of %x is looked at in block %d, announced in %d", in.Account, gi.Info.Due, in.Announced)
		}
		for _, e := range gi.Info.Silent {
			if _, err := k.operator(e); err != nil {
				return err
			}
		}
	}
	for _, s := range g.Stakes {
		if _, err := k.operator(s.Operator); err != nil {
			return err
		}
		if stakes[s.Operator] || s.Amount.Amount.IsNil() || !s.Amount.IsPositive() || s.Amount.Denom != k.denom {
			return fmt.Errorf("stake of %s: doubled, or %s is not an amount of %s", s.Operator, s.Amount, k.denom)
		}
		stakes[s.Operator] = true
	}
	for _, h := range g.Hashes {
		if h.Height < 0 || len(h.Hash) != 32 {
			return fmt.Errorf("hash of block %d has %d bytes", h.Height, len(h.Hash))
		}
	}
	return nil
}

// InitGenesis stores a validated state and rebuilds its lists and queues.
func (k *Keeper) InitGenesis(ctx context.Context, g *api.GenesisState) error {
	if err := k.ValidateGenesis(g); err != nil {
		return err
	}
	if err := k.params.Set(ctx, g.Params); err != nil {
		return err
	}
	if err := k.count.Set(ctx, 0); err != nil {
		return err
	}
	if err := k.peak.Set(ctx, uint64(g.Peak)); err != nil {
		return err
	}
	for _, gn := range g.Nodes {
		n, err := attestation.UnmarshalNode(gn.Record)
		if err != nil {
			return err
		}
		if err := k.setNode(ctx, n, gn.Info); err != nil {
			return err
		}
		if sdk.UnwrapSDKContext(ctx).BlockHeight() < n.Expires {
			if taken, err := k.machines.Has(ctx, machine(n.Platform, n.PlatformID)); err != nil || taken {
				return errors.Join(err, fmt.Errorf("node of %x: another runs on its machine", n.Account))
			}
			if err := k.activate(ctx, n, gn.Info); err != nil {
				return err
			}
		}
	}
	for _, gi := range g.Intents {
		in, err := attestation.UnmarshalIntent(gi.Record)
		if err != nil {
			return err
		}
		if err := k.setIntent(ctx, in, gi.Info); err != nil {
			return err
		}
		if err := k.due.Set(ctx, collections.Join(gi.Info.Due, sdk.AccAddress(in.Account[:]))); err != nil {
			return err
		}
	}
	locked := sdk.NewInt64Coin(k.denom, 0)
	for _, s := range g.Stakes {
		operator, err := k.operator(s.Operator)
		if err != nil {
			return err
		}
		locked = locked.Add(s.Amount)
		if err := k.stakes.Set(ctx, operator, s); err != nil {
			return err
		}
	}
	if has := k.bank.GetBalance(ctx, authtypes.NewModuleAddress(ModuleName), k.denom); has.IsLT(locked) {
		return fmt.Errorf("the module's account holds %s, its stakes are %s", has, locked)
	}
	for _, h := range g.Hashes {
		if err := k.hashes.Set(ctx, h.Height, h.Hash); err != nil {
			return err
		}
	}
	return nil
}

// ExportGenesis returns the whole state.
func (k *Keeper) ExportGenesis(ctx context.Context) (*api.GenesisState, error) {
	g := new(api.GenesisState)
	var err error
	if g.Params, err = k.params.Get(ctx); err != nil {
		return nil, err
	}
	peak, err := k.peak.Get(ctx)
	if err != nil {
		return nil, err
	}
	g.Peak = uint32(peak)
	add := func(operator sdk.AccAddress, record []byte) error {
		info, err := k.nodeInfo(ctx, operator)
		g.Nodes = append(g.Nodes, api.GenesisNode{Record: record, Info: info})
		return err
	}
	// The active ones come first, in the order of their seats: the chain that starts from this state seats them alike.
	if err := k.seats.Walk(ctx, nil, func(_ uint64, operator []byte) (bool, error) {
		record, err := k.nodes.Get(ctx, operator)
		if err != nil {
			return false, err
		}
		return false, add(operator, record)
	}); err != nil {
		return nil, err
	}
	if err := k.nodes.Walk(ctx, nil, func(operator sdk.AccAddress, record []byte) (bool, error) {
		seated, err := k.seatOf.Has(ctx, operator)
		if err != nil || seated {
			return false, err
		}
		return false, add(operator, record)
	}); err != nil {
		return nil, err
	}
	if err := k.intents.Walk(ctx, nil, func(operator sdk.AccAddress, record []byte) (bool, error) {
		info, err := k.intentInfos.Get(ctx, operator)
		g.Intents = append(g.Intents, api.GenesisIntent{Record: record, Info: info})
		return false, err
	}); err != nil {
		return nil, err
	}
	if err := k.stakes.Walk(ctx, nil, func(_ sdk.AccAddress, s api.Stake) (bool, error) {
		g.Stakes = append(g.Stakes, s)
		return false, nil
	}); err != nil {
		return nil, err
	}
	err = k.hashes.Walk(ctx, nil, func(height int64, hash []byte) (bool, error) {
		g.Hashes = append(g.Hashes, api.BlockHash{Height: height, Hash: hash})
		return false, nil
	})
	return g, err
}
