package market

import "fmt"

// Purse is one end of a move of coins.
type Purse uint8

const (
	PurseOwner      Purse = 1 // the order's owner
	PurseNode       Purse = 2 // the operator that the move names
	PurseEscrow     Purse = 3 // coins held for the order
	PurseCollateral Purse = 4 // coins held from the operator for its replica
)

// Rule names why coins move, why a node is warned, or why a replica ended.
type Rule string

const (
	RulePlace   Rule = "place"        // owner to escrow
	RuleRenew   Rule = "renew"        // owner to escrow
	RuleAccept  Rule = "accept"       // node to collateral
	RuleProof   Rule = "proof"        // escrow to node, for proven blocks
	RuleMinimum Rule = "minimum-term" // escrow to node, the blocks of the minimum term that an early end takes away
	RuleDropped Rule = "dropped"      // collateral to node: a report let go what the operator did not owe, or had not proven yet
	RuleLeft    Rule = "left"         // collateral to node: another operator has taken over
	RuleEnd     Rule = "end"          // collateral to node: the order is over
	RuleOwner   Rule = "owner"        // escrow to owner: what is left when the owner ended it
	RuleTerm    Rule = "term"         // escrow to owner: what is left at the end of the term

	RuleLapse     Rule = "lapse"     // accepted, never proven: the fee of the collateral to owner, the rest to node
	RuleUnproven  Rule = "unproven"  // collateral to owner: heights that were not proven
	RuleAudit     Rule = "audit"     // collateral to owner: failed audits
	RuleLost      Rule = "lost"      // all collateral to owner: let go while the order ran and not proven again in time
	RuleSilent    Rule = "silent"    // all collateral to owner: no report for too long
	RuleExhausted Rule = "exhausted" // the replica ended because the fines took all of its collateral
)

// Move is one movement of coins. The functions that return moves have already changed the order's escrow and the
// replica's collateral by them; moves of nothing are left out.
type Move struct {
	Rule     Rule
	From, To Purse
	Order    uint64
	Owner    string // the order's owner; empty where only the operator is concerned
	Node     string // the operator concerned; empty where only the owner is
	Amount   uint64 // ucella
	Evidence string // of a deduction from collateral: what was seen
}

// Step is what a rule made of an order and one of its replicas.
type Step struct {
	Order   Order
	Replica Replica
	Moves   []Move
	Notices []Notice
	Ended   Rule // why the replica is gone; empty while it stands
}

// Accrued is what settling now would pay a replica.
func (t Terms) Accrued(o Order, r Replica, n Tally, now int64) (uint64, error) {
	return t.owed(o, r, earned(o, r, n, now))
}

// Settle pays a replica what it has earned so far and fines it for the faults of its node. It ends where the fines are more than
// what is left of its collateral.
func (t Terms) Settle(o Order, r Replica, n Tally, now int64) (Step, error) {
	if o.Closed {
		return Step{}, fmt.Errorf("%w: order %d is closed", ErrState, o.ID)
	}
	s := Step{Order: o, Replica: r}
	if err := t.pay(&s, RuleProof, earned(o, r, n, now)); err != nil {
		return Step{}, err
	}
	if t.fine(&s, n, now) {
		s.end(RuleExhausted)
	}
	return s, nil
}

// earned is how many blocks a replica has to be paid for in all: those before it was last lost, and the heights proven since
// the report that named it last, but no more than the blocks that passed since then up to the order's end.
func earned(o Order, r Replica, n Tally, now int64) int64 {
	got, _ := stretch(o, r, n, now)
	return r.Earned + got
}

// stretch is how many blocks a replica has earned since it was proven last, and how many have passed without. What is lost, or
// gone with the disk, has no blocks after that.
func stretch(o Order, r Replica, n Tally, now int64) (got, missed int64) {
	if !r.standing() {
		return 0, 0
	}
	count := n.Proven
	if n.Conduct.Gone(r) {
		count, now = min(count, n.Conduct.ResetProven), min(now, n.Conduct.ResetAt)
	}
	passed := max(0, min(now, o.End)-r.Since)
	if count < r.Base {
		return 0, passed
	}
	got = passed
	if count-r.Base < uint64(passed) {
		got = int64(count - r.Base)
	}
	return got, passed - got
}

// owed is the pay over blocks in all less what was paid before. The escrow always suffices (doc.go says why), and
// nothing beyond it could ever be paid out of other orders' coins.
func (t Terms) owed(o Order, r Replica, blocks int64) (uint64, error) {
	if r.Order != o.ID {
		return 0, fmt.Errorf("%w: replica of order %d, not of %d", ErrState, r.Order, o.ID)
	}
	if !r.Proven || blocks <= 0 {
		return 0, nil
	}
	all, err := t.Pay(o.Size, r.Price, blocks)
	if err != nil || all <= r.Paid {
		return 0, err
	}
	return min(all-r.Paid, o.Escrow), nil
}

func (t Terms) pay(s *Step, rule Rule, blocks int64) error {
	amount, err := t.owed(s.Order, s.Replica, blocks)
	if err != nil {
		return err
	}
	s.Order.Escrow -= amount
	s.Replica.Paid += amount
	s.Moves = moves(s.Moves, Move{Rule: rule, From: PurseEscrow, To: PurseNode, Order: s.Order.ID, Node: s.Replica.Node, Amount: amount})
	return nil
}

// fine takes what the node's faults since the replica was proven cost, less what was taken before, and tells whether that was
// all of the collateral. No more heights are fined than blocks that passed without being earned: a block is paid for or fined,
// never both, and an order that was proven to its end is not concerned by what the node fails at after that.
func (t Terms) fine(s *Step, n Tally, now int64) (exhausted bool) {
	r := &s.Replica
	if !r.standing() {
		return false
	}
	_, missed := stretch(s.Order, *r, n, now)
	draws, audits := n.Conduct.Draws, n.Conduct.Audits
	exhausted = t.take(s, RuleUnproven, min(since(draws, r.FaultBase), uint64(missed)), &r.Fined, draws.Evidence)
	if audits.Last >= s.Order.End {
		return exhausted // at least the last audit failed after the end, when the node could delete what it had proven
	}
	return t.take(s, RuleAudit, since(audits, r.AuditBase), &r.AuditFined, audits.Evidence) || exhausted
}

func since(c Charge, base uint64) uint64 { return c.Faults - min(c.Faults, base) }

// take takes what faults cost in all less what was taken for them before.
func (t Terms) take(s *Step, rule Rule, faults uint64, fined *uint64, evidence string) (exhausted bool) {
	cost, err := t.Pay(s.Order.Size, s.Replica.Price, int64(min(faults, maxFaults)*t.FaultFactor))
	if err != nil {
		cost = maxEscrow // more than fits any figure, so more than any collateral
	}
	if cost <= *fined {
		return false
	}
	due := cost - *fined
	exhausted = due >= s.Replica.Collateral
	due = min(due, s.Replica.Collateral)
	*fined += due
	s.penalty(rule, due, evidence)
	return exhausted
}

// penalty moves collateral to the order's owner.
func (s *Step) penalty(rule Rule, amount uint64, evidence string) {
	s.Replica.Collateral -= amount
	s.Moves = moves(s.Moves, Move{Rule: rule, From: PurseCollateral, To: PurseOwner, Order: s.Order.ID, Owner: s.Order.Owner,
		Node: s.Replica.Node, Amount: amount, Evidence: evidence})
}

// giveBack returns what is left of the collateral.
func (s *Step) giveBack(rule Rule) {
	s.Moves = moves(s.Moves, Move{Rule: rule, From: PurseCollateral, To: PurseNode, Order: s.Order.ID, Node: s.Replica.Node, Amount: s.Replica.Collateral})
	s.Replica.Collateral = 0
}

// end takes the replica from its order; its collateral must have gone before.
func (s *Step) end(rule Rule) {
	if s.Replica.standing() {
		s.Order.Standing--
	}
	s.Ended = rule
}

func moves(out []Move, m Move) []Move {
	if m.Amount == 0 {
		return out
	}
	return append(out, m)
}
