package main

import (
	"os"
	"strings"
	"testing"

	"github.com/cella-network/cella/protocol/stake"
)

// small is a network that lives through months in a moment.
var small = setup{rules: func() stake.Rules { r := gpos; r.Seats = 12; return r }(), nodes: 120, seed: 7}

// All scenarios run, coins are conserved in each era of them, no balance falls below nothing, and the same seed gives the same tables.
func TestTables(t *testing.T) {
	first, err := tables(small, 80)
	if err != nil {
		t.Fatal(err)
	}
	if again, err := tables(small, 80); err != nil || again != first {
		t.Errorf("the second run says (%v):\n%s\nthe first:\n%s", err, again, first)
	}
	other := small
	other.seed++
	if text, err := tables(other, 80); err != nil || text == first {
		t.Errorf("another seed changes nothing (%v)", err)
	}
}

// Neither stake without storage nor storage without stake has any power worth the name, where plain proof of stake gives stake alone half.
func TestPowerNeedsBoth(t *testing.T) {
	alone := attempts[0]
	alone.nodes = small.rules.Seats
	bare := attempts[2]
	bare.nodes = small.rules.Seats
	for _, a := range []attempt{alone, bare} {
		got, err := try(small, a, 60)
		if err != nil {
			t.Fatal(err)
		}
		if got.power > 500 {
			t.Errorf("%s: %s of the power", a.name, percent(got.power))
		}
	}
	free := small
	free.plain = true
	if got, err := try(free, alone, 60); err != nil || got.power < 4000 {
		t.Errorf("plain proof of stake gives %s of the power for half of the coins (%v)", percent(got.power), err)
	}
}

// A lost third of storage never moves a third of the power in an era.
func TestALossMovesPowerSlowly(t *testing.T) {
	got, err := lose(small, 120)
	if err != nil {
		t.Fatal(err)
	}
	if got.mostMove >= stake.Whole/3 || got.lowest >= got.before || got.after <= got.lowest {
		t.Errorf("%+v", got)
	}
}

// The checks see a coin that is made, lost or owed.
func TestChecksSee(t *testing.T) {
	for name, harm := range map[string]func(*world){
		"made":   func(w *world) { w.purse[0]++ },
		"lost":   func(w *world) { w.pool-- },
		"owed":   func(w *world) { w.purse[0], w.purse[1] = 1<<64-1, w.purse[1]+w.purse[0]+1 },
		"unheld": func(w *world) { w.nodes[3].Guaranteed++ },
		"unlocked": func(w *world) {
			i := w.index[w.set[0].Node]
			w.users += w.nodes[i].Own + w.nodes[i].Guaranteed
			w.nodes[i].Own, w.nodes[i].Guaranteed, w.held[i] = 0, 0, nil
		},
	} {
		w := newWorld(small)
		for range 5 {
			if err := w.pass(); err != nil {
				t.Fatal(err)
			}
		}
		if harm(w); w.check() == nil {
			t.Errorf("%s: unseen", name)
		}
	}
}

// The page is of this program's figures.
func TestPageIsCurrent(t *testing.T) {
	page, err := os.ReadFile("../../docs/economy.md")
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(string(page), begin+"\n"+setup{rules: gpos, nodes: 10_000, seed: 1}.figures(2*eraYear)) {
		t.Error("docs/economy.md has other figures: run go run ./bench/economy -write docs/economy.md")
	}
}
