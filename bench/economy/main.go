// Command economy plays the rules of protocol/stake with thousands of nodes over years of eras: what it costs to hold a third and two
// thirds of the voting power, beside the same network under plain proof of stake, and what comes of stake without storage, storage
// without stake, a whale, and a third of all storage lost at once. All coins are added up in each era. docs/economy.md holds its output;
// -write FILE puts it there, between the marks.
package main

import (
	"flag"
	"fmt"
	"os"
	"runtime"
	"strings"

	"golang.org/x/sync/errgroup"
)

const (
	begin = "<!-- tables: go run ./bench/economy -write docs/economy.md -->\n"
	end   = "<!-- end of the tables -->\n"
)

func main() {
	write := flag.String("write", "", "file whose tables are replaced")
	nodes := flag.Int("nodes", 10_000, "nodes, and as many guarantors")
	years := flag.Int("years", 2, "years of each life; an era is a day")
	seed := flag.Uint64("seed", 1, "of all that is drawn")
	flag.Parse()
	text, err := tables(setup{rules: gpos, nodes: *nodes, seed: *seed}, *years*eraYear)
	if err == nil && *write != "" {
		err = replace(*write, text)
	} else if err == nil {
		fmt.Print(text)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "economy:", err)
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

// tables plays all lives, as many at a time as there are processors; each draws from a generator of its own.
func tables(s setup, eras int) (string, error) {
	price, tried, lost := make([]string, len(priced)), make([]string, len(attempts)), ""
	var g errgroup.Group
	g.SetLimit(runtime.GOMAXPROCS(0))
	for i, rules := range priced {
		g.Go(func() (err error) {
			price[i], err = priceRow(rules, s, eras)
			return err
		})
	}
	g.Go(func() (err error) {
		lost, err = losses(s, eras)
		return err
	})
	for i, a := range attempts {
		g.Go(func() (err error) {
			tried[i], err = tryRow(a, s, eras)
			return err
		})
	}
	if err := g.Wait(); err != nil {
		return "", err
	}
	return "\n" + s.figures(eras) + "\n" +
		"\nWhat a newcomer must bring to hold more than a third, or two, of the power after quiet years:\n\n" +
		"| | all stake | all disks | 1/3: coins | disks | nodes | eras | 2/3: coins | disks | nodes | eras |\n|---|---|---|---|---|---|---|---|---|---|---|\n" +
		strings.Join(price, "") +
		"\nWhat somebody gets who joins on the first day, within a quarter of that time; coins and disks in parts of what all others have, power and pay of the whole:\n\n" +
		"| who | coins | disks | most power | pay | power under plain proof of stake | pay |\n|---|---|---|---|---|---|---|\n" +
		strings.Join(tried, "") + lost + "\n", nil
}

// figures are those on which the tables rest.
func (s setup) figures(eras int) string {
	return fmt.Sprintf("%d nodes and as many guarantors, %d seats, %d eras of a day, seed %d. A proven TiB lets %s count.",
		s.nodes, s.rules.Seats, eras, s.seed, coins(s.rules.LimitOf(tib)))
}

// rules are those of a row of the first table.
type rules struct {
	name  string
	setup func(setup) setup
}

var priced = []rules{
	{"plain proof of stake", setup.free},
	{"guaranteed, half the rate", func(s setup) setup { return s.rate(1, 2) }},
	{"guaranteed", func(s setup) setup { return s }},
	{"guaranteed, twice the rate", func(s setup) setup { return s.rate(2, 1) }},
}

func (s setup) free() setup {
	s.plain = true
	return s
}

func (s setup) rate(num, den uint64) setup {
	s.rules.Rate = s.rules.Rate * num / den
	return s
}

// priceRow is what power costs after quiet years.
func priceRow(r rules, s setup, eras int) (string, error) {
	s = r.setup(s)
	w := newWorld(s)
	for range eras {
		if err := w.pass(); err != nil {
			return "", fmt.Errorf("%s: %w", r.name, err)
		}
	}
	third, err := w.cost(1, 3)
	if err != nil {
		return "", err
	}
	most, err := w.cost(2, 3)
	if err != nil {
		return "", err
	}
	all, _ := w.bonded()
	return fmt.Sprintf("| %s | %s | %s | %s | %s |\n", r.name, coins(all), bytes(w.bytes()), third.row(s.plain), most.row(s.plain)), nil
}

func (p price) row(plain bool) string {
	disks := bytes(p.bytes)
	switch {
	case !p.possible:
		return "not with a node a seat | | |"
	case plain:
		disks = "none"
	}
	return fmt.Sprintf("%s | %s | %d | %d", coins(p.coins), disks, p.nodes, p.eras)
}

// tryRow is what an attempt comes to.
func tryRow(a attempt, s setup, eras int) (string, error) {
	ours, err := try(s, a, eras/4)
	if err != nil {
		return "", fmt.Errorf("%s: %w", a.name, err)
	}
	beside, err := try(s.free(), a, eras/8) // it shows at once there
	if err != nil {
		return "", fmt.Errorf("%s, plain: %w", a.name, err)
	}
	return fmt.Sprintf("| %s | %s | %s | %s | %s | %s | %s |\n", a.name, percent(ours.coins), percent(ours.bytes), percent(ours.power),
		percent(ours.pay), percent(beside.power), percent(beside.pay)), nil
}

// losses are what comes of a third of the storage lost.
func losses(s setup, eras int) (string, error) {
	l, err := lose(s, eras)
	if err != nil {
		return "", err
	}
	return fmt.Sprintf("\nA third of the nodes lose all bytes at once, after half of the time, and come back one by one:\n\n| | |\n|---|---|\n"+
		"| stake that counts, before | %s |\n| at its lowest, %d eras later | %s |\n| bonded beside that and idle | %s |\n| at the end | %s |\n"+
		"| most power that moved in an era | %s |\n| resharings that failed | %d |\n| 1/3 of the power, before | %s, %s |\n| at the lowest | %s, %s |\n",
		coins(l.before), l.lowestAt, coins(l.lowest), coins(l.idle), coins(l.after), percent(l.mostMove), l.refused,
		coins(l.sane.coins), bytes(l.sane.bytes), coins(l.worst.coins), bytes(l.worst.bytes)), nil
}

func percent(v uint64) string { return fmt.Sprintf("%.1f %%", float64(v)/100) }

func coins(v uint64) string {
	if v >= 100_000*cella {
		return fmt.Sprintf("%.2f M CELLA", float64(v)/cella/1e6)
	}
	return fmt.Sprintf("%.0f CELLA", float64(v)/cella)
}

func bytes(v uint64) string { return fmt.Sprintf("%.1f PiB", float64(v)/(1<<50)) }
