package coding

import (
	"bytes"
	"encoding/hex"
	"errors"
	"slices"
	"testing"

	blocks "github.com/ipfs/go-block-format"
	"github.com/ipfs/go-cid"
)

// mul is the product in GF(2^8) with polynomial 0x11d, bit by bit.
func mul(a, b byte) byte {
	var out byte
	for ; b > 0; b >>= 1 {
		if b&1 == 1 {
			out ^= a
		}
		carry := a&0x80 != 0
		if a <<= 1; carry {
			a ^= 0x1d
		}
	}
	return out
}

func power(a byte, n int) byte {
	out := byte(1)
	for range n {
		out = mul(out, a)
	}
	return out
}

// matrix is the code's: the Vandermonde matrix times the inverse of its top, by elimination.
func matrix(c Code) [][]byte {
	rows := make([][]byte, c.Shards())
	for i := range rows {
		rows[i] = make([]byte, c.K)
		for j := range rows[i] {
			rows[i][j] = power(byte(i), j)
		}
	}
	// Column operations that make the top a unit matrix are the product with its inverse.
	for i := range c.K {
		pivot := i
		for rows[i][pivot] == 0 {
			pivot++
		}
		inverse := power(rows[i][pivot], 254)
		for _, r := range rows {
			r[i], r[pivot] = r[pivot], r[i]
			r[i] = mul(r[i], inverse)
		}
		for j := range c.K {
			if j == i {
				continue
			}
			by := rows[i][j]
			for _, r := range rows {
				r[j] ^= mul(by, r[i])
			}
		}
	}
	return rows
}

// TestParityIsTheOneOfTheFormat computes parity by school arithmetic: the library may change, the code may not.
func TestParityIsTheOneOfTheFormat(t *testing.T) {
	for _, c := range []Code{{1, 2}, {2, 1}, {4, 2}, {8, 4}, {16, 8}, {40, 24}} {
		var data [][]byte
		for i := range c.K {
			data = append(data, noise(uint64(i), 40-i%3)) // some shorter
		}
		slices.SortStableFunc(data, func(a, b []byte) int { return len(b) - len(a) })
		enc, err := c.coder()
		if err != nil {
			t.Fatal(err)
		}
		got, err := c.parity(enc, data)
		if err != nil {
			t.Fatal(err)
		}
		for i, row := range matrix(c)[c.K:] {
			want := make([]byte, len(data[0]))
			for j, d := range data {
				for x := range d {
					want[x] ^= mul(row[j], d[x])
				}
			}
			if !bytes.Equal(got[i], want) {
				t.Errorf("%s: parity %d differs from the format", c, i)
			}
		}
	}
}

// TestKnownShards holds the format: these roots are written on chain.
func TestKnownShards(t *testing.T) {
	f := code(t, tree(3<<20+5, 1000, 0, 70_000), Code{2, 1})
	want := []string{
		"bafyreia7wckg5vw3owfwslnyumqc2eklri2vn34gwnzaxvsxzzyaqyetxi",
		"bafybeicwurhfzeksjucgnt5r4hno5jo2azvvmdz3g4cfehxhggr3vrcu2y",
		"bafybeih434qwevqv2u3gx46i52ess6hr5jbq54vrmv72bqpwyz6yvvog2m",
		"bafybeigis3wrfvgtk4wig6xwpguleiqht3tioh6s234seuh5kc4idzk3by",
	}
	got := []string{f.set.Manifest.String()}
	for _, s := range f.set.Shards {
		got = append(got, s.Root.String())
	}
	if !slices.Equal(got, want) {
		t.Errorf("manifest and shards\n%q, want\n%q", got, want)
	}
}

// manifestOf makes one of so many leaves.
func manifestOf(t testing.TB, c Code, leaves int) ([]blocks.Block, *Manifest) {
	t.Helper()
	m := &Manifest{Code: c, Size: uint64(leaves)}
	for i := range leaves {
		m.leaves, m.lens = append(m.leaves, sum{byte(i), byte(i >> 8), byte(i >> 16), 1}), append(m.lens, uint32(1000-i*1000/leaves))
	}
	for i := range m.groups() * c.M {
		m.parity = append(m.parity, sum{byte(i), byte(i >> 8), byte(i >> 16), 2})
	}
	m.File = m.leaves[0].cid(cid.Raw)
	all, err := m.encode()
	if err != nil {
		t.Fatal(err)
	}
	return all, m
}

func decode(root []byte, parts ...[]byte) (head, error) {
	h, err := decodeHead(root)
	if err != nil {
		return h, err
	}
	for _, p := range parts {
		if err := h.add(p); err != nil {
			return h, err
		}
	}
	return h, nil
}

// A manifest of several parts comes back as it was, and each part fits a block.
func TestManifestRoundTrip(t *testing.T) {
	for _, c := range []Code{{1, 1}, {4, 2}, {8, 4}, {40, 24}} {
		all, m := manifestOf(t, c, 30_001)
		var parts [][]byte
		for _, b := range all {
			if len(b.RawData()) > MaxBlock {
				t.Errorf("%s: a block of %d bytes", c, len(b.RawData()))
			}
			parts = append(parts, b.RawData())
		}
		if len(parts) < 3 {
			t.Fatalf("%s: %d blocks", c, len(parts))
		}
		h, err := decode(parts[0], parts[1:]...)
		if err != nil {
			t.Fatalf("%s: %v", c, err)
		}
		if !slices.Equal(h.leaves, m.leaves) || !slices.Equal(h.lens, m.lens) || !slices.Equal(h.parity, m.parity) || h.Code != c || h.File != m.File {
			t.Errorf("%s: another manifest came back", c)
		}
	}
}

func TestManifestRefuses(t *testing.T) {
	all, m := manifestOf(t, Code{2, 1}, 5)
	root, part := all[0].RawData(), all[1].RawData()
	with := func(p []byte, old, new string) []byte {
		a, err1 := hex.DecodeString(old)
		b, err2 := hex.DecodeString(new)
		if err1 != nil || err2 != nil || bytes.Count(p, a) != 1 {
			t.Fatalf("%s is there %d times", old, bytes.Count(p, a))
		}
		return bytes.Replace(p, a, b, 1)
	}
	forged := func(change func(*Manifest)) []byte {
		n := &Manifest{Code: m.Code, File: m.File, Size: m.Size, lens: slices.Clone(m.lens), leaves: m.leaves, parity: m.parity}
		change(n)
		all, err := n.encode()
		if err != nil {
			t.Fatal(err)
		}
		return all[1].RawData()
	}
	for name, p := range map[string][2][]byte{
		"nothing":                 {nil, part},
		"no map":                  {part, part},
		"k of 0":                  {with(root, "616b02", "616b00"), nil},
		"k of 65":                 {with(root, "616b02", "616b1841"), nil},
		"m of 0":                  {with(root, "616d01", "616d00"), nil},
		"other version":           {with(root, "6776657273696f6e01", "6776657273696f6e02"), nil},
		"more leaves than parts":  {with(root, "666c656176657305", "666c65617665731a00ffffff"), nil},
		"more leaves than can be": {with(root, "666c656176657305", "666c65617665731b00ffffffffffffff"), nil},
		"fewer leaves than K":     {with(root, "666c656176657305", "666c656176657301"), nil},
		"negative size":           {with(root, "6473697a6505", "6473697a6520"), nil},
		"unknown field":           {with(root, "616d01", "617801"), nil},
		"bytes behind":            {append(bytes.Clone(root), 0), nil},
		"parts are too few":       {root, []byte{0x80}},
		"part that is no list":    {root, root},
		"a part too many":         {with(root, "666c656176657305", "666c656176657302"), part},
		"rising lengths":          {root, forged(func(m *Manifest) { m.lens[1] = m.lens[0] + 1 })},
		"length of nothing":       {root, forged(func(m *Manifest) { m.lens[4] = 0 })},
		"first is not longest":    {root, forged(func(m *Manifest) { m.lens[0]++ })},
		"link that is no raw":     {root, bytes.Replace(part, []byte{1, 0x55, 0x12, 32}, []byte{1, 0x71, 0x12, 32}, 1)},
	} {
		parts := [][]byte{p[1]}
		if p[1] == nil { // the root alone is refused
			parts = nil
		}
		if _, err := decode(p[0], parts...); !errors.Is(err, ErrManifest) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// FuzzManifest feeds the parser what a stranger may serve: it neither panics nor sets aside more than the bytes are worth, and what it
// takes is consistent.
func FuzzManifest(f *testing.F) {
	for _, c := range []Code{{1, 1}, {2, 1}, {4, 2}} {
		all, _ := manifestOf(f, c, 9)
		f.Add(all[0].RawData(), all[1].RawData())
	}
	f.Add([]byte{0xa0}, []byte{0x80})
	f.Add([]byte{0x9b, 0, 0, 0, 1, 0, 0, 0, 0}, []byte{0xbb, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff})
	f.Add(bytes.Repeat([]byte{0x81}, 5000), bytes.Repeat([]byte{0x9f}, 5000))
	f.Fuzz(func(t *testing.T, root, part []byte) {
		h, err := decode(root, part)
		if cap(h.leaves)+cap(h.parity)+cap(h.lens) > 4*len(part)+64 || cap(h.links) > len(root) {
			t.Fatalf("%d leaves and %d parity blocks out of %d bytes", cap(h.leaves), cap(h.parity), len(part))
		}
		if err != nil || h.groups() != groupsOf(h.Code, h.count) {
			return
		}
		m := &h.Manifest
		for g := range m.groups() {
			for s := range m.Shards() {
				position := m.positionIn(g, s)
				if m.shardAt(g, position) != s {
					t.Fatalf("group %d: shard %d has position %d, which is shard %d", g, s, position, m.shardAt(g, position))
				}
				if _, size, ok := m.at(g, position); ok && (size == 0 || size > MaxBlock) {
					t.Fatalf("a block of %d bytes", size)
				}
			}
		}
		again, err := m.encode()
		if err != nil {
			t.Fatal(err)
		}
		if n, err := decode(again[0].RawData(), again[1].RawData()); err != nil || !slices.Equal(n.leaves, m.leaves) || !slices.Equal(n.parity, m.parity) {
			t.Fatalf("encoded again: %v", err)
		}
	})
}

// FuzzShardRoot feeds what a stranger may order in the name of a file.
func FuzzShardRoot(f *testing.F) {
	b, err := shardRoot(3, link{sum{1}.cid(cid.DagProtobuf), 10}, link{sum{2}.cid(cid.DagProtobuf), 20})
	if err != nil {
		f.Fatal(err)
	}
	f.Add(b.RawData())
	f.Add([]byte{})
	f.Fuzz(func(t *testing.T, p []byte) {
		b, err := newBlock(cid.DagProtobuf, p)
		if err != nil {
			t.Fatal(err)
		}
		if index, err := readShardRoot(b); err == nil && !index.cid.Defined() {
			t.Error("an index without a CID")
		}
	})
}
