package host

import (
	be "encoding/binary"
	"fmt"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/cella-network/cella/enclave/wire"
)

// BenchmarkSeal is how fast blocks of 1 MiB get through the stream and the vault, in eight requests at a time.
func BenchmarkSeal(b *testing.B) { bulk(b, true) }

// BenchmarkStream is the same for blocks that the enclave refuses at once: what the stream alone can do, one way.
func BenchmarkStream(b *testing.B) { bulk(b, false) }

func bulk(b *testing.B, seal bool) {
	e, err := Start(b.Context(), Options{Path: binary(b)})
	if err != nil {
		b.Fatal(err)
	}
	defer e.Close()
	c := newChain(b)
	must := func(req wire.Request, reply wire.Message) {
		if err := e.Call(b.Context(), req, reply); err != nil {
			b.Fatal(err)
		}
	}
	init := c.init(1)
	init.SectorSize = 1 << 30
	must(init, new(wire.InitReply))
	must(&wire.RestoreBegin{Standing: c.prove("work", standingKey([20]byte{1}))}, &wire.Empty{})
	must(&wire.Open{Sector: 1}, new(wire.OpenReply))

	blocks := make([][]byte, window)
	for i := range blocks {
		blocks[i] = noise(1<<20, byte(i))
	}
	pid := pidOf(b)
	before := cpuTime(b, pid)
	b.SetBytes(1 << 20)
	b.ReportAllocs()
	b.ResetTimer()
	work := make(chan uint64)
	var workers sync.WaitGroup
	for _, block := range blocks {
		workers.Go(func() {
			for i := range work {
				if i%1000 == 999 && seal {
					_ = e.Call(b.Context(), &wire.Open{Sector: uint32(i/1000 + 2)}, new(wire.OpenReply))
				}
				be.BigEndian.PutUint64(block, i+1)
				m := &wire.Seal{Sector: uint32(i/1000 + 1), Data: block, CID: []byte{1}}
				if seal {
					m.CID = rawCID(block)
				}
				_ = e.Call(b.Context(), m, new(wire.SealReply))
			}
		})
	}
	for i := range b.N {
		work <- uint64(i)
	}
	close(work)
	workers.Wait()
	// A busy machine stretches the wall clock, not this.
	b.ReportMetric(float64((cpuTime(b, pid)-before).Nanoseconds())/float64(b.N), "enclave-cpu-ns/op")
}

// cpuTime is what a process used so far, in user and kernel.
func cpuTime(b *testing.B, pid int) time.Duration {
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		b.Fatal(err)
	}
	_, rest, _ := strings.Cut(string(stat), ") ")
	var user, system int64
	for i, f := range strings.Fields(rest) {
		switch i {
		case 11:
			_, _ = fmt.Sscan(f, &user)
		case 12:
			_, _ = fmt.Sscan(f, &system)
		}
	}
	return time.Duration(user+system) * 10 * time.Millisecond // ticks of 100 Hz
}
