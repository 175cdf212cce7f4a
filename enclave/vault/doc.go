// Package vault is the trusted store of a node (Crust's MPoW, work part). It fills free sectors with bytes nobody can make again,
// seals blocks into data sectors, answers one spot check a height and signs one report a slot. It does no I/O: the host
// brings every byte and keeps every byte, and the vault believes none of them.
//
//	state      by                       then
//	fresh      RestoreBegin(none)       ready, empty
//	fresh      RestoreBegin(standing)   restoring: rows and orders match the chain's record
//	restoring  RestoreSector ...        each data sector that matches its row lives again, closed for good
//	restoring  RestoreEnd               ready; what did not match is lost
//	fresh      RestoreLost(standing)    ready, empty; the table that the standing names is unknown
//	restoring  RestoreBegin, -Lost      as from fresh; a ready vault refuses it, so that nothing drawn is ever forgotten
//
//	sector     by                       then
//	-          Fill                     filling; after its last run the key is gone: free
//	-          Open                     open, under a key of its own
//	open       Seal, Move               open until no cell is left, or 64 younger ones are open: closed
//	open       Lose without blocks      closed
//	any        Release                  left out of the next reports, still drawn
//	released   Accepted, without it     gone, key wiped; the host may overwrite it
//
//	block      by                       then
//	-, lost    Seal                     live, at its place in an open sector
//	live       Move                     live, at a place in another one
//	live       Lose                     lost if an order needs it, else unknown; its cells count and are drawn as before
//
//	order      by                       then
//	-          Complete                 whole: the next report adds it
//	whole      Lose                     broken if it needs a block: the next report drops it; one that none has named is forgotten
//	whole      RestoreEnd               broken likewise
//	broken     Complete                 whole; if a report that drops it is accepted after all, the next one adds it again
//	whole      Drop                     dropping, which Complete does not end: the next report drops it
//	dropped    Accepted                 forgotten, with its last blocks that are lost
//
// One report drops 256 orders, broken ones first. Until it can drop all that are broken it leaves out no sector that the last one named:
// nobody is paid for an order whose cells are not drawn.
//
//	draws      by                       then
//	none owed  Report                   pending report, counter 1
//	owed       Draw(base+1), Draw(+2)   answered or failed, in order, over the table of the last accepted report
//	owed       Draw, table unknown      failed
//	drawn      Report                   pending report over the heights drawn; one report for one height
//	"          ", table unknown         the same, Reset: it names what was sealed since, and drops nothing
//	pending    Accepted(standing)       the report that it names is the base; heights up to the block that accepted it
//	                                    are drawn over the base before and stay so, later ones are owed over the new
//
// Nonces: a data sector has a fresh random key, the nonce is the cell's index, cells are only appended, and a sector that
// was restored is never opened again. So no pair of key and nonce comes twice, whatever the host replays.
package vault
