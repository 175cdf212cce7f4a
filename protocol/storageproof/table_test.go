package storageproof

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"testing"

	"pgregory.net/rapid"

	"github.com/cella-network/cella/protocol/lottery"
)

func TestGeometry(t *testing.T) {
	for _, c := range []struct {
		size              uint64
		data, free, pages uint32
	}{
		{4 << 20, 3 * 256, 1016, 8},
		{16 << 20, 15 * 256, 4064, 32},
		{256 << 20, 255 * 256, 65027, 509},
		{1 << 30, 1020 * 256, 260111, 2033},
	} {
		g, err := NewGeometry(c.size)
		if err != nil || g != (Geometry{c.size, c.data, c.free, c.pages}) {
			t.Errorf("%d: %+v, %v", c.size, g, err)
		}
	}
	for _, size := range []uint64{0, 4096, 4<<20 - 4096, 4<<20 + 1, 1<<30 + 4096} {
		if _, err := NewGeometry(size); err == nil {
			t.Errorf("%d: accepted", size)
		}
	}
}

// TestLayout: no two things of a file share a byte, and all lie inside it.
func TestLayout(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		g, err := NewGeometry(rapid.Uint64Range(MinSector/CellSize, MaxSector/CellSize).Draw(t, "pages") * CellSize)
		if err != nil {
			t.Fatal(err)
		}
		size := int64(g.SectorSize)
		last := g.DataCells - 1
		if TagOffset(last)+TagSize > size || CellOffset(0) != CellSize || g.FreePageOffset(g.FreeCells-1)+CellSize > size {
			t.Fatalf("%+v does not fit its file", g)
		}
		if g.FreePages*PageLeaves < g.FreeCells {
			t.Fatalf("%+v: too few pages of digests", g)
		}
		a := rapid.Uint32Range(0, last-1).Draw(t, "cell")
		s, n := g.Spot(KindData, a), g.Spot(KindData, a+1)
		page := TagPageOffset(a)
		if s.Cell%CellSize != 0 || s.Witness != page+int64(a%UnitCells)*TagSize || s.Length != TagSize || s.Cell >= page || s.Cell < page-UnitCells*CellSize {
			t.Fatalf("cell %d: %+v", a, s)
		}
		if n.Cell <= s.Cell || n.Witness <= s.Witness || n.Cell == page {
			t.Fatalf("cell %d: %+v then %+v", a, s, n)
		}
		f := rapid.Uint32Range(0, g.FreeCells-1).Draw(t, "free cell")
		if s := g.Spot(KindFree, f); s.Cell != int64(f)*CellSize || s.Witness < int64(g.FreeCells)*CellSize || s.Length != CellSize {
			t.Fatalf("free cell %d: %+v", f, s)
		}
	})
	for n, want := range map[uint64]uint64{0: 1, 1: 1, 4096: 1, 4097: 2, MaxBlock: 256, 1<<64 - 1: 1 << 52} {
		if got := CellsOf(n); got != want {
			t.Errorf("CellsOf(%d) = %d, want %d", n, got, want)
		}
	}
}

func entries(t *rapid.T) []Entry {
	return rapid.SliceOfNDistinct(rapid.Custom(func(t *rapid.T) Entry {
		return Entry{ID: rapid.Uint32().Draw(t, "id"), Kind: Kind(rapid.IntRange(1, 2).Draw(t, "kind")),
			Cells: rapid.Uint32Range(0, 1000).Draw(t, "cells"), Root: [32]byte{rapid.Byte().Draw(t, "root")}}
	}), 0, 20, func(e Entry) uint32 { return e.ID }).Draw(t, "entries")
}

// TestTableHasNoOrder: root and draw depend on the rows, not on their order.
func TestTableHasNoOrder(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		rows := entries(t)
		a, err := NewTable(rows)
		if err != nil {
			t.Fatal(err)
		}
		b, err := NewTable(rapid.Permutation(rows).Draw(t, "order"))
		if err != nil {
			t.Fatal(err)
		}
		seed := lottery.Seed{rapid.Byte().Draw(t, "seed")}
		da, oka := a.Draw(seed, 5, [20]byte{1})
		db, okb := b.Draw(seed, 5, [20]byte{1})
		if a.Root() != b.Root() || da != db || oka != okb {
			t.Fatal("order matters")
		}
		var cells, free uint64
		found := !oka
		for _, e := range rows {
			cells += uint64(e.Cells)
			if e.Kind == KindFree {
				free += uint64(e.Cells)
			}
			found = found || e.ID == da.Sector && da.Cell < e.Cells
		}
		if !found || oka != (cells > 0) || a.Free() != free*CellSize || a.Stored() != (cells-free)*CellSize {
			t.Fatalf("draw %+v, free %d, stored %d", da, a.Free(), a.Stored())
		}
	})
}

// TestDrawIsUniform is a chi-square test with fixed seeds over sectors of unequal size: every cell is as likely as any other.
// 150 cells, 149 degrees of freedom, 99.99 % below 221.
func TestDrawIsUniform(t *testing.T) {
	table, err := NewTable([]Entry{{ID: 9, Kind: KindFree, Cells: 100}, {ID: 2, Kind: KindData, Cells: 1}, {ID: 3, Kind: KindData}, {ID: 4, Kind: KindData, Cells: 49}, {ID: 12, Kind: KindData}})
	if err != nil {
		t.Fatal(err)
	}
	const draws = 150 * 400
	count := map[Draw]float64{}
	for h := range int64(draws) {
		d, _ := table.Draw(lottery.BlockSeed("c", h, [32]byte{}), 0, [20]byte{})
		count[d]++
	}
	chi := 0.0
	for _, c := range count {
		chi += (c - 400) * (c - 400) / 400
	}
	if len(count) != 150 || chi > 221 {
		t.Errorf("chi-square %.1f over %d cells", chi, len(count))
	}
}

// TestDrawIsBound: seed, account and table each change the question.
func TestDrawIsBound(t *testing.T) {
	rows := []Entry{{ID: 1, Kind: KindFree, Cells: 1 << 31}}
	a, _ := NewTable(rows)
	rows[0].Root[0] = 1
	b, _ := NewTable(rows)
	seed := lottery.Seed{1}
	base, _ := a.Draw(seed, 1, [20]byte{1})
	for name, d := range map[string]func() (Draw, bool){
		"seed":    func() (Draw, bool) { return a.Draw(lottery.Seed{2}, 1, [20]byte{1}) },
		"account": func() (Draw, bool) { return a.Draw(seed, 1, [20]byte{2}) },
		"table":   func() (Draw, bool) { return b.Draw(seed, 1, [20]byte{1}) },
	} {
		if got, _ := d(); got == base {
			t.Errorf("another %s asks the same", name)
		}
	}
	if _, err := NewTable([]Entry{{ID: 1}, {ID: 2}, {ID: 1}}); err == nil {
		t.Error("a table names a sector twice")
	}
}

// naiveRoot is the tree by its definition: an odd node moves up unchanged.
func naiveRoot(nodes [][32]byte) [32]byte {
	if len(nodes) == 1 {
		return nodes[0]
	}
	var up [][32]byte
	for ; len(nodes) > 1; nodes = nodes[2:] {
		up = append(up, sha256.Sum256(append(append([]byte{1}, nodes[0][:]...), nodes[1][:]...)))
	}
	return naiveRoot(append(up, nodes...))
}

func TestMerkle(t *testing.T) {
	if MerkleRoot(nil) != sha256.Sum256(nil) {
		t.Error("root of nothing")
	}
	rapid.Check(t, func(t *rapid.T) {
		n := rapid.IntRange(1, 70).Draw(t, "leaves")
		leaves := make([][32]byte, n)
		for i := range leaves {
			leaves[i] = LeafHash([]byte{byte(i)})
		}
		root := MerkleRoot(append([][32]byte(nil), leaves...))
		if root != naiveRoot(leaves) {
			t.Fatal("root")
		}
		i := rapid.IntRange(0, n-1).Draw(t, "i")
		var path []byte
		for _, h := range MerklePath(leaves, i) {
			path = append(path, h[:]...)
		}
		if got, ok := foldPath(leaves[i], i, n, path); !ok || got != root {
			t.Fatal("path does not lead to the root")
		}
		if _, ok := foldPath(leaves[i], i, n, append(path, 0)); ok {
			t.Fatal("a longer path passes")
		}
		if len(path) > 0 {
			if _, ok := foldPath(leaves[i], i, n, path[:len(path)-1]); ok {
				t.Fatal("a shorter path passes")
			}
		}
		j := rapid.IntRange(0, n-1).Draw(t, "j")
		if got, ok := foldPath(leaves[i], j, n, path); i != j && ok && got == root {
			t.Fatalf("leaf %d passes as leaf %d", i, j)
		}
	})
}

// freeSector is a small free sector's pages of digests, over cells that hold their number.
func freeSector(g Geometry) (cell func(uint32) []byte, pages [][]byte, leaves [][32]byte) {
	cell = func(i uint32) []byte {
		c := make([]byte, CellSize)
		binary.BigEndian.PutUint32(c, i)
		return c
	}
	for first := uint32(0); first < g.FreeCells; first += PageLeaves {
		page := make([]byte, CellSize)
		for i := first; i < min(first+PageLeaves, g.FreeCells); i++ {
			d := sha256.Sum256(cell(i))
			copy(page[(i-first)*DigestSize:], d[:])
		}
		pages = append(pages, page)
		leaves = append(leaves, LeafHash(page))
	}
	return cell, pages, leaves
}

func TestVerifyFree(t *testing.T) {
	g, _ := NewGeometry(MinSector + 100*CellSize) // last page partial, odd number of pages
	cell, pages, leaves := freeSector(g)
	if len(pages) != int(g.FreePages) || g.FreePages%2 == 0 || g.FreeCells%PageLeaves == 0 {
		t.Fatalf("%+v: want odd pages and a partial last one", g)
	}
	root := FreeRoot(append([][32]byte(nil), leaves...))
	for _, i := range []uint32{0, 1, 127, 128, 500, g.FreeCells - 1} {
		data, page, path := cell(i), pages[i/PageLeaves], FreePath(leaves, i)
		if !VerifyFree(root, g, i, data, page, path) {
			t.Fatalf("cell %d does not verify", i)
		}
		flip := func(p []byte, at int) []byte { q := bytes.Clone(p); q[at] ^= 1; return q }
		for name, ok := range map[string]bool{
			"other root":       VerifyFree([32]byte{}, g, i, data, page, path),
			"other cell":       VerifyFree(root, g, (i+1)%g.FreeCells, data, page, path),
			"out of range":     VerifyFree(root, g, g.FreeCells, data, page, path),
			"changed data":     VerifyFree(root, g, i, flip(data, 4095), page, path),
			"short data":       VerifyFree(root, g, i, data[:4095], page, path),
			"changed page":     VerifyFree(root, g, i, data, flip(page, int(i+1)%PageLeaves*DigestSize), path),
			"short page":       VerifyFree(root, g, i, data, page[:4064], path),
			"no path":          VerifyFree(root, g, i, data, page, nil),
			"longer path":      VerifyFree(root, g, i, data, page, append(bytes.Clone(path), make([]byte, 32)...)),
			"page of neighbor": VerifyFree(root, g, i, data, pages[(i/PageLeaves+1)%g.FreePages], path),
		} {
			if ok {
				t.Errorf("cell %d: %s verifies", i, name)
			}
		}
	}
	if FreePath(leaves, g.FreeCells+PageLeaves) != nil {
		t.Error("a path for a cell that is not there")
	}
	// Behind the last cell the page holds zeros: they are the digest of nothing that anybody knows, and out of range.
	if VerifyFree(root, g, g.FreeCells, make([]byte, CellSize), pages[len(pages)-1], FreePath(leaves, g.FreeCells-1)) {
		t.Error("padding verifies")
	}
}

// TestDataRootBinds: every part of a data sector's root matters, and the parts are not interchangeable.
func TestDataRootBinds(t *testing.T) {
	a, b, c := [32]byte{1}, [32]byte{2}, [32]byte{3}
	base := DataRoot(1, a, 2, b, c)
	for name, root := range map[string][32]byte{
		"id": DataRoot(2, a, 2, b, c), "cells": DataRoot(1, a, 3, b, c), "header": DataRoot(1, b, 2, b, c),
		"tags": DataRoot(1, a, 2, a, c), "directory": DataRoot(1, a, 2, b, a), "order": DataRoot(1, b, 2, a, c),
	} {
		if root == base {
			t.Errorf("%s does not matter", name)
		}
	}
}

func FuzzEntry(f *testing.F) {
	f.Add(Entry{ID: 1, Kind: KindFree, Cells: 2, Root: [32]byte{3}}.Append(nil))
	f.Add(Entry{ID: 1, Kind: 3}.Append(nil))
	f.Fuzz(func(t *testing.T, p []byte) {
		e, err := UnmarshalEntry(p)
		if err == nil && (!bytes.Equal(e.Append(nil), p) || e.Kind != KindFree && e.Kind != KindData) {
			t.Fatal("an entry has two encodings")
		}
	})
}

// FuzzFreeProof looks for a second way to show a cell: of true cells and pages, one byte changed or none, and any path, only the
// true ones of the cell that was asked for verify.
func FuzzFreeProof(f *testing.F) {
	g, _ := NewGeometry(MinSector)
	cell, pages, leaves := freeSector(g)
	root := FreeRoot(append([][32]byte(nil), leaves...))
	f.Add(uint32(0), uint32(0), uint32(0), uint16(0), byte(0), FreePath(leaves, 0))
	f.Add(uint32(700), uint32(700), uint32(700/PageLeaves), uint16(5000), byte(1), FreePath(leaves, 700))
	f.Add(g.FreeCells, uint32(0), uint32(7), uint16(0), byte(0), []byte{})
	f.Fuzz(func(t *testing.T, asked, shown, page uint32, at uint16, by byte, path []byte) {
		data, p := cell(shown), bytes.Clone(pages[page%g.FreePages])
		if at %= 2 * CellSize; at < CellSize {
			data[at] ^= by
		} else {
			p[at-CellSize] ^= by
		}
		honest := asked < g.FreeCells && bytes.Equal(data, cell(asked)) && bytes.Equal(p, pages[asked/PageLeaves]) && bytes.Equal(path, FreePath(leaves, asked))
		if VerifyFree(root, g, asked, data, p, path) != honest {
			t.Fatalf("honest %v, but verifies: %v", honest, !honest)
		}
	})
}

// TestDrawsOfOneSeed: after a report several heights share a seed; each of them draws for itself.
func TestDrawsOfOneSeed(t *testing.T) {
	table, err := NewTable([]Entry{{ID: 1, Kind: KindFree, Cells: 1 << 16}})
	if err != nil {
		t.Fatal(err)
	}
	a, _ := table.Draw(lottery.Seed{1}, 10, [20]byte{1})
	b, _ := table.Draw(lottery.Seed{1}, 11, [20]byte{1})
	if a.Cell == b.Cell {
		t.Errorf("the heights 10 and 11 draw the same cell %d", a.Cell)
	}
}
