package guide

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"
)

const (
	netns   = "operator"
	address = "10.77.0.100" // on the devnet's bridge
	bridge  = "cella0"
)

// machine is the operator's: a root file system that nobody else sees and a network namespace on the devnet's bridge. What is
// written to it is gone with the namespace that the test runs in.
type machine struct {
	root    string
	outer   string // path of the network namespace in which the internet is, for packages
	journal string // file with what the service said
	service *exec.Cmd
	gone    chan struct{} // closed when the service has ended
	ended   error         // with what
}

// newMachine lays a writable layer over an image, which stays as it is, and plugs the machine in. All of it is below place, a folder that
// nobody may delete with what is in it: the machine sees parts of this computer there. Disk is a folder for the files of others.
func newMachine(image, place, disk, outer string) (*machine, error) {
	m := &machine{root: filepath.Join(place, "root"), outer: outer, journal: filepath.Join(disk, "journal")}
	dev := m.root + "/dev"
	steps := [][]string{
		{"mount", "-t", "tmpfs", "tmpfs", place},
		{"mkdir", m.root, place + "/upper", place + "/work", disk + "/srv"},
		{"mount", "-t", "overlay", "overlay", "-o", "lowerdir=" + image + ",upperdir=" + place + "/upper,workdir=" + place + "/work", m.root},
		// What a kernel and an installer give to a machine, and an image has not. The devices are its own, never this computer's.
		{"mount", "-t", "proc", "proc", m.root + "/proc"},
		{"mount", "-t", "tmpfs", "-o", "mode=755", "tmpfs", dev},
		{"mknod", "-m", "666", dev + "/null", "c", "1", "3"},
		{"mknod", "-m", "666", dev + "/zero", "c", "1", "5"},
		{"mknod", "-m", "666", dev + "/random", "c", "1", "8"},
		{"mknod", "-m", "666", dev + "/urandom", "c", "1", "9"},
		{"mknod", "-m", "666", dev + "/tty", "c", "5", "0"},
		{"ln", "-s", "/proc/self/fd", dev + "/fd"},
		{"mkdir", "-m", "1777", dev + "/shm"},
		{"mkdir", dev + "/pts"},
		{"mount", "-t", "devpts", "-o", "newinstance,ptmxmode=0666", "devpts", dev + "/pts"},
		{"ln", "-s", "pts/ptmx", dev + "/ptmx"},
		{"mkdir", "-p", m.root + "/etc/systemd/system"},
		{"cp", "-L", "/etc/resolv.conf", m.root + "/etc/resolv.conf"},
		{"mkdir", "-p", m.root + "/srv"},
		{"mount", "--bind", disk + "/srv", m.root + "/srv"}, // the layer in memory is too small for files of others

		{"ip", "netns", "add", netns},
		{"ip", "link", "add", "plug", "type", "veth", "peer", "name", "eth0", "netns", netns},
		{"ip", "link", "set", "plug", "master", bridge, "up"},
		{"ip", "-n", netns, "link", "set", "lo", "up"},
		{"ip", "-n", netns, "addr", "add", address + "/24", "dev", "eth0"},
		{"ip", "-n", netns, "link", "set", "eth0", "up"},
	}
	for _, s := range steps {
		if out, err := exec.Command(s[0], s[1:]...).CombinedOutput(); err != nil {
			return nil, fmt.Errorf("%s: %w: %s", strings.Join(s, " "), err, out)
		}
	}
	return m, nil
}

// inside is a command on the machine, with an environment of its own.
func (m *machine) inside(args ...string) *exec.Cmd {
	enter := []string{"netns", "exec", netns, "chroot", m.root, "/usr/bin/env", "-i", "HOME=/root", "TERM=dumb",
		"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"}
	return exec.Command("ip", append(enter, args...)...)
}

// apt runs a command for packages on the machine, where the internet is.
func (m *machine) apt(ctx context.Context, command string) ([]byte, error) {
	return exec.CommandContext(ctx, "nsenter", "--net="+m.outer, "chroot", m.root, "/usr/bin/env", "-i", "HOME=/root", "PATH=/usr/sbin:/usr/bin:/sbin:/bin",
		"DEBIAN_FRONTEND=noninteractive", "sh", "-c", command).CombinedOutput()
}

// bring copies a file to the machine.
func (m *machine) bring(from, to string) error {
	b, err := os.ReadFile(from)
	if err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(m.root, to), b, 0o755)
}

// shell is an open terminal: what is set in one command holds in the next.
type shell struct {
	cmd *exec.Cmd
	in  io.WriteCloser
	out *bufio.Reader
}

func open(cmd *exec.Cmd) (*shell, error) {
	s := &shell{cmd: cmd}
	read, write, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	defer write.Close()
	s.out = bufio.NewReader(read)
	if s.in, err = cmd.StdinPipe(); err != nil {
		return nil, err
	}
	cmd.Stdout, cmd.Stderr = write, write
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	return s, cmd.Start()
}

const mark = "the-guide-goes-on-with-status"

// run types a command and returns what it wrote, and its status. The shell is of no use any more after an error.
func (s *shell) run(ctx context.Context, command string) (out string, status int, err error) {
	stop := context.AfterFunc(ctx, func() { _ = s.cmd.Process.Kill() })
	defer stop()
	// Nothing is left to read for the command but its arguments.
	if _, err := fmt.Fprintf(s.in, "eval \"$(cat <<'%[1]s'\n%[2]s\n%[1]s\n)\" </dev/null\nprintf '\\n%[1]s %%d\\n' $?\n", mark, command); err != nil {
		return "", 0, err
	}
	for {
		line, err := s.out.ReadString('\n')
		if rest, ok := strings.CutPrefix(line, mark+" "); ok {
			_, err = fmt.Sscan(rest, &status)
			return strings.TrimRight(out, "\n"), status, err
		}
		if out += line; err != nil {
			return out, 0, errors.Join(context.Cause(ctx), err)
		}
	}
}

func (s *shell) close() {
	_ = s.in.Close()
	_ = s.cmd.Process.Kill()
	_ = s.cmd.Wait()
}

const unitPath = "/etc/systemd/system/cella.service"

// unitKeys are all that a unit of a node may say, by section.
var unitKeys = map[string][]string{
	"Unit": {"Description", "Documentation", "Wants", "After", "StartLimitIntervalSec", "RequiresMountsFor"},
	"Service": {"Type", "User", "WorkingDirectory", "ExecStart", "Restart", "RestartSec", "KillSignal", "KillMode", "TimeoutStopSec",
		"LimitNOFILE", "LimitMEMLOCK", "LimitCORE", "NoNewPrivileges", "CapabilityBoundingSet", "AmbientCapabilities", "ProtectSystem", "ProtectHome",
		"ReadWritePaths", "PrivateTmp", "ProtectControlGroups", "ProtectKernelLogs", "ProtectKernelModules", "ProtectKernelTunables", "ProtectClock",
		"ProtectHostname", "RestrictAddressFamilies", "RestrictNamespaces", "RestrictRealtime", "RestrictSUIDSGID", "LockPersonality",
		"SystemCallArchitectures", "UMask"},
	"Install": {"WantedBy"},
}

// readUnit reads a unit file as strictly as systemd does.
func readUnit(text string) (map[string]string, error) {
	keys, section := map[string]string{}, ""
	for i, line := range strings.Split(text, "\n") {
		key, value, assigns := strings.Cut(line, "=")
		switch {
		case line == "" || line[0] == '#':
		case line[0] == '[' && unitKeys[strings.Trim(line, "[]")] != nil:
			section = strings.Trim(line, "[]")
		case !assigns || !slices.Contains(unitKeys[section], key):
			return nil, fmt.Errorf("line %d: [%s] does not know %q", i+1, section, line)
		default:
			if _, twice := keys[key]; twice {
				return nil, fmt.Errorf("line %d: %s comes twice", i+1, key)
			}
			keys[key] = value
		}
	}
	for _, key := range []string{"Description", "User", "WorkingDirectory", "ExecStart", "ReadWritePaths", "UMask", "WantedBy"} {
		if keys[key] == "" {
			return nil, fmt.Errorf("%s is not set", key)
		}
	}
	return keys, nil
}

// start does what systemd would with the unit: its user, without privileges, with its limits, and nothing to write to but its paths.
func (m *machine) start() error {
	if m.service != nil {
		return errors.New("the service runs already")
	}
	text, err := os.ReadFile(filepath.Join(m.root, unitPath))
	if err != nil {
		return err
	}
	unit, err := readUnit(string(text))
	if err != nil {
		return fmt.Errorf("%s: %w", unitPath, err)
	}
	// Limits are set as far as this computer lets the test; a namespace may raise none.
	script := `set -eu
ulimit -n ` + unit["LimitNOFILE"] + ` || true; ulimit -l $((` + strings.TrimSuffix(unit["LimitMEMLOCK"], "M") + ` * 1024)) || true; ulimit -c ` + unit["LimitCORE"] + `
umask ` + unit["UMask"] + `
for path in ` + unit["ReadWritePaths"] + `; do mount --bind "$path" "$path"; done
if [ "` + unit["PrivateTmp"] + `" = yes ]; then mount -t tmpfs -o mode=1777 tmpfs /tmp; fi
mount -o remount,bind,ro /
cd ` + unit["WorkingDirectory"] + `
home=$(getent passwd ` + unit["User"] + ` | cut -d: -f6)
exec env HOME="$home" setpriv --reuid ` + unit["User"] + ` --regid ` + unit["User"] + ` --init-groups --no-new-privs --bounding-set=-all --inh-caps=-all \
  --pdeathsig KILL -- ` + unit["ExecStart"]
	cmd := m.inside("unshare", "--mount", "--propagation", "private", "sh", "-c", script)
	log, err := os.OpenFile(m.journal, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	if err != nil {
		return err
	}
	defer log.Close()
	cmd.Stdout, cmd.Stderr = log, log
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := cmd.Start(); err != nil {
		return err
	}
	gone := make(chan struct{})
	m.service, m.gone = cmd, gone
	go func() {
		m.ended = cmd.Wait()
		close(gone)
	}()
	return m.executed()
}

// executed waits until the service's own program runs, as systemd does for Type=exec.
func (m *machine) executed() error {
	tick, late := time.NewTicker(20*time.Millisecond), time.After(time.Minute)
	defer tick.Stop()
	for {
		if name, _ := os.ReadFile(fmt.Sprintf("/proc/%d/comm", m.service.Process.Pid)); string(name) == "cella\n" {
			return nil
		}
		select {
		case <-tick.C:
		case <-m.gone:
			m.service = nil
			return fmt.Errorf("the service did not start: %w\n%s", m.ended, m.said(5))
		case <-late:
			return errors.New("the service does not start")
		}
	}
}

// stop asks the service to end and gives it as long as its unit would.
func (m *machine) stop() error {
	if m.service == nil {
		return errors.New("the service does not run")
	}
	cmd := m.service
	m.service = nil
	if err := cmd.Process.Signal(syscall.SIGTERM); err != nil {
		return fmt.Errorf("the service ended by itself: %w", err)
	}
	select {
	case <-m.gone:
		if state := cmd.ProcessState.Sys().(syscall.WaitStatus); state.Signaled() && state.Signal() == syscall.SIGTERM {
			return nil // it was not ready yet to end in order, which is as good
		}
		return m.ended
	case <-time.After(time.Minute):
		return errors.Join(errors.New("the service does not stop"), cmd.Process.Kill())
	}
}

// said is the end of what the service said.
func (m *machine) said(lines int) string {
	b, err := os.ReadFile(m.journal)
	if err != nil {
		return err.Error()
	}
	all := strings.Split(strings.TrimSpace(string(bytes.ToValidUTF8(b, nil))), "\n")
	return strings.Join(all[max(0, len(all)-lines):], "\n")
}
