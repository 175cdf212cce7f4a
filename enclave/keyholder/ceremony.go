package keyholder

import (
	"slices"

	"github.com/cella-network/cella/protocol/threshold"
)

// ceremony is a purpose's ceremony.
type ceremony struct {
	replay *ceremonyReplay // nil before Begin
	proven int64           // height of the newest proof that was acted upon
	secret *secret
}

type ceremonyReplay struct {
	replay
	c     *threshold.Ceremony
	setup threshold.Setup
	deals memory
}

type memory map[int][]byte

func (m memory) Keep(deal int, kept []byte) { m[deal] = kept }
func (m memory) Kept(deal int) []byte       { return m[deal] }

// Begin replays a ceremony from its beginning. Its old group, if any, is named by its ID: the holder takes the one that the chain has
// proven to it. What it said in this ceremony before stays.
func (h *Holder) Begin(setup threshold.Setup, old *threshold.ID) error {
	h.work.Lock()
	defer h.work.Unlock()
	setup.ID.ChainID = h.chainID
	d, err := h.desk(setup.ID.Purpose)
	if err != nil {
		return err
	}
	setup.Old = nil
	if old != nil {
		id := *old
		id.ChainID, id.Purpose = h.chainID, setup.ID.Purpose
		if setup.Old = d.known(id); setup.Old == nil {
			return state("the old group is not known: settle first")
		}
	}
	deals := memory{}
	c, err := threshold.NewCeremony(setup, deals)
	if err != nil {
		return err
	}
	d.ceremony.replay = &ceremonyReplay{replay: newReplay(c, setup.Transcript(), h.account), c: c, setup: setup, deals: deals}
	return nil
}

// Feed goes on with the replay and returns how many entries it has by now.
func (h *Holder) Feed(purpose string, entries []Entry) (uint64, error) {
	h.work.Lock()
	defer h.work.Unlock()
	d := h.desks[purpose]
	if d == nil || d.ceremony.replay == nil {
		return 0, state("the ceremony has not begun")
	}
	return d.ceremony.replay.feed(entries)
}

// Act does this account's part in the phase, if the transcript that is proven at a height is the replay's.
func (h *Holder) Act(purpose string, height int64, t threshold.Transcript) (Action, error) {
	h.work.Lock()
	defer h.work.Unlock()
	d := h.desks[purpose]
	if d == nil || d.ceremony.replay == nil {
		return Action{}, state("the ceremony has not begun")
	}
	r := d.ceremony.replay
	if err := r.proven(t, height, d.ceremony.proven); err != nil {
		return Action{}, err
	}
	d.ceremony.proven = height
	s := current(d.ceremony.secret, &r.replay, r.setup.ID)
	d.ceremony.secret = s
	if err := h.part(d, r, s); err != nil {
		return Action{}, err
	}
	return s.action(&r.replay), nil
}

// part is what the phase asks of this account.
func (h *Holder) part(d *desk, r *ceremonyReplay, s *secret) (err error) {
	seat := seatOf(r.setup.Seats, h.account)
	switch p := r.Phase(); p {
	case threshold.PhaseKeys:
		if seat >= 0 && s.silent(&r.replay, p) {
			return s.join(r.setup, seat, h)
		}
	case threshold.PhaseDeal:
		if s.silent(&r.replay, p) {
			s.sent[p], err = h.deals(d, r, seat)
			return err
		}
	case threshold.PhaseComplain:
		if s.joined(&r.replay) && !s.opened {
			if s.complaints, err = s.open(r, h); err != nil {
				return err
			}
		}
		s.sent[p] = nil
		for _, c := range s.complaints {
			if !r.blamed(c.dealer, threshold.RuleDeal) { // else another's complaint has done it
				s.sent[p] = append(s.sent[p], c.message)
			}
		}
	case threshold.PhaseReady:
		if s.joined(&r.replay) {
			return s.finish(r, h)
		}
	case threshold.PhaseDone:
		return h.end(d, r, s)
	case threshold.PhaseFailed:
		s.wipe()
	}
	return nil
}

func (s *secret) join(setup threshold.Setup, seat int, h *Holder) error {
	m, message, err := threshold.Join(setup, seat, h.random)
	if err != nil {
		return err
	}
	s.member, s.sent[threshold.PhaseKeys] = m, [][]byte{message}
	return nil
}

// deals are what this account deals: a fresh secret, or its shares of the old group.
func (h *Holder) deals(d *desk, r *ceremonyReplay, seat int) ([][]byte, error) {
	if r.setup.Old == nil {
		if seat < 0 {
			return nil, nil
		}
		message, err := threshold.DealFresh(r.c, seat, h.random)
		return [][]byte{message}, err
	}
	shares := d.shares(r.setup.Old.ID)
	if shares == nil {
		return nil, nil
	}
	return shares.Deal(r.c, h.random)
}

// complaint is about a dealer one of whose deals does not fit.
type complaint struct {
	dealer  [20]byte
	message []byte
}

// open opens all deals that can count and returns a complaint about each dealer of one that does not fit.
func (s *secret) open(r *ceremonyReplay, h *Holder) ([]complaint, error) {
	var out []complaint
	for number := range r.dealers() {
		dealer := r.dealer(number)
		if r.deals.Kept(number) == nil || r.blamed(dealer, threshold.RuleDeal) {
			continue
		}
		message, err := s.member.Open(r.c, number, h.random)
		if err != nil {
			return nil, err
		}
		if message != nil && !slices.ContainsFunc(out, func(c complaint) bool { return c.dealer == dealer }) {
			out = append(out, complaint{dealer, message})
		}
	}
	s.opened = true
	return out, nil
}

// finish makes the shares out of the deals that count. Without all of them there are none, and a repair has to bring them.
func (s *secret) finish(r *ceremonyReplay, h *Holder) error {
	if s.shares != nil {
		return nil
	}
	if !s.opened {
		if _, err := s.open(r, h); err != nil { // too late for complaints
			return err
		}
	}
	shares, ready, err := s.member.Finish(r.c)
	if err != nil {
		s.wipe()
		return nil
	}
	s.shares, s.sent[threshold.PhaseReady] = shares, [][]byte{ready}
	return nil
}

// end keeps the shares of a ceremony that is done.
func (h *Holder) end(d *desk, r *ceremonyReplay, s *secret) error {
	if s.over {
		return nil
	}
	if s.joined(&r.replay) {
		if err := s.finish(r, h); err != nil {
			return err
		}
	}
	clear(r.deals)
	if s.shares != nil {
		g, err := r.c.Group()
		if err != nil {
			return err
		}
		h.mu.Lock()
		defer h.mu.Unlock()
		d.take(g, s, seatOf(g.Seats, h.account))
	}
	s.wipe()
	return nil
}

// dealers is how many deals there may be.
func (r *ceremonyReplay) dealers() int {
	if r.setup.Old == nil {
		return len(r.setup.Seats)
	}
	sum := 0
	for _, s := range r.setup.Old.Seats {
		sum += s.Shares
	}
	return sum
}

// dealer is whose a deal is.
func (r *ceremonyReplay) dealer(number int) [20]byte {
	if r.setup.Old == nil {
		return r.setup.Seats[number].Account
	}
	for _, s := range r.setup.Old.Seats {
		if number -= s.Shares; number < 0 {
			return s.Account
		}
	}
	return [20]byte{}
}

func (r *ceremonyReplay) blamed(account [20]byte, rule string) bool {
	return slices.Contains(r.c.Blames(), threshold.Blame{Account: account, Rule: rule})
}
