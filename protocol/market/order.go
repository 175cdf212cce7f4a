package market

import (
	"errors"
	"fmt"
	"math/bits"
)

// Limits of an order, so that every message about it is bounded work.
const (
	MaxReplicas = 200
	MaxRoot     = 64      // bytes of a binary CID
	MaxSize     = 1 << 50 // bytes under one root
	MaxAddrs    = 16      // places from which the blocks can be fetched
	MaxAddr     = 256     // bytes of one multiaddr
	MaxPrice    = 1 << 50 // ucella per GiB-day
)

// Errors are kinds; the text beside them says which figure was off.
var (
	ErrOrder   = errors.New("bad order")
	ErrState   = errors.New("order is not in the right state")
	ErrAccept  = errors.New("replica refused")
	ErrBalance = errors.New("escrow does not add up")
)

// Terms are the network-wide figures that governance sets.
type Terms struct {
	DayBlocks    int64  // blocks that count as a day
	MinBlocks    int64  // shortest order; also the least that an ended replica is paid for
	MaxBlocks    int64  // longest order, renewals included
	AcceptBlocks int64  // how long an accepted replica may stay unproven before it lapses
	GraceBlocks  int64  // how long after its end an order waits for the last reports
	Collateral   uint64 // collateral of a replica, in percent of its pay over the order's remaining blocks
}

// Order is a promise to pay for replicas of what lies under one root.
type Order struct {
	ID       uint64
	Owner    string // address
	Root     []byte // binary CID
	Size     uint64 // bytes of the distinct blocks under the root
	Replicas uint32
	Price    uint64 // most that the owner pays: ucella per GiB-day and replica
	Start    int64  // height at which it was placed
	End      int64  // first height that is no longer paid for
	Escrow   uint64 // ucella still held for it
	Addrs    []string
	Closed   bool // ended by its owner or by time
}

// Replica is one operator's copy.
type Replica struct {
	Order      uint64
	Node       string // the operator's address
	Price      uint64 // agreed: the operator's ask, at most the order's price
	Accepted   int64  // height of the acceptance
	Proven     bool   // a report named the order
	Since      int64  // height of that report: blocks from here on are paid
	Base       uint64 // the node's count of proven heights at that report
	Paid       uint64 // ucella paid so far
	Collateral uint64 // ucella held from the operator
}

// Pay is what holding size bytes for blocks costs at a price: floor(size * price * blocks / (GiB * DayBlocks)). It
// fails where the figure would not fit, never wraps.
func (t Terms) Pay(size, price uint64, blocks int64) (uint64, error) {
	if blocks < 0 || t.DayBlocks <= 0 {
		return 0, fmt.Errorf("%w: %d blocks", ErrOrder, blocks)
	}
	// (size * price) fits 100 bits under the limits; multiply by blocks in 192 bits, divide by GiB, then by the day.
	hi, lo := bits.Mul64(size, price)
	c1, p0 := bits.Mul64(lo, uint64(blocks))
	c2, p1 := bits.Mul64(hi, uint64(blocks))
	p1, carry := bits.Add64(p1, c1, 0)
	p2 := c2 + carry
	if p2>>30 != 0 {
		return 0, fmt.Errorf("%w: %d bytes at %d for %d blocks overflows", ErrOrder, size, price, blocks)
	}
	q0 := p0>>30 | p1<<34
	q1 := p1>>30 | p2<<34
	if q1 >= uint64(t.DayBlocks) {
		return 0, fmt.Errorf("%w: %d bytes at %d for %d blocks overflows", ErrOrder, size, price, blocks)
	}
	quo, _ := bits.Div64(q1, q0, uint64(t.DayBlocks))
	return quo, nil
}

// EscrowFor is what an owner must lock: the top price for every replica over the whole term, rounded up a replica.
func (t Terms) EscrowFor(size, price uint64, blocks int64, replicas uint32) (uint64, error) {
	one, err := t.Pay(size, price, blocks)
	if err != nil {
		return 0, err
	}
	hi, sum := bits.Mul64(one+1, uint64(replicas))
	if hi != 0 || sum > 1<<62 {
		return 0, fmt.Errorf("%w: escrow overflows", ErrOrder)
	}
	return sum, nil
}

// Place checks a new order and returns it with its escrow; now is the height of the block.
func (t Terms) Place(id uint64, owner string, root []byte, size uint64, blocks int64, replicas uint32, price uint64, addrs []string, now int64) (Order, error) {
	bad := func(format string, args ...any) (Order, error) {
		return Order{}, fmt.Errorf("%w: %s", ErrOrder, fmt.Sprintf(format, args...))
	}
	if len(root) == 0 || len(root) > MaxRoot {
		return bad("root of %d bytes, want 1 to %d", len(root), MaxRoot)
	}
	if size == 0 || size > MaxSize {
		return bad("size %d, want 1 to %d bytes", size, uint64(MaxSize))
	}
	if replicas == 0 || replicas > MaxReplicas {
		return bad("%d replicas, want 1 to %d", replicas, MaxReplicas)
	}
	if blocks < t.MinBlocks || blocks > t.MaxBlocks {
		return bad("%d blocks, want %d to %d", blocks, t.MinBlocks, t.MaxBlocks)
	}
	if price == 0 || price > MaxPrice {
		return bad("price %d, want 1 to %d", price, uint64(MaxPrice))
	}
	if len(addrs) > MaxAddrs {
		return bad("%d addresses, at most %d", len(addrs), MaxAddrs)
	}
	for _, a := range addrs {
		if len(a) == 0 || len(a) > MaxAddr {
			return bad("address of %d bytes, want 1 to %d", len(a), MaxAddr)
		}
	}
	escrow, err := t.EscrowFor(size, price, blocks, replicas)
	if err != nil {
		return Order{}, err
	}
	return Order{ID: id, Owner: owner, Root: root, Size: size, Replicas: replicas, Price: price,
		Start: now, End: now + blocks, Escrow: escrow, Addrs: addrs}, nil
}
