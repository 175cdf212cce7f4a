package keyholder

import (
	"bytes"
	"errors"
	"slices"
	"testing"
	"time"

	"github.com/cella-network/cella/protocol/threshold"
)

// What a hostile host tries. Each guard that is taken away fails one of these tests.

var three = setupOf(1, 0, 4, []string{"a", "b", "c"}, []int{2, 2, 2})

// atDeals is a ceremony of a, b and c for a fresh key with all keys on chain.
func atDeals(t *testing.T) *world {
	t.Helper()
	w := newWorld("a", "b", "c")
	must(t, w.begin(three))
	_, err := w.round()
	must(t, err)
	must(t, w.advance())
	return w
}

// settled is a group of a, b and c in charge, confirmed.
func settled(t *testing.T) *world {
	t.Helper()
	w := newWorld("a", "b", "c", "d", "e")
	must(t, w.honest(three))
	w.charge.Confirmed = true
	w.height = w.charge.From
	must(t, w.settleAll())
	return w
}

func refusal(t *testing.T, what string, err error) {
	t.Helper()
	if !errors.Is(err, ErrRefused) {
		t.Errorf("%s: %v", what, err)
	}
}

// The host puts its own key in place of another member's, to read what is dealt to it.
func TestDealOnlyToKeysOnChain(t *testing.T) {
	w := atDeals(t)
	_, own, err := threshold.Join(three, 2, seeded(77))
	must(t, err)
	forged := slices.Clone(w.ceremony.entries)
	forged[2].Message = own
	h := w.holders["a"]
	must(t, h.Begin(three, nil))
	_, err = h.Feed(beacon, forged)
	must(t, err)
	a, err := h.Act(beacon, w.ceremony.proven, w.ceremony.transcript)
	refusal(t, "a deal to another key", err)
	if len(a.Messages) > 0 {
		t.Error("a deal to a key that is not on chain")
	}
	// Brought the truth, it deals.
	must(t, h.Begin(three, nil))
	_, err = h.Feed(beacon, w.ceremony.entries)
	must(t, err)
	if a, err = h.Act(beacon, w.ceremony.proven, w.ceremony.transcript); err != nil || len(a.Messages) != 1 {
		t.Errorf("%d messages, %v", len(a.Messages), err)
	}
}

// Two polynomials with one constant term would have more of it than one.
func TestDealsOnce(t *testing.T) {
	w := atDeals(t)
	first, err := w.act("a")
	must(t, err)
	again, err := w.act("a")
	must(t, err)
	if len(first.Messages) != 1 || !slices.EqualFunc(first.Messages, again.Messages, bytes.Equal) {
		t.Error("asked again, it deals something else")
	}
	// The host has the replay begin anew.
	w.fed["a"] = fed{}
	again, err = w.act("a")
	must(t, err)
	if !slices.EqualFunc(first.Messages, again.Messages, bytes.Equal) {
		t.Error("after another beginning it deals something else")
	}
	// An unproven ceremony makes it forget nothing.
	other := three
	other.ID.Attempt = 1
	must(t, w.holders["a"].Begin(other, nil))
	w.fed["a"] = fed{}
	again, err = w.act("a")
	must(t, err)
	if !slices.EqualFunc(first.Messages, again.Messages, bytes.Equal) {
		t.Error("after a ceremony that the host made up it deals something else")
	}
}

// After the next ceremony the host shows an older proof, to have the first one's deals made anew.
func TestNoWayBackInTime(t *testing.T) {
	w := atDeals(t)
	_, err := w.act("a")
	must(t, err)
	setup, record, c := w.setup, w.ceremony, w.c
	other := three
	other.ID.Attempt = 1
	must(t, w.begin(other))
	_, err = w.act("a")
	must(t, err)

	w.setup, w.ceremony, w.c = setup, record, c
	_, err = w.act("a")
	refusal(t, "an older proof", err)
}

// An enclave of an earlier life has dealt: this one does not deal the same share again.
func TestEarlierLife(t *testing.T) {
	w := settled(t)
	next := setupOf(2, 0, 2, []string{"d", "e"}, []int{1, 1})
	next.Old = w.charge.Keys
	must(t, w.begin(next))
	_, err := w.round()
	must(t, err)
	must(t, w.advance())
	if _, err := w.round("b", "c"); err != nil { // a deals
		t.Fatal(err)
	}
	h := w.holders["a"]
	shares := h.desks[beacon].held
	h.desks[beacon].held = nil
	w.restart("a")
	_, err = w.settle("a")
	must(t, err)
	w.holders["a"].desks[beacon].held = shares // as after a repair
	a, err := w.act("a")
	must(t, err)
	if len(a.Messages) > 0 {
		t.Error("what an earlier life dealt is dealt again")
	}
}

// An enclave whose key did not come on chain can't open deals, and must not complain about them: that would show what its key opens.
func TestKeyOfAnotherLife(t *testing.T) {
	w := newWorld("a", "b", "c")
	must(t, w.begin(three))
	first, err := w.act("c")
	must(t, err)
	w.restart("c")
	second, err := w.act("c") // made before the chain has the first
	must(t, err)
	if bytes.Equal(first.Messages[0], second.Messages[0]) {
		t.Fatal("two lives have one key")
	}
	must(t, w.ceremony.accept(w, account("c"), first.Messages[0]))
	_, err = w.round("c")
	must(t, err)
	must(t, w.advance())
	_, err = w.round()
	must(t, err)
	must(t, w.advance())
	a, err := w.act("c")
	must(t, err)
	if len(a.Messages) > 0 {
		t.Error("it complains about deals that are not for its key")
	}
}

// A complaint opens a deal to everybody: there is none about a good one, whatever the host brings.
func TestNoComplaintAboutAGoodDeal(t *testing.T) {
	w := atDeals(t)
	_, err := w.round()
	must(t, err)
	must(t, w.advance())
	a, err := w.act("b")
	must(t, err)
	if len(a.Messages) > 0 {
		t.Error("a complaint about good deals")
	}

	// The host makes a bad deal in a's name, and shows it to c alone.
	bad, err := w.badDeal("a")
	must(t, err)
	forged := slices.Clone(w.ceremony.entries)
	at := slices.IndexFunc(forged[4:], func(e Entry) bool { return e.From == account("a") }) + 4
	forged[at].Message = bad
	h := w.holders["c"]
	must(t, h.Begin(three, nil))
	_, err = h.Feed(beacon, forged)
	must(t, err)
	a, err = h.Act(beacon, w.ceremony.proven, w.ceremony.transcript)
	refusal(t, "a replay with a deal that is not on chain", err)
	if len(a.Messages) > 0 {
		t.Error("a complaint about a deal that is not on chain")
	}
}

func TestSignRules(t *testing.T) {
	w := settled(t)
	from := w.charge.From
	for name, tc := range map[string]struct {
		head, height int64
		epoch        uint64
		want         error
	}{
		"the next height":            {from + 4, from + 5, 1, nil},
		"the first height":           {from, from, 1, nil},
		"the height after the next":  {from + 4, from + 6, 1, ErrRefused},
		"far ahead":                  {from + 4, 1 << 60, 1, ErrRefused},
		"height 0":                   {from + 4, 0, 0, ErrRefused},
		"a negative height":          {from + 4, -1, 0, ErrRefused},
		"an epoch to come":           {from + 4, from + 5, 2, ErrRefused},
		"an epoch that is over":      {from + 4, from + 5, 0, ErrRefused},
		"late, in the epoch then":    {from + 4, from - 1, 0, nil},
		"late, in the charge's":      {from + 4, from - 1, 1, ErrRefused},
		"late, in an epoch to come":  {from + 4, from - 1, 2, ErrRefused},
		"the largest height is next": {1<<62 - 1, 1 << 62, 1, nil},
	} {
		out, err := w.holders["a"].Sign(beacon, tc.head, tc.epoch, []int64{tc.height})
		if !errors.Is(err, tc.want) || (err == nil) != (len(out) == 1) {
			t.Errorf("%s: %d partial signatures, %v", name, len(out), err)
		}
		// One bad height spoils all.
		if _, err := w.holders["a"].Sign(beacon, tc.head, tc.epoch, []int64{tc.height, tc.height}); !errors.Is(err, tc.want) {
			t.Errorf("%s, twice: %v", name, err)
		}
	}
	if _, err := w.holders["d"].Sign(beacon, from, 1, []int64{from}); !errors.Is(err, ErrState) {
		t.Errorf("without shares: %v", err)
	}
	if _, err := New(testChain, account("a"), seeded(1)).Sign(beacon, from, 1, []int64{from}); !errors.Is(err, ErrState) {
		t.Errorf("before the charge is known: %v", err)
	}
}

// Between the end of a ceremony and the first height of its group the old group signs; after it the new one, old heights too.
func TestWhoseHeight(t *testing.T) {
	w := settled(t)
	first := w.charge.Keys
	next := setupOf(2, 0, 4, []string{"c", "d", "e"}, []int{2, 2, 2})
	next.Old = first
	must(t, w.honest(next))
	must(t, w.settleAll())
	from := w.charge.From
	second := w.charge.Keys
	length := func(head, height int64, epoch uint64) []byte {
		out, err := w.holders["c"].Sign(beacon, head, epoch, []int64{height})
		must(t, err)
		return out[0]
	}
	check := func(what string, g *threshold.Group, epoch uint64, height int64, points []byte) {
		t.Helper()
		p, err := g.UnmarshalPartial(seatOf(g.Seats, account("c")), points)
		must(t, err)
		if bad := g.Check(threshold.Message{ChainID: testChain, Epoch: epoch, Height: height}.Marshal(), []threshold.Partial{p}); len(bad) > 0 {
			t.Errorf("%s: signed with other shares", what)
		}
	}
	check("the last height of the old group", first, 1, from-1, length(from-2, from-1, 1))
	check("the first height of the new group", second, 2, from, length(from-1, from, 2))
	check("a late height", second, 1, from-1, length(from-1, from-1, 1))
	if _, err := w.holders["c"].Sign(beacon, from-2, 2, []int64{from - 1}); err == nil {
		t.Error("the new epoch is signed before it begins")
	}
}

func TestCharge(t *testing.T) {
	w := settled(t)
	h := w.holders["a"]
	settle := func(height int64, change func(*threshold.Charge), group []byte) error {
		c := w.charge.Charge
		change(&c)
		_, err := h.Settle(beacon, height, &c, group)
		return err
	}
	same := func(*threshold.Charge) {}
	must(t, settle(w.height, same, nil))
	refusal(t, "an older proof", settle(w.height-1, same, nil))
	other := newWorld("a", "b", "c")
	must(t, other.honest(three))
	other.lives = 50
	forged := other.charge.Keys.Marshal()
	forged[len(forged)-1] ^= 1
	refusal(t, "a group that is not named", settle(w.height, func(c *threshold.Charge) { c.Group[0] ^= 1 }, forged))
	if err := settle(w.height, func(c *threshold.Charge) { c.Group[0] ^= 1 }, nil); !errors.Is(err, ErrState) {
		t.Errorf("a group that is not brought: %v", err)
	}
	_, err := h.Settle(beacon, w.height, nil, nil)
	refusal(t, "no group any more", err)
	_, err = New("keyholder-2", account("a"), seeded(1)).Settle(beacon, w.height, &w.charge.Charge, w.charge.Keys.Marshal())
	refusal(t, "a group of another chain", err)
	_, err = New(testChain, account("a"), seeded(1)).Settle("other", w.height, &w.charge.Charge, w.charge.Keys.Marshal())
	refusal(t, "a group of another purpose", err)
}

// The host puts its own key in place of that of the member who lost its shares, to read them.
func TestHelpOnlyTheKeyOnChain(t *testing.T) {
	w := settled(t)
	must(t, w.repair("c", 1, "a", "b"))
	w.restart("c")
	_, err := w.settle("c")
	must(t, err)
	_, err = w.roundRepair("c")
	must(t, err)
	must(t, w.advanceRepair("c"))

	m := w.repairs["c"]
	r, err := threshold.NewRepair(w.charge.Keys, 1, m.seat, m.helpers)
	must(t, err)
	_, own, err := threshold.JoinRepair(r, m.seat, seeded(77))
	must(t, err)
	forged := slices.Clone(m.entries)
	for i := range forged {
		if forged[i].From == account("c") {
			forged[i].Message = own
		}
	}
	h := w.holders["a"]
	must(t, h.BeginRepair(beacon, account("c"), 1, m.seat, m.helpers))
	_, err = h.FeedRepair(beacon, account("c"), forged)
	must(t, err)
	a, err := h.ActRepair(beacon, account("c"), m.proven, m.transcript)
	refusal(t, "help for another key", err)
	if len(a.Messages) > 0 {
		t.Error("shares were sealed to a key that is not on chain")
	}
	refusal(t, "a seat of another account", h.BeginRepair(beacon, account("c"), 1, 0, []int{1}))
	if err := New(testChain, account("a"), seeded(1)).BeginRepair(beacon, account("c"), 1, 2, []int{0}); !errors.Is(err, ErrState) {
		t.Errorf("a repair of an unknown group: %v", err)
	}
}

// Help is asked for twice, and an older repair is shown again.
func TestHelpsOnce(t *testing.T) {
	w := settled(t)
	w.restart("c")
	_, err := w.settle("c")
	must(t, err)
	must(t, w.repair("c", 1, "a", "b"))
	_, err = w.roundRepair("c")
	must(t, err)
	must(t, w.advanceRepair("c"))
	first, err := w.actRepair("c", "a")
	must(t, err)
	delete(w.repairs["c"].fed, "a") // the host begins anew
	again, err := w.actRepair("c", "a")
	must(t, err)
	if len(first.Messages) != 1 || !slices.EqualFunc(first.Messages, again.Messages, bytes.Equal) {
		t.Error("asked again, it gives something else")
	}
	old := w.repairs["c"]
	must(t, w.repair("c", 2, "a", "b"))
	_, err = w.actRepair("c", "a")
	must(t, err)
	delete(old.fed, "a")
	w.repairs["c"] = old
	_, err = w.actRepair("c", "a")
	refusal(t, "an older proof", err)
}

// Entries that do not follow are refused, and those before stay.
func TestFeed(t *testing.T) {
	w := atDeals(t)
	h := w.holders["a"]
	if _, err := New(testChain, account("a"), seeded(1)).Feed(beacon, nil); !errors.Is(err, ErrState) {
		t.Errorf("before the beginning: %v", err)
	}
	must(t, h.Begin(three, nil))
	_, err := h.Feed(beacon, append(slices.Clone(w.ceremony.entries[:2]), w.ceremony.entries[1]))
	refusal(t, "a key twice", err)
	n, err := h.Feed(beacon, w.ceremony.entries[2:])
	if err != nil || n != 4 {
		t.Errorf("%d entries, %v", n, err)
	}
	a, err := h.Act(beacon, w.ceremony.proven, w.ceremony.transcript)
	if err != nil || len(a.Messages) != 1 {
		t.Errorf("%d messages, %v", len(a.Messages), err)
	}
	if err := h.Begin(three, &threshold.ID{Epoch: 0}); !errors.Is(err, ErrState) {
		t.Errorf("an old group that nobody has proven: %v", err)
	}
	if err := h.Begin(setupOf(1, 0, 9, []string{"a"}, []int{1}), nil); !errors.Is(err, threshold.ErrRefused) {
		t.Errorf("a setup that can't be: %v", err)
	}
}

// The end of a ceremony was never seen, but the charge names its group: the shares are kept.
func TestChargeEndsACeremony(t *testing.T) {
	w := newWorld("a", "b", "c")
	must(t, w.begin(three))
	for w.c.Phase() < threshold.PhaseDone {
		_, err := w.round()
		must(t, err)
		must(t, w.advance())
	}
	must(t, w.take())
	s, err := w.settle("a")
	if err != nil || !s.Holds || !s.Ready {
		t.Errorf("%+v, %v", s, err)
	}
	if _, err := w.sign(w.charge.Keys, 1, w.charge.From, []string{"a"}); err == nil {
		t.Error("two of four shares signed")
	}
	_, err = w.settle("b")
	must(t, err)
	if _, err := w.sign(w.charge.Keys, 1, w.charge.From, []string{"a", "b"}); err != nil {
		t.Error(err)
	}
}

// Its keys came too late for the ceremony, and its end was not seen either: the keys are shown all the same.
func TestKeysCanComeLate(t *testing.T) {
	for name, seen := range map[string]bool{"the end was seen": true, "the charge came first": false} {
		w := newWorld("a", "b", "c")
		must(t, w.begin(three))
		for w.c.Phase() < threshold.PhaseReady {
			_, err := w.round()
			must(t, err)
			must(t, w.advance())
		}
		_, err := w.act("c") // is ready, but the chain does not hear of it
		must(t, err)
		_, err = w.round("c")
		must(t, err)
		must(t, w.advance())
		must(t, w.take())
		if seen {
			_, err := w.act("c")
			must(t, err)
		}
		s, err := w.settle("c")
		if err != nil || !s.Holds || s.Ready {
			t.Errorf("%s: %+v, %v", name, s, err)
		}
		for range 2 { // until the chain has it
			a, err := w.act("c")
			must(t, err)
			if len(a.Messages) != 1 {
				t.Fatalf("%s: %d messages", name, len(a.Messages))
			}
			if err := w.admit("c", a.Messages[0]); w.charge.Keys.Ready(2) != true {
				t.Errorf("%s: %v", name, err)
			}
		}
	}
}

// A partial signature must not wait for a ceremony, which computes for seconds.
func TestSignDoesNotWait(t *testing.T) {
	w := settled(t)
	h := w.holders["a"]
	h.work.Lock() // a ceremony is at work
	defer h.work.Unlock()
	signed := make(chan error, 1)
	go func() {
		_, err := h.Sign(beacon, w.charge.From, 1, []int64{w.charge.From})
		signed <- err
	}()
	select {
	case err := <-signed:
		must(t, err)
	case <-time.After(20 * time.Second):
		t.Fatal("it waits")
	}
}
