package market

import (
	"fmt"
	"strconv"
)

// Charge is what one kind of failure has brought upon a node.
type Charge struct {
	Faults   uint64 // failures that cost collateral, in heights; never falls
	Warned   int64  // height of the warning that stands, 0 if none does
	Last     int64  // height at which the last failure under that warning was heard of
	Evidence string // what brought the last faults or, until there are any, the warning
}

// Conduct is what the market remembers of a node.
type Conduct struct {
	Node   string
	Seen   uint64 // count of unproven heights that was judged last
	Draws  Charge // heights that were not proven
	Audits Charge // failed audits
	Silent int64  // height of the warning for missing reports, 0 if none stands
	Watch  int64  // height at which the node's silence is looked at next, 0 if it holds nothing

	// A node's replicas are many, so that a lost disk is told to them one after the other. Until the last has heard of it these
	// say from where on none of them counts any more; else they are 0.
	Reset       uint64 // counter of the report that said so
	ResetAt     int64  // height of the block that carried it
	ResetProven uint64 // count of proven heights with it

	Again bool // another one said so while the replicas were being told: once all have heard, they are told anew

	Swept, Drained uint64 // orders up to which the replicas have heard of a lost disk and of a draining
}

// Tally is all that is counted of a node.
type Tally struct {
	Proven  uint64 // heights that x/work counts as proven; never falls
	Report  uint64 // counter of its last accepted report
	Since   int64  // height of the block that carried that
	Conduct Conduct
}

// Tallies tells what is counted of a node.
type Tallies func(node string) Tally

// Notice is a warning, or the end of one.
type Notice struct {
	Rule     Rule
	Order    uint64 // 0 if it is about the node as a whole
	Evidence string // what was seen
	Heights  uint64 // how many heights were not proven, or for how many a failed audit counts
	Deadline int64  // first height at which it costs; 0: the warning is lifted
}

// Judge hears of an accepted report by which a node has unproven heights in all; evidence names the report. The first failure
// brings a warning and time to mend in which further ones cost their pay alone. After that each height is a fault, until none was
// unproven for ClearBlocks.
func (t Terms) Judge(c Conduct, unproven uint64, evidence string, now int64) (Conduct, []Notice) {
	var out []Notice
	heights := unproven - min(unproven, c.Seen)
	c.Seen += heights
	c.Draws, out = t.charge(c.Draws, RuleUnproven, heights, evidence, now, out)
	c.Audits, out = t.charge(c.Audits, RuleAudit, 0, "", now, out)
	if c.Silent != 0 {
		c.Silent, c.Watch = 0, now+t.WarnBlocks
		out = append(out, Notice{Rule: RuleSilent})
	}
	return c, out
}

// Blame hears of a failed audit, which goes the way of unproven heights: first a warning and time to mend, then it counts for
// AuditFaults faults. The node answers for it as a whole: whoever serves nobody would else be fined for the few replicas that an
// audit meets and keep the pay of all the others.
func (t Terms) Blame(c Conduct, evidence string, now int64) (Conduct, []Notice) {
	var out []Notice
	c.Audits, out = t.charge(c.Audits, RuleAudit, t.AuditFaults, evidence, now, nil)
	return c, out
}

func (t Terms) charge(c Charge, rule Rule, heights uint64, evidence string, now int64, out []Notice) (Charge, []Notice) {
	mended := c.Warned + t.MendBlocks
	switch {
	case heights == 0:
		if c.Warned != 0 && now >= max(c.Last, mended)+t.ClearBlocks {
			c.Warned, c.Last = 0, 0
			out = append(out, Notice{Rule: rule})
		}
		return c, out
	case c.Warned == 0:
		c.Warned, c.Evidence = now, evidence
		out = append(out, Notice{Rule: rule, Evidence: evidence, Heights: heights, Deadline: now + t.MendBlocks})
	case now >= mended:
		c.Faults, c.Evidence = min(c.Faults+heights, maxFaults), evidence
	}
	c.Last = now
	return c, out
}

// Resume begins to watch a node that held nothing when it was looked at last. A warning for unproven heights so old that it would have
// been lifted, had none followed, is lifted now: heights in which nothing was held failed nobody, and who comes back after months is
// told again before it costs. A younger one stands, so that whoever ends all and comes back wins no time to mend sooner than by proving.
// Nothing holds up the end of a warning for audits but failed audits.
func (t Terms) Resume(c Conduct, now int64) (Conduct, []Notice) {
	c.Watch = now + t.WarnBlocks
	if c.Draws.Warned == 0 || now < c.Draws.Warned+t.MendBlocks+t.ClearBlocks {
		return c, nil
	}
	c.Draws.Warned, c.Draws.Last = 0, 0
	return c, []Notice{{Rule: RuleUnproven}}
}

// Watch looks at a node that has replicas; since is the height of the block that carried its last accepted report. It says when
// to look again (Conduct.Watch) and whether the silence has lasted so long that Silence ends the replicas.
func (t Terms) Watch(c Conduct, since, now int64) (Conduct, []Notice, bool) {
	switch {
	case c.Silent != 0 && now >= t.SilentAt(c, since):
		c.Watch = now + 1
		return c, nil, true
	case c.Silent != 0:
		c.Watch = t.SilentAt(c, since)
	case now >= since+t.WarnBlocks:
		c.Silent = now
		c.Watch = t.SilentAt(c, since)
		return c, []Notice{{Rule: RuleSilent, Evidence: height(since), Deadline: c.Watch}}, false
	default:
		c.Watch = since + t.WarnBlocks
	}
	return c, nil, false
}

// SilentAt is the first height at which a node that was warned loses its replicas for its silence. Where the warning itself came
// late, because the terms were changed or too many were silent, the time after it is the same.
func (t Terms) SilentAt(c Conduct, since int64) int64 {
	return max(since+t.SilentBlocks, c.Silent+t.SilentBlocks-t.WarnBlocks)
}

// LoseAll hears of the report that says that the disk is lost; it must be judged before. Replicas of earlier reports earn nothing
// from here on; Drop tells them one by one. A second loss before the last one has heard of the first is dated back to that, and told
// after it: whoever loses the disk in every slot would else begin anew each time, and the last replicas would never hear of it.
func (c Conduct) LoseAll(report, proven uint64, now int64) Conduct {
	if c.ResetAt == 0 {
		c.ResetAt, c.ResetProven = now, proven
	} else {
		c.Again = true
	}
	c.Reset = report
	return c
}

// AllHeard ends what LoseAll began: all replicas have heard of it. If the disk was lost again meanwhile, they are told once more.
func (c Conduct) AllHeard() Conduct {
	if c.Again {
		c.Again, c.Swept = false, 0
		return c
	}
	c.Reset, c.ResetAt, c.ResetProven, c.Swept = 0, 0, 0, 0
	return c
}

// Gone tells whether a replica was lost with the disk and has not heard of it yet.
func (c Conduct) Gone(r Replica) bool { return c.ResetAt != 0 && r.standing() && r.Report < c.Reset }

// Audit refuses a conduct to which these rules could not have led, as far as it shows it itself.
func (c Conduct) Audit() error {
	for _, h := range []int64{c.Draws.Warned, c.Draws.Last, c.Audits.Warned, c.Audits.Last, c.Silent, c.Watch, c.ResetAt} {
		if h < 0 || h > maxTerm {
			return fmt.Errorf("%w: conduct of %s has the height %d", ErrState, c.Node, h)
		}
	}
	for _, g := range []Charge{c.Draws, c.Audits} {
		if g.Faults > maxFaults || g.Last < g.Warned || g.Warned == 0 && g.Last != 0 {
			return fmt.Errorf("%w: conduct of %s: %+v", ErrState, c.Node, g)
		}
	}
	if (c.Reset == 0) != (c.ResetAt == 0) || c.ResetAt == 0 && (c.ResetProven != 0 || c.Swept != 0 || c.Again) {
		return fmt.Errorf("%w: conduct of %s: half a lost disk", ErrState, c.Node)
	}
	return nil
}

func height(h int64) string { return strconv.FormatInt(h, 10) }
