package storageproof

import (
	"bytes"
	"encoding/hex"
	"strings"
	"testing"
)

func TestRecordEncoding(t *testing.T) {
	ones, twos := [32]byte(bytes.Repeat([]byte{1}, 32)), [32]byte(bytes.Repeat([]byte{2}, 32))
	one, two := strings.Repeat("01", 32), strings.Repeat("02", 32)
	for name, c := range map[string]struct {
		r    Record
		want string
	}{
		"raw":          {Record{Key: BlockKey{CodecRaw, ones}, First: 0x0102, Length: MaxBlock}, "55" + one + "00000102" + "00100000"},
		"dag-pb":       {Record{Key: BlockKey{CodecDagPB, ones}, First: 3, Length: 4}, "70" + one + "00000003" + "00000004" + "00000000"},
		"dag-pb, link": {Record{Key: BlockKey{CodecDagPB, ones}, Links: []BlockKey{{CodecRaw, twos}}}, "70" + one + "00000000" + "00000000" + "00000001" + "55" + two},
	} {
		if got := hex.EncodeToString(c.r.Append(nil)); got != c.want {
			t.Errorf("%s: %s, want %s", name, got, c.want)
		}
	}
}

func TestReadRecordRefuses(t *testing.T) {
	for name, p := range map[string][]byte{
		"codec":     {0x71},
		"length":    Record{Key: BlockKey{Codec: CodecRaw}, Length: MaxBlock + 1}.Append(nil),
		"links":     append(Record{Key: BlockKey{Codec: CodecDagPB}}.Append(nil)[:recordSize], 0xff, 0xff, 0xff, 0xff),
		"link kind": Record{Key: BlockKey{Codec: CodecDagPB}, Links: []BlockKey{{Codec: 0x71}}}.Append(nil),
	} {
		if _, _, ok := ReadRecord(p); ok {
			t.Errorf("%s: read", name)
		}
	}
}

// FuzzRecord: no bytes make the reader panic or take a record that is not written the same way, and a torn record is known
// as one.
func FuzzRecord(f *testing.F) {
	k := BlockKey{CodecRaw, [32]byte{1}}
	raw := Record{Key: k, First: 0, Length: 5000}.Append(nil)
	f.Add(raw)
	f.Add(Record{Key: BlockKey{CodecDagPB, [32]byte{2}}, First: 2, Length: 100, Links: []BlockKey{k, k}}.Append(nil))
	f.Add(append(raw, CodecDagPB))
	f.Add([]byte{CodecDagPB})
	f.Fuzz(func(t *testing.T, p []byte) {
		r, n, ok := ReadRecord(p)
		if !ok || n == 0 {
			if n != 0 {
				t.Fatalf("%d bytes of no record", n)
			}
			return
		}
		if !bytes.Equal(r.Append(nil), p[:n]) {
			t.Fatal("a record has two encodings")
		}
		for i := range n {
			if _, size, ok := ReadRecord(p[:i]); size != 0 || !ok {
				t.Fatalf("%d of %d bytes: size %d, %v", i, n, size, ok)
			}
		}
	})
}
