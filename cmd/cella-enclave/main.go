// Command cella-enclave is the trusted program of a node. Its host starts it with a stream as fd 3; it opens nothing else.
//
//	cella-enclave             serve
//	cella-enclave measure     print this program's measurement in hex
//	cella-enclave --version   print its version
package main

import (
	"fmt"
	"net"
	"os"
	"runtime"
	"strings"
	"syscall"

	"github.com/cella-network/cella/enclave"
	"github.com/cella-network/cella/enclave/harden"
	"github.com/cella-network/cella/enclave/tee"
	"github.com/cella-network/cella/protocol/attestation"
)

// version is part of the measured program.
const version = "0.1.0"

const streamFD = 3

func main() {
	if err := run(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "cella-enclave:", err)
		os.Exit(1)
	}
}

func run(args []string) error {
	switch {
	case len(args) == 0:
		return serve()
	case len(args) == 1 && args[0] == "measure":
		m, err := tee.Measure()
		if err != nil {
			return err
		}
		fmt.Printf("%x\n", m)
		return nil
	case len(args) == 1 && args[0] == "--version":
		fmt.Println("cella-enclave", version)
		return nil
	}
	return fmt.Errorf("unknown arguments %q; a host starts it without any", args)
}

func serve() error {
	if len(os.Environ()) != 0 {
		// The Go runtime takes orders from its environment, and the environment comes from the host.
		return fmt.Errorf("start again with an empty environment: %w", syscall.Exec("/proc/self/exe", os.Args[:1], nil))
	}
	measurement, err := tee.Measure()
	if err != nil {
		return err
	}
	stream, err := open(streamFD)
	if err != nil {
		return err
	}
	log, err := harden.Silence()
	if err != nil {
		return err
	}
	var keys harden.Memory
	fmt.Fprintln(log, harden.Process(&keys))
	if err = enclave.SelfTest(); err == nil {
		fmt.Fprintf(log, "platform: %s: the host can read and forge everything; for devnets only\n", attestation.PlatformSim)
		err = enclave.Serve(stream, enclave.Options{Version: version, Open: tee.Sim(measurement), Alloc: keys.Alloc,
			Crash: func(cause any) {
				fmt.Fprintf(log, "panic: %v\n%s", cause, callers())
				os.Exit(2)
			}})
		keys.Wipe()
	}
	if err != nil {
		fmt.Fprintln(log, "cella-enclave:", err)
	}
	return err
}

// callers tells where a panic came from: functions and lines, never arguments.
func callers() string {
	var at [32]uintptr
	frames := runtime.CallersFrames(at[:runtime.Callers(3, at[:])])
	var b strings.Builder
	for {
		f, more := frames.Next()
		fmt.Fprintf(&b, "\t%s:%d\n", f.Function, f.Line)
		if !more {
			return b.String()
		}
	}
}

// open takes over the stream from the host.
func open(fd uintptr) (net.Conn, error) {
	f := os.NewFile(fd, "stream")
	conn, err := net.FileConn(f) // works on a copy
	if err != nil {
		return nil, fmt.Errorf("fd %d is no stream: a host starts this program: %w", fd, err)
	}
	return conn, f.Close()
}
