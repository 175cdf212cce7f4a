package worker

import (
	"bytes"
	"testing"

	"github.com/cella-network/cella/protocol/storageproof"
)

// The newest block comes with a commit that the enclave refuses, for a while. The session outlives that: with the enclave would go all shares of keys that
// it holds.
func TestRefusedBlock(t *testing.T) {
	c := newFakeChain(t)
	o := newOperator(t, c, 1, 4)
	o.start()
	o.stands("the first reports", func(st storageproof.Standing) bool { return st.Counter > 1 })
	c.mu.Lock()
	key, from := c.nodes[o.account].SignKey, len(c.headers)
	c.unsigned = true
	c.mu.Unlock()
	c.eventually("two blocks", func() bool { return len(c.headers) > from+2 })
	c.mu.Lock()
	c.unsigned = false
	at := c.standing(o.account).Counter
	c.mu.Unlock()
	o.stands("reports go on", func(st storageproof.Standing) bool { return st.Counter > at+2 })
	if !bytes.Equal(look(c, func() []byte { return c.nodes[o.account].SignKey }), key) {
		t.Error("the enclave was restarted")
	}
}
