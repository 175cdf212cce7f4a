package worker

import (
	"context"
	"errors"
	"fmt"

	"github.com/cella-network/cella/enclave/wire"
	"github.com/cella-network/cella/protocol/storageproof"
)

// compact frees data sectors of which less than half is needed: live blocks are sealed again elsewhere, then the sector is
// released. Files go when the chain has accepted the report that leaves them out.
func (s *session) compact(ctx context.Context) error {
	for ctx.Err() == nil {
		loosened := s.loosened.next()
		s.retireLanes()
		for _, id := range s.space.resting() {
			if err := s.compactSector(ctx, id); err != nil && ctx.Err() == nil {
				s.Log.Warn("sector not compacted", "sector", id, "err", err)
			}
		}
		select {
		case <-loosened:
		case <-ctx.Done():
		}
	}
	return nil
}

// retireLanes closes the open sectors in which nothing that was sealed is needed any more.
func (s *session) retireLanes() {
	var kept []*lane
	for range sealLanes {
		select {
		case l := <-s.lanes.open:
			s.lanes.busy.Add(1)
			kept = append(kept, l)
		default:
		}
	}
	for _, l := range kept {
		live, _ := s.live(l.sector)
		if len(live) == 0 && len(s.disk.Blocks(l.sector)) > 0 {
			if err := s.closeLane(l); err != nil {
				s.Log.Error("sector not closed", "sector", l.sector, "err", err)
			}
		}
		s.lanes.put(l)
	}
}

func (s *session) compactSector(ctx context.Context, id uint32) error {
	live, cells := s.live(id)
	if cells*2 >= s.disk.Geometry().DataCells && !s.space.isDoomed(id) {
		return nil
	}
	for _, k := range live {
		if err := s.moveBlock(ctx, k); err != nil {
			return err
		}
	}
	// Between counting and releasing, an order may have come to need a block here that was taken for dead.
	s.gate.Lock()
	left, _ := s.live(id)
	var err error
	if len(left) == 0 {
		err = s.call(&wire.Release{Sectors: []uint32{id}}, &wire.Empty{})
		if err == nil {
			s.space.markReleased([]uint32{id})
		}
	}
	s.gate.Unlock()
	var refusal *wire.Error
	if errors.As(err, &refusal) && refusal.Code == wire.CodeState {
		return nil // an order that the chain still names needs it; the report that drops the order comes first
	}
	if err == nil && len(left) == 0 {
		s.Log.Debug("sector released", "sector", id, "moved", len(live))
		s.changed.pulse()
	}
	return err
}

// live lists the blocks of a sector that some order needs, and the cells that they fill.
func (s *session) live(id uint32) (keys []storageproof.BlockKey, cells uint32) {
	for _, k := range s.disk.Blocks(id) {
		if !s.held.needed(k) {
			continue
		}
		if at, ok := s.disk.Find(k); ok {
			keys = append(keys, k)
			cells += uint32(storageproof.CellsOf(uint64(at.Length)))
		}
	}
	return keys, cells
}

func (s *session) moveBlock(ctx context.Context, k storageproof.BlockKey) error {
	_, err := s.withLane(ctx, func(l *lane) (wire.SealReply, error) {
		cells, tags, err := s.disk.Read(k)
		if err != nil {
			return wire.SealReply{}, err
		}
		var r wire.SealReply
		err = s.call(&wire.Move{CID: k.CID(), Cells: cells, Tags: tags, Sector: l.sector}, l.into(&r))
		return r, err
	})
	if err != nil {
		return fmt.Errorf("move block %x: %w", k.Digest[:8], err)
	}
	return nil
}
