// Package guarantee is the chain's module of guaranteed stake: proven storage limits what stake counts, protocol/stake says who makes blocks,
// who is paid and slashed, and this module makes x/staking, x/slashing, x/evidence, x/distribution and x/gov follow it.
package guarantee

import (
	"context"
	"encoding/json"
	"fmt"

	gwruntime "github.com/grpc-ecosystem/grpc-gateway/runtime"

	autocliv1 "cosmossdk.io/api/cosmos/autocli/v1"
	"cosmossdk.io/core/appmodule"

	"github.com/cosmos/cosmos-sdk/client"
	"github.com/cosmos/cosmos-sdk/codec"
	"github.com/cosmos/cosmos-sdk/codec/legacy"
	cdctypes "github.com/cosmos/cosmos-sdk/codec/types"
	sdk "github.com/cosmos/cosmos-sdk/types"
	"github.com/cosmos/cosmos-sdk/types/module"
	"github.com/cosmos/cosmos-sdk/types/msgservice"

	api "github.com/cella-network/cella/api/guarantee"
)

// AppModule joins the keeper to an application. Blocks begin and end in StakingModule: one module alone may return validators.
type AppModule struct{ keeper *Keeper }

var (
	_ appmodule.AppModule   = AppModule{}
	_ module.AppModuleBasic = AppModule{}
	_ module.HasGenesis     = AppModule{}
	_ module.HasServices    = AppModule{}
)

// NewAppModule wraps a keeper.
func NewAppModule(k *Keeper) AppModule { return AppModule{keeper: k} }

func (AppModule) IsOnePerModuleType()      {}
func (AppModule) IsAppModule()             {}
func (AppModule) Name() string             { return ModuleName }
func (AppModule) ConsensusVersion() uint64 { return 1 }

// RegisterLegacyAminoCodec names the messages for amino-JSON signing.
func (AppModule) RegisterLegacyAminoCodec(cdc *codec.LegacyAmino) {
	cdc.RegisterConcrete(&api.Params{}, "cella/x/guarantee/Params", nil)
	legacy.RegisterAminoMsg(cdc, &api.MsgUpdateParams{}, "cella/x/guarantee/MsgUpdateParams")
}

// RegisterInterfaces names the messages for protobuf.
func (AppModule) RegisterInterfaces(r cdctypes.InterfaceRegistry) {
	r.RegisterImplementations((*sdk.Msg)(nil), &api.MsgUpdateParams{})
	msgservice.RegisterMsgServiceDesc(r, &api.Msg_serviceDesc)
}

// RegisterGRPCGatewayRoutes serves the queries over HTTP.
func (AppModule) RegisterGRPCGatewayRoutes(c client.Context, mux *gwruntime.ServeMux) {
	if err := api.RegisterQueryHandlerClient(context.Background(), mux, api.NewQueryClient(c)); err != nil {
		panic(err)
	}
}

// RegisterServices serves messages and queries.
func (m AppModule) RegisterServices(cfg module.Configurator) {
	api.RegisterMsgServer(cfg.MsgServer(), msgServer{m.keeper})
	api.RegisterQueryServer(cfg.QueryServer(), queryServer{m.keeper})
}

// DefaultGenesis is the state of a new chain.
func (AppModule) DefaultGenesis(cdc codec.JSONCodec) json.RawMessage {
	return cdc.MustMarshalJSON(DefaultGenesis())
}

// ValidateGenesis checks a state before a chain starts with it.
func (m AppModule) ValidateGenesis(cdc codec.JSONCodec, _ client.TxEncodingConfig, raw json.RawMessage) error {
	var g api.GenesisState
	if err := cdc.UnmarshalJSON(raw, &g); err != nil {
		return fmt.Errorf("%s genesis: %w", ModuleName, err)
	}
	return ValidateGenesis(&g, m.keeper.addresses)
}

// InitGenesis stores a state; a bad one ends the start of the chain.
func (m AppModule) InitGenesis(ctx sdk.Context, cdc codec.JSONCodec, raw json.RawMessage) {
	var g api.GenesisState
	cdc.MustUnmarshalJSON(raw, &g)
	if err := m.keeper.InitGenesis(ctx, &g); err != nil {
		panic(err)
	}
}

// ExportGenesis returns the state.
func (m AppModule) ExportGenesis(ctx sdk.Context, cdc codec.JSONCodec) json.RawMessage {
	g, err := m.keeper.ExportGenesis(ctx)
	if err != nil {
		panic(err)
	}
	return cdc.MustMarshalJSON(g)
}

// AutoCLIOptions gives the module's commands their words.
func (AppModule) AutoCLIOptions() *autocliv1.ModuleOptions {
	arg := func(field string) []*autocliv1.PositionalArgDescriptor {
		return []*autocliv1.PositionalArgDescriptor{{ProtoField: field}}
	}
	return &autocliv1.ModuleOptions{
		Query: &autocliv1.ServiceCommandDescriptor{
			Service: "cella.guarantee.v1.Query",
			RpcCommandOptions: []*autocliv1.RpcCommandOptions{
				{RpcMethod: "Params", Use: "params", Short: "Show the network-wide figures"},
				{RpcMethod: "Era", Use: "era", Short: "Show the era that goes on and the handover of power, if one does"},
				{RpcMethod: "Node", Use: "node [operator]", Short: "Show an operator's limit, stake, place and pay", PositionalArgs: arg("operator")},
				{RpcMethod: "Nodes", Use: "nodes", Short: "List all operators"},
				{RpcMethod: "Set", Use: "set [height]", Short: "Show who makes the block of a height, 0 for the next", PositionalArgs: arg("height")},
			},
		},
		Tx: &autocliv1.ServiceCommandDescriptor{
			Service: "cella.guarantee.v1.Msg",
			RpcCommandOptions: []*autocliv1.RpcCommandOptions{
				{RpcMethod: "UpdateParams", Use: "update-params-proposal [params]", Short: "Propose new figures; all of them must be given", PositionalArgs: arg("params"), GovProposal: true},
			},
		},
	}
}
