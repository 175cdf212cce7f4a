package content

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"sync"
	"testing"

	"github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-libp2p/core/peer"
)

// callers notes who connects to a node.
func callers(n *Node) func() []peer.ID {
	var mu sync.Mutex
	var seen []peer.ID
	n.Host().Network().Notify(&network.NotifyBundle{ConnectedF: func(_ network.Network, c network.Conn) {
		mu.Lock()
		defer mu.Unlock()
		seen = append(seen, c.RemotePeer())
	}})
	return func() []peer.ID {
		mu.Lock()
		defer mu.Unlock()
		return append([]peer.ID(nil), seen...)
	}
}

// Whoever is visited sees a stranger each time, and nothing by which it could tell the visitor from a client that gets a file.
func TestVisitorsAreStrangers(t *testing.T) {
	ctx := testContext(t)
	store := memStore()
	data := make([]byte, 3000)
	if _, err := rand.Read(data); err != nil {
		t.Fatal(err)
	}
	root := importBytes(t, store, data).Root
	holder := startNode(t, store)
	seen := callers(holder)
	protocols := map[peer.ID]int{}
	for range 2 {
		v, err := NewVisit(ctx, holder.Addrs(), true)
		if err != nil {
			t.Fatal(err)
		}
		got, err := v.Block(ctx, root)
		if err != nil || !bytes.Equal(got, data) {
			t.Fatalf("%d bytes: %v", len(got), err)
		}
		id := v.node.Host().ID()
		eventually(t, "the visitor is identified", func() bool {
			known, err := holder.Host().Peerstore().GetProtocols(id)
			protocols[id] = len(known)
			return err == nil && len(known) > 0
		})
		if err := v.Close(); err != nil {
			t.Fatal(err)
		}
	}
	ids := seen()
	if len(ids) != 2 || ids[0] == ids[1] || ids[0] == holder.Host().ID() {
		t.Fatalf("the holder saw %v, want two strangers", ids)
	}
	client := startConfig(t, Config{Store: memStore(), Loopback: true})
	client.connect(ctx, knownPeers(holder.Addrs()))
	eventually(t, "the client is identified", func() bool {
		known, err := holder.Host().Peerstore().GetProtocols(client.Host().ID())
		return err == nil && len(known) > 0
	})
	ordinary, _ := holder.Host().Peerstore().GetProtocols(client.Host().ID())
	for id, n := range protocols {
		if n != len(ordinary) {
			t.Errorf("%s speaks %d protocols, a client %d", id, n, len(ordinary))
		}
	}
}

// A visit gets nothing from others, though the one that is visited knows them and they have the block.
func TestVisitAsksNobodyElse(t *testing.T) {
	ctx := testContext(t)
	store := memStore()
	root := importBytes(t, store, []byte("only the other one has it")).Root
	other := startNode(t, store)
	holder := startNode(t, memStore(), other.Addrs()...)
	eventually(t, "the holder knows the other", func() bool {
		return holder.Host().Network().Connectedness(other.Host().ID()) == network.Connected
	})
	eventually(t, "the block is announced", func() bool { return other.Provide(ctx, root) == nil })
	client := startConfig(t, Config{Store: memStore(), Loopback: true, Bootstrap: holder.Addrs()})
	if _, err := client.Session(ctx, holder.Addrs()...).Get(ctx, root); err != nil {
		t.Fatalf("a client finds it: %v", err)
	}
	strangers := callers(other)
	v, err := NewVisit(ctx, holder.Addrs(), true)
	if err != nil {
		t.Fatal(err)
	}
	defer v.Close()
	eventually(t, "the visitor has arrived", func() bool {
		return v.node.Host().Network().Connectedness(holder.Host().ID()) == network.Connected
	})
	// The visitor's own search for providers ends before the block can come from elsewhere: ask, then see that nobody else was dialled.
	short, cancel := context.WithCancel(ctx)
	done := make(chan error, 1)
	go func() {
		_, err := v.Block(short, root)
		done <- err
	}()
	found := 0
	for p := range v.node.dht.FindProvidersAsync(ctx, root, 1) {
		found++
		if err := v.node.Host().Connect(ctx, p); err == nil {
			t.Error("the visitor dials a provider")
		}
	}
	if found == 0 {
		t.Error("the visitor could not even have known")
	}
	cancel()
	if err := <-done; !errors.Is(err, context.Canceled) {
		t.Errorf("the block came from somebody else: %v", err)
	}
	if ids := strangers(); len(ids) != 0 {
		t.Errorf("%v came to the other", ids)
	}
	if _, err := NewVisit(ctx, []string{"/ip4/127.0.0.1/tcp/1", "nonsense"}, true); err == nil {
		t.Error("a visit to nobody")
	}
}
