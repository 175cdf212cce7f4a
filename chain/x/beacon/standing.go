package beacon

import (
	"bytes"
	"context"
	"fmt"

	"cosmossdk.io/collections"

	sdk "github.com/cosmos/cosmos-sdk/types"

	api "github.com/cella-network/cella/api/beacon"
	"github.com/cella-network/cella/protocol/beacon"
	"github.com/cella-network/cella/protocol/lottery"
	"github.com/cella-network/cella/protocol/threshold"
)

// standing is where numbers stand at the begin of a block: the same for who votes, proposes, checks and executes it.
type standing struct {
	beacon.Numbers
	keeper      *Keeper
	ctx         context.Context
	now, before *threshold.InCharge
	state       api.State // what of it is not in Numbers
	newKey      bool
}

// begin loads where numbers stand and begins the block of the given height and hash. Nothing is stored before save.
func (k *Keeper) begin(ctx sdk.Context, height int64, hash [32]byte) (*standing, error) {
	s := &standing{keeper: k, ctx: ctx, Numbers: beacon.Numbers{ChainID: ctx.ChainID()}}
	state, _, err := maybe(k.state.Get(ctx))
	if err != nil {
		return nil, err
	}
	s.state, s.Head = state, state.Head
	if s.Tip, err = k.tipOf(ctx); err != nil {
		return nil, err
	}
	s.Signing.Epoch = state.Epoch
	copy(s.Signing.Key[:], state.Key)
	s.Void.Below = state.VoidBelow
	copy(s.Void.Hash[:], state.VoidHash)
	if s.now, s.before, err = k.committee.Charges(ctx, Purpose); err != nil {
		return nil, err
	}
	var signing *beacon.Signing
	if c := s.at(height); c != nil {
		signing = &beacon.Signing{Epoch: c.Epoch, Key: c.Keys.Key()}
		s.newKey = !bytes.Equal(state.Key, signing.Key[:])
	}
	return s, s.Begin(height, hash, signing)
}

// at is who signs at a height that the last two charges cover.
func (s *standing) at(height int64) *threshold.InCharge {
	return beacon.SigningAt(height, s.now, s.before)
}

// wanted says whether a number may come, and what is signed for it.
func (s *standing) wanted(height int64) (message []byte, epoch uint64, ok bool, err error) {
	m, ok, err := s.Wanted(s, height)
	return m.Marshal(), m.Epoch, ok, err
}

// check says whether a number is one that may come: missing, and signed by the group in charge, whose key is that of all missing ones.
func (s *standing) check(n beacon.Number) (epoch uint64, err error) {
	message, epoch, ok, err := s.wanted(n.Height)
	switch c := s.at(s.Head); {
	case err != nil:
		return 0, err
	case !ok || c == nil:
		return 0, ErrRefused.Wrapf("nobody waits for the number of height %d", n.Height)
	case !c.Keys.Verify(message, n.Signature):
		return 0, ErrRefused.Wrapf("the number of height %d is not signed by the group", n.Height)
	}
	return epoch, nil
}

// oldest lists missing heights below another, oldest first.
func (s *standing) oldest(below int64, limit int) (heights []int64, err error) {
	from := max(s.Tip.Height+1, s.Void.Below)
	if from >= below {
		return nil, nil
	}
	r := new(collections.Range[int64]).StartInclusive(from).EndExclusive(below)
	err = s.keeper.missing.Walk(s.ctx, r, func(h int64, _ uint64) (bool, error) {
		heights = append(heights, h)
		return len(heights) >= limit, nil
	})
	return heights, err
}

// Get and Set keep heights for beacon.Numbers.
func (s *standing) Get(height int64) (beacon.Height, error) {
	epoch, missing, err := maybe(s.keeper.missing.Get(s.ctx, height))
	if err != nil || missing {
		return beacon.Height{Missing: missing, Epoch: epoch}, err
	}
	b, ok, err := maybe(s.keeper.seeds.Get(s.ctx, height))
	if err != nil || !ok {
		return beacon.Height{}, err
	}
	if len(b) < plain {
		return beacon.Height{}, fmt.Errorf("seed of height %d: %w", height, beacon.ErrMalformed)
	}
	return beacon.Height{Seed: lottery.Seed(b[:plain])}, nil
}

func (s *standing) Set(height int64, h beacon.Height) error {
	if h.Missing {
		return s.keeper.missing.Set(s.ctx, height, h.Epoch)
	}
	if err := s.keeper.missing.Remove(s.ctx, height); err != nil {
		return err
	}
	b := h.Seed[:]
	if height == s.Tip.Height {
		b = append(b, s.Tip.Hash[:]...)
	}
	return s.keeper.seeds.Set(s.ctx, height, b)
}

// save stores what changed.
func (s *standing) save() error {
	s.state.Head, s.state.Epoch, s.state.VoidBelow, s.state.VoidHash = s.Head, s.Signing.Epoch, s.Void.Below, s.Void.Hash[:]
	if s.state.First == 0 {
		s.state.First = s.Head
	}
	if s.newKey {
		s.state.Key = s.Signing.Key[:]
		if err := s.keeper.keys.Set(s.ctx, s.Head, s.state.Key); err != nil {
			return err
		}
	}
	if err := s.keeper.state.Set(s.ctx, s.state); err != nil {
		return err
	}
	return s.keeper.tip.Set(s.ctx, s.Tip.Marshal())
}
