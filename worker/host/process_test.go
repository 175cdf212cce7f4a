package host

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/cella-network/cella/enclave/wire"
)

// program is the enclave as it is released, built once for all tests of this package.
var program struct {
	once sync.Once
	dir  string
	path string
	err  error
}

func TestMain(m *testing.M) {
	code := m.Run()
	if program.dir != "" {
		_ = os.RemoveAll(program.dir)
	}
	os.Exit(code)
}

func binary(t testing.TB) string {
	t.Helper()
	program.once.Do(func() {
		if program.dir, program.err = os.MkdirTemp("", "cella-enclave-"); program.err != nil {
			return
		}
		program.err = os.Chmod(program.dir, 0o755) // a test runs it as another user
		program.path = filepath.Join(program.dir, "cella-enclave")
		if out, err := exec.Command("../../enclave/build.sh", program.path).CombinedOutput(); err != nil {
			program.err = fmt.Errorf("build: %w\n%s", err, out)
		}
	})
	if program.err != nil {
		t.Fatal(program.err)
	}
	return program.path
}

// logged collects what an enclave writes.
type logged struct {
	mu    sync.Mutex
	lines []string
}

func (l *logged) add(line string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.lines = append(l.lines, line)
}

func (l *logged) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return strings.Join(l.lines, "\n")
}

func startBinary(t testing.TB) *Enclave {
	t.Helper()
	e, _ := startLogged(t)
	return e
}

func startLogged(t testing.TB) (*Enclave, *logged) {
	t.Helper()
	var l logged
	e, err := Start(testContext(t), Options{Path: binary(t), Log: l.add})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		e.Close()
		if t.Failed() {
			t.Log("stderr of the enclave:\n" + l.String())
		}
	})
	return e, &l
}

// pidOf finds the child of this process that runs the program; the tests of this package run one after the other.
func pidOf(t testing.TB) int {
	t.Helper()
	entries, err := filepath.Glob("/proc/[0-9]*/stat")
	if err != nil {
		t.Fatal(err)
	}
	for _, path := range entries {
		b, err := os.ReadFile(path)
		if err != nil {
			continue
		}
		var pid, parent int
		var state string
		name, rest, _ := strings.Cut(string(b), ") ")
		_, _ = fmt.Sscan(rest, &state, &parent)
		_, _ = fmt.Sscan(name, &pid)
		if parent == os.Getpid() && strings.HasSuffix(name, "(cella-enclave") && state != "Z" {
			return pid
		}
	}
	t.Fatal("no child runs the enclave")
	return 0
}

func TestProcessIsShutIn(t *testing.T) {
	e, log := startLogged(t)
	join(t, newChain(t), e, 1) // it answers: all guards are up
	pid := pidOf(t)
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		t.Fatal(err)
	}
	status := map[string]string{}
	for _, line := range strings.Split(string(b), "\n") {
		k, v, _ := strings.Cut(line, ":")
		status[k] = strings.TrimSpace(v)
	}
	for k, want := range map[string]string{"Seccomp": "2", "NoNewPrivs": "1", "CapEff": "0000000000000000", "CapPrm": "0000000000000000"} {
		if status[k] != want {
			t.Errorf("%s is %s, want %s", k, status[k], want)
		}
	}
	threads, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/status", pid))
	if err != nil || len(threads) < 2 {
		t.Fatal(threads, err)
	}
	for _, path := range threads {
		b, err := os.ReadFile(path)
		if err == nil && (!strings.Contains(string(b), "Seccomp:\t2") || !strings.Contains(string(b), "CapEff:\t0000000000000000")) {
			t.Errorf("%s: a thread is not shut in", path)
		}
	}
	if limits, err := os.ReadFile(fmt.Sprintf("/proc/%d/limits", pid)); err != nil || !coreIsZero(string(limits)) {
		t.Error("core dumps are not off", err)
	}
	fds, err := os.ReadDir(fmt.Sprintf("/proc/%d/fd", pid))
	if err != nil {
		t.Fatal(err)
	}
	for _, fd := range fds {
		target, _ := os.Readlink(fmt.Sprintf("/proc/%d/fd/%s", pid, fd.Name()))
		switch {
		case target == "/dev/null", strings.HasPrefix(target, "pipe:"), strings.HasPrefix(target, "socket:"),
			strings.HasPrefix(target, "anon_inode:"), strings.Contains(target, "/cgroup/"):
		default:
			t.Errorf("fd %s is %s", fd.Name(), target)
		}
	}
	env, err := os.ReadFile(fmt.Sprintf("/proc/%d/environ", pid))
	if err != nil || len(env) != 0 {
		t.Errorf("environment %q, %v", env, err)
	}
	if out := log.String(); strings.Count(out, "hardening holds: ") != 1 || strings.Contains(out, "NOT:") || !strings.Contains(out, "INSECURE") {
		t.Errorf("log: %s", out)
	}
	t.Run("another user", func(t *testing.T) { intrude(t, pid) })
}

func coreIsZero(limits string) bool {
	for _, line := range strings.Split(limits, "\n") {
		if rest, ok := strings.CutPrefix(line, "Max core file size"); ok {
			f := strings.Fields(rest)
			return len(f) >= 2 && f[0] == "0" && f[1] == "0"
		}
	}
	return false
}

// intrude tries to look into the enclave as another user and, where this test runs as one, as the enclave's own user. Root
// with CAP_SYS_PTRACE is not kept out: that takes hardware.
func intrude(t *testing.T, pid int) {
	spy := exec.Command("/proc/self/exe", "-test.run=^TestSpy$")
	spy.Env = []string{fmt.Sprint("CELLA_SPY_ON=", pid)}
	if os.Getuid() == 0 {
		spy.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 65534, Gid: 65534}}
		spy.Path = spyProgram(t)
	}
	out, err := spy.CombinedOutput()
	if err != nil || !strings.Contains(string(out), "PASS") {
		t.Errorf("%v\n%s", err, out)
	}
}

// spyProgram copies this test to where another user may run it.
func spyProgram(t testing.TB) string {
	b, err := os.ReadFile("/proc/self/exe")
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(filepath.Dir(binary(t)), "spy")
	if err := os.WriteFile(path, b, 0o755); err != nil {
		t.Fatal(err)
	}
	return path
}

// TestSpy is the other user's part of TestProcessIsShutIn; on its own it has nobody to spy on.
func TestSpy(t *testing.T) {
	target := os.Getenv("CELLA_SPY_ON")
	if target == "" {
		return
	}
	for _, file := range []string{"mem", "maps", "environ", "stack", "syscall", "auxv"} {
		if f, err := os.Open("/proc/" + target + "/" + file); err == nil {
			f.Close()
			t.Errorf("%s opens", file)
		}
	}
	if _, err := os.Readlink("/proc/" + target + "/fd/3"); err == nil {
		t.Error("descriptors can be seen")
	}
	var pid int
	_, _ = fmt.Sscan(target, &pid)
	if err := syscall.PtraceAttach(pid); err == nil {
		t.Error("ptrace attaches")
	}
}

// The child must not outlive its stream, and the host learns of its end.
func TestProcessEnds(t *testing.T) {
	t.Run("killed", func(t *testing.T) {
		e := startBinary(t)
		join(t, newChain(t), e, 1)
		if err := syscall.Kill(pidOf(t), syscall.SIGKILL); err != nil {
			t.Fatal(err)
		}
		waitDone(t, e)
	})
	t.Run("asked to dump its goroutines", func(t *testing.T) {
		e, log := startLogged(t)
		join(t, newChain(t), e, 1)
		if err := syscall.Kill(pidOf(t), syscall.SIGQUIT); err != nil {
			t.Fatal(err)
		}
		waitDone(t, e)
		if strings.Contains(log.String(), "goroutine ") {
			t.Error("it showed its stacks: " + log.String())
		}
	})
	t.Run("a host that asks for stacks", func(t *testing.T) {
		// Whatever environment the host starts it with, the program runs with its own.
		ours, theirs, err := socketpair()
		if err != nil {
			t.Fatal(err)
		}
		cmd := exec.Command(binary(t))
		cmd.Env = []string{"GOTRACEBACK=crash", "GODEBUG=gctrace=1"}
		cmd.ExtraFiles = []*os.File{theirs}
		var stderr bytes.Buffer
		cmd.Stderr = &stderr
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		theirs.Close()
		e := newEnclave(ours, func() { _ = cmd.Process.Kill(); _ = cmd.Wait() })
		join(t, newChain(t), e, 1)
		if err := cmd.Process.Signal(syscall.SIGABRT); err != nil {
			t.Fatal(err)
		}
		waitDone(t, e)
		if out := stderr.String(); strings.Contains(out, "goroutine ") || strings.Contains(out, "gc 1 ") {
			t.Errorf("it obeyed: %s", out)
		}
	})
	t.Run("sent nonsense", func(t *testing.T) {
		e := startBinary(t)
		join(t, newChain(t), e, 1)
		e.pen <- struct{}{}
		if _, err := e.stream.Write(make([]byte, 14)); err != nil {
			t.Fatal(err)
		}
		waitDone(t, e)
	})
	t.Run("closed", func(t *testing.T) {
		e := startBinary(t)
		join(t, newChain(t), e, 1)
		pid := pidOf(t)
		e.Close()
		if err := syscall.Kill(pid, 0); !errors.Is(err, syscall.ESRCH) {
			t.Errorf("after Close the child is still there: %v", err)
		}
	})
}

func waitDone(t *testing.T, e *Enclave) {
	t.Helper()
	select {
	case <-e.Done():
	case <-time.After(20 * time.Second):
		t.Fatal("the host did not notice")
	}
	if err := e.Call(t.Context(), &wire.Status{}, new(wire.StatusReply)); !errors.Is(err, ErrEnded) {
		t.Errorf("then a call gives %v", err)
	}
}

func TestStartErrors(t *testing.T) {
	if _, err := Start(t.Context(), Options{Path: filepath.Join(t.TempDir(), "absent")}); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("no program: %v", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := Start(ctx, Options{Path: binary(t)}); !errors.Is(err, context.Canceled) {
		t.Errorf("ended context: %v", err)
	}
}

func TestMeasure(t *testing.T) {
	out, err := exec.Command(binary(t), "measure").Output()
	if err != nil {
		t.Fatal(err)
	}
	m := join(t, newChain(t), startBinary(t), 1)
	if got := fmt.Sprintf("%x\n", m.self.Measurement); got != string(out) {
		t.Errorf("it attests to %s, but measure prints %s", got, out)
	}
}
