package vault

import (
	"bytes"
	"crypto/sha256"
	"fmt"
	"slices"
	"sync"
	"testing"

	"github.com/cella-network/cella/enclave/wire"
	"github.com/cella-network/cella/protocol/storageproof"
)

func TestSealRefuses(t *testing.T) {
	s := readySim(t)
	must(t, s.fill(1))
	must(t, s.open(2))
	data := expand("x", 5000)
	big := make([]byte, storageproof.MaxBlock+1)
	otherCodec := append([]byte{1, 0x71}, rawCID(data)[2:]...)
	bad := field(nil, 3<<3|2, nil)
	for name, c := range map[string]struct {
		sector    uint32
		cid, data []byte
		want      wire.Code
	}{
		"another block's CID": {2, rawCID([]byte("y")), data, wire.CodeInvalid},
		"no CID":              {2, nil, data, wire.CodeInvalid},
		"codec":               {2, otherCodec, data, wire.CodeInvalid},
		"inline":              {2, inlineCID(storageproof.CodecRaw, []byte("x")), []byte("x"), wire.CodeInvalid},
		"too large":           {2, rawCID(big), big, wire.CodeInvalid},
		"bad dag-pb":          {2, pbCID(bad), bad, wire.CodeInvalid},
		"free sector":         {1, rawCID(data), data, wire.CodeState},
		"unknown sector":      {9, rawCID(data), data, wire.CodeMissing},
	} {
		if _, err := s.seal(c.sector, c.cid, c.data); code(err) != c.want {
			t.Errorf("%s: %v", name, err)
		}
	}
	if st := s.v.Status(); st.Stored != 0 {
		t.Errorf("refused blocks took %d bytes", st.Stored)
	}
	if _, err := s.seal(2, rawCID(data), data); err != nil {
		t.Error(err)
	}
	v0 := pbCID(node(nil))[2:]
	if _, err := s.seal(2, v0, node(nil)); err != nil {
		t.Errorf("version 0: %v", err)
	}
	if r, err := s.seal(2, pbCID(node(nil)), nil); err != nil || !r.Known {
		t.Errorf("version 1 of the same block: %+v, %v", r, err)
	}
}

// TestSectorEnds: a sector takes what it has cells for and not one more.
func TestSectorEnds(t *testing.T) {
	s := readySim(t)
	must(t, s.open(1))
	cells := testGeometry().DataCells
	for i := range cells/storageproof.UnitCells - 1 {
		b := expand(fmt.Sprint("full", i), storageproof.MaxBlock)
		_, err := s.seal(1, rawCID(b), b)
		must(t, err)
	}
	rest := storageproof.UnitCells * storageproof.CellSize
	small, odd, last := expand("small", 100), expand("odd", rest-storageproof.CellSize+1), expand("last", rest-storageproof.CellSize)
	_, err := s.seal(1, rawCID(small), small)
	must(t, err)
	if _, err := s.seal(1, rawCID(odd), odd); code(err) != wire.CodeFull {
		t.Fatalf("a block of one cell too many: %v", err)
	}
	_, err = s.seal(1, rawCID(last), last)
	must(t, err)
	if _, err := s.seal(1, rawCID(nil), nil); code(err) != wire.CodeFull {
		t.Fatalf("an empty block in a full sector: %v", err)
	}
	if st := s.v.Status(); st.Stored != uint64(cells)*storageproof.CellSize {
		t.Fatalf("stored %d", st.Stored)
	}
	for _, b := range [][]byte{small, last} {
		if got, err := s.read(rawCID(b)); err != nil || !bytes.Equal(got, b) {
			t.Fatalf("read: %v", err)
		}
	}
	s.slot()
	if lost := s.restart(); len(lost.LostSectors) != 0 {
		t.Fatalf("lost %v", lost.LostSectors)
	}
}

// TestOpenIsBounded: opening one more than the limit closes the oldest.
func TestOpenIsBounded(t *testing.T) {
	s := readySim(t)
	block := func(i int) []byte { return expand(fmt.Sprint(i), 10) }
	for id := range uint32(maxOpen + 1) {
		must(t, s.open(id))
		_, err := s.seal(id, rawCID(block(int(id))), block(int(id)))
		must(t, err)
	}
	x := block(-1)
	if _, err := s.seal(0, rawCID(x), x); code(err) != wire.CodeFull {
		t.Errorf("oldest: %v", err)
	}
	if _, err := s.seal(1, rawCID(x), x); err != nil {
		t.Errorf("second oldest: %v", err)
	}
	s.slot()
	if lost := s.restart(); len(lost.LostSectors) != 0 {
		t.Fatalf("lost %v", lost.LostSectors)
	}
}

// TestNoNonceTwice: the same block in the same cell of the same sector number is another ciphertext after each opening.
func TestNoNonceTwice(t *testing.T) {
	seen := map[string]bool{}
	b := expand("x", 100)
	s := readySim(t)
	for range 3 {
		must(t, s.open(1))
		r, err := s.seal(1, rawCID(b), b)
		must(t, err)
		if seen[string(r.Cells)] {
			t.Fatal("the same ciphertext twice")
		}
		seen[string(r.Cells)] = true
		s.start() // the sector was never reported: its number is free again, its key is not
		must(t, s.v.RestoreBegin(nil, nil, nil))
	}
}

func TestReadRefuses(t *testing.T) {
	s := readySim(t)
	must(t, s.open(1))
	a, b := expand("a", 8192), expand("b", 8192)
	for _, x := range [][]byte{a, b} {
		_, err := s.seal(1, rawCID(x), x)
		must(t, err)
	}
	cells, tags := s.load(rawCID(a))
	otherCells, otherTags := s.load(rawCID(b))
	const c, g = storageproof.CellSize, storageproof.TagSize
	swap := func(p []byte, n int) []byte { return append(bytes.Clone(p[n:2*n]), p[:n]...) }
	for name, m := range map[string]struct {
		m    wire.Read
		want wire.Code
	}{
		"unknown":       {wire.Read{CID: rawCID(nil)}, wire.CodeMissing},
		"no CID":        {wire.Read{}, wire.CodeInvalid},
		"no cells":      {wire.Read{CID: rawCID(a), Tags: tags}, wire.CodeInvalid},
		"no tags":       {wire.Read{CID: rawCID(a), Cells: cells}, wire.CodeInvalid},
		"more cells":    {wire.Read{CID: rawCID(a), Cells: append(bytes.Clone(cells), cells[:c]...), Tags: append(bytes.Clone(tags), tags[:g]...)}, wire.CodeInvalid},
		"another block": {wire.Read{CID: rawCID(a), Cells: otherCells, Tags: otherTags}, wire.CodeInvalid},
		"cells swapped": {wire.Read{CID: rawCID(a), Cells: swap(cells, c), Tags: swap(tags, g)}, wire.CodeInvalid},
		"tags swapped":  {wire.Read{CID: rawCID(a), Cells: cells, Tags: swap(tags, g)}, wire.CodeInvalid},
	} {
		r, err := s.v.Read(m.m, nil)
		if code(err) != m.want || r.Data != nil {
			t.Errorf("%s: %v", name, err)
		}
		if n := len(r.Data); n != 0 {
			t.Errorf("%s: %d bytes", name, n)
		}
		if _, err := s.v.Move(wire.Move{CID: m.m.CID, Cells: m.m.Cells, Tags: m.m.Tags, Sector: 1}, nil); code(err) != m.want {
			t.Errorf("move, %s: %v", name, err)
		}
	}
}

// TestFailedReadLeavesNothing: a block whose second cell is wrong does not leave its first one behind.
func TestFailedReadLeavesNothing(t *testing.T) {
	s := readySim(t)
	must(t, s.open(1))
	a := expand("a", 8192)
	_, err := s.seal(1, rawCID(a), a)
	must(t, err)
	cells, tags := s.load(rawCID(a))
	cells[5000] ^= 1
	buf := make([]byte, BufferSize)
	if _, err := s.v.Read(wire.Read{CID: rawCID(a), Cells: cells, Tags: tags}, buf); code(err) != wire.CodeInvalid {
		t.Fatal(err)
	}
	if bytes.Contains(buf, a[:16]) {
		t.Error("plaintext is left in the buffer")
	}
}

// TestBuffers: with a buffer, bulk requests write nowhere else, and come to the same.
func TestBuffers(t *testing.T) {
	s := readySim(t)
	must(t, s.open(1))
	buf := make([]byte, BufferSize)
	inside := func(p []byte) bool { return cap(p) > 0 && &p[:1][0] == &buf[0] }
	b := expand("b", storageproof.MaxBlock)
	r, err := s.v.Seal(wire.Seal{Sector: 1, CID: rawCID(b), Data: b}, buf)
	must(t, err)
	s.write(rawCID(b), r)
	if !inside(r.Cells) {
		t.Error("Seal allocated")
	}
	cells, tags := s.load(rawCID(b))
	got, err := s.v.Read(wire.Read{CID: rawCID(b), Cells: cells, Tags: tags}, buf)
	if err != nil || !inside(got.Data) || !bytes.Equal(got.Data, b) {
		t.Errorf("Read: %v", err)
	}
	f, err := s.v.Fill(wire.Fill{Sector: 2}, buf)
	if err != nil || !inside(f.Cells) {
		t.Errorf("Fill: %v", err)
	}
}

func TestFill(t *testing.T) {
	s := readySim(t)
	g := testGeometry()
	must(t, s.fill(1))
	must(t, s.fill(2))
	if bytes.Equal(s.disk[1].bytes[:storageproof.CellSize], s.disk[2].bytes[:storageproof.CellSize]) {
		t.Error("two sectors alike")
	}
	seen := map[[32]byte]bool{}
	var leaves [][32]byte
	f := s.disk[1].bytes
	for i := range g.FreeCells {
		d := sha256.Sum256(f[storageproof.FreeCellOffset(i):][:storageproof.CellSize])
		page := f[g.FreePageOffset(i):][:storageproof.CellSize]
		if seen[d] || !bytes.Equal(page[i%storageproof.PageLeaves*32:][:32], d[:]) {
			t.Fatalf("cell %d: doubled, or not the one of its digest", i)
		}
		seen[d] = true
		if i%storageproof.PageLeaves == 0 {
			leaves = append(leaves, storageproof.LeafHash(page))
		}
	}
	s.slot()
	row, err := storageproof.UnmarshalEntry(s.rows.entries[1])
	must(t, err)
	if want := (storageproof.Entry{ID: 1, Kind: storageproof.KindFree, Cells: g.FreeCells, Root: storageproof.FreeRoot(leaves)}); row != want {
		t.Errorf("row %+v, want %+v", row, want)
	}
}

// TestFillAtOnce: runs of one sector may be made concurrently; one of them ends it, and its key is wiped.
func TestFillAtOnce(t *testing.T) {
	s := readySim(t)
	runs := int(testGeometry().FreeCells+runCells-1) / runCells
	var wg sync.WaitGroup
	ended := make(chan []byte, runs)
	for range runs {
		wg.Go(func() {
			if r, err := s.v.Fill(wire.Fill{Sector: 1}, nil); err != nil {
				t.Error(err)
			} else if r.Done {
				ended <- r.Entry
			}
		})
	}
	wg.Wait()
	if len(ended) != 1 {
		t.Fatalf("%d runs ended the sector", len(ended))
	}
	if st := s.v.Status(); st.Free != uint64(testGeometry().FreeCells)*storageproof.CellSize {
		t.Errorf("free %d", st.Free)
	}
	live := 0
	for _, slab := range s.v.secrets.slabs {
		for i := 0; i < len(slab); i += keySize {
			if !bytes.Equal(slab[i:i+keySize], make([]byte, keySize)) {
				live++
			}
		}
	}
	if live != 1 {
		t.Errorf("%d keys live, want the sealing key alone", live)
	}
}

// TestSealAtOnce: blocks sealed concurrently into two sectors, some of them by several goroutines, while reports are made. Every report covers
// whole blocks, and what was reported comes back after a restart.
func TestSealAtOnce(t *testing.T) {
	s := readySim(t)
	must(t, s.open(1))
	must(t, s.open(2))
	const workers, each = 6, 40
	var mu sync.Mutex
	replies := map[string]wire.SealReply{}
	blocks := map[string][]byte{}
	fresh := 0
	var wg sync.WaitGroup
	for w := range workers {
		wg.Go(func() {
			for i := range each {
				b := expand(fmt.Sprint("block ", i, w%3), 3000*(i%5)) // each by two workers; some empty
				c := rawCID(b)
				r, err := s.v.Seal(wire.Seal{Sector: uint32(1 + i%2), CID: c, Data: b}, nil)
				if err != nil {
					t.Error(err)
					return
				}
				mu.Lock()
				if !r.Known {
					fresh++
					replies[string(c)] = r
				}
				blocks[string(c)] = b
				mu.Unlock()
				if _, err := s.v.Complete(wire.Complete{Order: wire.Order{ID: uint64(1000*w + i), Root: c, Size: uint64(len(b))}}); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Go(func() {
		for range 10 {
			if _, _, err := s.v.Table(); err != nil {
				t.Error(err)
			}
			s.v.Status()
		}
	})
	wg.Wait()
	if fresh != len(blocks) || len(replies) != len(blocks) {
		t.Fatalf("%d blocks sealed, %d distinct", fresh, len(blocks))
	}
	// The host writes records in the order of cells, whichever reply came first.
	var sorted []wire.SealReply
	byCell := map[[2]uint32]string{}
	for c, r := range replies {
		sorted = append(sorted, r)
		byCell[[2]uint32{r.Sector, r.Cell}] = c
	}
	slices.SortFunc(sorted, func(a, b wire.SealReply) int { return int(a.Cell) - int(b.Cell) })
	for _, r := range sorted {
		s.write([]byte(byCell[[2]uint32{r.Sector, r.Cell}]), r)
	}
	s.slot()
	if lost := s.restart(); len(lost.LostSectors) != 0 || len(lost.LostOrders) != 0 {
		t.Fatalf("lost %+v", lost)
	}
	for c, b := range blocks {
		if got, err := s.read([]byte(c)); err != nil || !bytes.Equal(got, b) {
			t.Fatalf("read: %v", err)
		}
	}
}
