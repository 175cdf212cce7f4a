package wire

// Limits of single fields; a body as a whole is bounded by MaxBody.
const (
	maxChainID  = 64
	maxText     = 1 << 10   // of a version or an error
	maxHeader   = 4 << 10   // of a block header
	maxHeaders  = 1 << 10   // of one request
	maxValue    = 4 << 10   // of a proven value
	maxProof    = 512 << 10 // of one commitment proof
	maxEvidence = 64 << 10  // of evidence, a registration or the platform's own
	maxCID      = 64
	maxCells    = 1 << 20 // a run of 256 cells, which is also the largest block
	maxDigests  = 256 * 32
	maxTags     = 256 * 16
	maxPage     = 4 << 10
	maxPath     = 64 * 32 // hashes from a page to a root
	maxRow      = 1 << 10 // of a table row
	maxRecord   = 1 << 20 // of a directory record: it may name all links of a block
	maxCount    = 1 << 18 // elements of a list
)

func (m *Init) fields(c *codec) {
	c.string(&m.ChainID, maxChainID)
	c.array(m.Account[:])
	c.u64(&m.SectorSize)
	c.bytes(&m.Platform, maxEvidence)
	c.bytes(&m.Header, maxHeader)
	c.bytes(&m.Commit, MaxBody)
	c.bytes(&m.Validators, MaxBody)
}

func (m *InitReply) fields(c *codec) {
	c.string(&m.Version, maxText)
	c.u8(&m.Platform)
	c.array(m.PlatformID[:])
	c.array(m.Measurement[:])
	c.array(m.SignKey[:])
	c.array(m.KEMKey[:])
}

func (m *Follow) fields(c *codec) {
	c.byteses(&m.Headers, maxHeaders, maxHeader)
	c.bytes(&m.Commit, MaxBody)
	c.bytes(&m.Validators, MaxBody)
}

func (m *FollowReply) fields(c *codec) {
	c.height(&m.Height)
	c.array(m.Hash[:])
}

func (m *History) fields(c *codec) { c.byteses(&m.Headers, maxHeaders, maxHeader) }

func (m *HistoryReply) fields(c *codec) { c.height(&m.Height) }

func (m *Status) fields(*codec) {}

func (m *StatusReply) fields(c *codec) {
	c.height(&m.Height)
	c.height(&m.Oldest)
	c.u64(&m.Counter)
	c.height(&m.Drawn)
	c.u64(&m.Free)
	c.u64(&m.Stored)
	c.u32(&m.Orders)
	c.bool(&m.Restored)
}

func (m *Register) fields(*codec) {}

func (m *RegisterReply) fields(c *codec) {
	c.bytes(&m.Registration, maxEvidence)
	c.array(m.SigM[:])
}

func (m *Challenge) fields(c *codec) {
	c.bytes(&m.Registration, maxEvidence)
	c.array(m.SigM[:])
	m.Intent.fields(c)
}

func (m *ChallengeReply) fields(c *codec) {
	c.array(m.Nonce[:])
	c.bytes(&m.Evidence, maxEvidence)
}

func (m *Answer) fields(c *codec) {
	c.array(m.Nonce[:])
	c.bytes(&m.Evidence, maxEvidence)
	m.Endorser.fields(c)
	m.Intent.fields(c)
}

func (m *AnswerReply) fields(c *codec) { c.bytes(&m.Evidence, maxEvidence) }

func (m *Endorse) fields(c *codec) {
	c.array(m.Registration[:])
	c.bytes(&m.Evidence, maxEvidence)
}

func (m *EndorseReply) fields(c *codec) { c.array(m.SigV[:]) }

func (m *Confirm) fields(c *codec) { c.array(m.SigV[:]) }

func (m *ConfirmReply) fields(c *codec) { c.array(m.SigMV[:]) }

func (m *Fill) fields(c *codec) { c.u32(&m.Sector) }

func (m *FillReply) fields(c *codec) {
	c.u32(&m.First)
	c.bytes(&m.Cells, maxCells)
	c.bytes(&m.Digests, maxDigests)
	c.bool(&m.Done)
	c.bytes(&m.Entry, maxRow)
}

func (m *Open) fields(c *codec) { c.u32(&m.Sector) }

func (m *OpenReply) fields(c *codec) { c.bytes(&m.Header, maxPage) }

func (m *Seal) fields(c *codec) {
	c.u32(&m.Sector)
	c.bytes(&m.CID, maxCID)
	c.bytes(&m.Data, maxCells)
}

func (m *SealReply) fields(c *codec) {
	c.bool(&m.Known)
	c.u32(&m.Sector)
	c.u32(&m.Cell)
	c.u32(&m.Length)
	c.bytes(&m.Cells, maxCells)
	c.bytes(&m.Tags, maxTags)
	c.bytes(&m.Record, maxRecord)
}

func (m *Read) fields(c *codec) {
	c.bytes(&m.CID, maxCID)
	c.bytes(&m.Cells, maxCells)
	c.bytes(&m.Tags, maxTags)
}

func (m *ReadReply) fields(c *codec) { c.bytes(&m.Data, maxCells) }

func (m *Move) fields(c *codec) {
	c.bytes(&m.CID, maxCID)
	c.bytes(&m.Cells, maxCells)
	c.bytes(&m.Tags, maxTags)
	c.u32(&m.Sector)
}

func (m *Release) fields(c *codec) { c.u32s(&m.Sectors, maxCount) }

func (m *Order) fields(c *codec) {
	c.u64(&m.ID)
	c.bytes(&m.Root, maxCID)
	c.u64(&m.Size)
}

func (m *Complete) fields(c *codec) { m.Order.fields(c) }

func (m *CompleteReply) fields(c *codec) {
	c.u64(&m.Size)
	c.u64(&m.Blocks)
	c.bytes(&m.Missing, maxCID)
}

func (m *Drop) fields(c *codec) { c.u64s(&m.Orders, maxCount) }

func (m *Draw) fields(c *codec) {
	c.height(&m.Height)
	c.bool(&m.Absent)
	c.bytes(&m.Cell, maxPage)
	c.bytes(&m.Tag, maxPage)
	c.bytes(&m.Page, maxPage)
	c.bytes(&m.Path, maxPath)
}

func (m *DrawReply) fields(c *codec) { c.bool(&m.Answered) }

func (m *Report) fields(*codec) {}

func (m *ReportReply) fields(c *codec) {
	c.bytes(&m.Report, maxEvidence)
	c.array(m.Sig[:])
	c.byteses(&m.Changed, maxCount, maxRow)
	c.byteses(&m.TagRoots, maxCount, 32)
	c.u32s(&m.Removed, maxCount)
}

func (m *Accepted) fields(c *codec) { m.Standing.fields(c) }

func (m *AcceptedReply) fields(c *codec) {
	c.u64(&m.Counter)
	c.u32s(&m.Released, maxCount)
}

func (m *RestoreBegin) fields(c *codec) {
	m.Standing.fields(c)
	c.bytes(&m.Entries, MaxBody)
	list(c, &m.Orders, maxCount, 20, func(o *Order) { o.fields(c) })
	c.bool(&m.More)
	c.bool(&m.Lost)
}

func (m *RestoreSector) fields(c *codec) {
	c.u32(&m.Sector)
	c.bytes(&m.Header, maxPage)
	c.array(m.TagRoot[:])
	c.bytes(&m.Directory, MaxBody)
	c.bool(&m.Last)
}

func (m *RestoreSectorReply) fields(c *codec) { c.bool(&m.Matched) }

func (m *RestoreEnd) fields(*codec) {}

func (m *RestoreEndReply) fields(c *codec) {
	c.u32s(&m.LostSectors, maxCount)
	c.u64s(&m.LostOrders, maxCount)
}

func (m *Empty) fields(*codec) {}

func (m *Error) fields(c *codec) {
	c.u16((*uint16)(&m.Code))
	c.string(&m.Message, maxText)
}

func (m *Proof) fields(c *codec) {
	c.height(&m.Height)
	c.bytes(&m.Value, maxValue)
	c.bytes(&m.Store, maxProof)
	c.bytes(&m.Root, maxProof)
}

func (m *Lose) fields(c *codec) {
	c.u32(&m.Sector)
	c.byteses(&m.CIDs, maxCount, maxCID)
}

func (m *LoseReply) fields(c *codec) {
	c.u64s(&m.Orders, maxCount)
}
