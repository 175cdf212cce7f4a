package worker

import (
	"bytes"
	"testing"
	"time"

	"github.com/cella-network/cella/protocol/storageproof"
)

// TestChainHalts stops the chain for a minute, its node with it, in the middle of sealing: the enclave lives on, no height fails, and the
// order is proven once blocks come again.
func TestChainHalts(t *testing.T) {
	c := newFakeChain(t)
	o, owner := newOperator(t, c, 1, 6), newOwner(t, c)
	o.start()
	o.stands("the first reports", func(st storageproof.Standing) bool { return st.Counter > 1 })
	f := owner.order(2_000_000, 1)
	c.eventually("the order is accepted", func() bool { return len(c.replicas[f.order]) > 0 })
	c.mu.Lock()
	key := c.nodes[o.account].SignKey
	c.halted, c.stood = true, time.Minute
	c.mu.Unlock()
	c.eventually("the operator is told", func() bool { return o.log.says("cannot follow the chain; trying again") })
	c.mu.Lock()
	c.halted = false
	at := c.standing(o.account).Counter
	c.mu.Unlock()
	o.proves(f.order)
	o.stands("reports go on", func(st storageproof.Standing) bool { return st.Counter > at+2 && st.Failed == 0 })
	o.serves(f)
	if !bytes.Equal(look(c, func() []byte { return c.nodes[o.account].SignKey }), key) {
		t.Error("the enclave was restarted")
	}
}
