package main

import (
	"fmt"
	"os"
	"runtime"
	"syscall"

	"golang.org/x/sys/unix"
)

// onOneCore starts this program again on the first core that it may use, if there are more. What it starts stays there too.
func onOneCore() error {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	all, err := stay()
	if err != nil || all.Count() == 1 {
		return err
	}
	return fmt.Errorf("start again on one core: %w", syscall.Exec("/proc/self/exe", os.Args, os.Environ()))
}

// pinned is the CPU time of f in seconds, on the first core that this process may use.
func pinned(f func()) float64 {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	if all, err := stay(); err == nil {
		defer func() { _ = unix.SchedSetaffinity(0, &all) }()
	}
	return threadTime(f)
}

// stay keeps this thread on the first core that it may use and returns all that it might.
func stay() (all unix.CPUSet, err error) {
	if err := unix.SchedGetaffinity(0, &all); err != nil {
		return all, err
	}
	core := 0
	for !all.IsSet(core) {
		core++
	}
	var one unix.CPUSet
	one.Set(core)
	return all, unix.SchedSetaffinity(0, &one)
}
