package worker

import (
	"context"
	"crypto/ed25519"
	"errors"
	"slices"

	sdk "github.com/cosmos/cosmos-sdk/types"
	"google.golang.org/grpc"

	"github.com/cella-network/cella/api/committee"
	"github.com/cella-network/cella/client"
	"github.com/cella-network/cella/protocol/threshold"
)

// fakeCommittee is the chain's part of a group's life by the rules of protocol/threshold; tests end its phases. All is guarded by the
// chain's lock.
type fakeCommittee struct {
	committee.QueryClient
	c *fakeChain

	setup      threshold.Setup
	ceremony   *threshold.Ceremony
	transcript threshold.Transcript
	entries    []committee.Entry
	charge     *threshold.InCharge

	repair        *threshold.Repair
	shown         committee.Repair
	mended        threshold.Transcript
	repairEntries []committee.Entry
	asks          int

	posts   map[string]int // of each member in this phase
	refuses int            // posts that are refused before the next is taken
	deaf    string         // to this member
	refused []error
}

type keptDeals map[int][]byte

func (m keptDeals) Keep(deal int, kept []byte) { m[deal] = kept }
func (m keptDeals) Kept(deal int) []byte       { return m[deal] }

func (f *fakeCommittee) put(key []byte, value []byte) { f.c.kv(threshold.StoreName).Set(key, value) }

// begin begins a ceremony in place of any other.
func (f *fakeCommittee) begin(setup threshold.Setup) {
	f.c.mu.Lock()
	defer f.c.mu.Unlock()
	var err error
	if f.ceremony, err = threshold.NewCeremony(setup, keptDeals{}); err != nil {
		f.c.t.Fatal(err)
	}
	f.setup, f.transcript, f.entries, f.posts = setup, setup.Transcript(), nil, map[string]int{}
	f.put(threshold.TranscriptKey(keyPurpose), f.transcript.Marshal())
}

// advance ends the phase of the ceremony; a group that comes out of it is in charge.
func (f *fakeCommittee) advance() threshold.Phase {
	f.c.mu.Lock()
	defer f.c.mu.Unlock()
	if err := f.ceremony.Advance(); err != nil {
		f.c.t.Fatal(err)
	}
	f.transcript, f.entries, f.posts = f.transcript.Advanced(), append(f.entries, committee.Entry{}), map[string]int{}
	f.put(threshold.TranscriptKey(keyPurpose), f.transcript.Marshal())
	if f.ceremony.Phase() == threshold.PhaseDone {
		g, err := f.ceremony.Group()
		if err != nil {
			f.c.t.Fatal(err)
		}
		f.appoint(threshold.Charge{Epoch: g.ID.Epoch, From: int64(len(f.c.headers)) + 3}, g)
	}
	return f.ceremony.Phase()
}

func (f *fakeCommittee) appoint(c threshold.Charge, g *threshold.Group) {
	c.Group = g.Hash()
	f.charge = &threshold.InCharge{Charge: c, Keys: g}
	f.put(threshold.ChargeKey(keyPurpose), c.Marshal())
}

func (f *fakeCommittee) confirm() {
	f.c.mu.Lock()
	defer f.c.mu.Unlock()
	c := f.charge.Charge
	c.Confirmed = true
	f.appoint(c, f.charge.Keys)
}

// advanceRepair ends the phase of the repair.
func (f *fakeCommittee) advanceRepair() threshold.Phase {
	f.c.mu.Lock()
	defer f.c.mu.Unlock()
	if err := f.repair.Advance(); err != nil {
		f.c.t.Fatal(err)
	}
	f.mended, f.repairEntries, f.posts = f.mended.Advanced(), append(f.repairEntries, committee.Entry{}), map[string]int{}
	f.putRepair()
	return f.repair.Phase()
}

func (f *fakeCommittee) putRepair() {
	account, _ := client.DecodeAddress(f.shown.Account)
	f.put(threshold.RepairKey(keyPurpose, account), f.mended.Marshal())
}

// execute takes a member's message.
func (f *fakeCommittee) execute(m sdk.Msg) error {
	if f.refuses > 0 {
		f.refuses--
		return &client.Error{Kind: client.KindRefused, What: "not now"}
	}
	var err error
	switch m := m.(type) {
	case *committee.MsgPost:
		err = f.take(m.Member, m.Messages, func(from [20]byte, message []byte) error {
			if f.ceremony.Phase() >= threshold.PhaseDone {
				return f.admit(from, message)
			}
			if err := f.ceremony.Accept(from, message); err != nil {
				return err
			}
			f.transcript, f.entries = f.transcript.Accepted(from, message), append(f.entries, committee.Entry{From: m.Member, Message: message})
			f.put(threshold.TranscriptKey(keyPurpose), f.transcript.Marshal())
			return nil
		})
	case *committee.MsgPostRepair:
		err = f.take(m.Member, m.Messages, func(from [20]byte, message []byte) error {
			if f.repair.Phase() == threshold.PhaseDone {
				return f.admit(from, message)
			}
			if err := f.repair.Accept(from, message); err != nil {
				return err
			}
			f.mended, f.repairEntries = f.mended.Accepted(from, message), append(f.repairEntries, committee.Entry{From: m.Member, Message: message})
			f.putRepair()
			return nil
		})
	case *committee.MsgAskRepair:
		err = f.ask(m)
	}
	if err != nil {
		f.refused = append(f.refused, err)
	}
	return err
}

func (f *fakeCommittee) take(member string, messages []committee.Signed, accept func([20]byte, []byte) error) error {
	from, err := client.DecodeAddress(member)
	if err != nil {
		return err
	}
	if member == f.deaf {
		return errors.New("not heard")
	}
	for _, s := range messages {
		if n := f.c.nodes[from]; n == nil || !ed25519.Verify(n.SignKey, threshold.PostStatement(testChain, from, s.Message), s.Signature) {
			return errors.New("not by the registered enclave")
		}
		if err := accept(from, s.Message); err != nil {
			return err
		}
		f.posts[member]++
	}
	return nil
}

func (f *fakeCommittee) admit(from [20]byte, message []byte) error {
	g, err := threshold.UnmarshalGroup(f.charge.Keys.Marshal())
	if err == nil {
		err = g.Admit(from, message)
	}
	if err == nil {
		f.appoint(f.charge.Charge, g)
	}
	return err
}

func (f *fakeCommittee) ask(m *committee.MsgAskRepair) (err error) {
	if m.Epoch != f.charge.Epoch {
		return errors.New("another epoch is in charge")
	}
	account, err := client.DecodeAddress(m.Member)
	if err != nil {
		return err
	}
	var helpers []int
	seat := -1
	f.shown = committee.Repair{Account: m.Member, Attempt: uint32(f.asks), Epoch: m.Epoch}
	for i, s := range f.charge.Keys.Seats {
		if s.Account == account {
			seat, f.shown.Seat = i, uint32(i)
		} else {
			helpers, f.shown.Helpers = append(helpers, i), append(f.shown.Helpers, uint32(i))
		}
	}
	if f.repair, err = threshold.NewRepair(f.charge.Keys, uint32(f.asks), seat, helpers); err != nil {
		return err
	}
	f.asks++
	f.mended, f.repairEntries, f.posts = f.repair.Transcript(), nil, map[string]int{}
	f.putRepair()
	return nil
}

// The fake's queries. Pages are short, so that there is more than one.

const fakePage = 2

func (f *fakeCommittee) Charge(context.Context, *committee.QueryChargeRequest, ...grpc.CallOption) (*committee.QueryChargeResponse, error) {
	return look(f.c, func() *committee.QueryChargeResponse {
		if f.charge == nil {
			return &committee.QueryChargeResponse{}
		}
		return &committee.QueryChargeResponse{Charge: &committee.Charge{Epoch: f.charge.Epoch, From: f.charge.From, Confirmed: f.charge.Confirmed,
			Group: f.charge.Keys.Marshal()}}
	}), nil
}

func page2(entries []committee.Entry, from uint64) []committee.Entry {
	if from >= uint64(len(entries)) {
		return nil
	}
	return slices.Clone(entries[from:min(from+fakePage, uint64(len(entries)))])
}

func (f *fakeCommittee) Ceremony(_ context.Context, r *committee.QueryCeremonyRequest, _ ...grpc.CallOption) (*committee.QueryCeremonyResponse, error) {
	return look(f.c, func() *committee.QueryCeremonyResponse {
		if f.ceremony == nil {
			return &committee.QueryCeremonyResponse{}
		}
		s := committee.Setup{Purpose: keyPurpose, Epoch: f.setup.ID.Epoch, Attempt: f.setup.ID.Attempt, Threshold: uint32(f.setup.Threshold)}
		for _, seat := range f.setup.Seats {
			address, _ := client.EncodeAddress(seat.Account[:])
			s.Seats = append(s.Seats, committee.Seat{Account: address, Shares: uint32(seat.Shares)})
		}
		if f.setup.Old != nil {
			s.Old = f.setup.Old.Marshal()
		}
		return &committee.QueryCeremonyResponse{Ceremony: &committee.Ceremony{Setup: s, Count: f.transcript.Count}, Entries: page2(f.entries, r.From)}
	}), nil
}

func (f *fakeCommittee) Repairs(context.Context, *committee.QueryRepairsRequest, ...grpc.CallOption) (*committee.QueryRepairsResponse, error) {
	return look(f.c, func() *committee.QueryRepairsResponse {
		if f.repair == nil {
			return &committee.QueryRepairsResponse{}
		}
		return &committee.QueryRepairsResponse{Repairs: []committee.Repair{f.shown}}
	}), nil
}

func (f *fakeCommittee) Repair(_ context.Context, r *committee.QueryRepairRequest, _ ...grpc.CallOption) (*committee.QueryRepairResponse, error) {
	return look(f.c, func() *committee.QueryRepairResponse {
		return &committee.QueryRepairResponse{Repair: &f.shown, Entries: page2(f.repairEntries, r.From)}
	}), nil
}

// first waits until there is a charge, and returns the first height that it signs.
func (f *fakeCommittee) first(ctx context.Context) int64 {
	for height := int64(1); f.c.Wait(ctx, height) == nil; height++ {
		if at := look(f.c, func() int64 {
			if f.charge == nil {
				return 0
			}
			return f.charge.From
		}); at > 0 {
			return at
		}
	}
	return 0
}
