// Package lightclient follows a CometBFT chain and believes its store on the word of nobody but its validators. The enclave uses
// it, and whoever else trusts no host. It has no clock and no I/O: headers, commits, sets and proofs are brought by the host, who
// may lie in all of them.
//
// A client is in one state: a trusted head, and the headers remembered below.
//
//	step     given                               moves            if
//	New      root height and hash, block         head = root      header hashes to the root, of this chain; its set hashes to its
//	                                                              field; more than 2/3 of its validators signed it
//	Follow   headers from head+1, commit and     head = last      each names the hash of the one below, one height on, later in
//	         set of the last                                      time; the last is less than the trusting period after the
//	                                                              head; its validators are those that the head named, and more
//	                                                              than 2/3 of them signed it
//	History  headers from oldest-1 down          oldest = last    each is the block that the one above names, earlier in time;
//	                                                              all fit into Options.Keep
//	Value    height, store, key, value, proof    nothing          header height+1 is remembered; the proof leads from the value,
//	                                                              or from the neighbours of an absent key, to the store's root
//	                                                              and from there to that header's app hash
//
// Nothing changes when a step is refused. The rules and encodings are CometBFT's sequential verification, in steps that end where validators
// change; the tests hold them against cometbft/light. Where the two differ:
//
//	matter              here                                      CometBFT
//	encodings           only the canonical one; bounded           any that parses
//	header time         strictly rising from 1970 on              strictly rising, not after the caller's clock
//	now                 the new header's own time                 the caller's clock
//	skipping            never over a change of validators         over any change that leaves 1/3 of the trusted power
//	app hash            32 bytes                                  any length
//	validator keys      Ed25519, each once, power above zero      several kinds
//	commit's block id   whole, as consensus makes it              not zero
//	invalid signature   counts for nothing                        spoils the commit, if met before the threshold
//
// Skipping over a change of validators would put a client into the hands of a little more than a third of the power: they announce a set of their
// own in a header that nobody else sees, and sign the next one as that set. All headers are given anyway. Signatures hold by ZIP 215 as in
// consensus, for a commit may have no power to spare, and any validator can make some that RFC 8032 alone refuses.
//
// What a client can't know: whether its head is recent (a caller names a minimum height and hash), and whether more than 2/3 of a trusted set
// colluded within the trusting period.
package lightclient
