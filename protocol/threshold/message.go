package threshold

import (
	"io"

	"golang.org/x/crypto/cryptobyte"
)

// The messages of a ceremony. Each has one encoding; its head says what it is, for which ceremony, and from which seat (a deal:
// of which dealer). The chain says who sent it.

type head struct {
	kind    string
	session [32]byte
	from    int
}

func (h head) add(b *cryptobyte.Builder) {
	addString(b, h.kind)
	b.AddBytes(h.session[:])
	b.AddUint16(uint16(h.from))
}

func readHead(s *cryptobyte.String) (head, bool) {
	var h head
	ok := readString(s, &h.kind, 64) && s.CopyBytes(h.session[:]) && readInt(s, &h.from, MaxShares)
	return h, ok
}

func (h head) statement() []byte {
	var b cryptobyte.Builder
	h.add(&b)
	return b.BytesOrPanic()
}

// keyMessage brings a key that is fresh for this ceremony. The proof shows that it is nobody else's.
type keyMessage struct {
	head
	key   point
	proof proof
}

func (m keyMessage) marshal() []byte {
	var b cryptobyte.Builder
	m.head.add(&b)
	b.AddBytes(m.key.Compress())
	m.proof.add(&b)
	return b.BytesOrPanic()
}

func readKey(h head, s cryptobyte.String) (keyMessage, error) {
	m := keyMessage{head: h}
	var b []byte
	ok := s.ReadBytes(&b, pointSize)
	if ok {
		m.key, ok = readPoint(b)
	}
	if !ok || !m.proof.read(&s, 1) || !s.Empty() {
		return m, malformed("key")
	}
	if !m.proof.verify(h.statement(), m.relations()) {
		return m, refused("the key's proof is not for this seat and ceremony")
	}
	return m, nil
}

func (m keyMessage) relations() []relation {
	return []relation{{[]point{generator()}, []point{m.key}}}
}

// dealMessage commits to a polynomial and brings its values sealed to the members with keys, seat by seat, share by share. The
// proof shows that the dealer knows the constant term and the logarithm of its ephemeral key: a deal can't be copied, and no
// complaint about it opens what another dealer sealed.
type dealMessage struct {
	head
	commits   []point
	ephemeral point
	sealed    []byte
	proof     proof
}

func (m dealMessage) statement() []byte {
	var b cryptobyte.Builder
	m.addBody(&b)
	return b.BytesOrPanic()
}

func (m dealMessage) addBody(b *cryptobyte.Builder) {
	m.head.add(b)
	b.AddUint16(uint16(len(m.commits)))
	for i := range m.commits {
		b.AddBytes(m.commits[i].Compress())
	}
	b.AddBytes(m.ephemeral.Compress())
	b.AddUint24LengthPrefixed(func(b *cryptobyte.Builder) { b.AddBytes(m.sealed) })
}

func (m dealMessage) marshal() []byte {
	var b cryptobyte.Builder
	m.addBody(&b)
	m.proof.add(&b)
	return b.BytesOrPanic()
}

func (m dealMessage) relations() []relation {
	g := []point{generator()}
	return []relation{{g, []point{m.commits[0]}}, {g, []point{m.ephemeral}}}
}

func readDeal(h head, s cryptobyte.String) (dealMessage, error) {
	m := dealMessage{head: h}
	var n int
	var sealed cryptobyte.String
	var ephemeral []point
	ok := readInt(&s, &n, MaxShares) && n > 0 && len(s) >= n*pointSize &&
		readPoints(&s, &m.commits, n) && readPoints(&s, &ephemeral, 1) &&
		s.ReadUint24LengthPrefixed(&sealed) && m.proof.read(&s, 2) && s.Empty()
	if !ok {
		return m, malformed("deal")
	}
	m.ephemeral, m.sealed = ephemeral[0], sealed
	if !m.proof.verify(m.statement(), m.relations()) {
		return m, refused("the deal's proof is not by this dealer for this ceremony")
	}
	return m, nil
}

// kept is how a checked deal is stored: points uncompressed, so that reading them again is cheap, and no proof.
func (m dealMessage) kept() []byte {
	var b cryptobyte.Builder
	b.AddUint16(uint16(m.from))
	b.AddUint16(uint16(len(m.commits)))
	for i := range m.commits {
		b.AddBytes(m.commits[i].Serialize())
	}
	b.AddBytes(m.ephemeral.Serialize())
	b.AddBytes(m.sealed)
	return b.BytesOrPanic()
}

func readKept(p []byte) (dealMessage, error) {
	var m dealMessage
	var n int
	s := cryptobyte.String(p)
	if !readInt(&s, &m.from, MaxShares) || !readInt(&s, &n, MaxShares) || n == 0 || len(s) < 2*pointSize*(n+1) {
		return m, malformed("kept deal")
	}
	m.commits = make([]point, n)
	for i := range m.commits {
		var b []byte
		if !s.ReadBytes(&b, 2*pointSize) || m.commits[i].Deserialize(b) == nil {
			return m, malformed("kept deal")
		}
	}
	var b []byte
	if !s.ReadBytes(&b, 2*pointSize) || m.ephemeral.Deserialize(b) == nil {
		return m, malformed("kept deal")
	}
	m.sealed = s
	return m, nil
}

// complaintMessage reveals the point that the accuser shares with a dealer, or a helper with another, and proves it.
type complaintMessage struct {
	head
	against int
	shared  point
	proof   proof
}

func (m complaintMessage) statement() []byte {
	var b cryptobyte.Builder
	m.head.add(&b)
	b.AddUint16(uint16(m.against))
	return b.BytesOrPanic()
}

func (m complaintMessage) marshal() []byte {
	b := cryptobyte.NewBuilder(m.statement())
	b.AddBytes(m.shared.Compress())
	m.proof.add(b)
	return b.BytesOrPanic()
}

func readComplaint(h head, s cryptobyte.String) (complaintMessage, error) {
	m := complaintMessage{head: h}
	var shared []point
	if !readInt(&s, &m.against, MaxShares) || !readPoints(&s, &shared, 1) || !m.proof.read(&s, 1) || !s.Empty() {
		return m, malformed("complaint")
	}
	m.shared = shared[0]
	return m, nil
}

// relations: the accuser's key and the shared point have the same logarithm, to the generator and to the other's key.
func (m complaintMessage) relations(mine, theirs point) []relation {
	return []relation{{[]point{generator(), theirs}, []point{mine, m.shared}}}
}

// complain makes a complaint; secret is of the key mine.
func complain(h head, against int, secret *scalar, mine, theirs point, random io.Reader) ([]byte, error) {
	m := complaintMessage{head: h, against: against, shared: *timesSecret(&theirs, secret)}
	var err error
	if m.proof, err = prove(m.statement(), m.relations(mine, theirs), []*scalar{secret}, random); err != nil {
		return nil, err
	}
	return m.marshal(), nil
}

// readyMessage brings the public keys of a member's shares. Only who holds the shares can make them from commitments in G1.
type readyMessage struct {
	head
	keys []pubkey
}

func (m readyMessage) marshal() []byte {
	var b cryptobyte.Builder
	m.head.add(&b)
	b.AddUint16(uint16(len(m.keys)))
	for i := range m.keys {
		b.AddBytes(m.keys[i].Compress())
	}
	return b.BytesOrPanic()
}

func readReady(h head, s cryptobyte.String) (readyMessage, error) {
	m := readyMessage{head: h}
	var n int
	if !readInt(&s, &n, MaxShares) || len(s) != n*pubkeySize || !readPubkeys(&s, &m.keys, n) {
		return m, malformed("ready")
	}
	return m, nil
}

// contributionMessage is one helper's part of a repair: its blinds with each other helper in order, committed, and what it
// gives sealed to the member whose shares are lost; both for each lost share.
type contributionMessage struct {
	head
	blinds []point
	sealed []byte
}

func (m contributionMessage) marshal() []byte {
	var b cryptobyte.Builder
	m.head.add(&b)
	b.AddUint16(uint16(len(m.blinds)))
	for i := range m.blinds {
		b.AddBytes(m.blinds[i].Compress())
	}
	b.AddUint24LengthPrefixed(func(b *cryptobyte.Builder) { b.AddBytes(m.sealed) })
	return b.BytesOrPanic()
}

func readContribution(h head, s cryptobyte.String) (contributionMessage, error) {
	m := contributionMessage{head: h}
	var n uint16
	var sealed cryptobyte.String
	if !s.ReadUint16(&n) || len(s) < int(n)*pointSize || !readPoints(&s, &m.blinds, int(n)) ||
		!s.ReadUint24LengthPrefixed(&sealed) || !s.Empty() {
		return m, malformed("contribution")
	}
	m.sealed = sealed
	return m, nil
}
