package attest

import (
	"errors"
	"fmt"
	"testing"

	sdk "github.com/cosmos/cosmos-sdk/types"

	api "github.com/cella-network/cella/api/attest"
	"github.com/cella-network/cella/protocol/attestation"
	"github.com/cella-network/cella/protocol/lottery"
)

// Every active node is drawn for what all must bear, each with the same chance, and only endorsers for what takes trust; both
// stay so while nodes come, change sides and go.
func TestDrawsOfTwoKinds(t *testing.T) {
	w, _ := started(t) // ann and ben endorse
	tier := map[attestation.Account]bool{account("ann"): true, account("ben"): true}
	join := func(name string, endorses bool) sdk.AccAddress {
		n := attestation.Node{Account: account(name), Tier: attestation.TierLow}
		var err error
		if tier[n.Account] = endorses; endorses {
			n.Tier = attestation.TierHigh
			err = w.keeper.seat(w.ctx, n.Account[:])
		} else {
			err = w.keeper.enter(w.ctx, n.Account[:])
		}
		if err := errors.Join(err, w.keeper.setNode(w.ctx, n, api.NodeInfo{})); err != nil {
			t.Fatal(err)
		}
		return n.Account[:]
	}
	for i := range 6 {
		join(fmt.Sprint("node ", i), i%2 == 0)
	}
	// One ends, one of each kind changes sides.
	gone := join("gone", false)
	if err := errors.Join(w.keeper.leave(w.ctx, gone), w.keeper.leave(w.ctx, gone)); err != nil {
		t.Fatal(err)
	}
	delete(tier, account("gone"))
	zero, one := account("node 0"), account("node 1")
	if err := errors.Join(w.keeper.unseat(w.ctx, zero[:]), w.keeper.seat(w.ctx, one[:])); err != nil {
		t.Fatal(err)
	}
	tier[zero], tier[one] = false, true

	any, trusted := map[attestation.Account]int{}, map[attestation.Account]int{}
	excluded := []attestation.Account{account("ann"), zero, account("stranger")}
	const draws = 4000
	for i := range draws {
		subject := fmt.Appendf(nil, "%d", i)
		n, ok, err := w.keeper.DrawActive(w.ctx, lottery.Seed{}, subject)
		if err != nil || !ok {
			t.Fatal(ok, err)
		}
		any[n.Account]++
		if n, ok, err = w.keeper.DrawEndorser(w.ctx, lottery.Seed{}, subject, excluded); err != nil || !ok {
			t.Fatal(ok, err)
		}
		trusted[n.Account]++
	}
	for a, endorses := range tier {
		if n, want := any[a], draws/len(tier); n < want*3/4 || n > want*5/4 {
			t.Errorf("%q was drawn %d times of %d", a, n, draws)
		}
		if (trusted[a] > 0) != (endorses && a != account("ann")) {
			t.Errorf("%q was drawn %d times as one that endorses", a, trusted[a])
		}
	}
	if len(any) != len(tier) {
		t.Errorf("%d nodes were drawn of %d", len(any), len(tier))
	}
	var all []attestation.Account
	for a := range tier {
		all = append(all, a)
	}
	if _, ok, err := w.keeper.DrawEndorser(w.ctx, lottery.Seed{}, nil, all); ok || err != nil {
		t.Error("drew one of the excluded:", err)
	}
	if n, err := w.keeper.count.Get(w.ctx); err != nil || n != uint64(len(tier)) {
		t.Errorf("%d are active, want %d: %v", n, len(tier), err)
	}
}

func TestDrawOfNobody(t *testing.T) {
	w := newWorld(t, params)
	if _, ok, err := w.keeper.DrawActive(w.ctx, lottery.Seed{}, nil); ok || err != nil {
		t.Error("drew somebody:", err)
	}
	if _, ok, err := w.keeper.DrawEndorser(w.ctx, lottery.Seed{}, nil, nil); ok || err != nil {
		t.Error("drew somebody:", err)
	}
}

// While seeds don't come no endorser is drawn, nobody is counted as silent and no intent lapses. Whoever is drawn then has its full time.
func TestIntentsWaitForSeeds(t *testing.T) {
	w, cat := started(t) // ann and ben endorse
	took := w.ctx.BlockHeight()
	w.stalled = took
	w.join(t, cat)
	operator := account("cat")
	state := func() attestation.Intent {
		in, _, ok, err := w.keeper.intent(w.ctx, operator[:])
		if err != nil || !ok {
			t.Fatal("the intent is gone", err)
		}
		return in
	}
	w.next(t, 50)
	if in := state(); in.Endorser != (attestation.Account{}) {
		t.Fatalf("drawn without a seed: %+v", in)
	}
	// The seed of the block that took the intent was known, or could be, to who made it: it draws nobody.
	if events := w.next(t, 1); len(events) != 0 {
		t.Error(events)
	}
	w.stalled = took + 1
	w.next(t, 1)
	in := state()
	seed, _, _ := w.Seed(w.ctx, took+1)
	want, err := w.keeper.drawn(w.ctx, seed, append(append([]byte(nil), operator[:]...), 0, 0, 0, 0), []sdk.AccAddress{operator[:]})
	if err != nil || in.Endorser != attestation.Account(want) || in.Drawn != w.ctx.BlockHeight() {
		t.Errorf("%+v, want %x drawn in block %d: %v", in, want, w.ctx.BlockHeight(), err)
	}
	w.next(t, 30)
	if got := state(); got != in {
		t.Errorf("it was drawn anew without a seed: %+v", got)
	}
	w.stalled = 0
	w.next(t, 1)
	if _, _, ok, err := w.keeper.intent(w.ctx, operator[:]); ok || err != nil {
		t.Error("an intent whose time is over does not lapse:", err)
	}
}

// An intent whose seed is kept no more is drawn by a later one.
func TestSeedIsForgotten(t *testing.T) {
	w, cat := started(t)
	w.stalled = w.ctx.BlockHeight()
	w.join(t, cat)
	w.next(t, 5)
	w.stalled, w.oldest = 0, w.ctx.BlockHeight()
	w.next(t, 2)
	operator := account("cat")
	if in, _, ok, err := w.keeper.intent(w.ctx, operator[:]); err != nil || !ok || in.Endorser == (attestation.Account{}) {
		t.Errorf("%+v, %v", in, err)
	}
}

// Reports name the height of the last seed: its block's hash is kept, however long seeds don't come.
func TestHashesWaitForSeeds(t *testing.T) {
	w := newWorld(t, params)
	last := w.ctx.BlockHeight()
	w.stalled = last
	w.next(t, 3*int(params.TrustBlocks))
	if hash, ok, err := w.keeper.BlockHash(w.ctx, last); err != nil || !ok || hash != hashOf(last) {
		t.Error("the hash of the last height with a seed is gone:", err)
	}
	w.stalled = 0
	w.next(t, 3*int(params.TrustBlocks))
	n := 0
	if err := w.keeper.hashes.Walk(w.ctx, nil, func(int64, []byte) (bool, error) { n++; return false, nil }); err != nil || n != int(params.TrustBlocks)+1 {
		t.Errorf("%d hashes are kept: %v", n, err)
	}
}

// While seeds stay away, who was a node before comes back on its machine by the chain's own verdict; nobody else joins.
func TestReturnWithoutSeeds(t *testing.T) {
	w, cat := started(t) // ann and ben endorse
	for i := range 2 {
		n := attestation.Node{Account: account(fmt.Sprint("node ", i)), Tier: attestation.TierHigh, Joined: 1, Expires: 1 << 40}
		if err := errors.Join(w.keeper.activate(w.ctx, n, api.NodeInfo{}), w.keeper.setNode(w.ctx, n, api.NodeInfo{})); err != nil {
			t.Fatal(err)
		}
	}
	waits := func(name string) bool {
		operator := account(name)
		_, _, ok, err := w.keeper.intent(w.ctx, operator[:])
		if err != nil {
			t.Fatal(err)
		}
		return ok
	}
	w.stalled = w.ctx.BlockHeight()
	w.next(t, 1)
	w.join(t, newEnclave("ann", "ann", 2)) // restarted
	w.join(t, newEnclave("ben", "elsewhere", 2))
	w.join(t, cat) // new
	w.next(t, int(params.EndorseBlocks)-1)
	if !waits("ann") || !waits("ben") || !waits("cat") {
		t.Fatal("somebody joined without an endorser before seeds had stayed away for long")
	}
	w.next(t, 1)
	if waits("ann") {
		t.Error("a node does not come back while seeds stay away")
	}
	w.next(t, 10)
	if !waits("ben") {
		t.Error("a node came back on another machine without an endorser")
	}
	if !waits("cat") {
		t.Error("somebody new joined without an endorser")
	}
	w.stalled = 0
	w.next(t, 1)
	if in, _, ok, err := w.keeper.intent(w.ctx, cat.account[:]); err != nil || ok && in.Endorser == (attestation.Account{}) {
		t.Errorf("with seeds nobody is drawn: %+v, %v", in, err)
	}
}
