package worker

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/cella-network/cella/enclave/wire"
	"github.com/cella-network/cella/protocol/storageproof"
	"github.com/cella-network/cella/worker/disk"
)

const (
	fullPause = 10 * time.Second       // how long a full file system is left alone
	breath    = 100 * time.Millisecond // longest rest between two runs
)

// fill keeps the disk full of random cells, less a spare, and gives free sectors up where orders need the room. It stands
// back while orders are being sealed.
func (s *session) fill(ctx context.Context) error {
	for ctx.Err() == nil {
		changed := s.changed.next()
		fill, err := s.makeRoom()
		switch {
		case err != nil:
		case fill:
			err = s.fillSector(ctx)
		default:
			select {
			case <-changed:
			case <-ctx.Done():
			}
		}
		var full *disk.SpaceError
		switch {
		case err == nil:
		case errors.As(err, &full):
			s.Log.Warn("no sector filled", "err", err)
			_ = pause(ctx, fullPause)
		default:
			if ctx.Err() == nil {
				s.Log.Error("no sector filled", "err", err)
			}
			_ = pause(ctx, hiccough)
		}
	}
	return nil
}

// fillSector fills one sector, run by run, and waits between runs for orders that are being sealed.
func (s *session) fillSector(ctx context.Context) error {
	id, err := s.disk.Reserve()
	if err != nil {
		return err
	}
	if err := s.disk.BeginFree(id); err != nil {
		return errors.Join(err, s.disk.Delete(id))
	}
	buf := disk.Buffer(wire.IntoSize)
	for done := false; !done; {
		if err := s.idle(ctx); err != nil {
			return err // the session ends, and with it the sector
		}
		began := time.Now()
		if done, err = s.fillRun(id, buf); err != nil {
			// The vault has begun this id; it stays taken until the next session clears it away.
			return fmt.Errorf("fill sector %06d: %w", id, err)
		}
		_ = pause(ctx, min(time.Since(began), breath)) // half of the machine's time is for others
	}
	s.space.add(id, storageproof.KindFree)
	s.changed.pulse()
	return nil
}

func (s *session) fillRun(id uint32, buf []byte) (done bool, err error) {
	s.gate.RLock()
	defer s.gate.RUnlock()
	var r wire.FillReply
	if err := s.call(&wire.Fill{Sector: id}, wire.Into{Message: &r, Buf: buf}); err != nil {
		return false, err
	}
	if err := s.disk.Fill(id, r.First, r.Cells, r.Digests, r.Done); err != nil {
		if r.Done { // the vault will name it
			s.space.add(id, storageproof.KindFree)
			s.space.doom(id)
		}
		return false, err
	}
	s.Metrics.filled.Add(float64(len(r.Cells)))
	return r.Done, nil
}

// makeRoom releases free sectors that orders need, or that can't be read, and tells whether there is room to fill one more.
func (s *session) makeRoom() (fill bool, err error) {
	release, fill := s.space.plan()
	release = append(release, s.space.doomedFree()...)
	if len(release) > 0 {
		slices.Sort(release)
		return false, s.release(slices.Compact(release))
	}
	return fill, nil
}

// idle waits until no block is being sealed. Meanwhile it makes room: what is being sealed may wait for just that.
func (s *session) idle(ctx context.Context) error {
	for {
		quiet, changed := s.lanes.quiet.next(), s.changed.next()
		if s.lanes.busy.Load() == 0 {
			return ctx.Err()
		}
		if _, err := s.makeRoom(); err != nil {
			return err
		}
		select {
		case <-quiet:
		case <-changed:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// release leaves sectors out of the next report. Sealing stands still meanwhile, so that no block is taken for known that
// lies in one of them.
func (s *session) release(ids []uint32) error {
	s.gate.Lock()
	defer s.gate.Unlock()
	if err := s.call(&wire.Release{Sectors: ids}, &wire.Empty{}); err != nil {
		return fmt.Errorf("release sectors %v: %w", ids, err)
	}
	s.space.markReleased(ids)
	return nil
}
