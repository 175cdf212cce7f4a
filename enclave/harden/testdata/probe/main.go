// Probe shuts itself in as the enclave does and then tries what it must no longer be able to do. It is a test's program and
// shares only the guards with the enclave.
package main

import (
	"bufio"
	"fmt"
	"os"
	"runtime"
	"sync"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/cella-network/cella/enclave/harden"
)

func main() {
	var secrets harden.Memory
	key := secrets.Alloc(32)
	copy(key, "a secret that only this test knows")
	sibling := unix.Getppid()

	fmt.Println(harden.Process(&secrets))

	path, _ := unix.BytePtrFromString("/etc/passwd")
	made, _ := unix.BytePtrFromString("probe-made-this")
	p := func(b *byte) uintptr { return uintptr(unsafe.Pointer(b)) }
	attr := [88]byte{}
	for _, try := range []struct {
		name string
		nr   uintptr
		args [5]uintptr
	}{
		{"openat to read", unix.SYS_OPENAT, [5]uintptr{^uintptr(99), p(path), unix.O_RDONLY}},
		{"openat to write", unix.SYS_OPENAT, [5]uintptr{^uintptr(99), p(made), unix.O_CREAT | unix.O_WRONLY, 0o600}},
		{"openat2", unix.SYS_OPENAT2, [5]uintptr{^uintptr(99), p(path), p(&attr[0]), 24}},
		{"unlinkat", unix.SYS_UNLINKAT, [5]uintptr{^uintptr(99), p(made)}},
		{"newfstatat", unix.SYS_NEWFSTATAT, [5]uintptr{^uintptr(99), p(path), p(&attr[0])}},
		{"socket tcp", unix.SYS_SOCKET, [5]uintptr{unix.AF_INET, unix.SOCK_STREAM}},
		{"socket unix", unix.SYS_SOCKET, [5]uintptr{unix.AF_UNIX, unix.SOCK_STREAM}},
		{"socketpair", unix.SYS_SOCKETPAIR, [5]uintptr{unix.AF_UNIX, unix.SOCK_STREAM, 0, p(&attr[0])}},
		{"connect", unix.SYS_CONNECT, [5]uintptr{0, p(&attr[0]), 16}},
		{"bind", unix.SYS_BIND, [5]uintptr{0, p(&attr[0]), 16}},
		{"execve", unix.SYS_EXECVE, [5]uintptr{p(path)}},
		{"execveat", unix.SYS_EXECVEAT, [5]uintptr{^uintptr(99), p(path)}},
		{"ptrace", unix.SYS_PTRACE, [5]uintptr{unix.PTRACE_TRACEME}},
		{"process_vm_readv", unix.SYS_PROCESS_VM_READV, [5]uintptr{uintptr(sibling)}},
		{"kill", unix.SYS_KILL, [5]uintptr{uintptr(sibling), 0}},
		{"tgkill of another", unix.SYS_TGKILL, [5]uintptr{uintptr(sibling), uintptr(sibling), 0}},
		{"pidfd_open", unix.SYS_PIDFD_OPEN, [5]uintptr{uintptr(sibling)}},
		{"fork", unix.SYS_CLONE, [5]uintptr{uintptr(unix.SIGCHLD)}},
		{"mmap executable", unix.SYS_MMAP, [5]uintptr{0, 4096, unix.PROT_EXEC | unix.PROT_READ, unix.MAP_PRIVATE | unix.MAP_ANON, ^uintptr(0)}},
		{"mprotect executable", unix.SYS_MPROTECT, [5]uintptr{p(&key[0]) &^ 4095, 4096, unix.PROT_EXEC}},
		{"prctl dumpable", unix.SYS_PRCTL, [5]uintptr{unix.PR_SET_DUMPABLE, 1}},
		{"io_uring_setup", unix.SYS_IO_URING_SETUP, [5]uintptr{8, p(&attr[0])}},
		{"bpf", unix.SYS_BPF, [5]uintptr{0, p(&attr[0]), 8}},
		{"mount", unix.SYS_MOUNT, [5]uintptr{p(path), p(path)}},
		{"unshare", unix.SYS_UNSHARE, [5]uintptr{unix.CLONE_NEWUSER}},
		{"setuid", unix.SYS_SETUID, [5]uintptr{0}},
		{"capset", unix.SYS_CAPSET, [5]uintptr{}},
		{"ioctl", unix.SYS_IOCTL, [5]uintptr{0, unix.TCGETS, p(&attr[0])}},
		{"seccomp", unix.SYS_SECCOMP, [5]uintptr{}},
		{"memfd_create", unix.SYS_MEMFD_CREATE, [5]uintptr{p(made)}},
		{"x32 getpid", unix.SYS_GETPID | 0x40000000, [5]uintptr{}},
	} {
		_, _, e := unix.RawSyscall6(try.nr, try.args[0], try.args[1], try.args[2], try.args[3], try.args[4], 0)
		fmt.Printf("try %s: %d\n", try.name, int(e))
	}
	_, _, e := unix.RawSyscall(unix.SYS_CLONE3, uintptr(unsafe.Pointer(&attr[0])), 88, 0)
	fmt.Printf("clone3: %d\n", int(e))

	// What the enclave needs still works: threads, memory, collection, its own signals, more memory for keys.
	var busy sync.WaitGroup
	for range 40 {
		busy.Go(func() {
			runtime.LockOSThread() // a thread each
			b := make([]byte, 1<<20)
			_ = syscall.Getpid()
			b[len(b)-1] = 1
		})
	}
	busy.Wait()
	runtime.GC()
	more := secrets.Alloc(200 << 10)
	more[len(more)-1] = 1
	fmt.Printf("ready %d\n", uintptr(unsafe.Pointer(&key[0])))
	_, _ = bufio.NewReader(os.Stdin).ReadByte() // until the test has looked
	fmt.Println("alive")
}
