package threshold

import (
	"fmt"
	"syscall"
	"testing"
	"time"

	blst "github.com/supranational/blst/bindings/go"
)

// conjure makes a group out of one polynomial in one place, where a ceremony would take too long for what is measured.
func conjure(tb testing.TB, setup Setup, seed uint64) *team {
	tb.Helper()
	must(tb, setup.check())
	coefs, err := randomScalars(seeded(seed), setup.Threshold)
	must(tb, err)
	g := &Group{ID: setup.ID, Seats: setup.Seats, Threshold: setup.Threshold, session: setup.session(), keys: make([][]pubkey, len(setup.Seats))}
	g.key = *new(blst.P2Affine).From(&coefs[0])
	for i := range coefs {
		g.commits = append(g.commits, *new(point).From(&coefs[i]))
	}
	t := &team{g, map[int]*Shares{}}
	for i := range setup.Seats {
		s := &Shares{session: g.session, seat: i}
		for _, x := range seats(setup.Seats).numbers(i) {
			secret := evalSecret(coefs, x)
			s.secrets = append(s.secrets, *secret)
			g.keys[i] = append(g.keys[i], *new(blst.P2Affine).From(secret))
		}
		t.shares[i] = s
	}
	return t
}

// cpu is the processor time that the process has used: waiting for others on the machine does not count.
func cpu() time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		panic(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// meter adds up processor time by what it was spent on.
type meter map[string]time.Duration

func (m meter) time(what string, do func()) {
	at := cpu()
	do()
	m[what] += cpu() - at
}

// BenchmarkCeremony measures one member (its key, all of its deals, opening everybody's, its shares) and one observer (checking
// every message, adding up), and counts the bytes of all messages. Deals of one seat stand for those of all.
func BenchmarkCeremony(b *testing.B) {
	for _, kind := range []string{"fresh", "handover"} {
		for _, n := range []int{4, 16, 64, 100} {
			b.Run(fmt.Sprintf("%s/n=%d", kind, n), func(b *testing.B) {
				for range b.N {
					ceremonyCost(b, kind, n)
				}
			})
		}
	}
}

func ceremonyCost(b *testing.B, kind string, n int) {
	setup := equal(b, n, 2, "n")
	var old *team
	if kind == "handover" {
		old = conjure(b, equal(b, n, 1, "o"), 1)
	}
	p, err := begin(setup, old, seeded(2))
	must(b, err)
	spent, size := meter{}, 0
	send := func(from Seat, message []byte) {
		size += len(message)
		spent.time("observer", func() { must(b, p.c.Accept(from.Account, message)) })
	}
	for i := range n {
		var message []byte
		join := func() {
			m, k, err := Join(p.setup, i, p.random)
			must(b, err)
			p.members[i], message = m, k
		}
		if i == 0 {
			spent.time("member", join)
		} else {
			join()
		}
		send(setup.Seats[i], message)
	}
	must(b, p.c.Advance())
	for i, seat := range p.dealers() {
		var messages [][]byte
		deal := func() { messages, err = p.dealAll(p.c, i); must(b, err) }
		if i == 0 {
			spent.time("member", deal)
		} else {
			deal()
		}
		for _, m := range messages {
			send(seat, m)
		}
	}
	must(b, p.c.Advance())
	spent.time("member", func() { must(b, p.open(0)) })
	worst := meter{}
	worst.time("advance", func() { must(b, p.c.Advance()) })
	spent["observer"] += worst["advance"]
	var ready []byte
	spent.time("member", func() { _, ready, err = p.members[0].Finish(p.c); must(b, err) })
	worst.time("ready", func() { must(b, p.c.Accept(setup.Seats[0].Account, ready)) })
	spent["observer"] += time.Duration(n) * worst["ready"]
	size += n * len(ready)
	ms := func(d time.Duration) float64 { return float64(d.Microseconds()) / 1000 }
	b.ReportMetric(ms(spent["member"]), "member-cpu-ms")
	b.ReportMetric(ms(spent["observer"]), "observer-cpu-ms")
	b.ReportMetric(ms(worst["advance"]), "adding-up-cpu-ms")
	b.ReportMetric(float64(size)/1024, "KiB")
	b.ReportMetric(float64(size)/1024/float64(n), "KiB/member")
}

func BenchmarkSign(b *testing.B) {
	t := conjure(b, equal(b, 100, 1, "a"), 3)
	message := at(1, 1)
	perOp(b, func() { _, err := t.shares[0].Sign(t.group, message); must(b, err) })
}

// BenchmarkCombine makes the signature of 134 of 200 shares.
func BenchmarkCombine(b *testing.B) {
	t := conjure(b, equal(b, 100, 1, "a"), 3)
	message := at(1, 1)
	q, err := t.group.Quorum(t.seats())
	must(b, err)
	ps, err := t.partials(message, q.Seats()...)
	must(b, err)
	var sig Signature
	b.Run("coefficients", func(b *testing.B) {
		perOp(b, func() { _, err := t.group.Quorum(t.seats()); must(b, err) })
	})
	b.Run("combine", func(b *testing.B) {
		perOp(b, func() { sig, err = q.Combine(ps); must(b, err) })
	})
	b.Run("verify", func(b *testing.B) {
		perOp(b, func() {
			if !t.group.Verify(message, sig) {
				b.Fatal("does not verify")
			}
		})
	})
	var raw [][]byte
	for _, p := range ps {
		raw = append(raw, p.Marshal())
	}
	b.Run("proposer", func(b *testing.B) { // read, combine, verify
		perOp(b, func() {
			var read []Partial
			for i, p := range ps {
				x, err := t.group.UnmarshalPartial(p.Seat, raw[i])
				must(b, err)
				read = append(read, x)
			}
			s, err := q.Combine(read)
			must(b, err)
			if !t.group.Verify(message, s) {
				b.Fatal("does not verify")
			}
		})
	})
	all, err := t.partials(message, t.seats()...)
	must(b, err)
	b.Run("check/good", func(b *testing.B) { perOp(b, func() { t.group.Check(message, all) }) })
	all[33].points[0] = all[34].points[0]
	b.Run("check/one-bad", func(b *testing.B) { perOp(b, func() { t.group.Check(message, all) }) })
}

// perOp reports processor time beside the clock's.
func perOp(b *testing.B, do func()) {
	from := cpu()
	for range b.N {
		do()
	}
	b.ReportMetric(float64((cpu()-from).Microseconds())/1000/float64(b.N), "cpu-ms/op")
}

// BenchmarkOpen is what a complaint of the seat that is repaired costs, about the largest helper: some seats have 95 % of the stake.
func BenchmarkOpen(b *testing.B) {
	for _, large := range []int{4, 5, 7, 10, 15} {
		b.Run(fmt.Sprintf("large=%d", large), func(b *testing.B) {
			stakes := make([]uint64, MaxMembers)
			for i := range stakes {
				if stakes[i] = uint64(5 * 1000 / (MaxMembers - large)); i < large {
					stakes[i] = uint64(95 * 1000 / large)
				}
			}
			weights, err := Weigh(stakes)
			must(b, err)
			setup := Setup{ID: ID{ChainID: "c", Purpose: "p", Epoch: 1}, Threshold: weights.Threshold}
			var helpers []int
			for i, n := range weights.Shares {
				if n == 0 {
					break
				}
				setup.Seats = append(setup.Seats, Seat{Account: [20]byte{1, byte(i)}, Shares: n})
				if i > 0 {
					helpers = append(helpers, i)
				}
			}
			tm := conjure(b, setup, 4)
			r, err := NewRepair(tm.group, 1, 0, helpers)
			must(b, err)
			sides := map[int]*Repairer{}
			for i := range setup.Seats {
				side, message, err := JoinRepair(r, i, seeded(uint64(i)))
				must(b, err)
				must(b, r.Accept(setup.Seats[i].Account, message))
				sides[i] = side
			}
			must(b, r.Advance())
			message, err := sides[r.helpers[0]].Contribute(r, tm.shares[r.helpers[0]])
			must(b, err)
			must(b, r.Accept(setup.Seats[r.helpers[0]].Account, message))
			for at := range r.helpers { // others' blinds are added as well
				r.given[at] = r.given[0]
			}
			shared := timesSecret(r.keyOf(r.helpers[0]), &sides[0].key)
			b.ReportMetric(float64(len(r.numbers[0])), "shares")
			b.ReportMetric(float64(r.group.Threshold), "threshold")
			perOp(b, func() {
				if _, ok := r.open(0, shared); !ok {
					b.Fatal("does not fit")
				}
			})
		})
	}
}
