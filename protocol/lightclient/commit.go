package lightclient

import (
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"math"

	cmtcrypto "github.com/cometbft/cometbft/proto/tendermint/crypto"
	cmtproto "github.com/cometbft/cometbft/proto/tendermint/types"
)

// maxPower is CometBFT's bound of a set's total power. Three times a sum of powers stays within an int64.
const maxPower = math.MaxInt64 / 8

type validator struct {
	key   [32]byte // Ed25519
	power int64
}

func (v validator) address() []byte {
	sum := sha256.Sum256(v.key[:])
	return sum[:addressSize]
}

// validatorSet is a set in its order, which the hash and the commit's signatures follow.
type validatorSet struct {
	list  []validator
	total int64
	hash  [32]byte
}

// parseSet reads a tendermint.types.ValidatorSet. The proposer, the priorities and the total are not covered by the set's hash and
// are not believed.
func parseSet(b []byte) (*validatorSet, error) {
	var p cmtproto.ValidatorSet
	if err := decode(b, maxSet, &p); err != nil {
		return nil, fmt.Errorf("validators: %w", err)
	}
	if len(p.Validators) == 0 || len(p.Validators) > MaxValidators {
		return nil, fmt.Errorf("%w: %d validators", ErrMalformed, len(p.Validators))
	}
	s, known := &validatorSet{}, make(map[[32]byte]bool, len(p.Validators))
	leaves := make([][]byte, 0, len(p.Validators))
	for i, pv := range p.Validators {
		key, ok := pv.PubKey.Sum.(*cmtcrypto.PublicKey_Ed25519)
		if !ok || len(key.Ed25519) != ed25519.PublicKeySize {
			return nil, fmt.Errorf("%w: validator %d has no Ed25519 key", ErrMalformed, i)
		}
		v := validator{key: [32]byte(key.Ed25519), power: pv.VotingPower}
		if string(pv.Address) != string(v.address()) {
			return nil, fmt.Errorf("%w: address of validator %d is not its key's", ErrMalformed, i)
		}
		if v.power <= 0 || v.power > maxPower-s.total {
			return nil, fmt.Errorf("%w: power of validator %d", ErrMalformed, i)
		}
		if known[v.key] {
			return nil, fmt.Errorf("%w: validator %d is named twice", ErrMalformed, i)
		}
		leaf, err := (&cmtproto.SimpleValidator{PubKey: &pv.PubKey, VotingPower: v.power}).Marshal()
		if err != nil {
			return nil, fmt.Errorf("%w: validator %d: %w", ErrMalformed, i, err)
		}
		s.list = append(s.list, v)
		known[v.key] = true
		s.total += v.power
		leaves = append(leaves, leaf)
	}
	s.hash = merkleRoot(leaves)
	return s, nil
}

// parseCommit reads a tendermint.types.Commit and checks its form.
func parseCommit(b []byte) (*cmtproto.Commit, error) {
	var c cmtproto.Commit
	if err := decode(b, maxCommit, &c); err != nil {
		return nil, fmt.Errorf("commit: %w", err)
	}
	switch {
	case c.Height <= 0 || c.Round < 0:
		return nil, fmt.Errorf("%w: commit of height %d, round %d", ErrMalformed, c.Height, c.Round)
	case !whole(c.BlockID):
		return nil, fmt.Errorf("%w: commit names no block", ErrMalformed)
	case len(c.Signatures) == 0:
		return nil, fmt.Errorf("%w: commit without signatures", ErrMalformed)
	}
	for i, s := range c.Signatures {
		switch s.BlockIdFlag {
		case cmtproto.BlockIDFlagAbsent:
			if len(s.ValidatorAddress) != 0 || len(s.Signature) != 0 || !s.Timestamp.IsZero() {
				return nil, fmt.Errorf("%w: absent signature %d is filled in", ErrMalformed, i)
			}
		case cmtproto.BlockIDFlagCommit, cmtproto.BlockIDFlagNil:
			if len(s.ValidatorAddress) != addressSize || len(s.Signature) != ed25519.SignatureSize {
				return nil, fmt.Errorf("%w: signature %d", ErrMalformed, i)
			}
		default:
			return nil, fmt.Errorf("%w: signature %d has flag %d", ErrMalformed, i, s.BlockIdFlag)
		}
	}
	return &c, nil
}

// verifyCommit checks that more than 2/3 of a set's power signed the header. A signature that does not hold counts for nothing, but does not
// spoil the others: they may be enough.
func verifyCommit(h Header, c *cmtproto.Commit, set *validatorSet) error {
	if c.Height != h.Height || [32]byte(c.BlockID.Hash) != h.Hash {
		return fmt.Errorf("%w: commit is for another block", ErrUntrusted)
	}
	if set.hash != h.ValidatorsHash {
		return fmt.Errorf("%w: validators are not those of header %d", ErrUntrusted, h.Height)
	}
	if len(c.Signatures) != len(set.list) {
		return fmt.Errorf("%w: %d signatures of %d validators", ErrUntrusted, len(c.Signatures), len(set.list))
	}
	// Each signature stands at its validator's place in the set, and a set names no key twice: nobody is counted twice.
	for i, s := range c.Signatures {
		if s.BlockIdFlag != cmtproto.BlockIDFlagAbsent && string(s.ValidatorAddress) != string(set.list[i].address()) {
			return fmt.Errorf("%w: signature %d is another validator's", ErrUntrusted, i)
		}
	}
	var signed int64
	for i, s := range c.Signatures {
		if s.BlockIdFlag != cmtproto.BlockIDFlagCommit {
			continue
		}
		msg, err := signBytes(h.ChainID, c, s)
		if err != nil {
			return fmt.Errorf("%w: signature %d: %w", ErrMalformed, i, err)
		}
		if !holds(set.list[i].key, msg, s.Signature) {
			continue
		}
		if signed += set.list[i].power; 3*signed > 2*set.total {
			return nil
		}
	}
	return fmt.Errorf("%w: %d of %d power signed header %d, more than 2/3 needed", ErrUntrusted, signed, set.total, h.Height)
}

// signBytes is what a validator signs in a precommit for the commit's block: the canonical vote, led by its length.
func signBytes(chainID string, c *cmtproto.Commit, s cmtproto.CommitSig) ([]byte, error) {
	vote := cmtproto.CanonicalVote{
		Type:   cmtproto.PrecommitType,
		Height: c.Height,
		Round:  int64(c.Round),
		BlockID: &cmtproto.CanonicalBlockID{
			Hash:          c.BlockID.Hash,
			PartSetHeader: cmtproto.CanonicalPartSetHeader(c.BlockID.PartSetHeader),
		},
		Timestamp: s.Timestamp,
		ChainID:   chainID,
	}
	b, err := vote.Marshal()
	if err != nil {
		return nil, err
	}
	return append(binary.AppendUvarint(nil, uint64(len(b))), b...), nil
}
