package beacon

import (
	"errors"
	"fmt"

	"github.com/cella-network/cella/protocol/lottery"
	"github.com/cella-network/cella/protocol/threshold"
)

// maxSteps is how many heights the tip moves in one block at the most: many wait behind one number that is late.
const maxSteps = 1000

const maxHeight = 1 << 62

// ErrRefused is the kind of numbers that nobody waits for.
var ErrRefused = errors.New("refused")

// Height is what is known of a height above the tip.
type Height struct {
	Missing bool
	Epoch   uint64       // what is signed for a missing one names it
	Seed    lottery.Seed // of one that is not missing
}

// Heights is where heights above the tip lie: the chain's store, or a map. When the tip reaches a height it is set once more, with its seed.
type Heights interface {
	Get(height int64) (Height, error)
	Set(height int64, h Height) error
}

// Signing is who signs at a height.
type Signing struct {
	Epoch uint64
	Key   [96]byte // of the group
}

// SigningAt is the charge in force at a height, nil if there is none: of the two that matter, the newest that has begun.
func SigningAt(height int64, now, before *threshold.InCharge) *threshold.InCharge {
	for _, c := range []*threshold.InCharge{now, before} {
		if c != nil && c.From <= height {
			return c
		}
	}
	return nil
}

// Numbers is where the numbers of a chain stand. The zero value with a chain's id is one without blocks.
type Numbers struct {
	ChainID string
	Head    int64 // the last height that was begun
	Tip     Tip
	Signing Signing // at Head; zero before the first group
	Void    Void
}

// Void says which missing heights will never have a number.
type Void struct {
	Below int64    // those below
	Hash  [32]byte // of the block that says so
}

// Begin begins a block. Signing is who signs at its height, nil if nobody does. If the key is another than before, what is missing is
// void from here on.
func (n *Numbers) Begin(height int64, hash [32]byte, signing *Signing) error {
	if n.Head == 0 && height > 0 {
		n.Head, n.Tip.Height = height-1, height-1 // a chain's first height need not be 1
	}
	if height != n.Head+1 {
		return fmt.Errorf("%w: block %d after block %d", ErrRefused, height, n.Head)
	}
	n.Head = height
	if signing == nil {
		return nil // who signed last may come back, or never did
	}
	if n.waits() && n.Signing.Key != signing.Key {
		n.Void = Void{Below: height, Hash: hash}
	}
	n.Signing = *signing
	return nil
}

// waits says whether there was a group: from then on heights wait for numbers.
func (n *Numbers) waits() bool { return n.Signing != Signing{} }

// Wanted says whether a height's number may come, and what is signed for it.
func (n *Numbers) Wanted(heights Heights, height int64) (threshold.Message, bool, error) {
	if height <= n.Tip.Height || height > n.Head || height < n.Void.Below {
		return threshold.Message{}, false, nil
	}
	h, err := heights.Get(height)
	return threshold.Message{ChainID: n.ChainID, Epoch: h.Epoch, Height: height}, h.Missing, err
}

// Arrive takes a number whose signature was checked.
func (n *Numbers) Arrive(heights Heights, height int64, number [32]byte) error {
	_, wanted, err := n.Wanted(heights, height)
	if err != nil {
		return err
	}
	if !wanted {
		return fmt.Errorf("%w: nobody waits for the number of height %d", ErrRefused, height)
	}
	return heights.Set(height, Height{Seed: lottery.Seed(number)})
}

// End ends a block of the given hash: its own height is missing, or has its seed from this block if no group ever was in charge. Then the tip
// takes what follows it.
func (n *Numbers) End(heights Heights, hash [32]byte) error {
	own := Height{Missing: true, Epoch: n.Signing.Epoch}
	if !n.waits() {
		own = Height{Seed: lottery.BlockSeed(n.ChainID, n.Head, hash)}
	}
	if err := heights.Set(n.Head, own); err != nil {
		return err
	}
	for range maxSteps {
		next := n.Tip.Height + 1
		if next > n.Head {
			return nil
		}
		h, err := heights.Get(next)
		if err != nil {
			return err
		}
		if h.Missing && next >= n.Void.Below {
			return nil
		}
		if h.Missing {
			h = Height{Seed: lottery.BlockSeed(n.ChainID, next, n.Void.Hash)}
		}
		n.Tip = n.Tip.Append(h.Seed)
		if err := heights.Set(next, h); err != nil {
			return err
		}
	}
	return nil
}

// CanMake says whether seats have enough shares between them to make the group's signature. Those that are not ready have none. If those who
// voted for a height can make its number, the next block has to carry it.
func CanMake(g *threshold.Group, seats []int) bool {
	sum := 0
	known := map[int]bool{}
	for _, s := range seats {
		if g.Ready(s) && !known[s] {
			known[s] = true
			sum += g.Seats[s].Shares
		}
	}
	return sum >= g.Threshold
}
