package threshold

import (
	"bytes"
	"testing"
)

// Whatever comes in, a ceremony takes it or stays as it was, in each of its phases.
func FuzzCeremony(f *testing.F) {
	var plays []*play
	for _, phase := range []Phase{PhaseKeys, PhaseDeal, PhaseComplain, PhaseReady} {
		p, sent := upTo(f, phase, 31)
		plays = append(plays, p)
		for _, m := range sent {
			f.Add(uint8(len(plays)-1), uint8(0), m)
		}
	}
	d, err := readKept(plays[2].deals[1])
	must(f, err)
	c, err := complain(head{domainComplaint, plays[2].c.session, 0}, 1, &plays[2].members[0].key, *plays[2].c.keyOf(0), d.ephemeral, plays[2].random)
	must(f, err)
	f.Add(uint8(2), uint8(0), c)
	_, ready, err := plays[3].members[0].Finish(plays[3].c)
	must(f, err)
	f.Add(uint8(3), uint8(0), ready)
	f.Fuzz(func(t *testing.T, which, seat uint8, message []byte) {
		p := plays[int(which)%len(plays)]
		before := p.c.Marshal()
		deals := memory{}
		for k, v := range p.deals {
			deals[k] = v
		}
		c, err := ResumeCeremony(p.setup, deals, before)
		must(t, err)
		if c.Accept(p.setup.Seats[int(seat)%4].Account, message) != nil && !bytes.Equal(c.Marshal(), before) {
			t.Fatal("refused, and changed")
		}
		again, err := ResumeCeremony(p.setup, deals, c.Marshal())
		must(t, err)
		if !bytes.Equal(again.Marshal(), c.Marshal()) {
			t.Fatal("resumed as another")
		}
	})
}

func FuzzResumeCeremony(f *testing.F) {
	p, _ := upTo(f, PhaseReady, 32)
	must(f, p.ready(0))
	f.Add(p.c.Marshal())
	f.Fuzz(func(t *testing.T, state []byte) {
		c, err := ResumeCeremony(p.setup, p.deals, state)
		if err == nil && !bytes.Equal(c.Marshal(), state) {
			t.Fatal("two encodings of one state")
		}
		if err == nil {
			_ = c.Advance() // whatever the state is
		}
	})
}

func FuzzGroup(f *testing.F) {
	tm := conjure(f, equal(f, 4, 1, "a"), 33)
	f.Add(tm.group.Marshal())
	tm.group.keys[2] = nil
	f.Add(tm.group.Marshal())
	f.Fuzz(func(t *testing.T, b []byte) {
		g, err := UnmarshalGroup(b)
		if err == nil && !bytes.Equal(g.Marshal(), b) {
			t.Fatal("two encodings of one group")
		}
	})
}

func FuzzKeptDeal(f *testing.F) {
	p, _ := upTo(f, PhaseComplain, 34)
	f.Add(p.deals[0])
	f.Fuzz(func(t *testing.T, b []byte) {
		d, err := readKept(b)
		if err == nil && !bytes.Equal(d.kept(), b) {
			t.Fatal("two encodings of one deal")
		}
	})
}

func FuzzPartial(f *testing.F) {
	tm := conjure(f, equal(f, 4, 1, "a"), 35)
	message := at(1, 1)
	ps, err := tm.partials(message, 0, 1, 2, 3)
	must(f, err)
	f.Add(uint8(0), ps[0].Marshal())
	f.Add(uint8(1), ps[0].Marshal())
	f.Add(uint8(0), bytes.Repeat([]byte{0xc0}, 96))
	f.Fuzz(func(t *testing.T, seat uint8, b []byte) {
		p, err := tm.group.UnmarshalPartial(int(seat), b)
		if err != nil {
			return
		}
		right := bytes.Equal(b, ps[seat].Marshal())
		if bad := tm.group.Check(message, []Partial{p}); (len(bad) == 0) != right {
			t.Fatalf("seat %d: bad %v", seat, bad)
		}
	})
}

func FuzzRepair(f *testing.F) {
	tm := conjure(f, equal(f, 4, 1, "a"), 36)
	open := func(phase Phase) (*Repair, [][]byte) {
		var sent [][]byte
		random := seeded(37)
		r, err := NewRepair(tm.group, 1, 3, []int{0, 1, 2})
		must(f, err)
		sides := map[int]*Repairer{}
		for i := range 4 {
			side, m, err := JoinRepair(r, i, random)
			must(f, err)
			sides[i], sent = side, append(sent, m)
			if phase > PhaseKeys {
				must(f, r.Accept(tm.group.Seats[i].Account, m))
			}
		}
		if phase > PhaseKeys {
			must(f, r.Advance())
			for i := range 3 {
				m, err := sides[i].Contribute(r, tm.shares[i])
				must(f, err)
				sent = append(sent, m)
				if phase > PhaseDeal {
					must(f, r.Accept(tm.group.Seats[i].Account, m))
				}
			}
		}
		if phase > PhaseDeal {
			must(f, r.Advance())
			m, err := complain(head{domainComplaint, r.session, 3}, 1, &sides[3].key, *r.keyOf(3), *r.keyOf(1), random)
			must(f, err)
			sent = append(sent, m)
		}
		return r, sent
	}
	phases := []Phase{PhaseKeys, PhaseDeal, PhaseComplain}
	var repairs []*Repair
	for i, phase := range phases {
		r, sent := open(phase)
		repairs = append(repairs, r)
		for _, m := range sent {
			f.Add(uint8(i), uint8(3), m)
			f.Add(uint8(i), uint8(0), m)
		}
	}
	f.Fuzz(func(t *testing.T, which, seat uint8, message []byte) {
		r := *repairs[int(which)%len(repairs)]
		r.keys = append([][]byte(nil), r.keys...)
		r.given = append([]*contributionMessage(nil), r.given...)
		r.blames = nil
		if r.Accept(tm.group.Seats[int(seat)%4].Account, message) != nil && len(r.blames) > 0 {
			t.Fatal("refused, and blamed")
		}
		must(t, r.Advance())
	})
}

func FuzzResumeRepair(f *testing.F) {
	tm := conjure(f, equal(f, 4, 1, "a"), 38)
	rp, err := rehearse(tm, 3, []int{0, 1, 2}, 1, "gives", seeded(39))
	must(f, err)
	f.Add(rp.r.Marshal())
	f.Fuzz(func(t *testing.T, state []byte) {
		r, err := ResumeRepair(tm.group, 1, 3, []int{0, 1, 2}, state)
		if err == nil && !bytes.Equal(r.Marshal(), state) {
			t.Fatal("two encodings of one state")
		}
		if err == nil {
			_ = r.Advance() // whatever the state is
		}
	})
}
