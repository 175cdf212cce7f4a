package client

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/ipfs/go-cid"

	marketapi "github.com/cella-network/cella/api/market"
	"github.com/cella-network/cella/content"
	"github.com/cella-network/cella/protocol/market"
)

// offerFor is how long a put waits for operators with room.
const offerFor = 90 * time.Second

// PutRequest says what to store and on which terms.
type PutRequest struct {
	Path     string // file or folder
	Name     string // in the catalogue; empty: the path's last part
	Replicas uint32
	Days     uint32
	Price    uint64 // most to pay, in ucella per GiB-day and replica; 0: what enough operators ask now
	Encrypt  bool   // for the key in config/age.key alone
}

// PutResult is an acknowledged file.
type PutResult struct {
	Entry
	Escrow  uint64 // ucella that the order still holds
	Resumed bool   // an earlier put's order was taken up: nothing was paid now
}

// Put stores a file or folder and returns once it is acknowledged: every replica asked for is named in a report that the chain
// accepted. Interrupted and run again it takes up the order that it placed before.
func (c *Client) Put(ctx context.Context, req PutRequest) (PutResult, error) {
	if req.Replicas == 0 || req.Replicas > market.MaxReplicas {
		return PutResult{}, &Error{Kind: KindUsage, What: fmt.Sprintf("%d replicas, want 1 to %d", req.Replicas, market.MaxReplicas)}
	}
	if req.Days == 0 {
		return PutResult{}, &Error{Kind: KindUsage, What: "0 days, want at least 1"}
	}
	p := &put{Client: c, req: req}
	defer p.release()
	res, err := p.run(ctx)
	if p.entry.Order == 0 && p.entry.Until == 0 {
		return res, stopped(ctx, err, "stopped before anything was ordered", "nothing was paid")
	}
	return res, stopped(ctx, err, "stopped before the order was acknowledged", "run the same command again to take it up; it costs nothing more")
}

func (p *put) run(ctx context.Context) (PutResult, error) {
	if err := p.prepare(ctx); err != nil {
		return PutResult{}, err
	}
	if p.entry.Size == 0 {
		return p.nothing(ctx)
	}
	defer p.forget()
	order, err := p.findOrder(ctx)
	if err != nil {
		return PutResult{}, err
	}
	resumed := order.Id != 0
	if err := p.host(ctx, order); err != nil {
		return PutResult{}, err
	}
	if !resumed {
		if order, err = p.place(ctx); err != nil {
			return PutResult{}, err
		}
	}
	if order, err = p.acknowledged(ctx, order); err != nil {
		return PutResult{}, err
	}
	p.close()
	// The network has it now; what lies here would only cost room.
	if err := os.RemoveAll(p.dir(putsDir, p.entry.Root)); err != nil {
		return PutResult{}, wrap(KindLocal, "removing local blocks", err)
	}
	return PutResult{Entry: p.entry, Escrow: order.Escrow, Resumed: resumed}, nil
}

// put is one running Put.
type put struct {
	*Client
	req   PutRequest
	entry Entry
	root  cid.Cid

	unlock func()
	store  *served
	node   *content.Node
}

// close ends what serves the blocks; release gives up the root as well.
func (p *put) close() {
	if p.node != nil {
		p.node.Close()
		p.node = nil
	}
	if p.store != nil {
		p.store.Close()
		p.store = nil
	}
}

func (p *put) release() {
	p.close()
	if p.unlock != nil {
		p.unlock()
		p.unlock = nil
	}
}

// nothing ends the put of an empty file: its root says all that is in it, so nobody needs to hold or be paid for it.
func (p *put) nothing(ctx context.Context) (PutResult, error) {
	height, err := p.chain.Latest(ctx)
	if err != nil {
		return PutResult{}, err
	}
	p.entry.Replicas, p.entry.Acknowledged = 0, height
	if err := os.RemoveAll(p.dir(putsDir, p.entry.Root)); err != nil {
		return PutResult{}, wrap(KindLocal, "removing local blocks", err)
	}
	return PutResult{Entry: p.entry}, p.catalogue.save(&p.entry)
}

// forget leaves no trace of a put for which no order was sent.
func (p *put) forget() {
	if p.entry.Order == 0 && p.entry.Until == 0 {
		p.close()
		os.RemoveAll(p.dir(putsDir, p.entry.Root))
		_ = p.catalogue.remove(p.chain.ID, p.entry.Root) // at worst it stays listed as unfinished
	}
}

// prepare turns the path into blocks below content/puts/ROOT, takes that root's lock and enters it in the catalogue.
func (p *put) prepare(ctx context.Context) error {
	abs, err := filepath.Abs(p.req.Path)
	if err != nil {
		return wrap(KindUsage, p.req.Path, err)
	}
	size, err := treeSize(abs)
	if err != nil {
		return &Error{Kind: KindUsage, What: "can't read " + p.req.Path, Cause: cause(err)}
	}
	p.entry = Entry{Chain: p.chain.ID, Name: p.req.Name, Replicas: p.req.Replicas, Created: time.Now().UTC().Truncate(time.Second), Encrypted: p.req.Encrypt}
	if p.entry.Name == "" {
		p.entry.Name = filepath.Base(abs)
	}
	if p.req.Encrypt {
		p.entry.Source = abs
		if found, err := p.sealedBefore(ctx); found || err != nil {
			return err
		}
	}
	work, done, err := p.workspace()
	if err != nil {
		return err
	}
	defer done()
	var read uint64
	progress := func(n int64) {
		read += uint64(n)
		p.opts.Progress(Progress{Stage: StageRead, Done: read, Total: size})
	}
	source := abs
	if p.req.Encrypt {
		source = filepath.Join(work, "sealed")
		if p.entry.Digest, err = p.seal(ctx, abs, source, func(n int) { progress(int64(n)) }); err != nil {
			return wrap(KindLocal, "encrypting "+p.req.Path, err)
		}
		progress = func(int64) {}
	}
	store, err := content.OpenStore(filepath.Join(work, "blocks"))
	if err != nil {
		return wrap(KindLocal, "block store", err)
	}
	res, err := content.Import(ctx, source, store, progress)
	if e := store.Close(); err == nil {
		err = e
	}
	if err != nil {
		return wrap(KindLocal, p.req.Path, err)
	}
	p.root, p.entry.Root, p.entry.Size = res.Root, res.Root.String(), res.Size
	if p.unlock, err = p.lock(putsDir, p.root); err != nil {
		return err
	}
	home := p.dir(putsDir, p.entry.Root)
	if err := os.MkdirAll(home, 0o700); err != nil {
		return wrap(KindLocal, "block store", err)
	}
	blocks := filepath.Join(home, "blocks")
	if err := os.RemoveAll(blocks); err != nil {
		return wrap(KindLocal, "block store", err)
	}
	if err := os.Rename(filepath.Join(work, "blocks"), blocks); err != nil {
		return wrap(KindLocal, "block store", err)
	}
	return p.adopt()
}

// sealedBefore finds the entry of an earlier put of the same encrypted source: encrypting again would give another root.
func (p *put) sealedBefore(ctx context.Context) (bool, error) {
	all, err := p.catalogue.read()
	if err != nil {
		return false, err
	}
	var sum string
	for _, e := range all {
		if e.Chain != p.chain.ID || !e.Encrypted || e.Source != p.entry.Source {
			continue
		}
		if sum == "" {
			if sum, err = digest(ctx, e.Source); err != nil {
				return false, wrap(KindLocal, p.req.Path, err)
			}
		}
		if e.Digest != sum {
			continue
		}
		root, err := cid.Decode(e.Root)
		if err != nil {
			return false, wrap(KindLocal, "catalogue entry "+e.Name, err)
		}
		orders, err := p.chain.orders(ctx, p.opts.Account.Address, root)
		if err != nil {
			return false, err
		}
		_, blocksErr := os.Stat(p.dir(putsDir, e.Root, "blocks"))
		live, err := p.live(ctx, orders)
		if err != nil {
			return false, err
		}
		if blocksErr != nil && (live.Id == 0 || e.Acknowledged == 0) {
			continue // neither here nor there: encrypt afresh
		}
		p.root, p.entry.Root, p.entry.Size, p.entry.Digest = root, e.Root, e.Size, e.Digest
		if p.unlock, err = p.lock(putsDir, root); err != nil {
			return false, err
		}
		return true, p.adopt()
	}
	return false, nil
}

// adopt takes over what the catalogue knows of the root and saves the entry.
func (p *put) adopt() error {
	if e, ok, err := p.catalogue.find(p.chain.ID, p.entry.Root); err != nil {
		return err
	} else if ok {
		e.Replicas = p.entry.Replicas
		p.entry = e
	}
	return p.catalogue.save(&p.entry)
}

// seal encrypts source into the file dest and returns the digest of what was encrypted.
func (p *put) seal(ctx context.Context, source, dest string, read func(int)) (string, error) {
	id, err := identity(filepath.Join(p.opts.Home, "config", "age.key"))
	if err != nil {
		return "", err
	}
	f, err := os.OpenFile(dest, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if err != nil {
		return "", err
	}
	sum, err := encrypt(ctx, f, source, id.Recipient(), read)
	if e := f.Close(); err == nil {
		err = e
	}
	return sum, err
}

// findOrder returns the account's live order for the root, or a zero Order if there is none and none can appear any more.
func (p *put) findOrder(ctx context.Context) (marketapi.Order, error) {
	for {
		orders, err := p.chain.orders(ctx, p.opts.Account.Address, p.root)
		if err != nil {
			return marketapi.Order{}, err
		}
		order, err := p.live(ctx, orders)
		if err != nil {
			return marketapi.Order{}, err
		}
		now, err := p.chain.Latest(ctx)
		if err != nil {
			return marketapi.Order{}, err
		}
		if order.Id == 0 && p.entry.Order == 0 && now <= p.entry.Until {
			// An interrupted put sent one that a block may still take.
			p.opts.Progress(Progress{Stage: StageOrder})
			if err := p.chain.Wait(ctx, now+1); err != nil {
				return marketapi.Order{}, err
			}
			continue
		}
		if order.Id != p.entry.Order {
			p.entry.Order, p.entry.Until, p.entry.Acknowledged = order.Id, 0, 0
			if err := p.catalogue.save(&p.entry); err != nil {
				return marketapi.Order{}, err
			}
		}
		return order, nil
	}
}

// live is the newest order that is neither closed nor at its end.
func (p *put) live(ctx context.Context, orders []marketapi.Order) (marketapi.Order, error) {
	now, err := p.chain.Latest(ctx)
	if err != nil {
		return marketapi.Order{}, err
	}
	for _, o := range orders {
		if !o.Closed && o.End > now {
			return o, nil
		}
	}
	return marketapi.Order{}, nil
}

// place pays for the order.
func (p *put) place(ctx context.Context) (marketapi.Order, error) {
	terms, err := p.chain.terms(ctx)
	if err != nil {
		return marketapi.Order{}, err
	}
	price := p.req.Price
	if price == 0 {
		if price, err = p.offer(ctx); err != nil {
			return marketapi.Order{}, err
		}
	}
	span := max(int64(p.req.Days)*terms.DayBlocks, terms.MinBlocks)
	escrow, err := terms.EscrowFor(p.entry.Size, price, span, p.req.Replicas)
	if err != nil {
		return marketapi.Order{}, wrap(KindUsage, "price", err)
	}
	has, err := p.opts.Account.Balance(ctx)
	if err != nil {
		return marketapi.Order{}, err
	}
	if has < escrow {
		return marketapi.Order{}, &Error{Kind: KindFunds, What: fmt.Sprintf("the order needs %d ucella in escrow and %s has %d", escrow, p.opts.Account.Address, has),
			Hint: "fewer --days or --replicas cost less"}
	}
	addrs := p.node.Addrs()
	if len(addrs) > market.MaxAddrs {
		addrs = addrs[:market.MaxAddrs]
	}
	p.opts.Progress(Progress{Stage: StageOrder})
	msg := &marketapi.MsgPlaceOrder{Owner: p.opts.Account.Address, Root: p.root.Bytes(), Size_: p.entry.Size, Blocks: span,
		Replicas: p.req.Replicas, Price: price, Addrs: addrs}
	res, err := p.opts.Account.post(ctx, func(until int64) error {
		p.entry.Order, p.entry.Until, p.entry.Acknowledged = 0, until, 0
		return p.catalogue.save(&p.entry)
	}, msg)
	if err != nil {
		return marketapi.Order{}, wrap(KindRefused, "placing the order", err)
	}
	var placed marketapi.MsgPlaceOrderResponse
	if err := res.Response(0, &placed); err != nil {
		return marketapi.Order{}, err
	}
	p.entry.Order, p.entry.Until = placed.Id, 0
	if err := p.catalogue.save(&p.entry); err != nil {
		return marketapi.Order{}, err
	}
	r, err := p.chain.Market.Order(ctx, &marketapi.QueryOrderRequest{Id: placed.Id})
	if err != nil {
		return marketapi.Order{}, err
	}
	return r.Order, nil
}

// offer finds the price. Operators that have joined but show no room yet, or a network that has only begun, are given a little time.
func (p *put) offer(ctx context.Context) (uint64, error) {
	const begun = 100 // blocks
	for deadline := time.Now().Add(offerFor); ; {
		price, err := p.chain.price(ctx, p.entry.Size, p.req.Replicas)
		if !IsKind(err, KindBusy) || time.Now().After(deadline) {
			return price, err
		}
		height, e := p.chain.Latest(ctx)
		if e != nil {
			return 0, e
		}
		nodes, e := p.chain.activeNodes(ctx)
		if e != nil {
			return 0, e
		}
		if height > begun && len(nodes) < int(p.req.Replicas) {
			return 0, err
		}
		p.opts.Progress(Progress{Stage: StageOffer})
		if e := p.chain.Wait(ctx, height+1); e != nil {
			return 0, e
		}
	}
}

// acknowledged watches an order, block by block, until all its replicas are proven, and notes that in the catalogue.
func (p *put) acknowledged(ctx context.Context, order marketapi.Order) (marketapi.Order, error) {
	for {
		height, err := p.chain.Latest(ctx)
		if err != nil {
			height = 0
		}
		r, err := p.chain.Market.Order(AtHeight(ctx, height), &marketapi.QueryOrderRequest{Id: order.Id})
		switch {
		case IsKind(err, KindNetwork) && ctx.Err() == nil: // the node may come back; Wait below bears it for a while
		case err != nil:
			return order, err
		case r.Order.Closed || r.Order.End <= height:
			return order, &Error{Kind: KindRefused, What: fmt.Sprintf("order %d ended at block %d before all its replicas were proven", order.Id, height), Hint: "put it again"}
		default:
			order = r.Order
			if proven := p.report(r); proven >= order.Replicas {
				if p.entry.Acknowledged == 0 {
					p.entry.Acknowledged, p.entry.Replicas = height, order.Replicas
				}
				return order, p.catalogue.save(&p.entry)
			}
		}
		if err := p.chain.Wait(ctx, height+1); err != nil {
			return order, err
		}
	}
}

// report tells the progress and returns how many replicas are proven.
func (p *put) report(r *marketapi.QueryOrderResponse) uint32 {
	now := Progress{Stage: StageSend, Order: r.Order.Id, Replicas: r.Order.Replicas, Total: r.Order.Size_ * uint64(r.Order.Replicas)}
	for _, rep := range r.Replicas {
		now.Accepted++
		if rep.Proven {
			now.Proven++
		}
	}
	if p.store != nil {
		now.Done = min(p.store.sent.Load(), now.Total)
	}
	// Holders also fetch from each other, and a resumed put has sent before: what is proven has arrived.
	now.Done = max(now.Done, uint64(now.Proven)*r.Order.Size_)
	p.opts.Progress(now)
	return now.Proven
}
