package wire

// MaxSeeds is how many seeds one request teaches.
const MaxSeeds = 10_000

// KindSeeds is the kind of Seeds.
const KindSeeds Kind = 5

// Seeds teaches the seeds of consecutive heights, by which draws are made. Before is beacon.Tip's hash at height From-1. With a Tip, the
// chain's proven one, the last of them is the tip's: From follows what is known already, or else the enclave forgets that and begins
// with these. Without one they end where the oldest seeds that it knows begin, as the chain of hashes from Before on shows.
type Seeds struct {
	Before [32]byte
	From   int64
	Seeds  [][32]byte
	Tip    Proof
}

// SeedsReply is which seeds are known now: all from Oldest to Tip, none if Oldest is above.
type SeedsReply struct {
	Oldest int64
	Tip    int64
}

// Kind tells that it is a Seeds.
func (*Seeds) Kind() Kind { return KindSeeds }

func (m *Seeds) fields(c *codec) {
	c.array(m.Before[:])
	c.height(&m.From)
	list(c, &m.Seeds, MaxSeeds, len(m.Before), func(s *[32]byte) { c.array(s[:]) })
	m.Tip.fields(c)
}

func (m *SeedsReply) fields(c *codec) {
	c.height(&m.Oldest)
	c.height(&m.Tip)
}
