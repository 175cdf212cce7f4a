package vault

import (
	"slices"

	"github.com/cella-network/cella/enclave/wire"
	"github.com/cella-network/cella/protocol/storageproof"
)

// lost is the slot of a block that an order needs and that lies nowhere any more. Its place keeps refs and length, and its links stay,
// so that an order which is let go still finds all that it counted.
const lost = ^uint32(0)

// maxLost is how many sectors or orders a reply names as lost: what fits into a message.
const maxLost = 1 << 17

// at is the sector in which a block lies, nil if it is lost or its sector gone.
func (v *Vault) at(p place) *sector {
	if p.slot == lost {
		return nil
	}
	return v.slots[p.slot]
}

// known returns what is remembered of a block, wherever it lies.
func (v *Vault) known(k storageproof.BlockKey) (place, bool) {
	p, ok := v.blocks[k]
	return p, ok
}

// Lose takes the host's word that it can't read blocks of a sector any more, or nothing of it if none are named: Seal stores them anew
// from then on. Blocks that don't lie there are passed over: the host may repeat itself, or have moved them. Orders that need a lost
// block are broken: the next report lets them go unless Complete found them whole before it was signed, and those that no
// report has named are forgotten at once. The reply names all orders that are broken by now, in rising order, but those that the
// host drops itself. The cells stay counted and drawn until a report is accepted that leaves the sector out, so that nobody
// gains by admitting what is not so. A sector that is lost as a whole is closed.
func (v *Vault) Lose(m wire.Lose) (wire.LoseReply, error) {
	named := make([]storageproof.BlockKey, len(m.CIDs))
	for i, cid := range m.CIDs {
		var err error
		if named[i], err = blockKey(cid); err != nil {
			return wire.LoseReply{}, err
		}
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	v.settle()
	if err := v.want(ready); err != nil {
		return wire.LoseReply{}, err
	}
	s, err := v.find(m.Sector)
	if err != nil {
		return wire.LoseReply{}, err
	}
	needed := false
	if len(named) > 0 {
		for _, k := range named {
			needed = v.loseFrom(s, k) || needed
		}
	} else {
		v.shut(s)
		if err := v.want(ready); err != nil {
			return wire.LoseReply{}, err
		}
		for k := range v.blocks {
			needed = v.loseFrom(s, k) || needed
		}
	}
	return wire.LoseReply{Orders: v.breakOrders(needed)}, nil
}

// shut lets nothing more into a sector and waits for what is being sealed there.
func (v *Vault) shut(s *sector) {
	if s.open == nil {
		return
	}
	s.open.closing = true
	if len(s.open.queue) == 0 {
		s.close()
	}
	for s.open != nil { // the last commit closes it
		v.settled.Wait()
	}
}

// loseFrom forgets where a block lies if it lies in s, and tells whether an order needs it.
func (v *Vault) loseFrom(s *sector, k storageproof.BlockKey) bool {
	p, ok := v.blocks[k]
	if !ok || v.at(p) != s {
		return false
	}
	s.blocks--
	if p.refs == 0 {
		v.forgetBlock(k)
		return false
	}
	s.held--
	v.blocks[k] = place{slot: lost, length: p.length, refs: p.refs}
	return true
}

// forgetBlock takes a block out of the index.
func (v *Vault) forgetBlock(k storageproof.BlockKey) {
	v.linked -= len(v.links[k])
	delete(v.links, k)
	delete(v.blocks, k)
}

// breakOrders names the broken orders that the host wants to keep; if blocks that are needed were lost, it looks for new ones.
func (v *Vault) breakOrders(look bool) []uint64 {
	var ids []uint64
	for id, o := range v.orders {
		if look && !o.broken {
			_, _, missing := v.walk(o.root, v.live)
			o.broken = missing != nil
		}
		if o.broken && !o.dropping {
			ids = append(ids, id)
		}
	}
	for _, id := range ids {
		v.letGo(v.orders[id])
	}
	slices.Sort(ids)
	return ids[:min(len(ids), maxLost)]
}

// overdue tells whether the chain is told of more orders than one report can let go that are not whole. Until then no report may
// leave out a sector: else the host were paid for them and not asked for their cells.
func (v *Vault) overdue() bool {
	n := 0
	for _, o := range v.orders {
		if o.accepted && o.broken {
			n++
		}
	}
	return n > storageproof.MaxDropped
}
