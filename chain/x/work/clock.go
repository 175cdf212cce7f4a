package work

import (
	"context"
	"errors"

	"cosmossdk.io/collections"

	sdk "github.com/cosmos/cosmos-sdk/types"
)

// tipsPerBlock is how many old tips one block forgets: more than one, so that shortened params catch up.
const tipsPerBlock = 2

// BeginBlock notes up to which height seeds are out. It must come after the block's number was taken.
func (k *Keeper) BeginBlock(ctx context.Context) error {
	now := sdk.UnwrapSDKContext(ctx).BlockHeight()
	tip, err := k.seeds.Tip(ctx)
	if err != nil {
		return err
	}
	if err := k.tips.Set(ctx, now, min(tip, now)); err != nil {
		return err
	}
	p, err := k.params.Get(ctx)
	if err != nil {
		return err
	}
	keep := max(p.MaxAgeBlocks, p.LateBlocks) + 1 // what Accept and Clock look back to
	var old []int64
	err = k.tips.Walk(ctx, new(collections.Range[int64]).EndExclusive(now-keep), func(block, _ int64) (bool, error) {
		old = append(old, block)
		return len(old) == tipsPerBlock, nil
	})
	for _, block := range old {
		err = errors.Join(err, k.tips.Remove(ctx, block))
	}
	return err
}

// tip is the last height whose seed was out in a recent block. Of blocks before the first that noted one nothing is known: their
// seeds are taken to have come with them.
func (k *Keeper) tip(ctx context.Context, block int64) (int64, error) {
	tip, err := k.tips.Get(ctx, block)
	if errors.Is(err, collections.ErrNotFound) {
		return block, nil
	}
	return tip, err
}

// Clock is the height at which the network stands for whoever must draw and report in time: the last one whose seed is out. Without seeds
// nobody can draw, reach a new slot and report, so silence, repairs and warnings are timed by it and not by blocks. When
// the seeds of many heights come at once it goes no further than late_blocks at first, and stays there for as many blocks: so long
// the answers to all those draws count as given in time.
func (k *Keeper) Clock(ctx context.Context) (int64, error) {
	now := sdk.UnwrapSDKContext(ctx).BlockHeight()
	p, err := k.params.Get(ctx)
	if err != nil {
		return 0, err
	}
	tip, err := k.seeds.Tip(ctx)
	if err != nil {
		return 0, err
	}
	before, err := k.tip(ctx, now-p.LateBlocks)
	return min(tip, now, before+p.LateBlocks), err
}
