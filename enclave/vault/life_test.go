package vault

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
	"testing"

	"github.com/cockroachdb/datadriven"

	"github.com/cella-network/cella/enclave/wire"
	"github.com/cella-network/cella/protocol/storageproof"
)

var codes = map[wire.Code]string{wire.CodeMalformed: "malformed", wire.CodeState: "state", wire.CodeInvalid: "invalid",
	wire.CodeFull: "full", wire.CodeMissing: "missing", wire.CodeInternal: "internal"}

func said(err error) string {
	var e *wire.Error
	if errors.As(err, &e) {
		return fmt.Sprintf("refused (%s): %s\n", codes[e.Code], e.Message)
	}
	return err.Error() + "\n"
}

// TestLife runs the transcripts in testdata: lives of a vault, its host and its chain.
func TestLife(t *testing.T) {
	datadriven.Walk(t, "testdata/life", func(t *testing.T, path string) {
		l := &life{sim: newSim(t), files: map[string]dag{}, reports: map[string]wire.ReportReply{}, saved: map[string]generation{}}
		datadriven.RunTest(t, path, l.run)
		l.v.Close()
	})
}

type life struct {
	*sim
	files   map[string]dag
	reports map[string]wire.ReportReply // signed ones, by name
	saved   map[string]generation
}

func (l *life) run(t *testing.T, d *datadriven.TestData) string {
	l.t = t
	str := func(name string) (s string) {
		d.MaybeScanArgs(t, name, &s)
		return s
	}
	num := func(name string) uint64 {
		if str(name) == "" {
			return 0
		}
		v, err := strconv.ParseUint(str(name), 10, 64)
		must(t, err)
		return v
	}
	sector := uint32(num("sector"))
	ok := func(err error) string {
		if err != nil {
			return said(err)
		}
		return "ok\n"
	}
	switch d.Cmd {
	case "restart":
		l.start()
		return "a new enclave with fresh keys\n"
	case "restore":
		return l.restoreAll(d)
	case "fill":
		return ok(l.fill(sector))
	case "open":
		return ok(l.open(sector))
	case "file":
		var sizes []int
		for f := range strings.SplitSeq(str("leaves"), "+") {
			n, err := strconv.Atoi(f)
			must(t, err)
			sizes = append(sizes, n)
		}
		f := newDag(str("content"), sizes...)
		l.files[str("name")] = f
		return fmt.Sprintf("%d blocks, %d bytes\n", len(f.blocks), f.size)
	case "seal":
		return l.sealFile(str("file"), sector, int(num("blocks")))
	case "read":
		if err := l.readBack(l.files[str("file")]); err != nil {
			return said(err)
		}
		return "every block is as it was\n"
	case "move":
		for _, c := range l.files[str("file")].cids {
			if _, err := l.move(c, sector); err != nil {
				return said(err)
			}
		}
		return "ok\n"
	case "complete":
		f := l.files[str("file")]
		size := f.size
		if d.HasArg("size") {
			size = num("size")
		}
		r, err := l.complete(num("order"), f.root, size)
		if err != nil {
			return said(err)
		}
		for i, c := range f.cids {
			if string(c) == string(r.Missing) {
				return fmt.Sprintf("block %d of %d is missing\n", i+1, len(f.cids))
			}
		}
		return fmt.Sprintf("held: %d blocks, %d bytes\n", r.Blocks, r.Size)
	case "drop":
		return ok(l.v.Drop(wire.Drop{Orders: []uint64{num("order")}}))
	case "release":
		var ids []uint32
		for f := range strings.SplitSeq(str("sectors"), "+") {
			n, err := strconv.ParseUint(f, 10, 32)
			must(t, err)
			ids = append(ids, uint32(n))
		}
		return ok(l.v.Release(wire.Release{Sectors: ids}))
	case "blocks":
		l.now += int64(num("n"))
		return fmt.Sprintf("the chain is at block %d\n", l.now-1)
	case "draw":
		answered, failed := l.draw()
		return fmt.Sprintf("%d answered, %d failed; next is %d\n", answered, failed, l.v.Next())
	case "report":
		r, err := l.sim.report()
		if err != nil {
			return said(err)
		}
		l.reports[str("name")] = l.posted
		return l.describe(r)
	case "same":
		if string(l.reports[str("a")].Report) == string(l.reports[str("b")].Report) && l.reports[str("a")].Sig == l.reports[str("b")].Sig {
			return "the same report\n"
		}
		return "two reports\n"
	case "post":
		if err := l.post(l.reports[str("name")]); err != nil {
			return err.Error() + "\n"
		}
		return fmt.Sprintf("the chain accepts report %d: proven %d, failed %d\n", l.standing.Counter, l.standing.Proven, l.standing.Failed)
	case "accepted":
		r, err := l.accept()
		if err != nil {
			return said(err)
		}
		return fmt.Sprintf("report %d is the base, released %v, next draw %d\n", r.Counter, r.Released, l.v.Next())
	case "save":
		l.saved[str("name")] = l.rows.clone()
		return "ok\n"
	case "lose":
		var cids [][]byte
		for f := range strings.FieldsFuncSeq(str("blocks"), func(r rune) bool { return r == '+' }) {
			n, err := strconv.Atoi(f)
			must(t, err)
			cids = append(cids, l.files[str("file")].cids[n-1])
		}
		orders, err := l.lose(sector, cids...)
		if err != nil {
			return said(err)
		}
		return fmt.Sprintf("orders %v are broken\n", orders)
	case "delete":
		delete(l.disk, sector)
		return "ok\n"
	case "damage":
		f := l.disk[sector]
		switch str("what") {
		case "header":
			f.bytes[100] ^= 1
		case "directory":
			f.directory[5] ^= 1
		case "cells":
			for i := int64(storageproof.CellSize); i < storageproof.TagPageOffset(0); i += storageproof.CellSize {
				f.bytes[i] ^= 1
			}
		case "tags":
			for i := range int64(storageproof.UnitCells) {
				f.bytes[storageproof.TagPageOffset(0)+i*storageproof.TagSize] ^= 1
			}
		default: // every cell of a free sector
			for i := range testGeometry().FreeCells {
				f.bytes[storageproof.FreeCellOffset(i)] ^= 1
			}
		}
		return "ok\n"
	case "status":
		r := l.v.Status()
		declared, _, err := l.v.Table()
		if err != nil {
			return said(err)
		}
		if declared != r.Free+r.Stored {
			t.Fatalf("declared %d, status %+v", declared, r)
		}
		return fmt.Sprintf("report %d, drawn to %d, free %d cells, stored %d cells, orders %d\n",
			r.Counter, r.Drawn, r.Free/storageproof.CellSize, r.Stored/storageproof.CellSize, r.Orders)
	}
	t.Fatalf("unknown command %q", d.Cmd)
	return ""
}

func (l *life) sealFile(name string, sector uint32, limit int) string {
	f := l.files[name]
	var b strings.Builder
	for i, c := range f.cids {
		if limit > 0 && i == limit {
			break
		}
		r, err := l.sim.seal(sector, c, f.blocks[i])
		switch {
		case err != nil:
			return b.String() + said(err)
		case r.Known:
			fmt.Fprintf(&b, "block %d: known, in sector %d at cell %d\n", i+1, r.Sector, r.Cell)
		default:
			fmt.Fprintf(&b, "block %d: sector %d, cell %d, %d bytes in %d cells\n", i+1, r.Sector, r.Cell, r.Length, len(r.Tags)/storageproof.TagSize)
		}
	}
	return b.String()
}

func (l *life) describe(r storageproof.Report) string {
	var added []uint64
	for _, o := range r.Added {
		added = append(added, o.ID)
	}
	var changed []uint32
	for _, e := range l.posted.Changed {
		row, err := storageproof.UnmarshalEntry(e)
		must(l.t, err)
		changed = append(changed, row.ID)
	}
	reset := ""
	if r.Reset {
		reset = "the disk is lost; "
	}
	return fmt.Sprintf("report %d, heights %d..%d: %d answered, %d failed; %d sectors, free %d cells, stored %d cells\n%sorders added %v, dropped %v; rows changed %v, removed %v\n",
		r.Counter, r.From, r.Height, r.Answered, r.Failed, r.Sectors, r.Free/storageproof.CellSize, r.Stored/storageproof.CellSize,
		reset, added, r.Dropped, changed, l.posted.Removed)
}

func (l *life) restoreAll(d *datadriven.TestData) string {
	if d.HasArg("lost") {
		if err := l.restoreLost(); err != nil {
			return said(err)
		}
		return fmt.Sprintf("nothing is held; next draw %d\n", l.v.Next())
	}
	g := l.rows
	var from string
	if d.MaybeScanArgs(l.t, "from", &from) {
		g = l.saved[from]
	}
	if d.HasArg("no-orders") {
		g = g.clone()
		g.orders = nil
	}
	if err := l.restoreBegin(g); err != nil {
		return said(err)
	}
	matched, refused := l.restoreSectors(g)
	r, err := l.v.RestoreEnd()
	if err != nil {
		return said(err)
	}
	return fmt.Sprintf("data sectors matched %v, refused %v; lost sectors %v, lost orders %v; next draw %d\n",
		matched, refused, r.LostSectors, r.LostOrders, l.v.Next())
}
