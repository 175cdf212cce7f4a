package enclave

import (
	"crypto/rand"
	"math/big"

	"github.com/cella-network/cella/enclave/vault"
	"github.com/cella-network/cella/enclave/wire"
	"github.com/cella-network/cella/protocol/audit"
	"github.com/cella-network/cella/protocol/storageproof"
)

// maxAudits bounds the walks that are remembered. The chain draws no more for one node within a deadline, unless its rules ask for
// many times what they should.
const maxAudits = 256

// audits are the walks of cases whose deadline the trusted head has not passed, by case.
type audits map[uint64]*walk

// walk is one secret path through an order's blocks: see package protocol/audit.
type walk struct {
	c     audit.Case
	want  storageproof.BlockKey // the block that was asked for last
	depth int                   // blocks that came
	bytes uint64
	from  int64
	to    int64 // trusted head when the walk ended; 0 before
	reply *wire.AuditEndReply
}

// auditBegin begins the walk of a case that the chain drew this very enclave for.
func (n *node) auditBegin(m *wire.AuditBegin) (wire.AuditReply, error) {
	fail := func(err error) (wire.AuditReply, error) { return wire.AuditReply{}, err }
	c, err := audit.UnmarshalCase(m.Case.Value)
	if err != nil {
		return fail(refuse(wire.CodeMalformed, "%v", err))
	}
	if err := n.proven(audit.StoreName, audit.CaseKey(c.ID), m.Case); err != nil {
		return fail(err)
	}
	head := n.chain.Head().Height
	for id, w := range n.audits {
		if head > w.c.Deadline {
			delete(n.audits, id)
		}
	}
	if w := n.audits[c.ID]; w != nil {
		return w.next(), nil
	}
	if head > c.Deadline {
		return fail(refuse(wire.CodeState, "the deadline of case %d was block %d", c.ID, c.Deadline))
	}
	if a, ok := c.Auditor(n.account); !ok || a.Key != n.id.sign {
		return fail(refuse(wire.CodeInvalid, "case %d was not drawn for this enclave", c.ID))
	}
	if len(n.audits) == maxAudits {
		return fail(refuse(wire.CodeState, "%d audits are under way", maxAudits))
	}
	root, err := storageproof.ParseBlockKey(c.Root)
	if err != nil {
		return fail(refuse(wire.CodeMalformed, "%v", err))
	}
	if n.audits == nil {
		n.audits = audits{}
	}
	w := &walk{c: c, want: root, from: head}
	n.audits[c.ID] = w
	return w.next(), nil
}

// auditBlock takes the block that was asked for and picks the next one, each link with the same chance. The host learns the choice only
// now, and has no second one.
func (n *node) auditBlock(m *wire.AuditBlock) (wire.AuditReply, error) {
	fail := func(err error) (wire.AuditReply, error) { return wire.AuditReply{}, err }
	w := n.audits[m.Case]
	if w == nil {
		return fail(refuse(wire.CodeState, "AuditBegin comes first"))
	}
	if w.to != 0 {
		return fail(refuse(wire.CodeState, "the walk of case %d is over", m.Case))
	}
	links, err := vault.Links(w.want, m.Data)
	if err != nil {
		return fail(refuse(wire.CodeInvalid, "%v", err))
	}
	chosen := 0
	if len(links) > 1 {
		at, err := rand.Int(rand.Reader, big.NewInt(int64(len(links))))
		if err != nil {
			return fail(refuse(wire.CodeInternal, "no randomness: %v", err))
		}
		chosen = int(at.Int64())
	}
	w.depth++
	w.bytes += uint64(len(m.Data))
	if len(links) == 0 || w.depth == audit.MaxDepth {
		w.to = n.chain.Head().Height
	} else {
		w.want = links[chosen]
	}
	return w.next(), nil
}

// auditEnd signs what came of the walk, once. Without the block that was asked for it waits until the holder had its time by the trusted
// head, so that a host which keeps blocks from its enclave can't shorten it.
func (n *node) auditEnd(m *wire.AuditEnd) (wire.AuditEndReply, error) {
	w := n.audits[m.Case]
	if w == nil {
		return wire.AuditEndReply{}, refuse(wire.CodeState, "AuditBegin comes first")
	}
	if w.reply != nil {
		return *w.reply, nil
	}
	v := audit.Verdict{ChainID: n.chainID, Case: w.c.ID, Auditor: n.account, Holder: w.c.Holder, Order: w.c.Order,
		Reason: audit.ReasonOK, Block: w.want.CID(), Bytes: w.bytes, From: w.from, To: w.to}
	switch {
	case w.to == 0:
		v.Reason, v.To = audit.ReasonMissing, n.chain.Head().Height
		if v.To-v.From <= w.c.Answer {
			return wire.AuditEndReply{}, refuse(wire.CodeState, "the holder has until block %d", v.From+w.c.Answer)
		}
		w.to = v.To
	case w.to-w.from > w.c.Answer:
		v.Reason = audit.ReasonSlow
	}
	encoded := v.Marshal()
	w.reply = &wire.AuditEndReply{Verdict: encoded, Sig: n.id.signature(encoded)}
	return *w.reply, nil
}

// next is the block to fetch, nothing when the walk is over.
func (w *walk) next() wire.AuditReply {
	if w.to != 0 {
		return wire.AuditReply{}
	}
	return wire.AuditReply{CID: w.want.CID()}
}
