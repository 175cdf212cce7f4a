// Package market is the chain's module that buys and sells storage: it stores what protocol/market decides and moves the
// coins that it names.
package market

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

	api "github.com/cella-network/cella/api/market"
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
	cdc.RegisterConcrete(&api.Params{}, "cella/x/market/Params", nil)
	legacy.RegisterAminoMsg(cdc, &api.MsgSetAsk{}, "cella/MsgSetAsk")
	legacy.RegisterAminoMsg(cdc, &api.MsgPlaceOrder{}, "cella/MsgPlaceOrder")
	legacy.RegisterAminoMsg(cdc, &api.MsgAccept{}, "cella/MsgAccept")
	legacy.RegisterAminoMsg(cdc, &api.MsgRenew{}, "cella/MsgRenew")
	legacy.RegisterAminoMsg(cdc, &api.MsgDrain{}, "cella/MsgDrain")
	legacy.RegisterAminoMsg(cdc, &api.MsgEnd{}, "cella/MsgEnd")
	legacy.RegisterAminoMsg(cdc, &api.MsgSettle{}, "cella/MsgSettle")
	legacy.RegisterAminoMsg(cdc, &api.MsgUpdateParams{}, "cella/x/market/MsgUpdateParams")
}

// RegisterInterfaces names the messages for protobuf.
func (AppModule) RegisterInterfaces(r cdctypes.InterfaceRegistry) {
	r.RegisterImplementations((*sdk.Msg)(nil), &api.MsgSetAsk{}, &api.MsgPlaceOrder{}, &api.MsgAccept{}, &api.MsgRenew{},
		&api.MsgDrain{}, &api.MsgEnd{}, &api.MsgSettle{}, &api.MsgUpdateParams{})
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

// BeginBlock does what has become due.
func (m AppModule) BeginBlock(ctx context.Context) error { return m.keeper.BeginBlock(ctx) }

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
	arg := func(fields ...string) (args []*autocliv1.PositionalArgDescriptor) {
		for _, f := range fields {
			args = append(args, &autocliv1.PositionalArgDescriptor{ProtoField: f})
		}
		return args
	}
	return &autocliv1.ModuleOptions{
		Query: &autocliv1.ServiceCommandDescriptor{
			Service: "cella.market.v1.Query",
			RpcCommandOptions: []*autocliv1.RpcCommandOptions{
				{RpcMethod: "Params", Use: "params", Short: "Show the network-wide terms"},
				{RpcMethod: "Asks", Use: "asks", Short: "List what operators offer"},
				{RpcMethod: "Order", Use: "order [id]", Short: "Show an order, its replicas and what they have accrued", PositionalArgs: arg("id")},
				{RpcMethod: "Orders", Use: "orders", Short: "List orders, by owner, root or those with a free place"},
				{RpcMethod: "Conduct", Use: "conduct [operator]", Short: "Show the warnings that stand against an operator and its faults", PositionalArgs: arg("operator")},
				{RpcMethod: "Replicas", Use: "replicas [operator]", Short: "List an operator's replicas", PositionalArgs: arg("operator")},
			},
		},
		Tx: &autocliv1.ServiceCommandDescriptor{
			Service: "cella.market.v1.Msg",
			RpcCommandOptions: []*autocliv1.RpcCommandOptions{
				{RpcMethod: "SetAsk", Use: "set-ask [price] [max-size]", Short: "Offer storage (ucella per GiB-day, bytes); a price of 0 withdraws", PositionalArgs: arg("price", "max_size")},
				{RpcMethod: "PlaceOrder", Use: "place-order", Short: "Lock escrow for replicas of what lies under a root"},
				{RpcMethod: "Accept", Use: "accept [order]", Short: "Take a replica of an order", PositionalArgs: arg("order")},
				{RpcMethod: "Renew", Use: "renew [order] [blocks]", Short: "Lengthen an order", PositionalArgs: arg("order", "blocks")},
				{RpcMethod: "Drain", Use: "drain", Short: "Leave in order: offer nothing more, end each replica as soon as another operator has proven it"},
				{RpcMethod: "End", Use: "end [order]", Short: "End an order early", PositionalArgs: arg("order")},
				{RpcMethod: "Settle", Use: "settle [order]", Short: "Pay an order's replicas what they have earned", PositionalArgs: arg("order")},
				{RpcMethod: "UpdateParams", Use: "update-params-proposal [params]", Short: "Propose new terms; all of them must be given", PositionalArgs: arg("params"), GovProposal: true},
			},
		},
	}
}
