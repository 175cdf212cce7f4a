package beacon

import (
	"context"
	"fmt"

	"cosmossdk.io/collections"

	"github.com/cometbft/cometbft/crypto/ed25519"
	cmtproto "github.com/cometbft/cometbft/proto/tendermint/types"
	cmttypes "github.com/cometbft/cometbft/types"

	storetypes "github.com/cosmos/cosmos-sdk/store/v2/types"
	sdk "github.com/cosmos/cosmos-sdk/types"

	api "github.com/cella-network/cella/api/beacon"
	"github.com/cella-network/cella/protocol/beacon"
	"github.com/cella-network/cella/protocol/threshold"
)

const (
	// ruleBadShare is for what a bad share is punished.
	ruleBadShare = "bad-share"

	maxExtension = beacon.MaxExtension // bytes: what counts beside a vote must be evidence, however it is padded

	gasBadShare  = 100_000 // a signature, two pairings for each partial signature
	gasExtension = 50      // a byte of it: points are checked to be in the group
)

// msgServer answers the module's messages.
type msgServer struct{ *Keeper }

var _ api.MsgServer = msgServer{}

func (k msgServer) BadShare(ctx context.Context, msg *api.MsgBadShare) (*api.MsgBadShareResponse, error) {
	if len(msg.Extension) > maxExtension || len(msg.Signature) != ed25519.SignatureSize || len(msg.Validator) != 20 {
		return nil, ErrRefused.Wrapf("extension of %d bytes, signature of %d, validator of %d, want at most %d, %d and 20",
			len(msg.Extension), len(msg.Signature), len(msg.Validator), maxExtension, ed25519.SignatureSize)
	}
	sdk.UnwrapSDKContext(ctx).GasMeter().ConsumeGas(gasBadShare+gasExtension*uint64(len(msg.Extension)), "check of partial signatures")
	return &api.MsgBadShareResponse{}, k.badShare(sdk.UnwrapSDKContext(ctx), msg)
}

func (k msgServer) UpdateParams(ctx context.Context, msg *api.MsgUpdateParams) (*api.MsgUpdateParamsResponse, error) {
	if msg.Authority != k.authority {
		return nil, ErrRefused.Wrapf("params are changed by %s", k.authority)
	}
	if err := validateParams(msg.Params); err != nil {
		return nil, refused(err)
	}
	return &api.MsgUpdateParamsResponse{}, k.params.Set(ctx, msg.Params)
}

// badShare punishes a validator that signed a vote with a wrong partial signature beside it.
func (k *Keeper) badShare(ctx sdk.Context, msg *api.MsgBadShare) error {
	now := ctx.BlockHeight()
	if msg.Height < now-provable || msg.Height >= now {
		return ErrRefused.Wrapf("height %d is not one of the last %d blocks", msg.Height, provable)
	}
	key := collections.Join(msg.Height, msg.Validator)
	if known, err := k.proven.Has(ctx, key); err != nil || known {
		return orRefused(err, "the validator was punished for height %d", msg.Height)
	}
	voters, err := k.votersAt(ctx, msg.Height)
	if err != nil {
		return err
	}
	voter, ok := voters.find(msg.Validator)
	if !ok || len(voter.Key) != ed25519.PubKeySize {
		return ErrRefused.Wrapf("%X did not vote at height %d", msg.Validator, msg.Height)
	}
	signed := cmttypes.VoteExtensionSignBytes(ctx.ChainID(), &cmtproto.Vote{Height: msg.Height, Round: int32(msg.Round), Extension: msg.Extension})
	// By the rule of consensus: what it took beside a vote must not be without a signature here.
	if msg.Round < 0 || msg.Round > 1<<30 || !ed25519.PubKey(voter.Key).VerifySignature(signed, msg.Signature) {
		return ErrRefused.Wrapf("the extension is not signed by %X for height %d, round %d", msg.Validator, msg.Height, msg.Round)
	}
	e, err := beacon.UnmarshalExtension(msg.Extension)
	if err != nil {
		return ErrRefused.Wrap("the extension says nothing: it is no evidence")
	}
	if err := k.wrong(ctx, msg.Height, e, voter); err != nil {
		return err
	}
	if err := k.proven.Set(ctx, key); err != nil {
		return err
	}
	// Coins on their way out are slashed one by one, and paid for that when they left. A queue of them must not make the proof too dear for a transaction.
	if err := k.punisher.Punish(ctx.WithGasMeter(storetypes.NewInfiniteGasMeter()), [20]byte(msg.Validator), msg.Height, ruleBadShare); err != nil {
		return err
	}
	return emit(ctx, &api.EventBadShare{Validator: fmt.Sprintf("%X", msg.Validator), Height: msg.Height})
}

// wrong refuses an extension unless one of its partial signatures is wrong: for the seat of the voter in the group that was in charge at the height
// of the vote, on what was to be signed there.
func (k *Keeper) wrong(ctx sdk.Context, height int64, e beacon.Extension, voter api.Voter) error {
	now, before, err := k.committee.Charges(ctx, Purpose)
	if err != nil {
		return err
	}
	c := beacon.SigningAt(height, now, before)
	if c == nil || c.Epoch != e.Epoch {
		return ErrRefused.Wrapf("epoch %d was not in charge at height %d, or its group is forgotten", e.Epoch, height)
	}
	seat := voterSet{voter}.seat(c.Keys, voter.Consensus)
	if !c.Keys.Ready(seat) {
		return ErrRefused.Wrap("the validator has no seat that is ready")
	}
	for _, p := range e.Partials {
		if p.Height > height {
			continue
		}
		epoch, ok, err := k.epochOf(ctx, p.Height)
		if err != nil {
			return err
		}
		if !ok {
			continue
		}
		partial, err := c.Keys.UnmarshalPartial(seat, p.Points)
		message := threshold.Message{ChainID: ctx.ChainID(), Epoch: epoch, Height: p.Height}.Marshal()
		if err != nil || len(c.Keys.Check(message, []threshold.Partial{partial})) > 0 {
			return nil
		}
	}
	return ErrRefused.Wrap("no partial signature in it is wrong")
}

// epochOf is the epoch in what is signed for a height, if there is anything to sign, and it is known still.
func (k *Keeper) epochOf(ctx context.Context, height int64) (uint64, bool, error) {
	epoch, ok, err := maybe(k.missing.Get(ctx, height))
	if err != nil || ok {
		return epoch, ok, err
	}
	n, ok, err := maybe(k.numbers.Get(ctx, height))
	return n.Epoch, ok, err
}

func orRefused(err error, format string, args ...any) error {
	if err != nil {
		return err
	}
	return ErrRefused.Wrapf(format, args...)
}
