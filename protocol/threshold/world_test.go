package threshold

import (
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"slices"
	"testing"
)

const testChain = "threshold-1"

// seeded is randomness that is the same in every run.
func seeded(n uint64) io.Reader {
	var seed [32]byte
	seed[0], seed[1], seed[31] = byte(n), byte(n>>8), 7
	return rand.NewChaCha8(seed)
}

func account(name string) (a [20]byte) {
	copy(a[:], name)
	return a
}

func seatsOf(names []string, shares []int) []Seat {
	var out []Seat
	for i, n := range names {
		out = append(out, Seat{account(n), shares[i]})
	}
	return out
}

type memory map[int][]byte

func (m memory) Keep(deal int, kept []byte) { m[deal] = kept }
func (m memory) Kept(deal int) []byte       { return m[deal] }

// team is a group with its secrets.
type team struct {
	group  *Group
	shares map[int]*Shares
}

// play is one ceremony with all of its members.
type play struct {
	setup   Setup
	old     *team
	c       *Ceremony
	deals   memory
	random  io.Reader
	members map[int]*Member
	shares  map[int]*Shares
}

func begin(setup Setup, old *team, random io.Reader) (*play, error) {
	deals := memory{}
	if old != nil {
		setup.Old = old.group
	}
	c, err := NewCeremony(setup, deals)
	return &play{setup: setup, old: old, c: c, deals: deals, random: random, members: map[int]*Member{}, shares: map[int]*Shares{}}, err
}

func (p *play) join(seat int) error {
	m, message, err := Join(p.setup, seat, p.random)
	if err != nil {
		return err
	}
	p.members[seat] = m
	return p.c.Accept(p.setup.Seats[seat].Account, message)
}

// dealer is who may deal: seats of the new group for a fresh key, of the old one otherwise.
func (p *play) dealers() []Seat {
	if p.old != nil {
		return p.old.group.Seats
	}
	return p.setup.Seats
}

// dealAll is a seat's deals as messages; c may be a copy of the ceremony that the dealer misunderstands on purpose.
func (p *play) dealAll(c *Ceremony, seat int) ([][]byte, error) {
	if p.old != nil {
		s := p.old.shares[seat]
		if s == nil {
			return nil, errors.New("no shares")
		}
		return s.Deal(c, p.random)
	}
	m, err := DealFresh(c, seat, p.random)
	return [][]byte{m}, err
}

func (p *play) deal(c *Ceremony, seat int) error {
	messages, err := p.dealAll(c, seat)
	for _, m := range messages {
		if err == nil {
			err = p.c.Accept(p.dealers()[seat].Account, m)
		}
	}
	return err
}

func (p *play) open(seat int) error {
	if p.members[seat] == nil {
		return errors.New("brought no key")
	}
	for d := range p.c.dealt {
		if !p.c.dealt[d] {
			continue
		}
		complaint, err := p.members[seat].Open(p.c, d, p.random)
		if err != nil {
			return err
		}
		if dealer, _ := p.setup.dealer(d); complaint != nil && !p.c.blamed(dealer, RuleDeal) {
			if err := p.c.Accept(p.setup.Seats[seat].Account, complaint); err != nil {
				return err
			}
		}
	}
	return nil
}

func (p *play) ready(seat int) error {
	if p.members[seat] == nil {
		return errors.New("brought no key")
	}
	s, message, err := p.members[seat].Finish(p.c)
	if err != nil {
		return err
	}
	p.shares[seat] = s
	return p.c.Accept(p.setup.Seats[seat].Account, message)
}

// honest plays a whole ceremony.
func honest(tb testing.TB, setup Setup, old *team, seed uint64) *team {
	tb.Helper()
	p, err := begin(setup, old, seeded(seed))
	must(tb, err)
	for i := range setup.Seats {
		must(tb, p.join(i))
	}
	must(tb, p.c.Advance())
	for i := range p.dealers() {
		must(tb, p.deal(p.c, i))
	}
	must(tb, p.c.Advance())
	for i := range setup.Seats {
		must(tb, p.open(i))
	}
	must(tb, p.c.Advance())
	for i := range setup.Seats {
		must(tb, p.ready(i))
	}
	must(tb, p.c.Advance())
	g, err := p.c.Group()
	must(tb, err)
	return &team{g, p.shares}
}

func must(tb testing.TB, err error) {
	tb.Helper()
	if err != nil {
		tb.Fatal(err)
	}
}

// equal is a setup of n seats with the same stake.
func equal(tb testing.TB, n int, epoch uint64, prefix string) Setup {
	tb.Helper()
	stakes := make([]uint64, n)
	var names []string
	for i := range stakes {
		stakes[i] = 1000
		names = append(names, fmt.Sprintf("%s%d", prefix, i))
	}
	w, err := Weigh(stakes)
	must(tb, err)
	return Setup{ID: ID{testChain, "beacon", epoch, 0}, Seats: seatsOf(names, w.Shares), Threshold: w.Threshold}
}

func at(epoch uint64, height int64) []byte { return Message{testChain, epoch, height}.Marshal() }

// partials are what the seats send, as the receiver reads it.
func (t *team) partials(message []byte, seats ...int) ([]Partial, error) {
	var out []Partial
	for _, i := range seats {
		if t.shares[i] == nil {
			return nil, fmt.Errorf("seat %d holds nothing", i)
		}
		p, err := t.shares[i].Sign(t.group, message)
		if err != nil {
			return nil, err
		}
		if p, err = t.group.UnmarshalPartial(i, p.Marshal()); err != nil {
			return nil, err
		}
		out = append(out, p)
	}
	return out, nil
}

// sign makes and checks the group's signature.
func (t *team) sign(message []byte, seats ...int) (Signature, error) {
	q, err := t.group.Quorum(seats)
	if err != nil {
		return Signature{}, err
	}
	ps, err := t.partials(message, q.Seats()...)
	if err != nil {
		return Signature{}, err
	}
	if bad := t.group.Check(message, ps); len(bad) > 0 {
		return Signature{}, fmt.Errorf("bad partial signatures of %v", bad)
	}
	s, err := q.Combine(ps)
	if err == nil && !t.group.Verify(message, s) {
		err = errors.New("the combined signature does not verify")
	}
	return s, err
}

func (t *team) seats() []int {
	var out []int
	for i := range t.shares {
		out = append(out, i)
	}
	slices.Sort(out)
	return out
}
