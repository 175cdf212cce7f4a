package main

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	marketapi "github.com/cella-network/cella/api/market"
	"github.com/cella-network/cella/chain/app"
	"github.com/cella-network/cella/client"
	"github.com/cella-network/cella/worker/journal"
)

// impatient shortens what a loss takes from hours to blocks.
func impatient(g app.Genesis) error {
	var mk marketapi.GenesisState
	return g.Change("market", &mk, func() error {
		mk.Params.WarnBlocks, mk.Params.SilentBlocks = 15, 40
		return nil
	})
}

// harm overwrites the sealed bytes of one holder and ends another for good. Node 0, which answers our questions, is spared.
func (d *demo) harm(context.Context) error {
	d.corrupted, d.lost = -1, -1
	for _, p := range d.proof {
		switch {
		case p.node == 0:
		case d.corrupted < 0:
			d.corrupted = p.node
		case d.lost < 0:
			d.lost = p.node
		}
	}
	if d.corrupted < 0 || d.lost < 0 {
		return errors.New("fewer than two holders beside node 0")
	}
	n, err := overwrite(filepath.Join(d.net.Nodes[d.corrupted].Home, "disk"))
	if err != nil {
		return fmt.Errorf("overwriting node%d's disk: %w", d.corrupted, err)
	}
	d.say("overwrote %.1f MiB of sealed bytes on the disk of holder node%d", float64(n)/(1<<20), d.corrupted)
	if err := d.net.Kill(d.lost); err != nil {
		return fmt.Errorf("stopping a holder: %w", err)
	}
	d.say("ended holder node%d for good", d.lost)
	return nil
}

// overwrite puts noise over all cells of the data sectors on a disk, and returns how many bytes.
func overwrite(disk string) (written int64, err error) {
	directories, err := filepath.Glob(filepath.Join(disk, "index", "*.dir"))
	if err != nil {
		return 0, err
	}
	const headerPage = 4096
	for _, dir := range directories {
		path := filepath.Join(disk, "sectors", strings.TrimSuffix(filepath.Base(dir), ".dir"))
		info, err := os.Stat(path)
		if err != nil {
			return written, err
		}
		noise := make([]byte, info.Size()-headerPage)
		if _, err := rand.Read(noise); err != nil {
			return written, err
		}
		f, err := os.OpenFile(path, os.O_WRONLY, 0)
		if err != nil {
			return written, err
		}
		n, err := f.WriteAt(noise, headerPage)
		written += int64(n)
		if err = errors.Join(err, f.Close()); err != nil {
			return written, err
		}
	}
	return written, nil
}

// caught waits until the chain has noticed both: a warning against the one, the collateral of the other.
func (d *demo) caught(ctx context.Context) error {
	seen := map[int]bool{}
	return d.net.Wait(ctx, func(ctx context.Context) (bool, error) {
		for i, kind := range map[int]journal.Kind{d.corrupted: journal.KindWarning, d.lost: journal.KindPenalty} {
			if seen[i] {
				continue
			}
			entries, err := d.explain(ctx, d.net.Nodes[i].Address)
			if err != nil {
				return false, err
			}
			for _, e := range entries {
				if e.Kind == kind && !seen[i] {
					seen[i] = true
					d.say("node%d at block %d: %s", i, e.Height, e.Words())
				}
			}
		}
		return seen[d.corrupted] && seen[d.lost], fmt.Errorf("caught so far: %v of node%d and node%d", seen, d.corrupted, d.lost)
	})
}

// whole waits until the order has all its replicas again: the corrupted holder has mended its own, another operator has
// taken the lost one's place.
func (d *demo) whole(ctx context.Context) error {
	chain, err := client.Dial(ctx, d.net.Nodes[0].RPC)
	if err != nil {
		return err
	}
	err = d.net.Wait(ctx, func(ctx context.Context) (bool, error) {
		r, err := chain.Market.Order(ctx, &marketapi.QueryOrderRequest{Id: d.put.Order})
		if err != nil {
			return false, err
		}
		proven := 0
		for _, rep := range r.Replicas {
			if rep.Proven && rep.Lost == 0 {
				proven++
			}
		}
		if proven < replicas {
			return false, fmt.Errorf("%d of %d replicas are proven", proven, replicas)
		}
		return d.mended(ctx)
	})
	if err != nil {
		return err
	}
	if d.order, err = d.stat(ctx, chain); err != nil {
		return err
	}
	d.proof = nil
	d.say("the order is whole again")
	return d.check(ctx)
}

// mended asks the corrupted holder itself whether its disk is in order.
func (d *demo) mended(ctx context.Context) (bool, error) {
	if out, err := exec.CommandContext(ctx, d.cella, "verify", "--home", d.net.Nodes[d.corrupted].Home).CombinedOutput(); err != nil {
		return false, fmt.Errorf("node%d's disk is not mended yet: %w: %s", d.corrupted, err, out)
	}
	return true, nil
}

// read gets the file from the network into a fresh home, and compares.
func (d *demo) read(ctx context.Context) error {
	back := filepath.Join(d.work, "back")
	home := filepath.Join(d.work, "reader")
	err := d.command(ctx, nil, "get", d.put.Root, "--output", back, "--json", "--home", home, "--node", d.net.Nodes[0].RPC)
	if err != nil {
		return fmt.Errorf("get: %w", err)
	}
	if err := same(d.file, back); err != nil {
		return fmt.Errorf("what came back differs: %w", err)
	}
	d.say("got it back: the same, byte by byte")
	return nil
}

// reckon prints what the three concerned are told about this order.
func (d *demo) reckon(ctx context.Context) error {
	for _, who := range []struct{ name, address string }{
		{fmt.Sprintf("node%d, whose disk was overwritten", d.corrupted), d.net.Nodes[d.corrupted].Address},
		{fmt.Sprintf("node%d, which is gone", d.lost), d.net.Nodes[d.lost].Address},
		{"the owner", d.net.User.Address},
	} {
		entries, err := d.explain(ctx, who.address)
		if err != nil {
			return err
		}
		fmt.Printf("\n%s:\n", who.name)
		for _, e := range entries {
			if e.Order == d.put.Order && e.Kind != journal.KindPay || e.Kind == journal.KindWarning || e.Kind == journal.KindLifted {
				fmt.Printf("  block %-6d %14d ucella  %s\n", e.Height, e.Amount, e.Words())
			}
		}
	}
	return nil
}

// explain reads the reasons of an account's payments from node 0.
func (d *demo) explain(ctx context.Context, account string) ([]journal.Entry, error) {
	chain, err := client.Dial(ctx, d.net.Nodes[0].RPC)
	if err != nil {
		return nil, err
	}
	src := journal.Node{Chain: chain}
	first, last, err := src.Span(ctx)
	if err != nil {
		return nil, err
	}
	var all []journal.Entry
	err = journal.Read(ctx, src, account, first, last, func(block []journal.Entry) error {
		all = append(all, block...)
		return nil
	})
	return all, err
}
