package wire

// Ceremonies, repairs and partial signatures: the enclave's shares of threshold keys.
const (
	KindCeremonyBegin Kind = 60
	KindCeremonyFeed  Kind = 61
	KindCeremonyAct   Kind = 62
	KindRepairBegin   Kind = 63
	KindRepairFeed    Kind = 64
	KindRepairAct     Kind = 65
	KindSettle        Kind = 66
	KindSign          Kind = 67
)

const (
	maxPurpose = 16
	maxSeats   = 128
	maxEntries = 1 << 12
	maxMessage = 1 << 20   // of a ceremony or repair
	maxGroup   = 128 << 10 // an encoded group
	maxHeights = 16        // of one Sign
	maxPartial = 512 * 48
)

// Slow says that requests of this kind compute for up to seconds: they wait in a lane of their own, one after the other, so that a
// partial signature never waits for a ceremony.
func (k Kind) Slow() bool { return k >= KindCeremonyBegin && k <= KindSettle }

// Seat is a member's place in a group.
type Seat struct {
	Account [20]byte
	Shares  uint16
}

// Entry is what happened next in a ceremony or repair: a message was accepted, or a phase ended, and then From is zero.
type Entry struct {
	From    [20]byte
	Message []byte
}

// Statement is a message of this enclave's for a ceremony or repair, with its signature over threshold.PostStatement.
type Statement struct {
	Message []byte
	Sig     [64]byte
}

// CeremonyBegin replays a purpose's ceremony from its beginning; what the enclave said in it stays. Handover says that the group
// which the ceremony of OldEpoch and OldAttempt made hands its key on; the enclave has to know it from a Settle.
type CeremonyBegin struct {
	Purpose    string
	Epoch      uint64
	Attempt    uint32
	Seats      []Seat
	Threshold  uint16
	Handover   bool
	OldEpoch   uint64
	OldAttempt uint32
}

// CeremonyFeed goes on with the replay. An entry that does not follow from what was fed before is refused; those before it stay.
type CeremonyFeed struct {
	Purpose string
	Entries []Entry
}

// FeedReply is how many entries were replayed by now.
type FeedReply struct{ Count uint64 }

// CeremonyAct proves the transcript that was replayed: threshold.TranscriptKey. The enclave does what is its part in this phase.
type CeremonyAct struct {
	Purpose    string
	Transcript Proof
}

// ActReply is the phase, as threshold numbers them, and this enclave's messages that the chain has not accepted yet, about a
// mebibyte of them at most. Asked again it says the same.
type ActReply struct {
	Phase    uint8
	Messages []Statement
}

// RepairBegin replays a repair of an account's shares of the settled charge's group.
type RepairBegin struct {
	Purpose string
	Account [20]byte
	Attempt uint32
	Seat    uint16
	Helpers []uint32 // seats, in the chain's order
}

// RepairFeed is CeremonyFeed for a repair.
type RepairFeed struct {
	Purpose string
	Account [20]byte
	Entries []Entry
}

// RepairAct proves the transcript of a repair: threshold.RepairKey. It is answered with an ActReply.
type RepairAct struct {
	Purpose    string
	Account    [20]byte
	Transcript Proof
}

// Settle proves which group is in charge of a purpose: threshold.ChargeKey. Shares that can't be needed any more are wiped. Group
// is the encoding of the group that the charge names; it may be left out if it was brought before.
type Settle struct {
	Purpose string
	Charge  Proof
	Group   []byte
}

// SettleReply is what the enclave has of the group in charge.
type SettleReply struct {
	Charged bool   // the chain has a group
	Epoch   uint64 // of the charge
	Member  bool   // the account has a seat
	Seat    uint16
	Holds   bool // its shares are here
	Ready   bool // and the chain knows that they are
}

// Sign asks for partial signatures at heights, all of one epoch. A height above the one after the trusted head is refused.
type Sign struct {
	Purpose string
	Epoch   uint64
	Heights []int64
}

// SignReply is a partial signature for each height.
type SignReply struct{ Partials [][]byte }

func (*CeremonyBegin) Kind() Kind { return KindCeremonyBegin }
func (*CeremonyFeed) Kind() Kind  { return KindCeremonyFeed }
func (*CeremonyAct) Kind() Kind   { return KindCeremonyAct }
func (*RepairBegin) Kind() Kind   { return KindRepairBegin }
func (*RepairFeed) Kind() Kind    { return KindRepairFeed }
func (*RepairAct) Kind() Kind     { return KindRepairAct }
func (*Settle) Kind() Kind        { return KindSettle }
func (*Sign) Kind() Kind          { return KindSign }

func (m *Seat) fields(c *codec) {
	c.array(m.Account[:])
	c.u16(&m.Shares)
}

func (m *Entry) fields(c *codec) {
	c.array(m.From[:])
	c.bytes(&m.Message, maxMessage)
}

func (m *Statement) fields(c *codec) {
	c.bytes(&m.Message, maxMessage)
	c.array(m.Sig[:])
}

func (m *CeremonyBegin) fields(c *codec) {
	c.string(&m.Purpose, maxPurpose)
	c.u64(&m.Epoch)
	c.u32(&m.Attempt)
	list(c, &m.Seats, maxSeats, 22, func(s *Seat) { s.fields(c) })
	c.u16(&m.Threshold)
	c.bool(&m.Handover)
	c.u64(&m.OldEpoch)
	c.u32(&m.OldAttempt)
}

func (m *CeremonyFeed) fields(c *codec) {
	c.string(&m.Purpose, maxPurpose)
	c.entries(&m.Entries)
}

func (m *FeedReply) fields(c *codec) { c.u64(&m.Count) }

func (m *CeremonyAct) fields(c *codec) {
	c.string(&m.Purpose, maxPurpose)
	m.Transcript.fields(c)
}

func (m *ActReply) fields(c *codec) {
	c.u8(&m.Phase)
	list(c, &m.Messages, maxEntries, 68, func(s *Statement) { s.fields(c) })
}

func (m *RepairBegin) fields(c *codec) {
	c.string(&m.Purpose, maxPurpose)
	c.array(m.Account[:])
	c.u32(&m.Attempt)
	c.u16(&m.Seat)
	c.u32s(&m.Helpers, maxSeats)
}

func (m *RepairFeed) fields(c *codec) {
	c.string(&m.Purpose, maxPurpose)
	c.array(m.Account[:])
	c.entries(&m.Entries)
}

func (m *RepairAct) fields(c *codec) {
	c.string(&m.Purpose, maxPurpose)
	c.array(m.Account[:])
	m.Transcript.fields(c)
}

func (m *Settle) fields(c *codec) {
	c.string(&m.Purpose, maxPurpose)
	m.Charge.fields(c)
	c.bytes(&m.Group, maxGroup)
}

func (m *SettleReply) fields(c *codec) {
	c.bool(&m.Charged)
	c.u64(&m.Epoch)
	c.bool(&m.Member)
	c.u16(&m.Seat)
	c.bool(&m.Holds)
	c.bool(&m.Ready)
}

func (m *Sign) fields(c *codec) {
	c.string(&m.Purpose, maxPurpose)
	c.u64(&m.Epoch)
	list(c, &m.Heights, maxHeights, 8, c.height)
}

func (m *SignReply) fields(c *codec) { c.byteses(&m.Partials, maxHeights, maxPartial) }

func (c *codec) entries(v *[]Entry) {
	list(c, v, maxEntries, 24, func(e *Entry) { e.fields(c) })
}
