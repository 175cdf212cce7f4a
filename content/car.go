package content

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/ipfs/boxo/blockstore"
	blocks "github.com/ipfs/go-block-format"
	"github.com/ipfs/go-cid"
	ipld "github.com/ipfs/go-ipld-format"
	car "github.com/ipld/go-car/v2"
	"github.com/ipld/go-car/v2/storage"
	"github.com/multiformats/go-multihash"
)

// ErrBadCAR is returned for a CAR that is damaged or is not what can be stored: it has several roots or none, lacks blocks, or a block isn't
// what its CID says. What this package has no place for, codecs and hashes among it, is ErrUnsupported.
var ErrBadCAR = errors.New("not a CAR that can be stored")

// maxCARBlock is the largest block that a sector takes.
const maxCARBlock = chunkSize

// ImportCAR reads a CAR, of version 1 or 2, with one root and puts the DAG under it into store as it is: all blocks keep their CIDs. A v2
// index is not read. Like Import it calls the store's Sync. Result counts what lies under the root; Files, Dirs, Links and Bytes stay 0.
// progress, unless nil, is called with the number of the file's bytes read since the last call.
func ImportCAR(ctx context.Context, path string, store blockstore.Blockstore, progress func(n int64)) (Result, error) {
	if progress == nil {
		progress = func(int64) {}
	}
	f, err := os.Open(path)
	if err != nil {
		return Result{}, fmt.Errorf("import: %w", err)
	}
	defer f.Close()
	root, err := readCAR(ctx, &carReader{ctx: ctx, f: f, progress: progress}, store)
	if err != nil {
		return Result{}, fmt.Errorf("import %s: %w", path, err)
	}
	res := Result{Root: root}
	err = walkDAG(ctx, root, func(c cid.Cid) (blocks.Block, error) {
		b, err := store.Get(ctx, c)
		if ipld.IsNotFound(err) {
			if empty, ok := emptyBlock(c); ok { // it is nowhere sent, so it may be missing here
				return empty, store.Put(ctx, empty)
			}
			return nil, fmt.Errorf("%w: it lacks block %s, which is below its root", ErrBadCAR, c)
		}
		return b, err
	}, func(b blocks.Block) error {
		res.Blocks++
		res.Size += uint64(len(b.RawData()))
		return nil
	})
	if err == nil {
		if s, ok := store.(interface{ Sync(context.Context) error }); ok {
			err = s.Sync(ctx)
		}
	}
	if err != nil {
		return Result{}, fmt.Errorf("import %s: %w", path, err)
	}
	return res, nil
}

// readCAR puts the blocks of a CAR into store and returns its root.
func readCAR(ctx context.Context, r io.Reader, store blockstore.Blockstore) (cid.Cid, error) {
	in, err := car.NewBlockReader(bufio.NewReaderSize(r, 1<<20), car.MaxAllowedHeaderSize(64<<10))
	if err != nil {
		return cid.Undef, fmt.Errorf("%w: %w", ErrBadCAR, err)
	}
	if len(in.Roots) != 1 {
		return cid.Undef, fmt.Errorf("%w: it has %d roots, want one", ErrBadCAR, len(in.Roots))
	}
	root := in.Roots[0]
	if err := checkStorable(root); err != nil {
		return cid.Undef, fmt.Errorf("its root: %w", err)
	}
	if isInline(root) {
		return cid.Undef, fmt.Errorf("%w: its root %s holds its content itself: there is nothing to store", ErrUnsupported, root)
	}
	var batch []blocks.Block
	filled := 0
	for {
		b, err := nextBlock(in)
		if errors.Is(err, io.EOF) {
			return root, store.PutMany(ctx, batch)
		}
		if err != nil {
			return cid.Undef, err
		}
		if isInline(b.Cid()) {
			continue // whoever needs it has it in the link
		}
		batch, filled = append(batch, b), filled+len(b.RawData())
		if filled >= batchBytes || len(batch) == batchBlocks {
			if err := store.PutMany(ctx, batch); err != nil {
				return cid.Undef, err
			}
			batch, filled = nil, 0
		}
	}
}

// nextBlock reads a block and checks it. The error is io.EOF at the CAR's end.
func nextBlock(in *car.BlockReader) (blocks.Block, error) {
	c, r, size, err := in.NextReader()
	if errors.Is(err, io.EOF) && !errors.Is(err, io.ErrUnexpectedEOF) {
		return nil, io.EOF
	}
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrBadCAR, err)
	}
	if err := checkStorable(c); err != nil {
		return nil, err
	}
	if size > maxCARBlock {
		return nil, fmt.Errorf("%w: block %s has %d bytes, at most %d can be stored", ErrUnsupported, c, size, maxCARBlock)
	}
	data := make([]byte, size)
	if _, err := io.ReadFull(r, data); err != nil {
		return nil, fmt.Errorf("%w: block %s: %w", ErrBadCAR, c, io.ErrUnexpectedEOF)
	}
	if sum, err := c.Prefix().Sum(data); err != nil || !bytes.Equal(sum.Hash(), c.Hash()) {
		return nil, fmt.Errorf("%w: block %s has other content than its CID says", ErrBadCAR, c)
	}
	return blocks.NewBlockWithCid(data, c)
}

// checkStorable refuses CIDs that no sector takes.
func checkStorable(c cid.Cid) error {
	if err := checkCID(c); err != nil {
		return err
	}
	if h := c.Prefix().MhType; h != multihash.SHA2_256 && h != multihash.IDENTITY {
		return fmt.Errorf("%w: %s is hashed by %s, only sha2-256 can be stored", ErrUnsupported, c, multihash.Codes[h])
	}
	return nil
}

// ExportCAR writes the DAG under root to dest as a CAR of version 1: each distinct block once, parents before children and those in the order
// of their links, so that every export of a root gives the same bytes. dest must not exist; it is whole or absent. progress, unless nil, is
// called with the bytes of each block. Blocks that get does not have end the export.
func ExportCAR(ctx context.Context, root cid.Cid, get ipld.NodeGetter, dest string, progress func(n int64)) (err error) {
	if progress == nil {
		progress = func(int64) {}
	}
	if _, err := os.Lstat(dest); err == nil {
		return fmt.Errorf("export: %s: %w", dest, fs.ErrExist)
	} else if !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("export: %w", err)
	}
	tmp, err := os.CreateTemp(filepath.Dir(dest), ".cella-export-*")
	if err != nil {
		return fmt.Errorf("export: %w", err)
	}
	defer os.Remove(tmp.Name())
	err = writeCAR(ctx, root, get, tmp, progress)
	if err == nil {
		err = tmp.Chmod(0o644)
	}
	if e := tmp.Close(); err == nil {
		err = e
	}
	if err == nil {
		err = renameNew(tmp.Name(), dest)
	}
	if err != nil {
		return fmt.Errorf("export %s: %w", root, err)
	}
	return nil
}

func writeCAR(ctx context.Context, root cid.Cid, get ipld.NodeGetter, w io.Writer, progress func(int64)) error {
	buffered := bufio.NewWriterSize(w, 1<<20)
	out, err := storage.NewWritable(buffered, []cid.Cid{root}, car.WriteAsCarV1(true))
	if err != nil {
		return err
	}
	err = walkDAG(ctx, root, func(c cid.Cid) (blocks.Block, error) { return get.Get(ctx, c) }, func(b blocks.Block) error {
		progress(int64(len(b.RawData())))
		return out.Put(ctx, b.Cid().KeyString(), b.RawData())
	})
	if err != nil {
		return err
	}
	return buffered.Flush()
}

// walkDAG calls visit for each distinct block under root: parents before children, and those in the order of their links.
func walkDAG(ctx context.Context, root cid.Cid, get func(cid.Cid) (blocks.Block, error), visit func(blocks.Block) error) error {
	seen := map[blockKey]struct{}{}
	stack := []cid.Cid{root}
	for len(stack) > 0 {
		if err := ctx.Err(); err != nil {
			return err
		}
		c := stack[len(stack)-1]
		stack = stack[:len(stack)-1]
		if _, ok := seen[keyOf(c)]; ok {
			continue
		}
		if err := checkCID(c); err != nil {
			return err
		}
		seen[keyOf(c)] = struct{}{}
		b, err := get(c)
		if err != nil {
			return err
		}
		if err := visit(b); err != nil {
			return err
		}
		links, err := linksOf(b)
		if err != nil {
			return err
		}
		for i := len(links) - 1; i >= 0; i-- {
			if _, ok := seen[keyOf(links[i])]; !ok {
				stack = append(stack, links[i])
			}
		}
		if len(stack) > maxPending {
			return fmt.Errorf("%w: too many blocks", ErrTooLarge)
		}
	}
	return nil
}

// carReader counts, and stops when the import is cancelled.
type carReader struct {
	ctx      context.Context
	f        *os.File
	progress func(int64)
}

func (r *carReader) Read(p []byte) (int, error) {
	if err := r.ctx.Err(); err != nil {
		return 0, err
	}
	n, err := r.f.Read(p)
	r.progress(int64(n))
	return n, err
}
