// Command durability computes how likely a file is to be lost within a year, for replicas and for shards, and checks the figures by
// playing years. docs/durability.md holds its output; -write FILE puts the tables there, between the marks.
package main

import (
	"flag"
	"fmt"
	"os"
	"strings"
)

const (
	day   = 1.0 / 365
	seed  = 1
	begin = "<!-- tables: go run ./bench/durability -write docs/durability.md -->\n"
	end   = "<!-- end of the tables -->\n"
)

var layouts = []layout{
	{"2 replicas", 1, 2}, {"3 replicas", 1, 3}, {"4 replicas", 1, 4}, {"2+1", 2, 3}, {"4+2", 4, 6}, {"8+4", 8, 12}, {"16+8", 16, 24},
}

var losses = []float64{0.02, 0.05, 0.10, 0.20}

func main() {
	write := flag.String("write", "", "file whose tables are replaced")
	years := flag.Int("years", 1_000_000, "years to play for each figure of the last table")
	flag.Parse()
	text := tables(*years)
	if *write == "" {
		fmt.Print(text)
		return
	}
	if err := replace(*write, text); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func replace(path, text string) error {
	b, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	before, rest, ok1 := strings.Cut(string(b), begin)
	_, after, ok2 := strings.Cut(rest, end)
	if !ok1 || !ok2 {
		return fmt.Errorf("%s has no marks for the tables", path)
	}
	return os.WriteFile(path, []byte(before+begin+text+end+after), 0o644)
}

func tables(years int) string { return exactTables() + playedTable(years) }

// exactTables are the probabilities by the Markov chain.
func exactTables() string {
	var out strings.Builder
	for _, t := range []struct {
		title  string
		shocks float64
		hit    float64
		repair float64
	}{
		{"Operators are lost independently; a lost part is proven elsewhere after a day and a half", 0, 0, 1.5 * day},
		{"The same, after a week", 0, 0, 7 * day},
		{"Beside that, twice in ten years something strikes every tenth operator at once; a day and a half", 0.2, 0.1, 1.5 * day},
	} {
		fmt.Fprintf(&out, "\n%s:\n\n| file lies in | bytes stored |", t.title)
		for _, p := range losses {
			fmt.Fprintf(&out, " %.0f %% |", p*100)
		}
		out.WriteString("\n|---|---|" + strings.Repeat("---|", len(losses)) + "\n")
		for _, l := range layouts {
			fmt.Fprintf(&out, "| %s | %.1fx |", l.name, l.overhead())
			for _, p := range losses {
				fmt.Fprintf(&out, " %.0e |", world{loss: p, shocks: t.shocks, hit: t.hit, repair: t.repair}.exact(l))
			}
			out.WriteString("\n")
		}
	}
	return out.String()
}

// playedTable holds played years against the exact figures, where files are lost often enough to be seen.
func playedTable(years int) string {
	var out strings.Builder
	fmt.Fprintf(&out, "\n%d years were played for each line (seed %d), 20 %% of the operators lost a year, a week to repair:\n\n", years, seed)
	out.WriteString("| file lies in | exact | played, repairs take exponentially long | played, repairs take a week each |\n|---|---|---|---|\n")
	w := world{loss: 0.2, repair: 7 * day}
	for _, l := range layouts {
		p := w.exact(l)
		if p*float64(years) < 10 {
			continue
		}
		fmt.Fprintf(&out, "| %s | %.1e | %.1e | %.1e |\n", l.name, p,
			float64(w.simulate(l, years, seed, false))/float64(years), float64(w.simulate(l, years, seed, true))/float64(years))
	}
	return out.String() + "\n"
}
