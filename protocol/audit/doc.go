// Package audit defines audits by retrieval (Crust IV.F): the chain names a holder, one of its orders and a few auditors; each
// auditor's enclave walks a path of its own secret choice through the order's DAG over blocks that its host fetches from the holder as
// any client would, and signs what came of it. Pure functions: the chain and the enclaves run the same ones.
//
// A case:
//
//	state   given                                  then
//	open    a verdict that Check holds             it is counted, one an auditor
//	        all verdicts, or height > Deadline     closed with an outcome (Judge)
//	closed  anything                               refused
//
//	outcome       when                                          the holder
//	failed        a quorum of the drawn says missing or slow    is punished by the market
//	passed        a quorum of the drawn says ok                 is not
//	inconclusive  neither                                       is not
//
// The quorum is more than half of the auditors that the rules want, so it takes as many to blame as to clear. An auditor that says
// nothing by the deadline counts for neither side and is silent: that is counted against it.
//
// What an auditor's enclave does:
//
//	state    request                                       then
//	none     case, proven in the chain's store; it names   walking at the root, From = trusted head
//	         this enclave's own key; head <= Deadline
//	walking  the block that was asked for                  walking at one of its links, each with the same chance;
//	                                                       over at a block without links, or after MaxDepth blocks: To = trusted head
//	"        any other block                               refused, nothing changes
//	"        the verdict, head - From > Answer             missing; To = trusted head; it is signed once
//	"        the verdict earlier                           refused: the holder has its time
//	over     the verdict                                   ok if To - From <= Answer, else slow; it is signed once
//	any      the case again                                the walk goes on where it was: no second path, no later From
//
// A case names the auditors' keys. A restarted enclave has another one, so that no restart gives a host a second path to choose from.
package audit
