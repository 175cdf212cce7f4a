package beacon

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"

	"cosmossdk.io/collections"

	abci "github.com/cometbft/cometbft/abci/types"
	cmtproto "github.com/cometbft/cometbft/proto/tendermint/types"

	sdk "github.com/cosmos/cosmos-sdk/types"

	api "github.com/cella-network/cella/api/beacon"
	"github.com/cella-network/cella/protocol/beacon"
)

// prunedPerBlock is how many records of a kind a block forgets: twice as many as it adds.
const prunedPerBlock = 2

// PreBlock takes the numbers that the block carries and moves the chain of seeds, before anything of the block asks for one. Validators checked the
// numbers before they voted, but whoever replays the block has only the block, so they are checked again.
func (k *Keeper) PreBlock(ctx sdk.Context, req *abci.RequestFinalizeBlock) error {
	if len(req.Hash) != sha256.Size {
		return fmt.Errorf("block %d has a hash of %d bytes", req.Height, len(req.Hash))
	}
	hash := [32]byte(req.Hash)
	s, err := k.begin(ctx, req.Height, hash)
	if err != nil {
		return err
	}
	if err := k.firstVoters(ctx, req.Height); err != nil {
		return err
	}
	if err := s.voided(); err != nil {
		return err
	}
	if len(req.Txs) > 0 && beacon.IsCarried(req.Txs[0]) {
		if err := s.take(ctx, req.Txs[0]); err != nil {
			return err
		}
	}
	if s.state.Omitted, err = s.omitted(ctx, req.DecidedLastCommit); err != nil {
		return err
	}
	if s.state.Omitted {
		if err := emit(ctx, &api.EventOmitted{Height: s.Head, Proposer: fmt.Sprintf("%X", req.ProposerAddress), Missing: s.Head - 1}); err != nil {
			return err
		}
	}
	if err := s.End(s, hash); err != nil {
		return err
	}
	if err := s.save(); err != nil {
		return err
	}
	k.node.forget(s)
	return k.prune(ctx, s)
}

// voided tells of heights that this block made void.
func (s *standing) voided() error {
	if s.Void.Below != s.Head {
		return nil
	}
	r := new(collections.Range[int64]).StartExclusive(s.Tip.Height).EndExclusive(s.Head)
	from, to, err := s.keeper.ends(s.ctx, r)
	if err != nil || from == 0 {
		return err
	}
	return emit(s.ctx, &api.EventVoid{From: from, To: to})
}

// ends are the first and the last missing height of a range, 0 if there is none.
func (k *Keeper) ends(ctx context.Context, r *collections.Range[int64]) (from, to int64, err error) {
	stop := func(at *int64) func(int64, uint64) (bool, error) {
		return func(h int64, _ uint64) (bool, error) { *at = h; return true, nil }
	}
	if err := k.missing.Walk(ctx, r, stop(&from)); err != nil {
		return 0, 0, err
	}
	return from, to, k.missing.Walk(ctx, r.Descending(), stop(&to))
}

// take takes the numbers of a block. A block with a bad one should not exist; where it does, nothing of what follows in it is taken.
func (s *standing) take(ctx sdk.Context, tx []byte) error {
	carried, err := beacon.UnmarshalCarried(tx)
	if err != nil {
		ctx.Logger().Error("beacon: a block carries what is no number", "height", s.Head, "err", err)
		return nil
	}
	for _, n := range carried {
		epoch, err := s.check(n)
		if errors.Is(err, ErrRefused) {
			ctx.Logger().Error("beacon: a block carries a bad number", "height", s.Head, "err", err)
			return nil
		}
		if err != nil {
			return err
		}
		if err := s.arrived(ctx, n, epoch); err != nil {
			return err
		}
	}
	return nil
}

func (s *standing) arrived(ctx sdk.Context, n beacon.Number, epoch uint64) error {
	number := n.Signature.Number()
	if err := s.Arrive(s, n.Height, number); err != nil {
		return err
	}
	if n.Height > s.state.Last {
		s.state.Last, s.state.LastNumber = n.Height, number[:]
	}
	if err := s.keeper.numbers.Set(ctx, n.Height, api.Number{Height: n.Height, Epoch: epoch, Signature: n.Signature[:], Carried: s.Head}); err != nil {
		return err
	}
	// Committees must hear of it, but a fault of theirs must not stop the chain.
	branch, write := ctx.CacheContext()
	if err := s.keeper.committee.Signed(branch, Purpose, n.Height); err != nil {
		ctx.Logger().Error("beacon: committees did not take a number", "height", n.Height, "err", err)
	} else {
		write()
	}
	return emit(ctx, &api.EventNumber{Height: n.Height, Epoch: epoch, Number: number[:], Late: s.Head - 1 - n.Height})
}

// omitted says whether this block left out the number of the height before although those who voted for that height could make it.
func (s *standing) omitted(ctx sdk.Context, commit abci.CommitInfo) (bool, error) {
	_, _, missing, err := s.wanted(s.Head - 1)
	c := s.at(s.Head - 1)
	if err != nil || !missing || c == nil {
		return false, err
	}
	voters, err := s.keeper.votersAt(ctx, s.Head-1)
	if err != nil {
		return false, err
	}
	var seats []int
	for _, v := range commit.Votes {
		if seat := voters.seat(c.Keys, v.Validator.Address); v.BlockIdFlag == cmtproto.BlockIDFlagCommit && seat >= 0 {
			seats = append(seats, seat)
		}
	}
	return beacon.CanMake(c.Keys, seats), nil
}

// prune forgets what is older than governance wants it kept. What the tip has not reached is kept.
func (k *Keeper) prune(ctx sdk.Context, s *standing) error {
	p, err := k.params.Get(ctx)
	if err != nil {
		return err
	}
	below := min(s.Head-p.KeepBlocks, s.Tip.Height)
	if err := pruneMap(ctx, k.seeds, below); err != nil {
		return err
	}
	if err := pruneMap(ctx, k.numbers, below); err != nil {
		return err
	}
	if err := pruneMap(ctx, k.turns, (s.Head-p.KeepBlocks)/wholeTurns*wholeTurns); err != nil {
		return err
	}
	if err := k.pruneVoters(ctx, s.Head-provable); err != nil {
		return err
	}
	return k.pruneProven(ctx, s.Head-provable)
}

// pruneMap removes the lowest entries below a height, some at a time.
func pruneMap[V any](ctx context.Context, m collections.Map[int64, V], below int64) error {
	if below <= 0 {
		return nil
	}
	it, err := m.Iterate(ctx, new(collections.Range[int64]).EndExclusive(below))
	if err != nil {
		return err
	}
	var old []int64
	for ; it.Valid() && len(old) < prunedPerBlock; it.Next() {
		height, err := it.Key()
		if err != nil {
			it.Close()
			return err
		}
		old = append(old, height)
	}
	if err := it.Close(); err != nil {
		return err
	}
	for _, height := range old {
		if err := m.Remove(ctx, height); err != nil {
			return err
		}
	}
	return nil
}
