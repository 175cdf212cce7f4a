package work

import (
	"context"
	"crypto/ed25519"

	sdk "github.com/cosmos/cosmos-sdk/types"

	api "github.com/cella-network/cella/api/work"
)

// msgServer answers the module's messages.
type msgServer struct{ *Keeper }

var _ api.MsgServer = msgServer{}

func (k msgServer) Report(ctx context.Context, msg *api.MsgReport) (*api.MsgReportResponse, error) {
	if len(msg.Report) > maxReport || len(msg.Signature) != ed25519.SignatureSize {
		return nil, ErrRefused.Wrapf("report of %d bytes with a signature of %d, want at most %d and %d",
			len(msg.Report), len(msg.Signature), maxReport, ed25519.SignatureSize)
	}
	sdk.UnwrapSDKContext(ctx).GasMeter().ConsumeGas(gasReport+gasPerByte*uint64(len(msg.Report)), "check of a report")
	return &api.MsgReportResponse{}, k.accept(ctx, msg.Report, msg.Signature)
}

func (k msgServer) UpdateParams(ctx context.Context, msg *api.MsgUpdateParams) (*api.MsgUpdateParamsResponse, error) {
	if msg.Authority != k.authority {
		return nil, ErrRefused.Wrapf("params are changed by %s", k.authority)
	}
	before, err := k.params.Get(ctx)
	if err != nil {
		return nil, err
	}
	if err := validateParams(msg.Params); err != nil {
		return nil, refused(err)
	}
	if msg.Params.SectorSize != before.SectorSize {
		return nil, ErrRefused.Wrap("sector_size is fixed in genesis: disks are laid out by it")
	}
	return &api.MsgUpdateParamsResponse{}, k.params.Set(ctx, msg.Params)
}
