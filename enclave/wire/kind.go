package wire

// Request is a message that the host sends.
type Request interface {
	Message
	Kind() Kind
}

// Reply is the kind of the reply to a request of this kind.
func (k Kind) Reply() Kind { return k | kindReply }

// Bulk says that requests of this kind move whole runs of cells: they wait in a lane of their own, so that they never delay a
// short request.
func (k Kind) Bulk() bool {
	switch k {
	case KindFill, KindSeal, KindRead, KindMove:
		return true
	}
	return false
}

// Into is a reply to decode whose bytes shall lie in Buf, which saves fresh memory for each run of cells: they hold until Buf is used
// again. Cells then begin on a page, as writing past a page cache wants it. A reply that Buf has no room for lies in
// memory of its own.
type Into struct {
	Message
	Buf []byte
}

// IntoSize is a length of Into.Buf that has room for any run of cells, except in one case: a block with very many links.
const IntoSize = maxCells + 32<<10

// CellsAt is where in a reply of this kind the cells begin; 0 for kinds without.
func (k Kind) CellsAt() int {
	switch k {
	case KindSeal.Reply(), KindMove.Reply():
		return 1 + 3*4 + 4
	case KindFill.Reply():
		return 4 + 4
	}
	return 0
}

// NewRequest returns an empty request of the kind to decode into, or nil for a kind that no host sends.
func NewRequest(k Kind) Request {
	switch k {
	case KindInit:
		return new(Init)
	case KindFollow:
		return new(Follow)
	case KindHistory:
		return new(History)
	case KindStatus:
		return new(Status)
	case KindSeeds:
		return new(Seeds)
	case KindRegister:
		return new(Register)
	case KindChallenge:
		return new(Challenge)
	case KindAnswer:
		return new(Answer)
	case KindEndorse:
		return new(Endorse)
	case KindConfirm:
		return new(Confirm)
	case KindFill:
		return new(Fill)
	case KindOpen:
		return new(Open)
	case KindSeal:
		return new(Seal)
	case KindRead:
		return new(Read)
	case KindMove:
		return new(Move)
	case KindRelease:
		return new(Release)
	case KindComplete:
		return new(Complete)
	case KindDrop:
		return new(Drop)
	case KindDraw:
		return new(Draw)
	case KindReport:
		return new(Report)
	case KindAccepted:
		return new(Accepted)
	case KindRestoreBegin:
		return new(RestoreBegin)
	case KindRestoreSector:
		return new(RestoreSector)
	case KindRestoreEnd:
		return new(RestoreEnd)
	case KindLose:
		return new(Lose)
	case KindAuditBegin:
		return new(AuditBegin)
	case KindAuditBlock:
		return new(AuditBlock)
	case KindAuditEnd:
		return new(AuditEnd)
	case KindCeremonyBegin:
		return new(CeremonyBegin)
	case KindCeremonyFeed:
		return new(CeremonyFeed)
	case KindCeremonyAct:
		return new(CeremonyAct)
	case KindRepairBegin:
		return new(RepairBegin)
	case KindRepairFeed:
		return new(RepairFeed)
	case KindRepairAct:
		return new(RepairAct)
	case KindSettle:
		return new(Settle)
	case KindSign:
		return new(Sign)
	}
	return nil
}

// The reply to each request is the type of its name with Reply; Move is answered with a SealReply; AuditBegin
// and AuditBlock with an AuditReply; CeremonyFeed and RepairFeed with a FeedReply; CeremonyAct and RepairAct with an ActReply;
// Release, Drop, RestoreBegin, CeremonyBegin and RepairBegin with Empty.

func (*Init) Kind() Kind          { return KindInit }
func (*Follow) Kind() Kind        { return KindFollow }
func (*History) Kind() Kind       { return KindHistory }
func (*Status) Kind() Kind        { return KindStatus }
func (*Register) Kind() Kind      { return KindRegister }
func (*Challenge) Kind() Kind     { return KindChallenge }
func (*Answer) Kind() Kind        { return KindAnswer }
func (*Endorse) Kind() Kind       { return KindEndorse }
func (*Confirm) Kind() Kind       { return KindConfirm }
func (*Fill) Kind() Kind          { return KindFill }
func (*Open) Kind() Kind          { return KindOpen }
func (*Seal) Kind() Kind          { return KindSeal }
func (*Read) Kind() Kind          { return KindRead }
func (*Move) Kind() Kind          { return KindMove }
func (*Release) Kind() Kind       { return KindRelease }
func (*Complete) Kind() Kind      { return KindComplete }
func (*Drop) Kind() Kind          { return KindDrop }
func (*Draw) Kind() Kind          { return KindDraw }
func (*Report) Kind() Kind        { return KindReport }
func (*Accepted) Kind() Kind      { return KindAccepted }
func (*RestoreBegin) Kind() Kind  { return KindRestoreBegin }
func (*RestoreSector) Kind() Kind { return KindRestoreSector }
func (*RestoreEnd) Kind() Kind    { return KindRestoreEnd }
func (*Lose) Kind() Kind          { return KindLose }
