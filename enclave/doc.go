// Package enclave is the trusted program's request loop: it follows the chain by itself, keeps the enclave's keys, takes part
// in joining, and hands the vault only what the chain proved. Every byte of a request comes from the host, which may drop,
// replay, reorder and lie.
//
//	state     request                         then
//	started   Init                            keys are made, the trust root is checked: following; there is no second Init
//	following Follow, History, Status         the trusted head moves on; block hashes below are learned
//	following RestoreBegin ... RestoreEnd     the vault holds what the chain's standing and the host's files agree on
//	restored  Fill, Seal, Draw, Report, ...   the vault's own states: see package vault
//	restored  Register                        a registration over the trusted head; an earlier one is void
//	registered  Answer, Confirm               M's side of the exchange: see package attestation
//	following Challenge, Endorse              V's side
//	following Settle, CeremonyAct, Sign, ...  shares of the network's keys: see package keyholder
//
// A refused request changes nothing, except that Endorse spends its nonce and a ceremony's entries before a bad one stay. A panic is a bug and ends the process, keys
// and all: a broken enclave must not go on.
//
// There is no clock. Time is that of the trusted head; "recent" is counted in blocks below it.
package enclave
