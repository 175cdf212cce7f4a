package beacon

import (
	"cmp"
	"maps"
	"slices"

	abci "github.com/cometbft/cometbft/abci/types"
	cmttypes "github.com/cometbft/cometbft/types"

	sdk "github.com/cosmos/cosmos-sdk/types"

	api "github.com/cella-network/cella/api/beacon"
	"github.com/cella-network/cella/protocol/beacon"
	"github.com/cella-network/cella/protocol/threshold"
)

// PrepareProposal puts the numbers that can be made before what inner proposes. Whatever goes wrong with them, inner's proposal goes out.
func (k *Keeper) PrepareProposal(inner sdk.PrepareProposalHandler) sdk.PrepareProposalHandler {
	return func(ctx sdk.Context, req *abci.RequestPrepareProposal) (*abci.ResponsePrepareProposal, error) {
		carried, err := k.gather(ctx, req)
		if err != nil {
			ctx.Logger().Error("beacon: a proposal goes out without some numbers", "height", req.Height, "err", err)
		}
		if len(carried) == 0 {
			return inner(ctx, req)
		}
		tx := carried.Marshal()
		room := req.MaxTxBytes - cmttypes.ComputeProtoSizeForTxs([]cmttypes.Tx{tx})
		if room < 0 {
			return inner(ctx, req)
		}
		less := *req
		less.MaxTxBytes = room
		less.Txs = fitting(req.Txs, room)
		resp, err := inner(ctx, &less)
		if err != nil {
			return nil, err
		}
		out := *resp
		out.Txs = append([][]byte{tx}, resp.Txs...)
		return &out, nil
	}
}

// fitting are the first transactions that take no more room than there is: inner may propose all that it is given.
func fitting(txs [][]byte, room int64) [][]byte {
	for i, tx := range txs {
		if room -= cmttypes.ComputeProtoSizeForTxs([]cmttypes.Tx{tx}); room < 0 {
			return txs[:i]
		}
	}
	return txs
}

// gather makes the numbers that a proposal can carry out of the last votes and what else this node remembers: that of the height before, then
// the oldest missing ones. With an error come those that were made before it.
func (k *Keeper) gather(ctx sdk.Context, req *abci.RequestPrepareProposal) (beacon.Carried, error) {
	s, err := k.begin(ctx, req.Height, [32]byte{})
	if err != nil {
		return nil, err
	}
	if s.at(req.Height) == nil {
		return nil, nil
	}
	votes, err := s.votes(ctx, req)
	if err != nil {
		return nil, err
	}
	var carried beacon.Carried
	for _, height := range s.candidates() {
		n, ok, err := s.make(ctx, height, votes)
		if err != nil {
			return carried, err
		}
		if ok {
			carried = append(carried, n)
		}
		if len(carried) == beacon.MaxCarried {
			break
		}
	}
	slices.SortFunc(carried, func(a, b beacon.Number) int { return cmp.Compare(a.Height, b.Height) })
	return carried, nil
}

// signedVote is the proof of what a seat put beside its vote for the last height.
type signedVote struct {
	extension beacon.Extension
	proof     *api.MsgBadShare
}

// votes pools what is beside the votes of the last commit, and keeps the signatures for those that turn out bad.
func (s *standing) votes(ctx sdk.Context, req *abci.RequestPrepareProposal) (map[source]signedVote, error) {
	voters, err := s.keeper.votersAt(ctx, req.Height-1)
	if err != nil {
		return nil, err
	}
	out := map[source]signedVote{}
	for _, v := range req.LocalLastCommit.Votes {
		e, err := beacon.UnmarshalExtension(v.VoteExtension)
		if err != nil {
			continue
		}
		from, err := s.pool(e, req.Height-1, voters, v.Validator.Address)
		if err != nil {
			continue
		}
		out[from] = signedVote{extension: e, proof: &api.MsgBadShare{Validator: v.Validator.Address, Height: req.Height - 1,
			Round: int64(req.LocalLastCommit.Round), Extension: v.VoteExtension, Signature: v.ExtensionSignature}}
	}
	return out, nil
}

// candidates are the heights of which something is remembered: the newest first, since its number is what this block may not omit, then the
// oldest.
func (s *standing) candidates() []int64 {
	heights := slices.DeleteFunc(s.keeper.node.pooled(), func(h int64) bool { return h >= s.Head })
	if n := len(heights); n > 0 && heights[n-1] == s.Head-1 {
		heights = append([]int64{heights[n-1]}, heights[:n-1]...)
	}
	return heights
}

// make combines what is remembered of a height. Both groups that matter are tried, since seats of one can't help those of the other.
func (s *standing) make(ctx sdk.Context, height int64, votes map[source]signedVote) (n beacon.Number, ok bool, err error) {
	message, _, wanted, err := s.wanted(height)
	if err != nil || !wanted {
		return n, false, err
	}
	key := s.at(s.Head).Keys.Key()
	for _, c := range []*threshold.InCharge{s.now, s.before} {
		if c == nil || c.Keys.Key() != key {
			continue
		}
		sig, ok, err := s.combine(c, height, message, votes)
		if ok || err != nil {
			return beacon.Number{Height: height, Signature: sig}, ok, err
		}
	}
	return n, false, nil
}

// combine makes a group's signature. Only if it turns out wrong are the partial ones checked, and the bad ones left out.
func (s *standing) combine(c *threshold.InCharge, height int64, message []byte, votes map[source]signedVote) (sig threshold.Signature, ok bool, err error) {
	raw := s.keeper.node.of(height, c.Epoch)
	partials := map[int]threshold.Partial{}
	for seat, points := range raw {
		p, err := c.Keys.UnmarshalPartial(seat, points)
		if err != nil {
			s.accuse(source{c.Epoch, seat}, height, points, votes)
			continue
		}
		partials[seat] = p
	}
	for range 2 {
		seats := slices.Sorted(maps.Keys(partials))
		if !beacon.CanMake(c.Keys, seats) {
			return sig, false, nil
		}
		list := make([]threshold.Partial, len(seats))
		for i, seat := range seats {
			list[i] = partials[seat]
		}
		q, err := s.keeper.node.quorum(c, seats)
		if err != nil {
			return sig, false, err
		}
		if sig, err = q.Combine(list); err != nil {
			return sig, false, err
		}
		if c.Keys.Verify(message, sig) {
			return sig, true, nil
		}
		for _, seat := range c.Keys.Check(message, list) {
			s.accuse(source{c.Epoch, seat}, height, raw[seat], votes)
			delete(partials, seat)
		}
	}
	return sig, false, nil
}

// accuse keeps the proof of a bad partial signature, if it is one of the last votes: those that came earlier were kept without their signatures.
func (s *standing) accuse(from source, height int64, points []byte, votes map[source]signedVote) {
	s.keeper.node.drop(height, from)
	v, ok := votes[from]
	if ok && slices.ContainsFunc(v.extension.Partials, func(p beacon.Partial) bool { return p.Height == height && slices.Equal(p.Points, points) }) {
		s.keeper.node.accuse(v.proof)
	}
}

// ProcessProposal checks the numbers of a proposal, and lets inner check the rest. Numbers come first or not at all.
func (k *Keeper) ProcessProposal(inner sdk.ProcessProposalHandler) sdk.ProcessProposalHandler {
	return func(ctx sdk.Context, req *abci.RequestProcessProposal) (*abci.ResponseProcessProposal, error) {
		rest, err := k.checkProposal(ctx, req)
		if err != nil {
			ctx.Logger().Error("beacon: a proposal is refused", "height", req.Height, "err", err)
			return &abci.ResponseProcessProposal{Status: abci.ResponseProcessProposal_REJECT}, nil
		}
		without := *req
		without.Txs = rest
		return inner(ctx, &without)
	}
}

// checkProposal returns a proposal's transactions without the numbers.
func (k *Keeper) checkProposal(ctx sdk.Context, req *abci.RequestProcessProposal) ([][]byte, error) {
	if i := slices.IndexFunc(req.Txs, beacon.IsCarried); i > 0 || i == 0 && slices.ContainsFunc(req.Txs[1:], beacon.IsCarried) {
		return nil, ErrRefused.Wrap("numbers come first and once")
	} else if i < 0 {
		return req.Txs, nil
	}
	carried, err := beacon.UnmarshalCarried(req.Txs[0])
	if err != nil {
		return nil, refused(err)
	}
	s, err := k.begin(ctx, req.Height, [32]byte{})
	if err != nil {
		return nil, err
	}
	for _, n := range carried {
		if _, err := s.check(n); err != nil {
			return nil, err
		}
	}
	return req.Txs[1:], nil
}
