package threshold

import (
	"bytes"
	"slices"

	"golang.org/x/crypto/cryptobyte"
)

// What an observer keeps between messages. It comes from the observer's own store, so points were checked when they came and
// are stored uncompressed.

// Marshal returns the ceremony's one encoding, without the setup and the deals.
func (c *Ceremony) Marshal() []byte {
	var b cryptobyte.Builder
	addString(&b, domainCeremony)
	b.AddBytes(c.session[:])
	b.AddUint8(uint8(c.phase))
	addKeys(&b, c.keys)
	for _, dealt := range c.dealt {
		if dealt {
			b.AddUint8(1)
		} else {
			b.AddUint8(0)
		}
	}
	addBlames(&b, c.blames)
	addPoints(&b, c.commits)
	for _, keys := range c.ready {
		b.AddUint16(uint16(len(keys)))
		for i := range keys {
			b.AddBytes(keys[i].Serialize())
		}
	}
	return b.BytesOrPanic()
}

// ResumeCeremony reads what Marshal wrote, for the same setup.
func ResumeCeremony(setup Setup, deals Deals, state []byte) (*Ceremony, error) {
	c, err := NewCeremony(setup, deals)
	if err != nil {
		return nil, err
	}
	s := cryptobyte.String(state)
	ok := readState(&s, domainCeremony, c.session, &c.phase) && readKeys(&s, c.keys)
	for i := range c.dealt {
		var flag uint8
		ok = ok && s.ReadUint8(&flag) && flag <= 1
		c.dealt[i] = flag == 1
	}
	ok = ok && readBlames(&s, &c.blames) && readUncompressed(&s, &c.commits, MaxShares)
	for i := range c.ready {
		var n int
		ok = ok && readInt(&s, &n, setup.Seats[i].Shares) && (n == 0 || n == setup.Seats[i].Shares)
		for k := 0; ok && k < n; k++ {
			var b []byte
			var p pubkey
			ok = s.ReadBytes(&b, 2*pubkeySize) && p.Deserialize(b) != nil
			c.ready[i] = append(c.ready[i], p)
		}
	}
	stands := c.phase == PhaseReady || c.phase == PhaseDone
	if !ok || stands && len(c.commits) != setup.Threshold || !bytes.Equal(c.Marshal(), state) {
		return nil, malformed("ceremony")
	}
	return c, nil
}

// Marshal returns the repair's one encoding, without what NewRepair was given.
func (r *Repair) Marshal() []byte {
	var b cryptobyte.Builder
	addString(&b, domainRepairState)
	b.AddBytes(r.session[:])
	b.AddUint8(uint8(r.phase))
	addKeys(&b, r.keys)
	addBlames(&b, r.blames)
	b.AddUint16(uint16(len(r.given)))
	for _, m := range r.given {
		var blinds []point
		var sealed []byte
		if m != nil {
			blinds, sealed = m.blinds, m.sealed
		}
		addPoints(&b, blinds)
		b.AddUint16LengthPrefixed(func(b *cryptobyte.Builder) { b.AddBytes(sealed) })
	}
	return b.BytesOrPanic()
}

// ResumeRepair reads what Marshal wrote, for the same group, attempt, seat and helpers.
func ResumeRepair(g *Group, attempt uint32, seat int, helpers []int, state []byte) (*Repair, error) {
	r, err := NewRepair(g, attempt, seat, helpers)
	if err != nil {
		return nil, err
	}
	s := cryptobyte.String(state)
	var given int
	ok := readState(&s, domainRepairState, r.session, &r.phase) && readKeys(&s, r.keys) && readBlames(&s, &r.blames) && readInt(&s, &given, MaxMembers)
	if ok && given > 0 {
		r.choose()
		ok = given == len(r.given)
	}
	for i := 0; ok && i < given; i++ {
		var sealed cryptobyte.String
		m := contributionMessage{head: head{domainContribution, r.session, r.helpers[i]}}
		if ok = readUncompressed(&s, &m.blinds, MaxMembers*MaxShares) && s.ReadUint16LengthPrefixed(&sealed); ok && len(sealed) > 0 {
			m.sealed = sealed
			r.given[i] = &m
			ok = len(m.blinds) == (given-1)*r.lost() && len(m.sealed) == r.lost()*scalarSize
		}
	}
	stands := r.phase == PhaseComplain || r.phase == PhaseDone
	if !ok || given == 0 && (stands || r.phase == PhaseDeal) || stands && slices.Contains(r.given, nil) || !bytes.Equal(r.Marshal(), state) {
		return nil, malformed("repair")
	}
	return r, nil
}

func readState(s *cryptobyte.String, domain string, session [32]byte, phase *Phase) bool {
	var of [32]byte
	var p uint8
	ok := readDomain(s, domain) && s.CopyBytes(of[:]) && of == session && s.ReadUint8(&p)
	*phase = Phase(p)
	return ok && *phase >= PhaseKeys && *phase <= PhaseFailed
}

func addKeys(b *cryptobyte.Builder, keys [][]byte) {
	for _, key := range keys {
		b.AddUint8LengthPrefixed(func(b *cryptobyte.Builder) { b.AddBytes(key) })
	}
}

func readKeys(s *cryptobyte.String, keys [][]byte) bool {
	for i := range keys {
		var key cryptobyte.String
		if !s.ReadUint8LengthPrefixed(&key) {
			return false
		}
		if len(key) > 0 {
			keys[i] = bytes.Clone(key)
			if new(point).Uncompress(key) == nil {
				return false
			}
		}
	}
	return true
}

func addBlames(b *cryptobyte.Builder, blames []Blame) {
	b.AddUint16(uint16(len(blames)))
	for _, x := range blames {
		b.AddBytes(x.Account[:])
		addString(b, x.Rule)
	}
}

func readBlames(s *cryptobyte.String, out *[]Blame) bool {
	var n int
	ok := readInt(s, &n, 4*MaxMembers)
	for i := 0; ok && i < n; i++ {
		var x Blame
		ok = s.CopyBytes(x.Account[:]) && readString(s, &x.Rule, 16)
		*out = append(*out, x)
	}
	return ok
}

func addPoints(b *cryptobyte.Builder, points []point) {
	b.AddUint24(uint32(len(points)))
	for i := range points {
		b.AddBytes(points[i].Serialize())
	}
}

func readUncompressed(s *cryptobyte.String, out *[]point, limit int) bool {
	var n uint32
	if !s.ReadUint24(&n) || int(n) > limit || len(*s) < int(n)*2*pointSize {
		return false
	}
	for range n {
		var b []byte
		var p point
		if !s.ReadBytes(&b, 2*pointSize) || p.Deserialize(b) == nil {
			return false
		}
		*out = append(*out, p)
	}
	return true
}
