package attest

import (
	"context"

	sdk "github.com/cosmos/cosmos-sdk/types"

	api "github.com/cella-network/cella/api/attest"
)

// Endorsers are drawn by seeds, seeds are made by the enclaves of nodes, and nodes join by endorsers. Where all enclaves were restarted
// at once that is a circle, and this is the way out of it: while seeds stay away, a machine on which an account's node ran before is
// taken back by the chain's own verdict. Nobody new joins that way.

// scannedPerBlock is how many waiting intents a block looks at, of which it judges intentsPerBlock.
const scannedPerBlock = 256

// away tells whether seeds have stayed away for longer than an endorser has time.
func (k *Keeper) away(ctx context.Context, p api.Params) (bool, error) {
	tip, err := k.seeds.Tip(ctx)
	return sdk.UnwrapSDKContext(ctx).BlockHeight()-tip > p.EndorseBlocks, err
}

// returns tells whether a judged registration brings back the account's node on the machine on which it ran last.
func (k *Keeper) returns(ctx context.Context, v verdict) (bool, error) {
	n, ok, err := k.node(ctx, v.r.Account[:])
	same := n.Platform == v.claims.Platform && n.PlatformID == v.claims.PlatformID
	return ok && same && n.PlatformID != [32]byte{}, err
}

// takeBack ends the waiting of those who may return while seeds stay away.
func (k *Keeper) takeBack(ctx context.Context, p api.Params) error {
	away, err := k.away(ctx, p)
	if err != nil || !away {
		return err
	}
	c := sdk.UnwrapSDKContext(ctx)
	keys, err := dueOf(ctx, k.due, c.BlockHeight(), scannedPerBlock)
	if err != nil {
		return err
	}
	judged := 0
	for _, key := range keys {
		known, err := k.nodes.Has(ctx, key.K2())
		if err != nil {
			return err
		}
		if !known {
			continue
		}
		if judged++; judged > intentsPerBlock {
			return nil
		}
		branch, write := c.CacheContext()
		if err := k.readmit(branch, p, key.K2()); err != nil {
			c.Logger().Debug("attest: waits for seeds", "operator", key.K2(), "err", err)
			continue
		}
		write()
	}
	return nil
}

// readmit judges a waiting registration anew and, if it may return, admits it.
func (k *Keeper) readmit(ctx context.Context, p api.Params, operator sdk.AccAddress) error {
	_, info, _, err := k.intent(ctx, operator)
	if err != nil {
		return err
	}
	v, err := k.judge(ctx, p, operator, info.Registration, info.SigM)
	if err != nil {
		return err
	}
	back, err := k.returns(ctx, v)
	if err != nil {
		return err
	}
	if !back {
		return ErrRefused.Wrapf("the last node of %s ran on another machine", operator)
	}
	if err := k.removeIntent(ctx, operator); err != nil {
		return err
	}
	return k.admit(ctx, p, v, "", info.Addrs)
}
