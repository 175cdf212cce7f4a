package beacon

import (
	"bytes"
	"context"
	"slices"

	sdk "github.com/cosmos/cosmos-sdk/types"

	api "github.com/cella-network/cella/api/beacon"
	"github.com/cella-network/cella/protocol/beacon"
	"github.com/cella-network/cella/protocol/lottery"
)

const (
	// wholeTurns is how often a turn is kept with all of its candidates; those between are kept as what changed.
	wholeTurns = 256
	// maxStake bounds a stake as the lottery does, in ucella.
	maxStake = 1 << 56
)

// EndBlock counts the turn of the height before, of which this block's commit tells the round, and draws the next height's proposer. So the
// last turn of an epoch is counted in the next one.
func (k *Keeper) EndBlock(goCtx context.Context) error {
	ctx := sdk.UnwrapSDKContext(goCtx)
	next := ctx.BlockHeight() + 1
	voters, err := k.validators.Voters(ctx, next)
	if err != nil {
		return err
	}
	if err := k.keepVoters(ctx, next, voters); err != nil {
		return err
	}
	p, err := k.params.Get(ctx)
	if err != nil {
		return err
	}
	state, _, err := maybe(k.state.Get(ctx))
	if err != nil {
		return err
	}
	l, _, err := maybe(k.lottery.Get(ctx))
	if err != nil {
		return err
	}
	last, _, err := maybe(k.turns.Get(ctx, ctx.BlockHeight()-1))
	if err != nil {
		return err
	}
	before := slices.Clone(l.Candidates)
	counted(l.Candidates, last.Proposer, l.Proposer, ctx.CometInfo().GetLastCommit().Round() == 0 && !l.Omitted)
	arrived, err := k.carriedBy(ctx, state.Last)
	if err != nil {
		return err
	}
	proposer := ctx.BlockHeader().ProposerAddress
	blamed(l.Candidates, proposer, arrived == ctx.BlockHeight(), state.Omitted)
	l.Candidates = nextCandidates(rulesOf(p), l.Candidates, voters, uint64(next)%p.EpochBlocks == 0)
	l.Proposer, l.Omitted = proposer, state.Omitted
	if err := k.lottery.Set(ctx, l); err != nil {
		return err
	}
	d, err := k.draw(ctx, p, state, l.Candidates)
	if err != nil {
		return err
	}
	if d.Whole = next%wholeTurns == 0 || len(before) == 0; d.Whole {
		d.Changed = l.Candidates
	} else {
		d.Changed, d.Gone = difference(before, l.Candidates)
	}
	return k.turns.Set(ctx, next, d)
}

// counted counts a height for whom it was drawn: used says that its block came at the first try and carried what it could.
func counted(candidates []api.Candidate, drawn, proposer []byte, used bool) {
	if i := indexOf(candidates, drawn); i >= 0 {
		e := entryOf(candidates[i]).Took(used && bytes.Equal(drawn, proposer))
		candidates[i].Turns, candidates[i].Proposed = e.Turns, e.Proposed
	}
}

// blamed notes who omitted a number; all are forgiven when a newer one than the last comes.
func blamed(candidates []api.Candidate, proposer []byte, came, omitted bool) {
	for i := range candidates {
		candidates[i].Omitted = candidates[i].Omitted && !came
	}
	if i := indexOf(candidates, proposer); i >= 0 && omitted {
		candidates[i].Omitted = true
	}
}

// nextCandidates are the validators of the next height. Who was not among the last ones, or without stake, begins anew; what others stake
// counts from the next epoch on.
func nextCandidates(r lottery.Rules, last []api.Candidate, voters []beacon.Voter, epoch bool) []api.Candidate {
	out := make([]api.Candidate, 0, len(voters))
	for _, v := range voters {
		e, stake := lottery.Entry{Address: v.Consensus}, min(v.Stake, maxStake)
		if i := indexOf(last, v.Consensus[:]); i >= 0 {
			e = entryOf(last[i])
		}
		if epoch {
			e = r.Next(e, stake)
		} else if e.Stake == 0 {
			e.Stake = stake
		}
		out = append(out, candidateOf(e, v.Operator))
	}
	slices.SortFunc(out, func(a, b api.Candidate) int { return bytes.Compare(a.Address, b.Address) })
	return out
}

// carriedBy is the block that brought the last number, 0 if it is forgotten or there was none.
func (k *Keeper) carriedBy(ctx context.Context, height int64) (int64, error) {
	n, _, err := maybe(k.numbers.Get(ctx, height))
	return n.Carried, err
}

// draw draws the next height's proposer: by the number of the height before this block, if this block carries it, else by the last number that
// came. Before there was a number, and where nobody has stake, nobody is drawn.
func (k *Keeper) draw(ctx sdk.Context, p api.Params, state api.State, candidates []api.Candidate) (d api.Drawn, err error) {
	next := ctx.BlockHeight() + 1
	d.Blocks = uint64(next) % p.EpochBlocks
	if len(state.LastNumber) != plain {
		return d, nil
	}
	seed := lottery.Seed(state.LastNumber)
	if d.Fallback = state.Last != next-2; d.Fallback {
		seed = lottery.Fallback(ctx.ChainID(), seed, next)
	}
	d.Seed = seed[:]
	i, err := rulesOf(p).Draw(seed, next, entriesOf(candidates), d.Blocks, d.Fallback)
	if err != nil {
		ctx.Logger().Error("beacon: nobody was drawn", "height", next, "err", err)
		return d, nil
	}
	d.Proposer = candidates[i].Address
	return d, nil
}

// difference lists candidates that are new or not as before, and addresses that are gone.
func difference(before, after []api.Candidate) (changed []api.Candidate, gone [][]byte) {
	for _, c := range after {
		if i := indexOf(before, c.Address); i < 0 || !same(before[i], c) {
			changed = append(changed, c)
		}
	}
	for _, c := range before {
		if indexOf(after, c.Address) < 0 {
			gone = append(gone, c.Address)
		}
	}
	return changed, gone
}

// turn loads a turn with all of its candidates, from the last one that was kept whole on.
func (k *Keeper) turn(ctx context.Context, height int64) (api.Drawn, []api.Candidate, error) {
	var chain []api.Drawn
	for h := height; ; h-- {
		d, ok, err := maybe(k.turns.Get(ctx, h))
		if err != nil {
			return api.Drawn{}, nil, err
		}
		if !ok {
			return api.Drawn{}, nil, ErrRefused.Wrapf("the turn of height %d is not known, or not any more", height)
		}
		if chain = append(chain, d); d.Whole {
			break
		}
	}
	var out []api.Candidate
	for _, d := range slices.Backward(chain) {
		out = apply(out, d)
	}
	return chain[0], out, nil
}

func apply(candidates []api.Candidate, d api.Drawn) []api.Candidate {
	out := slices.DeleteFunc(slices.Clone(candidates), func(c api.Candidate) bool {
		return d.Whole || indexOf(d.Changed, c.Address) >= 0 || slices.ContainsFunc(d.Gone, func(a []byte) bool { return bytes.Equal(a, c.Address) })
	})
	out = append(out, d.Changed...)
	slices.SortFunc(out, func(a, b api.Candidate) int { return bytes.Compare(a.Address, b.Address) })
	return out
}

func indexOf(candidates []api.Candidate, address []byte) int {
	return slices.IndexFunc(candidates, func(c api.Candidate) bool { return bytes.Equal(c.Address, address) })
}

func same(a, b api.Candidate) bool {
	return entryOf(a) == entryOf(b) && bytes.Equal(a.Operator, b.Operator)
}

func entryOf(c api.Candidate) lottery.Entry {
	e := lottery.Entry{Stake: c.Stake, Age: c.Age, Turns: c.Turns, Proposed: c.Proposed, Omitted: c.Omitted}
	copy(e.Address[:], c.Address)
	return e
}

func candidateOf(e lottery.Entry, operator [20]byte) api.Candidate {
	return api.Candidate{Address: e.Address[:], Operator: operator[:], Stake: e.Stake, Age: e.Age, Turns: e.Turns, Proposed: e.Proposed, Omitted: e.Omitted}
}

func entriesOf(candidates []api.Candidate) []lottery.Entry {
	out := make([]lottery.Entry, len(candidates))
	for i, c := range candidates {
		out[i] = entryOf(c)
	}
	return out
}
