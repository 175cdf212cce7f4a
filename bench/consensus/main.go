// Command consensus measures what numbers, committees and guaranteed stake cost a chain beside the same chain without them.
//
//	sends       CPU time of blocks full of signed bank sends, executed and committed by our application and by one of the stock modules
//	            alone, over the same database, with the same accounts, transactions and checks; each side in a process of its own; they take turns block by block
//	ceremonies  CPU time and bytes of fresh keys and handovers
//	combine     CPU time of making a signature of the shares of a hundred members
//	proposer    CPU time of what a proposer of a hundred validators does for a block beside the stock work
//	interval-N  the time between blocks of networks of real processes, by their headers, over that of the same programs without a key, vote
//	            extensions and the proposer lottery; the two networks take turns, and the one that does not run is frozen
//
//	go run ./bench/consensus [-part NAME,...] [flags]     -help lists them
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"slices"
	"strings"
	"syscall"

	"github.com/cella-network/cella/bench/table"
)

const chainID = "bench-1"

// parts in the order of the table.
var parts = []string{"sends", "ceremonies", "combine", "proposer", "interval-4", "interval-7"}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx); err != nil {
		stop()
		fmt.Fprintln(os.Stderr, "bench/consensus:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context) error {
	var s sends
	var i intervals
	only := flag.String("part", strings.Join(parts, ","), "which")
	rowsTo := flag.String("rows", "", "append the table's rows to this file")
	rounds := flag.Int("rounds", 101, "rounds of combine and proposer")
	flag.StringVar(&s.dir, "dir", "build", "where to make a folder for the databases of sends: a real disk")
	flag.IntVar(&s.blocks, "blocks", 40, "blocks of each side of sends")
	flag.IntVar(&s.validators, "validators", 100, "validators of sends")
	flag.IntVar(&s.each, "sends", 1400, "sends of a block")
	flag.StringVar(&i.bin, "bin", "build", "folder of cella and cella-enclave")
	flag.IntVar(&i.turns, "interval-turns", 2, "turns of each network")
	flag.IntVar(&i.blocks, "interval-blocks", 30, "blocks of a turn that count")
	side := flag.String("side", "", "used by sends itself: ours or plain, one block for each line of the standard input")
	flag.Parse()
	if *side != "" {
		return s.here(*side, os.Stdin, os.Stdout)
	}
	measure := map[string]func() ([]table.Row, error){
		"sends":      func() ([]table.Row, error) { return s.measure(ctx) },
		"ceremonies": func() ([]table.Row, error) { return ceremonies([]int{4, 16, 64, 100}) },
		"combine":    func() ([]table.Row, error) { return combine(100, *rounds) },
		"proposer":   func() ([]table.Row, error) { return propose(100, *rounds) },
		"interval-4": func() ([]table.Row, error) { return i.measure(ctx, 4) },
		"interval-7": func() ([]table.Row, error) { return i.measure(ctx, 7) },
	}
	var failed []error
	for _, name := range strings.Split(*only, ",") {
		if !slices.Contains(parts, name) {
			return fmt.Errorf("there is no part %q: want %s", name, strings.Join(parts, ", "))
		}
		rows, err := measure[name]()
		if err == nil {
			err = table.Add(*rowsTo, rows...)
		}
		if err != nil {
			failed = append(failed, fmt.Errorf("%s: %w", name, err))
		}
		if ctx.Err() != nil {
			break
		}
	}
	return errors.Join(failed...)
}
