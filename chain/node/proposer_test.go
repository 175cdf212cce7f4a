package node

import (
	"bytes"
	"errors"
	"math/rand/v2"
	"testing"

	cmtdb "github.com/cometbft/cometbft-db"
	"github.com/cometbft/cometbft/crypto/ed25519"
	sm "github.com/cometbft/cometbft/state"
	cmttypes "github.com/cometbft/cometbft/types"
)

func validators(powers ...int64) *cmttypes.ValidatorSet {
	var all []*cmttypes.Validator
	for i, p := range powers {
		all = append(all, cmttypes.NewValidator(ed25519.GenPrivKeyFromSecret([]byte{byte(i)}).PubKey(), p))
	}
	return cmttypes.NewValidatorSet(all)
}

// rounds are the proposers of a height's rounds, as consensus works them out: from the set of the round before.
func rounds(set *cmttypes.ValidatorSet, n int) (addresses []string) {
	set = set.Copy()
	for range n {
		addresses = append(addresses, set.GetProposer().Address.String())
		set = set.CopyIncrementProposerPriority(1)
	}
	return addresses
}

func TestOrder(t *testing.T) {
	set := validators(50, 30, 10, 10, 1)
	stock := rounds(set, 5)
	hash := set.Hash()
	for i := range 5 {
		drawn := [20]byte(set.Validators[i].Address)
		order(set, 77, drawn)
		if got := rounds(set, 1)[0]; got != set.Validators[i].Address.String() {
			t.Errorf("validator %d was drawn, %s proposes", i, got)
		}
		if !bytes.Equal(set.Hash(), hash) || set.ValidateBasic() != nil {
			t.Error("the set itself has changed")
		}
	}
	stranger := validators(50, 30, 10, 10, 1)
	order(stranger, 77, [20]byte{9})
	for i, want := range stock {
		if got := rounds(stranger, 5)[i]; got != want {
			t.Errorf("nobody of the set was drawn, and round %d is of %s, not of %s as CometBFT has it", i, got, want)
		}
	}
}

// A node that came by state sync, or that was restarted between two rounds, holds other priorities than the rest.
func TestOrderIgnoresPriorities(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 1))
	for range 200 {
		var powers []int64
		for range 1 + random.IntN(30) {
			powers = append(powers, 1+random.Int64N(1<<random.IntN(50)))
		}
		a := validators(powers...)
		b := a.CopyIncrementProposerPriority(1 + random.Int32N(1000))
		height, drawn := 1+random.Int64N(1<<40), [20]byte(a.Validators[random.IntN(len(powers))].Address)
		order(a, height, drawn)
		order(b, height, drawn)
		want, got := rounds(a, 40), rounds(b, 40)
		for i := range want {
			if got[i] != want[i] {
				t.Fatalf("powers %v, height %d, round %d: %s and %s", powers, height, i, got[i], want[i])
			}
			// Consensus may skip rounds.
			if i > 0 && a.CopyIncrementProposerPriority(int32(i)).GetProposer().Address.String() != want[i] {
				t.Fatalf("powers %v, height %d: round %d is another's after a leap", powers, height, i)
			}
		}
	}
}

// If whoever was drawn is silent, all others get their share of the second rounds.
func TestSecondRoundsGoRound(t *testing.T) {
	random, had := rand.New(rand.NewPCG(2, 2)), map[string]int{}
	for h := range int64(1000) {
		set := validators(40, 30, 20, 10)
		order(set, h, [20]byte(set.Validators[random.IntN(4)].Address))
		had[rounds(set, 2)[1]]++
	}
	for _, v := range validators(40, 30, 20, 10).Validators {
		if n := had[v.Address.String()]; n < 50 {
			t.Errorf("a validator with the power %d had %d of 1,000 second rounds", v.VotingPower, n)
		}
	}
}

// draw is a fake application.
type draw func(height int64) (address [20]byte, ok bool, err error)

func (d draw) Proposer(height int64) (address [20]byte, ok bool, err error) { return d(height) }

func TestStore(t *testing.T) {
	set := validators(5, 5, 5)
	state := sm.State{
		ChainID: "c", InitialHeight: 1, LastBlockHeight: 6, Validators: set.Copy(), NextValidators: set.CopyIncrementProposerPriority(1),
		LastValidators: set.Copy(), LastHeightValidatorsChanged: 7, ConsensusParams: *cmttypes.DefaultConsensusParams(), LastHeightConsensusParamsChanged: 1,
	}
	last, next := [20]byte(set.Validators[2].Address), set.CopyIncrementProposerPriority(1)
	var asked int64
	db := cmtdb.NewMemDB()
	stock := sm.NewStore(db, sm.StoreOptions{})
	store := proposerStore{Store: stock, drawn: draw(func(h int64) ([20]byte, bool, error) {
		asked = h
		return last, true, nil
	})}
	if loaded, err := store.Load(); err != nil || !loaded.IsEmpty() || asked != 0 {
		t.Fatalf("an empty store: %v, asked for %d, %v", loaded, asked, err)
	}
	if err := stock.Bootstrap(state); err != nil {
		t.Fatal(err)
	}
	if err := store.Save(state); err != nil || asked != 7 {
		t.Fatalf("asked for height %d: %v", asked, err)
	}
	if got := state.Validators.GetProposer().Address; [20]byte(got) != last {
		t.Errorf("after Save, consensus goes on with %s", got)
	}
	if !bytes.Equal(state.NextValidators.ProposerPriorityHash(), next.ProposerPriorityHash()) {
		t.Error("the rotation of the next validators has changed")
	}
	// A replay saves a state without us.
	state.Validators = set.Copy()
	if err := stock.Save(state); err != nil {
		t.Fatal(err)
	}
	if loaded, err := store.Load(); err != nil || [20]byte(loaded.Validators.GetProposer().Address) != last {
		t.Errorf("after Load: %v, %v", loaded.Validators, err)
	}
	if fast, err := store.LoadValidatorsFast(7); err != nil || fast.Size() != 3 {
		t.Errorf("validators of height 7: %v, %v", fast, err)
	}
	store.drawn = draw(func(int64) ([20]byte, bool, error) { return last, true, errors.New("no such state") })
	if _, err := store.Load(); err == nil {
		t.Error("a proposer that can't be known is taken for nobody")
	}
	if err := store.Save(state); err == nil {
		t.Error("a state is saved whose proposer can't be known")
	}
	state.LastBlockHeight, state.LastHeightValidatorsChanged = 0, 1
	if err := store.Save(state); err != nil {
		t.Errorf("the first height: %v", err)
	}
}
