package node

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	cmtcfg "github.com/cometbft/cometbft/config"
	cmtlog "github.com/cometbft/cometbft/libs/log"
	"github.com/cometbft/cometbft/light"
	"github.com/cometbft/cometbft/p2p"
	"github.com/cometbft/cometbft/p2p/pex"
	"github.com/cometbft/cometbft/proxy"
	sm "github.com/cometbft/cometbft/state"
	"github.com/cometbft/cometbft/statesync"
	cmtstore "github.com/cometbft/cometbft/store"
	cmttypes "github.com/cometbft/cometbft/types"
	"github.com/cometbft/cometbft/version"
	"github.com/spf13/viper"

	"github.com/cosmos/cosmos-sdk/server"
	servercmtlog "github.com/cosmos/cosmos-sdk/server/log"
	genutiltypes "github.com/cosmos/cosmos-sdk/x/genutil/types"

	"github.com/cella-network/cella/chain/app"
)

// ErrStateSync is the kind of what keeps a fresh home from being brought to a recent state.
var ErrStateSync = errors.New("state sync")

// restore brings a home without blocks to a recent state, from snapshots of peers that a light client checks, if config.toml enables
// that. CometBFT would do it in the middle of its start, and then go on with the reactors that we replaced: so it comes first, over a
// network of its own, and everything is closed again when it returns. Interrupted at any point, it begins anew.
func (n *Node) restore(ctx context.Context, options *viper.Viper, genesis *genutiltypes.AppGenesis) error {
	c := n.settings.Comet
	if !c.StateSync.Enable {
		return nil
	}
	doc, err := genesis.ToGenesisDoc()
	if err != nil {
		return fmt.Errorf("genesis: %w", err)
	}
	ledger, err := openLedger(c)
	if err != nil {
		return err
	}
	defer ledger.close()
	begun := filepath.Join(c.DBDir(), "statesync.begun")
	if fresh, err := ledger.fresh(); err != nil {
		return err
	} else if !fresh {
		return remove(begun)
	}
	a, err := openFreshApp(n, options, begun)
	if err != nil {
		return err
	}
	state, commit, err := n.fetch(ctx, a, doc)
	if err := errors.Join(err, a.Close()); err != nil {
		return fmt.Errorf("%w: %w", ErrStateSync, err)
	}
	if err := ledger.begin(state, commit); err != nil {
		return fmt.Errorf("%w: %w", ErrStateSync, err)
	}
	n.log.Info("state sync is done", "height", state.LastBlockHeight)
	return remove(begun)
}

// EnableStateSync writes into config.toml from which block on the chain is to be trusted and whom to ask for it. It refuses homes that
// have a state already. It says whether the home knows any peers.
func EnableStateSync(home string, servers []string, height int64, hash string) (peers bool, err error) {
	c, path := DefaultSettings().Comet, filepath.Join(home, "config", "config.toml")
	v := viper.New() // without variables of the environment, which aren't to be written down
	v.SetConfigFile(path)
	if err := v.ReadInConfig(); err != nil {
		return false, err
	}
	if err := v.Unmarshal(c); err != nil {
		return false, fmt.Errorf("%s: %w", path, err)
	}
	c.SetRoot(home)
	l, err := openLedger(c)
	if err != nil {
		return false, err
	}
	defer l.close()
	if fresh, err := l.fresh(); err != nil || !fresh {
		return false, errors.Join(fmt.Errorf("%w: %s has blocks already", ErrStateSync, home), err)
	}
	c.StateSync.Enable, c.StateSync.RPCServers, c.StateSync.TrustHeight, c.StateSync.TrustHash = true, servers, height, hash
	if err := c.ValidateBasic(); err != nil {
		return false, fmt.Errorf("%s: %w", path, err)
	}
	cmtcfg.WriteConfigFile(path, c)
	return c.P2P.PersistentPeers != "" || c.P2P.Seeds != "", nil
}

// openFreshApp opens an application without state. What an earlier attempt left is removed: begun says that there was one.
func openFreshApp(n *Node, options *viper.Viper, begun string) (*app.App, error) {
	home := n.settings.Comet.RootDir
	if _, err := os.Stat(begun); err == nil {
		if err := os.RemoveAll(filepath.Join(home, "data", "application.db")); err != nil {
			return nil, err
		}
	}
	a, err := openApp(n.log, home, options)
	if err != nil {
		return nil, err
	}
	if h := a.LastBlockHeight(); h > 0 {
		return nil, errors.Join(fmt.Errorf("%w: data/application.db is at height %d, and there are no blocks: it belongs to another node", ErrStateSync, h), a.Close())
	}
	if err := os.WriteFile(begun, nil, 0o644); err != nil {
		return nil, errors.Join(err, a.Close())
	}
	return a, nil
}

func remove(path string) error {
	if err := os.Remove(path); err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	return nil
}

// ledger is what CometBFT keeps: blocks and its state.
type ledger struct {
	blocks *cmtstore.BlockStore
	state  sm.Store
}

func openLedger(c *cmtcfg.Config) (*ledger, error) {
	blocks, err := cmtcfg.DefaultDBProvider(&cmtcfg.DBContext{ID: "blockstore", Config: c})
	if err != nil {
		return nil, fmt.Errorf("database: %w", err)
	}
	state, err := cmtcfg.DefaultDBProvider(&cmtcfg.DBContext{ID: "state", Config: c})
	if err != nil {
		return nil, errors.Join(fmt.Errorf("database: %w", err), blocks.Close())
	}
	return &ledger{blocks: cmtstore.NewBlockStore(blocks), state: sm.NewStore(state, sm.StoreOptions{})}, nil
}

func (l *ledger) close() { _ = errors.Join(l.blocks.Close(), l.state.Close()) }

func (l *ledger) fresh() (bool, error) {
	state, err := l.state.Load()
	return l.blocks.IsEmpty() && state.LastBlockHeight == 0, err
}

// begin writes the state last: while it is missing, nothing counts as done.
func (l *ledger) begin(state sm.State, commit *cmttypes.Commit) error {
	if err := l.blocks.SaveSeenCommit(state.LastBlockHeight, commit); err != nil {
		return err
	}
	return l.state.Bootstrap(state)
}

// synced is how a state sync ended.
type synced struct {
	state  sm.State
	commit *cmttypes.Commit
	err    error
}

// fetch restores a snapshot into the application.
func (n *Node) fetch(ctx context.Context, a *app.App, doc *cmttypes.GenesisDoc) (sm.State, *cmttypes.Commit, error) {
	log := servercmtlog.CometLoggerWrapper{Logger: n.log.With("module", "statesync")}
	c := n.settings.Comet
	first, err := sm.MakeGenesisState(doc)
	if err != nil {
		return sm.State{}, nil, err
	}
	trust := light.TrustOptions{Period: c.StateSync.TrustPeriod, Height: c.StateSync.TrustHeight, Hash: c.StateSync.TrustHashBytes()}
	asking, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	source, err := statesync.NewLightClientStateProvider(asking, doc.ChainID, first.Version, doc.InitialHeight, c.StateSync.RPCServers, trust, log)
	if err != nil {
		return sm.State{}, nil, fmt.Errorf("light client: %w", err)
	}
	conns := proxy.NewAppConns(proxy.NewLocalClientCreator(server.NewCometABCIWrapper(a)), proxy.NopMetrics())
	if err := conns.Start(); err != nil {
		return sm.State{}, nil, err
	}
	defer func() { _ = conns.Stop() }()
	reactor := statesync.NewReactor(*c.StateSync, conns.Snapshot(), conns.Query(), statesync.NopMetrics())
	reactor.SetLogger(log)
	leave, err := joinPeers(c, doc.ChainID, reactor, log)
	if err != nil {
		return sm.State{}, nil, err
	}
	defer leave()
	done := make(chan synced, 1)
	go func() {
		s, commit, err := reactor.Sync(source, c.StateSync.DiscoveryTime)
		done <- synced{s, commit, err}
	}()
	select {
	case s := <-done:
		return s.state, s.commit, s.err
	case <-ctx.Done():
		return sm.State{}, nil, ctx.Err() // Sync hears of no context; without peers it waits for ever
	}
}

// joinPeers connects a reactor, and nothing else, to the peers of config.toml.
func joinPeers(c *cmtcfg.Config, chainID string, reactor *statesync.Reactor, log cmtlog.Logger) (leave func(), err error) {
	key, err := p2p.LoadOrGenNodeKey(c.NodeKeyFile())
	if err != nil {
		return nil, fmt.Errorf("node key: %w", err)
	}
	info := p2p.DefaultNodeInfo{
		ProtocolVersion: p2p.NewProtocolVersion(version.P2PProtocol, version.BlockProtocol, 0),
		DefaultNodeID:   key.ID(), Network: chainID, Version: version.TMCoreSemVer, Moniker: c.Moniker, ListenAddr: c.P2P.ListenAddress,
		Channels: []byte{statesync.SnapshotChannel, statesync.ChunkChannel, pex.PexChannel},
		Other:    p2p.DefaultNodeInfoOther{TxIndex: "off"},
	}
	transport := p2p.NewMultiplexTransport(info, *key, p2p.MConnConfig(c.P2P))
	peers := p2p.NewSwitch(c.P2P, transport)
	peers.SetLogger(log)
	peers.SetNodeInfo(info)
	peers.SetNodeKey(key)
	peers.AddReactor("STATESYNC", reactor)
	book := pex.NewAddrBook(c.P2P.AddrBookFile(), c.P2P.AddrBookStrict)
	book.SetLogger(log)
	peers.SetAddrBook(book)
	if c.P2P.PexReactor {
		exchange := pex.NewReactor(book, &pex.ReactorConfig{Seeds: fields(c.P2P.Seeds), PersistentPeersMaxDialPeriod: c.P2P.PersistentPeersMaxDialPeriod})
		exchange.SetLogger(log)
		peers.AddReactor("PEX", exchange)
	}
	persistent := fields(c.P2P.PersistentPeers)
	if err := errors.Join(peers.AddPersistentPeers(persistent), peers.Start()); err != nil {
		return nil, fmt.Errorf("peers: %w", err)
	}
	leave = func() { _ = errors.Join(peers.Stop(), transport.Close()) }
	if err := peers.DialPeersAsync(persistent); err != nil {
		leave()
		return nil, fmt.Errorf("p2p.persistent_peers: %w", err)
	}
	return leave, nil
}

// fields splits a list of config.toml.
func fields(list string) []string {
	return strings.FieldsFunc(list, func(r rune) bool { return r == ',' || r == ' ' })
}
