// Command seal measures how near the vault comes to the limit of the machine's cryptography. In short rounds, which take turns
// on one thread, it seals blocks of 1 MiB through vault.Seal and beside it does the least that any such store must do,
// SHA-256 and AES-256-GCM over the same blocks; then it fills free sectors through vault.Fill beside AES-256-CTR and SHA-256. All
// is memory to memory and in thread CPU time; the figures are medians over the rounds, so that a busy machine moves them little.
//
//	go run ./bench/seal [-rounds 41] [-mib 16] [-cpuprofile file]
package main

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/rand"
	"crypto/sha256"
	"encoding/binary"
	"flag"
	"fmt"
	"os"
	"runtime"
	"runtime/pprof"
	"sort"
	"time"

	"golang.org/x/sys/unix"

	"github.com/cella-network/cella/enclave/vault"
	"github.com/cella-network/cella/enclave/wire"
	"github.com/cella-network/cella/protocol/storageproof"
)

const (
	block    = storageproof.MaxBlock
	sealGoal = 0.85
	fillGoal = 0.80
)

func main() {
	rounds := flag.Int("rounds", 41, "rounds of each side")
	mib := flag.Int("mib", 16, "MiB a round")
	profile := flag.String("cpuprofile", "", "write a CPU profile here")
	flag.Parse()
	if *profile != "" {
		f, err := os.Create(*profile)
		check(err)
		defer f.Close()
		check(pprof.StartCPUProfile(f))
		defer pprof.StopCPUProfile()
	}
	runtime.LockOSThread()
	g, err := storageproof.NewGeometry(256 << 20)
	check(err)
	v, err := vault.New(vault.Config{ChainID: "bench", Geometry: g})
	check(err)
	defer v.Close()
	check(v.RestoreBegin(nil, nil, nil))
	b := &bench{vault: v, cells: g.DataCells, data: make([]byte, *mib*block), out: make([]byte, vault.BufferSize), cids: make([][]byte, *mib)}
	_, err = rand.Read(b.data)
	check(err)
	key := make([]byte, 32)
	b.block, err = aes.NewCipher(key)
	check(err)
	b.gcm, err = cipher.NewGCM(b.block)
	check(err)

	report("seal", compare(*rounds, b.renew, b.seal, b.sealLimit), *mib, sealGoal)
	report("fill", compare(*rounds, func() {}, b.fill, b.fillLimit), *mib, fillGoal)
}

type bench struct {
	vault  *vault.Vault
	cells  uint32
	sector uint32 // that is sealed or filled
	left   uint32 // cells left in it, or runs
	data   []byte
	cids   [][]byte
	out    []byte
	block  cipher.Block
	gcm    cipher.AEAD
	serial uint64
}

// renew makes blocks that the vault has not seen.
func (b *bench) renew() {
	for i := range b.cids {
		d := b.data[i*block : (i+1)*block]
		b.serial++
		binary.BigEndian.PutUint64(d, b.serial)
		sum := sha256.Sum256(d)
		b.cids[i] = append([]byte{1, 0x55, 0x12, 32}, sum[:]...)
	}
}

func (b *bench) seal() {
	for i, cid := range b.cids {
		if b.left < storageproof.UnitCells {
			b.sector, b.left = b.sector+1, b.cells
			_, err := b.vault.Open(wire.Open{Sector: b.sector})
			check(err)
		}
		r, err := b.vault.Seal(wire.Seal{Sector: b.sector, CID: cid, Data: b.data[i*block : (i+1)*block]}, b.out)
		check(err)
		b.left -= uint32(len(r.Tags)) / storageproof.TagSize
	}
}

func (b *bench) sealLimit() {
	var nonce [12]byte
	for i := range b.cids {
		d := b.data[i*block : (i+1)*block]
		sink ^= sha256.Sum256(d)[0]
		nonce[0]++
		b.gcm.Seal(b.out[:0], nonce[:], d, nil)
	}
}

func (b *bench) fill() {
	for range b.cids {
		r, err := b.vault.Fill(wire.Fill{Sector: 1<<30 + b.sector}, b.out)
		check(err)
		if r.Done {
			b.sector++
		}
	}
}

func (b *bench) fillLimit() {
	var iv [16]byte
	for range b.cids {
		iv[0]++
		out := b.out[:block]
		cipher.NewCTR(b.block, iv[:]).XORKeyStream(out, out)
		sink ^= sha256.Sum256(out)[0]
	}
}

var sink byte

type figures struct{ ours, limit, ratio float64 } // seconds a round, and limit/ours

// compare times both sides in turns, the first of them changing from round to round.
func compare(rounds int, before, ours, limit func()) figures {
	var a, l, ratio []float64
	for i := range rounds + 1 {
		before()
		var x, y float64
		if i%2 == 0 {
			x, y = timed(ours), timed(limit)
		} else {
			y, x = timed(limit), timed(ours)
		}
		if i > 0 { // the first warms up
			a, l, ratio = append(a, x), append(l, y), append(ratio, y/x)
		}
	}
	return figures{median(a), median(l), median(ratio)}
}

// timed is the CPU time of this thread in seconds.
func timed(f func()) float64 {
	start := cpu()
	f()
	return (cpu() - start).Seconds()
}

func cpu() time.Duration {
	var t unix.Timespec
	check(unix.ClockGettime(unix.CLOCK_THREAD_CPUTIME_ID, &t))
	return time.Duration(t.Nano())
}

func median(v []float64) float64 {
	sort.Float64s(v)
	return v[len(v)/2]
}

func report(name string, f figures, mib int, goal float64) {
	perGiB := 1024 / float64(mib)
	verdict := "met"
	if f.ratio < goal {
		verdict = "MISSED"
	}
	fmt.Printf("%s  vault %.3f s/GiB (%.0f MiB/s)  limit %.3f s/GiB (%.0f MiB/s)  speed/limit %.3f, goal %.2f: %s\n",
		name, f.ours*perGiB, float64(mib)/f.ours, f.limit*perGiB, float64(mib)/f.limit, f.ratio, goal, verdict)
}

func check(err error) {
	if err != nil {
		panic(err)
	}
}
