package storageproof

import (
	"bytes"
	"crypto/sha256"
	"testing"

	gocid "github.com/ipfs/go-cid"
)

func inlineCID(codec byte, body []byte) []byte {
	return append([]byte{1, codec, hashID, byte(len(body))}, body...)
}

func TestParseCID(t *testing.T) {
	digest := sha256.Sum256([]byte("x"))
	v0 := append([]byte{0x12, 0x20}, digest[:]...)
	for name, c := range map[string]struct {
		in   []byte
		want BlockKey
		ok   bool
	}{
		"version 0":         {v0, BlockKey{CodecDagPB, digest}, true},
		"raw":               {append([]byte{1, 0x55}, v0...), BlockKey{CodecRaw, digest}, true},
		"dag-pb":            {append([]byte{1, 0x70}, v0...), BlockKey{CodecDagPB, digest}, true},
		"inline":            {inlineCID(CodecRaw, []byte("hi")), BlockKey{Codec: CodecRaw}, true},
		"inline, nothing":   {inlineCID(CodecRaw, nil), BlockKey{Codec: CodecRaw}, true},
		"nothing":           {nil, BlockKey{}, false},
		"short":             {v0[:33], BlockKey{}, false},
		"long":              {append(bytes.Clone(v0), 0), BlockKey{}, false},
		"long v1":           {append(append([]byte{1, 0x55}, v0...), 0), BlockKey{}, false},
		"cut v1":            {append([]byte{1, 0x55}, v0[:33]...), BlockKey{}, false},
		"version 2":         {append([]byte{2, 0x55}, v0...), BlockKey{}, false},
		"dag-cbor":          {append([]byte{1, 0x71}, v0...), BlockKey{}, false},
		"two-byte codec":    {append([]byte{1, 0xd5, 0}, v0...), BlockKey{}, false},
		"sha2-256 of 20":    {append([]byte{1, 0x55, 0x12, 20}, digest[:20]...), BlockKey{}, false},
		"sha1":              {append([]byte{1, 0x55, 0x11, 20}, digest[:20]...), BlockKey{}, false},
		"sha2-512 of 32":    {append([]byte{1, 0x55, 0x13, 32}, digest[:]...), BlockKey{}, false},
		"blake3":            {append([]byte{1, 0x55, 0x1e, 32}, digest[:]...), BlockKey{}, false},
		"inline, two bytes": {append([]byte{1, 0x55, 0, 0x80, 1}, make([]byte, 128)...), BlockKey{}, false},
		"inline, 128 bytes": {append([]byte{1, 0x55, 0, 0x80}, make([]byte, 128)...), BlockKey{}, false},
	} {
		got, err := ParseCID(c.in)
		if (err == nil) != c.ok || got.Key != c.want {
			t.Errorf("%s: %v, %v", name, got, err)
		}
		k, err := ParseBlockKey(c.in)
		if named := c.ok && !got.Inline; (err == nil) != named || named && k != c.want {
			t.Errorf("%s as a block: %v, %v", name, k, err)
		}
	}
}

// FuzzCID holds the parser against the reference one: what it takes, the other takes too, with the same meaning.
func FuzzCID(f *testing.F) {
	raw := BlockKey{CodecRaw, sha256.Sum256([]byte("a"))}.CID()
	f.Add(raw)
	f.Add(BlockKey{CodecDagPB, sha256.Sum256([]byte("a"))}.CID()[2:])
	f.Add(inlineCID(CodecRaw, []byte("hi")))
	f.Add(inlineCID(CodecDagPB, append([]byte{0x12, 38, 0x0a, 36}, raw...))) // a node with one link
	f.Fuzz(func(t *testing.T, p []byte) {
		c, err := ParseCID(p)
		k, notBlock := ParseBlockKey(p)
		if (notBlock == nil) != (err == nil && !c.Inline) {
			t.Fatalf("%v, %v, but as a block: %v", c, err, notBlock)
		}
		if err != nil {
			return
		}
		n, want, err := gocid.CidFromBytes(p)
		if err != nil || n != len(p) {
			t.Fatalf("go-cid reads %d of %d bytes: %v", n, len(p), err)
		}
		if want.Prefix().Codec != uint64(c.Key.Codec) || (want.Prefix().MhType == hashID) != c.Inline {
			t.Fatalf("%v, want %v", c, want.Prefix())
		}
		if c.Inline {
			if !bytes.Equal(want.Hash()[2:], c.Body) {
				t.Fatal("another body")
			}
			return
		}
		if !bytes.Equal(want.Hash()[2:], c.Key.Digest[:]) {
			t.Fatal("another digest")
		}
		if k != c.Key || !bytes.Equal(k.CID(), gocid.NewCidV1(want.Prefix().Codec, want.Hash()).Bytes()) {
			t.Fatalf("another key or another CID of it: %v", k)
		}
	})
}
