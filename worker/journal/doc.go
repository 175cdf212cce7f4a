// Package journal tells an account why its balance changed. Blocks carry the reasons as events, but nodes prune blocks; so a node keeps
// a ledger of its operator's account beside the chain's data, one entry for each payment, fee, penalty, warning and transfer.
//
// Two kinds of events go into an entry. The bank's say what was moved: a ledger that adds up all of them has the balance, to the last
// ucella. Those of Cella's modules say why: rule, evidence, order, deadline. Entries brings them together, phase by phase of a block
// (what is executed before the messages of a transaction, each message, the block's begin and its end), since modules may pay many
// orders with one transfer:
//
//	bank moved between account and module   events of the phase claim  entries
//	N ucella                                N in all                   one for each claim, with its rule
//	N ucella                                M in all                   the same, and one of N-M: rule "other", the bank's event named
//	N ucella                                nothing                    one of N: fee, transfer, delegation, reward, deposit, or "other"
//	nothing                                 a warning or the like      one of 0 ucella
//
// A Ledger is a folder of files of JSON lines. Blocks go in whole: the entries of one block, then a line with its height and the balance
// after it, in one write. A file's first line tells the balance before it. What a crash left behind the last such line is cut off, and
// the blocks behind it are read again.
//
// Where the results of blocks are gone, by pruning or because the node keeps none, a "gap" entry stands for what happened meanwhile: the
// difference of the balances, without a reason.
package journal
