package node

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"time"

	cmtdb "github.com/cometbft/cometbft-db"
	"github.com/cometbft/cometbft/blocksync"
	cmtcfg "github.com/cometbft/cometbft/config"
	cs "github.com/cometbft/cometbft/consensus"
	cmtlog "github.com/cometbft/cometbft/libs/log"
	cmtpubsub "github.com/cometbft/cometbft/libs/pubsub"
	mempl "github.com/cometbft/cometbft/mempool"
	cmtnode "github.com/cometbft/cometbft/node"
	"github.com/cometbft/cometbft/p2p"
	"github.com/cometbft/cometbft/proxy"
	"github.com/cometbft/cometbft/rpc/client/local"
	rpccore "github.com/cometbft/cometbft/rpc/core"
	ctypes "github.com/cometbft/cometbft/rpc/core/types"
	grpccore "github.com/cometbft/cometbft/rpc/grpc"
	rpcserver "github.com/cometbft/cometbft/rpc/jsonrpc/server"
	rpctypes "github.com/cometbft/cometbft/rpc/jsonrpc/types"
	sm "github.com/cometbft/cometbft/state"
	"github.com/cometbft/cometbft/statesync"
	cmtstore "github.com/cometbft/cometbft/store"
	cmttypes "github.com/cometbft/cometbft/types"
	"github.com/rs/cors"
)

// errTransport is said of a setting that CometBFT still calls an experiment: its switch can't take our reactors.
var errTransport = errors.New("config.toml: p2p.libp2p.enabled isn't supported here; set it to false")

// comet is CometBFT's node, in which consensus and block sync run over a proposerStore. CometBFT makes its own first, over its own
// store; they are replaced before anything starts and stay idle.
type comet struct {
	*cmtnode.Node
	consensus *cs.State
	reactor   *cs.Reactor
	env       *rpccore.Environment
	rpc       cmtcfg.RPCConfig
	log       cmtlog.Logger
	listeners []net.Listener
}

// cometParts is what a comet is made of.
type cometParts struct {
	config    *cmtcfg.Config
	validator cmttypes.PrivValidator
	key       *p2p.NodeKey
	app       proxy.ClientCreator
	genesis   cmtnode.GenesisDocProvider
	openDB    cmtcfg.DBProvider
	drawn     proposers
	log       cmtlog.Logger
}

// metrics are those that the replaced parts count by.
type metrics struct {
	consensus *cs.Metrics
	state     *sm.Metrics
	blocksync *blocksync.Metrics
}

// newComet opens CometBFT's databases and replays to the application what it missed.
func newComet(ctx context.Context, p cometParts) (*comet, error) {
	if p.config.P2P.LibP2PEnabled() {
		return nil, errTransport
	}
	// CometBFT serves RPC from what it made for itself; so it is told not to, but its peers are told the address.
	config, rpc, sync := *p.config, *p.config.RPC, *p.config.StateSync
	sync.Enable = false // done already, or not needed: see restore
	config.RPC, config.StateSync = &rpc, &sync
	p.config = &config

	c := &comet{rpc: rpc, log: p.log}
	dbs := stores{open: p.openDB}
	var counted metrics
	var failure error
	n, err := cmtnode.NewNodeWithContext(ctx, p.config, p.validator, p.key, p.app, p.genesis, dbs.provide,
		counted.provide(p.config.Instrumentation), p.log, func(n *cmtnode.Node) { failure = c.replace(n, p, &dbs, counted) })
	if err = errors.Join(err, failure); err != nil {
		return nil, err
	}
	c.Node = n
	if c.env, err = n.ConfigureRPC(); err != nil {
		return nil, err
	}
	c.env.ConsensusState, c.env.ConsensusReactor = c.consensus, c.reactor
	rpc.ListenAddress, rpc.GRPCListenAddress = "", ""
	return c, nil
}

// provide is CometBFT's provider of metrics, which must be asked once a process.
func (m *metrics) provide(config *cmtcfg.InstrumentationConfig) cmtnode.MetricsProvider {
	stock := cmtnode.DefaultMetricsProvider(config)
	return func(chainID string) (*cs.Metrics, *p2p.Metrics, *mempl.Metrics, *sm.Metrics, *proxy.Metrics, *blocksync.Metrics, *statesync.Metrics) {
		consensus, peers, pool, state, app, blocks, sync := stock(chainID)
		*m = metrics{consensus: consensus, state: state, blocksync: blocks}
		return consensus, peers, pool, state, app, blocks, sync
	}
}

// replace puts consensus and block sync over our store in the place of CometBFT's.
func (c *comet) replace(n *cmtnode.Node, p cometParts, dbs *stores, m metrics) error {
	store := proposerStore{Store: sm.NewStore(dbs.state, sm.StoreOptions{DiscardABCIResponses: p.config.Storage.DiscardABCIResponses}), drawn: p.drawn}
	state, err := store.Load()
	if err != nil {
		return err
	}
	key, err := n.PrivValidator().GetPubKey() // a remote signer's, if there is one
	if err != nil {
		return err
	}
	blocks, config := n.BlockStore(), p.config
	exec := sm.NewBlockExecutor(store, p.log.With("module", "state"), n.ProxyApp().Consensus(), n.Mempool(), n.EvidencePool(), blocks,
		sm.BlockExecutorWithMetrics(m.state), sm.BlockExecutorWithBlockTimeTolerance(config.Consensus.BlockTimeTolerance))

	sync := state.Validators.Size() != 1 || !bytes.Equal(state.Validators.Validators[0].Address, key.Address())
	blockReactor := blocksync.NewReactor(sync, config.BlockSync.AdaptiveSync, state.Copy(), exec, blocks, key.Address(), dbs.synced, m.blocksync)
	blockReactor.SetLogger(p.log.With("module", "blocksync"))

	c.consensus = cs.NewState(config.Consensus, state.Copy(), exec, blocks, n.Mempool(), n.EvidencePool(), cs.StateMetrics(m.consensus), cs.OfflineStateSyncHeight(dbs.synced))
	c.consensus.SetLogger(p.log.With("module", "consensus"))
	c.consensus.SetPrivValidator(n.PrivValidator())
	c.reactor = cs.NewReactor(c.consensus, sync && !config.BlockSync.AdaptiveSync, cs.ReactorMetrics(m.consensus))
	c.reactor.SetLogger(p.log.With("module", "consensus"))
	c.reactor.SetEventBus(n.EventBus())
	cmtnode.CustomReactors(map[string]p2p.Reactor{"CONSENSUS": c.reactor, "BLOCKSYNC": blockReactor})(n)
	return nil
}

// stores keeps the databases that CometBFT opens and shows to nobody.
type stores struct {
	open   cmtcfg.DBProvider
	blocks cmtdb.DB
	state  cmtdb.DB
	synced int64 // height of a state that came without its blocks
}

// provide is CometBFT's provider of databases. It opens blocks first, then the state.
func (s *stores) provide(c *cmtcfg.DBContext) (cmtdb.DB, error) {
	db, err := s.open(c)
	if err != nil {
		return nil, err
	}
	switch c.ID {
	case "blockstore":
		s.blocks = db
	case "state":
		s.state = db
		err = s.mark()
	}
	return db, err
}

// mark writes down the height of a state that came without blocks. CometBFT forgets it at each start, even if no block came since, and
// then refuses to start again.
func (s *stores) mark() error {
	blocks, store := cmtstore.NewBlockStore(s.blocks), sm.NewStore(s.state, sm.StoreOptions{})
	state, err := store.Load()
	if err != nil || state.LastBlockHeight == 0 || blocks.Height() > 0 {
		return err
	}
	if blocks.LoadSeenCommit(state.LastBlockHeight) == nil {
		return fmt.Errorf("data: the state of height %d has neither its block nor a commit", state.LastBlockHeight)
	}
	s.synced = state.LastBlockHeight
	return store.SetOfflineStateSyncHeight(s.synced)
}

// Start serves RPC and joins the network.
func (c *comet) Start() error {
	if err := c.serve(); err != nil {
		return errors.Join(err, c.close())
	}
	if err := c.Node.Start(); err != nil {
		return errors.Join(err, c.close())
	}
	return nil
}

// Stop leaves the network and closes CometBFT's databases.
func (c *comet) Stop() error {
	err := c.close()
	if c.IsRunning() {
		err = errors.Join(err, c.Node.Stop())
		c.Wait()
	}
	return err
}

// halted returns when consensus has ended by itself, which CometBFT only logs: the rest of it goes on, and looks like a node. It returns nothing
// if it is stopped, or when ctx ends.
func (c *comet) halted(ctx context.Context) error {
	ended := make(chan struct{})
	go func() {
		c.consensus.Wait()
		close(ended)
	}()
	select {
	case <-ended:
		if c.IsRunning() {
			return errors.New("consensus has stopped: the log says why, after CONSENSUS FAILURE")
		}
	case <-ctx.Done():
	}
	return nil
}

func (c *comet) close() error {
	var errs []error
	for _, l := range c.listeners {
		errs = append(errs, l.Close())
	}
	c.listeners = nil
	return errors.Join(errs...)
}

// serve answers RPC as CometBFT does, from our consensus.
func (c *comet) serve() error {
	routes := c.env.GetRoutes()
	if c.rpc.Unsafe {
		c.env.AddUnsafeRoutes(routes)
	}
	for _, address := range fields(c.rpc.ListenAddress) {
		if err := c.serveRPC(address, routes); err != nil {
			return fmt.Errorf("rpc: %w", err)
		}
	}
	if c.rpc.GRPCListenAddress == "" {
		return nil
	}
	l, err := c.listen(c.rpc.GRPCListenAddress, c.rpc.GRPCMaxOpenConnections)
	if err != nil {
		return fmt.Errorf("rpc: %w", err)
	}
	//nolint:staticcheck // deprecated without a successor, and off unless it is asked for
	go c.ended(func() error { return grpccore.StartGRPCServer(c.env, l) })
	return nil
}

func (c *comet) serveRPC(address string, routes rpccore.RoutesMap) error {
	config := c.serverConfig()
	log := c.log.With("module", "rpc-server")
	ws := rpcserver.NewWebsocketManager(routes, rpcserver.ReadLimit(config.MaxBodyBytes), rpcserver.WriteChanCapacity(c.rpc.WebSocketWriteBufferSize),
		rpcserver.OnDisconnect(func(remote string) {
			err := c.EventBus().UnsubscribeAll(context.Background(), remote)
			if err != nil && !errors.Is(err, cmtpubsub.ErrSubscriptionNotFound) {
				log.Error("a subscriber that left", "addr", remote, "err", err)
			}
		}))
	ws.SetLogger(log.With("protocol", "websocket"))
	mux := http.NewServeMux()
	mux.HandleFunc("/websocket", ws.WebsocketHandler)
	rpcserver.RegisterRPCFuncs(mux, routes, log)
	var handler http.Handler = mux
	if c.rpc.IsCorsEnabled() {
		handler = cors.New(cors.Options{
			AllowedOrigins: c.rpc.CORSAllowedOrigins, AllowedMethods: c.rpc.CORSAllowedMethods, AllowedHeaders: c.rpc.CORSAllowedHeaders,
		}).Handler(mux)
	}
	l, err := c.listen(address, config.MaxOpenConnections)
	if err != nil {
		return err
	}
	if c.rpc.IsTLSEnabled() {
		go c.ended(func() error {
			return rpcserver.ServeTLS(l, handler, c.rpc.CertFile(), c.rpc.KeyFile(), log, config)
		})
		return nil
	}
	go c.ended(func() error { return rpcserver.Serve(l, handler, log, config) })
	return nil
}

func (c *comet) listen(address string, connections int) (net.Listener, error) {
	l, err := rpcserver.Listen(address, connections)
	if err == nil {
		c.listeners = append(c.listeners, l)
	}
	return l, err
}

// ended logs why a server ended, if it wasn't told to.
func (c *comet) ended(serve func() error) {
	if err := serve(); err != nil && !errors.Is(err, net.ErrClosed) && !errors.Is(err, http.ErrServerClosed) {
		c.log.Error("rpc server", "err", err)
	}
}

func (c *comet) serverConfig() *rpcserver.Config {
	config := rpcserver.DefaultConfig()
	config.MaxRequestBatchSize = c.rpc.MaxRequestBatchSize
	config.MaxBodyBytes = c.rpc.MaxBodyBytes
	config.MaxHeaderBytes = c.rpc.MaxHeaderBytes
	config.MaxOpenConnections = c.rpc.MaxOpenConnections
	// A response may wait for a block.
	config.WriteTimeout = max(config.WriteTimeout, c.rpc.TimeoutBroadcastTxCommit+time.Second)
	return config
}

// localRPC answers CometBFT's calls without a socket. local.Local asks the consensus that CometBFT made for itself, which stays
// idle; so whatever depends on consensus is asked here.
type localRPC struct {
	*local.Local
	env *rpccore.Environment
}

func (c *comet) local() *localRPC { return &localRPC{Local: local.New(c.Node), env: c.env} }

func (l *localRPC) Status(context.Context) (*ctypes.ResultStatus, error) {
	return l.env.Status(&rpctypes.Context{})
}

func (l *localRPC) DumpConsensusState(context.Context) (*ctypes.ResultDumpConsensusState, error) {
	return l.env.DumpConsensusState(&rpctypes.Context{})
}

func (l *localRPC) ConsensusState(context.Context) (*ctypes.ResultConsensusState, error) {
	return l.env.GetConsensusState(&rpctypes.Context{})
}

func (l *localRPC) ConsensusParams(_ context.Context, height *int64) (*ctypes.ResultConsensusParams, error) {
	return l.env.ConsensusParams(&rpctypes.Context{}, height)
}

func (l *localRPC) Validators(_ context.Context, height *int64, page, perPage *int) (*ctypes.ResultValidators, error) {
	return l.env.Validators(&rpctypes.Context{}, height, page, perPage)
}
