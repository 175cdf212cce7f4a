package main

import (
	"context"
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"os"
	"time"

	abci "github.com/cometbft/cometbft/abci/types"
	dbm "github.com/cosmos/cosmos-db"

	"cosmossdk.io/log/v2"

	"github.com/cosmos/cosmos-sdk/baseapp"
	cosmosed25519 "github.com/cosmos/cosmos-sdk/crypto/keys/ed25519"
	"github.com/cosmos/cosmos-sdk/crypto/keys/secp256k1"
	sdk "github.com/cosmos/cosmos-sdk/types"
	"github.com/cosmos/cosmos-sdk/types/tx/signing"
	authsigning "github.com/cosmos/cosmos-sdk/x/auth/signing"
	authtypes "github.com/cosmos/cosmos-sdk/x/auth/types"
	banktypes "github.com/cosmos/cosmos-sdk/x/bank/types"

	"github.com/cella-network/cella/api/attest"
	marketapi "github.com/cella-network/cella/api/market"
	"github.com/cella-network/cella/api/work"
	"github.com/cella-network/cella/bench/meter"
	"github.com/cella-network/cella/chain/app"
	"github.com/cella-network/cella/protocol/attestation"
	"github.com/cella-network/cella/protocol/market"
	"github.com/cella-network/cella/protocol/storageproof"
)

const (
	chainID   = "bench-1"
	orderSize = 1 << 30  // bytes
	price     = 1 << 20  // ucella per GiB-day
	gasLimit  = 20e6     // of a transaction, the most
	free      = 16 << 40 // bytes of a node
)

var genesis = time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)

// node is an operator with its enclave.
type node struct {
	key      *secp256k1.PrivKey
	account  uint64 // number
	sequence uint64
	enclave  ed25519.PrivateKey
	orders   []storageproof.OrderRef
	last     *storageproof.Report
}

func (n *node) address() sdk.AccAddress { return sdk.AccAddress(n.key.PubKey().Address()) }

// chain is an application that is fed blocks without a network.
type chain struct {
	*app.App
	validator *cosmosed25519.PrivKey
	height    int64
}

// measure runs a chain with count nodes of each kind; a kind says how many orders a node has accepted.
func measure(kinds []int, count int) ([]cost, error) {
	home, err := os.MkdirTemp("", "cella-bench-")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(home)
	a, err := app.New(log.NewNopLogger(), dbm.NewMemDB(), home, baseapp.SetChainID(chainID))
	if err != nil {
		return nil, err
	}
	defer a.Close()
	if err := a.LoadLatestVersion(); err != nil {
		return nil, err
	}
	c := &chain{App: a, validator: cosmosed25519.GenPrivKeyFromSecret([]byte("validator"))}
	nodes, slot, err := c.begin(kinds, count)
	if err != nil {
		return nil, err
	}
	for range 3 {
		if _, _, err := c.block(nil); err != nil {
			return nil, err
		}
	}
	var out []cost
	for _, first := range []bool{true, false} {
		for i, kind := range kinds {
			k, err := c.reports(nodes[i], first)
			if err != nil {
				return nil, fmt.Errorf("nodes with %d orders: %w", kind, err)
			}
			k.orders = kind
			out = append(out, k)
		}
		for range slot {
			if _, _, err := c.block(nil); err != nil {
				return nil, err
			}
		}
	}
	return out, nil
}

// begin starts the chain from a genesis in which the nodes are registered and have accepted their orders.
func (c *chain) begin(kinds []int, count int) (nodes [][]*node, slot int64, err error) {
	g := c.DefaultGenesis()
	serial := uint64(0)
	key := func() *secp256k1.PrivKey {
		serial++
		return secp256k1.GenPrivKeyFromSecret(binary.BigEndian.AppendUint64(nil, serial))
	}
	var bank banktypes.GenesisState
	var at attest.GenesisState
	var wk work.GenesisState
	var mk marketapi.GenesisState
	coins := func(n int64) sdk.Coins { return sdk.NewCoins(sdk.NewInt64Coin(app.Denom, n)) }
	owner, operator := key(), key()
	for _, k := range []*secp256k1.PrivKey{owner, operator} {
		if err := g.Fund(sdk.AccAddress(k.PubKey().Address()), sdk.NewInt64Coin(app.Denom, 1e15)); err != nil {
			return nil, 0, err
		}
	}
	if err := g.Bond(sdk.AccAddress(operator.PubKey().Address()), c.validator.PubKey(), "validator", sdk.NewInt64Coin(app.Denom, 1e8)); err != nil {
		return nil, 0, err
	}
	var owed uint64
	add := func() error {
		p := mk.Params
		terms := market.Terms{DayBlocks: p.DayBlocks, MinBlocks: p.MinBlocks, MaxBlocks: p.MaxBlocks, AcceptBlocks: p.AcceptBlocks, GraceBlocks: p.GraceBlocks,
			Collateral: p.Collateral, MendBlocks: p.MendBlocks, ClearBlocks: p.ClearBlocks, FaultFactor: p.FaultFactor, RepairBlocks: p.RepairBlocks,
			WarnBlocks: p.WarnBlocks, SilentBlocks: p.SilentBlocks, AuditFaults: p.AuditFaults, LapseFee: p.LapseFee}
		for _, kind := range kinds {
			var group []*node
			for range count {
				n := &node{key: key(), account: uint64(2 + len(at.Nodes))}
				seed := sha256.Sum256(n.key.Key)
				n.enclave = ed25519.NewKeyFromSeed(seed[:])
				record := attestation.Node{Account: attestation.Account(n.address()), Platform: attestation.PlatformSim, Tier: attestation.TierHigh, Joined: 1, Expires: 1 << 30}
				copy(record.SignKey[:], n.enclave.Public().(ed25519.PublicKey))
				record.PlatformID = sha256.Sum256(record.SignKey[:])
				at.Nodes = append(at.Nodes, attest.GenesisNode{Record: record.Marshal()})
				for range kind {
					mk.LastOrder++
					digest := sha256.Sum256(binary.BigEndian.AppendUint64(nil, mk.LastOrder))
					o := market.Order{ID: mk.LastOrder, Owner: sdk.AccAddress(owner.PubKey().Address()).String(), Root: append([]byte{1, 0x70, 0x12, 32}, digest[:]...),
						Size: orderSize, Replicas: 1, Price: price}
					o, _, err := terms.Place(o, 30*terms.DayBlocks, 1)
					if err != nil {
						return err
					}
					r, _, err := terms.Accept(o, nil, market.Ask{Node: n.address().String(), Price: price, MaxSize: orderSize}, 1)
					if err != nil {
						return err
					}
					owed += o.Escrow + r.Collateral
					mk.Orders = append(mk.Orders, marketapi.Order{Id: o.ID, Owner: o.Owner, Root: o.Root, Size_: o.Size, Replicas: o.Replicas, Price: o.Price, Start: o.Start, End: o.End, Escrow: o.Escrow})
					mk.Replicas = append(mk.Replicas, marketapi.Replica{Order: r.Order, Operator: r.Node, Price: r.Price, Accepted: r.Accepted, Until: r.Until, Collateral: r.Collateral})
					n.orders = append(n.orders, storageproof.OrderRef{ID: o.ID, Root: o.Root, Size: o.Size})
				}
				group = append(group, n)
			}
			nodes = append(nodes, group)
		}
		return nil
	}
	steps := []func() error{
		func() error { return g.Change("work", &wk, func() error { slot = wk.Params.SlotBlocks; return nil }) },
		func() error {
			return g.Change("attest", &at, func() error {
				at.Params.Devnet = true
				return g.Change("market", &mk, add)
			})
		},
		func() error {
			for _, group := range nodes {
				for _, n := range group {
					if err := g.Fund(n.address(), sdk.NewInt64Coin(app.Denom, 1e12)); err != nil {
						return err
					}
				}
			}
			return nil
		},
		func() error {
			return g.Change("bank", &bank, func() error {
				bank.Balances = append(bank.Balances, banktypes.Balance{Address: authtypes.NewModuleAddress("market").String(), Coins: coins(int64(owed))})
				return nil
			})
		},
	}
	for _, step := range steps {
		if err := step(); err != nil {
			return nil, 0, err
		}
	}
	doc, err := c.Doc(g, chainID)
	if err != nil {
		return nil, 0, err
	}
	params := app.ConsensusParams().ToProto()
	_, err = c.InitChain(&abci.RequestInitChain{ChainId: chainID, Time: genesis, InitialHeight: 1, ConsensusParams: &params, AppStateBytes: doc.AppState})
	return nodes, slot, err
}

func hashOf(height int64) [32]byte {
	return sha256.Sum256(binary.BigEndian.AppendUint64([]byte("block"), uint64(height)))
}

// block checks, executes and commits transactions as the next block and tells what that took.
func (c *chain) block(txs [][]byte) ([]*abci.ExecTxResult, time.Duration, error) {
	before, err := meter.CPU(os.Getpid())
	if err != nil {
		return nil, 0, err
	}
	for _, tx := range txs {
		if r, err := c.CheckTx(&abci.RequestCheckTx{Tx: tx, Type: abci.CheckTxType_New}); err != nil || r.Code != 0 {
			return nil, 0, fmt.Errorf("check of a transaction: %w: %+v", err, r)
		}
	}
	c.height++
	hash := hashOf(c.height)
	r, err := c.FinalizeBlock(&abci.RequestFinalizeBlock{Height: c.height, Time: genesis.Add(time.Duration(c.height) * blockSeconds * time.Second),
		Hash: hash[:], Txs: txs, ProposerAddress: c.validator.PubKey().Address()})
	if err == nil {
		_, err = c.Commit()
	}
	if err != nil {
		return nil, 0, err
	}
	for _, t := range r.TxResults {
		if t.Code != 0 {
			return nil, 0, fmt.Errorf("a report failed: %s", t.Log)
		}
	}
	after, err := meter.CPU(os.Getpid())
	return r.TxResults, after - before, err
}

// reports has each of the nodes report once, as many in a block as fit.
func (c *chain) reports(nodes []*node, first bool) (cost, error) {
	k := cost{first: first}
	all, total := len(nodes), time.Duration(0)
	limit := uint64(app.ConsensusParams().Block.MaxGas)
	for len(nodes) > 0 {
		_, empty, err := c.block(nil)
		if err != nil {
			return k, err
		}
		n := 1
		if k.gas > 0 {
			n = max(1, min(len(nodes), int(limit/(k.gas+k.gas/4))))
		}
		var txs [][]byte
		for _, node := range nodes[:n] {
			tx, err := c.report(node, first)
			if err != nil {
				return k, err
			}
			txs = append(txs, tx)
		}
		results, took, err := c.block(txs)
		if err != nil {
			return k, err
		}
		for i, r := range results {
			k.gas, k.bytes = max(k.gas, uint64(r.GasUsed)), max(k.bytes, len(txs[i]))
		}
		total += max(0, took-empty)
		nodes = nodes[n:]
	}
	k.cpu = total / time.Duration(all)
	return k, nil
}

// report is a node's next transaction.
func (c *chain) report(n *node, first bool) ([]byte, error) {
	r := storageproof.Report{ChainID: chainID, Account: [20]byte(n.address()), Counter: 1, From: c.height, Height: c.height, Hash: hashOf(c.height),
		Free: free, Stored: uint64(len(n.orders)) * orderSize, Sectors: 1 << 16, Table: hashOf(-1), Orders: storageproof.OrdersRoot(n.orders)}
	if first {
		r.Added = n.orders
	} else {
		r.Counter, r.Prev, r.From, r.Answered = n.last.Counter+1, n.last.ID(), n.last.Height, uint64(c.height-n.last.Height)
	}
	n.last = &r
	encoded := r.Marshal()
	return c.sign(n, &work.MsgReport{Reporter: n.address().String(), Report: encoded, Signature: ed25519.Sign(n.enclave, encoded)})
}

// sign makes a transaction of one signer, directly signed.
func (c *chain) sign(n *node, msg sdk.Msg) ([]byte, error) {
	b := c.TxConfig.NewTxBuilder()
	if err := b.SetMsgs(msg); err != nil {
		return nil, err
	}
	b.SetGasLimit(gasLimit)
	b.SetFeeAmount(sdk.NewCoins(sdk.NewInt64Coin(app.Denom, 1000)))
	sig := signing.SignatureV2{PubKey: n.key.PubKey(), Sequence: n.sequence, Data: &signing.SingleSignatureData{SignMode: signing.SignMode_SIGN_MODE_DIRECT}}
	if err := b.SetSignatures(sig); err != nil {
		return nil, err
	}
	data := authsigning.SignerData{Address: n.address().String(), ChainID: chainID, AccountNumber: n.account, Sequence: n.sequence, PubKey: n.key.PubKey()}
	bytes, err := authsigning.GetSignBytesAdapter(context.Background(), c.TxConfig.SignModeHandler(), signing.SignMode_SIGN_MODE_DIRECT, data, b.GetTx())
	if err != nil {
		return nil, err
	}
	raw, err := n.key.Sign(bytes)
	if err != nil {
		return nil, err
	}
	sig.Data = &signing.SingleSignatureData{SignMode: signing.SignMode_SIGN_MODE_DIRECT, Signature: raw}
	if err := b.SetSignatures(sig); err != nil {
		return nil, err
	}
	n.sequence++
	return c.TxConfig.TxEncoder()(b.GetTx())
}
