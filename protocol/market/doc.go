// Package market holds the rules by which storage is bought: orders, the replicas that operators take, escrow, collateral,
// linear pay, warnings and penalties. Every rule is a pure function from what was stored to what is stored next and to the coins
// that move for it; whoever keeps the coins executes the moves and decides nothing.
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
//	state     begins with               ends with                            coins
//	accepted  Accept                    Prove                                collateral is locked
//	          "                         Lapse, after AcceptBlocks unproven   LapseFee of the collateral to the owner, the rest returned
//	          "                         Drop, Leave or Silence               "
//	proven    Prove: a report names     Settle, any number of times          pay for proven blocks, fines for faults
//	          the order, root and size  Settle, fines above the collateral   pay, all collateral to the owner
//	          "                         Drop while it is owed: lost          pay for proven blocks
//	          "                         Drop from Until on                   pay, collateral returned
//	          "                         Silence, at SilentAt                 pay, all collateral to the owner
//	          "                         Leave, then Replace by a successor   pay, collateral returned
//	          "                         EndEarly by the owner                pay, with the rest of the minimum term; collateral returned
//	          "                         Expire                               pay for proven blocks, collateral returned
//	lost      Drop by a report that     Prove, before RepairAt               nothing; it earns again from then on
//	          lets it go, or says that  Forfeit, at RepairAt                 all collateral to the owner
//	          the disk is lost          Silence, EndEarly, Expire            as above, without pay
//
// A replica that ended leaves its place to another operator for the blocks that remain; one that ended unproven or forfeited leaves
// it to others alone. Until is the order's end when the replica was accepted: what is lost after it, or could still be repaired
// after it, costs no collateral. A leaving replica is proven or lost like any other; beside it one more may be accepted, and when
// more stand than the order pays for, a leaving one that stands is replaced.
//
// What is remembered of a node (Conduct), for draws and for audits apart:
//
//	state   a failure                                    no failure
//	clear   warned: it costs from MendBlocks on          "
//	warned  before that: nothing more than the pay       after MendBlocks, for ClearBlocks: clear
//	"       after that: each height is a fault; a        "
//	        failed audit is AuditFaults of them
//
// Silence is seen without a report: after WarnBlocks it is warned of, after SilentBlocks it costs, and a report ends it.
//
// Pay is linear. A replica has earned floor(size * price * n / (GiB * DayBlocks)) in all, where n counts the heights
// that its node proved after the report that named the order, but never more than the blocks that passed since, nor any
// after End; what it earned before it was lost counts on (Earned), so that it is rounded down once. Heights are counted by x/work
// for the node as a whole, so a failed height may be made good only by heights the cap does not need: those proven between that
// report's own height and the block that carried it, or during grace.
//
// Fines are linear in the same way: the pay of FaultFactor blocks for each fault since the report that named the order, but for no
// more heights than blocks that passed unearned, at most what is left of the collateral. Both are taken whenever a replica is
// settled, so that a report is little work however many replicas its node has; a lost disk is told to them one by one, and
// counts from its report on (Conduct.Reset).
//
// The escrow suffices in every life. At most Replicas replicas stand at once (Crowded orders are relieved in the block that
// crowds them), those that follow each other in a place count disjoint blocks, each at a price of at most the order's, and sums of
// rounded-down pay stay below the rounded-down pay of the sum, to which Place and each Renew add one coin for their own rounding.
package market
