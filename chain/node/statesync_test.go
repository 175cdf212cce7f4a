package node

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"testing"
	"time"

	abci "github.com/cometbft/cometbft/abci/types"
)

// A fresh node takes a snapshot instead of all blocks, after an attempt that was interrupted, is stopped before its first block, and then
// follows with the same proposers as everybody.
func TestStateSync(t *testing.T) {
	w := newNetwork(t, 100, 100)
	w.connect(t, 0, func(s *Settings) {
		s.App.StateSync.SnapshotInterval, s.App.StateSync.SnapshotKeepRecent = 10, 0
		s.Comet.Consensus.TimeoutCommit = 200 * time.Millisecond
	})
	w.start(t, 0, 1)
	w.reach(t, 13)

	w.join(t)
	late := w.homes[2]
	if err := os.WriteFile(filepath.Join(late, "data", "statesync.begun"), nil, 0o644); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(late, "data", "application.db"), []byte("half"), 0o644); err != nil {
		t.Fatal(err)
	}
	w.logs[2] = new(output)
	cfg := Config{Home: late, Log: w.logs[2], drawn: w.drawn}
	n, err := New(t.Context(), cfg)
	if err != nil {
		t.Fatalf("%v\n%s", err, w.logs[2])
	}
	synced := n.app.LastBlockHeight()
	if synced == 0 || synced%10 != 0 || n.comet.BlockStore().Height() != 0 {
		t.Fatalf("the application is at height %d, blocks at %d", synced, n.comet.BlockStore().Height())
	}
	if err := n.Stop(); err != nil {
		t.Fatal(err)
	}
	w.start(t, 2)
	w.reach(t, synced+12)
	if len(w.check(t, 2, synced+1, synced+11)) != 2 {
		t.Errorf("heights %d to %d are not of both validators", synced+1, synced+11)
	}
	w.stop(t, 2)
	w.stop(t, 1) // now there are no more blocks
	w.awaitSnapshot(t)
	w.stop(t, 0)
	w.refuses(t)
}

// join adds a home that is to begin with a snapshot of the others.
func (w *network) join(t *testing.T) {
	t.Helper()
	home := t.TempDir()
	w.homes, w.nodes, w.logs = append(w.homes, home), append(w.nodes, nil), append(w.logs, nil)
	w.connect(t, 2, func(*Settings) {})
	genesis, err := os.ReadFile(filepath.Join(w.homes[0], "config", "genesis.json"))
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(home, "config", "genesis.json"), genesis, 0o644); err != nil {
		t.Fatal(err)
	}
	first := int64(2)
	trusted, err := w.nodes[0].RPC().Commit(t.Context(), &first)
	if err != nil {
		t.Fatal(err)
	}
	servers := []string{"tcp://" + w.nodes[0].comet.listeners[0].Addr().String(), "tcp://" + w.nodes[1].comet.listeners[0].Addr().String()}
	if peers, err := EnableStateSync(home, servers, 2, trusted.Hash().String()); err != nil || !peers {
		t.Fatalf("knows peers: %t, %v", peers, err)
	}
	s, err := LoadSettings(home)
	if err != nil {
		t.Fatal(err)
	}
	s.Comet.StateSync.DiscoveryTime = 5 * time.Second
	if err := s.Write(home); err != nil {
		t.Fatal(err)
	}
}

// awaitSnapshot waits until the first node has made the last snapshot that it began: the SDK panics if it is closed before.
func (w *network) awaitSnapshot(t *testing.T) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	for {
		a := w.nodes[0].app
		list, err := a.ListSnapshots(&abci.RequestListSnapshots{})
		if err != nil || ctx.Err() != nil {
			t.Fatal(err, ctx.Err())
		}
		for _, s := range list.Snapshots {
			if int64(s.Height) == a.LastBlockHeight()/10*10 {
				return
			}
		}
		time.Sleep(5 * time.Millisecond)
	}
}

// refuses shows homes that are not brought to another state.
func (w *network) refuses(t *testing.T) {
	t.Helper()
	home := w.homes[2]
	if _, err := EnableStateSync(home, []string{"tcp://127.0.0.1:1", "tcp://127.0.0.1:1"}, 2, ""); !errors.Is(err, ErrStateSync) {
		t.Errorf("state sync over a state: %v", err)
	}
	for _, db := range []string{"blockstore.db", "state.db"} {
		if err := os.RemoveAll(filepath.Join(home, "data", db)); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := New(t.Context(), Config{Home: home, Log: new(output)}); !errors.Is(err, ErrStateSync) {
		t.Errorf("an application that has a state without blocks: %v", err)
	}
	if err := os.RemoveAll(filepath.Join(home, "data", "application.db")); err != nil {
		t.Fatal(err)
	}
	if _, err := New(t.Context(), Config{Home: home, Log: new(output)}); !errors.Is(err, ErrStateSync) {
		t.Errorf("without a server: %v", err)
	}
}
