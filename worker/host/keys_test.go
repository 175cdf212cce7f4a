package host

import (
	"testing"

	"github.com/cella-network/cella/enclave/wire"
	"github.com/cella-network/cella/protocol/threshold"
)

type keptDeals map[int][]byte

func (m keptDeals) Keep(deal int, kept []byte) { m[deal] = kept }
func (m keptDeals) Kept(deal int) []byte       { return m[deal] }

// The real program makes a key and signs with it, behind its guards.
func TestKeysInTheRealProgram(t *testing.T) {
	e, err := Start(testContext(t), Options{Path: binary(t)})
	if err != nil {
		t.Fatal(err)
	}
	defer e.Close()
	c := newChain(t)
	must := func(req wire.Request, reply wire.Message) {
		t.Helper()
		if err := e.Call(testContext(t), req, reply); err != nil {
			t.Fatalf("%T: %v", req, err)
		}
	}
	must(c.init(1), new(wire.InitReply))
	put := func(key, value []byte) wire.Proof {
		t.Helper()
		from := c.height()
		c.put(threshold.StoreName, key, value)
		c.grow(2)
		must(c.follow(from), new(wire.FollowReply))
		return c.prove(threshold.StoreName, key)
	}
	const purpose = "beacon"
	account := [20]byte{1}
	setup := threshold.Setup{ID: threshold.ID{ChainID: chainID, Purpose: purpose, Epoch: 1}, Threshold: 5, Seats: []threshold.Seat{{Account: account, Shares: 7}}}
	ceremony, err := threshold.NewCeremony(setup, keptDeals{})
	if err != nil {
		t.Fatal(err)
	}
	must(&wire.CeremonyBegin{Purpose: purpose, Epoch: 1, Threshold: 5, Seats: []wire.Seat{{Account: account, Shares: 7}}}, &wire.Empty{})
	transcript := setup.Transcript()
	for {
		var act wire.ActReply
		must(&wire.CeremonyAct{Purpose: purpose, Transcript: put(threshold.TranscriptKey(purpose), transcript.Marshal())}, &act)
		if ceremony.Phase() == threshold.PhaseDone {
			break
		}
		var entries []wire.Entry
		for _, s := range act.Messages {
			if err := ceremony.Accept(account, s.Message); err != nil {
				t.Fatal(err)
			}
			transcript, entries = transcript.Accepted(account, s.Message), append(entries, wire.Entry{From: account, Message: s.Message})
		}
		if err := ceremony.Advance(); err != nil {
			t.Fatal(err)
		}
		transcript, entries = transcript.Advanced(), append(entries, wire.Entry{})
		must(&wire.CeremonyFeed{Purpose: purpose, Entries: entries}, new(wire.FeedReply))
	}
	g, err := ceremony.Group()
	if err != nil {
		t.Fatal(err)
	}
	charge := threshold.Charge{Epoch: 1, From: c.height(), Group: g.Hash()}
	var settled wire.SettleReply
	must(&wire.Settle{Purpose: purpose, Charge: put(threshold.ChargeKey(purpose), charge.Marshal()), Group: g.Marshal()}, &settled)
	if !settled.Holds || !settled.Ready {
		t.Fatalf("%+v", settled)
	}
	height := c.height() + 1
	var signed wire.SignReply
	must(&wire.Sign{Purpose: purpose, Epoch: 1, Heights: []int64{height}}, &signed)
	p, err := g.UnmarshalPartial(0, signed.Partials[0])
	if err != nil {
		t.Fatal(err)
	}
	if bad := g.Check(threshold.Message{ChainID: chainID, Epoch: 1, Height: height}.Marshal(), []threshold.Partial{p}); len(bad) > 0 {
		t.Error("the real program signs something else")
	}
}
