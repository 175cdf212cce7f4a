package enclave

import (
	"github.com/cella-network/cella/enclave/vault"
	"github.com/cella-network/cella/enclave/wire"
	"github.com/cella-network/cella/protocol/beacon"
	"github.com/cella-network/cella/protocol/lottery"
)

// keepSeeds is how many seeds are remembered: 3 MB.
const keepSeeds = keepHeaders

// seeds are the seeds that the enclave knows to be the chain's. Until the first proof of a tip there are none.
type seeds struct {
	before beacon.Tip     // the chain of seeds up to the height below the oldest
	list   []lottery.Seed // of the heights from there on
	tip    beacon.Tip     // the chain of seeds up to the last of them, as it was proven
}

// of is the seed of a height, if it is known.
func (s *seeds) of(height int64) (lottery.Seed, bool) {
	if height <= s.before.Height || height > s.tip.Height {
		return lottery.Seed{}, false
	}
	return s.list[height-s.before.Height-1], true
}

// link appends seeds to what stands before them.
func link(t beacon.Tip, list [][32]byte) beacon.Tip {
	for _, s := range list {
		t = t.Append(s)
	}
	return t
}

// extend takes the seeds from before up to a proven tip. A host that shows an old tip keeps its own draws back, and no more.
func (s *seeds) extend(before beacon.Tip, list [][32]byte, tip beacon.Tip) error {
	switch {
	case tip.Height < s.tip.Height:
		return refuse(wire.CodeInvalid, "the seeds up to height %d are known, the tip is at %d", s.tip.Height, tip.Height)
	case link(before, list) != tip:
		return refuse(wire.CodeInvalid, "these seeds do not lead to the tip at height %d", tip.Height)
	}
	if before != s.tip { // the first ones, or behind a gap
		s.before, s.list = before, nil
	}
	for _, seed := range list {
		s.list = append(s.list, seed)
	}
	s.tip = tip
	if over := len(s.list) - keepSeeds; over > 0 {
		for _, seed := range s.list[:over] {
			s.before = s.before.Append(seed)
		}
		s.list = s.list[over:]
	}
	return nil
}

// prepend takes older seeds, which end where the oldest known ones begin.
func (s *seeds) prepend(before beacon.Tip, list [][32]byte) error {
	switch {
	case s.tip == beacon.Tip{}:
		return refuse(wire.CodeState, "no tip of the chain of seeds is known")
	case len(list) > keepSeeds-len(s.list):
		return refuse(wire.CodeInvalid, "more seeds than the %d that are kept", keepSeeds)
	case link(before, list) != s.before:
		return refuse(wire.CodeInvalid, "these seeds do not lead to that of height %d", s.before.Height)
	}
	all := make([]lottery.Seed, 0, len(list)+len(s.list))
	for _, seed := range list {
		all = append(all, seed)
	}
	s.before, s.list = before, append(all, s.list...)
	return nil
}

// learn takes seeds from the host.
func (n *node) learn(m *wire.Seeds) (wire.SeedsReply, error) {
	if m.From < 1 {
		return wire.SeedsReply{}, refuse(wire.CodeInvalid, "seeds from height %d", m.From)
	}
	before := beacon.Tip{Height: m.From - 1, Hash: m.Before}
	if m.Tip.Height == 0 {
		if err := n.seeds.prepend(before, m.Seeds); err != nil {
			return wire.SeedsReply{}, err
		}
		return wire.SeedsReply{Oldest: n.seeds.before.Height + 1, Tip: n.seeds.tip.Height}, nil
	}
	if err := n.recent(m.Tip); err != nil {
		return wire.SeedsReply{}, err
	}
	if err := n.proven(beacon.StoreName, beacon.TipKey(), m.Tip); err != nil {
		return wire.SeedsReply{}, err
	}
	tip, err := beacon.UnmarshalTip(m.Tip.Value)
	if err != nil {
		return wire.SeedsReply{}, refuse(wire.CodeInvalid, "the chain has no seeds at height %d: %v", m.Tip.Height, err)
	}
	if err := n.seeds.extend(before, m.Seeds, tip); err != nil {
		return wire.SeedsReply{}, err
	}
	return wire.SeedsReply{Oldest: n.seeds.before.Height + 1, Tip: n.seeds.tip.Height}, nil
}

// draw answers a height by the seed that decides it. A node that was down for longer than seeds can be taught admits that it can't
// answer those heights, and goes on. One whose seed is not out yet must wait: it is no height that could be admitted.
func (n *node) draw(v *vault.Vault, m *wire.Draw) (wire.DrawReply, error) {
	at := v.SeedHeight(m.Height)
	seed, ok := n.seeds.of(at)
	if !ok && (!m.Absent || at > n.seeds.tip.Height) {
		return wire.DrawReply{}, refuse(wire.CodeState, "the seed of height %d is not known", at)
	}
	return v.Draw(seed, *m)
}
