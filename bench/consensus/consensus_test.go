package main

import (
	"encoding/json"
	"strings"
	"testing"
	"time"
)

func TestCeremonyOfFour(t *testing.T) {
	rows, err := ceremonies([]int{4})
	if err != nil || len(rows) != 2 {
		t.Fatal(rows, err)
	}
	o, err := play(equal(4, 1), nil)
	if err != nil {
		t.Fatal(err)
	}
	if o.group == nil || o.member <= 0 || o.observer <= o.adding || o.bytes < 4000 {
		t.Errorf("%+v", o.expense)
	}
}

func TestCombineOfFour(t *testing.T) {
	rows, err := combine(4, 3)
	if err != nil || len(rows) != 2 {
		t.Fatal(rows, err)
	}
	if under("", 2*time.Millisecond, time.Millisecond).Met {
		t.Error("two is at most one")
	}
}

// Every proposal but the first two carries the number of the height before, or next fails.
func TestHeightsOfFour(t *testing.T) {
	rows, err := propose(4, 6)
	if err != nil || len(rows) != 4 {
		t.Fatal(rows, err)
	}
}

// Both applications take the same blocks, every send in them succeeds, and ours carry numbers.
func TestSendsOfBothSides(t *testing.T) {
	var gas [2]int64
	for i, side := range []string{"ours", "plain"} {
		s := sends{dir: t.TempDir(), blocks: 2, each: 5, validators: 4}
		var out strings.Builder
		if err := s.here(side, strings.NewReader("sends\nsends\nnothing\n"), &out); err != nil {
			t.Fatal(side, err)
		}
		d := json.NewDecoder(strings.NewReader(out.String()))
		for range 4 {
			var took taken
			if err := d.Decode(&took); err != nil {
				t.Fatal(side, err)
			}
			gas[i] += took.Gas
		}
	}
	if gas[0] == 0 || gas[0] != gas[1] {
		t.Errorf("gas of ours and plain: %d", gas)
	}
	if err := (sends{dir: t.TempDir(), validators: 1}).here("theirs", nil, nil); err == nil {
		t.Error("there is a third side")
	}
}

func TestParts(t *testing.T) {
	s := subject{took: []time.Duration{3, 1, 2, 10}}
	if s.median() != 3 || s.part(9, 10) != 10 || s.mean() != 4e-9 {
		t.Error(s.median(), s.part(9, 10), s.mean())
	}
	if m := middle([]taken{{CPU: 3}, {CPU: 1}, {CPU: 2}}); m.CPU != 2 {
		t.Error(m)
	}
}
