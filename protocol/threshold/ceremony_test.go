package threshold

import (
	"bytes"
	"errors"
	"math/big"
	"testing"

	blst "github.com/supranational/blst/bindings/go"
)

// upTo plays a ceremony of four up to the beginning of a phase; what was sent comes back too.
func upTo(tb testing.TB, phase Phase, seed uint64) (*play, [][]byte) {
	tb.Helper()
	setup := equal(tb, 4, 1, "a")
	p, err := begin(setup, nil, seeded(seed))
	must(tb, err)
	var sent [][]byte
	for i := range setup.Seats {
		m, message, err := Join(setup, i, p.random)
		must(tb, err)
		p.members[i], sent = m, append(sent, message)
		if phase > PhaseKeys {
			must(tb, p.c.Accept(setup.Seats[i].Account, message))
		}
	}
	if phase > PhaseKeys {
		must(tb, p.c.Advance())
		for i := range setup.Seats {
			message, err := DealFresh(p.c, i, p.random)
			must(tb, err)
			sent = append(sent, message)
			if phase > PhaseDeal {
				must(tb, p.c.Accept(setup.Seats[i].Account, message))
			}
		}
	}
	if phase > PhaseDeal {
		must(tb, p.c.Advance())
		for i := range setup.Seats {
			must(tb, p.open(i))
		}
	}
	if phase > PhaseComplain {
		must(tb, p.c.Advance())
	}
	return p, sent
}

// refuse gives a message to a ceremony that must refuse it and stay as it was.
func refuse(t *testing.T, p *play, name string, from int, message []byte, kind error) {
	t.Helper()
	before := p.c.Marshal()
	if err := p.c.Accept(p.setup.Seats[from].Account, message); !errors.Is(err, kind) {
		t.Errorf("%s: %v", name, err)
	}
	if !bytes.Equal(p.c.Marshal(), before) {
		t.Errorf("%s: something changed", name)
	}
}

func TestKeysOfOthersAreRefused(t *testing.T) {
	p, sent := upTo(t, PhaseKeys, 21)
	h, rest, err := split(sent[0])
	must(t, err)
	m, err := readKey(h, rest)
	must(t, err)
	m.from = 1
	refuse(t, p, "another's key under the own seat", 1, m.marshal(), ErrRefused)
	refuse(t, p, "another's message", 1, sent[0], ErrRefused)
	other := p.setup
	other.ID.Attempt++
	_, message, err := Join(other, 0, p.random)
	must(t, err)
	refuse(t, p, "a key for another attempt", 0, message, ErrRefused)
	bad := m
	bad.from, bad.key = 0, outside(t)
	refuse(t, p, "a key outside of the group", 0, bad.marshal(), ErrMalformed)
	bad.key = point{}
	refuse(t, p, "infinity as a key", 0, bad.marshal(), ErrMalformed)
	must(t, p.c.Accept(p.setup.Seats[0].Account, sent[0]))
	_, again, err := Join(p.setup, 0, p.random)
	must(t, err)
	refuse(t, p, "a second key", 0, again, ErrRefused)
}

// A key that came after the deals began would move what is sealed to whom.
func TestKeysComeInTheirPhase(t *testing.T) {
	setup := equal(t, 4, 1, "a")
	p, err := begin(setup, nil, seeded(28))
	must(t, err)
	for i := range 3 {
		must(t, p.join(i))
	}
	_, message, err := Join(setup, 3, p.random)
	must(t, err)
	must(t, p.c.Advance())
	refuse(t, p, "a late key", 3, message, ErrRefused)
}

// A dealer knows its own constant, but not the logarithm of an ephemeral key that it took from another deal. If that went
// through, each complaint about it would open what the other dealer sealed to the accuser.
func TestEphemeralKeysOfOthersAreRefused(t *testing.T) {
	p, sent := upTo(t, PhaseDeal, 22)
	h, rest, err := split(sent[4])
	must(t, err)
	theirs, err := readDeal(h, rest)
	must(t, err)
	secrets, err := randomScalars(p.random, p.setup.Threshold)
	must(t, err)
	m := dealMessage{head: head{domainDeal, p.c.session, 1}, ephemeral: theirs.ephemeral, sealed: theirs.sealed}
	for i := range secrets {
		m.commits = append(m.commits, *new(point).From(&secrets[i]))
	}
	m.proof, err = prove(m.statement(), m.relations(), []*scalar{&secrets[0], &secrets[1]}, p.random)
	must(t, err)
	refuse(t, p, "another's ephemeral key", 1, m.marshal(), ErrRefused)
	m.ephemeral = *new(point).From(&secrets[1])
	m.proof, err = prove(m.statement(), m.relations(), []*scalar{&secrets[0], &secrets[1]}, p.random)
	must(t, err)
	m.sealed = append([]byte(nil), m.sealed...)
	m.sealed[0] ^= 1
	refuse(t, p, "a deal changed under its proof", 1, m.marshal(), ErrRefused)
	m.sealed = m.sealed[:32]
	m.proof, err = prove(m.statement(), m.relations(), []*scalar{&secrets[0], &secrets[1]}, p.random)
	must(t, err)
	refuse(t, p, "a deal to too few", 1, m.marshal(), ErrMalformed)
}

func TestComplaintsNeedTheSharedPoint(t *testing.T) {
	p, _ := upTo(t, PhaseComplain, 23)
	d, err := readKept(p.deals[0])
	must(t, err)
	h := head{domainComplaint, p.c.session, 1}
	// Proven with another's key, or of another point than the two share: it would make the dealer look bad.
	message, err := complain(h, 0, &p.members[2].key, *p.c.keyOf(2), d.ephemeral, p.random)
	must(t, err)
	refuse(t, p, "another's key", 1, message, ErrRefused)
	mine := complaintMessage{head: h, shared: generator()}
	mine.proof, err = prove(mine.statement(), mine.relations(*p.c.keyOf(1), d.ephemeral), []*scalar{&p.members[1].key}, p.random)
	must(t, err)
	refuse(t, p, "another point", 1, mine.marshal(), ErrRefused)
	if len(p.c.Blames()) != 0 {
		t.Error("somebody was blamed")
	}
}

func TestReadyNeedsTheShares(t *testing.T) {
	p, _ := upTo(t, PhaseReady, 24)
	_, m0, err := p.members[0].Finish(p.c)
	must(t, err)
	s1, m1, err := p.members[1].Finish(p.c)
	must(t, err)
	h, rest, err := split(m0)
	must(t, err)
	m, err := readReady(h, rest)
	must(t, err)
	m.from = 1
	refuse(t, p, "another's keys", 1, m.marshal(), ErrRefused)
	m.from = 0
	m.keys[0], m.keys[1] = m.keys[1], m.keys[0]
	refuse(t, p, "keys exchanged", 0, m.marshal(), ErrRefused)
	m.keys = m.keys[:1]
	refuse(t, p, "too few keys", 0, m.marshal(), ErrRefused)
	must(t, p.c.Accept(p.setup.Seats[1].Account, m1))
	refuse(t, p, "ready again", 1, m1, ErrRefused)
	if p.members[0].key.Valid() || len(p.members[0].opened) != 0 {
		t.Error("the member's key or opened shares outlive the ceremony")
	}
	s1.Wipe()
	for i := range s1.secrets {
		if s1.secrets[i].Valid() {
			t.Error("the share was not wiped")
		}
	}
}

// Who came too late to be counted shows its shares afterwards.
func TestAdmitTakesLateMembers(t *testing.T) {
	p, _ := upTo(t, PhaseReady, 25)
	for i := range 3 {
		must(t, p.ready(i))
	}
	shares, message, err := p.members[3].Finish(p.c)
	must(t, err)
	must(t, p.c.Advance())
	g, err := p.c.Group()
	must(t, err)
	if g.Ready(3) {
		t.Fatal("ready without a word")
	}
	if err := g.Admit(g.Seats[2].Account, message); !errors.Is(err, ErrRefused) {
		t.Errorf("from another account: %v", err)
	}
	must(t, g.Admit(g.Seats[3].Account, message))
	if err := g.Admit(g.Seats[3].Account, message); !errors.Is(err, ErrRefused) {
		t.Errorf("twice: %v", err)
	}
	p.shares[3] = shares
	tm := &team{g, p.shares}
	_, err = tm.sign(at(1, 1), 3, 2, 1)
	must(t, err)
}

func TestSetupRefuses(t *testing.T) {
	good := equal(t, 4, 3, "a")
	old := conjure(t, good, 26)
	for name, change := range map[string]func(*Setup){
		"threshold 0":             func(s *Setup) { s.Threshold = 0 },
		"threshold above all":     func(s *Setup) { s.Threshold = 9 },
		"an account twice":        func(s *Setup) { s.Seats[0] = s.Seats[1] },
		"a seat without shares":   func(s *Setup) { s.Seats[0].Shares = 0 },
		"a seat without account":  func(s *Setup) { s.Seats[0].Account = [20]byte{} },
		"too many shares":         func(s *Setup) { s.Seats[0].Shares = MaxShares },
		"no purpose":              func(s *Setup) { s.ID.Purpose = "" },
		"a purpose with a dash":   func(s *Setup) { s.ID.Purpose = "a-b" },
		"no seats":                func(s *Setup) { s.Seats = nil },
		"the same epoch":          func(s *Setup) { s.Old = old.group },
		"another chain's group":   func(s *Setup) { s.Old, s.ID.Epoch, s.ID.ChainID = old.group, 4, "other" },
		"another purpose's group": func(s *Setup) { s.Old, s.ID.Epoch, s.ID.Purpose = old.group, 4, "contracts" },
	} {
		s := good
		s.Seats = append([]Seat(nil), good.Seats...)
		change(&s)
		if _, err := NewCeremony(s, memory{}); !errors.Is(err, ErrRefused) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// What a set below the threshold sees can be made up without the secret: for the shares that it holds and the group's public
// point there are commitments that fit, whatever the secret is. So they show nothing of it but that point.
func TestBelowThresholdTheViewIsSimulated(t *testing.T) {
	const threshold = 4
	random := seeded(27)
	held, err := randomScalars(random, threshold-1) // at the share numbers 2, 5 and 7
	must(t, err)
	xs := []int{0, 2, 5, 7}
	secret, err := randomScalar(random) // known to the test, not to the simulator, which has this point alone
	must(t, err)
	values := []point{*new(point).From(secret)}
	for i := range held {
		values = append(values, *new(point).From(&held[i]))
	}
	// The coefficients of each Lagrange polynomial, times the values: commitments of the one polynomial through all four.
	commits := make([]blst.P1, threshold)
	for i, xi := range xs {
		poly := []*big.Int{big.NewInt(1)}
		below := big.NewInt(1)
		for _, xj := range xs {
			if xi == xj {
				continue
			}
			next := make([]*big.Int, len(poly)+1)
			for k := range next {
				next[k] = new(big.Int)
			}
			for k, c := range poly {
				next[k+1].Add(next[k+1], c)
				next[k].Sub(next[k], new(big.Int).Mul(c, big.NewInt(int64(xj))))
			}
			poly = next
			below.Mul(below, big.NewInt(int64(xi-xj)))
		}
		inverse := new(big.Int).ModInverse(below.Mod(below, order), order)
		for k, c := range poly {
			c.Mul(c, inverse).Mod(c, order)
			if c.Sign() == 0 {
				continue
			}
			var b [32]byte
			commits[k].MultNAccumulate(&values[i], new(scalar).FromBEndian(c.FillBytes(b[:])))
		}
	}
	view := make([]point, threshold)
	for k := range commits {
		view[k] = *commits[k].ToAffine()
	}
	if !view[0].Equals(&values[0]) {
		t.Fatal("the made-up commitments are of another secret")
	}
	for i, x := range xs[1:] {
		if !evalPublic(view, x).Equals(new(point).From(&held[i])) {
			t.Errorf("share %d does not fit the made-up commitments", x)
		}
	}
}
