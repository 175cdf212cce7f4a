//go:build byzantine

package app

// NEVER SHIP THIS FILE. It makes a validator misbehave on purpose, so that e2e/beacon can show that a network bears it. It is compiled
// only with `go build -tags byzantine`, which that test does, into a folder of its own; nothing else sets the tag. The shipped program
// has no trace of it, not even a hook: the methods below come before those of the embedded BaseApp when they exist, and that is all.
// A test looks for the variable's name in the shipped program and fails if it is there.

import (
	"bytes"
	"context"
	"crypto/rand"
	"fmt"
	"os"

	abci "github.com/cometbft/cometbft/abci/types"

	"github.com/cella-network/cella/protocol/beacon"
)

// The variable names a file, which is read each time, so that a running node can be turned. Its content is one of:
//
//	garbage     puts noise, a part of the truth, or the truth and noise beside its votes
//	withhold    puts nothing beside its votes
//	badshare    puts wrong partial signatures beside its votes, well formed
//	omit        proposes blocks without the numbers that it could carry
//	equivocate  refuses every proposal and so votes for nothing: beside another process with the same key, that votes for something,
//	            one validator signs two votes
//
// Without the file, or with any other content, the node is honest.
const byzantineVariable = "CELLA_BYZANTINE"

func init() {
	fmt.Fprintln(os.Stderr, "THIS IS A TEST BUILD THAT CAN MISBEHAVE. Do not run it as a validator of any network of worth.")
}

func behaviour() string {
	b, err := os.ReadFile(os.Getenv(byzantineVariable))
	if err != nil {
		return ""
	}
	return string(bytes.TrimSpace(b))
}

// ExtendVote is where a partial signature is put beside a vote.
func (a *App) ExtendVote(ctx context.Context, req *abci.RequestExtendVote) (*abci.ResponseExtendVote, error) {
	honest, err := a.BaseApp.ExtendVote(ctx, req)
	if err != nil {
		return honest, err
	}
	switch behaviour() {
	case "garbage":
		return &abci.ResponseExtendVote{VoteExtension: garbage(honest.VoteExtension, req.Height)}, nil
	case "withhold":
		return &abci.ResponseExtendVote{}, nil
	case "badshare":
		return &abci.ResponseExtendVote{VoteExtension: spoil(honest.VoteExtension)}, nil
	}
	return honest, nil
}

// PrepareProposal takes away the numbers, which come first in a block.
func (a *App) PrepareProposal(req *abci.RequestPrepareProposal) (*abci.ResponsePrepareProposal, error) {
	resp, err := a.BaseApp.PrepareProposal(req)
	if err == nil && behaviour() == "omit" && len(resp.Txs) > 0 && beacon.IsCarried(resp.Txs[0]) {
		resp.Txs = resp.Txs[1:]
	}
	return resp, err
}

// ProcessProposal decides whether the validator votes for a block or for nothing.
func (a *App) ProcessProposal(req *abci.RequestProcessProposal) (*abci.ResponseProcessProposal, error) {
	if behaviour() == "equivocate" {
		return &abci.ResponseProcessProposal{Status: abci.ResponseProcessProposal_REJECT}, nil
	}
	return a.BaseApp.ProcessProposal(req)
}

// garbage is noise, the beginning of what is true, or that with noise behind it, in turn.
func garbage(honest []byte, height int64) []byte {
	noise := make([]byte, 1+height*37%4096)
	_, _ = rand.Read(noise) // never fails
	switch height % 3 {
	case 0:
		return noise
	case 1:
		return honest[:len(honest)/2]
	}
	return append(bytes.Clone(honest), noise...)
}

// spoil negates each point of each partial signature, by the bit that says which of two roots its y is: it still is a point of the group.
func spoil(honest []byte) []byte {
	e, err := beacon.UnmarshalExtension(honest)
	if err != nil {
		return honest // nothing to spoil
	}
	for _, p := range e.Partials {
		for i := 0; i < len(p.Points); i += pointSize {
			p.Points[i] ^= 0x20
		}
	}
	return e.Marshal()
}

const pointSize = 48 // of G1, compressed
