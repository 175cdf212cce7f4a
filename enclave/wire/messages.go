package wire

// Kind says what a frame's body is. A reply carries its request's kind with the top bit set; a refusal carries KindError.
type Kind uint16

const (
	KindInit          Kind = 1
	KindFollow        Kind = 2
	KindHistory       Kind = 3
	KindStatus        Kind = 4
	KindRegister      Kind = 10
	KindChallenge     Kind = 11
	KindAnswer        Kind = 12
	KindEndorse       Kind = 13
	KindConfirm       Kind = 14
	KindFill          Kind = 20
	KindOpen          Kind = 21
	KindSeal          Kind = 22
	KindRead          Kind = 23
	KindMove          Kind = 24
	KindRelease       Kind = 25
	KindComplete      Kind = 26
	KindDrop          Kind = 27
	KindDraw          Kind = 30
	KindReport        Kind = 31
	KindAccepted      Kind = 32
	KindRestoreBegin  Kind = 40
	KindRestoreSector Kind = 41
	KindRestoreEnd    Kind = 42
	KindLose          Kind = 43

	kindReply Kind = 0x8000
	KindError Kind = 0xffff
)

// Proof is a value of the chain's store with the two commitment proofs that lead from it to the app hash of the header
// after Height. An empty Value claims that the key is absent.
type Proof struct {
	Height int64 // the state after this block; header Height+1 carries its app hash
	Value  []byte
	Store  []byte // ics23 proof of the value in its store
	Root   []byte // ics23 proof of the store in the app hash
}

// Init is the first request of a stream and comes once. Header, Commit and Validators are the protobuf encodings of the block from
// which the enclave follows the chain.
type Init struct {
	ChainID    string
	Account    [20]byte
	SectorSize uint64
	Platform   []byte // what the platform needs from its host; the simulator's fuse
	Header     []byte
	Commit     []byte
	Validators []byte
}

// InitReply introduces the enclave: its keys are fresh.
type InitReply struct {
	Version     string
	Platform    uint8
	PlatformID  [32]byte
	Measurement [32]byte
	SignKey     [32]byte
	KEMKey      [32]byte
}

// Follow moves the trusted head forward: consecutive headers after the head, all of the same validators, the commit of the last and its
// validator set.
type Follow struct {
	Headers    [][]byte
	Commit     []byte
	Validators []byte
}

// FollowReply is the new trusted head.
type FollowReply struct {
	Height int64
	Hash   [32]byte
}

// History teaches block hashes below the oldest known header, newest first, each linked by hash to the one above. An enclave that was
// restarted where seeds don't come needs that of the height that it reports.
type History struct{ Headers [][]byte }

// HistoryReply is the oldest header now known.
type HistoryReply struct{ Height int64 }

// Status asks where the enclave stands.
type Status struct{}

// StatusReply tells it.
type StatusReply struct {
	Height   int64  // trusted head
	Oldest   int64  // oldest header known
	Counter  uint64 // last accepted report
	Drawn    int64  // height up to which draws are settled
	Free     uint64 // bytes, as the next report would say
	Stored   uint64
	Orders   uint32
	Restored bool // the vault's state was matched with the chain, or the chain knows of none
}

// Register asks for R of the quadruple, with fresh evidence over the trusted head.
type Register struct{}

// RegisterReply carries an encoded attestation.Registration and Sig_M(R).
type RegisterReply struct {
	Registration []byte
	SigM         [64]byte
}

// Challenge asks an endorser's enclave V to begin: Intent proves that V was drawn for this registration.
type Challenge struct {
	Registration []byte
	SigM         [64]byte
	Intent       Proof
}

// ChallengeReply is V's nonce, and V's own evidence over it and the registration's hash.
type ChallengeReply struct {
	Nonce    [32]byte
	Evidence []byte
}

// Answer asks the joining enclave M to check V and answer V's nonce. Endorser proves V's chain record, Intent proves that V was drawn for
// M's registration.
type Answer struct {
	Nonce    [32]byte
	Evidence []byte
	Endorser Proof
	Intent   Proof
}

// AnswerReply is M's evidence over V's nonce and its own registration.
type AnswerReply struct{ Evidence []byte }

// Endorse hands M's evidence to V.
type Endorse struct {
	Registration [32]byte // its hash
	Evidence     []byte
}

// EndorseReply is Sig_V(R).
type EndorseReply struct{ SigV [64]byte }

// Confirm asks M for Sig_M(Sig_V(R)); M must have answered this endorser.
type Confirm struct{ SigV [64]byte }

// ConfirmReply completes the quadruple.
type ConfirmReply struct{ SigMV [64]byte }

// Fill asks for the next run of random cells of a free sector, at most 256. The first request for an id begins the sector; the
// host writes the runs in order.
type Fill struct{ Sector uint32 }

// FillReply carries the cells and their digests. With the last run the key is gone and Entry is the sector's row.
type FillReply struct {
	First   uint32 // first cell of the run
	Cells   []byte
	Digests []byte
	Done    bool
	Entry   []byte // encoded storageproof.Entry when Done
}

// Open begins a data sector under a fresh random key.
type Open struct{ Sector uint32 }

// OpenReply is the header page to write at the file's start: salt and wrapped key.
type OpenReply struct{ Header []byte }

// Seal stores one block in an open sector. The enclave recomputes the CID.
type Seal struct {
	Sector uint32
	CID    []byte
	Data   []byte
}

// SealReply tells where the block lies; Known says that it was sealed before, and then nothing is to be written.
type SealReply struct {
	Known  bool
	Sector uint32
	Cell   uint32
	Length uint32
	Cells  []byte // ciphertext
	Tags   []byte
	Record []byte // directory record, to append to the sector's directory
}

// Read opens a sealed block: the host brings ciphertext and tags.
type Read struct {
	CID   []byte
	Cells []byte
	Tags  []byte
}

// ReadReply is the block.
type ReadReply struct{ Data []byte }

// Move seals a block again in another open sector, so that its old sector can be released.
type Move struct {
	CID    []byte
	Cells  []byte
	Tags   []byte
	Sector uint32 // to
}

// Release leaves sectors out of the next report. It is refused for a sector that holds a block of a held order.
type Release struct{ Sectors []uint32 }

// Order names an order and what it stores.
type Order struct {
	ID   uint64
	Root []byte
	Size uint64
}

// Complete walks the order's DAG over sealed blocks and, if it is whole and of the named size, holds it from the next report on.
type Complete struct{ Order Order }

// CompleteReply tells what was found; Missing is the CID of an absent block, empty if the order is now held.
type CompleteReply struct {
	Size    uint64
	Blocks  uint64
	Missing []byte
}

// Drop lets orders go with the next report.
type Drop struct{ Orders []uint64 }

// Draw answers one height's spot check. Heights come in order. Absent admits that the bytes are not there.
type Draw struct {
	Height int64
	Absent bool
	Cell   []byte
	Tag    []byte // data sector: the cell's tag
	Page   []byte // free sector: the cell's page of digests
	Path   []byte // free sector: hashes from that page to the root, 32 bytes each
}

// DrawReply says whether the draw counts as answered.
type DrawReply struct{ Answered bool }

// Report asks for a signed report over all draws made so far.
type Report struct{}

// ReportReply is the report and the rows of the table that changed since the last accepted one; the host makes the new
// generation durable before it posts the report.
type ReportReply struct {
	Report   []byte
	Sig      [64]byte
	Changed  [][]byte // encoded storageproof.Entry rows
	TagRoots [][]byte // beside each of Changed: a data sector's tag root for RestoreSector, empty for a free sector
	Removed  []uint32 // sectors no longer named
}

// Accepted proves the account's standing: the report that it names becomes the base of the next draws.
type Accepted struct{ Standing Proof }

// AcceptedReply is what may be overwritten from now on.
type AcceptedReply struct {
	Counter  uint64
	Released []uint32
}

// RestoreBegin brings back the vault after a restart: the proven standing, the rows of its table in order and the orders that
// it names. A proof of absence begins an empty vault. Lost goes on from the standing with an empty disk: draws over the unknown
// table fail, for which Absent is enough, and the next report says Reset. Rows and orders that don't fit come ahead of it, in their order, in messages
// that say More; these need no proof.
type RestoreBegin struct {
	Standing Proof
	Entries  []byte // encoded entries, one after the other
	Orders   []Order
	More     bool
	Lost     bool // with the standing, without rows and orders: the disk is lost, begin empty and say so in the next report
}

// RestoreSector brings one data sector's header and directory, in parts; Last ends the sector. A sector that is not
// brought, or does not match its row, is lost: its draws fail and the next report leaves it out.
type RestoreSector struct {
	Sector    uint32
	Header    []byte   // with the first part
	TagRoot   [32]byte // with the first part, as ReportReply gave it beside the accepted row
	Directory []byte
	Last      bool
}

// RestoreSectorReply says whether the sector matched its row; it is meaningful with Last.
type RestoreSectorReply struct{ Matched bool }

// RestoreEnd ends it and tells what was lost.
type RestoreEnd struct{}

// RestoreEndReply names sectors and orders that did not come back, the first 2^17 of each. The orders are broken as after Lose.
type RestoreEndReply struct {
	LostSectors []uint32
	LostOrders  []uint64
}

// Lose admits that blocks of a sector can't be read any more; without CIDs, that the whole sector can't, which closes it. They can be
// sealed again elsewhere. An order that needs one of them is broken: the next report lets it go, unless it is completed again
// before. Blocks that don't lie in the sector are passed over. An enclave that is restarted knows nothing of it: a sector that
// matches its row holds all its blocks again, so of two sectors with a block the sound one is to be brought first.
type Lose struct {
	Sector uint32
	CIDs   [][]byte
}

// LoseReply names the orders that are broken by now and not dropped by the host, in rising order, the first 2^17 of them. One that no
// report has named is forgotten already; Complete holds it anew.
type LoseReply struct{ Orders []uint64 }

// Empty is the reply to requests that only succeed or fail.
type Empty struct{}

// Code says what kind of refusal an Error is, so that a host can act on it.
type Code uint16

const (
	CodeMalformed Code = 1 // the request can't be read
	CodeState     Code = 2 // not now: something must come first
	CodeInvalid   Code = 3 // a proof, signature or figure does not hold
	CodeFull      Code = 4 // the sector has no room for the block
	CodeMissing   Code = 5 // the vault does not know the block or sector
	CodeInternal  Code = 6 // the platform failed
)

// Error is a refusal.
type Error struct {
	Code    Code
	Message string
}

func (m *Error) Error() string { return m.Message }
