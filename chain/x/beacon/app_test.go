package beacon

import (
	"crypto/sha256"
	"testing"
	"time"

	abci "github.com/cometbft/cometbft/abci/types"
	dbm "github.com/cosmos/cosmos-db"

	"cosmossdk.io/log/v2"

	"github.com/cosmos/cosmos-sdk/baseapp"
	"github.com/cosmos/cosmos-sdk/runtime"
	storetypes "github.com/cosmos/cosmos-sdk/store/v2/types"
	sdk "github.com/cosmos/cosmos-sdk/types"
	moduletestutil "github.com/cosmos/cosmos-sdk/types/module/testutil"

	api "github.com/cella-network/cella/api/beacon"
	"github.com/cella-network/cella/protocol/beacon"
)

// What carries numbers is no transaction: nobody can send it, and in a block it fails without gas, events or consequence.
func TestNumbersAreNoTransaction(t *testing.T) {
	w := running(t, 6)
	cfg := moduletestutil.MakeTestEncodingConfig(AppModule{})
	decode := cfg.TxConfig.TxDecoder()
	numbers := w.propose()[0]
	if _, err := decode(numbers); err == nil {
		t.Error("numbers are read as a transaction")
	}
	if empty, err := cfg.TxConfig.TxEncoder()(cfg.TxConfig.NewTxBuilder().GetTx()); err != nil || beacon.IsCarried(empty) {
		t.Error("a transaction looks like numbers", err)
	}

	key := storetypes.NewKVStoreKey(StoreKey)
	app := baseapp.NewBaseApp("test", log.NewNopLogger(), dbm.NewMemDB(), decode, baseapp.SetChainID(testChain))
	app.SetInterfaceRegistry(cfg.InterfaceRegistry)
	app.MountStores(key)
	k := NewKeeper(cfg.Codec, runtime.NewKVStoreService(key), w, authority)
	k.Join(w, w)
	w.height = 0
	app.SetInitChainer(func(ctx sdk.Context, _ *abci.RequestInitChain) (*abci.ResponseInitChain, error) {
		return &abci.ResponseInitChain{}, k.InitGenesis(ctx, &api.GenesisState{Params: params})
	})
	app.SetPreBlocker(func(ctx sdk.Context, req *abci.RequestFinalizeBlock) (*sdk.ResponsePreBlock, error) {
		return &sdk.ResponsePreBlock{}, k.PreBlock(ctx, req)
	})
	app.SetEndBlocker(func(ctx sdk.Context) (sdk.EndBlock, error) {
		return sdk.EndBlock{}, k.EndBlock(ctx)
	})
	if err := app.LoadLatestVersion(); err != nil {
		t.Fatal(err)
	}
	if _, err := app.InitChain(&abci.RequestInitChain{ChainId: testChain}); err != nil {
		t.Fatal(err)
	}
	if r, err := app.CheckTx(&abci.RequestCheckTx{Tx: numbers}); err == nil && r.Code == 0 {
		t.Error("numbers are taken into the mempool")
	}
	for _, block := range w.blocks {
		hash := sha256.Sum256(block.Hash)
		r, err := app.FinalizeBlock(&abci.RequestFinalizeBlock{Height: block.Height, Hash: hash[:], Txs: block.Txs, ProposerAddress: block.ProposerAddress,
			DecidedLastCommit: block.DecidedLastCommit, Time: time.Unix(block.Height, 0)})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := app.Commit(); err != nil {
			t.Fatal(err)
		}
		w.height = block.Height
		if beacon.IsCarried(block.Txs[0]) {
			if x := r.TxResults[0]; x.Code == 0 || x.GasWanted != 0 || x.GasUsed != 0 || len(x.Events) != 0 {
				t.Errorf("block %d: %+v", block.Height, x)
			}
		}
	}
	tip, err := k.Tip(app.NewContext(true))
	if err != nil || tip != 5 {
		t.Errorf("tip %d of 6: %v", tip, err)
	}
}
