package audit

import (
	"context"
	"crypto/ed25519"

	sdk "github.com/cosmos/cosmos-sdk/types"

	api "github.com/cella-network/cella/api/audit"
)

// msgServer answers the module's messages.
type msgServer struct{ *Keeper }

var _ api.MsgServer = msgServer{}

func (k msgServer) Verdict(ctx context.Context, msg *api.MsgVerdict) (*api.MsgVerdictResponse, error) {
	if len(msg.Verdict) > maxVerdict || len(msg.Signature) != ed25519.SignatureSize {
		return nil, ErrRefused.Wrapf("verdict of %d bytes with a signature of %d, want at most %d and %d",
			len(msg.Verdict), len(msg.Signature), maxVerdict, ed25519.SignatureSize)
	}
	sdk.UnwrapSDKContext(ctx).GasMeter().ConsumeGas(gasVerdict, "check of a verdict")
	return &api.MsgVerdictResponse{}, k.take(ctx, msg.Verdict, msg.Signature)
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
