package content

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/ipfs/boxo/blockstore"
	chunk "github.com/ipfs/boxo/chunker"
	"github.com/ipfs/boxo/ipld/merkledag"
	"github.com/ipfs/boxo/ipld/unixfs"
	"github.com/ipfs/boxo/ipld/unixfs/importer/balanced"
	"github.com/ipfs/boxo/ipld/unixfs/importer/helpers"
	unixfsio "github.com/ipfs/boxo/ipld/unixfs/io"
	"github.com/ipfs/go-cid"
	ipld "github.com/ipfs/go-ipld-format"
	"golang.org/x/sys/unix"
)

// Profile names the settings under which Import turns files into a DAG; see the package comment.
const Profile = "cella-v1"

const (
	chunkSize     = 1 << 20   // bytes of a leaf
	maxLinks      = 1024      // of a file's inner node
	hamtThreshold = 256 << 10 // bytes of a directory's block beyond which it becomes a HAMT
	hamtFanout    = 256
)

var cidBuilder = unixfsio.UnixFS_v1_2025.CidBuilder()

// ErrUnsupported is returned for what this package has no place for: devices, fifos and sockets on import, unknown UnixFS types on export,
// CIDs that are neither raw nor dag-pb or have a weak hash. It comes wrapped with the path or CID.
var ErrUnsupported = errors.New("not supported")

// Result tells what Import made.
type Result struct {
	Root   cid.Cid
	Size   uint64 // bytes of the distinct blocks under Root: what an order for it must name
	Blocks int    // distinct blocks under Root
	Files  int
	Dirs   int
	Links  int   // symlinks
	Bytes  int64 // content of all files
}

// Import reads the file or tree at path and puts its DAG into store; the profile is in the package comment. A few chunks are in memory
// at a time. If the store has a Sync method (as Store does), it is called before Import returns, so that the result is durable.
// progress, unless nil, is called with the number of content bytes read since the last call.
func Import(ctx context.Context, path string, store blockstore.Blockstore, progress func(n int64)) (Result, error) {
	if progress == nil {
		progress = func(int64) {}
	}
	// The path itself may be a link: who stores ~/photos means the photos.
	path, err := filepath.EvalSymlinks(path)
	if err != nil {
		return Result{}, err
	}
	info, err := os.Lstat(path)
	if err != nil {
		return Result{}, err
	}
	im := &importer{ctx: ctx, sink: newSink(ctx, store), progress: progress}
	root, err := im.add(path, info)
	if err == nil {
		err = im.sink.Add(ctx, root)
	}
	if flushErr := im.sink.close(); err == nil {
		err = flushErr
	}
	if err == nil {
		if s, ok := store.(interface{ Sync(context.Context) error }); ok {
			err = s.Sync(ctx)
		}
	}
	if err != nil {
		return Result{}, fmt.Errorf("import: %w", err)
	}
	res := im.res
	res.Root, res.Size, res.Blocks = root.Cid(), im.sink.size, len(im.sink.seen)
	return res, nil
}

type importer struct {
	ctx      context.Context
	sink     *sink
	progress func(int64)
	res      Result
}

// add stores what lies at path and returns its root.
func (im *importer) add(path string, info fs.FileInfo) (ipld.Node, error) {
	if err := im.ctx.Err(); err != nil {
		return nil, err
	}
	switch mode := info.Mode(); {
	case mode.IsRegular():
		return im.addFile(path)
	case mode.IsDir():
		return im.addDir(path)
	case mode&fs.ModeSymlink != 0:
		return im.addLink(path)
	default:
		return nil, fmt.Errorf("%s: %w: %s", path, ErrUnsupported, kindOf(mode))
	}
}

func (im *importer) addFile(path string) (ipld.Node, error) {
	// Between listing and opening, the file may have become a link or a fifo: neither is followed nor waited for.
	f, err := os.OpenFile(path, os.O_RDONLY|unix.O_NOFOLLOW|unix.O_NONBLOCK, 0)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	if info, err := f.Stat(); err != nil {
		return nil, err
	} else if !info.Mode().IsRegular() {
		return nil, fmt.Errorf("%s: %w: %s", path, ErrUnsupported, kindOf(info.Mode()))
	}
	params := helpers.DagBuilderParams{Maxlinks: maxLinks, RawLeaves: true, CidBuilder: cidBuilder, Dagserv: im.sink}
	builder, err := params.New(chunk.NewSizeSplitter(&fileReader{im: im, f: f}, chunkSize))
	if err != nil {
		return nil, err
	}
	root, err := balanced.Layout(builder)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	im.res.Files++
	return root, nil
}

func (im *importer) addDir(path string) (ipld.Node, error) {
	entries, err := os.ReadDir(path)
	if err != nil {
		return nil, err
	}
	dir, err := unixfsio.NewDirectory(im.sink,
		unixfsio.WithCidBuilder(cidBuilder),
		unixfsio.WithMaxHAMTFanout(hamtFanout),
		unixfsio.WithSizeEstimationMode(unixfsio.SizeEstimationBlock))
	if err != nil {
		return nil, err
	}
	dir.SetHAMTShardingSize(hamtThreshold)
	for _, e := range entries {
		child := filepath.Join(path, e.Name())
		info, err := e.Info()
		if err != nil {
			return nil, err
		}
		node, err := im.add(child, info)
		if err != nil {
			return nil, err
		}
		if err := im.sink.Add(im.ctx, node); err != nil {
			return nil, err
		}
		if err := dir.AddChild(im.ctx, e.Name(), node); err != nil {
			return nil, fmt.Errorf("%s: %w", child, err)
		}
	}
	im.res.Dirs++
	return dir.GetNode() // stores the shards of a HAMT
}

func (im *importer) addLink(path string) (ipld.Node, error) {
	target, err := os.Readlink(path)
	if err != nil {
		return nil, err
	}
	data, err := unixfs.SymlinkData(target)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	node := merkledag.NodeWithData(data)
	if err := node.SetCidBuilder(cidBuilder); err != nil {
		return nil, err
	}
	im.res.Links++
	return node, nil
}

func kindOf(mode fs.FileMode) string {
	switch {
	case mode&fs.ModeNamedPipe != 0:
		return "named pipe"
	case mode&fs.ModeSocket != 0:
		return "socket"
	case mode&fs.ModeDevice != 0:
		return "device"
	default:
		return "special file"
	}
}

// fileReader counts, and stops when the import is cancelled.
type fileReader struct {
	im *importer
	f  *os.File
}

func (r *fileReader) Read(p []byte) (int, error) {
	if err := r.im.ctx.Err(); err != nil {
		return 0, err
	}
	n, err := r.f.Read(p)
	if n > 0 {
		r.im.res.Bytes += int64(n)
		r.im.progress(int64(n))
	}
	if err != nil && !errors.Is(err, io.EOF) {
		err = fmt.Errorf("%s: %w", r.f.Name(), err)
	}
	return n, err
}
