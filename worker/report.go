package worker

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"maps"
	"slices"

	"github.com/ipfs/go-cid"

	"github.com/cella-network/cella/api/work"
	"github.com/cella-network/cella/enclave/wire"
	"github.com/cella-network/cella/protocol/lottery"
	"github.com/cella-network/cella/protocol/storageproof"
	"github.com/cella-network/cella/worker/disk"
)

// retryBlocks is how long a failed report is left alone before the next one is signed.
const retryBlocks = 10

// reporter answers draws and reports. It goes through these states:
//
//	state     what                                                     then
//	drawing   each height whose seed is known is drawn over the        the first height of a new slot: sign, save, post
//	          accepted table
//	posting   the transaction is on its way; draws wait                a block took it, or it failed
//	proving   a block took it; its state must be proven, and the       Accepted: the report is the base, drawing
//	          heights up to it drawn over the table before
//	unsure    posting failed: the chain may still have it               what the standing says; else drawing, and again later
type reporter struct {
	*session
	drawn   int64 // heights up to here are drawn over the base
	tried   int64 // head at the last attempt
	waiting map[[32]byte]proposal
	done    chan posted // while posting
	giveUp  func()      // ends the posting
	proving int64       // height of the block that took the report; 0: none
	unsure  bool
}

// proposal is a signed report that the chain may accept.
type proposal struct {
	report storageproof.Report
	gen    disk.Generation
	table  *storageproof.Table
	passed int64 // head at which the seed of a later height was known; 0: none was yet
}

type posted struct {
	height int64
	err    error
}

// report runs until ctx ends or the chain's standing turns out to be another session's.
func (s *session) report(ctx context.Context) error {
	r := &reporter{session: s, waiting: map[[32]byte]proposal{}}
	if s.base.known {
		r.drawn = s.base.report.Height
	}
	defer func() {
		if r.done != nil { // nobody posts in the operator's name once the session is over
			r.giveUp()
			<-r.done
		}
	}()
	for {
		moved, drawable := s.heads.moved.next(), s.seeds.moved.next()
		if err := r.step(ctx); err != nil && ctx.Err() == nil {
			if errors.Is(err, errStale) || errors.Is(err, disk.ErrGone) {
				return err
			}
			s.Log.Warn("work report", told(err)...)
		}
		select {
		case <-moved:
		case <-drawable:
		case p := <-r.done:
			r.done = nil
			r.finished(p)
		case <-ctx.Done():
			return nil
		}
	}
}

func (r *reporter) finished(p posted) {
	if p.err == nil {
		r.proving = p.height
		return
	}
	r.unsure = true
	r.Metrics.reports.WithLabelValues("refused").Inc()
	r.Log.Warn("report not accepted; another follows", told(p.err)...)
}

// step does what the trusted head allows.
func (r *reporter) step(ctx context.Context) error {
	head := r.heads.latest()
	switch {
	case r.done != nil || r.proving >= head: // posting, or the proof's header is not trusted yet
		return nil
	case r.proving > 0 || r.unsure:
		if settled, err := r.resolve(ctx); err != nil || !settled {
			return err
		}
	}
	if err := r.draw(ctx, r.seeds.latest()); err != nil {
		return err
	}
	if !r.due(head) {
		return nil
	}
	r.tried = head
	return r.sign(ctx)
}

// due tells whether the head begins a slot without a report.
func (r *reporter) due(head int64) bool {
	if r.tried > 0 && head < r.tried+min(r.terms.slot, retryBlocks) {
		return false
	}
	return !r.base.known || r.drawn/r.terms.slot > r.base.report.Height/r.terms.slot
}

// draw answers the heights up to one, in order, as far as their seeds are known.
func (r *reporter) draw(ctx context.Context, last int64) error {
	for r.base.known && r.drawn < last && ctx.Err() == nil {
		h := r.drawn + 1
		at := storageproof.Standing{Since: r.base.since}.SeedHeight(h)
		if at > r.seeds.latest() {
			break
		}
		seed, ok := r.seeds.of(at)
		if err := r.drawOne(h, seed, ok); err != nil {
			return fmt.Errorf("draw of height %d: %w", h, err)
		}
		r.drawn = h
	}
	r.seeds.forget(r.base.report.Height) // a report on its way may still send us back to any height after it
	return nil
}

// drawOne answers one height. After a long time down the seed that decides it may be known no more, here or to the enclave; then
// the height can't be answered. Neither can those over a disk that is lost.
func (r *reporter) drawOne(h int64, seed lottery.Seed, known bool) error {
	if !known || r.base.lost {
		return r.forgo(h)
	}
	m := wire.Draw{Height: h, Absent: true}
	why := errors.New("the bytes are not those that were written")
	d, owed := r.base.table.Draw(seed, h, r.Account)
	e := r.entry(d.Sector)
	if owed { // over an empty table there is nothing to show
		if sample, err := r.disk.Sample(e, d.Cell); err != nil {
			if gone := r.disk.Present(); gone != nil {
				return gone // it may be back in time for this height
			}
			why = err
		} else {
			m.Absent, m.Cell, m.Tag, m.Page, m.Path = false, sample.Cell, sample.Tag, sample.Page, sample.Path
		}
	}
	var reply wire.DrawReply
	err := r.call(&m, &reply)
	var refusal *wire.Error
	if errors.As(err, &refusal) && refusal.Code == wire.CodeState {
		return r.forgo(h)
	}
	if err != nil {
		return err
	}
	if reply.Answered {
		r.Metrics.draws.WithLabelValues("answered").Inc()
		return nil
	}
	r.Metrics.draws.WithLabelValues("failed").Inc()
	r.Log.Error("draw failed", "height", h, "sector", d.Sector, "cell", d.Cell, "err", why, "hint", "check the disk: cella verify")
	r.condemn(d.Sector)
	return nil
}

// condemn has a sector emptied that is not what it should be. With a free one nothing is lost: another is filled. From a data sector
// all that can still be read is sealed again elsewhere.
func (s *session) condemn(id uint32) {
	if s.space.condemn(id) {
		s.changed.pulse()
		s.loosened.pulse()
	}
}

// forgo counts a height as failed.
func (r *reporter) forgo(h int64) error {
	var reply wire.DrawReply
	if err := r.call(&wire.Draw{Height: h, Absent: true}, &reply); err != nil {
		return err
	}
	if !reply.Answered { // over an empty table it is
		r.Metrics.draws.WithLabelValues("failed").Inc()
	}
	return nil
}

func (r *reporter) entry(id uint32) storageproof.Entry {
	rows := r.base.table.Entries()
	i, ok := slices.BinarySearchFunc(rows, id, func(e storageproof.Entry, id uint32) int { return int(int64(e.ID) - int64(id)) })
	if !ok {
		return storageproof.Entry{ID: id}
	}
	return rows[i]
}

// sign asks for a report, makes durable all that it names, and posts it.
func (r *reporter) sign(ctx context.Context) error {
	// What the vault has sealed by now must be written before; so nobody seals while the report is made.
	r.gate.Lock()
	var reply wire.ReportReply
	err := r.call(&wire.Report{}, &reply)
	r.gate.Unlock()
	if err != nil {
		return err
	}
	p, err := r.propose(reply)
	if err != nil {
		return err
	}
	bad, err := r.disk.Damaged()
	if err != nil {
		return err
	}
	for _, id := range bad {
		r.Log.Error("a sector's files are missing or cut short", "sector", id, "hint", "check the disk: cella verify")
		r.condemn(id)
	}
	if err := errors.Join(r.disk.Sync(), r.disk.Save(p.gen)); err != nil {
		return fmt.Errorf("report %d not posted: %w", p.report.Counter, err)
	}
	r.waiting[sha256.Sum256(reply.Report)] = p
	r.post(ctx, p)
	return r.expire()
}

// expire forgets reports that the chain would refuse as too old by now: it counts from the block in which a later seed was out. Of a disk that is declared lost nothing is removed before the
// chain has accepted that.
func (r *reporter) expire() error {
	if r.base.lost {
		return nil
	}
	keep := [][32]byte{r.base.id}
	for id, p := range r.waiting {
		head := r.heads.latest()
		if p.passed == 0 && r.seeds.latest() > p.report.Height {
			p.passed = head
			r.waiting[id] = p
		}
		if p.passed != 0 && p.passed+r.terms.maxAge < head {
			delete(r.waiting, id)
		} else {
			keep = append(keep, id)
		}
	}
	return r.disk.Keep(keep...)
}

// propose works out the generation that a report names, and holds it against the report's own roots.
func (r *reporter) propose(reply wire.ReportReply) (proposal, error) {
	report, err := storageproof.UnmarshalReport(reply.Report)
	if err != nil {
		return proposal{}, err
	}
	if len(reply.TagRoots) != len(reply.Changed) {
		return proposal{}, errors.New("report without a tag root for each changed row")
	}
	if report.Reset != r.base.lost {
		return proposal{}, fmt.Errorf("report %d says of the disk what is not so", report.Counter)
	}
	rows := map[uint32]disk.Row{}
	for _, row := range r.base.rows {
		rows[row.ID] = row
	}
	for _, id := range reply.Removed {
		delete(rows, id)
	}
	for i, raw := range reply.Changed {
		e, err := storageproof.UnmarshalEntry(raw)
		if err != nil {
			return proposal{}, err
		}
		row := disk.Row{Entry: e}
		copy(row.Tags[:], reply.TagRoots[i])
		rows[e.ID] = row
	}
	orders := map[uint64]storageproof.OrderRef{}
	for _, o := range r.base.orders {
		orders[o.ID] = o
	}
	for _, id := range report.Dropped {
		delete(orders, id)
	}
	for _, o := range report.Added {
		orders[o.ID] = o
	}
	p := proposal{report: report, gen: disk.Generation{Report: reply.Report, Sig: reply.Sig}}
	for _, id := range slices.Sorted(maps.Keys(rows)) {
		p.gen.Rows = append(p.gen.Rows, rows[id])
	}
	for _, id := range slices.Sorted(maps.Keys(orders)) {
		p.gen.Orders = append(p.gen.Orders, orders[id])
	}
	if p.table, err = tableOf(p.gen.Rows); err != nil {
		return proposal{}, err
	}
	if p.table.Root() != report.Table || storageproof.OrdersRoot(p.gen.Orders) != report.Orders {
		return proposal{}, fmt.Errorf("report %d does not name the table and orders that its changes give", report.Counter)
	}
	return p, nil
}

// post sends a report on its way. It is given up when the chain would refuse it as too old.
func (r *reporter) post(ctx context.Context, p proposal) {
	ctx, cancel := context.WithCancel(ctx)
	done := make(chan posted, 1)
	r.done, r.giveUp = done, cancel
	go func() {
		if _, err := r.heads.wait(ctx, p.report.Height+r.terms.maxAge+1); err == nil {
			cancel()
		}
	}()
	go func() {
		defer cancel()
		res, err := r.Poster.Post(ctx, &work.MsgReport{Reporter: r.Address, Report: p.gen.Report, Signature: p.gen.Sig[:]})
		done <- posted{res.Height, err}
	}()
}

// resolve asks the chain which report it accepted last, and tells the enclave. It is not settled before the seeds of all heights are
// known that are owed over the table before.
func (r *reporter) resolve(ctx context.Context) (settled bool, err error) {
	proof, st, err := r.standing(ctx)
	if err != nil {
		return false, err
	}
	if st == nil && !r.base.known || st != nil && st.Report == r.base.id {
		if r.proving > 0 {
			r.Log.Warn("a block took the report, but the standing does not show it", "block", r.proving)
		}
		r.proving, r.unsure = 0, false
		return true, nil
	}
	if st == nil {
		return false, errStale
	}
	p, ok := r.waiting[st.Report]
	if !ok {
		return false, errStale
	}
	// Up to the block that accepted it, heights are owed over the table before.
	if err := r.draw(ctx, st.Since); err != nil || r.base.known && r.drawn < st.Since {
		return false, err
	}
	var reply wire.AcceptedReply
	err = r.call(&wire.Accepted{Standing: proof}, &reply)
	var refusal *wire.Error
	if errors.As(err, &refusal) && refusal.Code == wire.CodeState {
		return false, fmt.Errorf("%w: %w", errStale, err) // the vault remembers only the last few
	}
	if err != nil {
		return false, fmt.Errorf("accepted report: %w", err)
	}
	r.proving, r.unsure = 0, false
	return true, r.adopt(ctx, *st, p, reply.Released)
}

// adopt makes an accepted report the base: older generations and released sectors go.
func (r *reporter) adopt(ctx context.Context, st storageproof.Standing, p proposal, released []uint32) error {
	first := !r.base.known
	lost := r.base.lost
	r.base = accepted{known: true, id: st.Report, report: p.report, since: st.Since, rows: p.gen.Rows, table: p.table, orders: p.gen.Orders}
	r.space.accepted(len(p.gen.Rows))
	r.drawn, r.tried = st.Since, 0
	if first { // nothing was owed before
		r.drawn = st.Height
	}
	clear(r.waiting)
	now, gone := r.held.settle(p.gen.Orders)
	for _, o := range now {
		r.Log.Info("order held", "order", o.ID, "bytes", o.Size)
		r.Metrics.orders.WithLabelValues("held").Inc()
	}
	r.announceRoots(ctx, now)
	r.withdrawRoots(gone)
	err := r.disk.Keep(st.Report)
	for _, id := range released {
		err = errors.Join(err, r.disk.Delete(id))
		r.space.remove(id)
	}
	if lost {
		err = errors.Join(err, r.clearLost())
	}
	r.Metrics.accepted(st, len(p.gen.Orders))
	free, data := r.space.count()
	r.Metrics.sectors.WithLabelValues("free").Set(float64(free))
	r.Metrics.sectors.WithLabelValues("data").Set(float64(data))
	r.Log.Debug("report accepted", "report", st.Counter, "height", st.Height, "free", st.Free, "stored", st.Stored,
		"orders", len(p.gen.Orders), "answered", p.report.Answered, "failed", p.report.Failed)
	r.changed.pulse()
	r.loosened.pulse()
	return err
}

// announceRoots tells the DHT that orders' roots can be had here, one after the other and without holding anything up.
func (s *session) announceRoots(ctx context.Context, orders []storageproof.OrderRef) {
	go func() {
		for _, o := range orders {
			if c, err := cid.Cast(o.Root); err == nil && ctx.Err() == nil {
				_ = s.Content.Provide(ctx, c) // it tries again by itself
			}
		}
	}()
}

// withdrawRoots ends the announcements of roots that no order here names any more.
func (s *session) withdrawRoots(gone []storageproof.OrderRef) {
	for _, o := range gone {
		k, notBlock := storageproof.ParseBlockKey(o.Root)
		if c, err := cid.Cast(o.Root); err == nil && notBlock == nil && !s.held.needed(k) {
			s.Content.Unprovide(c)
		}
	}
}
