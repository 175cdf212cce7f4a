package main

import (
	"strings"
	"testing"
)

func play(t *testing.T, c config) *network {
	t.Helper()
	n, err := newNetwork(c)
	if err != nil {
		t.Fatal(err)
	}
	for hour := range c.hours {
		if err := n.hour(); err != nil {
			t.Fatalf("hour %d: %v", hour+1, err)
		}
	}
	return n
}

func TestSmallNetworkForADay(t *testing.T) {
	n := play(t, config{nodes: 120, orders: 200, replicas: 3, hours: 24, seed: 4})
	if err := n.justice(); err != nil {
		t.Error(err)
	}
	for _, name := range []string{"Penalty unproven", "Penalty lost", "Penalty silent", "ReplicaEnded left", "WarningLifted lost", "Closed term"} {
		if n.events[name] == 0 {
			t.Errorf("there was no %q in a day:\n%s", name, n.summary())
		}
	}
}

// A run is drawn from its seed alone.
func TestRunsRepeat(t *testing.T) {
	c := config{nodes: 40, orders: 60, replicas: 2, hours: 5, seed: 9}
	a, b := play(t, c), play(t, c)
	if a.summary() != b.summary() || a.world.size() != b.world.size() {
		t.Errorf("%s\n%s", a.summary(), b.summary())
	}
	c.seed++
	if other := play(t, c); other.summary() == a.summary() {
		t.Error("the seed changes nothing")
	}
}

// The checks see what they are for.
func TestBooksAndJusticeAreHeld(t *testing.T) {
	n := play(t, config{nodes: 20, orders: 20, replicas: 2, hours: 1, seed: 2})
	for _, v := range n.nodes {
		if v.kind == steady {
			v.fined = 1
			break
		}
	}
	if err := n.justice(); err == nil || !strings.Contains(err.Error(), "was fined") {
		t.Error(err)
	}
	n.world.minted = n.world.minted.AddRaw(1)
	if err := n.world.audit(); err == nil || !strings.Contains(err.Error(), "not conserved") {
		t.Error(err)
	}
}
