package devnet

import "syscall"

// attributes puts a node into a group of its own, so that a Ctrl-C at the terminal reaches the caller and not its network.
func attributes(detach bool) *syscall.SysProcAttr {
	if detach {
		return &syscall.SysProcAttr{Setsid: true}
	}
	return &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
}
