package keyholder

import (
	"bytes"
	"crypto/sha256"

	"github.com/cella-network/cella/protocol/threshold"
)

// play is a ceremony or a repair, as everybody sees it.
type play interface {
	Accept(from [20]byte, message []byte) error
	Advance() error
	Phase() threshold.Phase
}

// replay is what the host says happened. Until its transcript is proven it is worth nothing.
type replay struct {
	play
	transcript threshold.Transcript
	session    [32]byte
	account    [20]byte
	said       map[[32]byte]bool       // hashes of this account's messages
	spoke      map[threshold.Phase]int // how many of them there were in each phase
}

func newReplay(p play, t threshold.Transcript, account [20]byte) replay {
	return replay{play: p, transcript: t, session: t.Hash, account: account, said: map[[32]byte]bool{}, spoke: map[threshold.Phase]int{}}
}

// feed replays entries up to the first that does not follow.
func (r *replay) feed(entries []Entry) (uint64, error) {
	for _, e := range entries {
		if e.From == [20]byte{} {
			if err := r.Advance(); err != nil {
				return 0, refused("entry %d: %v", r.transcript.Count, err)
			}
			r.transcript = r.transcript.Advanced()
			continue
		}
		message := bytes.Clone(e.Message)
		if err := r.Accept(e.From, message); err != nil {
			return 0, refused("entry %d: %v", r.transcript.Count, err)
		}
		r.transcript = r.transcript.Accepted(e.From, message)
		if e.From == r.account {
			r.said[sha256.Sum256(message)] = true
			r.spoke[r.Phase()]++
		}
	}
	return r.transcript.Count, nil
}

// secret is what this holder made for one ceremony or repair.
type secret struct {
	session  [32]byte
	id       threshold.ID
	member   *threshold.Member   // of a ceremony
	repairer *threshold.Repairer // of a repair
	shares   *threshold.Shares   // of a ceremony that is not done yet
	over     bool                // nothing is made any more
	sent     map[threshold.Phase][][]byte

	opened     bool // all deals of a ceremony that can count
	complaints []complaint
}

// wipe ends it.
func (s *secret) wipe() {
	if s == nil {
		return
	}
	if s.member != nil {
		s.member.Wipe()
	}
	if s.repairer != nil {
		s.repairer.Wipe()
	}
	if s.shares != nil {
		s.shares.Wipe()
	}
	s.member, s.repairer, s.shares, s.over = nil, nil, nil, true
}

// joined says whether the chain has the key that this holder made, not one of an earlier life.
func (s *secret) joined(r *replay) bool {
	sent := s.sent[threshold.PhaseKeys]
	return !s.over && len(sent) == 1 && r.said[sha256.Sum256(sent[0])]
}

// silent says whether nothing was made for a phase yet, in this life or another.
func (s *secret) silent(r *replay, p threshold.Phase) bool {
	return !s.over && s.sent[p] == nil && r.spoke[p] == 0
}

// current is the secret of a replay that is proven at a height not below the last; another session's is wiped.
func current(old *secret, r *replay, id threshold.ID) *secret {
	if old != nil && old.session == r.session {
		return old
	}
	old.wipe()
	return &secret{session: r.session, id: id, sent: map[threshold.Phase][][]byte{}}
}

// action is what was said in the phase and is not on chain.
func (s *secret) action(r *replay) Action {
	a := Action{Phase: r.Phase()}
	for _, m := range s.sent[a.Phase] {
		if !r.said[sha256.Sum256(m)] {
			a.Messages = append(a.Messages, m)
		}
	}
	return a
}

// proven checks that a replay is what the chain says at a height, and that this is no step back.
func (r *replay) proven(t threshold.Transcript, height, before int64) error {
	if height < before {
		return refused("the proof at height %d is older than the one at %d before", height, before)
	}
	if r.transcript != t {
		return refused("the replay of %d entries is not what the chain has in %d: begin anew", r.transcript.Count, t.Count)
	}
	return nil
}
