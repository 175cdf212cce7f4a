package moderation

import (
	"context"

	sdk "github.com/cosmos/cosmos-sdk/types"

	api "github.com/cella-network/cella/api/moderation"
)

// msgServer answers the module's messages.
type msgServer struct{ *Keeper }

var _ api.MsgServer = msgServer{}

func (k msgServer) Publish(ctx context.Context, msg *api.MsgPublish) (*api.MsgPublishResponse, error) {
	sdk.UnwrapSDKContext(ctx).GasMeter().ConsumeGas(gasPublish, "a deny list")
	return &api.MsgPublishResponse{}, k.publish(ctx, api.List{Publisher: msg.Publisher, Name: msg.Name, Sequence: msg.Sequence,
		Sha256: msg.Sha256, Cid: msg.Cid, Size_: msg.Size_})
}

func (k msgServer) Withdraw(ctx context.Context, msg *api.MsgWithdraw) (*api.MsgWithdrawResponse, error) {
	return &api.MsgWithdrawResponse{}, k.withdraw(ctx, msg.Publisher, msg.Name)
}

func (k msgServer) UpdateParams(ctx context.Context, msg *api.MsgUpdateParams) (*api.MsgUpdateParamsResponse, error) {
	if msg.Authority != k.authority {
		return nil, ErrRefused.Wrapf("params are changed by %s", k.authority)
	}
	if err := k.validateParams(msg.Params); err != nil {
		return nil, ErrRefused.Wrap(err.Error())
	}
	return &api.MsgUpdateParamsResponse{}, k.params.Set(ctx, msg.Params)
}
