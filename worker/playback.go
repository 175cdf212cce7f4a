package worker

import (
	"errors"
	"fmt"

	"github.com/cella-network/cella/api/committee"
	"github.com/cella-network/cella/client"
	"github.com/cella-network/cella/enclave/wire"
	"github.com/cella-network/cella/protocol/threshold"
)

const (
	feedBytes = 1 << 20 // of entries in one request
	feedCount = 1 << 12 // entries
)

// errReplaced says that the chain's entries are not those of the replay.
var errReplaced = errors.New("another ceremony or repair has begun")

// playback is how far the enclave has replayed a ceremony or repair.
type playback struct {
	id    string // empty: to begin
	count uint64
	last  threshold.Transcript // that was looked at
	idle  bool                 // this node has no part in it
	ended bool
	over  bool  // ended, and nothing more to say
	pause int64 // height before which nothing is tried
}

// replay feeds what is new up to a count. The first entries may be here already; more returns those from one on.
func (c *playback) replay(to uint64, first []committee.Entry, more func(from uint64) ([]committee.Entry, error), feed func([]wire.Entry) error) error {
	if to < c.count {
		return fmt.Errorf("%w: the chain has %d entries, %d were replayed", errReplaced, to, c.count)
	}
	for entries := first; c.count < to; entries = nil {
		if len(entries) == 0 {
			var err error
			if entries, err = more(c.count); err != nil {
				return err
			}
		}
		if len(entries) == 0 {
			return fmt.Errorf("%w: the chain shows %d entries of %d", errReplaced, c.count, to)
		}
		entries = entries[:min(uint64(len(entries)), to-c.count)]
		for len(entries) > 0 {
			part, err := feedable(entries)
			if err != nil {
				return err
			}
			if err := feed(part); err != nil {
				return err
			}
			entries, c.count = entries[len(part):], c.count+uint64(len(part))
		}
	}
	return nil
}

// feedable are the first entries, as many as fit one request.
func feedable(entries []committee.Entry) (part []wire.Entry, err error) {
	size := 0
	for _, e := range entries {
		if size += len(e.Message); len(part) > 0 && (size > feedBytes || len(part) == feedCount) {
			break
		}
		entry := wire.Entry{Message: e.Message}
		if e.From != "" {
			if entry.From, err = client.DecodeAddress(e.From); err != nil {
				return nil, err
			}
		}
		part = append(part, entry)
	}
	return part, nil
}
