package committee

import (
	"context"
	"errors"

	"cosmossdk.io/collections"

	"github.com/cella-network/cella/protocol/threshold"
)

// assembled says whether a fresh key is to be tried among members: all of them have enclaves, or enough of them have had for retry_blocks. Who
// registers a little later than others is waited for: a seat that misses the first phase needs a repair.
func (k *Keeper) assembled(ctx context.Context, purpose string, members []threshold.Stakeholder, retry int64) (bool, error) {
	enough, err := k.enough(ctx, members)
	if err != nil {
		return false, err
	}
	if !enough {
		return false, k.gathered.Remove(ctx, purpose)
	}
	since, err := k.gathered.Get(ctx, purpose)
	if errors.Is(err, collections.ErrNotFound) {
		since = height(ctx)
		err = k.gathered.Set(ctx, purpose, since)
	}
	if err != nil || height(ctx) >= since+retry {
		return err == nil, err
	}
	return k.complete(ctx, members)
}

// complete says whether each member that would have a seat has an enclave.
func (k *Keeper) complete(ctx context.Context, members []threshold.Stakeholder) (bool, error) {
	seats, _, err := plan(members)
	if err != nil {
		return false, nil
	}
	for _, seat := range seats {
		if _, active, err := k.holder(ctx, seat.Account); err != nil || !active {
			return false, err
		}
	}
	return true, nil
}
