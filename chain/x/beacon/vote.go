package beacon

import (
	"context"
	"fmt"
	"slices"
	"time"

	abci "github.com/cometbft/cometbft/abci/types"

	sdk "github.com/cosmos/cosmos-sdk/types"

	"github.com/cella-network/cella/protocol/beacon"
	"github.com/cella-network/cella/protocol/threshold"
)

// signTime is how long a vote waits for the enclave.
const signTime = 200 * time.Millisecond

// ExtendVote puts the enclave's partial signatures beside this node's vote: on the height that it votes on, and on the oldest ones that are missing.
// Whatever goes wrong, the vote goes out, without them.
func (k *Keeper) ExtendVote() sdk.ExtendVoteHandler {
	return func(ctx sdk.Context, req *abci.RequestExtendVote) (*abci.ResponseExtendVote, error) {
		var e beacon.Extension
		err := safely(func() (err error) {
			e, err = k.extension(ctx, req.Height, req.Txs)
			return err
		})
		switch changed := k.node.troubled(err, len(e.Partials) > 0); {
		case changed && err != nil:
			ctx.Logger().Error("beacon: votes go out without a partial signature from here on", "height", req.Height, "err", err)
		case changed:
			ctx.Logger().Info("beacon: votes carry partial signatures again", "height", req.Height)
		}
		if err != nil || len(e.Partials) == 0 {
			return &abci.ResponseExtendVote{}, nil
		}
		return &abci.ResponseExtendVote{VoteExtension: e.Marshal()}, nil
	}
}

// safely makes an error of a panic: a node whose handler of votes fails comes to its end.
func safely(do func() error) (err error) {
	defer func() {
		if r := recover(); r != nil {
			err = fmt.Errorf("panic: %v", r)
		}
	}()
	return do()
}

// extension asks the enclave. Only heights of one epoch can be asked for at once; the own height comes first and does not wait for others.
func (k *Keeper) extension(ctx sdk.Context, height int64, txs [][]byte) (e beacon.Extension, err error) {
	signer, self := k.node.asks()
	if signer == nil {
		return e, nil
	}
	s, err := k.begin(ctx, height, [32]byte{})
	if err != nil {
		return e, err
	}
	c := s.at(height)
	if c == nil {
		return e, nil
	}
	e.Epoch = c.Epoch
	voters, err := k.votersAt(ctx, height)
	if err != nil {
		return e, err
	}
	late, err := s.late(height, txs)
	if err != nil {
		return e, err
	}
	limited, cancel := context.WithTimeout(ctx, signTime)
	defer cancel()
	for i, h := range append([]int64{height}, late...) {
		message := threshold.Message{ChainID: s.ChainID, Epoch: c.Epoch, Height: h}
		if i > 0 {
			if message, _, err = s.Wanted(s, h); err != nil {
				return e, err
			}
		}
		points, err := k.sign(limited, signer, message, c.Keys, voters.seat(c.Keys, self[:]))
		if err != nil && i == 0 {
			return e, err
		}
		if err == nil && points != nil {
			e.Partials = append(e.Partials, beacon.Partial{Height: h, Points: points})
		}
	}
	return ordered(e), nil
}

// late are the oldest missing heights, without those whose numbers the block that is voted on brings, and without that of the last votes.
func (s *standing) late(height int64, txs [][]byte) ([]int64, error) {
	var coming beacon.Carried
	if len(txs) > 0 {
		coming, _ = beacon.UnmarshalCarried(txs[0])
	}
	late, err := s.oldest(height-1, beacon.MaxPartials-1+len(coming))
	late = slices.DeleteFunc(late, func(h int64) bool {
		return slices.ContainsFunc(coming, func(n beacon.Number) bool { return n.Height == h })
	})
	return late[:min(len(late), beacon.MaxPartials-1)], err
}

// sign asks for one partial signature and, if it is known which seat is this node's, checks it.
func (k *Keeper) sign(ctx context.Context, signer Signer, m threshold.Message, g *threshold.Group, seat int) ([]byte, error) {
	partials, err := signer.Partial(ctx, m.Epoch, []int64{m.Height})
	if err != nil || len(partials) != 1 || len(partials[0]) == 0 {
		return nil, err
	}
	if seat < 0 {
		return partials[0], nil
	}
	p, err := g.UnmarshalPartial(seat, partials[0])
	if err != nil {
		return nil, err
	}
	if len(g.Check(m.Marshal(), []threshold.Partial{p})) > 0 {
		return nil, ErrRefused.Wrapf("the enclave's partial signature on height %d is wrong", m.Height)
	}
	return partials[0], nil
}

// ordered puts the own height, which was asked for first, behind those that are missing.
func ordered(e beacon.Extension) beacon.Extension {
	if n := len(e.Partials); n > 1 && e.Partials[0].Height > e.Partials[n-1].Height {
		e.Partials = append(e.Partials[1:], e.Partials[0])
	}
	return e
}

// VerifyVoteExtension accepts all that is no longer than what can be of use: a vote counts whatever is beside it, or who signs rubbish could take
// others' votes out of the count. What is longer no honest node sends, and all nodes would have to keep it. What is of use is remembered.
func (k *Keeper) VerifyVoteExtension() sdk.VerifyVoteExtensionHandler {
	return func(ctx sdk.Context, req *abci.RequestVerifyVoteExtension) (*abci.ResponseVerifyVoteExtension, error) {
		if len(req.VoteExtension) > maxExtension {
			return &abci.ResponseVerifyVoteExtension{Status: abci.ResponseVerifyVoteExtension_REJECT}, nil
		}
		if err := safely(func() error { return k.remember(ctx, req.Height, req.ValidatorAddress, req.VoteExtension) }); err != nil {
			ctx.Logger().Debug("beacon: nothing was beside a vote", "height", req.Height, "err", err)
		}
		return &abci.ResponseVerifyVoteExtension{Status: abci.ResponseVerifyVoteExtension_ACCEPT}, nil
	}
}

// remember keeps the partial signatures of a vote for a height that is not executed yet.
func (k *Keeper) remember(ctx sdk.Context, height int64, validator, extension []byte) error {
	if len(extension) == 0 {
		return nil
	}
	s, err := k.begin(ctx, height, [32]byte{})
	if err != nil {
		return err
	}
	voters, err := k.votersAt(ctx, height)
	if err != nil {
		return err
	}
	e, err := beacon.UnmarshalExtension(extension)
	if err != nil {
		return err
	}
	_, err = s.pool(e, height, voters, validator)
	return err
}

// pool remembers what of an extension is of use, and says whose it is. Seats of another group than that which was in charge at the height are
// ignored, and so are partial signatures of another length than the seat's shares have.
func (s *standing) pool(e beacon.Extension, height int64, voters voterSet, validator []byte) (source, error) {
	c := s.at(height)
	if c == nil || c.Epoch != e.Epoch {
		return source{}, ErrRefused.Wrapf("epoch %d is not in charge at height %d", e.Epoch, height)
	}
	from := source{epoch: e.Epoch, seat: voters.seat(c.Keys, validator)}
	if !c.Keys.Ready(from.seat) {
		return source{}, ErrRefused.Wrapf("%X has no seat that is ready", validator)
	}
	for _, p := range e.Partials {
		_, _, wanted, err := s.wanted(p.Height)
		if err != nil {
			return source{}, err
		}
		if (wanted || p.Height == s.Head) && len(p.Points) == 48*c.Keys.Seats[from.seat].Shares {
			s.keeper.node.put(p.Height, from, p.Points)
		}
	}
	return from, nil
}
