package vault

import (
	"github.com/cella-network/cella/enclave/wire"
	"github.com/cella-network/cella/protocol/storageproof"
)

// order is one that the vault holds. It is held, with its blocks, until an accepted report let it go.
type order struct {
	ref      storageproof.OrderRef
	root     storageproof.BlockKey
	counted  bool // its blocks count it in their refs
	accepted bool // the last accepted report names it
	dropping bool // the host wants the next report to let it go
	broken   bool // a block of it was lost: so will the next report, unless it is found whole before
}

// Complete walks the order's DAG over sealed blocks, each distinct one counted once. If all are there and their bytes are
// the order's size, the order is held from the next report on. So it mends a broken order: the chain never hears of the loss,
// unless a report that lets the order go is accepted, and then the next one adds it again.
func (v *Vault) Complete(m wire.Complete) (wire.CompleteReply, error) {
	root, err := blockKey(m.Order.Root)
	if err != nil {
		return wire.CompleteReply{}, err
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	v.settle()
	if err := v.want(ready); err != nil {
		return wire.CompleteReply{}, err
	}
	o, held := v.orders[m.Order.ID]
	switch {
	case held && o.dropping:
		return wire.CompleteReply{}, refuse(wire.CodeState, "order %d is being let go", m.Order.ID)
	case held && o.root != root:
		return wire.CompleteReply{}, refuse(wire.CodeInvalid, "order %d is held with another root", m.Order.ID)
	}
	found, size, missing := v.walk(root, v.live)
	reply := wire.CompleteReply{Size: size, Blocks: uint64(len(found))}
	if missing != nil {
		reply.Missing = missing.CID()
		return reply, nil
	}
	if size != m.Order.Size {
		return wire.CompleteReply{}, refuse(wire.CodeInvalid, "%d bytes lie under the root of order %d, which names %d", size, m.Order.ID, m.Order.Size)
	}
	if !held {
		ref := storageproof.OrderRef{ID: m.Order.ID, Root: append([]byte(nil), m.Order.Root...), Size: size}
		o = &order{ref: ref, root: root}
		v.orders[ref.ID] = o
	}
	if o.broken = false; !o.counted {
		o.counted = true
		v.count(found, 1)
	}
	return reply, nil
}

// walk finds the distinct blocks under a root and their bytes, or the first one that is not there: live ones, or all that are known.
// Each is looked at once, so that a DAG which names the same block many times costs no more.
func (v *Vault) walk(root storageproof.BlockKey, there func(storageproof.BlockKey) (place, bool)) (found map[storageproof.BlockKey]bool, size uint64, missing *storageproof.BlockKey) {
	found = map[storageproof.BlockKey]bool{}
	if _, ok := there(root); !ok {
		return found, 0, &root
	}
	found[root] = true
	for todo := []storageproof.BlockKey{root}; len(todo) > 0; {
		k := todo[len(todo)-1]
		todo = todo[:len(todo)-1]
		size += uint64(v.blocks[k].length)
		for _, l := range v.links[k] {
			if found[l] {
				continue
			}
			if _, ok := there(l); !ok {
				return found, size, &l
			}
			found[l] = true
			todo = append(todo, l)
		}
	}
	return found, size, nil
}

// count adds one order to the refs of its blocks, or takes it away.
func (v *Vault) count(blocks map[storageproof.BlockKey]bool, by int) {
	for k := range blocks {
		p := v.blocks[k]
		before := p.refs
		p.refs = uint32(int(p.refs) + by)
		v.blocks[k] = p
		s := v.at(p)
		switch {
		case s == nil && p.refs == 0:
			v.forgetBlock(k)
		case s != nil && before == 0:
			s.held++
		case s != nil && p.refs == 0:
			s.held--
		}
	}
}

// Drop lets orders go with the next report; one that no report has named is gone at once. All of them must be held.
func (v *Vault) Drop(m wire.Drop) error {
	v.mu.Lock()
	defer v.mu.Unlock()
	if err := v.want(ready); err != nil {
		return err
	}
	for _, id := range m.Orders {
		if v.orders[id] == nil {
			return refuse(wire.CodeMissing, "order %d is not held", id)
		}
	}
	for _, id := range m.Orders {
		if o := v.orders[id]; o != nil {
			o.dropping = true
			v.letGo(o)
		}
	}
	return nil
}

// letGo ends a dropped or broken order that neither the last accepted report names nor one that may still be accepted.
func (v *Vault) letGo(o *order) {
	if !o.dropping && !o.broken || o.accepted {
		return
	}
	for _, p := range v.pending {
		if p.names(o.ref.ID) {
			return
		}
	}
	if o.counted {
		found, _, _ := v.walk(o.root, v.known)
		v.count(found, -1)
	}
	delete(v.orders, o.ref.ID)
}
