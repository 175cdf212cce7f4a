package client

import (
	"bytes"
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"

	blocks "github.com/ipfs/go-block-format"
	"github.com/ipfs/go-cid"

	"github.com/cella-network/cella/api/attest"
	marketapi "github.com/cella-network/cella/api/market"
	"github.com/cella-network/cella/content"
	"github.com/cella-network/cella/content/coding"
	"github.com/cella-network/cella/protocol/market"
)

// GetRequest says what to read and where to write it.
type GetRequest struct {
	Ref     string // a name in the catalogue, or a root
	Output  string // must not exist; empty: the name, or the root, in the working folder
	Decrypt bool   // with config/age.key; the catalogue knows it by itself
	Grant   string // file that Share wrote for this home's key; it names the root and opens it, so Ref is left out
	CAR     bool   // write the blocks, as they are, into a CAR instead of the file or folder that they make
}

// GetResult is a file that was read back.
type GetResult struct {
	Root    string
	Output  string
	Size    uint64 // bytes of the distinct blocks
	Holders int    // addresses of holders that the chain named
	Made    uint64 // blocks that no holder sent and that were made of others of their group
}

// Get fetches a file from its holders, whom the chain names, or else from whoever the DHT names; checks every block by its hash; and
// writes it. What was fetched before an interruption isn't fetched again.
func (c *Client) Get(ctx context.Context, req GetRequest) (GetResult, error) {
	out, err := c.get(ctx, req)
	return out, stopped(ctx, err, "stopped before all was read", "run the same command again: what came is kept")
}

func (c *Client) get(ctx context.Context, req GetRequest) (GetResult, error) {
	e, root, key, err := c.wanted(req)
	if err != nil {
		return GetResult{}, err
	}
	out := GetResult{Root: root.String(), Output: req.Output}
	if out.Output == "" {
		if out.Output = e.Name; out.Output == "" {
			out.Output = out.Root
		}
		if req.CAR {
			out.Output += ".car"
		}
	}
	if out.Output, err = filepath.Abs(out.Output); err != nil {
		return out, wrap(KindUsage, req.Output, err)
	}
	if _, err := os.Lstat(out.Output); !errors.Is(err, fs.ErrNotExist) {
		return out, &Error{Kind: KindUsage, What: out.Output + " exists already", Hint: "name another place with -o"}
	}
	if dir, err := os.Stat(filepath.Dir(out.Output)); err != nil || !dir.IsDir() {
		return out, &Error{Kind: KindUsage, What: "there is no folder " + filepath.Dir(out.Output), Hint: "make it first"}
	}
	unlock, err := c.lock(getsDir, root)
	if err != nil {
		return out, err
	}
	defer unlock()
	at, err := c.holders(ctx, root)
	if err != nil {
		return out, err
	}
	if at.coded && e.Size > 0 {
		at.total = e.Size // the chain knows the shards' sizes only
	}
	out.Holders = len(at.from)
	work := c.dir(getsDir, out.Root)
	store, err := content.OpenStore(filepath.Join(work, "blocks"))
	if err != nil {
		return out, wrap(KindLocal, "block store", err)
	}
	defer store.Close()
	node, err := c.open(ctx, &served{Store: store}, nil, nil)
	if err != nil {
		return out, err
	}
	defer node.Close()
	if out.Size, out.Made, err = c.fetch(ctx, node, store, root, at); err != nil {
		return out, err
	}
	write := c.write
	if req.CAR {
		write = c.writeCAR
	}
	if err := write(ctx, node, root, out.Output, key); err != nil {
		return out, err
	}
	store.Close()
	return out, wrap(KindLocal, "removing local blocks", os.RemoveAll(work))
}

// fetch brings the DAG into store, which may hold a part of it already.
func (c *Client) fetch(ctx context.Context, node *content.Node, store *content.Store, root cid.Cid, at whereabouts) (size, made uint64, err error) {
	if empty := blocks.NewBlock(nil); bytes.Equal(empty.Cid().Hash(), root.Hash()) && root.Type() == cid.Raw {
		b, err := blocks.NewBlockWithCid(nil, root)
		if err == nil {
			err = store.Put(ctx, b) // nobody needs to send it
		}
		if err != nil {
			return 0, 0, wrap(KindLocal, "block store", err)
		}
	}
	var done uint64
	tell := func(n int) {
		done += uint64(n)
		c.opts.Progress(Progress{Stage: StageFetch, Done: done, Total: at.total})
	}
	opts := content.FetchOptions{
		Root:  root,
		From:  at.from,
		Limit: at.limit,
		Peers: maxHolders,
		Have: func(ctx context.Context, k cid.Cid) (bool, error) {
			// A block that a kill left half written is no block: reading it is the check.
			_, err := store.Get(ctx, k)
			return err == nil, nil
		},
		Visit: func(b blocks.Block) error {
			tell(len(b.RawData()))
			return store.Put(ctx, b)
		},
	}
	var restorer *coding.Restorer
	if at.coded {
		restorer = coding.NewRestorer(coding.Options{File: root, Limit: at.limit, Patience: c.patience,
			Roots: func(ctx context.Context) ([]cid.Cid, error) { return c.chain.shards(ctx, root) }})
		opts.Bring = restorer.Bring
	}
	stat, err := node.Fetch(ctx, opts)
	if restorer != nil {
		made = restorer.Restored()
	}
	switch {
	case errors.Is(err, content.ErrStalled):
		e := &Error{Kind: KindUnavailable, What: "no holder sends " + root.String(), Cause: err, Hint: "cella stat shows its holders; try again later, what came is kept"}
		if len(at.from) == 0 {
			e.Hint = "the chain knows no order for it; was it put on this network?"
		}
		return 0, made, e
	case errors.Is(err, content.ErrTooLarge), errors.Is(err, content.ErrUnsupported):
		return 0, made, wrap(KindUnproven, "the content is not what was ordered", err)
	case err != nil:
		return 0, made, wrap(KindUnavailable, "fetching", err)
	}
	return stat.Size, made, nil
}

// writeCAR makes a CAR of blocks that are all here; what is encrypted stays so.
func (c *Client) writeCAR(ctx context.Context, node *content.Node, root cid.Cid, dest string, _ *opener) error {
	var done uint64
	return wrap(KindLocal, "writing "+dest, content.ExportCAR(ctx, root, node.Session(ctx), dest, func(n int64) {
		done += uint64(n)
		c.opts.Progress(Progress{Stage: StageWrite, Done: done})
	}))
}

// write makes the file or folder of blocks that are all here.
func (c *Client) write(ctx context.Context, node *content.Node, root cid.Cid, dest string, key *opener) error {
	var done uint64
	wrote := func(n int64) {
		done += uint64(n)
		c.opts.Progress(Progress{Stage: StageWrite, Done: done})
	}
	dag := node.Session(ctx)
	if key == nil {
		return wrap(KindLocal, "writing "+dest, content.Export(ctx, root, dag, dest, wrote))
	}
	tmp, err := os.MkdirTemp(filepath.Dir(dest), ".cella-get-*")
	if err != nil {
		return wrap(KindLocal, "writing "+dest, err)
	}
	defer os.RemoveAll(tmp)
	cipher := filepath.Join(tmp, "sealed")
	if err := content.Export(ctx, root, dag, cipher, nil); err != nil {
		return wrap(KindLocal, "writing "+dest, err)
	}
	f, err := os.Open(cipher)
	if err != nil {
		return wrap(KindLocal, "writing "+dest, err)
	}
	defer f.Close()
	if info, err := f.Stat(); err != nil || !info.Mode().IsRegular() {
		return &Error{Kind: KindUsage, What: "it is a folder that was put without encryption", Hint: "leave --decrypt away"}
	}
	plain := filepath.Join(tmp, "plain")
	if err := decrypt(ctx, f, plain, key, func(n int) { wrote(int64(n)) }); err != nil {
		return &Error{Kind: KindLocal, What: "decrypting", Cause: err, Hint: key.hint}
	}
	if _, err := os.Lstat(dest); !errors.Is(err, fs.ErrNotExist) {
		return &Error{Kind: KindUsage, What: dest + " exists already", Hint: "name another place with -o"}
	}
	return wrap(KindLocal, "writing "+dest, os.Rename(plain, dest))
}

// maxHolders is how many holders of a file are dialled at most: those of all its shards, and some more.
const maxHolders = coding.MaxShards + 16

// whereabouts is what the chain knows about where a file lies.
type whereabouts struct {
	from  []string // addresses of holders, then of owners
	limit uint64   // bytes that the file has at most
	total uint64   // bytes of the file; 0 if that isn't known
	coded bool     // there are orders for parts of it
}

// holders asks the chain where a root lies, whole or in parts: addresses of the operators that have it proven, then those at which its
// owners served it, and the size that the orders name.
func (c *Client) holders(ctx context.Context, root cid.Cid) (whereabouts, error) {
	orders, err := c.chain.orders(ctx, "", root)
	if err != nil || len(orders) == 0 {
		return whereabouts{limit: market.MaxSize}, err
	}
	var at whereabouts
	var owners []string
	var parts uint64
	for _, o := range orders {
		switch {
		case bytes.Equal(o.Root, root.Bytes()):
			at.total = max(at.total, o.Size_)
		case bytes.Equal(o.Of, root.Bytes()):
			at.coded = true
			parts = min(parts+o.Size_, market.MaxSize)
		}
		if o.Closed {
			continue
		}
		r, err := c.chain.Market.Order(ctx, &marketapi.QueryOrderRequest{Id: o.Id})
		if err != nil {
			return at, err
		}
		for _, rep := range r.Replicas {
			if !rep.Proven {
				continue
			}
			of, err := c.chain.addrs(ctx, rep.Operator)
			if err != nil {
				return at, err
			}
			at.from = append(at.from, of...)
		}
		for _, a := range usable(o.Addrs) {
			if !slices.Contains(owners, a) {
				owners = append(owners, a)
			}
		}
	}
	at.limit = max(at.total, parts)
	at.from = append(at.from, owners...)
	return at, nil
}

// shards are the roots of running orders for parts of a file, the oldest first.
func (c *Chain) shards(ctx context.Context, file cid.Cid) ([]cid.Cid, error) {
	orders, err := c.orders(ctx, "", file)
	var out []cid.Cid
	for _, o := range slices.Backward(orders) {
		root, e := cid.Cast(o.Root)
		if !o.Closed && e == nil && bytes.Equal(o.Of, file.Bytes()) {
			out = append(out, root)
		}
	}
	return out, err
}

// addrs are the places at which an operator's node serves blocks; none if it is not registered.
func (c *Chain) addrs(ctx context.Context, operator string) ([]string, error) {
	n, err := c.Attest.Node(ctx, &attest.QueryNodeRequest{Operator: operator})
	if absent(err) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	return usable(n.Node.Addrs), nil
}
