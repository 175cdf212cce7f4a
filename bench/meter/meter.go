// Package meter reads what processes have used, from the kernel.
package meter

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// CPU is the time that all threads of a process have run, in user and kernel together. It fails once the process is gone.
func CPU(pid int) (time.Duration, error) {
	const scheduler = 2 // as clock_getcpuclockid(3) makes it
	return Clock(int32(^pid<<3 | scheduler))
}

// Clock reads a clock of CPU time.
func Clock(id int32) (time.Duration, error) {
	var t unix.Timespec
	if err := unix.ClockGettime(id, &t); err != nil {
		return 0, fmt.Errorf("CPU clock %d: %w", id, err)
	}
	return time.Duration(t.Nano()), nil
}

// Children are the processes that a process started and that still run.
func Children(pid int) ([]int, error) {
	stats, err := filepath.Glob("/proc/[0-9]*/stat")
	if err != nil {
		return nil, err
	}
	var out []int
	for _, path := range stats {
		stat, err := os.ReadFile(path)
		if err != nil {
			continue // it ended meanwhile
		}
		var child, parent int
		var state string
		_, _ = fmt.Sscan(string(stat), &child)
		_, _ = fmt.Sscan(string(stat[strings.LastIndexByte(string(stat), ')')+1:]), &state, &parent)
		if parent == pid {
			out = append(out, child)
		}
	}
	return out, nil
}

// Family is a process and all below it.
func Family(pid int) ([]int, error) {
	all := []int{pid}
	for i := 0; i < len(all); i++ {
		below, err := Children(all[i])
		if err != nil {
			return nil, err
		}
		all = append(all, below...)
	}
	return all, nil
}

// ReadBytes is what a process had the disk read for it so far: read_bytes of /proc/PID/io.
func ReadBytes(pid int) (uint64, error) {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/io", pid))
	if err != nil {
		return 0, err
	}
	_, rest, _ := strings.Cut(string(b), "\nread_bytes: ")
	var n uint64
	_, err = fmt.Sscan(rest, &n)
	return n, err
}
