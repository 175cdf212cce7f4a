package app

import (
	"encoding/json"
	"errors"

	cmtproto "github.com/cometbft/cometbft/proto/tendermint/types"

	servertypes "github.com/cosmos/cosmos-sdk/server/types"
)

// Export writes the loaded state as genesis for a chain that continues at the next height. modules narrows it down;
// none means all.
func (a *App) Export(modules []string) (servertypes.ExportedApp, error) {
	height := a.LastBlockHeight()
	ctx := a.NewContextLegacy(true, cmtproto.Header{Height: height})
	state, err := a.manager.ExportGenesisForModules(ctx, a.Codec, modules)
	if err != nil {
		return servertypes.ExportedApp{}, err
	}
	raw, err := json.MarshalIndent(state, "", "  ")
	if err != nil {
		return servertypes.ExportedApp{}, err
	}
	validators, err := a.Cella.Guarantee.GenesisValidators(ctx)
	if err != nil {
		return servertypes.ExportedApp{}, err
	}
	return servertypes.ExportedApp{
		AppState:        raw,
		Validators:      validators,
		Height:          height + 1, // CometBFT starts InitChain at this height
		ConsensusParams: a.GetConsensusParams(ctx),
	}, nil
}

// ErrZeroHeight says why an export can't start over at height zero.
var ErrZeroHeight = errors.New("export for height zero is not supported: orders, registrations and reports name heights, so the new chain continues at the exported one")
