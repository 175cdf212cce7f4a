package worker

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"github.com/ipfs/go-cid"

	"github.com/cella-network/cella/api/attest"
	"github.com/cella-network/cella/api/market"
	"github.com/cella-network/cella/api/moderation"
	"github.com/cella-network/cella/content/denylist"
)

const (
	denyEvery    = 10           // blocks between looks at the chain and at the operator's own files
	denyPatience = time.Minute  // for a list to arrive, and a second more for each
	denyPace     = 256 << 10    // bytes
	maxDenyFile  = 256 << 20    // bytes; a published list may be no longer than the chain says either
	denyState    = "lists.json" // in the folder of lists: which version of each was in force last
)

// ListName is a deny list that is published on chain: whose, and under which name.
type ListName struct{ Publisher, Name string }

func (n ListName) String() string { return n.Publisher + "/" + n.Name }

// ParseListName reads ADDRESS/NAME.
func ParseListName(s string) (ListName, error) {
	publisher, name, ok := strings.Cut(s, "/")
	if !ok || publisher == "" || name == "" || strings.Contains(name, "/") {
		return ListName{}, fmt.Errorf("%q is no published list: want ADDRESS/NAME", s)
	}
	return ListName{publisher, name}, nil
}

// Denylists are the deny lists that an operator opted in to. Until each of them is there once, nothing is served; then the versions that
// are there stay in force until newer ones are. A nil Denylists denies nothing. It is safe for concurrent use.
type Denylists struct {
	dir   string
	files []string
	lists []ListName
	log   *slog.Logger

	set   atomic.Pointer[denylist.Set] // in force; nil until all are there
	heard atomic.Pointer[denylist.Set] // the set against which held orders were looked at last

	// Of the goroutine that loads:
	loaded map[string]version // by file or list
	told   map[string]string  // the last trouble with each, so that it is logged once
}

// version is one state of a list.
type version struct {
	hash [sha256.Size]byte
	list *denylist.List
}

// NewDenylists reads the configuration; dir is the folder of lists that were fetched. It loads nothing yet.
func NewDenylists(cfg ModerationConfig, dir string, log *slog.Logger) (*Denylists, error) {
	d := &Denylists{dir: dir, files: cfg.Files, log: log, loaded: map[string]version{}, told: map[string]string{}}
	for _, path := range cfg.Files {
		if !filepath.IsAbs(path) {
			return nil, fmt.Errorf("moderation: files: %q is no absolute path", path)
		}
	}
	for _, s := range cfg.Lists {
		n, err := ParseListName(s)
		if err != nil {
			return nil, fmt.Errorf("moderation: lists: %w", err)
		}
		d.lists = append(d.lists, n)
	}
	if len(d.files)+len(d.lists) == 0 {
		d.set.Store(&denylist.Set{})
	}
	return d, nil
}

// Open tells whether every list is in force, so that content may be served.
func (d *Denylists) Open() bool { return d == nil || d.set.Load() != nil }

// Denies tells whether a list that is in force denies a block.
func (d *Denylists) Denies(c cid.Cid) bool {
	if d == nil {
		return false
	}
	set := d.set.Load()
	return set != nil && set.Denies(c)
}

// deniesRoot is Denies for a binary CID; empty ones and others that make no sense are nobody's business here.
func (d *Denylists) deniesRoot(root []byte) bool {
	c, err := cid.Cast(root)
	return err == nil && d.Denies(c)
}

// ListSource is where lists come from: what is published, and files of the network by their root.
type ListSource struct {
	Chain   Chain
	Lists   moderation.QueryClient
	Queries Queries // who holds a file
	// Read returns a file of at most limit bytes, asking the peers at the multiaddrs from first.
	Read func(ctx context.Context, root cid.Cid, from []string, limit int64) ([]byte, error)
}

// Run keeps the lists up to date until ctx ends. Trouble with them never ends it.
func (d *Denylists) Run(ctx context.Context, from ListSource) error {
	for wait := againLeast; len(d.files)+len(d.lists) > 0; {
		if d.look(ctx, from) {
			wait = againLeast
			if height, err := from.Chain.Latest(ctx); err == nil && from.Chain.Wait(ctx, height+denyEvery) == nil {
				continue
			}
		}
		if pause(ctx, wait) != nil {
			return nil
		}
		wait = min(2*wait, againMost)
	}
	return nil
}

// look takes up what changed and tells whether all lists are as they should be.
func (d *Denylists) look(ctx context.Context, from ListSource) bool {
	before, err := readDenyState(d.dir)
	if err != nil {
		d.log.Warn("deny lists: what was in force before is unknown", "err", err)
		before = map[string]denyRecord{}
	}
	var set denylist.Set
	fine, missing, changed := true, 0, false
	take := func(name string, load func(context.Context) (version, error)) {
		had, is := d.loaded[name]
		v, err := load(ctx)
		if ctx.Err() != nil {
			fine, missing = false, missing+1
			return
		}
		if err != nil {
			fine = false
			if !is { // the version that was in force before the last stop stays in force
				if had, is = d.last(before[name]); is {
					d.loaded[name], changed = had, true
				}
			}
			if !is {
				missing++
			}
			d.trouble(name, err, is)
			v = had
		} else if delete(d.told, name); !is || v.hash != had.hash {
			d.loaded[name], changed = v, true
			d.tellLoaded(name, v)
		}
		set = append(set, denylist.Named{From: name, List: v.list})
	}
	for _, path := range d.files {
		take(path, func(context.Context) (version, error) { return d.ownFile(path) })
	}
	for _, n := range d.lists {
		take(n.String(), func(ctx context.Context) (version, error) { return d.published(ctx, from, n) })
	}
	if missing == 0 && (changed || d.set.Load() == nil) {
		d.set.Store(&set)
		d.log.Info("deny lists in force", "lists", len(set))
		if err := d.remember(); err != nil {
			d.log.Warn("deny lists: which are in force could not be noted", "err", err)
		}
	}
	return fine
}

// trouble logs what keeps a list from being up to date, once.
func (d *Denylists) trouble(name string, err error, inForce bool) {
	if d.told[name] == err.Error() {
		return
	}
	d.told[name] = err.Error()
	if inForce {
		d.log.Warn("deny list not up to date; the version before stays in force", told(err, "list", name)...)
		return
	}
	d.log.Error("deny list missing; NO CONTENT IS SERVED and no order is taken until it is there, draws and reports go on", told(err, "list", name,
		"hint", "is it published and still stored? cella moderation list shows it; to do without it take it out of [moderation] in config/cella.toml and restart")...)
}

// tellLoaded says what a list does, and which of its lines do nothing here.
func (d *Denylists) tellLoaded(name string, v version) {
	d.log.Info("deny list loaded", "list", name, "sha256", hex.EncodeToString(v.hash[:]), "rules", v.list.Rules)
	if v.list.Passed > 0 {
		first := v.list.Skipped[0]
		d.log.Warn("deny list has lines that deny nothing here", "list", name, "lines", v.list.Passed, "first", first.Line, "why", first.Why)
	}
}

// ownFile loads a list of the operator's own.
func (d *Denylists) ownFile(path string) (version, error) {
	b, err := os.ReadFile(path)
	if err != nil {
		return version{}, err
	}
	return d.parse(path, b)
}

// parse makes a version of a file, or finds that it is the one that is loaded.
func (d *Denylists) parse(name string, b []byte) (version, error) {
	v := version{hash: sha256.Sum256(b)}
	if had, ok := d.loaded[name]; ok && had.hash == v.hash {
		return had, nil
	}
	var err error
	v.list, err = denylist.Parse(b)
	return v, err
}

// published loads the version of a list that stands on chain.
func (d *Denylists) published(ctx context.Context, from ListSource, n ListName) (version, error) {
	r, err := from.Lists.List(ctx, &moderation.QueryListRequest{Publisher: n.Publisher, Name: n.Name})
	if err != nil {
		return version{}, err
	}
	l := r.List
	if len(l.Sha256) != sha256.Size || l.Size_ > maxDenyFile {
		return version{}, fmt.Errorf("version %d has %d bytes, at most %d", l.Sequence, l.Size_, maxDenyFile)
	}
	want := [sha256.Size]byte(l.Sha256)
	if had, ok := d.loaded[n.String()]; ok && had.hash == want {
		return had, nil
	}
	b, err := d.cached(want)
	if err != nil {
		if b, err = d.fetch(ctx, from, l, want); err != nil {
			return version{}, fmt.Errorf("version %d: %w", l.Sequence, err)
		}
	}
	v, err := d.parse(n.String(), b)
	if err != nil {
		return version{}, fmt.Errorf("version %d: %w", l.Sequence, err)
	}
	return v, nil
}

// fetch brings a list from the network and keeps it, unless it is another file than the chain says.
func (d *Denylists) fetch(ctx context.Context, from ListSource, l moderation.List, want [sha256.Size]byte) ([]byte, error) {
	root, err := cid.Cast(l.Cid)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, denyPatience+time.Duration(l.Size_/denyPace)*time.Second)
	defer cancel()
	b, err := from.Read(ctx, root, from.holders(ctx, l.Cid), int64(l.Size_))
	if errors.Is(err, context.DeadlineExceeded) {
		err = fmt.Errorf("nobody sends %s", root)
	}
	if err != nil {
		return nil, err
	}
	if got := sha256.Sum256(b); got != want {
		return nil, fmt.Errorf("the file under %s has SHA-256 %x, the chain says %x", root, got, want)
	}
	if err := os.MkdirAll(d.dir, 0o700); err != nil {
		return nil, err
	}
	return b, writeWhole(d.cachePath(want), b)
}

// holders are addresses of operators that have proven the file. Without any the DHT may still know somebody.
func (from ListSource) holders(ctx context.Context, root []byte) (addrs []string) {
	orders, err := from.Queries.Market.Orders(ctx, &market.QueryOrdersRequest{Root: root})
	if err != nil {
		return nil
	}
	for _, o := range orders.Orders {
		if o.Closed {
			continue
		}
		q, err := from.Queries.Market.Order(ctx, &market.QueryOrderRequest{Id: o.Id})
		if err != nil {
			continue
		}
		for _, r := range q.Replicas {
			if n, err := from.Queries.Attest.Node(ctx, &attest.QueryNodeRequest{Operator: r.Operator}); err == nil && r.Proven && len(addrs) < 2*maxAddrs {
				addrs = append(addrs, n.Node.Addrs...)
			}
		}
		addrs = append(addrs, o.Addrs...)
	}
	return addrs
}

func (d *Denylists) cachePath(hash [sha256.Size]byte) string {
	return filepath.Join(d.dir, hex.EncodeToString(hash[:])+".deny")
}

// cached reads a list that was fetched before. A damaged file is none.
func (d *Denylists) cached(hash [sha256.Size]byte) ([]byte, error) {
	b, err := os.ReadFile(d.cachePath(hash))
	if err == nil && sha256.Sum256(b) != hash {
		err = errors.New("damaged")
	}
	return b, err
}

// last loads the version of a published list that was in force before the last stop.
func (d *Denylists) last(r denyRecord) (version, bool) {
	h, err := hex.DecodeString(r.SHA256)
	if err != nil || len(h) != sha256.Size {
		return version{}, false
	}
	b, err := d.cached([sha256.Size]byte(h))
	if err != nil {
		return version{}, false
	}
	l, err := denylist.Parse(b)
	return version{hash: [sha256.Size]byte(h), list: l}, err == nil
}

// denyRecord is what lists.json says of a published list.
type denyRecord struct {
	SHA256 string `json:"sha256"`
}

func readDenyState(dir string) (map[string]denyRecord, error) {
	out := map[string]denyRecord{}
	b, err := os.ReadFile(filepath.Join(dir, denyState))
	if errors.Is(err, fs.ErrNotExist) {
		return out, nil
	}
	if err == nil {
		err = json.Unmarshal(b, &out)
	}
	return out, err
}

// remember notes which versions are in force and removes the files of others.
func (d *Denylists) remember() error {
	if len(d.lists) == 0 {
		return nil
	}
	state, keep := map[string]denyRecord{}, []string{}
	for _, n := range d.lists {
		v := d.loaded[n.String()]
		state[n.String()] = denyRecord{SHA256: hex.EncodeToString(v.hash[:])}
		keep = append(keep, filepath.Base(d.cachePath(v.hash)))
	}
	b, err := json.MarshalIndent(state, "", "  ")
	if err != nil {
		return err
	}
	if err := writeWhole(filepath.Join(d.dir, denyState), append(b, '\n')); err != nil {
		return err
	}
	entries, err := os.ReadDir(d.dir)
	if err != nil {
		return err
	}
	for _, e := range entries {
		name, ours := strings.CutSuffix(e.Name(), ".deny")
		if _, err := hex.DecodeString(name); err != nil || len(name) != 2*sha256.Size {
			ours = false // whoever put it there wants it
		}
		if ours && !slices.Contains(keep, e.Name()) {
			err = errors.Join(err, os.Remove(filepath.Join(d.dir, e.Name())))
		}
	}
	return err
}

// writeWhole makes path hold b or what it held before.
func writeWhole(path string, b []byte) error {
	f, err := os.CreateTemp(filepath.Dir(path), ".new-*")
	if err != nil {
		return err
	}
	defer os.Remove(f.Name())
	_, err = f.Write(b)
	if err == nil {
		err = f.Sync()
	}
	if e := f.Close(); err == nil {
		err = e
	}
	if err == nil {
		err = os.Rename(f.Name(), path)
	}
	return err
}

// StoredDenylist is a list of a node's home: its file is Path.
type StoredDenylist struct {
	denylist.Named
	Path string
}

// StoredDenylists loads what a node's home has: the operator's own files, and of published lists the versions in force. Lists that aren't
// there are named in missing.
func StoredDenylists(cfg ModerationConfig, dir string) (lists []StoredDenylist, missing []string, err error) {
	d, err := NewDenylists(cfg, dir, slog.New(slog.DiscardHandler))
	if err != nil {
		return nil, nil, err
	}
	state, err := readDenyState(dir)
	if err != nil {
		return nil, nil, err
	}
	for _, path := range d.files {
		v, err := d.ownFile(path)
		if err != nil {
			missing = append(missing, fmt.Sprintf("%s: %v", path, err))
			continue
		}
		lists = append(lists, StoredDenylist{denylist.Named{From: path, List: v.list}, path})
	}
	for _, n := range d.lists {
		v, ok := d.last(state[n.String()])
		if !ok {
			missing = append(missing, n.String()+": the node has not loaded it yet")
			continue
		}
		lists = append(lists, StoredDenylist{denylist.Named{From: n.String(), List: v.list}, d.cachePath(v.hash)})
	}
	return lists, missing, nil
}

// errListsMissing keeps orders waiting that were accepted before.
var errListsMissing = errors.New("the deny lists are not there yet")

// wanted tells whether the operator's lists let an order be taken.
func (d *dealer) wanted(o market.Order) bool { return d.allowed(o) == nil }

// allowed says why an order can't be fetched: for good if a list denies its root, or the file of which it stores a part.
func (d *dealer) allowed(o market.Order) error {
	switch {
	case !d.Deny.Open():
		return errListsMissing
	case d.Deny.deniesRoot(o.Root) || d.Deny.deniesRoot(o.Of):
		return fmt.Errorf("%w: a deny list denies it", errHopeless)
	}
	return nil
}

// tellDenied logs the held orders that the lists deny since they changed. They stay, for to drop them would cost their collateral, but
// nobody is served and audits of them fail.
func (d *dealer) tellDenied() {
	if d.Deny == nil {
		return
	}
	set := d.Deny.set.Load()
	if set == nil || d.Deny.heard.Swap(set) == set {
		return
	}
	for _, o := range d.held.list(complete, held) {
		if d.Deny.deniesRoot(o.Root) {
			d.Log.Warn("a held order is denied: it is proven until it ends, but not served", "order", o.ID)
		}
	}
}
