package vault

import (
	"bytes"
	"crypto/sha256"
	"slices"
	"testing"

	gocid "github.com/ipfs/go-cid"
	dagpb "github.com/ipld/go-codec-dagpb"
	cidlink "github.com/ipld/go-ipld-prime/linking/cid"

	"github.com/cella-network/cella/protocol/storageproof"
)

func inlineCID(codec byte, body []byte) []byte {
	return append([]byte{1, codec, hashID, byte(len(body))}, body...)
}

func TestParseCID(t *testing.T) {
	digest := sha256.Sum256([]byte("x"))
	v0 := append([]byte{0x12, 0x20}, digest[:]...)
	for name, c := range map[string]struct {
		in   []byte
		want key
		ok   bool
	}{
		"version 0":         {v0, key{codecDagPB, digest}, true},
		"raw":               {append([]byte{1, 0x55}, v0...), key{codecRaw, digest}, true},
		"dag-pb":            {append([]byte{1, 0x70}, v0...), key{codecDagPB, digest}, true},
		"inline":            {inlineCID(codecRaw, []byte("hi")), key{codec: codecRaw}, true},
		"inline, nothing":   {inlineCID(codecRaw, nil), key{codec: codecRaw}, true},
		"nothing":           {nil, key{}, false},
		"short":             {v0[:33], key{}, false},
		"long":              {append(bytes.Clone(v0), 0), key{}, false},
		"long v1":           {append(append([]byte{1, 0x55}, v0...), 0), key{}, false},
		"cut v1":            {append([]byte{1, 0x55}, v0[:33]...), key{}, false},
		"version 2":         {append([]byte{2, 0x55}, v0...), key{}, false},
		"dag-cbor":          {append([]byte{1, 0x71}, v0...), key{}, false},
		"two-byte codec":    {append([]byte{1, 0xd5, 0}, v0...), key{}, false},
		"sha2-256 of 20":    {append([]byte{1, 0x55, 0x12, 20}, digest[:20]...), key{}, false},
		"sha1":              {append([]byte{1, 0x55, 0x11, 20}, digest[:20]...), key{}, false},
		"blake3":            {append([]byte{1, 0x55, 0x1e, 32}, digest[:]...), key{}, false},
		"inline, two bytes": {append([]byte{1, 0x55, 0, 0x80, 1}, make([]byte, 128)...), key{}, false},
		"inline, 128 bytes": {append([]byte{1, 0x55, 0, 0x80}, make([]byte, 128)...), key{}, false},
	} {
		got, err := parseCID(c.in)
		if (err == nil) != c.ok || got.key != c.want {
			t.Errorf("%s: %v, %v", name, got, err)
		}
	}
	if _, err := blockKey(inlineCID(codecRaw, []byte("hi"))); err == nil {
		t.Error("an inline CID names a block")
	}
}

func TestLinks(t *testing.T) {
	a, b := rawCID([]byte("a")), pbCID([]byte("b"))
	ka, kb := key{codecRaw, sha256.Sum256([]byte("a"))}, key{codecDagPB, sha256.Sum256([]byte("b"))}
	link := func(parts ...[]byte) []byte { return field(nil, tagNodeLink, bytes.Join(parts, nil)) }
	hash, name, size := field(nil, tagLinkHash, a), field(nil, tagLinkName, []byte("n")), []byte{tagLinkTsize, 5}
	data := field(nil, tagNodeData, []byte("data"))
	join := func(parts ...[]byte) []byte { return bytes.Join(parts, nil) }
	for title, c := range map[string]struct {
		in   []byte
		want []key
		ok   bool
	}{
		"empty":                        {nil, nil, true},
		"data only":                    {data, nil, true},
		"links, data":                  {node([]byte("d"), a, b), []key{ka, kb}, true},
		"data, links":                  {join(data, link(hash), link(hash, name)), []key{ka}, true},
		"one block twice":              {node(nil, a, b, a), []key{ka, kb}, true},
		"hash only":                    {link(hash), []key{ka}, true},
		"hash and size":                {link(hash, size), []key{ka}, true},
		"inline raw":                   {node(nil, inlineCID(codecRaw, []byte("x")), a), []key{ka}, true},
		"inline node with links":       {node(nil, inlineCID(codecDagPB, node(nil, a)), b), []key{ka, kb}, true},
		"inline node in an inline one": {node(nil, inlineCID(codecDagPB, node(nil, inlineCID(codecDagPB, node(nil, a))))), []key{ka}, true},
		"data between links":           {join(link(hash), data, link(hash)), nil, false},
		"data twice":                   {join(data, data), nil, false},
		"unknown field":                {field(nil, 3<<3|2, nil), nil, false},
		"varint field":                 {[]byte{1 << 3, 1}, nil, false},
		"cut":                          {node(nil, a)[:20], nil, false},
		"long length":                  {[]byte{tagNodeData, 0x80, 0}, nil, false},
		"huge length":                  {[]byte{tagNodeData, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1}, nil, false},
		"endless length":               {[]byte{tagNodeData, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1}, nil, false},
		"no hash":                      {link(name), nil, false},
		"empty link":                   {link(), nil, false},
		"hash twice":                   {link(hash, hash), nil, false},
		"name before hash":             {link(name, hash), nil, false},
		"size before name":             {link(hash, size, name), nil, false},
		"name twice":                   {link(hash, name, name), nil, false},
		"size twice":                   {link(hash, size, size), nil, false},
		"size above 64 bits":           {link(hash, []byte{tagLinkTsize, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 2}), nil, false},
		"cut size":                     {link(hash, size[:1]), nil, false},
		"other codec":                  {node(nil, append([]byte{1, 0x71}, a[2:]...)), nil, false},
		"CID with a tail":              {node(nil, append(bytes.Clone(a), 0)), nil, false},
		"bad inline node":              {node(nil, inlineCID(codecDagPB, []byte{9})), nil, false},
		"inline link to other codec":   {node(nil, inlineCID(codecDagPB, node(nil, append([]byte{1, 0x71}, a[2:]...)))), nil, false},
	} {
		got, err := linksOf(codecDagPB, c.in)
		if (err == nil) != c.ok || c.ok && !slices.Equal(got, c.want) {
			t.Errorf("%s: %v, %v", title, got, err)
		}
	}
	if got, err := linksOf(codecRaw, node(nil, a)); got != nil || err != nil {
		t.Error("a raw block has links")
	}
}

// TestMostLinks: the block with most links still has a record that is read back.
func TestMostLinks(t *testing.T) {
	var block []byte
	for i := 0; ; i++ {
		d := sha256.Sum256([]byte{byte(i), byte(i >> 8)})
		link := field(nil, tagNodeLink, field(nil, tagLinkHash, append([]byte{0x12, 0x20}, d[:]...)))
		if len(block)+len(link) > storageproof.MaxBlock {
			break
		}
		block = append(block, link...)
	}
	links, err := linksOf(codecDagPB, block)
	must(t, err)
	if len(links) != blockLinks {
		t.Fatalf("%d links, limit %d", len(links), blockLinks)
	}
	p := record{key: key{codec: codecDagPB}, links: links}.append(nil)
	if r, n, ok := readRecord(p); !ok || n != len(p) || len(r.links) != blockLinks {
		t.Fatalf("%d links, %d bytes of %d, %v", len(r.links), n, len(p), ok)
	}
}

func TestReadRecordRefuses(t *testing.T) {
	for name, p := range map[string][]byte{
		"codec":     {0x71},
		"length":    record{key: key{codec: codecRaw}, length: storageproof.MaxBlock + 1}.append(nil),
		"links":     append(record{key: key{codec: codecDagPB}}.append(nil)[:recordSize], 0xff, 0xff, 0xff, 0xff),
		"link kind": record{key: key{codec: codecDagPB}, links: []key{{codec: 0x71}}}.append(nil),
	} {
		if _, _, ok := readRecord(p); ok {
			t.Errorf("%s: read", name)
		}
	}
}

func FuzzCID(f *testing.F) {
	f.Add(rawCID([]byte("a")))
	f.Add(pbCID([]byte("a"))[2:])
	f.Add(inlineCID(codecRaw, []byte("hi")))
	f.Add(inlineCID(codecDagPB, node(nil, rawCID(nil))))
	f.Fuzz(func(t *testing.T, p []byte) {
		c, err := parseCID(p)
		if err != nil {
			return
		}
		n, want, err := gocid.CidFromBytes(p)
		if err != nil || n != len(p) {
			t.Fatalf("go-cid reads %d of %d bytes: %v", n, len(p), err)
		}
		if want.Prefix().Codec != uint64(c.key.codec) || (want.Prefix().MhType == hashID) != c.inline {
			t.Fatalf("%v, want %v", c, want.Prefix())
		}
		if !c.inline && !bytes.Equal(want.Hash()[2:], c.key.digest[:]) || c.inline && !bytes.Equal(want.Hash()[2:], c.body) {
			t.Fatal("another digest")
		}
	})
}

// FuzzDagPB holds the parser against the reference one: what it takes, the other takes too, with the same links.
func FuzzDagPB(f *testing.F) {
	a, b := rawCID([]byte("a")), pbCID([]byte("b"))
	f.Add(node([]byte("d"), a, b))
	f.Add(node(nil, inlineCID(codecDagPB, node(nil, a))))
	f.Add(append(field(nil, tagNodeData, nil), node(nil, a)...))
	f.Fuzz(func(t *testing.T, p []byte) {
		var got [][]byte
		if err := eachLink(p, func(h []byte) error {
			got = append(got, h)
			_, err := parseCID(h)
			return err
		}); err != nil {
			return
		}
		_, _ = linksOf(codecDagPB, p)
		nb := dagpb.Type.PBNode.NewBuilder()
		if err := dagpb.DecodeBytes(nb, p); err != nil {
			t.Fatalf("the reference refuses: %v", err)
		}
		links := nb.Build().(dagpb.PBNode).FieldLinks()
		if links.Length() != int64(len(got)) {
			t.Fatalf("%d links, the reference has %d", len(got), links.Length())
		}
		for i := range got {
			l, err := links.Lookup(int64(i)).FieldHash().AsLink()
			must(t, err)
			if !bytes.Equal(l.(cidlink.Link).Cid.Bytes(), got[i]) {
				t.Fatalf("link %d differs", i)
			}
		}
	})
}

// FuzzDirectory: no bytes make the reader panic or take a record that is not written the same way, whole or in parts.
func FuzzDirectory(f *testing.F) {
	k := key{codecRaw, [32]byte{1}}
	raw := record{key: k, first: 0, length: 5000}.append(nil)
	f.Add(raw)
	f.Add(record{key: key{codecDagPB, [32]byte{2}}, first: 2, length: 100, links: []key{k, k}}.append(raw))
	f.Add([]byte{codecDagPB})
	f.Fuzz(func(t *testing.T, p []byte) {
		whole := restoration{row: storageproof.Entry{Cells: 3 * 256}, directory: sha256.New()}
		whole.read(p)
		parts := restoration{row: whole.row, directory: sha256.New()}
		for i := 0; i < len(p) && !parts.bad; i += 7 {
			parts.read(p[i:min(i+7, len(p))])
		}
		if whole.bad != parts.bad || !whole.bad && (whole.cells != parts.cells || len(whole.records) != len(parts.records) || !bytes.Equal(whole.directory.Sum(nil), parts.directory.Sum(nil))) {
			t.Fatalf("whole: %v, %d cells; in parts: %v, %d cells", whole.bad, whole.cells, parts.bad, parts.cells)
		}
		var written []byte
		for _, r := range whole.records {
			written = r.append(written)
		}
		if !bytes.HasPrefix(p, written) {
			t.Fatal("a record has two encodings")
		}
	})
}
