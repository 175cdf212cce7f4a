// Package client is the Go SDK of Cella: it speaks to one node's RPC, posts transactions for an account, and stores files on the
// network and reads them back. The command line, the gateway, the worker and the tests use it.
//
//   - Chain reads: typed queries, light blocks, values with store proofs. Everything goes over one CometBFT RPC endpoint.
//   - Account writes: one goroutine owns the account's sequence.
//   - Verifier believes no RPC: it follows headers from a trust root and checks store proofs.
//   - Client puts, gets, lists, removes and explains files. It keeps a catalogue of what was put.
//
// Every error that leaves the package is, or wraps, an *Error with a kind, a cause and, where something can be done about it, a hint.
package client
