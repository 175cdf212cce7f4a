package devnet

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// proc names a process so that another one with the same id, started later, isn't taken for it.
type proc struct {
	Pid   int    `json:"pid"`
	Start uint64 `json:"start"` // in clock ticks since boot
}

func self() proc {
	_, start, _ := stat(os.Getpid())
	return proc{Pid: os.Getpid(), Start: start}
}

func (p proc) running() bool {
	state, start, err := stat(p.Pid)
	return err == nil && start == p.Start && state != 'Z'
}

// signal sends s to the process if it still is the one that is meant.
func (p proc) signal(s syscall.Signal) error {
	if !p.running() {
		return nil
	}
	if err := syscall.Kill(p.Pid, s); err != nil && !errors.Is(err, syscall.ESRCH) {
		return fmt.Errorf("signal process %d: %w", p.Pid, err)
	}
	return nil
}

// stat reads state and start time of a process (proc(5)).
func stat(pid int) (state byte, start uint64, err error) {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return 0, 0, err
	}
	// The name in parentheses may hold spaces and parentheses itself: fields are counted from its end.
	f := strings.Fields(string(b[bytes.LastIndexByte(b, ')')+1:]))
	if len(f) < 20 {
		return 0, 0, fmt.Errorf("process %d: short stat", pid)
	}
	start, err = strconv.ParseUint(f[19], 10, 64)
	return f[0][0], start, err
}

func pidPath(home string) string { return filepath.Join(home, "node.pid") }
func logPath(home string) string { return filepath.Join(home, "node.log") }

func readPid(home string) (proc, error) {
	b, err := os.ReadFile(pidPath(home))
	if err != nil {
		return proc{}, err
	}
	var p proc
	return p, json.Unmarshal(b, &p)
}

// process is a node's process: a child of this one, or one found by its pid file.
type process struct {
	proc
	exited chan struct{} // closed when a child was reaped; nil for one that was found
}

// launch starts a node, by cella or what leads to it, with its log and pid file in its home.
func launch(command []string, home string, worker, detach bool) (*process, error) {
	log, err := os.OpenFile(logPath(home), os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o644)
	if err != nil {
		return nil, err
	}
	defer log.Close()
	part := "chain"
	if worker {
		part = "node"
	}
	command = append(command, part, "start", "--home", home)
	cmd := exec.Command(command[0], command[1:]...)
	cmd.Stdout, cmd.Stderr = log, log
	cmd.Dir = home
	// A network shares one machine: collect garbage earlier than a node with a machine of its own would.
	cmd.Env = append([]string{"GOGC=50", "GOMEMLIMIT=256MiB"}, os.Environ()...)
	cmd.SysProcAttr = attributes(detach)
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	_, start, err := stat(cmd.Process.Pid)
	if err != nil {
		return nil, errors.Join(err, cmd.Process.Kill(), cmd.Wait())
	}
	p := &process{proc: proc{Pid: cmd.Process.Pid, Start: start}, exited: make(chan struct{})}
	go func() {
		_ = cmd.Wait() // how it ended is in its log
		close(p.exited)
	}()
	b, err := json.Marshal(p.proc)
	if err == nil {
		err = os.WriteFile(pidPath(home), b, 0o644)
	}
	if err != nil {
		return nil, errors.Join(err, p.end(syscall.SIGKILL))
	}
	return p, nil
}

// grace is how long a node may take to close its databases before it is killed.
const grace = 15 * time.Second

// end sends a signal and waits until the process is gone, killing it if it takes too long.
func (p *process) end(s syscall.Signal) error {
	if err := p.signal(s); err != nil {
		return err
	}
	deadline := time.Now().Add(grace)
	for p.running() {
		if time.Now().After(deadline) {
			if err := p.signal(syscall.SIGKILL); err != nil {
				return err
			}
			deadline = time.Now().Add(grace)
		}
		time.Sleep(10 * time.Millisecond)
	}
	if p.exited != nil {
		<-p.exited
	}
	return nil
}

// memory is the proportional set size in bytes of a process and those below it: shared pages count once over all.
func (p proc) memory() (uint64, error) {
	f, err := os.ReadFile(fmt.Sprintf("/proc/%d/smaps_rollup", p.Pid))
	if err != nil {
		return 0, err
	}
	var sum uint64
	for line := range strings.Lines(string(f)) {
		if rest, ok := strings.CutPrefix(line, "Pss:"); ok {
			kb, err := strconv.ParseUint(strings.TrimSpace(strings.TrimSuffix(strings.TrimSpace(rest), "kB")), 10, 64)
			if err != nil {
				return 0, err
			}
			sum = kb << 10
		}
	}
	children, err := p.children()
	if err != nil {
		return 0, err
	}
	for _, c := range children {
		if m, err := c.memory(); err == nil { // else the child ended
			sum += m
		}
	}
	return sum, nil
}

// children are the processes that p started.
func (p proc) children() (all []proc, err error) {
	tasks, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/children", p.Pid))
	if err != nil {
		return nil, err
	}
	for _, t := range tasks {
		b, err := os.ReadFile(t)
		if err != nil {
			continue // the thread ended
		}
		for _, child := range strings.Fields(string(b)) {
			pid, err := strconv.Atoi(child)
			if err != nil {
				return nil, err
			}
			all = append(all, proc{Pid: pid})
		}
	}
	return all, nil
}

// tail is the end of a node's log, for errors.
func tail(home string) string {
	b, err := os.ReadFile(logPath(home))
	if err != nil {
		return err.Error()
	}
	if len(b) > 2000 {
		b = b[len(b)-2000:]
	}
	return strings.TrimSpace(string(b))
}
