package worker

import (
	"context"
	crand "crypto/rand"
	"os"
	"path/filepath"
	"testing"

	blocks "github.com/ipfs/go-block-format"
	"github.com/ipfs/go-cid"

	"github.com/cella-network/cella/content"
	"github.com/cella-network/cella/content/coding"
)

// code hosts a file of random bytes and places an order for each of its shards.
func (o *owner) code(bytes int, code coding.Code) (root cid.Cid, size uint64, shards []file) {
	o.t.Helper()
	data := make([]byte, bytes)
	crand.Read(data)
	path := filepath.Join(o.t.TempDir(), "file")
	if err := os.WriteFile(path, data, 0o600); err != nil {
		o.t.Fatal(err)
	}
	r, err := content.Import(context.Background(), path, o.store, nil)
	if err != nil {
		o.t.Fatal(err)
	}
	set, err := coding.Encode(context.Background(), o.store, r.Root, code, nil)
	if err != nil {
		o.t.Fatal(err)
	}
	for _, s := range set.Shards {
		id := o.chain.place(s.Root.Bytes(), s.Size, 1, o.node.Addrs())
		o.chain.mu.Lock()
		order := o.chain.orders[id]
		order.Of = r.Root.Bytes()
		o.chain.orders[id] = order
		o.chain.mu.Unlock()
		shards = append(shards, file{order: id, root: s.Root, size: s.Size})
	}
	return r.Root, r.Size, shards
}

// TestLostShardIsRebuilt loses the operator of a shard after its owner has gone: nobody has that shard's blocks any more, and another
// operator makes them of the others and proves the same order.
func TestLostShardIsRebuilt(t *testing.T) {
	c := newFakeChain(t)
	owner := newOwner(t, c)
	root, size, shards := owner.code(2_500_000, coding.Code{K: 2, M: 1})
	var operators []*operator
	for i := range shards {
		o := newOperator(t, c, byte(i+1), 8)
		o.start()
		operators = append(operators, o)
	}
	holder := map[uint64]*operator{}
	for _, s := range shards {
		c.eventually("shard proven", func() bool {
			for _, o := range operators {
				if c.replicas[s.order][o.address].Proven {
					holder[s.order] = o
					return true
				}
			}
			return false
		})
	}
	for i, a := range shards {
		for _, b := range shards[i+1:] {
			if holder[a.order] == holder[b.order] {
				t.Fatal("one operator took two shards")
			}
		}
	}
	if err := owner.node.Close(); err != nil {
		t.Fatal(err)
	}

	lost := shards[1]
	gone := holder[lost.order]
	gone.stop()
	if err := gone.content.Close(); err != nil {
		t.Fatal(err)
	}
	c.mu.Lock()
	delete(c.replicas[lost.order], gone.address)
	c.mu.Unlock()
	fresh := newOperator(t, c, 9, 8)
	fresh.start()
	fresh.proves(lost.order)
	fresh.serves(lost)

	// The file is read by its root as ever: its inner blocks come out of the shards under their own CIDs.
	var from []string
	for _, o := range append(operators, fresh) {
		if o != gone {
			from = append(from, o.content.Addrs()...)
		}
	}
	st, err := newContent(t, nil).Fetch(context.Background(), content.FetchOptions{Root: root, From: from, Limit: size,
		Visit: func(blocks.Block) error { return nil }})
	if err != nil || st.Size != size {
		t.Fatalf("fetched %d bytes of %d: %v", st.Size, size, err)
	}
}
