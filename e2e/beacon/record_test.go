package beacon

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"strings"

	abci "github.com/cometbft/cometbft/abci/types"
	rpcclient "github.com/cometbft/cometbft/rpc/client"
	rpchttp "github.com/cometbft/cometbft/rpc/client/http"
	cmttypes "github.com/cometbft/cometbft/types"
	"github.com/cosmos/gogoproto/proto"
	blst "github.com/supranational/blst/bindings/go"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	sdk "github.com/cosmos/cosmos-sdk/types"

	api "github.com/cella-network/cella/api/beacon"
	"github.com/cella-network/cella/api/committee"
	"github.com/cella-network/cella/protocol/threshold"
)

// record is all that a node's RPC tells of a height: what the lottery is recomputed from.
type record struct {
	height   int64
	proposer [20]byte // of the block's header
	round    int32    // in which it was committed
	turn     *api.Turn
	number   *api.QueryNumberResponse // nil: none came

	newest  bool // the block carries a number of a higher height than all blocks before
	omitted bool // it left out the number of the height before, although those who voted for that could make it
	told    bool // the chain says that it did
}

// conn asks the application behind a node's RPC, as of a height if that is not 0.
type conn struct {
	rpcclient.Client
	height int64
}

func dial(address string) (conn, error) {
	c, err := rpchttp.NewWithTimeout(address, "/websocket", 10)
	return conn{Client: c}, err
}

// asOf asks for the state after the block of a height.
func (c conn) asOf(height int64) conn { return conn{c.Client, height} }

func (c conn) Invoke(ctx context.Context, method string, in, out any, _ ...grpc.CallOption) error {
	data, err := proto.Marshal(in.(proto.Message))
	if err != nil {
		return err
	}
	r, err := c.ABCIQueryWithOptions(ctx, method, data, rpcclient.ABCIQueryOptions{Height: c.height})
	if err != nil {
		return err
	}
	if r.Response.Code != 0 {
		return status.Error(codes.Code(r.Response.Code), r.Response.Log)
	}
	return proto.Unmarshal(r.Response.Value, out.(proto.Message))
}

func (conn) NewStream(context.Context, *grpc.StreamDesc, string, ...grpc.CallOption) (grpc.ClientStream, error) {
	return nil, errors.New("the RPC streams nothing")
}

// read collects the heights from first to last, whose successor must exist. No number must have come before the first.
func (c conn) read(ctx context.Context, first, last int64) (all []record, err error) {
	q := api.NewQueryClient(c)
	highest := map[int64]int64{} // of the numbers that a block carries
	block, err := c.Block(ctx, &first)
	if err != nil {
		return nil, err
	}
	for h := first; h <= last; h++ {
		next := h + 1
		after, err := c.Block(ctx, &next)
		if err != nil {
			return nil, err
		}
		r := record{height: h, proposer: [20]byte(block.Block.ProposerAddress), round: after.Block.LastCommit.Round}
		if turn, err := q.Turn(ctx, &api.QueryTurnRequest{Height: h}); err == nil {
			r.turn = &turn.Turn
		} else if !absent(err) {
			return nil, err
		}
		if r.number, err = q.Number(ctx, &api.QueryNumberRequest{Height: h}); err == nil {
			highest[r.number.Number.Carried] = max(highest[r.number.Number.Carried], h)
		} else if !absent(err) {
			return nil, err
		} else {
			r.number = nil
		}
		if len(all) > 0 {
			if r.omitted, err = c.omits(ctx, all[len(all)-1], block.Block.LastCommit); err != nil {
				return nil, err
			}
			events, err := c.eventsOf(ctx, h)
			if err != nil {
				return nil, err
			}
			r.told = len(typed[*api.EventOmitted](events)) > 0
		}
		all = append(all, r)
		block = after
	}
	top := int64(0)
	for i, r := range all {
		all[i].newest = highest[r.height] > top
		top = max(top, highest[r.height])
	}
	return all, nil
}

// omits says whether a block left out the number of the height before it although it could carry it. commit is the one in the block.
func (c conn) omits(ctx context.Context, before record, commit *cmttypes.Commit) (bool, error) {
	height := before.height + 1
	if before.number != nil && before.number.Number.Carried == height || before.turn == nil {
		return false, nil
	}
	q, err := committee.NewQueryClient(c.asOf(before.height)).Charge(ctx, &committee.QueryChargeRequest{Purpose: purpose})
	if err != nil {
		return false, err
	}
	signs, err := groupAt(q, before.height)
	if err != nil || signs == nil {
		return false, err
	}
	if now, err := groupAt(q, height); err != nil || now == nil || now.Key() != signs.Key() {
		return false, err // another key took over: the number can't come any more
	}
	shares := 0
	for _, s := range commit.Signatures {
		if s.BlockIDFlag != cmttypes.BlockIDFlagCommit {
			continue
		}
		for i, seat := range signs.Seats {
			if signs.Ready(i) && seat.Account == operatorOf(before.turn, s.ValidatorAddress) {
				shares += seat.Shares
			}
		}
	}
	return shares >= signs.Threshold, nil
}

// groupAt is the group that signs at a height, nil if there is none.
func groupAt(q *committee.QueryChargeResponse, height int64) (*threshold.Group, error) {
	for _, c := range []*committee.Charge{q.Charge, q.Before} {
		if c != nil && c.From <= height {
			return threshold.UnmarshalGroup(c.Group)
		}
	}
	return nil, nil
}

// operatorOf is the account behind a consensus address.
func operatorOf(t *api.Turn, consensus []byte) (account [20]byte) {
	for _, e := range t.Entries {
		if addressOf(e.Address) == [20]byte(consensus) {
			if a, err := sdk.ValAddressFromBech32(e.Operator); err == nil {
				return [20]byte(a)
			}
		}
	}
	return account
}

// absent tells that the application has nothing of that name.
func absent(err error) bool {
	return strings.Contains(err.Error(), "did not come") || strings.Contains(err.Error(), "is not known")
}

// eventsOf are the events of a block that no transaction emitted, and those of its transactions.
func (c conn) eventsOf(ctx context.Context, height int64) ([]abci.Event, error) {
	r, err := c.BlockResults(ctx, &height)
	if err != nil {
		return nil, err
	}
	all := r.FinalizeBlockEvents
	for _, tx := range r.TxsResults {
		all = append(all, tx.Events...)
	}
	return all, nil
}

// typed are the events of one type, such as *api.EventNumber, among others.
func typed[T proto.Message](events []abci.Event) (found []T) {
	var zero T
	for _, e := range events {
		if e.Type != proto.MessageName(zero) {
			continue
		}
		plain := abci.Event{Type: e.Type}
		for _, a := range e.Attributes {
			if a.Key != "mode" && a.Key != "msg_index" { // of the SDK, beside those of the type
				plain.Attributes = append(plain.Attributes, a)
			}
		}
		if m, err := sdk.ParseTypedEvent(plain); err == nil {
			found = append(found, m.(T))
		}
	}
	return found
}

// checkNumber verifies a number as a stranger does: the signature with the group's key over the message, which says chain, epoch and height.
func checkNumber(chain string, n *api.QueryNumberResponse) error {
	want := short("cella/beacon/v1")
	want = append(want, short(chain)...)
	want = append(want, eight(n.Number.Epoch)...)
	want = append(want, eight(uint64(n.Number.Height))...)
	if string(want) != string(n.Message) {
		return fmt.Errorf("number %d signs %x, want %x", n.Number.Height, n.Message, want)
	}
	key, sig := new(blst.P2Affine).Uncompress(n.Key), new(blst.P1Affine).Uncompress(n.Number.Signature)
	if key == nil || sig == nil || !sig.Verify(true, key, true, n.Message, []byte(n.Tag)) {
		return fmt.Errorf("number %d: the signature is not the group's", n.Number.Height)
	}
	if sum := sha256.Sum256(n.Number.Signature); string(sum[:]) != string(n.Number.Number) {
		return fmt.Errorf("number %d is %x, the hash of its signature %x", n.Number.Height, n.Number.Number, sum)
	}
	return nil
}

// short is a string behind its length in two bytes, eight a number in eight.
func short(s string) []byte { return append([]byte{byte(len(s) >> 8), byte(len(s))}, s...) }
func eight(v uint64) []byte {
	b := make([]byte, 8)
	for i := range b {
		b[i] = byte(v >> (56 - 8*i))
	}
	return b
}

func entriesOf(t *api.Turn) (all []entry, err error) {
	for _, e := range t.Entries {
		a, err := hex.DecodeString(e.Address)
		if err != nil {
			return nil, fmt.Errorf("%q is no address: %w", e.Address, err)
		}
		if len(a) != 20 {
			return nil, fmt.Errorf("%q is no address: it has %d bytes", e.Address, len(a))
		}
		all = append(all, entry{address: [20]byte(a), stake: e.Stake, age: e.Age, turns: e.Turns, proposed: e.Proposed, omitted: e.Omitted})
	}
	return all, nil
}
