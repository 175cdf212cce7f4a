package worker

import (
	"context"
	"testing"
	"time"

	"github.com/libp2p/go-libp2p/core/peer"

	"github.com/cella-network/cella/api/attest"
	"github.com/cella-network/cella/protocol/attestation"
	"github.com/cella-network/cella/protocol/storageproof"
)

// TestEndorsing joins a second node through the first, which the chain draws as its endorser, and renews both.
func TestEndorsing(t *testing.T) {
	c := newFakeChain(t)
	c.minEndorsers = 1
	c.registration = 60
	a, b := newOperator(t, c, 1, 4), newOperator(t, c, 2, 4)
	a.start()
	a.stands("the first node reports", func(st storageproof.Standing) bool { return st.Counter > 0 })
	b.start()
	b.stands("the second node reports", func(st storageproof.Standing) bool { return st.Counter > 0 })
	joined := func(o *operator) int64 { return c.nodes[o.account].Joined }
	first := look(c, func() attest.Node { return *c.nodes[b.account] })
	if first.Endorser != a.address {
		t.Fatalf("endorsed by %q, want the first node", first.Endorser)
	}
	was := look(c, func() int64 { return joined(a) })
	c.eventually("both are renewed, each by the other", func() bool {
		return joined(a) > was && c.nodes[a.account].Endorser == b.address && joined(b) > first.Joined && c.nodes[b.account].Endorser == a.address
	})
	if look(c, func() bool { return joined(b) >= first.Expires }) {
		t.Error("renewed only after the registration had ended")
	}
}

// TestStrangersAreNotEndorsed sends the endorser what it must refuse before its enclave hears of it.
func TestStrangersAreNotEndorsed(t *testing.T) {
	c := newFakeChain(t)
	v := newOperator(t, c, 1, 4)
	v.start()
	v.stands("reports", func(st storageproof.Standing) bool { return st.Counter > 0 })
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	r := attestation.Registration{ChainID: testChain, Account: [20]byte{9}, Trust: attestation.TrustRoot{Height: 1}}
	announced := func(in attest.Intent) {
		c.mu.Lock()
		defer c.mu.Unlock()
		in.Registration = r.Marshal()
		c.intents[r.Account] = &in
		c.putIntent(r.Account, &in)
	}
	other := newOperator(t, c, 3, 4)
	for _, test := range []struct {
		name  string
		setup func(me string)
		send  []byte
	}{
		{"nonsense", func(string) {}, []byte("hello")},
		{"no intent", func(string) {}, append(make([]byte, 64), r.Marshal()...)},
		{"another endorser was drawn", func(me string) {
			announced(attest.Intent{Endorser: other.address, Addrs: []string{me}, Announced: 1, Drawn: 1})
		}, append(make([]byte, 64), r.Marshal()...)},
		{"the intent names another peer", func(string) {
			announced(attest.Intent{Endorser: v.address, Addrs: other.content.Addrs(), Announced: 1, Drawn: 1})
		}, append(make([]byte, 64), r.Marshal()...)},
		{"R is not signed", func(me string) {
			announced(attest.Intent{Endorser: v.address, Addrs: []string{me}, Announced: 1, Drawn: 1})
		}, append(make([]byte, 64), r.Marshal()...)},
	} {
		stranger := newContent(t, nil)
		info, err := peer.AddrInfoFromString(v.content.Addrs()[0])
		if err != nil {
			t.Fatal(err)
		}
		if err := stranger.Host().Connect(ctx, *info); err != nil {
			t.Fatal(err)
		}
		test.setup(stranger.Addrs()[0])
		stream, err := stranger.Host().NewStream(ctx, info.ID, endorseProtocol)
		if err != nil {
			t.Fatal(err)
		}
		msgs := newMessages(ctx, stream)
		if err := msgs.send(test.send); err != nil {
			t.Fatal(err)
		}
		if p, err := msgs.receive(1); err == nil {
			t.Errorf("%s: answered with %d bytes", test.name, len(p))
		} else if ctx.Err() != nil {
			t.Fatalf("%s: no answer at all", test.name)
		}
	}
}
