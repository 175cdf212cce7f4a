package worker

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync/atomic"
	"time"

	blocks "github.com/ipfs/go-block-format"

	"github.com/cella-network/cella/enclave/wire"
	"github.com/cella-network/cella/protocol/storageproof"
	"github.com/cella-network/cella/worker/disk"
)

// sealLanes is how many data sectors are written at once. A restart wastes the rest of each.
const sealLanes = 2

// lane is a place to seal: an open sector, or none yet. Whoever took it from session.lanes uses it alone, so that a sector's
// blocks are written in the order of their cells.
type lane struct {
	sector uint32
	open   bool
	buf    []byte // what the enclave gave back last, until it is written
}

// into lets a reply lie in the lane's memory.
func (l *lane) into(r *wire.SealReply) wire.Into {
	if l.buf == nil {
		l.buf = disk.Buffer(wire.IntoSize)
	}
	return wire.Into{Message: r, Buf: l.buf}
}

// lanes are the lanes that nobody uses; an open one is taken first, so that few sectors are written at a time.
type lanes struct {
	open, idle chan *lane
	busy       atomic.Int32 // lanes in use
	quiet      beat         // none is
}

func (l *lanes) init() {
	l.open, l.idle = make(chan *lane, sealLanes), make(chan *lane, sealLanes)
	for range sealLanes {
		l.idle <- &lane{}
	}
}

func (l *lanes) take(ctx context.Context) (t *lane, err error) {
	l.busy.Add(1)
	select {
	case t = <-l.open:
		return t, nil
	default:
	}
	select {
	case t = <-l.open:
	case t = <-l.idle:
	case <-ctx.Done():
		l.done()
		return nil, ctx.Err()
	}
	return t, nil
}

func (l *lanes) put(t *lane) {
	if t.open {
		l.open <- t
	} else {
		l.idle <- t
	}
	l.done()
}

func (l *lanes) done() {
	if l.busy.Add(-1) == 0 {
		l.quiet.pulse()
	}
}

// errBlock marks blocks that no retry makes acceptable.
var errBlock = errors.New("the enclave refuses the block")

// sealBlock seals one block for an order and returns how many bytes of cells that took.
func (s *session) sealBlock(ctx context.Context, order uint64, b blocks.Block) (uint64, error) {
	k, err := storageproof.ParseBlockKey(b.Cid().Bytes())
	if err != nil {
		return 0, fmt.Errorf("%w: %s is of a kind that is not stored", errBlock, b.Cid())
	}
	s.held.need(order, k)
	cells, err := s.withLane(ctx, func(l *lane) (wire.SealReply, error) {
		var r wire.SealReply
		err := s.call(&wire.Seal{Sector: l.sector, CID: k.CID(), Data: b.RawData()}, l.into(&r))
		var refusal *wire.Error
		if errors.As(err, &refusal) && refusal.Code == wire.CodeInvalid {
			err = fmt.Errorf("%w: %s: %w", errBlock, b.Cid(), err)
		}
		if _, here := s.disk.Find(k); err == nil && r.Known && !here {
			err = fmt.Errorf("block %s is sealed in sector %06d, which could not be written", b.Cid(), r.Sector)
		}
		return r, err
	})
	if cells > 0 {
		s.Metrics.sealed.Add(float64(len(b.RawData())))
	}
	return uint64(cells) * storageproof.CellSize, err
}

// withLane runs store in a lane's open sector, in the next one if that is full, and writes what came of it. It returns how many
// cells were written.
func (s *session) withLane(ctx context.Context, store func(*lane) (wire.SealReply, error)) (uint32, error) {
	l, err := s.lanes.take(ctx)
	if err != nil {
		return 0, err
	}
	defer func() { s.lanes.put(l) }()
	for {
		if l.open && s.space.isDoomed(l.sector) { // what is sealed there would only have to move
			if err := s.closeLane(l); err != nil {
				s.Log.Warn("doomed sector not closed", "sector", l.sector, "err", err)
			}
		}
		if !l.open {
			if err := s.openSector(ctx, l); err != nil {
				return 0, err
			}
		}
		cells, err := s.storeIn(l, store)
		var refusal *wire.Error
		if !errors.As(err, &refusal) || refusal.Code != wire.CodeFull {
			return cells, err
		}
		if err := s.closeLane(l); err != nil {
			return 0, err
		}
	}
}

// storeIn makes one request and writes its result before anyone can sign a report about it.
func (s *session) storeIn(l *lane, store func(*lane) (wire.SealReply, error)) (uint32, error) {
	s.gate.RLock()
	defer s.gate.RUnlock()
	r, err := store(l)
	if err != nil || r.Known {
		return 0, err
	}
	if err := s.disk.Append(l.sector, r.Cell, r.Cells, r.Tags, r.Record); err != nil {
		// The vault counts cells that are not on the disk: the sector must go once its other blocks have moved.
		s.space.doom(l.sector)
		s.space.setOpen(l.sector, false)
		l.open = false
		s.loosened.pulse()
		return 0, err
	}
	return uint32(len(r.Cells) / storageproof.CellSize), nil
}

// openSector begins a data sector, and waits for room if the quota is used up: free sectors are being released for it.
func (s *session) openSector(ctx context.Context, l *lane) error {
	id, err := s.reserve(ctx)
	if err != nil {
		return err
	}
	s.gate.RLock()
	defer s.gate.RUnlock()
	var r wire.OpenReply
	if err := s.call(&wire.Open{Sector: id}, &r); err != nil {
		return errors.Join(fmt.Errorf("open sector %06d: %w", id, err), s.disk.Delete(id))
	}
	s.space.setOpen(id, true)
	if err := s.disk.BeginData(id, r.Header); err != nil {
		s.space.setOpen(id, false)
		s.space.doom(id)
		return err
	}
	l.sector, l.open = id, true
	return nil
}

// reserve takes a sector, waiting while the quota is used up or the file system full. Nothing else waits with it: draws are answered and
// reports go out.
func (s *session) reserve(ctx context.Context) (uint32, error) {
	for said := false; ; {
		changed := s.changed.next()
		id, err := s.disk.Reserve()
		var quota *disk.QuotaError
		var full *disk.SpaceError
		switch {
		case errors.As(err, &full):
			s.complain(&said, slog.LevelWarn, err)
		case errors.As(err, &quota): // free sectors are given up for it, mostly
			s.complain(&said, slog.LevelInfo, err)
		default:
			return id, err
		}
		s.waits.Add(1)
		again := time.NewTimer(fullPause)
		select {
		case <-changed:
		case <-again.C: // who frees bytes of the file system does not tell us
		case <-ctx.Done():
			err = errors.Join(err, ctx.Err())
		}
		again.Stop()
		if ctx.Err() != nil {
			return 0, err
		}
	}
}

func (s *session) complain(said *bool, level slog.Level, err error) {
	if !*said {
		s.Log.Log(context.Background(), level, "sealing pauses until there is room", "err", err)
	}
	*said = true
}

func (s *session) closeLane(l *lane) error {
	s.space.setOpen(l.sector, false)
	l.open = false
	s.loosened.pulse()
	return s.disk.Finish(l.sector)
}
