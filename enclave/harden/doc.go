// Package harden shuts an enclave process in where the hardware does not: no core dump, no debugger, no new
// privileges, no file, no socket and none but the system calls that a Go program with open descriptors needs.
//
// It is for platforms on which the enclave is a plain process (the simulator, a TPM). Against a host that is root it is no
// secret-keeping, only one more wall; against everything else on the machine, and against a bug in the enclave itself, it is
// the wall. Each guard is best effort: what the kernel lacks is told in Guards and the enclave runs on.
package harden
