package harden

import (
	"github.com/elastic/go-seccomp-bpf"
	"golang.org/x/sys/unix"
)

// allowed is what the Go runtime and the C library need to run goroutines, grow memory and speak over descriptors that
// are open already. Nothing in it opens, connects, executes, traces or signals anything else.
var allowed = []string{
	"read", "write", "readv", "writev", "pread64", "close", "fcntl", "fstat", "shutdown",
	"recvmsg", "sendmsg", "recvfrom", "sendto", "epoll_create1", "epoll_ctl", "epoll_pwait", "eventfd2",
	"brk", "munmap", "mremap", "madvise", "memfd_secret", "ftruncate",
	"futex", "set_robust_list", "rseq", "sched_yield", "sched_getaffinity", "gettid", "getpid",
	"nanosleep", "clock_nanosleep", "clock_gettime", "gettimeofday", "restart_syscall",
	"rt_sigaction", "rt_sigprocmask", "rt_sigreturn", "sigaltstack",
	"getrandom", "exit", "exit_group",
	"clone3", // answered by the first filter
}

// filter lets the process make the allowed calls; all others fail with EPERM. Arguments are looked at where a call would
// be too wide: threads but no processes, signals to itself only, no executable memory.
func filter(pid int) error {
	// The arguments of clone3 lie in memory, where no filter can look. Told that there is none, the C library uses clone.
	err := seccomp.LoadFilter(seccomp.Filter{
		NoNewPrivs: true,
		Flag:       seccomp.FilterFlagTSync,
		Policy: seccomp.Policy{
			DefaultAction: seccomp.ActionAllow,
			Syscalls:      []seccomp.SyscallGroup{{Action: seccomp.ActionErrno | seccomp.Action(unix.ENOSYS), Names: []string{"clone3"}}},
		},
	})
	if err != nil {
		return err
	}
	only := func(name string, arg uint32, op seccomp.Operation, value uint64) seccomp.NameWithConditions {
		return seccomp.NameWithConditions{Name: name, Conditions: seccomp.ArgumentConditions{{Argument: arg, Operation: op, Value: value}}}
	}
	return seccomp.LoadFilter(seccomp.Filter{
		NoNewPrivs: true,
		Flag:       seccomp.FilterFlagTSync,
		Policy: seccomp.Policy{
			DefaultAction: seccomp.ActionErrno,
			Syscalls: []seccomp.SyscallGroup{{Action: seccomp.ActionAllow, Names: allowed, NamesWithCondtions: []seccomp.NameWithConditions{
				only("clone", 0, seccomp.BitsSet, unix.CLONE_THREAD),
				only("mmap", 2, seccomp.BitsNotSet, unix.PROT_EXEC),
				only("mprotect", 2, seccomp.BitsNotSet, unix.PROT_EXEC),
				only("tgkill", 0, seccomp.Equal, uint64(pid)),
				only("prctl", 0, seccomp.Equal, unix.PR_SET_VMA), // the runtime names its memory
			}}},
		},
	})
}
