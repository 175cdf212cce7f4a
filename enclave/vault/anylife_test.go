package vault

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/cella-network/cella/enclave/wire"
	"github.com/cella-network/cella/protocol/storageproof"
)

// TestAnyLife lets a host do anything in any order, losses and restarts among it. Whenever a report is signed, every order that it names
// can be walked over sealed blocks; what the reports tell the chain adds up to the orders that they commit to; the
// vault's books are right; and no cell is ever encrypted under a key and nonce that served before.
func TestAnyLife(t *testing.T) {
	for seed := range uint64(6) {
		l := &anyLife{sim: readySim(t), rng: rand.New(rand.NewPCG(seed, 3)), seen: map[string]bool{}, chain: map[uint64]storageproof.OrderRef{}}
		for i := range 7 {
			l.dags = append(l.dags, zeroDag(fmt.Sprint(i), 1+i%3))
		}
		for range 2000 {
			l.step()
			books(t, l.v)
			wholeOrBroken(t, l.v)
			if t.Failed() {
				t.Fatalf("seed %d", seed)
			}
		}
		t.Logf("seed %d: %d cells, %d enclaves, %d lost disks, report %d; %d orders were broken, %d mended, %d dropped", seed, len(l.seen), l.lives,
			l.wiped, l.v.Status().Counter, l.broken, l.mended, l.dropped)
		if l.broken < 20 || l.mended < 10 || l.dropped < 10 || l.wiped == 0 || l.lives < 10 {
			t.Errorf("seed %d: nothing much happened", seed)
		}
	}
}

const sectors = 12 // of a disk in TestAnyLife

type anyLife struct {
	*sim
	rng    *rand.Rand
	dags   []dag
	seen   map[string]bool // first cells of leaves, which are the keystream
	chain  map[uint64]storageproof.OrderRef
	blank  bool // the disk was lost, and no report since is accepted
	wiped  int
	broken int
	mended int

	dropped int
}

// zeroDag is a DAG whose leaves begin with a cell of zeros, so that their ciphertext does with the keystream of a key and nonce.
func zeroDag(name string, leaves int) dag {
	var d dag
	for i := range leaves {
		leaf := append(make([]byte, storageproof.CellSize), fmt.Append(nil, name, i)...)
		d.add(rawCID(leaf), leaf)
	}
	root := node([]byte(name), d.cids...)
	d.root = pbCID(root)
	d.add(d.root, root)
	return d
}

func (l *anyLife) note(r wire.SealReply, err error) {
	if err != nil || r.Known || len(r.Cells) <= storageproof.CellSize {
		return
	}
	first := string(r.Cells[:storageproof.CellSize])
	if l.seen[first] {
		l.t.Error("a key and nonce came twice")
	}
	l.seen[first] = true
}

// put seals a DAG in the first sector that has room, beginning anywhere.
func (l *anyLife) put(d dag) {
	for i, c := range d.cids {
		first := l.rng.Uint32N(sectors)
		for id := range uint32(sectors) {
			r, err := l.seal((first+id)%sectors, c, d.blocks[i])
			if l.note(r, err); err == nil {
				break
			}
		}
	}
}

func (l *anyLife) step() {
	order := l.rng.Uint64N(10)
	d := l.dags[order%uint64(len(l.dags))]
	id := l.rng.Uint32N(sectors)
	switch l.rng.IntN(40) {
	case 0, 1, 2, 3:
		_ = l.open(id)
	case 4:
		if id == 0 {
			_ = l.fill(id)
		}
	case 5, 6, 7, 8, 9, 10:
		l.put(d)
		if l.rng.IntN(4) > 0 {
			_, _ = l.complete(order, d.root, d.size)
		}
	case 11, 12, 13:
		_, _ = l.complete(order, d.root, d.size)
	case 14, 15:
		l.note(l.move(d.cids[l.rng.IntN(len(d.cids))], id))
	case 16:
		_ = l.v.Drop(wire.Drop{Orders: []uint64{order}})
	case 17:
		_ = l.v.Release(wire.Release{Sectors: []uint32{id}})
	case 18, 19, 20:
		cids := d.cids[l.rng.IntN(len(d.cids)):]
		if at, known := l.index[string(cids[0])]; known {
			id = at.sector
		}
		orders, _ := l.lose(id, cids...)
		l.broken += len(orders)
	case 21:
		orders, _ := l.lose(id)
		l.broken += len(orders)
	case 22: // a host that makes room
		for id = 0; id < sectors-1 && l.open(id) != nil; id++ {
		}
		for _, c := range slices.Sorted(maps.Keys(l.index)) {
			l.note(l.move([]byte(c), id))
		}
		for id := range uint32(sectors) {
			_ = l.v.Release(wire.Release{Sectors: []uint32{id}})
		}
	case 23, 24, 25, 26, 27, 28, 29, 30, 31, 32: // a host that repairs
		for _, id := range slices.Sorted(maps.Keys(l.v.orders)) {
			d := l.dags[id%uint64(len(l.dags))]
			if l.v.orders[id].broken && l.rng.IntN(2) == 0 {
				l.put(d)
				if r, err := l.complete(id, d.root, d.size); err == nil && len(r.Missing) == 0 {
					l.mended++
				}
			}
		}
	case 33, 34, 35, 36, 37, 38:
		l.reports()
	case 39:
		if l.standing != nil {
			l.die(id)
		}
	}
}

// reports has one or two reports signed, of which the chain accepts one, or none.
func (l *anyLife) reports() {
	type signed struct {
		r    storageproof.Report
		post wire.ReportReply
	}
	var all []signed
	for range 1 + l.rng.IntN(2) {
		l.now += 5
		l.draw()
		r, err := l.report()
		must(l.t, err)
		l.walkable(r)
		all = append(all, signed{r, l.posted})
		if l.rng.IntN(2) == 0 {
			d := l.dags[l.rng.IntN(len(l.dags))]
			_, _ = l.lose(l.index[string(d.cids[0])].sector, d.cids[0])
		}
	}
	if l.rng.IntN(4) == 0 {
		return
	}
	one := all[l.rng.IntN(len(all))]
	must(l.t, l.post(one.post))
	_, err := l.accept()
	must(l.t, err)
	l.blank = false
	if one.r.Reset {
		clear(l.chain)
	}
	for _, id := range one.r.Dropped {
		if _, named := l.chain[id]; !named {
			l.t.Errorf("order %d is dropped and was never named", id)
		}
		delete(l.chain, id)
		l.dropped++
	}
	for _, o := range one.r.Added {
		if _, named := l.chain[o.ID]; named {
			l.t.Errorf("order %d is added twice", o.ID)
		}
		l.chain[o.ID] = o
	}
	if got := storageproof.OrdersRoot(sorted(l.chain)); got != l.standing.Orders {
		l.t.Errorf("the chain holds orders %v, the report names others", slices.Sorted(maps.Keys(l.chain)))
	}
}

func sorted(orders map[uint64]storageproof.OrderRef) []storageproof.OrderRef {
	var out []storageproof.OrderRef
	for _, id := range slices.Sorted(maps.Keys(orders)) {
		out = append(out, orders[id])
	}
	return out
}

// walkable tells whether all orders after a report that was just signed lie in sectors of its table.
func (l *anyLife) walkable(r storageproof.Report) {
	newest := l.v.pending[len(l.v.pending)-1]
	for _, o := range newest.orders {
		root, err := blockKey(o.Root)
		must(l.t, err)
		found, size, missing := l.v.walk(root, l.v.live)
		if missing != nil || size != o.Size {
			l.t.Errorf("report %d names order %d, of whose %d bytes %d are there", r.Counter, o.ID, o.Size, size)
		}
		for k := range found {
			s := l.v.at(l.v.blocks[k])
			if row, named := rowOf(newest.rows(), s.id); !named || l.v.blocks[k].cell >= row.Cells {
				l.t.Errorf("report %d names order %d, a block of which is in no row of it", r.Counter, o.ID)
			}
		}
	}
	if r.Reset != l.blank || r.Reset && r.Answered+uint64(len(r.Dropped)) != 0 {
		l.t.Errorf("report %d: reset %v, %d answered, dropped %v", r.Counter, r.Reset, r.Answered, r.Dropped)
	}
}

// die ends the enclave; some files or the whole disk may be gone when it comes back.
func (l *anyLife) die(id uint32) {
	switch l.rng.IntN(8) {
	case 0:
		l.blank = true
		l.wiped++
	case 1:
		delete(l.disk, id)
	}
	if !l.blank {
		l.broken += len(l.restart().LostOrders)
		return
	}
	l.start()
	must(l.t, l.restoreLost())
}
