package guarantee

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"slices"

	"cosmossdk.io/collections"

	sdk "github.com/cosmos/cosmos-sdk/types"

	api "github.com/cella-network/cella/api/guarantee"
	"github.com/cella-network/cella/protocol/beacon"
	"github.com/cella-network/cella/protocol/threshold"
)

// Members are who would hold a fresh key now: the set in force, in the order of their accounts, without those that must go.
func (k *Keeper) Members(ctx context.Context, purpose string) ([]threshold.Stakeholder, error) {
	if purpose != Purpose {
		return nil, ErrRefused.Wrapf("no committee for %q", purpose)
	}
	set, err := k.last(ctx)
	if err != nil {
		return nil, err
	}
	gone, err := k.gone(ctx, set.Seats)
	if err != nil {
		return nil, err
	}
	return k.stakeholders(slices.DeleteFunc(set.Seats, func(s api.Seat) bool { return slices.Contains(gone, s.Operator) }))
}

func (k *Keeper) stakeholders(seats []api.Seat) ([]threshold.Stakeholder, error) {
	out := make([]threshold.Stakeholder, len(seats))
	for i, s := range seats {
		account, err := k.account(s.Operator)
		if err != nil {
			return nil, err
		}
		out[i] = threshold.Stakeholder{Account: account, Stake: s.Stake}
	}
	slices.SortFunc(out, byAccount)
	return out, nil
}

func byAccount(a, b threshold.Stakeholder) int { return bytes.Compare(a.Account[:], b.Account[:]) }

// account is an operator's as the rules of committees and numbers have it.
func (k *Keeper) account(operator string) (out [20]byte, err error) {
	b, err := k.addresses.StringToBytes(operator)
	if err != nil {
		return out, err
	}
	if len(b) != len(out) {
		return out, ErrRefused.Wrapf("%s is no operator's account", operator)
	}
	return [20]byte(b), nil
}

// Reshared hears that the keys are in the hands of exactly these members (x/committee, in EndBlock). If that is the set that waits for it,
// it comes into force with this block's updates. Any other ceremony moves no power, and the keys are handed on when the era ends.
func (k *Keeper) Reshared(ctx context.Context, purpose string, members []threshold.Stakeholder) error {
	if purpose != Purpose {
		return nil
	}
	got := slices.Clone(members)
	slices.SortFunc(got, byAccount)
	holders := api.Set{}
	for _, m := range got {
		text, err := k.addresses.BytesToString(m.Account[:])
		if err != nil {
			return err
		}
		holders.Seats = append(holders.Seats, api.Seat{Operator: text, Stake: m.Stake})
	}
	if err := k.holders.Set(ctx, holders); err != nil {
		return err
	}
	h, err := k.handover.Get(ctx)
	if errors.Is(err, collections.ErrNotFound) {
		return nil
	}
	if err != nil {
		return err
	}
	want, err := k.stakeholders(h.Seats)
	if err != nil {
		return err
	}
	if !slices.Equal(want, got) {
		if err := k.handover.Remove(ctx); err != nil {
			return err
		}
		return k.failed(ctx, h.Era, "the keys went to others")
	}
	h.Reshared = true
	return k.handover.Set(ctx, h)
}

// held tells whether the keys are in the hands of exactly these.
func (k *Keeper) held(ctx context.Context, seats []api.Seat) (bool, error) {
	holders, err := k.holders.Get(ctx)
	if err != nil && !errors.Is(err, collections.ErrNotFound) {
		return false, err
	}
	has, err := k.stakeholders(holders.Seats)
	if err != nil {
		return false, err
	}
	want, err := k.stakeholders(seats)
	return slices.Equal(has, want), err
}

// Failed hears that an attempt came to nothing. The set in force stays; the committee tries again until the era ends and elects anew.
func (k *Keeper) Failed(ctx context.Context, purpose string) error {
	h, err := k.handover.Get(ctx)
	if errors.Is(err, collections.ErrNotFound) || purpose != Purpose {
		return nil
	}
	if err != nil || h.Reshared {
		return err
	}
	h.Failures++
	if err := k.handover.Set(ctx, h); err != nil {
		return err
	}
	return k.failed(ctx, h.Era, "the ceremony failed")
}

func (k *Keeper) failed(ctx context.Context, era int64, reason string) error {
	return emit(ctx, &api.EventHandoverFailed{Era: era, Reason: reason, Height: sdk.UnwrapSDKContext(ctx).BlockHeight()})
}

// Voters are the validators of a height, which is at most one above the executing one, in the order of their accounts.
func (k *Keeper) Voters(ctx context.Context, height int64) ([]beacon.Voter, error) {
	set, err := k.setAt(ctx, height)
	if err != nil {
		return nil, err
	}
	if len(set.Seats) == 0 {
		return nil, ErrRefused.Wrapf("the validators of height %d are forgotten", height)
	}
	out := make([]beacon.Voter, len(set.Seats))
	for i, s := range set.Seats {
		account, err := k.account(s.Operator)
		if err != nil {
			return nil, err
		}
		out[i] = beacon.Voter{Operator: account, Consensus: consensusOf(s.Key), Stake: s.Stake}
		copy(out[i].Key[:], s.Key)
	}
	slices.SortFunc(out, func(a, b beacon.Voter) int { return bytes.Compare(a.Operator[:], b.Operator[:]) })
	return out, nil
}

// consensusOf is the address of an ed25519 consensus key.
func consensusOf(key []byte) [20]byte {
	sum := sha256.Sum256(key)
	return [20]byte(sum[:20])
}
