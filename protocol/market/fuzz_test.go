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
	f.Add([]byte{1}, uint64(1<<30), int64(200), uint32(2), uint64(1_000_000), "/dns/x", int64(1), []byte("apapq0vq2wdpnmifLjpak0bS9z"))
	terms := Terms{DayBlocks: 86400, MinBlocks: 20, MaxBlocks: 1 << 31, AcceptBlocks: 100, GraceBlocks: 10, Collateral: 10,
		MendBlocks: 50, ClearBlocks: 100, FaultFactor: 10, RepairBlocks: 60, WarnBlocks: 40, SilentBlocks: 120, AuditFaults: 20, LapseFee: 1}
	names := map[byte]string{'p': "prove", 's': "settle", 'd': "drop", 'l': "lapse", 'f': "forfeit", 'i': "silence", 'L': "leave", 'z': "replace"}
	f.Fuzz(func(t *testing.T, root []byte, size uint64, blocks int64, replicas uint32, price uint64, addr string, now int64, steps []byte) {
		if now < 1 || now > 1<<40 {
			return // the chain's own heights, not a stranger's figure
		}
		l := newLife(terms, []string{"A", "B", "C"}, 1<<61)
		l.ledger.purse["owner"] = 1 << 63
		l.ledger.total += 1 << 63
		l.now = now
		if _, err := l.place(Order{ID: 1, Owner: "owner", Root: root, Of: root, Size: size, Replicas: replicas, Price: price, Addrs: []string{addr}}, blocks); err != nil {
			if !refusal(err) {
				t.Fatal(err)
			}
			return
		}
		for i, step := range steps {
			node := string(rune('A' + i%3))
			var err error
			switch step {
			case 'a':
				_, err = l.accept(node, price/2+1, MaxSize)
			case 'r':
				_, err = l.renew(int64(step))
			case 'R':
				_, err = l.renew(blocks)
			case 'e':
				_, err = l.close(terms.EndEarly)
			case 'x':
				_, err = l.close(terms.Expire)
			case 'q':
				l.report(node, 0, uint64(i))
			case 'b':
				l.audit(node)
			case 'n':
				l.disk(node)
			case 'm':
				_, err = l.heard(node)
			case 'w':
				l.watch(node)
			default:
				if name, ok := names[step]; ok {
					_, err = l.step(node, name, string(root), size)
					break
				}
				l.now += int64(step)
				for n := range 3 {
					l.report(string(rune('A'+n)), uint64(step)*uint64(n), uint64(2-n)) // one proves none, one all, one claims too many
				}
			}
			if err != nil && !refusal(err) {
				t.Fatalf("step %d: %s", i, err)
			}
			if err := l.check(); err != nil {
				t.Fatalf("step %d: %s", i, err)
			}
		}
	})
}
