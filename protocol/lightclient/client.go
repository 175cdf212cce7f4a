package lightclient

import (
	"errors"
	"fmt"
)

// Kinds of refusal.
var (
	ErrMalformed = errors.New("malformed")                 // the bytes are not what they claim to be, or out of bounds
	ErrUntrusted = errors.New("untrusted")                 // nothing trusted vouches for it
	ErrExpired   = errors.New("trust expired")             // too long after the head: begin again from a newer root
	ErrUnknown   = errors.New("header not remembered")     // below the oldest or above the head
	ErrProof     = errors.New("store proof does not hold") // the state does not say this
	errOptions   = fmt.Errorf("%w: options out of range", ErrMalformed)
)

// maxKeep bounds the memory of a client: about 104 bytes a header.
const maxKeep = 1 << 20

// Block is a header with what proves it, each in CometBFT's protobuf encoding (tendermint.types.Header, Commit and ValidatorSet).
type Block struct{ Header, Commit, Validators []byte }

// Options are a client's limits.
type Options struct {
	// TrustingPeriod is how many seconds the time of a new head may lie after that of the old, exclusive. It must be shorter than
	// the time for which the chain can still punish a validator that left.
	TrustingPeriod int64
	// Keep is how many headers are remembered, head included: 1 to 1,048,576.
	Keep int
}

// Client follows one chain from a trust root. It has no clock: it knows that its head is a block of the chain, not that it is
// recent. It is not safe for concurrent use.
type Client struct {
	chainID string
	period  int64
	head    Header
	oldest  int64
	below   [32]byte // LastBlockHash of the oldest
	ring    []record // by height modulo its length
}

// record is what is remembered of a header; the rest follows from its neighbours.
type record struct {
	hash, app, validators [32]byte
	time                  int64
}

// New starts a client at the block of the given height and hash, which is trusted; everything else must follow from it: the
// header hashes to it, the validators to what it says of them, and the commit is valid. Errors are ErrMalformed and ErrUntrusted.
func New(chainID string, rootHeight int64, rootHash [32]byte, b Block, opts Options) (*Client, error) {
	if opts.TrustingPeriod <= 0 || opts.Keep <= 0 || opts.Keep > maxKeep {
		return nil, errOptions
	}
	h, err := ParseHeader(b.Header)
	if err != nil {
		return nil, err
	}
	if h.ChainID != chainID {
		return nil, fmt.Errorf("%w: header is of another chain", ErrUntrusted)
	}
	if h.Height != rootHeight || h.Hash != rootHash {
		return nil, fmt.Errorf("%w: header is not the trust root", ErrUntrusted)
	}
	if err := verifyBlock(h, b.Commit, b.Validators); err != nil {
		return nil, err
	}
	c := &Client{
		chainID: chainID,
		period:  opts.TrustingPeriod,
		head:    h,
		oldest:  h.Height,
		below:   h.LastBlockHash,
		ring:    make([]record, opts.Keep),
	}
	*c.at(h.Height) = newRecord(h)
	return c, nil
}

// Follow moves the head to the last of headers, which are the protobuf encodings of the blocks from head+1 on without a gap. Only the last is
// proven by signatures, of the set that the head named as next; the others by the hashes that lead down from it. Where validators change a
// step must end (Reach), for else the change would be believed on no more than the word of those whom it brings. commit and validators are the
// last header's. Nothing changes on error: ErrMalformed, ErrUntrusted, ErrExpired.
func (c *Client) Follow(headers [][]byte, commit, validators []byte) error {
	parsed, err := parseHeaders(headers)
	if err != nil {
		return err
	}
	low := c.head
	for _, h := range parsed {
		if err := c.linked(low, h); err != nil {
			return err
		}
		low = h
	}
	last := parsed[len(parsed)-1]
	if (last.Time-c.head.Time)/1e9 >= c.period {
		return fmt.Errorf("%w: header %d is %d seconds after the head", ErrExpired, last.Height, (last.Time-c.head.Time)/1e9)
	}
	if last.ValidatorsHash != c.head.NextValidatorsHash {
		return fmt.Errorf("%w: header %d is of other validators than the head named: nobody who is known has signed that", ErrUntrusted, last.Height)
	}
	if err := verifyBlock(last, commit, validators); err != nil {
		return err
	}
	for _, h := range parsed {
		if h.Height-c.oldest == int64(len(c.ring)) {
			c.below = c.at(c.oldest).hash
			c.oldest++
		}
		*c.at(h.Height) = newRecord(h)
	}
	c.head = last
	return nil
}

// Reach is how many of headers one step of Follow can take, from the first on: up to where their validators change.
func Reach(headers [][]byte) (int, error) {
	parsed, err := parseHeaders(headers)
	if err != nil {
		return 0, err
	}
	for i, h := range parsed {
		if h.ValidatorsHash != parsed[0].ValidatorsHash {
			return i, nil
		}
	}
	return len(parsed), nil
}

// History remembers headers below the oldest known one, newest first: each must be the block that the one above names as its
// last. It makes room for none: together with those known they are at most Options.Keep. Nothing changes on error: ErrMalformed,
// ErrUntrusted.
func (c *Client) History(headers [][]byte) error {
	parsed, err := parseHeaders(headers)
	if err != nil {
		return err
	}
	if int64(len(parsed)) > int64(len(c.ring))-(c.head.Height-c.oldest+1) {
		return fmt.Errorf("%w: more headers than are to be kept", ErrMalformed)
	}
	high, _ := c.Header(c.oldest)
	for _, h := range parsed {
		if err := c.linked(h, high); err != nil {
			return err
		}
		high = h
	}
	for _, h := range parsed {
		*c.at(h.Height) = newRecord(h)
	}
	c.oldest, c.below = high.Height, high.LastBlockHash
	return nil
}

// Head is the newest header that is trusted.
func (c *Client) Head() Header {
	h, _ := c.Header(c.head.Height)
	return h
}

// Oldest is the lowest height remembered. All heights from there to the head are.
func (c *Client) Oldest() int64 { return c.oldest }

// Header returns a remembered header.
func (c *Client) Header(height int64) (Header, bool) {
	if height < c.oldest || height > c.head.Height {
		return Header{}, false
	}
	r := c.at(height)
	app := r.app
	h := Header{
		ChainID:            c.chainID,
		Height:             height,
		Time:               r.time,
		Hash:               r.hash,
		LastBlockHash:      c.below,
		AppHash:            app[:],
		ValidatorsHash:     r.validators,
		NextValidatorsHash: c.head.NextValidatorsHash,
	}
	if height > c.oldest {
		h.LastBlockHash = c.at(height - 1).hash
	}
	if height < c.head.Height {
		h.NextValidatorsHash = c.at(height + 1).validators
	}
	return h, true
}

// Value checks that key of store holds value in the state after block height; an empty value says that the key is absent. Header
// height+1 carries that state's root and must be remembered. Errors are ErrUnknown, ErrMalformed and ErrProof.
func (c *Client) Value(height int64, store string, key, value []byte, proof Proof) error {
	if height < c.oldest-1 || height >= c.head.Height {
		return fmt.Errorf("%w: the one after height %d", ErrUnknown, height)
	}
	return VerifyValue(c.at(height + 1).app[:], store, key, value, proof)
}

// linked checks that high is the block after low.
func (c *Client) linked(low, high Header) error {
	switch {
	case low.ChainID != c.chainID || high.ChainID != c.chainID:
		return fmt.Errorf("%w: header is of another chain", ErrUntrusted)
	case high.Height-1 != low.Height:
		return fmt.Errorf("%w: header %d does not follow %d", ErrUntrusted, high.Height, low.Height)
	case high.LastBlockHash != low.Hash:
		return fmt.Errorf("%w: header %d does not name header %d", ErrUntrusted, high.Height, low.Height)
	case high.Time <= low.Time:
		return fmt.Errorf("%w: time does not rise at header %d", ErrUntrusted, high.Height)
	}
	return nil
}

// at is the place of a height in the ring.
func (c *Client) at(height int64) *record { return &c.ring[height%int64(len(c.ring))] }

func newRecord(h Header) record {
	return record{hash: h.Hash, app: [32]byte(h.AppHash), validators: h.ValidatorsHash, time: h.Time}
}

func parseHeaders(headers [][]byte) ([]Header, error) {
	if len(headers) == 0 {
		return nil, fmt.Errorf("%w: no headers", ErrMalformed)
	}
	size := 0
	for _, b := range headers {
		size += len(b)
		if size > MaxMessage {
			return nil, fmt.Errorf("%w: more than %d bytes of headers", ErrMalformed, MaxMessage)
		}
	}
	parsed := make([]Header, 0, min(len(headers), MaxMessage/maxHeader))
	for _, b := range headers {
		h, err := ParseHeader(b)
		if err != nil {
			return nil, err
		}
		parsed = append(parsed, h)
	}
	return parsed, nil
}

// verifyBlock checks a header's commit by the set that the header names.
func verifyBlock(h Header, commit, validators []byte) error {
	cm, err := parseCommit(commit)
	if err != nil {
		return err
	}
	set, err := parseSet(validators)
	if err != nil {
		return err
	}
	return verifyCommit(h, cm, set)
}
