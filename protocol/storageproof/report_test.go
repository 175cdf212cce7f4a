package storageproof

import (
	"bytes"
	"crypto/ed25519"
	"crypto/sha256"
	"fmt"
	"strconv"
	"strings"
	"testing"

	"github.com/cockroachdb/datadriven"
)

func testKey(name string) ed25519.PrivateKey {
	seed := sha256.Sum256([]byte(name))
	return ed25519.NewKeyFromSeed(seed[:])
}

func blockHash(h int64) [32]byte { return sha256.Sum256(fmt.Appendf(nil, "block %d", h)) }

// TestAccept runs a life of reports. A report is built to be accepted; arguments change single fields.
func TestAccept(t *testing.T) {
	var standing *Standing
	rules := Rules{ChainID: "cella-test", Account: [20]byte{1}, SlotBlocks: 5, MaxAge: 20, LateBlocks: 30, Cap: 1 << 30}
	copy(rules.SignKey[:], testKey("enclave").Public().(ed25519.PublicKey))
	datadriven.RunTest(t, "testdata/accept", func(t *testing.T, d *datadriven.TestData) string {
		if d.Cmd != "report" {
			t.Fatalf("unknown command %q", d.Cmd)
		}
		arg := func(name string, def int64) int64 {
			if !d.HasArg(name) {
				return def
			}
			var s string
			d.ScanArgs(t, name, &s)
			v, err := strconv.ParseInt(s, 10, 64)
			if err != nil {
				t.Fatal(err)
			}
			return v
		}
		word := func(name, def string) string {
			if d.HasArg(name) {
				d.ScanArgs(t, name, &def)
			}
			return def
		}
		r := Report{ChainID: word("chain", rules.ChainID), Account: [20]byte{byte(arg("account", 1))}, Counter: 1,
			Height: arg("height", 0), Free: 8 << 20, Sectors: 2, Table: sha256.Sum256([]byte("table")), Orders: OrdersRoot(nil)}
		r.From = r.Height
		if standing != nil {
			r.Counter, r.Prev, r.From = standing.Counter+1, standing.Report, standing.Height
			r.Answered = uint64(r.Height - r.From)
		}
		r.Hash = blockHash(r.Height)
		r.Counter = uint64(arg("counter", int64(r.Counter)))
		r.From = arg("from", r.From)
		r.Answered = uint64(arg("answered", int64(r.Answered)))
		r.Failed = uint64(arg("failed", 0))
		r.Free = uint64(arg("free", int64(r.Free)))
		r.Stored = uint64(arg("stored", 0))
		if d.HasArg("prev") {
			r.Prev = sha256.Sum256([]byte(word("prev", "")))
		}
		if d.HasArg("hash") {
			r.Hash = sha256.Sum256([]byte(word("hash", "")))
		}
		for _, id := range ids(t, word("added", "")) {
			r.Added = append(r.Added, OrderRef{ID: id, Root: []byte{1, 0x55}, Size: 1})
		}
		r.Dropped = ids(t, word("dropped", ""))
		if r.Reset = d.HasArg("reset"); r.Reset {
			r.Answered, r.Failed = uint64(arg("answered", 0)), uint64(r.Height-r.From)
		}
		p := r.Marshal()
		if d.HasArg("cut") {
			p = p[:len(p)-1]
		}
		if d.HasArg("more") {
			p = append(p, 0)
		}
		sig := ed25519.Sign(testKey(word("key", "enclave")), p)
		switch word("sig", "") {
		case "short":
			sig = sig[:63]
		case "changed":
			sig[0] ^= 1
		}
		rules := rules
		rules.Now = arg("now", r.Height+1)
		rules.SlotBlocks = arg("slot", rules.SlotBlocks)
		rules.Tip = func(block int64) int64 {
			// Seeds come with their blocks, but for those after stall, which come with block until.
			if stall := arg("stall", 0); stall > 0 && block >= stall && block < arg("until", 1<<40) {
				return stall
			}
			return block
		}
		rules.BlockHash = func(h int64) ([32]byte, bool) { return blockHash(h), h >= arg("pruned", 0) }
		got, next, err := Accept(rules, standing, p, sig)
		if err != nil {
			return err.Error() + "\n"
		}
		if next.Since != rules.Now || next.SeedHeight(next.Height) != rules.Now+1 || next.SeedHeight(rules.Now+5) != rules.Now+5 {
			t.Fatalf("accepted by block %d, the standing says %+v", rules.Now, next)
		}
		if got.ID() != next.Report || !bytes.Equal(got.Marshal(), p) {
			t.Fatal("the standing names another report than the one accepted")
		}
		standing = &next
		return fmt.Sprintf("accepted: report %d at height %d, free %d, stored %d, proven %d, failed %d, late %d\n",
			next.Counter, next.Height, next.Free, next.Stored, next.Proven, next.Failed, next.Late)
	})
}

func ids(t *testing.T, s string) (out []uint64) {
	for f := range strings.FieldsSeq(strings.ReplaceAll(s, "+", " ")) {
		v, err := strconv.ParseUint(f, 10, 64)
		if err != nil {
			t.Fatal(err)
		}
		out = append(out, v)
	}
	return out
}

func fullReport() Report {
	r := Report{ChainID: "cella-test", Account: [20]byte{1}, Counter: 7, Prev: [32]byte{2}, From: 10, Height: 15, Hash: [32]byte{3},
		Answered: 4, Failed: 1, Free: 4096, Stored: 8192, Sectors: 3, Table: [32]byte{4}, Orders: [32]byte{5}}
	for i := range MaxAdded {
		r.Added = append(r.Added, OrderRef{ID: uint64(i), Root: bytes.Repeat([]byte{7}, MaxRoot), Size: 9})
	}
	for i := range MaxDropped {
		r.Dropped = append(r.Dropped, uint64(1000+i))
	}
	return r
}

func TestUnmarshalReportRefuses(t *testing.T) {
	ref := func(id uint64, n int) OrderRef { return OrderRef{ID: id, Root: make([]byte, n)} }
	for name, change := range map[string]func(*Report){
		"long chain id":     func(r *Report) { r.ChainID = strings.Repeat("x", 65) },
		"negative height":   func(r *Report) { r.Height = -1 },
		"negative from":     func(r *Report) { r.From = -1 },
		"too many added":    func(r *Report) { r.Added = append(r.Added, ref(1<<40, 1)) },
		"too many dropped":  func(r *Report) { r.Dropped = append(r.Dropped, 1<<40) },
		"added twice":       func(r *Report) { r.Added = []OrderRef{ref(1, 1), ref(1, 1)} },
		"added unsorted":    func(r *Report) { r.Added = []OrderRef{ref(2, 1), ref(1, 1)} },
		"dropped twice":     func(r *Report) { r.Dropped = []uint64{1, 1} },
		"no root":           func(r *Report) { r.Added = []OrderRef{ref(1, 0)} },
		"root above limits": func(r *Report) { r.Added = []OrderRef{ref(1, MaxRoot+1)} },
	} {
		r := fullReport()
		change(&r)
		if _, err := UnmarshalReport(r.Marshal()); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
	if _, err := UnmarshalReport(fullReport().Marshal()); err != nil {
		t.Errorf("a report at its limits: %v", err)
	}
}

func FuzzReport(f *testing.F) {
	f.Add(fullReport().Marshal())
	f.Add(Report{}.Marshal())
	f.Add([]byte{})
	f.Fuzz(func(t *testing.T, p []byte) {
		if r, err := UnmarshalReport(p); err == nil && !bytes.Equal(r.Marshal(), p) {
			t.Fatal("a report has two encodings")
		}
	})
}

func FuzzStanding(f *testing.F) {
	f.Add(Standing{Account: [20]byte{1}, Counter: 2, Height: 3, Proven: 4}.Marshal())
	f.Add([]byte("\x00\x11cella/standing/v1"))
	f.Fuzz(func(t *testing.T, p []byte) {
		if s, err := UnmarshalStanding(p); err == nil && !bytes.Equal(s.Marshal(), p) {
			t.Fatal("a standing has two encodings")
		}
	})
}

func TestOrdersRoot(t *testing.T) {
	a, b := OrderRef{ID: 1, Root: []byte{1}, Size: 2}, OrderRef{ID: 2, Root: []byte{1}, Size: 2}
	roots := map[[32]byte]string{}
	for name, refs := range map[string][]OrderRef{"none": nil, "a": {a}, "b": {b}, "ab": {a, b}} {
		root := OrdersRoot(refs)
		if other, ok := roots[root]; ok {
			t.Errorf("%s and %s have one root", name, other)
		}
		roots[root] = name
	}
}
