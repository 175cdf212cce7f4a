// Package market holds the rules by which storage is bought: orders, the replicas that operators take, escrow, collateral
// and linear pay. Every rule is a pure function from what was stored to what is stored next and to the coins that move for
// it; whoever keeps the coins executes the moves and decides nothing.
//
// An order:
//
//	state    condition                    accept  prove  settle  renew  end early  expire
//	running  height < End                 yes     yes    yes     yes    yes        no
//	grace    End <= height < End + grace  no      no     yes     no     no         no
//	due      height >= End + grace        no      no     yes     no     no         yes
//	closed   Closed, until PruneAt        no      no     no      no     no         no
//
// A replica of it:
//
//	state     begins with               ends with                           coins
//	accepted  Accept                    Prove                               collateral is locked
//	          "                         Lapse, after AcceptBlocks unproven  collateral returned, nothing paid
//	          "                         Drop by a report                    collateral returned, nothing paid
//	proven    Prove: a report names     Settle, any number of times         pay for proven blocks
//	          the order, root and size  Drop by a report                    pay for proven blocks, collateral returned
//	          "                         EndEarly by the owner               pay, with the rest of the minimum term; collateral returned
//	          "                         Expire                              pay for proven blocks, collateral returned
//
// A replica that lapsed or was dropped leaves its place to another operator for the blocks that remain. One that ended
// unproven leaves it to others alone.
//
// Pay is linear. A proven replica has earned floor(size * price * n / (GiB * DayBlocks)) in all, where n counts the heights
// that its node proved after the report that named the order, but never more than the blocks that passed since, nor any
// after End. Heights are counted by x/work for the node as a whole, so a failed height may be made good only by heights the
// cap does not need: those proven between that report's own height and the block that carried it, or during grace.
//
// The escrow suffices in every life. At most Replicas replicas exist at once, those that follow each other in a place count
// disjoint blocks, each at a price of at most the order's, and sums of rounded-down pay stay below the rounded-down pay of
// the sum, to which Place and each Renew add one coin for their own rounding.
package market
