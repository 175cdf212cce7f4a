package vault

import (
	"bytes"
	"fmt"
	"slices"
	"testing"

	"github.com/cella-network/cella/enclave/wire"
	"github.com/cella-network/cella/protocol/storageproof"
)

// TestRestoreMatches: each thing that a data sector's row commits to must be what it was.
func TestRestoreMatches(t *testing.T) {
	s := readySim(t)
	must(t, s.open(1))
	must(t, s.open(2))
	d, e := newDag("d", 5000, 100), newDag("e", 70)
	s.store(1, d)
	s.store(2, e)
	_, err := s.complete(1, d.root, d.size)
	must(t, err)
	s.slot()
	header, dir := s.disk[1].bytes[:storageproof.CellSize], s.disk[1].directory
	tag := [32]byte(s.rows.tagRoots[1])
	_, n, _ := storageproof.ReadRecord(dir)
	flip := func(p []byte, i int) []byte { q := bytes.Clone(p); q[i] ^= 1; return q }
	extra := storageproof.Record{Key: storageproof.BlockKey{Codec: storageproof.CodecRaw}, First: 4, Length: 1}.Append(nil)
	for name, c := range map[string]struct {
		m  wire.RestoreSector
		ok bool
	}{
		"whole":                    {wire.RestoreSector{Header: header, TagRoot: tag, Directory: dir}, true},
		"and what came later":      {wire.RestoreSector{Header: header, TagRoot: tag, Directory: append(bytes.Clone(dir), extra...)}, true},
		"and a torn record":        {wire.RestoreSector{Header: header, TagRoot: tag, Directory: append(bytes.Clone(dir), extra[:9]...)}, true},
		"and garbage":              {wire.RestoreSector{Header: header, TagRoot: tag, Directory: append(bytes.Clone(dir), 0xff)}, true},
		"no header":                {wire.RestoreSector{TagRoot: tag, Directory: dir}, false},
		"short header":             {wire.RestoreSector{Header: header[:4095], TagRoot: tag, Directory: dir}, false},
		"another sector's header":  {wire.RestoreSector{Header: s.disk[2].bytes[:storageproof.CellSize], TagRoot: tag, Directory: dir}, false},
		"changed magic":            {wire.RestoreSector{Header: flip(header, 0), TagRoot: tag, Directory: dir}, false},
		"changed salt":             {wire.RestoreSector{Header: flip(header, 20), TagRoot: tag, Directory: dir}, false},
		"changed key":              {wire.RestoreSector{Header: flip(header, 60), TagRoot: tag, Directory: dir}, false},
		"changed padding":          {wire.RestoreSector{Header: flip(header, 4000), TagRoot: tag, Directory: dir}, false},
		"changed tag root":         {wire.RestoreSector{Header: header, TagRoot: [32]byte{1}, Directory: dir}, false},
		"no directory":             {wire.RestoreSector{Header: header, TagRoot: tag}, false},
		"directory cut":            {wire.RestoreSector{Header: header, TagRoot: tag, Directory: dir[:len(dir)-1]}, false},
		"changed digest":           {wire.RestoreSector{Header: header, TagRoot: tag, Directory: flip(dir, 1)}, false},
		"changed codec":            {wire.RestoreSector{Header: header, TagRoot: tag, Directory: flip(dir, 0)}, false},
		"changed first cell":       {wire.RestoreSector{Header: header, TagRoot: tag, Directory: flip(dir, 36)}, false},
		"changed length":           {wire.RestoreSector{Header: header, TagRoot: tag, Directory: flip(dir, 40)}, false},
		"changed link":             {wire.RestoreSector{Header: header, TagRoot: tag, Directory: flip(dir, len(dir)-1)}, false},
		"first record left out":    {wire.RestoreSector{Header: header, TagRoot: tag, Directory: dir[n:]}, false},
		"another sector's content": {wire.RestoreSector{Header: header, TagRoot: tag, Directory: s.disk[2].directory}, false},
	} {
		s.start()
		must(t, s.restoreBegin(s.rows))
		c.m.Sector, c.m.Last = 1, true
		r, err := s.v.RestoreSector(c.m)
		if err != nil || r.Matched != c.ok {
			t.Errorf("%s: %+v, %v", name, r, err)
		}
		if _, err := s.v.RestoreSector(c.m); code(err) != wire.CodeMissing {
			t.Errorf("%s, twice: %v", name, err)
		}
		end, err := s.v.RestoreEnd()
		must(t, err)
		lost := []uint32{2}
		if !c.ok {
			lost = []uint32{1, 2}
		}
		if !slices.Equal(end.LostSectors, lost) || (len(end.LostOrders) == 0) != c.ok {
			t.Errorf("%s: %+v", name, end)
		}
		if c.ok && s.readBack(d) != nil {
			t.Errorf("%s: not readable", name)
		}
	}
}

// TestRestoreNeedsTheSameVault: another platform, chain or account can't open a sector's header.
func TestRestoreNeedsTheSameVault(t *testing.T) {
	s := readySim(t)
	must(t, s.open(1))
	d := newDag("d", 10)
	s.store(1, d)
	s.slot()
	base := Config{ChainID: testChain, Account: testAccount, Geometry: testGeometry(), SealingKey: [32]byte{9}}
	for name, change := range map[string]func(*Config){
		"same":        func(*Config) {},
		"sealing key": func(c *Config) { c.SealingKey[0] ^= 1 },
		"chain":       func(c *Config) { c.ChainID = "cella-other" },
		"account":     func(c *Config) { c.Account[0] ^= 1 },
	} {
		c := base
		change(&c)
		v, err := New(c)
		must(t, err)
		key := v.secrets.get()
		if ok := v.unwrap(1, s.disk[1].bytes[:storageproof.CellSize], key); ok != (name == "same") {
			t.Errorf("%s: %v", name, ok)
		}
		if name == "sealing key" { // the chain's record and the rows are right, the machine is another
			must(t, v.RestoreBegin(s.standing, s.rows.entries[1], nil))
			r, err := v.RestoreSector(wire.RestoreSector{Sector: 1, Header: s.disk[1].bytes[:storageproof.CellSize],
				TagRoot: [32]byte(s.rows.tagRoots[1]), Directory: s.disk[1].directory, Last: true})
			if err != nil || r.Matched {
				t.Errorf("a sector whose key is not known matches: %v", err)
			}
		}
		if v.unwrap(2, s.disk[1].bytes[:storageproof.CellSize], key) {
			t.Errorf("%s: as another sector", name)
		}
	}
}

func TestRestoreBeginRefuses(t *testing.T) {
	s := readySim(t)
	must(t, s.open(1))
	must(t, s.fill(2))
	d := newDag("d", 10)
	s.store(1, d)
	_, err := s.complete(1, d.root, d.size)
	must(t, err)
	s.slot()
	rows := append(bytes.Clone(s.rows.entries[1]), s.rows.entries[2]...)
	orders := s.rows.orders
	other := *s.standing
	other.Account[0] ^= 1
	flip := func(i int) []byte { q := bytes.Clone(rows); q[i] ^= 1; return q }
	if err := s.v.RestoreBegin(s.standing, rows, orders); code(err) != wire.CodeState {
		t.Errorf("a vault that is ready: %v", err)
	}
	must(t, s.readBack(d))
	s.start()
	for name, c := range map[string]struct {
		standing *storageproof.Standing
		rows     []byte
		orders   []wire.Order
		want     wire.Code
	}{
		"another account":      {&other, rows, orders, wire.CodeInvalid},
		"no rows":              {s.standing, nil, orders, wire.CodeInvalid},
		"a row less":           {s.standing, rows[:storageproof.EntrySize], orders, wire.CodeInvalid},
		"a row twice":          {s.standing, append(bytes.Clone(rows), rows...), orders, wire.CodeInvalid},
		"a torn row":           {s.standing, rows[:len(rows)-1], orders, wire.CodeMalformed},
		"a row of no kind":     {s.standing, flip(4), orders, wire.CodeInvalid},
		"a row with more":      {s.standing, flip(8), orders, wire.CodeInvalid},
		"no orders":            {s.standing, rows, nil, wire.CodeInvalid},
		"another order":        {s.standing, rows, []wire.Order{{ID: 2, Root: d.root, Size: d.size}}, wire.CodeInvalid},
		"an order twice":       {s.standing, rows, append(slices.Clone(orders), orders...), wire.CodeInvalid},
		"an order's other CID": {s.standing, rows, []wire.Order{{ID: 1, Root: d.root[2:], Size: d.size}}, wire.CodeInvalid},
		"an order of no CID":   {s.standing, rows, []wire.Order{{ID: 1, Size: d.size}}, wire.CodeInvalid},
		"rows of nobody":       {nil, rows, nil, wire.CodeInvalid},
		"orders of nobody":     {nil, nil, orders, wire.CodeInvalid},
	} {
		if err := s.v.RestoreBegin(c.standing, c.rows, c.orders); code(err) != c.want {
			t.Errorf("%s: %v", name, err)
		}
		if s.v.phase != fresh {
			t.Errorf("%s: a refused restore changed the vault", name)
		}
	}
}

// TestLostDiskAnswersNothing: a host that has all bytes says that its disk is lost, to be rid of orders or draws. None of the
// heights up to the block that accepts the next report is answered, whatever it brings, and that report says what it said.
func TestLostDiskAnswersNothing(t *testing.T) {
	s := readySim(t)
	must(t, s.open(1))
	must(t, s.fill(2))
	d := newDag("d", 5000)
	s.hold(1, 1, d)
	s.slot()
	s.start()
	must(t, s.v.RestoreLost(s.standing)) // rows, files and index are all there, so the host computes and brings what is drawn
	s.now += 5
	if answered, failed := s.draw(); answered != 0 || failed == 0 {
		t.Errorf("%d answered, %d failed", answered, failed)
	}
	if _, err := s.read(d.root); code(err) != wire.CodeMissing {
		t.Errorf("read of the disk that was lost: %v", err)
	}
	if _, err := s.v.RestoreSector(wire.RestoreSector{Sector: 1, Header: s.disk[1].bytes[:storageproof.CellSize], Directory: s.disk[1].directory, Last: true}); code(err) != wire.CodeState {
		t.Errorf("a sector comes back: %v", err)
	}
	must(t, s.restoreLostAgain())
	must(t, s.open(1))
	s.hold(1, 1, d)
	r, err := s.report()
	must(t, err)
	if !r.Reset || r.Answered != 0 || r.Failed != uint64(r.Height-r.From) || len(r.Dropped) != 0 || len(r.Added) != 1 ||
		r.Orders != storageproof.OrdersRoot(r.Added) {
		t.Errorf("report %+v", r)
	}
	if len(s.posted.Changed) != 1 || len(s.posted.Removed) != 0 {
		t.Errorf("%d rows changed, removed %v", len(s.posted.Changed), s.posted.Removed)
	}
	s.now += 4
	must(t, s.post(s.posted))
	if _, err := s.v.Accepted(*s.standing); code(err) != wire.CodeState {
		t.Fatalf("accepted with draws owed: %v", err)
	}
	_, err = s.accept()
	must(t, err)
	s.now += 5
	if _, failed := s.draw(); failed != 0 {
		t.Errorf("%d draws over the new table failed", failed)
	}
	next, err := s.report()
	must(t, err)
	if next.Reset || next.Failed != uint64(s.standing.Since-r.Height) {
		t.Errorf("the report after it: reset %v, %d failed", next.Reset, next.Failed)
	}
	must(t, s.post(s.posted))
}

// restoreLostAgain forgets the disk on the side of the host too.
func (s *sim) restoreLostAgain() error {
	drawn := s.v.Next()
	if err := s.v.RestoreLost(s.standing); code(err) != wire.CodeState {
		return fmt.Errorf("a vault that is ready forgets its draws: %w", err)
	}
	if s.v.Next() != drawn {
		return fmt.Errorf("next draw %d, was %d", s.v.Next(), drawn)
	}
	s.disk, s.index = map[uint32]*file{}, map[string]place2{}
	s.rows, s.base = generation{}.clone(), generation{}.clone()
	return nil
}

func TestRestoreLostRefuses(t *testing.T) {
	s := readySim(t)
	must(t, s.open(1))
	s.hold(1, 1, newDag("d", 10))
	s.slot()
	if err := s.v.RestoreLost(s.standing); code(err) != wire.CodeState {
		t.Errorf("a vault that is ready: %v", err)
	}
	s.start()
	other := *s.standing
	other.Account[0] ^= 1
	if err := s.v.RestoreLost(&other); code(err) != wire.CodeInvalid {
		t.Errorf("another account: %v", err)
	}
	if err := s.v.RestoreLost(nil); code(err) != wire.CodeInvalid {
		t.Errorf("nothing to lose: %v", err)
	}
	if s.v.phase != fresh {
		t.Error("a refused restore changed the vault")
	}
	must(t, s.restoreBegin(s.rows)) // as long as the vault is restoring, the host may think again
	must(t, s.restoreLost())
	if r, err := s.v.RestoreEnd(); err != nil || len(r.LostSectors)+len(r.LostOrders) != 0 {
		t.Errorf("restore end: %+v, %v", r, err)
	}
	s.v.Close()
	if err := s.v.RestoreLost(s.standing); code(err) != wire.CodeState {
		t.Errorf("a closed vault: %v", err)
	}
}
