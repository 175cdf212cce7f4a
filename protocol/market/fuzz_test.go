package market

import (
	"math"
	"strings"
	"testing"
)

// FuzzOrder drives one order with figures that a stranger chose, extremes included, through a life that the input's last bytes
// choose: nothing panics, every coin that moves is accounted for, and the escrow always suffices.
func FuzzOrder(f *testing.F) {
	f.Add([]byte{1}, uint64(1<<30), int64(100), uint32(3), uint64(1_000_000), "/ip4/127.0.0.1", int64(1), []byte("apSsedr"))
	f.Add([]byte{}, uint64(0), int64(-1), uint32(0), uint64(0), "", int64(0), []byte{})
	f.Add([]byte(strings.Repeat("x", MaxRoot+1)), uint64(math.MaxUint64), int64(math.MaxInt64), uint32(math.MaxUint32), uint64(math.MaxUint64),
		strings.Repeat("a", MaxAddr+1), int64(math.MaxInt64), []byte("rrrr"))
	f.Add([]byte{1}, uint64(MaxSize), int64(1<<30), uint32(MaxReplicas), uint64(MaxPrice), "/dns/x", int64(1), []byte("apRRse"))
	terms := Terms{DayBlocks: 86400, MinBlocks: 20, MaxBlocks: 1 << 31, AcceptBlocks: 100, GraceBlocks: 10, Collateral: 10}
	f.Fuzz(func(t *testing.T, root []byte, size uint64, blocks int64, replicas uint32, price uint64, addr string, now int64, steps []byte) {
		if now < 0 || now > 1<<40 {
			return // the chain's own heights, not a stranger's figure
		}
		o, moved, err := terms.Place(1, "owner", root, size, blocks, replicas, price, []string{addr}, now)
		if err != nil {
			return
		}
		purse := balance{}
		purse.execute(t, moved)
		counts := map[string]uint64{}
		var held []Replica
		for i, step := range steps {
			node := string(rune('A' + i%3))
			at := -1
			for k, r := range held {
				if r.Node == node {
					at = k
				}
			}
			var next Order
			var err error
			moved, next = nil, o
			switch {
			case step == 'a':
				var r Replica
				if r, moved, err = terms.Accept(o, held, Ask{Node: node, Price: price/2 + 1, MaxSize: MaxSize}, now); err == nil {
					held = append(held, r)
				}
			case step == 'p' && at >= 0:
				var r Replica
				if r, err = terms.Prove(o, held[at], o.Root, o.Size, counts[node], now); err == nil {
					held[at] = r
				}
			case step == 's' && at >= 0:
				var r Replica
				if next, r, moved, err = terms.Settle(o, held[at], counts[node], now); err == nil {
					held[at] = r
				}
			case step == 'd' && at >= 0:
				if next, moved, err = terms.Drop(o, held[at], counts[node], now); err == nil {
					held = append(held[:at:at], held[at+1:]...)
				}
			case step == 'l' && at >= 0:
				if moved, err = terms.Lapse(o, held[at], now); err == nil {
					held = append(held[:at:at], held[at+1:]...)
				}
			case step == 'r' || step == 'R':
				more := int64(step)
				if step == 'R' {
					more = blocks
				}
				next, moved, err = terms.Renew(o, more, now)
			case step == 'e' || step == 'x':
				close := terms.EndEarly
				if step == 'x' {
					close = terms.Expire
				}
				if next, moved, err = close(o, held, func(n string) uint64 { return counts[n] }, now); err == nil {
					held = nil
				}
			default:
				now += int64(step)
				for n := range 3 {
					counts[string(rune('A'+n))] += uint64(step) * uint64(n) // one proves none, one all, one claims too many
				}
			}
			if err != nil {
				continue
			}
			o = next
			purse.execute(t, moved)
			if purse[PurseEscrow] != o.Escrow {
				t.Fatalf("step %d: the order says %d in escrow, %d are there", i, o.Escrow, purse[PurseEscrow])
			}
			var collateral uint64
			for _, r := range held {
				collateral += r.Collateral
			}
			if purse[PurseCollateral] != collateral {
				t.Fatalf("step %d: replicas say %d of collateral, %d are there", i, collateral, purse[PurseCollateral])
			}
		}
		if o.Closed && (purse[PurseEscrow] != 0 || purse[PurseCollateral] != 0) {
			t.Fatalf("a closed order left coins behind: %v", purse)
		}
	})
}

// balance is what escrow and collateral hold; owners and nodes have without limit.
type balance map[Purse]uint64

func (b balance) execute(t *testing.T, moved []Move) {
	t.Helper()
	for _, m := range moved {
		if m.From == PurseEscrow || m.From == PurseCollateral {
			if b[m.From] < m.Amount {
				t.Fatalf("%s takes %d from purse %d, which has %d", m.Rule, m.Amount, m.From, b[m.From])
			}
			b[m.From] -= m.Amount
		}
		if m.To == PurseEscrow || m.To == PurseCollateral {
			if b[m.To]+m.Amount < m.Amount {
				t.Fatalf("%s overflows purse %d", m.Rule, m.To)
			}
			b[m.To] += m.Amount
		}
	}
}
