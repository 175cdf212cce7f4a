// Package storageproof defines what it means to prove storage (Crust's MPoW, work part): the sealed layout, the roots that
// commit to it, the draw of each height's spot check, and the signed report that the chain accepts or refuses. Pure functions:
// the enclave, the chain and a client run the same ones.
//
//	standing   report                                        then
//	none       counter 1, no predecessor, From = Height,     accepted: standing 1, nothing proven yet
//	           no draws
//	n          counter n+1, Prev and From of report n,       accepted: standing n+1, Proven += Answered,
//	           in a later slot, every height since report    Failed += Failed
//	           n answered or failed
//	"          the same, some heights older than LateBlocks  accepted: what was answered of those is Late, not Proven
//	"          the same, Reset: the disk is lost             accepted: no height is proven, all orders before are gone
//	any        wrong key, chain, account, block hash;        refused: the standing stays
//	           too old or not yet; above the tier's cap
//
// Each height h in (From, Height] of report n+1 is drawn over the table of the last report that a block below h accepted. An enclave
// that forgot the table before report n's, because it was restarted, draws over that of report n instead, up to the block
// that accepted it by the seed of the block after (Standing.SeedHeight): nobody ever knows a draw before its table is fixed.
//
//	seed, h, account, table root  ->  a cell, uniform over the table's bytes  ->  cell and witness  ->  answered or failed
//
// A free cell's witness is its page of digests and the path to the row's root (VerifyFree); a data cell's is its tag, which
// only the enclave that sealed it can check.
package storageproof
