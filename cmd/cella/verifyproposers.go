package main

import (
	"bytes"
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/spf13/cobra"
	blst "github.com/supranational/blst/bindings/go"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	ctypes "github.com/cometbft/cometbft/rpc/core/types"
	rpctypes "github.com/cometbft/cometbft/rpc/jsonrpc/types"

	sdkclient "github.com/cosmos/cosmos-sdk/client"
	"github.com/cosmos/cosmos-sdk/client/flags"

	api "github.com/cella-network/cella/api/beacon"
	"github.com/cella-network/cella/client"
	"github.com/cella-network/cella/protocol/beacon"
	"github.com/cella-network/cella/protocol/lottery"
	"github.com/cella-network/cella/protocol/threshold"
)

const (
	beaconPurpose = beacon.Purpose // of the group that signs numbers
	maxSearched   = 1000           // heights gone back to find the last number that came
)

// proposersChecked is what verify-proposers found.
type proposersChecked struct {
	From       int64    `json:"from"`
	To         int64    `json:"to"`
	Drawn      int      `json:"drawn"`
	Fallback   int      `json:"fallback"`
	Nobody     int      `json:"nobody"`
	First      int      `json:"first_rounds"`
	Later      int      `json:"later_rounds"`
	Keys       []string `json:"keys"`
	Mismatches []string `json:"mismatches"`
}

func verifyProposersCmd() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "verify-proposers FROM TO",
		Short: "Recompute who was drawn to propose each height, from its random number, and compare with who did",
		Long: `Recompute who was drawn to propose each height, from its random number, and compare with who did.

The node is asked for numbers, turns and headers, and its answers are checked: a number against the signature of the beacon's group, the
draw against the number, and the block of a first round against the draw. The key of the group is printed: compare it with what another
node says. Only heights that the node still keeps can be verified, by the lottery's rules of today.`,
		Example: `  cella chain verify-proposers 1000 1100
  cella chain verify-proposers 1000 1100 --node tcp://rpc.example.org:26657 --json`,
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) != 2 {
				return fmt.Errorf("want two heights, got %d arguments", len(args))
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			from, to, err := heightRange(args)
			if err != nil {
				return err
			}
			stock, err := sdkclient.GetClientQueryContext(cmd)
			if err != nil {
				return err
			}
			v := proposerVerifier{queries: api.NewQueryClient(stock), commits: stock.Client, numbers: map[int64]*api.QueryNumberResponse{}}
			found, err := v.run(cmd.Context(), from, to)
			if err != nil {
				return networkError(err)
			}
			if err := found.print(newView(cmd)); err != nil {
				return err
			}
			if n := len(found.Mismatches); n > 0 {
				return fmt.Errorf("%d of %d heights do not follow from their numbers", n, to-from+1)
			}
			return nil
		},
	}
	cmd.Flags().String(flags.FlagNode, "tcp://localhost:26657", "RPC address of the node to ask")
	cmd.Flags().Bool("json", false, "print the result as JSON")
	return explained(cmd)
}

func heightRange(args []string) (from, to int64, err error) {
	from, errFrom := strconv.ParseInt(args[0], 10, 64)
	to, errTo := strconv.ParseInt(args[1], 10, 64)
	if errFrom != nil || errTo != nil || from < 2 || to < from {
		return 0, 0, &client.Error{Kind: client.KindUsage, What: fmt.Sprintf("no range of heights: %s to %s", args[0], args[1]),
			Hint: "write the first and the last one, from 2 on: cella chain verify-proposers 1000 1100"}
	}
	return from, to, nil
}

// networkError gives an error of a node its kind, and words that help.
func networkError(err error) error {
	if refused(err) {
		return &client.Error{Kind: client.KindNetwork, Cause: err, Hint: "the node may not have reached these heights yet, or have forgotten them: ask for others, or another node with --node"}
	}
	return &client.Error{Kind: client.KindNetwork, What: "the node doesn't answer", Cause: err, Hint: "is it running? Name another one with --node"}
}

// refused says that the node answered, and that it knows of no such thing.
func refused(err error) bool {
	var s interface{ GRPCStatus() *status.Status }
	var rpc *rpctypes.RPCError
	return errors.As(err, &rpc) || errors.As(err, &s) && slices.Contains([]codes.Code{codes.Unknown, codes.NotFound, codes.InvalidArgument}, s.GRPCStatus().Code())
}

func (f *proposersChecked) print(v *view) error {
	if v.json {
		return v.facts(f)
	}
	fmt.Fprintf(v.out, "heights     %d to %d\ndrawn       %d (%d of them by fallback, for want of a number)\nnobody      %d (CometBFT's rotation)\n",
		f.From, f.To, f.Drawn, f.Fallback, f.Nobody)
	fmt.Fprintf(v.out, "rounds      %d first ones, by who was drawn; %d later ones\n", f.First, f.Later)
	for _, k := range f.Keys {
		fmt.Fprintf(v.out, "key         %s\n", k)
	}
	for _, m := range f.Mismatches {
		fmt.Fprintf(v.out, "mismatch    %s\n", m)
	}
	if len(f.Mismatches) == 0 {
		fmt.Fprintf(v.out, "mismatches  0\n")
	}
	return nil
}

// proposerVerifier asks a node and believes nothing that it can recompute.
type proposerVerifier struct {
	queries api.QueryClient
	commits interface {
		Commit(ctx context.Context, height *int64) (*ctypes.ResultCommit, error)
	}
	rules   lottery.Rules
	numbers map[int64]*api.QueryNumberResponse // nil if it never came
	found   proposersChecked
}

func (v *proposerVerifier) run(ctx context.Context, from, to int64) (*proposersChecked, error) {
	p, err := v.queries.Params(ctx, &api.QueryParamsRequest{})
	if err != nil {
		return nil, err
	}
	v.rules = lottery.Rules{Epoch: p.Params.EpochBlocks, HalfLife: p.Params.HalfLife, AgeCap: p.Params.AgeCap, Prior: p.Params.Prior}
	if err := v.rules.Validate(); err != nil {
		return nil, err
	}
	v.found = proposersChecked{From: from, To: to, Keys: []string{}, Mismatches: []string{}}
	for h := from; h <= to; h++ {
		wrong, err := v.height(ctx, h)
		if err != nil {
			return nil, fmt.Errorf("height %d: %w", h, err)
		}
		if wrong != "" {
			v.found.Mismatches = append(v.found.Mismatches, fmt.Sprintf("height %d: %s", h, wrong))
		}
	}
	return &v.found, nil
}

// height verifies one height and says what is wrong with it, nothing if all is well.
func (v *proposerVerifier) height(ctx context.Context, h int64) (wrong string, err error) {
	block, err := v.commits.Commit(ctx, &h)
	if err != nil {
		return "", err
	}
	res, err := v.queries.Turn(ctx, &api.QueryTurnRequest{Height: h})
	if err != nil {
		return "", err
	}
	turn := res.Turn
	last, wrong, err := v.lastNumber(ctx, block.ChainID, h)
	if err != nil || wrong != "" {
		return wrong, err
	}
	if turn.Proposer == "" {
		v.found.Nobody++
		if last != nil && totalStake(turn.Entries) > 0 {
			return fmt.Sprintf("nobody was drawn, although the number of height %d was known", last.Number.Height), nil
		}
		return "", nil
	}
	v.found.Drawn++
	if wrong := v.follows(turn, last, block.ChainID, h); wrong != "" {
		return wrong, nil
	}
	if turn.Fallback {
		v.found.Fallback++
	}
	if block.Commit.Round > 0 {
		v.found.Later++
		return "", nil
	}
	v.found.First++
	if proposer := block.ProposerAddress.String(); proposer != turn.Proposer {
		return fmt.Sprintf("%s was drawn, %s proposed the first round", turn.Proposer, proposer), nil
	}
	return "", nil
}

func totalStake(entries []api.Entry) (sum uint64) {
	for _, e := range entries {
		sum += e.Stake
	}
	return sum
}

// follows recomputes the draw of a height from the last number that had come.
func (v *proposerVerifier) follows(turn api.Turn, last *api.QueryNumberResponse, chain string, h int64) (wrong string) {
	if last == nil {
		return "somebody was drawn, although no number was known"
	}
	seed, fallback := lottery.Seed(last.Number.Number), last.Number.Height != h-2
	if fallback {
		seed = lottery.Fallback(chain, seed, h)
	}
	if turn.Height != h || turn.Fallback != fallback || !bytes.Equal(turn.Seed, seed[:]) {
		return fmt.Sprintf("the seed is not that of number %d (fallback: %t)", last.Number.Height, fallback)
	}
	if turn.Blocks != uint64(h)%v.rules.Epoch {
		return fmt.Sprintf("block %d of the lottery's epoch, want %d", turn.Blocks, uint64(h)%v.rules.Epoch)
	}
	entries := make([]lottery.Entry, len(turn.Entries))
	for i, e := range turn.Entries {
		address, err := hex.DecodeString(e.Address)
		if err != nil || len(address) != len(entries[i].Address) {
			return fmt.Sprintf("entry %d has the address %q", i, e.Address)
		}
		entries[i] = lottery.Entry{Address: [20]byte(address), Stake: e.Stake, Age: e.Age, Turns: e.Turns, Proposed: e.Proposed, Omitted: e.Omitted}
	}
	i, err := v.rules.Draw(seed, h, entries, turn.Blocks, fallback)
	if err != nil {
		return err.Error()
	}
	if drawn := fmt.Sprintf("%X", entries[i].Address); drawn != strings.ToUpper(turn.Proposer) {
		return fmt.Sprintf("the number draws %s, the node says %s", drawn, turn.Proposer)
	}
	return ""
}

// lastNumber is the newest number that was known before a height: carried by the block before it, or by an earlier one. Nil is none.
func (v *proposerVerifier) lastNumber(ctx context.Context, chain string, h int64) (last *api.QueryNumberResponse, wrong string, err error) {
	for at := h - 2; at > max(0, h-2-maxSearched); at-- {
		n, err := v.number(ctx, at)
		if err != nil {
			return nil, "", err
		}
		if n == nil || n.Number.Carried >= h {
			continue
		}
		return n, v.signed(n, chain, at), nil
	}
	return nil, "", nil
}

func (v *proposerVerifier) number(ctx context.Context, h int64) (*api.QueryNumberResponse, error) {
	if n, ok := v.numbers[h]; ok {
		return n, nil
	}
	n, err := v.queries.Number(ctx, &api.QueryNumberRequest{Height: h})
	if refused(err) {
		n, err = nil, nil // it did not come
	}
	if err == nil {
		v.numbers[h] = n
	}
	return n, err
}

// signed checks a number against the group's key. What is signed and under which tag is this program's to know, not the node's to say.
func (v *proposerVerifier) signed(n *api.QueryNumberResponse, chain string, h int64) (wrong string) {
	message := threshold.Message{ChainID: chain, Epoch: n.Number.Epoch, Height: h}.Marshal()
	if len(n.Number.Signature) != len(threshold.Signature{}) {
		return fmt.Sprintf("number %d has no signature", h)
	}
	number := threshold.Signature(n.Number.Signature).Number()
	key, signature := new(blst.P2Affine).Uncompress(n.Key), new(blst.P1Affine).Uncompress(n.Number.Signature)
	if key == nil || signature == nil || !signature.Verify(true, key, true, message, []byte(threshold.Tag(beaconPurpose))) {
		return fmt.Sprintf("number %d is not signed by the group", h)
	}
	if n.Number.Height != h || !bytes.Equal(n.Number.Number, number[:]) {
		return fmt.Sprintf("number %d is not the hash of its signature", h)
	}
	if k := hex.EncodeToString(n.Key); len(v.found.Keys) == 0 || v.found.Keys[len(v.found.Keys)-1] != k {
		v.found.Keys = append(v.found.Keys, k)
	}
	return ""
}
