package vault

import (
	"fmt"
	"testing"
	"testing/synctest"

	"github.com/cella-network/cella/enclave/wire"
	"github.com/cella-network/cella/protocol/storageproof"
)

// seal2 is a block between its reservation and its commit.
type seal2 struct {
	v    *Vault
	s    target
	r    *reservation
	data []byte
}

func begin(t *testing.T, v *Vault, id uint32, name string) (*seal2, []byte) {
	t.Helper()
	b := expand(name, 5000)
	k, err := blockKey(rawCID(b))
	must(t, err)
	s, r, _, err := v.reserve(k, nil, len(b), id, false)
	must(t, err)
	return &seal2{v, s, r, b}, b
}

func (x *seal2) end() wire.SealReply {
	n := int(x.r.cells)
	size := n * storageproof.CellSize
	cells, tags := make([]byte, size+storageproof.TagSize), make([]byte, n*storageproof.TagSize)
	x.s.encrypt(x.r, cells, tags, x.data)
	x.v.commit(x.s.sector, x.r)
	return wire.SealReply{Sector: x.s.sector.id, Cell: x.r.first, Length: x.r.length, Cells: cells[:size], Tags: tags, Record: x.r.record}
}

// TestCommitInOrder: a block that is done before the one ahead of it does not count yet, and who asks waits for both.
func TestCommitInOrder(t *testing.T) {
	for name, ask := range map[string]func(s *sim, root []byte, size uint64) error{
		"report": func(s *sim, _ []byte, _ uint64) error {
			r, err := s.report()
			if err == nil && r.Stored != 4*storageproof.CellSize {
				err = fmt.Errorf("%d bytes stored", r.Stored)
			}
			return err
		},
		"table": func(s *sim, _ []byte, _ uint64) error {
			n, _, err := s.v.Table()
			if err == nil && n != 4*storageproof.CellSize {
				err = fmt.Errorf("%d bytes declared", n)
			}
			return err
		},
		"complete": func(s *sim, root []byte, size uint64) error {
			r, err := s.complete(1, root, size)
			if err == nil && len(r.Missing) != 0 {
				err = fmt.Errorf("missing %x", r.Missing)
			}
			return err
		},
		"release": func(s *sim, _ []byte, _ uint64) error { return s.v.Release(wire.Release{Sectors: []uint32{1}}) },
		"close":   func(s *sim, _ []byte, _ uint64) error { s.v.Close(); return nil },
	} {
		synctest.Test(t, func(t *testing.T) {
			s := readySim(t)
			must(t, s.open(1))
			a, _ := begin(t, s.v, 1, "a")
			b, data := begin(t, s.v, 1, "b")
			second := b.end()
			if st := s.v.Status(); st.Stored != 0 {
				t.Errorf("%s: %d bytes count before the block ahead of them", name, st.Stored)
			}
			over := false
			go func() {
				if err := ask(s, rawCID(data), uint64(len(data))); err != nil {
					t.Errorf("%s: %v", name, err)
				}
				over = true
			}()
			synctest.Wait()
			if over {
				t.Errorf("%s did not wait", name)
			}
			first := a.end()
			synctest.Wait()
			if !over {
				t.Errorf("%s still waits", name)
			}
			s.write(rawCID(a.data), first)
			s.write(rawCID(data), second)
			if name == "report" {
				must(t, s.post(s.posted))
				if lost := s.restart(); len(lost.LostSectors) != 0 {
					t.Errorf("lost %v", lost.LostSectors)
				}
			}
		})
	}
}

// TestSameBlockTwice: who seals a block that is being sealed learns where it is once it is there.
func TestSameBlockTwice(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := readySim(t)
		must(t, s.open(1))
		a, data := begin(t, s.v, 1, "a")
		var r wire.SealReply
		var err error
		over := false
		go func() {
			r, err = s.v.Seal(wire.Seal{Sector: 1, CID: rawCID(data), Data: data}, nil)
			over = true
		}()
		synctest.Wait()
		if over {
			t.Fatal("did not wait")
		}
		a.end()
		synctest.Wait()
		if err != nil || !r.Known || r.Cell != 0 {
			t.Errorf("%+v, %v", r, err)
		}
	})
}

// TestClosingWaits: a sector that has to make room for a younger one takes nothing more, but ends what is under way.
func TestClosingWaits(t *testing.T) {
	s := readySim(t)
	must(t, s.open(0))
	a, _ := begin(t, s.v, 0, "a")
	for id := range uint32(maxOpen) {
		must(t, s.open(1+id))
	}
	b := expand("b", 10)
	if _, err := s.seal(0, rawCID(b), b); code(err) != wire.CodeFull {
		t.Errorf("a closing sector: %v", err)
	}
	s.write(rawCID(a.data), a.end())
	if s.v.slots[0].open != nil {
		t.Error("it is still open")
	}
	s.slot()
	if lost := s.restart(); len(lost.LostSectors) != 0 {
		t.Errorf("lost %v", lost.LostSectors)
	}
}
