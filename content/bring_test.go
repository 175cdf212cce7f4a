package content

import (
	"context"
	"errors"
	"testing"

	blocks "github.com/ipfs/go-block-format"
	"github.com/ipfs/go-cid"
)

// A fetch lets Bring make what nobody sends; ask finds what lies in the store and refuses what is denied, and another block than the one
// that was wanted ends the fetch.
func TestFetchBrings(t *testing.T) {
	ctx := testContext(t)
	source := memStore()
	res := importBytes(t, source, make([]byte, 3<<20))
	another := []byte("another")
	other, err := blocks.NewBlockWithCid(another, cid.NewCidV1(cid.Raw, blocks.NewBlock(another).Cid().Hash())) // a good one, but not asked for
	if err != nil {
		t.Fatal(err)
	}
	for name, tc := range map[string]struct {
		deny func(cid.Cid) bool
		give func(cid.Cid) (blocks.Block, error)
		want error
		ok   bool
	}{
		"made":    {nil, func(c cid.Cid) (blocks.Block, error) { return source.Get(ctx, c) }, nil, true},
		"another": {nil, func(cid.Cid) (blocks.Block, error) { return other, nil }, nil, false},
		"denied":  {func(c cid.Cid) bool { return c.Equals(other.Cid()) }, nil, ErrDenied, false},
	} {
		t.Run(name, func(t *testing.T) {
			own := memStore()
			held := blocks.NewBlock([]byte("held here"))
			heldRaw := cid.NewCidV1(cid.Raw, held.Cid().Hash())
			if err := own.Put(ctx, held); err != nil {
				t.Fatal(err)
			}
			n := startNode(t, own)
			st, err := n.Fetch(ctx, FetchOptions{Root: res.Root, Limit: res.Size, Visit: func(blocks.Block) error { return nil }, Deny: tc.deny,
				Bring: func(ctx context.Context, c cid.Cid, ask func(context.Context, cid.Cid) (blocks.Block, error)) (blocks.Block, error) {
					if b, err := ask(ctx, heldRaw); err != nil || len(b.RawData()) != 9 {
						t.Errorf("ask doesn't look into the store: %v", err)
					}
					if tc.give == nil {
						return ask(ctx, other.Cid())
					}
					return tc.give(c)
				}})
			if (err == nil) != tc.ok || tc.want != nil && !errors.Is(err, tc.want) || tc.ok && st.Size != res.Size {
				t.Errorf("%+v, %v", st, err)
			}
		})
	}
}
