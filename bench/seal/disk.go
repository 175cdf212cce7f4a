package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"
	"golang.org/x/sys/unix"

	"github.com/cella-network/cella/enclave/wire"
	"github.com/cella-network/cella/worker/disk"
	"github.com/cella-network/cella/worker/host"
)

// slice is how many blocks are sealed before the limit has its turn.
const slice = 32

// diskBench seals through a real enclave onto a real disk.
type diskBench struct {
	rounds, mib, lanes int
	dir, enclave       string
}

func (o diskBench) run(ctx context.Context) (f figures, notes []string, err error) {
	fail := func(err error) (figures, []string, error) { return figures{}, nil, err }
	slices := max(1, o.mib/slice)
	dir, err := os.MkdirTemp(o.dir, "bench-seal-")
	if err != nil {
		return fail(err)
	}
	defer os.RemoveAll(dir)
	var fs unix.Statfs_t
	if err := unix.Statfs(dir, &fs); err != nil {
		return fail(err)
	}
	if fs.Type == unix.TMPFS_MAGIC {
		return fail(fmt.Errorf("%s lies in memory: name a folder on a disk with -dir", o.dir))
	}
	d, err := disk.Open(dir, 999_999, sectorSize)
	if err != nil {
		return fail(err)
	}
	defer d.Close()

	e, pid, err := start(ctx, o.enclave)
	if err != nil {
		return fail(err)
	}
	defer e.Close()
	b, err := newBlocks(slice)
	if err != nil {
		return fail(err)
	}
	l, err := newLimit()
	if err != nil {
		return fail(err)
	}
	s := &sealer{enclave: e, disk: d, blocks: b, lanes: make([]lane, o.lanes)}
	for i := range s.lanes {
		s.lanes[i].buf = make([]byte, wire.IntoSize)
	}

	// The meters of both processes are read around each turn of the sealing, so nothing else counts, the start least of all.
	meter := func() [2]time.Duration {
		return [2]time.Duration{cpu(unix.CLOCK_PROCESS_CPUTIME_ID), cpu(processClock(pid))}
	}
	var ours, limits, hosts, enclaves, walls []float64
	for r := range o.rounds + 1 {
		var host, enclave, wall, limit float64
		turn := func(f func() error) error {
			began, before := time.Now(), meter()
			err := f()
			after := meter()
			host += (after[0] - before[0]).Seconds()
			enclave += (after[1] - before[1]).Seconds()
			wall += time.Since(began).Seconds()
			return err
		}
		for i := range slices {
			b.renew()
			seal := func() error { return turn(func() error { return s.seal(ctx) }) }
			bound := func() { limit += pinned(func() { l.seal(b) }) }
			if i%2 == 0 {
				bound()
			}
			if err := seal(); err != nil {
				return fail(err)
			}
			if i%2 == 1 {
				bound()
			}
		}
		if err := turn(d.Sync); err != nil {
			return fail(err)
		}
		if r > 0 { // the first warms up
			ours, limits = append(ours, host+enclave), append(limits, limit)
			hosts, enclaves, walls = append(hosts, host), append(enclaves, enclave), append(walls, wall)
		}
	}
	size := slices * slice * block
	perGiB := float64(1<<30) / float64(size)
	notes = []string{fmt.Sprintf("to disk: %d rounds of %d MiB in %d lanes; host %.3f and enclave %.3f CPU s/GiB; by the clock %.0f MiB/s",
		o.rounds, size/mib, o.lanes, median(hosts)*perGiB, median(enclaves)*perGiB, float64(size/mib)/median(walls))}
	return medians(ours, limits, size), notes, nil
}

// start brings an enclave to where it takes blocks, and finds its process.
func start(ctx context.Context, program string) (*host.Enclave, int, error) {
	var stderr strings.Builder
	var mu sync.Mutex
	e, err := host.Start(ctx, host.Options{Path: program, Log: func(line string) {
		mu.Lock()
		defer mu.Unlock()
		fmt.Fprintln(&stderr, line)
	}})
	if err != nil {
		return nil, 0, err
	}
	root, restore, err := firstRequests()
	if err == nil {
		err = e.Call(ctx, root, &wire.InitReply{})
	}
	if err == nil {
		err = e.Call(ctx, restore, &wire.Empty{})
	}
	pid := 0
	if err == nil {
		pid, err = child()
	}
	if err != nil {
		e.Close()
		mu.Lock()
		defer mu.Unlock()
		return nil, 0, fmt.Errorf("start %s: %w\n%s", program, err, stderr.String())
	}
	return e, pid, nil
}

// child is the one process that this one started.
func child() (int, error) {
	stats, err := filepath.Glob("/proc/[0-9]*/stat")
	if err != nil {
		return 0, err
	}
	for _, path := range stats {
		stat, err := os.ReadFile(path)
		if err != nil {
			continue // it ended meanwhile
		}
		var pid, parent int
		var state string
		name, rest, _ := strings.Cut(string(stat), ") ")
		_, _ = fmt.Sscan(name, &pid)
		_, _ = fmt.Sscan(rest, &state, &parent)
		if parent == os.Getpid() {
			return pid, nil
		}
	}
	return 0, errors.New("no child in /proc")
}

// processClock is the clock of all threads of a process, as clock_getcpuclockid(3) makes it.
func processClock(pid int) int32 {
	const scheduler = 2
	return int32(^pid<<3 | scheduler)
}

// sealer stores blocks as the worker does: each lane has a sector of its own and one block on its way.
type sealer struct {
	enclave *host.Enclave
	disk    *disk.Disk
	blocks  *blocks
	lanes   []lane
}

type lane struct {
	sector uint32
	open   bool
	buf    []byte // of the reply
}

// seal stores all blocks.
func (s *sealer) seal(ctx context.Context) error {
	var next atomic.Int32
	g, ctx := errgroup.WithContext(ctx)
	for i := range s.lanes {
		g.Go(func() error {
			for ctx.Err() == nil {
				n := int(next.Add(1)) - 1
				if n >= len(s.blocks.cids) {
					return nil
				}
				if err := s.store(ctx, &s.lanes[i], n); err != nil {
					return err
				}
			}
			return ctx.Err()
		})
	}
	return g.Wait()
}

// store seals one block into a lane's sector, into the next one if that is full.
func (s *sealer) store(ctx context.Context, l *lane, n int) error {
	for {
		if !l.open {
			if err := s.openSector(ctx, l); err != nil {
				return err
			}
		}
		var r wire.SealReply
		err := s.enclave.Call(ctx, &wire.Seal{Sector: l.sector, CID: s.blocks.cids[n], Data: s.blocks.at(n)}, wire.Into{Message: &r, Buf: l.buf})
		var refusal *wire.Error
		switch {
		case err == nil && r.Known:
			return errors.New("a block was sealed twice")
		case err == nil:
			return s.disk.Append(l.sector, r.Cell, r.Cells, r.Tags, r.Record)
		case !errors.As(err, &refusal) || refusal.Code != wire.CodeFull:
			return err
		}
		l.open = false
		if err := s.disk.Finish(l.sector); err != nil {
			return err
		}
	}
}

func (s *sealer) openSector(ctx context.Context, l *lane) error {
	id, err := s.disk.Reserve()
	if err != nil {
		return err
	}
	var r wire.OpenReply
	if err := s.enclave.Call(ctx, &wire.Open{Sector: id}, &r); err != nil {
		return err
	}
	if err := s.disk.BeginData(id, r.Header); err != nil {
		return err
	}
	l.sector, l.open = id, true
	return nil
}
