package client

import (
	"cmp"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	sdk "github.com/cosmos/cosmos-sdk/types"
	"github.com/cosmos/cosmos-sdk/types/query"
	"github.com/ipfs/go-cid"
	"github.com/libp2p/go-libp2p/core/crypto"

	marketapi "github.com/cella-network/cella/api/market"
	"github.com/cella-network/cella/content"
)

// Options say where a Client keeps things and whom it talks to.
type Options struct {
	Home    string   // catalogue, encryption key, and blocks on their way lie below it
	Chain   *Chain   // nil: only List works
	Account *Account // nil: only reading works
	Listen  []string // multiaddrs on which blocks are served while they are put
	// Loopback is for a network on one machine: addresses that mean nothing elsewhere are told to others.
	Loopback bool
	// Progress, unless nil, is told how far a Put or Get is, from one goroutine at a time.
	Progress func(Progress)
}

// Stage is what a Put or Get is doing.
type Stage string

const (
	StageRead  Stage = "read"  // the file, to cut it into blocks
	StageCode  Stage = "code"  // the blocks, to make parity of them
	StageOffer Stage = "offer" // waiting for operators that have room
	StageOrder Stage = "order" // waiting for the chain to take the order
	StageSend  Stage = "send"  // blocks go to the holders, who prove them
	StageFetch Stage = "fetch" // blocks come from the holders
	StageWrite Stage = "write" // the file
)

// Progress is how far a stage is. Bytes are counted; Total is 0 where it isn't known.
type Progress struct {
	Stage       Stage
	Done, Total uint64
	// Replicas are asked for by the order; so many are Accepted and Proven. Set in StageSend.
	Replicas, Accepted, Proven uint32
	Order                      uint64
}

// Client stores files on the network and reads them back.
type Client struct {
	opts      Options
	chain     *Chain
	catalogue catalogue
	patience  time.Duration // of a coding.Restorer; 0: its own
}

// New makes a Client. It does nothing until it is asked.
func New(opts Options) *Client {
	if opts.Progress == nil {
		opts.Progress = func(Progress) {}
	}
	return &Client{opts: opts, chain: opts.Chain, catalogue: catalogue{filepath.Join(opts.Home, "content", "catalogue.json")}}
}

// List returns the catalogue: of the Client's chain or, without one, of all.
func (c *Client) List() ([]Entry, error) {
	all, err := c.catalogue.read()
	if err != nil || c.chain == nil {
		return all, err
	}
	var out []Entry
	for _, e := range all {
		if e.Chain == c.chain.ID {
			out = append(out, e)
		}
	}
	return out, nil
}

// Removal is what removing a file came to.
type Removal struct {
	Entry  Entry
	Ended  []uint64 // orders that were ended
	Refund uint64   // ucella that came back
}

// Remove ends the account's orders for a name or root, drops it from the catalogue and removes what is left of it here.
// Holders keep their minimum pay.
func (c *Client) Remove(ctx context.Context, ref string) (Removal, error) {
	e, root, err := c.resolve(ref)
	if err != nil {
		return Removal{}, err
	}
	out := Removal{Entry: e}
	unlock, err := c.lock(putsDir, root)
	if err != nil {
		return out, err
	}
	defer unlock()
	if e.Until > 0 { // an order may still be under way
		if err := c.chain.Wait(ctx, e.Until+1); err != nil {
			return out, err
		}
	}
	orders, err := c.chain.orders(ctx, c.opts.Account.Address, root)
	if err != nil {
		return out, err
	}
	var open []uint64
	for _, o := range orders {
		if !o.Closed {
			open = append(open, o.Id)
		}
	}
	for some := range slices.Chunk(open, batch) {
		refund, err := c.end(ctx, some)
		if err != nil {
			return out, err
		}
		out.Ended = append(out.Ended, some...)
		out.Refund += refund
	}
	if len(orders) == 0 && e.Root == "" {
		return out, &Error{Kind: KindNotFound, What: fmt.Sprintf("%s has no order for %s", c.opts.Account.Address, ref), Hint: "cella ls shows what was put"}
	}
	for _, dir := range []string{putsDir, getsDir} {
		if err := os.RemoveAll(c.dir(dir, root.String())); err != nil {
			return out, wrap(KindLocal, "removing local blocks", err)
		}
	}
	return out, c.catalogue.remove(c.chain.ID, root.String())
}

// end closes orders in one transaction and returns what came back.
func (c *Client) end(ctx context.Context, orders []uint64) (uint64, error) {
	var msgs []sdk.Msg
	for _, id := range orders {
		msgs = append(msgs, &marketapi.MsgEnd{Owner: c.opts.Account.Address, Order: id})
	}
	res, err := c.opts.Account.Post(ctx, msgs...)
	if err != nil {
		return 0, wrap(KindRefused, fmt.Sprintf("ending orders %v", orders), err)
	}
	var refund uint64
	for i := range orders {
		var end marketapi.MsgEndResponse
		if err := res.Response(i, &end); err != nil {
			return 0, err
		}
		refund += end.Refund
	}
	return refund, nil
}

// resolve finds the root that a catalogue name or a CID means. The entry is empty for a CID that the catalogue doesn't know.
func (c *Client) resolve(ref string) (Entry, cid.Cid, error) {
	e, ok, err := c.catalogue.find(c.chain.ID, ref)
	if err != nil {
		return Entry{}, cid.Undef, err
	}
	if ok {
		root, err := cid.Decode(e.Root)
		return e, root, wrap(KindLocal, "catalogue entry "+ref, err)
	}
	root, err := cid.Decode(strings.TrimPrefix(ref, "/ipfs/"))
	if err != nil {
		return Entry{}, cid.Undef, &Error{Kind: KindNotFound, What: fmt.Sprintf("%q is neither a name in the catalogue nor a root", ref), Hint: "cella ls shows the names; a root looks like bafy... or bafk..."}
	}
	return Entry{}, root, nil
}

// orders lists the orders for a root and for parts of it, of one owner or, with an empty owner, of all, the newest first.
func (c *Chain) orders(ctx context.Context, owner string, root cid.Cid) ([]marketapi.Order, error) {
	var all []marketapi.Order
	err := pages(func(page *query.PageRequest) (*query.PageResponse, error) {
		r, err := c.Market.Orders(ctx, &marketapi.QueryOrdersRequest{Owner: owner, Root: root.Bytes(), Pagination: page})
		if err != nil {
			return nil, err
		}
		all = append(all, r.Orders...)
		return r.Pagination, nil
	})
	slices.SortFunc(all, func(a, b marketapi.Order) int { return cmp.Compare(b.Id, a.Id) })
	return all, err
}

// Folders below content/ for blocks on their way.
const (
	putsDir = "puts"
	getsDir = "gets"
)

func (c *Client) dir(parts ...string) string {
	return filepath.Join(append([]string{c.opts.Home, "content"}, parts...)...)
}

// lock keeps other processes from working on the same root in the same folder.
func (c *Client) lock(dir string, root cid.Cid) (func(), error) {
	if err := os.MkdirAll(c.dir(dir), 0o700); err != nil {
		return nil, wrap(KindLocal, "folder of blocks", err)
	}
	unlock, err := lockFile(c.dir(dir, root.String()+".lock"), false)
	if errors.Is(err, errLocked) {
		return nil, &Error{Kind: KindBusy, What: fmt.Sprintf("another cella is working on %s", root), Hint: "let it finish, or end it"}
	}
	return unlock, wrap(KindLocal, "lock", err)
}

// maxBootstrap is through how many addresses a content node joins the DHT.
const maxBootstrap = 16

// open starts a content node that knows the way into the network: it serves store, if that is not nil, on the addresses of listen.
func (c *Client) open(ctx context.Context, store *served, key crypto.PrivKey, listen []string) (*content.Node, error) {
	if key == nil {
		var err error
		if key, _, err = crypto.GenerateEd25519Key(rand.Reader); err != nil {
			return nil, wrap(KindLocal, "content node", err)
		}
	}
	nodes, err := c.chain.activeNodes(ctx)
	if err != nil {
		return nil, err
	}
	cfg := content.Config{Identity: key, Listen: listen, Loopback: c.opts.Loopback}
	if store != nil {
		cfg.Store = store
	}
	for _, n := range nodes {
		if len(cfg.Bootstrap) < maxBootstrap {
			cfg.Bootstrap = append(cfg.Bootstrap, usable(n.Addrs)...)
		}
	}
	node, err := content.New(ctx, cfg)
	return node, wrap(KindLocal, "content node", err)
}
