package keyholder

import (
	"errors"
	"fmt"
	"io"
	"maps"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/cella-network/cella/protocol/threshold"
)

const (
	testChain = "keyholder-1"
	beacon    = "beacon"
)

// seeded is randomness that is the same in every run.
func seeded(n uint64) io.Reader {
	return rand.NewChaCha8([32]byte{byte(n), byte(n >> 8), 9})
}

func account(name string) (a [20]byte) {
	copy(a[:], name)
	return a
}

func must(tb testing.TB, err error) {
	tb.Helper()
	if err != nil {
		tb.Fatal(err)
	}
}

// record is a ceremony or repair as the chain keeps it.
type record struct {
	play
	transcript threshold.Transcript
	entries    []Entry
	proven     int64 // height of the state that has it
}

func (r *record) accept(w *world, from [20]byte, message []byte) error {
	if err := r.Accept(from, message); err != nil {
		return err
	}
	r.transcript, r.entries, r.proven = r.transcript.Accepted(from, message), append(r.entries, Entry{from, message}), w.height
	return nil
}

func (r *record) advance(w *world) error {
	if err := r.Advance(); err != nil {
		return err
	}
	r.transcript, r.entries, r.proven = r.transcript.Advanced(), append(r.entries, Entry{}), w.height
	return nil
}

// world is a chain that keeps plain ceremonies, and holders with hosts that bring them everything.
type world struct {
	height  int64
	holders map[string]*Holder
	lives   uint64 // holders made, each with other randomness

	setup    threshold.Setup
	ceremony *record
	c        *threshold.Ceremony
	fed      map[string]fed

	repairs map[string]*mending
	charge  *threshold.InCharge
	before  *threshold.InCharge
}

// fed is how far a host has brought a holder.
type fed struct {
	holder  *Holder
	session [32]byte
	count   int
}

type mending struct {
	record
	r       *threshold.Repair
	attempt uint32
	seat    int
	helpers []int
	fed     map[string]fed
}

func newWorld(names ...string) *world {
	w := &world{height: 10, holders: map[string]*Holder{}, fed: map[string]fed{}, repairs: map[string]*mending{}}
	for _, n := range names {
		w.restart(n)
	}
	return w
}

func (w *world) restart(name string) {
	w.lives++
	w.holders[name] = New(testChain, account(name), seeded(w.lives))
}

func (w *world) names() []string { return slices.Sorted(maps.Keys(w.holders)) }

func setupOf(epoch uint64, attempt uint32, need int, names []string, shares []int) threshold.Setup {
	s := threshold.Setup{ID: threshold.ID{ChainID: testChain, Purpose: beacon, Epoch: epoch, Attempt: attempt}, Threshold: need}
	for i, n := range names {
		s.Seats = append(s.Seats, threshold.Seat{Account: account(n), Shares: shares[i]})
	}
	return s
}

// begin begins a ceremony on chain.
func (w *world) begin(s threshold.Setup) error {
	w.height++
	c, err := threshold.NewCeremony(s, memory{})
	if err != nil {
		return err
	}
	w.setup, w.c = s, c
	w.ceremony = &record{play: c, transcript: s.Transcript(), proven: w.height}
	return nil
}

// bring feeds a holder what happened in the ceremony.
func (w *world) bring(name string) error {
	h, f := w.holders[name], w.fed[name]
	if session := w.setup.Transcript().Hash; f.session != session || f.holder != h {
		var old *threshold.ID
		if w.setup.Old != nil {
			old = &w.setup.Old.ID
		}
		if err := h.Begin(w.setup, old); err != nil {
			return err
		}
		f = fed{holder: h, session: session}
	}
	count, err := h.Feed(beacon, w.ceremony.entries[f.count:])
	if err == nil && int(count) != len(w.ceremony.entries) {
		err = fmt.Errorf("%d entries were replayed of %d", count, len(w.ceremony.entries))
	}
	f.count = len(w.ceremony.entries)
	w.fed[name] = f
	return err
}

// act is what a holder says of the ceremony as it is on chain now.
func (w *world) act(name string) (Action, error) {
	if err := w.bring(name); err != nil {
		return Action{}, err
	}
	return w.holders[name].Act(beacon, w.ceremony.proven, w.ceremony.transcript)
}

// round lets all act but those who are silent, and puts what they say on chain, in one block.
func (w *world) round(silent ...string) (map[string]int, error) {
	said := map[string][][]byte{}
	for _, n := range w.names() {
		if slices.Contains(silent, n) {
			continue
		}
		a, err := w.act(n)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", n, err)
		}
		said[n] = a.Messages
	}
	w.height++
	out := map[string]int{}
	for _, n := range w.names() {
		for _, m := range said[n] {
			if w.c.Phase() == threshold.PhaseDone {
				if err := w.admit(n, m); err != nil {
					return nil, fmt.Errorf("the chain refuses what %s says late: %w", n, err)
				}
				out[n]++
				continue
			}
			err := w.ceremony.accept(w, account(n), m)
			if err != nil && w.c.Phase() == threshold.PhaseComplain {
				continue // another complained about the same in this block
			}
			if err != nil {
				return nil, fmt.Errorf("the chain refuses what %s says: %w", n, err)
			}
			out[n]++
		}
	}
	return out, nil
}

func (w *world) advance() error {
	w.height++
	return w.ceremony.advance(w)
}

// honest plays a ceremony to its end with all holders, and puts its group in charge.
func (w *world) honest(s threshold.Setup, silent ...string) error {
	if err := w.begin(s); err != nil {
		return err
	}
	for w.c.Phase() < threshold.PhaseDone {
		if _, err := w.round(silent...); err != nil {
			return err
		}
		if err := w.advance(); err != nil {
			return err
		}
	}
	if _, err := w.round(silent...); err != nil {
		return err
	}
	return w.take()
}

// take puts the group of the ceremony in charge.
func (w *world) take() error {
	g, err := w.c.Group()
	if err != nil {
		return err
	}
	w.before = w.charge
	w.charge = &threshold.InCharge{Charge: threshold.Charge{Epoch: g.ID.Epoch, From: w.height + 2, Group: g.Hash()}, Keys: g}
	return nil
}

// settle shows a holder the charge.
func (w *world) settle(name string) (Standing, error) {
	var charge *threshold.Charge
	var group []byte
	if w.charge != nil {
		charge, group = &w.charge.Charge, w.charge.Keys.Marshal()
	}
	return w.holders[name].Settle(beacon, w.height, charge, group)
}

func (w *world) settleAll() error {
	for _, n := range w.names() {
		if _, err := w.settle(n); err != nil {
			return fmt.Errorf("%s: %w", n, err)
		}
	}
	return nil
}

// sign makes a signature of a group with the partial ones of those who can, at the head before the height.
func (w *world) sign(g *threshold.Group, epoch uint64, height int64, by []string) (threshold.Signature, error) {
	message := threshold.Message{ChainID: testChain, Epoch: epoch, Height: height}.Marshal()
	var seats []int
	var partials []threshold.Partial
	for _, n := range by {
		seat := seatOf(g.Seats, account(n))
		if seat < 0 {
			continue
		}
		out, err := w.holders[n].Sign(beacon, max(height-1, w.height), epoch, []int64{height})
		if err != nil {
			return threshold.Signature{}, fmt.Errorf("%s: %w", n, err)
		}
		p, err := g.UnmarshalPartial(seat, out[0])
		if err != nil {
			return threshold.Signature{}, err
		}
		seats, partials = append(seats, seat), append(partials, p)
	}
	q, err := g.Quorum(seats)
	if err != nil {
		return threshold.Signature{}, err
	}
	if bad := g.Check(message, partials); len(bad) > 0 {
		return threshold.Signature{}, fmt.Errorf("bad partial signatures of %v", bad)
	}
	s, err := q.Combine(partials)
	if err == nil && !g.Verify(message, s) {
		err = errors.New("the signature does not verify")
	}
	return s, err
}

// repair begins the repair of a name's shares on chain.
func (w *world) repair(name string, attempt uint32, helpers ...string) error {
	w.height++
	g := w.charge.Keys
	m := &mending{attempt: attempt, seat: seatOf(g.Seats, account(name)), fed: map[string]fed{}}
	for _, n := range helpers {
		m.helpers = append(m.helpers, seatOf(g.Seats, account(n)))
	}
	r, err := threshold.NewRepair(g, attempt, m.seat, m.helpers)
	if err != nil {
		return err
	}
	m.r, m.record = r, record{play: r, transcript: r.Transcript(), proven: w.height}
	w.repairs[name] = m
	return nil
}

// actRepair is what a holder says in the repair of a name's shares.
func (w *world) actRepair(of, name string) (Action, error) {
	m, h := w.repairs[of], w.holders[name]
	f := m.fed[name]
	if f.holder != h {
		if err := h.BeginRepair(beacon, account(of), m.attempt, m.seat, m.helpers); err != nil {
			return Action{}, err
		}
		f = fed{holder: h}
	}
	_, err := h.FeedRepair(beacon, account(of), m.entries[f.count:])
	if err != nil {
		return Action{}, err
	}
	f.count = len(m.entries)
	m.fed[name] = f
	return h.ActRepair(beacon, account(of), m.proven, m.transcript)
}

// roundRepair lets all who have to do with a repair act and puts what they say on chain; the ready message of its end goes into
// the group in charge.
func (w *world) roundRepair(of string, silent ...string) (map[string]int, error) {
	m := w.repairs[of]
	said := map[string][][]byte{}
	for _, n := range w.names() {
		if slices.Contains(silent, n) || seatOf(w.charge.Keys.Seats, account(n)) < 0 {
			continue
		}
		a, err := w.actRepair(of, n)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", n, err)
		}
		said[n] = a.Messages
	}
	w.height++
	out := map[string]int{}
	for _, n := range w.names() {
		for _, message := range said[n] {
			var err error
			if m.r.Phase() == threshold.PhaseDone {
				err = w.admit(n, message)
			} else {
				err = m.accept(w, account(n), message)
			}
			if err != nil {
				return nil, fmt.Errorf("the chain refuses what %s says: %w", n, err)
			}
			out[n]++
		}
	}
	return out, nil
}

func (w *world) admit(name string, message []byte) error {
	g, err := threshold.UnmarshalGroup(w.charge.Keys.Marshal())
	if err != nil {
		return err
	}
	if err := g.Admit(account(name), message); err != nil {
		return err
	}
	w.charge = &threshold.InCharge{Charge: w.charge.Charge, Keys: g}
	w.charge.Group = g.Hash()
	return nil
}

func (w *world) advanceRepair(of string) error {
	w.height++
	return w.repairs[of].advance(w)
}

// badDeal is a deal that was made for other keys than the chain has: sealed values that no receiver can open.
func (w *world) badDeal(by string) ([]byte, error) {
	copied, err := threshold.NewCeremony(w.setup, memory{})
	if err != nil {
		return nil, err
	}
	for i, seat := range w.setup.Seats {
		_, message, err := threshold.Join(w.setup, i, seeded(uint64(1000+i)))
		if err != nil {
			return nil, err
		}
		if err := copied.Accept(seat.Account, message); err != nil {
			return nil, err
		}
	}
	if err := copied.Advance(); err != nil {
		return nil, err
	}
	seat := seatOf(w.setup.Seats, account(by))
	if seat < 0 || w.setup.Old != nil {
		return nil, errors.New("no dealer of a fresh key")
	}
	return threshold.DealFresh(copied, seat, seeded(2000))
}
