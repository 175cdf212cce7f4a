package committee

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"errors"
	"slices"
	"strings"
	"testing"

	"cosmossdk.io/collections"

	storetypes "github.com/cosmos/cosmos-sdk/store/v2/types"
	sdk "github.com/cosmos/cosmos-sdk/types"

	api "github.com/cella-network/cella/api/committee"
	"github.com/cella-network/cella/protocol/threshold"
)

// four is a chain with a confirmed group of four.
func four(tb testing.TB) *world {
	tb.Helper()
	w := newWorld(tb)
	w.join(10, "ann", "ben", "cat", "dan")
	w.blocks(13)
	return w
}

// keys is a chain in the first phase of a handover, in which nobody has said anything.
func keys(tb testing.TB) *world {
	tb.Helper()
	w := four(tb)
	w.join(10, "zoe")
	must(tb, w.keeper.Begin(w.ctx, Purpose, w.of("ann", "ben", "cat", "dan")))
	return w
}

func (w *world) keyOf(name string) []byte {
	v := w.view()
	_, message, err := threshold.Join(v.setup, seatOf(v.setup.Seats, name), w.people[name].random)
	must(w.tb, err)
	return message
}

func TestPostRefuses(t *testing.T) {
	w := keys(t)
	old := threshold.Setup{ID: threshold.ID{ChainID: chainID, Purpose: Purpose, Epoch: 1}, Seats: w.view().setup.Seats, Threshold: 6}
	_, stale, err := threshold.Join(old, 0, w.people["ann"].random)
	must(t, err)
	ann, ben := w.people["ann"], w.people["ben"]
	good := func() []api.Signed { return ann.signed(w.keyOf("ann")) }
	for name, c := range map[string]struct {
		member, purpose string
		messages        func() []api.Signed
		before          func()
		want            string
	}{
		"by the enclave of another account": {messages: func() []api.Signed { return ben.signed(w.keyOf("ann")) }, want: "not signed by the enclave"},
		"of another account by its enclave": {messages: func() []api.Signed { return ben.signed(w.keyOf("ben")) }, want: "not signed by the enclave"},
		"about another account": {messages: func() []api.Signed {
			m := w.keyOf("ann")
			return []api.Signed{{Message: m, Signature: ed25519.Sign(ann.key(), threshold.PostStatement(chainID, account("ben"), m))}}
		}, want: "not signed by the enclave"},
		"for another chain": {messages: func() []api.Signed {
			m := w.keyOf("ann")
			return []api.Signed{{Message: m, Signature: ed25519.Sign(ann.key(), threshold.PostStatement("cella-2", account("ann"), m))}}
		}, want: "not signed by the enclave"},
		"of another's seat":      {messages: func() []api.Signed { return ann.signed(w.keyOf("ben")) }, want: "seat is not the sender's"},
		"of another ceremony":    {messages: func() []api.Signed { return ann.signed(stale) }, want: "another ceremony"},
		"without a seat":         {member: "zoe", messages: func() []api.Signed { return w.people["zoe"].signed(w.keyOf("ann")) }, want: "seat is not the sender's"},
		"without an enclave":     {messages: good, before: func() { ann.active = false }, want: "no active enclave"},
		"by a low platform":      {messages: good, before: func() { ann.low = true }, want: "no active enclave of the high tier"},
		"for another purpose":    {purpose: "files", messages: good, want: `no group for "files"`},
		"for a strange purpose":  {purpose: "a\x00b", messages: good, want: ""},
		"without messages":       {messages: func() []api.Signed { return nil }, want: "0 messages"},
		"with too many messages": {messages: func() []api.Signed { return make([]api.Signed, threshold.MaxPosted+1) }, want: "17 messages"},
		"that is too long":       {messages: func() []api.Signed { return ann.signed(make([]byte, threshold.MaxPostedBytes+1)) }, want: "message of 65537 bytes"},
		"that are too long together": {messages: func() []api.Signed {
			return ann.signed(make([]byte, threshold.MaxPostedBytes/2), make([]byte, threshold.MaxPostedBytes/2+1))
		}, want: "message of 32769 bytes"},
		"with half a signature": {messages: func() []api.Signed {
			return []api.Signed{{Message: w.keyOf("ann"), Signature: make([]byte, 32)}}
		}, want: "signature of 32"},
		"that is nothing": {messages: func() []api.Signed { return ann.signed(nil) }, want: "malformed"},
	} {
		t.Run(name, func(t *testing.T) {
			msg := &api.MsgPost{Member: text("ann"), Purpose: Purpose}
			if c.member != "" {
				msg.Member = text(c.member)
			}
			if c.purpose != "" {
				msg.Purpose = c.purpose
			}
			if c.before != nil {
				c.before()
				defer func() { ann.active, ann.low = true, false }()
			}
			msg.Messages = c.messages()
			before := w.dump()
			// Not in a branch: what is refused must not have written anything at all.
			_, err := msgServer{w.keeper}.Post(w.ctx, msg)
			if err == nil || !strings.Contains(err.Error(), c.want) || w.dump() != before {
				t.Errorf("%v, want %q and nothing changed (changed: %v)", err, c.want, w.dump() != before)
			}
		})
	}
	must(t, w.post(ann, w.keyOf("ann")))
	if err := w.post(ann, w.keyOf("ann")); !errors.Is(err, ErrRefused) {
		t.Errorf("the same seat brought a second key: %v", err)
	}
}

// Platforms that a host can read or roll back hold no shares: their seats are silent, and no ceremony begins while too many are of that kind.
func TestLowTierHoldsNoShares(t *testing.T) {
	w := newWorld(t)
	w.join(10, "ann", "ben", "cat", "dan")
	for _, name := range []string{"cat", "dan"} {
		w.people[name].low = true
	}
	w.blocks(20)
	if began, err := w.keeper.proceedings.Has(w.ctx, Purpose); err != nil || began {
		t.Fatalf("a ceremony began with half of the members: %v, %v", began, err)
	}
	w.people["cat"].low = false
	w.blocks(20)
	now, _, err := w.keeper.Charges(w.ctx, Purpose)
	must(t, err)
	if now == nil {
		t.Fatal("three of four have no key")
	}
	for i, name := range []string{"ann", "ben", "cat", "dan"} {
		if now.Keys.Ready(i) != (name != "dan") {
			t.Errorf("%s holds shares: %v", name, now.Keys.Ready(i))
		}
	}
}

// What does not fit is left out, and takes nothing with it.
func TestPostTakesWhatFits(t *testing.T) {
	w := keys(t)
	ann := w.people["ann"]
	must(t, w.post(ann, []byte("rubbish"), w.keyOf("ann"), w.keyOf("ann")))
	if v := w.view(); v.count != 1 {
		t.Errorf("%d messages were taken, want the one that fits", v.count)
	}
}

// Members pay for work before it is done, and whether the program has just started makes no difference.
func TestGas(t *testing.T) {
	w := keys(t)
	for _, name := range []string{"ann", "ben"} {
		must(t, w.post(w.people[name], w.keyOf(name)))
	}
	used := w.gas[len(w.gas)-2:]
	if least := uint64(gasMessage + gasPerByte*150 + 4*gasPerSeat); used[0] < least {
		t.Errorf("a key costs %d, want at least %d", used[0], least)
	}
	bare := sdk.UnwrapSDKContext(w.ctx).WithGasMeter(storetypes.NewGasMeter(gasMessage))
	cat := w.people["cat"]
	msg := &api.MsgPost{Member: text("cat"), Purpose: Purpose, Messages: cat.signed(w.keyOf("cat"))}
	before := w.dump()
	func() {
		defer func() {
			if recover() == nil {
				t.Error("a message was checked that was not paid for")
			}
		}()
		_, err := msgServer{w.keeper}.Post(bare, msg)
		t.Errorf("taken: %v", err)
	}()
	if w.dump() != before {
		t.Error("a message that was not paid for changed something")
	}
	cost := func() uint64 {
		meter := storetypes.NewGasMeter(1 << 40)
		branch, _ := w.ctx.WithGasMeter(meter).CacheContext()
		_, err := msgServer{w.keeper}.Post(branch, msg)
		must(t, err)
		return meter.GasConsumed()
	}
	warm := cost()
	w.open()
	if cold := cost(); cold != warm {
		t.Errorf("a message costs %d after a start and %d later", cold, warm)
	}
	meter := storetypes.NewGasMeter(1 << 40)
	if _, _, err := w.keeper.Charges(w.ctx.WithGasMeter(meter), Purpose); err != nil || meter.GasConsumed() != 0 {
		t.Errorf("whoever asks who is in charge pays %d, %v: what is in memory would be cheaper", meter.GasConsumed(), err)
	}
}

// The group that others hold does not change under their hands, and a transaction that fails leaves no trace in memory.
func TestAdmitLeavesSharedGroupsAlone(t *testing.T) {
	w := four(t)
	w.people["dan"].cheat = "unready"
	w.join(10, "eve")
	must(t, w.keeper.Begin(w.ctx, Purpose, w.of("ann", "ben", "cat", "dan", "eve")))
	w.blocks(12)
	now, _, err := w.keeper.Charges(w.ctx, Purpose)
	must(t, err)
	dan := w.people["dan"]
	before := w.dump()
	lost := errors.New("the transaction fails later")
	if err := w.tx(func(ctx context.Context, s msgServer) error {
		if _, err := s.Post(ctx, &api.MsgPost{Member: text("dan"), Purpose: Purpose, Messages: dan.signed(dan.late)}); err != nil {
			return err
		}
		return lost
	}); !errors.Is(err, lost) {
		t.Fatal(err)
	}
	if again, _, err := w.keeper.Charges(w.ctx, Purpose); err != nil || again.Group != now.Group || again.Keys.Ready(3) || w.dump() != before {
		t.Errorf("a transaction that failed made dan ready: %v", err)
	}
	must(t, w.post(dan, dan.late))
	after, _, err := w.keeper.Charges(w.ctx, Purpose)
	must(t, err)
	if now.Keys.Ready(3) || !after.Keys.Ready(3) || after.Group == now.Group || after.Keys.Hash() != after.Group {
		t.Errorf("before: ready %v, after: ready %v, the charge names %x, the group is %x", now.Keys.Ready(3), after.Keys.Ready(3), after.Group, after.Keys.Hash())
	}
	charge, err := threshold.UnmarshalCharge(w.ctx.KVStore(w.key).Get(threshold.ChargeKey(Purpose)))
	if err != nil || charge != after.Charge {
		t.Errorf("enclaves are shown %+v, %v", charge, err)
	}
}

func TestRepairRefuses(t *testing.T) {
	w := four(t)
	dan, ann, ben := w.people["dan"], w.people["ann"], w.people["ben"]
	dan.start()
	for name, err := range map[string]error{
		"an epoch to come": w.ask("dan", 2), "an old epoch": w.ask("dan", 0), "no seat": func() error { w.join(10, "zoe"); return w.ask("zoe", 1) }(),
		"no enclave": func() error {
			dan.active = false
			defer func() { dan.active = true }()
			return w.ask("dan", 1)
		}(),
		"no repair": w.postRepair(ann, "dan", []byte("key")),
	} {
		if !errors.Is(err, ErrRefused) {
			t.Errorf("%s: %v", name, err)
		}
	}
	must(t, w.ask("dan", 1))
	if err := w.ask("dan", 1); !errors.Is(err, ErrRefused) || !strings.Contains(err.Error(), "a repair of the account goes on") {
		t.Errorf("asked twice: %v", err)
	}
	r, err := queryServer{w.keeper}.Repairs(w.ctx, &api.QueryRepairsRequest{Purpose: Purpose})
	must(t, err)
	rules, _ := w.repairView(r.Repairs[0])
	_, key, err := threshold.JoinRepair(rules, 0, ann.random)
	must(t, err)
	for name, c := range map[string]struct {
		by       string
		messages []api.Signed
	}{
		"by the enclave of another account": {"ann", ben.signed(key)},
		"of another's seat":                 {"ben", ben.signed(key)},
		"without a seat":                    {"zoe", w.people["zoe"].signed(key)},
		"of nothing":                        {"ann", nil},
	} {
		before := w.dump()
		_, err := msgServer{w.keeper}.PostRepair(w.ctx, &api.MsgPostRepair{Member: text(c.by), Purpose: Purpose, Account: text("dan"), Messages: c.messages})
		if !errors.Is(err, ErrRefused) || w.dump() != before {
			t.Errorf("%s: %v, changed %v", name, err, w.dump() != before)
		}
	}
	// A member that asks again and again waits longer each time.
	ann.mute, ben.mute = true, true // no repair comes to an end
	last := int64(0)
	for range 3 {
		began := w.ctx.BlockHeight()
		for w.ask("dan", 1) != nil {
			w.blocks(1)
		}
		wait := w.ctx.BlockHeight() - began
		if wait <= last {
			t.Errorf("asked again after %d blocks, and after %d the time before", wait, last)
		}
		last = wait
	}
}

// What a repair's coefficients take is paid for by each transaction that has them made, also by one that is refused.
func TestRepairGas(t *testing.T) {
	w := four(t)
	w.people["dan"].start()
	must(t, w.ask("dan", 1))
	now, _, err := w.keeper.Charges(w.ctx, Purpose)
	must(t, err)
	gas := func() uint64 {
		meter := storetypes.NewInfiniteGasMeter()
		branch, _ := w.ctx.WithGasMeter(meter).CacheContext()
		_, err := msgServer{w.keeper}.PostRepair(branch, &api.MsgPostRepair{Member: text("ann"), Purpose: Purpose, Account: text("dan"),
			Messages: w.people["ann"].signed([]byte("nothing"))})
		if !errors.Is(err, ErrRefused) {
			t.Error(err)
		}
		state, err := w.keeper.repairStates.Get(w.ctx, collections.Join(Purpose, append([]byte("dan"), make([]byte, 17)...)))
		must(t, err)
		return meter.GasConsumed() - gasPerOld*uint64(len(state))
	}
	before := gas()
	w.blocks(2)
	after, pairs := gas(), uint64(now.Keys.Threshold*now.Keys.Threshold*now.Keys.Seats[3].Shares)
	if after < before+5*pairs {
		t.Errorf("%d gas before helpers are chosen and %d after, for %d pairs of shares", before, after, pairs)
	}
}

// The numbers of repairs never come again, not even where a group does: a message of one must not fit another.
func TestRepairsAreNumberedForGood(t *testing.T) {
	w := four(t)
	seen := map[uint32]bool{}
	for _, epoch := range []uint64{1, 1, 2, 3, 3} {
		w.ctx = w.ctx.WithBlockHeight(w.ctx.BlockHeight() + 100)
		n, err := w.keeper.count(w.ctx, Purpose, account("dan"), epoch, params)
		must(t, err)
		if seen[n] {
			t.Errorf("attempt %d comes twice", n)
		}
		seen[n] = true
	}
}

// However many want repair, so many go on at a time.
func TestRepairsAtATime(t *testing.T) {
	w := newWorld(t)
	names := []string{"ann", "ben", "cat", "dan", "eve", "fay", "gus", "hal", "ian", "joy"}
	w.join(10, names...)
	w.blocks(13)
	for _, name := range names[:3] {
		w.people[name].start()
	}
	must(t, w.ask("ann", 1))
	must(t, w.ask("ben", 1))
	if err := w.ask("cat", 1); !errors.Is(err, ErrRefused) || !strings.Contains(err.Error(), "2 of others") {
		t.Errorf("a third repair: %v", err)
	}
	all, err := queryServer{w.keeper}.Repairs(w.ctx, &api.QueryRepairsRequest{Purpose: Purpose})
	must(t, err)
	if helpers := all.Repairs[1].Helpers; slices.Contains(helpers, 0) || slices.Contains(helpers, 1) {
		t.Errorf("helpers %v: two of them have no shares", helpers)
	}
	w.blocks(7)
	if lines := w.charged(); strings.Count(lines[0], "without") != 1 {
		t.Errorf("after two repairs: %s", lines[0])
	}
}

// Each attempt asks others first.
func TestHelpersChange(t *testing.T) {
	w := four(t)
	now, _, err := w.keeper.Charges(w.ctx, Purpose)
	must(t, err)
	first := map[int]bool{}
	for attempt := range uint32(20) {
		h, err := w.keeper.helpers(w.ctx, now.Keys, 3, 1, attempt, nil)
		must(t, err)
		first[h[0]] = true
	}
	if len(first) != 3 {
		t.Errorf("in 20 attempts only seats %v were asked first", first)
	}
}

// A helper that brings a key and then nothing is asked last from then on: the next repair needs it no more.
func TestSilentHelperIsAskedLast(t *testing.T) {
	w := newWorld(t)
	w.join(10, "ann", "ben", "cat", "dan", "eve", "fay", "gus")
	w.blocks(13)
	w.people["gus"].start()
	must(t, w.ask("gus", 1))
	w.blocks(1)
	lines := w.blocks(1) // keys are there: the helpers are chosen
	r, err := queryServer{w.keeper}.Repairs(w.ctx, &api.QueryRepairsRequest{Purpose: Purpose})
	must(t, err)
	if len(r.Repairs) != 1 || r.Repairs[0].Phase != "deal" {
		t.Fatal(r.Repairs, lines)
	}
	silent := r.Repairs[0].Helpers[0]
	now, _, err := w.keeper.Charges(w.ctx, Purpose)
	must(t, err)
	who := w.people[string(bytes.TrimRight(now.Keys.Seats[silent].Account[:], "\x00"))]
	who.mute = true
	w.blocks(3)
	if r, err = (queryServer{w.keeper}).Repairs(w.ctx, &api.QueryRepairsRequest{Purpose: Purpose}); err != nil || r.Repairs[0].Phase != "failed" {
		t.Fatal(r.Repairs, err)
	}
	who.mute = false
	for attempt := range uint32(20) {
		h, err := w.keeper.helpers(w.ctx, now.Keys, int(r.Repairs[0].Seat), 1, attempt, nil)
		must(t, err)
		if last := h[len(h)-1]; last != int(silent) || len(h) != 6 {
			t.Errorf("attempt %d: helpers %v, the silent one is %d", attempt, h, silent)
		}
	}
	w.keeper.memory.groups = map[[32]byte]*threshold.Group{}
	must(t, w.keeper.dropRepairs(w.ctx, Purpose)) // as the next charge does
	first := map[int]bool{}
	for attempt := range uint32(30) {
		h, err := w.keeper.helpers(w.ctx, now.Keys, int(r.Repairs[0].Seat), 1, attempt, nil)
		must(t, err)
		first[h[0]] = true
	}
	if !first[int(silent)] {
		t.Error("the next group still bears a grudge")
	}
}

// hardHeir can't punish.
type hardHeir struct{ *world }

func (h hardHeir) Blamed(ctx context.Context, _ [20]byte, _ string) error {
	sdk.UnwrapSDKContext(ctx).KVStore(h.key).Set([]byte("half done"), []byte{1})
	return errors.New("there are no such coins")
}

// A cheat that can't be punished is still one: the bad deal does not count, and the ceremony goes on without it.
func TestBlameStandsWithoutPunishment(t *testing.T) {
	w := newWorld(t)
	w.join(10, "ann", "ben", "cat", "dan")
	w.people["ann"].cheat = "deal"
	w.keeper.Join(w, hardHeir{w})
	w.blocks(13)
	now, _, err := w.keeper.Charges(w.ctx, Purpose)
	must(t, err)
	if now == nil || !now.Confirmed || !now.Keys.Ready(1) {
		t.Error("the cheat had its way:", w.charged())
	}
	if w.ctx.KVStore(w.key).Has([]byte("half done")) {
		t.Error("half of a punishment is stored")
	}
}

func TestBeginRefuses(t *testing.T) {
	w := four(t)
	many := make([]threshold.Stakeholder, threshold.MaxMembers+1)
	for i := range many {
		many[i] = threshold.Stakeholder{Account: [20]byte{1, byte(i >> 8), byte(i)}, Stake: 1}
	}
	good := w.of("ann", "ben", "cat")
	for name, c := range map[string]struct {
		purpose string
		members []threshold.Stakeholder
	}{
		"nobody": {Purpose, nil}, "too many": {Purpose, many}, "twice": {Purpose, []threshold.Stakeholder{good[0], good[0]}},
		"out of order": {Purpose, []threshold.Stakeholder{good[1], good[0]}}, "no stake": {Purpose, []threshold.Stakeholder{{Account: account("ann")}}},
		"no account": {Purpose, []threshold.Stakeholder{{Stake: 1}}}, "no purpose": {"", good}, "capitals": {"BEACON", good}, "long": {strings.Repeat("a", 17), good},
	} {
		before := w.dump()
		if err := w.keeper.Begin(w.ctx, c.purpose, c.members); !errors.Is(err, ErrRefused) || w.dump() != before {
			t.Errorf("%s: %v, changed %v", name, err, w.dump() != before)
		}
	}
}

// What could not begin is refused at once also where it would have to wait: nobody is there to refuse it later.
func TestBeginRefusesWhatWouldWait(t *testing.T) {
	w := newWorld(t)
	w.join(10, "ann", "ben", "cat", "dan")
	w.quiet = true
	w.blocks(10)
	if err := w.keeper.Begin(w.ctx, Purpose, []threshold.Stakeholder{{Stake: 1}}); !errors.Is(err, ErrRefused) {
		t.Errorf("a member without an account: %v", err)
	}
	w.quiet = false
	w.blocks(5)
}

// A purpose of its own has its own ceremony, and a set that can't hold a key stops nothing.
func TestOtherPurposesAndBadMembers(t *testing.T) {
	w := four(t)
	must(t, w.keeper.Begin(w.ctx, "files", w.of("ann", "ben")))
	w.blocks(5)
	p, err := w.keeper.proceedings.Get(w.ctx, "files")
	if err != nil || p.Ceremony.Phase != "failed" || p.Ceremony.Setup.Epoch != 1 {
		t.Errorf("%+v, %v", p.Ceremony, err)
	}
	if now, _, err := w.keeper.Charges(w.ctx, "files"); now != nil || err != nil {
		t.Errorf("in charge %+v, %v", now, err)
	}
	w = newWorld(t)
	w.join(10, "ann", "ben")
	slices.Reverse(w.stakes)
	if lines := w.blocks(3); len(lines) > 0 || w.view() != nil {
		t.Errorf("members out of order began a ceremony: %v", lines)
	}
}

// Only a number of the group in charge, for a height of its own, confirms it.
func TestSigned(t *testing.T) {
	w := four(t)
	w.join(10, "eve")
	w.quiet = true
	must(t, w.keeper.Begin(w.ctx, Purpose, w.of("ann", "ben", "cat", "eve")))
	w.blocks(9)
	now, before, err := w.keeper.Charges(w.ctx, Purpose)
	must(t, err)
	if now.Epoch != 2 || now.Confirmed || before == nil || before.Epoch != 1 {
		t.Fatalf("%+v, %+v", now, before)
	}
	must(t, w.keeper.Signed(w.ctx, Purpose, now.From-1))
	if again, _, err := w.keeper.Charges(w.ctx, Purpose); err != nil || again.Confirmed {
		t.Errorf("a number of the group before confirmed the new one: %v", err)
	}
	must(t, w.keeper.Signed(w.ctx, "files", 5))
	must(t, w.keeper.Signed(w.ctx, Purpose, now.From))
	if again, before, err := w.keeper.Charges(w.ctx, Purpose); err != nil || !again.Confirmed || before != nil {
		t.Errorf("%+v, %+v, %v", again, before, err)
	}
	hash := now.Group
	if b := w.ctx.KVStore(w.key).Get(threshold.ChargeKey(Purpose)); !bytes.Equal(b, threshold.Charge{Epoch: 2, From: now.From, Group: hash, Confirmed: true}.Marshal()) {
		t.Errorf("enclaves are shown %x", b)
	}
}

// An enclave finds under threshold's keys what threshold encodes, and nothing of one purpose or account lies under another's.
func TestStoreKeys(t *testing.T) {
	w := keys(t)
	w.people["dan"].start()
	must(t, w.ask("dan", 1))
	s := w.ctx.KVStore(w.key)
	if _, err := threshold.UnmarshalTranscript(s.Get(threshold.TranscriptKey(Purpose))); err != nil {
		t.Error(err)
	}
	if _, err := threshold.UnmarshalCharge(s.Get(threshold.ChargeKey(Purpose))); err != nil {
		t.Error(err)
	}
	if _, err := threshold.UnmarshalTranscript(s.Get(threshold.RepairKey(Purpose, account("dan")))); err != nil {
		t.Error(err)
	}
	for prefix, want := range map[byte]int{1: 1, 2: 1, 3: 1} {
		it := storetypes.KVStorePrefixIterator(s, []byte{prefix})
		n := 0
		for ; it.Valid(); it.Next() {
			n++
		}
		must(t, it.Close())
		if n != want {
			t.Errorf("%d records under %d, want %d", n, prefix, want)
		}
	}
}
