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

// seedHeight is the height whose block decides a draw.
func (s *storage) seedHeight(height int64) int64 {
	if s.standing == nil {
		return height
	}
	return s.standing.SeedHeight(height)
}

// spot brings what a height draws.
func (s *storage) spot(height int64) *wire.Draw {
	s.c.t.Helper()
	d, ok := s.table().Draw(lottery.BlockSeed(chainID, height, s.c.hash(s.seedHeight(height))), height, s.account)
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

// draw answers all heights up to the newest block.
func (s *storage) draw() {
	s.c.t.Helper()
	s.drawTo(s.c.height())
}

func (s *storage) drawTo(last int64) {
	s.c.t.Helper()
	var st wire.StatusReply
	s.must(&wire.Status{}, &st)
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

// A node that was down for longer than the enclave's headers reach admits the heights between, and goes on. No height that is not
// yet decided is admitted.
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
		t.Errorf("a draw whose block is not known: code %d", got)
	}
	failed := uint64(0)
	for h := next; h < c.height(); h++ {
		var r wire.DrawReply
		if s.must(&wire.Draw{Height: h, Absent: true}, &r); r.Answered {
			t.Error("an absent cell counted as answered")
		}
		failed++
	}
	s.draw()
	if got := s.code(&wire.Draw{Height: c.height() + 1, Absent: true}, new(wire.DrawReply)); got != wire.CodeState {
		t.Errorf("a height above the head: code %d", got)
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
		t.Errorf("a draw below the known headers: code %d", got)
	}
	if lost := s.restore(); len(lost.LostSectors)+len(lost.LostOrders) != 0 {
		t.Errorf("lost: %+v", lost)
	}
	history := &wire.History{}
	for h := c.height() - 1; h > s.standing.Height; h-- {
		history.Headers = append(history.Headers, c.header(h))
	}
	s.must(history, new(wire.HistoryReply))
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
