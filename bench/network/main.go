// Command network runs a simulated network on the chain's real code for reports and the market, for a day or more, and holds its books.
//
// The nodes report once an hour, signed, each at its own block; their owners place orders, operators accept them, and what goes wrong with
// disks and people does, at given rates: heights that fail, disks that are lost, operators that fall silent, drain or never prove what
// they accepted. After each simulated hour all coins are counted. At the end no honest node may have been fined, and every
// cheat must have been. All is drawn from one seed; a run can be repeated.
//
//	go run ./bench/network [flags]     -help lists them
package main

import (
	"flag"
	"fmt"
	"os"
	"time"

	"github.com/cella-network/cella/bench/meter"
	"github.com/cella-network/cella/bench/table"
)

func main() {
	c := config{}
	flag.IntVar(&c.nodes, "nodes", 10_000, "storage nodes")
	flag.IntVar(&c.orders, "orders", 30_000, "orders that run at any time")
	flag.IntVar(&c.replicas, "replicas", 3, "replicas of an order")
	flag.IntVar(&c.hours, "hours", 24, "simulated hours")
	flag.Uint64Var(&c.seed, "seed", 1, "of all that is drawn")
	verbose := flag.Bool("v", false, "tell of each hour")
	rows := flag.String("rows", "", "append the table's rows to this file")
	flag.Parse()
	if err := run(c, *verbose, *rows); err != nil {
		fmt.Fprintln(os.Stderr, "bench/network:", err)
		os.Exit(1)
	}
}

func run(c config, verbose bool, rows string) error {
	began, err := meter.CPU(os.Getpid())
	if err != nil {
		return err
	}
	n, err := newNetwork(c)
	if err != nil {
		return err
	}
	for hour := range c.hours {
		if err := n.hour(); err != nil {
			return fmt.Errorf("seed %d, hour %d: %w", c.seed, hour+1, err)
		}
		if verbose {
			fmt.Printf("hour %d: %d reports, %d replicas proven, %d penalties\n", hour+1, n.reports, n.proven, n.penalties)
		}
	}
	if err := n.justice(); err != nil {
		return fmt.Errorf("seed %d: %w", c.seed, err)
	}
	ended, err := meter.CPU(os.Getpid())
	if err != nil {
		return err
	}
	cpu := ended - began
	fmt.Print(n.summary())
	return table.Add(rows, table.Row{What: fmt.Sprintf("network of %d nodes, %d hours, seed %d", c.nodes, c.hours, c.seed),
		Ours:   fmt.Sprintf("%.0f CPU s, %d reports, %.0f MiB of state", cpu.Seconds(), n.reports, float64(n.world.size())/(1<<20)),
		Wanted: "coins conserved each hour; cheats fined, no honest node", Met: true},
		table.Row{What: "  of it a chain spends", Ours: fmt.Sprintf("%.1f%% of a core", 100*cpu.Seconds()/(time.Duration(c.hours)*time.Hour).Seconds())})
}
