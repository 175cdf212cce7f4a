package node

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	cmtdb "github.com/cometbft/cometbft-db"
	cmtcfg "github.com/cometbft/cometbft/config"
	cmtnode "github.com/cometbft/cometbft/node"
	"github.com/cometbft/cometbft/p2p"
	"github.com/cometbft/cometbft/privval"
	"github.com/cometbft/cometbft/proxy"
	rpcclient "github.com/cometbft/cometbft/rpc/client"
	"github.com/cometbft/cometbft/rpc/client/local"
	cmttypes "github.com/cometbft/cometbft/types"
	dbm "github.com/cosmos/cosmos-db"
	"github.com/spf13/viper"
	"golang.org/x/sync/errgroup"
	"golang.org/x/term"

	"cosmossdk.io/log/v2"

	"github.com/cosmos/cosmos-sdk/client"
	"github.com/cosmos/cosmos-sdk/client/flags"
	"github.com/cosmos/cosmos-sdk/server"
	"github.com/cosmos/cosmos-sdk/server/api"
	servercmtlog "github.com/cosmos/cosmos-sdk/server/log"
	"github.com/cosmos/cosmos-sdk/telemetry"
	genutiltypes "github.com/cosmos/cosmos-sdk/x/genutil/types"

	"github.com/cella-network/cella/chain/app"
)

// Config says which node to run.
type Config struct {
	// Home is the folder with config/ and data/.
	Home string
	// Log receives one line an event, at the level that config.toml names; nil means standard error.
	Log io.Writer
}

// Node is one node of the chain. New, then Start, then Stop, once each.
type Node struct {
	settings Settings
	log      log.Logger
	app      *app.App
	comet    *cmtnode.Node
	client   client.Context
	index    io.Closer // CometBFT's index of transactions

	cancel  context.CancelFunc
	servers *errgroup.Group
	failed  context.Context // ends with the first server that fails, or with Stop
}

// New opens the databases of a home, replays what the application missed, and prepares the servers. Nothing listens yet.
func New(cfg Config) (*Node, error) {
	settings, options, err := load(cfg.Home)
	if err != nil {
		return nil, err
	}
	n := &Node{settings: settings}
	if n.log, err = logger(options, cfg.Log); err != nil {
		return nil, err
	}
	genesis, err := genutiltypes.AppGenesisFromFile(settings.Comet.GenesisFile())
	if err != nil {
		return nil, fmt.Errorf("genesis: %w", err)
	}
	options.Set("chain-id", genesis.ChainID)
	db, err := dbm.NewDB("application", server.GetAppDBBackend(options), filepath.Join(cfg.Home, "data"))
	if err != nil {
		return nil, fmt.Errorf("database: %w", err)
	}
	if n.app, err = app.New(n.log, db, cfg.Home, server.DefaultBaseappOptions(options)...); err != nil {
		return nil, errors.Join(err, db.Close())
	}
	if err := n.app.LoadLatestVersion(); err != nil {
		return nil, errors.Join(err, n.app.Close())
	}
	if err := n.openComet(genesis); err != nil {
		return nil, errors.Join(err, n.app.Close())
	}
	return n, nil
}

func logger(options *viper.Viper, out io.Writer) (log.Logger, error) {
	if out == nil {
		out = os.Stderr
	}
	if f, ok := out.(*os.File); !ok || !term.IsTerminal(int(f.Fd())) {
		options.Set(flags.FlagLogNoColor, true)
	}
	return server.CreateSDKLogger(server.NewContext(options, nil, log.NewNopLogger()), out)
}

func (n *Node) openComet(genesis *genutiltypes.AppGenesis) error {
	c := n.settings.Comet
	nodeKey, err := p2p.LoadOrGenNodeKey(c.NodeKeyFile())
	if err != nil {
		return fmt.Errorf("node key: %w", err)
	}
	// The context that CometBFT is given bounds its start alone; Stop ends it.
	n.comet, err = cmtnode.NewNodeWithContext(context.Background(), c,
		privval.LoadOrGenFilePV(c.PrivValidatorKeyFile(), c.PrivValidatorStateFile()), nodeKey,
		proxy.NewLocalClientCreator(server.NewCometABCIWrapper(n.app)),
		func() (*cmttypes.GenesisDoc, error) { return genesis.ToGenesisDoc() },
		n.openDB, cmtnode.DefaultMetricsProvider(c.Instrumentation),
		servercmtlog.CometLoggerWrapper{Logger: n.log})
	if err != nil {
		return fmt.Errorf("comet: %w", err)
	}
	n.client = client.Context{}.WithCodec(n.app.Codec).WithInterfaceRegistry(n.app.Registry).WithTxConfig(n.app.TxConfig).
		WithLegacyAmino(n.app.Amino).WithChainID(genesis.ChainID).WithHomeDir(c.RootDir).WithClient(local.New(n.comet))
	n.app.RegisterTxService(n.client)
	n.app.RegisterTendermintService(n.client)
	n.app.RegisterNodeService(n.client, n.settings.App)
	return nil
}

// openDB keeps the one database that CometBFT opens and never closes, so that a node can run again in the same process.
func (n *Node) openDB(c *cmtcfg.DBContext) (cmtdb.DB, error) {
	db, err := cmtcfg.DefaultDBProvider(c)
	if err == nil && c.ID == "tx_index" {
		n.index = db
	}
	return db, err
}

// Start listens and joins the network. It returns when the node takes part, not when it has caught up.
func (n *Node) Start() error {
	metrics, err := telemetry.New(n.settings.App.Telemetry) //nolint:staticcheck // the SDK's own server still serves metrics by it
	if err != nil {
		return fmt.Errorf("telemetry: %w", err)
	}
	if err := n.comet.Start(); err != nil {
		return fmt.Errorf("comet: %w", err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	n.cancel = cancel
	n.servers, n.failed = errgroup.WithContext(ctx)
	grpcServer, clientCtx, err := server.StartGrpcServer(n.failed, n.servers, n.settings.App.GRPC, n.client,
		&server.Context{Logger: n.log}, n.app)
	if err != nil {
		return errors.Join(fmt.Errorf("grpc: %w", err), n.Stop())
	}
	if n.settings.App.API.Enable {
		rest := api.New(clientCtx, n.log.With("module", "api"), grpcServer)
		n.app.RegisterAPIRoutes(rest, n.settings.App.API)
		if metrics != nil {
			rest.SetTelemetry(metrics) //nolint:staticcheck // as above
		}
		n.servers.Go(func() error { return rest.Start(n.failed, n.settings.App) })
	}
	return nil
}

// Wait returns when a server failed, with its error, or when ctx or the node ended. The node still needs Stop.
func (n *Node) Wait(ctx context.Context) error {
	select {
	case <-ctx.Done():
		return nil
	case <-n.comet.Quit():
		return nil
	case <-n.failed.Done():
		return n.servers.Wait()
	}
}

// Stop leaves the network and closes the databases. What was committed is on disk when it returns.
func (n *Node) Stop() error {
	var errs []error
	if n.comet.IsRunning() {
		errs = append(errs, n.comet.Stop())
		n.comet.Wait()
	}
	if n.cancel != nil {
		n.cancel()
		errs = append(errs, n.servers.Wait())
	}
	if n.index != nil {
		errs = append(errs, n.index.Close())
	}
	return errors.Join(append(errs, n.app.Close())...)
}

// RPC answers CometBFT's calls without a socket.
func (n *Node) RPC() rpcclient.Client { return n.client.Client.(*local.Local) }

// Client is a context for queries and transactions on this node, without a keyring.
func (n *Node) Client() client.Context { return n.client }
