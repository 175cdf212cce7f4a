package content

import (
	"context"
	"fmt"
	"io"

	unixfsio "github.com/ipfs/boxo/ipld/unixfs/io"
	"github.com/ipfs/go-cid"
	ipld "github.com/ipfs/go-ipld-format"
)

// Open reads the file under root from its beginning; blocks are asked for as they are needed. A missing one is waited for as long as dag
// does. Whoever wants no more bytes than the file should have counts them: its size is its author's word.
func Open(ctx context.Context, root cid.Cid, dag ipld.DAGService) (unixfsio.DagReader, error) {
	node, err := dag.Get(ctx, root)
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", root, err)
	}
	r, err := unixfsio.NewDagReader(ctx, node, dag)
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", root, err)
	}
	return r, nil
}

// ReadFile returns the file under root, which must have at most limit bytes; of a longer one no more is asked for.
func ReadFile(ctx context.Context, root cid.Cid, dag ipld.DAGService, limit int64) ([]byte, error) {
	r, err := Open(ctx, root, dag)
	if err != nil {
		return nil, err
	}
	defer r.Close()
	if r.Size() > uint64(limit) {
		return nil, fmt.Errorf("read %s: %w: more than %d bytes", root, ErrTooLarge, limit)
	}
	b, err := io.ReadAll(io.LimitReader(r, limit+1))
	if err == nil && int64(len(b)) > limit {
		err = fmt.Errorf("%w: more than %d bytes", ErrTooLarge, limit)
	}
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", root, err)
	}
	return b, nil
}
