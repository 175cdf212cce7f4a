package market

import (
	"fmt"
	"slices"
	"sort"
	"strings"
	"testing"

	"github.com/cockroachdb/datadriven"
)

// The transcripts follow orders through their lives. Between commands stands what moved and what is stored then; coins are
// kept by a ledger that executes the moves and complains if they don't add up.
//
//	terms day=100 min=50 max=1000 accept=20 grace=10 collateral=10
//	place owner=alice size=<GiB> blocks=100 replicas=2 price=100 at=10
//	accept|prove|settle|drop|lapse node=bob ...         renew blocks=50         end         expire         show
//
// "at" is the height of the block, "proven" how many heights x/work counts for the node.
func TestTranscripts(t *testing.T) {
	datadriven.Walk(t, "testdata/transcripts", func(t *testing.T, path string) {
		l := &life{terms: terms, counts: map[string]uint64{}, ledger: newLedger([]string{"alice", "bob", "carol", "dave"}, 100_000)}
		datadriven.RunTest(t, path, func(t *testing.T, d *datadriven.TestData) string {
			out := l.command(t, d)
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
	word := func(key string) (v string) {
		d.MaybeScanArgs(t, key, &v)
		return v
	}
	l.now = number("at", l.now)
	node, at := word("node"), -1
	for i, r := range l.held {
		if r.Node == node {
			at = i
		}
	}
	if p := number("proven", -1); p >= 0 {
		l.counts[node] = uint64(p)
	}
	if strings.Contains(" prove settle drop lapse ", " "+d.Cmd+" ") && at < 0 {
		return node + " has no replica\n"
	}
	var moved []Move
	var err error
	switch d.Cmd {
	case "terms":
		l.terms = Terms{DayBlocks: number("day", 0), MinBlocks: number("min", 0), MaxBlocks: number("max", 0),
			AcceptBlocks: number("accept", 0), GraceBlocks: number("grace", 0), Collateral: uint64(number("collateral", 0))}
		err = l.terms.Validate()
	case "place":
		var o Order
		o, moved, err = l.terms.Place(l.order.ID+1, word("owner"), []byte("root"), uint64(number("size", 0))*gib, number("blocks", 0),
			uint32(number("replicas", 0)), uint64(number("price", 0)), nil, l.now)
		if err == nil {
			l.order, l.held, l.lapsed = o, nil, nil
		}
	case "accept":
		var r Replica
		r, moved, err = l.terms.Accept(l.order, append(slices.Clone(l.held), l.lapsed...), Ask{Node: node, Price: uint64(number("ask", 0)), MaxSize: uint64(number("takes", 1000)) * gib}, l.now)
		if err == nil {
			l.held = append(l.held, r)
		}
	case "prove":
		var r Replica
		root := "root"
		d.MaybeScanArgs(t, "root", &root)
		r, err = l.terms.Prove(l.order, l.held[at], []byte(root), uint64(number("size", int64(l.order.Size/gib)))*gib, l.counts[node], l.now)
		if err == nil {
			l.held[at] = r
		}
	case "settle":
		var r Replica
		var o Order
		if o, r, moved, err = l.terms.Settle(l.order, l.held[at], l.counts[node], l.now); err == nil {
			l.order, l.held[at] = o, r
		}
	case "drop":
		var o Order
		if o, moved, err = l.terms.Drop(l.order, l.held[at], l.counts[node], l.now); err == nil {
			l.order = o
			l.remove(at)
		}
	case "lapse":
		if moved, err = l.terms.Lapse(l.order, l.held[at], l.now); err == nil {
			l.remove(at)
		}
	case "renew":
		var o Order
		if o, moved, err = l.terms.Renew(l.order, number("blocks", 0), l.now); err == nil {
			l.order = o
		}
	case "end", "expire":
		closing := l.terms.EndEarly
		if d.Cmd == "expire" {
			closing = l.terms.Expire
		}
		var o Order
		if o, moved, err = closing(l.order, l.held, l.proven, l.now); err == nil {
			l.order, l.held = o, nil
		}
	case "show":
	default:
		d.Fatalf(t, "unknown command %q", d.Cmd)
	}
	if err != nil {
		return "refused: " + err.Error() + "\n"
	}
	if err := l.ledger.execute(l.order.Owner, moved); err != nil {
		d.Fatalf(t, "%s", err)
	}
	return l.shown(moved)
}

func (l *life) shown(moved []Move) string {
	var b strings.Builder
	for _, m := range moved {
		name := map[Purse]string{PurseOwner: l.order.Owner, PurseNode: m.Node, PurseEscrow: "escrow", PurseCollateral: "collateral of " + m.Node}
		fmt.Fprintf(&b, "%6d  %s -> %s (%s)\n", m.Amount, name[m.From], name[m.To], m.Rule)
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
		if r.Proven {
			accrued, _ := l.terms.Accrued(o, r, l.counts[r.Node], l.now)
			fmt.Fprintf(&b, "  %s: proven since %d at %d, paid %d, accrued %d, collateral %d\n", r.Node, r.Since, r.Price, r.Paid, accrued, r.Collateral)
		} else {
			fmt.Fprintf(&b, "  %s: accepted at %d for %d, lapses at %d, collateral %d\n", r.Node, r.Accepted, r.Price, l.terms.LapseAt(r), r.Collateral)
		}
	}
	if o.Closed {
		var names []string
		for name, v := range l.ledger.purse {
			if v != 0 {
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
