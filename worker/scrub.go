package worker

import (
	"context"
	"errors"
	"time"

	"github.com/cella-network/cella/enclave/wire"
	"github.com/cella-network/cella/protocol/storageproof"
	"github.com/cella-network/cella/worker/disk"
)

const (
	scrubRest  = time.Minute      // between two passes, so that a small disk is not read all the time
	scrubLeast = time.Millisecond // shortest rest that is worth a timer
)

// scrub reads every sealed block over time and lets the enclave open it, at a bounded rate, so that a block that rots is found before
// the draws find it. It is off unless the operator gives a rate: draws are a sample that nobody can predict, and enough to be paid.
func (s *session) scrub(ctx context.Context) error {
	rate := float64(s.Config.Disk.Scrub) * (1 << 20) // bytes a second
	if rate == 0 {
		return nil
	}
	for pass := 1; ; pass++ {
		blocks := 0
		for _, id := range s.space.resting() {
			for _, k := range s.disk.Blocks(id) {
				if s.space.isDoomed(id) || s.space.isReleased(id) {
					break
				}
				n, err := s.look(ctx, id, k)
				if ctx.Err() != nil {
					return nil
				}
				if err != nil {
					s.Log.Error("scrub: a sealed block can't be opened", "sector", id, "err", err, "hint", "check the disk: cella verify --deep")
					s.condemn(id)
				}
				blocks++
				if rest := time.Duration(float64(n) / rate * float64(time.Second)); rest >= scrubLeast && pause(ctx, rest) != nil {
					return nil
				}
			}
		}
		s.Log.Debug("scrubbed", "pass", pass, "blocks", blocks)
		if pause(ctx, scrubRest) != nil {
			return nil
		}
	}
}

// look opens one block and returns how many bytes were read for it. Only what says that bytes are gone is an error.
func (s *session) look(ctx context.Context, id uint32, k storageproof.BlockKey) (int, error) {
	at, ok := s.disk.Find(k)
	if !ok || at.Sector != id {
		return 0, nil // moved since
	}
	cells, tags, err := s.disk.Read(k)
	if err != nil {
		if disk.Unreadable(err) && s.disk.Present() == nil {
			return 0, err
		}
		return 0, nil
	}
	var r wire.ReadReply
	err = s.enc.Call(ctx, &wire.Read{CID: k.CID(), Cells: cells, Tags: tags}, &r)
	var refusal *wire.Error
	if !errors.As(err, &refusal) || refusal.Code != wire.CodeInvalid {
		return len(cells), nil
	}
	if now, ok := s.disk.Find(k); !ok || now != at {
		return len(cells), nil // moved while it was read
	}
	return len(cells), err
}
