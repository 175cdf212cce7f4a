package worker

import (
	"testing"

	"github.com/cella-network/cella/protocol/storageproof"
)

// TestSeedsStop keeps back the seeds of more blocks than a report may be old, or an answer late: the node waits, through a restart as well,
// and proves all heights when they come at once.
func TestSeedsStop(t *testing.T) {
	for name, restart := range map[string]bool{"running": false, "restarted": true} {
		t.Run(name, func(t *testing.T) {
			c := newFakeChain(t)
			c.late = 30
			o := newOperator(t, c, 1, 4)
			o.start()
			o.stands("filled", func(st storageproof.Standing) bool { return st.Free > 0 && st.Proven > 4 })
			c.mu.Lock()
			c.mute = true
			from := int64(len(c.headers))
			c.mu.Unlock()
			c.eventually("blocks without seeds pass", func() bool { return int64(len(c.headers)) > from+40 })
			if restart {
				o.stop()
				o.start()
			}
			c.eventually("more of them pass", func() bool { return int64(len(c.headers)) > from+80 })
			c.mu.Lock()
			if tip := c.tips[len(c.tips)-1].Height; c.standing(o.account).Height > tip {
				t.Errorf("a report of height %d, with seeds up to %d", c.standing(o.account).Height, tip)
			}
			c.mute = false
			at := *c.standing(o.account)
			c.mu.Unlock()
			o.stands("reports go on", func(st storageproof.Standing) bool { return st.Counter > at.Counter+2 && st.Height > from+80 })
			if st := look(c, func() storageproof.Standing { return *c.standing(o.account) }); st.Unproven() != 0 || st.Proven < at.Proven+80 {
				t.Errorf("proven %d, failed %d, late %d; before it %d were proven", st.Proven, st.Failed, st.Late, at.Proven)
			}
		})
	}
}
