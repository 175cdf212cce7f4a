package lightclient_test

import (
	"bytes"
	"crypto/ed25519"
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	cmted25519 "github.com/cometbft/cometbft/crypto/ed25519"
	"github.com/cometbft/cometbft/light"
	cmtproto "github.com/cometbft/cometbft/proto/tendermint/types"
	"github.com/cometbft/cometbft/types"

	"github.com/cella-network/cella/protocol/lightclient"
)

// random is a chain whose set changes as the seed says, sometimes by much.
func random(t testing.TB, seed uint64, blocks int) (*chain, *rand.Rand) {
	r := rand.New(rand.NewPCG(seed, 7))
	powers := func() map[string]int64 {
		m := map[string]int64{}
		for _, i := range r.Perm(len(names))[:1+r.IntN(len(names))] {
			m[names[i]] = 1 + r.Int64N(1<<r.IntN(50))
		}
		return m
	}
	c := newChain(t, "cella-1", powers())
	c.store = nil
	for range blocks {
		if r.IntN(3) == 0 {
			c.powers = powers()
		}
		c.grow(t)
	}
	return c, r
}

func TestParseHeaderAgainstOracle(t *testing.T) {
	for seed := range uint64(20) {
		c, r := random(t, seed, 4)
		for h := int64(1); h <= 4; h++ {
			b := c.header(t, h)
			got, err := lightclient.ParseHeader(b)
			if err != nil {
				t.Fatal(err)
			}
			sameHeader(t, got, c.blocks[h-1].Header)
			for range 300 {
				bad := append([]byte{}, b...)
				bad[r.IntN(len(bad))] ^= 1 << r.IntN(8)
				parseLikeOracle(t, bad)
				parseLikeOracle(t, bad[:r.IntN(len(bad))])
			}
		}
	}
}

// parseLikeOracle fails unless what our parser accepts is accepted by CometBFT's too and hashes alike.
func parseLikeOracle(t testing.TB, b []byte) {
	t.Helper()
	got, err := lightclient.ParseHeader(b)
	if err != nil {
		return
	}
	var p cmtproto.Header
	if err := p.Unmarshal(b); err != nil {
		t.Fatalf("oracle: %v", err)
	}
	h, err := types.HeaderFromProto(&p)
	if err != nil {
		t.Fatalf("oracle: %v", err)
	}
	sameHeader(t, got, &h)
}

func sameHeader(t testing.TB, got lightclient.Header, want *types.Header) {
	t.Helper()
	var last [32]byte
	copy(last[:], want.LastBlockID.Hash)
	if got.ChainID != want.ChainID || got.Height != want.Height || got.Time != want.Time.UnixNano() ||
		string(got.Hash[:]) != string(want.Hash()) || got.LastBlockHash != last || string(got.AppHash) != string(want.AppHash) ||
		string(got.ValidatorsHash[:]) != string(want.ValidatorsHash) ||
		string(got.NextValidatorsHash[:]) != string(want.NextValidatorsHash) {
		t.Fatalf("header %d: got %+v, want %v", want.Height, got, want)
	}
}

// oracle asks cometbft/light whether it would move from a trusted block of c to the block given in bytes, with its clock at the new
// header. Signatures that do not hold are struck out first: we count them for nothing, CometBFT may stop at them.
func oracle(c *chain, trusted int64, period time.Duration, header, commit, validators []byte) error {
	var hp cmtproto.Header
	var cp cmtproto.Commit
	var vp cmtproto.ValidatorSet
	for _, err := range []error{hp.Unmarshal(header), cp.Unmarshal(commit), vp.Unmarshal(validators)} {
		if err != nil {
			return err
		}
	}
	h, err := types.HeaderFromProto(&hp)
	if err != nil {
		return err
	}
	cm, err := types.CommitFromProto(&cp)
	if err != nil {
		return err
	}
	var list []*types.Validator
	for _, p := range vp.Validators {
		v, err := types.ValidatorFromProto(p)
		if err != nil {
			return err
		}
		list = append(list, v)
	}
	set, err := types.ValidatorSetFromExistingValidators(list)
	if err != nil {
		return err
	}
	if len(list) != len(cm.Signatures) {
		return fmt.Errorf("%d signatures for %d validators", len(cm.Signatures), len(list))
	}
	for i, s := range cm.Signatures {
		if s.BlockIDFlag == types.BlockIDFlagCommit && !list[i].PubKey.VerifySignature(cm.VoteSignBytes(c.id, int32(i)), s.Signature) {
			cm.Signatures[i] = types.NewCommitSigAbsent()
		}
	}
	return light.Verify(c.blocks[trusted-1], c.sets[trusted], &types.SignedHeader{Header: &h, Commit: cm}, set,
		period, h.Time, time.Second, light.DefaultTrustLevel)
}

// Random moves over random sets with random signers: both agree.
func TestFollowAgainstOracle(t *testing.T) {
	var accepted, declined int
	for seed := range uint64(150) {
		c, r := random(t, seed, 8)
		for range 6 {
			from := 1 + r.Int64N(7)
			to := from + 1 + r.Int64N(8-from)
			h, set := c.blocks[to-1].Header, c.sets[to-1]
			var signers []string
			for _, i := range r.Perm(len(names))[:r.IntN(len(names)+1)] {
				signers = append(signers, names[i])
			}
			if r.IntN(3) == 0 {
				signers = names
			}
			commit := encode(t, sign(t, c.id, h, set, append(signers, "nobody")).ToProto())
			opts := lightclient.Options{TrustingPeriod: 1 + r.Int64N(10), Keep: 10}
			client := c.trust(t, from, opts)
			ours := client.Follow(c.headers(t, from+1, to), commit, c.validators(t, to), c.validators(t, to+1))
			theirs := oracle(c, from, time.Duration(opts.TrustingPeriod)*time.Second, c.header(t, to), commit, c.validators(t, to))
			if (ours == nil) != (theirs == nil) {
				t.Fatalf("seed %d, %d to %d, signers %v: ours %v, oracle %v", seed, from, to, signers, ours, theirs)
			}
			if ours == nil {
				accepted++
			} else {
				declined++
			}
		}
	}
	if accepted < 100 || declined < 100 {
		t.Errorf("%d accepted, %d declined: the test is lopsided", accepted, declined)
	}
}

// Every byte of header, commit and sets, one at a time: what we accept, CometBFT accepts, and the head is the same block.
func TestFollowBytesAgainstOracle(t *testing.T) {
	c := newChain(t, "cella-1", map[string]int64{"ann": 4, "bob": 3, "cyd": 3, "dan": 2})
	c.grow(t)
	c.powers["eve"] = 3
	for range 4 {
		c.grow(t)
	}
	for _, to := range []int64{2, 5} {
		parts := [][]byte{c.header(t, to), c.commit(t, to), c.validators(t, to), c.validators(t, to+1)}
		accepted := 0
		for p := range parts {
			good := parts[p]
			for i := range good {
				for _, mask := range []byte{0x01, 0x80} {
					bad := append([]byte{}, good...)
					bad[i] ^= mask
					parts[p] = bad
					headers := append(c.headers(t, 1, to)[1:to-1], parts[0])
					client := c.trust(t, 1, generous)
					if client.Follow(headers, parts[1], parts[2], parts[3]) != nil {
						if client.Head().Height != 1 {
							t.Fatal("the head moved on an error")
						}
						continue
					}
					accepted++
					if err := oracle(c, 1, time.Hour, parts[0], parts[1], parts[2]); err != nil {
						t.Fatalf("to %d, part %d, byte %d: accepted, but the oracle says %v", to, p, i, err)
					}
					if client.Head().Hash != c.hash(to) {
						t.Fatalf("to %d, part %d, byte %d: another head", to, p, i)
					}
				}
			}
			parts[p] = good
		}
		if accepted == 0 {
			t.Error("a spoilt signature should not spoil the commit")
		}
	}
}

// Bytes of the root block: the same.
func TestNewBytes(t *testing.T) {
	c := newChain(t, "cella-1", map[string]int64{"ann": 4, "bob": 3, "cyd": 3})
	c.grow(t)
	c.grow(t)
	good := lightclient.Block{Header: c.header(t, 2), Commit: c.commit(t, 2), Validators: c.validators(t, 2)}
	for i := range good.Header {
		b := good
		b.Header = append([]byte{}, good.Header...)
		b.Header[i] ^= 1
		if _, err := lightclient.New(c.id, 2, c.hash(2), b, c.validators(t, 3), generous); err == nil {
			t.Errorf("header byte %d", i)
		}
	}
}

// One validator's key makes signatures that ZIP 215 takes and crypto/ed25519 does not. CometBFT puts them into commits; they must
// not stop us, nor count.
func TestSignatureOnlyByZIP215(t *testing.T) {
	order2 := append([]byte{0xec}, bytes.Repeat([]byte{0xff}, 31)...)
	order2[31] = 0x7f
	evil := types.NewValidator(cmted25519.PubKey(order2), 5)
	for _, test := range []struct {
		others int64 // power of each of three
		ok     bool
	}{{4, true}, {3, false}} {
		c := newChain(t, "cella-1", map[string]int64{"ann": 1})
		c.grow(t)
		list := []*types.Validator{evil}
		for _, name := range names[:3] {
			list = append(list, types.NewValidator(key(name).PubKey(), test.others))
		}
		set := types.NewValidatorSet(list)
		if set.Validators[0].VotingPower != 5 {
			t.Fatal("the first must be the evil one")
		}
		c.sets[1] = set
		c.blocks[0].NextValidatorsHash = set.Hash()
		c.blocks[0].Commit = sign(t, c.id, c.blocks[0].Header, c.sets[0], nil)
		c.grow(t)
		commit := c.blocks[1].Commit
		sig := &commit.Signatures[0]
		sig.Signature = append([]byte{1}, make([]byte, 63)...)
		for ed25519.Verify(order2, commit.VoteSignBytes(c.id, 0), sig.Signature) {
			sig.Timestamp = sig.Timestamp.Add(1)
		}
		if err := light.VerifyAdjacent(c.blocks[0], c.blocks[1], set, time.Hour, c.blocks[1].Time, time.Second); err != nil {
			t.Fatalf("CometBFT takes the commit: %v", err)
		}
		if err := c.follow(t, c.trust(t, 1, generous), 2); (err == nil) != test.ok {
			t.Errorf("others of power %d: %v", test.others, err)
		}
	}
}
