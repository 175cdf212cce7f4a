package host

import (
	"slices"
	"testing"

	"github.com/cella-network/cella/enclave/wire"
	"github.com/cella-network/cella/protocol/storageproof"
)

// TestLosses goes over the stream: a sector is lost and comes back from elsewhere, then the whole disk is lost.
func TestLosses(t *testing.T) {
	c := newChain(t)
	first := newMember(t, c, 1)
	standing := func() wire.Proof { return c.prove("work", standingKey(first.account)) }
	s := newStorage(t, first)
	s.open(1)
	file := noise(100_000, 1)
	order := wire.Order{ID: 7, Root: rawCID(file), Size: uint64(len(file))}
	s.seal(1, file)
	s.must(&wire.Complete{Order: order}, new(wire.CompleteReply))
	s.report()

	if got := s.code(&wire.Lose{Sector: 9}, new(wire.LoseReply)); got != wire.CodeMissing {
		t.Errorf("an unknown sector: code %d", got)
	}
	var broken wire.LoseReply
	if s.must(&wire.Lose{Sector: 1, CIDs: [][]byte{order.Root}}, &broken); !slices.Equal(broken.Orders, []uint64{7}) {
		t.Errorf("orders %v are broken", broken.Orders)
	}
	s.open(2)
	sealed := s.seal(2, file)
	s.must(&wire.Complete{Order: order}, new(wire.CompleteReply))
	s.must(&wire.Release{Sectors: []uint32{1}}, &wire.Empty{})
	c.grow(6)
	s.catchUp()
	s.draw()
	if r := s.report(); len(r.Added)+len(r.Dropped) != 0 || r.Sectors != 1 {
		t.Errorf("added %v, dropped %v, %d sectors", r.Added, r.Dropped, r.Sectors)
	}
	s.read(sealed, file)

	// A lost disk needs the proven standing and nothing else.
	c.grow(6)
	before := s.entries[2]
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	s.member = join(t, c, local(t), 1)
	for name, m := range map[string]*wire.RestoreBegin{
		"rows":      {Standing: standing(), Entries: before.Append(nil), Lost: true},
		"orders":    {Standing: standing(), Orders: []wire.Order{order}, Lost: true},
		"no proof":  {Lost: true},
		"another's": {Standing: c.prove("work", standingKey([20]byte{8})), Lost: true},
	} {
		if got := s.code(m, &wire.Empty{}); got != wire.CodeInvalid && (got != wire.CodeState || name != "no proof") {
			t.Errorf("%s: code %d", name, got)
		}
	}
	young := join(t, c, local(t), 2)
	if got := young.code(&wire.RestoreBegin{Standing: c.prove("work", standingKey(young.account)), Lost: true}, &wire.Empty{}); got != wire.CodeInvalid {
		t.Errorf("nothing to lose: code %d", got)
	}
	if got := s.code(&wire.RestoreBegin{Entries: before.Append(nil), More: true}, &wire.Empty{}); got != 0 {
		t.Fatalf("a part: code %d", got)
	}
	if got := s.code(&wire.RestoreBegin{Standing: standing(), Lost: true}, &wire.Empty{}); got != wire.CodeInvalid {
		t.Errorf("rows ahead of it: code %d", got)
	}
	s.must(&wire.RestoreBegin{Standing: standing(), Lost: true}, &wire.Empty{})
	if got := s.code(&wire.RestoreBegin{Standing: standing(), Lost: true}, &wire.Empty{}); got != wire.CodeState {
		t.Errorf("a second restore, which would forget the failed draws: code %d", got)
	}
	var st wire.StatusReply
	if s.must(&wire.Status{}, &st); !st.Restored || st.Counter != s.standing.Counter || st.Drawn != s.standing.Height || st.Stored != 0 {
		t.Errorf("status %+v", st)
	}

	// The host may have all the bytes: nothing is answered, with them or without.
	fail := func(last int64) (n uint64) {
		s.must(&wire.Status{}, &st)
		for h := st.Drawn + 1; h <= last; h++ {
			m := &wire.Draw{Height: h, Absent: true}
			if h == s.seeded {
				m = s.spot(h)
			}
			var r wire.DrawReply
			if s.must(m, &r); r.Answered {
				t.Errorf("height %d over the lost table is answered", h)
			}
			n++
		}
		return n
	}
	c.grow(1)
	s.catchUp()
	s.learn()
	if got := s.code(&wire.Draw{Height: c.height(), Absent: true}, new(wire.DrawReply)); got != wire.CodeState {
		t.Errorf("a height whose seed is not out: code %d", got)
	}
	owed := fail(c.height() - 1)
	s.open(2)
	sealed = s.seal(2, file)
	s.must(&wire.Complete{Order: order}, new(wire.CompleteReply))
	var reply wire.ReportReply
	s.must(&wire.Report{}, &reply)
	rules := storageproof.Rules{ChainID: chainID, Account: s.account, SignKey: s.self.SignKey, SlotBlocks: 5, Now: c.height() + 1, MaxAge: 50, LateBlocks: 50,
		Cap: 1 << 40, BlockHash: func(h int64) ([32]byte, bool) { return c.hash(h), h <= c.height() }}
	r, next, err := storageproof.Accept(rules, s.standing, reply.Report, reply.Sig[:])
	if err != nil {
		t.Fatal(err)
	}
	if !r.Reset || r.Answered != 0 || r.Failed != owed || len(r.Dropped) != 0 || len(r.Added) != 1 || r.Added[0].ID != 7 || len(reply.Removed) != 0 {
		t.Errorf("report %+v", r)
	}
	c.put("work", standingKey(s.account), next.Marshal())
	c.grow(2)
	s.catchUp()
	accepted := &wire.Accepted{Standing: standing()}
	if got := s.code(accepted, new(wire.AcceptedReply)); got != wire.CodeState {
		t.Errorf("accepted with a draw owed over the lost table: code %d", got)
	}
	s.learn()
	owed = fail(next.Since)
	s.must(accepted, new(wire.AcceptedReply))
	row, err := storageproof.UnmarshalEntry(reply.Changed[0])
	if err != nil || len(reply.Changed) != 1 {
		t.Fatal(len(reply.Changed), err)
	}
	s.standing, s.entries = &next, map[uint32]storageproof.Entry{row.ID: row}
	c.grow(6)
	s.catchUp()
	s.draw()
	if r := s.report(); r.Reset || r.Failed != owed {
		t.Errorf("the report after it: reset %v, %d failed, want %d", r.Reset, r.Failed, owed)
	}
	s.read(sealed, file)
}
