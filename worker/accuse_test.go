package worker

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"testing"

	sdk "github.com/cosmos/cosmos-sdk/types"

	"github.com/cella-network/cella/api/beacon"
	"github.com/cella-network/cella/client"
)

// court takes proofs; one that it has is refused.
type court struct {
	mu    sync.Mutex
	tried []*beacon.MsgBadShare
}

func (c *court) Post(_ context.Context, msgs ...sdk.Msg) (client.Result, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	proof := msgs[0].(*beacon.MsgBadShare)
	c.tried = append(c.tried, proof)
	if proof.Validator[0] == 2 {
		return client.Result{}, errors.New("was punished for it already")
	}
	return client.Result{}, nil
}

func (c *court) seen() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return len(c.tried)
}

// Each proof is posted once, in the operator's name, also one that somebody else posted before.
func TestProofsArePostedOnce(t *testing.T) {
	lists, ctx := make(chan []*beacon.MsgBadShare), t.Context()
	c := new(court)
	s := &session{Worker: New(Options{Address: "cella1me", Poster: c, Log: slog.New(slog.DiscardHandler), Evidence: func() []*beacon.MsgBadShare {
		return <-lists
	}})}
	ctx, cancel := context.WithCancel(ctx)
	done := make(chan error, 1)
	go func() { done <- s.accuse(ctx) }()
	first := []*beacon.MsgBadShare{{Validator: []byte{1}, Height: 5}, {Validator: []byte{2}, Height: 5}}
	later := append(first[1:2:2], &beacon.MsgBadShare{Validator: []byte{1}, Height: 6})
	for _, listed := range [][]*beacon.MsgBadShare{first, first, later, later} {
		lists <- listed // each look takes one
		s.heads.moved.pulse()
	}
	cancel()
	close(lists)
	if err := <-done; err != nil {
		t.Error(err)
	}
	if c.seen() != 3 {
		t.Errorf("%d posts, want one for each proof: 3", c.seen())
	}
	for _, p := range c.tried {
		if p.Poster != "cella1me" {
			t.Errorf("posted in the name of %q", p.Poster)
		}
	}
	if first[0].Poster != "" {
		t.Error("the list itself was changed")
	}
}
