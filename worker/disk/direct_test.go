package disk

import (
	"bytes"
	"os"
	"testing"

	"github.com/cella-network/cella/protocol/storageproof"
)

// Blocks read back alike whether they were written past the page cache or not, from any memory and over the borders of units.
func TestWritePastThePageCache(t *testing.T) {
	for name, spoil := range map[string]func(*sector){
		"as the file system can": func(*sector) {},
		"not possible":           (*sector).closeDirect,
		"refused when tried": func(s *sector) {
			s.closeDirect()
			f, err := os.OpenFile("/proc/self/oom_score_adj", os.O_WRONLY, 0) // takes nothing but a number: EINVAL
			if err != nil {
				t.Fatal(err)
			}
			s.direct = f
		},
	} {
		t.Run(name, func(t *testing.T) {
			d := open(t, t.TempDir(), 3)
			id := d.dataSector(t)
			s := d.sectors[id]
			spoil(s)
			var all []sealed
			next := uint32(0)
			// A whole unit, then a small block, so that the next one lies over a border.
			for i, length := range []uint32{1 << 20, 5000, 1 << 20, 300 << 10} {
				b := block(uint64(i), length)
				if i%2 == 0 { // these begin on a page, the others may not
					b.cells = append(pages(len(b.cells))[:0], b.cells...)
				} else {
					b.cells = append(pages(len(b.cells) + 1)[:1], b.cells...)[1:]
				}
				if onPage(b.cells) != (i%2 == 0) {
					t.Fatal("the test's memory lies elsewhere")
				}
				kept := bytes.Clone(b.cells)
				next = d.put(t, id, next, b)
				if !bytes.Equal(kept, b.cells) {
					t.Fatal("writing changed what was to be written")
				}
				all = append(all, b)
			}
			if name != "as the file system can" && s.direct != nil {
				t.Error("it is tried again after a refusal")
			}
			check := func() {
				at := uint32(0)
				for _, b := range all {
					d.want(t, b)
					for i := range b.count() {
						got, err := d.Sample(storageproof.Entry{ID: id, Kind: storageproof.KindData}, at+i)
						if err != nil || !bytes.Equal(got.Tag, b.tags[i*storageproof.TagSize:(i+1)*storageproof.TagSize]) {
							t.Fatalf("cell %d: %v", at+i, err)
						}
					}
					at += b.count()
				}
				if header, err := os.ReadFile(d.sectorPath(id)); err != nil || !bytes.Equal(header[:cell], noise(uint64(id), cell)) || len(header) != sectorSize {
					t.Error("the header page or the size changed", err)
				}
			}
			check()
			if err := d.Finish(id); err != nil {
				t.Fatal(err)
			}
			check()
			if s.direct != nil || s.stage != nil {
				t.Error("a resting sector holds a file and memory")
			}
		})
	}
}
