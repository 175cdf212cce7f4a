package worker

import (
	"context"
	"slices"
	"sync"

	"github.com/cella-network/cella/protocol/storageproof"
	"github.com/cella-network/cella/worker/disk"
)

// stage is how far an order is.
type stage uint8

const (
	fetching stage = iota // accepted on chain, blocks are coming in
	complete              // the enclave holds it; the next report names it
	held                  // an accepted report names it
	mending               // blocks of it were lost: they are fetched again, whether or not the chain has heard of it by now
	dropping              // the enclave lets it go; some report may still name it
)

// holding is an order and the blocks that it needs.
type holding struct {
	ref    storageproof.OrderRef
	stage  stage
	keys   map[storageproof.BlockKey]struct{}
	cancel context.CancelFunc // ends its fetching; nil otherwise
	losses int                // how often blocks of it were lost
}

// ledger counts for each block how many orders need it, so that compaction knows what is dead. The enclave keeps the same
// count and refuses a release that this one would get wrong.
type ledger struct {
	mu     sync.Mutex
	orders map[uint64]*holding
	refs   map[storageproof.BlockKey]int32
}

func (l *ledger) init() {
	l.orders, l.refs = map[uint64]*holding{}, map[storageproof.BlockKey]int32{}
}

// begin enters an order that is being fetched, or takes up one that waits to be mended; false if somebody sees to it already.
func (l *ledger) begin(ref storageproof.OrderRef, cancel context.CancelFunc) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	switch h := l.orders[ref.ID]; {
	case h == nil:
		l.orders[ref.ID] = &holding{ref: ref, keys: map[storageproof.BlockKey]struct{}{}, cancel: cancel}
	case h.stage == mending && h.cancel == nil:
		h.cancel = cancel
	default:
		return false
	}
	return true
}

// idle tells whether nobody sees to an order yet: it is unknown here, or waits to be mended.
func (l *ledger) idle(id uint64) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	h := l.orders[id]
	return h == nil || h.stage == mending && h.cancel == nil
}

// restore enters an order that the last accepted report names: held, or to be mended.
func (l *ledger) restore(ref storageproof.OrderRef, at stage, keys []storageproof.BlockKey) {
	l.mu.Lock()
	h := &holding{ref: ref, stage: at, keys: map[storageproof.BlockKey]struct{}{}}
	l.orders[ref.ID] = h
	l.mu.Unlock()
	for _, k := range keys {
		l.need(ref.ID, k)
	}
}

// need notes that an order needs a block. Call it before the block is sealed: from then on compaction leaves it alone.
func (l *ledger) need(id uint64, k storageproof.BlockKey) {
	l.mu.Lock()
	defer l.mu.Unlock()
	h := l.orders[id]
	if h == nil {
		return
	}
	if _, ok := h.keys[k]; !ok {
		h.keys[k] = struct{}{}
		l.refs[k]++
	}
}

// needed tells whether some order needs a block.
func (l *ledger) needed(k storageproof.BlockKey) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.refs[k] > 0
}

// losses counts how often blocks of an order were lost. Ask before the enclave is asked to complete it.
func (l *ledger) losses(id uint64) int {
	l.mu.Lock()
	defer l.mu.Unlock()
	if h := l.orders[id]; h != nil {
		return h.losses
	}
	return 0
}

// complete notes that the enclave holds an order; false if blocks of it were lost meanwhile.
func (l *ledger) complete(id uint64, losses int) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	h := l.orders[id]
	if h == nil {
		return true
	}
	if h.losses != losses {
		return false
	}
	if h.stage == fetching || h.stage == mending { // else a report that names it was accepted already
		h.stage = complete
	}
	h.cancel = nil
	return true
}

// mend notes that blocks of orders were lost, and returns those that are to be fetched again.
func (l *ledger) mend(ids []uint64) (now []storageproof.OrderRef) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, id := range ids {
		h := l.orders[id]
		if h == nil || h.stage == dropping {
			continue
		}
		h.losses++
		if h.stage != fetching {
			h.stage = mending
			now = append(now, h.ref)
		}
	}
	return now
}

// abandon ends the fetching of an order. One that a report names is not forgotten before a later report let it go.
func (l *ledger) abandon(id uint64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	h := l.orders[id]
	if h == nil {
		return
	}
	h.cancel = nil
	if h.stage == fetching {
		l.remove(id)
	}
}

// missing is how many bytes of a DAG of so many are not known to be here.
func (l *ledger) missing(d *disk.Disk, id, size uint64) uint64 {
	l.mu.Lock()
	defer l.mu.Unlock()
	h := l.orders[id]
	if h == nil {
		return size
	}
	for k := range h.keys {
		if at, ok := d.Find(k); ok {
			size -= min(size, uint64(at.Length))
		}
	}
	return size
}

// drop notes that the enclave lets an order go.
func (l *ledger) drop(id uint64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if h := l.orders[id]; h != nil {
		h.stage = dropping
	}
}

// remove lets an order's blocks go; the caller holds the lock.
func (l *ledger) remove(id uint64) {
	h := l.orders[id]
	if h == nil {
		return
	}
	for k := range h.keys {
		if l.refs[k]--; l.refs[k] == 0 {
			delete(l.refs, k)
		}
	}
	delete(l.orders, id)
}

// settle moves orders on by what an accepted report names; it returns those that are held or gone by it. One that was held and is
// named no more has lost blocks, whatever else we believed.
func (l *ledger) settle(named []storageproof.OrderRef) (now, gone []storageproof.OrderRef) {
	l.mu.Lock()
	defer l.mu.Unlock()
	in := map[uint64]bool{}
	for _, o := range named {
		in[o.ID] = true
	}
	for id, h := range l.orders {
		switch {
		case (h.stage == complete || h.stage == fetching) && in[id]:
			h.stage = held
			now = append(now, h.ref)
		case h.stage == held && !in[id]:
			h.stage = mending
		case h.stage == dropping && !in[id]:
			gone = append(gone, h.ref)
			l.remove(id)
		}
	}
	return now, gone
}

// list is a snapshot of the orders by their stage, in rising order of their ids.
func (l *ledger) list(of ...stage) []storageproof.OrderRef {
	l.mu.Lock()
	defer l.mu.Unlock()
	var out []storageproof.OrderRef
	for _, h := range l.orders {
		if slices.Contains(of, h.stage) {
			out = append(out, h.ref)
		}
	}
	slices.SortFunc(out, func(a, b storageproof.OrderRef) int { return int(int64(a.ID) - int64(b.ID)) })
	return out
}

// stop ends the fetching of an order.
func (l *ledger) stop(id uint64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if h := l.orders[id]; h != nil && h.cancel != nil {
		h.cancel()
	}
}

// under lists the sealed blocks under a root, by the links in the directories.
func (s *session) under(root []byte) []storageproof.BlockKey {
	k, err := storageproof.ParseBlockKey(root)
	if err != nil {
		return nil
	}
	seen := map[storageproof.BlockKey]struct{}{k: {}}
	out := []storageproof.BlockKey{k}
	for i := 0; i < len(out); i++ {
		for _, l := range s.disk.Links(out[i]) {
			if _, ok := seen[l]; !ok {
				seen[l] = struct{}{}
				out = append(out, l)
			}
		}
	}
	return out
}
