package audit

import (
	"context"
	"errors"
	"fmt"

	"cosmossdk.io/collections"

	sdk "github.com/cosmos/cosmos-sdk/types"

	api "github.com/cella-network/cella/api/audit"
	"github.com/cella-network/cella/protocol/attestation"
	"github.com/cella-network/cella/protocol/audit"
)

const maxBlocks = 1 << 40 // bounds params that count blocks, far from overflow

// DefaultGenesis is a chain without cases, which draws one each 20 blocks; at 6 seconds a block the holder has two minutes.
func DefaultGenesis() *api.GenesisState {
	return &api.GenesisState{Params: api.Params{PeriodBlocks: 20, AnswerBlocks: 20, VerdictBlocks: 60, Auditors: 3, PauseBlocks: 1000, KeepBlocks: 100_000}}
}

func validateParams(p api.Params) error {
	for _, f := range []struct {
		name     string
		v, least int64
	}{
		{"period_blocks", p.PeriodBlocks, 0}, {"answer_blocks", p.AnswerBlocks, 1}, {"verdict_blocks", p.VerdictBlocks, 1},
		{"pause_blocks", p.PauseBlocks, 0}, {"keep_blocks", p.KeepBlocks, 1},
	} {
		if f.v < f.least || f.v > maxBlocks {
			return fmt.Errorf("%s is %d, want %d to %d", f.name, f.v, f.least, int64(maxBlocks))
		}
	}
	if p.VerdictBlocks <= p.AnswerBlocks {
		return fmt.Errorf("verdict_blocks is %d: an auditor that waits for answer_blocks of %d could not say so", p.VerdictBlocks, p.AnswerBlocks)
	}
	if p.Auditors < 1 || p.Auditors > audit.MaxAuditors {
		return fmt.Errorf("auditors is %d, want 1 to %d", p.Auditors, audit.MaxAuditors)
	}
	return nil
}

// ValidateGenesis refuses a state that the module could not have written.
func (k *Keeper) ValidateGenesis(g *api.GenesisState) error {
	if err := validateParams(g.Params); err != nil {
		return err
	}
	seen := map[uint64]bool{}
	for _, gc := range g.Cases {
		c, err := audit.UnmarshalCase(gc.Case)
		if err != nil {
			return err
		}
		if seen[c.ID] || c.ID > g.LastCase {
			return fmt.Errorf("case %d comes twice, or is beyond the last, %d", c.ID, g.LastCase)
		}
		seen[c.ID] = true
		if err := validateInfo(c, gc.Info); err != nil {
			return fmt.Errorf("case %d: %w", c.ID, err)
		}
	}
	operators := map[string]bool{}
	for _, r := range g.Records {
		if _, err := k.account(r.Operator); err != nil {
			return err
		}
		if operators[r.Operator] || r.Paused < 0 || r.Paused > 1<<62 {
			return fmt.Errorf("two records of %s, or paused until %d", r.Operator, r.Paused)
		}
		operators[r.Operator] = true
	}
	return nil
}

func validateInfo(c audit.Case, info api.CaseInfo) error {
	if info.Outcome > uint32(audit.OutcomeInconclusive) || info.Due < 0 || info.Due > 1<<62 ||
		(info.Outcome == uint32(audit.OutcomeOpen)) != (info.Closed == 0) || info.Closed < 0 || info.Closed > 1<<62 {
		return fmt.Errorf("%s, closed in block %d, due in block %d", audit.Outcome(info.Outcome), info.Closed, info.Due)
	}
	verdicts, err := verdictsOf(info)
	if err != nil {
		return err
	}
	for i, v := range verdicts {
		if _, ok := c.Auditor(v.Auditor); !ok || v.Case != c.ID || spoke(verdicts[:i], v.Auditor) {
			return errors.New("a verdict is about another case, by a stranger, or the second of one auditor")
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
	if err := k.lastCase.Set(ctx, g.LastCase); err != nil {
		return err
	}
	if err := k.drawn.Set(ctx, sdk.UnwrapSDKContext(ctx).BlockHeight()); err != nil {
		return err // no case by the seeds of heights before this chain began
	}
	for _, gc := range g.Cases {
		c, err := audit.UnmarshalCase(gc.Case)
		if err != nil {
			return err
		}
		if err := k.add(ctx, c, gc.Info); err != nil {
			return err
		}
	}
	for _, r := range g.Records {
		account, err := k.account(r.Operator)
		if err != nil {
			return err
		}
		if err := k.records.Set(ctx, account[:], r); err != nil {
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
	if g.LastCase, err = k.lastCase.Get(ctx); err != nil && !errors.Is(err, collections.ErrNotFound) {
		return nil, err
	}
	if err := k.cases.Walk(ctx, nil, func(id uint64, b []byte) (bool, error) {
		info, err := k.infos.Get(ctx, id)
		g.Cases = append(g.Cases, api.GenesisCase{Case: b, Info: info})
		return false, err
	}); err != nil {
		return nil, err
	}
	err = k.records.Walk(ctx, nil, func(_ sdk.AccAddress, r api.Record) (bool, error) {
		g.Records = append(g.Records, r)
		return false, nil
	})
	return g, err
}

// account reads an address as this chain writes it.
func (k *Keeper) account(text string) (a attestation.Account, err error) {
	b, err := k.addresses.StringToBytes(text)
	if err != nil {
		return a, err
	}
	if again, err := k.addresses.BytesToString(b); err != nil || again != text || len(b) != len(a) {
		return a, fmt.Errorf("address %q is not how this chain writes it", text)
	}
	return attestation.Account(b), nil
}
