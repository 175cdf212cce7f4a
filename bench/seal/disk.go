package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"
	"golang.org/x/sys/unix"

	"github.com/cella-network/cella/bench/meter"
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

// size is the bytes of a round.
func (o diskBench) size() int { return max(1, o.mib/slice) * slice * block }

// run makes the rounds of one start and returns what each took of CPU, ours and the limit, in seconds.
func (o diskBench) run(ctx context.Context) (ours, limits []float64, note string, err error) {
	fail := func(err error) ([]float64, []float64, string, error) { return nil, nil, "", err }
	slices := o.size() / (slice * block)
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
		s.lanes[i].buf = disk.Buffer(wire.IntoSize)
	}

	// The meters of both processes are read around each turn of the sealing, so nothing else counts, the start least of all.
	used := func() (t [2]time.Duration, err error) {
		if t[0], err = meter.CPU(os.Getpid()); err == nil {
			t[1], err = meter.CPU(pid)
		}
		return t, err
	}
	var hosts, enclaves, walls []float64
	for r := range o.rounds + 1 {
		var host, enclave, wall, limit float64
		turn := func(f func() error) error {
			began := time.Now()
			before, err := used()
			if err == nil {
				err = f()
			}
			if err != nil {
				return err
			}
			after, err := used()
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
	perGiB := float64(1<<30) / float64(o.size())
	note = fmt.Sprintf("to disk: %d rounds of %d MiB in %d lanes; host %.3f and enclave %.3f CPU s/GiB; by the clock %.0f MiB/s",
		o.rounds, o.size()/mib, o.lanes, median(hosts)*perGiB, median(enclaves)*perGiB, float64(o.size()/mib)/median(walls))
	return ours, limits, note, nil
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
		var children []int
		if children, err = meter.Children(os.Getpid()); err == nil && len(children) != 1 {
			err = fmt.Errorf("%d children, want the enclave", len(children))
		}
		if err == nil {
			pid = children[0]
		}
	}
	if err != nil {
		e.Close()
		mu.Lock()
		defer mu.Unlock()
		return nil, 0, fmt.Errorf("start %s: %w\n%s", program, err, stderr.String())
	}
	return e, pid, nil
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
