// Package worker is the untrusted host of a storage node: the loops that keep one enclave following the chain, registered, full of
// random cells, busy with orders, and reported. It holds no secret and decides nothing that a check on chain or in the
// enclave does not decide again; what it can lose by a fault of its own is standing, never data that others rely on elsewhere.
//
// One run of the enclave is a session. Its loops, each in a file of its own:
//
//	state        loop       what happens                                        ends with
//	following    follow     headers are fed to the enclave's light client       the session
//	restoring    restore    table, orders and directories go back to the vault  matched with the proven standing
//	joining      join       announce, exchange with the endorser, register      a registration; renewed before its end
//	working      report     each height's draw; once a slot sync, sign, save,   the session
//	                        post, and prove the acceptance to the enclave
//	             fill       free sectors up to the quota less a spare
//	             market     the ask, acceptances, drops
//	             order      fetch, seal, complete; one each order taken         held, or given up
//	             audit      another node's blocks for our enclave's verdict      the verdict on chain
//	             keys       the enclave's part in ceremonies, repairs and numbers
//	             compact    live blocks leave sectors that are mostly dead or that a draw found broken
//	             scrub      if the operator wants it: every sealed block is opened over time
//
// What can't be read any more is admitted to the enclave (wire.Lose); the orders that need it are fetched again and completed again, and
// where that is done before the next report, the chain never hears of it. Else, and after a restart that found sectors lost, the chain names
// the replica lost and the market loop proves it again. A disk whose table is gone is begun anew only if its operator declared
// it lost (disk.MarkLost); one that was taken away under a running node ends the session and nothing else.
//
// When the enclave dies, or the chain's standing is not the one that was restored, the session ends and another begins with backoff:
// new keys, and joining again.
package worker
