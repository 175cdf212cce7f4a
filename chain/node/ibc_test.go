package node

import (
	"testing"
	"time"

	clienttypes "github.com/cosmos/ibc-go/v11/modules/core/02-client/types"
	commitment "github.com/cosmos/ibc-go/v11/modules/core/23-commitment/types"
	ibctm "github.com/cosmos/ibc-go/v11/modules/light-clients/07-tendermint"

	storetypes "github.com/cosmos/cosmos-sdk/store/v2/types"

	"github.com/cosmos/cosmos-sdk/codec"
	codectypes "github.com/cosmos/cosmos-sdk/codec/types"
	"github.com/cosmos/cosmos-sdk/runtime"
	"github.com/cosmos/cosmos-sdk/testutil"
)

// verifyIBC lets the client that other chains keep of ours go over headers with proposers that are none of CometBFT's rotation.
func (w *network) verifyIBC(t *testing.T, heights ...int64) {
	t.Helper()
	registry := codectypes.NewInterfaceRegistry()
	ibctm.RegisterInterfaces(registry)
	cdc := codec.NewProtoCodec(registry)
	key := storetypes.NewKVStoreKey("ibc")
	ctx := testutil.DefaultContext(key, storetypes.NewTransientStoreKey("transient")).WithBlockTime(time.Now())
	module := ibctm.NewLightClientModule(cdc, clienttypes.NewStoreProvider(runtime.NewKVStoreService(key)))
	const id = "07-tendermint-0"

	at := func(h int64) clienttypes.Height { return clienttypes.NewHeight(1, uint64(h)) } // cella-test-1 is of the first revision
	first := w.ibcHeader(t, heights[0], clienttypes.Height{}, 0)
	state := ibctm.NewClientState("cella-test-1", ibctm.DefaultTrustLevel, 14*24*time.Hour, 21*24*time.Hour, 10*time.Second, at(heights[0]), commitment.GetSDKSpecs(), nil)
	if err := module.Initialize(ctx, id, cdc.MustMarshal(state), cdc.MustMarshal(first.ConsensusState())); err != nil {
		t.Fatal(err)
	}
	for i, h := range heights[1:] {
		header := w.ibcHeader(t, h, at(heights[i]), heights[i])
		if err := header.ValidateBasic(); err != nil {
			t.Fatal(err)
		}
		if err := module.VerifyClientMessage(ctx, id, header); err != nil {
			t.Fatalf("from height %d to %d: %v", heights[i], h, err)
		}
		if module.CheckForMisbehaviour(ctx, id, header) {
			t.Fatalf("height %d is taken for misbehaviour", h)
		}
		module.UpdateState(ctx, id, header)
		if got := module.LatestHeight(ctx, id); !got.EQ(at(h)) {
			t.Fatalf("the client is at %s, want height %d", got, h)
		}
	}
}

// ibcHeader is what a relayer reads over RPC.
func (w *network) ibcHeader(t *testing.T, h int64, trusted clienttypes.Height, trustedAt int64) *ibctm.Header {
	t.Helper()
	rpc := w.nodes[0].RPC()
	c, err := rpc.Commit(t.Context(), &h)
	if err != nil {
		t.Fatal(err)
	}
	header := &ibctm.Header{SignedHeader: c.SignedHeader.ToProto(), TrustedHeight: trusted}
	if header.ValidatorSet, err = w.validators(t, h).ToProto(); err != nil {
		t.Fatal(err)
	}
	if trustedAt == 0 {
		return header
	}
	if header.TrustedValidators, err = w.validators(t, trustedAt+1).ToProto(); err != nil {
		t.Fatal(err)
	}
	return header
}
