package worker

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/cella-network/cella/enclave/wire"
	"github.com/cella-network/cella/protocol/lightclient"
)

const (
	batch    = 256 // headers a request: a quarter of a megabyte
	hiccough = time.Second
	patience = 5  // failures in a row before the operator is told
	stubborn = 30 // before a session is given up whose enclave refuses the next block: all shares of keys go with it
)

// heads is how far the enclave's trust in headers reaches.
type heads struct {
	mu     sync.Mutex
	height int64
	moved  beat
}

func (h *heads) set(height int64) {
	h.mu.Lock()
	h.height = max(h.height, height)
	h.mu.Unlock()
	h.moved.pulse()
}

// latest is the trusted head; the state that can be proven to the enclave is that of the height before.
func (h *heads) latest() int64 {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.height
}

// wait returns the head once it has reached a height.
func (h *heads) wait(ctx context.Context, height int64) (int64, error) {
	for {
		moved := h.moved.next()
		if now := h.latest(); now >= height {
			return now, nil
		}
		select {
		case <-moved:
		case <-ctx.Done():
			return 0, ctx.Err()
		}
	}
}

// follow feeds the enclave each new block.
func (s *session) follow(ctx context.Context) error {
	for failures, refusals := 0, 0; ; {
		err := s.Chain.Wait(ctx, s.heads.latest()+1)
		if err == nil {
			err = s.advance(ctx)
		}
		if ctx.Err() != nil {
			return nil
		}
		var refusal *wire.Error
		if !errors.As(err, &refusal) {
			refusals = 0
		} else if refusals++; refusals > stubborn {
			return fmt.Errorf("the enclave refused block %d: %w", s.heads.latest()+1, err)
		}
		if err == nil {
			failures = 0
		} else {
			if failures++; failures == patience { // a node that catches up is short of a block now and then
				s.Log.Warn("cannot follow the chain; trying again", told(err)...)
			}
			if pause(ctx, hiccough) != nil {
				return nil
			}
		}
	}
}

// advance moves the enclave's head towards the newest block, over as many headers as fit one request and one step.
func (s *session) advance(ctx context.Context) error {
	latest, err := s.Chain.Latest(ctx)
	if err != nil {
		return err
	}
	from := s.heads.latest() + 1
	headers, err := s.Chain.Headers(ctx, from, min(latest, from+batch-1))
	if err != nil {
		return err
	}
	reach, err := lightclient.Reach(headers)
	if err != nil {
		return err
	}
	last, err := s.Chain.Block(ctx, from+int64(reach)-1)
	if err != nil {
		return err
	}
	var reply wire.FollowReply
	if err := s.call(&wire.Follow{Headers: headers[:reach], Commit: last.Commit, Validators: last.Validators}, &reply); err != nil {
		return err
	}
	s.heads.set(reply.Height)
	s.Metrics.head.Set(float64(reply.Height))
	return nil
}

// recall teaches the enclave the headers of older blocks down to a height, so that it can report a height from before its start: the last
// one whose seed is out. Those for which the enclave has no room, or which our node keeps no more, stay unknown.
func (s *session) recall(ctx context.Context, oldest, down int64) error {
	for oldest > down {
		from := max(down, oldest-batch)
		headers, err := s.Chain.Headers(ctx, from, oldest-1)
		if err != nil {
			if _, alive := s.Chain.Headers(ctx, s.heads.latest(), s.heads.latest()); alive != nil {
				return err
			}
			s.Log.Error("our node keeps no older blocks; reports wait for seeds", "height", oldest, "err", err)
			return nil
		}
		slices.Reverse(headers)
		err = s.call(&wire.History{Headers: headers}, &wire.HistoryReply{})
		var refusal *wire.Error
		if errors.As(err, &refusal) {
			s.Log.Error("the enclave takes no older blocks; reports wait for seeds", "height", oldest, "err", err)
			return nil
		}
		if err != nil {
			return err
		}
		oldest = from
	}
	return nil
}

// prove fetches a value as the enclave can check it: after a block whose successor it trusts.
func (s *session) prove(ctx context.Context, store string, key []byte, height int64) (wire.Proof, error) {
	p, err := s.Chain.Value(ctx, store, key, height)
	if err != nil {
		return wire.Proof{}, err
	}
	return wire.Proof(p), nil
}
