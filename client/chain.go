package client

import (
	"context"
	"fmt"
	"net/url"
	"slices"
	"strings"
	"time"

	rpcclient "github.com/cometbft/cometbft/rpc/client"
	rpchttp "github.com/cometbft/cometbft/rpc/client/http"
	"github.com/cometbft/cometbft/types"
	nodetypes "github.com/cosmos/cosmos-sdk/client/grpc/node"
	txtypes "github.com/cosmos/cosmos-sdk/types/tx"
	authtypes "github.com/cosmos/cosmos-sdk/x/auth/types"
	banktypes "github.com/cosmos/cosmos-sdk/x/bank/types"

	"github.com/cella-network/cella/api/attest"
	"github.com/cella-network/cella/api/audit"
	"github.com/cella-network/cella/api/beacon"
	"github.com/cella-network/cella/api/committee"
	"github.com/cella-network/cella/api/market"
	"github.com/cella-network/cella/api/moderation"
	"github.com/cella-network/cella/api/work"
)

const (
	pollEvery = 150 * time.Millisecond // how often a wait for a block asks
	patience  = 30 * time.Second       // how long a wait bears a node that does not answer
	pageLimit = 100                    // items a page of an answer
	metaLimit = 20                     // headers an answer of the RPC
)

// RPC is what a Chain needs of a CometBFT node: its HTTP client and its in-process client both are one.
type RPC interface {
	rpcclient.ABCIClient
	rpcclient.HistoryClient
	rpcclient.SignClient
	rpcclient.StatusClient
}

// Chain reads the chain through one node. What it returns is that node's word, except where a proof comes with it. It is safe for
// concurrent use.
type Chain struct {
	ID string // chain id

	Attest     attest.QueryClient
	Work       work.QueryClient
	Market     market.QueryClient
	Moderation moderation.QueryClient
	Audit      audit.QueryClient
	Committee  committee.QueryClient
	Beacon     beacon.QueryClient
	Auth       authtypes.QueryClient
	Bank       banktypes.QueryClient

	rpc  RPC
	tx   txtypes.ServiceClient
	node nodetypes.ServiceClient
}

// Dial connects to a node's CometBFT RPC, such as http://127.0.0.1:26657.
func Dial(ctx context.Context, rpc string) (*Chain, error) {
	if u, err := url.Parse(rpc); err != nil || u.Host == "" || !slices.Contains([]string{"http", "https", "tcp"}, u.Scheme) {
		return nil, &Error{Kind: KindUsage, What: fmt.Sprintf("%q is no address of a node", rpc), Hint: "use the form http://HOST:PORT"}
	}
	c, err := rpchttp.NewWithTimeout(strings.TrimSuffix(rpc, "/"), "/websocket", 30)
	if err != nil {
		return nil, wrap(KindUsage, "node "+rpc, err)
	}
	chain, err := NewChain(ctx, c)
	if err != nil {
		return nil, &Error{Kind: KindNetwork, What: "node " + rpc, Cause: err, Hint: "is it running? name another with --node or $CELLA_NODE"}
	}
	return chain, nil
}

// NewChain makes a Chain over a client that exists already, such as the one inside a node's own process.
func NewChain(ctx context.Context, rpc RPC) (*Chain, error) {
	st, err := rpc.Status(ctx)
	if err != nil {
		return nil, wrap(KindNetwork, "status", err)
	}
	q := queryConn{rpc}
	return &Chain{
		ID:         st.NodeInfo.Network,
		Attest:     attest.NewQueryClient(q),
		Work:       work.NewQueryClient(q),
		Market:     market.NewQueryClient(q),
		Moderation: moderation.NewQueryClient(q),
		Audit:      audit.NewQueryClient(q),
		Committee:  committee.NewQueryClient(q),
		Beacon:     beacon.NewQueryClient(q),
		Auth:       authtypes.NewQueryClient(q),
		Bank:       banktypes.NewQueryClient(q),
		rpc:        rpc,
		tx:         txtypes.NewServiceClient(q),
		node:       nodetypes.NewServiceClient(q),
	}, nil
}

// RPC is what the Chain reads through.
func (c *Chain) RPC() RPC { return c.rpc }

// Latest is the height of the last block that the application committed: its state can be queried.
func (c *Chain) Latest(ctx context.Context) (int64, error) {
	info, err := c.rpc.ABCIInfo(ctx)
	if err != nil {
		return 0, wrap(KindNetwork, "latest height", err)
	}
	return info.Response.LastBlockHeight, nil
}

// Wait returns once the application committed the block of a height, and with an error when ctx ends or the node has not
// answered for half a minute.
func (c *Chain) Wait(ctx context.Context, height int64) error {
	answered := time.Now()
	for {
		now, err := c.Latest(ctx)
		switch {
		case err == nil && now >= height:
			return nil
		case err == nil:
			answered = time.Now()
		case time.Since(answered) > patience:
			return err
		}
		if err := pause(ctx, pollEvery); err != nil {
			return wrap(KindNetwork, fmt.Sprintf("waiting for block %d", height), err)
		}
	}
}

// Block is a light block in the protobuf encodings that enclave/wire and protocol/lightclient take.
type Block struct {
	Height     int64
	Time       time.Time
	Hash       [32]byte
	Header     []byte
	Commit     []byte
	Validators []byte
}

// Block returns the light block of a height; it must be committed.
func (c *Chain) Block(ctx context.Context, height int64) (Block, error) {
	b := Block{Height: height}
	err := c.settle(ctx, func() error {
		sh, err := c.rpc.Commit(ctx, &height)
		if err != nil {
			return err
		}
		if sh.Header == nil || sh.Commit == nil || sh.Header.Height != height || len(sh.Header.Hash()) != 32 {
			return fmt.Errorf("the node sent no header for it")
		}
		b.Time, b.Hash = sh.Time, [32]byte(sh.Header.Hash())
		if b.Header, err = sh.Header.ToProto().Marshal(); err != nil {
			return err
		}
		if b.Commit, err = sh.Commit.ToProto().Marshal(); err != nil {
			return err
		}
		b.Validators, err = c.validators(ctx, height)
		return err
	})
	return b, wrap(KindNetwork, fmt.Sprintf("block %d", height), err)
}

// Headers returns the protobuf encodings of the headers of from to to, both included, in rising order.
func (c *Chain) Headers(ctx context.Context, from, to int64) ([][]byte, error) {
	var out [][]byte
	for from <= to {
		last := min(to, from+metaLimit-1)
		err := c.settle(ctx, func() error {
			r, err := c.rpc.BlockchainInfo(ctx, from, last)
			if err != nil {
				return err
			}
			if int64(len(r.BlockMetas)) != last-from+1 {
				return fmt.Errorf("the node keeps %d of them", len(r.BlockMetas))
			}
			batch := make([][]byte, len(r.BlockMetas))
			for i, m := range r.BlockMetas { // newest first
				if m == nil || m.Header.Height != last-int64(i) {
					return fmt.Errorf("the node sent others")
				}
				if batch[len(batch)-1-i], err = m.Header.ToProto().Marshal(); err != nil {
					return err
				}
			}
			out = append(out, batch...)
			return nil
		})
		if err != nil {
			return nil, wrap(KindNetwork, fmt.Sprintf("headers %d to %d", from, last), err)
		}
		from = last + 1
	}
	return out, nil
}

// BlockHash returns the hash of a committed block.
func (c *Chain) BlockHash(ctx context.Context, height int64) ([32]byte, error) {
	var hash [32]byte
	err := c.settle(ctx, func() error {
		r, err := c.rpc.Header(ctx, &height)
		if err != nil {
			return err
		}
		if r.Header == nil || r.Header.Height != height || len(r.Header.Hash()) != 32 {
			return fmt.Errorf("the node sent no header for it")
		}
		hash = [32]byte(r.Header.Hash())
		return nil
	})
	return hash, wrap(KindNetwork, fmt.Sprintf("block %d", height), err)
}

// validators returns the protobuf encoding of the whole set of a height, over as many pages as it takes.
func (c *Chain) validators(ctx context.Context, height int64) ([]byte, error) {
	var all []*types.Validator
	for page, limit := 1, pageLimit; ; page++ {
		r, err := c.rpc.Validators(ctx, &height, &page, &limit)
		if err != nil {
			return nil, err
		}
		all = append(all, r.Validators...)
		if len(r.Validators) == 0 || len(all) >= r.Total {
			break
		}
	}
	set, err := types.ValidatorSetFromExistingValidators(all)
	if err != nil {
		return nil, err
	}
	p, err := set.ToProto()
	if err != nil {
		return nil, err
	}
	return p.Marshal()
}

// Proof is a value of a store after a block, with the ics23 proofs that lead from it to the app hash of header Height+1. It has the
// shape of enclave/wire.Proof and converts to it. An empty Value is a proof of absence.
type Proof struct {
	Height int64
	Value  []byte
	Store  []byte
	Root   []byte
}

// Value reads a key of a store, with proof, as it stood after the block of a height; 0 means the last one.
func (c *Chain) Value(ctx context.Context, store string, key []byte, height int64) (Proof, error) {
	what := fmt.Sprintf("value in store %q at %d", store, height)
	r, err := c.rpc.ABCIQueryWithOptions(ctx, "/store/"+store+"/key", key, rpcclient.ABCIQueryOptions{Height: height, Prove: true})
	if err != nil {
		return Proof{}, wrap(KindNetwork, what, err)
	}
	if r.Response.Code != 0 {
		return Proof{}, refusal(what, r.Response.Codespace, r.Response.Code, r.Response.Log)
	}
	if r.Response.ProofOps == nil || len(r.Response.ProofOps.Ops) != 2 {
		return Proof{}, &Error{Kind: KindUnproven, What: what, Cause: fmt.Errorf("the node sent no proof"), Hint: "ask a node that still keeps this height"}
	}
	ops := r.Response.ProofOps.Ops
	return Proof{Height: r.Response.Height, Value: r.Response.Value, Store: ops[0].Data, Root: ops[1].Data}, nil
}

// settle retries a read of a block that a node has just committed: its parts become visible one after the other.
func (c *Chain) settle(ctx context.Context, read func() error) error {
	var err error
	for range 5 {
		if err = read(); err == nil || ctx.Err() != nil {
			return err
		}
		if pause(ctx, pollEvery) != nil {
			return err
		}
	}
	return err
}

// pause waits unless ctx ends first.
func pause(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-t.C:
		return nil
	}
}
