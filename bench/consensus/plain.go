package main

import (
	"encoding/json"
	"fmt"

	dbm "github.com/cosmos/cosmos-db"
	"github.com/cosmos/gogoproto/proto"

	"cosmossdk.io/core/appmodule"
	"cosmossdk.io/core/store"
	"cosmossdk.io/log/v2"

	abci "github.com/cometbft/cometbft/abci/types"

	"github.com/cosmos/cosmos-sdk/baseapp"
	"github.com/cosmos/cosmos-sdk/codec"
	"github.com/cosmos/cosmos-sdk/codec/address"
	cdctypes "github.com/cosmos/cosmos-sdk/codec/types"
	"github.com/cosmos/cosmos-sdk/runtime"
	"github.com/cosmos/cosmos-sdk/std"
	storetypes "github.com/cosmos/cosmos-sdk/store/v2/types"
	sdk "github.com/cosmos/cosmos-sdk/types"
	"github.com/cosmos/cosmos-sdk/types/module"
	"github.com/cosmos/cosmos-sdk/x/auth"
	"github.com/cosmos/cosmos-sdk/x/auth/ante"
	authkeeper "github.com/cosmos/cosmos-sdk/x/auth/keeper"
	authtx "github.com/cosmos/cosmos-sdk/x/auth/tx"
	authtypes "github.com/cosmos/cosmos-sdk/x/auth/types"
	"github.com/cosmos/cosmos-sdk/x/auth/vesting"
	vestingtypes "github.com/cosmos/cosmos-sdk/x/auth/vesting/types"
	"github.com/cosmos/cosmos-sdk/x/authz"
	authzkeeper "github.com/cosmos/cosmos-sdk/x/authz/keeper"
	authzmodule "github.com/cosmos/cosmos-sdk/x/authz/module"
	"github.com/cosmos/cosmos-sdk/x/bank"
	bankkeeper "github.com/cosmos/cosmos-sdk/x/bank/keeper"
	banktypes "github.com/cosmos/cosmos-sdk/x/bank/types"
	"github.com/cosmos/cosmos-sdk/x/consensus"
	consensuskeeper "github.com/cosmos/cosmos-sdk/x/consensus/keeper"
	consensustypes "github.com/cosmos/cosmos-sdk/x/consensus/types"
	distr "github.com/cosmos/cosmos-sdk/x/distribution"
	distrkeeper "github.com/cosmos/cosmos-sdk/x/distribution/keeper"
	distrtypes "github.com/cosmos/cosmos-sdk/x/distribution/types"
	"github.com/cosmos/cosmos-sdk/x/evidence"
	evidencekeeper "github.com/cosmos/cosmos-sdk/x/evidence/keeper"
	evidencetypes "github.com/cosmos/cosmos-sdk/x/evidence/types"
	"github.com/cosmos/cosmos-sdk/x/feegrant"
	feegrantkeeper "github.com/cosmos/cosmos-sdk/x/feegrant/keeper"
	feegrantmodule "github.com/cosmos/cosmos-sdk/x/feegrant/module"
	"github.com/cosmos/cosmos-sdk/x/genutil"
	genutiltypes "github.com/cosmos/cosmos-sdk/x/genutil/types"
	"github.com/cosmos/cosmos-sdk/x/gov"
	govkeeper "github.com/cosmos/cosmos-sdk/x/gov/keeper"
	govtypes "github.com/cosmos/cosmos-sdk/x/gov/types"
	"github.com/cosmos/cosmos-sdk/x/slashing"
	slashingkeeper "github.com/cosmos/cosmos-sdk/x/slashing/keeper"
	slashingtypes "github.com/cosmos/cosmos-sdk/x/slashing/types"
	"github.com/cosmos/cosmos-sdk/x/staking"
	stakingkeeper "github.com/cosmos/cosmos-sdk/x/staking/keeper"
	stakingtypes "github.com/cosmos/cosmos-sdk/x/staking/types"
	"github.com/cosmos/cosmos-sdk/x/tx/signing"
	"github.com/cosmos/cosmos-sdk/x/upgrade"
	upgradekeeper "github.com/cosmos/cosmos-sdk/x/upgrade/keeper"
	upgradetypes "github.com/cosmos/cosmos-sdk/x/upgrade/types"

	"github.com/cella-network/cella/chain/app"
)

// plain is the peer of our application: the stock modules that ours has too, wired as every chain of the SDK wires them, and nothing else.
// It stands beside chain/app on purpose: what ours leaves out or wraps must not change it.
type plain struct {
	*baseapp.BaseApp
	manager *module.Manager
}

var plainAccounts = map[string][]string{
	authtypes.FeeCollectorName:          nil,
	distrtypes.ModuleName:               nil,
	stakingtypes.BondedPoolName:         {authtypes.Burner, authtypes.Staking},
	stakingtypes.NotBondedPoolName:      {authtypes.Burner, authtypes.Staking},
	stakingtypes.KeyRotationFeePoolName: {authtypes.Burner},
	govtypes.ModuleName:                 {authtypes.Burner},
}

var plainStores = []string{
	authtypes.StoreKey, banktypes.StoreKey, stakingtypes.StoreKey, distrtypes.StoreKey, slashingtypes.StoreKey, govtypes.StoreKey,
	upgradetypes.StoreKey, consensustypes.StoreKey, evidencetypes.StoreKey, feegrant.StoreKey, authzkeeper.StoreKey,
}

func newPlain(logger log.Logger, db dbm.DB, home string, opts ...func(*baseapp.BaseApp)) (*plain, error) {
	c := sdk.GetConfig()
	accountCodec := address.Bech32Codec{Bech32Prefix: c.GetBech32AccountAddrPrefix()}
	validatorCodec := address.Bech32Codec{Bech32Prefix: c.GetBech32ValidatorAddrPrefix()}
	consensusCodec := address.Bech32Codec{Bech32Prefix: c.GetBech32ConsensusAddrPrefix()}
	registry, err := cdctypes.NewInterfaceRegistryWithOptions(cdctypes.InterfaceRegistryOptions{ProtoFiles: proto.HybridResolver,
		SigningOptions: signing.Options{AddressCodec: accountCodec, ValidatorAddressCodec: validatorCodec}})
	if err != nil {
		return nil, err
	}
	cdc, amino := codec.NewProtoCodec(registry), codec.NewLegacyAmino()
	tx := authtx.NewTxConfig(cdc, authtx.DefaultSignModes)
	std.RegisterLegacyAminoCodec(amino)
	std.RegisterInterfaces(registry)
	p := &plain{BaseApp: baseapp.NewBaseApp(app.Name, logger, db, tx.TxDecoder(), opts...)}
	p.SetInterfaceRegistry(registry)
	p.SetTxEncoder(tx.TxEncoder())

	keys := storetypes.NewKVStoreKeys(plainStores...)
	kv := func(name string) store.KVStoreService { return runtime.NewKVStoreService(keys[name]) }
	authority := authtypes.NewModuleAddress(govtypes.ModuleName).String()
	blocked := map[string]bool{}
	for name := range plainAccounts {
		blocked[authtypes.NewModuleAddress(name).String()] = name != govtypes.ModuleName
	}
	params := consensuskeeper.NewKeeper(cdc, kv(consensustypes.StoreKey), authority, runtime.EventService{})
	p.SetParamStore(params.ParamsStore)
	accounts := authkeeper.NewAccountKeeper(cdc, kv(authtypes.StoreKey), authtypes.ProtoBaseAccount, plainAccounts, accountCodec, app.Prefix, authority)
	coins := bankkeeper.NewBaseKeeper(cdc, kv(banktypes.StoreKey), accounts, blocked, authority, logger)
	stakes := stakingkeeper.NewKeeper(cdc, kv(stakingtypes.StoreKey), accounts, coins, authority, validatorCodec, consensusCodec)
	fees := distrkeeper.NewKeeper(cdc, kv(distrtypes.StoreKey), accounts, coins, stakes, authtypes.FeeCollectorName, authority)
	jail := slashingkeeper.NewKeeper(cdc, amino, kv(slashingtypes.StoreKey), stakes, authority)
	stakes.SetHooks(stakingtypes.NewMultiStakingHooks(fees.Hooks(), jail.Hooks()))
	plans := upgradekeeper.NewKeeper(nil, kv(upgradetypes.StoreKey), cdc, home, p.BaseApp, authority)
	grants := feegrantkeeper.NewKeeper(cdc, kv(feegrant.StoreKey), accounts)
	rights := authzkeeper.NewKeeper(kv(authzkeeper.StoreKey), cdc, p.MsgServiceRouter(), accounts)
	votes := govkeeper.NewKeeper(cdc, kv(govtypes.StoreKey), accounts, coins, fees, p.MsgServiceRouter(), govtypes.DefaultConfig(), authority,
		govkeeper.NewDefaultCalculateVoteResultsAndVotingPower(stakes))
	proofs := evidencekeeper.NewKeeper(cdc, kv(evidencetypes.StoreKey), stakes, jail, accountCodec, runtime.ProvideCometInfoService())
	proofs.SetRouter(evidencetypes.NewRouter())

	p.manager = module.NewManagerFromMap(map[string]appmodule.AppModule{
		authtypes.ModuleName:      auth.NewAppModule(cdc, accounts, nil),
		vestingtypes.ModuleName:   vesting.NewAppModule(accounts, coins),
		banktypes.ModuleName:      bank.NewAppModule(cdc, coins, accounts),
		stakingtypes.ModuleName:   staking.NewAppModule(cdc, stakes, accounts, coins),
		slashingtypes.ModuleName:  slashing.NewAppModule(cdc, jail, accounts, coins, stakes, registry),
		distrtypes.ModuleName:     distr.NewAppModule(cdc, fees, accounts, coins, stakes),
		govtypes.ModuleName:       gov.NewAppModule(cdc, votes, accounts, coins),
		evidencetypes.ModuleName:  evidence.NewAppModule(*proofs),
		feegrant.ModuleName:       feegrantmodule.NewAppModule(cdc, accounts, coins, grants, registry),
		authz.ModuleName:          authzmodule.NewAppModule(cdc, rights, accounts, coins, registry),
		upgradetypes.ModuleName:   upgrade.NewAppModule(plans, accountCodec),
		consensustypes.ModuleName: consensus.NewAppModule(cdc, params),
		genutiltypes.ModuleName:   genutil.NewAppModule(accounts, stakes, p, tx),
	})
	module.NewBasicManagerFromManager(p.manager, nil).RegisterInterfaces(registry)
	p.order()
	if err := p.manager.RegisterServices(module.NewConfigurator(cdc, p.MsgServiceRouter(), p.GRPCQueryRouter())); err != nil {
		return nil, err
	}
	p.MountKVStores(keys)
	handler, err := ante.NewAnteHandler(ante.HandlerOptions{AccountKeeper: accounts, BankKeeper: coins, FeegrantKeeper: grants,
		SignModeHandler: tx.SignModeHandler(), SigGasConsumer: ante.DefaultSigVerificationGasConsumer})
	if err != nil {
		return nil, err
	}
	p.SetAnteHandler(handler)
	p.SetPreBlocker(func(ctx sdk.Context, _ *abci.RequestFinalizeBlock) (*sdk.ResponsePreBlock, error) {
		return p.manager.PreBlock(ctx)
	})
	p.SetBeginBlocker(p.manager.BeginBlock)
	p.SetEndBlocker(p.manager.EndBlock)
	p.SetInitChainer(func(ctx sdk.Context, req *abci.RequestInitChain) (*abci.ResponseInitChain, error) {
		var state map[string]json.RawMessage
		if err := json.Unmarshal(req.AppStateBytes, &state); err != nil {
			return nil, fmt.Errorf("genesis: %w", err)
		}
		for name := range state {
			if p.manager.Modules[name] == nil {
				delete(state, name) // ours
			}
		}
		if err := plans.SetModuleVersionMap(ctx, p.manager.GetVersionMap()); err != nil {
			return nil, err
		}
		return p.manager.InitGenesis(ctx, cdc, state)
	})
	return p, nil
}

func (p *plain) order() {
	p.manager.SetOrderPreBlockers(upgradetypes.ModuleName, authtypes.ModuleName)
	p.manager.SetOrderBeginBlockers(distrtypes.ModuleName, slashingtypes.ModuleName, evidencetypes.ModuleName, stakingtypes.ModuleName, authz.ModuleName)
	p.manager.SetOrderEndBlockers(banktypes.ModuleName, govtypes.ModuleName, stakingtypes.ModuleName, feegrant.ModuleName)
	p.manager.SetOrderInitGenesis(authtypes.ModuleName, vestingtypes.ModuleName, banktypes.ModuleName, distrtypes.ModuleName, stakingtypes.ModuleName,
		slashingtypes.ModuleName, govtypes.ModuleName, evidencetypes.ModuleName, feegrant.ModuleName, authz.ModuleName, upgradetypes.ModuleName,
		consensustypes.ModuleName, genutiltypes.ModuleName)
}
