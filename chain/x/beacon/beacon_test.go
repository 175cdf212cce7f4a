package beacon

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"cosmossdk.io/log/v2"

	abci "github.com/cometbft/cometbft/abci/types"

	storetypes "github.com/cosmos/cosmos-sdk/store/v2/types"
	sdk "github.com/cosmos/cosmos-sdk/types"

	api "github.com/cella-network/cella/api/beacon"
	"github.com/cella-network/cella/protocol/beacon"
	"github.com/cella-network/cella/protocol/lottery"
	"github.com/cella-network/cella/protocol/threshold"
)

// Whatever one of four puts beside its vote, the vote counts and the number comes in time.
func TestRubbishBesideVotes(t *testing.T) {
	for _, c := range []struct {
		name    string
		garbles func(w *world, e beacon.Extension) []byte
		proof   bool // who did it can be punished
	}{
		{"nothing", func(*world, beacon.Extension) []byte { return nil }, false},
		{"garbage", func(*world, beacon.Extension) []byte { return []byte("garbage") }, false},
		{"as much as there may be", func(*world, beacon.Extension) []byte { return make([]byte, maxExtension) }, false},
		{"bad, and padded as far as it goes", func(w *world, e beacon.Extension) []byte {
			e.Partials[0].Points = w.teams[0].partial(1, message(1, e.Partials[0].Height))
			for ahead := range int64(beacon.MaxPartials - 1) {
				e.Partials = append(e.Partials, beacon.Partial{Height: 1<<60 + ahead, Points: make([]byte, 48*threshold.MaxShares)})
			}
			return e.Marshal()
		}, true},
		{"more behind", func(_ *world, e beacon.Extension) []byte { return append(e.Marshal(), 0) }, false},
		{"another epoch", func(_ *world, e beacon.Extension) []byte { e.Epoch = 2; return e.Marshal() }, false},
		{"too few points", func(_ *world, e beacon.Extension) []byte {
			e.Partials[0].Points = e.Partials[0].Points[:48]
			return e.Marshal()
		}, false},
		{"far ahead", func(_ *world, e beacon.Extension) []byte { e.Partials[0].Height = 1 << 60; return e.Marshal() }, false},
		{"another's", func(w *world, e beacon.Extension) []byte {
			e.Partials[0].Points = w.teams[0].partial(1, message(1, e.Partials[0].Height))
			return e.Marshal()
		}, true},
		{"another height's", func(w *world, e beacon.Extension) []byte {
			e.Partials[0].Points = w.teams[0].partial(0, message(1, e.Partials[0].Height+1))
			return e.Marshal()
		}, true},
		{"no points", func(_ *world, e beacon.Extension) []byte { e.Partials[0].Points = make([]byte, 96); return e.Marshal() }, true},
	} {
		t.Run(c.name, func(t *testing.T) {
			w := running(t, 5)
			w.named("ann").garbles = func(e beacon.Extension) []byte { return c.garbles(w, e) }
			w.until(10)
			if w.tip() != 9 || !slices.Equal(w.missing(), []int64{10}) {
				t.Errorf("tip %d of 10, missing %v", w.tip(), w.missing())
			}
			if got := len(w.keeper.Evidence()) > 0; got != c.proof {
				t.Errorf("evidence: %v", w.keeper.Evidence())
			}
			if n := len(w.keeper.node.pool); n > pooledHeights {
				t.Errorf("%d heights are remembered", n)
			}
			w.posts(c.proof)
		})
	}
}

// posts posts what evidence there is.
func (w *world) posts(wanted bool) {
	w.tb.Helper()
	for _, m := range w.keeper.Evidence() {
		if _, err := (msgServer{w.keeper}).BadShare(w.at(w.height), m); err != nil {
			w.tb.Error("a node's own evidence is refused:", err)
		}
	}
	if (len(w.punished) > 0) != wanted {
		w.tb.Error("punished:", w.punished)
	}
}

// What is remembered of votes is bounded, whatever heights they name and however long numbers are missing.
func TestMemoryIsBounded(t *testing.T) {
	w := running(t, 5)
	w.named("cat").silent, w.named("dan").silent = true, true
	w.until(30)
	if n := len(w.keeper.node.pool); n != pooledHeights {
		t.Errorf("%d heights are remembered, want %d", n, pooledHeights)
	}
	if h := w.keeper.node.pooled(); h[0] != 6 || h[1] != 7 || h[len(h)-1] != 30 {
		t.Errorf("remembered: %v, want the oldest and the newest", h)
	}
	w.named("cat").silent, w.named("dan").silent = false, false
	w.until(48)
	if w.tip() != 47 {
		t.Errorf("tip %d of 48: what was missing is not completed, but %v", w.tip(), w.missing())
	}
}

// carrying is a proposal that carries numbers: those of heights, signed by a team on messages of an epoch.
func carrying(t *testing.T, team *team, epoch uint64, heights ...int64) []byte {
	var c beacon.Carried
	for _, h := range heights {
		c = append(c, beacon.Number{Height: h, Signature: team.sign(t, message(epoch, h))})
	}
	return c.Marshal()
}

func TestProposals(t *testing.T) {
	w := running(t, 6)
	w.named("ann").silent, w.named("ben").silent = true, true
	w.until(9) // 7, 8 and 9 are missing
	pay, other := []byte("a payment"), newTeam(t, 1, 8, "ann", "ben", "cat", "dan")
	good := carrying(t, w.teams[0], 1, 7, 9)
	for _, c := range []struct {
		name string
		txs  [][]byte
		ok   bool
	}{
		{"no numbers", [][]byte{pay}, true},
		{"two numbers", [][]byte{good, pay}, true},
		{"numbers alone", [][]byte{good}, true},
		{"numbers behind", [][]byte{pay, good}, false},
		{"numbers twice", [][]byte{good, good}, false},
		{"more behind the numbers", [][]byte{append(slices.Clone(good), 0), pay}, false},
		{"cut numbers", [][]byte{good[:len(good)-1], pay}, false},
		{"no number in them", [][]byte{beacon.Carried{}.Marshal()}, false},
		{"descending", [][]byte{carrying(t, w.teams[0], 1, 9, 7)}, false},
		{"signed by others", [][]byte{carrying(t, other, 1, 9)}, false},
		{"one good, one forged", [][]byte{beacon.Carried{{Height: 7, Signature: w.teams[0].sign(t, message(1, 7))}, {Height: 9}}.Marshal()}, false},
		{"another height's", [][]byte{beacon.Carried{{Height: 9, Signature: w.teams[0].sign(t, message(1, 8))}}.Marshal()}, false},
		{"signed for another epoch", [][]byte{carrying(t, w.teams[0], 2, 9)}, false},
		{"a height that has its number", [][]byte{carrying(t, w.teams[0], 1, 5)}, false},
		{"a height before the group", [][]byte{carrying(t, w.teams[0], 1, 2)}, false},
		{"the height itself", [][]byte{carrying(t, w.teams[0], 1, 10)}, false},
		{"a height ahead", [][]byte{carrying(t, w.teams[0], 1, 1000)}, false},
	} {
		if got := w.accepts(c.txs); got != c.ok {
			t.Errorf("%s: accepted %v, want %v", c.name, got, c.ok)
		}
	}
	// Should a block be decided all the same, what is bad in it changes nothing.
	w.decide([][]byte{carrying(t, other, 1, 9), pay})
	w.decide([][]byte{pay, good})
	w.decide([][]byte{append(slices.Clone(good), 0)})
	if got := w.missing(); !slices.Equal(got, []int64{7, 8, 9, 10, 11, 12}) {
		t.Errorf("missing %v after bad blocks", got)
	}
	if w.tip() != 6 {
		t.Error("tip", w.tip())
	}
}

// A proposal that has no room for numbers, or a node without memory or state, proposes what it can.
func TestProposerNeverFails(t *testing.T) {
	w := running(t, 6)
	inner := func(_ sdk.Context, req *abci.RequestPrepareProposal) (*abci.ResponsePrepareProposal, error) {
		return &abci.ResponsePrepareProposal{Txs: req.Txs}, nil
	}
	prepare := func(most int64, commit abci.ExtendedCommitInfo, txs ...[]byte) [][]byte {
		t.Helper()
		r, err := w.keeper.PrepareProposal(inner)(w.at(7), &abci.RequestPrepareProposal{Height: 7, MaxTxBytes: most, LocalLastCommit: commit, Txs: txs})
		if err != nil {
			t.Fatal(err)
		}
		return r.Txs
	}
	a, b := bytes.Repeat([]byte{1}, 48), bytes.Repeat([]byte{2}, 48) // 50 bytes each in a block
	numbers := w.propose()[0]
	room := int64(len(numbers) + 2)
	for most, want := range map[int64][][]byte{room + 100: {numbers, a, b}, room + 99: {numbers, a}, room + 49: {numbers}, room: {numbers}, room - 1: {a, b}} {
		if got := prepare(most, w.commit, a, b); len(got) != len(want) || !bytes.Equal(got[0], want[0]) {
			t.Errorf("with %d bytes: %d transactions, want %d", most, len(got), len(want))
		}
	}
	w.keeper.node = node{}
	if got := prepare(1000, abci.ExtendedCommitInfo{}, a); len(got) != 1 {
		t.Error("numbers from nowhere")
	}
	w.fails = errors.New("broken")
	if got := prepare(1000, w.commit, a); len(got) != 1 || !bytes.Equal(got[0], a) {
		t.Error("a broken state costs the proposal")
	}
	w.vote(7) // and no vote
}

// A number that was not made in time is made as soon as enough sign, with whatever came before.
func TestLateNumber(t *testing.T) {
	w := running(t, 5)
	w.named("ann").silent, w.named("ben").silent = true, true
	w.until(7)
	if w.tip() != 5 || !slices.Equal(w.missing(), []int64{6, 7}) {
		t.Fatalf("tip %d, missing %v", w.tip(), w.missing())
	}
	if _, ok, err := w.keeper.Seed(w.ctx, 6); ok || err != nil {
		t.Error("a seed from nowhere", err)
	}
	w.named("ann").silent, w.named("cat").silent, w.named("dan").silent = false, true, true
	w.until(8) // only ann votes with signatures, of 8 and 6; those of cat and dan on 6 and 7 are remembered
	lines := strings.Join(w.until(9), "\n")
	if !strings.Contains(lines, "9: EventNumber epoch=1 height=6 late=2") {
		t.Errorf("cat and dan signed 6 with their votes for 6, ann with hers for 8:\n%s", lines)
	}
	w.named("cat").silent, w.named("dan").silent = false, false
	w.until(13)
	if w.tip() != 12 || !slices.Equal(w.missing(), []int64{13}) {
		t.Errorf("tip %d, missing %v", w.tip(), w.missing())
	}
	if slices.Sort(w.signed); !slices.Equal(w.signed, []int64{3, 4, 5, 6, 7, 8, 9, 10, 11, 12}) {
		t.Errorf("the committee heard of %v", w.signed)
	}
}

func TestHandoverAndVoid(t *testing.T) {
	w := running(t, 5)
	w.named("ann").silent, w.named("ben").silent = true, true
	w.until(6)
	w.charge(7, 9, "ann", "ben", "cat", "dan") // the same key, other shares
	w.until(9)
	w.named("ann").silent, w.named("ben").silent = false, false
	w.until(12)
	if w.tip() != 11 {
		t.Errorf("tip %d of 12 after a handover: missing %v", w.tip(), w.missing())
	}
	n, err := w.keeper.numbers.Get(w.ctx, 8)
	if err != nil || n.Epoch != 1 || n.Carried != 12 {
		t.Errorf("%+v, %v: height 8 was to be signed for epoch 1, by the new group", n, err)
	}

	for _, v := range w.validators {
		v.silent = true
	}
	w.until(14)
	w.charge(9, 16, "ann", "ben", "cat", "dan") // another key: the old one is lost
	w.gone = true
	lines := strings.Join(w.until(16), "\n")
	if !strings.Contains(lines, "16: EventVoid from=13 to=15") || w.tip() != 15 {
		t.Errorf("tip %d:\n%s", w.tip(), lines)
	}
	hash := [32]byte(w.ctx.HeaderHash())
	if seed, ok, err := w.keeper.Seed(w.ctx, 13); !ok || err != nil || seed != lottery.BlockSeed(testChain, 13, hash) {
		t.Error("a void height's seed is not by the block that voided it", ok, err)
	}
	for _, v := range w.validators {
		v.silent = false
	}
	w.until(20)
	if w.tip() != 19 {
		t.Errorf("tip %d of 20 under the fresh key: missing %v", w.tip(), w.missing())
	}
	q := queryServer{w.keeper}
	old, err1 := q.Number(w.ctx, &api.QueryNumberRequest{Height: 10})
	fresh, err2 := q.Number(w.ctx, &api.QueryNumberRequest{})
	k1, k2 := w.teams[1].group.Key(), w.teams[2].group.Key()
	if err := errors.Join(err1, err2); err != nil || !bytes.Equal(old.Key, k1[:]) || !bytes.Equal(fresh.Key, k2[:]) || fresh.Number.Height != 19 {
		t.Errorf("keys of numbers: %v, last %d", err, fresh.Number.Height)
	}
	if !w.teams[2].group.Verify(fresh.Message, threshold.Signature(fresh.Number.Signature)) || fresh.Tag != threshold.Tag("beacon") {
		t.Error("a number can't be checked with what the query says")
	}
}

// Before the first group each block is its height's seed, known while it is executed.
func TestBootstrap(t *testing.T) {
	w := newWorld(t)
	w.until(5)
	seed, ok, err := w.keeper.Seed(w.ctx, 5)
	if err != nil || !ok || seed != lottery.BlockSeed(testChain, 5, [32]byte(w.ctx.HeaderHash())) || w.tip() != 5 {
		t.Error(seed, ok, err, w.tip())
	}
	if _, drawn, err := w.keeper.Proposer(w.ctx, 6); drawn || err != nil {
		t.Error("somebody was drawn without a number", err)
	}
	if len(w.commit.Votes[0].VoteExtension) != 0 {
		t.Error("somebody signs without a group")
	}
}

// An enclave that signs something else, as after a block of delay, costs the vote its extension, not the validator its stake.
func TestOwnPartialIsChecked(t *testing.T) {
	w := running(t, 6)
	w.keeper.SetSelf(w.named("ben").address())
	w.keeper.SetSigner(enclave{w, "ann"})
	r, err := w.keeper.ExtendVote()(w.at(7), &abci.RequestExtendVote{Height: 7})
	if err != nil || len(r.VoteExtension) != 0 {
		t.Error("a wrong partial signature goes out", err)
	}
	w.keeper.SetSigner(failing{})
	r, err = w.keeper.ExtendVote()(w.at(7), &abci.RequestExtendVote{Height: 7})
	if err != nil || len(r.VoteExtension) != 0 {
		t.Error("an enclave that fails costs the vote", err)
	}
}

type panicking struct{ Committee }

func (panicking) Partial(context.Context, uint64, []int64) ([][]byte, error) { panic("out of shares") }

func (panicking) Charges(context.Context, string) (now, before *threshold.InCharge, err error) {
	panic("out of groups")
}

// A panic while votes are made or looked at would end the node, and every other that sees the same.
func TestVotesOutlivePanics(t *testing.T) {
	w := running(t, 6)
	w.keeper.SetSigner(panicking{})
	r, err := w.keeper.ExtendVote()(w.at(7), &abci.RequestExtendVote{Height: 7})
	if err != nil || len(r.VoteExtension) != 0 {
		t.Error(r, err)
	}
	w.keeper.committee = panicking{}
	v, err := w.keeper.VerifyVoteExtension()(w.at(7), &abci.RequestVerifyVoteExtension{Height: 7, VoteExtension: []byte{1}})
	if err != nil || v.Status != abci.ResponseVerifyVoteExtension_ACCEPT {
		t.Error(v, err)
	}
}

// All nodes keep what is beside votes, so there is an end to it: what no honest node sends takes its own vote out of the count.
func TestTooMuchBesideAVote(t *testing.T) {
	w := running(t, 6)
	for length, want := range map[int]abci.ResponseVerifyVoteExtension_VerifyStatus{
		maxExtension: abci.ResponseVerifyVoteExtension_ACCEPT, maxExtension + 1: abci.ResponseVerifyVoteExtension_REJECT,
	} {
		a := w.named("ann").address()
		v, err := w.keeper.VerifyVoteExtension()(w.at(7), &abci.RequestVerifyVoteExtension{Height: 7, ValidatorAddress: a[:], VoteExtension: make([]byte, length)})
		if err != nil || v.Status != want {
			t.Errorf("%d bytes: %v, %v", length, v, err)
		}
	}
	most := beacon.Extension{}
	for h := range int64(beacon.MaxPartials) {
		most.Partials = append(most.Partials, beacon.Partial{Height: h + 1, Points: make([]byte, 48*threshold.MaxShares)})
	}
	if n := len(most.Marshal()); n != maxExtension {
		t.Errorf("the longest extension has %d bytes, at most %d count", n, maxExtension)
	}
}

// scripted fails with one error after the other, then signs.
type scripted struct {
	enclave
	errs *[]string
}

func (s scripted) Partial(ctx context.Context, epoch uint64, heights []int64) ([][]byte, error) {
	if len(*s.errs) == 0 {
		return s.enclave.Partial(ctx, epoch, heights)
	}
	err := errors.New((*s.errs)[0])
	*s.errs = (*s.errs)[1:]
	return nil, err
}

// A node without shares says so once, not with each of its votes, and says when that is over.
func TestTroubleIsToldOnce(t *testing.T) {
	w := running(t, 6)
	var out bytes.Buffer
	errs := []string{"no shares of epoch 1", "no shares of epoch 1", "block 7 is not here yet", "block 8 is not here yet", "no shares of epoch 1"}
	w.keeper.SetSelf(w.named("ann").address())
	w.keeper.SetSigner(scripted{enclave{w, "ann"}, &errs})
	for range 8 {
		ctx := w.at(7).WithLogger(log.NewLogger(&out))
		if _, err := w.keeper.ExtendVote()(ctx, &abci.RequestExtendVote{Height: 7}); err != nil {
			t.Error(err)
		}
	}
	if said := out.String(); strings.Count(said, "without a partial signature") != 3 || strings.Count(said, "again") != 1 {
		t.Error(said)
	}
}

type failing struct{}

func (failing) Partial(context.Context, uint64, []int64) ([][]byte, error) {
	return nil, errors.New("no shares")
}

// The same blocks make the same state, on a node that saw no vote.
func TestReplay(t *testing.T) {
	w := running(t, 5)
	w.named("ann").silent, w.named("ben").silent = true, true
	w.until(9)
	w.named("ann").silent, w.named("ben").silent = false, false
	w.charge(7, 12, "cat", "ben", "ann", "dan")
	w.until(30)

	again := newWorld(t)
	again.charge(7, 3, "ann", "ben", "cat", "dan")
	for _, req := range w.blocks {
		if req.Height == 10 {
			again.charge(7, 12, "cat", "ben", "ann", "dan")
		}
		again.finalize(req)
	}
	if a, b := w.dump(), again.dump(); a != b {
		t.Errorf("a replay differs:\n%s\n%s", a, b)
	}
}

// dump is everything in the store.
func (w *world) dump() string {
	var out strings.Builder
	it := w.ctx.KVStore(w.key).Iterator(nil, nil)
	defer it.Close()
	for ; it.Valid(); it.Next() {
		fmt.Fprintf(&out, "%x %x\n", it.Key(), it.Value())
	}
	return out.String()
}

// What is old is forgotten, a bounded number of records a block.
func TestPruning(t *testing.T) {
	w := newWorld(t)
	p := params
	p.KeepBlocks = 100 // less than governance may set
	if err := w.keeper.params.Set(w.ctx, p); err != nil {
		t.Fatal(err)
	}
	w.charge(7, 3, "ann", "ben", "cat", "dan")
	w.until(20)
	for _, v := range w.validators {
		v.silent = true
	}
	w.until(700)
	if _, ok, _ := w.keeper.Seed(w.ctx, 20); !ok {
		t.Error("the end of the chain of seeds is forgotten while the next number is missing")
	}
	if _, ok, _ := w.keeper.Seed(w.ctx, 15); ok {
		t.Error("old seeds stay")
	}
	count := 0
	for it := storetypes.KVStorePrefixIterator(w.ctx.KVStore(w.key), []byte{9}); it.Valid(); it.Next() {
		count++
	}
	if count > int(p.KeepBlocks)+2*wholeTurns {
		t.Errorf("%d turns are kept", count)
	}
	q := queryServer{w.keeper}
	if _, err := q.Turn(w.ctx, &api.QueryTurnRequest{Height: w.height - p.KeepBlocks}); err != nil {
		t.Error("a turn that should be kept:", err)
	}
}

func TestSeeds(t *testing.T) {
	w := running(t, 12)
	q := queryServer{w.keeper}
	for from := int64(1); from <= w.tip()+1; from++ {
		for _, limit := range []uint32{0, 3} {
			r, err := q.Seeds(w.ctx, &api.QuerySeedsRequest{From: from, Limit: limit})
			if err != nil {
				t.Fatal(err)
			}
			tip := beacon.Tip{Height: from - 1, Hash: [32]byte(r.Before)}
			for _, s := range r.Seeds {
				tip = tip.Append(lottery.Seed(s))
			}
			if want := min(w.tip(), from+int64(limit)-1); limit > 0 && tip.Height != want {
				t.Errorf("%d seeds from %d", len(r.Seeds), from)
			}
			if stored := w.ctx.KVStore(w.key).Get(beacon.TipKey()); limit == 0 && !bytes.Equal(tip.Marshal(), stored) {
				t.Errorf("the seeds from %d on do not lead to the tip", from)
			}
		}
	}
	for _, req := range []*api.QuerySeedsRequest{{From: 0}, {From: w.tip() + 2}, {From: 1, Limit: maxSeeds + 1}} {
		if _, err := q.Seeds(w.ctx, req); !errors.Is(err, ErrRefused) {
			t.Errorf("%+v: %v", req, err)
		}
	}
}

func TestGenesis(t *testing.T) {
	w := newWorld(t)
	m := AppModule{w.keeper}
	raw := m.ExportGenesis(w.ctx, w.cfg.Codec)
	if err := m.ValidateGenesis(w.cfg.Codec, nil, raw); err != nil || !bytes.Contains(raw, []byte("2000")) {
		t.Errorf("%s: %v", raw, err)
	}
	if err := m.ValidateGenesis(w.cfg.Codec, nil, m.DefaultGenesis(w.cfg.Codec)); err != nil {
		t.Error(err)
	}
	for name, change := range map[string]func(*api.Params){
		"keep":  func(p *api.Params) { p.KeepBlocks = provable - 1 },
		"epoch": func(p *api.Params) { p.EpochBlocks = 0 },
		"prior": func(p *api.Params) { p.Prior = 0 },
	} {
		p := params
		change(&p)
		if err := w.keeper.ValidateGenesis(&api.GenesisState{Params: p}); err == nil {
			t.Errorf("%s: accepted", name)
		}
		if _, err := (msgServer{w.keeper}).UpdateParams(w.ctx, &api.MsgUpdateParams{Authority: authority, Params: p}); !errors.Is(err, ErrRefused) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := (msgServer{w.keeper}).UpdateParams(w.ctx, &api.MsgUpdateParams{Authority: "ann", Params: params}); !errors.Is(err, ErrRefused) {
		t.Error("anybody changes params:", err)
	}
	if _, err := (msgServer{w.keeper}).UpdateParams(w.ctx, &api.MsgUpdateParams{Authority: authority, Params: params}); err != nil {
		t.Error(err)
	}
}
