package guarantee

import (
	"errors"
	"testing"

	"cosmossdk.io/collections"
	sdkmath "cosmossdk.io/math"

	"github.com/cosmos/cosmos-sdk/codec"
	"github.com/cosmos/cosmos-sdk/runtime"
	sdk "github.com/cosmos/cosmos-sdk/types"
	govkeeper "github.com/cosmos/cosmos-sdk/x/gov/keeper"
	govtypes "github.com/cosmos/cosmos-sdk/x/gov/types"
	v1 "github.com/cosmos/cosmos-sdk/x/gov/types/v1"
)

// A coin's vote is its part of its node's effective stake, its owner's alone.
func TestTally(t *testing.T) {
	w := four(t)
	if err := w.bond(t, "ann", "gil", 100*cella); err != nil {
		t.Fatal(err)
	}
	w.bytes["ann"] = 100 * gib
	for range 8 { // half of ann's coins count no more
		w.era(t)
	}
	if err := w.keeper.Blamed(w.ctx, [20]byte(account("dan")), "false-share"); err != nil {
		t.Fatal(err)
	}
	votes := map[string]v1.VoteOption{"ann": v1.OptionYes, "gil": v1.OptionNo, "bob": v1.OptionYes, "dan": v1.OptionNoWithVeto, "eve": v1.OptionNo}
	voted, all, results := w.tally(t, votes)
	if !voted.Equal(sdkmath.LegacyNewDec(200*cella)) || !all.Equal(sdkmath.NewInt(300*cella)) || !results[v1.OptionYes].Equal(sdkmath.LegacyNewDec(150*cella)) ||
		!results[v1.OptionNo].Equal(sdkmath.LegacyNewDec(50*cella)) || !results[v1.OptionNoWithVeto].IsZero() {
		t.Errorf("%s of %s: %v", voted, all, results)
	}
	// Before anybody has proven anything all that is bonded votes.
	n := newWorld(t, params)
	if err := errors.Join(n.validator(t, "ann", 30*cella, 0), n.validator(t, "bob", 10*cella, 0)); err != nil {
		t.Fatal(err)
	}
	n.start(t)
	voted, all, _ = n.tally(t, map[string]v1.VoteOption{"bob": v1.OptionYes})
	if !voted.Equal(sdkmath.LegacyNewDec(10*cella)) || !all.Equal(sdkmath.NewInt(40*cella)) {
		t.Errorf("%s of %s", voted, all)
	}
}

// tally counts votes as x/gov does.
func (w *world) tally(t testing.TB, votes map[string]v1.VoteOption) (sdkmath.LegacyDec, sdkmath.Int, map[v1.VoteOption]sdkmath.LegacyDec) {
	t.Helper()
	ctx := w.ctx
	sb := collections.NewSchemaBuilder(runtime.NewKVStoreService(w.votes))
	g := govkeeper.Keeper{Votes: collections.NewMap(sb, govtypes.VotesKeyPrefix, "votes", collections.PairKeyCodec(collections.Uint64Key, sdk.AccAddressKey),
		codec.CollValue[v1.Vote](w.cfg.Codec))}
	for who, option := range votes {
		if err := g.Votes.Set(ctx, collections.Join(uint64(1), account(who)), v1.NewVote(1, account(who), v1.NewNonSplitVoteOption(option), "")); err != nil {
			t.Fatal(err)
		}
	}
	voted, all, results, err := w.keeper.Tally(ctx, g, v1.Proposal{Id: 1})
	if err != nil {
		t.Fatal(err)
	}
	it, err := g.Votes.Iterate(ctx, nil)
	if err != nil {
		t.Fatal(err)
	}
	if left, err := it.Keys(); err != nil || len(left) > 0 {
		t.Errorf("votes are left: %v %v", left, err)
	}
	return voted, all, results
}
