package worker

import (
	"context"
	"fmt"
	"sync"

	api "github.com/cella-network/cella/api/beacon"
	"github.com/cella-network/cella/enclave/wire"
	"github.com/cella-network/cella/protocol/beacon"
	"github.com/cella-network/cella/protocol/lottery"
)

// seeds are those that the enclave was taught, as far as draws still need them.
type seeds struct {
	mu     sync.Mutex
	known  map[int64]lottery.Seed
	tip    int64 // up to here they are known, 0: none is
	oldest int64
	moved  beat
}

// add keeps the seeds that the enclave took, from a height on.
func (s *seeds) add(from int64, list [][32]byte, reply wire.SeedsReply) {
	s.mu.Lock()
	if s.known == nil {
		s.known = map[int64]lottery.Seed{}
	}
	for i, seed := range list {
		s.known[from+int64(i)] = seed
	}
	s.oldest, s.tip = reply.Oldest, reply.Tip
	s.mu.Unlock()
	s.moved.pulse()
}

// latest is the last height whose seed the enclave knows, and lowest the first.
func (s *seeds) latest() int64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.tip
}

func (s *seeds) lowest() int64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.oldest
}

func (s *seeds) of(height int64) (lottery.Seed, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	seed, ok := s.known[height]
	return seed, ok
}

// forget drops the seeds below a height.
func (s *seeds) forget(below int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for at := range s.known {
		if at < below {
			delete(s.known, at)
		}
	}
}

// learn teaches the enclave the seeds of each new block until ctx ends. Those of a block come with the next one, or later; what goes
// wrong costs time alone.
func (s *session) learn(ctx context.Context) error {
	for failures := 0; ; {
		next := s.heads.latest() + 1
		if err := s.teach(ctx); err == nil {
			failures = 0
		} else if failures++; failures == patience && ctx.Err() == nil {
			s.Log.Warn("cannot bring the enclave the seeds of new blocks; draws wait", told(err)...)
		}
		if _, err := s.heads.wait(ctx, next); err != nil {
			return nil
		}
	}
}

// teach brings the enclave's seeds up to the newest tip that can be proven to it.
func (s *session) teach(ctx context.Context) error {
	p, err := s.prove(ctx, beacon.StoreName, beacon.TipKey(), s.heads.latest()-1)
	if err != nil {
		return err
	}
	tip, err := beacon.UnmarshalTip(p.Value)
	if err != nil {
		return fmt.Errorf("the tip of the chain of seeds: %w", err)
	}
	known, oldest := s.seeds.latest(), s.seeds.lowest()
	if tip.Height <= known {
		return nil
	}
	from := known + 1
	if known == 0 {
		from = tip.Height
	} else if tip.Height-from >= wire.MaxSeeds {
		from = tip.Height - wire.MaxSeeds + 1 // the enclave begins anew behind a gap, which is closed from above
	}
	if err := s.bring(ctx, from, tip.Height, p); err != nil {
		return err
	}
	if known != 0 && from > known+1 {
		return s.recallSeeds(ctx, oldest)
	}
	return nil
}

// recallSeeds teaches older seeds down to a height, for the draws that are still owed. Those for which the enclave has no room, or which our
// node keeps no more, stay unknown: what they decide can't be answered.
func (s *session) recallSeeds(ctx context.Context, down int64) error {
	for most := int64(wire.MaxSeeds); ; {
		oldest := s.seeds.lowest()
		if oldest <= down {
			return nil
		}
		err := s.bring(ctx, max(down, oldest-most), oldest-1, wire.Proof{})
		if err == nil {
			continue
		}
		if _, alive := s.Queries.Beacon.Seeds(ctx, &api.QuerySeedsRequest{From: s.seeds.latest(), Limit: 1}); alive != nil {
			return err
		}
		if most = most / 2; most == 0 { // those that are there were taken
			s.Log.Error("older seeds can't be had; draws of the heights below fail", "height", oldest, "err", err)
			return nil
		}
	}
}

// bring fetches the seeds of some heights and has the enclave take them.
func (s *session) bring(ctx context.Context, from, to int64, tip wire.Proof) error {
	r, err := s.Queries.Beacon.Seeds(ctx, &api.QuerySeedsRequest{From: from, Limit: uint32(to - from + 1)})
	if err != nil {
		return err
	}
	m := &wire.Seeds{From: from, Tip: tip}
	for _, seed := range r.Seeds[:min(int64(len(r.Seeds)), to-from+1)] {
		if len(seed) != len(m.Before) {
			return fmt.Errorf("our node gives a seed of %d bytes", len(seed))
		}
		m.Seeds = append(m.Seeds, [32]byte(seed))
	}
	if copy(m.Before[:], r.Before) != len(m.Before) && from > 1 || int64(len(m.Seeds)) != to-from+1 {
		return fmt.Errorf("our node gives %d seeds from height %d, not %d", len(m.Seeds), from, to-from+1)
	}
	var reply wire.SeedsReply
	if err := s.call(m, &reply); err != nil {
		return err
	}
	s.seeds.add(from, m.Seeds, reply)
	return nil
}
