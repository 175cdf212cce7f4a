package worker

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/cella-network/cella/enclave/wire"
	"github.com/cella-network/cella/protocol/storageproof"
	"github.com/cella-network/cella/worker/disk"
)

// compact frees data sectors of which less than half is needed, and those that are doomed: live blocks are sealed again elsewhere, then
// the sector is released. Files go when the chain has accepted the report that leaves them out.
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

// retireLanes closes the open sectors in which nothing that was sealed is needed any more, and the doomed ones.
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
		if len(live) == 0 && len(s.disk.Blocks(l.sector)) > 0 || s.space.isDoomed(l.sector) {
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
	if err := s.empty(ctx, id, live, cells); err != nil {
		return err
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

// empty seals the blocks of a sector again elsewhere, and admits those that can't be read.
func (s *session) empty(ctx context.Context, id uint32, live []storageproof.BlockKey, cells uint32) error {
	p := s.space.promise(uint64(cells) * storageproof.CellSize) // free sectors make room
	s.changed.pulse()
	defer p.end()
	bad, first, err := twice(live, func(k storageproof.BlockKey) error {
		n, err := s.moveBlock(ctx, k)
		p.spend(uint64(n) * storageproof.CellSize)
		return err
	})
	if len(bad) > 0 {
		s.Log.Error("blocks lost", "sector", id, "blocks", len(bad), "of", len(live), "err", first)
		s.space.doom(id)
		err = errors.Join(err, s.lose(id, bad))
	}
	return err
}

// twice moves blocks and returns those that can't be read, with the first reason. Each of them is tried once more after all others: a
// controller or a cable that fails for a moment says the same as a disk that has lost the bytes, and what is admitted is gone for good.
// Another failure ends either round; whatever was tried only once then is not among the bad.
func twice(keys []storageproof.BlockKey, move func(storageproof.BlockKey) error) (bad []storageproof.BlockKey, first, err error) {
	round := func(keys []storageproof.BlockKey) (bad []storageproof.BlockKey, first, err error) {
		for _, k := range keys {
			switch err := move(k); {
			case errors.Is(err, errUnreadable):
				first = cmp.Or(first, err)
				bad = append(bad, k)
			case err != nil:
				return bad, first, err
			}
		}
		return bad, first, nil
	}
	suspects, _, err := round(keys)
	bad, first, again := round(suspects)
	return bad, first, errors.Join(err, again)
}

// errUnreadable marks blocks whose cells are not on the disk any more, or not as they were sealed.
var errUnreadable = errors.New("the block can't be read")

// moveBlock seals a block again elsewhere and returns how many cells that took.
func (s *session) moveBlock(ctx context.Context, k storageproof.BlockKey) (uint32, error) {
	n, err := s.withLane(ctx, func(l *lane) (wire.SealReply, error) {
		cells, tags, err := s.disk.Read(k)
		if err != nil {
			if disk.Unreadable(err) {
				err = fmt.Errorf("%w: %w", errUnreadable, err)
			}
			return wire.SealReply{}, err
		}
		var r wire.SealReply
		err = s.call(&wire.Move{CID: k.CID(), Cells: cells, Tags: tags, Sector: l.sector}, l.into(&r))
		var refusal *wire.Error
		if errors.As(err, &refusal) && refusal.Code == wire.CodeInvalid {
			err = fmt.Errorf("%w: %w", errUnreadable, err)
		}
		return r, err
	})
	if err != nil {
		return n, fmt.Errorf("move block %x: %w", k.Digest[:8], err)
	}
	return n, nil
}

// loseMost is how many blocks one request admits as lost.
const loseMost = 10_000

// lose admits to the enclave that blocks of a sector can't be read. The orders that need them are fetched again; where that is done
// before the next report, the chain never hears of it.
func (s *session) lose(id uint32, keys []storageproof.BlockKey) error {
	if err := s.disk.Present(); err != nil {
		return err // what is away may come back
	}
	s.gate.Lock() // nobody may take a block for sealed between the enclave's word and ours
	defer s.gate.Unlock()
	for part := range slices.Chunk(keys, loseMost) {
		m := &wire.Lose{Sector: id}
		for _, k := range part {
			m.CIDs = append(m.CIDs, k.CID())
		}
		var reply wire.LoseReply
		if err := s.call(m, &reply); err != nil {
			return fmt.Errorf("admit the loss of %d blocks in sector %06d: %w", len(part), id, err)
		}
		s.disk.Forget(id, part)
		for _, o := range s.held.mend(reply.Orders) {
			s.Metrics.orders.WithLabelValues("broken").Inc()
			s.Log.Warn("order has lost blocks; fetching them again", "order", o.ID, "sector", id, "hint", "check the disk: cella verify")
		}
	}
	s.broken.pulse()
	return nil
}
