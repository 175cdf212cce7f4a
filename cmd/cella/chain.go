package main

import (
	"fmt"
	"io"
	"os"

	dbm "github.com/cosmos/cosmos-db"
	"github.com/spf13/cast"
	"github.com/spf13/cobra"

	"cosmossdk.io/client/v2/autocli"
	"cosmossdk.io/log/v2"

	cmtcmd "github.com/cometbft/cometbft/cmd/cometbft/commands"

	"github.com/cosmos/cosmos-sdk/client"
	clientconfig "github.com/cosmos/cosmos-sdk/client/config"
	"github.com/cosmos/cosmos-sdk/client/debug"
	"github.com/cosmos/cosmos-sdk/client/flags"
	"github.com/cosmos/cosmos-sdk/client/pruning"
	"github.com/cosmos/cosmos-sdk/client/rpc"
	"github.com/cosmos/cosmos-sdk/client/snapshot"
	"github.com/cosmos/cosmos-sdk/server"
	serverconfig "github.com/cosmos/cosmos-sdk/server/config"
	servertypes "github.com/cosmos/cosmos-sdk/server/types"
	authcmd "github.com/cosmos/cosmos-sdk/x/auth/client/cli"
	authtypes "github.com/cosmos/cosmos-sdk/x/auth/types"
	genutilcli "github.com/cosmos/cosmos-sdk/x/genutil/client/cli"
	genutiltypes "github.com/cosmos/cosmos-sdk/x/genutil/types"

	"github.com/cella-network/cella/chain/app"
	"github.com/cella-network/cella/chain/node"
)

// chainCmd is the tree that operators of Cosmos chains know, and `start`, which runs the chain without a worker.
func chainCmd() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "chain",
		Short: "Query, transact with and maintain a node of the chain (the stock commands of a Cosmos chain)",
	}
	// An application over no state describes the commands; it is cheap, and there is no second list to keep.
	a, err := app.New(log.NewNopLogger(), dbm.NewMemDB(), os.TempDir())
	if err != nil {
		cmd.RunE = func(*cobra.Command, []string) error { return err }
		return cmd
	}
	cmd.PersistentPreRunE = func(cmd *cobra.Command, _ []string) error { return setContexts(cmd, a) }
	addLogFlags(cmd)
	cmd.AddCommand(
		initCmd(a), startCmd(), queryCmd(), txCmd(),
		genutilcli.Commands(a.TxConfig, a.Basics(), app.DefaultHome()),
		cometCmd(), stateSyncCmd(), verifyProposersCmd(),
		server.StatusCommand(),
		server.ExportCmd(export, app.DefaultHome()),
		server.NewRollbackCmd(open, app.DefaultHome()),
		pruning.Cmd(open, app.DefaultHome()),
		snapshot.Cmd(open),
		server.ModuleHashByHeightQuery(open),
		debug.Cmd(),
	)
	if err := addModuleCommands(cmd, a); err != nil {
		cmd.RunE = func(*cobra.Command, []string) error { return err }
	}
	dropHomeFlags(cmd)
	return cmd
}

// addModuleCommands generates a command for each query and message of each module.
func addModuleCommands(cmd *cobra.Command, a *app.App) error {
	signing := a.TxConfig.SigningContext()
	return autocli.AppOptions{
		Modules:               a.Modules(),
		ModuleOptions:         a.AutoCLI(),
		AddressCodec:          signing.AddressCodec(),
		ValidatorAddressCodec: signing.ValidatorAddressCodec(),
		ConsensusAddressCodec: a.Staking.ConsensusAddressCodec(),
		ClientCtx:             clientContext(a),
	}.EnhanceRootCommand(cmd)
}

// dropHomeFlags removes the --home that stock commands declare with a default of their own: there is one, at the root.
func dropHomeFlags(cmd *cobra.Command) {
	for _, c := range cmd.Commands() {
		dropHomeFlags(c)
		if f := c.Flags().Lookup(flags.FlagHome); f != nil {
			f.DefValue = app.DefaultHome()
			_ = f.Value.Set(f.DefValue)
			f.Hidden = true
		}
	}
}

func addLogFlags(cmd *cobra.Command) {
	f := cmd.PersistentFlags()
	f.String(flags.FlagLogLevel, "info", "least level that is logged (trace|debug|info|warn|error), or module:level pairs")
	f.String(flags.FlagLogFormat, "plain", "format of log lines (plain|json)")
	f.Bool(flags.FlagLogNoColor, false, "log without colours")
	f.Bool(server.FlagTrace, false, "print the stack of an error")
}

// clientContext is what commands encode and sign with, before a home is known.
func clientContext(a *app.App) client.Context {
	return client.Context{}.WithCodec(a.Codec).WithInterfaceRegistry(a.Registry).WithTxConfig(a.TxConfig).
		WithLegacyAmino(a.Amino).WithInput(os.Stdin).WithAccountRetriever(authtypes.AccountRetriever{}).
		WithHomeDir(app.DefaultHome()).WithViper(app.Name)
}

// setClientContext reads config/client.toml of the home: chain, node and keyring.
func setClientContext(cmd *cobra.Command, a *app.App) error {
	cmd.SetOut(cmd.OutOrStdout())
	cmd.SetErr(cmd.ErrOrStderr())
	ctx, err := client.ReadPersistentCommandFlags(clientContext(a).WithCmdContext(cmd.Context()), cmd.Flags())
	if err != nil {
		return err
	}
	if ctx, err = clientconfig.ReadFromClientConfig(ctx); err != nil {
		return err
	}
	return client.SetCmdClientContextHandler(ctx, cmd)
}

// setContexts also reads config.toml and app.toml, and writes those that are missing.
func setContexts(cmd *cobra.Command, a *app.App) error {
	if err := setClientContext(cmd, a); err != nil {
		return err
	}
	s := node.DefaultSettings()
	return server.InterceptConfigsPreRunHandler(cmd, serverconfig.DefaultConfigTemplate, s.App, s.Comet)
}

// offlineApp is the application over no state, for commands that encode and never query.
func offlineApp(*cobra.Command) (*app.App, error) {
	return app.New(log.NewNopLogger(), dbm.NewMemDB(), os.TempDir())
}

// open is the application over a node's database, for maintenance commands.
func open(logger log.Logger, db dbm.DB, opts servertypes.AppOptions) servertypes.Application {
	a, err := app.New(logger, db, cast.ToString(opts.Get(flags.FlagHome)), server.DefaultBaseappOptions(opts)...)
	if err == nil {
		err = a.LoadLatestVersion()
	}
	if err != nil {
		panic(err) // the stock signature has no error; the commands print this
	}
	return a
}

func export(logger log.Logger, db dbm.DB, height int64, zero bool, _ []string, opts servertypes.AppOptions, modules []string) (servertypes.ExportedApp, error) {
	if zero {
		return servertypes.ExportedApp{}, app.ErrZeroHeight
	}
	a, err := app.New(logger, db, cast.ToString(opts.Get(flags.FlagHome)))
	if err != nil {
		return servertypes.ExportedApp{}, err
	}
	load := a.LoadLatestVersion
	if height >= 0 {
		load = func() error { return a.LoadVersion(height) }
	}
	if err := load(); err != nil {
		return servertypes.ExportedApp{}, err
	}
	return a.Export(modules)
}

// initCmd is the stock command, with the limits of this chain in the genesis that it writes.
func initCmd(a *app.App) *cobra.Command {
	cmd := genutilcli.InitCmd(a.Basics(), app.DefaultHome())
	stock := cmd.RunE
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		if err := stock(cmd, args); err != nil {
			return err
		}
		path := server.GetServerContextFromCmd(cmd).Config.GenesisFile()
		g, err := genutiltypes.AppGenesisFromFile(path)
		if err != nil {
			return err
		}
		g.Consensus.Params = app.ConsensusParams()
		return g.SaveAs(path)
	}
	return cmd
}

// startCmd runs the chain alone: a sentry, a seed or a node for queries.
func startCmd() *cobra.Command {
	return &cobra.Command{
		Use:   "start",
		Short: "Run a node of the chain without storage: a sentry, or one to query",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			home, _ := cmd.Flags().GetString(flags.FlagHome)
			return runChain(cmd, home, cmd.ErrOrStderr())
		},
	}
}

func runChain(cmd *cobra.Command, home string, out io.Writer) error {
	n, err := node.New(cmd.Context(), node.Config{Home: home, Log: out})
	if err != nil {
		return err
	}
	if err := n.Start(); err != nil {
		return err
	}
	failure := n.Wait(cmd.Context())
	if err := n.Stop(); err != nil && failure == nil {
		return fmt.Errorf("stop: %w", err)
	}
	return failure
}

func queryCmd() *cobra.Command {
	cmd := &cobra.Command{Use: "query", Aliases: []string{"q"}, Short: "Query the chain", RunE: client.ValidateCmd}
	cmd.AddCommand(rpc.WaitTxCmd(), server.QueryBlockCmd(), server.QueryBlocksCmd(), server.QueryBlockResultsCmd(),
		rpc.ValidatorCommand(), authcmd.QueryTxCmd(), authcmd.QueryTxsByEventsCmd())
	return cmd
}

func txCmd() *cobra.Command {
	cmd := &cobra.Command{Use: "tx", Short: "Sign and send transactions", RunE: client.ValidateCmd}
	cmd.AddCommand(authcmd.GetSignCommand(), authcmd.GetSignBatchCommand(), authcmd.GetMultiSignCommand(),
		authcmd.GetMultiSignBatchCmd(), authcmd.GetValidateSignaturesCommand(), authcmd.GetBroadcastCommand(),
		authcmd.GetEncodeCommand(), authcmd.GetDecodeCommand(), authcmd.GetSimulateCmd())
	return cmd
}

func cometCmd() *cobra.Command {
	cmd := &cobra.Command{Use: "comet", Aliases: []string{"cometbft"}, Short: "Look after the consensus engine"}
	cmd.AddCommand(server.ShowNodeIDCmd(), server.ShowValidatorCmd(), server.ShowAddressCmd(), server.VersionCmd(),
		cmtcmd.ResetAllCmd, cmtcmd.ResetStateCmd, server.BootstrapStateCmd(open))
	return cmd
}
