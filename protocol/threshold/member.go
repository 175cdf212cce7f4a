package threshold

import (
	"io"
)

// Member is a receiver's secret side of one ceremony: its encryption key and the shares that it opened. It is kept in memory
// only and wiped when the ceremony ends.
type Member struct {
	session [32]byte
	seat    int
	key     scalar
	opened  map[int][]scalar // by deal
}

// Join makes a member's fresh key and the message that brings it to the ceremony.
func Join(setup Setup, seat int, random io.Reader) (*Member, []byte, error) {
	if err := setup.check(); err != nil {
		return nil, nil, err
	}
	if seat < 0 || seat >= len(setup.Seats) {
		return nil, nil, refused("there is no seat %d", seat)
	}
	m := &Member{session: setup.session(), seat: seat, opened: map[int][]scalar{}}
	message, err := freshKey(head{domainKey, m.session, seat}, &m.key, random)
	return m, message, err
}

// freshKey draws a key into place and makes its message.
func freshKey(h head, key *scalar, random io.Reader) ([]byte, error) {
	s, err := randomScalar(random)
	if err != nil {
		return nil, err
	}
	*key = *s
	s.Zeroize()
	k := keyMessage{head: h, key: *new(point).From(key)}
	if k.proof, err = prove(h.statement(), k.relations(), []*scalar{key}, random); err != nil {
		return nil, err
	}
	return k.marshal(), nil
}

// DealFresh deals a fresh secret for a seat, and forgets it.
func DealFresh(c *Ceremony, seat int, random io.Reader) ([]byte, error) {
	if c.setup.Old != nil || seat < 0 || seat >= len(c.setup.Seats) {
		return nil, refused("the ceremony takes no fresh secret of seat %d", seat)
	}
	return deal(c, seat, nil, random)
}

// deal shares a secret, or a fresh one, with every seat that has a key.
func deal(c *Ceremony, number int, secret *scalar, random io.Reader) ([]byte, error) {
	if c.phase != PhaseDeal {
		return nil, refused("the ceremony is not at its deals")
	}
	coefs, err := randomScalars(random, c.setup.Threshold+1)
	if err != nil {
		return nil, err
	}
	defer wipe(coefs)
	once, coefs := &coefs[c.setup.Threshold], coefs[:c.setup.Threshold] // the ephemeral key, the polynomial
	if secret != nil {
		coefs[0] = *secret
	}
	d := dealMessage{head: head{domainDeal, c.session, number}, ephemeral: *new(point).From(once)}
	for i := range coefs {
		d.commits = append(d.commits, *new(point).From(&coefs[i]))
	}
	for seat := range c.keys {
		if c.keys[seat] == nil {
			continue
		}
		shares := make([]scalar, c.setup.Seats[seat].Shares)
		for i, x := range seats(c.setup.Seats).numbers(seat) {
			s := evalSecret(coefs, x)
			shares[i] = *s
			s.Zeroize()
		}
		shared := timesSecret(c.keyOf(seat), once)
		d.sealed = append(d.sealed, c.sealing(d, seat).seal(shared, shares)...)
		*shared = point{}
		wipe(shares)
	}
	if d.proof, err = prove(d.statement(), d.relations(), []*scalar{&coefs[0], once}, random); err != nil {
		return nil, err
	}
	return d.marshal(), nil
}

// Open reads what a kept deal brings to the member. If it does not fit, a complaint comes back, for the member's host to send.
func (m *Member) Open(c *Ceremony, number int, random io.Reader) (complaint []byte, err error) {
	if c.session != m.session || number < 0 || number >= len(c.dealt) || !c.dealt[number] || c.keys[m.seat] == nil {
		return nil, refused("there is no deal %d to this member", number)
	}
	d, err := readKept(c.deals.Kept(number))
	if err != nil {
		return nil, err
	}
	shared := timesSecret(&d.ephemeral, &m.key)
	shares, ok := c.open(d, m.seat, shared)
	*shared = point{}
	if !ok {
		mine := new(point).From(&m.key)
		return complain(head{domainComplaint, m.session, m.seat}, number, &m.key, *mine, d.ephemeral, random)
	}
	wipe(m.opened[number])
	m.opened[number] = shares
	return nil, nil
}

// Finish adds up the deals that count and wipes the member. The message says that it is ready.
func (m *Member) Finish(c *Ceremony) (*Shares, []byte, error) {
	defer m.Wipe()
	if c.session != m.session || c.phase < PhaseReady || c.phase > PhaseDone {
		return nil, nil, refused("the deals do not stand yet")
	}
	deals, _ := c.qualified()
	factors := c.factors(deals)
	s := &Shares{session: m.session, seat: m.seat, secrets: make([]scalar, c.setup.Seats[m.seat].Shares)}
	for i, d := range deals {
		if m.opened[d] == nil {
			s.Wipe()
			return nil, nil, refused("deal %d was not opened: the shares need repair", d)
		}
		for k := range s.secrets {
			m.opened[d][k].MulAssign(&factors[i])
			s.secrets[k].AddAssign(&m.opened[d][k])
		}
	}
	return s, s.ready(), nil
}

// Wipe forgets the member's key and the shares that it opened.
func (m *Member) Wipe() {
	m.key.Zeroize()
	for _, s := range m.opened {
		wipe(s)
	}
	m.opened = map[int][]scalar{}
}

// Shares are a seat's secret shares of a group. They are kept in memory only: nothing encodes them.
type Shares struct {
	session [32]byte
	seat    int
	secrets []scalar
}

// Wipe forgets the shares.
func (s *Shares) Wipe() { wipe(s.secrets) }

func (s *Shares) ready() []byte {
	m := readyMessage{head: head{domainReady, s.session, s.seat}, keys: make([]pubkey, len(s.secrets))}
	for i := range s.secrets {
		m.keys[i].From(&s.secrets[i])
	}
	return m.marshal()
}

// Deal hands each share on to the next group: a message for each.
func (s *Shares) Deal(c *Ceremony, random io.Reader) ([][]byte, error) {
	if c.setup.Old == nil || c.setup.Old.session != s.session {
		return nil, refused("the ceremony does not hand on this group's key")
	}
	var out [][]byte
	for i, x := range seats(c.setup.Old.Seats).numbers(s.seat) {
		message, err := deal(c, x-1, &s.secrets[i], random)
		if err != nil {
			return nil, err
		}
		out = append(out, message)
	}
	return out, nil
}

// Sign makes the seat's partial signature.
func (s *Shares) Sign(g *Group, message []byte) (Partial, error) {
	if g.session != s.session {
		return Partial{}, refused("the shares are of another group")
	}
	p := Partial{Seat: s.seat, points: make([]point, len(s.secrets))}
	hash := hashToPoint(g.ID.Purpose, message)
	for i := range s.secrets {
		p.points[i] = *timesSecret(hash, &s.secrets[i])
	}
	return p, nil
}
