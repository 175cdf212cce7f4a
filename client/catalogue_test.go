package client

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"testing"
)

func TestCatalogue(t *testing.T) {
	c := catalogue{filepath.Join(t.TempDir(), "content", "catalogue.json")}
	if all, err := c.read(); err != nil || len(all) != 0 {
		t.Fatal(all, err)
	}
	a := Entry{Chain: "one", Name: "notes", Root: "bafka"}
	b := Entry{Chain: "one", Name: "notes", Root: "bafkb"}
	other := Entry{Chain: "two", Name: "notes", Root: "bafka"}
	for _, e := range []*Entry{&a, &b, &other} {
		if err := c.save(e); err != nil {
			t.Fatal(err)
		}
	}
	if a.Name != "notes" || b.Name != "notes-2" || other.Name != "notes" {
		t.Fatalf("names %q %q %q", a.Name, b.Name, other.Name)
	}
	again := Entry{Chain: "one", Name: "renamed", Root: "bafka", Order: 9}
	if err := c.save(&again); err != nil || again.Name != "notes" {
		t.Fatalf("%q %v: an entry keeps its name", again.Name, err)
	}
	if e, ok, err := c.find("one", "notes"); err != nil || !ok || e.Order != 9 {
		t.Fatal(e, ok, err)
	}
	if e, ok, _ := c.find("one", "bafkb"); !ok || e.Name != "notes-2" {
		t.Fatal(e, ok)
	}
	if _, ok, _ := c.find("three", "notes"); ok {
		t.Fatal("found on another chain")
	}
	if err := c.remove("one", "bafka"); err != nil {
		t.Fatal(err)
	}
	if all, err := c.read(); err != nil || len(all) != 2 {
		t.Fatal(all, err)
	}
	info, err := os.Stat(c.path)
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Fatal(info.Mode(), err)
	}
}

func TestCatalogueRefusesWhatItCannotRead(t *testing.T) {
	c := catalogue{filepath.Join(t.TempDir(), "catalogue.json")}
	for _, text := range []string{"{", `{"version":2}`} {
		if err := os.WriteFile(c.path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := c.save(&Entry{Name: "x", Root: "y"}); !IsKind(err, KindLocal) {
			t.Errorf("%s: %v", text, err)
		}
		if b, _ := os.ReadFile(c.path); string(b) != text {
			t.Errorf("%s was overwritten by %s", text, b)
		}
	}
}

// Processes that change the catalogue at once lose nothing: without the lock some of the entries would vanish.
func TestCatalogueManyWriters(t *testing.T) {
	path := filepath.Join(t.TempDir(), "catalogue.json")
	var all sync.WaitGroup
	for i := range 12 {
		all.Go(func() {
			if err := (catalogue{path}).save(&Entry{Chain: "one", Name: "f", Root: fmt.Sprint("root", i)}); err != nil {
				t.Error(err)
			}
		})
	}
	all.Wait()
	entries, err := catalogue{path}.read()
	if err != nil || len(entries) != 12 {
		t.Fatalf("%d entries, %v", len(entries), err)
	}
	names := map[string]bool{}
	for _, e := range entries {
		names[e.Name] = true
	}
	if len(names) != 12 {
		t.Fatalf("names are not distinct: %v", names)
	}
	if left, _ := filepath.Glob(path + "*"); len(left) != 1 {
		t.Fatalf("left over: %v", left)
	}
}

func TestLockKeepsOthersOut(t *testing.T) {
	path := filepath.Join(t.TempDir(), "lock")
	unlock, err := lockFile(path, false)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := lockFile(path, false); !errors.Is(err, errLocked) {
		t.Fatal(err)
	}
	unlock()
	unlock, err = lockFile(path, false)
	if err != nil {
		t.Fatal(err)
	}
	unlock()
}
