package devnet

import (
	"errors"
	"fmt"
	"path/filepath"
	"time"

	"github.com/cella-network/cella/chain/app"
)

// Config says what network to make.
type Config struct {
	// Home is the folder of the network. If it holds a network already, Start runs that one again and reads no other field
	// but Binary, Program and Detach.
	Home string
	// Nodes is the number of nodes, each a validator and an operator; 4 if zero.
	Nodes int
	// Binary is the path of cella.
	Binary string
	// Program, if not nil, is asked at each start of a node for the command that runs it in place of Binary, such as another build or
	// one behind `env`; nil means Binary.
	Program func(node int) []string
	// Enclave is the path of cella-enclave; empty runs the chain alone, without workers.
	Enclave string
	// ChainID is "cella-devnet-1" if empty.
	ChainID string
	// BlockTime is about how long a block takes; a second if zero.
	BlockTime time.Duration
	// Sectors is the quota of each node in sectors of 16 MiB; 8 if zero.
	Sectors uint32
	// Price is what each node asks, in ucella per GiB-day and replica; 1,000,000 if zero.
	Price uint64
	// Tweak changes the state of the modules before it is written, if not nil.
	Tweak func(app.Genesis) error
	// Namespaces gives each node a network namespace of its own, so that Partition can cut it off. It needs root, iproute2, and a
	// caller in a namespace of its own, such as under `unshare --net --mount`.
	Namespaces bool
	// Detach lets the processes outlive the caller. Otherwise they are killed when it ends, however it ends.
	Detach bool
}

func (c *Config) complete() error {
	var err error
	if c.Home == "" || c.Binary == "" {
		return errors.New("devnet: needs a home and a cella binary")
	}
	for _, p := range []*string{&c.Home, &c.Binary, &c.Enclave} {
		if *p == "" {
			continue
		}
		if *p, err = filepath.Abs(*p); err != nil {
			return err
		}
	}
	if c.Nodes == 0 {
		c.Nodes = 4
	}
	if c.Nodes < 1 || c.Nodes > maxNodes {
		return fmt.Errorf("devnet: %d nodes, want 1 to %d", c.Nodes, maxNodes)
	}
	if c.ChainID == "" {
		c.ChainID = "cella-devnet-1"
	}
	if c.BlockTime == 0 {
		c.BlockTime = time.Second
	}
	if c.Sectors == 0 {
		c.Sectors = 8
	}
	if c.Price == 0 {
		c.Price = 1_000_000
	}
	return nil
}
