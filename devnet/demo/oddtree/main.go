// Command oddtree writes a tree of small files with odd names, the same one each time: for trying the demo on what people really have.
package main

import (
	"flag"
	"fmt"
	"os"

	"github.com/cella-network/cella/content/oddtree"
)

func main() {
	files := flag.Int("files", 5000, "number of files")
	flag.Parse()
	if flag.NArg() != 1 {
		fmt.Fprintln(os.Stderr, "usage: oddtree [-files N] DIR")
		os.Exit(2)
	}
	if err := oddtree.Tree(flag.Arg(0), *files); err != nil {
		fmt.Fprintln(os.Stderr, "oddtree:", err)
		os.Exit(1)
	}
}
