package app_test

import (
	"context"
	"crypto/sha256"
	"fmt"
	"testing"
	"time"

	abci "github.com/cometbft/cometbft/abci/types"
	dbm "github.com/cosmos/cosmos-db"

	"cosmossdk.io/log/v2"

	"github.com/cosmos/cosmos-sdk/baseapp"
	"github.com/cosmos/cosmos-sdk/crypto/keys/ed25519"
	"github.com/cosmos/cosmos-sdk/crypto/keys/secp256k1"
	sdk "github.com/cosmos/cosmos-sdk/types"
	"github.com/cosmos/cosmos-sdk/types/tx/signing"
	authsigning "github.com/cosmos/cosmos-sdk/x/auth/signing"

	"github.com/cella-network/cella/api/guarantee"
	"github.com/cella-network/cella/chain/app"
)

const chainID = "cella-test-1"

var start = time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)

func newApp(t *testing.T) *app.App {
	t.Helper()
	a, err := app.New(log.NewNopLogger(), dbm.NewMemDB(), t.TempDir(), baseapp.SetChainID(chainID))
	if err != nil {
		t.Fatal(err)
	}
	if err := a.LoadLatestVersion(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = a.Close() })
	return a
}

func cella(n int64) sdk.Coin { return sdk.NewInt64Coin(app.Denom, n*1_000_000) }

// chain is an application that is fed blocks without a network: one validator, and a user with coins.
type chain struct {
	*app.App
	t         *testing.T
	validator *ed25519.PrivKey
	operator  *secp256k1.PrivKey
	user      *secp256k1.PrivKey
}

func address(k *secp256k1.PrivKey) sdk.AccAddress { return sdk.AccAddress(k.PubKey().Address()) }

func newChain(t *testing.T) *chain {
	t.Helper()
	c := &chain{App: newApp(t), t: t,
		validator: ed25519.GenPrivKeyFromSecret([]byte("validator")),
		operator:  secp256k1.GenPrivKeyFromSecret([]byte("operator")),
		user:      secp256k1.GenPrivKeyFromSecret([]byte("user"))}
	g := c.DefaultGenesis()
	for _, err := range []error{
		g.Fund(address(c.user), cella(1000)),
		g.Fund(address(c.operator), cella(1000)),
		g.Bond(address(c.operator), c.validator.PubKey(), "validator", cella(100)),
	} {
		if err != nil {
			t.Fatal(err)
		}
	}
	var stakes guarantee.GenesisState
	if err := g.Change("guarantee", &stakes, func() error {
		limit := guarantee.Storage{Limit: 1_000_000_000, Base: 1_000_000_000} // as if it had proven some storage
		stakes.Nodes = []guarantee.GenesisNode{{Operator: address(c.operator).String(), Node: guarantee.Node{Storage: limit}}}
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	doc, err := c.Doc(g, chainID)
	if err != nil {
		t.Fatal(err)
	}
	c.initChain(doc.AppState, 1)
	return c
}

func (c *chain) initChain(state []byte, height int64) {
	c.t.Helper()
	params := app.ConsensusParams().ToProto()
	r, err := c.InitChain(&abci.RequestInitChain{ChainId: chainID, Time: start, InitialHeight: height, ConsensusParams: &params, AppStateBytes: state})
	if err != nil {
		c.t.Fatal(err)
	}
	if len(r.Validators) != 1 {
		c.t.Fatalf("genesis gives %d validators, want 1", len(r.Validators))
	}
}

// block executes and commits the next block and returns its transactions' results.
func (c *chain) block(height int64, txs ...[]byte) []*abci.ExecTxResult {
	c.t.Helper()
	hash := sha256.Sum256(fmt.Appendf(nil, "block %d", height))
	r, err := c.FinalizeBlock(&abci.RequestFinalizeBlock{Height: height, Time: start.Add(time.Duration(height) * time.Second),
		Hash: hash[:], Txs: txs, ProposerAddress: c.validator.PubKey().Address()})
	if err != nil {
		c.t.Fatal(err)
	}
	if _, err := c.Commit(); err != nil {
		c.t.Fatal(err)
	}
	return r.TxResults
}

// sign makes a transaction of one signer, directly signed.
func (c *chain) sign(key *secp256k1.PrivKey, account, sequence, gas uint64, msgs ...sdk.Msg) []byte {
	c.t.Helper()
	b := c.TxConfig.NewTxBuilder()
	if err := b.SetMsgs(msgs...); err != nil {
		c.t.Fatal(err)
	}
	b.SetGasLimit(gas)
	b.SetFeeAmount(sdk.NewCoins(sdk.NewInt64Coin(app.Denom, 1000)))
	sig := signing.SignatureV2{PubKey: key.PubKey(), Sequence: sequence, Data: &signing.SingleSignatureData{SignMode: signing.SignMode_SIGN_MODE_DIRECT}}
	if err := b.SetSignatures(sig); err != nil {
		c.t.Fatal(err)
	}
	data := authsigning.SignerData{Address: address(key).String(), ChainID: chainID, AccountNumber: account, Sequence: sequence, PubKey: key.PubKey()}
	bytes, err := authsigning.GetSignBytesAdapter(context.Background(), c.TxConfig.SignModeHandler(), signing.SignMode_SIGN_MODE_DIRECT, data, b.GetTx())
	if err != nil {
		c.t.Fatal(err)
	}
	raw, err := key.Sign(bytes)
	if err != nil {
		c.t.Fatal(err)
	}
	sig.Data = &signing.SingleSignatureData{SignMode: signing.SignMode_SIGN_MODE_DIRECT, Signature: raw}
	if err := b.SetSignatures(sig); err != nil {
		c.t.Fatal(err)
	}
	tx, err := c.TxConfig.TxEncoder()(b.GetTx())
	if err != nil {
		c.t.Fatal(err)
	}
	return tx
}
