package devnet

import (
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"sync"
	"syscall"
	"testing"
)

func TestClaims(t *testing.T) {
	t.Setenv("TMPDIR", t.TempDir()) // a list of its own
	homes := make([]string, 6)
	for i := range homes {
		homes[i] = filepath.Join(t.TempDir(), "net")
		if err := os.Mkdir(homes[i], 0o755); err != nil {
			t.Fatal(err)
		}
	}
	ports := make([]int, len(homes))
	var wg sync.WaitGroup
	for i, h := range homes {
		wg.Go(func() {
			p, err := claimPorts(h, 0)
			if err == nil {
				err = Info{Home: h, Ports: p}.write()
			}
			if err != nil {
				t.Error(err)
			}
			ports[i] = p
		})
	}
	wg.Wait()
	seen := map[int]bool{}
	for _, p := range ports {
		if p < firstPort || p+blockPorts > lastPort || seen[p] {
			t.Errorf("claimed %v", ports)
		}
		seen[p] = true
	}

	if _, err := claimPorts(homes[0], ports[1]); err == nil {
		t.Error("claimed a block of another network")
	}
	if err := releasePorts(homes[1]); err != nil {
		t.Fatal(err)
	}
	if p, err := claimPorts(homes[0], ports[1]); err != nil || p != ports[1] {
		t.Errorf("a block that was given back: %d, %v", p, err)
	}

	if err := (Info{Home: homes[3], Ports: 1}).write(); err != nil { // another network lives there now
		t.Fatal(err)
	}
	if _, err := claimPorts(homes[4], ports[3]); err != nil {
		t.Errorf("a block whose network is gone: %v", err)
	}

	// A port that somebody else listens on spoils its block.
	l, err := net.Listen("tcp", net.JoinHostPort("127.0.0.1", strconv.Itoa(ports[5]+7)))
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	if err := releasePorts(homes[5]); err != nil {
		t.Fatal(err)
	}
	if _, err := claimPorts(homes[5], ports[5]); err == nil {
		t.Error("claimed a block with a busy port")
	}
}

// A process that got the number of one that ended is left alone.
func TestOtherProcessIsSpared(t *testing.T) {
	cmd := exec.Command("sleep", "60")
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() { _ = cmd.Process.Kill(); _ = cmd.Wait() }()
	_, start, err := stat(cmd.Process.Pid)
	if err != nil {
		t.Fatal(err)
	}
	real, other := proc{cmd.Process.Pid, start}, proc{cmd.Process.Pid, start - 1}
	if !real.running() || other.running() {
		t.Errorf("running: %v, %v", real.running(), other.running())
	}
	if err := other.signal(syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	if err := cmd.Process.Signal(syscall.Signal(0)); err != nil || !real.running() {
		t.Error("the signal hit another process")
	}
	p := &process{proc: real}
	go func() { _ = cmd.Wait() }() // as launch does
	if err := p.end(syscall.SIGTERM); err != nil || real.running() {
		t.Errorf("after end: running %v, %v", real.running(), err)
	}
}

func TestCreateRefusesForeignFolders(t *testing.T) {
	home := t.TempDir()
	if err := os.WriteFile(filepath.Join(home, "thesis.txt"), nil, 0o644); err != nil {
		t.Fatal(err)
	}
	if _, err := Create(Config{Home: home, Binary: "cella"}); err == nil {
		t.Error("made a network among somebody's files")
	}
	// And a network removes no more than it made.
	n := &Network{Info: Info{Home: home, User: User{Home: filepath.Join(home, "alice")}, Nodes: []NodeInfo{{Home: t.TempDir()}}}}
	n.processes = make([]*process, 1)
	if err := n.Purge(); err == nil {
		t.Error("purged a folder outside of its home")
	}
	if _, err := os.Stat(filepath.Join(home, "thesis.txt")); err != nil {
		t.Error(err)
	}
}
