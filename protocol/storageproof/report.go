package storageproof

import (
	"crypto/ed25519"
	"crypto/sha256"
	"errors"
	"fmt"

	"golang.org/x/crypto/cryptobyte"
)

// Limits of one report, so that checking it is bounded work.
const (
	MaxAdded   = 256 // orders named as newly complete
	MaxDropped = 256 // orders named as let go
	MaxRoot    = 64  // bytes of a binary CID
)

const (
	domainReport   = "cella/report/v1"
	domainStanding = "cella/standing/v1"
)

// ErrReport is the kind of every refusal of a report.
var ErrReport = errors.New("report refused")

// OrderRef names an order by what it stores, so that the chain can hold the enclave's word against its own record.
type OrderRef struct {
	ID   uint64
	Root []byte // binary CID of the order's root
	Size uint64 // bytes of the distinct blocks under it, as the enclave walked them
}

// Report is what an enclave signs each slot (Crust's storage statement report): what it holds, and how it answered the
// draws of every height since its previous report.
type Report struct {
	ChainID  string
	Account  [20]byte
	Counter  uint64   // 1 for an account's first report, then one more each time
	Prev     [32]byte // hash of the account's previous accepted report, zero for the first
	From     int64    // height of the previous report; equal to Height in the first
	Height   int64    // draws of the heights From+1..Height are accounted for
	Hash     [32]byte // block hash at Height
	Answered uint64   // heights whose draw was answered
	Failed   uint64   // heights whose draw was not
	Free     uint64   // bytes of random cells
	Stored   uint64   // bytes of sealed cells
	Sectors  uint32   // rows of the sector table
	Table    [32]byte // root of the sector table: the draws after Height are made over it
	Orders   [32]byte // OrdersRoot of all orders held after this report
	Added    []OrderRef
	Dropped  []uint64
	Reset    bool // the disk is lost: nothing that earlier reports named is held any more but what Added names
}

// Marshal returns the report's one encoding, which is what the enclave signs.
func (r Report) Marshal() []byte {
	var b cryptobyte.Builder
	addString(&b, domainReport)
	addString(&b, r.ChainID)
	b.AddBytes(r.Account[:])
	b.AddUint64(r.Counter)
	b.AddBytes(r.Prev[:])
	b.AddUint64(uint64(r.From))
	b.AddUint64(uint64(r.Height))
	b.AddBytes(r.Hash[:])
	b.AddUint64(r.Answered)
	b.AddUint64(r.Failed)
	b.AddUint64(r.Free)
	b.AddUint64(r.Stored)
	b.AddUint32(r.Sectors)
	b.AddBytes(r.Table[:])
	b.AddBytes(r.Orders[:])
	b.AddUint16(uint16(len(r.Added)))
	for _, o := range r.Added {
		o.add(&b)
	}
	b.AddUint16(uint16(len(r.Dropped)))
	for _, id := range r.Dropped {
		b.AddUint64(id)
	}
	b.AddUint8(flag(r.Reset))
	return b.BytesOrPanic()
}

// UnmarshalReport reads what Marshal wrote and nothing else.
func UnmarshalReport(p []byte) (Report, error) {
	var r Report
	var from, height uint64
	s := cryptobyte.String(p)
	ok := readDomain(&s, domainReport) &&
		readString(&s, &r.ChainID, 64) &&
		s.CopyBytes(r.Account[:]) &&
		s.ReadUint64(&r.Counter) &&
		s.CopyBytes(r.Prev[:]) &&
		s.ReadUint64(&from) &&
		s.ReadUint64(&height) &&
		s.CopyBytes(r.Hash[:]) &&
		s.ReadUint64(&r.Answered) &&
		s.ReadUint64(&r.Failed) &&
		s.ReadUint64(&r.Free) &&
		s.ReadUint64(&r.Stored) &&
		s.ReadUint32(&r.Sectors) &&
		s.CopyBytes(r.Table[:]) &&
		s.CopyBytes(r.Orders[:]) &&
		readAdded(&s, &r.Added) &&
		readDropped(&s, &r.Dropped) &&
		readFlag(&s, &r.Reset) &&
		s.Empty()
	if !ok || from > 1<<62 || height > 1<<62 {
		return Report{}, fmt.Errorf("%w: malformed", ErrReport)
	}
	r.From, r.Height = int64(from), int64(height)
	return r, nil
}

// ID is the hash that names the report in its successor; the field Hash is the block's.
func (r Report) ID() [32]byte { return sha256.Sum256(r.Marshal()) }

// Standing is the chain's record of an account's last accepted report. It is stored in exactly this encoding, so that the
// enclave can check with a store proof what was accepted.
type Standing struct {
	Account [20]byte
	Counter uint64
	Report  [32]byte // hash of the last accepted report
	Height  int64    // that report's height
	Since   int64    // height of the block that accepted it
	Free    uint64
	Stored  uint64
	Table   [32]byte
	Orders  [32]byte
	Proven  uint64 // heights proven since the account first reported; never falls
	Failed  uint64 // heights failed since then
	Late    uint64 // heights whose answers came too late to prove anything
}

// Unproven is how many heights were reported and not proven.
func (s Standing) Unproven() uint64 { return s.Failed + s.Late }

// Marshal returns the record's one encoding.
func (s Standing) Marshal() []byte {
	var b cryptobyte.Builder
	addString(&b, domainStanding)
	b.AddBytes(s.Account[:])
	b.AddUint64(s.Counter)
	b.AddBytes(s.Report[:])
	b.AddUint64(uint64(s.Height))
	b.AddUint64(uint64(s.Since))
	b.AddUint64(s.Free)
	b.AddUint64(s.Stored)
	b.AddBytes(s.Table[:])
	b.AddBytes(s.Orders[:])
	b.AddUint64(s.Proven)
	b.AddUint64(s.Failed)
	b.AddUint64(s.Late)
	return b.BytesOrPanic()
}

// UnmarshalStanding reads what Marshal wrote.
func UnmarshalStanding(p []byte) (Standing, error) {
	var st Standing
	var height, since uint64
	s := cryptobyte.String(p)
	ok := readDomain(&s, domainStanding) &&
		s.CopyBytes(st.Account[:]) && s.ReadUint64(&st.Counter) && s.CopyBytes(st.Report[:]) && s.ReadUint64(&height) && s.ReadUint64(&since) &&
		s.ReadUint64(&st.Free) && s.ReadUint64(&st.Stored) && s.CopyBytes(st.Table[:]) && s.CopyBytes(st.Orders[:]) &&
		s.ReadUint64(&st.Proven) && s.ReadUint64(&st.Failed) && s.ReadUint64(&st.Late) && s.Empty()
	if !ok || height > 1<<62 || since > 1<<62 {
		return Standing{}, fmt.Errorf("%w: malformed standing", ErrReport)
	}
	st.Height, st.Since = int64(height), int64(since)
	return st, nil
}

// SeedHeight is the height whose seed decides the draw of a height over the standing's table. The seeds of heights up to the block
// that accepted the table were known, or could be by who made that block, before it was: a host that could tell from them which cells
// will be drawn would try tables until it likes the draws.
func (s Standing) SeedHeight(height int64) int64 { return max(height, s.Since+1) }

// StoreName is the store in which the chain keeps standings.
const StoreName = "work"

// StandingKey is where x/work keeps an account's Standing.
func StandingKey(account [20]byte) []byte { return append([]byte{0x01}, account[:]...) }

// OrdersRoot commits to the orders that an enclave holds; refs must be in rising order of their ids.
func OrdersRoot(refs []OrderRef) [32]byte {
	var b cryptobyte.Builder
	addString(&b, "cella/orders/v1")
	b.AddUint64(uint64(len(refs)))
	for _, o := range refs {
		o.add(&b)
	}
	return sha256.Sum256(b.BytesOrPanic())
}

// Rules is what the chain holds a report against.
type Rules struct {
	ChainID    string
	Account    [20]byte
	SignKey    [32]byte // the enclave's registered key
	SlotBlocks int64    // blocks a slot; one report a slot
	Now        int64    // height of the block that carries the report
	MaxAge     int64    // how many blocks before Now the first seed after Height's may have come out
	LateBlocks int64    // how many blocks before Now a draw's seed may have come out; later answers prove nothing
	Cap        uint64   // most bytes that the node's tier may prove
	// Tip gives the last height whose seed was out in a block. Who waits for a seed can't draw, so the age of a draw
	// counts from there and not from its height: a chain whose seeds stand still makes nobody late, neither while it does nor when
	// they all come at once. Without it seeds come with their blocks.
	Tip func(block int64) int64
	// BlockHash gives the hash of a recent block of this chain.
	BlockHash func(height int64) ([32]byte, bool)
}

// Accept checks a signed report against the rules and the account's standing (nil before its first report) and returns the
// next standing. It is the whole rule: signature, place in the chain of reports, height, arithmetic, cap.
func Accept(rules Rules, before *Standing, encoded []byte, sig []byte) (Report, Standing, error) {
	r, err := UnmarshalReport(encoded)
	if err != nil {
		return Report{}, Standing{}, err
	}
	refuse := func(format string, args ...any) (Report, Standing, error) {
		return Report{}, Standing{}, fmt.Errorf("%w: %s", ErrReport, fmt.Sprintf(format, args...))
	}
	if len(sig) != ed25519.SignatureSize || !ed25519.Verify(rules.SignKey[:], encoded, sig) {
		return refuse("signature is not by the account's registered enclave")
	}
	if r.ChainID != rules.ChainID || r.Account != rules.Account {
		return refuse("it is for another chain or account")
	}
	if rules.SlotBlocks <= 0 || rules.LateBlocks <= 0 {
		return refuse("the rules name no slot length, or no time for answers")
	}
	if r.Height >= rules.Now || r.Height < rules.tip(rules.Now-rules.MaxAge) {
		return refuse("height %d at block %d: want one of the last %d blocks", r.Height, rules.Now, rules.MaxAge)
	}
	if hash, ok := rules.BlockHash(r.Height); !ok || hash != r.Hash {
		return refuse("block hash at height %d is not this chain's", r.Height)
	}
	if id, both := inBoth(r.Added, r.Dropped); both {
		return refuse("order %d is both added and dropped", id)
	}
	if r.Reset && (len(r.Dropped) > 0 || r.Answered > 0) {
		return refuse("a lost disk can neither drop single orders nor answer draws")
	}
	next := Standing{Account: r.Account, Counter: r.Counter, Height: r.Height, Since: rules.Now, Free: r.Free, Stored: r.Stored,
		Table: r.Table, Orders: r.Orders, Report: sha256.Sum256(encoded)}
	if before == nil {
		if r.Counter != 1 || r.Prev != [32]byte{} || r.From != r.Height || r.Answered != 0 || r.Failed != 0 || r.Reset {
			return refuse("an account's first report has counter 1, no predecessor, no draws and nothing to lose")
		}
	} else {
		if r.Counter != before.Counter+1 || r.Prev != before.Report || r.From != before.Height {
			return refuse("it does not follow report %d at height %d", before.Counter, before.Height)
		}
		if r.Height/rules.SlotBlocks <= before.Height/rules.SlotBlocks {
			return refuse("slot %d already has a report", before.Height/rules.SlotBlocks)
		}
		heights := uint64(r.Height - r.From)
		if r.Answered > heights || r.Failed != heights-r.Answered {
			return refuse("%d answered and %d failed do not add up to %d heights", r.Answered, r.Failed, heights)
		}
		// Which of the heights failed is not known; those in time are taken for the answered ones.
		inTime := min(heights, uint64(max(0, r.Height-max(r.From, rules.due(*before)))))
		proven := min(r.Answered, inTime)
		next.Proven, next.Failed, next.Late = before.Proven+proven, before.Failed+r.Failed, before.Late+r.Answered-proven
	}
	if r.Free%CellSize != 0 || r.Stored%CellSize != 0 || r.Free > rules.Cap || r.Stored > rules.Cap-r.Free {
		return refuse("%d free and %d stored bytes: want whole cells, at most %d in all", r.Free, r.Stored, rules.Cap)
	}
	return r, next, nil
}

func (rules Rules) tip(block int64) int64 {
	if rules.Tip == nil {
		return block
	}
	return rules.Tip(block)
}

// due is the height up to which a node should have answered by now: that whose seed was out LateBlocks ago. As long as it lies in the slot of
// the last report, or before the block that accepted it, nothing is: no report could have named it.
func (rules Rules) due(last Standing) int64 {
	tip := rules.tip(rules.Now - rules.LateBlocks - 1)
	if tip/rules.SlotBlocks <= last.Height/rules.SlotBlocks || tip < last.Since {
		return last.Height
	}
	return tip
}

// inBoth finds an id that both rising lists name.
func inBoth(added []OrderRef, dropped []uint64) (uint64, bool) {
	for len(added) > 0 && len(dropped) > 0 {
		switch a, d := added[0].ID, dropped[0]; {
		case a == d:
			return a, true
		case a < d:
			added = added[1:]
		default:
			dropped = dropped[1:]
		}
	}
	return 0, false
}

func (o OrderRef) add(b *cryptobyte.Builder) {
	b.AddUint64(o.ID)
	b.AddUint8LengthPrefixed(func(b *cryptobyte.Builder) { b.AddBytes(o.Root) })
	b.AddUint64(o.Size)
}

func readAdded(s *cryptobyte.String, out *[]OrderRef) bool {
	var n uint16
	if !s.ReadUint16(&n) || n > MaxAdded {
		return false
	}
	for range n {
		var o OrderRef
		var root cryptobyte.String
		if !s.ReadUint64(&o.ID) || !s.ReadUint8LengthPrefixed(&root) || len(root) == 0 || len(root) > MaxRoot || !s.ReadUint64(&o.Size) {
			return false
		}
		if k := len(*out); k > 0 && (*out)[k-1].ID >= o.ID {
			return false // rising, so each order is named once
		}
		o.Root = append([]byte(nil), root...)
		*out = append(*out, o)
	}
	return true
}

func readDropped(s *cryptobyte.String, out *[]uint64) bool {
	var n uint16
	if !s.ReadUint16(&n) || n > MaxDropped {
		return false
	}
	for range n {
		var id uint64
		if !s.ReadUint64(&id) {
			return false
		}
		if k := len(*out); k > 0 && (*out)[k-1] >= id {
			return false
		}
		*out = append(*out, id)
	}
	return true
}

func flag(set bool) uint8 {
	if set {
		return 1
	}
	return 0
}

func readFlag(s *cryptobyte.String, out *bool) bool {
	var v uint8
	ok := s.ReadUint8(&v) && v <= 1
	*out = v == 1
	return ok
}

func addString(b *cryptobyte.Builder, s string) {
	b.AddUint16LengthPrefixed(func(b *cryptobyte.Builder) { b.AddBytes([]byte(s)) })
}

func readString(s *cryptobyte.String, out *string, limit int) bool {
	var v cryptobyte.String
	if !s.ReadUint16LengthPrefixed(&v) || len(v) > limit {
		return false
	}
	*out = string(v)
	return true
}

func readDomain(s *cryptobyte.String, want string) bool {
	var got string
	return readString(s, &got, len(want)) && got == want
}
