package worker

import (
	"context"
	"slices"
	"sync"

	"github.com/cella-network/cella/protocol/storageproof"
)

// stage is how far an order is.
type stage uint8

const (
	fetching stage = iota // accepted on chain, blocks are coming in
	complete              // the enclave holds it; the next report names it
	held                  // an accepted report names it
	dropping              // the enclave lets it go; some report may still name it
)

// holding is an order and the blocks that it needs.
type holding struct {
	ref    storageproof.OrderRef
	stage  stage
	keys   map[storageproof.BlockKey]struct{}
	cancel context.CancelFunc // ends its fetching; nil otherwise
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

// begin enters an order that is being fetched; false if it is there already.
func (l *ledger) begin(ref storageproof.OrderRef, cancel context.CancelFunc) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.orders[ref.ID] != nil {
		return false
	}
	l.orders[ref.ID] = &holding{ref: ref, keys: map[storageproof.BlockKey]struct{}{}, cancel: cancel}
	return true
}

// restore enters an order that the last accepted report names.
func (l *ledger) restore(ref storageproof.OrderRef, keys []storageproof.BlockKey) {
	l.mu.Lock()
	h := &holding{ref: ref, stage: held, keys: map[storageproof.BlockKey]struct{}{}}
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

// complete notes that the enclave holds an order.
func (l *ledger) complete(id uint64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if h := l.orders[id]; h != nil {
		if h.stage == fetching { // else a report that names it was accepted already
			h.stage = complete
		}
		h.cancel = nil
	}
}

// drop notes that the enclave lets an order go.
func (l *ledger) drop(id uint64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if h := l.orders[id]; h != nil {
		h.stage = dropping
	}
}

// forget lets an order's blocks go.
func (l *ledger) forget(id uint64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.remove(id)
}

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

// settle moves orders on by what an accepted report names; it returns those that are held or gone by it.
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
