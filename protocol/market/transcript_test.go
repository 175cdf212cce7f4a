package market

import (
	"fmt"
	"sort"
	"strings"
	"testing"

	"github.com/cockroachdb/datadriven"
)

const funds = 100_000

// The transcripts follow orders through their lives. Between commands stands what moved, who was warned and what is stored then;
// coins are kept by a ledger that executes the moves and complains if they don't add up.
//
//	terms day=100 min=50 max=1000 accept=20 grace=10 collateral=10 mend=20 clear=40 factor=2 repair=30 warn=15 silent=40 audit=5 fee=50
//	place owner=alice size=<GiB> blocks=100 replicas=2 price=100 at=10
//	accept|prove|settle|drop|lapse|forfeit|silence|leave node=bob ...      renew blocks=50      end      expire      show
//	report node=bob failed=3                 the node's conduct is judged by a report
//	audit node=bob                           an audit of the node failed
//	disk node=bob, heard node=bob            the node's disk is lost; its replica is told so
//	watch node=bob                           the node's silence is looked at
//
// "at" is the height of the block, "proven" how many heights x/work counts for the node.
func TestTranscripts(t *testing.T) {
	datadriven.Walk(t, "testdata/transcripts", func(t *testing.T, path string) {
		l := newLife(terms, []string{"alice", "bob", "carol", "dave", "erin", "frank", "grace"}, funds)
		datadriven.RunTest(t, path, func(t *testing.T, d *datadriven.TestData) string {
			out := l.command(t, d)
			if l.order.ID == 0 {
				return out
			}
			if err := l.check(); err != nil {
				d.Fatalf(t, "%s", err)
			}
			return out
		})
	})
}

func (l *life) command(t *testing.T, d *datadriven.TestData) string {
	number := func(key string, missing int64) int64 {
		v := missing
		d.MaybeScanArgs(t, key, &v)
		return v
	}
	word := func(key, missing string) string {
		v := missing
		d.MaybeScanArgs(t, key, &v)
		return v
	}
	l.now = number("at", l.now)
	node := word("node", "")
	if p := number("proven", -1); p >= 0 {
		l.counts[node] = uint64(p)
	}
	var s Step
	var moved []Move
	var notices []Notice
	var err error
	switch d.Cmd {
	case "terms":
		l.terms = Terms{DayBlocks: number("day", 0), MinBlocks: number("min", 0), MaxBlocks: number("max", 0),
			AcceptBlocks: number("accept", 0), GraceBlocks: number("grace", 0), Collateral: uint64(number("collateral", 0)),
			MendBlocks: number("mend", 20), ClearBlocks: number("clear", 40), FaultFactor: uint64(number("factor", 2)),
			RepairBlocks: number("repair", 30), WarnBlocks: number("warn", 15), SilentBlocks: number("silent", 40),
			AuditFaults: uint64(number("audit", 5)), LapseFee: uint64(number("fee", 0))}
		err = l.terms.Validate()
	case "place":
		moved, err = l.place(Order{ID: l.order.ID + 1, Owner: word("owner", ""), Root: []byte("root"), Size: uint64(number("size", 0)) * gib,
			Replicas: uint32(number("replicas", 0)), Price: uint64(number("price", 0))}, number("blocks", 0))
	case "accept":
		moved, err = l.accept(node, uint64(number("ask", 0)), uint64(number("takes", 1000))*gib)
	case "renew":
		moved, err = l.renew(number("blocks", 0))
	case "end":
		moved, err = l.close(l.terms.EndEarly)
	case "expire":
		moved, err = l.close(l.terms.Expire)
	case "report":
		notices = l.report(node, 0, uint64(number("failed", 0)))
	case "audit":
		notices = l.audit(node)
	case "disk":
		l.disk(node)
	case "heard":
		s, err = l.heard(node)
	case "watch":
		var silent bool
		if notices, silent = l.watch(node); silent {
			fmt.Fprintf(&l.said, "%s was silent for too long\n", node)
		}
	case "show":
	default:
		if l.at(node) < 0 {
			return node + " has no replica\n"
		}
		s, err = l.step(node, d.Cmd, word("root", "root"), uint64(number("size", int64(l.order.Size/gib)))*gib)
	}
	if err != nil {
		if !refusal(err) && d.Cmd != "terms" {
			d.Fatalf(t, "%s", err)
		}
		return "refused: " + err.Error() + "\n"
	}
	return l.shown(append(moved, s.Moves...), append(notices, s.Notices...), node, s.Ended)
}

func (l *life) shown(moved []Move, notices []Notice, node string, ended Rule) string {
	var b strings.Builder
	b.WriteString(l.said.String())
	l.said.Reset()
	for _, m := range moved {
		name := map[Purse]string{PurseOwner: l.order.Owner, PurseNode: m.Node, PurseEscrow: "escrow", PurseCollateral: "collateral of " + m.Node}
		fmt.Fprintf(&b, "%6d  %s -> %s (%s", m.Amount, name[m.From], name[m.To], m.Rule)
		if m.Evidence != "" {
			fmt.Fprintf(&b, ": %s", m.Evidence)
		}
		b.WriteString(")\n")
	}
	for _, n := range notices {
		if n.Deadline == 0 {
			fmt.Fprintf(&b, "%s is no longer warned (%s)\n", node, n.Rule)
		} else {
			fmt.Fprintf(&b, "%s is warned (%s: %s), it costs from %d on\n", node, n.Rule, n.Evidence, n.Deadline)
		}
	}
	if ended != "" {
		fmt.Fprintf(&b, "the replica of %s is over (%s)\n", node, ended)
	}
	o := l.order
	if o.ID == 0 {
		return b.String()
	}
	state := "running"
	switch {
	case o.Closed:
		state = "closed"
	case l.now >= l.terms.ExpireAt(o):
		state = "due"
	case l.now >= o.End:
		state = "grace"
	}
	fmt.Fprintf(&b, "order %d at %d: %s, %d to %d, escrow %d\n", o.ID, l.now, state, o.Start, o.End, o.Escrow)
	for _, r := range l.held {
		switch {
		case r.standing():
			accrued, _ := l.terms.Accrued(o, r, l.tally(r.Node), l.now)
			fmt.Fprintf(&b, "  %s: proven since %d at %d, paid %d, accrued %d, collateral %d", r.Node, r.Since, r.Price, r.Paid, accrued, r.Collateral)
		case r.Proven:
			fmt.Fprintf(&b, "  %s: lost at %d, until %d to be repaired, paid %d, collateral %d", r.Node, r.Lost, l.terms.RepairAt(r), r.Paid, r.Collateral)
		default:
			fmt.Fprintf(&b, "  %s: accepted at %d for %d, lapses at %d, collateral %d", r.Node, r.Accepted, r.Price, l.terms.LapseAt(r), r.Collateral)
		}
		if r.Leaving {
			b.WriteString(", leaving")
		}
		if c := l.conducts[r.Node]; c.Draws.Faults+c.Audits.Faults > 0 {
			fmt.Fprintf(&b, ", %d faults by draws and %d by audits", c.Draws.Faults, c.Audits.Faults)
		}
		b.WriteString("\n")
	}
	if o.Closed {
		var names []string
		for name, v := range l.ledger.purse {
			if v != 0 && (v != funds || strings.Contains("alice bob carol dave", name)) {
				names = append(names, name)
			}
		}
		sort.Strings(names)
		for i, name := range names {
			names[i] = fmt.Sprintf("%s %d", name, l.ledger.purse[name])
		}
		fmt.Fprintf(&b, "balances: %s\n", strings.Join(names, ", "))
	}
	return b.String()
}
