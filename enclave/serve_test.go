package enclave

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"io"
	"testing"
	"time"

	"github.com/cometbft/cometbft/crypto/ed25519"
	cmtproto "github.com/cometbft/cometbft/proto/tendermint/types"
	cmtversion "github.com/cometbft/cometbft/proto/tendermint/version"
	"github.com/cometbft/cometbft/types"

	"github.com/cella-network/cella/enclave/tee"
	"github.com/cella-network/cella/enclave/wire"
	"github.com/cella-network/cella/protocol/storageproof"
)

// testInit is an Init on the first block of a chain with one validator.
func testInit(t testing.TB) *wire.Init {
	t.Helper()
	key := ed25519.GenPrivKeyFromSecret([]byte("validator"))
	set := types.NewValidatorSet([]*types.Validator{types.NewValidator(key.PubKey(), 10)})
	hash := sha256.Sum256(nil)
	h := &types.Header{
		Version: cmtversion.Consensus{Block: 11}, ChainID: "loop-1", Height: 1, Time: time.Unix(1_700_000_000, 0).UTC(),
		ValidatorsHash: set.Hash(), NextValidatorsHash: set.Hash(), ConsensusHash: hash[:], AppHash: hash[:], ProposerAddress: key.PubKey().Address(),
	}
	id := types.BlockID{Hash: h.Hash(), PartSetHeader: types.PartSetHeader{Total: 1, Hash: hash[:]}}
	vote := &types.Vote{Type: cmtproto.PrecommitType, Height: 1, BlockID: id, Timestamp: h.Time, ValidatorAddress: key.PubKey().Address()}
	sig, err := key.Sign(types.VoteSignBytes(h.ChainID, vote.ToProto()))
	if err != nil {
		t.Fatal(err)
	}
	commit := &types.Commit{Height: 1, BlockID: id, Signatures: []types.CommitSig{{BlockIDFlag: types.BlockIDFlagCommit,
		ValidatorAddress: key.PubKey().Address(), Timestamp: h.Time, Signature: sig}}}
	setProto, err := set.ToProto()
	if err != nil {
		t.Fatal(err)
	}
	m := &wire.Init{ChainID: h.ChainID, Account: [20]byte{1}, SectorSize: 4 << 20, Platform: bytes.Repeat([]byte{7}, tee.FuseSize)}
	for to, from := range map[*[]byte]interface{ Marshal() ([]byte, error) }{
		&m.Header: h.ToProto(), &m.Commit: commit.ToProto(), &m.Validators: setProto,
	} {
		if *to, err = from.Marshal(); err != nil {
			t.Fatal(err)
		}
	}
	return m
}

func testNode() *node {
	return &node{options: Options{Version: "test", Open: tee.Sim([32]byte{1}), Alloc: func(n int) []byte { return make([]byte, n) }}}
}

func codeOf(err error) wire.Code {
	if err == nil {
		return 0
	}
	return refusal(err).Code
}

func TestInit(t *testing.T) {
	good := testInit(t)
	for name, change := range map[string]func(*wire.Init){
		"no header": func(m *wire.Init) { m.Header = nil },
		"header altered": func(m *wire.Init) {
			m.Header = append(bytes.Clone(m.Header[:len(m.Header)-1]), m.Header[len(m.Header)-1]^1)
		},
		"no commit":             func(m *wire.Init) { m.Commit = nil },
		"other chain":           func(m *wire.Init) { m.ChainID = "loop-2" },
		"no validators":         func(m *wire.Init) { m.Validators = nil },
		"sector size":           func(m *wire.Init) { m.SectorSize = 4097 },
		"account":               func(m *wire.Init) { m.Account = [20]byte{} },
		"fuse of another size":  func(m *wire.Init) { m.Platform = make([]byte, 31) },
		"commit of other block": func(m *wire.Init) { m.Commit = bytes.Replace(m.Commit, m.Commit[10:20], make([]byte, 10), 1) },
	} {
		n := testNode()
		m := *good
		m.Platform = bytes.Clone(good.Platform)
		change(&m)
		if _, err := n.handle(&m, nil); err == nil {
			t.Errorf("%s: accepted", name)
		}
		if _, err := n.handle(&wire.Status{}, nil); codeOf(err) != wire.CodeState {
			t.Errorf("%s: after a refused Init, Status gives %v", name, err)
		}
		// A refused Init leaves nothing behind: the right one still works.
		again := *good
		again.Platform = bytes.Clone(good.Platform)
		if _, err := n.handle(&again, nil); err != nil {
			t.Errorf("%s: then the right one: %v", name, err)
		}
		if !bytes.Equal(again.Platform, make([]byte, tee.FuseSize)) {
			t.Error("the fuse was not wiped")
		}
		if _, err := n.handle(&again, nil); codeOf(err) != wire.CodeState {
			t.Errorf("a second Init: %v", err)
		}
		n.close()
	}
}

func TestKeysAreFresh(t *testing.T) {
	seen := map[[32]byte]bool{}
	for range 2 {
		n := testNode()
		reply, err := n.handle(testInit(t), nil)
		if err != nil {
			t.Fatal(err)
		}
		r := reply.(*wire.InitReply)
		if seen[r.SignKey] || seen[r.KEMKey] || r.SignKey == [32]byte{} || r.KEMKey == [32]byte{} {
			t.Error("a key came twice or is zero")
		}
		seen[r.SignKey], seen[r.KEMKey] = true, true
		seed := n.id.signSeed
		n.close()
		if !bytes.Equal(seed, make([]byte, 32)) {
			t.Error("the signing key was not wiped")
		}
	}
}

func TestEverythingWaitsForInit(t *testing.T) {
	for k := range wire.Kind(128) {
		if req := wire.NewRequest(k); req != nil && k != wire.KindInit {
			if _, err := testNode().handle(req, nil); codeOf(err) != wire.CodeState {
				t.Errorf("%T before Init: %v", req, err)
			}
		}
	}
}

// Every request kind is served: an empty one is refused for what it says, not for being unknown.
func TestEveryRequestIsServed(t *testing.T) {
	n := testNode()
	if _, err := n.handle(testInit(t), nil); err != nil {
		t.Fatal(err)
	}
	defer n.close()
	for k := range wire.Kind(128) {
		if req := wire.NewRequest(k); req != nil && k != wire.KindInit {
			_, err := n.handle(req, make([]byte, 2<<20))
			if code := codeOf(err); code == wire.CodeInternal || err != nil && bytes.Contains([]byte(err.Error()), []byte("not served")) {
				t.Errorf("%T: %v", req, err)
			}
		}
	}
}

// V remembers a bounded number of challenges, the newest of each registration, and each serves once.
func TestChallengesAreBounded(t *testing.T) {
	var e endorser
	for i := range maxChallenges + 1 {
		e.put(challenge{hash: [32]byte{byte(i)}, nonce: [32]byte{1}})
	}
	if len(e.pending) != maxChallenges {
		t.Errorf("%d challenges are remembered, at most %d", len(e.pending), maxChallenges)
	}
	if _, ok := e.take([32]byte{0}); ok {
		t.Error("the oldest is still there")
	}
	e.put(challenge{hash: [32]byte{5}, nonce: [32]byte{2}})
	if c, ok := e.take([32]byte{5}); !ok || c.nonce != [32]byte{2} || len(e.pending) != maxChallenges-1 {
		t.Error("a second challenge did not replace the first")
	}
	if _, ok := e.take([32]byte{5}); ok {
		t.Error("a challenge served twice")
	}
}

type script struct {
	io.Reader
	io.Writer
}

func (script) Close() error { return nil }

// FuzzServe lets a hostile host say anything, before and after a good Init. Nothing may panic.
func FuzzServe(f *testing.F) {
	init := testInit(f)
	frame := func(m wire.Request) []byte {
		p, err := wire.NewPacket(1, m.Kind(), m)
		if err != nil {
			f.Fatal(err)
		}
		var b bytes.Buffer
		_, _ = p.WriteTo(&b)
		return b.Bytes()
	}
	f.Add(false, frame(init))
	all := []byte{}
	for k := range wire.Kind(128) {
		if req := wire.NewRequest(k); req != nil {
			f.Add(true, frame(req))
			all = append(all, frame(req)...)
		}
	}
	f.Add(true, all)
	f.Add(true, append(frame(&wire.RestoreBegin{}), all...))
	f.Add(true, append(frame(&wire.Open{Sector: 1}), frame(&wire.Seal{Sector: 1, Data: []byte("x")})...))
	f.Add(true, frame(&wire.Follow{Headers: [][]byte{init.Header}, Commit: init.Commit, Validators: init.Validators}))
	f.Add(true, frame(&wire.History{Headers: [][]byte{init.Header}}))
	f.Fuzz(func(t *testing.T, started bool, in []byte) {
		n := testNode()
		if started {
			m := *init
			m.Platform = bytes.Clone(init.Platform)
			if _, err := n.handle(&m, nil); err != nil {
				t.Fatal(err)
			}
		}
		err := newLoop(script{bytes.NewReader(in), io.Discard}, 2<<20, n.handle).run()
		if err != nil && !errors.Is(err, wire.ErrMalformed) && !errors.Is(err, io.ErrUnexpectedEOF) {
			t.Error(err)
		}
		n.close()
	})
}

// A table that is larger than a message comes in parts: they need no proof, are bounded, and serve one RestoreBegin.
func TestRestoreInParts(t *testing.T) {
	n := testNode()
	if _, err := n.handle(testInit(t), nil); err != nil {
		t.Fatal(err)
	}
	defer n.close()
	begin := func(m wire.RestoreBegin) wire.Code {
		_, err := n.handle(&m, nil)
		return codeOf(err)
	}
	row := make([]byte, storageproof.EntrySize)
	for range 3 {
		if got := begin(wire.RestoreBegin{Entries: row, Orders: make([]wire.Order, 2), More: true}); got != 0 {
			t.Fatalf("a part: code %d", got)
		}
	}
	if len(n.rows) != 3*len(row) || len(n.orders) != 6 {
		t.Errorf("%d bytes of rows and %d orders wait", len(n.rows), len(n.orders))
	}
	if got := begin(wire.RestoreBegin{Standing: wire.Proof{Height: 1}}); got == 0 {
		t.Error("restored without a proof")
	}
	if n.rows != nil || n.orders != nil {
		t.Error("parts outlive the RestoreBegin that they belong to")
	}
	for part := make([]byte, 1<<20); ; {
		if got := begin(wire.RestoreBegin{Entries: part, More: true}); got != 0 {
			break
		}
		if len(n.rows) > maxRows*storageproof.EntrySize {
			t.Fatal("parts are not bounded")
		}
	}
	if n.rows != nil {
		t.Error("refused parts are kept")
	}
}
