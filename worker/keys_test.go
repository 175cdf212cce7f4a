package worker

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"testing"
	"time"

	sdk "github.com/cosmos/cosmos-sdk/types"

	"github.com/cella-network/cella/api/committee"
	"github.com/cella-network/cella/client"
	"github.com/cella-network/cella/enclave/wire"
	"github.com/cella-network/cella/protocol/threshold"
)

// village is a chain with operators who hold a key between them.
type village struct {
	*fakeCommittee
	operators []*operator
}

func newVillage(t *testing.T, n byte) *village {
	c := newFakeChain(t)
	v := &village{fakeCommittee: &fakeCommittee{c: c, posts: map[string]int{}}}
	c.keys = v.fakeCommittee
	for i := range n {
		o := newOperator(t, c, i+1, 1)
		o.start()
		v.operators = append(v.operators, o)
	}
	c.eventually("all are registered", func() bool { return len(c.nodes) == int(n) })
	return v
}

func (v *village) of(epoch uint64, old *threshold.Group, need int, operators ...*operator) threshold.Setup {
	s := threshold.Setup{ID: threshold.ID{ChainID: testChain, Purpose: keyPurpose, Epoch: epoch}, Threshold: need, Old: old}
	for _, o := range operators {
		s.Seats = append(s.Seats, threshold.Seat{Account: o.account, Shares: 2})
	}
	return s
}

// posted waits until each of the operators has posted so many messages in this phase.
func (v *village) posted(what string, each int, by ...*operator) {
	v.c.t.Helper()
	v.c.eventually(what, func() bool {
		return !slices.ContainsFunc(by, func(o *operator) bool { return v.posts[o.address] < each })
	})
}

// play plays a ceremony to its end.
func (v *village) play(setup threshold.Setup, dealers []*operator, each int, members ...*operator) {
	v.c.t.Helper()
	v.begin(setup)
	v.posted("keys", 1, members...)
	v.advance()
	v.posted("deals", each, dealers...)
	v.advance()
	v.advance() // whoever has not opened its deals by now does it in the next phase
	v.posted("ready", 1, members...)
	if p := v.advance(); p != threshold.PhaseDone {
		v.c.t.Fatalf("the ceremony is at phase %d", p)
	}
}

// number makes the number of the next height out of what the workers sign.
func (v *village) number(by ...*operator) (number [32]byte, err error) {
	v.c.t.Helper()
	charge := look(v.c, func() threshold.InCharge { return *v.charge })
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	latest, _ := v.c.Latest(ctx)
	height := max(charge.From, latest+1)
	message := threshold.Message{ChainID: testChain, Epoch: charge.Epoch, Height: height}.Marshal()
	var seats []int
	var partials []threshold.Partial
	for _, o := range by {
		seat := slices.IndexFunc(charge.Keys.Seats, func(s threshold.Seat) bool { return s.Account == o.account })
		out, err := o.worker.Partial(ctx, charge.Epoch, []int64{height})
		if err != nil {
			return number, fmt.Errorf("node %d: %w", o.account[0], err)
		}
		p, err := charge.Keys.UnmarshalPartial(seat, out[0])
		if err != nil {
			return number, err
		}
		seats, partials = append(seats, seat), append(partials, p)
	}
	q, err := charge.Keys.Quorum(seats)
	if err != nil {
		return number, err
	}
	sig, err := q.Combine(partials)
	if err == nil && !charge.Keys.Verify(message, sig) {
		err = errors.New("the signature does not verify")
	}
	return sig.Number(), err
}

// TestKeys takes a key through its life: made, used, repaired after a restart, handed on.
func TestKeys(t *testing.T) {
	v := newVillage(t, 3)
	a, b, c := v.operators[0], v.operators[1], v.operators[2]
	v.refuses = 2 // what the chain does not take is said again
	v.play(v.of(1, nil, 4, a, b, c), v.operators, 1, v.operators...)
	if _, err := v.number(a, b, c); err != nil {
		t.Fatal(err)
	}
	v.confirm()

	c.stop()
	c.start()
	v.c.eventually("a repair is asked for", func() bool { return v.asks == 1 })
	v.posted("keys of a repair", 1, a, b, c)
	v.advanceRepair()
	v.posted("contributions", 1, a, b)
	v.advanceRepair()
	v.advanceRepair()
	v.c.eventually("the shares are back", func() bool { return signs(c, 1) })
	if _, err := v.number(b, c); err != nil {
		t.Fatal(err)
	}

	old := look(v.c, func() *threshold.Group { return v.charge.Keys })
	v.play(v.of(2, old, 2, b, c), v.operators, 2, b, c)
	if _, err := v.number(b, c); err != nil {
		t.Fatal(err)
	}
	v.confirm()
	v.c.eventually("who left can't sign", func() bool { return !signs(a, 2) && a.worker.signer.Load().epoch.Load() == 2 })
	if n := look(v.c, func() int { return v.asks }); n != 1 {
		t.Errorf("%d repairs were asked for, one was needed", n)
	}
}

// signs says whether an operator's enclave signs its newest height in an epoch.
func signs(o *operator, epoch uint64) bool {
	s := o.worker.signer.Load()
	if s == nil {
		return false
	}
	err := s.enc.Call(context.Background(), &wire.Sign{Purpose: keyPurpose, Epoch: epoch, Heights: []int64{s.heads.latest()}}, new(wire.SignReply))
	return err == nil
}

// A member whose keys the ceremony did not hear shows them later.
func TestLateReady(t *testing.T) {
	v := newVillage(t, 3)
	c := v.operators[2]
	v.begin(v.of(1, nil, 4, v.operators...))
	v.posted("keys", 1, v.operators...)
	v.advance()
	v.posted("deals", 1, v.operators...)
	v.advance()
	look(v.c, func() bool { v.deaf = c.address; return true })
	v.advance()
	v.posted("ready", 1, v.operators[:2]...)
	if p := v.advance(); p != threshold.PhaseDone {
		t.Fatalf("the ceremony is at phase %d", p)
	}
	v.c.eventually("the enclave was shown the charge", func() bool { return c.worker.signer.Load().epoch.Load() == 1 })
	heard := look(v.c, func() int { return len(v.refused) })
	v.c.eventually("it shows its keys", func() bool { return len(v.refused) >= heard+3 }) // more than what was on its way before
	look(v.c, func() bool { v.deaf = ""; return true })
	v.c.eventually("the group knows of all", func() bool { return v.charge.Keys.Ready(2) })
	if _, err := v.number(c, v.operators[0]); err != nil {
		t.Error(err)
	}
	if n := look(v.c, func() int { return v.asks }); n != 0 {
		t.Errorf("%d repairs were asked for", n)
	}
}

// A vote may ask for the first number of a group whose charge the enclave has not seen yet.
func TestPartialWaitsForTheCharge(t *testing.T) {
	v := newVillage(t, 2)
	a, b := v.operators[0], v.operators[1]
	type answer struct {
		partials [][]byte
		err      error
	}
	answers := make(chan answer, 1)
	go func() {
		ctx, cancel := context.WithTimeout(context.Background(), 60*time.Second)
		defer cancel()
		out, err := a.worker.Partial(ctx, 1, []int64{v.first(ctx)})
		answers <- answer{out, err}
	}()
	v.play(v.of(1, nil, 2, a, b), v.operators, 1, a, b)
	if r := <-answers; r.err != nil || len(r.partials) != 1 {
		t.Errorf("%d partial signatures, %v", len(r.partials), r.err)
	}
}

// Partial keeps to its caller's time, whatever happens.
func TestPartialWaits(t *testing.T) {
	c := newFakeChain(t)
	f := &fakeCommittee{c: c, posts: map[string]int{}}
	c.keys = f
	o := newOperator(t, c, 1, 1)
	w := New(Options{})
	if _, err := w.Partial(t.Context(), 1, []int64{1}); !errors.Is(err, errNoKeys) {
		t.Errorf("without a session: %v", err)
	}
	o.start()
	c.eventually("the session works", func() bool { return o.worker.signer.Load() != nil })

	ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
	defer cancel()
	if _, err := o.worker.Partial(ctx, 1, []int64{1 << 40}); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("a height far ahead: %v", err)
	}
	ctx, cancel = context.WithTimeout(t.Context(), 300*time.Millisecond)
	defer cancel()
	if _, err := o.worker.Partial(ctx, 1, []int64{1}); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("an epoch that the chain does not have: %v", err)
	}
	if out, err := o.worker.Partial(t.Context(), 1, nil); err != nil || out != nil {
		t.Errorf("no heights: %v, %v", out, err)
	}
}

// poster keeps what is posted.
type poster struct {
	mu   sync.Mutex
	msgs []sdk.Msg
	fail int // the first so many
	gate chan struct{}
}

func (p *poster) Post(ctx context.Context, msgs ...sdk.Msg) (client.Result, error) {
	if p.gate != nil {
		select {
		case <-p.gate:
		case <-ctx.Done():
			return client.Result{}, ctx.Err()
		}
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.msgs = append(p.msgs, msgs...)
	if p.fail--; p.fail >= 0 {
		return client.Result{}, &client.Error{Kind: client.KindRefused, What: "no"}
	}
	return client.Result{}, nil
}

func newKeyring(p *poster) *keyring {
	w := New(Options{Poster: p, Log: slog.New(slog.DiscardHandler), Address: "cella1x"})
	return &keyring{session: &session{Worker: w}, repairs: map[string]*playback{}, busy: map[string]bool{}}
}

func signedBy(k *keyring) func([]committee.Signed) sdk.Msg {
	return func(m []committee.Signed) sdk.Msg { return &committee.MsgPost{Member: k.Address, Messages: m} }
}

// Messages are spread over transactions that stay well below a block, in their order.
func TestTell(t *testing.T) {
	for name, tc := range map[string]struct {
		atOnce int
		sizes  []int
		want   []int // messages of each transaction
	}{
		"nothing":                   {16, nil, nil},
		"one":                       {16, []int{10}, []int{1}},
		"many small ones":           {16, slices.Repeat([]int{1000}, 40), []int{16, 16, 8}},
		"short but dear":            {3, slices.Repeat([]int{300}, 7), []int{3, 3, 1}},
		"deals of a hundred":        {16, slices.Repeat([]int{13_040}, 11), []int{5, 5, 1}},
		"large ones":                {16, []int{40 << 10, 20 << 10, 20 << 10, 40 << 10}, []int{2, 2}},
		"as many bytes as may be":   {16, []int{40 << 10, 24 << 10, 1}, []int{2, 1}},
		"more than one may ever be": {16, []int{1, 100 << 10, 1}, []int{1, 1, 1}},
	} {
		p := new(poster)
		k := newKeyring(p)
		var statements []wire.Statement
		for i, n := range tc.sizes {
			statements = append(statements, wire.Statement{Message: append([]byte{byte(i)}, make([]byte, n-1)...)})
		}
		k.tell(t.Context(), "x", new(playback), tc.atOnce, statements, signedBy(k))
		k.posts.Wait()
		var got []int
		next := byte(0)
		for _, m := range p.msgs {
			parts := m.(*committee.MsgPost).Messages
			got = append(got, len(parts))
			for _, part := range parts {
				if part.Message[0] != next {
					t.Errorf("%s: message %d comes as %d", name, part.Message[0], next)
				}
				next++
			}
		}
		if !slices.Equal(got, tc.want) {
			t.Errorf("%s: transactions of %v messages, want %v", name, got, tc.want)
		}
	}
}

// The more a message makes the chain compute, the fewer come at once.
func TestDearMessagesComeFew(t *testing.T) {
	k := newKeyring(new(poster))
	for name, tc := range map[string]struct {
		account string
		phase   threshold.Phase
		want    int
	}{
		"deals of a large holder":           {k.Address, threshold.PhaseDeal, 16},
		"complaints of a large holder":      {k.Address, threshold.PhaseComplain, 5},
		"its keys":                          {k.Address, threshold.PhaseReady, 5},
		"deals of who has no seat any more": {"cella1y", threshold.PhaseDeal, 16},
	} {
		setup := committee.Setup{Threshold: 100, Seats: []committee.Seat{{Account: "cella1z", Shares: 1}, {Account: tc.account, Shares: 50}}}
		if n := k.atOnce(setup, uint8(tc.phase)); n != tc.want {
			t.Errorf("%s: %d at once, want %d", name, n, tc.want)
		}
	}
}

// What is being posted is not posted again, and what follows a refusal waits for the next block.
func TestTellOnceAtATime(t *testing.T) {
	p := &poster{gate: make(chan struct{}), fail: 1}
	k := newKeyring(p)
	statements := []wire.Statement{{Message: make([]byte, 200<<10)}, {Message: make([]byte, 200<<10)}}
	k.tell(t.Context(), "x", new(playback), 16, statements, signedBy(k))
	k.tell(t.Context(), "x", new(playback), 16, statements, signedBy(k))
	close(p.gate)
	k.posts.Wait()
	if len(p.msgs) != 1 {
		t.Errorf("%d transactions, the first of which was refused", len(p.msgs))
	}
	k.tell(t.Context(), "x", new(playback), 16, statements, signedBy(k))
	k.posts.Wait()
	if len(p.msgs) != 3 {
		t.Errorf("%d transactions after another try", len(p.msgs))
	}
	// Keys of shares that came late are of no use to the chain while it has other ones, or knows them.
	for name, c := range map[string]*playback{"known": {ended: true, over: true}, "not held": {ended: true}} {
		k.tell(t.Context(), name, c, 16, statements, signedBy(k))
	}
	k.posts.Wait()
	if len(p.msgs) != 3 {
		t.Error("keys of shares were posted in vain")
	}
}

// A repair is asked for when shares are missing for a while, not while one goes on, and not in every block.
func TestAsk(t *testing.T) {
	for name, tc := range map[string]struct {
		at      int64
		change  func(k *keyring)
		ask     bool
		another bool // ten blocks later again
	}{
		"missing":                 {102, nil, true, false},
		"just missing":            {101, nil, false, true},
		"nothing is missing":      {102, func(k *keyring) { k.lacking = 0 }, false, false},
		"asked before":            {102, func(k *keyring) { k.asked = 90 }, false, true},
		"one goes on":             {102, func(k *keyring) { k.repairs["cella1x"] = &playback{} }, false, false},
		"one has failed":          {102, func(k *keyring) { k.repairs["cella1x"] = &playback{ended: true} }, true, false},
		"here, but not known":     {102, func(k *keyring) { k.standing.Holds = true }, false, false},
		"not known for very long": {120, func(k *keyring) { k.standing.Holds = true }, true, false},
	} {
		p := new(poster)
		k := newKeyring(p)
		k.lacking, k.charge.Epoch = 100, 7
		if tc.change != nil {
			tc.change(k)
		}
		k.ask(t.Context(), tc.at)
		k.posts.Wait()
		if (len(p.msgs) == 1) != tc.ask {
			t.Errorf("%s: asked %d times", name, len(p.msgs))
		}
		p.msgs = nil
		k.ask(t.Context(), tc.at+10)
		k.posts.Wait()
		if (len(p.msgs) == 1) != tc.another {
			t.Errorf("%s: asked %d times later", name, len(p.msgs))
		}
	}
}

// The host feeds what is new up to what was proven, whatever the pages are.
func TestReplay(t *testing.T) {
	all := make([]committee.Entry, 9)
	for i := range all {
		all[i].Message = []byte{byte(i)}
	}
	for name, tc := range map[string]struct {
		count, to uint64
		first     int // entries that came with the first answer
		page      int
		want      int // entries fed
		fails     bool
	}{
		"all at once":            {0, 9, 9, 9, 9, false},
		"in pages":               {0, 9, 0, 2, 9, false},
		"from where it was":      {4, 9, 3, 2, 5, false},
		"no more than is proven": {4, 6, 5, 5, 2, false},
		"nothing is new":         {6, 6, 3, 3, 0, false},
		"the chain went back":    {6, 5, 0, 3, 0, true},
		"the rest is not shown":  {0, 12, 9, 9, 9, true},
	} {
		c := &playback{count: tc.count}
		var fed []byte
		err := c.replay(tc.to, all[tc.count:tc.count+uint64(tc.first)], func(from uint64) ([]committee.Entry, error) {
			return all[from:min(int(from)+tc.page, len(all))], nil
		}, func(part []wire.Entry) error {
			for _, e := range part {
				fed = append(fed, e.Message...)
			}
			return nil
		})
		ok := len(fed) == tc.want && (err != nil) == tc.fails
		for i, n := range fed {
			ok = ok && n == byte(i)+byte(tc.count)
		}
		if !ok {
			t.Errorf("%s: fed %v, %v", name, fed, err)
		}
	}
	big := make([]committee.Entry, 3)
	for i := range big {
		big[i].Message = make([]byte, feedBytes/2)
	}
	if part, err := feedable(big); err != nil || len(part) != 2 {
		t.Errorf("%d entries in one request, %v", len(part), err)
	}
	if _, err := feedable([]committee.Entry{{From: "nobody"}}); err == nil {
		t.Error("an entry of nobody")
	}
}
