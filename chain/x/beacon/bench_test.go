package beacon

import (
	"fmt"
	"syscall"
	"testing"
	"time"

	abci "github.com/cometbft/cometbft/abci/types"

	sdk "github.com/cosmos/cosmos-sdk/types"
)

// BenchmarkProposer measures what numbers add to the work of a block with 100 validators: 200 shares, of which 134 make a number. What a
// peer's vote adds counts a hundred times in each block.
func BenchmarkProposer(b *testing.B) {
	var names []string
	for i := range 100 {
		names = append(names, fmt.Sprint("node", i))
	}
	w := newWorld(b, names...)
	w.charge(7, 3, names...)
	w.until(5)
	inner := func(_ sdk.Context, req *abci.RequestPrepareProposal) (*abci.ResponsePrepareProposal, error) {
		return &abci.ResponsePrepareProposal{Txs: req.Txs}, nil
	}
	prepare := func(b *testing.B, commit abci.ExtendedCommitInfo, want int) {
		r, err := w.keeper.PrepareProposal(inner)(w.at(6), &abci.RequestPrepareProposal{Height: 6, MaxTxBytes: 1000, LocalLastCommit: commit})
		if err != nil || len(r.Txs) != want {
			b.Fatal(len(r.Txs), err)
		}
	}
	good := w.commit
	b.Run("prepare", func(b *testing.B) {
		perOp(b, func() { prepare(b, good, 1) })
	})
	bad := good
	bad.Votes = append([]abci.ExtendedVoteInfo(nil), good.Votes...)
	bad.Votes[40].VoteExtension = good.Votes[41].VoteExtension
	b.Run("prepare/one-bad", func(b *testing.B) {
		perOp(b, func() { prepare(b, bad, 1) })
	})
	prepare(b, good, 1)
	txs := w.propose()
	b.Run("process", func(b *testing.B) {
		perOp(b, func() {
			if !w.accepts(txs) {
				b.Fatal("refused")
			}
		})
	})
	vote := good.Votes[7]
	b.Run("verify-extension", func(b *testing.B) {
		perOp(b, func() {
			_, _ = w.keeper.VerifyVoteExtension()(w.at(6), &abci.RequestVerifyVoteExtension{Height: 6, ValidatorAddress: vote.Validator.Address, VoteExtension: vote.VoteExtension})
		})
	})
}

// perOp reports processor time beside the clock's: waiting for others on the machine does not count.
func perOp(b *testing.B, do func()) {
	cpu := func() time.Duration {
		var u syscall.Rusage
		if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
			b.Fatal(err)
		}
		return time.Duration(u.Utime.Nano() + u.Stime.Nano())
	}
	from := cpu()
	for range b.N {
		do()
	}
	b.ReportMetric(float64((cpu()-from).Microseconds())/1000/float64(b.N), "cpu-ms/op")
}
