package node

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"sync"

	cmtdb "github.com/cometbft/cometbft-db"
	cmtcfg "github.com/cometbft/cometbft/config"
	"github.com/cometbft/cometbft/p2p"
	"github.com/cometbft/cometbft/privval"
	"github.com/cometbft/cometbft/proxy"
	rpcclient "github.com/cometbft/cometbft/rpc/client"
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

	beaconapi "github.com/cella-network/cella/api/beacon"
	"github.com/cella-network/cella/chain/app"
	"github.com/cella-network/cella/chain/x/beacon"
)

// Config says which node to run.
type Config struct {
	// Home is the folder with config/ and data/.
	Home string
	// Log receives one line an event, at the level that config.toml names; nil means standard error.
	Log io.Writer

	drawn proposers // in tests; else the application's
}

// Node is one node of the chain. New, then Start, then Stop, once each.
type Node struct {
	settings Settings
	log      log.Logger
	app      *app.App
	drawn    proposers
	comet    *comet
	client   client.Context
	dbs      []*lateDB // CometBFT's

	cancel  context.CancelFunc
	servers *errgroup.Group
	failed  context.Context // ends with consensus or the first server that fails, or with Stop
}

// New opens the databases of a home, replays what the application missed, and prepares the servers. Nothing listens yet. A home without
// blocks is first brought to a recent state, if config.toml enables state sync: that takes minutes, and ends with ctx.
func New(ctx context.Context, cfg Config) (*Node, error) {
	settings, options, err := load(cfg.Home)
	if err != nil {
		return nil, err
	}
	n := &Node{settings: settings, drawn: cfg.drawn}
	if n.log, err = logger(options, cfg.Log); err != nil {
		return nil, err
	}
	genesis, err := genutiltypes.AppGenesisFromFile(settings.Comet.GenesisFile())
	if err != nil {
		return nil, fmt.Errorf("genesis: %w", err)
	}
	options.Set("chain-id", genesis.ChainID)
	if err := n.restore(ctx, options, genesis); err != nil {
		return nil, err
	}
	if n.app, err = openApp(n.log, cfg.Home, options); err != nil {
		return nil, err
	}
	if err := n.openComet(ctx, genesis); err != nil {
		return nil, errors.Join(err, n.closeDBs(), n.app.Close())
	}
	return n, nil
}

func (n *Node) closeDBs() error {
	var errs []error
	for _, db := range n.dbs {
		errs = append(errs, db.Close())
	}
	return errors.Join(errs...)
}

func openApp(log log.Logger, home string, options *viper.Viper) (*app.App, error) {
	db, err := dbm.NewDB("application", server.GetAppDBBackend(options), filepath.Join(home, "data"))
	if err != nil {
		return nil, fmt.Errorf("database: %w", err)
	}
	a, err := app.New(log, db, home, server.DefaultBaseappOptions(options)...)
	if err != nil {
		return nil, errors.Join(err, db.Close())
	}
	if err := a.LoadLatestVersion(); err != nil {
		return nil, errors.Join(err, a.Close())
	}
	return a, nil
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

func (n *Node) openComet(ctx context.Context, genesis *genutiltypes.AppGenesis) error {
	c := n.settings.Comet
	nodeKey, err := p2p.LoadOrGenNodeKey(c.NodeKeyFile())
	if err != nil {
		return fmt.Errorf("node key: %w", err)
	}
	if n.drawn == nil {
		n.drawn = n.app
	}
	n.comet, err = newComet(ctx, cometParts{
		config:    c,
		validator: privval.LoadOrGenFilePV(c.PrivValidatorKeyFile(), c.PrivValidatorStateFile()),
		key:       nodeKey,
		app:       proxy.NewLocalClientCreator(server.NewCometABCIWrapper(n.app)),
		genesis:   func() (*cmttypes.GenesisDoc, error) { return genesis.ToGenesisDoc() },
		openDB:    n.openDB,
		drawn:     n.drawn,
		log:       servercmtlog.CometLoggerWrapper{Logger: n.log},
	})
	if err != nil {
		return fmt.Errorf("comet: %w", err)
	}
	self, err := n.comet.PrivValidator().GetPubKey()
	if err != nil {
		return fmt.Errorf("consensus key: %w", err)
	}
	n.app.SetSelf([20]byte(self.Address()))
	n.client = client.Context{}.WithCodec(n.app.Codec).WithInterfaceRegistry(n.app.Registry).WithTxConfig(n.app.TxConfig).
		WithLegacyAmino(n.app.Amino).WithChainID(genesis.ChainID).WithHomeDir(c.RootDir).WithClient(n.comet.local())
	n.app.RegisterTxService(n.client)
	n.app.RegisterTendermintService(n.client)
	n.app.RegisterNodeService(n.client, n.settings.App)
	return nil
}

// openDB keeps the databases that CometBFT opens: it doesn't close all of them, and none if it never started, but a node may run again in
// the same process.
func (n *Node) openDB(c *cmtcfg.DBContext) (cmtdb.DB, error) {
	db, err := cmtcfg.DefaultDBProvider(c)
	if err != nil {
		return nil, err
	}
	late := &lateDB{DB: db}
	n.dbs = append(n.dbs, late)
	return late, nil
}

// lateDB is empty once it is closed, and may be closed twice. CometBFT closes its databases while goroutines that gossip with peers still sleep; when they wake
// up they look for a block once more, and panic on an error.
type lateDB struct {
	cmtdb.DB
	mu     sync.RWMutex
	closed bool
}

func (db *lateDB) Get(key []byte) ([]byte, error) {
	db.mu.RLock()
	defer db.mu.RUnlock()
	if db.closed {
		return nil, nil
	}
	return db.DB.Get(key)
}

func (db *lateDB) Close() error {
	db.mu.Lock()
	defer db.mu.Unlock()
	if db.closed {
		return nil
	}
	db.closed = true
	return db.DB.Close()
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
	n.servers.Go(func() error { return n.comet.halted(n.failed) })
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

// Wait returns when consensus or a server failed, with the error, or when ctx or the node ended. The node still needs Stop.
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
	errs = append(errs, n.comet.Stop())
	if n.cancel != nil {
		n.cancel()
		errs = append(errs, n.servers.Wait())
	}
	errs = append(errs, n.closeDBs())
	return errors.Join(append(errs, n.app.Close())...)
}

// SetSigner gives the enclave that makes this node's partial signatures of the beacon. Until then its votes carry none.
func (n *Node) SetSigner(s beacon.Signer) { n.app.SetSigner(s) }

// Evidence lists the proofs of bad shares that this node came by, for its operator to post.
func (n *Node) Evidence() []*beaconapi.MsgBadShare { return n.app.Cella.Beacon.Evidence() }

// RPC answers CometBFT's calls without a socket.
func (n *Node) RPC() rpcclient.Client { return n.client.Client.(*localRPC) }

// Client is a context for queries and transactions on this node, without a keyring.
func (n *Node) Client() client.Context { return n.client }
