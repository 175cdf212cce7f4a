package journal

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	abci "github.com/cometbft/cometbft/abci/types"
	coretypes "github.com/cometbft/cometbft/rpc/core/types"
	cmttypes "github.com/cometbft/cometbft/types"
	dbm "github.com/cosmos/cosmos-db"

	"cosmossdk.io/log/v2"

	"github.com/cosmos/cosmos-sdk/baseapp"
	"github.com/cosmos/cosmos-sdk/crypto/keys/ed25519"
	"github.com/cosmos/cosmos-sdk/crypto/keys/secp256k1"
	sdk "github.com/cosmos/cosmos-sdk/types"
	"github.com/cosmos/cosmos-sdk/types/tx/signing"
	authsigning "github.com/cosmos/cosmos-sdk/x/auth/signing"
	banktypes "github.com/cosmos/cosmos-sdk/x/bank/types"
	distrtypes "github.com/cosmos/cosmos-sdk/x/distribution/types"
	govv1 "github.com/cosmos/cosmos-sdk/x/gov/types/v1"
	stakingtypes "github.com/cosmos/cosmos-sdk/x/staking/types"

	"github.com/cella-network/cella/api/guarantee"
	"github.com/cella-network/cella/api/market"
	"github.com/cella-network/cella/chain/app"
	"github.com/cella-network/cella/client"
)

const chainID = "cella-test-1"

var genesisTime = time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)

// chain is the application without a network; it keeps what a node would, and is the Source of the tests.
type chain struct {
	*app.App
	t         *testing.T
	validator *ed25519.PrivKey
	users     []*secp256k1.PrivKey // the first is the validator's operator
	sequences []uint64

	height   int64
	first    int64 // blocks before are pruned
	discard  bool  // no results are kept
	results  []*coretypes.ResultBlockResults
	blocks   []*coretypes.ResultBlock
	balances []map[string]uint64 // by height, of the users
	state    int64               // states before this height are pruned
}

func newChain(t *testing.T) *chain {
	t.Helper()
	a, err := app.New(log.NewNopLogger(), dbm.NewMemDB(), t.TempDir(), baseapp.SetChainID(chainID))
	if err != nil {
		t.Fatal(err)
	}
	if err := a.LoadLatestVersion(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = a.Close() })
	c := &chain{App: a, t: t, validator: ed25519.GenPrivKeyFromSecret([]byte("validator")), first: 1}
	g := a.DefaultGenesis()
	for i := range 3 {
		key := secp256k1.GenPrivKeyFromSecret(fmt.Appendf(nil, "user %d", i))
		c.users = append(c.users, key)
		if err := g.Fund(sdk.AccAddress(key.PubKey().Address()), sdk.NewInt64Coin(app.Denom, 1_000_000_000)); err != nil {
			t.Fatal(err)
		}
	}
	c.sequences = make([]uint64, len(c.users))
	if err := g.Bond(sdk.AccAddress(c.users[0].PubKey().Address()), c.validator.PubKey(), "validator", sdk.NewInt64Coin(app.Denom, 100_000_000)); err != nil {
		t.Fatal(err)
	}
	var m market.GenesisState
	if err := g.Change("market", &m, func() error {
		m.Params.DayBlocks, m.Params.MinBlocks, m.Params.MaxBlocks, m.Params.GraceBlocks = 100, 5, 1000, 2
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	var stakes guarantee.GenesisState
	if err := g.Change("guarantee", &stakes, func() error {
		// The validator has proven storage before; nothing is proven here, but a limit is kept for as long as this lasts.
		stakes.Params.EraBlocks, stakes.Params.GraceEras, stakes.Params.MinOwn = 15, 100, 1_000_000
		stakes.Nodes = []guarantee.GenesisNode{{Operator: c.address(0), Node: guarantee.Node{Storage: guarantee.Storage{Limit: 1e12, Base: 1e12}}}}
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	doc, err := a.Doc(g, chainID)
	if err != nil {
		t.Fatal(err)
	}
	params := app.ConsensusParams().ToProto()
	if _, err := c.InitChain(&abci.RequestInitChain{ChainId: chainID, Time: genesisTime, InitialHeight: 1, ConsensusParams: &params, AppStateBytes: doc.AppState}); err != nil {
		t.Fatal(err)
	}
	opening := map[string]uint64{}
	for i := range c.users {
		opening[c.address(i)] = 1_000_000_000
	}
	c.results, c.blocks, c.balances = []*coretypes.ResultBlockResults{nil}, []*coretypes.ResultBlock{nil}, []map[string]uint64{opening}
	return c
}

func (c *chain) address(i int) string {
	return sdk.AccAddress(c.users[i].PubKey().Address()).String()
}

// block executes and commits the next block; half a day passes with each.
func (c *chain) block(txs ...[]byte) []*abci.ExecTxResult {
	c.t.Helper()
	c.height++
	hash := sha256.Sum256(fmt.Appendf(nil, "block %d", c.height))
	at := genesisTime.Add(time.Duration(c.height) * 12 * time.Hour)
	r, err := c.FinalizeBlock(&abci.RequestFinalizeBlock{Height: c.height, Time: at, Hash: hash[:], Txs: txs, ProposerAddress: c.validator.PubKey().Address(),
		DecidedLastCommit: abci.CommitInfo{Votes: []abci.VoteInfo{{Validator: abci.Validator{Address: c.validator.PubKey().Address(), Power: 100}, BlockIdFlag: 2}}}})
	if err != nil {
		c.t.Fatal(err)
	}
	if _, err := c.Commit(); err != nil {
		c.t.Fatal(err)
	}
	block := &cmttypes.Block{Header: cmttypes.Header{Height: c.height, Time: at}}
	for _, tx := range txs {
		block.Txs = append(block.Txs, tx)
	}
	c.results = append(c.results, &coretypes.ResultBlockResults{Height: c.height, TxsResults: r.TxResults, FinalizeBlockEvents: r.Events})
	c.blocks = append(c.blocks, &coretypes.ResultBlock{Block: block})
	after := map[string]uint64{}
	ctx := c.NewContext(true)
	for i := range c.users {
		after[c.address(i)] = c.Bank.GetBalance(ctx, sdk.AccAddress(c.users[i].PubKey().Address()), app.Denom).Amount.Uint64()
	}
	c.balances = append(c.balances, after)
	return r.TxResults
}

// sign makes a transaction of one user.
func (c *chain) sign(user int, msgs ...sdk.Msg) []byte {
	c.t.Helper()
	key, sequence := c.users[user], c.sequences[user]
	c.sequences[user]++
	b := c.TxConfig.NewTxBuilder()
	if err := b.SetMsgs(msgs...); err != nil {
		c.t.Fatal(err)
	}
	b.SetGasLimit(900_000)
	b.SetFeeAmount(sdk.NewCoins(sdk.NewInt64Coin(app.Denom, 1000)))
	sig := signing.SignatureV2{PubKey: key.PubKey(), Sequence: sequence, Data: &signing.SingleSignatureData{SignMode: signing.SignMode_SIGN_MODE_DIRECT}}
	if err := b.SetSignatures(sig); err != nil {
		c.t.Fatal(err)
	}
	data := authsigning.SignerData{Address: c.address(user), ChainID: chainID, AccountNumber: uint64(user), Sequence: sequence, PubKey: key.PubKey()}
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

var errPruned = fmt.Errorf("%w (could not find results)", ErrGone)

func (c *chain) Span(context.Context) (int64, int64, error) { return c.first, c.height, nil }

func (c *chain) Wait(ctx context.Context, height int64) error {
	if height > c.height {
		<-ctx.Done()
		return ctx.Err()
	}
	return nil
}

func (c *chain) Results(_ context.Context, height int64) (*coretypes.ResultBlockResults, error) {
	if height < c.first || c.discard {
		return nil, errPruned
	}
	return c.results[height], nil
}

func (c *chain) Block(_ context.Context, height int64) (*coretypes.ResultBlock, error) {
	if height < c.first {
		return nil, errors.New("no such block")
	}
	return c.blocks[height], nil
}

func (c *chain) Balance(_ context.Context, account string, height int64) (uint64, error) {
	if height < c.state {
		return 0, errPruned
	}
	return c.balances[height][account], nil
}

func ucella(n int64) sdk.Coin { return sdk.NewInt64Coin(client.Denom, n) }

// live makes blocks full of all that moves coins.
func (c *chain) live(r *rand.Rand, blocks int) {
	c.t.Helper()
	validator := sdk.ValAddress(c.users[0].PubKey().Address()).String()
	orders := map[int][]uint64{}
	last := uint64(0)
	for range blocks {
		var txs [][]byte
		var placed []int
		for user := range c.users {
			if r.IntN(4) == 0 {
				continue
			}
			me, other := c.address(user), c.address(r.IntN(len(c.users)))
			var msgs []sdk.Msg
			for range 1 + r.IntN(3) {
				n := 1 + r.Int64N(1_000_000)
				switch r.IntN(10) {
				case 0, 1:
					msgs = append(msgs, &banktypes.MsgSend{FromAddress: me, ToAddress: other, Amount: sdk.NewCoins(ucella(n))})
				case 2:
					msgs = append(msgs, &banktypes.MsgMultiSend{Inputs: []banktypes.Input{{Address: me, Coins: sdk.NewCoins(ucella(n + 5))}},
						Outputs: []banktypes.Output{{Address: other, Coins: sdk.NewCoins(ucella(n))}, {Address: c.address(1), Coins: sdk.NewCoins(ucella(5))}}})
				case 3:
					msgs = append(msgs, &stakingtypes.MsgDelegate{DelegatorAddress: me, ValidatorAddress: validator, Amount: ucella(1_000_000 + n)})
				case 4:
					msgs = append(msgs, &stakingtypes.MsgUndelegate{DelegatorAddress: me, ValidatorAddress: validator, Amount: ucella(1_000_000 + n/1000)})
				case 5:
					msgs = append(msgs, &distrtypes.MsgWithdrawDelegatorReward{DelegatorAddress: me, ValidatorAddress: validator})
				case 6: // fails, with whatever comes before it; the fee stays paid
					msgs = append(msgs, &banktypes.MsgSend{FromAddress: me, ToAddress: other, Amount: sdk.NewCoins(ucella(1 << 50))})
				case 7:
					if len(msgs) == 0 {
						msgs = append(msgs, &market.MsgPlaceOrder{Owner: me, Root: root(c.height, user), Size_: 1 << 20, Blocks: 5 + r.Int64N(9), Replicas: 2, Price: 1_000_000})
						placed = append(placed, user)
					}
				case 8:
					if mine := orders[user]; len(mine) > 0 {
						msgs = append(msgs, &market.MsgRenew{Owner: me, Order: mine[r.IntN(len(mine))], Blocks: 5 + r.Int64N(9)})
					}
				case 9:
					if mine := orders[user]; len(mine) > 0 {
						msgs = append(msgs, &market.MsgEnd{Owner: me, Order: mine[r.IntN(len(mine))]})
					}
				}
				if len(placed) > 0 && placed[len(placed)-1] == user {
					break
				}
			}
			if len(msgs) > 0 {
				txs = append(txs, c.sign(user, msgs...))
			}
		}
		if r.IntN(8) == 0 {
			deposit, err := govv1.NewMsgSubmitProposal(nil, sdk.NewCoins(ucella(2_000_000)), c.address(2), "metadata", "a title", "a summary", false)
			if err != nil {
				c.t.Fatal(err)
			}
			txs = append(txs, c.sign(2, deposit))
		}
		c.block(txs...)
		for _, user := range placed {
			last++
			orders[user] = append(orders[user], last)
		}
	}
}

// root is a binary CID of raw bytes that differ by height and user.
func root(height int64, user int) []byte {
	hash := sha256.Sum256(fmt.Appendf(nil, "%d of %d", height, user))
	return append([]byte{1, 0x55, 0x12, 32}, hash[:]...)
}

// Whatever is done on a chain, the entries of an account add up to the change of its balance, block by block.
func TestEntriesAddUpToTheBalance(t *testing.T) {
	c := newChain(t)
	c.live(rand.New(rand.NewPCG(1, 2)), 120)
	seen := map[Kind]int{}
	for i := range c.users {
		account := c.address(i)
		for h := int64(1); h <= c.height; h++ {
			entries, err := read(t.Context(), c, account, h)
			if err != nil {
				t.Fatal(err)
			}
			for _, e := range entries {
				seen[e.Kind]++
				if e.Kind == KindOther {
					t.Errorf("block %d: %+v is not explained", h, e)
				}
				if e.Kind == KindFee && (e.Tx == "" || e.Rule == "") {
					t.Errorf("block %d: fee of no transaction: %+v", h, e)
				}
			}
			if got, want := Sum(entries), int64(c.balances[h][account])-int64(c.balances[h-1][account]); got != want {
				t.Fatalf("block %d: entries of %s add up to %d, the balance changed by %d:\n%+v", h, account, got, want, entries)
			}
		}
	}
	for _, k := range []Kind{KindFee, KindTransfer, KindDelegation, KindReward, KindEscrow, KindDeposit} {
		if seen[k] == 0 {
			t.Errorf("nothing of kind %s happened: %v", k, seen)
		}
	}
}
