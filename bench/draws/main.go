// Command draws measures what the spot checks of a full disk cost. It fills sectors through the real vault onto a real disk, some of them
// with sealed blocks, has a report of them accepted, drops the kernel's caches and answers draws as a node does: the lottery names a
// cell, the disk brings it with its witness, the vault checks both.
//
// Bytes are those that the kernel had the disk read for this process, read_bytes of /proc/PID/io. The least is a cell and a page: 8 KiB.
//
//	go run ./bench/draws [flags]     -help lists them
package main

import (
	"crypto/rand"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"

	"github.com/cella-network/cella/bench/meter"
	"github.com/cella-network/cella/bench/table"
	"github.com/cella-network/cella/enclave/vault"
	"github.com/cella-network/cella/enclave/wire"
	"github.com/cella-network/cella/protocol/lottery"
	"github.com/cella-network/cella/protocol/storageproof"
	"github.com/cella-network/cella/worker/disk"
)

const (
	chainID = "bench"
	least   = 2 * storageproof.CellSize // bytes of a draw
)

// config says how much.
type config struct {
	dir        string
	sectorSize uint64
	free, data int // sectors
	draws      int
}

// result is what the draws took in all.
type result struct {
	filled   uint64        // bytes
	first    uint64        // bytes read for the first look at each sector of random cells
	read     uint64        // bytes
	cpu      time.Duration // user and kernel
	wall     time.Duration
	answered int
}

func main() {
	var c config
	flag.StringVar(&c.dir, "dir", "build", "where to make a folder for the sectors: a real disk")
	flag.Uint64Var(&c.sectorSize, "sector", 256<<20, "bytes of a sector")
	flag.IntVar(&c.free, "free", 24, "sectors of random cells")
	flag.IntVar(&c.data, "data", 9, "sectors of sealed blocks")
	flag.IntVar(&c.draws, "draws", 512, "draws")
	rows := flag.String("rows", "", "append the table's rows to this file")
	flag.Parse()
	r, err := c.run()
	if err == nil {
		err = table.Add(*rows, r.rows(c)...)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "bench/draws:", err)
		os.Exit(1)
	}
}

func (r result) rows(c config) []table.Row {
	n := float64(c.draws)
	what := fmt.Sprintf("%d draws over %.1f GiB, caches dropped", c.draws, float64(r.filled)/(1<<30))
	out := []table.Row{
		{What: what, Ours: fmt.Sprintf("%.0f bytes read a draw", float64(r.read)/n), Beside: fmt.Sprintf("%d: a cell and a page", least), Ratio: least * n / float64(r.read)},
		{What: "  time of one", Ours: fmt.Sprintf("%.0f µs CPU, %.1f ms by the clock", r.cpu.Seconds()*1e6/n, r.wall.Seconds()*1e3/n)},
	}
	if c.free > 0 {
		out = append(out, table.Row{What: "  once a sector and start", Ours: fmt.Sprintf("%.2f MiB read", float64(r.first)/(1<<20)/float64(c.free))})
	}
	return out
}

func hashOf(height int64) [32]byte {
	return sha256.Sum256(binary.BigEndian.AppendUint64(nil, uint64(height)))
}

func (c config) run() (r result, err error) {
	dir, err := os.MkdirTemp(c.dir, "bench-draws-")
	if err != nil {
		return r, err
	}
	defer os.RemoveAll(dir)
	d, err := disk.Open(dir, 999_999, c.sectorSize)
	if err != nil {
		return r, err
	}
	defer func() { err = errors.Join(err, d.Close()) }()
	v, err := vault.New(vault.Config{ChainID: chainID, Account: [20]byte{1}, Geometry: d.Geometry()})
	if err != nil {
		return r, err
	}
	defer v.Close()
	if err := v.RestoreBegin(nil, nil, nil); err != nil {
		return r, err
	}
	f := filler{vault: v, disk: d, cells: disk.Buffer(vault.BufferSize), block: make([]byte, storageproof.MaxBlock)}
	for range c.free {
		if err := f.fill(); err != nil {
			return r, err
		}
	}
	for range c.data {
		if err := f.seal(); err != nil {
			return r, err
		}
	}
	if err := d.Sync(); err != nil {
		return r, err
	}
	entries, err := accept(v)
	if err != nil {
		return r, err
	}
	t, err := storageproof.NewTable(entries)
	if err != nil {
		return r, err
	}
	r.filled = t.Free() + t.Stored()

	// A node reads a free sector's pages of digests once and keeps their hashes; the draws begin when it has them.
	before, err := dropped(dir)
	if err != nil {
		return r, err
	}
	for _, e := range entries {
		if e.Kind == storageproof.KindFree {
			if _, err := d.Sample(e, 0); err != nil {
				return r, err
			}
		}
	}
	after, err := meter.ReadBytes(os.Getpid())
	if err != nil {
		return r, err
	}
	r.first = after - before
	return r, c.answer(&r, v, d, t, dir)
}

// answer makes the draws.
func (c config) answer(r *result, v *vault.Vault, d *disk.Disk, t *storageproof.Table, dir string) error {
	kinds := map[uint32]storageproof.Entry{}
	for _, e := range t.Entries() {
		kinds[e.ID] = e
	}
	read, err := dropped(dir)
	if err != nil {
		return err
	}
	cpu, err := meter.CPU(os.Getpid())
	if err != nil {
		return err
	}
	began := time.Now()
	for range c.draws {
		h := v.Next()
		seed := lottery.Seed(hashOf(v.SeedHeight(h)))
		at, _ := t.Draw(seed, h, [20]byte{1})
		s, err := d.Sample(kinds[at.Sector], at.Cell)
		if err != nil {
			return err
		}
		reply, err := v.Draw(seed, wire.Draw{Height: h, Cell: s.Cell, Tag: s.Tag, Page: s.Page, Path: s.Path})
		if err != nil {
			return err
		}
		if reply.Answered {
			r.answered++
		}
	}
	r.wall = time.Since(began)
	cpuAfter, err := meter.CPU(os.Getpid())
	if err != nil {
		return err
	}
	readAfter, err := meter.ReadBytes(os.Getpid())
	if err != nil {
		return err
	}
	r.cpu, r.read = cpuAfter-cpu, readAfter-read
	if r.answered != c.draws {
		return fmt.Errorf("%d of %d draws were answered", r.answered, c.draws)
	}
	return nil
}

// accept has a report of all sectors signed and accepted, and returns its table.
func accept(v *vault.Vault) ([]storageproof.Entry, error) {
	const height = 10
	signed, err := v.Report(height, func(h int64) ([32]byte, bool) { return hashOf(h), true }, func([]byte) (sig [64]byte) { return sig })
	if err != nil {
		return nil, err
	}
	report, err := storageproof.UnmarshalReport(signed.Report)
	if err != nil {
		return nil, err
	}
	_, err = v.Accepted(storageproof.Standing{Account: report.Account, Counter: report.Counter, Report: report.ID(), Height: height, Since: height + 1,
		Free: report.Free, Stored: report.Stored, Table: report.Table, Orders: report.Orders})
	if err != nil {
		return nil, err
	}
	var entries []storageproof.Entry
	for _, row := range signed.Changed {
		e, err := storageproof.UnmarshalEntry(row)
		if err != nil {
			return nil, err
		}
		entries = append(entries, e)
	}
	return entries, nil
}

// dropped drops the caches, all if this process may, else those of the files below dir, and tells what was read so far.
func dropped(dir string) (uint64, error) {
	if os.WriteFile("/proc/sys/vm/drop_caches", []byte("3"), 0) != nil {
		err := filepath.WalkDir(dir, func(path string, e os.DirEntry, err error) error {
			if err != nil || !e.Type().IsRegular() {
				return err
			}
			f, err := os.Open(path)
			if err != nil {
				return err
			}
			defer f.Close()
			return unix.Fadvise(int(f.Fd()), 0, 0, unix.FADV_DONTNEED)
		})
		if err != nil {
			return 0, err
		}
	}
	return meter.ReadBytes(os.Getpid())
}

// filler fills sectors as a node does.
type filler struct {
	vault        *vault.Vault
	disk         *disk.Disk
	cells, block []byte
	serial       uint64
}

func (f *filler) fill() error {
	id, err := f.disk.Reserve()
	if err == nil {
		err = f.disk.BeginFree(id)
	}
	for done := false; err == nil && !done; {
		var r wire.FillReply
		if r, err = f.vault.Fill(wire.Fill{Sector: id}, f.cells); err == nil {
			done = r.Done
			err = f.disk.Fill(id, r.First, r.Cells, r.Digests, r.Done)
		}
	}
	return err
}

// seal fills a sector with blocks of random bytes.
func (f *filler) seal() error {
	id, err := f.disk.Reserve()
	if err != nil {
		return err
	}
	open, err := f.vault.Open(wire.Open{Sector: id})
	if err == nil {
		err = f.disk.BeginData(id, open.Header)
	}
	if f.serial == 0 {
		rand.Read(f.block)
	}
	for err == nil {
		f.serial++
		binary.BigEndian.PutUint64(f.block, f.serial)
		sum := sha256.Sum256(f.block)
		var r wire.SealReply
		r, err = f.vault.Seal(wire.Seal{Sector: id, CID: append([]byte{1, 0x55, 0x12, 32}, sum[:]...), Data: f.block}, f.cells)
		var refusal *wire.Error
		if errors.As(err, &refusal) && refusal.Code == wire.CodeFull {
			return f.disk.Finish(id)
		}
		if err == nil {
			err = f.disk.Append(id, r.Cell, r.Cells, r.Tags, r.Record)
		}
	}
	return err
}
