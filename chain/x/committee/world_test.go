package committee

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"math/rand/v2"
	"slices"
	"sort"
	"strings"
	"testing"

	"cosmossdk.io/collections"

	"github.com/cosmos/cosmos-sdk/codec/address"
	"github.com/cosmos/cosmos-sdk/runtime"
	storetypes "github.com/cosmos/cosmos-sdk/store/v2/types"
	"github.com/cosmos/cosmos-sdk/testutil"
	sdk "github.com/cosmos/cosmos-sdk/types"
	moduletestutil "github.com/cosmos/cosmos-sdk/types/module/testutil"

	api "github.com/cella-network/cella/api/committee"
	"github.com/cella-network/cella/protocol/attestation"
	"github.com/cella-network/cella/protocol/threshold"
)

const (
	authority = "gov"
	chainID   = "cella-test"
)

var (
	params = api.Params{PhaseBlocks: 2, RetryBlocks: 2, Attempts: 3, ConfirmBlocks: 10, StallBlocks: 30, Repairs: 2}
	bech   = address.NewBech32Codec("cella")
)

func account(name string) (a [20]byte) {
	copy(a[:], name)
	return a
}

func text(name string) string {
	a := account(name)
	s, err := bech.BytesToString(a[:])
	if err != nil {
		panic(err)
	}
	return s
}

func must(tb testing.TB, err error) {
	tb.Helper()
	if err != nil {
		tb.Fatal(err)
	}
}

// person is a member with its enclave. What it knows of a ceremony it replays from the chain's entries.
type person struct {
	name   string
	life   int // how often the enclave has started
	active bool
	mute   bool
	seen   int    // the life that is registered
	joined int64  // since
	low    bool   // its platform may hold no keys
	cheat  string // "": honest
	late   []byte // keys of shares that it kept to itself
	random *rand.ChaCha8
	member *threshold.Member
	acted  map[string]bool // by ceremony and phase
	shares map[threshold.ID]*threshold.Shares
	fixers map[string]*threshold.Repairer // by account and attempt
}

// start is a new enclave: whatever the last one knew is gone.
func (p *person) start() {
	p.life++
	p.active, p.member = true, nil
	p.random = rand.NewChaCha8(sha256.Sum256(fmt.Appendf(nil, "%s %d", p.name, p.life)))
	p.acted, p.shares, p.fixers = map[string]bool{}, map[threshold.ID]*threshold.Shares{}, map[string]*threshold.Repairer{}
}

func (p *person) key() ed25519.PrivateKey {
	seed := sha256.Sum256(fmt.Appendf(nil, "key of %s %d", p.name, p.life))
	return ed25519.NewKeyFromSeed(seed[:])
}

// once says whether something was not done before.
func (p *person) once(format string, args ...any) bool {
	what := fmt.Sprintf(format, args...)
	did := p.acted[what]
	p.acted[what] = true
	return !did
}

// world is a chain of this module alone, with its members. It stands for the modules around it.
type world struct {
	tb      testing.TB
	ctx     sdk.Context
	key     *storetypes.KVStoreKey
	cfg     moduletestutil.TestEncodingConfig
	keeper  *Keeper
	people  map[string]*person
	stakes  []threshold.Stakeholder
	seen    *view
	quiet   bool // nobody signs
	blinds  int  // of a repair, if other than the program's limit
	heard   []string
	restart bool // a new keeper for each block
	gas     []uint64
	dumps   []string // of the store after each block
}

func newWorld(tb testing.TB) *world {
	tb.Helper()
	w := &world{tb: tb, people: map[string]*person{}, cfg: moduletestutil.MakeTestEncodingConfig(AppModule{})}
	keys := storetypes.NewKVStoreKeys(StoreKey)
	w.key = keys[StoreKey]
	w.ctx = testutil.DefaultContextWithKeys(keys, nil, nil).WithBlockHeight(100).WithChainID(chainID)
	w.open()
	must(tb, w.keeper.InitGenesis(w.ctx, &api.GenesisState{Params: params}))
	return w
}

// open starts the program anew on the same store.
func (w *world) open() {
	w.keeper = NewKeeper(w.cfg.Codec, runtime.NewKVStoreService(w.key), bech, w, authority)
	w.keeper.Join(w, w)
	if w.blinds > 0 {
		w.keeper.blinds = w.blinds
	}
}

func (w *world) Active(_ context.Context, a attestation.Account) (n attestation.Node, ok bool, err error) {
	p := w.people[string(bytes.TrimRight(a[:], "\x00"))]
	if p == nil || !p.active {
		return n, false, nil
	}
	if p.seen != p.life { // it registers when it is first looked for
		p.seen, p.joined = p.life, w.ctx.BlockHeight()
	}
	n.Account, n.Tier, n.Joined = a, attestation.TierHigh, p.joined
	if p.low {
		n.Tier = attestation.TierLow
	}
	copy(n.SignKey[:], p.key().Public().(ed25519.PublicKey))
	return n, true, nil
}

func (w *world) Members(_ context.Context, purpose string) ([]threshold.Stakeholder, error) {
	if purpose != Purpose {
		return nil, nil
	}
	return w.stakes, nil
}

func (w *world) Reshared(_ context.Context, _ string, members []threshold.Stakeholder) error {
	w.heard = append(w.heard, "heir: reshared to "+names(members))
	return nil
}

func (w *world) Failed(context.Context, string) error {
	w.heard = append(w.heard, "heir: failed")
	return nil
}

func (w *world) Blamed(_ context.Context, a [20]byte, rule string) error {
	w.heard = append(w.heard, fmt.Sprintf("heir: blamed %s for %s", bytes.TrimRight(a[:], "\x00"), rule))
	return nil
}

func names(members []threshold.Stakeholder) string {
	var out []string
	for _, m := range members {
		out = append(out, string(bytes.TrimRight(m.Account[:], "\x00")))
	}
	return strings.Join(out, " ")
}

// join gives people a stake each and a started enclave.
func (w *world) join(stake uint64, names ...string) {
	for _, name := range names {
		p := &person{name: name}
		p.start()
		w.people[name] = p
		w.stakes = append(w.stakes, threshold.Stakeholder{Account: account(name), Stake: stake})
	}
	slices.SortFunc(w.stakes, func(a, b threshold.Stakeholder) int { return bytes.Compare(a.Account[:], b.Account[:]) })
}

func (w *world) sorted() (out []*person) {
	for _, p := range w.people {
		out = append(out, p)
	}
	slices.SortFunc(out, func(a, b *person) int { return strings.Compare(a.name, b.name) })
	return out
}

// of is the stakes of some.
func (w *world) of(names ...string) (out []threshold.Stakeholder) {
	for _, s := range w.stakes {
		if slices.Contains(names, string(bytes.TrimRight(s.Account[:], "\x00"))) {
			out = append(out, s)
		}
	}
	return out
}

// tx executes a message as a transaction does: an error leaves nothing behind.
func (w *world) tx(do func(context.Context, msgServer) error) error {
	meter := storetypes.NewGasMeter(1 << 40)
	branch, write := w.ctx.WithGasMeter(meter).CacheContext()
	if err := do(branch, msgServer{w.keeper}); err != nil {
		return err
	}
	w.gas = append(w.gas, meter.GasConsumed())
	write()
	return nil
}

func (p *person) signed(messages ...[]byte) (out []api.Signed) {
	for _, m := range messages {
		out = append(out, api.Signed{Message: m, Signature: ed25519.Sign(p.key(), threshold.PostStatement(chainID, account(p.name), m))})
	}
	return out
}

func (w *world) post(p *person, messages ...[]byte) error {
	if len(messages) == 0 {
		return nil
	}
	return w.tx(func(ctx context.Context, s msgServer) error {
		_, err := s.Post(ctx, &api.MsgPost{Member: text(p.name), Purpose: Purpose, Messages: p.signed(messages...)})
		return err
	})
}

func (w *world) postRepair(p *person, about string, messages ...[]byte) error {
	if len(messages) == 0 {
		return nil
	}
	return w.tx(func(ctx context.Context, s msgServer) error {
		_, err := s.PostRepair(ctx, &api.MsgPostRepair{Member: text(p.name), Purpose: Purpose, Account: text(about), Messages: p.signed(messages...)})
		return err
	})
}

func (w *world) ask(name string, epoch uint64) error {
	return w.tx(func(ctx context.Context, s msgServer) error {
		_, err := s.AskRepair(ctx, &api.MsgAskRepair{Member: text(name), Purpose: Purpose, Epoch: epoch})
		return err
	})
}

// kept are deals in memory, as a member's enclave has them.
type kept map[int][]byte

func (d kept) Keep(deal int, b []byte) { d[deal] = b }
func (d kept) Kept(deal int) []byte    { return d[deal] }

// view is what a member makes of the chain's answers alone: it must come to the transcript that the chain can prove.
type view struct {
	setup      threshold.Setup
	c          *threshold.Ceremony
	deals      kept
	phase      string
	count      uint64
	transcript threshold.Transcript
}

// view goes on from where it was, as enclaves do.
func (w *world) view() *view {
	w.tb.Helper()
	q := queryServer{w.keeper}
	r, err := q.Ceremony(w.ctx, &api.QueryCeremonyRequest{Purpose: Purpose, From: 1 << 40})
	must(w.tb, err)
	if r.Ceremony == nil {
		return nil
	}
	s := r.Ceremony.Setup
	if w.seen == nil || w.seen.setup.ID.Epoch != s.Epoch || w.seen.setup.ID.Attempt != s.Attempt {
		w.seen = w.newView(s)
	}
	v := w.seen
	r, err = q.Ceremony(w.ctx, &api.QueryCeremonyRequest{Purpose: Purpose, From: v.count})
	must(w.tb, err)
	v.phase = r.Ceremony.Phase
	for _, e := range r.Entries {
		v.count++
		if e.From == "" {
			must(w.tb, v.c.Advance())
			v.transcript = v.transcript.Advanced()
			continue
		}
		must(w.tb, v.c.Accept(w.parse(e.From), e.Message))
		v.transcript = v.transcript.Accepted(w.parse(e.From), e.Message)
	}
	if proven := w.ctx.KVStore(w.key).Get(threshold.TranscriptKey(Purpose)); !bytes.Equal(proven, v.transcript.Marshal()) {
		w.tb.Fatalf("the entries make another transcript than the chain proves: %x, %x", v.transcript.Marshal(), proven)
	}
	if name(v.c.Phase()) != v.phase || r.Ceremony.Count != v.count {
		w.tb.Fatalf("%d entries end in %s, the chain has %d and is in %s", v.count, name(v.c.Phase()), r.Ceremony.Count, v.phase)
	}
	return v
}

func (w *world) newView(s api.Setup) *view {
	v := &view{deals: kept{}}
	v.setup = threshold.Setup{ID: threshold.ID{ChainID: chainID, Purpose: s.Purpose, Epoch: s.Epoch, Attempt: s.Attempt}, Threshold: int(s.Threshold)}
	for _, seat := range s.Seats {
		v.setup.Seats = append(v.setup.Seats, threshold.Seat{Account: w.parse(seat.Account), Shares: int(seat.Shares)})
	}
	var err error
	if len(s.Old) > 0 {
		v.setup.Old, err = threshold.UnmarshalGroup(s.Old)
		must(w.tb, err)
	}
	v.c, err = threshold.NewCeremony(v.setup, v.deals)
	must(w.tb, err)
	v.transcript = v.setup.Transcript()
	return v
}

func (w *world) parse(s string) [20]byte {
	b, err := bech.StringToBytes(s)
	must(w.tb, err)
	return [20]byte(b)
}

func seatOf(seats []threshold.Seat, name string) int {
	return slices.IndexFunc(seats, func(s threshold.Seat) bool { return s.Account == account(name) })
}

// act has everybody do what its enclave would do in this block.
func (w *world) act() (lines []string) {
	if v := w.view(); v != nil && !over(v.phase) {
		for _, p := range w.sorted() {
			if !p.active || p.mute || p.low {
				continue
			}
			if err := w.play(p, v); err != nil {
				lines = append(lines, p.name+": "+err.Error())
			}
		}
	}
	return append(lines, w.actRepairs()...)
}

func (w *world) play(p *person, v *view) error {
	seat := seatOf(v.setup.Seats, p.name)
	if !p.once("%v %s", v.setup.ID, v.phase) {
		return nil
	}
	switch v.c.Phase() {
	case threshold.PhaseKeys:
		if seat < 0 {
			return nil
		}
		m, message, err := threshold.Join(v.setup, seat, p.random)
		must(w.tb, err)
		p.member = m
		return w.post(p, message)
	case threshold.PhaseDeal:
		messages, err := w.dealsOf(p, v, seat)
		if err != nil {
			return err
		}
		return w.post(p, messages...)
	case threshold.PhaseComplain:
		if seat < 0 || p.member == nil {
			return nil
		}
		return w.complain(p, v)
	case threshold.PhaseReady:
		if seat < 0 || p.member == nil {
			return nil
		}
		s, message, err := p.member.Finish(v.c)
		p.member = nil
		if err != nil {
			return err
		}
		p.shares[v.setup.ID] = s
		if p.cheat == "unready" {
			p.late = message
			return nil
		}
		return w.post(p, message)
	}
	return nil
}

func (w *world) dealsOf(p *person, v *view, seat int) ([][]byte, error) {
	if v.setup.Old != nil {
		s := p.shares[v.setup.Old.ID]
		if s == nil {
			return nil, nil
		}
		if p.cheat == "deal" {
			return s.Deal(w.misled(p, v), p.random)
		}
		return s.Deal(v.c, p.random)
	}
	if seat < 0 || p.member == nil {
		return nil, nil
	}
	c := v.c
	if p.cheat == "deal" { // to a key that it made itself in another's name
		c = w.misled(p, v)
	}
	m, err := threshold.DealFresh(c, seat, p.random)
	return [][]byte{m}, err
}

// misled is a ceremony in which the next seat has another key.
func (w *world) misled(p *person, v *view) *threshold.Ceremony {
	c, err := threshold.NewCeremony(v.setup, kept{})
	must(w.tb, err)
	wrong := (seatOf(v.setup.Seats, p.name) + 1) % len(v.setup.Seats)
	for i, s := range v.setup.Seats {
		if _, message, err := threshold.Join(v.setup, i, p.random); i == wrong {
			must(w.tb, err)
			must(w.tb, c.Accept(s.Account, message))
		}
	}
	for _, e := range w.entries() {
		if e.From != "" && w.parse(e.From) != v.setup.Seats[wrong].Account {
			must(w.tb, c.Accept(w.parse(e.From), e.Message))
		}
		if e.From == "" {
			break
		}
	}
	must(w.tb, c.Advance())
	return c
}

func (w *world) entries() []api.Entry {
	r, err := queryServer{w.keeper}.Ceremony(w.ctx, &api.QueryCeremonyRequest{Purpose: Purpose})
	must(w.tb, err)
	return r.Entries
}

// complain opens all deals. Who lies reads one of them wrongly first.
func (w *world) complain(p *person, v *view) error {
	count := len(v.setup.Seats)
	if v.setup.Old != nil {
		count = 0
		for _, s := range v.setup.Old.Seats {
			count += s.Shares
		}
	}
	var messages [][]byte
	for d := range count {
		right := v.deals[d]
		if right == nil {
			continue
		}
		if p.cheat == "complaint" && d == 0 {
			v.deals[d] = bytes.Clone(right)
			for i := range 32 * 8 {
				v.deals[d][len(right)-1-i] ^= 1
			}
		}
		complaint, err := p.member.Open(v.c, d, p.random)
		must(w.tb, err)
		if v.deals[d] = right; complaint != nil {
			messages = append(messages, complaint)
		}
	}
	return w.post(p, messages...)
}

// sign has the group in force in the block before say its number, if enough of its members hold their shares.
func (w *world) sign() {
	now, before, err := w.keeper.Charges(w.ctx, Purpose)
	must(w.tb, err)
	at := w.ctx.BlockHeight() - 1
	if now != nil && at < now.From {
		now = before
	}
	if now == nil || w.quiet || w.able(now.Keys) < now.Keys.Threshold {
		return
	}
	must(w.tb, w.keeper.Signed(w.ctx, Purpose, at))
}

// able counts the shares of those who could sign.
func (w *world) able(g *threshold.Group) (shares int) {
	for i, s := range g.Seats {
		p := w.people[string(bytes.TrimRight(s.Account[:], "\x00"))]
		if p != nil && p.active && !p.mute && g.Ready(i) && p.shares[g.ID] != nil {
			shares += s.Shares
		}
	}
	return shares
}

// wipe has members forget what the chain says is of no use any more.
func (w *world) wipe() {
	now, before, err := w.keeper.Charges(w.ctx, Purpose)
	must(w.tb, err)
	v := w.view()
	for _, p := range w.people {
		for id, s := range p.shares {
			useful := now != nil && now.Keys.ID == id || before != nil && before.Keys.ID == id || v != nil && v.setup.ID == id && !over(v.phase)
			if !useful {
				s.Wipe()
				delete(p.shares, id)
			}
		}
	}
}

// bounded holds what is stored against what anybody can still ask for.
func (w *world) bounded() {
	w.tb.Helper()
	groups, deals, entries := 0, 0, uint64(0)
	of := collections.NewPrefixedPairRange[string, uint64](Purpose)
	must(w.tb, w.keeper.groups.Walk(w.ctx, nil, func(collections.Pair[string, []byte], []byte) (bool, error) { groups++; return false, nil }))
	must(w.tb, w.keeper.deals.Walk(w.ctx, of, func(collections.Pair[string, uint64], []byte) (bool, error) { deals++; return false, nil }))
	must(w.tb, w.keeper.entries.Walk(w.ctx, of, func(collections.Pair[string, uint64], api.Entry) (bool, error) { entries++; return false, nil }))
	v := w.view()
	if groups > 3 || v != nil && entries != v.count || deals > 0 && over(v.phase) {
		w.tb.Fatalf("%d groups, %d deals and %d entries are stored", groups, deals, entries)
	}
	repairs, err := queryServer{w.keeper}.Repairs(w.ctx, &api.QueryRepairsRequest{Purpose: Purpose})
	must(w.tb, err)
	for _, r := range repairs.Repairs {
		entries += r.Count
	}
	must(w.tb, w.keeper.repairEntries.Walk(w.ctx, nil, func(collections.Triple[string, []byte, uint64], api.Entry) (bool, error) {
		entries--
		return false, nil
	}))
	if v != nil && entries != v.count {
		w.tb.Fatal("entries of repairs are stored that nobody can ask for")
	}
}

// blocks executes some and returns what happened in them.
func (w *world) blocks(n int) (lines []string) {
	w.tb.Helper()
	for range n {
		if w.restart {
			w.open()
		}
		w.ctx = w.ctx.WithBlockHeight(w.ctx.BlockHeight() + 1).WithEventManager(sdk.NewEventManager())
		w.sign()
		said := w.act()
		must(w.tb, AppModule{w.keeper}.EndBlock(w.ctx))
		w.wipe()
		w.bounded()
		w.dumps = append(w.dumps, w.dump())
		lines = append(lines, w.happened(said)...)
	}
	return lines
}

func (w *world) happened(said []string) (lines []string) {
	for _, e := range w.ctx.EventManager().Events() {
		short, ours := strings.CutPrefix(e.Type, "cella.committee.v1.Event")
		if !ours {
			continue
		}
		var attrs []string
		for _, a := range e.Attributes {
			v := strings.ReplaceAll(a.Value, `"`, "")
			if a.Key == "purpose" && v == Purpose {
				continue
			}
			if a.Key == "key" {
				v = w.keyName(v)
			}
			attrs = append(attrs, a.Key+"="+v)
		}
		sort.Strings(attrs)
		said = append(said, short+" "+strings.Join(attrs, " "))
	}
	said = append(said, w.heard...)
	w.heard = nil
	for _, line := range said {
		lines = append(lines, fmt.Sprintf("%d: %s", w.ctx.BlockHeight(), line))
	}
	return lines
}

// keyName shortens a key in an event (base64) to what a person can compare.
func (w *world) keyName(v string) string {
	sum := sha256.Sum256([]byte(v))
	return hex.EncodeToString(sum[:2])
}

// dump is all that is stored.
func (w *world) dump() string {
	var b strings.Builder
	it := w.ctx.KVStore(w.key).Iterator(nil, nil)
	defer it.Close()
	for ; it.Valid(); it.Next() {
		fmt.Fprintf(&b, "%x=%x\n", it.Key(), it.Value())
	}
	return b.String()
}
