package vault

import (
	"bytes"
	"crypto/sha256"
	"slices"
	"testing"

	dagpb "github.com/ipld/go-codec-dagpb"
	cidlink "github.com/ipld/go-ipld-prime/linking/cid"

	"github.com/cella-network/cella/protocol/storageproof"
)

func inlineCID(codec byte, body []byte) []byte {
	return append([]byte{1, codec, 0, byte(len(body))}, body...)
}

func TestLinks(t *testing.T) {
	type keys = []storageproof.BlockKey
	a, b := rawCID([]byte("a")), pbCID([]byte("b"))
	ka, kb := blockOf(storageproof.CodecRaw, []byte("a")), blockOf(storageproof.CodecDagPB, []byte("b"))
	link := func(parts ...[]byte) []byte { return field(nil, tagNodeLink, bytes.Join(parts, nil)) }
	hash, name, size := field(nil, tagLinkHash, a), field(nil, tagLinkName, []byte("n")), []byte{tagLinkTsize, 5}
	data := field(nil, tagNodeData, []byte("data"))
	join := func(parts ...[]byte) []byte { return bytes.Join(parts, nil) }
	for title, c := range map[string]struct {
		in   []byte
		want keys
		ok   bool
	}{
		"empty":                        {nil, nil, true},
		"data only":                    {data, nil, true},
		"links, data":                  {node([]byte("d"), a, b), keys{ka, kb}, true},
		"data, links":                  {join(data, link(hash), link(hash, name)), keys{ka}, true},
		"one block twice":              {node(nil, a, b, a), keys{ka, kb}, true},
		"hash only":                    {link(hash), keys{ka}, true},
		"hash and size":                {link(hash, size), keys{ka}, true},
		"inline raw":                   {node(nil, inlineCID(storageproof.CodecRaw, []byte("x")), a), keys{ka}, true},
		"inline node with links":       {node(nil, inlineCID(storageproof.CodecDagPB, node(nil, a)), b), keys{ka, kb}, true},
		"inline node in an inline one": {node(nil, inlineCID(storageproof.CodecDagPB, node(nil, inlineCID(storageproof.CodecDagPB, node(nil, a))))), keys{ka}, true},
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
		"bad inline node":              {node(nil, inlineCID(storageproof.CodecDagPB, []byte{9})), nil, false},
		"inline link to other codec":   {node(nil, inlineCID(storageproof.CodecDagPB, node(nil, append([]byte{1, 0x71}, a[2:]...)))), nil, false},
	} {
		got, err := linksOf(storageproof.CodecDagPB, c.in)
		if (err == nil) != c.ok || c.ok && !slices.Equal(got, c.want) {
			t.Errorf("%s: %v, %v", title, got, err)
		}
	}
	if got, err := linksOf(storageproof.CodecRaw, node(nil, a)); got != nil || err != nil {
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
	links, err := linksOf(storageproof.CodecDagPB, block)
	must(t, err)
	if len(links) != storageproof.MaxLinks {
		t.Fatalf("%d links, limit %d", len(links), storageproof.MaxLinks)
	}
	p := storageproof.Record{Key: storageproof.BlockKey{Codec: storageproof.CodecDagPB}, Links: links}.Append(nil)
	if r, n, ok := storageproof.ReadRecord(p); !ok || n != len(p) || len(r.Links) != storageproof.MaxLinks {
		t.Fatalf("%d links, %d bytes of %d, %v", len(r.Links), n, len(p), ok)
	}
}

// FuzzDagPB holds the parser against the reference one: what it takes, the other takes too, with the same links.
func FuzzDagPB(f *testing.F) {
	a, b := rawCID([]byte("a")), pbCID([]byte("b"))
	f.Add(node([]byte("d"), a, b))
	f.Add(node(nil, inlineCID(storageproof.CodecDagPB, node(nil, a))))
	f.Add(append(field(nil, tagNodeData, nil), node(nil, a)...))
	f.Fuzz(func(t *testing.T, p []byte) {
		var got [][]byte
		if err := eachLink(p, func(h []byte) error {
			got = append(got, h)
			_, err := storageproof.ParseCID(h)
			return err
		}); err != nil {
			return
		}
		_, _ = linksOf(storageproof.CodecDagPB, p)
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

// FuzzDirectory: no bytes make the reader panic, and it takes the same records from a directory that comes whole as from one in parts.
func FuzzDirectory(f *testing.F) {
	k := storageproof.BlockKey{Codec: storageproof.CodecRaw, Digest: [32]byte{1}}
	raw := storageproof.Record{Key: k, First: 0, Length: 5000}.Append(nil)
	f.Add(raw)
	f.Add(storageproof.Record{Key: blockOf(storageproof.CodecDagPB, nil), First: 2, Length: 100, Links: []storageproof.BlockKey{k, k}}.Append(raw))
	f.Add([]byte{storageproof.CodecDagPB})
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
	})
}
