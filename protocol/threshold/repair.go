package threshold

import (
	"crypto/sha256"
	"io"
	"slices"

	blst "github.com/supranational/blst/bindings/go"
	"golang.org/x/crypto/cryptobyte"
)

// Repair is what everyone who watches knows of the repair of one seat's shares. Helpers with the threshold between them each
// give what their shares are worth at the lost ones, plus blinds that every two helpers share and that cancel in the sum.
// Only the seat reads what is given, and learns nothing but the sum: its own shares.
//
// A repair that fails is tried again with other helpers, under another attempt.
type Repair struct {
	group   *Group
	seat    int
	allowed []int // who may help
	session [32]byte
	phase   Phase
	keys    [][]byte
	helpers []int // from PhaseDeal on
	numbers [][]int
	coeffs  [][]scalar // by lost share: of all numbers in order
	given   []*contributionMessage
	blames  []Blame
}

// NewRepair begins the repair of a seat's shares in PhaseKeys. The helpers are taken in the order given.
func NewRepair(g *Group, attempt uint32, seat int, helpers []int) (*Repair, error) {
	if seat < 0 || seat >= len(g.Seats) {
		return nil, refused("there is no seat %d", seat)
	}
	var b cryptobyte.Builder
	addString(&b, domainRepair)
	of := g.commitment()
	b.AddBytes(of[:])
	b.AddUint32(attempt)
	b.AddUint16(uint16(seat))
	for i, h := range helpers {
		if !g.Ready(h) || h == seat || slices.Contains(helpers[:i], h) {
			return nil, refused("seat %d can't help: not ready, named twice, or itself to be repaired", h)
		}
		b.AddUint16(uint16(h))
	}
	return &Repair{group: g, seat: seat, allowed: slices.Clone(helpers), session: sha256.Sum256(b.BytesOrPanic()),
		phase: PhaseKeys, keys: make([][]byte, len(g.Seats))}, nil
}

// MaxBlinds is how many blinds a repair should have at most: its helpers' messages, and what is kept of them, grow with it, to 1.5 MiB. Beyond it
// less is sent if the key is handed on to the same seats, which gives all of them new shares.
const MaxBlinds = 1 << 14

// Blinds is how many blinds the helpers in a seat's repair commit to, whoever they are: each of them has one with each other for each lost share.
func (g *Group) Blinds(seat int) int {
	var others []int
	for i, s := range g.Seats {
		if i != seat {
			others = append(others, s.Shares)
		}
	}
	slices.Sort(others)
	helpers := 0
	for have := 0; helpers < len(others) && have < g.Threshold; helpers++ {
		have += others[helpers]
	}
	return helpers * max(helpers-1, 0) * g.Seats[seat].Shares
}

// Phase is where the repair is: PhaseKeys, PhaseDeal, PhaseComplain, then PhaseDone or PhaseFailed.
func (r *Repair) Phase() Phase { return r.phase }

// Helpers are the seats that have to contribute, from PhaseDeal on.
func (r *Repair) Helpers() []int { return slices.Clone(r.helpers) }

// Silent are the helpers that have not contributed.
func (r *Repair) Silent() (out []int) {
	for at, h := range r.helpers {
		if r.given[at] == nil {
			out = append(out, h)
		}
	}
	return out
}

// Blames are the cheats proven so far.
func (r *Repair) Blames() []Blame { return slices.Clone(r.blames) }

// Accept takes a message of an account. An error says that nothing changed; a proven cheat is no error, but a new Blame.
func (r *Repair) Accept(from [20]byte, message []byte) error {
	s := cryptobyte.String(message)
	h, ok := readHead(&s)
	if !ok {
		return malformed("message")
	}
	if h.session != r.session || h.from >= len(r.group.Seats) || r.group.Seats[h.from].Account != from {
		return refused("the message is of another repair or seat")
	}
	switch {
	case h.kind == domainKey && r.phase == PhaseKeys:
		if r.keys[h.from] != nil || h.from != r.seat && !slices.Contains(r.allowed, h.from) {
			return refused("seat %d has a key, or is not asked to help", h.from)
		}
		m, err := readKey(h, s)
		if err != nil {
			return err
		}
		r.keys[h.from] = m.key.Compress()
		return nil
	case h.kind == domainContribution && r.phase == PhaseDeal:
		at := slices.Index(r.helpers, h.from)
		if at < 0 || r.given[at] != nil {
			return refused("seat %d has contributed, or is no helper", h.from)
		}
		m, err := readContribution(h, s)
		if err != nil {
			return err
		}
		if len(m.blinds) != (len(r.helpers)-1)*r.lost() || len(m.sealed) != r.lost()*scalarSize {
			return malformed("contribution for other helpers")
		}
		r.given[at] = &m
		return nil
	case h.kind == domainComplaint && r.phase == PhaseComplain:
		return r.complaint(h, s)
	}
	return refused("the message is not of this phase")
}

// Advance ends the phase. Without all of the contributions, or after any blame, the repair fails.
func (r *Repair) Advance() error {
	var enough bool
	switch r.phase {
	case PhaseKeys:
		enough = r.keys[r.seat] != nil && r.choose()
	case PhaseDeal:
		enough = !slices.Contains(r.given, nil)
	case PhaseComplain:
		enough = len(r.blames) == 0 && r.agree()
	default:
		return refused("the repair is over")
	}
	switch {
	case !enough:
		r.phase = PhaseFailed
	case r.phase == PhaseComplain:
		r.phase = PhaseDone
	default:
		r.phase++
	}
	return nil
}

// choose takes the first helpers with keys that have the threshold between them, and of the last no more shares than needed.
func (r *Repair) choose() bool {
	var xs []int
	for _, h := range r.allowed {
		if k := min(r.group.Seats[h].Shares, r.group.Threshold-len(xs)); r.keys[h] != nil && k > 0 {
			numbers := seats(r.group.Seats).numbers(h)[:k]
			r.helpers, r.numbers, xs = append(r.helpers, h), append(r.numbers, numbers), append(xs, numbers...)
		}
	}
	r.given = make([]*contributionMessage, len(r.helpers))
	if len(xs) < r.group.Threshold {
		return false
	}
	for _, x := range seats(r.group.Seats).numbers(r.seat) {
		r.coeffs = append(r.coeffs, lagrange(xs, x))
	}
	return true
}

// lost counts the shares to be repaired.
func (r *Repair) lost() int { return r.group.Seats[r.seat].Shares }

// factors are the coefficients of a helper's numbers for a lost share.
func (r *Repair) factors(at, share int) []scalar {
	first := 0
	for _, n := range r.numbers[:at] {
		first += len(n)
	}
	return r.coeffs[share][first:][:len(r.numbers[at])]
}

// blind is what one helper committed to as its blind with another.
func (r *Repair) blind(at, other, share int) *point {
	if other > at {
		other--
	}
	return &r.given[at].blinds[other*r.lost()+share]
}

// agree says whether every two helpers committed to the same blinds.
func (r *Repair) agree() bool {
	for a := range r.helpers {
		for b := range a {
			for k := range r.lost() {
				if !r.blind(a, b, k).Equals(r.blind(b, a, k)) {
					return false
				}
			}
		}
	}
	return true
}

// worth commits to a helper's shares, whichever are lost.
func (r *Repair) worth(at int) (worth []point) {
	for _, x := range r.numbers[at] {
		worth = append(worth, *evalPublic(r.group.commits, x))
	}
	return worth
}

// expected commits to what a helper has to give: its shares' worth at a lost one, plus the blinds with those after it, minus those before.
func (r *Repair) expected(at, share int, worth []point) *point {
	var sum blst.P1
	sum.FromAffine(sumOfProducts(worth, r.factors(at, share)))
	for other := range r.helpers {
		switch {
		case other > at:
			sum.AddAssign(r.blind(at, other, share))
		case other < at:
			sum.SubAssign(r.blind(at, other, share))
		}
	}
	return sum.ToAffine()
}

// pair is the sealing between two helpers, the same for both.
func (r *Repair) pair(at, other int) sealing {
	return r.sealing(r.helpers[min(at, other)], r.helpers[max(at, other)])
}

func (r *Repair) sealing(from, to int) sealing {
	return sealing{session: r.session, from: from, to: to, a: r.keyOf(from), b: r.keyOf(to)}
}

func (r *Repair) keyOf(seat int) *point { return new(point).Uncompress(r.keys[seat]) }

// open reads what a helper gave.
func (r *Repair) open(at int, shared *point) ([]scalar, bool) {
	parts, ok := r.sealing(r.helpers[at], r.seat).open(shared, r.given[at].sealed)
	if !ok {
		return nil, false
	}
	worth := r.worth(at)
	for k := range parts {
		if !new(point).From(&parts[k]).Equals(r.expected(at, k, worth)) {
			wipe(parts)
			return nil, false
		}
	}
	return parts, true
}

// keeps says whether a helper committed to the blinds that it shares with another.
func (r *Repair) keeps(at, other int, blinds []scalar) bool {
	for k := range blinds {
		if !new(point).From(&blinds[k]).Equals(r.blind(at, other, k)) {
			return false
		}
	}
	return true
}

func (r *Repair) complaint(h head, s cryptobyte.String) error {
	m, err := readComplaint(h, s)
	if err != nil {
		return err
	}
	at, by := slices.Index(r.helpers, m.against), slices.Index(r.helpers, h.from)
	if at < 0 || at == by || by < 0 && h.from != r.seat {
		return refused("seat %d has nothing of seat %d", h.from, m.against)
	}
	accuser, accused := r.group.Seats[h.from].Account, r.group.Seats[m.against].Account
	for _, b := range r.blames {
		if b.Account == accuser || b.Account == accused {
			return refused("one of the two was blamed already")
		}
	}
	if !m.proof.verify(m.statement(), m.relations(*r.keyOf(h.from), *r.keyOf(m.against))) {
		return refused("the complaint's proof does not hold")
	}
	blame := Blame{accuser, RuleComplaint}
	if by < 0 {
		if parts, fits := r.open(at, &m.shared); fits {
			wipe(parts)
		} else {
			blame = Blame{accused, RuleContribution}
		}
	} else {
		blinds := r.pair(at, by).blinds(&m.shared, r.lost())
		if !r.keeps(at, by, blinds) {
			blame = Blame{accused, RuleBlind}
		} else if !r.keeps(by, at, blinds) {
			blame = Blame{accuser, RuleBlind}
		}
		wipe(blinds)
	}
	r.blames = append(r.blames, blame)
	return nil
}

// Repairer is the secret side of a helper, or of the seat whose shares are lost.
type Repairer struct {
	session [32]byte
	seat    int
	key     scalar
}

// JoinRepair makes a fresh key and the message that brings it.
func JoinRepair(r *Repair, seat int, random io.Reader) (*Repairer, []byte, error) {
	p := &Repairer{session: r.session, seat: seat}
	message, err := freshKey(head{domainKey, r.session, seat}, &p.key, random)
	return p, message, err
}

// Wipe forgets the key.
func (p *Repairer) Wipe() { p.key.Zeroize() }

// Contribute makes a helper's message.
func (p *Repairer) Contribute(r *Repair, s *Shares) ([]byte, error) {
	at := slices.Index(r.helpers, p.seat)
	if r.session != p.session || r.phase != PhaseDeal || at < 0 || s.seat != p.seat || s.session != r.group.session {
		return nil, refused("seat %d is no helper with shares of this group", p.seat)
	}
	m := contributionMessage{head: head{domainContribution, r.session, p.seat}}
	parts := make([]scalar, r.lost())
	defer wipe(parts)
	for k := range parts {
		factors := r.factors(at, k)
		for i := range factors {
			factor := factors[i]
			factor.MulAssign(&s.secrets[i])
			parts[k].AddAssign(&factor)
			factor.Zeroize()
		}
	}
	for other, seat := range r.helpers {
		if other == at {
			continue
		}
		shared := timesSecret(r.keyOf(seat), &p.key)
		blinds := r.pair(at, other).blinds(shared, r.lost())
		*shared = point{}
		for k := range blinds {
			m.blinds = append(m.blinds, *new(point).From(&blinds[k]))
			if other > at {
				parts[k].AddAssign(&blinds[k])
			} else {
				parts[k].SubAssign(&blinds[k])
			}
		}
		wipe(blinds)
	}
	shared := timesSecret(r.keyOf(r.seat), &p.key)
	m.sealed = r.sealing(p.seat, r.seat).seal(shared, parts)
	*shared = point{}
	return m.marshal(), nil
}

// Check returns the complaints that this side has to make.
func (p *Repairer) Check(r *Repair, random io.Reader) ([][]byte, error) {
	if r.session != p.session || r.phase != PhaseComplain {
		return nil, refused("the contributions do not stand yet")
	}
	var out [][]byte
	by := slices.Index(r.helpers, p.seat)
	for at, seat := range r.helpers {
		if at == by {
			continue
		}
		theirs := r.keyOf(seat)
		shared := timesSecret(theirs, &p.key)
		var fits bool
		if by < 0 {
			var parts []scalar
			parts, fits = r.open(at, shared)
			wipe(parts)
		} else {
			blinds := r.pair(at, by).blinds(shared, r.lost())
			fits = r.keeps(at, by, blinds)
			wipe(blinds)
		}
		*shared = point{}
		if fits {
			continue
		}
		message, err := complain(head{domainComplaint, r.session, p.seat}, seat, &p.key, *r.keyOf(p.seat), *theirs, random)
		if err != nil {
			return nil, err
		}
		out = append(out, message)
	}
	return out, nil
}

// Recover adds up what the helpers gave and wipes the key. The message is for Group.Admit, if the seat was not ready before.
func (p *Repairer) Recover(r *Repair) (*Shares, []byte, error) {
	defer p.Wipe()
	if r.session != p.session || r.phase != PhaseDone || p.seat != r.seat {
		return nil, nil, refused("the repair is not done, or of another seat")
	}
	s := &Shares{session: r.group.session, seat: p.seat, secrets: make([]scalar, r.lost())}
	for at, seat := range r.helpers {
		shared := timesSecret(r.keyOf(seat), &p.key)
		parts, ok := r.open(at, shared)
		*shared = point{}
		if !ok {
			s.Wipe()
			return nil, nil, refused("seat %d gave what does not fit, and no complaint said so", seat)
		}
		for k := range parts {
			s.secrets[k].AddAssign(&parts[k])
		}
		wipe(parts)
	}
	return s, s.ready(), nil
}
