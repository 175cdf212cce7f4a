package journal

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"

	"github.com/cella-network/cella/client"
)

const (
	quietBlocks = 1000             // so many blocks without entries are noted with one line
	retryEvery  = 10 * time.Second // after the chain or the disk failed
)

// Follower keeps a ledger up to date with the chain.
type Follower struct {
	Ledger Ledger
	Source Source
	Log    *slog.Logger
}

// Run enters blocks as they come, until ctx ends; it always returns nil. What fails is logged and tried again: a node without a ledger
// still earns.
func (f Follower) Run(ctx context.Context) error {
	for {
		err := f.follow(ctx, 0)
		if ctx.Err() != nil {
			return nil
		}
		if !errors.Is(err, errMoved) {
			f.Log.Warn("the ledger of the operator's account waits", "err", err, "again in", retryEvery)
		}
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(retryEvery):
		}
	}
}

// follow enters blocks up to a height, or for ever if that is 0.
func (f Follower) follow(ctx context.Context, until int64) (err error) {
	s, err := f.open(ctx)
	if err != nil {
		return err
	}
	at := s.Height // the last block that was read; the ledger's end lags behind while there are no entries
	defer func() {
		if at > s.Height {
			_, e := f.Ledger.append(s, nil, at)
			err = errors.Join(err, e)
		}
	}()
	for until == 0 || at < until {
		if err := f.Source.Wait(ctx, at+1); err != nil {
			return err
		}
		next := at + 1
		entries, err := read(ctx, f.Source, f.Ledger.Account, next)
		if errors.Is(err, ErrGone) {
			entries, next, err = f.gap(ctx, s.Balance, next)
		}
		if err != nil {
			return err
		}
		if len(entries) > 0 || next-s.Height >= quietBlocks {
			if s, err = f.Ledger.append(s, entries, next); err != nil {
				return err
			}
		}
		at = next
	}
	return nil
}

// open finds the ledger's end, or begins it with the first block that the node can tell about.
func (f Follower) open(ctx context.Context) (state, error) {
	unlock, err := f.Ledger.lock(unix.LOCK_SH)
	if err != nil {
		return state{}, err
	}
	s, ok, err := f.Ledger.tail()
	unlock()
	if ok || err != nil {
		return s, err
	}
	if err := f.Source.Wait(ctx, 1); err != nil {
		return state{}, err
	}
	first, last, err := f.Source.Span(ctx)
	if err != nil {
		return state{}, err
	}
	opening := end{Height: first - 1}
	opening.Balance, err = BalanceBefore(ctx, f.Source, f.Ledger.Account, first)
	if errors.Is(err, ErrGone) { // no results are kept: begin now
		var now uint64
		now, err = f.Source.Balance(ctx, f.Ledger.Account, last)
		opening = end{last, int64(now)}
	}
	if err != nil {
		return state{}, err
	}
	return f.Ledger.begin(opening)
}

// gap explains blocks whose results are gone by the difference of the balances, and returns the last of them.
func (f Follower) gap(ctx context.Context, before, from int64) ([]Entry, int64, error) {
	first, to, err := f.Source.Span(ctx)
	if err != nil {
		return nil, 0, err
	}
	var after int64
	if first > from {
		after, err = BalanceBefore(ctx, f.Source, f.Ledger.Account, first)
	}
	if first > from && err == nil {
		to = first - 1
	} else if first <= from || errors.Is(err, ErrGone) {
		var now uint64
		now, err = f.Source.Balance(ctx, f.Ledger.Account, to)
		after = int64(now)
	}
	if err != nil || after == before {
		return nil, to, err
	}
	return []Entry{{Height: to, From: from, Kind: KindGap, Amount: after - before}}, to, nil
}

// Rebuild makes the ledger anew from the first block on whose results the node has, and puts it in the place of the old one, also while
// a node appends to that. It returns from which block on. progress is told each height.
func (f Follower) Rebuild(ctx context.Context, progress func(height, last int64)) (int64, error) {
	_, last, err := f.Source.Span(ctx)
	if err != nil {
		return 0, err
	}
	fresh := f
	fresh.Ledger.Dir += ".new"
	fresh.Ledger.unsynced = true
	fresh.Source = counted{f.Source, func(h int64) { progress(h, last) }}
	if err := os.RemoveAll(fresh.Ledger.Dir); err != nil {
		return 0, err
	}
	defer os.RemoveAll(fresh.Ledger.Dir)
	defer os.Remove(fresh.Ledger.Dir + ".lock")
	if err := fresh.follow(ctx, last); err != nil {
		return 0, err
	}
	names, err := files(fresh.Ledger.Dir)
	if err != nil {
		return 0, err
	}
	for _, name := range names {
		if err := syncFile(filepath.Join(fresh.Ledger.Dir, name)); err != nil {
			return 0, err
		}
	}
	return startOf(names[0]), f.Ledger.replace(fresh.Ledger.Dir)
}

// counted tells of each height that is waited for.
type counted struct {
	Source
	tell func(height int64)
}

func (c counted) Wait(ctx context.Context, height int64) error {
	c.tell(height)
	return c.Source.Wait(ctx, height)
}

func syncFile(path string) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	return f.Sync()
}

// Check compares the ledger's last balance with the chain's after the same block.
func Check(ctx context.Context, src Source, l Ledger) (height, ledger, chain int64, err error) {
	height, ledger, ok, err := l.Last()
	if err != nil {
		return 0, 0, 0, err
	}
	if !ok {
		return 0, 0, 0, fmt.Errorf("%s: %w", l.Dir, fs.ErrNotExist)
	}
	if height == 0 {
		return 0, 0, 0, &client.Error{Kind: client.KindBusy, What: "the ledger has only begun", Hint: "try again in a few seconds"}
	}
	now, err := src.Balance(ctx, l.Account, height)
	return height, ledger, int64(now), err
}
