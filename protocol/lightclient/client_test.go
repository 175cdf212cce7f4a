package lightclient_test

import (
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/cometbft/cometbft/crypto/secp256k1"
	cmtcrypto "github.com/cometbft/cometbft/proto/tendermint/crypto"
	cmtproto "github.com/cometbft/cometbft/proto/tendermint/types"
	"github.com/cometbft/cometbft/types"

	"github.com/cella-network/cella/protocol/lightclient"
)

// four is a chain of nine blocks with four validators; no three of the first hold more than 2/3 without ann.
func four(t testing.TB) *chain {
	c := newChain(t, "cella-1", map[string]int64{"ann": 3, "bob": 2, "cyd": 2, "dan": 2})
	for range 9 {
		c.grow(t)
	}
	return c
}

// move is the arguments of one Follow.
type move struct {
	headers            [][]byte
	commit, validators []byte
}

// crafted is the move from block 1 to 2 with the header changed, then signed by its announced set.
func crafted(t testing.TB, c *chain, change func(*types.Header)) move {
	h := *c.blocks[1].Header
	change(&h)
	return move{
		headers:    [][]byte{encode(t, h.ToProto())},
		commit:     encode(t, sign(t, h.ChainID, &h, c.sets[1], nil).ToProto()),
		validators: c.validators(t, 2),
	}
}

// recommitted is the move from block 1 to 2 with the commit changed after signing.
func recommitted(t testing.TB, c *chain, change func(*types.Commit)) move {
	cm := c.blocks[1].Commit.Clone()
	change(cm)
	return move{c.headers(t, 2, 2), encode(t, cm.ToProto()), c.validators(t, 2)}
}

// reset is the move from block 1 to 2 with the set changed.
func reset(t testing.TB, c *chain, change func(*cmtproto.ValidatorSet)) move {
	p, err := c.sets[1].ToProto()
	if err != nil {
		t.Fatal(err)
	}
	change(p)
	return move{c.headers(t, 2, 2), c.commit(t, 2), encode(t, p)}
}

// resign makes a changed commit's signatures anew.
func resign(t testing.TB, id string, cm *types.Commit) {
	for i := range cm.Signatures {
		s := &cm.Signatures[i]
		var err error
		if s.Signature, err = key(nameOf()[string(s.ValidatorAddress)]).Sign(cm.VoteSignBytes(id, int32(i))); err != nil {
			t.Fatal(err)
		}
	}
}

func edKey(n int) cmtcrypto.PublicKey {
	return cmtcrypto.PublicKey{Sum: &cmtcrypto.PublicKey_Ed25519{Ed25519: make([]byte, n)}}
}

func TestFollowRefuses(t *testing.T) {
	c := four(t)
	full := move{c.headers(t, 2, 4), c.commit(t, 4), c.validators(t, 4)}
	with := func(change func(*move)) move { m := full; change(&m); return m }
	malformed, untrusted := lightclient.ErrMalformed, lightclient.ErrUntrusted
	absent := types.NewCommitSigAbsent()
	stranger := newSet(map[string]int64{"eve": 3, "fay": 2, "gus": 2, "hal": 2})
	secp := secp256k1.GenPrivKeySecp256k1([]byte("x")).PubKey()
	foreign, err := types.NewValidatorSet([]*types.Validator{types.NewValidator(secp, 1)}).ToProto()
	if err != nil {
		t.Fatal(err)
	}
	for name, test := range map[string]struct {
		m    move
		want error
	}{
		"as it is":        {full, nil},
		"no headers":      {with(func(m *move) { m.headers = nil }), malformed},
		"empty header":    {with(func(m *move) { m.headers = [][]byte{nil} }), malformed},
		"gap":             {with(func(m *move) { m.headers = [][]byte{m.headers[0], m.headers[2]} }), untrusted},
		"not from head":   {with(func(m *move) { m.headers = m.headers[1:] }), untrusted},
		"twice":           {with(func(m *move) { m.headers = append(c.headers(t, 2, 2), m.headers...) }), untrusted},
		"too much":        {with(func(m *move) { m.headers = make([][]byte, 0); m.headers = append(m.headers, make([]byte, 3<<20)) }), malformed},
		"older commit":    {with(func(m *move) { m.commit = c.commit(t, 3) }), untrusted},
		"empty commit":    {with(func(m *move) { m.commit = nil }), malformed},
		"huge commit":     {with(func(m *move) { m.commit = make([]byte, 1<<20) }), malformed},
		"huge set":        {with(func(m *move) { m.validators = make([]byte, 1<<20) }), malformed},
		"empty set":       {with(func(m *move) { m.validators = nil }), malformed},
		"other set":       {with(func(m *move) { m.validators = encodeSet(t, stranger) }), untrusted},
		"unknown field":   {with(func(m *move) { m.commit = append(m.commit, 0x78, 1) }), malformed},
		"padded number":   {with(func(m *move) { m.commit = append([]byte{0x08, 0x84, 0x00}, m.commit[2:]...) }), malformed},
		"two messages":    {with(func(m *move) { m.commit = append(m.commit, m.commit...) }), malformed},
		"header in parts": {with(func(m *move) { m.headers = [][]byte{append(m.headers[0], m.headers[1]...)} }), malformed},

		"header as made":     {crafted(t, c, func(h *types.Header) {}), nil},
		"other chain":        {crafted(t, c, func(h *types.Header) { h.ChainID = "cella-2" }), untrusted},
		"no chain":           {crafted(t, c, func(h *types.Header) { h.ChainID = "" }), malformed},
		"same time":          {crafted(t, c, func(h *types.Header) { h.Time = c.blocks[0].Time }), untrusted},
		"before 1970":        {crafted(t, c, func(h *types.Header) { h.Time = time.Unix(-5, 0).UTC() }), malformed},
		"after 2262":         {crafted(t, c, func(h *types.Header) { h.Time = time.Date(2300, 1, 1, 0, 0, 0, 0, time.UTC) }), malformed},
		"other parent":       {crafted(t, c, func(h *types.Header) { h.LastBlockID.Hash = hash("other") }), untrusted},
		"no parent":          {crafted(t, c, func(h *types.Header) { h.LastBlockID = types.BlockID{} }), untrusted},
		"half a parent":      {crafted(t, c, func(h *types.Header) { h.LastBlockID.PartSetHeader = types.PartSetHeader{} }), malformed},
		"height 0":           {crafted(t, c, func(h *types.Header) { h.Height = 0 }), malformed},
		"height -1":          {crafted(t, c, func(h *types.Header) { h.Height = -1 }), malformed},
		"height 3":           {crafted(t, c, func(h *types.Header) { h.Height = 3 }), untrusted},
		"highest height":     {crafted(t, c, func(h *types.Header) { h.Height = math.MaxInt64 }), untrusted},
		"block version":      {crafted(t, c, func(h *types.Header) { h.Version.Block = 10 }), malformed},
		"short app hash":     {crafted(t, c, func(h *types.Header) { h.AppHash = h.AppHash[:31] }), malformed},
		"short data hash":    {crafted(t, c, func(h *types.Header) { h.DataHash = h.DataHash[:31] }), malformed},
		"short proposer":     {crafted(t, c, func(h *types.Header) { h.ProposerAddress = h.ProposerAddress[:19] }), malformed},
		"no validators hash": {crafted(t, c, func(h *types.Header) { h.ValidatorsHash = nil }), malformed},
		"unannounced set":    {crafted(t, c, func(h *types.Header) { h.ValidatorsHash = stranger.Hash() }), untrusted},
		"other app hash":     {recommitted(t, c, func(cm *types.Commit) { cm.BlockID.Hash = hash("other") }), untrusted},
		"commit to next":     {recommitted(t, c, func(cm *types.Commit) { cm.Height = 3 }), untrusted},
		"signed for next":    {recommitted(t, c, func(cm *types.Commit) { cm.Height = 3; resign(t, c.id, cm) }), untrusted},
		"signed in round 7":  {recommitted(t, c, func(cm *types.Commit) { cm.Round = 7; resign(t, c.id, cm) }), nil},
		"signed elsewhere":   {recommitted(t, c, func(cm *types.Commit) { resign(t, "cella-2", cm) }), untrusted},
		"short key":          {reset(t, c, func(s *cmtproto.ValidatorSet) { s.Validators[1].PubKey = edKey(31) }), malformed},
		"long key":           {reset(t, c, func(s *cmtproto.ValidatorSet) { s.Validators[1].PubKey = edKey(33) }), malformed},
		"commit to no parts": {recommitted(t, c, func(cm *types.Commit) { cm.BlockID.PartSetHeader.Total = 0 }), malformed},
		"other parts":        {recommitted(t, c, func(cm *types.Commit) { cm.BlockID.PartSetHeader.Total = 2 }), untrusted},
		"other round":        {recommitted(t, c, func(cm *types.Commit) { cm.Round = 1 }), untrusted},
		"negative round":     {recommitted(t, c, func(cm *types.Commit) { cm.Round = -1 }), malformed},
		"three of four":      {recommitted(t, c, func(cm *types.Commit) { cm.Signatures[3] = absent }), nil},
		"exactly two thirds": {recommitted(t, c, func(cm *types.Commit) { cm.Signatures[0] = absent }), untrusted},
		"half":               {recommitted(t, c, func(cm *types.Commit) { cm.Signatures[1], cm.Signatures[2] = absent, absent }), untrusted},
		"one spoilt":         {recommitted(t, c, func(cm *types.Commit) { cm.Signatures[1].Signature = make([]byte, 64) }), nil},
		"ann spoilt":         {recommitted(t, c, func(cm *types.Commit) { cm.Signatures[0].Signature = make([]byte, 64) }), untrusted},
		"ann said nil":       {recommitted(t, c, func(cm *types.Commit) { cm.Signatures[0].BlockIDFlag = types.BlockIDFlagNil }), untrusted},
		"ann voted twice":    {recommitted(t, c, func(cm *types.Commit) { cm.Signatures[1] = cm.Signatures[0] }), untrusted},
		"one more":           {recommitted(t, c, func(cm *types.Commit) { cm.Signatures = append(cm.Signatures, cm.Signatures[0]) }), untrusted},
		"one less":           {recommitted(t, c, func(cm *types.Commit) { cm.Signatures = cm.Signatures[:3] }), untrusted},
		"none":               {recommitted(t, c, func(cm *types.Commit) { cm.Signatures = nil }), malformed},
		"unknown flag":       {recommitted(t, c, func(cm *types.Commit) { cm.Signatures[3].BlockIDFlag = 4 }), malformed},
		"absent, yet signed": {recommitted(t, c, func(cm *types.Commit) { cm.Signatures[3].BlockIDFlag = types.BlockIDFlagAbsent }), malformed},
		"long signature":     {recommitted(t, c, func(cm *types.Commit) { cm.Signatures[3].Signature = make([]byte, 65) }), malformed},
		"address of nobody":  {recommitted(t, c, func(cm *types.Commit) { cm.Signatures[3].ValidatorAddress = make([]byte, 20) }), untrusted},
		"signature time":     {recommitted(t, c, func(cm *types.Commit) { cm.Signatures[0].Timestamp = genesis }), untrusted},
		"set as it is":       {reset(t, c, func(*cmtproto.ValidatorSet) {}), nil},
		"priorities":         {reset(t, c, func(s *cmtproto.ValidatorSet) { s.Validators[0].ProposerPriority = 99 }), nil},
		"no proposer":        {reset(t, c, func(s *cmtproto.ValidatorSet) { s.Proposer = nil }), nil},
		"claimed total":      {reset(t, c, func(s *cmtproto.ValidatorSet) { s.TotalVotingPower = 1 }), nil},
		"more power":         {reset(t, c, func(s *cmtproto.ValidatorSet) { s.Validators[0].VotingPower = 4 }), untrusted},
		"no power":           {reset(t, c, func(s *cmtproto.ValidatorSet) { s.Validators[0].VotingPower = 0 }), malformed},
		"negative power":     {reset(t, c, func(s *cmtproto.ValidatorSet) { s.Validators[0].VotingPower = -1 }), malformed},
		"too much power":     {reset(t, c, func(s *cmtproto.ValidatorSet) { s.Validators[0].VotingPower = math.MaxInt64/8 - 5 }), malformed},
		"overflowing power":  {reset(t, c, func(s *cmtproto.ValidatorSet) { s.Validators[3].VotingPower = math.MaxInt64 }), malformed},
		"named twice":        {reset(t, c, func(s *cmtproto.ValidatorSet) { s.Validators[1] = s.Validators[0] }), malformed},
		"address of another": {reset(t, c, func(s *cmtproto.ValidatorSet) { s.Validators[1].Address = s.Validators[0].Address }), malformed},
		"another order":      {reset(t, c, func(s *cmtproto.ValidatorSet) { v := s.Validators; v[1], v[2] = v[2], v[1] }), untrusted},
		"no key":             {reset(t, c, func(s *cmtproto.ValidatorSet) { s.Validators[1].PubKey.Sum = nil }), malformed},
		"secp256k1":          {reset(t, c, func(s *cmtproto.ValidatorSet) { s.Validators[3] = foreign.Validators[0] }), malformed},
	} {
		client := c.trust(t, 1, generous)
		err := client.Follow(test.m.headers, test.m.commit, test.m.validators)
		if !errors.Is(err, test.want) || (err == nil) != (test.want == nil) {
			t.Errorf("%s: got %v, want %v", name, err, test.want)
		}
		if err == nil {
			continue
		}
		if client.Head().Hash != c.hash(1) || client.Oldest() != 1 {
			t.Errorf("%s: something changed", name)
		}
		if err := c.follow(t, client, 9); err != nil {
			t.Errorf("%s: then the honest way: %v", name, err)
		}
	}
}

func TestNewRefuses(t *testing.T) {
	c := four(t)
	good := lightclient.Block{Header: c.header(t, 5), Commit: c.commit(t, 5), Validators: c.validators(t, 5)}
	other := encodeSet(t, newSet(map[string]int64{"eve": 1}))
	weak := encode(t, sign(t, c.id, c.blocks[4].Header, c.sets[4], []string{"bob", "cyd", "dan"}).ToProto())
	malformed, untrusted := lightclient.ErrMalformed, lightclient.ErrUntrusted
	for name, test := range map[string]struct {
		chain  string
		height int64
		hash   [32]byte
		block  lightclient.Block
		opts   lightclient.Options
		want   error
	}{
		"as it is":        {c.id, 5, c.hash(5), good, generous, nil},
		"other chain":     {"cella-2", 5, c.hash(5), good, generous, untrusted},
		"other height":    {c.id, 4, c.hash(5), good, generous, untrusted},
		"other hash":      {c.id, 5, c.hash(4), good, generous, untrusted},
		"other set":       {c.id, 5, c.hash(5), lightclient.Block{Header: good.Header, Commit: good.Commit, Validators: other}, generous, untrusted},
		"exactly 2/3":     {c.id, 5, c.hash(5), lightclient.Block{Header: good.Header, Commit: weak, Validators: good.Validators}, generous, untrusted},
		"no header":       {c.id, 5, c.hash(5), lightclient.Block{Commit: good.Commit, Validators: good.Validators}, generous, malformed},
		"no period":       {c.id, 5, c.hash(5), good, lightclient.Options{Keep: 1}, malformed},
		"negative period": {c.id, 5, c.hash(5), good, lightclient.Options{TrustingPeriod: -1, Keep: 1}, malformed},
		"keep nothing":    {c.id, 5, c.hash(5), good, lightclient.Options{TrustingPeriod: 1}, malformed},
		"keep too much":   {c.id, 5, c.hash(5), good, lightclient.Options{TrustingPeriod: 1, Keep: 1<<20 + 1}, malformed},
	} {
		_, err := lightclient.New(test.chain, test.height, test.hash, test.block, test.opts)
		if !errors.Is(err, test.want) || (err == nil) != (test.want == nil) {
			t.Errorf("%s: got %v, want %v", name, err, test.want)
		}
	}
}

// The announced set must also hold for headers in the middle, and an unannounced one does not come in through the commit either.
func TestUnannouncedSetInTheMiddle(t *testing.T) {
	c := four(t)
	f := c.fork(2, "fork")
	f.sets[2] = newSet(map[string]int64{"ann": 9, "bob": 1}) // block 2 announced another set for block 3
	f.powers = map[string]int64{"ann": 9, "bob": 1}
	f.grow(t)
	f.grow(t)
	client := c.trust(t, 1, generous)
	if err := f.follow(t, client, 4); !errors.Is(err, lightclient.ErrUntrusted) {
		t.Error(err)
	}
}

// More than a third of the power makes a header that announces a set of its own, which nobody signs, and signs the next one as that set. Only a
// header that more than two thirds of those who are known have signed is believed about who comes after them.
func TestThirdDoesNotFork(t *testing.T) {
	c := four(t)
	client := c.trust(t, 4, generous)
	f := c.fork(5, "evil")
	f.powers = map[string]int64{"bob": 2, "cyd": 2, "eve": 1} // 4 of 9, and a stranger
	f.grow(t)
	f.grow(t)
	if err := f.follow(t, client, 7); !errors.Is(err, lightclient.ErrUntrusted) {
		t.Errorf("over both: %v", err)
	}
	forged := encode(t, sign(t, f.id, f.blocks[5].Header, f.sets[5], []string{"bob", "cyd"}).ToProto())
	if err := client.Follow(f.headers(t, 5, 6), forged, f.validators(t, 6)); !errors.Is(err, lightclient.ErrUntrusted) {
		t.Errorf("to the announcement: %v", err)
	}
}

// A step reaches up to where validators change, and the next one goes on from there.
func TestReach(t *testing.T) {
	c := newChain(t, "cella-1", map[string]int64{"ann": 1, "bob": 1})
	for h := range 12 {
		c.powers["ann"] = 1 + int64(h/4)
		c.grow(t)
	}
	var steps []int
	for at := int64(1); at <= 12; {
		n, err := lightclient.Reach(c.headers(t, at, 12))
		if err != nil {
			t.Fatal(err)
		}
		steps, at = append(steps, n), at+int64(n)
	}
	if !slices.Equal(steps, []int{5, 4, 3}) {
		t.Errorf("steps of %v headers", steps)
	}
	for name, headers := range map[string][][]byte{"none": nil, "an empty one": {nil}, "a broken one": append(c.headers(t, 1, 2), []byte("no"))} {
		if _, err := lightclient.Reach(headers); !errors.Is(err, lightclient.ErrMalformed) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestTrustingPeriod(t *testing.T) {
	c := newChain(t, "cella-1", map[string]int64{"ann": 1})
	c.every = 1500 * time.Millisecond
	for range 5 {
		c.grow(t)
	}
	for _, test := range []struct {
		to, period int64
		ok         bool
	}{
		{2, 1, false}, {2, 2, true}, {3, 3, false}, {3, 4, true}, {5, 6, false}, {5, 7, true}, {5, math.MaxInt64, true},
	} {
		client := c.trust(t, 1, lightclient.Options{TrustingPeriod: test.period, Keep: 9})
		err := c.follow(t, client, test.to)
		if test.ok && err != nil || !test.ok && !errors.Is(err, lightclient.ErrExpired) {
			t.Errorf("to %d within %d s: %v", test.to, test.period, err)
		}
	}
}

// Whatever way the client went, what it remembers is the chain, and no more of it than asked for.
func TestRemembered(t *testing.T) {
	c := newChain(t, "cella-1", map[string]int64{"ann": 4, "bob": 3, "cyd": 3})
	for h := range 30 {
		c.powers["ann"] = 4 + int64(h)%9/3
		c.grow(t)
	}
	for keep := 1; keep <= 12; keep++ {
		client := c.trust(t, 10, lightclient.Options{TrustingPeriod: 1000, Keep: keep})
		check := func(what string, oldest, head int64) {
			t.Helper()
			if client.Oldest() != oldest || client.Head().Height != head {
				t.Fatalf("keep %d, %s: %d to %d, want %d to %d", keep, what, client.Oldest(), client.Head().Height, oldest, head)
			}
			for h := int64(-1); h <= 31; h++ {
				got, ok := client.Header(h)
				if ok != (h >= oldest && h <= head) {
					t.Fatalf("keep %d, %s: header %d: %v", keep, what, h, ok)
				}
				if ok {
					sameHeader(t, got, c.blocks[h-1].Header)
				}
			}
			client.Head().AppHash[0] ^= 1 // a copy
			sameHeader(t, client.Head(), c.blocks[head-1].Header)
		}
		check("new", 10, 10)
		room := min(int64(keep-1), 3)
		if room > 0 {
			if err := client.History(c.headers(t, 9, 10-room)); err != nil {
				t.Fatal(err)
			}
		}
		check("history", 10-room, 10)
		for _, to := range []int64{11, 12, 13, 16, 29} {
			if err := c.lead(t, client, to); err != nil {
				t.Fatal(err)
			}
			check(fmt.Sprint("follow ", to), max(10-room, to-int64(keep)+1), to)
		}
		if err := client.History(c.headers(t, client.Oldest()-1, client.Oldest()-1)); keep <= 12 && !errors.Is(err, lightclient.ErrMalformed) {
			t.Errorf("keep %d: more than is to be kept: %v", keep, err)
		}
	}
}

func TestHistoryRefuses(t *testing.T) {
	c := four(t)
	f := c.fork(2, "fork")
	for range 6 {
		f.grow(t)
	}
	early := *c.blocks[3].Header
	early.Time = c.blocks[4].Time
	for name, test := range map[string]struct {
		headers [][]byte
		want    error
	}{
		"as it is":       {c.headers(t, 4, 1), nil},
		"none":           {nil, lightclient.ErrMalformed},
		"oldest first":   {c.headers(t, 1, 4), lightclient.ErrUntrusted},
		"gap":            {c.headers(t, 3, 1), lightclient.ErrUntrusted},
		"fork":           {f.headers(t, 4, 1), lightclient.ErrUntrusted},
		"broken link":    {append(c.headers(t, 4, 4), f.headers(t, 3, 1)...), lightclient.ErrUntrusted},
		"past the first": {append(c.headers(t, 4, 1), c.header(t, 1)), lightclient.ErrUntrusted},
		"other time":     {[][]byte{encode(t, early.ToProto())}, lightclient.ErrUntrusted},
		"too much":       {[][]byte{make([]byte, 3<<20)}, lightclient.ErrMalformed},
	} {
		client := c.trust(t, 5, generous)
		err := client.History(test.headers)
		if !errors.Is(err, test.want) || (err == nil) != (test.want == nil) {
			t.Errorf("%s: got %v, want %v", name, err, test.want)
		}
		if err != nil && client.Oldest() != 5 {
			t.Errorf("%s: something changed", name)
		}
	}
}

// A set at the bound works, one above does not; the same holds for the signatures of a commit.
func TestMostValidators(t *testing.T) {
	for _, n := range []int{lightclient.MaxValidators, lightclient.MaxValidators + 1} {
		c := newChain(t, "cella-1", crowd(n))
		c.grow(t)
		block := lightclient.Block{Header: c.header(t, 1), Commit: c.commit(t, 1), Validators: c.validators(t, 1)}
		_, err := lightclient.New(c.id, 1, c.hash(1), block, generous)
		if n <= lightclient.MaxValidators && err != nil || n > lightclient.MaxValidators && !errors.Is(err, lightclient.ErrMalformed) {
			t.Errorf("%d validators: %v", n, err)
		}
	}
}

// What is too long is refused before it is decoded.
func TestBounds(t *testing.T) {
	c := four(t)
	full := move{c.headers(t, 2, 2), c.commit(t, 2), c.validators(t, 2)}
	big := make([]byte, 1<<20)
	many := slices.Repeat(c.headers(t, 2, 2), 2+lightclient.MaxMessage/len(c.header(t, 2)))
	for name, m := range map[string]move{
		"header":     {[][]byte{big[:2000]}, full.commit, full.validators},
		"headers":    {many, full.commit, full.validators},
		"commit":     {full.headers, big, full.validators},
		"validators": {full.headers, full.commit, big},
	} {
		err := c.trust(t, 1, generous).Follow(m.headers, m.commit, m.validators)
		tooLong(t, name, err)
		if name == "headers" {
			tooLong(t, name, c.trust(t, 1, generous).History(m.headers))
		}
	}
}

func tooLong(t *testing.T, name string, err error) {
	t.Helper()
	if !errors.Is(err, lightclient.ErrMalformed) || !strings.Contains(err.Error(), "bytes, at most") && !strings.Contains(err.Error(), "bytes of headers") {
		t.Errorf("%s: %v", name, err)
	}
}
