package host

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"maps"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/cella-network/cella/enclave/wire"
	"github.com/cella-network/cella/protocol/beacon"
	"github.com/cella-network/cella/protocol/lottery"
	"github.com/cella-network/cella/protocol/storageproof"
)

func standingKey(account [20]byte) []byte { return storageproof.StandingKey(account) }

// storage is a member with its disk, and the chain's side of its reports.
type storage struct {
	*member
	geometry  storageproof.Geometry
	files     map[uint32][]byte
	pages     map[uint32][][32]byte // leaf hashes of a free sector's pages
	directory map[uint32][]byte
	entries   map[uint32]storageproof.Entry // of the last accepted report
	tagRoots  map[uint32][]byte
	orders    []wire.Order
	standing  *storageproof.Standing
}

func newStorage(t *testing.T, m *member) *storage {
	t.Helper()
	g, err := storageproof.NewGeometry(4 << 20)
	if err != nil {
		t.Fatal(err)
	}
	return &storage{member: m, geometry: g, files: map[uint32][]byte{}, pages: map[uint32][][32]byte{}, directory: map[uint32][]byte{},
		entries: map[uint32]storageproof.Entry{}, tagRoots: map[uint32][]byte{}}
}

func (s *storage) fill(id uint32) {
	s.c.t.Helper()
	file := make([]byte, s.geometry.SectorSize)
	for done := false; !done; {
		var r wire.FillReply
		s.must(&wire.Fill{Sector: id}, &r)
		copy(file[storageproof.FreeCellOffset(r.First):], r.Cells)
		copy(file[s.geometry.FreePageOffset(r.First):], r.Digests)
		done = r.Done
	}
	s.files[id] = file
	for p := range s.geometry.FreePages {
		at := s.geometry.FreePageOffset(p * storageproof.PageLeaves)
		s.pages[id] = append(s.pages[id], storageproof.LeafHash(file[at:at+storageproof.CellSize]))
	}
}

func (s *storage) open(id uint32) {
	s.c.t.Helper()
	var r wire.OpenReply
	s.must(&wire.Open{Sector: id}, &r)
	s.files[id] = make([]byte, s.geometry.SectorSize)
	copy(s.files[id], r.Header)
}

// rawCID is the CID of a raw block.
func rawCID(data []byte) []byte {
	digest := sha256.Sum256(data)
	return append([]byte{1, 0x55, 0x12, 32}, digest[:]...)
}

func noise(n int, seed byte) []byte {
	b := make([]byte, n)
	_, _ = rand.NewChaCha8([32]byte{seed}).Read(b)
	return b
}

// seal stores a block and returns how to read it again.
func (s *storage) seal(sector uint32, data []byte) *wire.Read {
	s.c.t.Helper()
	var r wire.SealReply
	s.must(&wire.Seal{Sector: sector, CID: rawCID(data), Data: data}, &r)
	for i := range uint32(len(r.Tags) / storageproof.TagSize) {
		copy(s.files[r.Sector][storageproof.CellOffset(r.Cell+i):], r.Cells[i*storageproof.CellSize:][:storageproof.CellSize])
		copy(s.files[r.Sector][storageproof.TagOffset(r.Cell+i):], r.Tags[i*storageproof.TagSize:][:storageproof.TagSize])
	}
	s.directory[r.Sector] = append(s.directory[r.Sector], r.Record...)
	return &wire.Read{CID: rawCID(data), Cells: r.Cells, Tags: r.Tags}
}

// report has a report signed, accepted by the chain's rules, proven, and accepted by the enclave.
func (s *storage) report() storageproof.Report {
	s.c.t.Helper()
	var r wire.ReportReply
	s.must(&wire.Report{}, &r)
	rules := storageproof.Rules{ChainID: chainID, Account: s.account, SignKey: s.self.SignKey, SlotBlocks: 5, Now: s.c.height() + 1, MaxAge: 50, LateBlocks: 50, Cap: 1 << 40,
		BlockHash: func(h int64) ([32]byte, bool) { return s.c.hash(h), h <= s.c.height() }}
	report, next, err := storageproof.Accept(rules, s.standing, r.Report, r.Sig[:])
	if err != nil {
		s.c.t.Fatal(err)
	}
	s.c.put("work", standingKey(s.account), next.Marshal())
	s.c.grow(2)
	s.catchUp()
	var a wire.AcceptedReply
	accepted := &wire.Accepted{Standing: s.c.prove("work", standingKey(s.account))}
	if s.standing != nil { // up to the block that accepted it, heights are owed over the table before
		if got := s.code(accepted, &a); got != wire.CodeState {
			s.c.t.Errorf("accepted with a draw owed over the table before: code %d", got)
		}
		s.drawTo(next.Since)
	}
	s.must(accepted, &a)
	for i, p := range r.Changed {
		e, err := storageproof.UnmarshalEntry(p)
		if err != nil {
			s.c.t.Fatal(err)
		}
		s.entries[e.ID], s.tagRoots[e.ID] = e, r.TagRoots[i]
	}
	for _, id := range r.Removed {
		delete(s.entries, id)
	}
	s.standing = &next
	if a.Counter != next.Counter {
		s.c.t.Errorf("report %d accepted, want %d", a.Counter, next.Counter)
	}
	return report
}

func (s *storage) table() *storageproof.Table {
	s.c.t.Helper()
	t, err := storageproof.NewTable(slices.Collect(maps.Values(s.entries)))
	if err != nil {
		s.c.t.Fatal(err)
	}
	return t
}

// seedHeight is the height whose seed decides a draw.
func (s *storage) seedHeight(height int64) int64 {
	if s.standing == nil {
		return height
	}
	return s.standing.SeedHeight(height)
}

// spot brings what a height draws.
func (s *storage) spot(height int64) *wire.Draw {
	s.c.t.Helper()
	d, ok := s.table().Draw(seedOf(s.seedHeight(height)), height, s.account)
	if !ok {
		return &wire.Draw{Height: height}
	}
	kind, file := s.entries[d.Sector].Kind, s.files[d.Sector]
	at := s.geometry.Spot(kind, d.Cell)
	m := &wire.Draw{Height: height, Cell: file[at.Cell:][:storageproof.CellSize]}
	if witness := file[at.Witness:][:at.Length]; kind == storageproof.KindFree {
		m.Page, m.Path = witness, storageproof.FreePath(slices.Clone(s.pages[d.Sector]), d.Cell)
	} else {
		m.Tag = witness
	}
	return m
}

// draw answers all heights up to the newest whose seed can be proven: that of the block before the head.
func (s *storage) draw() {
	s.c.t.Helper()
	s.drawTo(s.c.height() - 1)
}

func (s *storage) drawTo(last int64) {
	s.c.t.Helper()
	var st wire.StatusReply
	s.must(&wire.Status{}, &st)
	fresh := s.seeded == 0
	if s.learn(); fresh && st.Drawn+1 < s.seeded {
		s.must(s.c.seeds(st.Drawn+1, s.seeded-1), new(wire.SeedsReply))
	}
	for h := st.Drawn + 1; h <= last; h++ {
		var r wire.DrawReply
		if s.must(s.spot(h), &r); !r.Answered {
			s.c.t.Errorf("the draw of height %d was not answered", h)
		}
	}
}

func (s *storage) restore() wire.RestoreEndReply {
	s.c.t.Helper()
	// In parts, as a large table comes.
	for _, e := range s.table().Entries() {
		s.must(&wire.RestoreBegin{Entries: e.Append(nil), More: true}, &wire.Empty{})
	}
	s.must(&wire.RestoreBegin{Orders: s.orders, More: true}, &wire.Empty{})
	s.must(&wire.RestoreBegin{Standing: s.c.prove("work", standingKey(s.account))}, &wire.Empty{})
	for _, e := range s.table().Entries() {
		if e.Kind != storageproof.KindData {
			continue
		}
		var r wire.RestoreSectorReply
		s.must(&wire.RestoreSector{Sector: e.ID, Header: s.files[e.ID][:storageproof.CellSize], TagRoot: [32]byte(s.tagRoots[e.ID]),
			Directory: s.directory[e.ID], Last: true}, &r)
		if !r.Matched {
			s.c.t.Errorf("sector %d did not come back", e.ID)
		}
	}
	var end wire.RestoreEndReply
	s.must(&wire.RestoreEnd{}, &end)
	return end
}

func (s *storage) read(r *wire.Read, want []byte) {
	s.c.t.Helper()
	var got wire.ReadReply
	if s.must(r, &got); !bytes.Equal(got.Data, want) {
		s.c.t.Error("a block came back changed")
	}
}

// A node that was down for longer than seeds can be taught admits the heights between, and goes on. No height whose seed is not out
// is admitted.
func TestLongDowntime(t *testing.T) {
	c := newChain(t)
	s := newStorage(t, newMember(t, c, 1))
	s.fill(1)
	s.report()
	c.grow(8)
	s.member = join(t, c, local(t), 1)
	if lost := s.restore(); len(lost.LostSectors) != 0 {
		t.Fatal("lost", lost)
	}
	next := s.standing.Height + 1
	if got := s.code(s.spot(next), new(wire.DrawReply)); got != wire.CodeState {
		t.Errorf("a draw whose seed is not known: code %d", got)
	}
	if got := s.code(&wire.Draw{Height: next, Absent: true}, new(wire.DrawReply)); got != wire.CodeState {
		t.Errorf("a height is admitted before any seed is known: code %d", got)
	}
	c.grow(1)
	s.catchUp()
	s.learn()
	failed := uint64(0)
	for h := next; h < c.height()-1; h++ {
		var r wire.DrawReply
		if s.must(&wire.Draw{Height: h, Absent: true}, &r); r.Answered {
			t.Error("an absent cell counted as answered")
		}
		failed++
	}
	s.draw()
	if got := s.code(&wire.Draw{Height: c.height(), Absent: true}, new(wire.DrawReply)); got != wire.CodeState {
		t.Errorf("a height whose seed is not out: code %d", got)
	}
	if got := s.code(&wire.RestoreBegin{Standing: c.prove("work", standingKey(s.account))}, &wire.Empty{}); got != wire.CodeState {
		t.Errorf("a second restore, which would forget the failed draws: code %d", got)
	}
	if r := s.report(); r.Failed != failed || r.Answered != 1 {
		t.Errorf("%d answered, %d failed; want 1 and %d", r.Answered, r.Failed, failed)
	}
}

// The whole life of a storage node: register, fill, seal, hold an order, read, report, draw, die, come back.
func TestStorage(t *testing.T) {
	t.Run("in this process", func(t *testing.T) { testStorage(t, local) })
	t.Run("as released", func(t *testing.T) { testStorage(t, startBinary) })
}

func testStorage(t *testing.T, start func(testing.TB) *Enclave) {
	c := newChain(t)
	first := join(t, c, start(t), 1)
	if got := first.code(&wire.Register{}, new(wire.RegisterReply)); got != wire.CodeState {
		t.Errorf("Register before the restore: code %d", got)
	}
	first.must(&wire.RestoreBegin{Standing: c.prove("work", standingKey(first.account))}, &wire.Empty{})
	first.must(&wire.Register{}, new(wire.RegisterReply))

	s := newStorage(t, first)
	s.fill(1)
	s.open(2)
	large, small := noise(1<<20, 1), []byte("a small file")
	readLarge, readSmall := s.seal(2, large), s.seal(2, small)
	order := wire.Order{ID: 7, Root: rawCID(large), Size: uint64(len(large))}
	var complete wire.CompleteReply
	if s.must(&wire.Complete{Order: order}, &complete); complete.Size != order.Size || complete.Blocks != 1 || len(complete.Missing) != 0 {
		t.Errorf("complete: %+v", complete)
	}
	s.orders = append(s.orders, order)
	s.read(readLarge, large)
	s.read(readSmall, small)
	tampered := *readSmall
	tampered.Cells = slices.Clone(tampered.Cells)
	tampered.Cells[0] ^= 1
	if got := s.code(&tampered, new(wire.ReadReply)); got != wire.CodeInvalid {
		t.Errorf("tampered ciphertext: code %d", got)
	}

	r := s.report()
	if r.Counter != 1 || len(r.Added) != 1 || r.Added[0].ID != 7 || r.Stored != 257*storageproof.CellSize || r.Free != uint64(s.geometry.FreeCells)*storageproof.CellSize {
		t.Errorf("first report: %+v", r)
	}
	c.grow(8)
	s.catchUp()
	s.draw()
	if r = s.report(); r.Counter != 2 || r.Answered != uint64(r.Height-r.From) || r.Failed != 0 {
		t.Errorf("second report: %+v", r)
	}

	// The host can't make the enclave believe in a report that the chain did not accept, or that it holds nothing.
	forged := c.prove("work", standingKey(s.account))
	wish := *s.standing
	wish.Proven += 1000
	forged.Value = wish.Marshal()
	if got := s.code(&wire.Accepted{Standing: forged}, new(wire.AcceptedReply)); got != wire.CodeInvalid {
		t.Errorf("a forged standing: code %d", got)
	}
	forged.Value = nil
	if got := s.code(&wire.RestoreBegin{Standing: forged}, &wire.Empty{}); got != wire.CodeMalformed && got != wire.CodeInvalid {
		t.Errorf("a forged absence: code %d", got)
	}
	old := &wire.RestoreBegin{Standing: c.prove("work", standingKey(s.account)), Orders: s.orders}
	for _, e := range s.table().Entries() {
		old.Entries = e.Append(old.Entries)
	}
	other := c.prove("work", standingKey([20]byte{8}))
	if got := s.code(&wire.RestoreBegin{Standing: other}, &wire.Empty{}); got != wire.CodeInvalid {
		t.Errorf("another account's absence: code %d", got)
	}

	// The enclave dies with all its keys; the next one follows from a later root, and owes the draws in between.
	c.grow(3)
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if err := s.Call(testContext(t), &wire.Status{}, new(wire.StatusReply)); !errors.Is(err, ErrEnded) {
		t.Errorf("after Close: %v", err)
	}
	second := join(t, c, start(t), 1)
	if second.self.SignKey == s.self.SignKey || second.self.PlatformID != s.self.PlatformID || second.self.Measurement != s.self.Measurement {
		t.Error("the restarted enclave must have new keys on the same machine")
	}
	s.member = second
	if got := s.code(s.spot(s.standing.Height+1), new(wire.DrawReply)); got != wire.CodeState {
		t.Errorf("a draw below the known seeds: code %d", got)
	}
	if lost := s.restore(); len(lost.LostSectors)+len(lost.LostOrders) != 0 {
		t.Errorf("lost: %+v", lost)
	}
	s.must(&wire.History{Headers: [][]byte{c.header(c.height() - 1), c.header(c.height() - 2)}}, new(wire.HistoryReply))
	c.grow(1)
	s.catchUp()
	s.learn()
	s.must(c.seeds(s.standing.Height+1, s.seeded-1), new(wire.SeedsReply))
	s.draw()
	s.read(readLarge, large)
	s.read(readSmall, small)
	if r = s.report(); r.Counter != 3 || r.Failed != 0 || len(r.Added) != 0 {
		t.Errorf("third report: %+v", r)
	}

	// A proof of a state long past is not taken for a restore.
	c.grow(recentBlocks + 3)
	s.catchUp()
	if got := s.code(old, &wire.Empty{}); got != wire.CodeInvalid {
		t.Errorf("an old standing: code %d", got)
	}
	// What the host does not bring counts as failed, and the report says so.
	var st wire.StatusReply
	s.must(&wire.Status{}, &st)
	s.learn()
	var d wire.DrawReply
	if s.must(&wire.Draw{Height: st.Drawn + 1, Absent: true}, &d); d.Answered {
		t.Error("an absent cell counted as answered")
	}
	wrong := s.spot(st.Drawn + 2)
	wrong.Cell = make([]byte, storageproof.CellSize)
	if s.must(wrong, &d); d.Answered {
		t.Error("a wrong cell counted as answered")
	}
	s.draw()
	if r = s.report(); r.Failed != 2 || r.Answered+2 != uint64(r.Height-r.From) {
		t.Errorf("fourth report: %d answered, %d failed", r.Answered, r.Failed)
	}
}

// TestSeeds: a host can teach the enclave no seed that is not the chain's, and gains nothing by keeping seeds back.
func TestSeeds(t *testing.T) {
	c := newChain(t)
	s := newStorage(t, newMember(t, c, 1))
	s.fill(1)
	s.report()
	c.grow(20)
	s.catchUp()
	proven := c.newest(s.standing.Height + 8)
	tip := c.height() - 1
	refused := func(name string, m *wire.Seeds, want wire.Code) {
		t.Helper()
		if got := s.code(m, new(wire.SeedsReply)); got != want {
			t.Errorf("%s: code %d, want %d", name, got, want)
		}
	}
	changed := func(m *wire.Seeds, change func(*wire.Seeds)) *wire.Seeds {
		cp := *m
		cp.Seeds = slices.Clone(m.Seeds)
		change(&cp)
		return &cp
	}
	refused("older ones before any tip", c.seeds(1, 3), wire.CodeState)
	forgeries := map[string]func(*wire.Seeds){
		"a forged one":       func(m *wire.Seeds) { m.Seeds[1][0] ^= 1 },
		"one left out":       func(m *wire.Seeds) { m.Seeds = append(m.Seeds[:1], m.Seeds[2:]...) },
		"another place":      func(m *wire.Seeds) { m.From++ },
		"another beginning":  func(m *wire.Seeds) { m.Before[0] ^= 1 },
		"one too few":        func(m *wire.Seeds) { m.Seeds = m.Seeds[:len(m.Seeds)-1] },
		"from no height":     func(m *wire.Seeds) { m.From = 0 },
		"one more than fits": func(m *wire.Seeds) { m.Seeds = append(m.Seeds, seedOf(tip+1)) },
	}
	for name, change := range forgeries {
		refused(name, changed(proven, change), wire.CodeInvalid)
	}
	refused("a forged tip", changed(proven, func(m *wire.Seeds) {
		end := beacon.Tip{Height: m.From - 1, Hash: m.Before}
		for i := range m.Seeds {
			m.Seeds[i] = lottery.Seed{byte(i)}
			end = end.Append(m.Seeds[i])
		}
		m.Tip.Value = end.Marshal()
	}), wire.CodeInvalid)
	refused("a tip that the chain does not have", changed(proven, func(m *wire.Seeds) { m.Tip = c.prove("work", []byte{0xee}) }), wire.CodeInvalid)

	var r wire.SeedsReply
	if s.must(proven, &r); r.Oldest != proven.From || r.Tip != tip {
		t.Errorf("known are %d to %d, want %d to %d", r.Oldest, r.Tip, proven.From, tip)
	}
	older := c.seeds(s.standing.Height+1, proven.From-1)
	for name, change := range forgeries {
		refused("older: "+name, changed(older, change), wire.CodeInvalid)
	}
	if s.must(older, &r); r.Oldest != s.standing.Height+1 {
		t.Errorf("known from %d, want %d", r.Oldest, s.standing.Height+1)
	}

	// Behind the proven tip nothing is drawn, answered or admitted, however far the blocks are.
	c.mute = true
	c.grow(10)
	s.catchUp()
	s.seeded, tip = tip, tip+1 // that of the newest block can be proven now
	s.drawTo(tip)
	for h, name := range map[int64]string{tip + 1: "the height behind the tip", c.height(): "the head"} {
		if got := s.code(&wire.Draw{Height: h, Absent: true}, new(wire.DrawReply)); got != wire.CodeState {
			t.Errorf("%s is admitted: code %d", name, got)
		}
	}
	// The report names the height up to which was drawn.
	c.mute = false
	if r := s.report(); r.Height != tip || r.Failed != 0 {
		t.Errorf("report of height %d, %d failed; want %d", r.Height, r.Failed, tip)
	}
}

// TestOldTip: a tip that was true once is not taken where a newer one is known, nor when it is long past.
func TestOldTip(t *testing.T) {
	c := newChain(t)
	m := newMember(t, c, 1)
	old := c.newest(1)
	c.grow(5)
	m.catchUp()
	m.must(c.newest(1), new(wire.SeedsReply))
	if got := m.code(old, new(wire.SeedsReply)); got != wire.CodeInvalid {
		t.Errorf("a tip below the known one: code %d", got)
	}
	// Behind a gap the enclave begins anew, and can be taught what lies between.
	c.grow(20)
	m.catchUp()
	var r wire.SeedsReply
	if m.must(c.newest(c.height()-3), &r); r.Oldest != c.height()-3 || r.Tip != c.height()-1 {
		t.Errorf("known are %d to %d", r.Oldest, r.Tip)
	}
	if m.must(c.seeds(1, c.height()-4), &r); r.Oldest != 1 {
		t.Errorf("known from %d", r.Oldest)
	}
	young := newMember(t, c, 2)
	past := c.newest(1)
	c.grow(recentBlocks + 3)
	young.catchUp()
	if got := young.code(past, new(wire.SeedsReply)); got != wire.CodeInvalid {
		t.Errorf("a tip long past: code %d", got)
	}
}
