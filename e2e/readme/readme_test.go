// Package readme runs what the README tells people to type.
package readme

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// TestTour runs the block under "Five minutes" line by line, as a person would; only the build, which made the programs under test, is left out.
func TestTour(t *testing.T) {
	root, err := filepath.Abs("../..")
	if err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(filepath.Join(root, "README.md"))
	if err != nil {
		t.Fatal(err)
	}
	_, after, ok := strings.Cut(string(text), "## Five minutes\n\n```sh\nmake build\n")
	tour, _, closed := strings.Cut(after, "```")
	if !ok || !closed || strings.Count(tour, "cella ") < 8 {
		t.Fatal("README.md has no tour where this test looks for it")
	}
	for _, program := range []string{"cella", "cella-enclave"} {
		if _, err := os.Stat(filepath.Join(root, "build", program)); err != nil {
			t.Fatalf("%v: run make build first", err)
		}
	}
	// The tour starts in the repository; it works on a copy of what it stores, so that nothing is left behind.
	dir := t.TempDir()
	script := "set -eux\ntrap 'cella devnet down --purge >/dev/null 2>&1 || true' EXIT\n" +
		"cp '" + filepath.Join(root, "README.md") + "' . && cp -r '" + filepath.Join(root, "docs") + "' . && ln -s '" + filepath.Join(root, "build") + "' build\n" + tour
	ctx, cancel := context.WithTimeout(context.Background(), 8*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, "sh", "-c", script)
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "TMPDIR="+dir)
	cmd.Cancel = func() error { return cmd.Process.Signal(os.Interrupt) } // the trap takes the network down
	cmd.WaitDelay = 30 * time.Second
	out, err := cmd.CombinedOutput()
	t.Logf("%s", out)
	if err != nil {
		t.Fatal(err)
	}
}
