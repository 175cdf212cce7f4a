package app

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"

	dbm "github.com/cosmos/cosmos-db"
	"github.com/cosmos/gogoproto/proto"

	autocliv1 "cosmossdk.io/api/cosmos/autocli/v1"
	reflectionv1 "cosmossdk.io/api/cosmos/reflection/v1"
	"cosmossdk.io/core/appmodule"
	"cosmossdk.io/core/store"
	"cosmossdk.io/log/v2"

	abci "github.com/cometbft/cometbft/abci/types"
	cmtproto "github.com/cometbft/cometbft/proto/tendermint/types"

	"github.com/cosmos/cosmos-sdk/baseapp"
	"github.com/cosmos/cosmos-sdk/client"
	"github.com/cosmos/cosmos-sdk/codec"
	"github.com/cosmos/cosmos-sdk/codec/address"
	cdctypes "github.com/cosmos/cosmos-sdk/codec/types"
	"github.com/cosmos/cosmos-sdk/runtime"
	runtimeservices "github.com/cosmos/cosmos-sdk/runtime/services"
	servertypes "github.com/cosmos/cosmos-sdk/server/types"
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
	govclient "github.com/cosmos/cosmos-sdk/x/gov/client"
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

	"github.com/cella-network/cella/chain/x/beacon"
	"github.com/cella-network/cella/chain/x/guarantee"
)

// accounts are the module accounts and what each may do with coins.
var accounts = map[string][]string{
	authtypes.FeeCollectorName:          nil,
	distrtypes.ModuleName:               nil,
	stakingtypes.BondedPoolName:         {authtypes.Burner, authtypes.Staking},
	stakingtypes.NotBondedPoolName:      {authtypes.Burner, authtypes.Staking},
	stakingtypes.KeyRotationFeePoolName: {authtypes.Burner},
	govtypes.ModuleName:                 {authtypes.Burner},
}

// App is the chain's state machine. New makes one; LoadLatestVersion or LoadVersion opens its state.
type App struct {
	*baseapp.BaseApp
	Amino    *codec.LegacyAmino
	Codec    codec.Codec
	TxConfig client.TxConfig
	Registry cdctypes.InterfaceRegistry

	Account   authkeeper.AccountKeeper
	Bank      bankkeeper.Keeper
	Staking   *stakingkeeper.Keeper
	Slashing  slashingkeeper.Keeper
	Distr     distrkeeper.Keeper
	Gov       *govkeeper.Keeper
	Upgrade   *upgradekeeper.Keeper
	Consensus consensuskeeper.Keeper
	Evidence  *evidencekeeper.Keeper
	FeeGrant  feegrantkeeper.Keeper
	Authz     authzkeeper.Keeper
	Cella     Modules

	manager *module.Manager
	basics  module.BasicManager
	keys    map[string]*storetypes.KVStoreKey
}

var _ servertypes.Application = (*App)(nil)

// New wires the application over db. home is where x/upgrade leaves its note for the process manager. No state is loaded:
// call LoadLatestVersion or LoadVersion. It fails only if the wiring is wrong.
func New(logger log.Logger, db dbm.DB, home string, opts ...func(*baseapp.BaseApp)) (*App, error) {
	c := sdk.GetConfig()
	accountCodec := address.Bech32Codec{Bech32Prefix: c.GetBech32AccountAddrPrefix()}
	validatorCodec := address.Bech32Codec{Bech32Prefix: c.GetBech32ValidatorAddrPrefix()}
	consensusCodec := address.Bech32Codec{Bech32Prefix: c.GetBech32ConsensusAddrPrefix()}

	registry, err := cdctypes.NewInterfaceRegistryWithOptions(cdctypes.InterfaceRegistryOptions{
		ProtoFiles:     proto.HybridResolver,
		SigningOptions: signing.Options{AddressCodec: accountCodec, ValidatorAddressCodec: validatorCodec},
	})
	if err != nil {
		return nil, err
	}
	cdc := codec.NewProtoCodec(registry)
	amino := codec.NewLegacyAmino()
	txConfig := authtx.NewTxConfig(cdc, authtx.DefaultSignModes)
	std.RegisterLegacyAminoCodec(amino)
	std.RegisterInterfaces(registry)

	base := baseapp.NewBaseApp(Name, logger, db, txConfig.TxDecoder(), opts...)
	base.SetInterfaceRegistry(registry)
	base.SetTxEncoder(txConfig.TxEncoder())

	stores := append([]string{
		authtypes.StoreKey, banktypes.StoreKey, stakingtypes.StoreKey, distrtypes.StoreKey, slashingtypes.StoreKey,
		govtypes.StoreKey, upgradetypes.StoreKey, consensustypes.StoreKey, evidencetypes.StoreKey, feegrant.StoreKey,
		authzkeeper.StoreKey,
	}, customStores...)
	a := &App{BaseApp: base, Amino: amino, Codec: cdc, TxConfig: txConfig, Registry: registry, keys: storetypes.NewKVStoreKeys(stores...)}
	kv := func(name string) store.KVStoreService { return runtime.NewKVStoreService(a.keys[name]) }
	authority := authtypes.NewModuleAddress(govtypes.ModuleName).String()
	permissions := maps.Clone(accounts)
	maps.Copy(permissions, customAccounts)
	blocked := map[string]bool{}
	for name := range permissions {
		// Governance may be sent coins; nobody sends coins to a module's account by hand, since the module would not know.
		blocked[authtypes.NewModuleAddress(name).String()] = name != govtypes.ModuleName
	}

	a.Consensus = consensuskeeper.NewKeeper(cdc, kv(consensustypes.StoreKey), authority, runtime.EventService{})
	base.SetParamStore(a.Consensus.ParamsStore)
	a.Account = authkeeper.NewAccountKeeper(cdc, kv(authtypes.StoreKey), authtypes.ProtoBaseAccount, permissions, accountCodec, Prefix, authority)
	a.Bank = bankkeeper.NewBaseKeeper(cdc, kv(banktypes.StoreKey), a.Account, blocked, authority, logger)
	a.Staking = stakingkeeper.NewKeeper(cdc, kv(stakingtypes.StoreKey), a.Account, a.Bank, authority, validatorCodec, consensusCodec)
	a.Distr = distrkeeper.NewKeeper(cdc, kv(distrtypes.StoreKey), a.Account, a.Bank, a.Staking, authtypes.FeeCollectorName, authority)
	a.Cella.Guarantee = guarantee.NewKeeper(cdc, kv(guarantee.StoreKey), accountCodec, a.Staking, a.Bank, a.Distr, authority, Denom)
	guaranteed := a.Cella.Guarantee.Staking() // x/staking by real stakes: what is punished is not the capped power
	a.Slashing = slashingkeeper.NewKeeper(cdc, amino, kv(slashingtypes.StoreKey), guaranteed, authority)
	a.Staking.SetHooks(stakingtypes.NewMultiStakingHooks(a.Distr.Hooks(), a.Slashing.Hooks(), a.Cella.Guarantee.Hooks()))
	a.Upgrade = upgradekeeper.NewKeeper(nil, kv(upgradetypes.StoreKey), cdc, home, base, authority)
	a.FeeGrant = feegrantkeeper.NewKeeper(cdc, kv(feegrant.StoreKey), a.Account)
	a.Authz = authzkeeper.NewKeeper(kv(authzkeeper.StoreKey), cdc, base.MsgServiceRouter(), a.Account)
	a.Gov = govkeeper.NewKeeper(cdc, kv(govtypes.StoreKey), a.Account, a.Bank, a.Distr, base.MsgServiceRouter(),
		govtypes.DefaultConfig(), authority, a.Cella.Guarantee.Tally)
	a.Evidence = evidencekeeper.NewKeeper(cdc, kv(evidencetypes.StoreKey), guaranteed, a.Slashing, accountCodec, runtime.ProvideCometInfoService())
	a.Evidence.SetRouter(evidencetypes.NewRouter())

	modules := map[string]appmodule.AppModule{
		authtypes.ModuleName:      auth.NewAppModule(cdc, a.Account, nil),
		vestingtypes.ModuleName:   vesting.NewAppModule(a.Account, a.Bank),
		banktypes.ModuleName:      bank.NewAppModule(cdc, a.Bank, a.Account),
		stakingtypes.ModuleName:   guarantee.NewStakingModule(staking.NewAppModule(cdc, a.Staking, a.Account, a.Bank), a.Cella.Guarantee),
		slashingtypes.ModuleName:  slashing.NewAppModule(cdc, a.Slashing, a.Account, a.Bank, a.Staking, registry),
		distrtypes.ModuleName:     guarantee.NewDistributionModule(distr.NewAppModule(cdc, a.Distr, a.Account, a.Bank, a.Staking), a.Distr),
		govtypes.ModuleName:       gov.NewAppModule(cdc, a.Gov, a.Account, a.Bank),
		evidencetypes.ModuleName:  evidence.NewAppModule(*a.Evidence),
		feegrant.ModuleName:       feegrantmodule.NewAppModule(cdc, a.Account, a.Bank, a.FeeGrant, registry),
		authz.ModuleName:          authzmodule.NewAppModule(cdc, a.Authz, a.Account, a.Bank, registry),
		upgradetypes.ModuleName:   upgrade.NewAppModule(a.Upgrade, accountCodec),
		consensustypes.ModuleName: consensus.NewAppModule(cdc, a.Consensus),
		genutiltypes.ModuleName:   genutil.NewAppModule(a.Account, guaranteed, a, txConfig),
	}
	maps.Copy(modules, a.joinModules(cdc, kv, authority))
	a.manager = module.NewManagerFromMap(modules)
	a.basics = module.NewBasicManagerFromManager(a.manager, map[string]module.AppModuleBasic{
		genutiltypes.ModuleName:  genutil.NewAppModuleBasic(genutiltypes.DefaultMessageValidator),
		govtypes.ModuleName:      gov.NewAppModuleBasic([]govclient.ProposalHandler{}),
		banktypes.ModuleName:     bankDefaults{},
		stakingtypes.ModuleName:  stakingDefaults{},
		slashingtypes.ModuleName: slashingDefaults{},
	})
	a.basics.RegisterLegacyAminoCodec(amino)
	a.basics.RegisterInterfaces(registry)
	a.orderModules()
	if err := a.registerServices(); err != nil {
		return nil, err
	}
	a.MountKVStores(a.keys)
	return a, a.setHandlers()
}

// orderModules fixes who comes first. Stakes and fees are moved before storage is judged, and storage is judged before
// it is paid: attest, work, market.
func (a *App) orderModules() {
	a.manager.SetOrderPreBlockers(upgradetypes.ModuleName, authtypes.ModuleName)
	a.manager.SetOrderBeginBlockers(append([]string{
		distrtypes.ModuleName, slashingtypes.ModuleName, evidencetypes.ModuleName, stakingtypes.ModuleName, authz.ModuleName,
	}, customOrder...)...)
	a.manager.SetOrderEndBlockers(slices.Concat([]string{banktypes.ModuleName, govtypes.ModuleName}, endBeforeStaking,
		[]string{stakingtypes.ModuleName, feegrant.ModuleName}, endAfterStaking)...)
	// guarantee comes before staking, which begins with its validators; genutil after, whose transactions fill staking's pools.
	genesis := append([]string{
		authtypes.ModuleName, vestingtypes.ModuleName, banktypes.ModuleName, distrtypes.ModuleName, guarantee.ModuleName, stakingtypes.ModuleName,
		slashingtypes.ModuleName, govtypes.ModuleName, evidencetypes.ModuleName, feegrant.ModuleName, authz.ModuleName,
		upgradetypes.ModuleName, consensustypes.ModuleName,
	}, append(slices.Clone(customOrder), genutiltypes.ModuleName)...)
	a.manager.SetOrderInitGenesis(genesis...)
	a.manager.SetOrderExportGenesis(genesis...)
}

func (a *App) registerServices() error {
	if err := a.manager.RegisterServices(module.NewConfigurator(a.Codec, a.MsgServiceRouter(), a.GRPCQueryRouter())); err != nil {
		return err
	}
	autocliv1.RegisterQueryServer(a.GRPCQueryRouter(), runtimeservices.NewAutoCLIQueryService(a.manager.Modules))
	reflection, err := runtimeservices.NewReflectionService()
	if err != nil {
		return err
	}
	reflectionv1.RegisterReflectionServiceServer(a.GRPCQueryRouter(), reflection)
	return nil
}

func (a *App) setHandlers() error {
	a.SetInitChainer(func(ctx sdk.Context, req *abci.RequestInitChain) (*abci.ResponseInitChain, error) {
		var state map[string]json.RawMessage
		if err := json.Unmarshal(req.AppStateBytes, &state); err != nil {
			return nil, fmt.Errorf("genesis: %w", err)
		}
		if err := a.Upgrade.SetModuleVersionMap(ctx, a.manager.GetVersionMap()); err != nil {
			return nil, err
		}
		return a.manager.InitGenesis(ctx, a.Codec, state)
	})
	a.SetPreBlocker(func(ctx sdk.Context, req *abci.RequestFinalizeBlock) (*sdk.ResponsePreBlock, error) {
		res, err := a.manager.PreBlock(ctx)
		if err != nil {
			return nil, err
		}
		return res, a.Cella.Beacon.PreBlock(ctx, req)
	})
	propose := baseapp.NewDefaultProposalHandler(a.Mempool(), a)
	a.SetPrepareProposal(a.Cella.Beacon.PrepareProposal(propose.PrepareProposalHandler()))
	a.SetProcessProposal(a.Cella.Beacon.ProcessProposal(propose.ProcessProposalHandler()))
	a.SetExtendVoteHandler(a.Cella.Beacon.ExtendVote())
	a.SetVerifyVoteExtensionHandler(a.Cella.Beacon.VerifyVoteExtension())
	a.SetBeginBlocker(a.manager.BeginBlock)
	a.SetEndBlocker(a.manager.EndBlock)
	stock, err := ante.NewAnteHandler(ante.HandlerOptions{
		AccountKeeper: a.Account, BankKeeper: a.Bank, FeegrantKeeper: a.FeeGrant,
		SignModeHandler: a.TxConfig.SignModeHandler(), SigGasConsumer: ante.DefaultSigVerificationGasConsumer,
	})
	if err != nil {
		return err
	}
	a.SetAnteHandler(func(ctx sdk.Context, tx sdk.Tx, simulate bool) (sdk.Context, error) {
		return limits{}.AnteHandle(ctx, tx, simulate, stock)
	})
	return nil
}

// SetSigner gives the enclave that makes this node's partial signatures of the beacon.
func (a *App) SetSigner(s beacon.Signer) { a.Cella.Beacon.SetSigner(s) }

// SetSelf says as which validator, by consensus address, this node votes: its enclave's partial signatures are checked before they go out.
func (a *App) SetSelf(consensus [20]byte) { a.Cella.Beacon.SetSelf(consensus) }

// Proposer is who was drawn, in the committed state, to propose the height after it: a consensus address. False if nobody was.
func (a *App) Proposer(height int64) (address [20]byte, ok bool, err error) {
	// Not a query's context: the SDK gives none between a node's start and its first block.
	ctx := sdk.NewContext(a.CommitMultiStore().CacheMultiStore(), cmtproto.Header{Height: a.LastBlockHeight()}, false, a.Logger())
	return a.Cella.Beacon.Proposer(ctx, height)
}

// Basics are the modules without state, as genesis commands want them.
func (a *App) Basics() module.BasicManager { return a.basics }

// Modules by name, as the command line's generator wants them.
func (a *App) Modules() map[string]appmodule.AppModule {
	out := map[string]appmodule.AppModule{}
	for name, m := range a.manager.Modules {
		if m, ok := m.(appmodule.AppModule); ok {
			out[name] = m
		}
	}
	return out
}

// AutoCLI describes the modules' commands.
func (a *App) AutoCLI() map[string]*autocliv1.ModuleOptions {
	return runtimeservices.ExtractAutoCLIOptions(a.manager.Modules)
}
