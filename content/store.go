package content

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/ipfs/boxo/blockstore"
	blocks "github.com/ipfs/go-block-format"
	"github.com/ipfs/go-cid"
	flatfs "github.com/ipfs/go-ds-flatfs"
	"golang.org/x/sys/unix"
)

// Store is a blockstore of plain files, for blocks that this machine owns: what `cella put` hosts until others hold it. Blocks are
// written over even when present and checked against their CID when read, so a block that a power cut left damaged is
// never served, and importing again heals it.
type Store struct {
	blockstore.Blockstore
	plain blockstore.Blockstore
	files *flatfs.Datastore
	dir   string
	lock  *os.File
}

// OpenStore opens or creates the store in dir. One process has it at a time, because opening sweeps away the writes that a
// killed one left half done; the lock is the file beside it, dir.lock.
func OpenStore(dir string) (*Store, error) {
	if err := os.MkdirAll(filepath.Dir(dir), 0o700); err != nil {
		return nil, err
	}
	lock, err := os.OpenFile(dir+".lock", os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, err
	}
	if err := unix.Flock(int(lock.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		lock.Close()
		return nil, fmt.Errorf("block store %s is in use: %w", dir, err)
	}
	// Blocks are synced together by Sync: one fsync a file would make an import some hundred times slower.
	// Few folders: making a thousand of them takes longer than the files of a small put, and blocks are large.
	files, err := flatfs.CreateOrOpen(dir, flatfs.NextToLast(1), false)
	if err != nil {
		lock.Close()
		return nil, fmt.Errorf("open block store %s: %w", dir, err)
	}
	plain := blockstore.NewBlockstore(files, blockstore.NoPrefix(), blockstore.WriteThrough(true))
	return &Store{Blockstore: &blockstore.ValidatingBlockstore{Blockstore: plain}, plain: plain, files: files, dir: dir, lock: lock}, nil
}

// Unchecked gets a block without hashing it, for a peer that does.
func (s *Store) Unchecked(ctx context.Context, c cid.Cid) (blocks.Block, error) {
	return s.plain.Get(ctx, c)
}

// Sync returns once all blocks written before are durable against power loss. A killed process loses nothing even without it.
func (s *Store) Sync(context.Context) error {
	d, err := os.Open(s.dir)
	if err != nil {
		return err
	}
	defer d.Close()
	if err := unix.Syncfs(int(d.Fd())); err != nil {
		return fmt.Errorf("sync %s: %w", s.dir, err)
	}
	return nil
}

// Close ends the store; later calls fail.
func (s *Store) Close() error {
	return errors.Join(s.files.Close(), s.lock.Close())
}
