package harden

import (
	"errors"
	"fmt"
	"os"
	"strings"
	"syscall"
	"unsafe"

	"github.com/landlock-lsm/go-landlock/landlock"
	llsys "github.com/landlock-lsm/go-landlock/landlock/syscall"
	"golang.org/x/sys/unix"
	"kernel.org/pub/linux/libs/security/libcap/psx"
)

// Guard is one measure and what became of it.
type Guard struct {
	Name string
	Err  error // nil: it holds
}

// Guards is the outcome of Process.
type Guards []Guard

// String is one line for the log.
func (g Guards) String() string {
	var holds, lacks []string
	for _, x := range g {
		if x.Err == nil {
			holds = append(holds, x.Name)
		} else {
			lacks = append(lacks, fmt.Sprintf("%s (%v)", x.Name, x.Err))
		}
	}
	line := "hardening holds: " + strings.Join(holds, ", ")
	if len(lacks) > 0 {
		line += "; NOT: " + strings.Join(lacks, ", ")
	}
	return line
}

// Process shuts the process in for good. Whatever it needs later - its stream, its poller, its measurement - must be open
// before. Guards that hold for one thread only are put on all of them through psx, since AllThreadsSyscall does not
// work in a program with C code; threads made later inherit them.
func Process(m *Memory) Guards {
	// The system call filter is last: it forbids what the others need.
	return Guards{
		{"no-dump", unix.Prctl(unix.PR_SET_DUMPABLE, 0, 0, 0, 0)},
		{"no-core", unix.Setrlimit(unix.RLIMIT_CORE, &unix.Rlimit{})},
		{"parent-death", allPrctl(unix.PR_SET_PDEATHSIG, uintptr(unix.SIGKILL))},
		{"no-new-privs", allPrctl(unix.PR_SET_NO_NEW_PRIVS, 1)},
		{"secret-memory", m.probe()},
		{"no-capabilities", dropCapabilities()},
		{"landlock", restrict()},
		{"seccomp", filter(os.Getpid())},
	}
}

// Silence takes stderr away from the Go runtime, which writes all stacks there when a signal or a bug ends the process,
// with keys among the arguments. It returns where to log instead.
func Silence() (*os.File, error) {
	log, err := unix.FcntlInt(2, unix.F_DUPFD_CLOEXEC, 3)
	if err != nil {
		return nil, fmt.Errorf("stderr: %w", err)
	}
	null, err := unix.Open("/dev/null", unix.O_WRONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("stderr: %w", err)
	}
	defer unix.Close(null)
	if err := unix.Dup3(null, 2, 0); err != nil {
		return nil, fmt.Errorf("stderr: %w", err)
	}
	return os.NewFile(uintptr(log), "log"), nil
}

func allPrctl(option int, arg uintptr) error {
	if _, _, e := psx.Syscall6(unix.SYS_PRCTL, uintptr(option), arg, 0, 0, 0, 0); e != 0 {
		return e
	}
	return nil
}

// dropCapabilities gives up all capabilities on all threads. The bounding set needs no care: nothing is ever executed.
func dropCapabilities() error {
	header := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var none [2]unix.CapUserData
	_, _, e := psx.Syscall3(unix.SYS_CAPSET, uintptr(unsafe.Pointer(&header)), uintptr(unsafe.Pointer(&none[0])), 0)
	if e != 0 {
		return e
	}
	return nil
}

// restrict allows no path, no TCP or UDP port and no signal or abstract socket outside.
func restrict() error {
	if v, err := llsys.LandlockGetABIVersion(); err != nil || v < 1 {
		if errors.Is(err, syscall.EOPNOTSUPP) || errors.Is(err, syscall.ENOSYS) {
			return errors.New("not in this kernel")
		}
		return fmt.Errorf("not in this kernel: %w", err)
	}
	return landlock.V8.BestEffort().Restrict()
}
