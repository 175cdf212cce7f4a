package beacon

import (
	"errors"
	"testing"

	"github.com/cella-network/cella/protocol/lottery"
	"github.com/cella-network/cella/protocol/threshold"
)

// A number that comes after thousands of others moves the tip in bounded steps, and to the same place.
func TestStepsAreBounded(t *testing.T) {
	n, m := Numbers{ChainID: testChain}, memory{}
	sign := &Signing{Epoch: 1, Key: [96]byte{1}}
	step := func(carries ...int64) {
		t.Helper()
		h := n.Head + 1
		if err := n.Begin(h, hashOf(h), sign); err != nil {
			t.Fatal(err)
		}
		for _, c := range carries {
			if err := n.Arrive(m, c, numberOf(c)); err != nil {
				t.Fatal(err)
			}
		}
		if err := n.End(m, hashOf(h)); err != nil {
			t.Fatal(err)
		}
	}
	step()
	step()
	for n.Head < 2*maxSteps+10 {
		step(n.Head)
	}
	if n.Tip.Height != 0 {
		t.Fatalf("the tip is %d while height 1 is missing", n.Tip.Height)
	}
	step(1, n.Head)
	if n.Tip.Height != maxSteps {
		t.Errorf("tip %d after one block, want %d", n.Tip.Height, maxSteps)
	}
	step(n.Head)
	step(n.Head)
	if n.Tip.Height != n.Head-1 {
		t.Errorf("tip %d of %d", n.Tip.Height, n.Head)
	}
	want := Tip{}
	for h := int64(1); h < n.Head; h++ {
		want = want.Append(lottery.Seed(numberOf(h)))
	}
	if n.Tip != want {
		t.Error("the tip does not chain the numbers")
	}
}

// Void heights are walked in bounded steps as well, and nobody waits for those that are not reached yet.
func TestVoidIsBounded(t *testing.T) {
	n, m := Numbers{ChainID: testChain}, memory{}
	sign := &Signing{Epoch: 1, Key: [96]byte{1}}
	step := func() {
		h := n.Head + 1
		if err := errors.Join(n.Begin(h, hashOf(h), sign), n.End(m, hashOf(h))); err != nil {
			t.Fatal(err)
		}
	}
	for n.Head < 3*maxSteps {
		step()
	}
	sign = &Signing{Epoch: 2, Key: [96]byte{2}}
	step()
	voider := n.Head
	if n.Tip.Height != maxSteps {
		t.Errorf("tip %d, want %d", n.Tip.Height, maxSteps)
	}
	if err := n.Arrive(m, 2*maxSteps, numberOf(1)); !errors.Is(err, ErrRefused) {
		t.Error("a void height takes a number:", err)
	}
	step()
	step()
	if n.Tip.Height != voider-1 {
		t.Errorf("tip %d, want %d", n.Tip.Height, voider-1)
	}
	if h := int64(2*maxSteps + 5); m[h].Seed != lottery.BlockSeed(testChain, h, hashOf(voider)) {
		t.Error("a void height has another seed than by the block that voided it")
	}
}

func TestBlocksFollowEachOther(t *testing.T) {
	n, m := Numbers{ChainID: testChain}, memory{}
	if err := errors.Join(n.Begin(100, hashOf(100), nil), n.End(m, hashOf(100))); err != nil || n.Tip.Height != 100 {
		t.Fatal("a chain can't begin at height 100:", err, n.Tip.Height)
	}
	for _, h := range []int64{100, 102, 1} {
		if err := n.Begin(h, hashOf(h), nil); !errors.Is(err, ErrRefused) {
			t.Errorf("block %d after block 100: %v", h, err)
		}
	}
}

func TestSigningAt(t *testing.T) {
	at := func(from int64) *threshold.InCharge { return &threshold.InCharge{Charge: threshold.Charge{From: from}} }
	now, before := at(10), at(5)
	for height, want := range map[int64]*threshold.InCharge{4: nil, 5: before, 9: before, 10: now, 11: now} {
		if got := SigningAt(height, now, before); got != want {
			t.Errorf("height %d: %+v", height, got)
		}
	}
	if SigningAt(9, now, nil) != nil || SigningAt(9, nil, nil) != nil {
		t.Error("somebody signs before the first charge")
	}
}

// Seats count once, and only if they are ready.
func TestCanMake(t *testing.T) {
	g := newTeam(t, 1, 7, "ann", "ben", "cat", "dan").group
	for _, c := range []struct {
		seats []int
		want  bool
	}{{nil, false}, {[]int{0, 1}, false}, {[]int{0, 1, 1, 1}, false}, {[]int{0, 1, -1, 4}, false}, {[]int{0, 1, 3}, true}, {[]int{3, 2, 1, 0}, true}} {
		if got := CanMake(g, c.seats); got != c.want {
			t.Errorf("%v: %v", c.seats, got)
		}
	}
}

// A team's signature is the number's: what the transcripts leave out.
func TestNumberOfASignature(t *testing.T) {
	a, b := newTeam(t, 1, 7, "ann", "ben", "cat", "dan"), newTeam(t, 2, 7, "eve", "fay", "gil", "hal", "ida")
	message := threshold.Message{ChainID: testChain, Epoch: 1, Height: 5}.Marshal()
	if a.sign(t, message) != b.sign(t, message) {
		t.Error("a handover changes what is signed for a height that was missing")
	}
}
