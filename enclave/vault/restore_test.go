package vault

import (
	"bytes"
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
