package attest

import (
	"context"
	"encoding/binary"
	"errors"
	"slices"

	"cosmossdk.io/collections"

	sdk "github.com/cosmos/cosmos-sdk/types"

	api "github.com/cella-network/cella/api/attest"
	"github.com/cella-network/cella/protocol/attestation"
)

const (
	// Most items of each queue that one block handles; the rest waits for the next.
	intentsPerBlock  = 32
	expiriesPerBlock = 100
	hashesPerBlock   = 2  // pruned a block: more than one, so that a shortened trust_blocks catches up
	maxSilent        = 64 // endorsers that one intent remembers as silent
	// retryBlocks is when an item is tried again that could not be executed.
	retryBlocks = 100
)

// BeginBlock keeps the block's hash, ends registrations whose time has come and moves waiting joins on.
func (k *Keeper) BeginBlock(ctx context.Context) error {
	p, err := k.params.Get(ctx)
	if err != nil {
		return err
	}
	if err := k.keepHash(ctx, p); err != nil {
		return err
	}
	if err := k.expire(ctx); err != nil {
		return err
	}
	if err := k.takeBack(ctx, p); err != nil {
		return err
	}
	return k.draw(ctx, p)
}

// keepHash stores the hash of the header that is being executed: it is decided, so the block's own messages may name it no
// less than later ones. Contexts that only check proposals never come here. While seeds don't come, hashes are kept from
// the last seed back: work reports name no later height than that.
func (k *Keeper) keepHash(ctx context.Context, p api.Params) error {
	c := sdk.UnwrapSDKContext(ctx)
	if hash := c.HeaderHash(); len(hash) == 32 {
		if err := k.hashes.Set(ctx, c.BlockHeight(), hash); err != nil {
			return err
		}
	}
	tip, err := k.seeds.Tip(ctx)
	if err != nil {
		return err
	}
	var old []int64
	err = k.hashes.Walk(ctx, new(collections.Range[int64]).EndExclusive(min(tip, c.BlockHeight())-p.TrustBlocks), func(height int64, _ []byte) (bool, error) {
		old = append(old, height)
		return len(old) == hashesPerBlock, nil
	})
	for _, height := range old {
		err = errors.Join(err, k.hashes.Remove(ctx, height))
	}
	return err
}

// expire ends registrations at their height, or when their evidence's collateral ends.
func (k *Keeper) expire(ctx context.Context) error {
	c := sdk.UnwrapSDKContext(ctx)
	ended, err := dueOf(ctx, k.expiries, c.BlockHeight(), expiriesPerBlock)
	if err != nil {
		return err
	}
	outdated, err := dueOf(ctx, k.collaterals, c.BlockTime().Unix(), expiriesPerBlock)
	if err != nil {
		return err
	}
	for _, key := range append(ended, outdated...) {
		n, ok, err := k.node(ctx, key.K2())
		if err != nil {
			return err
		}
		listed, err := k.seatOf.Has(ctx, key.K2())
		if err != nil {
			return err
		}
		if !ok || !listed {
			continue // both ends came in one block
		}
		info, err := k.nodeInfo(ctx, key.K2())
		if err != nil {
			return err
		}
		if err := k.deactivate(ctx, n, info); err != nil {
			return err
		}
		n.Expires = min(n.Expires, c.BlockHeight())
		if err := k.setNode(ctx, n, info); err != nil {
			return err
		}
		if err := k.inactive(ctx, key.K2(), "expired"); err != nil {
			return err
		}
	}
	return nil
}

// draw handles the intents whose height has come and has its seed: their first draw, another one after silence, or their end. What no
// seed is out for stays in the queue: without one no intent ends.
func (k *Keeper) draw(ctx context.Context, p api.Params) error {
	c := sdk.UnwrapSDKContext(ctx)
	tip, err := k.seeds.Tip(ctx)
	if err != nil {
		return err
	}
	keys, err := dueOf(ctx, k.due, min(tip, c.BlockHeight()), intentsPerBlock)
	if err != nil || len(keys) == 0 {
		return err
	}
	for _, key := range keys {
		// A failing item is a bug, but one that must neither stop the chain nor half happen: it is tried again later.
		branch, write := c.CacheContext()
		if err := k.step(branch, p, key.K2(), key.K1()); err != nil {
			c.Logger().Error("attest: an intent failed and waits", "height", c.BlockHeight(), "operator", key.K2(), "err", err)
			if err := k.put(ctx, key.K2(), c.BlockHeight()+retryBlocks); err != nil {
				return err
			}
			continue
		}
		write()
	}
	return nil
}

// step moves one intent on that is due at a height, by the seed of that height: of a block after the one that took the intent, so that
// who makes either can't know it before. The subject of the draw is the operator and how many were silent before.
func (k *Keeper) step(ctx context.Context, p api.Params, operator sdk.AccAddress, at int64) error {
	now := sdk.UnwrapSDKContext(ctx).BlockHeight()
	in, info, _, err := k.intent(ctx, operator)
	if err != nil {
		return err
	}
	end := in.Announced + p.IntentBlocks
	if at >= end {
		return k.lapse(ctx, operator)
	}
	seed, known, err := k.seeds.Seed(ctx, at)
	if err != nil {
		return err
	}
	if !known {
		return k.put(ctx, operator, now) // it waited for so long that its seed is kept no more
	}
	// The endorser has its time from this block on, however late the seed came; if the intent's own is over by then, it is the last.
	next := now + min(p.EndorseBlocks, end-at)
	silent, attempt := slices.Clone(info.Silent), in.Attempt
	if in.Endorser != (attestation.Account{}) {
		text, err := k.addresses.BytesToString(in.Endorser[:])
		if err != nil {
			return err
		}
		silent = append(silent, text)
		silent = silent[max(0, len(silent)-maxSilent):]
		attempt++
	}
	excluded := []sdk.AccAddress{operator}
	for _, text := range silent {
		e, err := k.operator(text)
		if err != nil {
			return err
		}
		excluded = append(excluded, e)
	}
	subject := binary.BigEndian.AppendUint32(append([]byte(nil), operator...), attempt)
	drawn, err := k.drawn(ctx, seed, subject, excluded)
	if err == nil && drawn == nil {
		// All were silent: begin again, some may have come back.
		silent = nil
		drawn, err = k.drawn(ctx, seed, subject, excluded[:1])
	}
	if err != nil {
		return err
	}
	if drawn == nil {
		return k.put(ctx, operator, next) // nobody is there
	}
	if in.Endorser != (attestation.Account{}) {
		if err := k.countSilence(ctx, in.Endorser[:]); err != nil {
			return err
		}
	}
	copy(in.Endorser[:], drawn)
	in.Drawn, in.Attempt = now, attempt
	info.Silent = silent
	if err := k.setIntent(ctx, in, info); err != nil {
		return err
	}
	if err := k.put(ctx, operator, next); err != nil {
		return err
	}
	text, err := k.addresses.BytesToString(operator)
	if err != nil {
		return err
	}
	endorser, err := k.addresses.BytesToString(drawn)
	if err != nil {
		return err
	}
	return k.emit(ctx, &api.EventEndorserDrawn{Operator: text, Endorser: endorser, Attempt: in.Attempt})
}

// lapse ends an intent that nobody endorsed; the stake goes back unless it also stands for a registration.
func (k *Keeper) lapse(ctx context.Context, operator sdk.AccAddress) error {
	if err := k.removeIntent(ctx, operator); err != nil {
		return err
	}
	registered, err := k.nodes.Has(ctx, operator)
	if err != nil {
		return err
	}
	if !registered {
		if err := k.release(ctx, operator, "intent-expired"); err != nil {
			return err
		}
	}
	text, err := k.addresses.BytesToString(operator)
	if err != nil {
		return err
	}
	return k.emit(ctx, &api.EventIntentClosed{Operator: text})
}

func (k *Keeper) countSilence(ctx context.Context, endorser sdk.AccAddress) error {
	info, err := k.nodeInfos.Get(ctx, endorser)
	if errors.Is(err, collections.ErrNotFound) {
		return nil // it left
	}
	if err != nil {
		return err
	}
	info.Silent++
	return k.nodeInfos.Set(ctx, endorser, info)
}

func (k *Keeper) inactive(ctx context.Context, operator sdk.AccAddress, rule string) error {
	text, err := k.addresses.BytesToString(operator)
	if err != nil {
		return err
	}
	return k.emit(ctx, &api.EventInactive{Operator: text, Rule: rule})
}

func (k *Keeper) intent(ctx context.Context, operator sdk.AccAddress) (in attestation.Intent, info api.IntentInfo, ok bool, err error) {
	b, err := k.intents.Get(ctx, operator)
	if errors.Is(err, collections.ErrNotFound) {
		return in, info, false, nil
	}
	if err != nil {
		return in, info, false, err
	}
	if in, err = attestation.UnmarshalIntent(b); err != nil {
		return in, info, false, err
	}
	info, err = k.intentInfos.Get(ctx, operator)
	return in, info, err == nil, err
}

func (k *Keeper) setIntent(ctx context.Context, in attestation.Intent, info api.IntentInfo) error {
	if err := k.intents.Set(ctx, in.Account[:], in.Marshal()); err != nil {
		return err
	}
	return k.intentInfos.Set(ctx, in.Account[:], info)
}

// put moves an intent to another height of the queue.
func (k *Keeper) put(ctx context.Context, operator sdk.AccAddress, height int64) error {
	info, err := k.intentInfos.Get(ctx, operator)
	if err != nil {
		return err
	}
	if err := k.due.Remove(ctx, collections.Join(info.Due, operator)); err != nil {
		return err
	}
	info.Due = height
	if err := k.intentInfos.Set(ctx, operator, info); err != nil {
		return err
	}
	return k.due.Set(ctx, collections.Join(height, operator))
}

func (k *Keeper) removeIntent(ctx context.Context, operator sdk.AccAddress) error {
	info, err := k.intentInfos.Get(ctx, operator)
	if errors.Is(err, collections.ErrNotFound) {
		return nil
	}
	if err != nil {
		return err
	}
	if err := k.due.Remove(ctx, collections.Join(info.Due, operator)); err != nil {
		return err
	}
	if err := k.intentInfos.Remove(ctx, operator); err != nil {
		return err
	}
	return k.intents.Remove(ctx, operator)
}

// dueOf lists at most limit items of a queue whose time has come, earliest first.
func dueOf(ctx context.Context, queue collections.KeySet[collections.Pair[int64, sdk.AccAddress]], now int64, limit int) (keys []collections.Pair[int64, sdk.AccAddress], err error) {
	err = queue.Walk(ctx, nil, func(key collections.Pair[int64, sdk.AccAddress]) (bool, error) {
		if key.K1() > now || len(keys) == limit {
			return true, nil
		}
		keys = append(keys, key)
		return false, nil
	})
	return keys, err
}
