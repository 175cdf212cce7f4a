package main

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
)

func TestSides(t *testing.T) {
	var least side
	keep := best(&least)
	for _, cpu := range []float64{3, 1, 2} {
		keep(side{cpu: cpu})
	}
	if least.cpu != 1 {
		t.Error(least)
	}
	b := bench{mib: 100}
	rows := b.rows("put", side{cpu: 4, idle: 2}, "peer", side{cpu: 2}, side{cpu: 6})
	if rows[0].Ratio != 0.5 || rows[1].Ratio != 1 || rows[2].Ratio != 1.5 {
		t.Errorf("%+v", rows)
	}
	s, out, err := timed(exec.CommandContext(context.Background(), "echo", "word"), nil)
	if err != nil || string(out) != "word\n" || s.wall <= 0 {
		t.Error(s, string(out), err)
	}
	if _, _, err := timed(exec.Command("cat", "/no/such/file"), nil); err == nil {
		t.Error("a command that failed was timed")
	}
}

func TestFilesAreCompared(t *testing.T) {
	a, b := filepath.Join(t.TempDir(), "a"), filepath.Join(t.TempDir(), "b")
	for _, p := range []string{a, b} {
		if err := makeFile(p, 1); err != nil {
			t.Fatal(err)
		}
	}
	if err := sameThenGone(a, b); err == nil {
		t.Error("two files of random bytes are the same")
	}
	content, err := os.ReadFile(a)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(b, content, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := sameThenGone(a, b); err != nil {
		t.Error(err)
	}
	if _, err := os.Stat(b); !os.IsNotExist(err) {
		t.Error("the copy is still there")
	}
}
