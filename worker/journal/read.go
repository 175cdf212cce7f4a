package journal

import (
	"context"
	"errors"
	"fmt"
	"strings"

	txtypes "github.com/cosmos/cosmos-sdk/types/tx"

	"github.com/cella-network/cella/client"
)

// Read explains the blocks of from to to, both included, to an account, without a ledger: any account, as far back as the node keeps
// results of blocks. each is called for every block that has entries, in rising order.
func Read(ctx context.Context, src Source, account string, from, to int64, each func([]Entry) error) error {
	for h := from; h <= to; h++ {
		entries, err := read(ctx, src, account, h)
		if err != nil {
			return err
		}
		if len(entries) == 0 {
			continue
		}
		if err := each(entries); err != nil {
			return err
		}
	}
	return nil
}

// read explains one block, with its time and the hashes of its transactions.
func read(ctx context.Context, src Source, account string, height int64) ([]Entry, error) {
	results, err := src.Results(ctx, height)
	if err != nil {
		return nil, err
	}
	entries, err := Entries(account, results)
	if err != nil || len(entries) == 0 {
		return nil, err
	}
	block, err := src.Block(ctx, height)
	if err != nil {
		return nil, err
	}
	for i := range entries {
		e := &entries[i]
		e.Time = block.Block.Time
		if e.tx == 0 || e.tx > len(block.Block.Txs) {
			continue
		}
		tx := block.Block.Txs[e.tx-1]
		e.Tx = fmt.Sprintf("%X", tx.Hash())
		if e.Kind == KindFee && e.Rule == "" {
			e.Rule = about(tx)
			if results.TxsResults[e.tx-1].Code != 0 {
				e.Rule += ", failed"
			}
		}
	}
	return entries, nil
}

// about names the first message of a transaction, such as MsgReport.
func about(raw []byte) string {
	var tx txtypes.Tx
	if err := tx.Unmarshal(raw); err != nil || tx.Body == nil || len(tx.Body.Messages) == 0 {
		return "unreadable transaction"
	}
	name := tx.Body.Messages[0].TypeUrl
	return name[strings.LastIndexByte(name, '.')+1:]
}

// Sum adds up what entries moved.
func Sum(entries []Entry) (ucella int64) {
	for _, e := range entries {
		ucella += e.Amount
	}
	return ucella
}

// BalanceBefore is an account's balance before the block of a height. Where the node no longer has that state it is worked out from the
// first later one that it has, and what happened between.
func BalanceBefore(ctx context.Context, src Source, account string, height int64) (int64, error) {
	_, last, err := src.Span(ctx)
	if err != nil {
		return 0, err
	}
	var moved int64
	for h := height; h <= last; h++ {
		entries, err := read(ctx, src, account, h)
		if err != nil {
			return 0, err
		}
		moved += Sum(entries)
		after, err := src.Balance(ctx, account, h)
		if errors.Is(err, ErrGone) {
			continue
		}
		if err != nil {
			return 0, err
		}
		return int64(after) - moved, nil
	}
	return 0, &client.Error{Kind: client.KindNetwork, What: fmt.Sprintf("the balance before block %d", height), Cause: ErrGone}
}
