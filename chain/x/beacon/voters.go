package beacon

import (
	"bytes"
	"context"
	"slices"

	"cosmossdk.io/collections"

	"github.com/cosmos/gogoproto/proto"

	api "github.com/cella-network/cella/api/beacon"
	"github.com/cella-network/cella/protocol/beacon"
	"github.com/cella-network/cella/protocol/threshold"
)

// Who voted is kept for some time, by changes of the set: for the votes of the block before, and to prove bad shares.

// voterSet is who votes at a height.
type voterSet []api.Voter

// find looks for a consensus address.
func (s voterSet) find(consensus []byte) (api.Voter, bool) {
	i := slices.IndexFunc(s, func(v api.Voter) bool { return bytes.Equal(v.Consensus, consensus) })
	if i < 0 {
		return api.Voter{}, false
	}
	return s[i], true
}

// seat is where a consensus address sits in a group, or -1.
func (s voterSet) seat(g *threshold.Group, consensus []byte) int {
	v, ok := s.find(consensus)
	if !ok {
		return -1
	}
	return slices.IndexFunc(g.Seats, func(m threshold.Seat) bool { return bytes.Equal(m.Account[:], v.Operator) })
}

// votersAt is who votes at a height, nobody if it is forgotten.
func (k *Keeper) votersAt(ctx context.Context, height int64) (voterSet, error) {
	var out voterSet
	r := new(collections.Range[int64]).EndInclusive(height).Descending()
	err := k.voters.Walk(ctx, r, func(_ int64, v api.Voters) (bool, error) {
		out = v.Voters
		return true, nil
	})
	return out, err
}

// keepVoters notes who votes from a height on, if that is new.
func (k *Keeper) keepVoters(ctx context.Context, height int64, set []beacon.Voter) error {
	next := api.Voters{}
	for _, v := range set {
		next.Voters = append(next.Voters, api.Voter{Consensus: v.Consensus[:], Operator: v.Operator[:], Key: v.Key[:]})
	}
	slices.SortFunc(next.Voters, func(a, b api.Voter) int { return bytes.Compare(a.Consensus, b.Consensus) })
	last, err := k.votersAt(ctx, height)
	if err != nil {
		return err
	}
	a, err := proto.Marshal(&next)
	if err != nil {
		return err
	}
	b, err := proto.Marshal(&api.Voters{Voters: last})
	if err != nil || bytes.Equal(a, b) {
		return err
	}
	return k.voters.Set(ctx, height, next)
}

// firstVoters notes who votes in the first block that the module sees; others are noted a block ahead.
func (k *Keeper) firstVoters(ctx context.Context, height int64) error {
	known, err := k.votersAt(ctx, height)
	if err != nil || len(known) > 0 {
		return err
	}
	set, err := k.validators.Voters(ctx, height)
	if err != nil {
		return err
	}
	return k.keepVoters(ctx, height, set)
}

// pruneVoters forgets the oldest set once another holds below the height.
func (k *Keeper) pruneVoters(ctx context.Context, below int64) error {
	var from []int64
	err := k.voters.Walk(ctx, nil, func(h int64, _ api.Voters) (bool, error) {
		from = append(from, h)
		return len(from) == 2, nil
	})
	if err != nil || len(from) < 2 || from[1] > below {
		return err
	}
	return k.voters.Remove(ctx, from[0])
}

// pruneProven forgets bad shares that nobody could prove again.
func (k *Keeper) pruneProven(ctx context.Context, below int64) error {
	var old []collections.Pair[int64, []byte]
	err := k.proven.Walk(ctx, nil, func(key collections.Pair[int64, []byte]) (bool, error) {
		if key.K1() >= below || len(old) == prunedPerBlock {
			return true, nil
		}
		old = append(old, key)
		return false, nil
	})
	if err != nil {
		return err
	}
	for _, key := range old {
		if err := k.proven.Remove(ctx, key); err != nil {
			return err
		}
	}
	return nil
}
