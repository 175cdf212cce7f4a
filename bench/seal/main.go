// Command seal measures how near sealing and filling come to the limit of the machine's cryptography, and prints one table.
//
// Memory to memory, in short rounds which take turns on one thread, it seals blocks of 1 MiB through vault.Seal and beside it does the
// least that any such store must do, SHA-256 and AES-256-GCM over the same blocks; then it fills free sectors through
// vault.Fill beside AES-256-CTR and SHA-256.
//
// To disk, it starts the built cella-enclave as a node does, sends it blocks over the real stream and writes what comes back into sector
// files through worker/disk, fsync included. That costs what both processes use in user and kernel together; the limit is the same
// SHA-256 and AES-256-GCM over the same bytes on one thread of this process, in turns with the sealing.
//
// All is CPU time on one and the same core, and the figures are medians over the rounds, so that a busy machine moves them little.
//
//	go run ./bench/seal [flags]     -help lists them
package main

import (
	"context"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"runtime/pprof"
	"sort"
	"text/tabwriter"
	"time"

	"golang.org/x/sys/unix"

	"github.com/cella-network/cella/protocol/storageproof"
)

const (
	block    = storageproof.MaxBlock
	mib      = 1 << 20
	sealGoal = 0.85
	fillGoal = 0.80
	diskGoal = 0.50
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, unix.SIGTERM)
	defer stop()
	if err := run(ctx); err != nil {
		stop()
		fmt.Fprintln(os.Stderr, "bench/seal:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context) error {
	var d diskBench
	only := flag.String("only", "", "memory or disk: measure that alone")
	rounds := flag.Int("rounds", 41, "rounds memory to memory")
	size := flag.Int("mib", 16, "MiB of such a round")
	flag.IntVar(&d.rounds, "disk-rounds", 5, "rounds to disk")
	flag.IntVar(&d.mib, "disk-mib", 256, "MiB of such a round")
	flag.IntVar(&d.lanes, "lanes", 2, "sectors sealed at once, as a worker does")
	flag.StringVar(&d.dir, "dir", "build", "where to make a folder for the sectors: a real disk")
	flag.StringVar(&d.enclave, "enclave", "build/cella-enclave", "the built trusted program")
	anyCore := flag.Bool("any-core", false, "let the kernel move our processes between cores; the limit stays on one")
	profile := flag.String("cpuprofile", "", "write a CPU profile of this process here")
	flag.Parse()
	if !*anyCore {
		if err := onOneCore(); err != nil {
			return err
		}
	}
	if *profile != "" {
		f, err := os.Create(*profile)
		if err != nil {
			return err
		}
		defer f.Close()
		if err := pprof.StartCPUProfile(f); err != nil {
			return err
		}
		defer pprof.StopCPUProfile()
	}
	t := newTable(os.Stdout)
	defer t.flush()
	if *only != "disk" {
		seal, fill, err := memory(*rounds, *size)
		if err != nil {
			return err
		}
		t.row("seal, memory to memory", seal, sealGoal)
		t.row("fill, memory to memory", fill, fillGoal)
	}
	if *only != "memory" {
		f, notes, err := d.run(ctx)
		if err != nil {
			return err
		}
		t.row("seal, stream to disk", f, diskGoal)
		t.notes = notes
	}
	return nil
}

// figures are CPU seconds a GiB, and how near ours comes to the limit: limit/ours.
type figures struct{ ours, limit, ratio float64 }

// medians of rounds in which so many bytes were sealed.
func medians(ours, limit []float64, bytes int) figures {
	ratio := make([]float64, len(ours))
	for i := range ours {
		ratio[i] = limit[i] / ours[i]
	}
	perGiB := float64(1<<30) / float64(bytes)
	return figures{median(ours) * perGiB, median(limit) * perGiB, median(ratio)}
}

func median(v []float64) float64 {
	s := append([]float64(nil), v...)
	sort.Float64s(s)
	return s[len(s)/2]
}

// cpu reads a clock of CPU time.
func cpu(clock int32) time.Duration {
	var t unix.Timespec
	if err := unix.ClockGettime(clock, &t); err != nil {
		return 0 // the process is gone, and what it was asked for fails
	}
	return time.Duration(t.Nano())
}

// threadTime is the CPU time of this thread in seconds.
func threadTime(f func()) float64 {
	start := cpu(unix.CLOCK_THREAD_CPUTIME_ID)
	f()
	return (cpu(unix.CLOCK_THREAD_CPUTIME_ID) - start).Seconds()
}

// table is the output.
type table struct {
	w     *tabwriter.Writer
	rows  int
	notes []string
}

func newTable(w io.Writer) *table {
	return &table{w: tabwriter.NewWriter(w, 0, 0, 3, ' ', tabwriter.AlignRight)}
}

func (t *table) row(name string, f figures, goal float64) {
	if t.rows == 0 {
		fmt.Fprintln(t.w, "\tours, CPU s/GiB\tMiB/CPU s\tlimit, CPU s/GiB\tMiB/CPU s\tlimit/ours\tgoal\t\t")
	}
	t.rows++
	verdict := "met"
	if f.ratio < goal {
		verdict = "MISSED"
	}
	fmt.Fprintf(t.w, "%s\t%.3f\t%.0f\t%.3f\t%.0f\t%.3f\t%.2f\t%s\t\n", name, f.ours, 1024/f.ours, f.limit, 1024/f.limit, f.ratio, goal, verdict)
}

func (t *table) flush() {
	_ = t.w.Flush()
	for _, n := range t.notes {
		fmt.Println(n)
	}
}
