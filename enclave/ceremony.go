package enclave

import (
	"github.com/cella-network/cella/enclave/keyholder"
	"github.com/cella-network/cella/enclave/wire"
	"github.com/cella-network/cella/protocol/beacon"
	"github.com/cella-network/cella/protocol/threshold"
)

// What proves that the chain says what the keyholder acts upon, and puts this enclave's name to its messages. All but sign runs in the
// slow lane, so it touches nothing of the node but keys, which has its own locks, chain behind trust, and what Init fixed.

// signs are the purposes for which heights are signed: those whose messages are threshold.Message.
const signs = beacon.Purpose

// maxStatements is how many bytes of messages one reply carries. The rest is told when the chain has accepted these.
const maxStatements = 1 << 20

func (n *node) ceremonyBegin(m *wire.CeremonyBegin) error {
	s := threshold.Setup{ID: threshold.ID{Purpose: m.Purpose, Epoch: m.Epoch, Attempt: m.Attempt}, Threshold: int(m.Threshold)}
	for _, seat := range m.Seats {
		s.Seats = append(s.Seats, threshold.Seat{Account: seat.Account, Shares: int(seat.Shares)})
	}
	if !m.Handover {
		return n.keys.Begin(s, nil)
	}
	return n.keys.Begin(s, &threshold.ID{Epoch: m.OldEpoch, Attempt: m.OldAttempt})
}

func (n *node) ceremonyFeed(m *wire.CeremonyFeed) (wire.FeedReply, error) {
	count, err := n.keys.Feed(m.Purpose, entries(m.Entries))
	return wire.FeedReply{Count: count}, err
}

func (n *node) ceremonyAct(m *wire.CeremonyAct) (wire.ActReply, error) {
	t, err := n.transcript(threshold.TranscriptKey(m.Purpose), m.Transcript)
	if err != nil {
		return wire.ActReply{}, err
	}
	a, err := n.keys.Act(m.Purpose, m.Transcript.Height, t)
	return n.statements(a), err
}

func (n *node) repairBegin(m *wire.RepairBegin) error {
	helpers := make([]int, len(m.Helpers))
	for i, seat := range m.Helpers {
		helpers[i] = int(seat)
	}
	return n.keys.BeginRepair(m.Purpose, m.Account, m.Attempt, int(m.Seat), helpers)
}

func (n *node) repairFeed(m *wire.RepairFeed) (wire.FeedReply, error) {
	count, err := n.keys.FeedRepair(m.Purpose, m.Account, entries(m.Entries))
	return wire.FeedReply{Count: count}, err
}

func (n *node) repairAct(m *wire.RepairAct) (wire.ActReply, error) {
	t, err := n.transcript(threshold.RepairKey(m.Purpose, m.Account), m.Transcript)
	if err != nil {
		return wire.ActReply{}, err
	}
	a, err := n.keys.ActRepair(m.Purpose, m.Account, m.Transcript.Height, t)
	return n.statements(a), err
}

func (n *node) settle(m *wire.Settle) (wire.SettleReply, error) {
	fail := func(err error) (wire.SettleReply, error) { return wire.SettleReply{}, err }
	if err := n.fresh(threshold.ChargeKey(m.Purpose), m.Charge); err != nil {
		return fail(err)
	}
	var charge *threshold.Charge
	if len(m.Charge.Value) > 0 {
		c, err := threshold.UnmarshalCharge(m.Charge.Value)
		if err != nil {
			return fail(err)
		}
		charge = &c
	}
	s, err := n.keys.Settle(m.Purpose, m.Charge.Height, charge, m.Group)
	return wire.SettleReply{Charged: s.Charged, Epoch: s.Epoch, Member: s.Member, Seat: uint16(s.Seat), Holds: s.Holds, Ready: s.Ready}, err
}

// sign runs in the short lane.
func (n *node) sign(m *wire.Sign) (wire.SignReply, error) {
	if m.Purpose != signs {
		return wire.SignReply{}, refuse(wire.CodeInvalid, "heights are not signed for the purpose %q", m.Purpose)
	}
	partials, err := n.keys.Sign(m.Purpose, n.chain.Head().Height, m.Epoch, m.Heights)
	return wire.SignReply{Partials: partials}, err
}

// transcript is a recently proven one.
func (n *node) transcript(key []byte, p wire.Proof) (threshold.Transcript, error) {
	if err := n.fresh(key, p); err != nil {
		return threshold.Transcript{}, err
	}
	return threshold.UnmarshalTranscript(p.Value)
}

// fresh checks that the committees' store held a value, or nothing, at a key not long ago.
func (n *node) fresh(key []byte, p wire.Proof) error {
	n.trust.RLock()
	defer n.trust.RUnlock()
	if err := n.recent(p); err != nil {
		return err
	}
	return n.proven(threshold.StoreName, key, p)
}

// statements puts this enclave's registered key to messages.
func (n *node) statements(a keyholder.Action) wire.ActReply {
	reply := wire.ActReply{Phase: uint8(a.Phase)}
	size := 0
	for _, message := range a.Messages {
		if size += len(message); size > maxStatements && len(reply.Messages) > 0 {
			break
		}
		reply.Messages = append(reply.Messages, wire.Statement{Message: message,
			Sig: n.id.signature(threshold.PostStatement(n.chainID, n.account, message))})
	}
	return reply
}

func entries(of []wire.Entry) []keyholder.Entry {
	out := make([]keyholder.Entry, len(of))
	for i, e := range of {
		out[i] = keyholder.Entry(e)
	}
	return out
}
