package journal

import (
	"fmt"
	"time"
)

// Kind is what an entry is about.
type Kind string

const (
	KindOpening      Kind = "opening"      // the balance that the ledger begins with
	KindPay          Kind = "pay"          // for proven storage
	KindCollateral   Kind = "collateral"   // locked with an order or returned
	KindStake        Kind = "stake"        // the entry stake, locked or returned
	KindEscrow       Kind = "escrow"       // of the account's own orders, locked or returned
	KindPenalty      Kind = "penalty"      // collateral that went to an order's owner
	KindCompensation Kind = "compensation" // a holder's collateral that came to the account
	KindWarning      Kind = "warning"      // a penalty follows unless something is mended before the deadline
	KindLifted       Kind = "lifted"       // a warning ended without a penalty
	KindReplica      Kind = "replica"      // a replica was proven, begins to leave or ended
	KindRegistration Kind = "registration" // the node's, begun or ended
	KindFee          Kind = "fee"          // of a transaction
	KindTransfer     Kind = "transfer"     // between accounts
	KindDelegation   Kind = "delegation"   // to a validator and back
	KindReward       Kind = "reward"       // of validators and delegators
	KindDeposit      Kind = "deposit"      // of a proposal, or of a deny list
	KindAudit        Kind = "audit"        // of the node, or one that it should have made
	KindOther        Kind = "other"        // coins that no rule known here explains; Rule names the bank's event
	KindGap          Kind = "gap"          // blocks whose results are gone: the difference of the balances
)

// Entry is one line of an account's ledger. The sum of Amount over all entries of some blocks is the change of the account's balance over
// them.
type Entry struct {
	Height int64     `json:"height"`
	Time   time.Time `json:"time,omitzero"` // of the block
	Kind   Kind      `json:"kind"`
	Rule   string    `json:"rule,omitempty"`
	Amount int64     `json:"amount"` // ucella that came to the account; negative: that left it
	// Locked is by how many ucella the account's collateral and entry stake grew or, if negative, shrank. A penalty takes from
	// these: its Amount is 0.
	Locked   int64  `json:"locked,omitempty"`
	Order    uint64 `json:"order,omitempty"`
	Evidence string `json:"evidence,omitempty"` // what was seen: the hash of a report, a height
	Deadline int64  `json:"deadline,omitempty"` // height from which on a warning costs
	Party    string `json:"party,omitempty"`    // the other side: an address, or the name of a module
	Tx       string `json:"tx,omitempty"`       // hash of the transaction, in hex
	From     int64  `json:"from,omitempty"`     // a gap's first block; Height is its last

	tx int // 1 + index of the transaction in the block; 0 for what the block itself did
}

// words are what a person reads for a kind and a rule; an empty rule stands for all others.
var words = map[Kind]map[string]string{
	KindOpening:      {"": "balance before"},
	KindPay:          {"": "pay", "proof": "pay for proven storage", "minimum-term": "pay for the rest of the shortest term: the owner ended the order"},
	KindCollateral:   {"": "collateral returned", "accepted": "collateral locked: order accepted", "end": "collateral returned: the order ended", "lapse": "collateral returned: the order was not proven in time", "left": "collateral returned: a successor took over", "dropped": "collateral returned: the order was let go before it was proven, or after the term that was agreed"},
	KindStake:        {"": "entry stake", "announced": "entry stake locked: the node asked to join", "intent-expired": "entry stake returned: the node did not register in time", "left": "entry stake returned: the node left"},
	KindEscrow:       {"": "escrow", "placed": "escrow locked: order placed", "renewed": "escrow locked: order renewed", "term": "escrow returned: the order's term is over", "owner": "escrow returned: you ended the order"},
	KindPenalty:      {"": "penalty", "unproven": "penalty: heights went unproven after a warning", "audit": "penalty: an audit failed", "lost": "penalty: the order was let go and not proven again in time", "silent": "penalty: no report was accepted for too long", "lapse": "penalty: the order was accepted and never proven"},
	KindCompensation: {"": "compensation", "unproven": "compensation: a holder left heights unproven", "audit": "compensation: a holder failed an audit", "lost": "compensation: a holder lost the data", "silent": "compensation: a holder fell silent", "lapse": "compensation: a holder accepted the order and never proved it"},
	KindWarning:      {"": "warning", "unproven": "warning: heights went unproven", "audit": "warning: an audit failed", "silent": "warning: no report was accepted for long", "lost": "warning: a report let go of a running order"},
	KindLifted:       {"": "warning lifted", "unproven": "warning lifted: every height was proven since", "audit": "warning lifted: no audit failed since", "silent": "warning lifted: reports are accepted again", "lost": "warning lifted: the order is proven again"},
	KindReplica:      {"": "replica ended", "proven": "replica proven: it is paid from now on", "leaving": "replica waits for a successor", "lost": "replica ended: let go and not proven again", "silent": "replica ended: no report for too long", "exhausted": "replica ended: no collateral is left", "left": "replica ended: a successor took over", "lapse": "replica ended: not proven in time", "dropped": "replica ended: let go before it was proven, or after the term that was agreed"},
	KindRegistration: {"": "registration", "registered": "node registered", "expired": "registration expired", "left": "node left"},
	KindFee:          {"": "fee"},
	KindTransfer:     {"": "transfer", "sent": "sent", "received": "received"},
	KindDelegation:   {"": "delegation", "delegated": "delegated to a validator", "returned": "delegation returned"},
	KindReward:       {"": "reward of validators and delegators"},
	KindDeposit:      {"": "deposit of a proposal", "returned": "deposit of a proposal returned", "list": "deposit of a deny list", "list-returned": "deposit of a deny list returned"},
	KindAudit:        {"": "audit of this node", "passed": "audit of this node: passed", "failed": "audit of this node: failed", "inconclusive": "audit of this node: its auditors did not agree", "silent": "audit: no verdict was given in time; the node makes none for a while"},
	KindOther:        {"": "not explained by any rule known here"},
	KindGap:          {"": "blocks whose results are gone"},
}

// Words says in plain words what an entry is about.
func (e Entry) Words() string {
	rules := words[e.Kind]
	text, ok := rules[e.Rule]
	if !ok {
		text = rules[""]
		if e.Rule != "" {
			text += " (" + e.Rule + ")"
		}
	}
	switch {
	case e.Kind == KindGap:
		text += fmt.Sprintf(": %d to %d", e.From, e.Height)
	case e.Party != "" && (e.Kind == KindTransfer || e.Kind == KindOther):
		preposition := " from "
		if e.Amount < 0 {
			preposition = " to "
		}
		text += preposition + e.Party
	}
	return text
}
