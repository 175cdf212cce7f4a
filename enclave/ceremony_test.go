package enclave

import (
	"bytes"
	"crypto/ed25519"
	"testing"

	"cosmossdk.io/log/v2"
	cmted25519 "github.com/cometbft/cometbft/crypto/ed25519"
	"github.com/cometbft/cometbft/types"
	dbm "github.com/cosmos/cosmos-db"
	"github.com/cosmos/cosmos-sdk/store/v2/rootmulti"
	storetypes "github.com/cosmos/cosmos-sdk/store/v2/types"

	"github.com/cella-network/cella/enclave/tee"
	"github.com/cella-network/cella/enclave/wire"
	"github.com/cella-network/cella/protocol/threshold"
)

const purpose = "beacon"

// circle is two enclaves of one chain that hold a key between them.
type circle struct {
	*storeChain
	nodes []*node

	setup      threshold.Setup
	c          *threshold.Ceremony
	transcript threshold.Transcript
	entries    []wire.Entry
}

type keptDeals map[int][]byte

func (m keptDeals) Keep(deal int, kept []byte) { m[deal] = kept }
func (m keptDeals) Kept(deal int) []byte       { return m[deal] }

func newCircle(t *testing.T) *circle {
	t.Helper()
	c := &storeChain{t: t, key: cmted25519.GenPrivKeyFromSecret([]byte("validator")), mounted: storetypes.NewKVStoreKey(threshold.StoreName),
		store: rootmulti.NewStore(dbm.NewMemDB(), log.NewNopLogger())}
	c.set = types.NewValidatorSet([]*types.Validator{types.NewValidator(c.key.PubKey(), 10)})
	c.store.MountStoreWithDB(c.mounted, storetypes.StoreTypeIAVL, nil)
	if err := c.store.LoadLatestVersion(); err != nil {
		t.Fatal(err)
	}
	c.grow(nil)
	c.grow(nil)
	out := &circle{storeChain: c}
	for i := range byte(2) {
		out.nodes = append(out.nodes, out.start(i+1))
	}
	return out
}

func (c *circle) start(account byte) *node {
	c.t.Helper()
	n := testNode()
	header, commit, set := c.parts(int64(len(c.headers)))
	if _, err := n.handle(&wire.Init{ChainID: "loop-1", Account: [20]byte{account}, SectorSize: 4 << 20,
		Platform: bytes.Repeat([]byte{account}, tee.FuseSize), Header: header, Commit: commit, Validators: set}, nil); err != nil {
		c.t.Fatal(err)
	}
	c.t.Cleanup(n.close)
	return n
}

// put stores a value, and brings all enclaves to the block that proves it. It returns the height of that state.
func (c *circle) put(key, value []byte) int64 {
	c.t.Helper()
	c.store.GetKVStore(c.mounted).Set(key, value)
	at := c.grow(nil)
	c.grow(nil)
	c.follow(at)
	return at
}

func (c *circle) follow(from int64) {
	c.t.Helper()
	for height := from; height <= int64(len(c.headers)); height++ {
		header, commit, set := c.parts(height)
		for _, n := range c.nodes {
			if _, err := n.handle(&wire.Follow{Headers: [][]byte{header}, Commit: commit, Validators: set}, nil); err != nil {
				c.t.Fatal(err)
			}
		}
	}
}

func (c *circle) blocks(n int) {
	from := int64(len(c.headers)) + 1
	for range n {
		c.grow(nil)
	}
	c.follow(from)
}

func (c *circle) proof(key []byte, height int64) wire.Proof {
	c.t.Helper()
	r, err := c.store.Query(&storetypes.RequestQuery{Path: "/" + threshold.StoreName + "/key", Data: key, Height: height, Prove: true})
	if err != nil {
		c.t.Fatal(err)
	}
	return wire.Proof{Height: height, Value: r.Value, Store: r.ProofOps.Ops[0].Data, Root: r.ProofOps.Ops[1].Data}
}

func (c *circle) must(n *node, req wire.Request) wire.Message {
	c.t.Helper()
	reply, err := n.handle(req, nil)
	if err != nil {
		c.t.Fatalf("%T: %v", req, err)
	}
	return reply
}

// say holds statements against the enclave's registered key and gives their messages.
func (c *circle) say(n *node, reply wire.Message) [][]byte {
	c.t.Helper()
	var out [][]byte
	for _, s := range reply.(*wire.ActReply).Messages {
		if !ed25519.Verify(n.id.sign[:], threshold.PostStatement("loop-1", n.account, s.Message), s.Sig[:]) {
			c.t.Error("a statement is not signed by the enclave's key")
		}
		out = append(out, s.Message)
	}
	return out
}

func (c *circle) begin(setup threshold.Setup) {
	c.t.Helper()
	var err error
	if c.c, err = threshold.NewCeremony(setup, keptDeals{}); err != nil {
		c.t.Fatal(err)
	}
	c.setup, c.transcript, c.entries = setup, setup.Transcript(), nil
	m := &wire.CeremonyBegin{Purpose: purpose, Epoch: setup.ID.Epoch, Attempt: setup.ID.Attempt, Threshold: uint16(setup.Threshold)}
	for _, s := range setup.Seats {
		m.Seats = append(m.Seats, wire.Seat{Account: s.Account, Shares: uint16(s.Shares)})
	}
	if setup.Old != nil {
		m.Handover, m.OldEpoch, m.OldAttempt = true, setup.Old.ID.Epoch, setup.Old.ID.Attempt
	}
	for _, n := range c.nodes {
		c.must(n, m)
	}
}

// phase has all enclaves do their part and ends the phase.
func (c *circle) phase() {
	c.t.Helper()
	at := c.put(threshold.TranscriptKey(purpose), c.transcript.Marshal())
	fed := len(c.entries)
	for _, n := range c.nodes {
		act := &wire.CeremonyAct{Purpose: purpose, Transcript: c.proof(threshold.TranscriptKey(purpose), at)}
		for _, m := range c.say(n, c.must(n, act)) {
			if err := c.c.Accept(n.account, m); err != nil {
				c.t.Fatal(err)
			}
			c.transcript, c.entries = c.transcript.Accepted(n.account, m), append(c.entries, wire.Entry{From: n.account, Message: m})
		}
	}
	if c.c.Phase() < threshold.PhaseDone {
		if err := c.c.Advance(); err != nil {
			c.t.Fatal(err)
		}
		c.transcript, c.entries = c.transcript.Advanced(), append(c.entries, wire.Entry{})
	}
	for _, n := range c.nodes {
		reply := c.must(n, &wire.CeremonyFeed{Purpose: purpose, Entries: c.entries[fed:]}).(*wire.FeedReply)
		if reply.Count != uint64(len(c.entries)) {
			c.t.Fatalf("%d entries were replayed of %d", reply.Count, len(c.entries))
		}
	}
}

func (c *circle) pair(epoch uint64) threshold.Setup {
	return threshold.Setup{ID: threshold.ID{ChainID: "loop-1", Purpose: purpose, Epoch: epoch}, Threshold: 1,
		Seats: []threshold.Seat{{Account: [20]byte{1}, Shares: 1}, {Account: [20]byte{2}, Shares: 1}}}
}

// key makes a fresh key and puts it in charge.
func (c *circle) key() *threshold.Group {
	c.t.Helper()
	c.begin(c.pair(1))
	for range 5 {
		c.phase()
	}
	g, err := c.c.Group()
	if err != nil {
		c.t.Fatal(err)
	}
	return g
}

// settle shows all enclaves a charge and returns what the last one has.
func (c *circle) settle(charge threshold.Charge, g *threshold.Group) *wire.SettleReply {
	c.t.Helper()
	charge.Group = g.Hash()
	at := c.put(threshold.ChargeKey(purpose), charge.Marshal())
	var reply *wire.SettleReply
	for _, n := range c.nodes {
		reply = c.must(n, &wire.Settle{Purpose: purpose, Charge: c.proof(threshold.ChargeKey(purpose), at), Group: g.Marshal()}).(*wire.SettleReply)
	}
	return reply
}

// A key's life as a host sees it: made, used, handed on, repaired.
func TestCeremonyLife(t *testing.T) {
	c := newCircle(t)
	none := &wire.Settle{Purpose: purpose, Charge: c.proof(threshold.ChargeKey(purpose), int64(len(c.headers))-1)}
	if r := c.must(c.nodes[0], none).(*wire.SettleReply); *r != (wire.SettleReply{}) {
		t.Errorf("before the first group: %+v", r)
	}
	g := c.key()
	from := int64(len(c.headers)) + 2
	want := wire.SettleReply{Charged: true, Epoch: 1, Member: true, Seat: 1, Holds: true, Ready: true}
	if r := c.settle(threshold.Charge{Epoch: 1, From: from, Confirmed: true}, g); *r != want {
		t.Errorf("the second enclave has %+v", r)
	}
	c.blocks(3)
	sign := func(n *node, g *threshold.Group, epoch uint64) {
		t.Helper()
		height := int64(len(c.headers)) + 1
		out := c.must(n, &wire.Sign{Purpose: purpose, Epoch: epoch, Heights: []int64{height}}).(*wire.SignReply)
		seat := int(n.account[0]) - 1
		p, err := g.UnmarshalPartial(seat, out.Partials[0])
		if err != nil {
			t.Fatal(err)
		}
		if bad := g.Check(threshold.Message{ChainID: "loop-1", Epoch: epoch, Height: height}.Marshal(), []threshold.Partial{p}); len(bad) > 0 {
			t.Error("a bad partial signature")
		}
	}
	sign(c.nodes[0], g, 1)
	sign(c.nodes[1], g, 1)

	// The second enclave restarts, and is repaired.
	c.nodes[1] = c.start(2)
	if r := c.settle(threshold.Charge{Epoch: 1, From: from, Confirmed: true}, g); !r.Member || r.Holds {
		t.Errorf("after the restart: %+v", r)
	}
	lost := [20]byte{2}
	repair, err := threshold.NewRepair(g, 3, 1, []int{0})
	if err != nil {
		t.Fatal(err)
	}
	tr := repair.Transcript()
	for _, n := range c.nodes {
		c.must(n, &wire.RepairBegin{Purpose: purpose, Account: lost, Attempt: 3, Seat: 1, Helpers: []uint32{0}})
	}
	for repair.Phase() != threshold.PhaseFailed {
		at := c.put(threshold.RepairKey(purpose, lost), tr.Marshal())
		var entries []wire.Entry
		for _, n := range c.nodes {
			act := &wire.RepairAct{Purpose: purpose, Account: lost, Transcript: c.proof(threshold.RepairKey(purpose, lost), at)}
			for _, m := range c.say(n, c.must(n, act)) {
				if err := repair.Accept(n.account, m); err != nil {
					t.Fatal(err)
				}
				tr, entries = tr.Accepted(n.account, m), append(entries, wire.Entry{From: n.account, Message: m})
			}
		}
		if repair.Phase() == threshold.PhaseDone {
			break
		}
		if err := repair.Advance(); err != nil {
			t.Fatal(err)
		}
		tr, entries = tr.Advanced(), append(entries, wire.Entry{})
		for _, n := range c.nodes {
			c.must(n, &wire.RepairFeed{Purpose: purpose, Account: lost, Entries: entries})
		}
	}
	sign(c.nodes[1], g, 1)

	// A handover to the same two.
	next := c.pair(2)
	next.Old = g
	c.begin(next)
	for range 5 {
		c.phase()
	}
	second, err := c.c.Group()
	if err != nil {
		t.Fatal(err)
	}
	if second.Key() != g.Key() {
		t.Error("a handover changed the key")
	}
	if r := c.settle(threshold.Charge{Epoch: 2, From: int64(len(c.headers)) + 2, Confirmed: true}, second); !r.Holds || r.Epoch != 2 {
		t.Errorf("after the handover: %+v", r)
	}
	c.blocks(3)
	sign(c.nodes[0], second, 2)
	sign(c.nodes[1], second, 2)
}

// Nothing is done on the host's word.
func TestCeremonyProofs(t *testing.T) {
	c := newCircle(t)
	n := c.nodes[0]
	code := func(what string, want wire.Code, req wire.Request) {
		t.Helper()
		if _, err := n.handle(req, nil); codeOf(err) != want {
			t.Errorf("%s: code %d, want %d: %v", what, codeOf(err), want, err)
		}
	}
	c.begin(c.pair(1))
	key := threshold.TranscriptKey(purpose)
	at := c.put(key, c.transcript.Marshal())
	good := c.proof(key, at)
	act := func(p wire.Proof) *wire.CeremonyAct { return &wire.CeremonyAct{Purpose: purpose, Transcript: p} }

	invented := good
	invented.Value = c.transcript.Advanced().Marshal()
	code("a transcript that is not in the store", wire.CodeInvalid, act(invented))
	// The host lets the phase end by itself, and says that the chain has it.
	c.must(n, &wire.CeremonyFeed{Purpose: purpose, Entries: []wire.Entry{{}}})
	code("a phase that the chain has not ended", wire.CodeInvalid, act(invented))
	code("the same with the true transcript", wire.CodeInvalid, act(good))
	c.begin(c.pair(1))
	c.put(threshold.RepairKey(purpose, [20]byte{2}), c.transcript.Marshal())
	other := c.proof(threshold.RepairKey(purpose, [20]byte{2}), int64(len(c.headers))-1)
	code("a transcript under another key", wire.CodeInvalid, act(other))
	code("a state that no header has", wire.CodeState, act(wire.Proof{Height: good.Height + 1000, Value: good.Value, Store: good.Store, Root: good.Root}))
	if reply := c.must(n, act(good)).(*wire.ActReply); len(reply.Messages) != 1 {
		t.Errorf("%d messages upon the truth", len(reply.Messages))
	}
	code("no transcript at all", wire.CodeMalformed, &wire.CeremonyAct{Purpose: "other", Transcript: c.proof(threshold.TranscriptKey("other"), at)})

	code("another purpose's heights", wire.CodeInvalid, &wire.Sign{Purpose: "contract", Epoch: 1, Heights: []int64{1}})
	code("heights before the charge is known", wire.CodeState, &wire.Sign{Purpose: purpose, Epoch: 1, Heights: []int64{1}})
	for range 4 {
		c.phase()
	}
	c.phase()
	g, err := c.c.Group()
	if err != nil {
		t.Fatal(err)
	}
	charge := threshold.Charge{Epoch: 1, From: 5, Group: g.Hash()}
	early := charge
	early.From = 1
	forged := c.proof(threshold.ChargeKey(purpose), c.put(threshold.ChargeKey(purpose), early.Marshal()))
	forged.Value = charge.Marshal()
	code("a charge that is not in the store", wire.CodeInvalid, &wire.Settle{Purpose: purpose, Charge: forged, Group: g.Marshal()})
	c.settle(charge, g)
	head := int64(len(c.headers))
	code("the next height", 0, &wire.Sign{Purpose: purpose, Epoch: 1, Heights: []int64{head + 1, head}})
	code("the height after it", wire.CodeInvalid, &wire.Sign{Purpose: purpose, Epoch: 1, Heights: []int64{head + 1, head + 2}})

	// A repair is proven under its own key: the ceremony's transcript is none of it.
	c.must(n, &wire.RepairBegin{Purpose: purpose, Account: [20]byte{2}, Attempt: 1, Seat: 1, Helpers: []uint32{0}})
	r, err := threshold.NewRepair(g, 1, 1, []int{0})
	if err != nil {
		t.Fatal(err)
	}
	at = c.put(key, r.Transcript().Marshal())
	code("a repair under the ceremony's key", wire.CodeInvalid, &wire.RepairAct{Purpose: purpose, Account: [20]byte{2}, Transcript: c.proof(key, at)})
	at = c.put(threshold.RepairKey(purpose, [20]byte{2}), r.Transcript().Marshal())
	stale := &wire.RepairAct{Purpose: purpose, Account: [20]byte{2}, Transcript: c.proof(threshold.RepairKey(purpose, [20]byte{2}), at)}
	code("a repair under its key", 0, stale)
	c.blocks(recentBlocks)
	code("an old proof", wire.CodeInvalid, stale)

	n.close()
	code("heights after the end", wire.CodeState, &wire.Sign{Purpose: purpose, Epoch: 1, Heights: []int64{head}})
	c.nodes = c.nodes[1:]
}

// Nobody waits for a ceremony but the next one.
func TestSignPassesCeremonies(t *testing.T) {
	gate := make(chan struct{})
	conn, ended := lanes(t, func(req wire.Request, _ []byte) (wire.Message, error) {
		if req.Kind().Slow() {
			<-gate
			return &wire.FeedReply{}, nil
		}
		return &wire.SignReply{}, nil
	})
	for i := range uint64(4) {
		send(t, conn, i, &wire.CeremonyFeed{})
	}
	send(t, conn, 100, &wire.Sign{})
	if f := receive(t, conn); f.ID != 100 {
		t.Fatalf("reply %d", f.ID)
	}
	close(gate)
	for i := range uint64(4) {
		if f := receive(t, conn); f.ID != i {
			t.Fatalf("reply %d, want %d: they are answered in their order", f.ID, i)
		}
	}
	conn.Close()
	if err := <-ended; err != nil {
		t.Error(err)
	}
}

// The slow lane reads the chain while the short one moves it.
func TestSlowLaneBesideFollow(t *testing.T) {
	c := newCircle(t)
	c.begin(c.pair(1))
	key := threshold.TranscriptKey(purpose)
	at := c.put(key, c.transcript.Marshal())
	act := &wire.CeremonyAct{Purpose: purpose, Transcript: c.proof(key, at)}
	done := make(chan struct{})
	go func() {
		defer close(done)
		for range 20 {
			if _, err := c.nodes[0].handle(act, nil); err != nil {
				t.Error(err)
			}
		}
	}()
	c.blocks(20)
	<-done
}
