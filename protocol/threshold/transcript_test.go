package threshold

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/cockroachdb/datadriven"
)

// stage is what a transcript is played on.
type stage struct {
	teams map[string]*team // by the name that a step gave
	names map[[20]byte]string
	p     *play
	sent  map[string][][]byte // deals as sent, by dealer's name
	seed  uint64
}

func TestTranscript(t *testing.T) {
	datadriven.Walk(t, "testdata/transcript", func(t *testing.T, path string) {
		s := &stage{teams: map[string]*team{}, names: map[[20]byte]string{}, sent: map[string][][]byte{}}
		datadriven.RunTest(t, path, func(t *testing.T, d *datadriven.TestData) string {
			out, err := s.step(t, d)
			if err != nil {
				return err.Error() + "\n"
			}
			return out + "\n"
		})
	})
}

func words(t *testing.T, d *datadriven.TestData, key string) []string {
	var out []string
	for _, a := range d.CmdArgs {
		if a.Key == key {
			out = append(out, a.Vals...)
		}
	}
	return out
}

func (s *stage) step(t *testing.T, d *datadriven.TestData) (string, error) {
	word := func(key string) string {
		if w := words(t, d, key); len(w) > 0 {
			return w[0]
		}
		return ""
	}
	switch d.Cmd {
	case "begin": // members=(a,b) shares=(2,2) threshold=3 epoch=1 [from=team]
		return s.begin(t, d)
	case "keys": // [silent=(c)]
		return s.all(s.p.setup.Seats, words(t, d, "silent"), s.p.join)
	case "deals": // [silent=(c)]
		return s.all(s.p.dealers(), words(t, d, "silent"), func(seat int) error {
			messages, err := s.p.dealAll(s.p.c, seat)
			if err != nil {
				return err
			}
			s.sent[s.name(s.p.dealers()[seat])] = messages
			return s.accept(s.p.dealers()[seat], messages...)
		})
	case "deal": // by=a, and what is wrong with it
		return s.badDeal(d, word)
	case "open": // [silent=(c)]: members read their deals and complain where they must
		return s.all(s.p.setup.Seats, words(t, d, "silent"), s.p.open)
	case "complain": // by=a about=b: whether or not there is a reason
		return s.complain(word("by"), word("about"))
	case "ready": // [silent=(c)]
		return s.all(s.p.setup.Seats, words(t, d, "silent"), s.p.ready)
	case "advance":
		if err := s.p.c.Advance(); err != nil {
			return "", err
		}
		return s.phase() + s.blames(), nil
	case "restart": // the observer, from its own encoding
		c, err := ResumeCeremony(s.p.setup, s.p.deals, s.p.c.Marshal())
		if err != nil {
			return "", err
		}
		s.p.c = c
		return "resumed: " + s.phase(), nil
	case "take": // as=team
		g, err := s.p.c.Group()
		if err != nil {
			return "", err
		}
		s.teams[word("as")] = &team{g, s.p.shares}
		key := g.Key()
		return fmt.Sprintf("group key %x..", key[:8]), nil
	case "wipe": // team
		for _, sh := range s.teams[word("team")].shares {
			sh.Wipe()
		}
		s.teams[word("team")].shares = map[int]*Shares{}
		return "nobody of the group holds a share", nil
	case "sign": // team=x height=5 [by=(a,b)]
		return s.sign(t, d, word)
	case "repair":
		return s.repair(t, d, word)
	}
	d.Fatalf(t, "no such step")
	return "", nil
}

func (s *stage) name(m Seat) string { return strings.TrimRight(string(m.Account[:]), "\x00") }

func seatOf(at []Seat, name string) int { return seats(at).find(account(name)) }

func (s *stage) phase() string {
	return []string{"", "keys", "deals", "complaints", "readiness", "done", "failed: the old group stays"}[s.p.c.phase]
}

func (s *stage) blames() string {
	out := ""
	for _, b := range s.p.c.blames {
		out += fmt.Sprintf("\nblamed: %s (%s)", s.name(Seat{Account: b.Account}), b.Rule)
	}
	return out
}

func (s *stage) begin(t *testing.T, d *datadriven.TestData) (string, error) {
	var setup Setup
	setup.ID = ID{ChainID: testChain, Purpose: "beacon"}
	var shares []int
	for _, w := range words(t, d, "shares") {
		n, err := strconv.Atoi(w)
		must(t, err)
		shares = append(shares, n)
	}
	names := words(t, d, "members")
	for len(shares) < len(names) {
		shares = append(shares, shares[len(shares)-1])
	}
	setup.Seats = seatsOf(names, shares)
	d.ScanArgs(t, "threshold", &setup.Threshold)
	d.ScanArgs(t, "epoch", &setup.ID.Epoch)
	var old *team
	if d.HasArg("from") {
		old = s.teams[words(t, d, "from")[0]]
	}
	s.seed++
	p, err := begin(setup, old, seeded(s.seed))
	if err != nil {
		return "", err
	}
	s.p, s.sent = p, map[string][][]byte{}
	return fmt.Sprintf("%d members, %d shares of which %d sign", len(names), seats(setup.Seats).total(), setup.Threshold), nil
}

// all lets every seat do the same, but the silent ones, and says what each was refused.
func (s *stage) all(at []Seat, silent []string, do func(seat int) error) (string, error) {
	done, out := 0, ""
	before := len(s.p.c.blames)
	for i, m := range at {
		if slices.Contains(silent, s.name(m)) {
			continue
		}
		if err := do(i); err != nil {
			out += fmt.Sprintf("\n%s: %v", s.name(m), err)
			continue
		}
		done++
	}
	if len(s.p.c.blames) > before {
		out += s.blames()
	}
	return fmt.Sprintf("%d of %d%s", done, len(at), out), nil
}

func (s *stage) accept(from Seat, messages ...[]byte) error {
	for _, m := range messages {
		if err := s.p.c.Accept(from.Account, m); err != nil {
			return err
		}
	}
	return nil
}

// badDeal makes deals as the named dealer would if it misunderstood the ceremony in one way.
func (s *stage) badDeal(d *datadriven.TestData, word func(string) string) (string, error) {
	c := *s.p.c
	by := seatOf(s.p.dealers(), word("by"))
	from := s.p.dealers()[by]
	before := len(s.p.c.blames)
	var messages [][]byte
	var err error
	switch {
	case d.HasArg("copy"): // another's deal, with the own number on it
		var dm dealMessage
		if dm, err = s.parse(s.sent[word("copy")][0]); err == nil {
			dm.from = by
			if s.p.old != nil {
				dm.from = seats(s.p.dealers()).numbers(by)[0] - 1
			}
			messages = [][]byte{dm.marshal()}
		}
	case d.HasArg("resend"): // another's deal as it is
		messages = s.sent[word("resend")]
	case d.HasArg("degree"):
		c.setup.Threshold = map[string]int{"low": c.setup.Threshold - 1, "high": c.setup.Threshold + 1}[word("degree")]
		messages, err = s.p.dealAll(&c, by)
	case d.HasArg("constant"): // another secret than the share that is to be handed on
		old := s.p.old.shares[by]
		other := &Shares{session: old.session, seat: old.seat, secrets: slices.Clone(old.secrets)}
		other.secrets[0].AddAssign(small(1))
		messages, err = other.Deal(&c, s.p.random)
	case d.HasArg("bad"): // sealed to another key than the receiver's: what it opens is no share
		c.keys = slices.Clone(c.keys)
		c.keys[seatOf(c.setup.Seats, word("bad"))] = c.keys[seatOf(c.setup.Seats, word("to"))]
		messages, err = s.p.dealAll(&c, by)
	case d.HasArg("ephemeral"): // another dealer's ephemeral key, so that a complaint would open what that one sealed
		var mine, theirs dealMessage
		if messages, err = s.p.dealAll(&c, by); err == nil {
			mine, err = s.parse(messages[0])
		}
		if err == nil {
			theirs, err = s.parse(s.sent[word("ephemeral")][0])
		}
		mine.ephemeral = theirs.ephemeral
		messages = [][]byte{mine.marshal()}
	default:
		messages, err = s.p.dealAll(&c, by)
	}
	for _, m := range messages {
		if err == nil && len(s.p.c.blames) == before {
			err = s.accept(from, m)
		}
	}
	if err != nil {
		return "", err
	}
	if len(s.p.c.blames) > before {
		return "out" + s.blames(), nil
	}
	return "accepted", nil
}

func (s *stage) parse(message []byte) (dealMessage, error) {
	h, rest, err := split(message)
	if err != nil {
		return dealMessage{}, err
	}
	return readDeal(h, rest)
}

func (s *stage) complain(by, about string) (string, error) {
	c := s.p.c
	seat := seatOf(c.setup.Seats, by)
	for d := range c.dealt {
		if dealer, _ := c.setup.dealer(d); dealer != account(about) {
			continue
		}
		dm, err := readKept(s.p.deals[d])
		if err != nil {
			return "", err
		}
		m := s.p.members[seat]
		message, err := complain(head{domainComplaint, c.session, seat}, d, &m.key, *c.keyOf(seat), dm.ephemeral, s.p.random)
		if err != nil {
			return "", err
		}
		if err := c.Accept(account(by), message); err != nil {
			return "", err
		}
		return "judged" + s.blames(), nil
	}
	return "", fmt.Errorf("%s dealt nothing", about)
}

func (s *stage) sign(t *testing.T, d *datadriven.TestData, word func(string) string) (string, error) {
	tm := s.teams[word("team")]
	var height int64
	d.ScanArgs(t, "height", &height)
	by := tm.seats()
	if d.HasArg("by") {
		by = nil
		for _, n := range words(t, d, "by") {
			by = append(by, seatOf(tm.group.Seats, n))
		}
	}
	sig, err := tm.sign(at(1, height), by...) // one epoch in all steps, so that handed-on keys can be told by the number
	if err != nil {
		return "", err
	}
	n := sig.Number()
	return fmt.Sprintf("number %x..", n[:8]), nil
}

// repair plays a whole repair: team=x seat=a helpers=(b,c) [cheat=b how=blind|gives|silent|lies].
func (s *stage) repair(t *testing.T, d *datadriven.TestData, word func(string) string) (string, error) {
	tm := s.teams[word("team")]
	lost := seatOf(tm.group.Seats, word("seat"))
	var helpers []int
	for _, n := range words(t, d, "helpers") {
		helpers = append(helpers, seatOf(tm.group.Seats, n))
	}
	s.seed++
	rp, err := rehearse(tm, lost, helpers, seatOf(tm.group.Seats, word("cheat")), word("how"), seeded(s.seed))
	if err != nil {
		return "", err
	}
	out := ""
	for _, b := range rp.r.Blames() {
		out += fmt.Sprintf("\nblamed: %s (%s)", s.name(Seat{Account: b.Account}), b.Rule)
	}
	if rp.r.Phase() == PhaseFailed {
		return "failed" + out, nil
	}
	was := tm.group.Ready(lost)
	shares, message, err := rp.sides[lost].Recover(rp.r)
	if err != nil {
		return "", err
	}
	if !was {
		if err := tm.group.Admit(account(word("seat")), message); err != nil {
			return "", err
		}
	}
	tm.shares[lost] = shares
	return fmt.Sprintf("repaired by %d", len(rp.r.Helpers())), nil
}
