package disk

import (
	"bytes"
	"testing"

	"github.com/cella-network/cella/protocol/storageproof"
)

// FuzzDirectory holds that no bytes break the reader, that what it accepts lies in the log and covers the cells without a gap,
// and that it says the same of the accepted bytes alone.
func FuzzDirectory(f *testing.F) {
	a, b := block(1, 1<<20), block(2, 5)
	b.key.Codec = storageproof.CodecDagPB
	log := append(a.record(0), b.record(256)...)
	f.Add(log, uint32(257))
	f.Add(log[:50], uint32(257))
	f.Add(append(log, 0x70, 1, 2), uint32(257))
	f.Add([]byte{}, uint32(0))
	f.Fuzz(func(t *testing.T, log []byte, cells uint32) {
		recs, used, err := parseDirectory(log, cells)
		if err != nil {
			return
		}
		if !bytes.HasPrefix(log, used) {
			t.Fatal("records that are not in the log")
		}
		at := uint32(0)
		for _, r := range recs {
			if r.First != at {
				t.Fatalf("record at cell %d, want %d", r.First, at)
			}
			at += r.Cells()
		}
		if at != cells {
			t.Fatalf("%d cells, want %d", at, cells)
		}
		if _, again, err := parseDirectory(used, cells); err != nil || !bytes.Equal(again, used) {
			t.Fatalf("the accepted bytes alone are refused: %v", err)
		}
	})
}

// FuzzGeneration holds that what is read is written again in the same bytes.
func FuzzGeneration(f *testing.F) {
	f.Add(generation(1).marshal())
	f.Add(Generation{}.marshal())
	f.Add([]byte("cella"))
	f.Fuzz(func(t *testing.T, p []byte) {
		g, err := unmarshalGeneration(p)
		if err == nil && !bytes.Equal(g.marshal(), p) {
			t.Fatal("read, but written differently")
		}
	})
}
