package market

import (
	"bytes"
	"errors"
	"fmt"
	"math/bits"
	"slices"
)

// Limits of an order, so that every message about it is bounded work.
const (
	MaxReplicas = 200
	MaxRoot     = 64      // bytes of a binary CID
	MaxSize     = 1 << 50 // bytes under one root
	MaxAddrs    = 16      // places from which the blocks can be fetched
	MaxAddr     = 256     // bytes of one multiaddr
	MaxPrice    = 1 << 50 // ucella per GiB-day

	maxHeld       = 2 * MaxReplicas // replicas of an order, those included that leave and keep no place from others
	maxTerm       = 1 << 40         // blocks; keeps every sum of heights far from overflow
	maxEscrow     = 1 << 62         // ucella
	maxCollateral = 1000            // percent
	maxFactor     = 1000            // blocks' pay that one fault may cost
	maxFaults     = 1 << 40         // faults of one replica; so many and no more are counted
)

// Errors are kinds; the text beside them says which figure was off.
var (
	ErrTerms  = errors.New("bad market terms")
	ErrOrder  = errors.New("bad order")
	ErrState  = errors.New("order is not in the right state")
	ErrAccept = errors.New("replica refused")
	ErrProof  = errors.New("report does not prove the replica")
)

// Terms are the network-wide figures that governance sets.
type Terms struct {
	DayBlocks    int64  // blocks that count as a day; must not change while orders run, for their escrow rests on it
	MinBlocks    int64  // shortest order; also the least that an ended replica is paid for
	MaxBlocks    int64  // longest order, renewals included
	AcceptBlocks int64  // how long an accepted replica may stay unproven before it lapses
	GraceBlocks  int64  // how long after its end an order waits for the last reports
	Collateral   uint64 // collateral of a replica, in percent of its pay over the order's remaining blocks
	MendBlocks   int64  // how long after a warning unproven heights cost no more than their pay
	ClearBlocks  int64  // how long after that, without an unproven height, a warning stands
	FaultFactor  uint64 // how many blocks' pay an unproven height costs once the time to mend is over
	RepairBlocks int64  // how long an operator may take to prove again what its report let go
	WarnBlocks   int64  // how long a node may go without an accepted report before it is warned
	SilentBlocks int64  // and before it loses its replicas
	AuditFaults  uint64 // how many unproven heights a failed audit counts for
	LapseFee     uint64 // what an acceptance costs that ends unproven, in percent of the collateral
}

// Validate refuses terms under which a figure could overflow or an order could never live.
func (t Terms) Validate() error {
	for _, f := range []struct {
		name      string
		v, lo, hi int64
	}{
		{"day_blocks", t.DayBlocks, 1, maxTerm},
		{"min_blocks", t.MinBlocks, 1, maxTerm},
		{"max_blocks", t.MaxBlocks, t.MinBlocks, maxTerm},
		{"accept_blocks", t.AcceptBlocks, 1, maxTerm},
		{"grace_blocks", t.GraceBlocks, 1, maxTerm},
		{"mend_blocks", t.MendBlocks, 1, maxTerm},
		{"clear_blocks", t.ClearBlocks, 1, maxTerm},
		{"repair_blocks", t.RepairBlocks, 1, maxTerm},
		{"warn_blocks", t.WarnBlocks, 1, maxTerm},
		{"silent_blocks", t.SilentBlocks, t.WarnBlocks + 1, maxTerm}, // nobody is punished without a warning
	} {
		if f.v < f.lo || f.v > f.hi {
			return fmt.Errorf("%w: %s is %d, want %d to %d", ErrTerms, f.name, f.v, f.lo, f.hi)
		}
	}
	if t.Collateral > maxCollateral {
		return fmt.Errorf("%w: collateral is %d percent, at most %d", ErrTerms, t.Collateral, maxCollateral)
	}
	if t.FaultFactor > maxFactor || t.AuditFaults > maxFactor || t.LapseFee > 100 {
		return fmt.Errorf("%w: fault_factor is %d, audit_faults %d, lapse_fee %d percent: at most %d, %d and 100", ErrTerms,
			t.FaultFactor, t.AuditFaults, t.LapseFee, maxFactor, maxFactor)
	}
	return nil
}

// Ask is what an operator offers.
type Ask struct {
	Node    string // the operator's address
	Price   uint64 // ucella per GiB-day and replica; zero offers nothing
	MaxSize uint64 // bytes of the largest order that it takes
}

// Validate refuses figures beyond the limits of orders.
func (a Ask) Validate() error {
	if a.Price > MaxPrice || a.MaxSize > MaxSize {
		return fmt.Errorf("%w: ask of %d for up to %d bytes, at most %d for %d", ErrOrder, a.Price, a.MaxSize, uint64(MaxPrice), uint64(MaxSize))
	}
	return nil
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
	End      int64  // first height that is no longer paid for; where the owner ended it early, the height of that
	Escrow   uint64 // ucella still held for it
	Addrs    []string
	Closed   bool   // ended by its owner or by time
	Of       []byte // binary CID of the file of which this order stores a part; empty for an order that stands for itself
	Standing uint32 // replicas that are proven and not lost
}

// Apart refuses to let one operator hold two orders: of the same content, for one copy must not be paid twice, and of one
// file's parts, which lie apart so that the file outlives its holder. An order that is over stands in nobody's way.
func (o Order) Apart(other Order, now int64) error {
	switch {
	case other.ID == o.ID || other.Closed || now >= other.End:
	case bytes.Equal(o.Root, other.Root):
		return fmt.Errorf("%w: order %d is for the same content", ErrAccept, other.ID)
	case len(o.Of) > 0 && o.Owner == other.Owner && bytes.Equal(o.Of, other.Of):
		return fmt.Errorf("%w: order %d is for a part of the same file", ErrAccept, other.ID)
	}
	return nil
}

// Replica is one operator's copy.
type Replica struct {
	Order      uint64
	Node       string // the operator's address
	Price      uint64 // agreed: the operator's ask, at most the order's price
	Accepted   int64  // height of the acceptance
	Until      int64  // the order's end at the acceptance: what is added by renewing binds the operator to nothing
	Collateral uint64 // ucella held from the operator

	Proven bool   // a report named the order
	Report uint64 // counter of the report that named it last
	Since  int64  // height of the block that carried that report: blocks from here on are paid
	Base   uint64 // the node's count of proven heights with that report
	Earned int64  // blocks that were earned before the replica was last lost
	Paid   uint64 // ucella paid so far
	Lost   int64  // height of the block whose report let the running order go, 0 if none did

	FaultBase  uint64 // the node's count of faults with that report
	Fined      uint64 // ucella taken for faults since
	AuditBase  uint64 // the same for failed audits
	AuditFined uint64
	Leaving    bool // the operator wants to leave: the replica ends as soon as the order stands without it

	Lapsed bool // not a copy but the memory of one: it ended unproven or by a penalty, and the order takes the operator no more
}

// standing tells whether a replica is held as far as the chain knows.
func (r Replica) standing() bool { return r.Proven && r.Lost == 0 }

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

// EscrowFor is what an owner must lock: the top price for every replica over the blocks, rounded up a replica, so that
// the parts of an order that was renewed add up to at least the pay of the whole.
func (t Terms) EscrowFor(size, price uint64, blocks int64, replicas uint32) (uint64, error) {
	one, err := t.Pay(size, price, blocks)
	if err != nil {
		return 0, err
	}
	if one >= maxEscrow {
		return 0, fmt.Errorf("%w: escrow overflows", ErrOrder)
	}
	hi, sum := bits.Mul64(one+1, uint64(replicas))
	if hi != 0 || sum > maxEscrow {
		return 0, fmt.Errorf("%w: escrow overflows", ErrOrder)
	}
	return sum, nil
}

// collateralFor is the percentage of a replica's pay over the blocks that its operator must lock.
func (t Terms) collateralFor(size, price uint64, blocks int64) (uint64, error) {
	pay, err := t.Pay(size, price, blocks)
	if err != nil {
		return 0, err
	}
	hi, lo := bits.Mul64(pay, t.Collateral)
	if hi >= 100 {
		return 0, fmt.Errorf("%w: collateral overflows", ErrAccept)
	}
	quo, _ := bits.Div64(hi, lo, 100)
	if quo > maxEscrow {
		return 0, fmt.Errorf("%w: collateral overflows", ErrAccept)
	}
	return quo, nil
}

// check holds an order against the limits.
func (o Order) check() error {
	bad := func(format string, args ...any) error {
		return fmt.Errorf("%w: %s", ErrOrder, fmt.Sprintf(format, args...))
	}
	switch {
	case len(o.Root) == 0 || len(o.Root) > MaxRoot:
		return bad("root of %d bytes, want 1 to %d", len(o.Root), MaxRoot)
	case len(o.Of) > MaxRoot:
		return bad("part of a root of %d bytes, at most %d", len(o.Of), MaxRoot)
	case o.Size == 0 || o.Size > MaxSize:
		return bad("size %d, want 1 to %d bytes", o.Size, uint64(MaxSize))
	case o.Replicas == 0 || o.Replicas > MaxReplicas:
		return bad("%d replicas, want 1 to %d", o.Replicas, MaxReplicas)
	case o.Price == 0 || o.Price > MaxPrice:
		return bad("price %d, want 1 to %d", o.Price, uint64(MaxPrice))
	}
	return checkAddrs(o.Addrs)
}

// Audit refuses an order with replicas to which these rules could not have led, as far as they show it themselves. It is
// for a state that is taken over from elsewhere: no later rule looks at these figures again.
func (t Terms) Audit(o Order, held []Replica) error {
	if err := o.check(); err != nil {
		return err
	}
	if o.Start < 0 || o.End < o.Start || o.End > maxTerm || o.Escrow > maxEscrow || o.Closed && (o.Escrow != 0 || len(held) != 0) {
		return fmt.Errorf("%w: order %d from %d to %d with an escrow of %d and %d replicas", ErrOrder, o.ID, o.Start, o.End, o.Escrow, len(held))
	}
	if _, err := t.EscrowFor(o.Size, o.Price, o.End-o.Start, o.Replicas); err != nil {
		return err
	}
	var places, standing uint32
	for _, r := range held {
		if !r.Leaving {
			places++
		}
		if r.standing() {
			standing++
		}
	}
	if places > o.Replicas || standing > o.Replicas || standing != o.Standing {
		return fmt.Errorf("%w: order %d has %d replicas to stay and %d standing, said to be %d, at most %d", ErrOrder, o.ID, places, standing, o.Standing, o.Replicas)
	}
	for i, r := range held {
		if r.Order != o.ID || r.Lapsed || slices.ContainsFunc(held[:i], func(h Replica) bool { return h.Node == r.Node }) {
			return fmt.Errorf("%w: order %d has no such replica of %s, or two", ErrOrder, o.ID, r.Node)
		}
		if r.Price == 0 || r.Price > o.Price || r.Collateral > maxEscrow || r.Accepted < o.Start || r.Accepted >= o.End ||
			r.Until <= r.Accepted || r.Until > o.End || r.Earned < 0 || r.Earned > o.End-o.Start ||
			r.Proven && (r.Since < r.Accepted || r.Since >= o.End) || r.Lost != 0 && (!r.Proven || r.Lost < r.Since || r.Lost >= r.Until) ||
			!r.Proven && r != (Replica{Order: r.Order, Node: r.Node, Price: r.Price, Accepted: r.Accepted, Until: r.Until, Collateral: r.Collateral}) {
			return fmt.Errorf("%w: replica of order %d by %s: %+v", ErrOrder, o.ID, r.Node, r)
		}
	}
	return nil
}

// checkAddrs bounds the places from which an order's blocks can be fetched. Whether they can be dialled is for those who
// dial; here they only must be short printable text that begins like a multiaddr.
func checkAddrs(addrs []string) error {
	if len(addrs) > MaxAddrs {
		return fmt.Errorf("%w: %d addresses, at most %d", ErrOrder, len(addrs), MaxAddrs)
	}
	for _, a := range addrs {
		if len(a) < 2 || len(a) > MaxAddr || a[0] != '/' {
			return fmt.Errorf("%w: address of %d bytes, want a multiaddr of at most %d", ErrOrder, len(a), MaxAddr)
		}
		for i := range len(a) {
			if a[i] <= ' ' || a[i] > '~' {
				return fmt.Errorf("%w: address has the byte %#x", ErrOrder, a[i])
			}
		}
	}
	return nil
}
