// Package oddtree writes files and directories that break careless importers, the same ones each time. It is for tests and the demo.
package oddtree

import (
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
)

// Files is the number of regular files that a test's tree has.
const Files = 500

// Names are file names of at most 255 bytes; one of them isn't UTF-8.
var Names = []string{
	" ", "a b", " leading", "trailing ", "-rf", "--", "...", ".hidden", "new\nline", "tab\there", "quote'\"`", "back\\slash", "star*?[x]",
	"$HOME", "%2e%2e", "%", "ünïcödé", "e\u0301", "日本語", "\U0001f5c4", "\u202eright-to-left", "\x01\x7f", "latin1-\xe9\xff", "CON", "~",
	strings.Repeat("n", 255), strings.Repeat("é", 127), "0", "00", "ff", "a", "A",
}

// Pattern is n bytes that no compression or repetition shortens, another sequence for each seed.
func Pattern(seed byte, n int) []byte {
	b := make([]byte, n)
	_, _ = rand.NewChaCha8([32]byte{seed}).Read(b) // never fails
	return b
}

// File writes a file of n bytes and the directories above it.
func File(path string, seed byte, n int) error {
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return err
	}
	return os.WriteFile(path, Pattern(seed, n), 0o644)
}

// Write makes the tree of Files files that the tests know.
func Write(root string) error { return Tree(root, Files) }

// Tree makes the directory root of so many regular files, at least two for each of Names: files and directories of odd names, empty
// directories, and links that lead nowhere, outside and in circles.
func Tree(root string, files int) error {
	var paths []string
	for _, name := range Names {
		dir := name
		if len(dir) < 250 {
			dir += ".d"
		}
		paths = append(paths, filepath.Join(root, name), filepath.Join(root, "nested", dir, name))
	}
	for len(paths) < files {
		paths = append(paths, filepath.Join(root, "many", fmt.Sprintf("%d.txt", len(paths))))
	}
	for i, path := range paths {
		if err := File(path, byte(i), i*i%4099); err != nil {
			return err
		}
	}
	for _, dir := range []string{"empty", ".hidden-empty", "deep/er/and/deeper"} {
		if err := os.MkdirAll(filepath.Join(root, dir), 0o755); err != nil {
			return err
		}
	}
	for name, target := range map[string]string{
		"link": "many/100.txt", "dangling": "nowhere", "circle": ".", "outside": "/etc/passwd", "up": "../..",
	} {
		if err := os.Symlink(target, filepath.Join(root, name)); err != nil {
			return err
		}
	}
	return nil
}

// Widest is the most files of Wide that fit a directory of one block under the profile; one more makes a HAMT.
const Widest = 885

// Wide makes the directory root with n empty files whose names are 250 bytes long.
func Wide(root string, n int) error {
	for i := range n {
		if err := File(filepath.Join(root, fmt.Sprintf("%0250d", i)), 0, 0); err != nil {
			return err
		}
	}
	return nil
}
