// Package keyholder is the secret side of threshold keys: an enclave's part in ceremonies and repairs, its shares, and the partial
// signatures that it makes with them. See docs/protocol/keyholder.md.
//
// The host brings everything and may lie in everything. Two things are the chain's word, because the caller has checked a proof of
// them in the chain's store: a transcript of what happened in a ceremony or repair, and the charge, which group signs. The holder
// replays what happened itself, and does its part only when the replay has the proven transcript:
//
//	phase      ceremony                                          repair
//	keys       a fresh key, if it has a seat                     a fresh key, if it asks or can help
//	deal       a fresh secret, or its shares of the old group    its part, if its key was chosen
//	complain   opens all deals, names those that do not fit      looks at what the others gave
//	ready      its shares, and their public keys                 -
//	done       keeps its shares                                  keeps its repaired shares
//	failed     forgets all that it made                          forgets all that it made
//
// What it said it says again when asked, until the chain has it; it never says it anew with other randomness. Proofs may not be
// older than the one before, so an ended ceremony can't be brought back.
//
// Shares are wiped when the charge says that they can't be needed any more:
//
//	the charge        names another group and                 then a group's shares are
//	any               the group is of a later epoch           kept: it may come in charge
//	confirmed         it is not                               wiped: there is no way back
//	not confirmed     the group is older than the named one   kept: the chain may go back to it
//	not confirmed     it is newer                             wiped: the chain went back from it
//
// Shares and keys lie inside the types of package threshold, which encodes none of them; here neither.
package keyholder
