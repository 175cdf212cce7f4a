// Package beacon is the chain's module of random numbers: it gathers the validators' partial signatures from their votes, has blocks carry the
// combined ones, keeps the chain of seeds that all draws take, and draws who is to propose.
package beacon

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

	api "github.com/cella-network/cella/api/beacon"
)

// AppModule joins the keeper to an application.
type AppModule struct{ keeper *Keeper }

var (
	_ appmodule.AppModule     = AppModule{}
	_ appmodule.HasEndBlocker = AppModule{}
	_ module.AppModuleBasic   = AppModule{}
	_ module.HasGenesis       = AppModule{}
	_ module.HasServices      = AppModule{}
)

// NewAppModule wraps a keeper.
func NewAppModule(k *Keeper) AppModule { return AppModule{keeper: k} }

func (AppModule) IsOnePerModuleType()      {}
func (AppModule) IsAppModule()             {}
func (AppModule) Name() string             { return ModuleName }
func (AppModule) ConsensusVersion() uint64 { return 1 }

// RegisterLegacyAminoCodec names the messages for amino-JSON signing.
func (AppModule) RegisterLegacyAminoCodec(cdc *codec.LegacyAmino) {
	cdc.RegisterConcrete(&api.Params{}, "cella/x/beacon/Params", nil)
	legacy.RegisterAminoMsg(cdc, &api.MsgBadShare{}, "cella/MsgBadShare")
	legacy.RegisterAminoMsg(cdc, &api.MsgUpdateParams{}, "cella/x/beacon/MsgUpdateParams")
}

// RegisterInterfaces names the messages for protobuf.
func (AppModule) RegisterInterfaces(r cdctypes.InterfaceRegistry) {
	r.RegisterImplementations((*sdk.Msg)(nil), &api.MsgBadShare{}, &api.MsgUpdateParams{})
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

// EndBlock draws the next height's proposer. Numbers come earlier: the application calls Keeper.PreBlock.
func (m AppModule) EndBlock(ctx context.Context) error { return m.keeper.EndBlock(ctx) }

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
	return m.keeper.ValidateGenesis(&g)
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
	arg := func(fields ...string) (args []*autocliv1.PositionalArgDescriptor) {
		for _, f := range fields {
			args = append(args, &autocliv1.PositionalArgDescriptor{ProtoField: f})
		}
		return args
	}
	return &autocliv1.ModuleOptions{
		Query: &autocliv1.ServiceCommandDescriptor{
			Service: "cella.beacon.v1.Query",
			RpcCommandOptions: []*autocliv1.RpcCommandOptions{
				{RpcMethod: "Params", Use: "params", Short: "Show the rules of numbers and of the proposer lottery"},
				{RpcMethod: "Number", Use: "number [height]", Short: "Show a height's random number and how to check it; 0 for the last one", PositionalArgs: arg("height")},
				{RpcMethod: "Missing", Use: "missing", Short: "List heights whose number has not come"},
				{RpcMethod: "Seeds", Use: "seeds [from]", Short: "Show the seeds of consecutive heights; --limit for how many", PositionalArgs: arg("from")},
				{RpcMethod: "Turn", Use: "turn [height]", Short: "Show who is to propose a height and by what it was drawn; 0 for the next one", PositionalArgs: arg("height")},
			},
		},
		Tx: &autocliv1.ServiceCommandDescriptor{
			Service: "cella.beacon.v1.Msg",
			RpcCommandOptions: []*autocliv1.RpcCommandOptions{
				{RpcMethod: "BadShare", Use: "bad-share [validator] [height] [round] [extension] [signature]",
					Short:          "Prove that a validator voted with a wrong partial signature (base64)",
					PositionalArgs: arg("validator", "height", "round", "extension", "signature")},
				{RpcMethod: "UpdateParams", Use: "update-params-proposal [params]", Short: "Propose new rules; all of them must be given", PositionalArgs: arg("params"), GovProposal: true},
			},
		},
	}
}
