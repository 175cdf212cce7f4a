package journal

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/cella-network/cella/client"
)

// brief writes entries as `kind/rule amount ...; ...`.
func brief(entries []Entry) string {
	var out []string
	for _, e := range entries {
		s := string(e.Kind)
		if e.Rule != "" && e.Kind != KindFee {
			s += "/" + e.Rule
		}
		s += " " + plus(e.Amount)
		if e.Locked != 0 {
			s += " locked " + plus(e.Locked)
		}
		if e.Order > 0 {
			s += fmt.Sprintf(" order %d", e.Order)
		}
		if e.Evidence != "" {
			s += " evidence " + e.Evidence
		}
		if e.Deadline > 0 {
			s += fmt.Sprintf(" until %d", e.Deadline)
		}
		out = append(out, s)
	}
	return strings.Join(out, "; ")
}

func plus(n int64) string {
	if n > 0 {
		return "+" + strconv.FormatInt(n, 10)
	}
	return strconv.FormatInt(n, 10)
}

func follower(c *chain, dir string, user int) Follower {
	return Follower{Ledger: Ledger{Dir: filepath.Join(dir, "journal", c.address(user)), Chain: chainID, Account: c.address(user)}, Source: c, Log: slog.New(slog.DiscardHandler)}
}

// all reads a ledger and checks that it adds up to the chain's balance.
func all(t *testing.T, c *chain, l Ledger, from int64) []Entry {
	t.Helper()
	var entries []Entry
	last, balance, err := l.Scan(from, func(e Entry) error {
		entries = append(entries, e)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if want := int64(c.balances[last][l.Account]); balance != want || Sum(entries) != want {
		t.Fatalf("at block %d the ledger has %d, its entries add up to %d, the chain has %d", last, balance, Sum(entries), want)
	}
	return entries
}

func lived(t *testing.T, blocks int) *chain {
	t.Helper()
	c := newChain(t)
	c.live(rand.New(rand.NewPCG(7, 7)), blocks)
	return c
}

func mustFollow(t *testing.T, f Follower, until int64) {
	t.Helper()
	if err := f.follow(t.Context(), until); err != nil {
		t.Fatal(err)
	}
}

func TestFollowing(t *testing.T) {
	c := lived(t, 60)
	f := follower(c, t.TempDir(), 1)
	mustFollow(t, f, 20)
	mustFollow(t, f, 21) // goes on where it was
	mustFollow(t, f, c.height)
	entries := all(t, c, f.Ledger, 0)
	if entries[0].Kind != KindOpening || entries[0].Amount != 1_000_000_000 || entries[0].Height != 0 {
		t.Errorf("it opens with %+v", entries[0])
	}
	var direct []Entry
	if err := Read(t.Context(), c, f.Ledger.Account, 1, c.height, func(e []Entry) error {
		direct = append(direct, e...)
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	if got, want := brief(entries[1:]), brief(direct); got != want {
		t.Errorf("the ledger has\n%s\nthe blocks say\n%s", got, want)
	}
	// From a later height the first line is the balance before it.
	late := all(t, c, f.Ledger, 40)
	if want := int64(c.balances[39][f.Ledger.Account]); late[0].Kind != KindOpening || late[0].Amount != want || late[1].Height < 40 {
		t.Errorf("from 40 on it says %+v, then %+v, want %d first", late[0], late[1], want)
	}
	height, ledger, balance, err := Check(t.Context(), c, f.Ledger)
	if err != nil || height != c.height || ledger != balance {
		t.Errorf("check: %d %d %d %v", height, ledger, balance, err)
	}
	found, err := OpenDir(f.Ledger.Dir)
	if err != nil || found != f.Ledger {
		t.Errorf("found %+v, %v", found, err)
	}
}

// A follower that is stopped notes how far it read, also where nothing happened to the account.
func TestStoppingNotesTheHeight(t *testing.T) {
	c := newChain(t)
	for range 5 {
		c.block()
	}
	f := follower(c, t.TempDir(), 1)
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	waited := make(chan int64, 100)
	f.Source = counted{c, func(h int64) { waited <- h }}
	done := make(chan error)
	go func() { done <- f.Run(ctx) }()
	for h := range waited {
		if h == 6 {
			stop()
			break
		}
	}
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	if height, _, ok, err := f.Ledger.Last(); height != 5 || !ok || err != nil {
		t.Errorf("it ends at %d, %v, %v", height, ok, err)
	}
}

// Whatever the last write left behind when the machine stopped, the ledger goes on from its last whole block.
func TestTornEnd(t *testing.T) {
	c := lived(t, 30)
	whole := follower(c, t.TempDir(), 1)
	mustFollow(t, whole, c.height)
	raw, err := os.ReadFile(filepath.Join(whole.Ledger.Dir, fileName(1)))
	if err != nil {
		t.Fatal(err)
	}
	lines := strings.SplitAfter(string(raw), "\n")
	head := len(lines[0])
	for cut := head; cut < len(raw); cut += 311 {
		f := follower(c, t.TempDir(), 1)
		if err := os.MkdirAll(f.Ledger.Dir, 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(f.Ledger.Dir, fileName(1)), raw[:cut], 0o600); err != nil {
			t.Fatal(err)
		}
		if cut%2 == 0 { // a reader is not disturbed either
			all(t, c, f.Ledger, 0)
		}
		mustFollow(t, f, c.height)
		got, err := os.ReadFile(filepath.Join(f.Ledger.Dir, fileName(1)))
		if err != nil || string(got) != string(raw) {
			t.Fatalf("cut at %d: the ledger differs (%v)", cut, err)
		}
	}
	// A page of the last write was lost, a later one was not.
	f := follower(c, t.TempDir(), 1)
	mustFollow(t, f, c.height)
	path := filepath.Join(f.Ledger.Dir, fileName(1))
	lost := []byte(string(raw))
	last := strings.LastIndex(string(raw), `{"entry"`)
	copy(lost[last:], make([]byte, 20))
	if err := os.WriteFile(path, lost, 0o600); err != nil {
		t.Fatal(err)
	}
	mustFollow(t, f, c.height)
	if got, err := os.ReadFile(path); err != nil || string(got) != string(raw) {
		t.Errorf("the ledger differs (%v)", err)
	}
}

// What was on disk before the last write can't be lost by a crash: it is reported, not repaired in silence.
func TestDamage(t *testing.T) {
	c := lived(t, 30)
	for name, change := range map[string]func([]string) []string{
		"a line that is none": func(l []string) []string { l[3] = "nonsense\n"; return l },
		"an entry is missing": func(l []string) []string { return slices.Delete(l, 1, 2) },
		"an amount was changed": func(l []string) []string {
			return strings.SplitAfter(strings.Replace(strings.Join(l, ""), `"amount":-`, `"amount":-1`, 1), "\n")
		},
		"a block is there twice": func(l []string) []string {
			i := slices.IndexFunc(l, func(s string) bool { return strings.HasPrefix(s, `{"end"`) })
			return slices.Insert(l, i+1, l[1:i+1]...)
		},
		"another chain":      func(l []string) []string { l[0] = strings.Replace(l[0], chainID, "other-1", 1); return l },
		"another version":    func(l []string) []string { l[0] = strings.Replace(l[0], `"version":1`, `"version":2`, 1); return l },
		"the head is gone":   func(l []string) []string { return l[1:] },
		"nothing but a head": func([]string) []string { return []string{"{\n"} },
	} {
		t.Run(name, func(t *testing.T) {
			f := follower(c, t.TempDir(), 1)
			mustFollow(t, f, c.height)
			path := filepath.Join(f.Ledger.Dir, fileName(1))
			raw, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			changed := strings.Join(change(strings.SplitAfter(string(raw), "\n")), "")
			if err := os.WriteFile(path, []byte(changed), 0o600); err != nil {
				t.Fatal(err)
			}
			_, _, err = f.Ledger.Scan(0, func(Entry) error { return nil })
			var e *client.Error
			if !errors.As(err, &e) || e.Kind != client.KindLocal || e.Hint == "" {
				t.Errorf("reading: %v", err)
			}
			if err := f.follow(t.Context(), c.height); err == nil {
				t.Error("it was followed on")
			}
			if got, err := os.ReadFile(path); err != nil || string(got) != changed {
				t.Errorf("the file was touched (%v)", err)
			}
			if _, err := f.Rebuild(t.Context(), func(int64, int64) {}); err != nil {
				t.Fatal(err)
			}
			all(t, c, f.Ledger, 0)
		})
	}
}

// A ledger that is made anew while a node appends to the old one takes its place, and the node goes on with it.
func TestRebuildUnderAFollower(t *testing.T) {
	c := lived(t, 20)
	f := follower(c, t.TempDir(), 1)
	mustFollow(t, f, c.height)
	s, err := f.open(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if first, err := f.Rebuild(t.Context(), func(int64, int64) {}); err != nil || first != 1 {
		t.Fatalf("rebuilt from %d: %v", first, err)
	}
	if _, err := f.Ledger.append(s, []Entry{{Amount: 1}}, c.height+1); !errors.Is(err, errMoved) {
		t.Fatalf("the node still wrote to the old one: %v", err)
	}
	c.live(rand.New(rand.NewPCG(8, 8)), 20)
	mustFollow(t, f, c.height)
	all(t, c, f.Ledger, 0)
	left, err := os.ReadDir(filepath.Dir(f.Ledger.Dir))
	if err != nil || len(left) != 2 { // the folder and its lock
		t.Errorf("it left %v, %v", left, err)
	}
}

// Where results are gone a gap stands for them, and the sum holds.
func TestGaps(t *testing.T) {
	t.Run("blocks were pruned", func(t *testing.T) {
		c := lived(t, 40)
		f := follower(c, t.TempDir(), 1)
		mustFollow(t, f, 10)
		c.first, c.state = 31, 33
		mustFollow(t, f, c.height)
		entries := all(t, c, f.Ledger, 0)
		i := slices.IndexFunc(entries, func(e Entry) bool { return e.Kind == KindGap })
		if i < 0 || entries[i].From != 11 || entries[i].Height != 30 {
			t.Errorf("the gap: %+v", entries)
		}
	})
	t.Run("a ledger begins on a pruned node", func(t *testing.T) {
		c := lived(t, 40)
		c.first, c.state = 31, 33
		f := follower(c, t.TempDir(), 1)
		mustFollow(t, f, c.height)
		if e := all(t, c, f.Ledger, 0)[0]; e.Kind != KindOpening || e.Height != 30 || e.Amount != int64(c.balances[30][f.Ledger.Account]) {
			t.Errorf("it opens with %+v", e)
		}
	})
	t.Run("a node keeps no results", func(t *testing.T) {
		c := lived(t, 10)
		c.discard = true
		f := follower(c, t.TempDir(), 1)
		mustFollow(t, f, c.height)
		c.live(rand.New(rand.NewPCG(9, 9)), 10)
		mustFollow(t, f, c.height)
		entries := all(t, c, f.Ledger, 0)
		if len(entries) != 2 || entries[1].Kind != KindGap || entries[1].From != 11 || entries[1].Height != 20 {
			t.Errorf("%+v", entries)
		}
	})
}

func TestManyFiles(t *testing.T) {
	c := lived(t, 30)
	f := follower(c, t.TempDir(), 1)
	mustFollow(t, f, 10)
	// A file's worth of blocks later, the next one begins.
	s, err := f.open(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	s.first -= fileBlocks
	entries, err := read(t.Context(), c, f.Ledger.Account, 11)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := f.Ledger.append(s, entries, 11); err != nil {
		t.Fatal(err)
	}
	mustFollow(t, f, c.height)
	all(t, c, f.Ledger, 0)
	names, err := files(f.Ledger.Dir)
	if err != nil || !slices.Equal(names, []string{fileName(1), fileName(11)}) {
		t.Fatalf("%v %v", names, err)
	}
	if e := all(t, c, f.Ledger, 20)[0]; e.Kind != KindOpening || e.Amount != int64(c.balances[19][f.Ledger.Account]) {
		t.Errorf("from 20 on it begins with %+v", e)
	}
	// One in the middle that was exchanged doesn't join the others.
	if err := os.Remove(filepath.Join(f.Ledger.Dir, fileName(1))); err != nil {
		t.Fatal(err)
	}
	other := follower(c, t.TempDir(), 1)
	mustFollow(t, other, 9)
	if err := os.Rename(filepath.Join(other.Ledger.Dir, fileName(1)), filepath.Join(f.Ledger.Dir, fileName(1))); err != nil {
		t.Fatal(err)
	}
	if _, _, err := f.Ledger.Scan(0, func(Entry) error { return nil }); !client.IsKind(err, client.KindLocal) {
		t.Errorf("two files that don't fit: %v", err)
	}
}

func TestNoLedger(t *testing.T) {
	l := Ledger{Dir: filepath.Join(t.TempDir(), "journal", "cella1x"), Chain: chainID, Account: "cella1x"}
	if _, _, err := l.Scan(0, func(Entry) error { return nil }); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("reading: %v", err)
	}
	if _, _, ok, err := l.Last(); ok || err != nil {
		t.Errorf("the end: %v %v", ok, err)
	}
	if _, err := OpenDir(l.Dir); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("opening: %v", err)
	}
}

// Whatever lies in a ledger's file, reading it neither panics nor makes up entries that don't add up.
func FuzzScan(f *testing.F) {
	head := `{"head":{"version":1,"chain":"c","account":"a","after":0,"balance":5}}` + "\n"
	f.Add([]byte(head + `{"entry":{"height":1,"kind":"fee","amount":-2}}` + "\n" + `{"end":{"height":1,"balance":3}}` + "\n"))
	f.Add([]byte(head + `{"entry":{"height":1,"kind":"fee","amount":-2}}` + "\n" + `{"end":{"height":1,"bal`))
	f.Add([]byte(head + "\x00\x00\n" + `{"end":{"height":1,"balance":5}}` + "\n"))
	f.Fuzz(func(t *testing.T, raw []byte) {
		l := Ledger{Dir: t.TempDir(), Chain: "c", Account: "a"}
		if err := os.WriteFile(filepath.Join(l.Dir, fileName(1)), raw, 0o600); err != nil {
			t.Fatal(err)
		}
		var sum int64
		_, balance, err := l.Scan(0, func(e Entry) error {
			sum += e.Amount
			return nil
		})
		if err == nil && sum != balance {
			t.Errorf("entries add up to %d, the balance is %d", sum, balance)
		}
	})
}
