package beacon

import (
	"slices"
	"testing"

	blst "github.com/supranational/blst/bindings/go"
	"golang.org/x/crypto/cryptobyte"

	"github.com/cella-network/cella/protocol/threshold"
)

const testChain = "beacon-1"

// team is a group with its secrets. It is made out of one polynomial in one place, where a ceremony would take too long: the constant term is
// the group's secret, so that two teams with the same one have the same key.
type team struct {
	group   *threshold.Group
	secrets [][]blst.Scalar // by seat
}

func scalar(n int) blst.Scalar {
	var b [32]byte
	b[28], b[29], b[30], b[31] = byte(n>>24), byte(n>>16), byte(n>>8), byte(n)
	return *new(blst.Scalar).FromBEndian(b[:])
}

func account(name string) (a [20]byte) {
	copy(a[:], name)
	return a
}

// newTeam makes a group of an epoch in which each member has two shares; the key depends on the secret alone.
func newTeam(tb testing.TB, epoch uint64, secret int, names ...string) *team {
	tb.Helper()
	stakes := slices.Repeat([]uint64{1000}, len(names))
	w, err := threshold.Weigh(stakes)
	if err != nil {
		tb.Fatal(err)
	}
	coefs := []blst.Scalar{scalar(secret)}
	for i := 1; i < w.Threshold; i++ {
		coefs = append(coefs, scalar(1000*int(epoch)+i))
	}
	var b, keys cryptobyte.Builder
	text := func(s string) {
		b.AddUint16LengthPrefixed(func(b *cryptobyte.Builder) { b.AddBytes([]byte(s)) })
	}
	text("cella/committee/group/v1")
	text(testChain)
	text("beacon")
	b.AddUint64(epoch)
	b.AddUint32(0)
	b.AddUint16(uint16(len(names)))
	t, share := &team{}, 0
	for i, n := range names {
		a := account(n)
		b.AddBytes(a[:])
		b.AddUint16(uint16(w.Shares[i]))
		keys.AddUint16(uint16(w.Shares[i]))
		var mine []blst.Scalar
		for range w.Shares[i] {
			share++
			at, sum := scalar(share), coefs[len(coefs)-1]
			for _, c := range slices.Backward(coefs[:len(coefs)-1]) {
				sum.MulAssign(&at)
				sum.AddAssign(&c)
			}
			mine = append(mine, sum)
			keys.AddBytes(new(blst.P2Affine).From(&sum).Compress())
		}
		t.secrets = append(t.secrets, mine)
	}
	b.AddUint16(uint16(w.Threshold))
	b.AddBytes(make([]byte, 32))
	b.AddBytes(new(blst.P2Affine).From(&coefs[0]).Compress())
	for i := range coefs {
		b.AddBytes(new(blst.P1Affine).From(&coefs[i]).Compress())
	}
	b.AddBytes(keys.BytesOrPanic())
	if t.group, err = threshold.UnmarshalGroup(b.BytesOrPanic()); err != nil {
		tb.Fatal(err)
	}
	return t
}

// partial is a seat's partial signature as it is sent.
func (t *team) partial(seat int, message []byte) (out []byte) {
	for i := range t.secrets[seat] {
		out = append(out, new(blst.P1Affine).Sign(&t.secrets[seat][i], message, []byte(threshold.Tag("beacon")), true).Compress()...)
	}
	return out
}

// sign is the group's signature.
func (t *team) sign(tb testing.TB, message []byte) threshold.Signature {
	tb.Helper()
	var seats []int
	var partials []threshold.Partial
	for seat := range t.group.Seats {
		p, err := t.group.UnmarshalPartial(seat, t.partial(seat, message))
		if err != nil {
			tb.Fatal(err)
		}
		seats, partials = append(seats, seat), append(partials, p)
	}
	q, err := t.group.Quorum(seats)
	if err != nil {
		tb.Fatal(err)
	}
	sig, err := q.Combine(partials)
	if err != nil || !t.group.Verify(message, sig) {
		tb.Fatal("the team can't sign", err)
	}
	return sig
}
