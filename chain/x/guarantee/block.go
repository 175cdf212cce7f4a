package guarantee

import (
	"context"

	abci "github.com/cometbft/cometbft/abci/types"
)

// EndBlock pays the block's author, puts the set in force that the rules allow, and ends the era when it is over. It returns what CometBFT doesn't
// know yet of the set. A handover that needs no ceremony comes into force with the next block, so that no block moves power twice.
func (k *Keeper) EndBlock(ctx context.Context) ([]abci.ValidatorUpdate, error) {
	if err := k.author(ctx); err != nil {
		return nil, err
	}
	updates, err := k.turn(ctx)
	if err != nil {
		return nil, err
	}
	p, err := k.params.Get(ctx)
	if err != nil {
		return nil, err
	}
	e, over, err := k.tick(ctx, p)
	if err != nil || !over {
		return updates, err
	}
	return updates, k.endEra(ctx, p, e)
}
