package node

import (
	"fmt"

	sm "github.com/cometbft/cometbft/state"
	cmttypes "github.com/cometbft/cometbft/types"
)

// turns is from how many places of a rotation later rounds start, and how far it is gone through to find who was drawn: enough that
// all but the smallest validators come up.
const turns = 256

// proposers says who was drawn to propose a height, by what the application has committed; not ok means nobody.
type proposers interface {
	Proposer(height int64) (address [20]byte, ok bool, err error)
}

// proposerStore is CometBFT's store of its state, with the validators of the next height in the order in which they propose: who was
// drawn comes first. Consensus takes its proposers from there and from nowhere else.
//
// Only Validators is reordered. NextValidators goes on as CometBFT's own rotation, so that heights for which nobody was drawn, and what
// RPC, light clients and state sync read of validators, are what they are on any other chain. Neither proposer nor priorities are part
// of a validator set's hash.
type proposerStore struct {
	sm.Store
	drawn proposers
}

// Save is called after the application has committed the state's block, and before consensus turns to the next height.
func (s proposerStore) Save(state sm.State) error {
	if err := s.order(state); err != nil {
		return err
	}
	return s.Store.Save(state)
}

// Load orders anew: what was saved may come from a replay, which knows nothing of us.
func (s proposerStore) Load() (sm.State, error) {
	state, err := s.Store.Load()
	if err != nil || state.IsEmpty() {
		return state, err
	}
	return state, s.order(state)
}

// LoadValidatorsFast is a method that CometBFT looks for beside those of sm.Store. Without it each block would cost as much as
// there were blocks since the validators changed.
func (s proposerStore) LoadValidatorsFast(height int64) (*cmttypes.ValidatorSet, error) {
	if fast, ok := s.Store.(interface {
		LoadValidatorsFast(height int64) (*cmttypes.ValidatorSet, error)
	}); ok {
		return fast.LoadValidatorsFast(height)
	}
	return s.LoadValidators(height)
}

func (s proposerStore) order(state sm.State) error {
	if state.LastBlockHeight == 0 {
		return nil // nothing was committed by which the first could have been drawn
	}
	height := state.LastBlockHeight + 1
	address, ok, err := s.drawn.Proposer(height)
	if err != nil {
		return fmt.Errorf("proposer of height %d: %w", height, err)
	}
	if ok {
		order(state.Validators, height, address)
	}
	return nil
}

// order makes the drawn validator the proposer of a height's first round and lets CometBFT's rotation choose those of the later
// ones. It is a function of the height, the set and who was drawn, never of the priorities that it finds: nodes which came here by
// other ways, such as state sync, must agree. Who isn't in the set changes nothing.
func order(set *cmttypes.ValidatorSet, height int64, drawn [20]byte) {
	index, _ := set.GetByAddress(drawn[:])
	if index < 0 {
		return
	}
	for _, v := range set.Validators {
		v.ProposerPriority = 0
	}
	// Later rounds start from another place at each height, or the largest validator would have all second rounds.
	set.IncrementProposerPriority(int32(height%turns) + 1)
	for range turns {
		if set.Proposer == set.Validators[index] {
			return // it has just had its turn, so the second round is another's
		}
		set.IncrementProposerPriority(1)
	}
	// It is so small that its turn is far. Priorities stay those of a rotation: others could make rounds that are skipped
	// differ from rounds that are gone through.
	set.Proposer = set.Validators[index]
}
