package worker

import (
	"maps"
	"slices"
	"sync"

	"github.com/cella-network/cella/protocol/storageproof"
	"github.com/cella-network/cella/worker/disk"
)

// space is what the node's sectors are used for. A sector leaves in two steps: released, it is left out of the next report; only
// when that is accepted its file goes.
type space struct {
	mu       sync.Mutex
	disk     *disk.Disk
	limit    uint32 // sectors that may be in use: the quota, or what the tier may prove
	kinds    map[uint32]storageproof.Kind
	released map[uint32]bool
	doomed   map[uint32]bool // to be released as soon as no block there is needed
	open     map[uint32]bool // data sectors in a lane
	promised uint64          // bytes of cells that accepted orders may still fill
	reported int             // sectors in the last accepted report
}

// maxUnreported is how many sectors more than the last accepted report has may be there before filling stands back: an answer of the enclave has
// room for a table that differs in some 40,000 free ones, and blocks that are sealed go on needing some of it.
const maxUnreported = 1 << 14

func (p *space) init(d *disk.Disk, quota uint32) {
	p.disk, p.limit = d, quota
	p.kinds, p.released, p.doomed, p.open = map[uint32]storageproof.Kind{}, map[uint32]bool{}, map[uint32]bool{}, map[uint32]bool{}
}

// sectorBytes is what one data sector seals.
func (p *space) sectorBytes() uint64 {
	return uint64(p.disk.Geometry().DataCells) * storageproof.CellSize
}

// restrict lowers the limit to what a tier may prove; a report above that would be refused.
func (p *space) restrict(quota uint32, provable uint64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.limit = quota
	if n := provable / (uint64(p.disk.Geometry().FreeCells) * storageproof.CellSize); n < uint64(quota) {
		p.limit = uint32(n)
	}
}

func (p *space) add(id uint32, kind storageproof.Kind) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.kinds[id] = kind
}

// remove forgets a sector whose file is gone.
func (p *space) remove(id uint32) {
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.kinds, id)
	delete(p.released, id)
	delete(p.doomed, id)
	delete(p.open, id)
}

// doom marks a sector that must go because something of it can't be read or written.
func (p *space) doom(id uint32) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.doomed[id] = true
}

// condemn dooms a sector that is in use; false if it is not, or doomed or on its way out already.
func (p *space) condemn(id uint32) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if _, used := p.kinds[id]; !used || p.doomed[id] || p.released[id] {
		return false
	}
	p.doomed[id] = true
	return true
}

// accepted notes how many sectors the last accepted report has.
func (p *space) accepted(sectors int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.reported = sectors
}

func (p *space) setOpen(id uint32, open bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if open {
		p.kinds[id] = storageproof.KindData
		p.open[id] = true
	} else {
		delete(p.open, id)
	}
}

func (p *space) markReleased(ids []uint32) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, id := range ids {
		p.released[id] = true
		delete(p.doomed, id)
	}
}

func (p *space) isReleased(id uint32) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.released[id]
}

// spares are the sectors that stay unfilled so that small orders are sealed at once.
func (p *space) spares() uint32 {
	return min(3, max(1, p.limit/4))
}

// growth is how many further sectors may be made, by the limit and by what the file system has room for.
func (p *space) growth() int64 {
	used, _ := p.disk.Usage()
	more := int64(p.limit) - int64(used)
	if fits, err := p.disk.Fits(); err == nil {
		more = min(more, int64(fits))
	}
	return more
}

// plan says what to do about free space: sectors to release for accepted orders, or whether one is to be filled.
func (p *space) plan() (release []uint32, fill bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	want := int64(p.spares()) + int64((p.promised+p.sectorBytes()-1)/p.sectorBytes())
	growth := p.growth()
	have := growth + int64(len(p.released))
	if have < want {
		for _, id := range slices.Sorted(maps.Keys(p.kinds)) {
			if p.kinds[id] == storageproof.KindFree && !p.released[id] && int64(len(release)) < want-have {
				release = append(release, id)
			}
		}
		return release, false
	}
	return nil, have > want && growth > 0 && len(p.kinds) < p.reported+maxUnreported
}

// room is how many bytes of cells further orders may promise: all that isn't a data sector could become one, less one for
// compaction to work in.
func (p *space) room() uint64 {
	p.mu.Lock()
	defer p.mu.Unlock()
	data, used := int64(1), int64(0)
	for _, k := range p.kinds {
		used++
		if k == storageproof.KindData {
			data++
		}
	}
	could := min(int64(p.limit), used+max(0, p.growth())) - data
	if could <= 0 {
		return 0
	}
	all := uint64(could) * p.sectorBytes()
	return all - min(all, p.promised)
}

// promise is bytes set aside for an order.
type promise struct {
	space *space
	left  uint64
	spent uint64
}

func (p *space) promise(n uint64) *promise {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.promised += n
	return &promise{space: p, left: n}
}

// spend turns promised bytes into written ones and returns how many were written in all.
func (o *promise) spend(n uint64) uint64 {
	o.space.mu.Lock()
	defer o.space.mu.Unlock()
	o.spent += n
	kept := min(n, o.left)
	o.left -= kept
	o.space.promised -= kept
	return o.spent
}

// written is how many bytes were.
func (o *promise) written() uint64 {
	o.space.mu.Lock()
	defer o.space.mu.Unlock()
	return o.spent
}

// end gives back what was not spent.
func (o *promise) end() {
	o.space.mu.Lock()
	defer o.space.mu.Unlock()
	o.space.promised -= o.left
	o.left = 0
}

// resting lists the data sectors that no lane writes to and that stay in the table.
func (p *space) resting() []uint32 {
	p.mu.Lock()
	defer p.mu.Unlock()
	var out []uint32
	for id, k := range p.kinds {
		if k == storageproof.KindData && !p.open[id] && !p.released[id] {
			out = append(out, id)
		}
	}
	slices.Sort(out)
	return out
}

func (p *space) isDoomed(id uint32) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.doomed[id]
}

// doomedFree lists free sectors that must leave the table.
func (p *space) doomedFree() []uint32 {
	p.mu.Lock()
	defer p.mu.Unlock()
	var out []uint32
	for id := range p.doomed {
		if p.kinds[id] == storageproof.KindFree && !p.released[id] {
			out = append(out, id)
		}
	}
	slices.Sort(out)
	return out
}

// count tells how many sectors of each kind are in the table.
func (p *space) count() (free, data int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for id, k := range p.kinds {
		switch {
		case p.released[id]:
		case k == storageproof.KindFree:
			free++
		default:
			data++
		}
	}
	return free, data
}
