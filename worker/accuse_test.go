package worker

import (
	"context"
	"log/slog"
	"sync"
	"testing"

	sdk "github.com/cosmos/cosmos-sdk/types"

	"github.com/cella-network/cella/api/beacon"
	"github.com/cella-network/cella/client"
)

// court takes proofs; one that it has is refused, and one of a third validator until it was posted twice. Proofs of a fourth do not come through to it
// six times.
type court struct {
	mu    sync.Mutex
	tried []*beacon.MsgBadShare
}

func (c *court) times(validator byte, height int64) (n int) {
	for _, p := range c.tried {
		if p.Validator[0] == validator && p.Height == height {
			n++
		}
	}
	return n
}

func (c *court) Post(_ context.Context, msgs ...sdk.Msg) (client.Result, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	proof := msgs[0].(*beacon.MsgBadShare)
	c.tried = append(c.tried, proof)
	if proof.Validator[0] == 2 {
		return client.Result{}, &client.Error{Kind: client.KindRefused, What: "was punished for it already"}
	}
	if proof.Validator[0] == 3 && c.times(3, proof.Height) < 3 {
		return client.Result{}, &client.Error{Kind: client.KindRefused, What: "height 5 is not one of the last 1000 blocks"}
	}
	if proof.Validator[0] == 4 && c.times(4, proof.Height) <= 6 {
		return client.Result{}, &client.Error{Kind: client.KindFunds, What: "the account has no coins"}
	}
	return client.Result{}, nil
}

// Each proof is taken once, in the operator's name. One that is refused is tried again, since its block may not be executed yet, but not for ever:
// somebody else may have posted it before. What does not come through to the chain is tried as long as it is listed.
func TestProofsArePostedUntilTaken(t *testing.T) {
	lists, ctx := make(chan []*beacon.MsgBadShare), t.Context()
	c := new(court)
	s := &session{Worker: New(Options{Address: "cella1me", Poster: c, Log: slog.New(slog.DiscardHandler), Evidence: func() []*beacon.MsgBadShare {
		return <-lists
	}})}
	ctx, cancel := context.WithCancel(ctx)
	done := make(chan error, 1)
	go func() { done <- s.accuse(ctx) }()
	first := []*beacon.MsgBadShare{{Validator: []byte{1}, Height: 5}, {Validator: []byte{2}, Height: 5}, {Validator: []byte{3}, Height: 5}, {Validator: []byte{4}, Height: 5}}
	later := append(first[1:4:4], &beacon.MsgBadShare{Validator: []byte{1}, Height: 6})
	for _, listed := range [][]*beacon.MsgBadShare{first, first, later, later, later, later, later} {
		lists <- listed // each look takes one
		s.heads.moved.pulse()
	}
	cancel()
	close(lists)
	if err := <-done; err != nil {
		t.Error(err)
	}
	for _, want := range []struct {
		validator byte
		height    int64
		times     int
	}{{1, 5, 1}, {1, 6, 1}, {2, 5, accusings}, {3, 5, 3}, {4, 5, 7}} {
		if n := c.times(want.validator, want.height); n != want.times {
			t.Errorf("%d posts about %d at %d, want %d", n, want.validator, want.height, want.times)
		}
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
