package threshold

import (
	"bytes"
	"crypto/sha256"

	blst "github.com/supranational/blst/bindings/go"
	"golang.org/x/crypto/cryptobyte"
)

// Group is what everyone knows of a group. Only Admit changes it.
type Group struct {
	ID        ID
	Seats     []Seat
	Threshold int

	session [32]byte
	commits []point    // of the polynomial whose value at 0 is the group's secret
	key     pubkey     // the secret times the generator of G2
	keys    [][]pubkey // of each seat's shares; nil while the seat is not ready
}

// Key is the group's public key: a compressed point of G2.
func (g *Group) Key() [96]byte { return [96]byte(g.key.Compress()) }

// Ready says whether the seat has shown that it holds its shares. Others can't sign.
func (g *Group) Ready(seat int) bool { return seat >= 0 && seat < len(g.keys) && g.keys[seat] != nil }

// Admit takes a ready message of a seat that was silent in the ceremony, or whose shares were repaired.
func (g *Group) Admit(from [20]byte, message []byte) error {
	s := cryptobyte.String(message)
	h, ok := readHead(&s)
	if !ok || h.kind != domainReady {
		return malformed("not a ready message")
	}
	if h.session != g.session || h.from >= len(g.Seats) || g.Seats[h.from].Account != from {
		return refused("the message is of another ceremony or seat")
	}
	if g.keys[h.from] != nil {
		return refused("seat %d is ready", h.from)
	}
	m, err := readReady(h, s)
	if err != nil {
		return err
	}
	if err := checkReady(g.commits, seats(g.Seats).numbers(h.from), m); err != nil {
		return err
	}
	g.keys[h.from] = m.keys
	return nil
}

// checkReady holds the keys of shares in G2 against the commitments in G1, all with one pairing equation.
func checkReady(commits []point, numbers []int, m readyMessage) error {
	if len(m.keys) != len(numbers) {
		return refused("%d keys for %d shares", len(m.keys), len(numbers))
	}
	factors := batchFactors(m.marshal(), len(numbers))
	values := make([]point, len(numbers))
	for i, x := range numbers {
		values[i] = *evalPublic(commits, x)
	}
	left := blst.P1Affines(values).Mult(factors, batchBits).ToAffine()
	right := blst.P2Affines(m.keys).Mult(factors, batchBits).ToAffine()
	g1, g2 := generator(), blst.P2Generator().ToAffine()
	if !blst.Fp12FinalVerify(blst.Fp12MillerLoop(g2, left), blst.Fp12MillerLoop(right, &g1)) {
		return refused("the keys are not of the shares that were dealt")
	}
	return nil
}

// groupKey is the key that enough ready seats have between them.
func groupKey(at []Seat, threshold int, keys [][]pubkey) (pubkey, error) {
	var xs []int
	var have []pubkey
	for i := range keys {
		for k, x := range seats(at).numbers(i) {
			if keys[i] != nil && len(xs) < threshold {
				xs, have = append(xs, x), append(have, keys[i][k])
			}
		}
	}
	if len(xs) < threshold {
		return pubkey{}, refused("%d ready shares of %d", len(xs), threshold)
	}
	return *blst.P2Affines(have).Mult(littleEndian(lagrange(xs, 0)), 255).ToAffine(), nil
}

// commitment names the group's polynomial, whoever is ready.
func (g *Group) commitment() [32]byte {
	h := sha256.New()
	h.Write(g.session[:])
	for i := range g.commits {
		h.Write(g.commits[i].Compress())
	}
	return [32]byte(h.Sum(nil))
}

// Marshal returns the group's one encoding.
func (g *Group) Marshal() []byte {
	var b cryptobyte.Builder
	addString(&b, domainGroup)
	g.ID.add(&b)
	seats(g.Seats).add(&b)
	b.AddUint16(uint16(g.Threshold))
	b.AddBytes(g.session[:])
	b.AddBytes(g.key.Compress())
	for i := range g.commits {
		b.AddBytes(g.commits[i].Compress())
	}
	for _, keys := range g.keys {
		b.AddUint16(uint16(len(keys)))
		for i := range keys {
			b.AddBytes(keys[i].Compress())
		}
	}
	return b.BytesOrPanic()
}

// UnmarshalGroup reads what Marshal wrote and nothing else. All points are checked, which takes tens of milliseconds for a
// hundred members: keep the group, do not read it for every block.
func UnmarshalGroup(p []byte) (*Group, error) {
	var g Group
	var key []pubkey
	s := cryptobyte.String(p)
	ok := readDomain(&s, domainGroup) && readID(&s, &g.ID) && readSeats(&s, &g.Seats) && readInt(&s, &g.Threshold, MaxShares) &&
		seats(g.Seats).check(g.Threshold) == nil && s.CopyBytes(g.session[:]) && readPubkeys(&s, &key, 1) && readPoints(&s, &g.commits, g.Threshold)
	if !ok {
		return nil, malformed("group")
	}
	g.key, g.keys = key[0], make([][]pubkey, len(g.Seats))
	for i := range g.keys {
		var n int
		if !readInt(&s, &n, g.Seats[i].Shares) || n != 0 && (n != g.Seats[i].Shares || !readPubkeys(&s, &g.keys[i], n)) {
			return nil, malformed("group")
		}
	}
	if !s.Empty() || !bytes.Equal(g.Marshal(), p) {
		return nil, malformed("group")
	}
	return &g, nil
}
