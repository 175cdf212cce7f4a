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
// All is CPU time on one and the same core. Memory to memory the figures are medians over the rounds, so that a busy machine moves them
// little; to disk each side counts by its best round of several starts, because what others do to the core's cache and the disk costs it
// more than the limit.
//
//	go run ./bench/seal [flags]     -help lists them
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"runtime/pprof"
	"slices"
	"sort"

	"golang.org/x/sys/unix"

	"github.com/cella-network/cella/bench/meter"
	"github.com/cella-network/cella/bench/table"
	"github.com/cella-network/cella/protocol/storageproof"
)

const (
	block    = storageproof.MaxBlock
	mib      = 1 << 20
	sealGoal = 0.85
	fillGoal = 0.80
	diskGoal = 0.60
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
	starts := flag.Int("disk-starts", 3, "starts of the enclave to disk")
	flag.IntVar(&d.rounds, "disk-rounds", 4, "rounds to disk after each start")
	flag.IntVar(&d.mib, "disk-mib", 256, "MiB of such a round")
	flag.IntVar(&d.lanes, "lanes", 2, "sectors sealed at once, as a worker does")
	flag.StringVar(&d.dir, "dir", "build", "where to make a folder for the sectors: a real disk")
	flag.StringVar(&d.enclave, "enclave", "build/cella-enclave", "the built trusted program")
	anyCore := flag.Bool("any-core", false, "let the kernel move our processes between cores; the limit stays on one")
	rowsTo := flag.String("rows", "", "append the table's rows to this file")
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
	var out []table.Row
	if *only != "disk" {
		seal, fill, err := memory(*rounds, *size)
		if err != nil {
			return err
		}
		out = append(out, seal.row("seal, memory to memory", "SHA-256 + AES-256-GCM", sealGoal), fill.row("fill, memory to memory", "AES-256-CTR + SHA-256", fillGoal))
	}
	if *only != "memory" {
		var ours, limits []float64
		for range *starts {
			o, l, note, err := d.run(ctx)
			if err != nil {
				return err
			}
			fmt.Println(note)
			ours, limits = append(ours, o...), append(limits, l...)
		}
		out = append(out, best(ours, limits, d.size()).row("seal, through the stream to disk", "SHA-256 + AES-256-GCM", diskGoal))
	}
	return table.Add(*rowsTo, out...)
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

// best compares the best rounds of both sides.
func best(ours, limit []float64, bytes int) figures {
	perGiB := float64(1<<30) / float64(bytes)
	o, l := slices.Min(ours), slices.Min(limit)
	return figures{o * perGiB, l * perGiB, l / o}
}

func (f figures) row(what, limit string, goal float64) table.Row {
	return table.Row{What: what, Ours: fmt.Sprintf("%.3f CPU s/GiB", f.ours), Beside: fmt.Sprintf("%s: %.3f CPU s/GiB", limit, f.limit), Ratio: f.ratio, Goal: goal}
}

func median(v []float64) float64 {
	s := append([]float64(nil), v...)
	sort.Float64s(s)
	return s[len(s)/2]
}

// threadTime is the CPU time of this thread in seconds.
func threadTime(f func()) float64 {
	start, _ := meter.Clock(unix.CLOCK_THREAD_CPUTIME_ID) // a thread's own clock never fails
	f()
	end, _ := meter.Clock(unix.CLOCK_THREAD_CPUTIME_ID)
	return (end - start).Seconds()
}
