package main

import (
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/cella-network/cella/bench/table"
	"github.com/cella-network/cella/protocol/threshold"
)

// Limits of CPU time for a hundred validators with two shares each.
const (
	combineMost  = 6 * time.Millisecond
	proposerMost = 12 * time.Millisecond
)

// signers are the group of n members that signs a height, with what each of them sends.
type signers struct {
	group   *threshold.Group
	message []byte
	sent    [][]byte // partial signatures by seat
}

func newSigners(n int, height int64) (*signers, error) {
	o, err := play(equal(n, 1), nil)
	if err != nil {
		return nil, err
	}
	s := &signers{group: o.group, message: threshold.Message{ChainID: chainID, Epoch: 1, Height: height}.Marshal()}
	for _, shares := range o.shares {
		p, err := shares.Sign(o.group, s.message)
		if err != nil {
			return nil, err
		}
		s.sent = append(s.sent, p.Marshal())
	}
	return s, nil
}

// read are the partial signatures of all seats, as a receiver reads them.
func (s *signers) read() (partials []threshold.Partial, err error) {
	for seat, sent := range s.sent {
		p, err := s.group.UnmarshalPartial(seat, sent)
		if err != nil {
			return nil, err
		}
		partials = append(partials, p)
	}
	return partials, nil
}

// combine measures making a signature of as many partial ones as the threshold asks for.
func combine(n, rounds int) ([]table.Row, error) {
	s, err := newSigners(n, 1)
	if err != nil {
		return nil, err
	}
	all := make([]int, n)
	for i := range all {
		all[i] = i
	}
	q, err := s.group.Quorum(all)
	if err != nil {
		return nil, err
	}
	partials, err := s.read()
	if err != nil {
		return nil, err
	}
	partials = slices.DeleteFunc(partials, func(p threshold.Partial) bool { return !slices.Contains(q.Seats(), p.Seat) })
	var sig threshold.Signature
	combined, err := median(rounds, func() (err error) { sig, err = q.Combine(partials); return err })
	if err != nil {
		return nil, err
	}
	verified, err := median(rounds, func() error {
		if !s.group.Verify(s.message, sig) {
			return errors.New("the combined signature does not verify")
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	shares := 0
	for _, seat := range s.group.Seats {
		shares += seat.Shares
	}
	what := fmt.Sprintf("combine %d of %d shares", s.group.Threshold, shares)
	return []table.Row{under(what, combined, combineMost), {What: "  verify it", Ours: fmt.Sprintf("%.2f ms CPU", verified.Seconds()*1e3)}}, nil
}

// median is the CPU time that do takes in the middle one of several rounds.
func median(rounds int, do func() error) (time.Duration, error) {
	var took []time.Duration
	for range rounds {
		d, err := cpu(do)
		if err != nil {
			return 0, err
		}
		took = append(took, d)
	}
	slices.Sort(took)
	return took[len(took)/2], nil
}

func under(what string, took, most time.Duration) table.Row {
	return table.Row{What: what, Ours: fmt.Sprintf("%.2f ms CPU", took.Seconds()*1e3),
		Wanted: fmt.Sprintf("at most %d ms", most.Milliseconds()), Met: took <= most}
}
