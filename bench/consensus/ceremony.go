package main

import (
	"crypto/rand"
	"encoding/binary"
	"fmt"
	"os"
	"runtime"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/cella-network/cella/bench/meter"
	"github.com/cella-network/cella/bench/table"
	"github.com/cella-network/cella/protocol/threshold"
)

const purpose = "beacon"

// expense is what one ceremony takes.
type expense struct {
	n        int
	handover bool
	member   time.Duration // CPU of one member: its key, its deals, opening everybody's, its shares
	observer time.Duration // CPU of whoever watches: the chain of each node, and each enclave
	adding   time.Duration // of it in one block: the end of the deals
	bytes    int           // of all messages
}

func (e expense) row() table.Row {
	kind := "fresh key"
	if e.handover {
		kind = "handover"
	}
	ms := func(d time.Duration) float64 { return d.Seconds() * 1e3 }
	return table.Row{What: fmt.Sprintf("ceremony, %s, n=%d", kind, e.n),
		Ours: fmt.Sprintf("%.0f ms CPU a node, %.1f KiB in all", ms(e.member+2*e.observer), float64(e.bytes)/1024),
		Beside: fmt.Sprintf("member %.0f ms, and twice an observer's %.0f ms: its chain and its enclave; in one block %.0f ms",
			ms(e.member), ms(e.observer), ms(e.adding))}
}

// ceremonies makes a fresh key and hands it on, for each number of members with equal stakes.
func ceremonies(sizes []int) (rows []table.Row, err error) {
	for _, n := range sizes {
		old := equal(n, 1)
		fresh, err := play(old, nil)
		if err != nil {
			return nil, fmt.Errorf("fresh key, n=%d: %w", n, err)
		}
		next := equal(n, 2)
		next.Old = fresh.group
		handover, err := play(next, fresh.shares)
		if err != nil {
			return nil, fmt.Errorf("handover, n=%d: %w", n, err)
		}
		rows = append(rows, fresh.expense.row(), handover.expense.row())
	}
	return rows, nil
}

// equal is the setup of n members with equal stakes.
func equal(n int, epoch uint64) threshold.Setup {
	stakes := make([]uint64, n)
	for i := range stakes {
		stakes[i] = 1000
	}
	w, err := threshold.Weigh(stakes)
	if err != nil {
		panic(err)
	}
	s := threshold.Setup{ID: threshold.ID{ChainID: chainID, Purpose: purpose, Epoch: epoch}, Threshold: w.Threshold}
	for i := range n {
		var seat threshold.Seat
		binary.BigEndian.PutUint16(seat.Account[:], uint16(i+1))
		seat.Shares = w.Shares[i]
		s.Seats = append(s.Seats, seat)
	}
	return s
}

// outcome is a group with the secrets of its seats.
type outcome struct {
	group  *threshold.Group
	shares []*threshold.Shares
	said   [][]statement // by phase
	expense
}

type statement struct {
	from    [20]byte
	message []byte
}

type kept map[int][]byte

func (k kept) Keep(deal int, b []byte) { k[deal] = b }
func (k kept) Kept(deal int) []byte    { return k[deal] }

// play goes through a whole ceremony, handing on the shares of old unless there are none. The first seat stands for all members and is
// measured alone; the others share the cores.
func play(setup threshold.Setup, old []*threshold.Shares) (*outcome, error) {
	n := len(setup.Seats)
	out := &outcome{expense: expense{n: n, handover: old != nil}, shares: make([]*threshold.Shares, n)}
	c, err := threshold.NewCeremony(setup, kept{})
	if err != nil {
		return nil, err
	}
	dealers := setup.Seats
	if old != nil {
		dealers = setup.Old.Seats
	}
	members, messages := make([]*threshold.Member, n), make([][][]byte, n)

	join := func(i int) error {
		m, key, err := threshold.Join(setup, i, rand.Reader)
		members[i], messages[i] = m, [][]byte{key}
		return err
	}
	if err := out.phase(c, setup.Seats, messages, join); err != nil {
		return nil, err
	}
	deal := func(i int) (err error) {
		if old != nil {
			messages[i], err = old[i].Deal(c, rand.Reader)
			return err
		}
		m, err := threshold.DealFresh(c, i, rand.Reader)
		messages[i] = [][]byte{m}
		return err
	}
	if err := out.phase(c, dealers, messages, deal); err != nil {
		return nil, err
	}
	deals := n
	if old != nil {
		deals = 0
		for _, s := range dealers {
			deals += s.Shares
		}
	}
	open := func(i int) error {
		messages[i] = nil
		for d := range deals {
			if complaint, err := members[i].Open(c, d, rand.Reader); err != nil || complaint != nil {
				return fmt.Errorf("seat %d has to complain of deal %d: %w", i, d, err)
			}
		}
		return nil
	}
	if err := out.phase(c, setup.Seats, messages, open); err != nil {
		return nil, err
	}
	finish := func(i int) error {
		s, ready, err := members[i].Finish(c)
		out.shares[i], messages[i] = s, [][]byte{ready}
		return err
	}
	if err := out.phase(c, setup.Seats, messages, finish); err != nil {
		return nil, err
	}
	out.group, err = c.Group()
	return out, err
}

// phase has each seat do its part, everybody see the messages and the chain end the phase.
func (o *outcome) phase(c *threshold.Ceremony, from []threshold.Seat, messages [][][]byte, do func(int) error) error {
	phase := c.Phase()
	if err := o.each(len(from), do); err != nil {
		return err
	}
	if err := o.accept(c, from, messages); err != nil {
		return err
	}
	took, err := cpu(c.Advance)
	o.observer += took
	o.adding = max(o.adding, took)
	if err == nil && c.Phase() == threshold.PhaseFailed {
		err = fmt.Errorf("the ceremony failed in phase %d", phase)
	}
	return err
}

func (o *outcome) each(n int, do func(int) error) error {
	took, err := cpu(func() error { return do(0) })
	o.member += took
	var g errgroup.Group
	g.SetLimit(runtime.GOMAXPROCS(0))
	for i := 1; i < n; i++ {
		g.Go(func() error { return do(i) })
	}
	if others := g.Wait(); err == nil {
		err = others
	}
	return err
}

func (o *outcome) accept(c *threshold.Ceremony, from []threshold.Seat, messages [][][]byte) error {
	var said []statement
	for i, seat := range from {
		for _, m := range messages[i] {
			said = append(said, statement{seat.Account, m})
			o.bytes += len(m)
		}
	}
	o.said = append(o.said, said)
	took, err := cpu(func() error {
		for _, s := range said {
			if err := c.Accept(s.from, s.message); err != nil {
				return err
			}
		}
		return nil
	})
	o.observer += took
	return err
}

// cpu is the processor time that this process used meanwhile.
func cpu(do func() error) (time.Duration, error) {
	before, err := meter.CPU(os.Getpid())
	if err != nil {
		return 0, err
	}
	if err := do(); err != nil {
		return 0, err
	}
	after, err := meter.CPU(os.Getpid())
	return after - before, err
}
