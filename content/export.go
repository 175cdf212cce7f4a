package content

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/ipfs/boxo/ipld/merkledag"
	"github.com/ipfs/boxo/ipld/unixfs"
	unixfsio "github.com/ipfs/boxo/ipld/unixfs/io"
	"github.com/ipfs/go-cid"
	ipld "github.com/ipfs/go-ipld-format"
	"golang.org/x/sys/unix"
)

// ErrBadName is returned for a DAG whose directory entries aren't plain, distinct file names.
var ErrBadName = errors.New("directory entry is no file name")

const (
	maxName      = 255  // bytes
	maxDepth     = 2048 // directories below one another; no path of the system could name a deeper file
	exportWindow = 32   // entries fetched at once
)

// Export writes the file, tree or link under root to dest, which must not exist. It is written beside dest and renamed when
// complete, so dest is whole or absent. The DAG may be hostile: nothing is written outside of dest, and links are made but never
// followed. Only a few blocks can describe a very large tree, though: a caller that minds counts in progress and cancels ctx. progress,
// unless nil, is called with the number of bytes written since the last call. A missing block is waited for as long as dag does.
func Export(ctx context.Context, root cid.Cid, dag ipld.DAGService, dest string, progress func(n int64)) (err error) {
	if progress == nil {
		progress = func(int64) {}
	}
	if _, err := os.Lstat(dest); err == nil {
		return fmt.Errorf("export: %s: %w", dest, fs.ErrExist)
	} else if !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("export: %w", err)
	}
	tmp, err := os.MkdirTemp(filepath.Dir(dest), ".cella-export-*")
	if err != nil {
		return fmt.Errorf("export: %w", err)
	}
	defer func() { err = errors.Join(err, os.RemoveAll(tmp)) }()
	dir, err := os.OpenRoot(tmp)
	if err != nil {
		return fmt.Errorf("export: %w", err)
	}
	defer dir.Close()

	const name = "root"
	node, err := dag.Get(ctx, root)
	if err == nil {
		ex := &exporter{dag: dag, dir: dir, progress: progress}
		err = ex.write(ctx, name, node, 0)
	}
	if err == nil {
		err = renameNew(filepath.Join(tmp, name), dest)
	}
	if err != nil {
		return fmt.Errorf("export %s: %w", root, err)
	}
	return nil
}

// exporter writes below dir; os.Root refuses every path that leaves it, also through links.
type exporter struct {
	dag      ipld.DAGService
	dir      *os.Root
	progress func(int64)
}

func (ex *exporter) write(ctx context.Context, path string, node ipld.Node, depth int) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	proto, ok := node.(*merkledag.ProtoNode)
	if !ok {
		return ex.writeFile(ctx, path, node)
	}
	fsNode, err := unixfs.FSNodeFromBytes(proto.Data())
	if err != nil {
		return fmt.Errorf("%q: %w", path, err)
	}
	switch fsNode.Type() {
	case unixfs.TFile, unixfs.TRaw:
		return ex.writeFile(ctx, path, node)
	case unixfs.TDirectory, unixfs.THAMTShard:
		return ex.writeDir(ctx, path, node, depth)
	case unixfs.TSymlink:
		return named(path, ex.dir.Symlink(string(fsNode.Data()), path))
	default:
		return fmt.Errorf("%q: %w: UnixFS type %s", path, ErrUnsupported, fsNode.Type())
	}
}

func (ex *exporter) writeFile(ctx context.Context, path string, node ipld.Node) error {
	r, err := unixfsio.NewDagReader(ctx, node, ex.dag)
	if err != nil {
		return fmt.Errorf("%q: %w", path, err)
	}
	defer r.Close()
	f, err := ex.dir.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o666)
	if err != nil {
		return named(path, err)
	}
	n, err := r.WriteTo(&fileWriter{ctx: ctx, f: f, progress: ex.progress})
	if closeErr := f.Close(); err == nil {
		err = closeErr
	}
	if err == nil && uint64(n) != r.Size() {
		err = fmt.Errorf("holds %d bytes and claims %d", n, r.Size())
	}
	return named(path, err)
}

func (ex *exporter) writeDir(ctx context.Context, path string, node ipld.Node, depth int) error {
	if depth == maxDepth {
		return fmt.Errorf("%w: directories nested too deep", ErrBadName)
	}
	if err := ex.dir.Mkdir(path, 0o777); err != nil {
		return named(path, err)
	}
	dir, err := unixfsio.NewDirectoryFromNode(ex.dag, node)
	if err != nil {
		return fmt.Errorf("%q: %w", path, err)
	}
	window := make([]*ipld.Link, 0, exportWindow)
	flush := func() error {
		defer func() { window = window[:0] }()
		return ex.writeEntries(ctx, path, window, depth+1)
	}
	err = dir.ForEachLink(ctx, func(l *ipld.Link) error {
		if err := checkName(l.Name); err != nil {
			return fmt.Errorf("in %q: %w", path, err)
		}
		if window = append(window, l); len(window) < exportWindow {
			return nil
		}
		return flush()
	})
	if err != nil {
		return err
	}
	return flush()
}

func (ex *exporter) writeEntries(ctx context.Context, path string, entries []*ipld.Link, depth int) error {
	cids := make([]cid.Cid, len(entries))
	for i, l := range entries {
		cids[i] = l.Cid
	}
	nodes, err := ex.getMany(ctx, cids)
	if err != nil {
		return named(path, err)
	}
	for i, l := range entries {
		if err := ex.write(ctx, path+"/"+l.Name, nodes[cids[i]], depth); err != nil {
			return err
		}
	}
	return nil
}

func (ex *exporter) getMany(ctx context.Context, cids []cid.Cid) (map[cid.Cid]ipld.Node, error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	nodes := make(map[cid.Cid]ipld.Node, len(cids))
	for opt := range ex.dag.GetMany(ctx, cids) {
		if opt.Err != nil {
			return nil, opt.Err
		}
		nodes[opt.Node.Cid()] = opt.Node
	}
	for _, c := range cids {
		if nodes[c] == nil {
			return nil, ipld.ErrNotFound{Cid: c}
		}
	}
	return nodes, nil
}

// checkName refuses what would leave the directory or mean something else than a file in it.
func checkName(name string) error {
	if name == "" || name == "." || name == ".." || len(name) > maxName || strings.ContainsAny(name, "/\x00") {
		return fmt.Errorf("%w: %.300q", ErrBadName, name)
	}
	return nil
}

// named adds the path unless the error names it, and says what an existing path means here.
func named(path string, err error) error {
	switch {
	case err == nil:
		return nil
	case errors.Is(err, fs.ErrExist):
		return fmt.Errorf("%w: %q comes twice", ErrBadName, path)
	default:
		return fmt.Errorf("%q: %w", path, err)
	}
}

// renameNew renames without replacing what may have appeared at dest meanwhile.
func renameNew(from, dest string) error {
	err := unix.Renameat2(unix.AT_FDCWD, from, unix.AT_FDCWD, dest, unix.RENAME_NOREPLACE)
	if !errors.Is(err, unix.EINVAL) && !errors.Is(err, unix.ENOSYS) {
		if err != nil {
			return &os.LinkError{Op: "rename", Old: from, New: dest, Err: err}
		}
		return nil
	}
	// The file system lacks the flag; a small window is left.
	if _, err := os.Lstat(dest); err == nil {
		return fmt.Errorf("%s: %w", dest, fs.ErrExist)
	}
	return os.Rename(from, dest)
}

// fileWriter counts, and stops when the export is cancelled: blocks that are at hand come without asking ctx.
type fileWriter struct {
	ctx      context.Context
	f        io.Writer
	progress func(int64)
}

func (w *fileWriter) Write(p []byte) (int, error) {
	if err := w.ctx.Err(); err != nil {
		return 0, err
	}
	n, err := w.f.Write(p)
	w.progress(int64(n))
	return n, err
}
