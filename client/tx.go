package client

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"strconv"
	"strings"

	abci "github.com/cometbft/cometbft/abci/types"
	rpcclient "github.com/cometbft/cometbft/rpc/client"
	"github.com/cometbft/cometbft/types"
	"github.com/cosmos/cosmos-sdk/client/grpc/node"
	sdk "github.com/cosmos/cosmos-sdk/types"
	banktypes "github.com/cosmos/cosmos-sdk/x/bank/types"
)

// Balance is what an account holds, in ucella.
func (c *Chain) Balance(ctx context.Context, address string) (uint64, error) {
	r, err := c.Bank.Balance(ctx, &banktypes.QueryBalanceRequest{Address: address, Denom: Denom})
	if err != nil {
		return 0, wrap(KindNetwork, "balance of "+address, err)
	}
	if r.Balance == nil || !r.Balance.Amount.IsUint64() {
		return 0, &Error{Kind: KindNetwork, What: "balance of " + address + ": the node's answer is no figure"}
	}
	return r.Balance.Amount.Uint64(), nil
}

// GasPrice is the least that the node asks for a unit of gas.
func (c *Chain) GasPrice(ctx context.Context) (sdk.DecCoins, error) {
	r, err := c.node.Config(ctx, &node.ConfigRequest{})
	if err != nil {
		return nil, wrap(KindNetwork, "gas price of the node", err)
	}
	price, err := sdk.ParseDecCoins(r.MinimumGasPrice)
	return price, wrap(KindNetwork, "gas price of the node", err)
}

// simulate runs an unsigned transaction on the node's pending state and returns the gas that it used. Unlike the gRPC service of the
// same name this path keeps the code of a refusal.
func (c *Chain) simulate(ctx context.Context, tx []byte) (uint64, error) {
	r, err := c.rpc.ABCIQueryWithOptions(ctx, "/app/simulate", tx, rpcclient.ABCIQueryOptions{})
	if err != nil {
		return 0, wrap(KindNetwork, "simulation", err)
	}
	if r.Response.Code != 0 {
		log := firstLine(r.Response.Log)
		if i := strings.Index(log, ": failed to simulate tx"); i > 0 {
			log = log[:i]
		}
		return 0, refusal("refused", r.Response.Codespace, r.Response.Code, log)
	}
	var sim struct {
		GasInfo struct {
			GasUsed string `json:"gas_used"`
		} `json:"gas_info"`
	}
	if err := json.Unmarshal(r.Response.Value, &sim); err != nil {
		return 0, wrap(KindNetwork, "simulation", err)
	}
	used, err := strconv.ParseUint(sim.GasInfo.GasUsed, 10, 64)
	return used, wrap(KindNetwork, "simulated gas", err)
}

// broadcast offers a transaction to the node's mempool and returns its hash.
func (c *Chain) broadcast(ctx context.Context, tx []byte) ([]byte, error) {
	hash := types.Tx(tx).Hash()
	r, err := c.rpc.BroadcastTxSync(ctx, tx)
	switch {
	case err == nil && r.Code == 0:
		return hash, nil
	case err == nil:
		if r.Codespace == sdkSpace && r.Code == codeInCache {
			return hash, nil
		}
		return nil, refusal("refused", r.Codespace, r.Code, r.Log)
	case strings.Contains(err.Error(), "already exists in cache"):
		return hash, nil
	case strings.Contains(err.Error(), "considered as full"), strings.Contains(err.Error(), "mempool is full"):
		return nil, &Error{Kind: KindBusy, What: "the node's mempool is full", Cause: err, Hint: "try again in a few seconds"}
	}
	return nil, wrap(KindNetwork, "broadcast", err)
}

// included looks for a transaction in one committed block. With found, an error is the transaction's own failure.
func (c *Chain) included(ctx context.Context, hash []byte, height int64) (Result, bool, error) {
	var at int
	var found bool
	err := c.settle(ctx, func() error {
		b, err := c.rpc.Block(ctx, &height)
		if err != nil {
			return err
		}
		if b.Block == nil {
			return fmt.Errorf("the node does not keep it")
		}
		for i, tx := range b.Block.Txs {
			if bytes.Equal(tx.Hash(), hash) {
				at, found = i, true
			}
		}
		return nil
	})
	if err != nil || !found {
		return Result{}, false, wrap(KindNetwork, fmt.Sprintf("block %d", height), err)
	}
	var res *abci.ExecTxResult
	err = c.settle(ctx, func() error {
		r, err := c.rpc.BlockResults(ctx, &height)
		if err != nil {
			return err
		}
		if at >= len(r.TxsResults) {
			return fmt.Errorf("the node knows %d results, want more than %d", len(r.TxsResults), at)
		}
		res = r.TxsResults[at]
		return nil
	})
	if err != nil {
		return Result{}, false, wrap(KindNetwork, fmt.Sprintf("results of block %d", height), err)
	}
	if res.Code != 0 {
		return Result{}, true, refusal("refused", res.Codespace, res.Code, res.Log)
	}
	out := Result{Hash: fmt.Sprintf("%X", hash), Height: height, GasUsed: res.GasUsed}
	if err := out.data.Unmarshal(res.Data); err != nil {
		return Result{}, true, wrap(KindNetwork, "response of transaction "+out.Hash, err)
	}
	return out, true, nil
}
