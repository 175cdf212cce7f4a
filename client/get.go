package client

import (
	"bytes"
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"

	blocks "github.com/ipfs/go-block-format"
	"github.com/ipfs/go-cid"

	"github.com/cella-network/cella/api/attest"
	marketapi "github.com/cella-network/cella/api/market"
	"github.com/cella-network/cella/content"
	"github.com/cella-network/cella/protocol/market"
)

// GetRequest says what to read and where to write it.
type GetRequest struct {
	Ref     string // a name in the catalogue, or a root
	Output  string // must not exist; empty: the name, or the root, in the working folder
	Decrypt bool   // with config/age.key; the catalogue knows it by itself
}

// GetResult is a file that was read back.
type GetResult struct {
	Root    string
	Output  string
	Size    uint64 // bytes of the distinct blocks
	Holders int    // holders that the chain named
}

// Get fetches a file from its holders, whom the chain names, or else from whoever the DHT names; checks every block by its hash; and
// writes it. What was fetched before an interruption isn't fetched again.
func (c *Client) Get(ctx context.Context, req GetRequest) (GetResult, error) {
	out, err := c.get(ctx, req)
	return out, stopped(ctx, err, "stopped before all was read", "run the same command again: what came is kept")
}

func (c *Client) get(ctx context.Context, req GetRequest) (GetResult, error) {
	e, root, err := c.resolve(req.Ref)
	if err != nil {
		return GetResult{}, err
	}
	out := GetResult{Root: root.String(), Output: req.Output}
	if out.Output == "" {
		if out.Output = e.Name; out.Output == "" {
			out.Output = out.Root
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
	from, limit, err := c.holders(ctx, root)
	if err != nil {
		return out, err
	}
	out.Holders = len(from)
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
	if out.Size, err = c.fetch(ctx, node, store, root, from, limit); err != nil {
		return out, err
	}
	if err := c.write(ctx, node, root, out.Output, req.Decrypt || e.Encrypted); err != nil {
		return out, err
	}
	store.Close()
	return out, wrap(KindLocal, "removing local blocks", os.RemoveAll(work))
}

// fetch brings the DAG into store, which may hold a part of it already.
func (c *Client) fetch(ctx context.Context, node *content.Node, store *content.Store, root cid.Cid, from []string, limit uint64) (uint64, error) {
	if empty := blocks.NewBlock(nil); bytes.Equal(empty.Cid().Hash(), root.Hash()) && root.Type() == cid.Raw {
		b, err := blocks.NewBlockWithCid(nil, root)
		if err == nil {
			err = store.Put(ctx, b) // nobody needs to send it
		}
		if err != nil {
			return 0, wrap(KindLocal, "block store", err)
		}
	}
	var done uint64
	tell := func(n int) {
		done += uint64(n)
		total := limit
		if limit == market.MaxSize {
			total = 0
		}
		c.opts.Progress(Progress{Stage: StageFetch, Done: done, Total: total})
	}
	stat, err := node.Fetch(ctx, content.FetchOptions{
		Root:  root,
		From:  from,
		Limit: limit,
		Have: func(ctx context.Context, k cid.Cid) (bool, error) {
			// A block that a kill left half written is no block: reading it is the check.
			_, err := store.Get(ctx, k)
			return err == nil, nil
		},
		Visit: func(b blocks.Block) error {
			tell(len(b.RawData()))
			return store.Put(ctx, b)
		},
	})
	switch {
	case errors.Is(err, content.ErrStalled):
		e := &Error{Kind: KindUnavailable, What: "no holder sends " + root.String(), Cause: err, Hint: "cella stat shows its holders; try again later, what came is kept"}
		if len(from) == 0 {
			e.Hint = "the chain knows no order for it; was it put on this network?"
		}
		return 0, e
	case errors.Is(err, content.ErrTooLarge), errors.Is(err, content.ErrUnsupported):
		return 0, wrap(KindUnproven, "the content is not what was ordered", err)
	case err != nil:
		return 0, wrap(KindUnavailable, "fetching", err)
	}
	return stat.Size, nil
}

// write makes the file or folder of blocks that are all here.
func (c *Client) write(ctx context.Context, node *content.Node, root cid.Cid, dest string, sealed bool) error {
	var done uint64
	wrote := func(n int64) {
		done += uint64(n)
		c.opts.Progress(Progress{Stage: StageWrite, Done: done})
	}
	dag := node.Session(ctx)
	if !sealed {
		return wrap(KindLocal, "writing "+dest, content.Export(ctx, root, dag, dest, wrote))
	}
	id, err := identity(filepath.Join(c.opts.Home, "config", "age.key"))
	if err != nil {
		return err
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
	if err := decrypt(ctx, f, plain, id, func(n int) { wrote(int64(n)) }); err != nil {
		return &Error{Kind: KindLocal, What: "decrypting", Cause: err, Hint: "is it encrypted, and for the key in " + filepath.Join(c.opts.Home, "config", "age.key") + "?"}
	}
	if _, err := os.Lstat(dest); !errors.Is(err, fs.ErrNotExist) {
		return &Error{Kind: KindUsage, What: dest + " exists already", Hint: "name another place with -o"}
	}
	return wrap(KindLocal, "writing "+dest, os.Rename(plain, dest))
}

// holders asks the chain where a root lies: addresses of the operators that have it proven, then those at which its owners served it,
// and the size that the orders name.
func (c *Client) holders(ctx context.Context, root cid.Cid) (from []string, limit uint64, err error) {
	orders, err := c.chain.orders(ctx, "", root)
	if err != nil {
		return nil, 0, err
	}
	if len(orders) == 0 {
		return nil, market.MaxSize, nil
	}
	var owners []string
	for _, o := range orders {
		limit = max(limit, o.Size_)
		if o.Closed || !bytes.Equal(o.Root, root.Bytes()) {
			continue
		}
		r, err := c.chain.Market.Order(ctx, &marketapi.QueryOrderRequest{Id: o.Id})
		if err != nil {
			return nil, 0, err
		}
		for _, rep := range r.Replicas {
			if !rep.Proven {
				continue
			}
			at, err := c.chain.addrs(ctx, rep.Operator)
			if err != nil {
				return nil, 0, err
			}
			from = append(from, at...)
		}
		owners = append(owners, usable(o.Addrs)...)
	}
	return append(from, owners...), limit, nil
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
