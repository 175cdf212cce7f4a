// Package attest is the chain's module that lets enclaves join: it holds registrations against their evidence, draws endorsers,
// keeps the block hashes that enclaves may start from, and ends registrations in time.
package attest

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

	api "github.com/cella-network/cella/api/attest"
)

// AppModule joins the keeper to an application.
type AppModule struct{ keeper *Keeper }

var (
	_ appmodule.AppModule       = AppModule{}
	_ appmodule.HasBeginBlocker = AppModule{}
	_ module.AppModuleBasic     = AppModule{}
	_ module.HasGenesis         = AppModule{}
	_ module.HasServices        = AppModule{}
)

// NewAppModule wraps a keeper.
func NewAppModule(k *Keeper) AppModule { return AppModule{keeper: k} }

func (AppModule) IsOnePerModuleType()      {}
func (AppModule) IsAppModule()             {}
func (AppModule) Name() string             { return ModuleName }
func (AppModule) ConsensusVersion() uint64 { return 1 }

// RegisterLegacyAminoCodec names the messages for amino-JSON signing.
func (AppModule) RegisterLegacyAminoCodec(cdc *codec.LegacyAmino) {
	cdc.RegisterConcrete(&api.Params{}, "cella/x/attest/Params", nil)
	legacy.RegisterAminoMsg(cdc, &api.MsgAnnounce{}, "cella/MsgAnnounce")
	legacy.RegisterAminoMsg(cdc, &api.MsgRegister{}, "cella/MsgRegister")
	legacy.RegisterAminoMsg(cdc, &api.MsgSetAddrs{}, "cella/MsgSetAddrs")
	legacy.RegisterAminoMsg(cdc, &api.MsgLeave{}, "cella/MsgLeave")
	legacy.RegisterAminoMsg(cdc, &api.MsgUpdateParams{}, "cella/x/attest/MsgUpdateParams")
}

// RegisterInterfaces names the messages for protobuf.
func (AppModule) RegisterInterfaces(r cdctypes.InterfaceRegistry) {
	r.RegisterImplementations((*sdk.Msg)(nil), &api.MsgAnnounce{}, &api.MsgRegister{}, &api.MsgSetAddrs{}, &api.MsgLeave{},
		&api.MsgUpdateParams{})
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

// BeginBlock keeps the block's hash, ends registrations and draws endorsers.
func (m AppModule) BeginBlock(ctx context.Context) error { return m.keeper.BeginBlock(ctx) }

// DefaultGenesis is the state of a new chain.
func (m AppModule) DefaultGenesis(cdc codec.JSONCodec) json.RawMessage {
	return cdc.MustMarshalJSON(m.keeper.DefaultGenesis())
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
			Service: "cella.attest.v1.Query",
			RpcCommandOptions: []*autocliv1.RpcCommandOptions{
				{RpcMethod: "Params", Use: "params", Short: "Show the rules of joining"},
				{RpcMethod: "Node", Use: "node [operator]", Short: "Show an operator's node", PositionalArgs: arg("operator")},
				{RpcMethod: "Nodes", Use: "nodes", Short: "List registered nodes"},
				{RpcMethod: "Intent", Use: "intent [operator]", Short: "Show a join that waits for its endorser", PositionalArgs: arg("operator")},
				{RpcMethod: "Intents", Use: "intents", Short: "List joins that wait for their endorser"},
			},
		},
		Tx: &autocliv1.ServiceCommandDescriptor{
			Service: "cella.attest.v1.Msg",
			RpcCommandOptions: []*autocliv1.RpcCommandOptions{
				{RpcMethod: "Announce", Use: "announce [registration] [sig-m]", Short: "Announce a join and lock the entry stake (base64)", PositionalArgs: arg("registration", "sig_m")},
				{RpcMethod: "Register", Use: "register [registration] [sig-m] [endorser] [sig-v] [sig-mv]", Short: "Complete an announced join", PositionalArgs: arg("registration", "sig_m", "endorser", "sig_v", "sig_mv")},
				{RpcMethod: "SetAddrs", Use: "set-addrs [addr]...", Short: "Replace the addresses of a node", PositionalArgs: []*autocliv1.PositionalArgDescriptor{{ProtoField: "addrs", Varargs: true}}},
				{RpcMethod: "Leave", Use: "leave", Short: "End a registration and take the entry stake back"},
				{RpcMethod: "UpdateParams", Use: "update-params-proposal [params]", Short: "Propose new rules; all of them must be given", PositionalArgs: arg("params"), GovProposal: true},
			},
		},
	}
}
