package beacon

import (
	"fmt"
	"slices"
	"strings"
	"sync"

	api "github.com/cella-network/cella/api/beacon"
	"github.com/cella-network/cella/protocol/threshold"
)

const (
	pooledHeights = 16 // heights whose partial signatures a node remembers
	newestPooled  = 8  // of them the newest; the rest are the oldest, which votes bring again and again
	cachedQuorums = 8
	heldEvidence  = 64
)

// node is what one node remembers of votes. It is lost with the process and never enters the state.
type node struct {
	mu       sync.Mutex
	signer   Signer
	self     [20]byte
	pool     map[int64]map[source][]byte
	quorums  map[string]*threshold.Quorum
	evidence []*api.MsgBadShare
	trouble  string // why the last votes carry no partial signature, without its figures; empty if they do
}

// source is whose a partial signature is: a seat of the group that has this epoch of its own.
type source struct {
	epoch uint64
	seat  int
}

// SetSigner sets whom this node's votes ask for partial signatures; nil for nobody.
func (k *Keeper) SetSigner(s Signer) {
	k.node.mu.Lock()
	defer k.node.mu.Unlock()
	k.node.signer = s
}

// SetSelf sets this node's consensus address. With it the node checks its own partial signatures before it votes with them: whatever made
// them wrong, the vote would be evidence.
func (k *Keeper) SetSelf(consensus [20]byte) {
	k.node.mu.Lock()
	defer k.node.mu.Unlock()
	k.node.self = consensus
}

func (n *node) asks() (Signer, [20]byte) {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.signer, n.self
}

// troubled notes how a vote went out and says whether that is news: another reason than the last vote's for carrying nothing, or none any more.
// Reasons name heights, which change with each block.
func (n *node) troubled(err error, carries bool) bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	last := n.trouble
	switch {
	case err != nil:
		n.trouble = strings.Map(func(r rune) rune {
			if r >= '0' && r <= '9' {
				return -1
			}
			return r
		}, err.Error())
	case carries:
		n.trouble = ""
	}
	return n.trouble != last
}

// put remembers a partial signature. When a seat sends another for the same height, the newer one counts.
func (n *node) put(height int64, from source, points []byte) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.pool == nil {
		n.pool = map[int64]map[source][]byte{}
	}
	if n.pool[height] == nil {
		n.pool[height] = map[source][]byte{}
	}
	n.pool[height][from] = slices.Clone(points)
	if len(n.pool) > pooledHeights {
		delete(n.pool, n.heights()[pooledHeights-newestPooled])
	}
}

func (n *node) heights() (out []int64) {
	for h := range n.pool {
		out = append(out, h)
	}
	slices.Sort(out)
	return out
}

// pooled are the heights of which something is remembered, in ascending order.
func (n *node) pooled() []int64 {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.heights()
}

// of returns what is remembered of a height from the seats of one group.
func (n *node) of(height int64, epoch uint64) map[int][]byte {
	n.mu.Lock()
	defer n.mu.Unlock()
	out := map[int][]byte{}
	for from, points := range n.pool[height] {
		if from.epoch == epoch {
			out[from.seat] = points
		}
	}
	return out
}

// drop forgets a partial signature that is wrong.
func (n *node) drop(height int64, from source) {
	n.mu.Lock()
	defer n.mu.Unlock()
	delete(n.pool[height], from)
}

// forget drops partial signatures of heights whose number came or can't come any more, and evidence that is too old.
func (n *node) forget(s *standing) {
	for _, h := range n.pooled() {
		if _, _, wanted, err := s.wanted(h); err == nil && !wanted && h < s.Head {
			n.mu.Lock()
			delete(n.pool, h)
			n.mu.Unlock()
		}
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	n.evidence = slices.DeleteFunc(n.evidence, func(m *api.MsgBadShare) bool { return m.Height < s.Head-provable })
}

// quorum is a group's quorum of some seats, as many as it takes; it is kept since the same seats sign most heights.
func (n *node) quorum(c *threshold.InCharge, seats []int) (*threshold.Quorum, error) {
	for i, shares := 0, 0; i < len(seats) && shares < c.Keys.Threshold; i++ {
		if shares += c.Keys.Seats[seats[i]].Shares; shares >= c.Keys.Threshold {
			seats = seats[:i+1]
		}
	}
	name := fmt.Sprint(c.Epoch, seats)
	n.mu.Lock()
	defer n.mu.Unlock()
	if q := n.quorums[name]; q != nil {
		return q, nil
	}
	q, err := c.Keys.Quorum(seats)
	if err != nil {
		return nil, err
	}
	if n.quorums == nil || len(n.quorums) >= cachedQuorums {
		n.quorums = map[string]*threshold.Quorum{}
	}
	n.quorums[name] = q
	return q, nil
}

// accuse remembers the proof of a bad share.
func (n *node) accuse(m *api.MsgBadShare) {
	n.mu.Lock()
	defer n.mu.Unlock()
	known := slices.ContainsFunc(n.evidence, func(o *api.MsgBadShare) bool {
		return o.Height == m.Height && string(o.Validator) == string(m.Validator)
	})
	if !known && len(n.evidence) < heldEvidence {
		n.evidence = append(n.evidence, m)
	}
}

// Evidence lists proofs of bad shares that this node came by as a proposer, for its operator to sign and post. Each is listed until it is too old to
// count.
func (k *Keeper) Evidence() []*api.MsgBadShare {
	k.node.mu.Lock()
	defer k.node.mu.Unlock()
	var out []*api.MsgBadShare
	for _, m := range k.node.evidence {
		c := *m
		out = append(out, &c)
	}
	return out
}
