package app

import (
	"github.com/cosmos/cosmos-sdk/client"
	"github.com/cosmos/cosmos-sdk/client/grpc/cmtservice"
	nodeservice "github.com/cosmos/cosmos-sdk/client/grpc/node"
	"github.com/cosmos/cosmos-sdk/server"
	"github.com/cosmos/cosmos-sdk/server/api"
	"github.com/cosmos/cosmos-sdk/server/config"
	authtx "github.com/cosmos/cosmos-sdk/x/auth/tx"
)

// RegisterAPIRoutes adds the REST routes of all services.
func (a *App) RegisterAPIRoutes(s *api.Server, _ config.APIConfig) {
	authtx.RegisterGRPCGatewayRoutes(s.ClientCtx, s.GRPCGatewayRouter)
	cmtservice.RegisterGRPCGatewayRoutes(s.ClientCtx, s.GRPCGatewayRouter)
	nodeservice.RegisterGRPCGatewayRoutes(s.ClientCtx, s.GRPCGatewayRouter)
	a.basics.RegisterGRPCGatewayRoutes(s.ClientCtx, s.GRPCGatewayRouter)
}

// RegisterTxService adds the service that simulates, broadcasts and finds transactions.
func (a *App) RegisterTxService(c client.Context) {
	authtx.RegisterTxService(a.GRPCQueryRouter(), c, a.Simulate, a.Registry)
}

// RegisterTendermintService adds the service that shows blocks and validators.
func (a *App) RegisterTendermintService(c client.Context) {
	cmtservice.RegisterTendermintService(c, a.GRPCQueryRouter(), a.Registry, server.NewCometABCIWrapper(a).Query)
}

// RegisterNodeService adds the service that shows this node's settings.
func (a *App) RegisterNodeService(c client.Context, cfg config.Config) {
	nodeservice.RegisterNodeService(c, a.GRPCQueryRouter(), cfg, func() int64 { return a.CommitMultiStore().EarliestVersion() })
}
