package denylist

import (
	"bytes"
	"crypto/sha256"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"github.com/ipfs-shipyard/nopfs"
	"github.com/ipfs-shipyard/nopfs/tester"
	"github.com/ipfs/boxo/path"
	"github.com/ipfs/go-cid"
	"github.com/multiformats/go-multibase"
	"github.com/multiformats/go-multihash"
)

const (
	node = "bafybeihvvulpp4evxj7x7armbqcyg6uezzuig6jp3lktpbovlqfkuqeuoq"
	leaf = "bafkreihvvulpp4evxj7x7armbqcyg6uezzuig6jp3lktpbovlqfkuqeuoq" // the same bytes, read as raw
	old  = "QmesfgDQ3q6prBy2Kg2gKbW4MAGuWiRP2DVuGA5MZSERLo"              // CIDv0 of the same
	away = "bafybeiefwqslmf6zyyrxodaxx4vwqircuxpza5ri45ws3y5a62ypxti42e"
)

func parse(t testing.TB, text string) *List {
	t.Helper()
	l, err := Parse([]byte(text))
	if err != nil {
		t.Fatal(err)
	}
	return l
}

func denies(l *List, text string) bool { return Set{{List: l}}.Denies(cid.MustParse(text)) }

// modern is the double hash that new lists use.
func modern(t testing.TB, c string, code uint64) string {
	t.Helper()
	mh, err := multihash.Sum([]byte(cid.MustParse(c).Hash().B58String()), code, -1)
	if err != nil {
		t.Fatal(err)
	}
	return "//" + mh.B58String()
}

// legacy is the one of old lists.
func legacy(c string) string {
	v1 := cid.MustParse(c)
	text, err := cid.NewCidV1(v1.Type(), v1.Hash()).StringOfBase(multibase.Base32)
	if err != nil {
		panic(err)
	}
	return fmt.Sprintf("//%x", sha256.Sum256([]byte(text+"/")))
}

func TestRules(t *testing.T) {
	for _, c := range []struct {
		name, list string
		deny, not  []string
	}{
		{"by multihash", "/ipfs/" + node, []string{node, leaf, old}, []string{away}},
		{"by an old CID", "/ipfs/" + old, []string{node, leaf, old}, nil},
		{"root of a tree", "/ipfs/" + node + "/*", []string{node, leaf}, nil},
		{"slash", "/ipfs/" + node + "/", []string{node}, nil},
		{"ipld", "/ipld/" + node, []string{node}, nil},
		{"no line end", "# comment\n\n/ipfs/" + node, []string{node}, nil},
		{"hints and carriage return", "/ipfs/" + node + " gateway=410 x\r\n", []string{node}, nil},
		{"modern hash", modern(t, node, multihash.SHA2_256), []string{node, leaf, old}, []string{away}},
		{"of another function", modern(t, node, multihash.BLAKE3), []string{node, leaf}, []string{away}},
		{"legacy hash", legacy(away), []string{away}, []string{node}},
		{"legacy hash means one codec", legacy(node), []string{node}, []string{leaf}},
		{"allowed again", "/ipfs/" + node + "\n/ipfs/" + away + "\n!/ipfs/" + leaf, []string{away}, []string{node, leaf}},
		{"plus allows too", "/ipfs/" + node + "\n+/ipfs/" + node, nil, []string{node}},
		{"denied again", "-/ipfs/" + node + "\n/ipfs/" + node, []string{node}, nil},
		{"the last line decides over forms", "/ipfs/" + node + "\n!" + modern(t, node, multihash.SHA2_256), nil, []string{node}},
		{"a path is not the root", "/ipfs/" + node + "/secret", nil, []string{node}},
		{"an allowed path is not the root", "/ipfs/" + node + "\n!/ipfs/" + node + "/fine", []string{node}, nil},
		{"header", "version: 1\nname: n\nhints:\n  a: b\n---\n/ipfs/" + node, []string{node}, nil},
		{"empty header", "---\n/ipfs/" + node, []string{node}, nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			l := parse(t, c.list)
			for _, d := range c.deny {
				if !denies(l, d) {
					t.Errorf("%s is not denied", d)
				}
			}
			for _, n := range c.not {
				if denies(l, n) {
					t.Errorf("%s is denied", n)
				}
			}
		})
	}
}

// Lines that deny nothing here are reported with their number; none is passed over in silence.
func TestSkippedLines(t *testing.T) {
	l := parse(t, strings.Join([]string{"name: list", "---", "# comment", "", "/ipfs/" + node, "/ipfs/" + node + "/path*", "/ipns/domain.example", "ipfs/" + node,
		"/ipfs/nothing", "//abc", "/ipfs/\xff", "!", "/ipfs/bafkqaaa", "/ipfs/QmUNLLsPACCz1vLxQVkXqqLX5R1X345qqfHbsf67hvA3Nn"}, "\n"))
	var got strings.Builder
	for _, s := range l.Skipped {
		why, _, _ := strings.Cut(s.Why, ":")
		fmt.Fprintf(&got, "%d %s\n", s.Line, why)
	}
	const want = `6 a rule of paths; blocks have none
7 a rule of names; blocks have none
8 no rule
9 no CID
10 no hash
11 not UTF-8
12 no rule
13 an empty file or folder, or content that stands in the CID itself, is never denied
14 an empty file or folder, or content that stands in the CID itself, is never denied
`
	if got.String() != want {
		t.Errorf("got\n%swant\n%s", got.String(), want)
	}
	if l.Name != "list" || l.Rules != 1 || l.Passed != 9 {
		t.Errorf("%q has %d rules, %d lines passed over", l.Name, l.Rules, l.Passed)
	}
	if r, ok := l.Find(cid.MustParse(node)); !ok || r.Line != 5 || r.Allow {
		t.Errorf("rule %+v", r)
	}
	many := parse(t, strings.Repeat("x\n", 1000))
	if many.Passed != 1000 || len(many.Skipped) != maxShown {
		t.Errorf("%d passed over, %d kept", many.Passed, len(many.Skipped))
	}
}

func TestParseRefuses(t *testing.T) {
	for name, text := range map[string]string{
		"header":  "name: [\n---\n/ipfs/" + node,
		"version": "version: 2\n---\n/ipfs/" + node,
		"line":    "/ipfs/" + node + " " + strings.Repeat("x", maxLine),
	} {
		if _, err := Parse([]byte(text)); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
	// A header that is too long is none: its lines are no rules, and what follows still is one.
	l := parse(t, strings.Repeat("description: long\n", maxHeader/18+1)+"---\n/ipfs/"+node)
	if !denies(l, node) || l.Passed < 1000 {
		t.Errorf("denied %v, %d lines passed over", denies(l, node), l.Passed)
	}
}

// Everybody's empty files and folders stay, however a list names them.
func TestHarmless(t *testing.T) {
	for c, what := range nopfs.SafeCids {
		if c.Type() != cid.Raw && c.Type() != cid.DagProtobuf {
			continue
		}
		lines := "/ipfs/" + c.String() + "\n" + legacy(c.String())
		if c.Prefix().MhType != multihash.IDENTITY {
			lines += "\n" + modern(t, c.String(), multihash.SHA2_256)
		}
		if l := parse(t, lines); denies(l, c.String()) {
			t.Errorf("%s (%s) is denied", c, what)
		}
	}
}

// A list can't make a node compute every hash function for each block that is asked for.
func TestHashFunctionsAreBounded(t *testing.T) {
	var lines []string
	for size := 16; size <= 16+maxSchemes; size++ {
		mh, err := multihash.Sum([]byte(cid.MustParse(node).Hash().B58String()), multihash.BLAKE2B_MIN+uint64(size)-1, size)
		if err != nil {
			t.Fatal(err)
		}
		lines = append(lines, "//"+mh.B58String())
	}
	l := parse(t, strings.Join(lines, "\n"))
	if l.Rules != maxSchemes || l.Passed != 1 || !strings.Contains(l.Skipped[0].Why, "a list may use 8 of them") {
		t.Errorf("%d rules, %d lines passed over: %+v", l.Rules, l.Passed, l.Skipped)
	}
}

// A short list can't keep a node busy for hours: what takes time with the square of its length is not even begun.
func TestLongTextsAreNotRead(t *testing.T) {
	long := strings.Repeat("2", maxText+1)
	for _, line := range []string{"//" + long, "/ipfs/" + long, "/ipfs/z" + long, "!/ipld/k" + long + "/*"} {
		l := parse(t, line)
		if l.Rules != 0 || l.Passed != 1 || !strings.HasPrefix(l.Skipped[0].Why, "longer than") {
			t.Errorf("%.10s: %d rules, %+v", line, l.Rules, l.Skipped)
		}
	}
	mh, err := multihash.Sum([]byte("x"), multihash.SHA2_512, -1)
	if err != nil {
		t.Fatal(err)
	}
	if l := parse(t, "/ipfs/"+cid.NewCidV1(cid.Raw, mh).String()+"\n//"+mh.B58String()); l.Rules != 2 {
		t.Errorf("hashes of 512 bits: %+v", l.Skipped)
	}
}

// The first list that knows a block decides.
func TestSet(t *testing.T) {
	own, other := parse(t, "!/ipfs/"+node), parse(t, "/ipfs/"+node+"\n/ipfs/"+away)
	s := Set{{"own", own}, {"other", other}}
	if s.Denies(cid.MustParse(node)) || !s.Denies(cid.MustParse(away)) {
		t.Error("an own list does not go first")
	}
	if v, ok := s.Find(cid.MustParse(away)); !ok || v.From != "other" || v.Line != 2 {
		t.Errorf("%+v", v)
	}
	if _, ok := (Set{}).Find(cid.MustParse(away)); ok {
		t.Error("no list denies something")
	}
}

// oracle lets the suite of the format's reference implementation ask this package.
type oracle struct{ list *List }

type header struct{ *List }

func (h header) Name() string             { return h.List.Name }
func (h header) Hints() map[string]string { return nil }

func (o *oracle) ReadHeader(r io.Reader) (tester.Header, error) {
	b, err := io.ReadAll(r)
	if err != nil {
		return nil, err
	}
	l, err := Parse(b)
	return header{l}, err
}

func (o *oracle) ReadDenylist(r io.ReadSeekCloser) error {
	b, err := io.ReadAll(r)
	if err == nil {
		o.list, err = Parse(b)
	}
	return err
}

func (o *oracle) IsPathBlocked(path.Path) bool { return false } // there are no paths here
func (o *oracle) IsCidBlocked(c cid.Cid) bool  { return Set{{List: o.list}}.Denies(c) }

func TestReferenceSuite(t *testing.T) {
	suite := tester.Suite{TestCID: true}
	o := &oracle{}
	if err := suite.Run(o); err != nil {
		t.Fatal(err)
	}
	for _, c := range []string{away, "bafybeidjwik6im54nrpfg7osdvmx7zojl5oaxqel5cmsz46iuelwf5acja", "QmVTF1yEejXd9iMgoRTFDxBv7HAz9kuZcQNBzHrceuK9HR",
		"QmdWFA9FL52hx3j9EJZPQP1ZUH8Ygi5tLCX2cRDs6knSf8"} {
		if !o.IsCidBlocked(cid.MustParse(c)) {
			t.Errorf("%s of the suite's list is not denied", c)
		}
	}
}

// What costs memory is counted: a list of half a million lines is usual.
func TestMemoryOfALine(t *testing.T) {
	const lines = 200_000
	var b bytes.Buffer
	for i := range lines {
		fmt.Fprintf(&b, "//%x\n", sha256.Sum256([]byte{byte(i), byte(i >> 8), byte(i >> 16)}))
	}
	var before, after runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	l, err := Parse(b.Bytes())
	if err != nil {
		t.Fatal(err)
	}
	runtime.GC()
	runtime.ReadMemStats(&after)
	if per := (after.HeapAlloc - before.HeapAlloc) / lines; l.Rules != lines || per > 128 {
		t.Errorf("%d bytes a line", per)
	}
	runtime.KeepAlive(b)
}

func FuzzParse(f *testing.F) {
	suite, err := os.ReadFile(filepath.Join("testdata", "rules.deny"))
	if err != nil {
		f.Fatal(err)
	}
	f.Add(suite)
	f.Add([]byte("a: &a [*a]\n---\n"))
	f.Add([]byte("!//\n//!\n/ipfs/\n---"))
	rule := []byte("\n/ipfs/" + node + "\n")
	f.Fuzz(func(t *testing.T, file []byte) {
		l, err := Parse(file)
		if err != nil {
			return
		}
		for _, c := range []string{node, leaf, away} {
			l.Find(cid.MustParse(c))
		}
		if l.Passed < len(l.Skipped) || len(l.schemes) > maxSchemes {
			t.Fatalf("%d passed over, %d kept, %d hash functions", l.Passed, len(l.Skipped), len(l.schemes))
		}
		// Whatever stands before it, the last line decides.
		more, err := Parse(append(bytes.Clone(file), rule...))
		if err != nil || !denies(more, node) {
			t.Fatalf("the last line is lost: %v", err)
		}
	})
}
