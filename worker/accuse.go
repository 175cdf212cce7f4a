package worker

import (
	"context"
	"fmt"

	"github.com/cella-network/cella/api/beacon"
	"github.com/cella-network/cella/client"
)

// Evidence lists the proofs of bad shares that the node's consensus came by, for as long as the chain takes them. *node.Node has them.
type Evidence func() []*beacon.MsgBadShare

// accusings is how often the chain may refuse a proof before it is given up. The first time the block that it is about may not be executed yet.
const accusings = 5

// accuse posts proofs of bad shares, each until the chain takes it. Others may have been quicker: then the chain refuses ours, and nothing is
// paid for it.
func (s *session) accuse(ctx context.Context) error {
	if s.Evidence == nil {
		return nil
	}
	tries := map[string]int{}
	for {
		moved := s.heads.moved.next()
		known := tries
		tries = map[string]int{} // of what is still listed
		for _, proof := range s.Evidence() {
			which := fmt.Sprintf("%X at %d", proof.Validator, proof.Height)
			if tries[which] = known[which]; tries[which] >= accusings {
				continue
			}
			msg := *proof
			msg.Poster = s.Address
			if _, err := s.Poster.Post(ctx, &msg); err != nil {
				if ctx.Err() != nil {
					return nil
				}
				if !client.IsKind(err, client.KindRefused) {
					continue // it says nothing about the proof
				}
				if tries[which]++; tries[which] == accusings {
					s.Log.Warn("proof of a bad share not accepted", told(err, "validator", which)...)
				}
				continue
			}
			tries[which] = accusings
			s.Log.Info("proved a bad share", "validator", which)
		}
		select {
		case <-moved:
		case <-ctx.Done():
			return nil
		}
	}
}
