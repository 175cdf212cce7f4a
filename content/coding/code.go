package coding

import (
	"errors"
	"fmt"
	"strconv"
	"strings"

	"github.com/klauspost/reedsolomon"
)

// Bounds. One operator holds one shard, so that more shards than this find no takers anyway.
const (
	MaxShards = 64
	MaxBlock  = 1 << 20  // bytes of a block that can be coded and stored
	maxBlocks = 16 << 20 // leaves and parity blocks of a file
)

var (
	// ErrCode is returned for a code that can't be.
	ErrCode = errors.New("bad code")
	// ErrManifest is returned for a manifest that is malformed, too large, or contradicts itself, the file or the order.
	ErrManifest = errors.New("bad manifest")
	// ErrTooFew is returned when fewer than K blocks of a group can be had.
	ErrTooFew = errors.New("too few blocks of the group are left")
	// ErrUnsupported is returned for a DAG with blocks that can't be coded: other hashes than SHA-256, blocks of more than 1 MiB.
	ErrUnsupported = errors.New("not supported")
)

// Code is K data shards and M parity shards: any K of them restore the file. The zero Code means no code.
type Code struct{ K, M int }

// ParseCode reads the form 4+2.
func ParseCode(s string) (Code, error) {
	k, m, ok := strings.Cut(s, "+")
	a, err1 := strconv.Atoi(k)
	b, err2 := strconv.Atoi(m)
	c := Code{a, b}
	if !ok || err1 != nil || err2 != nil || c.String() != s {
		return Code{}, fmt.Errorf("%w: %q, want the form 4+2", ErrCode, s)
	}
	return c, c.check()
}

func (c Code) String() string { return fmt.Sprintf("%d+%d", c.K, c.M) }

// Shards is how many there are.
func (c Code) Shards() int { return c.K + c.M }

func (c Code) check() error {
	if c.K < 1 || c.M < 1 || c.K > MaxShards || c.M > MaxShards || c.Shards() > MaxShards {
		return fmt.Errorf("%w: %s, want at least 1+1 and at most %d together", ErrCode, c, MaxShards)
	}
	return nil
}

// shardAt is the shard that holds a group's block at a position; leaves come first, then parity.
func (c Code) shardAt(group, position int) int { return (position + group) % c.Shards() }

// positionIn is the reverse of shardAt.
func (c Code) positionIn(group, shard int) int {
	n := c.Shards()
	return (shard - group%n + n) % n
}

// coder multiplies: the systematic matrix that is a Vandermonde matrix over GF(2^8) (polynomial 0x11d) times the inverse of its
// square top.
func (c Code) coder() (reedsolomon.Encoder, error) {
	enc, err := reedsolomon.New(c.K, c.M)
	if err != nil {
		return nil, fmt.Errorf("%w: %s: %w", ErrCode, c, err)
	}
	return enc, nil
}

// parity computes the M parity blocks over a group's leaves, of which there are 1 to K, the longest first.
func (c Code) parity(enc reedsolomon.Encoder, leaves [][]byte) ([][]byte, error) {
	size := len(leaves[0])
	all := make([][]byte, c.Shards())
	for i := range all {
		if i < len(leaves) && len(leaves[i]) == size {
			all[i] = leaves[i]
			continue
		}
		all[i] = make([]byte, size)
		if i < len(leaves) {
			copy(all[i], leaves[i])
		}
	}
	if err := enc.Encode(all); err != nil {
		return nil, err
	}
	return all[c.K:], nil
}

// restore computes the group's block at a position from others: blocks[i] is the block at position i or nil. Positions from leaves to K
// are zeros. The result is as long as the group's parity; nothing vouches for it but its hash.
func (c Code) restore(enc reedsolomon.Encoder, blocks [][]byte, leaves, size, position int) ([]byte, error) {
	all, required := make([][]byte, c.Shards()), make([]bool, c.Shards())
	have := 0
	for i, b := range blocks {
		switch {
		case i >= leaves && i < c.K:
			all[i] = make([]byte, size)
		case b == nil || i == position:
			continue
		case len(b) > size:
			return nil, fmt.Errorf("%w: a block of %d bytes in a group of %d", ErrManifest, len(b), size)
		case len(b) == size:
			all[i] = b
		default:
			all[i] = append(make([]byte, 0, size), b...)[:size]
		}
		if have++; have == c.K {
			break // more would only be work
		}
	}
	if have < c.K {
		return nil, ErrTooFew
	}
	required[position] = true
	if err := enc.ReconstructSome(all, required); err != nil {
		return nil, err
	}
	return all[position], nil
}
