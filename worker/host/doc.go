// Package host runs the enclave as a child process and speaks with it over one socketpair. It is the only place of the untrusted side
// that does: everyone else asks through Enclave.Call.
//
// Requests pipeline. Bulk requests (wire.Kind.Bulk) share a window of eight in flight and take turns; short ones go
// ahead of every bulk request that is not already on its way, so that a gigabyte being sealed never delays a vote.
package host
