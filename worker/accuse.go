package worker

import (
	"context"
	"fmt"

	"github.com/cella-network/cella/api/beacon"
)

// Evidence lists the proofs of bad shares that the node's consensus came by, for as long as the chain takes them. *node.Node has them.
type Evidence func() []*beacon.MsgBadShare

// accuse posts proofs of bad shares, each once. Others may have been quicker: then the chain refuses ours, and nothing is paid for it.
func (s *session) accuse(ctx context.Context) error {
	if s.Evidence == nil {
		return nil
	}
	posted := map[string]bool{}
	for {
		moved := s.heads.moved.next()
		known := posted
		posted = map[string]bool{} // of what is still listed
		for _, proof := range s.Evidence() {
			which := fmt.Sprintf("%X at %d", proof.Validator, proof.Height)
			posted[which] = true
			if known[which] {
				continue
			}
			msg := *proof
			msg.Poster = s.Address
			if _, err := s.Poster.Post(ctx, &msg); err != nil {
				if ctx.Err() != nil {
					return nil
				}
				s.Log.Warn("proof of a bad share not accepted", told(err, "validator", which)...)
				continue
			}
			s.Log.Info("proved a bad share", "validator", which)
		}
		select {
		case <-moved:
		case <-ctx.Done():
			return nil
		}
	}
}
