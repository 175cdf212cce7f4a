package app

import (
	"context"
	"slices"

	"cosmossdk.io/core/appmodule"
	"cosmossdk.io/core/store"

	"github.com/cosmos/cosmos-sdk/codec"
	sdk "github.com/cosmos/cosmos-sdk/types"
	authtypes "github.com/cosmos/cosmos-sdk/x/auth/types"

	"github.com/cella-network/cella/chain/x/attest"
	"github.com/cella-network/cella/chain/x/audit"
	"github.com/cella-network/cella/chain/x/beacon"
	"github.com/cella-network/cella/chain/x/committee"
	"github.com/cella-network/cella/chain/x/guarantee"
	"github.com/cella-network/cella/chain/x/market"
	"github.com/cella-network/cella/chain/x/moderation"
	"github.com/cella-network/cella/chain/x/work"
	"github.com/cella-network/cella/protocol/lottery"
	"github.com/cella-network/cella/protocol/storageproof"
)

// This file is where the modules of Cella are joined to each other and to the stock ones. A module declares the methods
// that it needs of another; here is who provides them:
//
//	attest     <- bank (entry stakes), beacon (who endorses), market (who still holds replicas and may not leave)
//	work       <- attest (whose enclave signs, which blocks there were), beacon (which heights could be drawn), market (hears of each report)
//	market     <- bank (escrow), attest (who may accept), work (what was reported)
//	audit      <- attest (who is drawn), beacon (by what), market (which replica, and who is told of a failure)
//	moderation <- bank (deposits)
//	guarantee  <- the stock modules of stakes, work (hears of each report), committee (shares keys anew), beacon (which heights could be drawn)
//	committee  <- attest (whose enclave speaks), guarantee (who is a member, and who is told of the end)
//	beacon     <- committee (which group signs), guarantee (who votes, and who is told of bad shares)

// customOrder is the order in which they begin blocks and read genesis: storage is judged before it is paid.
var customOrder = slices.Concat(endAfterStaking, endBeforeStaking)

// They end blocks around staking's end, which is guarantee's: keys are handed on before the power moves.
var (
	endBeforeStaking = []string{committee.ModuleName, beacon.ModuleName}
	endAfterStaking  = []string{attest.ModuleName, work.ModuleName, market.ModuleName, audit.ModuleName, moderation.ModuleName}
)

// customStores are their stores. Enclaves know the names: a proof of a value names its store.
var customStores = []string{attest.StoreKey, work.StoreKey, market.StoreKey, audit.StoreKey, moderation.StoreKey,
	committee.StoreKey, beacon.StoreKey, guarantee.StoreKey}

// customAccounts are their module accounts: entry stakes lie with attest, escrow and collateral with market, the
// deposits of published lists with moderation. Guarantee alone makes coins: each era's pool.
var customAccounts = map[string][]string{attest.ModuleName: nil, market.ModuleName: nil, moderation.ModuleName: nil,
	guarantee.ModuleName: {authtypes.Minter}}

// Modules are the keepers of Cella's own modules.
type Modules struct {
	Attest     *attest.Keeper
	Work       *work.Keeper
	Market     *market.Keeper
	Audit      *audit.Keeper
	Moderation *moderation.Keeper
	Committee  *committee.Keeper
	Beacon     *beacon.Keeper
	Guarantee  *guarantee.Keeper
}

// joinModules makes the keepers, but for guarantee's, which the stock modules need, and ties the knots: work tells market of reports while market asks work for proven
// heights, attest asks market before it lets a node leave, and the beacon that attest draws by is made by enclaves that
// attest registered.
func (a *App) joinModules(cdc codec.Codec, kv func(string) store.KVStoreService, authority string) map[string]appmodule.AppModule {
	addresses := a.Account.AddressCodec()
	m := &a.Cella
	m.Attest = attest.NewKeeper(cdc, kv(attest.StoreKey), addresses, a.Bank, seeds{m}, authority, Denom)
	m.Committee = committee.NewKeeper(cdc, kv(committee.StoreKey), addresses, m.Attest, authority)
	m.Beacon = beacon.NewKeeper(cdc, kv(beacon.StoreKey), m.Committee, authority)
	m.Work = work.NewKeeper(cdc, kv(work.StoreKey), addresses, m.Attest, m.Beacon, authority)
	m.Market = market.NewKeeper(cdc, kv(market.StoreKey), addresses, a.Bank, m.Attest, m.Work, authority, Denom)
	m.Work.SetMarket(reports{m})
	m.Attest.SetReplicas(m.Market)
	m.Audit = audit.NewKeeper(cdc, kv(audit.StoreKey), addresses, m.Beacon, m.Attest, m.Market, authority)
	m.Moderation = moderation.NewKeeper(cdc, kv(moderation.StoreKey), addresses, a.Bank, authority, Denom)
	m.Committee.Join(m.Guarantee, m.Guarantee)
	m.Beacon.Join(m.Guarantee, m.Guarantee)
	m.Guarantee.Join(m.Committee, m.Beacon, a.Slashing)
	return map[string]appmodule.AppModule{
		attest.ModuleName:     attest.NewAppModule(m.Attest),
		work.ModuleName:       work.NewAppModule(m.Work),
		market.ModuleName:     market.NewAppModule(m.Market),
		audit.ModuleName:      audit.NewAppModule(m.Audit),
		moderation.ModuleName: moderation.NewAppModule(m.Moderation),
		committee.ModuleName:  committee.NewAppModule(m.Committee),
		beacon.ModuleName:     beacon.NewAppModule(m.Beacon),
		guarantee.ModuleName:  guarantee.NewAppModule(m.Guarantee),
	}
}

// seeds is the beacon for attest, which is made before it.
type seeds struct{ *Modules }

func (s seeds) Seed(ctx context.Context, height int64) (lottery.Seed, bool, error) {
	return s.Beacon.Seed(ctx, height)
}

func (s seeds) Tip(ctx context.Context) (int64, error) { return s.Beacon.Tip(ctx) }

// reports go to who pays for what they prove, and to who lets stake count by it.
type reports struct{ *Modules }

func (r reports) Reported(ctx context.Context, operator sdk.AccAddress, report storageproof.Report, standing storageproof.Standing) error {
	if err := r.Market.Reported(ctx, operator, report, standing); err != nil {
		return err
	}
	return r.Guarantee.Reported(ctx, operator, report, standing)
}
