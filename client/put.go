package client

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"filippo.io/age"
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
	Price    uint64   // most to pay, in ucella per GiB-day and replica; 0: what enough operators ask now
	Encrypt  bool     // for the key in config/age.key
	To       []string // and for these recipients, age1..., or files of them; needs Encrypt
	CAR      bool     // Path is a CAR: the DAG under its root is stored as it is
	Code     string   // CodeAuto (also when empty), CodeNone, or a code such as 4+2: then there are no replicas
}

// PutResult is an acknowledged file.
type PutResult struct {
	Entry
	Escrow  uint64 // ucella that the orders still hold
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
	others, to, err := recipients(req.To)
	if err != nil {
		return PutResult{}, err
	}
	if len(to) > 0 && !req.Encrypt {
		return PutResult{}, &Error{Kind: KindUsage, What: "recipients of a file that is not encrypted", Hint: "add --encrypt"}
	}
	if _, err := parseCode(req.Code); err != nil {
		return PutResult{}, err
	}
	if req.CAR && req.Encrypt {
		return PutResult{}, &Error{Kind: KindUsage, What: "a CAR can't be encrypted: its blocks keep their CIDs", Hint: "leave --car or --encrypt away"}
	}
	p := &put{Client: c, req: req, others: others, to: to}
	defer p.release()
	res, err := p.run(ctx)
	if !p.ordered() {
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
	if err := p.spread(ctx); err != nil {
		return PutResult{}, err
	}
	if err := p.findOrders(ctx); err != nil {
		return PutResult{}, err
	}
	resumed := len(p.missing()) < len(p.parts)
	if err := p.host(ctx); err != nil {
		return PutResult{}, err
	}
	if len(p.missing()) > 0 {
		if err := p.place(ctx); err != nil {
			return PutResult{}, err
		}
	}
	if err := p.acknowledged(ctx); err != nil {
		return PutResult{}, err
	}
	p.close()
	// The network has it now; what lies here would only cost room.
	if err := os.RemoveAll(p.dir(putsDir, p.entry.Root)); err != nil {
		return PutResult{}, wrap(KindLocal, "removing local blocks", err)
	}
	out := PutResult{Entry: p.entry, Resumed: resumed}
	for _, a := range p.parts {
		out.Escrow += a.order.Escrow
	}
	return out, nil
}

// put is one running Put.
type put struct {
	*Client
	req   PutRequest
	entry Entry
	root  cid.Cid
	parts []*part

	others []string        // recipients beside oneself, as they are written, sorted
	to     []age.Recipient // the same

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
	if !p.ordered() {
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
		if p.entry.Name = filepath.Base(abs); p.req.CAR {
			p.entry.Name = strings.TrimSuffix(p.entry.Name, ".car")
		}
	}
	if p.req.Encrypt {
		p.entry.Source, p.entry.Recipients = abs, p.others
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
	importer := content.Import
	if p.req.CAR {
		importer = content.ImportCAR
	}
	res, err := importer(ctx, source, store, progress)
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
		if e.Chain != p.chain.ID || !e.Encrypted || e.Source != p.entry.Source || !slices.Equal(e.Recipients, p.others) {
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
	id, err := identity(p.keyPath())
	if err != nil {
		return "", err
	}
	f, err := os.OpenFile(dest, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if err != nil {
		return "", err
	}
	sum, err := encrypt(ctx, f, source, append([]age.Recipient{id.Recipient()}, p.to...), read)
	if e := f.Close(); err == nil {
		err = e
	}
	return sum, err
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
