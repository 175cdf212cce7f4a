package client

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	sdkmath "cosmossdk.io/math"
	codectypes "github.com/cosmos/cosmos-sdk/codec/types"
	sdk "github.com/cosmos/cosmos-sdk/types"
	txtypes "github.com/cosmos/cosmos-sdk/types/tx"
	banktypes "github.com/cosmos/cosmos-sdk/x/bank/types"
	"github.com/cosmos/gogoproto/proto"
	blocks "github.com/ipfs/go-block-format"
	"github.com/ipfs/go-cid"
	"github.com/libp2p/go-libp2p/core/crypto"

	"github.com/cella-network/cella/api/attest"
	marketapi "github.com/cella-network/cella/api/market"
	"github.com/cella-network/cella/api/work"
	"github.com/cella-network/cella/content"
	"github.com/cella-network/cella/content/coding"
)

// fakeMarket is the market of a fakeNode: every order is proven at once by an operator of its own, if prove says so.
type fakeMarket struct {
	t      *testing.T
	node   *fakeNode
	asks   []marketapi.Ask
	prove  bool
	orders []marketapi.Order
	addrs  map[string][]string // of operators
	placed int                 // transactions with orders
}

func newMarket(t *testing.T, operators int) (*fakeMarket, *Client) {
	n := newNode(t)
	m := &fakeMarket{t: t, node: n, prove: true, addrs: map[string][]string{}}
	for i := range operators {
		m.asks = append(m.asks, marketapi.Ask{Operator: string(rune('a' + i)), Price: uint64(10 + i), MaxSize: 1 << 40})
	}
	n.respond = m.execute
	handle(n, "market.v1.Query/Params", func(*marketapi.QueryParamsRequest) (proto.Message, error) {
		return &marketapi.QueryParamsResponse{Params: marketapi.Params{DayBlocks: 1000, MinBlocks: 10, MaxBlocks: 1_000_000, AcceptBlocks: 10, GraceBlocks: 10}}, nil
	})
	handle(n, "market.v1.Query/Asks", func(*marketapi.QueryAsksRequest) (proto.Message, error) {
		return &marketapi.QueryAsksResponse{Asks: m.asks}, nil
	})
	handle(n, "work.v1.Query/Standings", func(*work.QueryStandingsRequest) (proto.Message, error) {
		var out work.QueryStandingsResponse
		for _, a := range m.asks {
			out.Standings = append(out.Standings, work.Standing{Operator: a.Operator, Free: 1 << 40})
		}
		return &out, nil
	})
	handle(n, "work.v1.Query/Standing", func(*work.QueryStandingRequest) (proto.Message, error) {
		return &work.QueryStandingResponse{}, nil
	})
	handle(n, "attest.v1.Query/Nodes", func(*attest.QueryNodesRequest) (proto.Message, error) { return &attest.QueryNodesResponse{}, nil })
	handle(n, "attest.v1.Query/Node", func(r *attest.QueryNodeRequest) (proto.Message, error) {
		return &attest.QueryNodeResponse{Node: attest.Node{Operator: r.Operator, Addrs: m.addrs[r.Operator]}}, nil
	})
	handle(n, "market.v1.Query/Orders", m.list)
	handle(n, "market.v1.Query/Order", m.show)
	n.query["/cosmos.bank.v1beta1.Query/Balance"] = func([]byte) (proto.Message, error) {
		c := sdk.NewCoin(Denom, sdkmath.NewInt(1<<60))
		return &banktypes.QueryBalanceResponse{Balance: &c}, nil
	}
	a := testAccount(t, n)
	c := New(Options{Home: t.TempDir(), Chain: a.chain, Account: a, Listen: []string{"/ip4/127.0.0.1/tcp/0"}, Loopback: true})
	c.patience = 200 * time.Millisecond
	return m, c
}

// handle answers a query of one of the chain's own modules.
func handle[R any, P interface {
	*R
	proto.Message
}](n *fakeNode, path string, f func(P) (proto.Message, error)) {
	n.query["/cella."+path] = func(b []byte) (proto.Message, error) {
		req := P(new(R))
		if err := proto.Unmarshal(b, req); err != nil {
			return nil, err
		}
		return f(req)
	}
}

func (m *fakeMarket) list(r *marketapi.QueryOrdersRequest) (proto.Message, error) {
	var out marketapi.QueryOrdersResponse
	for _, o := range m.orders {
		if (r.Owner == "" || o.Owner == r.Owner) && (bytes.Equal(o.Root, r.Root) || bytes.Equal(o.Of, r.Root)) {
			out.Orders = append(out.Orders, o)
		}
	}
	return &out, nil
}

func (m *fakeMarket) show(r *marketapi.QueryOrderRequest) (proto.Message, error) {
	if r.Id == 0 || r.Id > uint64(len(m.orders)) {
		return nil, errors.New("no such order")
	}
	out := &marketapi.QueryOrderResponse{Order: m.orders[r.Id-1]}
	for i := range out.Order.Replicas {
		out.Replicas = append(out.Replicas, marketapi.Replica{Order: r.Id, Operator: m.asks[(int(r.Id)+int(i)-1)%len(m.asks)].Operator, Proven: m.prove})
	}
	return out, nil
}

func (m *fakeMarket) execute(body txtypes.TxBody) []byte {
	var data sdk.TxMsgData
	answer := func(r proto.Message) {
		v, err := codectypes.NewAnyWithValue(r)
		if err != nil {
			m.t.Error(err)
		}
		data.MsgResponses = append(data.MsgResponses, v)
	}
	for i, boxed := range body.Messages {
		switch boxed.TypeUrl {
		case "/cella.market.v1.MsgPlaceOrder":
			if i == 0 {
				m.placed++
			}
			var msg marketapi.MsgPlaceOrder
			if err := proto.Unmarshal(boxed.Value, &msg); err != nil {
				m.t.Error(err)
			}
			id := uint64(len(m.orders) + 1)
			m.orders = append(m.orders, marketapi.Order{Id: id, Owner: msg.Owner, Root: msg.Root, Of: msg.Of, Size_: msg.Size_, Replicas: msg.Replicas,
				Price: msg.Price, Start: m.node.height, End: 1 << 30, Addrs: msg.Addrs, Escrow: 5})
			answer(&marketapi.MsgPlaceOrderResponse{Id: id, Escrow: 5})
		case "/cella.market.v1.MsgEnd":
			var msg marketapi.MsgEnd
			if err := proto.Unmarshal(boxed.Value, &msg); err != nil {
				m.t.Error(err)
			}
			m.orders[msg.Order-1].Closed = true
			answer(&marketapi.MsgEndResponse{Refund: 2})
		}
	}
	b, err := proto.Marshal(&data)
	if err != nil {
		m.t.Error(err)
	}
	return b
}

func someFile(t *testing.T, size int) (path string, data []byte) {
	t.Helper()
	data = make([]byte, size)
	rand.Read(data)
	path = filepath.Join(t.TempDir(), "film")
	if err := os.WriteFile(path, data, 0o600); err != nil {
		t.Fatal(err)
	}
	return path, data
}

// A coded put places one order a shard, in one transaction, all of the same file; again, it pays nothing; rm ends them all.
func TestPutCoded(t *testing.T) {
	m, c := newMarket(t, 8)
	path, _ := someFile(t, 5_000_000)
	req := PutRequest{Path: path, Replicas: 3, Days: 1, Code: "4+2"}
	res, err := c.Put(t.Context(), req)
	if err != nil {
		t.Fatal(err)
	}
	if len(m.orders) != 6 || m.placed != 1 || res.Code != "4+2" || len(res.Shards) != 6 || res.Escrow != 30 || res.Resumed || res.Acknowledged == 0 {
		t.Fatalf("%d orders in %d transactions: %+v", len(m.orders), m.placed, res)
	}
	root, err := cid.Decode(res.Root)
	if err != nil {
		t.Fatal(err)
	}
	for i, o := range m.orders {
		if !bytes.Equal(o.Of, root.Bytes()) || o.Replicas != 1 || o.Price != 15 || o.Id != res.Shards[i].Order {
			t.Errorf("order %d: of %x, %d replicas at %d", o.Id, o.Of, o.Replicas, o.Price)
		}
	}
	again, err := c.Put(t.Context(), PutRequest{Path: path, Replicas: 3, Days: 1})
	if err != nil || !again.Resumed || again.Code != "4+2" || len(m.orders) != 6 {
		t.Fatalf("again: %+v, %v, %d orders", again, err, len(m.orders))
	}
	for _, other := range []string{CodeNone, "2+1"} {
		if _, err := c.Put(t.Context(), PutRequest{Path: path, Replicas: 3, Days: 1, Code: other}); !IsKind(err, KindUsage) {
			t.Errorf("code %s of what is coded otherwise: %v", other, err)
		}
	}

	// A shard whose order is over is ordered again, and that one alone.
	m.orders[2].Closed = true
	if again, err = c.Put(t.Context(), req); err != nil || len(m.orders) != 7 || !bytes.Equal(m.orders[6].Root, m.orders[2].Root) {
		t.Fatalf("a shard ended: %d orders, %v", len(m.orders), err)
	}
	if !again.Resumed || again.Shards[2].Order != 7 {
		t.Errorf("%+v", again)
	}

	gone, err := c.Remove(t.Context(), res.Name)
	if err != nil || len(gone.Ended) != 6 || gone.Refund != 12 {
		t.Fatalf("removed: %+v, %v", gone, err)
	}
	if slices.ContainsFunc(m.orders, func(o marketapi.Order) bool { return !o.Closed }) {
		t.Error("an order runs on")
	}
}

// A put that was killed after it sent its orders finds them, also when a block takes them late.
func TestPutCodedIsTakenUp(t *testing.T) {
	m, c := newMarket(t, 8)
	m.prove = false
	path, _ := someFile(t, 3_000_000)
	ctx, cancel := context.WithCancel(t.Context())
	c.opts.Progress = func(p Progress) {
		if p.Stage == StageSend {
			cancel()
		}
	}
	req := PutRequest{Path: path, Replicas: 3, Days: 1, Code: "2+1"}
	if _, err := c.Put(ctx, req); !IsKind(err, KindStopped) {
		t.Fatal(err)
	}
	// As if it had been killed before it saw the answer.
	all, err := c.List()
	if err != nil || len(all) != 1 || len(all[0].Shards) != 3 || all[0].Code != "2+1" {
		t.Fatalf("%+v, %v", all, err)
	}
	e := all[0]
	e.Order, e.Until = 0, m.node.height+5
	for i := range e.Shards {
		e.Shards[i].Order = 0
	}
	if err := c.catalogue.save(&e); err != nil {
		t.Fatal(err)
	}
	m.prove, c.opts.Progress = true, func(Progress) {}
	res, err := c.Put(t.Context(), PutRequest{Path: path, Replicas: 3, Days: 1})
	if err != nil || !res.Resumed || len(m.orders) != 3 || m.placed != 1 || res.Code != "2+1" || res.Order != 1 || res.Shards[2].Order != 3 {
		t.Fatalf("%+v, %v, %d orders", res, err, len(m.orders))
	}
}

// auto codes what is large if enough operators have room, one more than there are shards.
func TestCodeAuto(t *testing.T) {
	for _, tc := range []struct {
		operators int
		size      uint64
		asked     string
		want      coding.Code
	}{
		{20, codedFrom - 1, "", coding.Code{}},
		{20, codedFrom, CodeAuto, coding.Code{K: 8, M: 4}},
		{13, codedFrom, "", coding.Code{K: 8, M: 4}},
		{12, codedFrom, "", coding.Code{K: 4, M: 2}},
		{7, 1 << 40, "", coding.Code{K: 4, M: 2}},
		{6, 1 << 35, "", coding.Code{}},
		{20, 1 << 35, CodeNone, coding.Code{}},
		{3, 1000, "2+1", coding.Code{K: 2, M: 1}},
	} {
		_, c := newMarket(t, tc.operators)
		p := &put{Client: c, req: PutRequest{Code: tc.asked}, entry: Entry{Size: tc.size}}
		if got, err := p.choose(t.Context()); err != nil || got != tc.want {
			t.Errorf("%d operators, %d bytes, %q: %s, %v, want %s", tc.operators, tc.size, tc.asked, got, err, tc.want)
		}
	}
}

// A tree of tiny files is mostly index: auto leaves it in replicas, and who insists gets shards.
func TestCodeThatSavesNothing(t *testing.T) {
	_, c := newMarket(t, 20)
	dir := t.TempDir()
	for i := range 300 {
		if err := os.WriteFile(filepath.Join(dir, string(rune('a'+i%26))+string(rune('a'+i/26))), []byte{byte(i), byte(i >> 8), 1}, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	p := &put{Client: c, req: PutRequest{Path: dir, Replicas: 3, Days: 1}}
	defer p.release()
	if err := p.prepare(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := p.spread(t.Context()); err != nil || len(p.parts) != 1 {
		t.Fatalf("small: %d parts, %v", len(p.parts), err)
	}
	set, err := p.encode(t.Context(), coding.Code{K: 8, M: 4})
	if err != nil || set.Stored() < 3*p.entry.Size {
		t.Fatalf("%d bytes of %d: the tree is not what this test is about (%v)", set.Stored(), p.entry.Size, err)
	}
	p.req.Code = "8+4"
	if err := p.spread(t.Context()); err != nil || len(p.parts) != 12 {
		t.Fatalf("insisted: %d parts, %v", len(p.parts), err)
	}
}

// Two parts may have the same root only if they are told apart by their orders.
func TestMatch(t *testing.T) {
	root := func(s string) cid.Cid {
		c, err := cid.V1Builder{Codec: cid.Raw, MhType: 0x12}.Sum([]byte(s))
		if err != nil {
			t.Fatal(err)
		}
		return c
	}
	a, b := root("a"), root("b")
	orders := []marketapi.Order{
		{Id: 9, Root: a.Bytes(), Of: b.Bytes(), End: 100, Closed: true},
		{Id: 8, Root: a.Bytes(), Of: b.Bytes(), End: 10},
		{Id: 7, Root: a.Bytes(), End: 100},
		{Id: 6, Root: a.Bytes(), Of: b.Bytes(), End: 100},
		{Id: 5, Root: a.Bytes(), Of: b.Bytes(), End: 100},
		{Id: 4, Root: a.Bytes(), Of: a.Bytes(), End: 100},
	}
	parts := []*part{{root: a, of: b.Bytes()}, {root: a, of: b.Bytes()}, {root: a, of: b.Bytes()}, {root: a}}
	match(parts, orders, 10)
	for i, want := range []uint64{6, 5, 0, 7} {
		if parts[i].order.Id != want {
			t.Errorf("part %d has order %d, want %d", i, parts[i].order.Id, want)
		}
	}
}

func TestSets(t *testing.T) {
	proven := func(id uint64, owner string, n uint32) OrderStat {
		return OrderStat{ID: id, Owner: owner, Of: "f", End: 100, Proven: n}
	}
	s := Stat{Root: "f", Height: 50, Orders: []OrderStat{
		proven(1, "me", 1), proven(2, "me", 1), proven(3, "me", 0), proven(4, "you", 1),
		{ID: 5, Owner: "me", Of: "f", End: 50, Proven: 1}, {ID: 6, Owner: "me", Of: "f", End: 100, Closed: true}, {ID: 7, Owner: "me", End: 100, Proven: 3},
	}}
	got, err := sets(s, Entry{Code: "2+1", Manifest: "m", Shards: []ShardEntry{{Order: 1}, {Order: 2}, {Order: 3}}})
	want := []SetStat{{Owner: "me", Shards: 3, Proven: 2, Code: "2+1", Manifest: "m"}, {Owner: "you", Shards: 1, Proven: 1}}
	if err != nil || !slices.Equal(got, want) {
		t.Errorf("%+v, %v", got, err)
	}
}

// A reader gets the file from the shards' holders, and as long as K of them answer.
func TestGetCoded(t *testing.T) {
	m, c := newMarket(t, 3)
	path, data := someFile(t, 6_000_000)
	res, err := c.Put(t.Context(), PutRequest{Path: path, Replicas: 1, Days: 1, Code: "2+1"})
	if err != nil {
		t.Fatal(err)
	}
	store, err := content.OpenStore(filepath.Join(t.TempDir(), "all"))
	if err != nil {
		t.Fatal(err)
	}
	defer store.Close()
	imported, err := content.Import(t.Context(), path, store, nil)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := coding.Encode(t.Context(), store, imported.Root, coding.Code{K: 2, M: 1}, nil); err != nil {
		t.Fatal(err)
	}
	owner := hostNode(t, store)
	var nodes []*content.Node
	for i, s := range res.Shards {
		root, err := cid.Decode(s.Root)
		if err != nil {
			t.Fatal(err)
		}
		own, err := content.OpenStore(filepath.Join(t.TempDir(), "shard"))
		if err != nil {
			t.Fatal(err)
		}
		defer own.Close()
		n := hostNode(t, own)
		if _, err := n.Fetch(t.Context(), content.FetchOptions{Root: root, From: owner.Addrs(), Limit: s.Size, Visit: func(b blocks.Block) error { return own.Put(t.Context(), b) }}); err != nil {
			t.Fatal(err)
		}
		m.addrs[m.asks[i].Operator] = n.Addrs()
		nodes = append(nodes, n)
	}
	owner.Close()
	read := func(want bool) {
		t.Helper()
		out := filepath.Join(t.TempDir(), "back")
		got, err := c.Get(t.Context(), GetRequest{Ref: res.Root, Output: out})
		if err != nil {
			t.Fatal(err)
		}
		back, err := os.ReadFile(out)
		if err != nil || !bytes.Equal(back, data) || (got.Made > 0) != want {
			t.Errorf("%d bytes, %d blocks made (%v)", len(back), got.Made, err)
		}
	}
	read(false)
	nodes[1].Close()
	read(true)
}

func hostNode(t *testing.T, store *content.Store) *content.Node {
	t.Helper()
	key, _, err := crypto.GenerateEd25519Key(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	n, err := content.New(t.Context(), content.Config{Identity: key, Store: store, Listen: []string{"/ip4/127.0.0.1/tcp/0"}, Loopback: true})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { n.Close() })
	return n
}
