package enclave

import (
	"bytes"
	"crypto/ed25519"
	"crypto/sha256"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"cosmossdk.io/log/v2"
	cmted25519 "github.com/cometbft/cometbft/crypto/ed25519"
	cmtproto "github.com/cometbft/cometbft/proto/tendermint/types"
	cmtversion "github.com/cometbft/cometbft/proto/tendermint/version"
	"github.com/cometbft/cometbft/types"
	dbm "github.com/cosmos/cosmos-db"
	"github.com/cosmos/cosmos-sdk/store/v2/rootmulti"
	storetypes "github.com/cosmos/cosmos-sdk/store/v2/types"

	"github.com/cella-network/cella/enclave/tee"
	"github.com/cella-network/cella/enclave/wire"
	"github.com/cella-network/cella/protocol/attestation"
	"github.com/cella-network/cella/protocol/audit"
	"github.com/cella-network/cella/protocol/storageproof"
)

// storeChain is a chain of one validator over a real store, whose values can be proven.
type storeChain struct {
	t       testing.TB
	key     cmted25519.PrivKey
	set     *types.ValidatorSet
	store   *rootmulti.Store
	mounted *storetypes.KVStoreKey
	headers []*types.Header
	commits []*types.Commit
}

func newStoreChain(t testing.TB) *storeChain {
	t.Helper()
	c := &storeChain{t: t, key: cmted25519.GenPrivKeyFromSecret([]byte("validator")), mounted: storetypes.NewKVStoreKey(audit.StoreName),
		store: rootmulti.NewStore(dbm.NewMemDB(), log.NewNopLogger())}
	c.set = types.NewValidatorSet([]*types.Validator{types.NewValidator(c.key.PubKey(), 10)})
	c.store.MountStoreWithDB(c.mounted, storetypes.StoreTypeIAVL, nil)
	if err := c.store.LoadLatestVersion(); err != nil {
		t.Fatal(err)
	}
	c.grow(nil)
	c.grow(nil)
	return c
}

// grow makes a block that stores a case, unless nil.
func (c *storeChain) grow(stored *audit.Case) int64 {
	c.t.Helper()
	height := int64(len(c.headers) + 1)
	empty := sha256.Sum256(nil)
	app := c.store.LastCommitID().Hash
	if height == 1 {
		app = empty[:]
	}
	h := &types.Header{Version: cmtversion.Consensus{Block: 11}, ChainID: "loop-1", Height: height,
		Time: time.Unix(1_700_000_000+height, 0).UTC(), ValidatorsHash: c.set.Hash(), NextValidatorsHash: c.set.Hash(),
		LastCommitHash: empty[:], DataHash: empty[:], LastResultsHash: empty[:], EvidenceHash: empty[:],
		ConsensusHash: empty[:], AppHash: app, ProposerAddress: c.set.Validators[0].Address}
	if height > 1 {
		h.LastBlockID = c.commits[height-2].BlockID
	}
	id := types.BlockID{Hash: h.Hash(), PartSetHeader: types.PartSetHeader{Total: 1, Hash: empty[:]}}
	vote := &types.Vote{Type: cmtproto.PrecommitType, Height: height, BlockID: id, Timestamp: h.Time, ValidatorAddress: h.ProposerAddress}
	sig, err := c.key.Sign(types.VoteSignBytes(h.ChainID, vote.ToProto()))
	if err != nil {
		c.t.Fatal(err)
	}
	c.headers = append(c.headers, h)
	c.commits = append(c.commits, &types.Commit{Height: height, BlockID: id, Signatures: []types.CommitSig{{BlockIDFlag: types.BlockIDFlagCommit,
		ValidatorAddress: h.ProposerAddress, Timestamp: h.Time, Signature: sig}}})
	kv := c.store.GetKVStore(c.mounted)
	kv.Set([]byte("height"), fmt.Append(nil, height))
	if stored != nil {
		kv.Set(audit.CaseKey(stored.ID), stored.Marshal())
	}
	c.store.Commit()
	return height
}

func (c *storeChain) parts(height int64) (header, commit, set []byte) {
	c.t.Helper()
	setProto, err := c.set.ToProto()
	if err != nil {
		c.t.Fatal(err)
	}
	for to, from := range map[*[]byte]interface{ Marshal() ([]byte, error) }{
		&header: c.headers[height-1].ToProto(), &commit: c.commits[height-1].ToProto(), &set: setProto,
	} {
		if *to, err = from.Marshal(); err != nil {
			c.t.Fatal(err)
		}
	}
	return header, commit, set
}

// proof is what the host can prove of a key in the state after a height.
func (c *storeChain) proof(key []byte, height int64) wire.Proof {
	c.t.Helper()
	r, err := c.store.Query(&storetypes.RequestQuery{Path: "/" + audit.StoreName + "/key", Data: key, Height: height, Prove: true})
	if err != nil {
		c.t.Fatal(err)
	}
	return wire.Proof{Height: height, Value: r.Value, Store: r.ProofOps.Ops[0].Data, Root: r.ProofOps.Ops[1].Data}
}

// auditing is an enclave that follows a chain, and a host that can do with it what it likes.
type auditing struct {
	t *testing.T
	*storeChain
	n *node
}

func newAuditing(t *testing.T) *auditing {
	c := newStoreChain(t)
	a := &auditing{t: t, storeChain: c, n: testNode()}
	header, commit, set := c.parts(2)
	if _, err := a.n.handle(&wire.Init{ChainID: "loop-1", Account: [20]byte{1}, SectorSize: 4 << 20, Platform: bytes.Repeat([]byte{7}, tee.FuseSize),
		Header: header, Commit: commit, Validators: set}, nil); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(a.n.close)
	return a
}

// follow feeds the enclave so many new blocks.
func (a *auditing) follow(blocks int) {
	a.t.Helper()
	for range blocks {
		a.feed(a.grow(nil))
	}
}

func (a *auditing) feed(height int64) {
	a.t.Helper()
	header, commit, set := a.parts(height)
	if _, err := a.n.handle(&wire.Follow{Headers: [][]byte{header}, Commit: commit, Validators: set}, nil); err != nil {
		a.t.Fatal(err)
	}
}

const answerBlocks = 5

// draw makes the chain draw a case for this enclave and brings the head to the block after it.
func (a *auditing) draw(id uint64, root []byte, change func(*audit.Case)) audit.Case {
	a.t.Helper()
	at := int64(len(a.headers) + 1)
	c := audit.Case{ID: id, Height: at, Deadline: at + 20, Answer: answerBlocks, Holder: attestation.Account{9}, Order: 4, Root: root, Quorum: 2,
		Auditors: []audit.Auditor{{Account: attestation.Account{1}, Key: a.n.id.sign}, {Account: attestation.Account{2}, Key: [32]byte{2}}}}
	if change != nil {
		change(&c)
	}
	a.feed(a.grow(&c))
	a.follow(1)
	return c
}

func (a *auditing) begin(c audit.Case) ([]byte, error) {
	a.t.Helper()
	return cidOf(a.n.handle(&wire.AuditBegin{Case: a.proof(audit.CaseKey(c.ID), c.Height)}, nil))
}

func (a *auditing) bring(id uint64, block []byte) ([]byte, error) {
	return cidOf(a.n.handle(&wire.AuditBlock{Case: id, Data: block}, nil))
}

func cidOf(m wire.Message, err error) ([]byte, error) {
	if err != nil {
		return nil, err
	}
	return m.(*wire.AuditReply).CID, nil
}

// end asks for the verdict and holds its signature against the case, in the next block.
func (a *auditing) end(c audit.Case) (audit.Verdict, error) {
	a.t.Helper()
	m, err := a.n.handle(&wire.AuditEnd{Case: c.ID}, nil)
	if err != nil {
		return audit.Verdict{}, err
	}
	r := m.(*wire.AuditEndReply)
	v, err := c.Check("loop-1", r.Verdict, r.Sig[:], a.n.chain.Head().Height+1)
	if err != nil {
		a.t.Errorf("the chain would refuse the verdict: %v", err)
	}
	return v, nil
}

// dag is a file of so many distinct leaves under one root, by CID.
func dag(leaves int) (root []byte, blocks map[string][]byte) {
	blocks = map[string][]byte{}
	var node []byte
	for i := range leaves {
		leaf := fmt.Appendf(nil, "leaf %d", i)
		k := storageproof.BlockKey{Codec: storageproof.CodecRaw, Digest: sha256.Sum256(leaf)}.CID()
		blocks[string(k)] = leaf
		node = append(node, 0x12, byte(2+len(k)), 0x0a, byte(len(k))) // a link with nothing but its hash
		node = append(node, k...)
	}
	root = storageproof.BlockKey{Codec: storageproof.CodecDagPB, Digest: sha256.Sum256(node)}.CID()
	blocks[string(root)] = node
	return root, blocks
}

// honest walks a case to its end and returns the path.
func (a *auditing) honest(c audit.Case, blocks map[string][]byte) (path []string) {
	a.t.Helper()
	next, err := a.begin(c)
	for err == nil && len(next) > 0 {
		path = append(path, string(next))
		next, err = a.bring(c.ID, blocks[string(next)])
	}
	if err != nil {
		a.t.Fatal(err)
	}
	return path
}

func (a *auditing) refused(what string, code wire.Code, words string, err error) {
	a.t.Helper()
	if codeOf(err) != code || !strings.Contains(err.Error(), words) {
		a.t.Errorf("%s: %v, want code %d and %q", what, err, code, words)
	}
}

func TestAuditPasses(t *testing.T) {
	a := newAuditing(t)
	root, blocks := dag(40)
	leaves := map[string]bool{}
	for id := uint64(1); id <= 12; id++ {
		c := a.draw(id, root, nil)
		began := a.n.chain.Head().Height
		path := a.honest(c, blocks)
		if len(path) != 2 || path[0] != string(root) {
			t.Fatalf("the path has %d blocks", len(path))
		}
		leaves[path[1]] = true
		a.follow(1)
		v, err := a.end(c)
		if err != nil || v.Reason != audit.ReasonOK || string(v.Block) != path[1] || v.From != began || v.To != began ||
			v.Bytes != uint64(len(blocks[path[0]])+len(blocks[path[1]])) {
			t.Fatalf("%+v, %v", v, err)
		}
	}
	// Twelve choices among forty links: that they all fall on three has a chance of about 40*(3/40)^12.
	if len(leaves) < 4 {
		t.Errorf("the paths end in %d leaves only", len(leaves))
	}
}

// A single raw block is an order, too; and a deep chain of nodes ends at MaxDepth.
func TestAuditPathsEnd(t *testing.T) {
	a := newAuditing(t)
	leaf := []byte("a small file")
	k := storageproof.BlockKey{Codec: storageproof.CodecRaw, Digest: sha256.Sum256(leaf)}.CID()
	if path := a.honest(a.draw(1, k, nil), map[string][]byte{string(k): leaf}); len(path) != 1 {
		t.Errorf("%d blocks of one", len(path))
	}
	blocks := map[string][]byte{string(k): leaf}
	for range audit.MaxDepth + 3 {
		node := append([]byte{0x12, byte(2 + len(k)), 0x0a, byte(len(k))}, k...)
		k = storageproof.BlockKey{Codec: storageproof.CodecDagPB, Digest: sha256.Sum256(node)}.CID()
		blocks[string(k)] = node
	}
	if path := a.honest(a.draw(2, k, nil), blocks); len(path) != audit.MaxDepth {
		t.Errorf("%d blocks deep, want %d", len(path), audit.MaxDepth)
	}
	// The right bytes are the right bytes, whether they can be read or not.
	odd := []byte{0xff}
	k = storageproof.BlockKey{Codec: storageproof.CodecDagPB, Digest: sha256.Sum256(odd)}.CID()
	c := a.draw(3, k, nil)
	if path := a.honest(c, map[string][]byte{string(k): odd}); len(path) != 1 {
		t.Errorf("%d blocks", len(path))
	}
	if v, err := a.end(c); err != nil || v.Reason != audit.ReasonOK {
		t.Errorf("%+v, %v", v, err)
	}
}

// The host brings other bytes than those that were asked for.
func TestAuditTakesNoOtherBlock(t *testing.T) {
	a := newAuditing(t)
	root, blocks := dag(2)
	c := a.draw(1, root, nil)
	if _, err := a.bring(1, blocks[string(root)]); codeOf(err) != wire.CodeState {
		t.Errorf("a block before the case: %v", err)
	}
	next, err := a.begin(c)
	if err != nil {
		t.Fatal(err)
	}
	_, err = a.bring(1, []byte("something else"))
	a.refused("wrong bytes", wire.CodeInvalid, "another block", err)
	var leaf string
	for k := range blocks {
		if k != string(root) {
			leaf = k
		}
	}
	_, err = a.bring(1, blocks[leaf])
	a.refused("a block from further down", wire.CodeInvalid, "another block", err)
	if next, err = a.bring(1, blocks[string(next)]); err != nil {
		t.Fatal(err)
	}
	other := ""
	for k := range blocks {
		if k != string(root) && k != string(next) {
			other = k
		}
	}
	_, err = a.bring(1, blocks[other])
	a.refused("the block of the path not taken", wire.CodeInvalid, "another block", err)
	_, err = a.bring(1, blocks[string(root)])
	a.refused("a block for the second time", wire.CodeInvalid, "another block", err)
	// None of it moved the walk.
	if last, err := a.bring(1, blocks[string(next)]); err != nil || len(last) != 0 {
		t.Errorf("%x, %v", last, err)
	}
	_, err = a.bring(1, blocks[string(next)])
	a.refused("a block after the end", wire.CodeState, "over", err)
	if v, err := a.end(c); err != nil || v.Reason != audit.ReasonOK {
		t.Errorf("%+v, %v", v, err)
	}
}

// The host asks again and again for another path.
func TestAuditHasOnePath(t *testing.T) {
	a := newAuditing(t)
	root, blocks := dag(200)
	c := a.draw(1, root, nil)
	began := a.n.chain.Head().Height
	if _, err := a.begin(c); err != nil {
		t.Fatal(err)
	}
	chosen, err := a.bring(1, blocks[string(root)])
	if err != nil {
		t.Fatal(err)
	}
	for range 5 {
		a.follow(1)
		if next, err := a.begin(c); err != nil || !bytes.Equal(next, chosen) {
			t.Fatalf("asked again, the enclave wants %x, not %x: %v", next, chosen, err)
		}
	}
	if _, err := a.bring(1, blocks[string(chosen)]); err != nil {
		t.Fatal(err)
	}
	if v, err := a.end(c); err != nil || v.From != began || v.To != began+5 {
		t.Errorf("%+v, %v: the beginning moved", v, err)
	}
	if next, err := a.begin(c); err != nil || len(next) != 0 {
		t.Errorf("a case that was heard begins again with %x: %v", next, err)
	}
}

// The host forges the case, or brings one of another enclave.
func TestAuditNeedsProof(t *testing.T) {
	a := newAuditing(t)
	root, _ := dag(2)
	c := a.draw(1, root, nil)
	good := a.proof(audit.CaseKey(1), c.Height)
	try := func(what string, code wire.Code, words string, change func(*wire.Proof)) {
		t.Helper()
		p := good
		change(&p)
		_, err := a.n.handle(&wire.AuditBegin{Case: p}, nil)
		a.refused(what, code, words, err)
	}
	try("another holder", wire.CodeInvalid, "", func(p *wire.Proof) {
		forged := c
		forged.Holder = attestation.Account{8}
		p.Value = forged.Marshal()
	})
	try("another case's proof", wire.CodeInvalid, "", func(p *wire.Proof) {
		forged := c
		forged.ID = 2
		p.Value = forged.Marshal()
	})
	try("no proof", wire.CodeMalformed, "", func(p *wire.Proof) { p.Store = nil })
	try("of a state that the enclave has not seen", wire.CodeState, "", func(p *wire.Proof) { p.Height += 5 })
	try("of another state", wire.CodeInvalid, "", func(p *wire.Proof) { p.Height-- })
	try("an absent case", wire.CodeMalformed, "", func(p *wire.Proof) { *p = a.proof(audit.CaseKey(5), c.Height) })
	for name, change := range map[string]func(*audit.Case){
		"somebody else's case": func(c *audit.Case) { c.Auditors[0].Account = attestation.Account{3} },
		// A restarted enclave: another key, and no second path for its host.
		"a case for an earlier enclave of this account": func(c *audit.Case) { c.Auditors[0].Key = [32]byte{1} },
	} {
		other := a.draw(c.ID+1, root, change)
		c = other
		_, err := a.begin(other)
		a.refused(name, wire.CodeInvalid, "not drawn for this enclave", err)
	}
	old := a.draw(c.ID+1, root, func(c *audit.Case) { c.Deadline = c.Height + 3 })
	a.follow(3)
	_, err := a.begin(old)
	a.refused("a case after its deadline", wire.CodeState, "deadline", err)
	for id := range uint64(10) {
		if _, err := a.n.handle(&wire.AuditEnd{Case: id}, nil); codeOf(err) != wire.CodeState {
			t.Errorf("a verdict about case %d without a walk: %v", id, err)
		}
	}
}

// The host keeps the blocks, or the chain, from its enclave: it gets no failure before the holder had its time.
func TestAuditFailsInItsTimeOnly(t *testing.T) {
	a := newAuditing(t)
	root, blocks := dag(3)
	c := a.draw(1, root, nil)
	began := a.n.chain.Head().Height
	if _, err := a.begin(c); err != nil {
		t.Fatal(err)
	}
	for range answerBlocks {
		_, err := a.end(c)
		a.refused("a verdict on a frozen head", wire.CodeState, fmt.Sprint("until block ", began+answerBlocks), err)
		a.follow(1)
	}
	_, err := a.end(c)
	a.refused("a verdict in the last block", wire.CodeState, "until block", err)
	a.follow(1)
	v, err := a.end(c)
	if err != nil || v.Reason != audit.ReasonMissing || !bytes.Equal(v.Block, root) || v.Bytes != 0 || v.From != began || v.To != began+answerBlocks+1 {
		t.Fatalf("%+v, %v", v, err)
	}
	// What was signed is signed: the block comes too late.
	_, err = a.bring(1, blocks[string(root)])
	a.refused("a block after the verdict", wire.CodeState, "over", err)
	again, err := a.end(c)
	if err != nil || !bytes.Equal(again.Marshal(), v.Marshal()) {
		t.Errorf("a second verdict: %+v, %v", again, err)
	}
}

func TestAuditFindsSlowness(t *testing.T) {
	a := newAuditing(t)
	root, blocks := dag(3)
	for i, c := range []struct {
		blocks int
		want   audit.Reason
	}{{answerBlocks, audit.ReasonOK}, {answerBlocks + 1, audit.ReasonSlow}} {
		drawn := a.draw(uint64(i+1), root, nil)
		if _, err := a.begin(drawn); err != nil {
			t.Fatal(err)
		}
		next, err := a.bring(drawn.ID, blocks[string(root)])
		if err != nil {
			t.Fatal(err)
		}
		a.follow(c.blocks)
		if _, err := a.bring(drawn.ID, blocks[string(next)]); err != nil {
			t.Fatal(err)
		}
		a.follow(3) // asked late, the verdict still speaks of the time at which the last block came
		if v, err := a.end(drawn); err != nil || v.Reason != c.want || v.To-v.From != int64(c.blocks) {
			t.Errorf("after %d blocks: %+v, %v", c.blocks, v, err)
		}
	}
}

// Whatever the host does, one case gets one signature.
func TestAuditSignsOnce(t *testing.T) {
	a := newAuditing(t)
	root, blocks := dag(30)
	c := a.draw(1, root, nil)
	a.honest(c, blocks)
	m, err := a.n.handle(&wire.AuditEnd{Case: 1}, nil)
	if err != nil {
		t.Fatal(err)
	}
	first := *m.(*wire.AuditEndReply)
	for range 3 {
		a.follow(3)
		if _, err := a.begin(c); err != nil {
			t.Fatal(err)
		}
		for _, b := range blocks {
			_, _ = a.bring(1, b)
		}
		m, err := a.n.handle(&wire.AuditEnd{Case: 1}, nil)
		if err != nil || !bytes.Equal(m.(*wire.AuditEndReply).Verdict, first.Verdict) || m.(*wire.AuditEndReply).Sig != first.Sig {
			t.Fatalf("another verdict: %v", err)
		}
	}
	if !ed25519.Verify(a.n.id.sign[:], first.Verdict, first.Sig[:]) {
		t.Error("signed by another key")
	}
	// Past the deadline the case is forgotten, and then it can't begin again.
	a.follow(20)
	next := a.draw(2, root, nil)
	if _, err := a.begin(next); err != nil {
		t.Fatal(err)
	}
	if len(a.n.audits) != 1 {
		t.Errorf("%d audits are remembered", len(a.n.audits))
	}
	_, err = a.begin(c)
	a.refused("a case that was heard long ago", wire.CodeState, "deadline", err)
}

// What is remembered is bounded, whatever the chain draws.
func TestAuditsAreBounded(t *testing.T) {
	a := newAuditing(t)
	root, _ := dag(2)
	a.n.audits = audits{}
	for id := range uint64(maxAudits) {
		a.n.audits[id+1000] = &walk{c: audit.Case{ID: id + 1000, Deadline: 1 << 40}}
	}
	c := a.draw(1, root, nil)
	_, err := a.begin(c)
	a.refused("one too many", wire.CodeState, "under way", err)
	ids := make([]uint64, 0, maxAudits)
	for id := range a.n.audits {
		ids = append(ids, id)
	}
	slices.Sort(ids)
	delete(a.n.audits, ids[0])
	if _, err := a.begin(c); err != nil {
		t.Error(err)
	}
}
