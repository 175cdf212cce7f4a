package main

import (
	"bytes"
	"strings"
	"testing"

	"github.com/cella-network/cella/client"
)

// TestStakeSaysWhatToDo holds the words for each place and for what limits an operator.
func TestStakeSaysWhatToDo(t *testing.T) {
	const cella, gib = 1_000_000, 1 << 30
	for name, c := range map[string]struct {
		stake client.Stake
		says  []string
	}{
		"above the limit": {client.Stake{Own: 100 * cella, Guaranteed: 50 * cella, Limit: 60 * cella, Effective: 60 * cella, Full: 300 * gib, PerGiB: cella / 2, Place: "validator",
			Power: 60}, []string{"all would count with 300 GiB proven all era long; each GiB more lets 0.5 CELLA count", "validator with a power of 60"}},
		"room": {client.Stake{Own: 100 * cella, Limit: 160 * cella, Room: 60 * cella, Place: "candidate", Rank: 7, Seats: 4},
			[]string{"room for 60 CELLA to be bonded", "candidate at rank 7 for 4 seats"}},
		"full":    {client.Stake{Own: cella, Limit: cella, Place: "elected", Rank: 2}, []string{"no room for more stake", "elected at rank 2"}},
		"late":    {client.Stake{Late: 3, Grace: 2, Place: "jailed"}, []string{"3 eras, 2 are free", "jailed"}},
		"storage": {client.Stake{Limit: cella, Room: cella, MinOwn: 10 * cella, Place: "none"}, []string{"at least 10 CELLA of its own"}},
	} {
		var out bytes.Buffer
		if err := writeStake(&out, c.stake); err != nil {
			t.Fatal(err)
		}
		for _, want := range c.says {
			if !strings.Contains(out.String(), want) {
				t.Errorf("%s: %q is not in\n%s", name, want, &out)
			}
		}
	}
}
