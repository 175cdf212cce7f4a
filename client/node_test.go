package client

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"sync"
	"testing"

	abci "github.com/cometbft/cometbft/abci/types"
	"github.com/cometbft/cometbft/libs/bytes"
	"github.com/cometbft/cometbft/p2p"
	rpcclient "github.com/cometbft/cometbft/rpc/client"
	ctypes "github.com/cometbft/cometbft/rpc/core/types"
	"github.com/cometbft/cometbft/types"
	nodetypes "github.com/cosmos/cosmos-sdk/client/grpc/node"
	"github.com/cosmos/cosmos-sdk/codec"
	codectypes "github.com/cosmos/cosmos-sdk/codec/types"
	cryptocodec "github.com/cosmos/cosmos-sdk/crypto/codec"
	"github.com/cosmos/cosmos-sdk/crypto/hd"
	"github.com/cosmos/cosmos-sdk/crypto/keyring"
	"github.com/cosmos/cosmos-sdk/crypto/keys/secp256k1"
	sdk "github.com/cosmos/cosmos-sdk/types"
	"github.com/cosmos/cosmos-sdk/types/query"
	txtypes "github.com/cosmos/cosmos-sdk/types/tx"
	authtypes "github.com/cosmos/cosmos-sdk/x/auth/types"
	"github.com/cosmos/gogoproto/proto"
)

const testChain = "test-1"

// fakeNode is a node of a chain that knows one account and takes any message. Its blocks come as fast as they are asked for. The hooks
// make it misbehave.
type fakeNode struct {
	RPC
	t *testing.T

	mu       sync.Mutex
	height   int64
	number   uint64
	sequence uint64 // of the account, in the committed state
	pending  uint64 // the same with the mempool on top
	absent   bool   // there is no account
	mempool  [][]byte
	blocks   map[int64]types.Txs
	results  map[int64][]*abci.ExecTxResult
	executed []txtypes.TxRaw
	offered  int // broadcasts

	admit   func(attempt int) (*ctypes.ResultBroadcastTx, error) // nil, nil: go on
	include func(attempt int) bool                               // false: the block passes the transaction over
	execute func(attempt int, gas uint64) (uint32, string)       // code and codespace
	respond func(body txtypes.TxBody) []byte                     // data of a transaction's result
	runs    int
	query   map[string]func(req []byte) (proto.Message, error)
}

func newNode(t *testing.T) *fakeNode {
	return &fakeNode{t: t, height: 10, number: 7, sequence: 3, pending: 3, blocks: map[int64]types.Txs{}, results: map[int64][]*abci.ExecTxResult{},
		query: map[string]func([]byte) (proto.Message, error){}}
}

func (n *fakeNode) Status(context.Context) (*ctypes.ResultStatus, error) {
	return &ctypes.ResultStatus{NodeInfo: p2p.DefaultNodeInfo{Network: testChain}}, nil
}

// ABCIInfo commits a block each time, so that nobody waits for long.
func (n *fakeNode) ABCIInfo(context.Context) (*ctypes.ResultABCIInfo, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.height++
	var kept [][]byte
	for _, tx := range n.mempool {
		raw, body, auth := n.decode(tx)
		if int64(body.TimeoutHeight) < n.height {
			continue
		}
		n.runs++
		if n.include != nil && !n.include(n.runs) {
			kept = append(kept, tx)
			continue
		}
		res := &abci.ExecTxResult{GasUsed: 50_000}
		if seq := auth.SignerInfos[0].Sequence; seq != n.sequence {
			res.Code, res.Codespace, res.Log = codeSequence, sdkSpace, "account sequence mismatch"
		} else {
			n.sequence++
			if n.execute != nil {
				res.Code, res.Codespace = n.execute(n.runs, auth.Fee.GasLimit)
			}
			if res.Code == 0 && n.respond != nil {
				res.Data = n.respond(body)
			}
			if res.Code == 0 {
				n.executed = append(n.executed, raw)
			}
		}
		n.blocks[n.height] = append(n.blocks[n.height], tx)
		n.results[n.height] = append(n.results[n.height], res)
	}
	n.mempool = kept
	if len(kept) == 0 {
		n.pending = n.sequence
	}
	return &ctypes.ResultABCIInfo{Response: abci.ResponseInfo{LastBlockHeight: n.height}}, nil
}

func (n *fakeNode) decode(tx []byte) (raw txtypes.TxRaw, body txtypes.TxBody, auth txtypes.AuthInfo) {
	if err := errors.Join(raw.Unmarshal(tx), body.Unmarshal(raw.BodyBytes), auth.Unmarshal(raw.AuthInfoBytes)); err != nil {
		n.t.Error(err)
	}
	return raw, body, auth
}

func (n *fakeNode) ABCIQueryWithOptions(_ context.Context, path string, data bytes.HexBytes, _ rpcclient.ABCIQueryOptions) (*ctypes.ResultABCIQuery, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	fail := func(code uint32, log string) (*ctypes.ResultABCIQuery, error) {
		return &ctypes.ResultABCIQuery{Response: abci.ResponseQuery{Code: code, Codespace: sdkSpace, Log: log}}, nil
	}
	ok := func(m proto.Message) (*ctypes.ResultABCIQuery, error) {
		b, err := proto.Marshal(m)
		return &ctypes.ResultABCIQuery{Response: abci.ResponseQuery{Value: b}}, err
	}
	switch path {
	case "/cosmos.auth.v1beta1.Query/AccountInfo":
		if n.absent {
			return fail(codeNotFound, "account not found")
		}
		return ok(&authtypes.QueryAccountInfoResponse{Info: &authtypes.BaseAccount{AccountNumber: n.number, Sequence: n.sequence}})
	case "/cosmos.base.node.v1beta1.Service/Config":
		return ok(&nodetypes.ConfigResponse{MinimumGasPrice: "0.001" + Denom})
	case "/app/simulate":
		_, _, auth := n.decode(data)
		if auth.SignerInfos[0].Sequence != n.pending {
			return fail(codeSequence, "account sequence mismatch")
		}
		return &ctypes.ResultABCIQuery{Response: abci.ResponseQuery{Value: []byte(`{"gas_info":{"gas_wanted":"0","gas_used":"50000"}}`)}}, nil
	}
	if q := n.query[path]; q != nil {
		m, err := q(data)
		if err != nil {
			return fail(codeInvalid, err.Error())
		}
		return ok(m)
	}
	return fail(6, "unknown query "+path)
}

func (n *fakeNode) BroadcastTxSync(_ context.Context, tx types.Tx) (*ctypes.ResultBroadcastTx, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.offered++
	if n.admit != nil {
		if r, err := n.admit(n.offered); r != nil || err != nil {
			return r, err
		}
	}
	raw, _, auth := n.decode(tx)
	info := auth.SignerInfos[0]
	var pub secp256k1.PubKey
	if err := pub.Unmarshal(info.PublicKey.Value); err != nil {
		n.t.Error(err)
	}
	doc, err := (&txtypes.SignDoc{BodyBytes: raw.BodyBytes, AuthInfoBytes: raw.AuthInfoBytes, ChainId: testChain, AccountNumber: n.number}).Marshal()
	if err != nil || !pub.VerifySignature(doc, raw.Signatures[0]) {
		n.t.Errorf("bad signature (%v)", err)
	}
	if want := auth.Fee.GasLimit / 1000; auth.Fee.Amount.AmountOf(Denom).Uint64() < want {
		n.t.Errorf("fee %s for %d gas at 0.001", auth.Fee.Amount, auth.Fee.GasLimit)
	}
	if info.Sequence != n.pending {
		return &ctypes.ResultBroadcastTx{Code: codeSequence, Codespace: sdkSpace, Log: fmt.Sprintf("expected %d, got %d", n.pending, info.Sequence)}, nil
	}
	n.pending++
	n.mempool = append(n.mempool, tx)
	return &ctypes.ResultBroadcastTx{Hash: tx.Hash()}, nil
}

func (n *fakeNode) Block(_ context.Context, height *int64) (*ctypes.ResultBlock, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	return &ctypes.ResultBlock{Block: &types.Block{Data: types.Data{Txs: n.blocks[*height]}}}, nil
}

func (n *fakeNode) BlockResults(_ context.Context, height *int64) (*ctypes.ResultBlockResults, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	return &ctypes.ResultBlockResults{Height: *height, TxsResults: n.results[*height]}, nil
}

func testKeys(t *testing.T) keyring.Keyring {
	t.Helper()
	registry := codectypes.NewInterfaceRegistry()
	cryptocodec.RegisterInterfaces(registry)
	kr := keyring.NewInMemory(codec.NewProtoCodec(registry))
	_, _, err := kr.NewMnemonic("alice", keyring.English, sdk.GetConfig().GetFullBIP44Path(), "", hd.Secp256k1)
	if err != nil {
		t.Fatal(err)
	}
	return kr
}

// testAccount is alice on a chain of one node.
func testAccount(t *testing.T, n *fakeNode) *Account {
	t.Helper()
	chain, err := NewChain(t.Context(), n)
	if err != nil {
		t.Fatal(err)
	}
	a, err := NewAccount(chain, testKeys(t), "alice")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(a.Close)
	return a
}

func hashOf(b []byte) [32]byte { return sha256.Sum256(b) }

// pageTo is the answer of a paginated query whose next item is at.
func pageTo(at, of int) *query.PageResponse {
	if at >= of {
		return &query.PageResponse{}
	}
	return &query.PageResponse{NextKey: []byte{byte(at)}}
}
