package keyholder

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"slices"
	"sync"

	"github.com/cella-network/cella/protocol/threshold"
)

// Kinds of refusal.
var (
	ErrState   = errors.New("not now") // something must come first
	ErrRefused = errors.New("refused") // it does not fit what the chain says
)

func state(format string, args ...any) error {
	return fmt.Errorf("%w: %s", ErrState, fmt.Sprintf(format, args...))
}

func refused(format string, args ...any) error {
	return fmt.Errorf("%w: %s", ErrRefused, fmt.Sprintf(format, args...))
}

const (
	maxPurposes = 4
	maxHeld     = 3 // groups: in charge, before, and the next
)

// Entry is what happened next in a ceremony or repair: a message was accepted, or a phase ended, and then From is zero.
type Entry struct {
	From    [20]byte
	Message []byte
}

// Action is where a ceremony or repair is, and what this holder has said in this phase that is not on chain yet.
type Action struct {
	Phase    threshold.Phase
	Messages [][]byte
}

// Standing is what the holder has of the group in charge.
type Standing struct {
	Charged bool // the chain has a group
	Epoch   uint64
	Member  bool // the account has a seat
	Seat    int
	Holds   bool // its shares are here
	Ready   bool // and the chain knows that they are
}

// Holder keeps one account's shares and does its part in making them. Sign never waits for what computes for long, as all other
// methods do. It is safe for concurrent use.
type Holder struct {
	chainID string
	account [20]byte
	random  io.Reader

	work  sync.Mutex // held by all but Sign
	mu    sync.Mutex // taken within work to change what Sign reads, and by Sign
	desks map[string]*desk
}

// desk is all of one purpose.
type desk struct {
	ceremony ceremony
	repairs  map[[20]byte]*repair // by the account whose shares are lost

	charged int64               // height of the newest proof of a charge
	now     *threshold.InCharge // changed with both locks held, as before and held
	before  *threshold.InCharge // the charge that now replaced
	held    []holding
}

// holding is this account's shares of a group.
type holding struct {
	group  *threshold.Group
	shares *threshold.Shares
}

// New makes a holder without shares. random is the source of all its secrets.
func New(chainID string, account [20]byte, random io.Reader) *Holder {
	return &Holder{chainID: chainID, account: account, random: random, desks: map[string]*desk{}}
}

// Close wipes everything.
func (h *Holder) Close() {
	h.work.Lock()
	defer h.work.Unlock()
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, d := range h.desks {
		d.ceremony.secret.wipe()
		for _, r := range d.repairs {
			r.secret.wipe()
		}
		for _, x := range d.held {
			x.shares.Wipe()
		}
	}
	clear(h.desks)
}

// desk returns a purpose's desk.
func (h *Holder) desk(purpose string) (*desk, error) {
	if d := h.desks[purpose]; d != nil {
		return d, nil
	}
	if len(h.desks) == maxPurposes {
		return nil, refused("more than %d purposes", maxPurposes)
	}
	d := &desk{repairs: map[[20]byte]*repair{}}
	h.mu.Lock()
	defer h.mu.Unlock()
	h.desks[purpose] = d
	return d, nil
}

// Settle takes the charge that is proven in the state after a height, nil if it is proven that there is none. group is the encoding
// of the group that it names; it may be empty if it came before.
func (h *Holder) Settle(purpose string, height int64, charge *threshold.Charge, group []byte) (Standing, error) {
	h.work.Lock()
	defer h.work.Unlock()
	d, err := h.desk(purpose)
	if err != nil {
		return Standing{}, err
	}
	if height < d.charged {
		return Standing{}, refused("the proof at height %d is older than the one at %d before", height, d.charged)
	}
	if charge == nil {
		if d.now != nil {
			return Standing{}, refused("the chain had a group before")
		}
		return Standing{}, nil
	}
	keys, err := d.named(*charge, group)
	if err != nil {
		return Standing{}, err
	}
	if keys.ID.ChainID != h.chainID || keys.ID.Purpose != purpose {
		return Standing{}, refused("the group is of another chain or purpose")
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	d.charged = height
	if d.now != nil && d.now.Epoch != charge.Epoch {
		d.before = d.now
	}
	d.now = &threshold.InCharge{Charge: *charge, Keys: keys}
	if s := d.ceremony.secret; s != nil && s.shares != nil && s.id == keys.ID { // its end was not seen, but here it is
		d.take(keys, s, seatOf(keys.Seats, h.account))
	} else if s != nil && s.id.Epoch <= charge.Epoch && s.id != keys.ID { // its epoch is another group's: it failed, or was replaced
		s.wipe()
	}
	for i := range d.held {
		if d.held[i].group.ID == keys.ID {
			d.held[i].group = keys // others may have become ready
		}
	}
	d.sweep()
	for account, r := range d.repairs {
		if r.group.ID != keys.ID {
			r.secret.wipe()
			delete(d.repairs, account)
		}
	}
	seat := seatOf(keys.Seats, h.account)
	return Standing{Charged: true, Epoch: charge.Epoch, Member: seat >= 0, Seat: max(seat, 0),
		Holds: d.shares(keys.ID) != nil, Ready: d.shares(keys.ID) != nil && keys.Ready(seat)}, nil
}

// named is the group that a charge names: one that is known, or what the host brought.
func (d *desk) named(c threshold.Charge, group []byte) (*threshold.Group, error) {
	for _, known := range []*threshold.InCharge{d.now, d.before} {
		if known != nil && known.Group == c.Group {
			return known.Keys, nil
		}
	}
	if len(group) == 0 {
		return nil, state("the group in charge is not known: bring it")
	}
	if sha256.Sum256(group) != c.Group {
		return nil, refused("the group is not the one that the charge names")
	}
	return threshold.UnmarshalGroup(group)
}

// known is the group of a ceremony that the chain has proven to this holder.
func (d *desk) known(id threshold.ID) *threshold.Group {
	for _, c := range []*threshold.InCharge{d.now, d.before} {
		if c != nil && c.Keys.ID == id {
			return c.Keys
		}
	}
	for _, x := range d.held {
		if x.group.ID == id {
			return x.group
		}
	}
	return nil
}

// shares are those of a group, nil without.
func (d *desk) shares(id threshold.ID) *threshold.Shares {
	for _, x := range d.held {
		if x.group.ID == id {
			return x.shares
		}
	}
	return nil
}

// take keeps the shares of a ceremony that made a group, and ends it; the caller holds both locks. If the group does not know that they
// are here, the chain takes their keys later, too.
func (d *desk) take(g *threshold.Group, s *secret, seat int) {
	d.hold(g, s.shares)
	if s.shares = nil; !g.Ready(seat) {
		s.sent[threshold.PhaseDone] = s.sent[threshold.PhaseReady]
	}
	s.wipe()
}

// hold keeps shares of a group; the caller holds both locks.
func (d *desk) hold(g *threshold.Group, s *threshold.Shares) {
	d.held = slices.DeleteFunc(d.held, func(x holding) bool {
		if x.group.ID == g.ID {
			x.shares.Wipe()
		}
		return x.group.ID == g.ID
	})
	d.held = append(d.held, holding{g, s})
	d.sweep()
	for len(d.held) > maxHeld { // a host that shows no charges: the oldest go
		d.held[0].shares.Wipe()
		d.held = d.held[1:]
	}
}

// sweep wipes shares that the charge leaves no use for; the caller holds both locks.
func (d *desk) sweep() {
	d.held = slices.DeleteFunc(d.held, func(x holding) bool {
		useless := d.useless(x.group.ID)
		if useless {
			x.shares.Wipe()
		}
		return useless
	})
}

// useless says whether a group can't sign any more.
func (d *desk) useless(id threshold.ID) bool {
	switch {
	case d.now == nil || id == d.now.Keys.ID:
		return false
	case id.Epoch > d.now.Epoch: // it may come in charge
		return false
	case d.now.Confirmed: // there is no way back
		return true
	}
	return id.Epoch > d.now.Keys.ID.Epoch // the chain went back from it
}

// Sign makes the partial signatures of heights in an epoch, with a trusted head. The charge says which shares: those of the group before
// as long as the next height is not the new one's yet.
func (h *Holder) Sign(purpose string, head int64, epoch uint64, heights []int64) ([][]byte, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	d := h.desks[purpose]
	if d == nil || d.now == nil {
		return nil, state("the charge is not known: settle first")
	}
	c := d.now
	if head+1 < c.From && d.before != nil {
		c = d.before
	}
	for _, height := range heights {
		if err := mayPartial(c.Charge, head, epoch, height); err != nil {
			return nil, err
		}
	}
	s := d.shares(c.Keys.ID)
	if s == nil {
		return nil, state("no shares of epoch %d", c.Epoch)
	}
	var out [][]byte
	for _, height := range heights {
		p, err := s.Sign(c.Keys, threshold.Message{ChainID: h.chainID, Epoch: epoch, Height: height}.Marshal())
		if err != nil {
			return nil, err
		}
		out = append(out, p.Marshal())
	}
	return out, nil
}

// mayPartial says whether a height may be signed in an epoch under a charge. Heights before the charge are completed in the epoch
// that they belong to, which the chain knows; a height ahead of the next one would give away what nobody is to know yet.
func mayPartial(c threshold.Charge, head int64, epoch uint64, height int64) error {
	switch {
	case height <= 0 || height > head+1:
		return refused("height %d: the trusted head is %d", height, head)
	case height >= c.From && epoch != c.Epoch:
		return refused("height %d is of epoch %d, not %d", height, c.Epoch, epoch)
	case height < c.From && epoch >= c.Epoch:
		return refused("height %d is before epoch %d", height, c.Epoch)
	}
	return nil
}

func seatOf(seats []threshold.Seat, account [20]byte) int {
	return slices.IndexFunc(seats, func(s threshold.Seat) bool { return s.Account == account })
}
