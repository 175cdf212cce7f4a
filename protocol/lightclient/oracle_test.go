package lightclient_test

import (
	"crypto/ed25519"
	"crypto/sha512"
	"encoding/hex"
	"fmt"
	"math/big"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"filippo.io/edwards25519"
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

// Random moves over random sets with random signers: both agree, but for leaps over a change of validators, which are refused here.
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
			ours := client.Follow(c.headers(t, from+1, to), commit, c.validators(t, to))
			theirs := oracle(c, from, time.Duration(opts.TrustingPeriod)*time.Second, c.header(t, to), commit, c.validators(t, to))
			leap := string(h.ValidatorsHash) != string(c.blocks[from-1].NextValidatorsHash)
			if (ours == nil) != (theirs == nil && !leap) {
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

// Every byte of header, commit and set, one at a time: what we accept, CometBFT accepts, and the head is the same block.
func TestFollowBytesAgainstOracle(t *testing.T) {
	c := newChain(t, "cella-1", map[string]int64{"ann": 4, "bob": 3, "cyd": 3, "dan": 2})
	for range 4 {
		c.grow(t)
	}
	c.powers["eve"] = 3 // as block 5 announces
	c.grow(t)
	for _, to := range []int64{2, 5} {
		parts := [][]byte{c.header(t, to), c.commit(t, to), c.validators(t, to)}
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
					if client.Follow(headers, parts[1], parts[2]) != nil {
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
		if _, err := lightclient.New(c.id, 2, c.hash(2), b, generous); err == nil {
			t.Errorf("header byte %d", i)
		}
	}
}

// One validator makes signatures that ZIP 215 takes and crypto/ed25519 does not, by a key or by a nonce with a part of small order. Consensus
// counts them, and a commit may have no power to spare: they count here too.
func TestSignatureOnlyByZIP215(t *testing.T) {
	c := newChain(t, "cella-1", map[string]int64{"ann": 1, "bob": 1, "cyd": 1, "dan": 1})
	for range 3 {
		c.grow(t)
	}
	seen := sign(t, c.id, c.blocks[2].Header, c.sets[2], []string{"ann", "bob", "cyd"}) // what consensus waits for, and no more
	i, _ := c.sets[2].GetByAddress(key("bob").PubKey().Address())
	message := seen.VoteSignBytes(c.id, i)
	seen.Signatures[i].Signature = twisted(t, key("bob")[:32], message)
	if ed25519.Verify(key("bob").PubKey().Bytes(), message, seen.Signatures[i].Signature) {
		t.Fatal("crypto/ed25519 takes it")
	}
	if err := types.VerifyCommitLight(c.id, c.sets[2], seen.BlockID, 3, seen); err != nil {
		t.Fatalf("consensus refuses it: %v", err)
	}
	if err := c.trust(t, 2, generous).Follow(c.headers(t, 3, 3), encode(t, seen.ToProto()), c.validators(t, 3)); err != nil {
		t.Errorf("a block that consensus has committed is refused: %v", err)
	}
}

// twisted is a signature by a seed whose nonce has a part of order 8.
func twisted(t testing.TB, seed, message []byte) []byte {
	t.Helper()
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	h := sha512.Sum512(seed)
	secret, err := new(edwards25519.Scalar).SetBytesWithClamping(h[:32])
	must(err)
	n := sha512.Sum512(message)
	nonce, err := new(edwards25519.Scalar).SetUniformBytes(n[:])
	must(err)
	torsion, err := new(edwards25519.Point).SetBytes(order8)
	must(err)
	r := torsion.Add(torsion, new(edwards25519.Point).ScalarBaseMult(nonce)).Bytes()
	k := sha512.Sum512(slices.Concat(r, new(edwards25519.Point).ScalarBaseMult(secret).Bytes(), message))
	factor, err := new(edwards25519.Scalar).SetUniformBytes(k[:])
	must(err)
	return append(r, new(edwards25519.Scalar).MultiplyAdd(factor, secret, nonce).Bytes()...)
}

// order8 is a point of order 8, compressed.
var order8, _ = hex.DecodeString("c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac037a")

// Keys and nonces of small order, in encodings that are canonical and others, with scalars at their bounds: whatever consensus takes is taken.
func TestOddSignatures(t *testing.T) {
	le := func(v *big.Int) []byte {
		b := v.FillBytes(make([]byte, 32))
		slices.Reverse(b)
		return b
	}
	prime := new(big.Int).Sub(new(big.Int).Lsh(big.NewInt(1), 255), big.NewInt(19))
	points := [][]byte{order8, key("ann").PubKey().Bytes()}
	for d := int64(-2); d < 19; d++ {
		points = append(points, le(new(big.Int).Add(prime, big.NewInt(d)))) // from p on they are not canonical
	}
	for y := int64(0); y < 4; y++ {
		points = append(points, le(big.NewInt(y)))
	}
	for _, p := range slices.Clone(points) {
		signed := slices.Clone(p)
		signed[31] ^= 0x80
		points = append(points, signed)
	}
	order, _ := new(big.Int).SetString("7237005577332262213973186563042994240857116359379907606001950938285454250989", 10)
	scalars := [][]byte{le(new(big.Int)), le(big.NewInt(1)), le(new(big.Int).Sub(order, big.NewInt(1))), le(order)}
	taken, refused := 0, 0
	for _, a := range points {
		for _, r := range points {
			for _, s := range scalars {
				message := slices.Concat(a, r)
				want := cmted25519.PubKey(a).VerifySignature(message, slices.Concat(r, s))
				if got := lightclient.Holds([32]byte(a), message, slices.Concat(r, s)); got != want {
					t.Fatalf("key %x, nonce %x, scalar %x: %v, consensus says %v", a, r, s, got, want)
				}
				if want {
					taken++
				} else {
					refused++
				}
			}
		}
	}
	if taken < 50 || refused < 50 {
		t.Errorf("%d taken, %d refused: the test is lopsided", taken, refused)
	}
}
