package app

import (
	errorsmod "cosmossdk.io/errors"

	sdk "github.com/cosmos/cosmos-sdk/types"
	sdkerrors "github.com/cosmos/cosmos-sdk/types/errors"
)

// Limits of one transaction. They hold in every block, not only at the door of an honest node, so that a proposer can't
// fill a block with one transaction that takes others seconds to check. The largest honest ones are a node's announcement
// (a registration of at most 64 KiB) and an upgrade proposal.
const (
	maxTxBytes = 256 << 10
	maxTxGas   = 20_000_000
	maxTxMsgs  = 64
)

// limits refuses transactions that are too long or ask for too much gas, before anything of them is computed.
type limits struct{}

func (limits) AnteHandle(ctx sdk.Context, tx sdk.Tx, simulate bool, next sdk.AnteHandler) (sdk.Context, error) {
	if n := len(ctx.TxBytes()); n > maxTxBytes {
		return ctx, errorsmod.Wrapf(sdkerrors.ErrTxTooLarge, "%d bytes, at most %d", n, maxTxBytes)
	}
	if n := len(tx.GetMsgs()); n > maxTxMsgs {
		return ctx, errorsmod.Wrapf(sdkerrors.ErrTxTooLarge, "%d messages, at most %d", n, maxTxMsgs)
	}
	if fee, ok := tx.(sdk.FeeTx); ok && !simulate && fee.GetGas() > maxTxGas {
		return ctx, errorsmod.Wrapf(sdkerrors.ErrInvalidGasLimit, "%d, at most %d", fee.GetGas(), maxTxGas)
	}
	return next(ctx, tx, simulate)
}
