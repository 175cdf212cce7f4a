package worker

import (
	"context"
	"errors"
	"sync"

	"github.com/ipfs/boxo/blockstore"
	blocks "github.com/ipfs/go-block-format"
	"github.com/ipfs/go-cid"
	ipld "github.com/ipfs/go-ipld-format"

	"github.com/cella-network/cella/enclave/wire"
	"github.com/cella-network/cella/protocol/storageproof"
	"github.com/cella-network/cella/worker/disk"
)

// ErrReadOnly is returned for writes: blocks come in through orders alone.
var ErrReadOnly = errors.New("sealed blocks are written through orders only")

// Store serves the sealed blocks of whatever session runs. Between sessions it holds nothing.
type Store struct {
	mu      sync.RWMutex
	session *session
}

var _ blockstore.Blockstore = (*Store)(nil)

// NewStore makes an empty store; a worker's sessions fill it.
func NewStore() *Store { return new(Store) }

func (t *Store) attach(s *session) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.session = s
}

func (t *Store) detach(s *session) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.session == s {
		t.session = nil
	}
}

func (t *Store) current() *session {
	t.mu.RLock()
	defer t.mu.RUnlock()
	return t.session
}

// find looks for the block itself, and for the same bytes under another codec: the inner blocks of a coded file and its manifest are
// stored as raw blocks, and whoever walks the file asks for them by their own CIDs.
func (t *Store) find(c cid.Cid) (*session, storageproof.BlockKey, disk.Location, error) {
	s := t.current()
	for _, name := range []cid.Cid{c, asRaw(c)} {
		k, err := storageproof.ParseBlockKey(name.Bytes())
		if s == nil || err != nil {
			continue
		}
		if at, ok := s.disk.Find(k); ok {
			return s, k, at, nil
		}
	}
	return nil, storageproof.BlockKey{}, disk.Location{}, ipld.ErrNotFound{Cid: c}
}

func asRaw(c cid.Cid) cid.Cid { return cid.NewCidV1(cid.Raw, c.Hash()) }

// Get opens a sealed block.
func (t *Store) Get(ctx context.Context, c cid.Cid) (blocks.Block, error) {
	for {
		s, k, at, err := t.find(c)
		if err != nil {
			return nil, err
		}
		data, err := s.open(ctx, k)
		if err == nil {
			s.Metrics.served.Add(float64(len(data)))
			return blocks.NewBlockWithCid(data, c)
		}
		// Compaction may have moved the block between reading it and opening it; then its new place is read.
		if now, ok := s.disk.Find(k); ok && now != at {
			continue
		}
		var refusal *wire.Error
		if errors.Is(err, disk.ErrMissing) || errors.As(err, &refusal) && refusal.Code == wire.CodeMissing {
			return nil, ipld.ErrNotFound{Cid: c}
		}
		return nil, err
	}
}

// open reads a block's cells and lets the enclave decrypt them.
func (s *session) open(ctx context.Context, k storageproof.BlockKey) ([]byte, error) {
	cells, tags, err := s.disk.Read(k)
	if err != nil {
		return nil, err
	}
	var r wire.ReadReply
	err = s.enc.Call(ctx, &wire.Read{CID: k.CID(), Cells: cells, Tags: tags}, &r)
	return r.Data, err
}

// Has tells whether a block is sealed here.
func (t *Store) Has(_ context.Context, c cid.Cid) (bool, error) {
	_, _, _, err := t.find(c)
	return err == nil, nil
}

// GetSize is a block's length in bytes.
func (t *Store) GetSize(_ context.Context, c cid.Cid) (int, error) {
	_, _, at, err := t.find(c)
	if err != nil {
		return -1, err
	}
	return int(at.Length), nil
}

// AllKeysChan lists the sealed blocks.
func (t *Store) AllKeysChan(ctx context.Context) (<-chan cid.Cid, error) {
	out := make(chan cid.Cid)
	var keys []storageproof.BlockKey
	if s := t.current(); s != nil {
		keys = s.disk.Keys()
	}
	go func() {
		defer close(out)
		for _, k := range keys {
			c, err := cid.Cast(k.CID())
			if err != nil {
				continue
			}
			select {
			case out <- c:
			case <-ctx.Done():
				return
			}
		}
	}()
	return out, nil
}

// Put refuses.
func (*Store) Put(context.Context, blocks.Block) error { return ErrReadOnly }

// PutMany refuses.
func (*Store) PutMany(context.Context, []blocks.Block) error { return ErrReadOnly }

// DeleteBlock refuses: blocks go with their orders.
func (*Store) DeleteBlock(context.Context, cid.Cid) error { return ErrReadOnly }
