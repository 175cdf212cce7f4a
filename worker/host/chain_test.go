package host

import (
	"crypto/sha256"
	"fmt"
	"testing"
	"time"

	"cosmossdk.io/log/v2"
	"github.com/cometbft/cometbft/crypto/ed25519"
	cmtproto "github.com/cometbft/cometbft/proto/tendermint/types"
	cmtversion "github.com/cometbft/cometbft/proto/tendermint/version"
	"github.com/cometbft/cometbft/types"
	dbm "github.com/cosmos/cosmos-db"
	"github.com/cosmos/cosmos-sdk/store/v2/rootmulti"
	storetypes "github.com/cosmos/cosmos-sdk/store/v2/types"

	"github.com/cella-network/cella/enclave/wire"
	"github.com/cella-network/cella/protocol/beacon"
	"github.com/cella-network/cella/protocol/lottery"
	"github.com/cella-network/cella/protocol/threshold"
)

const chainID = "host-test-1"

// chain is a chain with one validator, made by CometBFT's types over a real multistore.
type chain struct {
	t      testing.TB
	salt   string
	key    ed25519.PrivKey
	set    *types.ValidatorSet
	blocks []*types.SignedHeader // blocks[h-1]
	store  *rootmulti.Store
	stores map[string]*storetypes.KVStoreKey
	tips   []beacon.Tip // of the chain of seeds, after each block from the first on
	mute   bool         // no seeds come
}

func newChain(t testing.TB) *chain { return forkedChain(t, "") }

// forkedChain is a chain by the same validator whose blocks depend on a word.
func forkedChain(t testing.TB, salt string) *chain {
	t.Helper()
	c := &chain{t: t, salt: salt, key: ed25519.GenPrivKeyFromSecret([]byte("validator")), stores: map[string]*storetypes.KVStoreKey{}}
	c.set = types.NewValidatorSet([]*types.Validator{types.NewValidator(c.key.PubKey(), 10)})
	c.store = rootmulti.NewStore(dbm.NewMemDB(), log.NewNopLogger())
	for _, name := range []string{"attest", "market", "work", beacon.StoreName, threshold.StoreName} {
		c.stores[name] = storetypes.NewKVStoreKey(name)
		c.store.MountStoreWithDB(c.stores[name], storetypes.StoreTypeIAVL, nil)
	}
	if err := c.store.LoadLatestVersion(); err != nil {
		t.Fatal(err)
	}
	// No store is empty, so that absence can be proven in each.
	for name := range c.stores {
		c.put(name, []byte{0xff}, []byte("last key"))
	}
	c.grow(3)
	return c
}

// put changes the state that the next block leaves behind.
func (c *chain) put(store string, key, value []byte) {
	c.store.GetKVStore(c.stores[store]).Set(key, value)
}

func sum(parts ...any) []byte {
	h := sha256.Sum256([]byte(fmt.Sprint(parts...)))
	return h[:]
}

func (c *chain) height() int64 { return int64(len(c.blocks)) }

func (c *chain) hash(height int64) [32]byte { return [32]byte(c.blocks[height-1].Hash()) }

// grow adds n blocks.
func (c *chain) grow(n int) {
	c.t.Helper()
	for range n {
		height := c.height() + 1
		h := &types.Header{
			Version: cmtversion.Consensus{Block: 11}, ChainID: chainID, Height: height, Time: time.Unix(1_700_000_000+height, 0).UTC(),
			LastCommitHash: sum("commit", height), DataHash: sum("data", c.salt, height), ValidatorsHash: c.set.Hash(), NextValidatorsHash: c.set.Hash(),
			ConsensusHash: sum("params"), AppHash: sum("genesis"), LastResultsHash: sum("results"), EvidenceHash: sum("evidence"),
			ProposerAddress: c.key.PubKey().Address(),
		}
		if height > 1 {
			h.AppHash = c.store.LastCommitID().Hash
			h.LastBlockID = c.blocks[height-2].Commit.BlockID
		}
		id := types.BlockID{Hash: h.Hash(), PartSetHeader: types.PartSetHeader{Total: 1, Hash: sum("parts", height)}}
		vote := types.Vote{Type: cmtproto.PrecommitType, Height: height, BlockID: id, Timestamp: h.Time, ValidatorAddress: c.key.PubKey().Address()}
		sig, err := c.key.Sign(types.VoteSignBytes(chainID, vote.ToProto()))
		if err != nil {
			c.t.Fatal(err)
		}
		c.blocks = append(c.blocks, &types.SignedHeader{Header: h, Commit: &types.Commit{Height: height, BlockID: id, Signatures: []types.CommitSig{{
			BlockIDFlag: types.BlockIDFlagCommit, ValidatorAddress: vote.ValidatorAddress, Timestamp: h.Time, Signature: sig}}}})
		for tip := c.tip(); !c.mute && tip.Height < height; { // a seed comes with its block
			tip = tip.Append(seedOf(tip.Height + 1))
			c.tips = append(c.tips, tip)
			c.put(beacon.StoreName, beacon.TipKey(), tip.Marshal())
		}
		c.store.Commit()
	}
}

func seedOf(height int64) lottery.Seed { return lottery.Seed(sum("seed", height)) }

// tip is the chain of seeds after the newest block.
func (c *chain) tip() beacon.Tip {
	if len(c.tips) == 0 {
		return beacon.Tip{}
	}
	return c.tips[len(c.tips)-1]
}

// seeds are those of the heights from one to another, unproven.
func (c *chain) seeds(from, to int64) *wire.Seeds {
	m := &wire.Seeds{From: from}
	if from > 1 {
		m.Before = c.tips[from-2].Hash
	}
	for h := from; h <= to; h++ {
		m.Seeds = append(m.Seeds, seedOf(h))
	}
	return m
}

// newest are the seeds from a height up to the newest tip that can be proven.
func (c *chain) newest(from int64) *wire.Seeds {
	proof := c.prove(beacon.StoreName, beacon.TipKey())
	tip, err := beacon.UnmarshalTip(proof.Value)
	if err != nil {
		c.t.Fatal(err)
	}
	m := c.seeds(from, tip.Height)
	m.Tip = proof
	return m
}

func encode(t testing.TB, m interface{ Marshal() ([]byte, error) }) []byte {
	t.Helper()
	b, err := m.Marshal()
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func (c *chain) header(h int64) []byte { return encode(c.t, c.blocks[h-1].Header.ToProto()) }

func (c *chain) commit(h int64) []byte { return encode(c.t, c.blocks[h-1].Commit.ToProto()) }

func (c *chain) validators() []byte {
	p, err := c.set.ToProto()
	if err != nil {
		c.t.Fatal(err)
	}
	return encode(c.t, p)
}

// init is an Init at the newest block.
func (c *chain) init(account byte) *wire.Init {
	return &wire.Init{ChainID: chainID, Account: [20]byte{account}, SectorSize: 4 << 20, Platform: sum("fuse", account),
		Header: c.header(c.height()), Commit: c.commit(c.height()), Validators: c.validators()}
}

// follow is a Follow from a height to the newest block.
func (c *chain) follow(from int64) *wire.Follow {
	m := &wire.Follow{Commit: c.commit(c.height()), Validators: c.validators()}
	for h := from + 1; h <= c.height(); h++ {
		m.Headers = append(m.Headers, c.header(h))
	}
	return m
}

// prove proves what a key holds, or that it is absent, in the newest state that a header carries.
func (c *chain) prove(store string, key []byte) wire.Proof {
	c.t.Helper()
	height := c.height() - 1
	res, err := c.store.Query(&storetypes.RequestQuery{Path: "/" + store + "/key", Data: key, Height: height, Prove: true})
	if err != nil {
		c.t.Fatal(err)
	}
	if res.ProofOps == nil || len(res.ProofOps.Ops) != 2 {
		c.t.Fatalf("no proof of %x in %s at %d: %s", key, store, height, res.Log)
	}
	return wire.Proof{Height: height, Value: res.Value, Store: res.ProofOps.Ops[0].Data, Root: res.ProofOps.Ops[1].Data}
}
