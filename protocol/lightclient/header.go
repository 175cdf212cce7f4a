package lightclient

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"math"

	cmtproto "github.com/cometbft/cometbft/proto/tendermint/types"
)

// Bounds of what a stranger may hand over. The smaller bounds follow from MaxValidators; they keep a decoder from building far
// more than was sent.
const (
	MaxMessage    = 2 << 20 // bytes of all headers of one call
	MaxValidators = 1000    // validators in a set

	maxHeader  = 1 << 10
	maxSet     = 128 << 10
	maxCommit  = 128 << 10
	maxChainID = 50 // bytes, CometBFT's own bound

	blockProtocol = 11 // the block version of CometBFT 0.34 to 0.40
	hashSize      = sha256.Size
	addressSize   = 20
)

// Header is what the rest of the network needs to know of a block header. The other fields count only through Hash.
type Header struct {
	ChainID            string
	Height             int64
	Time               int64    // nanoseconds since 1970, UTC
	Hash               [32]byte // the block's hash
	LastBlockHash      [32]byte // hash of the block below; zero in a chain's first block
	AppHash            []byte   // 32 bytes: root of the state after the block below
	ValidatorsHash     [32]byte // the set that commits this block
	NextValidatorsHash [32]byte // the set that commits the next
}

// ParseHeader reads the protobuf encoding of a tendermint.types.Header and computes its hash. It accepts what CometBFT would,
// except encodings other than the one CometBFT writes, times before 1970, app hashes that are no SHA-256, and a last block
// id that is neither whole nor absent. Errors are ErrMalformed.
func ParseHeader(b []byte) (Header, error) {
	var p cmtproto.Header
	if err := decode(b, maxHeader, &p); err != nil {
		return Header{}, fmt.Errorf("header: %w", err)
	}
	last := p.LastBlockId
	nanos, timed := unixNano(p.Time.Unix(), int64(p.Time.Nanosecond()))
	switch {
	case p.Version.Block != blockProtocol:
		return Header{}, fmt.Errorf("%w: header of block version %d", ErrMalformed, p.Version.Block)
	case len(p.ChainID) == 0 || len(p.ChainID) > maxChainID:
		return Header{}, fmt.Errorf("%w: chain id of %d bytes", ErrMalformed, len(p.ChainID))
	case p.Height <= 0:
		return Header{}, fmt.Errorf("%w: header of height %d", ErrMalformed, p.Height)
	case !timed:
		return Header{}, fmt.Errorf("%w: header time out of range", ErrMalformed)
	case !whole(last) && (len(last.Hash) != 0 || last.PartSetHeader.Total != 0 || len(last.PartSetHeader.Hash) != 0):
		return Header{}, fmt.Errorf("%w: partial last block id", ErrMalformed)
	case len(p.ValidatorsHash) != hashSize || len(p.NextValidatorsHash) != hashSize || len(p.AppHash) != hashSize:
		return Header{}, fmt.Errorf("%w: header without the hashes of validators and state", ErrMalformed)
	case !hashOrNone(p.LastCommitHash) || !hashOrNone(p.DataHash) || !hashOrNone(p.ConsensusHash) ||
		!hashOrNone(p.LastResultsHash) || !hashOrNone(p.EvidenceHash):
		return Header{}, fmt.Errorf("%w: hash of wrong length in header", ErrMalformed)
	case len(p.ProposerAddress) != addressSize:
		return Header{}, fmt.Errorf("%w: proposer address of %d bytes", ErrMalformed, len(p.ProposerAddress))
	}
	hash, err := headerHash(&p)
	if err != nil {
		return Header{}, fmt.Errorf("%w: header: %w", ErrMalformed, err)
	}
	h := Header{
		ChainID:            p.ChainID,
		Height:             p.Height,
		Time:               nanos,
		Hash:               hash,
		AppHash:            p.AppHash,
		ValidatorsHash:     [32]byte(p.ValidatorsHash),
		NextValidatorsHash: [32]byte(p.NextValidatorsHash),
	}
	if whole(last) {
		h.LastBlockHash = [32]byte(last.Hash)
	}
	return h, nil
}

// headerHash is the Merkle root over the header's fields in their order, each in the encoding of the protobuf wrapper of its type.
func headerHash(p *cmtproto.Header) ([32]byte, error) {
	version, err := p.Version.Marshal()
	if err != nil {
		return [32]byte{}, err
	}
	last, err := p.LastBlockId.Marshal()
	if err != nil {
		return [32]byte{}, err
	}
	return merkleRoot([][]byte{
		version,
		wrapBytes([]byte(p.ChainID)),
		appendNumber(nil, 1, p.Height),
		appendNumber(appendNumber(nil, 1, p.Time.Unix()), 2, int64(p.Time.Nanosecond())),
		last,
		wrapBytes(p.LastCommitHash),
		wrapBytes(p.DataHash),
		wrapBytes(p.ValidatorsHash),
		wrapBytes(p.NextValidatorsHash),
		wrapBytes(p.ConsensusHash),
		wrapBytes(p.AppHash),
		wrapBytes(p.LastResultsHash),
		wrapBytes(p.EvidenceHash),
		wrapBytes(p.ProposerAddress),
	}), nil
}

// whole says that a block id names a block and its parts.
func whole(id cmtproto.BlockID) bool {
	return len(id.Hash) == hashSize && id.PartSetHeader.Total > 0 && len(id.PartSetHeader.Hash) == hashSize
}

func hashOrNone(b []byte) bool { return len(b) == 0 || len(b) == hashSize }

// unixNano joins seconds and nanoseconds. Times before 1970 are refused so that the distance of two times never overflows.
func unixNano(sec, nanos int64) (int64, bool) {
	if sec < 0 || sec >= math.MaxInt64/1_000_000_000 {
		return 0, false
	}
	return sec*1_000_000_000 + nanos, true
}

// wrapBytes is protobuf's BytesValue or StringValue; an empty one is no bytes at all.
func wrapBytes(b []byte) []byte {
	if len(b) == 0 {
		return nil
	}
	out := binary.AppendUvarint([]byte{1<<3 | 2}, uint64(len(b)))
	return append(out, b...)
}

// appendNumber adds an int64 field of protobuf; zero is left out.
func appendNumber(b []byte, field byte, v int64) []byte {
	if v == 0 {
		return b
	}
	return binary.AppendUvarint(append(b, field<<3), uint64(v))
}

// merkleRoot is the tree of RFC 6962 over the leaves; there is at least one.
func merkleRoot(leaves [][]byte) [32]byte {
	if len(leaves) == 1 {
		return sha256.Sum256(append([]byte{0}, leaves[0]...))
	}
	k := 1
	for k*2 < len(leaves) {
		k *= 2
	}
	left, right := merkleRoot(leaves[:k]), merkleRoot(leaves[k:])
	node := make([]byte, 0, 1+2*hashSize)
	node = append(node, 1)
	node = append(node, left[:]...)
	return sha256.Sum256(append(node, right[:]...))
}

// message is a generated protobuf type.
type message interface {
	Unmarshal([]byte) error
	Marshal() ([]byte, error)
}

// decode reads the one encoding that the generated code writes. Unknown fields, repeated fields and padded numbers are refused:
// nothing that was handed over goes unread.
func decode(b []byte, limit int, m message) error {
	if len(b) > limit {
		return fmt.Errorf("%w: %d bytes, at most %d", ErrMalformed, len(b), limit)
	}
	if err := m.Unmarshal(b); err != nil {
		return fmt.Errorf("%w: %w", ErrMalformed, err)
	}
	again, err := m.Marshal()
	if err != nil {
		return fmt.Errorf("%w: %w", ErrMalformed, err)
	}
	if !bytes.Equal(b, again) {
		return fmt.Errorf("%w: not the canonical encoding", ErrMalformed)
	}
	return nil
}
