package main

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"time"

	abci "github.com/cometbft/cometbft/abci/types"
	cmtproto "github.com/cometbft/cometbft/proto/tendermint/types"
	dbm "github.com/cosmos/cosmos-db"
	"golang.org/x/sync/errgroup"

	"cosmossdk.io/log/v2"

	"github.com/cosmos/cosmos-sdk/baseapp"
	"github.com/cosmos/cosmos-sdk/codec"
	codectypes "github.com/cosmos/cosmos-sdk/codec/types"
	"github.com/cosmos/cosmos-sdk/runtime"
	"github.com/cosmos/cosmos-sdk/store/v2"
	storetypes "github.com/cosmos/cosmos-sdk/store/v2/types"
	sdk "github.com/cosmos/cosmos-sdk/types"

	"github.com/cella-network/cella/bench/table"
	"github.com/cella-network/cella/chain/x/beacon"
	rules "github.com/cella-network/cella/protocol/beacon"
	"github.com/cella-network/cella/protocol/threshold"
)

// council is x/beacon alone, on a store in memory, with a group of validators that is in charge and always signs. It stands for the modules
// around it.
type council struct {
	*outcome
	*beacon.Keeper
	store    storetypes.CommitMultiStore
	charge   *threshold.InCharge
	voters   []rules.Voter
	height   int64
	proposal [][]byte // what the next block carries
}

// spent is what one height costs a node beside the stock work.
type spent struct {
	propose  time.Duration // making the number of the height before out of the votes' extensions: the proposer alone
	remember time.Duration // keeping what is beside the others' votes
	check    time.Duration // of the proposal
	execute  time.Duration // the number, the seeds, the next proposer
}

// propose measures what each height costs with n validators.
func propose(n, rounds int) ([]table.Row, error) {
	c, err := newCouncil(n)
	if err != nil {
		return nil, err
	}
	var all []spent
	for range rounds {
		s, err := c.next()
		if err != nil {
			return nil, fmt.Errorf("height %d: %w", c.height, err)
		}
		all = append(all, s)
	}
	all = all[2:] // nothing is there to propose at first
	mid := func(of func(spent) time.Duration) time.Duration {
		var d []time.Duration
		for _, s := range all {
			d = append(d, of(s))
		}
		slices.Sort(d)
		return d[len(d)/2]
	}
	proposes := mid(func(s spent) time.Duration { return s.propose })
	ms := func(of func(spent) time.Duration) string { return fmt.Sprintf("%.2f ms CPU", mid(of).Seconds()*1e3) }
	return []table.Row{
		under(fmt.Sprintf("a proposer's extra work a block, %d validators", n), proposes, proposerMost),
		{What: "  every validator's: what is beside the others' votes", Ours: ms(func(s spent) time.Duration { return s.remember })},
		{What: "  every validator's: check of the proposal", Ours: ms(func(s spent) time.Duration { return s.check })},
		{What: "  every node's: number, seeds, the next proposer", Ours: ms(func(s spent) time.Duration { return s.execute })},
	}, nil
}

func newCouncil(n int) (*council, error) {
	o, err := play(equal(n, 1), nil)
	if err != nil {
		return nil, err
	}
	db, key := dbm.NewMemDB(), storetypes.NewKVStoreKey(beacon.StoreKey)
	c := &council{outcome: o, store: store.NewCommitMultiStore(db, log.NewNopLogger()),
		charge: &threshold.InCharge{Charge: threshold.Charge{Epoch: 1, From: 1, Group: o.group.Hash(), Confirmed: true}, Keys: o.group}}
	for i, seat := range o.group.Seats {
		v := rules.Voter{Operator: seat.Account, Stake: uint64(1+i) * 1e9}
		binary.BigEndian.PutUint16(v.Consensus[:], uint16(i+1))
		c.voters = append(c.voters, v)
	}
	c.store.MountStoreWithDB(key, storetypes.StoreTypeIAVL, db)
	if err := c.store.LoadLatestVersion(); err != nil {
		return nil, err
	}
	c.Keeper = beacon.NewKeeper(codec.NewProtoCodec(codectypes.NewInterfaceRegistry()), runtime.NewKVStoreService(key), c, "")
	c.Join(c, c)
	ctx, write := c.context(nil)
	if err := c.InitGenesis(ctx, beacon.DefaultGenesis()); err != nil {
		return nil, err
	}
	write()
	return c, nil
}

// Charges, Signed, Voters and Punish are what other modules know.
func (c *council) Charges(context.Context, string) (now, before *threshold.InCharge, err error) {
	return c.charge, nil, nil
}
func (c *council) Signed(context.Context, string, int64) error          { return nil }
func (c *council) Voters(context.Context, int64) ([]rules.Voter, error) { return c.voters, nil }
func (c *council) Punish(context.Context, [20]byte, int64, string) error {
	return errors.New("nobody cheats here")
}

// context is one to work in at the next height; write keeps what was done.
func (c *council) context(commit []abci.VoteInfo) (ctx sdk.Context, write func()) {
	branch := c.store.CacheMultiStore()
	header := cmtproto.Header{ChainID: chainID, Height: c.height + 1, ProposerAddress: c.voters[0].Consensus[:]}
	return sdk.NewContext(branch, header, false, log.NewNopLogger()).
		WithCometInfo(baseapp.NewBlockInfo(nil, nil, header.ProposerAddress, abci.CommitInfo{Votes: commit})), branch.Write
}

// next goes through a height: the proposal, its check, its execution, the votes on it.
func (c *council) next() (s spent, err error) {
	height := c.height + 1
	inner := func(sdk.Context, *abci.RequestPrepareProposal) (*abci.ResponsePrepareProposal, error) {
		return &abci.ResponsePrepareProposal{}, nil
	}
	votes, err := c.votes(c.height)
	if err != nil {
		return s, err
	}
	ctx, _ := c.context(nil)
	if s.propose, err = cpu(func() error {
		r, err := c.PrepareProposal(inner)(ctx, &abci.RequestPrepareProposal{Height: height, MaxTxBytes: 1 << 20, LocalLastCommit: votes})
		if err == nil {
			c.proposal = r.Txs
		}
		return err
	}); err != nil {
		return s, err
	}
	if height > 2 && len(c.proposal) != 1 {
		return s, errors.New("a proposal without a number")
	}
	accept := func(sdk.Context, *abci.RequestProcessProposal) (*abci.ResponseProcessProposal, error) {
		return &abci.ResponseProcessProposal{Status: abci.ResponseProcessProposal_ACCEPT}, nil
	}
	ctx, _ = c.context(nil)
	if s.check, err = cpu(func() error {
		r, err := c.ProcessProposal(accept)(ctx, &abci.RequestProcessProposal{Height: height, Txs: c.proposal})
		if err == nil && !r.IsAccepted() {
			err = errors.New("an honest proposal is refused")
		}
		return err
	}); err != nil {
		return s, err
	}
	votes, err = c.votes(height)
	if err != nil {
		return s, err
	}
	if s.remember, err = cpu(func() error {
		for _, v := range votes.Votes {
			ctx, _ := c.context(nil)
			if _, err := c.VerifyVoteExtension()(ctx, &abci.RequestVerifyVoteExtension{Height: height, ValidatorAddress: v.Validator.Address, VoteExtension: v.VoteExtension}); err != nil {
				return err
			}
		}
		return nil
	}); err != nil {
		return s, err
	}
	if s.execute, err = cpu(c.execute); err != nil {
		return s, err
	}
	c.store.Commit()
	return s, nil
}

func (c *council) execute() error {
	var commit []abci.VoteInfo
	for _, v := range c.voters {
		commit = append(commit, abci.VoteInfo{Validator: abci.Validator{Address: v.Consensus[:], Power: 1}, BlockIdFlag: cmtproto.BlockIDFlagCommit})
	}
	ctx, write := c.context(commit)
	hash := make([]byte, 32)
	binary.BigEndian.PutUint64(hash, uint64(c.height+1))
	req := &abci.RequestFinalizeBlock{Height: c.height + 1, Hash: hash, Txs: c.proposal, ProposerAddress: c.voters[0].Consensus[:]}
	req.DecidedLastCommit.Votes = commit
	if err := c.PreBlock(ctx, req); err != nil {
		return err
	}
	if err := c.EndBlock(ctx); err != nil {
		return err
	}
	write()
	c.height++
	return nil
}

// votes are the precommits of a height with what is beside them.
func (c *council) votes(height int64) (abci.ExtendedCommitInfo, error) {
	info := abci.ExtendedCommitInfo{Votes: make([]abci.ExtendedVoteInfo, len(c.voters))}
	message := threshold.Message{ChainID: chainID, Epoch: c.charge.Epoch, Height: height}.Marshal()
	var g errgroup.Group
	g.SetLimit(4)
	for i, v := range c.voters {
		g.Go(func() error {
			p, err := c.shares[i].Sign(c.group, message)
			if err != nil {
				return err
			}
			e := rules.Extension{Epoch: c.charge.Epoch, Partials: []rules.Partial{{Height: height, Points: p.Marshal()}}}
			info.Votes[i] = abci.ExtendedVoteInfo{Validator: abci.Validator{Address: v.Consensus[:], Power: 1}, BlockIdFlag: cmtproto.BlockIDFlagCommit,
				VoteExtension: e.Marshal(), ExtensionSignature: make([]byte, 64)}
			return nil
		})
	}
	return info, g.Wait()
}
