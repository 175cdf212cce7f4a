package content

import (
	"bytes"
	"context"
	"errors"
	"sync"
	"testing"
	"time"

	"github.com/ipfs/go-cid"
)

// valve is a gate that tests turn.
type valve struct {
	mu     sync.Mutex
	open   bool
	denied map[cid.Cid]bool
}

func (v *valve) Open() bool {
	v.mu.Lock()
	defer v.mu.Unlock()
	return v.open
}

func (v *valve) Denies(c cid.Cid) bool {
	v.mu.Lock()
	defer v.mu.Unlock()
	return v.denied[c]
}

func (v *valve) set(open bool, denied ...cid.Cid) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.open, v.denied = open, map[cid.Cid]bool{}
	for _, c := range denied {
		v.denied[c] = true
	}
}

// Behind a gate a denied block looks like one that isn't there; a closed gate lets nothing out; a block that is let out again is served.
func TestGate(t *testing.T) {
	store, gate := memStore(), &valve{}
	bad, good := importBytes(t, store, []byte("bad")).Root, importBytes(t, store, []byte("good")).Root
	empty := importBytes(t, store, nil).Root
	server := startConfig(t, Config{Store: store, Gate: gate, Listen: []string{"/ip4/127.0.0.1/tcp/0"}, Loopback: true})
	client := startNode(t, nil)
	served := func(c cid.Cid, want bool) bool {
		patience := time.Minute
		if !want {
			patience = 2 * time.Second // what is refused looks like what is slow: there is no event to wait for
		}
		ctx, cancel := context.WithTimeout(t.Context(), patience)
		defer cancel()
		_, err := client.Fetch(ctx, FetchOptions{Root: c, From: server.Addrs(), Limit: 100, Visit: newCollect().visit})
		if err != nil && !errors.Is(err, context.DeadlineExceeded) {
			t.Fatal(err)
		}
		return err == nil
	}
	for _, step := range []struct {
		name      string
		open      bool
		denied    []cid.Cid
		bad, good bool
	}{
		{"closed", false, nil, false, false},
		{"bad denied", true, []cid.Cid{bad}, false, true},
		{"nothing denied", true, nil, true, true},
		{"denied while it is served", true, []cid.Cid{bad}, false, true},
	} {
		gate.set(step.open, step.denied...)
		if got := served(bad, step.bad); got != step.bad {
			t.Errorf("%s: bad served: %v", step.name, got)
		}
		if got := served(good, step.good); got != step.good {
			t.Errorf("%s: good served: %v", step.name, got)
		}
	}
	if !served(empty, true) {
		t.Error("the empty block needs nobody")
	}
	// The operator's own reads are not held back: what is stored can still be proven and repaired.
	if b, err := ReadFile(t.Context(), bad, server.Session(t.Context()), 10); err != nil || string(b) != "bad" {
		t.Errorf("%q, %v", b, err)
	}
}

func TestGateHoldsBackAnnouncements(t *testing.T) {
	store, gate := memStore(), &valve{}
	root := importBytes(t, store, []byte("x")).Root
	n := startConfig(t, Config{Store: store, Gate: gate, Listen: []string{"/ip4/127.0.0.1/tcp/0"}, Loopback: true})
	if err := n.Provide(t.Context(), root); err == nil || errors.Is(err, ErrDenied) {
		t.Errorf("closed: %v", err)
	}
	gate.set(true, root)
	if err := n.Provide(t.Context(), root); !errors.Is(err, ErrDenied) {
		t.Errorf("denied: %v", err)
	}
	gate.set(true)
	startNode(t, nil, n.Addrs()...) // somebody to tell
	eventually(t, "announced", func() bool { return n.Provide(t.Context(), root) == nil })
}

// A block that is denied is asked of nobody, and what else the DAG has is not fetched any further.
func TestFetchStopsAtDeniedBlocks(t *testing.T) {
	store := newCollect()
	root := importBytes(t, store, bytes.Repeat([]byte("0123456789abcdef"), 3<<16)).Root // three leaves, the same one
	server, client := startNode(t, store), startNode(t, nil)
	root2 := importBytes(t, store, append(bytes.Repeat([]byte("0123456789abcdef"), 1<<16), 'x')).Root
	node, err := server.Session(t.Context()).Get(t.Context(), root2)
	if err != nil {
		t.Fatal(err)
	}
	leaf := node.Links()[1].Cid
	for _, denied := range []cid.Cid{root2, leaf} {
		got := newCollect()
		_, err := client.Fetch(testContext(t), FetchOptions{Root: root2, From: server.Addrs(), Limit: 10 << 20, Visit: got.visit,
			Deny: func(c cid.Cid) bool { return c == denied }})
		if !errors.Is(err, ErrDenied) {
			t.Errorf("%v, want %v", err, ErrDenied)
		}
		for _, c := range got.cids {
			if c == denied {
				t.Errorf("%s was fetched", c)
			}
		}
	}
	if _, err := client.Fetch(testContext(t), FetchOptions{Root: root, From: server.Addrs(), Limit: 10 << 20, Visit: newCollect().visit,
		Deny: func(cid.Cid) bool { return false }}); err != nil {
		t.Error(err)
	}
}

func TestReadFile(t *testing.T) {
	store := memStore()
	data := bytes.Repeat([]byte("0123456789abcdef"), 3<<16)
	root := importBytes(t, store, data).Root
	n := startNode(t, store)
	dag := n.Session(t.Context())
	if b, err := ReadFile(t.Context(), root, dag, int64(len(data))); err != nil || !bytes.Equal(b, data) {
		t.Errorf("%d bytes, %v", len(b), err)
	}
	if _, err := ReadFile(t.Context(), root, dag, int64(len(data))-1); !errors.Is(err, ErrTooLarge) {
		t.Errorf("%v, want %v", err, ErrTooLarge)
	}
	folder := mustImport(t, t.TempDir(), store).Root
	if _, err := ReadFile(t.Context(), folder, dag, 100); err == nil {
		t.Error("a folder is a file")
	}
}
