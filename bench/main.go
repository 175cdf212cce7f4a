// Command bench runs all benchmarks, one after the other, and prints one table of our speed beside peers and limits in the same run. A
// benchmark that fails is told at the end and does not keep the others from running.
//
//	go run ./bench [-only NAME,...]
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/cella-network/cella/bench/table"
)

// benchmarks are the programs below this folder, in the order of the table.
var benchmarks = []string{"putget", "seal", "draws", "reports", "network", "devnet", "consensus"}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	only := flag.String("only", strings.Join(benchmarks, ","), "which")
	flag.Parse()
	if err := run(ctx, strings.Split(*only, ",")); err != nil {
		stop()
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, names []string) error {
	dir, err := os.MkdirTemp("", "cella-bench-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	rows := filepath.Join(dir, "rows")
	var failed []error
	for _, name := range names {
		if !slices.Contains(benchmarks, name) {
			return fmt.Errorf("there is no benchmark %q: want %s", name, strings.Join(benchmarks, ", "))
		}
		fmt.Printf("-- %s\n", name)
		began := time.Now()
		if err := one(ctx, dir, name, rows); err != nil {
			failed = append(failed, fmt.Errorf("%s: %w", name, err))
		}
		fmt.Printf("   took %.0f s\n", time.Since(began).Seconds())
		if ctx.Err() != nil {
			break
		}
	}
	all, err := table.Read(rows)
	if err == nil {
		fmt.Println()
		err = table.Print(os.Stdout, all)
	}
	return errors.Join(append(failed, err)...)
}

// one builds a benchmark and runs it. It is not run by the go command, which would count as its parent and outlive its end.
func one(ctx context.Context, dir, name, rows string) error {
	program := filepath.Join(dir, name)
	build := exec.CommandContext(ctx, "go", "build", "-o", program, "./bench/"+name)
	build.Stderr = os.Stderr
	if err := build.Run(); err != nil {
		return err
	}
	cmd := exec.CommandContext(ctx, program, "-rows", rows)
	cmd.Stdout, cmd.Stderr = os.Stdout, os.Stderr
	cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGTERM) }
	cmd.WaitDelay = time.Minute
	return cmd.Run()
}
