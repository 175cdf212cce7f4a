package host

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"sync"
	"syscall"

	"golang.org/x/sys/unix"
)

// Options say which enclave to start.
type Options struct {
	Path string            // of cella-enclave
	Log  func(line string) // gets each line that the enclave writes to stderr; nil drops them
}

// socketBuffer is asked for on both ends; the kernel takes twice as much, or less. A run of cells then crosses with few wake-ups, and what
// waits in between still lies in a core's cache when the other side copies it.
const socketBuffer = 512 << 10

// timerSlack is how many nanoseconds late the child's timers may be. The Go runtime looks after its threads each 20 µs while it works,
// and in bursts of sealing that costs more than the stream does; on the child's answers nothing waits for a timer.
const timerSlack = 1_000_000

// Start starts the enclave with fd 3 as its stream, nothing of its host's environment. It does not wait for
// the child to answer; ctx bounds only the start. The child dies with this process.
func Start(ctx context.Context, o Options) (*Enclave, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	path, err := filepath.Abs(o.Path) // the child's folder is another one
	if err != nil {
		return nil, fmt.Errorf("start enclave: %w", err)
	}
	ours, theirs, err := socketpair()
	if err != nil {
		return nil, fmt.Errorf("start enclave: %w", err)
	}
	defer theirs.Close()

	cmd := exec.Command(path)
	cmd.Args = []string{"cella-enclave"}
	cmd.Env = []string{} // with any other, the program starts itself again
	cmd.Dir = "/"
	cmd.ExtraFiles = []*os.File{theirs}
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	stderr, err := cmd.StderrPipe()
	if err != nil {
		ours.Close()
		return nil, fmt.Errorf("start enclave: %w", err)
	}

	// Pdeathsig is sent when the *thread* that started the child ends, so that thread is kept until the child is gone.
	started, exited := make(chan error, 1), make(chan struct{})
	go func() {
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		_ = unix.Prctl(unix.PR_SET_TIMERSLACK, timerSlack, 0, 0, 0) // the child inherits it
		err := cmd.Start()
		_ = unix.Prctl(unix.PR_SET_TIMERSLACK, 0, 0, 0, 0) // this thread's default again
		started <- err
		if err == nil {
			<-exited
		}
	}()
	if err := <-started; err != nil {
		ours.Close()
		return nil, fmt.Errorf("start enclave: %w", err)
	}

	var logged sync.WaitGroup
	logged.Go(func() { logLines(stderr, o.Log) })
	stop := func() {
		_ = cmd.Process.Kill()
		logged.Wait()
		_ = cmd.Wait()
		close(exited)
	}
	return newEnclave(ours, stop), nil
}

// socketpair returns our end as a connection, which writes many buffers at once, and theirs as a file to hand over.
func socketpair() (*net.UnixConn, *os.File, error) {
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, nil, err
	}
	for _, fd := range fds {
		_ = unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_SNDBUF, socketBuffer)
	}
	own, theirs := os.NewFile(uintptr(fds[0]), "enclave"), os.NewFile(uintptr(fds[1]), "enclave-child")
	defer own.Close() // FileConn works on a copy
	conn, err := net.FileConn(own)
	if err != nil {
		theirs.Close()
		return nil, nil, err
	}
	return conn.(*net.UnixConn), theirs, nil
}

// logLines passes on what the child writes. A line that is too long is cut, never a reason to stop reading: a full pipe
// would stop the enclave.
func logLines(r io.Reader, log func(string)) {
	b := bufio.NewReaderSize(r, 4096)
	for {
		line, more, err := b.ReadLine()
		if err != nil {
			return
		}
		if log != nil {
			log(string(line))
		}
		for more && err == nil {
			_, more, err = b.ReadLine()
		}
	}
}
