package market

import (
	"testing"

	"pgregory.net/rapid"
)

// In every life of an order coins are conserved, the escrow covers all that could still be owed, no more replicas stand than are
// paid for, and at the close payments and refund add up to what was placed.
func TestRandomLives(t *testing.T) {
	nodes := []string{"n0", "n1", "n2", "n3", "n4", "n5"}
	closed, rules := 0, map[Rule]int{}
	rapid.Check(t, func(t *rapid.T) {
		terms := Terms{
			DayBlocks:    rapid.Int64Range(1, 1000).Draw(t, "day"),
			MinBlocks:    rapid.Int64Range(1, 50).Draw(t, "min"),
			MaxBlocks:    rapid.Int64Range(50, 400).Draw(t, "max"),
			AcceptBlocks: rapid.Int64Range(1, 30).Draw(t, "accept"),
			GraceBlocks:  rapid.Int64Range(1, 30).Draw(t, "grace"),
			Collateral:   rapid.Uint64Range(0, maxCollateral).Draw(t, "collateral"),
			MendBlocks:   rapid.Int64Range(1, 20).Draw(t, "mend"),
			ClearBlocks:  rapid.Int64Range(1, 20).Draw(t, "clear"),
			FaultFactor:  rapid.Uint64Range(0, 5).Draw(t, "factor"),
			RepairBlocks: rapid.Int64Range(1, 40).Draw(t, "repair"),
			WarnBlocks:   rapid.Int64Range(1, 20).Draw(t, "warn"),
			SilentBlocks: rapid.Int64Range(21, 60).Draw(t, "silent"),
			AuditFaults:  rapid.Uint64Range(0, 9).Draw(t, "audit"),
			LapseFee:     rapid.Uint64Range(0, 100).Draw(t, "fee"),
		}
		if err := terms.Validate(); err != nil {
			t.Fatal(err)
		}
		l := newLife(terms, append([]string{"owner"}, nodes...), 1<<50)
		l.rules, l.now = rules, 1
		done := func(err error) {
			if err != nil && !refusal(err) {
				t.Fatal(err)
			}
		}
		_, err := l.place(Order{ID: 1, Owner: "owner", Root: []byte{1}, Size: rapid.Uint64Range(1, 1<<32).Draw(t, "size"),
			Replicas: rapid.Uint32Range(1, 3).Draw(t, "replicas"), Price: rapid.Uint64Range(1, 1<<20).Draw(t, "price")},
			rapid.Int64Range(terms.MinBlocks, terms.MaxBlocks).Draw(t, "blocks"))
		if err != nil {
			t.Fatal(err)
		}
		for range rapid.IntRange(20, 150).Draw(t, "steps") {
			l.now += rapid.Int64Range(0, 8).Draw(t, "pass")
			node := rapid.SampledFrom(nodes).Draw(t, "node")
			if len(l.held) > 0 && rapid.Bool().Draw(t, "known") {
				node = l.held[rapid.IntRange(0, len(l.held)-1).Draw(t, "place")].Node
			}
			// Whoever counts may err in the node's favour without limit: the rules must hold for any rising count.
			l.report(node, rapid.Uint64Range(0, 15).Draw(t, "count"), rapid.Uint64Range(0, 3).Draw(t, "failed"))
			step := rapid.SampledFrom([]string{"join", "join", "accept", "prove", "prove", "prove", "prove", "settle", "settle", "drop", "lapse",
				"forfeit", "silence", "leave", "leave", "replace", "audit", "disk", "heard", "renew", "end", "expire"}).Draw(t, "step")
			switch step {
			case "accept":
				_, err := l.accept(node, rapid.Uint64Range(1, l.order.Price).Draw(t, "ask"), MaxSize)
				done(err)
			case "join":
				_, err := l.accept(node, l.order.Price, MaxSize)
				done(err)
				_, err = l.step(node, "prove", string(l.order.Root), l.order.Size)
				done(err)
			case "renew":
				_, err := l.renew(rapid.Int64Range(1, 100).Draw(t, "more"))
				done(err)
			case "end":
				if rapid.IntRange(0, 9).Draw(t, "really") == 0 {
					_, err := l.close(terms.EndEarly)
					done(err)
				}
			case "expire":
				_, err := l.close(terms.Expire)
				done(err)
			case "audit":
				l.audit(node)
			case "disk":
				l.disk(node)
			case "heard":
				_, err := l.heard(node)
				done(err)
			case "silence":
				for range 2 {
					l.now += rapid.Int64Range(0, terms.SilentBlocks).Draw(t, "silence")
					l.watch(node)
				}
				_, err := l.step(node, step, "", 0)
				done(err)
			case "settle":
				i := l.at(node)
				if i < 0 || l.order.Closed {
					break
				}
				before := l.held[i]
				want, err := terms.Accrued(l.order, before, l.tally(node), l.now)
				if err != nil {
					t.Fatal(err)
				}
				s, err := l.step(node, step, "", 0)
				if err != nil {
					t.Fatal(err)
				}
				if s.Replica.Paid-before.Paid != want {
					t.Fatalf("accrued %d, settled %d", want, s.Replica.Paid-before.Paid)
				}
			default:
				_, err := l.step(node, step, string(l.order.Root), l.order.Size)
				done(err)
			}
			if err := l.check(); err != nil {
				t.Fatalf("height %d, after %s of %s: %s", l.now, step, node, err)
			}
		}
		if l.order.Closed {
			closed++
			return
		}
		l.now = max(l.now, terms.ExpireAt(l.order))
		if _, err := l.close(terms.Expire); err != nil {
			t.Fatal(err)
		}
		if err := l.check(); err != nil {
			t.Fatal(err)
		}
	})
	for _, rule := range []Rule{RulePlace, RuleRenew, RuleAccept, RuleProof, RuleMinimum, RuleLapse, RuleDropped, RuleLeft, RuleEnd, RuleOwner, RuleTerm,
		RuleUnproven, RuleAudit, RuleLost, RuleSilent} {
		if rules[rule] == 0 {
			t.Errorf("no life had a move by the rule %q", rule)
		}
	}
	if closed == 0 {
		t.Error("no life was closed on the way: they are too dull")
	}
}
