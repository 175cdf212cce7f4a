package guarantee

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"

	abci "github.com/cometbft/cometbft/abci/types"

	sdkmath "cosmossdk.io/math"

	"github.com/cosmos/cosmos-sdk/crypto/keys/ed25519"
	"github.com/cosmos/cosmos-sdk/crypto/keys/secp256k1"
	cryptotypes "github.com/cosmos/cosmos-sdk/crypto/types"
	sdk "github.com/cosmos/cosmos-sdk/types"
	v1 "github.com/cosmos/cosmos-sdk/x/gov/types/v1"
	stakingtypes "github.com/cosmos/cosmos-sdk/x/staking/types"

	api "github.com/cella-network/cella/api/guarantee"
	"github.com/cella-network/cella/protocol/threshold"
)

// create sends the message that makes a validator of a key.
func (w *world) create(t testing.TB, name string, key cryptotypes.PubKey, own int64) error {
	t.Helper()
	w.fund(t, account(name), own)
	w.known[name] = true
	msg, err := stakingtypes.NewMsgCreateValidator(valoper(name), key, ucella(own), stakingtypes.NewDescription(name, "", "", "", ""),
		stakingtypes.NewCommissionRates(sdkmath.LegacyZeroDec(), sdkmath.LegacyOneDec(), sdkmath.LegacyOneDec()), sdkmath.OneInt())
	if err != nil {
		t.Fatal(err)
	}
	return w.tx(func(ctx context.Context) error { _, err := w.server.CreateValidator(ctx, msg); return err })
}

// alone is a chain whose only validator, ann, has left x/staking with all of its coins and makes blocks still: nobody else is there.
func alone(t testing.TB, p api.Params) *world {
	t.Helper()
	w := newWorld(t, p)
	if err := w.validator(t, "ann", 100*cella, 0); err != nil {
		t.Fatal(err)
	}
	w.bytes["ann"], w.bytes["eve"] = 500*gib, 500*gib
	w.start(t)
	w.era(t)
	w.era(t)
	if err := w.unbond("ann", "ann", 100*cella); err != nil {
		t.Fatal(err)
	}
	w.era(t)
	w.era(t)
	if v, err := w.keeper.validator(w.ctx, text(account("ann"))); err != nil || v != nil {
		t.Fatal(v, err)
	}
	if set, err := w.keeper.last(w.ctx); err != nil || len(set.Seats) != 1 {
		t.Fatal(set, err)
	}
	return w
}

// CometBFT takes no set in which a key comes twice, and no other keys than ed25519 ones.
func TestKeysThatWouldStopTheChain(t *testing.T) {
	w := alone(t, params)
	if err := w.create(t, "eve", keyOf("ann"), 100*cella); !errors.Is(err, ErrRefused) {
		t.Errorf("a key that makes blocks: %v", err)
	}
	if err := w.create(t, "eve", secp256k1.GenPrivKey().PubKey(), 100*cella); !errors.Is(err, ErrRefused) {
		t.Errorf("a key of another kind: %v", err)
	}
	if err := w.validator(t, "eve", 100*cella, 0); err != nil {
		t.Fatal(err)
	}
	for name, key := range map[string]cryptotypes.PubKey{"a key that makes blocks": keyOf("ann"), "a key of another kind": secp256k1.GenPrivKey().PubKey(),
		"a short key": &ed25519.PubKey{Key: make([]byte, 31)}} {
		msg, err := stakingtypes.NewMsgRotateConsPubKey(valoper("eve"), key)
		if err != nil {
			t.Fatal(err)
		}
		w.fund(t, account("eve"), 1)
		if _, err := w.server.RotateConsPubKey(w.ctx, msg); !errors.Is(err, ErrRefused) {
			t.Errorf("rotated to %s: %v", name, err)
		}
	}
	for range 5 {
		w.era(t)
	}
	// Whoever comes back by another key, with too little for x/staking to bond, votes without its record of who signs.
	p := params
	p.PowerUnit = 1000
	w = alone(t, p)
	if err := w.create(t, "ann", keyOf("ann'"), 5000); err != nil {
		t.Fatal(err)
	}
	for range 4 {
		w.block(t)
	}
	w.double = []abci.Misbehavior{{Type: abci.MisbehaviorType_DUPLICATE_VOTE, Height: w.ctx.BlockHeight(), Time: w.ctx.BlockTime(),
		Validator: abci.Validator{Address: addressOf(string(keyOf("ann'").Key)), Power: 1}}}
	w.block(t)
}

// Where governance takes seats away, the set goes on to change, and gets there by thirds.
func TestFewerSeats(t *testing.T) {
	p := params
	p.Seats = 8
	w := newWorld(t, p)
	for i, name := range []string{"ann", "bob", "cat", "dan", "eve", "fay", "gus", "hal"} {
		if err := w.validator(t, name, int64(100+i)*cella, 0); err != nil {
			t.Fatal(err)
		}
		w.bytes[name] = 200 * gib
	}
	w.start(t)
	w.era(t)
	w.era(t)
	p.Seats = 4
	if _, err := (msgServer{w.keeper}).UpdateParams(w.ctx, &api.MsgUpdateParams{Authority: authority, Params: p}); err != nil {
		t.Fatal(err)
	}
	for range 6 {
		w.era(t)
	}
	if set, err := w.keeper.last(w.ctx); err != nil || len(set.Seats) != 4 {
		t.Errorf("%d seats (%v)", len(set.Seats), err)
	}
	p.Seats = threshold.MaxMembers + 1
	if _, err := (msgServer{w.keeper}).UpdateParams(w.ctx, &api.MsgUpdateParams{Authority: authority, Params: p}); !errors.Is(err, ErrRefused) {
		t.Errorf("more seats than can share keys: %v", err)
	}
}

// Who proves a little first does not govern a chain of others, whose power has not moved yet.
func TestFirstProverDoesNotGovern(t *testing.T) {
	w := newWorld(t, params)
	for _, name := range []string{"ann", "bob", "cat", "dan"} {
		if err := w.validator(t, name, 100*cella, 0); err != nil {
			t.Fatal(err)
		}
	}
	w.bytes["eve"] = 20 * gib
	w.start(t)
	w.era(t)
	w.era(t)
	if err := w.validator(t, "eve", 10*cella, 0); err != nil {
		t.Fatal(err)
	}
	w.block(t)
	voted, all, _ := w.tally(t, map[string]v1.VoteOption{"eve": v1.OptionYes, "ann": v1.OptionNo})
	if !voted.Equal(sdkmath.LegacyNewDec(110*cella)) || !all.Equal(sdkmath.NewInt(410*cella)) {
		t.Errorf("%s of %s", voted, all)
	}
}

// Many small parts on their way out would make each era's end long for little money.
func TestDustCantLeave(t *testing.T) {
	w := four(t)
	if err := w.bond(t, "ann", "gil", cella-1); !errors.Is(err, ErrRefused) {
		t.Errorf("dust is bonded: %v", err)
	}
	if err := w.bond(t, "ann", "gil", 5*cella); err != nil {
		t.Fatal(err)
	}
	if err := w.unbond("ann", "gil", cella-1); !errors.Is(err, ErrRefused) {
		t.Errorf("dust leaves: %v", err)
	}
	if err := w.unbond("ann", "gil", 4*cella+1); err != nil {
		t.Fatal(err)
	}
	w.block(t)
	if err := w.cancel("ann", "gil", 4*cella); !errors.Is(err, ErrRefused) {
		t.Errorf("dust stays on its way out: %v", err)
	}
	for _, amount := range []int64{3 * cella, cella + 1} {
		if err := w.cancel("ann", "gil", amount); err != nil {
			t.Error(err)
		}
	}
	if err := w.unbond("ann", "gil", 4*cella+1); err != nil {
		t.Fatal(err)
	}
	if err := w.unbond("ann", "gil", cella-1); err != nil {
		t.Errorf("all that is left can't leave: %v", err)
	}
}

// Ids of coins on their way out are of one row with those of validators: an id that comes twice over an export is forgotten with the validator's.
func TestIdsAfterExport(t *testing.T) {
	w := four(t)
	if err := w.unbond("ann", "ann", 10*cella); err != nil {
		t.Fatal(err)
	}
	if err := w.keeper.Blamed(w.ctx, [20]byte(account("bob")), "false-share"); err != nil {
		t.Fatal(err)
	}
	w.count(w.ctx)
	w.block(t)
	ids := mustValidator(t, w, "bob").UnbondingIds
	if len(ids) != 1 {
		t.Fatal(ids)
	}
	g, err := w.keeper.ExportGenesis(w.ctx)
	if err != nil {
		t.Fatal(err)
	}
	n := w.restart(t, g, w.staking.ExportGenesis(w.ctx))
	if id, err := n.staking.IncrementUnbondingID(n.ctx); err != nil || id <= ids[0] {
		t.Errorf("the next id is %d, that of bob %d (%v)", id, ids[0], err)
	}
}

// All that is bonded is of one coin: another would leave pools that can't be paid out.
func TestOneCoin(t *testing.T) {
	w := four(t)
	p, err := w.staking.GetParams(w.ctx)
	if err != nil {
		t.Fatal(err)
	}
	p.BondDenom = "gold"
	if _, err := w.server.UpdateParams(w.ctx, &stakingtypes.MsgUpdateParams{Params: p}); !errors.Is(err, ErrRefused) {
		t.Error(err)
	}
}

// A validator whom x/staking has forgotten is slashed for two votes as long as it has any.
func TestUnbondedAnswers(t *testing.T) {
	w := newWorld(t, params)
	if err := w.validator(t, "ann", 100*cella, 0); err != nil {
		t.Fatal(err)
	}
	w.start(t)
	if err := w.unbond("ann", "ann", 100*cella-1); err != nil {
		t.Fatal(err)
	}
	for range 15 {
		w.block(t)
	}
	if v := mustValidator(t, w, "ann"); !v.IsUnbonded() {
		t.Fatal(v)
	}
	w.double = []abci.Misbehavior{{Type: abci.MisbehaviorType_DUPLICATE_VOTE, Height: w.ctx.BlockHeight(), Time: w.ctx.BlockTime(),
		Validator: abci.Validator{Address: addressOf(string(keyOf("ann").Key)), Power: 100}}}
	lines := w.readable(strings.Join(w.block(t), "\n"))
	if !strings.Contains(lines, "bonded=1 ") || !strings.Contains(lines, "unbonding=5000000") {
		t.Error(lines)
	}
}

// Power that moves in the last block of an era makes one block more: what is done in that is slashed as well.
func TestOneBlockMore(t *testing.T) {
	w := four(t)
	w.fresh = true
	w.block(t)
	if err := w.bond(t, "ann", "gil", 30*cella); err != nil {
		t.Fatal(err)
	}
	w.era(t)
	w.done = true
	w.block(t)
	if err := w.unbond("ann", "gil", 30*cella); err != nil {
		t.Fatal(err)
	}
	w.era(t)
	for range params.EraBlocks - 1 {
		w.block(t)
	}
	w.done = true
	lines := w.readable(strings.Join(w.block(t), "\n"))
	if !strings.Contains(lines, "power of ann is 100") || !strings.Contains(lines, "Era ") {
		t.Fatal(lines)
	}
	w.block(t)
	if err := w.keeper.Punish(w.ctx, consensusOf(keyOf("ann").Key), w.ctx.BlockHeight(), "bad-share"); err != nil {
		t.Fatal(err)
	}
	if got := w.readable(strings.Join(events(w.ctx), "\n")); !strings.Contains(got, "unbonding=3000000") {
		t.Error(got)
	}
}

// Who was slashed a little below min_own bonds what it lacks, however full its limit is and however little that may be: guarantors can't keep it out.
func TestLackingStakeIsTaken(t *testing.T) {
	p := params
	p.MinOwn = 100 * cella
	w := fourWith(t, p)
	w.fresh = true
	w.block(t)
	if err := w.bond(t, "ann", "gil", 100*cella); err != nil {
		t.Fatal(err)
	}
	slash := func(hundredths int64) {
		if _, err := w.keeper.Staking().SlashWithInfractionReason(w.ctx, sdk.ConsAddress(addressOf(string(keyOf("ann").Key))), w.ctx.BlockHeight(), 0,
			sdkmath.LegacyNewDecWithPrec(hundredths, 4), stakingtypes.Infraction_INFRACTION_DOWNTIME); err != nil {
			t.Fatal(err)
		}
		w.count(w.ctx)
	}
	bond := func(who string, amount int64, taken bool) {
		t.Helper()
		if err := w.bond(t, "ann", who, amount); (err == nil) != taken || err != nil && !errors.Is(err, ErrRefused) {
			t.Errorf("%d of %s: %v", amount, who, err)
		}
	}
	slash(1)
	bond("gil", cella/100, false)
	bond("ann", cella, false)
	bond("ann", cella/100-1, false)
	w.era(t)
	if paid, elected := w.counts(t, "ann"); paid || elected {
		t.Errorf("with less than min_own: paid %v, elected %v", paid, elected)
	}
	bond("ann", cella/100, true)
	bond("ann", cella/100, false)
	w.era(t)
	if paid, elected := w.counts(t, "ann"); !paid || !elected {
		t.Errorf("with min_own: paid %v, elected %v", paid, elected)
	}
	slash(100)
	bond("gil", 2*cella, true)
	bond("gil", cella, false)
	bond("ann", 2*cella, false)
	bond("ann", cella, true)
	bond("ann", cella, false)
}

// counts plays an era and says whether a node is paid for it and in the set that is elected at its end.
func (w *world) counts(t testing.TB, name string) (paid, elected bool) {
	t.Helper()
	w.done = w.begun != nil
	for _, l := range w.era(t) {
		l = w.readable(l)
		paid = paid || strings.HasPrefix(l, "Paid ") && strings.Contains(l, "operator="+name+" own=")
	}
	return paid, slices.ContainsFunc(w.begun, func(m threshold.Stakeholder) bool { return nameOf(m.Account[:]) == name })
}
