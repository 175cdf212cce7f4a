package journal

import (
	"context"
	"errors"
	"fmt"
	"strings"

	coretypes "github.com/cometbft/cometbft/rpc/core/types"

	"github.com/cella-network/cella/client"
)

// Source is the chain as one node keeps it.
type Source interface {
	// Span returns the first and the last height of the blocks that the node has.
	Span(ctx context.Context) (first, last int64, err error)
	// Wait returns once the block of a height is executed.
	Wait(ctx context.Context, height int64) error
	// Results returns what a block did; an error that is ErrGone if the node no longer has them.
	Results(ctx context.Context, height int64) (*coretypes.ResultBlockResults, error)
	// Block returns a block itself.
	Block(ctx context.Context, height int64) (*coretypes.ResultBlock, error)
	// Balance returns the ucella of an account after a block; an error that is ErrGone if the node no longer has that state.
	Balance(ctx context.Context, account string, height int64) (uint64, error)
}

// ErrGone says that a node no longer keeps what it was asked for.
var ErrGone = errors.New("the node no longer keeps it")

// Node is the Source over a node's RPC.
type Node struct {
	Chain *client.Chain
}

// Span is part of Source.
func (n Node) Span(ctx context.Context) (first, last int64, err error) {
	st, err := n.Chain.RPC().Status(ctx)
	if err != nil {
		return 0, 0, &client.Error{Kind: client.KindNetwork, What: "the node's blocks", Cause: err}
	}
	last, err = n.Chain.Latest(ctx)
	return max(1, st.SyncInfo.EarliestBlockHeight), last, err
}

// Wait is part of Source.
func (n Node) Wait(ctx context.Context, height int64) error { return n.Chain.Wait(ctx, height) }

// Results is part of Source.
func (n Node) Results(ctx context.Context, height int64) (*coretypes.ResultBlockResults, error) {
	r, err := n.Chain.RPC().BlockResults(ctx, &height)
	if err != nil {
		what := fmt.Sprintf("results of block %d", height)
		if gone(err) {
			err = fmt.Errorf("%w (%w)", ErrGone, err)
		}
		return nil, &client.Error{Kind: client.KindNetwork, What: what, Cause: err}
	}
	return r, nil
}

// gone tells CometBFT's words for results that were pruned, or never kept. Over HTTP words are all that is left of an error.
func gone(err error) bool {
	for _, words := range []string{"not persisting finalize block responses", "could not find results for height", "lowest height is"} {
		if strings.Contains(err.Error(), words) {
			return true
		}
	}
	return false
}

// Block is part of Source.
func (n Node) Block(ctx context.Context, height int64) (*coretypes.ResultBlock, error) {
	b, err := n.Chain.RPC().Block(ctx, &height)
	if err == nil && b.Block == nil {
		err = errors.New("the node sent none")
	}
	if err != nil {
		return nil, &client.Error{Kind: client.KindNetwork, What: fmt.Sprintf("block %d", height), Cause: err}
	}
	return b, nil
}

// Balance is part of Source.
func (n Node) Balance(ctx context.Context, account string, height int64) (uint64, error) {
	b, err := n.Chain.Balance(client.AtHeight(ctx, height), account)
	// The application refuses a query for a state that it pruned.
	if err != nil && !client.IsKind(err, client.KindNetwork) && !client.IsKind(err, client.KindBusy) && ctx.Err() == nil {
		err = &client.Error{Kind: client.KindNetwork, What: fmt.Sprintf("state after block %d", height), Cause: fmt.Errorf("%w (%w)", ErrGone, err)}
	}
	return b, err
}
