package beacon

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"crypto/sha256"
	"errors"
	"fmt"
	"slices"
	"sort"
	"strings"
	"testing"

	abci "github.com/cometbft/cometbft/abci/types"
	cmtproto "github.com/cometbft/cometbft/proto/tendermint/types"
	cmttypes "github.com/cometbft/cometbft/types"

	"cosmossdk.io/core/comet"

	"github.com/cosmos/cosmos-sdk/runtime"
	storetypes "github.com/cosmos/cosmos-sdk/store/v2/types"
	"github.com/cosmos/cosmos-sdk/testutil"
	sdk "github.com/cosmos/cosmos-sdk/types"
	moduletestutil "github.com/cosmos/cosmos-sdk/types/module/testutil"

	api "github.com/cella-network/cella/api/beacon"
	"github.com/cella-network/cella/protocol/beacon"
	"github.com/cella-network/cella/protocol/threshold"
)

const authority = "gov"

var params = api.Params{KeepBlocks: 2000, EpochBlocks: 20, HalfLife: 5, AgeCap: 4, Prior: 2}

// validator is one with a host and an enclave.
type validator struct {
	name    string
	key     ed25519.PrivateKey
	stake   uint64
	silent  bool                                        // votes without an extension
	absent  bool                                        // does not vote
	garbles func(e beacon.Extension) (extension []byte) // what a bad host makes of it; nil for an honest one
}

func (v *validator) address() [20]byte {
	sum := sha256.Sum256(v.key.Public().(ed25519.PublicKey))
	return [20]byte(sum[:20])
}

// world is a chain of which one node is real: the handlers of all validators' votes and proposals are its own.
type world struct {
	tb         testing.TB
	keeper     *Keeper
	ctx        sdk.Context
	key        *storetypes.KVStoreKey
	cfg        moduletestutil.TestEncodingConfig
	validators []*validator
	teams      []*team // by charge
	charges    []*threshold.InCharge
	gone       bool // the last but one group can't come back
	signed     []int64
	punished   []string
	commit     abci.ExtendedCommitInfo // of the last block
	height     int64
	round      int32
	proposer   int  // who proposes the next block, in turn unless somebody was drawn
	omits      bool // the next proposer leaves numbers out
	fails      error
	blocks     []*abci.RequestFinalizeBlock
}

func (w *world) Charges(context.Context, string) (now, before *threshold.InCharge, err error) {
	n := len(w.charges)
	if n > 0 {
		now = w.charges[n-1]
	}
	if n > 1 && (!w.gone || now.From > w.height+1) {
		before = w.charges[n-2]
	}
	return now, before, w.fails
}

func (w *world) Signed(_ context.Context, _ string, height int64) error {
	w.signed = append(w.signed, height)
	return nil
}

func (w *world) Voters(context.Context, int64) (out []beacon.Voter, err error) {
	for _, v := range w.validators {
		out = append(out, beacon.Voter{Operator: account(v.name), Consensus: v.address(), Key: [32]byte(v.key.Public().(ed25519.PublicKey)), Stake: v.stake})
	}
	return out, nil
}

func (w *world) Punish(_ context.Context, consensus [20]byte, height int64, rule string) error {
	w.punished = append(w.punished, fmt.Sprintf("%s at %d: %s", w.name(consensus[:]), height, rule))
	return nil
}

// enclave signs for one validator with its seat of a team.
type enclave struct {
	w    *world
	name string
}

func (e enclave) Partial(ctx context.Context, epoch uint64, heights []int64) (out [][]byte, err error) {
	if _, limited := ctx.Deadline(); !limited {
		return nil, errors.New("the vote would wait for ever")
	}
	c := beacon.SigningAt(e.w.height+1, e.w.charges[len(e.w.charges)-1], e.w.before())
	for _, h := range heights {
		for i := range e.w.charges {
			if seat := seatOf(c.Keys, e.name); e.w.charges[i] == c && seat >= 0 {
				out = append(out, e.w.teams[i].partial(seat, message(epoch, h)))
			}
		}
	}
	return out, nil
}

func (w *world) before() *threshold.InCharge {
	_, before, _ := w.Charges(w.ctx, Purpose)
	return before
}

func message(epoch uint64, height int64) []byte {
	return threshold.Message{ChainID: testChain, Epoch: epoch, Height: height}.Marshal()
}

func seatOf(g *threshold.Group, name string) int {
	return slices.IndexFunc(g.Seats, func(s threshold.Seat) bool { return s.Account == account(name) })
}

func newWorld(tb testing.TB, names ...string) *world {
	tb.Helper()
	if len(names) == 0 {
		names = []string{"ann", "ben", "cat", "dan"}
	}
	w := &world{tb: tb, cfg: moduletestutil.MakeTestEncodingConfig(AppModule{})}
	for _, n := range names {
		seed := sha256.Sum256([]byte(n))
		w.validators = append(w.validators, &validator{name: n, key: ed25519.NewKeyFromSeed(seed[:]), stake: 1_000_000})
	}
	keys := storetypes.NewKVStoreKeys(StoreKey)
	w.ctx = testutil.DefaultContextWithKeys(keys, nil, nil).WithChainID(testChain).WithBlockHeight(0)
	w.key = keys[StoreKey]
	w.keeper = NewKeeper(w.cfg.Codec, runtime.NewKVStoreService(w.key), w, authority)
	w.keeper.Join(w, w)
	if err := w.keeper.InitGenesis(w.ctx, &api.GenesisState{Params: params}); err != nil {
		tb.Fatal(err)
	}
	return w
}

// charge puts a group of these members in charge from a height on; the same secret is a handover.
func (w *world) charge(secret int, from int64, names ...string) {
	epoch := uint64(len(w.charges) + 1)
	t := newTeam(w.tb, epoch, secret, names...)
	w.teams = append(w.teams, t)
	w.charges = append(w.charges, &threshold.InCharge{Charge: threshold.Charge{Epoch: epoch, From: from}, Keys: t.group})
}

// running is a world in which the first group is in charge from height 3 on, and some blocks are made.
func running(tb testing.TB, height int64) *world {
	w := newWorld(tb)
	w.charge(7, 3, "ann", "ben", "cat", "dan")
	w.until(height)
	return w
}

func (w *world) named(name string) *validator {
	return w.validators[slices.IndexFunc(w.validators, func(v *validator) bool { return v.name == name })]
}

func (w *world) name(consensus []byte) string {
	for _, v := range w.validators {
		if a := v.address(); bytes.Equal(a[:], consensus) {
			return v.name
		}
	}
	return "nobody"
}

// at is the context of a handler about a block above the last one: what it writes is dropped.
func (w *world) at(height int64) sdk.Context {
	branch, _ := w.ctx.CacheContext()
	return branch.WithBlockHeight(height)
}

// vote has everybody vote for a height.
func (w *world) vote(height int64, txs ...[]byte) abci.ExtendedCommitInfo {
	w.tb.Helper()
	out := abci.ExtendedCommitInfo{Round: w.round}
	for _, v := range w.validators {
		a := v.address()
		vote := abci.ExtendedVoteInfo{Validator: abci.Validator{Address: a[:], Power: 10}, BlockIdFlag: cmtproto.BlockIDFlagAbsent}
		if !v.absent {
			vote.BlockIdFlag = cmtproto.BlockIDFlagCommit
			vote.VoteExtension = w.extend(v, height, txs)
			vote.ExtensionSignature = sign(v, height, w.round, vote.VoteExtension)
			verified, err := w.keeper.VerifyVoteExtension()(w.at(height), &abci.RequestVerifyVoteExtension{Height: height, ValidatorAddress: a[:], VoteExtension: vote.VoteExtension})
			if err != nil || verified.Status != abci.ResponseVerifyVoteExtension_ACCEPT {
				w.tb.Fatal("a vote does not count:", verified, err)
			}
		}
		out.Votes = append(out.Votes, vote)
	}
	return out
}

func (w *world) extend(v *validator, height int64, txs [][]byte) []byte {
	w.keeper.SetSigner(nil)
	if !v.silent {
		w.keeper.SetSigner(enclave{w, v.name})
	}
	w.keeper.SetSelf(v.address())
	r, err := w.keeper.ExtendVote()(w.at(height), &abci.RequestExtendVote{Height: height, Txs: txs})
	if err != nil {
		w.tb.Fatal("a vote fails:", err)
	}
	if v.garbles == nil {
		return r.VoteExtension
	}
	e, _ := beacon.UnmarshalExtension(r.VoteExtension)
	return v.garbles(e)
}

func sign(v *validator, height int64, round int32, extension []byte) []byte {
	return ed25519.Sign(v.key, cmttypes.VoteExtensionSignBytes(testChain, &cmtproto.Vote{Height: height, Round: round, Extension: extension}))
}

// propose is what the next proposer proposes beside some transaction.
func (w *world) propose() [][]byte {
	w.tb.Helper()
	plain := func(_ sdk.Context, req *abci.RequestPrepareProposal) (*abci.ResponsePrepareProposal, error) {
		return &abci.ResponsePrepareProposal{Txs: req.Txs}, nil
	}
	handler := w.keeper.PrepareProposal(plain)
	if w.omits {
		handler = plain
	}
	r, err := handler(w.at(w.height+1), &abci.RequestPrepareProposal{Height: w.height + 1, MaxTxBytes: 1000, LocalLastCommit: w.commit, Txs: [][]byte{[]byte("a payment")}})
	if err != nil {
		w.tb.Fatal(err)
	}
	return r.Txs
}

// accepts says whether validators vote for a proposal.
func (w *world) accepts(txs [][]byte) bool {
	w.tb.Helper()
	inner := func(_ sdk.Context, req *abci.RequestProcessProposal) (*abci.ResponseProcessProposal, error) {
		if slices.ContainsFunc(req.Txs, beacon.IsCarried) {
			w.tb.Error("numbers come through to those who check transactions")
		}
		return &abci.ResponseProcessProposal{Status: abci.ResponseProcessProposal_ACCEPT}, nil
	}
	r, err := w.keeper.ProcessProposal(inner)(w.at(w.height+1), &abci.RequestProcessProposal{Height: w.height + 1, Txs: txs})
	if err != nil {
		w.tb.Fatal(err)
	}
	return r.Status == abci.ResponseProcessProposal_ACCEPT
}

// finalize executes a block.
func (w *world) finalize(req *abci.RequestFinalizeBlock) []string {
	w.tb.Helper()
	ctx := w.ctx.WithBlockHeight(req.Height).WithHeaderHash(req.Hash).WithEventManager(sdk.NewEventManager()).
		WithBlockHeader(cmtproto.Header{ChainID: testChain, Height: req.Height, ProposerAddress: req.ProposerAddress}).
		WithCometInfo(runtimeInfo{req.DecidedLastCommit})
	if err := errors.Join(w.keeper.PreBlock(ctx, req), AppModule{w.keeper}.EndBlock(ctx)); err != nil {
		w.tb.Fatal(err)
	}
	w.ctx, w.height = ctx, req.Height
	return w.events(ctx)
}

type runtimeInfo struct{ commit abci.CommitInfo }

func (i runtimeInfo) GetEvidence() comet.EvidenceList { return nil }
func (i runtimeInfo) GetValidatorsHash() []byte       { return nil }
func (i runtimeInfo) GetProposerAddress() []byte      { return nil }
func (i runtimeInfo) GetLastCommit() comet.CommitInfo { return lastCommit(i) }

type lastCommit struct{ commit abci.CommitInfo }

func (c lastCommit) Round() int32           { return c.commit.Round }
func (c lastCommit) Votes() comet.VoteInfos { return nil }

// block has the next block proposed, accepted, executed and voted on. An omitting proposer is w.omits.
func (w *world) block() []string {
	w.tb.Helper()
	txs := w.propose()
	if !w.accepts(txs) {
		w.tb.Fatalf("the proposal for height %d is refused", w.height+1)
	}
	return w.decide(txs)
}

// decide executes the next block with given transactions, and votes on it.
func (w *world) decide(txs [][]byte) []string {
	w.tb.Helper()
	height := w.height + 1
	proposer, drawn, err := w.keeper.Proposer(w.ctx, height)
	if err != nil {
		w.tb.Fatal(err)
	}
	if !drawn || w.proposer > 0 {
		proposer = w.validators[(max(w.proposer, 1)-1)%len(w.validators)].address()
	}
	w.proposer = 0
	commit := abci.CommitInfo{Round: w.commit.Round}
	for _, v := range w.commit.Votes {
		commit.Votes = append(commit.Votes, abci.VoteInfo{Validator: v.Validator, BlockIdFlag: v.BlockIdFlag})
	}
	hash := sha256.Sum256(fmt.Append(nil, "block ", height))
	next := w.vote(height, txs...) // before the block is executed
	req := &abci.RequestFinalizeBlock{Height: height, Hash: hash[:], Txs: txs, ProposerAddress: proposer[:], DecidedLastCommit: commit}
	lines := w.finalize(req)
	w.blocks, w.commit = append(w.blocks, req), next
	return lines
}

func (w *world) until(height int64) (lines []string) {
	w.tb.Helper()
	for w.height < height {
		for _, line := range w.block() {
			lines = append(lines, fmt.Sprintf("%d: %s", w.height, line))
		}
	}
	return lines
}

func (w *world) events(ctx sdk.Context) (lines []string) {
	for _, e := range ctx.EventManager().Events() {
		name, ours := strings.CutPrefix(e.Type, "cella.beacon.v1.")
		if !ours {
			continue
		}
		var attrs []string
		for _, a := range e.Attributes {
			if a.Key != "number" && a.Key != "mode" {
				attrs = append(attrs, a.Key+"="+strings.ReplaceAll(a.Value, `"`, ""))
			}
		}
		sort.Strings(attrs)
		line := name + " " + strings.Join(attrs, " ")
		for _, v := range w.validators {
			line = strings.ReplaceAll(line, fmt.Sprintf("%X", v.address()), v.name)
		}
		lines = append(lines, line)
	}
	return lines
}

// missing are the heights that wait.
func (w *world) missing() (out []int64) {
	r, err := queryServer{w.keeper}.Missing(w.ctx, &api.QueryMissingRequest{})
	if err != nil {
		w.tb.Fatal(err)
	}
	for _, m := range r.Missing {
		out = append(out, m.Height)
	}
	return out
}

func (w *world) tip() int64 {
	tip, err := w.keeper.Tip(w.ctx)
	if err != nil {
		w.tb.Fatal(err)
	}
	return tip
}
