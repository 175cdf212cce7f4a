package main

import "testing"

func TestReportsOfFewNodes(t *testing.T) {
	costs, err := measure([]int{1, 3}, 2)
	if err != nil {
		t.Fatal(err)
	}
	if len(costs) != 4 {
		t.Fatalf("%d costs", len(costs))
	}
	one, three, again := costs[0], costs[1], costs[3]
	if one.gas == 0 || three.gas <= one.gas || three.bytes <= one.bytes || again.bytes >= three.bytes || !one.first || again.first || again.orders != 3 {
		t.Errorf("%+v", costs)
	}
	if n, limit := one.carries(); n < 1000 || limit == "" {
		t.Errorf("one chain carries %d nodes by %q", n, limit)
	}
	if len(figures(costs)) != 4 {
		t.Error("a row is missing")
	}
}
