package market

import (
	"bytes"
	"fmt"
)

// LapseAt is the first height at which an unproven replica no longer stands.
func (t Terms) LapseAt(r Replica) int64 { return r.Accepted + t.AcceptBlocks }

// RepairAt is the first height at which a lost replica can no longer be proven again.
func (t Terms) RepairAt(r Replica) int64 { return r.Lost + t.RepairBlocks }

// Prove marks a replica as proven by its node's last report, which names its order with root and size; now is the height of the
// block that carries the report. It is how a replica begins and how one that was lost is repaired.
func (t Terms) Prove(o Order, r Replica, root []byte, size uint64, n Tally, now int64) (Step, error) {
	refuse := func(format string, args ...any) (Step, error) {
		return Step{}, fmt.Errorf("%w: %s", ErrProof, fmt.Sprintf(format, args...))
	}
	if err := running(o, now); err != nil {
		return Step{}, err
	}
	if !bytes.Equal(root, o.Root) || size != o.Size {
		return refuse("order %d is for other content: root %x of %d bytes", o.ID, o.Root, o.Size)
	}
	s := Step{Order: o, Replica: r}
	if n.Conduct.Gone(r) {
		// It went with the disk and is back before it could be told so: paid and fined up to the loss, then as any other.
		var err error
		if s, err = t.Drop(o, r, n, now); err != nil || s.Ended != "" {
			return s, err
		}
		s.Notices = nil
	}
	switch {
	case s.Replica.standing():
		return refuse("order %d is proven by %s already", o.ID, r.Node)
	case !r.Proven && now >= t.LapseAt(r):
		return refuse("the acceptance of order %d lapsed at height %d", o.ID, t.LapseAt(r))
	case s.Replica.Lost != 0 && now >= t.RepairAt(s.Replica):
		return refuse("order %d had to be proven again before height %d", o.ID, t.RepairAt(s.Replica))
	}
	if r.Lost != 0 {
		s.Notices = append(s.Notices, Notice{Rule: RuleLost, Order: o.ID})
	}
	p := &s.Replica
	p.Proven, p.Report, p.Since, p.Base, p.Lost = true, n.Report, now, n.Proven, 0
	p.FaultBase, p.Fined, p.AuditBase, p.AuditFined = n.Conduct.Draws.Faults, 0, n.Conduct.Audits.Faults, 0
	s.Order.Standing++
	return s, nil
}

// Lapse ends an acceptance that no report proved in time.
func (t Terms) Lapse(o Order, r Replica, now int64) (Step, error) {
	if r.Proven || now < t.LapseAt(r) {
		return Step{}, fmt.Errorf("%w: the acceptance of order %d by %s stands", ErrState, o.ID, r.Node)
	}
	return t.abandon(o, r, RuleLapse), nil
}

// abandon ends a replica that was never proven. Taking a place that others would have filled costs a little.
func (t Terms) abandon(o Order, r Replica, rule Rule) Step {
	s := Step{Order: o, Replica: r}
	s.penalty(RuleLapse, r.Collateral/100*t.LapseFee+r.Collateral%100*t.LapseFee/100, height(r.Accepted))
	s.giveBack(rule)
	s.end(rule)
	return s
}

// Drop tells a replica that a report let it go, or that the disk is lost. One that was proven and is still owed has been lost:
// it is paid up to then and has RepairBlocks to be proven again. What is no longer owed ends unpunished, and its place opens
// again if the order still runs.
func (t Terms) Drop(o Order, r Replica, n Tally, now int64) (Step, error) {
	if o.Closed {
		return Step{}, fmt.Errorf("%w: order %d is closed", ErrState, o.ID)
	}
	if !r.Proven && now < o.End {
		return t.abandon(o, r, RuleDropped), nil
	}
	if r.Lost != 0 {
		return Step{Order: o, Replica: r}, nil
	}
	at := now
	if n.Conduct.Gone(r) {
		at = max(n.Conduct.ResetAt, r.Since)
	}
	blocks := earned(o, r, n, now)
	s, err := t.Settle(o, r, n, now)
	if err != nil || s.Ended != "" {
		return s, err
	}
	if at >= r.Until || !r.Proven {
		s.over(now)
		return s, nil
	}
	s.Order.Standing--
	s.Replica.Earned, s.Replica.Lost = blocks, at
	s.Notices = append(s.Notices, Notice{Rule: RuleLost, Order: o.ID, Evidence: height(at), Deadline: t.RepairAt(s.Replica)})
	return s, nil
}

// over ends a replica that its operator no longer owed.
func (s *Step) over(now int64) {
	rule := RuleDropped
	if now >= s.Order.End {
		rule = RuleEnd
	}
	s.giveBack(rule)
	s.end(rule)
}

// Forfeit ends a lost replica that was not proven again in time: all that is left of its collateral goes to the owner. Where the
// time to repair ran beyond what the operator had agreed to, the collateral goes back.
func (t Terms) Forfeit(o Order, r Replica, now int64) (Step, error) {
	if r.Lost == 0 || now < t.RepairAt(r) {
		return Step{}, fmt.Errorf("%w: the replica of order %d by %s is not lost for good", ErrState, o.ID, r.Node)
	}
	s := Step{Order: o, Replica: r}
	if t.RepairAt(r) > r.Until {
		s.over(now)
		return s, nil
	}
	s.penalty(RuleLost, r.Collateral, height(r.Lost))
	s.end(RuleLost)
	return s, nil
}

// Silence ends a replica of a node that sent no report for too long (Watch): it is paid what it proved, and all that is left of
// its collateral goes to the owner, unless the silence began to cost only after the term that the operator had agreed to. One that
// was never proven goes as if dropped.
func (t Terms) Silence(o Order, r Replica, n Tally, now int64) (Step, error) {
	if n.Conduct.Silent == 0 || now < t.SilentAt(n.Conduct, n.Since) {
		return Step{}, fmt.Errorf("%w: %s is not silent for so long that it loses order %d", ErrState, r.Node, o.ID)
	}
	if !r.Proven {
		return t.abandon(o, r, RuleDropped), nil
	}
	s, err := t.Settle(o, r, n, now)
	if err != nil || s.Ended != "" {
		return s, err
	}
	if t.SilentAt(n.Conduct, n.Since) > r.Until {
		s.over(now)
		return s, nil
	}
	s.penalty(RuleSilent, s.Replica.Collateral, height(n.Since))
	s.end(RuleSilent)
	return s, nil
}

// Leave tells a replica that its operator wants to leave. It goes on, paid and answered for, until Replace finds the order standing
// without it; one that was not proven yet ends at once.
func (t Terms) Leave(o Order, r Replica, now int64) (Step, error) {
	if err := running(o, now); err != nil {
		return Step{}, err
	}
	if !r.Proven {
		return t.abandon(o, r, RuleDropped), nil
	}
	r.Leaving = true
	return Step{Order: o, Replica: r}, nil
}

// Barred tells whether a replica ended in a way that the order takes its operator no more: it was never proven, or forfeited.
func (s Step) Barred() bool {
	return s.Ended != "" && (!s.Replica.Proven || s.Ended == RuleLost || s.Ended == RuleSilent || s.Ended == RuleExhausted)
}

// Crowded tells whether more replicas are proven than the order asked for: then one that wants to leave must be replaced.
func (o Order) Crowded() bool { return o.Standing > o.Replicas }

// Replace ends a leaving replica of a crowded order: it is paid what it has earned and has its collateral back. What is lost is
// not replaced: a loss is repaired or paid, whether or not its operator wants to leave, and whether or not the replica has heard.
func (t Terms) Replace(o Order, r Replica, n Tally, now int64) (Step, error) {
	if !o.Crowded() || !r.Leaving || !r.standing() {
		return Step{}, fmt.Errorf("%w: order %d needs its replica by %s", ErrState, o.ID, r.Node)
	}
	if n.Conduct.Gone(r) {
		return t.Drop(o, r, n, now) // it went with the disk and was not told yet: the order has one less, and so is not crowded
	}
	s, err := t.Settle(o, r, n, now)
	if err != nil || s.Ended != "" {
		return s, err
	}
	s.giveBack(RuleLeft)
	s.end(RuleLeft)
	return s, nil
}
