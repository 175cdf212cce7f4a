package worker

import (
	"bytes"
	"maps"
	"slices"
	"testing"

	"github.com/ipfs/go-cid"
	"github.com/multiformats/go-multihash"

	"github.com/cella-network/cella/api/market"
	rules "github.com/cella-network/cella/protocol/market"
	"github.com/cella-network/cella/protocol/storageproof"
	"github.com/cella-network/cella/worker/disk"
)

func (c *fakeChain) height() int64 { return look(c, func() int64 { return int64(len(c.headers)) }) }

// TestRefusedForGood holds that a node does not ask again and again for an order that the chain never gives it.
func TestRefusedForGood(t *testing.T) {
	c := newFakeChain(t)
	o, owner := newOperator(t, c, 1, 6), newOwner(t, c)
	o.start()
	o.stands("the first report", func(st storageproof.Standing) bool { return st.Counter > 0 })
	c.mu.Lock()
	c.never[1] = true
	c.mu.Unlock()
	f := owner.order(10_000, 1)
	c.eventually("it asks", func() bool { return c.accepts[f.order] == 1 })
	from := c.height()
	c.eventually("it asks for the fourth time", func() bool { return c.accepts[f.order] == 4 })
	if n := c.height() - from; n < 70 {
		t.Errorf("three more attempts in %d blocks", n)
	}
	c.mu.Lock()
	clear(c.never)
	c.mu.Unlock()
	o.proves(f.order) // it was not for good after all
}

// TestOneOfEachFile holds that a node does not ask for a second copy, nor for a second part, of a file of one owner: the chain wants them
// apart.
func TestOneOfEachFile(t *testing.T) {
	c := newFakeChain(t)
	o, owner := newOperator(t, c, 1, 6), newOwner(t, c)
	whole := owner.order(10_000, 1)
	of := c.orders[owner.order(60_000, 1).order].Root
	order := func(who string, of []byte) uint64 { // of one's own file
		f := owner.order(10_000, 1)
		c.end(f.order)
		return c.placeOrder(rules.Order{Owner: who, Root: f.root.Bytes(), Size: f.size, Replicas: 1, Addrs: owner.node.Addrs(), Of: of})
	}
	part := order("owner", of)
	o.start()
	o.proves(whole.order)
	o.proves(part)
	again := c.placeOrder(rules.Order{Owner: "owner", Root: whole.root.Bytes(), Size: whole.size, Replicas: 1, Addrs: owner.node.Addrs()})
	other := order("owner", of)
	// What another owner orders is another file.
	o.proves(c.placeOrder(rules.Order{Owner: "somebody else", Root: whole.root.Bytes(), Size: whole.size, Replicas: 1, Addrs: owner.node.Addrs()}))
	o.proves(order("somebody else", of))
	for _, id := range []uint64{again, other} {
		if n := look(c, func() int { return c.accepts[id] }); n != 0 {
			t.Errorf("asked %d times for order %d", n, id)
		}
	}
}

// TestOrderThatCannotBeFetched holds that orders whose owner is gone are given up, and don't stand in the way of others meanwhile.
func TestOrderThatCannotBeFetched(t *testing.T) {
	c := newFakeChain(t)
	o, owner := newOperator(t, c, 1, 12), newOwner(t, c)
	o.hurry = true
	var ids []uint64
	for i := range byte(2 * fetchers) {
		sum, err := multihash.Sum([]byte{i}, multihash.SHA2_256, -1)
		if err != nil {
			t.Fatal(err)
		}
		ids = append(ids, c.place(cid.NewCidV1(cid.Raw, sum).Bytes(), 1000, 1, nil))
	}
	o.start()
	c.eventually("all are accepted", func() bool {
		return !slices.ContainsFunc(ids, func(id uint64) bool { return len(c.replicas[id]) == 0 })
	})
	f := owner.order(300_000, 1)
	o.proves(f.order)
	c.eventually("they are given up", func() bool {
		s := o.store.current()
		return o.log.says("order given up") && len(s.held.list(fetching)) == 0
	})
	before := look(c, func() map[uint64]int { return maps.Clone(c.accepts) })
	c.mu.Lock()
	for _, id := range ids {
		delete(c.replicas, id) // their acceptance lapses
	}
	c.mu.Unlock()
	from := c.height()
	c.eventually("blocks pass", func() bool { return int64(len(c.headers)) > from+20 })
	if after := look(c, func() map[uint64]int { return maps.Clone(c.accepts) }); !maps.Equal(before, after) {
		t.Errorf("asked for them again: %v, then %v", before, after)
	}
}

// TestDraining holds that a node whose operator wants to leave makes no offer and takes no order, over a restart too, goes on proving, and
// offers space again when the operator thinks better of it.
func TestDraining(t *testing.T) {
	c := newFakeChain(t)
	o, owner := newOperator(t, c, 1, 6), newOwner(t, c)
	o.start()
	f := owner.order(300_000, 1)
	o.proves(f.order)
	c.mu.Lock() // as MsgDrain does, even before the node hears of it
	delete(c.asks, o.address)
	r := c.replicas[f.order][o.address]
	r.Leaving = true
	c.replicas[f.order][o.address] = r
	c.mu.Unlock()
	c.eventually("the node knows", func() bool { return o.log.says("draining: no offers are made") })
	if err := disk.MarkDraining.Set(o.dir); err != nil {
		t.Fatal(err)
	}
	late := owner.order(200_000, 1)
	o.stop()
	o.start()
	at := look(c, func() storageproof.Standing { return *c.standing(o.account) })
	o.stands("it goes on proving", func(st storageproof.Standing) bool { return st.Counter > at.Counter+3 && st.Failed == 0 })
	c.mu.Lock() // the successor has proven
	delete(c.replicas[f.order], o.address)
	c.orders[f.order] = rules.Order{ID: f.order, Closed: true}
	c.mu.Unlock()
	o.stands("the order is let go", func(st storageproof.Standing) bool { return st.Stored == 0 })
	if look(c, func() bool { return len(c.asks) > 0 || c.accepts[late.order] > 0 }) {
		t.Error("offered space, or took an order")
	}
	if err := disk.MarkDraining.Clear(o.dir); err != nil {
		t.Fatal(err)
	}
	o.proves(late.order)
	if !look(c, func() bool { return c.asks[o.address].Price == 10 }) {
		t.Error("its offer does not stand again")
	}
}

// TestDrainedNodeStaysAway holds that a node which was drained and has left does not join again until its operator wants that.
func TestDrainedNodeStaysAway(t *testing.T) {
	c := newFakeChain(t)
	o := newOperator(t, c, 1, 4)
	o.start()
	o.stands("the first report", func(st storageproof.Standing) bool { return st.Counter > 0 })
	o.stop()
	if err := disk.MarkDraining.Set(o.dir); err != nil {
		t.Fatal(err)
	}
	c.leave(o.account)
	left := c.height()
	c.eventually("a block has it", func() bool { return int64(len(c.headers)) > left+1 })
	o.start()
	c.eventually("it stays away", func() bool { return o.log.says("it does not join again") })
	from := c.height()
	c.eventually("blocks pass", func() bool { return int64(len(c.headers)) > from+20 })
	if look(c, func() bool { return c.nodes[o.account] != nil }) {
		t.Error("joined again")
	}
	if err := disk.MarkDraining.Clear(o.dir); err != nil {
		t.Fatal(err)
	}
	c.eventually("it joins again", func() bool { return c.nodes[o.account] != nil })
}

// TestWarningsAreTold holds that each warning that stands is logged once, with its deadline, and its end too.
func TestWarningsAreTold(t *testing.T) {
	c := newFakeChain(t)
	o := newOperator(t, c, 1, 4)
	o.start()
	o.stands("the first report", func(st storageproof.Standing) bool { return st.Counter > 0 })
	c.mu.Lock()
	c.conduct = market.Conduct{Warned: 100, Silent: 200, AuditWarned: 300}
	c.mu.Unlock()
	for _, want := range []string{"rule=unproven since=100 deadline=120", "rule=silent since=200 deadline=400", "rule=audit since=300 deadline=320"} {
		c.eventually(want, func() bool { return o.log.says(want) })
	}
	from := c.height()
	c.eventually("blocks pass", func() bool { return int64(len(c.headers)) > from+5 })
	o.log.mu.Lock()
	if n := bytes.Count(o.log.text.Bytes(), []byte("the chain warns this node")); n != 3 {
		t.Errorf("told %d times", n)
	}
	o.log.mu.Unlock()
	c.mu.Lock()
	c.conduct = market.Conduct{}
	c.mu.Unlock()
	c.eventually("their end is told", func() bool { return o.log.says("warning lifted") })
}
