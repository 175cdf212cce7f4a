//go:build !linux

package devnet

import "syscall"

// attributes puts a node into a group of its own. Other systems have no signal for the death of a parent.
func attributes(bool) *syscall.SysProcAttr { return &syscall.SysProcAttr{Setsid: true} }
