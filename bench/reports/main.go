// Command reports measures what the work reports of storage nodes cost a chain, and how many nodes one chain carries.
//
// It runs the real application in this process over a store in memory: transactions signed by accounts, checked, executed and committed in
// blocks, by nodes that prove 1, 64 or 256 orders at once and report again a slot later, when the market settles with them. Bytes are those of
// a whole transaction, gas is what executing it used, CPU is for checking, executing and committing, less that of an empty block.
//
// What a chain carries follows from its own limits: blocks of six seconds, each with so many bytes and so much gas.
//
//	go run ./bench/reports [flags]     -help lists them
package main

import (
	"flag"
	"fmt"
	"os"
	"time"

	"github.com/cella-network/cella/bench/table"
	"github.com/cella-network/cella/chain/app"
)

const (
	blockSeconds  = 6
	blocksPerHour = 3600 / blockSeconds
)

func main() {
	nodes := flag.Int("nodes", 32, "nodes of each kind")
	rows := flag.String("rows", "", "append the table's rows to this file")
	flag.Parse()
	kinds, err := measure([]int{1, 64, 256}, *nodes)
	if err == nil {
		err = table.Add(*rows, figures(kinds)...)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "bench/reports:", err)
		os.Exit(1)
	}
}

// cost is what one report takes.
type cost struct {
	orders int  // that the node holds
	first  bool // the report that adds them; else the one after it
	bytes  int
	gas    uint64
	cpu    time.Duration
}

// carries is how many nodes may report like this once an hour, and which limit says so.
func (c cost) carries() (nodes int, limit string) {
	p := app.ConsensusParams().Block
	byGas, byBytes := int(uint64(p.MaxGas)/c.gas)*blocksPerHour, int(p.MaxBytes)/c.bytes*blocksPerHour
	if byGas < byBytes {
		return byGas, "gas"
	}
	return byBytes, "bytes"
}

func figures(costs []cost) (rows []table.Row) {
	for _, c := range costs {
		what := fmt.Sprintf("report, %d orders held", c.orders)
		if c.first {
			what = fmt.Sprintf("report, %d orders added", c.orders)
		}
		n, limit := c.carries()
		rows = append(rows, table.Row{What: what, Ours: fmt.Sprintf("%d bytes, %d gas, %.2f ms CPU", c.bytes, c.gas, c.cpu.Seconds()*1e3),
			Beside: fmt.Sprintf("%d nodes a chain at one an hour, by %s; %.0f%% of a core", n, limit, 100*float64(n)*c.cpu.Seconds()/3600)})
	}
	return rows
}
