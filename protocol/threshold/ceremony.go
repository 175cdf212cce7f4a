package threshold

import (
	blst "github.com/supranational/blst/bindings/go"
	"golang.org/x/crypto/cryptobyte"
)

// Phase is where a ceremony is. The chain says when one ends.
type Phase uint8

const (
	PhaseKeys     Phase = iota + 1 // members bring fresh encryption keys
	PhaseDeal                      // dealers commit and send sealed shares
	PhaseComplain                  // receivers show what they got
	PhaseReady                     // members show that they hold their shares
	PhaseDone
	PhaseFailed // the old group stays
)

// Blame is a cheat that was proven in public.
type Blame struct {
	Account [20]byte
	Rule    string // RuleDeal, RuleComplaint, RuleBlind or RuleContribution
}

// What a member can be blamed for.
const (
	RuleDeal         = "deal"         // a wrong degree, another secret than the old share, or a share that does not fit
	RuleComplaint    = "complaint"    // a complaint about a share that fits
	RuleBlind        = "blind"        // a commitment to another blind than the two helpers share
	RuleContribution = "contribution" // a contribution to a repair that does not fit
)

// Deals keeps what Accept found good until the ceremony ends: the chain's store, or a map.
type Deals interface {
	Keep(deal int, kept []byte)
	Kept(deal int) []byte // nil if there is none
}

// Ceremony is what everyone who watches knows of a DKG or a resharing. It takes messages and ends of phases and nothing else,
// so all who saw the same come to the same verdicts.
type Ceremony struct {
	setup   Setup
	session [32]byte
	deals   Deals
	phase   Phase
	keys    [][]byte   // of each seat, nil without
	dealt   []bool     // by number of the deal
	blames  []Blame    // in the order of the proofs
	commits []point    // from PhaseReady on
	ready   [][]pubkey // of each seat, nil if not ready
}

// NewCeremony begins a ceremony in PhaseKeys.
func NewCeremony(setup Setup, deals Deals) (*Ceremony, error) {
	if err := setup.check(); err != nil {
		return nil, err
	}
	n := len(setup.Seats)
	return &Ceremony{setup: setup, session: setup.session(), deals: deals, phase: PhaseKeys,
		keys: make([][]byte, n), dealt: make([]bool, setup.dealers()), ready: make([][]pubkey, n)}, nil
}

// Phase is where the ceremony is.
func (c *Ceremony) Phase() Phase { return c.phase }

// Blames are the cheats proven so far.
func (c *Ceremony) Blames() []Blame { return append([]Blame(nil), c.blames...) }

// Accept takes a message of an account. An error says that nothing changed; a proven cheat is no error, but a new Blame.
func (c *Ceremony) Accept(from [20]byte, message []byte) error {
	s := cryptobyte.String(message)
	h, ok := readHead(&s)
	if !ok {
		return malformed("message")
	}
	phase, known := map[string]Phase{domainKey: PhaseKeys, domainDeal: PhaseDeal, domainComplaint: PhaseComplain, domainReady: PhaseReady}[h.kind]
	if !known {
		return malformed("message of an unknown kind")
	}
	if h.session != c.session {
		return refused("the message is of another ceremony")
	}
	if phase != c.phase {
		return refused("the message is not of this phase")
	}
	if h.kind == domainDeal {
		return c.deal(from, h, s)
	}
	if h.from >= len(c.setup.Seats) || c.setup.Seats[h.from].Account != from {
		return refused("the seat is not the sender's")
	}
	switch h.kind {
	case domainKey:
		return c.key(h, s)
	case domainComplaint:
		return c.complaint(h, s)
	}
	return c.readiness(h, s)
}

func (c *Ceremony) key(h head, s cryptobyte.String) error {
	if c.keys[h.from] != nil {
		return refused("seat %d has a key", h.from)
	}
	m, err := readKey(h, s)
	if err != nil {
		return err
	}
	c.keys[h.from] = m.key.Compress()
	return nil
}

func (c *Ceremony) deal(from [20]byte, h head, s cryptobyte.String) error {
	if h.from >= len(c.dealt) {
		return refused("there is no dealer %d", h.from)
	}
	if account, _ := c.setup.dealer(h.from); account != from {
		return refused("the deal is not the sender's")
	}
	if c.dealt[h.from] || c.blamed(from, RuleDeal) {
		return refused("dealer %d has dealt, or was blamed", h.from)
	}
	m, err := readDeal(h, s)
	if err != nil {
		return err
	}
	if len(m.sealed) != c.sealedFor(len(c.keys))*scalarSize {
		return malformed("deal for other receivers")
	}
	// From here on the dealer has proven that the deal is its own.
	if len(m.commits) != c.setup.Threshold || !c.constantFits(m) {
		c.blame(from, RuleDeal)
		return nil
	}
	c.dealt[h.from] = true
	c.deals.Keep(h.from, m.kept())
	return nil
}

// constantFits says whether a deal that hands on a share is of that share.
func (c *Ceremony) constantFits(m dealMessage) bool {
	return c.setup.Old == nil || m.commits[0].Equals(evalPublic(c.setup.Old.commits, m.from+1))
}

// sealedFor counts the shares of the seats with keys before a seat.
func (c *Ceremony) sealedFor(seat int) int {
	sum := 0
	for i, key := range c.keys[:seat] {
		if key != nil {
			sum += c.setup.Seats[i].Shares
		}
	}
	return sum
}

// sealedTo is what a deal brings to a seat.
func (c *Ceremony) sealedTo(m dealMessage, seat int) ([]byte, error) {
	first, after := c.sealedFor(seat)*scalarSize, c.sealedFor(seat+1)*scalarSize
	if after == first || after > len(m.sealed) {
		return nil, refused("nothing was sealed to seat %d", seat)
	}
	return m.sealed[first:after], nil
}

func (c *Ceremony) complaint(h head, s cryptobyte.String) error {
	m, err := readComplaint(h, s)
	if err != nil {
		return err
	}
	if m.against >= len(c.dealt) || !c.dealt[m.against] || c.keys[h.from] == nil {
		return refused("there is no deal %d to seat %d", m.against, h.from)
	}
	accuser := c.setup.Seats[h.from].Account
	dealer, _ := c.setup.dealer(m.against)
	if c.blamed(dealer, RuleDeal) || c.blamed(accuser, RuleComplaint) {
		return refused("the dealer is out already, or the accuser has lied before")
	}
	d, err := readKept(c.deals.Kept(m.against))
	if err != nil {
		return err
	}
	mine := c.keyOf(h.from)
	if !m.proof.verify(m.statement(), m.relations(*mine, d.ephemeral)) {
		return refused("the complaint's proof does not hold")
	}
	if shares, fits := c.open(d, h.from, &m.shared); fits {
		wipe(shares)
		c.blame(accuser, RuleComplaint)
	} else {
		c.blame(dealer, RuleDeal)
	}
	return nil
}

// open reads what a deal brings to a seat with the point that only the two know, and checks it against the commitments: the
// receiver does so in secret, everybody else when a complaint revealed the point.
func (c *Ceremony) open(d dealMessage, seat int, shared *point) ([]scalar, bool) {
	sealed, err := c.sealedTo(d, seat)
	if err != nil {
		return nil, false
	}
	shares, ok := c.sealing(d, seat).open(shared, sealed)
	if !ok {
		return nil, false
	}
	for i, x := range seats(c.setup.Seats).numbers(seat) {
		if !new(point).From(&shares[i]).Equals(evalPublic(d.commits, x)) {
			wipe(shares)
			return nil, false
		}
	}
	return shares, true
}

func (c *Ceremony) sealing(d dealMessage, seat int) sealing {
	return sealing{session: c.session, from: d.from, to: seat, a: &d.ephemeral, b: c.keyOf(seat)}
}

// keyOf reads a key that was checked when it came.
func (c *Ceremony) keyOf(seat int) *point { return new(point).Uncompress(c.keys[seat]) }

func (c *Ceremony) readiness(h head, s cryptobyte.String) error {
	if c.ready[h.from] != nil || c.keys[h.from] == nil {
		return refused("seat %d is ready, or had no key", h.from)
	}
	m, err := readReady(h, s)
	if err != nil {
		return err
	}
	if err := checkReady(c.commits, seats(c.setup.Seats).numbers(h.from), m); err != nil {
		return err
	}
	c.ready[h.from] = m.keys
	return nil
}

func (c *Ceremony) blame(account [20]byte, rule string) {
	c.blames = append(c.blames, Blame{account, rule})
}

func (c *Ceremony) blamed(account [20]byte, rule string) bool {
	for _, b := range c.blames {
		if b == (Blame{account, rule}) {
			return true
		}
	}
	return false
}

// qualified are the deals that count, rising, and whether they weigh enough. A dealer who was blamed has none. To hand a key on
// takes exactly as many as make it, the first ones.
func (c *Ceremony) qualified() ([]int, bool) {
	var deals []int
	weight := 0
	for d := range c.dealt {
		account, w := c.setup.dealer(d)
		if !c.dealt[d] || c.blamed(account, RuleDeal) || c.setup.Old != nil && weight == c.setup.quorum() {
			continue
		}
		deals, weight = append(deals, d), weight+w
	}
	return deals, weight >= c.setup.quorum()
}

// factors are what the qualified deals are multiplied by: nothing for a fresh key, whose secret is the sum.
func (c *Ceremony) factors(deals []int) []scalar {
	if c.setup.Old != nil {
		xs := make([]int, len(deals))
		for i, d := range deals {
			xs[i] = d + 1
		}
		return lagrange(xs, 0)
	}
	out := make([]scalar, len(deals))
	for i := range out {
		out[i] = *small(1)
	}
	return out
}

// Advance ends the phase: the chain calls it at the height that it fixed. A phase that brought too little fails the ceremony.
func (c *Ceremony) Advance() error {
	var enough bool
	switch c.phase {
	case PhaseKeys:
		enough = c.sealedFor(len(c.keys)) >= c.setup.Threshold
	case PhaseDeal:
		_, enough = c.qualified()
	case PhaseComplain:
		deals, ok := c.qualified()
		if ok {
			if err := c.add(deals); err != nil {
				return err
			}
		}
		enough = ok
	case PhaseReady:
		key, err := groupKey(c.setup.Seats, c.setup.Threshold, c.ready)
		enough = err == nil && (c.setup.Old == nil || key.Equals(&c.setup.Old.key))
	default:
		return refused("the ceremony is over")
	}
	if c.phase++; !enough {
		c.phase = PhaseFailed
	}
	return nil
}

// add makes the group's polynomial out of the deals that count.
func (c *Ceremony) add(deals []int) error {
	columns := make([][]point, c.setup.Threshold)
	for _, i := range deals {
		d, err := readKept(c.deals.Kept(i))
		if err != nil {
			return err
		}
		for k := range columns {
			columns[k] = append(columns[k], d.commits[k])
		}
	}
	factors := littleEndian(c.factors(deals))
	c.commits = make([]point, len(columns))
	for k, column := range columns {
		if c.setup.Old == nil {
			c.commits[k] = *blst.P1Affines(column).Add().ToAffine()
		} else {
			c.commits[k] = *blst.P1Affines(column).Mult(factors, 255).ToAffine()
		}
	}
	return nil
}

// Group is the new group of a ceremony that is done.
func (c *Ceremony) Group() (*Group, error) {
	if c.phase != PhaseDone {
		return nil, refused("the ceremony is not done")
	}
	key, err := groupKey(c.setup.Seats, c.setup.Threshold, c.ready)
	if err != nil {
		return nil, err
	}
	return &Group{ID: c.setup.ID, Seats: append([]Seat(nil), c.setup.Seats...), Threshold: c.setup.Threshold,
		session: c.session, commits: c.commits, key: key, keys: append([][]pubkey(nil), c.ready...)}, nil
}
