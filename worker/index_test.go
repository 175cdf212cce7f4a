package worker

import (
	"testing"

	"github.com/cella-network/cella/protocol/storageproof"
)

// TestFlippedIndex flips a sector's directory while the node is down. The enclave refuses the sector, the order is mended at once, and the
// next report finds it whole, for which there are spare sectors: the chain never hears of a loss.
func TestFlippedIndex(t *testing.T) {
	chain := newFakeChain(t)
	chain.slot = 400
	o, owner := newOperator(t, chain, 1, 12), newOwner(t, chain)
	f := owner.order(2_200_000, 1)
	o.start()
	o.mends(f.order)
	id, _ := o.sealedIn(f)
	o.stop()
	flip(t, o.dirFile(id), 40, 1)
	at := look(chain, func() storageproof.Standing { return *chain.standing(o.account) })
	o.start()
	chain.eventually("the sector is lost", func() bool { return o.log.says("sector lost") })
	o.stands("the next report", func(st storageproof.Standing) bool { return st.Counter > at.Counter })
	if n := look(chain, func() int { return chain.losses }); n != 0 {
		t.Errorf("the chain heard of %d losses, want none", n)
	}
	o.serves(f)
}
