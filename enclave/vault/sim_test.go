package vault

import (
	"bytes"
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/cella-network/cella/enclave/wire"
	"github.com/cella-network/cella/protocol/lottery"
	"github.com/cella-network/cella/protocol/storageproof"
)

const testChain = "cella-test"

var testAccount = [20]byte{1, 2, 3}

func testGeometry() storageproof.Geometry {
	g, err := storageproof.NewGeometry(storageproof.MinSector)
	if err != nil {
		panic(err)
	}
	return g
}

// expand gives n bytes that depend on a name alone.
func expand(name string, n int) []byte {
	b := make([]byte, n)
	_, _ = rand.NewChaCha8(sha256.Sum256([]byte(name))).Read(b)
	return b
}

// sim is a chain and an honest host with the vault of its enclave. What a dishonest host does, a test does to its fields.
type sim struct {
	t     *testing.T
	v     *Vault
	lives int // starts of the enclave so far
	sign  ed25519.PrivateKey

	now      int64 // height of the chain's next block
	standing *storageproof.Standing

	disk    map[uint32]*file
	index   map[string]place2 // by CID
	posted  wire.ReportReply  // last report that was signed
	rows    generation        // durable since the last report that the chain accepted
	base    generation        // the vault's base
	pending map[[32]byte]generation
	orders  map[uint64]wire.Order
	named   map[uint64]bool // orders that the chain thinks are held
}

// file is a sector on the host's disk.
type file struct {
	bytes     []byte
	kind      storageproof.Kind
	directory []byte
}

type place2 struct {
	sector, cell, length uint32
}

// generation is the host's durable copy of an accepted table.
type generation struct {
	entries  map[uint32][]byte
	tagRoots map[uint32][]byte
	orders   []wire.Order
}

func (g generation) clone() generation {
	c := generation{entries: map[uint32][]byte{}, tagRoots: map[uint32][]byte{}, orders: slices.Clone(g.orders)}
	for id, e := range g.entries {
		c.entries[id], c.tagRoots[id] = e, g.tagRoots[id]
	}
	return c
}

func newSim(t *testing.T) *sim {
	s := &sim{t: t, now: 100, disk: map[uint32]*file{}, index: map[string]place2{}, pending: map[[32]byte]generation{},
		orders: map[uint64]wire.Order{}, named: map[uint64]bool{}}
	s.rows = generation{}.clone()
	s.start()
	return s
}

// start is a new enclave process with fresh keys; the sealing key is the platform's.
func (s *sim) start() {
	if s.v != nil {
		s.v.Close()
	}
	s.lives++
	seed := sha256.Sum256(fmt.Appendf(nil, "identity %d", s.lives))
	s.sign = ed25519.NewKeyFromSeed(seed[:])
	v, err := New(Config{ChainID: testChain, Account: testAccount, Geometry: testGeometry(), SealingKey: [32]byte{9},
		Rand: rand.NewChaCha8(sha256.Sum256(fmt.Appendf(nil, "randomness %d", s.lives)))})
	if err != nil {
		s.t.Fatal(err)
	}
	s.v = v
}

// readySim is a sim whose vault began empty.
func readySim(t *testing.T) *sim {
	s := newSim(t)
	must(t, s.v.RestoreBegin(nil, nil, nil))
	return s
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// code is an error's code, 0 for none.
func code(err error) wire.Code {
	var e *wire.Error
	if errors.As(err, &e) {
		return e.Code
	}
	if err != nil {
		return wire.CodeInternal
	}
	return 0
}

func (s *sim) create(id uint32, kind storageproof.Kind) *file {
	f := &file{bytes: make([]byte, storageproof.MinSector), kind: kind}
	s.disk[id] = f
	return f
}

func (s *sim) fill(id uint32) error {
	for {
		r, err := s.v.Fill(wire.Fill{Sector: id}, nil)
		if err != nil {
			return err
		}
		f := s.disk[id]
		if r.First == 0 {
			f = s.create(id, storageproof.KindFree)
		}
		copy(f.bytes[storageproof.FreeCellOffset(r.First):], r.Cells)
		copy(f.bytes[testGeometry().FreePageOffset(r.First):], r.Digests)
		if r.Done {
			return nil
		}
	}
}

func (s *sim) open(id uint32) error {
	r, err := s.v.Open(wire.Open{Sector: id})
	if err == nil {
		copy(s.create(id, storageproof.KindData).bytes, r.Header)
	}
	return err
}

func (s *sim) seal(id uint32, c, data []byte) (wire.SealReply, error) {
	r, err := s.v.Seal(wire.Seal{Sector: id, CID: c, Data: data}, nil)
	if err == nil {
		s.write(c, r)
	}
	return r, err
}

// write puts a sealed block on the disk.
func (s *sim) write(c []byte, r wire.SealReply) {
	if r.Known {
		return
	}
	f := s.disk[r.Sector]
	for i := range uint32(len(r.Tags) / storageproof.TagSize) {
		copy(f.bytes[storageproof.CellOffset(r.Cell+i):], r.Cells[i*storageproof.CellSize:(i+1)*storageproof.CellSize])
		copy(f.bytes[storageproof.TagOffset(r.Cell+i):], r.Tags[i*storageproof.TagSize:(i+1)*storageproof.TagSize])
	}
	f.directory = append(f.directory, r.Record...)
	s.index[string(c)] = place2{r.Sector, r.Cell, r.Length}
}

// load reads a sealed block's cells and tags from the disk.
func (s *sim) load(c []byte) (cells, tags []byte) {
	p, ok := s.index[string(c)]
	f := s.disk[p.sector]
	if !ok || f == nil {
		return nil, nil
	}
	for i := range uint32(storageproof.CellsOf(uint64(p.length))) {
		cells = append(cells, f.bytes[storageproof.CellOffset(p.cell+i):][:storageproof.CellSize]...)
		tags = append(tags, f.bytes[storageproof.TagOffset(p.cell+i):][:storageproof.TagSize]...)
	}
	return cells, tags
}

func (s *sim) read(c []byte) ([]byte, error) {
	cells, tags := s.load(c)
	r, err := s.v.Read(wire.Read{CID: c, Cells: cells, Tags: tags}, nil)
	return r.Data, err
}

func (s *sim) move(c []byte, to uint32) (wire.SealReply, error) {
	cells, tags := s.load(c)
	r, err := s.v.Move(wire.Move{CID: c, Cells: cells, Tags: tags, Sector: to}, nil)
	if err == nil {
		s.write(c, r)
	}
	return r, err
}

// lose admits that blocks of a sector, or all of it, can't be read.
func (s *sim) lose(id uint32, cids ...[]byte) ([]uint64, error) {
	r, err := s.v.Lose(wire.Lose{Sector: id, CIDs: cids})
	if err != nil {
		return nil, err
	}
	for c, p := range s.index {
		if p.sector == id && (len(cids) == 0 || slices.ContainsFunc(cids, func(x []byte) bool { return string(x) == c })) {
			delete(s.index, c)
		}
	}
	return r.Orders, nil
}

func (s *sim) complete(id uint64, root []byte, size uint64) (wire.CompleteReply, error) {
	o := wire.Order{ID: id, Root: root, Size: size}
	r, err := s.v.Complete(wire.Complete{Order: o})
	if err == nil && len(r.Missing) == 0 {
		s.orders[id] = o
	}
	return r, err
}

func hashAt(h int64) [32]byte { return sha256.Sum256(fmt.Appendf(nil, "block %d", h)) }

func seedAt(h int64) lottery.Seed { return lottery.BlockSeed(testChain, h, hashAt(h)) }

// seed is what the caller of a vault brings for a height.
func (s *sim) seed(h int64) lottery.Seed {
	return seedAt(s.v.SeedHeight(h))
}

// answer reads from the disk what a draw of a height asks for; only the honest part of the table is needed, which the
// host keeps.
func (s *sim) answer(h int64) (wire.Draw, storageproof.Draw) {
	var rows []storageproof.Entry
	for _, e := range s.base.entries {
		row, err := storageproof.UnmarshalEntry(e)
		must(s.t, err)
		rows = append(rows, row)
	}
	table, err := storageproof.NewTable(rows)
	must(s.t, err)
	d, ok := table.Draw(s.seed(h), h, testAccount)
	m := wire.Draw{Height: h, Absent: true}
	f := s.disk[d.Sector]
	if !ok || f == nil {
		return m, d
	}
	g := testGeometry()
	spot := g.Spot(f.kind, d.Cell)
	m.Absent, m.Cell = false, f.bytes[spot.Cell:][:storageproof.CellSize]
	witness := f.bytes[spot.Witness:][:spot.Length]
	if f.kind == storageproof.KindData {
		m.Tag = witness
		return m, d
	}
	var leaves [][32]byte
	for i := range g.FreePages {
		leaves = append(leaves, storageproof.LeafHash(f.bytes[g.FreePageOffset(i*storageproof.PageLeaves):][:storageproof.CellSize]))
	}
	m.Page, m.Path = witness, storageproof.FreePath(leaves, d.Cell)
	return m, d
}

// draw answers every owed height below the chain's next block.
func (s *sim) draw() (answered, failed int) { return s.drawTo(s.now - 1) }

func (s *sim) drawTo(last int64) (answered, failed int) {
	for h := s.v.Next(); h != 0 && h <= last; h++ {
		m, _ := s.answer(h)
		r, err := s.v.Draw(s.seed(h), m)
		must(s.t, err)
		if r.Answered {
			answered++
		} else {
			failed++
		}
	}
	return answered, failed
}

// report asks for a report and makes its generation durable.
func (s *sim) report() (storageproof.Report, error) {
	known := func(h int64) ([32]byte, bool) { return hashAt(h), h < s.now }
	reply, err := s.v.Report(s.now-1, known, func(p []byte) [64]byte { return [64]byte(ed25519.Sign(s.sign, p)) })
	if err != nil {
		return storageproof.Report{}, err
	}
	r, err := storageproof.UnmarshalReport(reply.Report)
	must(s.t, err)
	g := s.rows.clone()
	for i, e := range reply.Changed {
		row, err := storageproof.UnmarshalEntry(e)
		must(s.t, err)
		g.entries[row.ID], g.tagRoots[row.ID] = e, reply.TagRoots[i]
	}
	for _, id := range reply.Removed {
		delete(g.entries, id)
		delete(g.tagRoots, id)
	}
	for _, o := range r.Added {
		g.orders = append(g.orders, wire.Order{ID: o.ID, Root: o.Root, Size: o.Size})
	}
	g.orders = slices.DeleteFunc(g.orders, func(o wire.Order) bool { return slices.Contains(r.Dropped, o.ID) })
	s.pending[r.ID()] = g
	s.posted = reply
	return r, nil
}

// post brings a signed report before the chain, which accepts it in its next block and makes one more: only that proves it.
func (s *sim) post(reply wire.ReportReply) error {
	rules := storageproof.Rules{ChainID: testChain, Account: testAccount, SlotBlocks: 5, Now: s.now, MaxAge: 1000, LateBlocks: 1000, Cap: 1 << 30,
		BlockHash: func(h int64) ([32]byte, bool) { return hashAt(h), h < s.now }}
	copy(rules.SignKey[:], s.sign.Public().(ed25519.PublicKey))
	_, next, err := storageproof.Accept(rules, s.standing, reply.Report, reply.Sig[:])
	if err != nil {
		return err
	}
	s.standing = &next
	s.rows = s.pending[next.Report]
	s.now += 2
	return nil
}

// accept draws what is owed over the vault's base and brings the chain's standing before the vault; what it released is deleted.
func (s *sim) accept() (wire.AcceptedReply, error) {
	if s.v.Status().Counter != s.standing.Counter {
		s.drawTo(s.standing.Since)
	}
	r, err := s.v.Accepted(*s.standing)
	if err == nil {
		s.base = s.rows
		for _, id := range r.Released {
			delete(s.disk, id)
		}
	}
	return r, err
}

// slot lets five blocks pass and does what a node does in them.
func (s *sim) slot() storageproof.Report {
	s.t.Helper()
	s.now += 5
	s.draw()
	r, err := s.report()
	must(s.t, err)
	must(s.t, s.post(s.posted))
	_, err = s.accept()
	must(s.t, err)
	return r
}

// restoreBegin hands a generation's rows and orders to a new vault.
func (s *sim) restoreBegin(g generation) error {
	if s.standing == nil {
		return s.v.RestoreBegin(nil, nil, nil)
	}
	var rows []byte
	for _, id := range sortedIDs(g.entries) {
		rows = append(rows, g.entries[id]...)
	}
	err := s.v.RestoreBegin(s.standing, rows, g.orders)
	if err == nil {
		s.base = g
	}
	return err
}

// restoreLost begins anew on an empty disk.
func (s *sim) restoreLost() error {
	err := s.v.RestoreLost(s.standing)
	if err == nil {
		s.disk, s.index = map[uint32]*file{}, map[string]place2{}
		s.rows, s.base = generation{}.clone(), generation{}.clone()
	}
	return err
}

func sortedIDs[V any](m map[uint32]V) []uint32 {
	var ids []uint32
	for id := range m {
		ids = append(ids, id)
	}
	slices.Sort(ids)
	return ids
}

// restoreSectors brings all data sectors that are on the disk, in parts of an odd size.
func (s *sim) restoreSectors(g generation) (matched, refused []uint32) {
	s.index = map[string]place2{}
	for _, id := range sortedIDs(g.entries) {
		if len(g.tagRoots[id]) == 0 {
			continue
		}
		f := s.disk[id]
		if f == nil {
			continue
		}
		m := wire.RestoreSector{Sector: id, Header: f.bytes[:storageproof.CellSize], TagRoot: [32]byte(g.tagRoots[id])}
		for rest := f.directory; !m.Last; {
			n := min(len(rest), 61)
			m.Directory, rest = rest[:n], rest[n:]
			m.Last = len(rest) == 0
			r, err := s.v.RestoreSector(m)
			must(s.t, err)
			if r.Matched {
				matched = append(matched, id)
				s.reindex(id, g.entries[id])
			} else if m.Last {
				refused = append(refused, id)
			}
			m.Header, m.TagRoot = nil, [32]byte{}
		}
	}
	return matched, refused
}

// reindex reads a matched directory as far as its row goes. Of a block that lies in two sectors, the one brought first counts.
func (s *sim) reindex(id uint32, entry []byte) {
	row, err := storageproof.UnmarshalEntry(entry)
	must(s.t, err)
	for p := s.disk[id].directory; len(p) > 0; {
		r, n, _ := storageproof.ReadRecord(p)
		if n == 0 || r.First >= row.Cells {
			return
		}
		if _, known := s.index[string(r.Key.CID())]; !known {
			s.index[string(r.Key.CID())] = place2{id, r.First, r.Length}
		}
		p = p[n:]
	}
}

// restart kills the enclave and brings the vault back.
func (s *sim) restart() wire.RestoreEndReply {
	s.t.Helper()
	s.start()
	must(s.t, s.restoreBegin(s.rows))
	s.restoreSectors(s.rows)
	r, err := s.v.RestoreEnd()
	must(s.t, err)
	return r
}

func blockOf(codec uint8, data []byte) storageproof.BlockKey {
	return storageproof.BlockKey{Codec: codec, Digest: sha256.Sum256(data)}
}

// rawCID and pbCID name blocks.
func rawCID(data []byte) []byte {
	return blockOf(storageproof.CodecRaw, data).CID()
}

func pbCID(data []byte) []byte {
	return blockOf(storageproof.CodecDagPB, data).CID()
}

// node encodes a dag-pb node.
func node(data []byte, links ...[]byte) []byte {
	var b []byte
	for _, l := range links {
		link := field(nil, tagLinkHash, l)
		link = field(link, tagLinkName, nil)
		link = binary.AppendUvarint(append(link, tagLinkTsize), 12345)
		b = field(b, tagNodeLink, link)
	}
	if data != nil {
		b = field(b, tagNodeData, data)
	}
	return b
}

func field(b []byte, tag byte, body []byte) []byte {
	return append(binary.AppendUvarint(append(b, tag), uint64(len(body))), body...)
}

// dag is a file: leaves under one node.
type dag struct {
	root   []byte
	cids   [][]byte // leaves, then the root
	blocks [][]byte
	size   uint64 // of the distinct blocks
}

func newDag(name string, sizes ...int) dag {
	var d dag
	for i, n := range sizes {
		leaf := expand(fmt.Sprintf("%s %d", name, i), n)
		d.add(rawCID(leaf), leaf)
	}
	root := node([]byte(name), d.cids...)
	d.root = pbCID(root)
	d.add(d.root, root)
	return d
}

func (d *dag) add(c, block []byte) {
	d.cids, d.blocks = append(d.cids, c), append(d.blocks, block)
	d.size += uint64(len(block))
}

// store seals all of a DAG.
func (s *sim) store(sector uint32, d dag) {
	s.t.Helper()
	for i, c := range d.cids {
		_, err := s.seal(sector, c, d.blocks[i])
		must(s.t, err)
	}
}

// readBack tells whether every block of a DAG is read as it was.
func (s *sim) readBack(d dag) error {
	for i, c := range d.cids {
		got, err := s.read(c)
		if err != nil {
			return err
		}
		if !bytes.Equal(got, d.blocks[i]) {
			return errors.New("another block came back")
		}
	}
	return nil
}
