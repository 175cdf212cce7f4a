package lightclient_test

import (
	"crypto/sha256"
	"fmt"
	"maps"
	"slices"
	"sync"
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

	"github.com/cella-network/cella/protocol/lightclient"
)

var genesis = time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)

// chain is a chain of blocks made by CometBFT's types over a real multistore. Validators are named by words; their keys follow
// from the names.
type chain struct {
	id     string
	salt   string
	every  time.Duration
	powers map[string]int64 // of the set that the next grown block announces
	sets   []*types.ValidatorSet
	blocks []*types.SignedHeader // blocks[h-1]
	store  *rootmulti.Store
	stores map[string]*storetypes.KVStoreKey
}

func key(name string) ed25519.PrivKey { return ed25519.GenPrivKeyFromSecret([]byte(name)) }

func newSet(powers map[string]int64) *types.ValidatorSet {
	var vals []*types.Validator
	for _, name := range slices.Sorted(maps.Keys(powers)) {
		vals = append(vals, types.NewValidator(key(name).PubKey(), powers[name]))
	}
	return types.NewValidatorSet(vals)
}

func hash(parts ...any) []byte {
	sum := sha256.Sum256([]byte(fmt.Sprint(parts...)))
	return sum[:]
}

func newChain(t testing.TB, id string, powers map[string]int64) *chain {
	t.Helper()
	c := &chain{id: id, every: time.Second, powers: maps.Clone(powers), stores: map[string]*storetypes.KVStoreKey{}}
	c.sets = []*types.ValidatorSet{newSet(powers)}
	c.store = rootmulti.NewStore(dbm.NewMemDB(), log.NewNopLogger())
	for _, name := range []string{"attest", "market", "work", oddStore} {
		c.stores[name] = storetypes.NewKVStoreKey(name)
		c.store.MountStoreWithDB(c.stores[name], storetypes.StoreTypeIAVL, nil)
	}
	if err := c.store.LoadLatestVersion(); err != nil {
		t.Fatal(err)
	}
	return c
}

// set changes the state that the next grown block leaves behind.
func (c *chain) set(store, k, v string) {
	c.store.GetKVStore(c.stores[store]).Set([]byte(k), []byte(v))
}

// grow adds one block, whose next set has the current powers, signed by all of its own set.
func (c *chain) grow(t testing.TB) {
	t.Helper()
	height := int64(len(c.blocks) + 1)
	app := hash(c.salt, "app", height)
	if c.store != nil {
		if app = c.store.LastCommitID().Hash; height == 1 {
			app = hash("")
		}
	}
	own, next := c.sets[height-1], newSet(c.powers)
	h := &types.Header{
		Version:            cmtversion.Consensus{Block: 11, App: 1},
		ChainID:            c.id,
		Height:             height,
		Time:               genesis.Add(time.Duration(height) * c.every),
		LastCommitHash:     hash("commit", height),
		DataHash:           hash(c.salt, "data", height),
		ValidatorsHash:     own.Hash(),
		NextValidatorsHash: next.Hash(),
		ConsensusHash:      hash("params"),
		AppHash:            app,
		LastResultsHash:    hash("results", height),
		EvidenceHash:       hash("evidence"),
		ProposerAddress:    own.Validators[0].Address,
	}
	if height > 1 {
		h.Time = c.blocks[height-2].Time.Add(c.every)
		h.LastBlockID = c.blocks[height-2].Commit.BlockID
	}
	c.sets = append(c.sets, next)
	c.blocks = append(c.blocks, &types.SignedHeader{Header: h, Commit: sign(t, c.id, h, own, nil)})
	if c.store != nil {
		c.store.Commit()
	}
}

// sign makes the commit of a header by its set; only the signers named take part, or all of them.
func sign(t testing.TB, id string, h *types.Header, set *types.ValidatorSet, signers []string) *types.Commit {
	t.Helper()
	block := types.BlockID{Hash: h.Hash(), PartSetHeader: types.PartSetHeader{Total: 1, Hash: hash("parts", h.Height)}}
	commit := &types.Commit{Height: h.Height, BlockID: block}
	for i, v := range set.Validators {
		name := nameOf()[string(v.Address)]
		if signers != nil && !slices.Contains(signers, name) {
			commit.Signatures = append(commit.Signatures, types.NewCommitSigAbsent())
			continue
		}
		vote := types.Vote{
			Type: cmtproto.PrecommitType, Height: h.Height, BlockID: block,
			Timestamp:        h.Time.Add(time.Duration(i) * time.Millisecond),
			ValidatorAddress: v.Address, ValidatorIndex: int32(i),
		}
		sig, err := key(name).Sign(types.VoteSignBytes(id, vote.ToProto()))
		if err != nil {
			t.Fatal(err)
		}
		commit.Signatures = append(commit.Signatures, types.CommitSig{
			BlockIDFlag: types.BlockIDFlagCommit, ValidatorAddress: v.Address, Timestamp: vote.Timestamp, Signature: sig,
		})
	}
	return commit
}

// oddStore has a name whose leaf in the multistore could be read as the store "work" behind a longer prefix.
const oddStore = "x\x04work"

// names are all validators that tests speak of.
var names = []string{"ann", "bob", "cyd", "dan", "eve", "fay", "gus", "hal"}

// nameOf finds the name behind an address; "v0", "v1" and so on make up the large sets.
var nameOf = sync.OnceValue(func() map[string]string {
	m := map[string]string{}
	for _, name := range names {
		m[string(key(name).PubKey().Address())] = name
	}
	for i := range lightclient.MaxValidators + 1 {
		name := fmt.Sprint("v", i)
		m[string(key(name).PubKey().Address())] = name
	}
	return m
})

// crowd is n validators of different power.
func crowd(n int) map[string]int64 {
	m := map[string]int64{}
	for i := range n {
		m[fmt.Sprint("v", i)] = 1<<49 + int64(i)
	}
	return m
}

// fork shares the blocks up to a height and goes on with others, which have no store.
func (c *chain) fork(height int64, salt string) *chain {
	f := *c
	f.salt, f.store, f.stores = salt, nil, nil
	f.blocks = slices.Clone(c.blocks[:height])
	f.sets = slices.Clone(c.sets[:height+1])
	f.powers = maps.Clone(c.powers)
	return &f
}

type marshaler interface{ Marshal() ([]byte, error) }

func encode(t testing.TB, m marshaler) []byte {
	t.Helper()
	b, err := m.Marshal()
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func encodeSet(t testing.TB, s *types.ValidatorSet) []byte {
	t.Helper()
	p, err := s.ToProto()
	if err != nil {
		t.Fatal(err)
	}
	return encode(t, p)
}

func (c *chain) header(t testing.TB, h int64) []byte {
	return encode(t, c.blocks[h-1].Header.ToProto())
}
func (c *chain) commit(t testing.TB, h int64) []byte {
	return encode(t, c.blocks[h-1].Commit.ToProto())
}
func (c *chain) validators(t testing.TB, h int64) []byte {
	return encodeSet(t, c.sets[h-1])
}

// headers are the encodings from one height to another, either way.
func (c *chain) headers(t testing.TB, from, to int64) [][]byte {
	var out [][]byte
	for h := from; ; {
		out = append(out, c.header(t, h))
		switch {
		case h < to:
			h++
		case h > to:
			h--
		default:
			return out
		}
	}
}

func (c *chain) hash(h int64) [32]byte { return [32]byte(c.blocks[h-1].Hash()) }

// trust starts a client at a height.
func (c *chain) trust(t testing.TB, h int64, opts lightclient.Options) *lightclient.Client {
	t.Helper()
	block := lightclient.Block{Header: c.header(t, h), Commit: c.commit(t, h), Validators: c.validators(t, h)}
	client, err := lightclient.New(c.id, h, c.hash(h), block, opts)
	if err != nil {
		t.Fatal(err)
	}
	return client
}

// follow brings a client to a height in one step.
func (c *chain) follow(t testing.TB, client *lightclient.Client, to int64) error {
	return client.Follow(c.headers(t, client.Head().Height+1, to), c.commit(t, to), c.validators(t, to))
}

// lead brings a client to a height in as many steps as it takes.
func (c *chain) lead(t testing.TB, client *lightclient.Client, to int64) error {
	for client.Head().Height < to {
		from := client.Head().Height + 1
		n, err := lightclient.Reach(c.headers(t, from, to))
		if err != nil {
			return err
		}
		if err := c.follow(t, client, from+int64(n)-1); err != nil {
			return err
		}
	}
	return nil
}

// query reads a value with its proof in the state after a block.
func (c *chain) query(t testing.TB, height int64, store, k string) ([]byte, lightclient.Proof) {
	t.Helper()
	res, err := c.store.Query(&storetypes.RequestQuery{Path: "/" + store + "/key", Data: []byte(k), Height: height, Prove: true})
	if err != nil {
		t.Fatal(err)
	}
	if len(res.ProofOps.Ops) != 2 {
		t.Fatalf("%d proof ops", len(res.ProofOps.Ops))
	}
	return res.Value, lightclient.Proof{Store: res.ProofOps.Ops[0].Data, Root: res.ProofOps.Ops[1].Data}
}

var generous = lightclient.Options{TrustingPeriod: 14 * 24 * 3600, Keep: 1000}
