package content

import (
	"context"

	"github.com/ipfs/boxo/blockstore"
	"github.com/ipfs/boxo/ipld/merkledag"
	blocks "github.com/ipfs/go-block-format"
	ipld "github.com/ipfs/go-ipld-format"
)

const (
	batchBytes  = 8 << 20
	batchBlocks = 1024
)

// sink takes the nodes of an import, drops repeated ones and writes the others in batches while the next ones are being hashed.
// At most three batches are in memory. It is used by one goroutine, and answers no reads.
type sink struct {
	ipld.DAGService // every other method fails
	seen            map[blockKey]struct{}
	size            uint64

	batch  []blocks.Block
	filled int // bytes in batch
	queue  chan []blocks.Block
	done   chan struct{} // closed when the writer has ended
	err    error         // of the writer, read after done
}

func newSink(ctx context.Context, store blockstore.Blockstore) *sink {
	s := &sink{
		DAGService: merkledag.NewReadOnlyDagService(&merkledag.ErrorService{Err: ipld.ErrNotFound{}}),
		seen:       map[blockKey]struct{}{},
		queue:      make(chan []blocks.Block),
		done:       make(chan struct{}),
	}
	go func() {
		defer close(s.done)
		for batch := range s.queue {
			if s.err = store.PutMany(ctx, batch); s.err != nil {
				return
			}
		}
	}()
	return s
}

func (s *sink) Add(_ context.Context, node ipld.Node) error {
	key := keyOf(node.Cid())
	if _, ok := s.seen[key]; ok {
		return nil
	}
	block, err := blocks.NewBlockWithCid(node.RawData(), node.Cid())
	if err != nil {
		return err
	}
	s.seen[key] = struct{}{}
	s.size += uint64(len(block.RawData()))
	s.batch = append(s.batch, block)
	s.filled += len(block.RawData())
	if s.filled < batchBytes && len(s.batch) < batchBlocks {
		return nil
	}
	return s.flush()
}

func (s *sink) AddMany(ctx context.Context, nodes []ipld.Node) error {
	for _, n := range nodes {
		if err := s.Add(ctx, n); err != nil {
			return err
		}
	}
	return nil
}

func (s *sink) flush() error {
	batch := s.batch
	s.batch, s.filled = nil, 0
	if len(batch) == 0 {
		return nil
	}
	select {
	case s.queue <- batch:
		return nil
	case <-s.done:
		return s.err
	}
}

// close writes the rest and waits; it is called once, also after an error.
func (s *sink) close() error {
	err := s.flush()
	close(s.queue)
	<-s.done
	if err == nil {
		err = s.err
	}
	return err
}
