package content

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/ipfs/boxo/bitswap"
	"github.com/ipfs/boxo/bitswap/network/bsnet"
	"github.com/ipfs/boxo/blockstore"
	"github.com/ipfs/go-cid"
	"github.com/ipfs/go-datastore"
	dssync "github.com/ipfs/go-datastore/sync"
	"github.com/libp2p/go-libp2p"
	dht "github.com/libp2p/go-libp2p-kad-dht"
	"github.com/libp2p/go-libp2p-kad-dht/dual"
	"github.com/libp2p/go-libp2p/core/crypto"
	"github.com/libp2p/go-libp2p/core/host"
	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/libp2p/go-libp2p/core/routing"
	"github.com/libp2p/go-libp2p/p2p/net/connmgr"
	libp2pquic "github.com/libp2p/go-libp2p/p2p/transport/quic"
	"github.com/libp2p/go-libp2p/p2p/transport/tcp"
	"github.com/multiformats/go-multiaddr"
)

const (
	dialTimeout   = 10 * time.Second // for one peer that was named to us
	serverWorkers = 16               // blocks read from the store at once for peers; each may be 2 MiB
	defaultPeers  = 128
)

// Config says how a Node meets the network. Identity is required.
type Config struct {
	Identity  crypto.PrivKey
	Store     blockstore.Blockstore // served to every peer; nil serves nothing
	Gate      Gate                  // what of the store may leave the node; nil keeps nothing back
	Listen    []string              // multiaddrs over TCP or quic-v1; empty dials only
	Announce  []string              // multiaddrs to tell others instead of the listening ones
	Bootstrap []string              // multiaddrs with /p2p/, through which the DHT is joined
	Peers     int                   // connections beyond which idle ones are closed; 0 means 128

	// Loopback puts the node in the local DHT alone and lets it hand out loopback addresses: a network on one machine.
	Loopback bool

	// Records keeps the DHT's records of others; nil keeps them in memory, which suits small networks only.
	Records datastore.Batching

	only onlyPeers // the only peers to speak with; nil: all
}

// Node is a libp2p host with bitswap and the DHT. All methods may be called at the same time.
type Node struct {
	host  host.Host
	dht   contentDHT
	swap  *bitswap.Bitswap
	store blockstore.Blockstore // may be nil
	gate  Gate                  // may be nil

	bootstrap []peer.AddrInfo
	stop      context.CancelFunc
	loops     sync.WaitGroup

	mu    sync.Mutex
	roots map[cid.Cid]time.Time // provided roots and when each is due next
	wake  chan struct{}
}

// contentDHT is what a single DHT and the pair of a public and a local one have in common.
type contentDHT interface {
	routing.ContentRouting
	routing.PeerRouting
	Bootstrap(context.Context) error
	Close() error
}

// New starts a node; it runs until Close. ctx bounds the start only.
func New(ctx context.Context, cfg Config) (*Node, error) {
	if cfg.Identity == nil {
		return nil, errors.New("content: no identity")
	}
	bootstrap, err := parsePeers(cfg.Bootstrap)
	if err != nil {
		return nil, fmt.Errorf("content: bootstrap: %w", err)
	}
	run, stop := context.WithCancel(context.WithoutCancel(ctx))
	n := &Node{store: cfg.Store, gate: cfg.Gate, bootstrap: bootstrap, stop: stop, roots: map[cid.Cid]time.Time{}, wake: make(chan struct{}, 1)}
	if err := n.start(run, cfg); err != nil {
		stop()
		return nil, fmt.Errorf("content: %w", err)
	}
	return n, nil
}

func (n *Node) start(run context.Context, cfg Config) error {
	opts, err := hostOptions(cfg)
	if err != nil {
		return err
	}
	// libp2p builds the DHT while it builds the host, so that the host can ask it for addresses.
	n.host, err = libp2p.New(append(opts, libp2p.Routing(func(h host.Host) (routing.PeerRouting, error) {
		var err error
		n.dht, err = newDHT(run, h, cfg)
		return n.dht, err
	}))...)
	if err != nil {
		return err
	}
	if err := n.dht.Bootstrap(run); err != nil {
		return errors.Join(err, n.dht.Close(), n.host.Close())
	}
	swapOpts := []bitswap.Option{
		bitswap.WithServerEnabled(cfg.Store != nil),
		bitswap.EngineBlockstoreWorkerCount(serverWorkers),
		bitswap.WithoutDuplicatedBlockStats(), // they would cost the store a look-up for each block received
	}
	n.swap = bitswap.New(run, bsnet.NewFromIpfsHost(n.host), n.dht, served{cfg.Store, cfg.Gate}, swapOpts...)
	n.loops.Go(func() { n.keepBootstrapped(run) })
	n.loops.Go(func() { n.keepProvided(run) })
	return nil
}

// Close leaves the network and waits for the node's goroutines.
func (n *Node) Close() error {
	n.stop()
	n.loops.Wait()
	return errors.Join(n.swap.Close(), n.dht.Close(), n.host.Close())
}

// Host is the libp2p host, for other protocols between nodes.
func (n *Node) Host() host.Host { return n.host }

// Addrs are the addresses under which others reach the node, each ending in /p2p/ and its peer id.
func (n *Node) Addrs() []string {
	full, err := peer.AddrInfoToP2pAddrs(&peer.AddrInfo{ID: n.host.ID(), Addrs: n.host.Addrs()})
	if err != nil {
		return nil // a host's id is always valid
	}
	addrs := make([]string, len(full))
	for i, a := range full {
		addrs[i] = a.String()
	}
	return addrs
}

func hostOptions(cfg Config) ([]libp2p.Option, error) {
	peers := cfg.Peers
	if peers <= 0 {
		peers = defaultPeers
	}
	conns, err := connmgr.NewConnManager(peers/2, peers, connmgr.WithGracePeriod(30*time.Second))
	if err != nil {
		return nil, err
	}
	opts := []libp2p.Option{
		libp2p.Identity(cfg.Identity),
		libp2p.UserAgent("cella"),
		libp2p.ConnectionManager(conns),
		libp2p.Transport(tcp.NewTCPTransport),
		libp2p.DisableRelay(),
		libp2p.DisableMetrics(),
	}
	for _, a := range cfg.Listen {
		if strings.Contains(a, "/quic-v1") {
			opts = append(opts, libp2p.Transport(libp2pquic.NewTransport))
			break
		}
	}
	if cfg.only != nil {
		opts = append(opts, libp2p.ConnectionGater(cfg.only))
	}
	if len(cfg.Listen) == 0 {
		opts = append(opts, libp2p.NoListenAddrs)
	} else {
		opts = append(opts, libp2p.ListenAddrStrings(cfg.Listen...))
	}
	if len(cfg.Announce) > 0 {
		announce := make([]multiaddr.Multiaddr, len(cfg.Announce))
		for i, s := range cfg.Announce {
			if announce[i], err = multiaddr.NewMultiaddr(s); err != nil {
				return nil, fmt.Errorf("announce %q: %w", s, err)
			}
		}
		opts = append(opts, libp2p.AddrsFactory(func([]multiaddr.Multiaddr) []multiaddr.Multiaddr { return announce }))
	}
	return opts, nil
}

func newDHT(ctx context.Context, h host.Host, cfg Config) (contentDHT, error) {
	records := cfg.Records
	if records == nil {
		records = dssync.MutexWrap(datastore.NewMapDatastore())
	}
	both := []dht.Option{dht.Mode(dht.ModeServer), dht.Datastore(records)}
	if !cfg.Loopback {
		return dual.New(ctx, h, dual.DHTOption(both...))
	}
	return dht.New(ctx, h, append(both,
		dht.ProtocolExtension(dual.LanExtension),
		dht.QueryFilter(dht.PrivateQueryFilter),
		dht.RoutingTableFilter(dht.PrivateRoutingTableFilter),
		dht.AddressFilter(nil))...)
}

// keepBootstrapped dials the bootstrap peers until enough peers are connected, and again whenever they aren't.
func (n *Node) keepBootstrapped(ctx context.Context) {
	const enough = 4
	wait := time.Second
	for len(n.bootstrap) > 0 {
		if len(n.host.Network().Peers()) < min(enough, len(n.bootstrap)) {
			n.connect(ctx, n.bootstrap)
		}
		select {
		case <-ctx.Done():
			return
		case <-time.After(wait):
		}
		wait = min(2*wait, 30*time.Second)
	}
}

// connect dials the peers side by side and returns when each is connected or given up.
func (n *Node) connect(ctx context.Context, peers []peer.AddrInfo) {
	ctx, cancel := context.WithTimeout(ctx, dialTimeout)
	defer cancel()
	var dials sync.WaitGroup
	for _, p := range peers {
		if p.ID != n.host.ID() {
			dials.Go(func() { _ = n.host.Connect(ctx, p) }) // whoever needed the peer notices by itself
		}
	}
	dials.Wait()
}

func parsePeers(addrs []string) ([]peer.AddrInfo, error) {
	parsed := make([]multiaddr.Multiaddr, len(addrs))
	for i, s := range addrs {
		a, err := multiaddr.NewMultiaddr(s)
		if err != nil {
			return nil, fmt.Errorf("%q: %w", s, err)
		}
		parsed[i] = a
	}
	return peer.AddrInfosFromP2pAddrs(parsed...)
}
