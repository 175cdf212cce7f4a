package main

import (
	"bytes"
	"context"
	"encoding/hex"
	"fmt"
	"strings"
	"testing"

	blst "github.com/supranational/blst/bindings/go"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	ctypes "github.com/cometbft/cometbft/rpc/core/types"
	cmttypes "github.com/cometbft/cometbft/types"

	api "github.com/cella-network/cella/api/beacon"
	"github.com/cella-network/cella/protocol/lottery"
	"github.com/cella-network/cella/protocol/threshold"
)

// fakeNode answers for heights 10 to 20: the number of 14 never comes, that of 17 comes two blocks late, and nobody is drawn before 12.
type fakeNode struct {
	api.QueryClient
	numbers map[int64]*api.QueryNumberResponse
	turns   map[int64]*api.Turn
	blocks  map[int64]*ctypes.ResultCommit
}

var fakeRules = lottery.Rules{Epoch: 100, HalfLife: 25, AgeCap: 16, Prior: 8}

func newFakeNode(t *testing.T) *fakeNode {
	t.Helper()
	f := &fakeNode{numbers: map[int64]*api.QueryNumberResponse{}, turns: map[int64]*api.Turn{}, blocks: map[int64]*ctypes.ResultCommit{}}
	secret := blst.KeyGen(bytes.Repeat([]byte{7}, 32))
	for h := int64(10); h <= 20; h++ {
		if h == 14 {
			continue
		}
		message := threshold.Message{ChainID: "c", Epoch: 1, Height: h}.Marshal()
		signature := threshold.Signature(new(blst.P1Affine).Sign(secret, message, []byte(threshold.Tag(beaconPurpose))).Compress())
		number, carried := signature.Number(), h+1
		if h == 17 {
			carried = 19
		}
		f.numbers[h] = &api.QueryNumberResponse{Key: new(blst.P2Affine).From(secret).Compress(),
			Number: api.Number{Height: h, Epoch: 1, Signature: signature[:], Number: number[:], Carried: carried}}
	}
	for h := int64(10); h <= 20; h++ {
		f.turn(t, h)
	}
	return f
}

// turn draws a height as x/beacon does.
func (f *fakeNode) turn(t *testing.T, h int64) {
	t.Helper()
	turn := &api.Turn{Height: h, Blocks: uint64(h)}
	var entries []lottery.Entry
	for i := range 4 {
		e := lottery.Entry{Address: [20]byte{byte(i + 1)}, Stake: uint64(i+1) * 1000}
		entries = append(entries, e)
		turn.Entries = append(turn.Entries, api.Entry{Address: fmt.Sprintf("%X", e.Address), Stake: e.Stake})
	}
	block := &ctypes.ResultCommit{SignedHeader: cmttypes.SignedHeader{Header: &cmttypes.Header{ChainID: "c", Height: h, ProposerAddress: make([]byte, 20)}, Commit: &cmttypes.Commit{Height: h}}}
	f.turns[h], f.blocks[h] = turn, block
	for at := h - 2; at >= 10; at-- {
		n := f.numbers[at]
		if n == nil || n.Number.Carried >= h {
			continue
		}
		seed := lottery.Seed(n.Number.Number)
		if turn.Fallback = at != h-2; turn.Fallback {
			seed = lottery.Fallback("c", seed, h)
		}
		i, err := fakeRules.Draw(seed, h, entries, turn.Blocks, turn.Fallback)
		if err != nil {
			t.Fatal(err)
		}
		turn.Seed, turn.Proposer = seed[:], turn.Entries[i].Address
		block.ProposerAddress, _ = hex.DecodeString(turn.Proposer)
		return
	}
}

func (f *fakeNode) Params(context.Context, *api.QueryParamsRequest, ...grpc.CallOption) (*api.QueryParamsResponse, error) {
	return &api.QueryParamsResponse{Params: api.Params{EpochBlocks: 100, HalfLife: 25, AgeCap: 16, Prior: 8}}, nil
}

func (f *fakeNode) Number(_ context.Context, req *api.QueryNumberRequest, _ ...grpc.CallOption) (*api.QueryNumberResponse, error) {
	if n := f.numbers[req.Height]; n != nil {
		return n, nil
	}
	return nil, status.Error(codes.Unknown, "the number did not come")
}

func (f *fakeNode) Turn(_ context.Context, req *api.QueryTurnRequest, _ ...grpc.CallOption) (*api.QueryTurnResponse, error) {
	return &api.QueryTurnResponse{Turn: *f.turns[req.Height]}, nil
}

func (f *fakeNode) Commit(_ context.Context, height *int64) (*ctypes.ResultCommit, error) {
	return f.blocks[*height], nil
}

// A node that lies in any one of its answers is found out.
func TestVerifyProposers(t *testing.T) {
	other := strings.Repeat("0", 38) + "09"
	for _, c := range []struct {
		name string
		lie  func(f *fakeNode)
		want string
	}{
		{"honest", func(*fakeNode) {}, ""},
		{"a later round is anybody's", func(f *fakeNode) { f.blocks[13].ProposerAddress, f.blocks[13].Commit.Round = make([]byte, 20), 1 }, ""},
		{"another proposed", func(f *fakeNode) { f.blocks[13].ProposerAddress = make([]byte, 20) }, "was drawn"},
		{"another was drawn", func(f *fakeNode) { f.turns[13].Proposer = other }, "the number draws"},
		{"another seed", func(f *fakeNode) { f.turns[13].Seed = make([]byte, 32) }, "the seed is not that of number 11"},
		{"another stake", func(f *fakeNode) {
			for i := range f.turns[13].Entries {
				f.turns[13].Entries[i].Stake = 0
			}
		}, "stake"},
		{"another place in the epoch", func(f *fakeNode) { f.turns[13].Blocks = 14 }, "want 13"},
		{"another number", func(f *fakeNode) { f.numbers[12].Number.Number = make([]byte, 32) }, "not the hash of its signature"},
		{"another height's signature", func(f *fakeNode) { f.numbers[12].Number = f.numbers[11].Number }, "not signed by the group"},
		{"another group", func(f *fakeNode) {
			f.numbers[12].Key = new(blst.P2Affine).From(blst.KeyGen(bytes.Repeat([]byte{8}, 32))).Compress()
		}, "not signed by the group"},
		{"a fallback while the number was there", func(f *fakeNode) { f.turns[13].Fallback = true }, "fallback: false"},
		{"a number that came too late to draw", func(f *fakeNode) { f.numbers[11].Number.Carried = 13 }, "the seed is not that of number 10"},
		{"nobody, while a number was there", func(f *fakeNode) { f.turns[13].Proposer = "" }, "nobody was drawn"},
		{"somebody, without a number", func(f *fakeNode) { f.turns[11].Proposer = other }, "no number was known"},
	} {
		f := newFakeNode(t)
		c.lie(f)
		v := proposerVerifier{queries: f, commits: f, numbers: map[int64]*api.QueryNumberResponse{}}
		found, err := v.run(t.Context(), 10, 20)
		if err != nil {
			t.Fatalf("%s: %v", c.name, err)
		}
		all := strings.Join(found.Mismatches, "\n")
		if c.want == "" && all != "" || !strings.Contains(all, c.want) {
			t.Errorf("%s: found %q, want %q", c.name, all, c.want)
		}
		if c.name == "honest" && (found.Drawn != 9 || found.Nobody != 2 || found.Fallback != 2 || found.First != 9 || len(found.Keys) != 1) {
			t.Errorf("honest: %+v", found)
		}
	}
}
