package content

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"

	"github.com/ipfs/boxo/blockstore"
	"github.com/ipfs/boxo/exchange"
	"github.com/ipfs/go-cid"
	"github.com/ipfs/go-datastore"
	dssync "github.com/ipfs/go-datastore/sync"
	"github.com/libp2p/go-libp2p/core/control"
	"github.com/libp2p/go-libp2p/core/crypto"
	"github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/multiformats/go-multiaddr"
)

// Visit fetches single blocks from the peers at a few addresses and from nobody else. It comes under an identity of its own and looks
// like any client that listens nowhere, so that whoever is visited can't tell who asks.
type Visit struct {
	node *Node
	net  exchange.Fetcher
	end  context.CancelFunc
}

// NewVisit begins a visit to the multiaddrs with /p2p/ in from; those that can't be read are passed over. It dials them until Close, and
// goes on where they don't answer. loopback is Config.Loopback.
func NewVisit(ctx context.Context, from []string, loopback bool) (*Visit, error) {
	peers := knownPeers(from)
	if len(peers) == 0 {
		return nil, errors.New("visit: no address that can be dialled")
	}
	key, _, err := crypto.GenerateEd25519Key(rand.Reader)
	if err != nil {
		return nil, fmt.Errorf("visit: %w", err)
	}
	only := onlyPeers{}
	for _, p := range peers {
		only[p.ID] = true
	}
	store := blockstore.NewBlockstore(dssync.MutexWrap(datastore.NewMapDatastore())) // a client that gets a file offers what it has, too
	n, err := New(ctx, Config{Identity: key, Store: store, Loopback: loopback, only: only})
	if err != nil {
		return nil, fmt.Errorf("visit: %w", err)
	}
	run, end := context.WithCancel(context.WithoutCancel(ctx))
	n.loops.Go(func() {
		n.connect(run, peers)
		n.redial(run, nil, peers)
	})
	return &Visit{node: n, net: n.swap.NewSession(run), end: end}, nil
}

// Block waits for a block until ctx ends. Its hash was checked.
func (v *Visit) Block(ctx context.Context, c cid.Cid) ([]byte, error) {
	if err := checkCID(c); err != nil {
		return nil, err
	}
	if b, ok := emptyBlock(c); ok {
		return b.RawData(), nil
	}
	b, err := v.net.GetBlock(ctx, c)
	if err != nil {
		return nil, err
	}
	return b.RawData(), nil
}

// Close ends the visit.
func (v *Visit) Close() error {
	v.end()
	return v.node.Close()
}

// onlyPeers lets a host speak with the peers that it names alone.
type onlyPeers map[peer.ID]bool

func (g onlyPeers) InterceptPeerDial(p peer.ID) bool                        { return g[p] }
func (g onlyPeers) InterceptAddrDial(p peer.ID, _ multiaddr.Multiaddr) bool { return g[p] }
func (g onlyPeers) InterceptAccept(network.ConnMultiaddrs) bool             { return false }
func (g onlyPeers) InterceptSecured(_ network.Direction, p peer.ID, _ network.ConnMultiaddrs) bool {
	return g[p]
}
func (g onlyPeers) InterceptUpgraded(network.Conn) (bool, control.DisconnectReason) { return true, 0 }
