package attest

import (
	"context"
	"errors"
	"slices"

	"cosmossdk.io/collections"

	sdk "github.com/cosmos/cosmos-sdk/types"

	"github.com/cella-network/cella/protocol/attestation"
	"github.com/cella-network/cella/protocol/lottery"
)

// All active nodes sit on numbered seats without a gap, endorsers first, so that a draw among either reads the drawn one alone,
// however many there are. Who comes, goes or changes sides swaps seats with the one on the border.

// seat makes an operator one that can be drawn as an endorser.
func (k *Keeper) seat(ctx context.Context, operator sdk.AccAddress) error {
	if err := k.enter(ctx, operator); err != nil {
		return err
	}
	at, err := k.seatOf.Get(ctx, operator)
	if err != nil {
		return err
	}
	n, err := k.seated(ctx)
	if err != nil || at < n {
		return err
	}
	if err := k.swap(ctx, at, n); err != nil {
		return err
	}
	return k.seatCount.Set(ctx, n+1)
}

// enter makes an operator one of the active, on a seat behind the endorsers, unless it has one.
func (k *Keeper) enter(ctx context.Context, operator sdk.AccAddress) error {
	if in, err := k.seatOf.Has(ctx, operator); err != nil || in {
		return err
	}
	n, err := k.count.Get(ctx)
	if err != nil {
		return err
	}
	if err := k.seats.Set(ctx, n, operator); err != nil {
		return err
	}
	if err := k.seatOf.Set(ctx, operator, n); err != nil {
		return err
	}
	return k.count.Set(ctx, n+1)
}

// unseat moves an operator behind the endorsers; it does nothing to one that is none.
func (k *Keeper) unseat(ctx context.Context, operator sdk.AccAddress) error {
	at, err := k.seatOf.Get(ctx, operator)
	if errors.Is(err, collections.ErrNotFound) {
		return nil
	}
	if err != nil {
		return err
	}
	n, err := k.seated(ctx)
	if err != nil || at >= n {
		return err
	}
	if err := k.swap(ctx, at, n-1); err != nil {
		return err
	}
	return k.seatCount.Set(ctx, n-1)
}

// leave takes an operator's seat away, if it has one.
func (k *Keeper) leave(ctx context.Context, operator sdk.AccAddress) error {
	if err := k.unseat(ctx, operator); err != nil {
		return err
	}
	at, err := k.seatOf.Get(ctx, operator)
	if errors.Is(err, collections.ErrNotFound) {
		return nil
	}
	if err != nil {
		return err
	}
	n, err := k.count.Get(ctx)
	if err != nil {
		return err
	}
	if err := k.swap(ctx, at, n-1); err != nil {
		return err
	}
	if err := k.seats.Remove(ctx, n-1); err != nil {
		return err
	}
	if err := k.seatOf.Remove(ctx, operator); err != nil {
		return err
	}
	return k.count.Set(ctx, n-1)
}

func (k *Keeper) swap(ctx context.Context, i, j uint64) error {
	if i == j {
		return nil
	}
	a, err := k.seats.Get(ctx, i)
	if err != nil {
		return err
	}
	b, err := k.seats.Get(ctx, j)
	if err != nil {
		return err
	}
	return errors.Join(k.seats.Set(ctx, i, b), k.seats.Set(ctx, j, a), k.seatOf.Set(ctx, a, j), k.seatOf.Set(ctx, b, i))
}

// seated is how many endorsers can be drawn.
func (k *Keeper) seated(ctx context.Context) (uint64, error) {
	n, err := k.seatCount.Get(ctx)
	if errors.Is(err, collections.ErrNotFound) {
		return 0, nil
	}
	return n, err
}

// endorses tells whether an operator can be drawn as an endorser.
func (k *Keeper) endorses(ctx context.Context, operator sdk.AccAddress) (bool, error) {
	at, err := k.seatOf.Get(ctx, operator)
	if errors.Is(err, collections.ErrNotFound) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	n, err := k.seated(ctx)
	return at < n, err
}

// canEndorse tells whether at least n nodes other than the operator's could be drawn as endorsers.
func (k *Keeper) canEndorse(ctx context.Context, operator sdk.AccAddress, n uint32) (bool, error) {
	others, err := k.seated(ctx)
	if err != nil {
		return false, err
	}
	own, err := k.endorses(ctx, operator)
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
			continue // it left
		}
		if err != nil {
			return nil, err
		}
		if at < n {
			out = append(out, at)
		}
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

// DrawActive is the node that the seed picks for a subject among all active ones, each with the same chance; ok is false if there
// is none.
func (k *Keeper) DrawActive(ctx context.Context, seed lottery.Seed, subject []byte) (n attestation.Node, ok bool, err error) {
	count, err := k.count.Get(ctx)
	if err != nil || count == 0 {
		return n, false, err
	}
	operator, err := k.seats.Get(ctx, seed.Uniform("active", subject, count))
	if err != nil {
		return n, false, err
	}
	return k.node(ctx, operator)
}

// DrawEndorser does so among those that may endorse, without the excluded accounts.
func (k *Keeper) DrawEndorser(ctx context.Context, seed lottery.Seed, subject []byte, excluded []attestation.Account) (n attestation.Node, ok bool, err error) {
	var out []sdk.AccAddress
	for i := range excluded {
		out = append(out, excluded[i][:])
	}
	operator, err := k.drawn(ctx, seed, subject, out)
	if err != nil || operator == nil {
		return n, false, err
	}
	return k.node(ctx, operator)
}
