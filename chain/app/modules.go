package app

import (
	"context"
	"crypto/sha256"
	"errors"

	"cosmossdk.io/core/appmodule"
	"cosmossdk.io/core/store"

	"github.com/cosmos/cosmos-sdk/codec"
	sdk "github.com/cosmos/cosmos-sdk/types"

	"github.com/cella-network/cella/chain/x/attest"
	"github.com/cella-network/cella/chain/x/audit"
	"github.com/cella-network/cella/chain/x/market"
	"github.com/cella-network/cella/chain/x/moderation"
	"github.com/cella-network/cella/chain/x/work"
	"github.com/cella-network/cella/protocol/lottery"
)

// This file is where the modules of Cella are joined to each other and to the stock ones. A module declares the methods
// that it needs of another; here is who provides them:
//
//	attest  <- bank (entry stakes), blockSeeds (who endorses), market (who still holds replicas and may not leave)
//	work    <- attest (whose enclave signs, which blocks there were), market (hears of each report)
//	market  <- bank (escrow), attest (who may accept), work (what was reported)
//	audit   <- attest (who is drawn), blockSeeds (by what), market (which replica, and who is told of a failure)
//	moderation <- bank (deposits)

// customOrder is the order in which they begin and end blocks and read genesis: storage is judged before it is paid.
var customOrder = []string{attest.ModuleName, work.ModuleName, market.ModuleName, audit.ModuleName, moderation.ModuleName}

// customStores are their stores. Enclaves know the names: a proof of a value names its store.
var customStores = []string{attest.StoreKey, work.StoreKey, market.StoreKey, audit.StoreKey, moderation.StoreKey}

// customAccounts are their module accounts: entry stakes lie with attest, escrow and collateral with market, the
// deposits of published lists with moderation.
var customAccounts = map[string][]string{attest.ModuleName: nil, market.ModuleName: nil, moderation.ModuleName: nil}

// Modules are the keepers of Cella's own modules.
type Modules struct {
	Attest     *attest.Keeper
	Work       *work.Keeper
	Market     *market.Keeper
	Audit      *audit.Keeper
	Moderation *moderation.Keeper
}

// joinModules makes the keepers and ties the knots: work tells market of reports while market asks work for proven
// heights, and attest asks market before it lets a node leave.
func (a *App) joinModules(cdc codec.Codec, kv func(string) store.KVStoreService, authority string) map[string]appmodule.AppModule {
	addresses := a.Account.AddressCodec()
	m := Modules{Attest: attest.NewKeeper(cdc, kv(attest.StoreKey), addresses, a.Bank, blockSeeds{}, authority, Denom)}
	m.Work = work.NewKeeper(cdc, kv(work.StoreKey), addresses, m.Attest, authority)
	m.Market = market.NewKeeper(cdc, kv(market.StoreKey), addresses, a.Bank, m.Attest, m.Work, authority, Denom)
	m.Work.SetMarket(m.Market)
	m.Attest.SetReplicas(m.Market)
	m.Audit = audit.NewKeeper(cdc, kv(audit.StoreKey), addresses, blockSeeds{}, m.Attest, m.Market, authority)
	m.Moderation = moderation.NewKeeper(cdc, kv(moderation.StoreKey), addresses, a.Bank, authority, Denom)
	a.Cella = m
	return map[string]appmodule.AppModule{
		attest.ModuleName:     attest.NewAppModule(m.Attest),
		work.ModuleName:       work.NewAppModule(m.Work),
		market.ModuleName:     market.NewAppModule(m.Market),
		audit.ModuleName:      audit.NewAppModule(m.Audit),
		moderation.ModuleName: moderation.NewAppModule(m.Moderation),
	}
}

// blockSeeds draws by the hash of the block that is being executed, until there is a beacon.
type blockSeeds struct{}

func (blockSeeds) Seed(ctx context.Context) (lottery.Seed, error) {
	c := sdk.UnwrapSDKContext(ctx)
	hash := c.HeaderHash()
	if len(hash) != sha256.Size {
		return lottery.Seed{}, errors.New("no block is being executed")
	}
	return lottery.BlockSeed(c.ChainID(), c.BlockHeight(), [32]byte(hash)), nil
}
