package beacon

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"errors"
	"strings"
	"testing"

	cmtproto "github.com/cometbft/cometbft/proto/tendermint/types"
	cmttypes "github.com/cometbft/cometbft/types"

	storetypes "github.com/cosmos/cosmos-sdk/store/v2/types"
	sdk "github.com/cosmos/cosmos-sdk/types"

	api "github.com/cella-network/cella/api/beacon"
	"github.com/cella-network/cella/protocol/beacon"
)

// vote is what a validator signed at a height: an extension with a partial signature that may be wrong.
func (w *world) signedBy(name string, height int64, round int32, e beacon.Extension) *api.MsgBadShare {
	v := w.named(name)
	a, extension := v.address(), e.Marshal()
	return &api.MsgBadShare{Validator: a[:], Height: height, Round: int64(round), Extension: extension, Signature: sign(v, height, round, extension)}
}

func TestBadShare(t *testing.T) {
	w := running(t, 12)
	w.charge(7, 20, "dan", "cat", "ben", "ann")
	post := func(m *api.MsgBadShare) error {
		ctx := w.at(w.height + 1)
		_, err := (msgServer{w.keeper}).BadShare(ctx, m)
		return err
	}
	with := func(height int64, points []byte) beacon.Extension {
		return beacon.Extension{Epoch: 1, Partials: []beacon.Partial{{Height: height, Points: points}}}
	}
	right := func(seat int, height int64) []byte { return w.teams[0].partial(seat, message(1, height)) }
	bad := func() *api.MsgBadShare { return w.signedBy("ann", 10, 0, with(10, right(1, 10))) }
	change := func(f func(*api.MsgBadShare)) *api.MsgBadShare {
		m := bad()
		f(m)
		return m
	}
	for _, c := range []struct {
		name string
		m    *api.MsgBadShare
		why  string // empty: punished
	}{
		{"another's partial signature", bad(), ""},
		{"in a later round", w.signedBy("ann", 10, 3, with(10, right(1, 10))), ""},
		{"of another height", w.signedBy("ann", 10, 0, with(10, right(0, 9))), ""},
		{"no points of the curve", w.signedBy("ann", 10, 0, with(10, make([]byte, 96))), ""},
		{"half of it", w.signedBy("ann", 10, 0, with(10, right(0, 10)[:48])), ""},
		{"wrong about an older height", w.signedBy("ann", 10, 0, beacon.Extension{Epoch: 1, Partials: []beacon.Partial{{Height: 5, Points: right(1, 5)}, {Height: 10, Points: right(0, 10)}}}), ""},
		{"right", w.signedBy("ann", 10, 0, with(10, right(0, 10))), "no partial signature in it is wrong"},
		{"right about an older height", w.signedBy("ann", 10, 0, with(5, right(0, 5))), "no partial signature in it is wrong"},
		{"about a height ahead", w.signedBy("ann", 10, 0, with(11, right(1, 11))), "no partial signature in it is wrong"},
		{"about a height before the group", w.signedBy("ann", 10, 0, with(2, right(1, 2))), "no partial signature in it is wrong"},
		{"another epoch", w.signedBy("ann", 10, 0, beacon.Extension{Epoch: 2, Partials: with(10, right(1, 10)).Partials}), "epoch 2 was not in charge"},
		{"nothing said", change(func(m *api.MsgBadShare) {
			m.Extension = []byte("rubbish")
			m.Signature = sign(w.named("ann"), 10, 0, m.Extension)
		}), "no evidence"},
		{"signed for another round", change(func(m *api.MsgBadShare) { m.Round = 1 }), "not signed"},
		{"round that wraps around", change(func(m *api.MsgBadShare) { m.Round = 1 << 32 }), "not signed"},
		{"signed for another height", change(func(m *api.MsgBadShare) { m.Height = 9 }), "not signed"},
		{"another's signature", change(func(m *api.MsgBadShare) { a := w.named("ben").address(); m.Validator = a[:] }), "not signed"},
		{"a stranger", change(func(m *api.MsgBadShare) { m.Validator = make([]byte, 20) }), "did not vote"},
		{"a height to come", w.signedBy("ann", 13, 0, with(13, right(1, 13))), "not one of the last"},
		{"an extension too long", change(func(m *api.MsgBadShare) { m.Extension = make([]byte, maxExtension+1) }), "at most"},
		{"a signature too short", change(func(m *api.MsgBadShare) { m.Signature = m.Signature[:63] }), "at most"},
	} {
		w.punished = nil
		err := post(c.m)
		switch {
		case c.why == "" && (err != nil || len(w.punished) != 1):
			t.Errorf("%s: %v, %v", c.name, err, w.punished)
		case c.why != "" && (!errors.Is(err, ErrRefused) || !strings.Contains(err.Error(), c.why) || len(w.punished) > 0):
			t.Errorf("%s: %v, want %q; %v", c.name, err, c.why, w.punished)
		}
	}

	w.punished = nil
	w.ctx = w.ctx.WithBlockHeight(13).WithGasMeter(storetypes.NewGasMeter(1 << 40))
	if _, err := (msgServer{w.keeper}).BadShare(w.ctx, bad()); err != nil || w.punished[0] != "ann at 10: bad-share" {
		t.Fatal(err, w.punished)
	}
	if got := w.ctx.GasMeter().GasConsumed(); got < gasBadShare || got > gasBadShare+100_000 {
		t.Errorf("%d gas", got)
	}
	if err := post(w.signedBy("ann", 10, 1, with(10, right(2, 10)))); !errors.Is(err, ErrRefused) || !strings.Contains(err.Error(), "was punished") {
		t.Error("twice for one height:", err)
	}
	if err := post(w.signedBy("ann", 11, 0, with(11, right(1, 11)))); err != nil {
		t.Error("a validator may be bad again:", err)
	}
	w.ctx = w.ctx.WithGasMeter(storetypes.NewInfiniteGasMeter())
	w.until(24)
	if err := post(w.signedBy("ann", 12, 0, with(12, right(1, 12)))); err != nil {
		t.Error("after a handover, as long as the group may come back:", err)
	}
	if err := post(w.signedBy("ann", 21, 0, with(21, right(0, 21)))); !errors.Is(err, ErrRefused) {
		t.Error("shares of the old group at a height of the new one are ignored, not punished:", err)
	}
	wrong := beacon.Extension{Epoch: 2, Partials: []beacon.Partial{{Height: 21, Points: w.teams[1].partial(0, message(2, 21))}}}
	if err := post(w.signedBy("ann", 21, 0, wrong)); err != nil {
		t.Error("ann has the last seat of the new group, not the first:", err)
	}
}

// A validator's key and nonce have small order: consensus, by ZIP 215, takes its signature beside a vote and crypto/ed25519 does not. What was signed so is
// evidence like any other.
func TestBadShareWithAnOddSignature(t *testing.T) {
	w := running(t, 12)
	ann := w.named("ann")
	ann.absent = true
	order2 := append([]byte{0xec}, bytes.Repeat([]byte{0xff}, 31)...)
	order2[31] = 0x7f
	copy(ann.key[32:], order2)
	w.until(16)
	e := beacon.Extension{Epoch: 1, Partials: []beacon.Partial{{Height: 15, Points: w.teams[0].partial(1, message(1, 15))}}}
	m := w.signedBy("ann", 15, 0, e)
	signed := cmttypes.VoteExtensionSignBytes(testChain, &cmtproto.Vote{Height: 15, Extension: m.Extension})
	identity := append([]byte{1}, make([]byte, 31)...)
	m.Signature = append(identity, make([]byte, 32)...)
	if ed25519.Verify(order2, signed, m.Signature) { // then it refuses the other one
		m.Signature = append(order2, make([]byte, 32)...)
	}
	if ed25519.Verify(order2, signed, m.Signature) {
		t.Fatal("crypto/ed25519 takes it")
	}
	if _, err := (msgServer{w.keeper}).BadShare(w.at(w.height+1), m); err != nil || len(w.punished) != 1 {
		t.Errorf("%v, punished: %v", err, w.punished)
	}
}

// dear is a court whose verdicts take much: it slashes thousands of coins on their way out.
type dear struct{ *world }

func (d dear) Punish(ctx context.Context, consensus [20]byte, height int64, rule string) error {
	sdk.UnwrapSDKContext(ctx).GasMeter().ConsumeGas(1<<30, "coins on their way out")
	return d.world.Punish(ctx, consensus, height, rule)
}

// However much there is to slash, a proof fits into a transaction.
func TestBadShareOfMuchStake(t *testing.T) {
	w := running(t, 12)
	w.keeper.Join(w, dear{w})
	e := beacon.Extension{Epoch: 1, Partials: []beacon.Partial{{Height: 10, Points: w.teams[0].partial(1, message(1, 10))}}}
	ctx := w.at(w.height + 1).WithGasMeter(storetypes.NewGasMeter(20_000_000))
	defer func() {
		if r := recover(); r != nil || len(w.punished) != 1 {
			t.Errorf("%v, punished: %v", r, w.punished)
		}
	}()
	if _, err := (msgServer{w.keeper}).BadShare(ctx, w.signedBy("ann", 10, 0, e)); err != nil {
		t.Error(err)
	}
}

// Who voted is kept by changes of the set, for as long as a bad share counts.
func TestVotersAreRemembered(t *testing.T) {
	w := running(t, 6)
	ann := w.named("ann")
	w.validators = w.validators[1:]
	w.until(9) // 8 is the first height without ann: the set of a height is known in the block before
	a := ann.address()
	for height, want := range map[int64]bool{5: true, 6: true, 7: true, 8: false, 9: false} {
		set, err := w.keeper.votersAt(w.ctx, height)
		if _, ok := set.find(a[:]); ok != want || err != nil {
			t.Errorf("ann votes at %d: %v, %v", height, ok, err)
		}
	}
	count := 0
	for it := storetypes.KVStorePrefixIterator(w.ctx.KVStore(w.key), []byte{10}); it.Valid(); it.Next() {
		count++
	}
	if count != 2 {
		t.Errorf("%d sets are stored, want 2", count)
	}
	if err := w.keeper.pruneVoters(w.ctx, 6); err != nil {
		t.Fatal(err)
	}
	if set, _ := w.keeper.votersAt(w.ctx, 6); len(set) != 4 {
		t.Error("a set that holds still is forgotten")
	}
	if err := w.keeper.pruneVoters(w.ctx, 8); err != nil {
		t.Fatal(err)
	}
	if set, _ := w.keeper.votersAt(w.ctx, 6); len(set) != 0 {
		t.Error("an old set stays")
	}
}
