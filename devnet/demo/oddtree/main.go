// Command oddtree writes a tree of small files with odd names, the same one each time: for trying the demo on what people really have.
package main

import (
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
)

func main() {
	files := flag.Int("files", 5000, "number of files")
	flag.Parse()
	if flag.NArg() != 1 {
		fmt.Fprintln(os.Stderr, "usage: oddtree [-files N] DIR")
		os.Exit(2)
	}
	if err := write(flag.Arg(0), *files); err != nil {
		fmt.Fprintln(os.Stderr, "oddtree:", err)
		os.Exit(1)
	}
}

// odd are beginnings of names that programs have tripped over.
var odd = []string{
	"plain", "with space", " leading", "trailing ", "-dash", "--flag=x", "new\nline", "tab\tstop", `quote"s'`, `back\slash`, "$HOME", "`id`", "semi;colon",
	"star*", "question?", "per%cent", "hash#", "colon:", "pipe|", "dots..", ".hidden", "ünïcödé", "漢字", "עברית", "🏛️", "e\u0301-decomposed", "\u00e9-composed",
	strings.Repeat("long", 60), "CON", "NUL.txt",
}

func write(root string, files int) error {
	random := rand.New(rand.NewPCG(1, 2))
	if err := os.MkdirAll(filepath.Join(root, "empty folder"), 0o755); err != nil {
		return err
	}
	if err := os.Symlink("plain-0", filepath.Join(root, "link to plain-0")); err != nil && !os.IsExist(err) {
		return err
	}
	for i := range files {
		dir := root
		for d := random.IntN(4); d > 0; d-- {
			dir = filepath.Join(dir, odd[random.IntN(len(odd))]+".d")
		}
		if i == 0 {
			dir = root
		}
		if err := os.MkdirAll(dir, 0o755); err != nil {
			return err
		}
		content := make([]byte, random.IntN(12<<10))
		for k := range content {
			content[k] = byte(random.Uint32())
		}
		if i%50 == 7 {
			content = nil
		}
		name := fmt.Sprintf("%s-%d", odd[i%len(odd)], i)
		if err := os.WriteFile(filepath.Join(dir, name), content, 0o644); err != nil {
			return err
		}
	}
	return nil
}
