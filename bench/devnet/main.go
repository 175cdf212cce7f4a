// Command devnet measures a devnet of four nodes: how long until it is ready, what its processes take of memory, how fast blocks come.
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/cella-network/cella/api/attest"
	"github.com/cella-network/cella/bench/table"
	"github.com/cella-network/cella/client"
	"github.com/cella-network/cella/devnet"
)

func main() {
	bin := flag.String("bin", "build", "folder of cella and cella-enclave")
	nodes := flag.Int("nodes", 4, "number of nodes")
	blocks := flag.Int64("blocks", 30, "blocks over which the interval is taken")
	rows := flag.String("rows", "", "append the table's rows to this file")
	flag.Parse()
	if err := run(*bin, *nodes, *blocks, *rows); err != nil {
		fmt.Fprintln(os.Stderr, "bench/devnet:", err)
		os.Exit(1)
	}
}

func run(bin string, nodes int, blocks int64, rows string) (err error) {
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Minute)
	defer cancel()
	dir, err := os.MkdirTemp("", "cella-bench-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	if bin, err = filepath.Abs(bin); err != nil {
		return err
	}
	began := time.Now()
	net, err := devnet.Start(ctx, devnet.Config{Home: filepath.Join(dir, "net"), Nodes: nodes, Binary: filepath.Join(bin, "cella"), Enclave: filepath.Join(bin, "cella-enclave")})
	if err != nil {
		return err
	}
	defer func() {
		if closing := net.Close(); err == nil {
			err = closing
		}
	}()
	ready := time.Since(began)
	chain, err := client.Dial(ctx, net.Nodes[0].RPC)
	if err != nil {
		return err
	}
	err = net.Wait(ctx, func(ctx context.Context) (bool, error) {
		r, err := chain.Attest.Nodes(ctx, &attest.QueryNodesRequest{})
		return err == nil && len(r.Nodes) == nodes, err
	})
	if err != nil {
		return err
	}
	joined := time.Since(began)

	from, err := chain.Latest(ctx)
	if err != nil {
		return err
	}
	first, err := chain.Block(ctx, from)
	if err != nil {
		return err
	}
	if err := chain.Wait(ctx, from+blocks); err != nil {
		return err
	}
	last, err := chain.Block(ctx, from+blocks)
	if err != nil {
		return err
	}
	var memory uint64
	for i := range nodes {
		m, err := net.Memory(i)
		if err != nil {
			return err
		}
		memory += m
	}
	interval := last.Time.Sub(first.Time).Seconds() / float64(blocks)
	under := func(what string, v, most float64, unit string) table.Row {
		return table.Row{What: what, Ours: fmt.Sprintf("%.1f %s", v, unit), Wanted: fmt.Sprintf("under %.0f %s", most, unit), Met: v < most}
	}
	return table.Add(rows, under(fmt.Sprintf("devnet of %d nodes makes blocks after", nodes), ready.Seconds(), 15, "s"),
		under("  all enclaves are registered after", joined.Seconds(), 15, "s"),
		under("  memory of all processes, sum of PSS", float64(memory)/(1<<20), 2048, "MiB"),
		table.Row{What: fmt.Sprintf("  block interval over %d blocks", blocks), Ours: fmt.Sprintf("%.2f s", interval), Beside: "1 s"})
}
