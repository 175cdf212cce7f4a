package worker

import (
	"context"
	"crypto/rand"
	"log/slog"
	"testing"

	"google.golang.org/grpc"
	"google.golang.org/grpc/metadata"

	"github.com/cella-network/cella/api/committee"
	"github.com/cella-network/cella/client"
	"github.com/cella-network/cella/enclave/wire"
	"github.com/cella-network/cella/protocol/threshold"
)

// lateAdmission is a chain that has one group after block 7 and, because a seat that was silent has shown its keys, another after block 8.
type lateAdmission struct {
	Chain
	committee.QueryClient
	then, now *threshold.Group
}

func (l lateAdmission) Value(_ context.Context, _ string, _ []byte, height int64) (client.Proof, error) {
	return client.Proof{Height: height, Value: threshold.Charge{Epoch: 1, From: 9, Group: l.then.Hash()}.Marshal()}, nil
}

func (l lateAdmission) Charge(ctx context.Context, _ *committee.QueryChargeRequest, _ ...grpc.CallOption) (*committee.QueryChargeResponse, error) {
	g := l.now
	if md, _ := metadata.FromOutgoingContext(ctx); len(md["x-cosmos-block-height"]) == 1 && md["x-cosmos-block-height"][0] == "7" {
		g = l.then
	}
	return &committee.QueryChargeResponse{Charge: &committee.Charge{Epoch: 1, Group: g.Marshal()}}, nil
}

// agreeable is an enclave that takes whatever it is shown.
type agreeable struct{ Enclave }

func (agreeable) Call(context.Context, wire.Request, wire.Message) error { return nil }

// The enclave hears of its charge also in the block in which a late message changes the group.
func TestSettleBesideAnAdmission(t *testing.T) {
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	setup := threshold.Setup{ID: threshold.ID{ChainID: testChain, Purpose: keyPurpose, Epoch: 1}, Threshold: 1,
		Seats: []threshold.Seat{{Account: [20]byte{1}, Shares: 1}, {Account: [20]byte{2}, Shares: 1}}}
	c, err := threshold.NewCeremony(setup, keptDeals{})
	must(err)
	var members [2]*threshold.Member
	var message []byte
	for i, s := range setup.Seats {
		members[i], message, err = threshold.Join(setup, i, rand.Reader)
		must(err)
		must(c.Accept(s.Account, message))
	}
	must(c.Advance())
	message, err = threshold.DealFresh(c, 0, rand.Reader)
	must(err)
	must(c.Accept(setup.Seats[0].Account, message))
	must(c.Advance())
	for _, m := range members {
		_, err = m.Open(c, 0, rand.Reader)
		must(err)
	}
	must(c.Advance())
	var ready [2][]byte
	for i, m := range members {
		_, ready[i], err = m.Finish(c)
		must(err)
	}
	must(c.Accept(setup.Seats[0].Account, ready[0]))
	must(c.Advance())
	chain := lateAdmission{}
	chain.then, err = c.Group()
	must(err)
	chain.now, err = c.Group()
	must(err)
	must(chain.now.Admit(setup.Seats[1].Account, ready[1]))

	w := New(Options{Log: slog.New(slog.DiscardHandler), Chain: chain, Queries: Queries{Committee: chain}})
	k := &keyring{session: &session{Worker: w, enc: agreeable{}}}
	if err := k.settle(t.Context(), 7); err != nil {
		t.Error("the enclave does not hear of its charge:", err)
	}
}
