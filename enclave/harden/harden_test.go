package harden

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

// probe builds the test's program the way the enclave is built: a static program with C code in it.
func probe(t *testing.T) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "probe")
	cmd := exec.Command("go", "build", "-trimpath", "-buildvcs=false", "-tags", "netgo,osusergo",
		"-ldflags", `-s -w -buildid= -linkmode external -extldflags "-static"`, "-o", path, "./testdata/probe")
	cmd.Env = append(os.Environ(), "CGO_ENABLED=1", "GOFLAGS=")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	return path
}

func TestForbiddenCallsFail(t *testing.T) {
	cmd := exec.Command(probe(t))
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	pipe, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	cmd.Stderr = os.Stderr
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	out := bufio.NewScanner(pipe)
	tries := 0
	var secret uint64
	for secret == 0 && out.Scan() {
		line := out.Text()
		if rest, ok := strings.CutPrefix(line, "hardening holds: "); ok {
			for _, name := range []string{"no-dump", "no-core", "parent-death", "no-new-privs", "no-capabilities", "seccomp"} {
				if !strings.Contains(rest, name) || strings.Contains(line, "NOT: "+name) {
					t.Errorf("%s does not hold: %s", name, line)
				}
			}
		}
		if rest, ok := strings.CutPrefix(line, "try "); ok {
			tries++
			name, errno, _ := strings.Cut(rest, ": ")
			if want := fmt.Sprint(int(unix.EPERM)); errno != want && name != "x32 getpid" || errno == "0" {
				t.Errorf("%s: errno %s, want %s", name, errno, want)
			}
		}
		if rest, ok := strings.CutPrefix(line, "clone3: "); ok && rest != fmt.Sprint(int(unix.ENOSYS)) {
			t.Errorf("clone3: errno %s", rest)
		}
		if rest, ok := strings.CutPrefix(line, "ready "); ok {
			_, _ = fmt.Sscan(rest, &secret)
		}
	}
	if tries < 30 || secret == 0 {
		t.Fatalf("the probe stopped after %d tries", tries)
	}
	readSecret(t, cmd.Process.Pid, int64(secret))
	_, _ = in.Write([]byte{'\n'})
	if !out.Scan() || out.Text() != "alive" {
		t.Errorf("after all that the probe says %q", out.Text())
	}
	if err := cmd.Wait(); err != nil {
		t.Error(err)
	}
}

// readSecret tries to read a key in the probe's memory. Root can open that memory; pages from memfd_secret are not even
// there for it.
func readSecret(t *testing.T, pid int, at int64) {
	t.Helper()
	mem, err := os.Open(fmt.Sprintf("/proc/%d/mem", pid))
	if err != nil {
		return // not root: that it does not open is the better guard
	}
	defer mem.Close()
	if _, err := mem.ReadAt(make([]byte, 32), at); err == nil {
		var m Memory
		if m.probe() == nil {
			t.Error("the key was read through /proc/PID/mem although this kernel has secret memory")
		}
	}
}

// The system call filter hides landlock behind it, so landlock is tried alone in a child of this test.
func TestLandlock(t *testing.T) {
	if os.Getenv("CELLA_LANDLOCK_CHILD") != "" {
		underLandlock()
		return
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	cmd := exec.Command("/proc/self/exe", "-test.run=^TestLandlock$")
	cmd.Env = append(os.Environ(), "CELLA_LANDLOCK_CHILD="+listener.Addr().String())
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	if want := "read denied, write denied, dial denied"; !strings.Contains(string(out), want) && !strings.Contains(string(out), "no landlock") {
		t.Errorf("got %s, want %s", out, want)
	}
}

func underLandlock() {
	if err := restrict(); err != nil {
		fmt.Println("no landlock:", err)
		return
	}
	say := func(what string, err error) string {
		if errors.Is(err, syscall.EACCES) || errors.Is(err, syscall.EPERM) {
			return what + " denied"
		}
		return fmt.Sprint(what, ": ", err)
	}
	_, read := os.ReadFile("/etc/passwd")
	write := os.WriteFile("/tmp/cella-landlock-test", nil, 0o600)
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM, 0) // net.Dial would use Multipath TCP, which landlock does not cover
	if err == nil {
		var port int
		_, _ = fmt.Sscanf(os.Getenv("CELLA_LANDLOCK_CHILD"), "127.0.0.1:%d", &port)
		err = unix.Connect(fd, &unix.SockaddrInet4{Port: port, Addr: [4]byte{127, 0, 0, 1}})
	}
	fmt.Println(strings.Join([]string{say("read", read), say("write", write), say("dial", err)}, ", "))
}

func TestMemory(t *testing.T) {
	var m Memory
	a, b, large := m.Alloc(32), m.Alloc(5), m.Alloc(3*chunk)
	c := m.Alloc(32)
	for _, p := range [][]byte{a, b, large, c} {
		for i := range p {
			if p[i] != 0 {
				t.Fatal("memory is not zero")
			}
			p[i] = 0xff
		}
	}
	if len(a) != 32 || len(b) != 5 || len(large) != 3*chunk || cap(b) != 5 {
		t.Error("wrong lengths")
	}
	m.Wipe()
	for _, p := range [][]byte{a, b, large, c} {
		for i := range p {
			if p[i] != 0 {
				t.Fatal("memory was not wiped")
			}
		}
	}
	plain, err := plainPages(chunk)
	if err != nil || len(plain) != chunk {
		t.Error(err)
	}
}

// Silence runs in a child: it is for good.
func TestSilence(t *testing.T) {
	if os.Getenv("CELLA_SILENCE_CHILD") != "" {
		log, err := Silence()
		if err != nil {
			os.Exit(1)
		}
		fmt.Fprintln(log, "a line of the log")
		_, _ = io.WriteString(os.Stderr, "a line of the runtime")
		panic("with stacks")
	}
	cmd := exec.Command("/proc/self/exe", "-test.run=^TestSilence$")
	cmd.Env = append(os.Environ(), "CELLA_SILENCE_CHILD=1", "GOTRACEBACK=all")
	var stderr strings.Builder
	cmd.Stderr = &stderr
	if err := cmd.Run(); err == nil {
		t.Error("the child did not panic")
	}
	if stderr.String() != "a line of the log\n" {
		t.Errorf("stderr is %q", stderr.String())
	}
}
