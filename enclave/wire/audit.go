package wire

const (
	KindAuditBegin Kind = 50
	KindAuditBlock Kind = 51
	KindAuditEnd   Kind = 52
)

// AuditBegin proves an audit.Case that names this enclave as an auditor. Said again, it tells which block is asked for now.
type AuditBegin struct{ Case Proof }

// AuditReply names the next block to fetch from the holder by its CID; empty when the walk is over.
type AuditReply struct{ CID []byte }

// AuditBlock brings the block that was asked for. It is answered with an AuditReply.
type AuditBlock struct {
	Case uint64
	Data []byte
}

// AuditEnd asks for the verdict: once the walk is over, or once the holder had its time. Said again, it gets the same one.
type AuditEnd struct{ Case uint64 }

// AuditEndReply is an encoded audit.Verdict and its signature.
type AuditEndReply struct {
	Verdict []byte
	Sig     [64]byte
}

func (*AuditBegin) Kind() Kind { return KindAuditBegin }
func (*AuditBlock) Kind() Kind { return KindAuditBlock }
func (*AuditEnd) Kind() Kind   { return KindAuditEnd }

func (m *AuditBegin) fields(c *codec) { m.Case.fields(c) }

func (m *AuditReply) fields(c *codec) { c.bytes(&m.CID, maxCID) }

func (m *AuditBlock) fields(c *codec) {
	c.u64(&m.Case)
	c.bytes(&m.Data, maxCells)
}

func (m *AuditEnd) fields(c *codec) { c.u64(&m.Case) }

func (m *AuditEndReply) fields(c *codec) {
	c.bytes(&m.Verdict, maxValue)
	c.array(m.Sig[:])
}
