package attest

import (
	"context"
	"errors"
	"slices"

	"cosmossdk.io/collections"

	sdk "github.com/cosmos/cosmos-sdk/types"

	"github.com/cella-network/cella/protocol/lottery"
)

// The nodes that can be drawn as endorsers sit on numbered seats without a gap, so that a draw reads the drawn one alone,
// however many there are. Who stands up leaves the seat to the one on the last.

// seat makes an operator one that can be drawn.
func (k *Keeper) seat(ctx context.Context, operator sdk.AccAddress) error {
	if seated, err := k.seatOf.Has(ctx, operator); err != nil || seated {
		return err
	}
	n, err := k.seated(ctx)
	if err != nil {
		return err
	}
	if err := k.seats.Set(ctx, n, operator); err != nil {
		return err
	}
	if err := k.seatOf.Set(ctx, operator, n); err != nil {
		return err
	}
	return k.seatCount.Set(ctx, n+1)
}

// unseat does nothing to an operator that has no seat.
func (k *Keeper) unseat(ctx context.Context, operator sdk.AccAddress) error {
	at, err := k.seatOf.Get(ctx, operator)
	if errors.Is(err, collections.ErrNotFound) {
		return nil
	}
	if err != nil {
		return err
	}
	n, err := k.seated(ctx)
	if err != nil {
		return err
	}
	if last := n - 1; at != last {
		moved, err := k.seats.Get(ctx, last)
		if err != nil {
			return err
		}
		if err := k.seats.Set(ctx, at, moved); err != nil {
			return err
		}
		if err := k.seatOf.Set(ctx, moved, at); err != nil {
			return err
		}
	}
	if err := k.seats.Remove(ctx, n-1); err != nil {
		return err
	}
	if err := k.seatOf.Remove(ctx, operator); err != nil {
		return err
	}
	return k.seatCount.Set(ctx, n-1)
}

// seated is how many endorsers can be drawn.
func (k *Keeper) seated(ctx context.Context) (uint64, error) {
	n, err := k.seatCount.Get(ctx)
	if errors.Is(err, collections.ErrNotFound) {
		return 0, nil
	}
	return n, err
}

// canEndorse tells whether at least n nodes other than the operator's could be drawn as endorsers.
func (k *Keeper) canEndorse(ctx context.Context, operator sdk.AccAddress, n uint32) (bool, error) {
	others, err := k.seated(ctx)
	if err != nil {
		return false, err
	}
	own, err := k.seatOf.Has(ctx, operator)
	if own {
		others--
	}
	return others >= uint64(n), err
}

// drawn is the endorser that the seed picks for a subject, each but the excluded ones with the same chance; nil if there is
// no other.
func (k *Keeper) drawn(ctx context.Context, seed lottery.Seed, subject []byte, excluded []sdk.AccAddress) (sdk.AccAddress, error) {
	n, err := k.seated(ctx)
	if err != nil {
		return nil, err
	}
	var out []uint64
	for _, e := range excluded {
		at, err := k.seatOf.Get(ctx, e)
		if errors.Is(err, collections.ErrNotFound) {
			continue // it is no endorser any more
		}
		if err != nil {
			return nil, err
		}
		out = append(out, at)
	}
	slices.Sort(out)
	out = slices.Compact(out)
	if n == uint64(len(out)) {
		return nil, nil
	}
	at := seed.Uniform("endorser", subject, n-uint64(len(out)))
	for _, o := range out {
		if o <= at {
			at++ // count over the excluded seats
		}
	}
	return k.seats.Get(ctx, at)
}
