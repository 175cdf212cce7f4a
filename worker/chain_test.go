package worker

import (
	"context"
	"crypto/sha256"
	"errors"
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
	cmttypes "github.com/cometbft/cometbft/types"
	dbm "github.com/cosmos/cosmos-db"
	"github.com/cosmos/cosmos-sdk/store/v2/rootmulti"
	storetypes "github.com/cosmos/cosmos-sdk/store/v2/types"
	sdk "github.com/cosmos/cosmos-sdk/types"

	"github.com/cella-network/cella/api/attest"
	"github.com/cella-network/cella/api/audit"
	"github.com/cella-network/cella/api/committee"
	"github.com/cella-network/cella/api/market"
	"github.com/cella-network/cella/api/work"
	"github.com/cella-network/cella/client"
	"github.com/cella-network/cella/protocol/attestation"
	"github.com/cella-network/cella/protocol/beacon"
	"github.com/cella-network/cella/protocol/lottery"
	rules "github.com/cella-network/cella/protocol/market"
	"github.com/cella-network/cella/protocol/storageproof"
	"github.com/cella-network/cella/protocol/threshold"
)

const (
	testChain  = "worker-test"
	blockTime  = 25 * time.Millisecond
	testSector = storageproof.MinSector
)

var testTerms = rules.Terms{DayBlocks: 1000, MinBlocks: 10, MaxBlocks: 1_000_000, AcceptBlocks: 2000, GraceBlocks: 10, Collateral: 0,
	MendBlocks: 20, RepairBlocks: 2000, WarnBlocks: 100, SilentBlocks: 300}

// fakeChain makes blocks over a real multistore, signed by one validator, and executes messages by the rules of
// protocol/. What it leaves out are coins, gas and signatures of transactions.
type fakeChain struct {
	t   testing.TB
	key ed25519.PrivKey
	set *cmttypes.ValidatorSet

	slot, registration int64
	late               int64
	minEndorsers       int
	capacity           uint64

	mu       sync.Mutex
	grown    beat
	store    *rootmulti.Store
	stores   map[string]*storetypes.KVStoreKey
	headers  []*cmttypes.Header // headers[h-1]
	commits  []*cmttypes.Commit
	queue    []queued
	hold     func(sdk.Msg) bool // messages that stay in the mempool
	oldest   int64              // blocks and seeds below are gone
	tips     []beacon.Tip       // of the chain of seeds, after each block from the first on
	mute     bool               // no seeds come
	unsigned bool               // the newest block's commit does not hold
	halted   bool               // no blocks are made, and our node of the chain answers nothing
	stood    time.Duration      // for how long it was halted, by its validators' clocks

	nodes    map[attestation.Account]*attest.Node
	intents  map[attestation.Account]*attest.Intent
	asks     map[string]market.Ask
	orders   map[uint64]rules.Order
	replicas map[uint64]map[string]rules.Replica
	reports  int
	cases    []*drawnCase
	losses   int // replicas that reports let go
	conduct  market.Conduct
	accepts  map[uint64]int  // how often an order was asked for
	never    map[uint64]bool // orders that are refused for good
	keys     *fakeCommittee
}

type queued struct {
	msgs []sdk.Msg
	done chan posted
}

func newFakeChain(t testing.TB) *fakeChain {
	c := &fakeChain{t: t, key: ed25519.GenPrivKeyFromSecret([]byte("validator")), slot: 4, late: 10_000, registration: 100_000, minEndorsers: 1 << 20, capacity: 1 << 40,
		stores: map[string]*storetypes.KVStoreKey{}, nodes: map[attestation.Account]*attest.Node{}, intents: map[attestation.Account]*attest.Intent{},
		asks: map[string]market.Ask{}, orders: map[uint64]rules.Order{}, replicas: map[uint64]map[string]rules.Replica{}, accepts: map[uint64]int{}, never: map[uint64]bool{}}
	c.set = cmttypes.NewValidatorSet([]*cmttypes.Validator{cmttypes.NewValidator(c.key.PubKey(), 10)})
	c.store = rootmulti.NewStore(dbm.NewMemDB(), log.NewNopLogger())
	for _, name := range []string{attestation.StoreName, storageproof.StoreName, "audit", beacon.StoreName, threshold.StoreName, "other"} {
		c.stores[name] = storetypes.NewKVStoreKey(name)
		c.store.MountStoreWithDB(c.stores[name], storetypes.StoreTypeIAVL, nil)
	}
	if err := c.store.LoadLatestVersion(); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	var stopped sync.WaitGroup
	stopped.Go(func() {
		for pause(ctx, blockTime) == nil {
			c.grow()
		}
	})
	t.Cleanup(func() { cancel(); stopped.Wait() })
	return c
}

func digest(parts ...any) []byte {
	sum := sha256.Sum256([]byte(fmt.Sprint(parts...)))
	return sum[:]
}

// grow makes a block of what is queued and executes it.
func (c *fakeChain) grow() {
	c.mu.Lock()
	defer c.grown.pulse()
	defer c.mu.Unlock()
	if c.halted {
		return
	}
	height := int64(len(c.headers) + 1)
	app := c.store.LastCommitID().Hash
	if height == 1 {
		app = digest("")
	}
	h := &cmttypes.Header{Version: cmtversion.Consensus{Block: 11, App: 1}, ChainID: testChain, Height: height,
		Time:           time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC).Add(time.Duration(height)*time.Second + c.stood),
		LastCommitHash: digest("commit", height), DataHash: digest("data", height), ValidatorsHash: c.set.Hash(), NextValidatorsHash: c.set.Hash(),
		ConsensusHash: digest("params"), AppHash: app, LastResultsHash: digest("results"), EvidenceHash: digest("evidence"),
		ProposerAddress: c.set.Validators[0].Address}
	if height > 1 {
		h.LastBlockID = c.commits[height-2].BlockID
	}
	id := cmttypes.BlockID{Hash: h.Hash(), PartSetHeader: cmttypes.PartSetHeader{Total: 1, Hash: digest("parts", height)}}
	vote := &cmttypes.Vote{Type: cmtproto.PrecommitType, Height: height, BlockID: id, Timestamp: h.Time, ValidatorAddress: h.ProposerAddress}
	sig, err := c.key.Sign(cmttypes.VoteSignBytes(testChain, vote.ToProto()))
	if err != nil {
		panic(err)
	}
	c.headers = append(c.headers, h)
	c.commits = append(c.commits, &cmttypes.Commit{Height: height, BlockID: id, Signatures: []cmttypes.CommitSig{{
		BlockIDFlag: cmttypes.BlockIDFlagCommit, ValidatorAddress: h.ProposerAddress, Timestamp: h.Time, Signature: sig}}})
	tip := c.tip(height - 1)
	for !c.mute && tip.Height < height-1 { // the seed of a block comes with the next
		tip = tip.Append(seedOf(tip.Height + 1))
	}
	c.tips = append(c.tips, tip)
	c.kv(beacon.StoreName).Set(beacon.TipKey(), tip.Marshal())
	c.begin(height)
	var stay []queued
	for _, q := range c.queue {
		if c.hold != nil && slices.ContainsFunc(q.msgs, c.hold) {
			stay = append(stay, q)
			continue
		}
		var err error
		for _, m := range q.msgs {
			err = errors.Join(err, c.execute(m, height))
		}
		q.done <- posted{height, err}
	}
	c.queue = stay
	c.kv("other").Set([]byte("height"), fmt.Append(nil, height)) // no two states are alike
	c.store.Commit()
}

func (c *fakeChain) kv(name string) storetypes.KVStore { return c.store.GetKVStore(c.stores[name]) }

func (c *fakeChain) hash(height int64) ([32]byte, bool) {
	if height < 1 || height > int64(len(c.headers)) {
		return [32]byte{}, false
	}
	return [32]byte(c.headers[height-1].Hash()), true
}

func seedOf(height int64) lottery.Seed { return lottery.Seed(digest("seed", height)) }

// tip is the chain of seeds after a block.
func (c *fakeChain) tip(height int64) beacon.Tip {
	if height < 1 {
		return beacon.Tip{}
	}
	return c.tips[height-1]
}

// begin draws endorsers and closes what has ended.
func (c *fakeChain) begin(now int64) {
	for account, in := range c.intents {
		if in.Endorser != "" || in.Announced >= c.tip(now).Height {
			continue
		}
		var able []string
		for other, n := range c.nodes {
			if other != account && now < n.Expires {
				able = append(able, n.Operator)
			}
		}
		slices.Sort(able)
		if len(able) > 0 {
			in.Endorser, in.Drawn = able[seedOf(in.Announced+1).Uniform("endorser", account[:], uint64(len(able)))], now
			c.putIntent(account, in)
		}
	}
	for id, o := range c.orders {
		for node, r := range c.replicas[id] {
			if !r.Proven && now >= testTerms.LapseAt(r) || r.Lost > 0 && now >= testTerms.RepairAt(r) {
				delete(c.replicas[id], node)
			}
		}
		if !o.Closed && now >= testTerms.ExpireAt(o) {
			o.Closed = true
			c.orders[id] = o
			delete(c.replicas, id)
		}
	}
}

func (c *fakeChain) putIntent(account attestation.Account, in *attest.Intent) {
	r, _ := attestation.UnmarshalRegistration(in.Registration)
	out := attestation.Intent{Registration: r.Hash(), Account: account, Announced: in.Announced, Drawn: in.Drawn, Attempt: in.Attempt}
	if in.Endorser != "" {
		out.Endorser, _ = client.DecodeAddress(in.Endorser)
	}
	c.kv(attestation.StoreName).Set(attestation.IntentKey(account), out.Marshal())
}

func (c *fakeChain) execute(m sdk.Msg, now int64) error {
	switch m := m.(type) {
	case *attest.MsgAnnounce:
		return c.announce(m, now)
	case *attest.MsgRegister:
		return c.register(m, now)
	case *attest.MsgSetAddrs:
		account, _ := client.DecodeAddress(m.Operator)
		c.nodes[account].Addrs = m.Addrs
		return nil
	case *work.MsgReport:
		return c.report(m, now)
	case *audit.MsgVerdict:
		return c.hear(m, now)
	case *committee.MsgPost, *committee.MsgAskRepair, *committee.MsgPostRepair:
		return c.keys.execute(m)
	case *market.MsgSetAsk:
		c.asks[m.Operator] = market.Ask{Operator: m.Operator, Price: m.Price, MaxSize: m.MaxSize}
		return nil
	case *market.MsgAccept:
		ask := c.asks[m.Operator]
		c.accepts[m.Order]++
		if c.never[m.Order] {
			return &client.Error{Kind: client.KindRefused, What: "accept"}
		}
		r, _, err := testTerms.Accept(c.orders[m.Order], slices.Collect(maps.Values(c.replicas[m.Order])), rules.Ask{Node: m.Operator, Price: ask.Price, MaxSize: ask.MaxSize}, now)
		if err != nil {
			return &client.Error{Kind: client.KindRefused, What: "accept", Cause: err}
		}
		if c.replicas[m.Order] == nil {
			c.replicas[m.Order] = map[string]rules.Replica{}
		}
		c.replicas[m.Order][m.Operator] = r
		return nil
	}
	return fmt.Errorf("unknown message %T", m)
}

func (c *fakeChain) judge(operator string, raw, sigM []byte, now int64) (attestation.Registration, attestation.Claims, error) {
	r, err := attestation.UnmarshalRegistration(raw)
	if err != nil {
		return r, attestation.Claims{}, err
	}
	account, err := client.DecodeAddress(operator)
	if err != nil || account != r.Account {
		return r, attestation.Claims{}, fmt.Errorf("another account's registration: %w", err)
	}
	if hash, ok := c.hash(r.Trust.Height); !ok || hash != r.Trust.Hash || now-r.Trust.Height > 100 {
		return r, attestation.Claims{}, errors.New("trust root is not a recent block")
	}
	if err := (attestation.Quadruple{R: r, SigM: [64]byte(sigM)}).VerifySelf(); err != nil {
		return r, attestation.Claims{}, err
	}
	claims, err := attestation.Verify(r.Evidence, 0)
	if err != nil {
		return r, claims, err
	}
	return r, claims, attestation.CheckRegistration(r, claims, testChain)
}

func (c *fakeChain) announce(m *attest.MsgAnnounce, now int64) error {
	r, claims, err := c.judge(m.Operator, m.Registration, m.SigM, now)
	if err != nil {
		return err
	}
	others := 0
	for account, n := range c.nodes {
		if account != r.Account && now < n.Expires {
			others++
		}
	}
	if others < c.minEndorsers {
		c.admit(r, claims, m.Operator, "", m.Addrs, now)
		return nil
	}
	c.intents[r.Account] = &attest.Intent{Operator: m.Operator, Registration: m.Registration, SigM: m.SigM, Addrs: m.Addrs, Announced: now}
	c.putIntent(r.Account, c.intents[r.Account])
	return nil
}

func (c *fakeChain) register(m *attest.MsgRegister, now int64) error {
	r, claims, err := c.judge(m.Operator, m.Registration, m.SigM, now)
	if err != nil {
		return err
	}
	in := c.intents[r.Account]
	if in == nil || in.Endorser != m.Endorser {
		return errors.New("no such endorser was drawn")
	}
	endorser, err := client.DecodeAddress(m.Endorser)
	if err != nil {
		return err
	}
	q := attestation.Quadruple{R: r, SigM: [64]byte(m.SigM), Endorser: endorser, SigV: [64]byte(m.SigV), SigMV: [64]byte(m.SigMv)}
	if err := q.VerifyEndorsed([32]byte(c.nodes[endorser].SignKey)); err != nil {
		return err
	}
	delete(c.intents, r.Account)
	c.kv(attestation.StoreName).Delete(attestation.IntentKey(r.Account))
	c.admit(r, claims, m.Operator, m.Endorser, in.Addrs, now)
	return nil
}

func (c *fakeChain) admit(r attestation.Registration, claims attestation.Claims, operator, endorser string, addrs []string, now int64) {
	n := attestation.Node{Account: r.Account, SignKey: r.SignKey, KEMKey: r.KEMKey, Platform: claims.Platform, Tier: attestation.TierHigh,
		Measurement: claims.Measurement, PlatformID: claims.PlatformID, Joined: now, Expires: now + c.registration}
	c.kv(attestation.StoreName).Set(attestation.NodeKey(r.Account), n.Marshal())
	c.nodes[r.Account] = &attest.Node{Operator: operator, SignKey: r.SignKey[:], Joined: now, Expires: n.Expires, Active: true, Addrs: addrs, Endorser: endorser}
}

func (c *fakeChain) standing(account [20]byte) *storageproof.Standing {
	p := c.kv(storageproof.StoreName).Get(storageproof.StandingKey(account))
	if p == nil {
		return nil
	}
	st, err := storageproof.UnmarshalStanding(p)
	if err != nil {
		panic(err)
	}
	return &st
}

func (c *fakeChain) report(m *work.MsgReport, now int64) error {
	r, err := storageproof.UnmarshalReport(m.Report)
	if err != nil {
		return err
	}
	n := c.nodes[r.Account]
	if n == nil || now >= n.Expires {
		return errors.New("not registered")
	}
	_, next, err := storageproof.Accept(storageproof.Rules{ChainID: testChain, Account: r.Account, SignKey: [32]byte(n.SignKey), SlotBlocks: c.slot, Now: now,
		MaxAge: 50, LateBlocks: c.late, Cap: c.capacity, BlockHash: c.hash, Tip: func(block int64) int64 { return c.tip(block).Height }}, c.standing(r.Account), m.Report, m.Signature)
	if err != nil {
		return &client.Error{Kind: client.KindRefused, What: "report", Cause: err}
	}
	c.kv(storageproof.StoreName).Set(storageproof.StandingKey(r.Account), next.Marshal())
	c.reports++
	tally := rules.Tally{Proven: next.Proven, Report: next.Counter, Since: now}
	for id, held := range c.replicas {
		if rep, ok := held[n.Operator]; ok && (r.Reset || slices.Contains(r.Dropped, id)) {
			c.take(id, n.Operator)(testTerms.Drop(c.orders[id], rep, tally, now))
			c.losses++
		}
	}
	for _, ref := range r.Added {
		if rep, ok := c.replicas[ref.ID][n.Operator]; ok {
			c.take(ref.ID, n.Operator)(testTerms.Prove(c.orders[ref.ID], rep, ref.Root, ref.Size, tally, now))
		}
	}
	return nil
}

// take stores what a rule made of a replica; one that it refuses changes nothing.
func (c *fakeChain) take(id uint64, node string) func(rules.Step, error) {
	return func(s rules.Step, err error) {
		switch {
		case err != nil:
		case s.Ended != "":
			delete(c.replicas[id], node)
		default:
			c.orders[id], c.replicas[id][node] = s.Order, s.Replica
		}
	}
}

// place puts an order on chain.
func (c *fakeChain) place(root []byte, size uint64, replicas uint32, addrs []string) uint64 {
	return c.placeOrder(rules.Order{Owner: "owner", Root: root, Size: size, Replicas: replicas, Addrs: addrs})
}

func (c *fakeChain) placeOrder(o rules.Order) uint64 {
	c.mu.Lock()
	defer c.mu.Unlock()
	id := uint64(len(c.orders) + 1)
	o.ID, o.Price = id, 1000
	o, _, err := testTerms.Place(o, 100_000, int64(len(c.headers)))
	if err != nil {
		c.t.Fatal(err)
	}
	c.orders[id] = o
	return id
}

// leave ends a node's registration.
func (c *fakeChain) leave(account attestation.Account) {
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.nodes, account)
	c.kv(attestation.StoreName).Delete(attestation.NodeKey(account))
}

// end closes an order early.
func (c *fakeChain) end(id uint64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	o := c.orders[id]
	o.Closed = true
	c.orders[id] = o
	delete(c.replicas, id)
}

// look runs f on the chain's state.
func look[T any](c *fakeChain, f func() T) T {
	c.mu.Lock()
	defer c.mu.Unlock()
	return f()
}

// eventually waits, block by block, until f holds.
func (c *fakeChain) eventually(what string, f func() bool) {
	c.t.Helper()
	for end := time.Now().Add(60 * time.Second); ; {
		grown := c.grown.next()
		if look(c, f) {
			return
		}
		select {
		case <-grown:
		case <-time.After(time.Until(end)):
			c.t.Fatalf("not in time: %s", what)
		}
	}
}

// The fake as a worker's Chain.

func (c *fakeChain) Latest(context.Context) (int64, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.halted {
		return 0, &client.Error{Kind: client.KindNetwork, What: "the chain's node does not answer"}
	}
	return int64(len(c.headers)), nil
}

func (c *fakeChain) Wait(ctx context.Context, height int64) error {
	for {
		grown := c.grown.next()
		if now, err := c.Latest(ctx); err != nil || now >= height {
			return err
		}
		select {
		case <-grown:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

func (c *fakeChain) Block(_ context.Context, height int64) (client.Block, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if height < 1 || height > int64(len(c.headers)) {
		return client.Block{}, fmt.Errorf("no block %d", height)
	}
	h := c.headers[height-1]
	b := client.Block{Height: height, Time: h.Time, Hash: [32]byte(h.Hash())}
	b.Header, _ = h.ToProto().Marshal()
	commit := c.commits[height-1].ToProto()
	if c.unsigned && height == int64(len(c.headers)) {
		commit.Signatures[0].Signature = make([]byte, len(commit.Signatures[0].Signature))
	}
	b.Commit, _ = commit.Marshal()
	set, _ := c.set.ToProto()
	b.Validators, _ = set.Marshal()
	return b, nil
}

func (c *fakeChain) Headers(_ context.Context, from, to int64) (out [][]byte, err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if from < c.oldest {
		return nil, fmt.Errorf("block %d is gone", from)
	}
	for _, h := range c.headers[from-1 : to] {
		p, _ := h.ToProto().Marshal()
		out = append(out, p)
	}
	return out, nil
}

func (c *fakeChain) Value(_ context.Context, store string, key []byte, height int64) (client.Proof, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if height == 0 {
		height = int64(len(c.headers))
	}
	r, err := c.store.Query(&storetypes.RequestQuery{Path: "/" + store + "/key", Data: key, Height: height, Prove: true})
	if err != nil {
		return client.Proof{}, err
	}
	return client.Proof{Height: height, Value: r.Value, Store: r.ProofOps.Ops[0].Data, Root: r.ProofOps.Ops[1].Data}, nil
}

// Post is the fake as a worker's Poster.
func (c *fakeChain) Post(ctx context.Context, msgs ...sdk.Msg) (client.Result, error) {
	q := queued{msgs: msgs, done: make(chan posted, 1)}
	c.mu.Lock()
	c.queue = append(c.queue, q)
	c.mu.Unlock()
	select {
	case p := <-q.done:
		return client.Result{Height: p.height}, p.err
	case <-ctx.Done():
		return client.Result{}, ctx.Err()
	}
}

// The fake's queries.
