package keyholder

import (
	"slices"

	"github.com/cella-network/cella/protocol/threshold"
)

// repair is the repair of one account's shares, in which this holder helps or is helped.
type repair struct {
	replay
	r      *threshold.Repair
	group  *threshold.Group
	seat   int // whose shares are lost
	own    int // this account's
	asked  bool
	proven int64 // height of the newest proof that was acted upon
	secret *secret
}

// BeginRepair replays the repair of an account's shares of the settled charge's group from its beginning. What this holder said in it
// before stays.
func (h *Holder) BeginRepair(purpose string, account [20]byte, attempt uint32, seat int, helpers []int) error {
	h.work.Lock()
	defer h.work.Unlock()
	d := h.desks[purpose]
	if d == nil || d.now == nil {
		return state("the charge is not known: settle first")
	}
	g := d.now.Keys
	if seat < 0 || seat >= len(g.Seats) || g.Seats[seat].Account != account {
		return refused("seat %d is not the account's", seat)
	}
	r, err := threshold.NewRepair(g, attempt, seat, helpers)
	if err != nil {
		return refused("%v", err)
	}
	own := seatOf(g.Seats, h.account)
	next := &repair{replay: newReplay(r, r.Transcript(), h.account), r: r, group: g, seat: seat, own: own, asked: slices.Contains(helpers, own)}
	if before := d.repairs[account]; before != nil {
		next.proven, next.secret = before.proven, before.secret
	}
	d.repairs[account] = next
	return nil
}

// FeedRepair goes on with the replay and returns how many entries it has by now.
func (h *Holder) FeedRepair(purpose string, account [20]byte, entries []Entry) (uint64, error) {
	h.work.Lock()
	defer h.work.Unlock()
	r, err := h.repair(purpose, account)
	if err != nil {
		return 0, err
	}
	return r.feed(entries)
}

// ActRepair does this account's part in the phase, if the transcript that is proven at a height is the replay's.
func (h *Holder) ActRepair(purpose string, account [20]byte, height int64, t threshold.Transcript) (Action, error) {
	h.work.Lock()
	defer h.work.Unlock()
	r, err := h.repair(purpose, account)
	if err != nil {
		return Action{}, err
	}
	if err := r.replay.proven(t, height, r.proven); err != nil {
		return Action{}, err
	}
	r.proven = height
	r.secret = current(r.secret, &r.replay, r.group.ID)
	d := h.desks[purpose]
	if r.own == r.seat {
		err = h.mend(d, r, r.secret)
	} else if r.asked {
		err = h.help(d, r, r.secret)
	}
	if err != nil {
		return Action{}, err
	}
	if p := r.Phase(); p == threshold.PhaseDone || p == threshold.PhaseFailed {
		r.secret.wipe()
	}
	a := r.secret.action(&r.replay)
	if len(r.r.Blames()) > 0 { // the repair fails anyway
		a.Messages = nil
	}
	return a, nil
}

func (h *Holder) repair(purpose string, account [20]byte) (*repair, error) {
	if d := h.desks[purpose]; d != nil && d.repairs[account] != nil {
		return d.repairs[account], nil
	}
	return nil, state("the repair has not begun")
}

// mend is what the phase asks of the account whose shares are lost.
func (h *Holder) mend(d *desk, r *repair, s *secret) error {
	switch p := r.Phase(); {
	case p == threshold.PhaseKeys && s.silent(&r.replay, p):
		return s.joinRepair(r, h)
	case p == threshold.PhaseComplain && s.joined(&r.replay):
		return s.check(r, h)
	case p == threshold.PhaseDone && s.joined(&r.replay):
		shares, ready, err := s.repairer.Recover(r.r)
		if err != nil {
			return nil // a contribution does not fit and was not complained about in time: the next repair may bring them
		}
		if !r.group.Ready(r.own) {
			s.sent[p] = [][]byte{ready}
		}
		h.mu.Lock()
		defer h.mu.Unlock()
		d.hold(r.group, shares)
	}
	return nil
}

// help is what the phase asks of a helper.
func (h *Holder) help(d *desk, r *repair, s *secret) (err error) {
	shares := d.shares(r.group.ID)
	chosen := slices.Contains(r.r.Helpers(), r.own) && s.joined(&r.replay)
	switch p := r.Phase(); {
	case p == threshold.PhaseKeys && s.silent(&r.replay, p) && shares != nil:
		return s.joinRepair(r, h)
	case p == threshold.PhaseDeal && chosen && s.silent(&r.replay, p) && shares != nil:
		var message []byte
		if message, err = s.repairer.Contribute(r.r, shares); err == nil {
			s.sent[p] = [][]byte{message}
		}
	case p == threshold.PhaseComplain && chosen:
		return s.check(r, h)
	}
	return err
}

func (s *secret) joinRepair(r *repair, h *Holder) error {
	p, message, err := threshold.JoinRepair(r.r, r.own, h.random)
	if err != nil {
		return err
	}
	s.repairer, s.sent[threshold.PhaseKeys] = p, [][]byte{message}
	return nil
}

// check makes the complaints about what does not fit, once.
func (s *secret) check(r *repair, h *Holder) (err error) {
	if s.opened {
		return nil
	}
	if s.sent[threshold.PhaseComplain], err = s.repairer.Check(r.r, h.random); err == nil {
		s.opened = true
	}
	return err
}
