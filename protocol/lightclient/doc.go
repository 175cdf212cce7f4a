// Package lightclient follows a CometBFT chain and believes its store on the word of nobody but its validators. The enclave uses
// it, and whoever else trusts no host. It has no clock and no I/O: headers, commits, sets and proofs are brought by the host, who
// may lie in all of them.
//
// A client is in one state: a trusted head, the validator set that the head names as next, and the headers remembered below.
//
//	step     given                               moves            if
//	New      root height and hash, block, next   head = root      header hashes to the root, of this chain; its sets hash to its
//	                                                              two fields; more than 2/3 of its validators signed it
//	Follow   headers from head+1, commit and     head = last      each names the hash of the one below, one height on, later in
//	         set of the last, next set                            time, with the validators announced below; the last is less
//	                                                              than the trusting period after the head; more than 2/3 of its
//	                                                              validators signed it and, unless they are the set that the
//	                                                              head named, also more than 1/3 of that set
//	History  headers from oldest-1 down          oldest = last    each is the block that the one above names, earlier in time;
//	                                                              all fit into Options.Keep
//	Value    height, store, key, value, proof    nothing          header height+1 is remembered; the proof leads from the value,
//	                                                              or from the neighbours of an absent key, to the store's root
//	                                                              and from there to that header's app hash
//
// Nothing changes when a step is refused. The rules and encodings are CometBFT's skipping verification at trust level 1/3; the
// tests hold them against cometbft/light. Where the two differ:
//
//	matter              here                                      CometBFT
//	encodings           only the canonical one; bounded           any that parses
//	header time         strictly rising from 1970 on              strictly rising, not after the caller's clock
//	now                 the new header's own time                 the caller's clock
//	headers between     all given, linked by hash                 skipped
//	app hash            32 bytes                                  any length
//	validator keys      Ed25519, each once, power above zero      several kinds
//	commit's block id   whole, as consensus makes it              not zero
//	invalid signature   counts for nothing                        spoils the commit, if met before the threshold
//	signature rule      RFC 8032, as in crypto/ed25519            ZIP 215
//
// The last two belong together. ZIP 215 takes a few signatures which crypto/ed25519 refuses; a validator could make such ones on
// purpose, and if they were fatal it would stop every client. So they only cost that validator's power.
//
// What a client can't know: whether its head is recent (a caller names a minimum height and hash), and whether more than 1/3 of
// a trusted set colluded within the trusting period.
package lightclient
