package worker

import (
	"bytes"
	"context"
	crand "crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	blocks "github.com/ipfs/go-block-format"
	"github.com/ipfs/go-cid"
	"github.com/libp2p/go-libp2p/core/crypto"
	"github.com/multiformats/go-multihash"
	"google.golang.org/grpc"

	"github.com/cella-network/cella/api/market"
	"github.com/cella-network/cella/api/moderation"
	"github.com/cella-network/cella/content"
	"github.com/cella-network/cella/protocol/storageproof"
)

// shelf is a chain's published lists and a network that sends their files, or doesn't.
type shelf struct {
	moderation.QueryClient
	mu    sync.Mutex
	lists map[string]moderation.List
	files map[cid.Cid]string
	reads int
}

func newShelf() *shelf {
	return &shelf{lists: map[string]moderation.List{}, files: map[cid.Cid]string{}}
}

func rawCID(text string) cid.Cid {
	mh, err := multihash.Sum([]byte(text), multihash.SHA2_256, -1)
	if err != nil {
		panic(err)
	}
	return cid.NewCidV1(cid.Raw, mh)
}

// publish puts a version on chain; its file can be had once send is called.
func (s *shelf) publish(name, text string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	hash := sha256.Sum256([]byte(text))
	s.lists[name] = moderation.List{Sequence: s.lists[name].Sequence + 1, Sha256: hash[:], Cid: rawCID(text).Bytes(), Size_: uint64(len(text))}
}

// send makes the network send text as the file of that name.
func (s *shelf) send(file, text string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.files[rawCID(file)] = text
}

func (s *shelf) withdraw(name string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.lists, name)
}

func (s *shelf) List(_ context.Context, r *moderation.QueryListRequest, _ ...grpc.CallOption) (*moderation.QueryListResponse, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	l, ok := s.lists[r.Publisher+"/"+r.Name]
	if !ok {
		return nil, errors.New("no such list")
	}
	return &moderation.QueryListResponse{List: l}, nil
}

func (s *shelf) read(_ context.Context, root cid.Cid, _ []string, limit int64) ([]byte, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.reads++
	text, ok := s.files[root]
	if !ok {
		return nil, context.DeadlineExceeded
	}
	return []byte(text), nil
}

// nobody holds anything.
type nobody struct{ market.QueryClient }

func (nobody) Orders(context.Context, *market.QueryOrdersRequest, ...grpc.CallOption) (*market.QueryOrdersResponse, error) {
	return &market.QueryOrdersResponse{}, nil
}

func (s *shelf) source(c Chain) ListSource {
	return ListSource{Chain: c, Lists: s, Queries: Queries{Market: nobody{}}, Read: s.read}
}

func deny(texts ...string) string {
	var b strings.Builder
	for _, t := range texts {
		fmt.Fprintf(&b, "/ipfs/%s\n", rawCID(t))
	}
	return b.String()
}

// lists is an operator's home with its configuration.
type lists struct {
	*Denylists
	t   *testing.T
	log *journal
}

func openLists(t *testing.T, dir string, cfg ModerationConfig) lists {
	t.Helper()
	var j journal
	d, err := NewDenylists(cfg, dir, slog.New(slog.NewTextHandler(&j, nil)))
	if err != nil {
		t.Fatal(err)
	}
	return lists{d, t, &j}
}

func (l lists) are(what string, open bool, denied ...string) {
	l.t.Helper()
	if l.Open() != open {
		l.t.Errorf("%s: open is %v", what, l.Open())
	}
	for _, text := range []string{"a", "b", "c"} {
		if want := slices.Contains(denied, text); l.Denies(rawCID(text)) != want {
			l.t.Errorf("%s: %q denied: %v, want %v", what, text, !want, want)
		}
	}
}

func TestListsAreLoadedBeforeAnythingIsServed(t *testing.T) {
	s := newShelf()
	from := s.source(nil)
	openLists(t, t.TempDir(), ModerationConfig{}).are("no list", true)

	l := openLists(t, t.TempDir(), ModerationConfig{Lists: []string{"x/spam", "y/spam"}})
	l.are("before the first look", false)
	if l.look(t.Context(), from) {
		t.Error("fine without a list")
	}
	l.are("not published", false)
	if !l.log.says("NO CONTENT IS SERVED") || !l.log.says("hint=") {
		t.Error("nobody was told")
	}
	s.publish("x/spam", deny("a"))
	s.send(deny("a"), deny("a"))
	s.publish("y/spam", deny("b"))
	l.look(t.Context(), from)
	l.are("one of two", false)
	s.send(deny("b"), deny("b"))
	if !l.look(t.Context(), from) {
		t.Error("not fine")
	}
	l.are("both", true, "a", "b")
	if before := s.reads; !l.look(t.Context(), from) || s.reads != before {
		t.Error("loaded again though nothing changed")
	}
}

// What the network sends in the place of a list is held against the hash on chain, and so is what lies on the disk.
func TestAnotherFileIsNoList(t *testing.T) {
	s, dir := newShelf(), t.TempDir()
	l := openLists(t, dir, ModerationConfig{Lists: []string{"x/spam"}})
	s.publish("x/spam", deny("a"))
	s.send(deny("a"), deny("b"))
	l.look(t.Context(), s.source(nil))
	l.are("another file", false)
	if left, _ := os.ReadDir(dir); len(left) != 0 {
		t.Errorf("kept: %v", left)
	}
	s.send(deny("a"), deny("a"))
	l.look(t.Context(), s.source(nil))
	l.are("the file", true, "a")

	hash := sha256.Sum256([]byte(deny("a")))
	path := filepath.Join(dir, hex.EncodeToString(hash[:])+".deny")
	if err := os.WriteFile(path, []byte(deny("c")), 0o600); err != nil {
		t.Fatal(err)
	}
	l = openLists(t, dir, ModerationConfig{Lists: []string{"x/spam"}})
	l.look(t.Context(), s.source(nil))
	l.are("damaged on disk, fetched again", true, "a")
	l = openLists(t, dir, ModerationConfig{Lists: []string{"x/spam"}})
	before := s.reads
	l.look(t.Context(), s.source(nil))
	l.are("from the disk", true, "a")
	if s.reads != before {
		t.Error("fetched again")
	}
}

// The version that is there stays in force until the new one is, over a restart too, and whatever its publisher does.
func TestOldVersionStaysInForce(t *testing.T) {
	s, dir, cfg := newShelf(), t.TempDir(), ModerationConfig{Lists: []string{"x/spam"}}
	mine := filepath.Join(dir, "mine.deny")
	if err := os.WriteFile(mine, []byte("keep"), 0o600); err != nil {
		t.Fatal(err)
	}
	l := openLists(t, dir, cfg)
	s.publish("x/spam", deny("a"))
	s.send(deny("a"), deny("a"))
	l.look(t.Context(), s.source(nil))
	l.are("first", true, "a")

	s.publish("x/spam", deny("b"))
	if l.look(t.Context(), s.source(nil)) {
		t.Error("fine without the new version")
	}
	l.are("the new one can't be had", true, "a")
	if !l.log.says("the version before stays in force") {
		t.Error("nobody was told")
	}
	l = openLists(t, dir, cfg)
	l.look(t.Context(), s.source(nil))
	l.are("after a restart", true, "a")

	s.send(deny("b"), deny("b"))
	l.look(t.Context(), s.source(nil))
	l.are("the new one came", true, "b")

	s.publish("x/spam", "version: 7\n---\n")
	s.send("version: 7\n---\n", "version: 7\n---\n")
	l.look(t.Context(), s.source(nil))
	l.are("one that can't be read", true, "b")

	s.withdraw("x/spam")
	l.look(t.Context(), s.source(nil))
	l.are("withdrawn", true, "b")
	l = openLists(t, dir, cfg)
	l.look(t.Context(), s.source(nil))
	l.are("withdrawn, after a restart", true, "b")

	stored, missing, err := StoredDenylists(cfg, dir)
	if err != nil || len(missing) != 0 || len(stored) != 1 || stored[0].From != "x/spam" || stored[0].Rules != 1 {
		t.Errorf("%+v, missing %v, %v", stored, missing, err)
	}
	left, err := os.ReadDir(dir)
	if err != nil || len(left) != 3 {
		t.Errorf("%v (%v): want mine, the state and one list", left, err)
	}
}

func TestOwnFiles(t *testing.T) {
	s, path := newShelf(), filepath.Join(t.TempDir(), "own.deny")
	cfg := ModerationConfig{Lists: []string{"x/spam"}, Files: []string{path}}
	l := openLists(t, t.TempDir(), cfg)
	s.publish("x/spam", deny("a", "b"))
	s.send(deny("a", "b"), deny("a", "b"))
	write := func(text string) {
		t.Helper()
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		l.look(t.Context(), s.source(nil))
	}
	l.look(t.Context(), s.source(nil))
	l.are("the own one is missing", false)
	write(deny("c") + "!" + deny("a"))
	l.are("an own list may allow what a published one denies", true, "b", "c")
	write(deny("c"))
	l.are("changed while running", true, "a", "b", "c")
	write("a: [\n---\n")
	l.are("broken while running", true, "a", "b", "c")
	if _, err := NewDenylists(ModerationConfig{Files: []string{"own.deny"}}, "", nil); err == nil {
		t.Error("a path that depends on the working folder was taken")
	}
	for _, name := range []string{"", "x", "x/", "/y", "x/y/z"} {
		if _, err := NewDenylists(ModerationConfig{Lists: []string{name}}, "", nil); err == nil {
			t.Errorf("%q was taken", name)
		}
	}
}

// startDenied is start with deny lists, behind whose gate the content is.
func (o *operator) startDenied(d *Denylists, s *shelf) {
	o.t.Helper()
	o.content = newGated(o.t, o.store, d)
	ctx, cancel := context.WithCancel(context.Background())
	w := New(Options{
		ChainID: testChain, Address: o.address, Account: o.account, Dir: o.dir, Platform: bytes.Repeat([]byte{o.account[0]}, 32),
		Config: Config{Disk: DiskConfig{Sectors: o.quota}, Ask: AskConfig{Price: 10, MaxSize: 1 << 30}},
		Chain:  o.chain, Queries: o.chain.queries(), Poster: o.chain, Content: o.content, Store: o.store, Deny: d,
		Start: startInside, Log: slog.New(slog.NewTextHandler(&o.log, nil)),
	})
	var running sync.WaitGroup
	running.Go(func() {
		if err := w.Run(ctx); err != nil {
			o.t.Error(err)
		}
	})
	running.Go(func() {
		if err := d.Run(ctx, s.source(o.chain)); err != nil {
			o.t.Error(err)
		}
	})
	o.stop = sync.OnceFunc(func() { cancel(); running.Wait() })
	o.t.Cleanup(o.stop)
}

func newGated(t *testing.T, store *Store, d *Denylists) *content.Node {
	key, _, err := crypto.GenerateEd25519Key(crand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	n, err := content.New(context.Background(), content.Config{Identity: key, Store: store, Gate: d, Listen: []string{"/ip4/127.0.0.1/tcp/0"}, Loopback: true})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { n.Close() })
	return n
}

// refuses holds that an operator does not send a file.
func (o *operator) refuses(f file) {
	o.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Second)
	defer cancel()
	_, err := newContent(o.t, nil).Fetch(ctx, content.FetchOptions{Root: f.root, From: o.content.Addrs(), Limit: f.size,
		Visit: func(blocks.Block) error { return nil }})
	if !errors.Is(err, context.DeadlineExceeded) {
		o.t.Errorf("%v, want no answer", err)
	}
}

// A node with lists reports from the start, serves and takes orders once they are there, and from then on neither takes nor serves what
// they deny; what it holds already stays proven.
func TestDeniedOrders(t *testing.T) {
	c := newFakeChain(t)
	o, owner, s := newOperator(t, c, 1, 8), newOwner(t, c), newShelf()
	d := openLists(t, t.TempDir(), ModerationConfig{Lists: []string{"x/spam"}}).Denylists
	o.startDenied(d, s)
	o.stands("reports go on without lists", func(st storageproof.Standing) bool { return st.Counter > 2 && st.Free > 0 })
	bad, good := owner.order(100_000, 1), owner.order(100_000, 1)
	if look(c, func() int { return len(c.replicas[bad.order]) + len(c.replicas[good.order]) }) != 0 {
		t.Error("an order was taken before the lists were there")
	}
	text := fmt.Sprintf("/ipfs/%s\n", bad.root)
	s.publish("x/spam", text)
	s.send(text, text)
	o.proves(good.order)
	o.serves(good)
	last := owner.order(100_000, 1)
	o.proves(last.order)
	if look(c, func() int { return len(c.replicas[bad.order]) }) != 0 {
		t.Error("a denied order was taken")
	}

	text += fmt.Sprintf("/ipfs/%s\n", good.root)
	s.publish("x/spam", text)
	s.send(text, text)
	c.eventually("the new version is in force", func() bool { return d.Denies(good.root) })
	if err := owner.store.DeleteBlock(t.Context(), good.root); err != nil { // the DHT would lead there
		t.Fatal(err)
	}
	o.refuses(good)
	o.serves(last)
	at := look(c, func() uint64 { return c.standing(o.account).Counter })
	o.stands("reports go on", func(st storageproof.Standing) bool { return st.Counter > at+2 })
	if !look(c, func() bool { return c.replicas[good.order][o.address].Proven }) {
		t.Error("a held order was let go")
	}
	c.eventually("the operator is told", func() bool { return o.log.says("a held order is denied") })
}

// A part of a denied file is denied with it, and so is what was accepted before the lists said so.
func TestAllowed(t *testing.T) {
	s := newShelf()
	l := openLists(t, t.TempDir(), ModerationConfig{Lists: []string{"x/spam"}})
	d := &dealer{session: &session{Worker: New(Options{Deny: l.Denylists})}}
	root, of := rawCID("c").Bytes(), rawCID("a").Bytes()
	if err := d.allowed(market.Order{Root: root}); !errors.Is(err, errListsMissing) || errors.Is(err, errHopeless) {
		t.Errorf("%v, want to wait for the lists", err)
	}
	s.publish("x/spam", deny("a"))
	s.send(deny("a"), deny("a"))
	l.look(t.Context(), s.source(nil))
	for _, o := range []market.Order{{Root: of}, {Root: root, Of: of}} {
		if err := d.allowed(o); !errors.Is(err, errHopeless) {
			t.Errorf("%v, want %v", err, errHopeless)
		}
	}
	if err := d.allowed(market.Order{Root: root, Of: root}); err != nil {
		t.Error(err)
	}
	d = &dealer{session: &session{Worker: New(Options{})}}
	if err := d.allowed(market.Order{Root: of}); err != nil {
		t.Error(err)
	}
}
