package worker

import (
	"context"
	"errors"
	"fmt"
	"io/fs"

	"github.com/cella-network/cella/client"
	"github.com/cella-network/cella/enclave/wire"
	"github.com/cella-network/cella/protocol/storageproof"
	"github.com/cella-network/cella/worker/disk"
)

// How much of what is to be restored one request carries.
const (
	part       = 1 << 20 // bytes of a directory or of rows
	ordersPart = 10_000  // of at most 84 bytes
)

// accepted is the last report that the chain accepted, as the enclave knows it too.
type accepted struct {
	known  bool // false before the account's first report
	lost   bool // what it names is lost: no row and no order of it is known
	id     [32]byte
	report storageproof.Report
	since  int64 // block that accepted it
	rows   []disk.Row
	table  *storageproof.Table
	orders []storageproof.OrderRef
}

// standing proves the account's standing after the last block whose successor the enclave trusts; nil before the first report.
func (s *session) standing(ctx context.Context) (wire.Proof, *storageproof.Standing, error) {
	p, err := s.prove(ctx, storageproof.StoreName, storageproof.StandingKey(s.Account), s.heads.latest()-1)
	if err != nil || len(p.Value) == 0 {
		return p, nil, err
	}
	st, err := storageproof.UnmarshalStanding(p.Value)
	return p, &st, err
}

// restore brings the vault back to the last accepted report. Nothing on the disk is changed: until the new keys are registered, a report
// of the session before may still be accepted, and then its generation is the one to restore.
func (s *session) restore(ctx context.Context) error {
	if _, err := s.heads.wait(ctx, s.heads.latest()+1); err != nil {
		return err
	}
	proof, st, err := s.standing(ctx)
	if err != nil {
		return err
	}
	if st == nil {
		if err := s.call(&wire.RestoreBegin{Standing: proof}, &wire.Empty{}); err != nil {
			return err
		}
		return s.call(&wire.RestoreEnd{}, &wire.RestoreEndReply{})
	}
	if err := s.teach(ctx); err != nil {
		return fmt.Errorf("seeds: %w", err)
	}
	if err := s.recall(ctx, s.root, s.seeds.latest()); err != nil {
		return fmt.Errorf("older headers: %w", err)
	}
	g, err := s.disk.Load(st.Report)
	if err == nil {
		s.base, err = rebuild(g, *st)
	}
	if err != nil {
		return s.restoreLost(proof, *st, err)
	}
	if err := s.recallSeeds(ctx, st.Height+1); err != nil {
		return fmt.Errorf("older seeds: %w", err)
	}
	return s.restoreTable(proof, g)
}

// restoreLost begins empty where the table is gone that the chain's last report names, if the operator has declared that: whatever is
// stored here would be lost by it, and the chain is told so. Files stay until it has taken that.
func (s *session) restoreLost(proof wire.Proof, st storageproof.Standing, why error) error {
	if !disk.MarkLost.Stands(s.Dir) || !disk.Unreadable(why) && !errors.Is(why, disk.ErrGeneration) {
		return &client.Error{Kind: client.KindLocal, Cause: why,
			What: fmt.Sprintf("report %d, the last that the chain accepted, can't be restored from %s", st.Counter, s.Dir),
			Hint: "bring this account's disk folder back there; if it is lost for good, cella repair --lost begins anew and fetches the orders again"}
	}
	if err := s.call(&wire.RestoreBegin{Standing: proof, Lost: true}, &wire.Empty{}); err != nil {
		return err
	}
	table, err := tableOf(nil)
	if err != nil {
		return err
	}
	s.base = accepted{known: true, lost: true, id: st.Report, since: st.Since, table: table,
		report: storageproof.Report{Counter: st.Counter, Height: st.Height}}
	s.Log.Warn("the disk is lost, as its operator declared; the next report says so, and orders are fetched again", "report", st.Counter, "err", why)
	return nil
}

// clearLost removes what is left of a disk that is declared lost. Call it once the chain has accepted a report that says so.
func (s *session) clearLost() error {
	n, err := s.disk.Prune()
	s.Log.Info("the chain knows that the disk was lost; removed what no report names any more", "sectors", n)
	return errors.Join(err, disk.MarkLost.Clear(s.Dir))
}

// rebuild makes a generation the base.
func rebuild(g disk.Generation, st storageproof.Standing) (accepted, error) {
	a := accepted{known: true, id: st.Report, since: st.Since, rows: g.Rows, orders: g.Orders}
	var err error
	if a.report, err = storageproof.UnmarshalReport(g.Report); err != nil {
		return accepted{}, err
	}
	if a.table, err = tableOf(g.Rows); err != nil {
		return accepted{}, err
	}
	if a.table.Root() != st.Table || storageproof.OrdersRoot(g.Orders) != st.Orders {
		return accepted{}, fmt.Errorf("%w: it does not have the roots that the chain accepted", disk.ErrGeneration)
	}
	return a, nil
}

func tableOf(rows []disk.Row) (*storageproof.Table, error) {
	entries := make([]storageproof.Entry, len(rows))
	for i, r := range rows {
		entries[i] = r.Entry
	}
	return storageproof.NewTable(entries)
}

func (s *session) restoreTable(proof wire.Proof, g disk.Generation) error {
	begin := &wire.RestoreBegin{}
	more := func() error {
		begin.More = true
		err := s.call(begin, &wire.Empty{})
		begin = &wire.RestoreBegin{}
		return err
	}
	for _, r := range g.Rows {
		if begin.Entries = r.Append(begin.Entries); len(begin.Entries) > part-storageproof.EntrySize {
			if err := more(); err != nil {
				return err
			}
		}
	}
	for _, o := range g.Orders {
		if begin.Orders = append(begin.Orders, wire.Order{ID: o.ID, Root: o.Root, Size: o.Size}); len(begin.Orders) == ordersPart {
			if err := more(); err != nil {
				return err
			}
		}
	}
	if len(begin.Entries)+len(begin.Orders) > 0 {
		if err := more(); err != nil {
			return err
		}
	}
	begin.Standing = proof
	if err := s.call(begin, &wire.Empty{}); err != nil {
		return err
	}
	for _, r := range g.Rows {
		if err := s.restoreSector(r); err != nil {
			return err
		}
	}
	var end wire.RestoreEndReply
	if err := s.call(&wire.RestoreEnd{}, &end); err != nil {
		return err
	}
	lost := map[uint64]bool{}
	for _, id := range end.LostOrders {
		lost[id] = true
	}
	for _, o := range g.Orders {
		at := held
		if lost[o.ID] {
			at = mending
		}
		s.held.restore(o, at, s.under(o.Root))
	}
	for _, id := range end.LostSectors {
		s.Log.Error("sector lost: it does not match the accepted table", "sector", id, "hint", "check the disk: cella verify; its draws fail until the next report leaves it out")
		s.disk.Hold(id) // out of use until no accepted table names it
	}
	s.space.accepted(len(g.Rows))
	s.Log.Info("vault restored", "report", s.base.report.Counter, "sectors", len(g.Rows)-len(end.LostSectors), "lost_sectors", len(end.LostSectors),
		"orders", len(g.Orders)-len(end.LostOrders), "lost_orders", len(end.LostOrders))
	return nil
}

// restoreSector brings one sector back. One that can't be read is left out, and the enclave then counts it as lost.
func (s *session) restoreSector(r disk.Row) error {
	e := r.Entry
	if e.Kind == storageproof.KindFree {
		if err := s.disk.Adopt(e); err != nil {
			if passing(err) {
				return err
			}
			// The vault takes free sectors as they are; this one's draws will fail, so it must leave the table.
			s.Log.Error("free sector lost", "sector", e.ID, "err", err)
			s.disk.Hold(e.ID)
			s.space.add(e.ID, e.Kind)
			s.space.doom(e.ID)
			return nil
		}
		s.space.add(e.ID, e.Kind)
		return nil
	}
	header, records, err := s.disk.Directory(e)
	if passing(err) {
		return err
	}
	if err != nil {
		s.Log.Error("data sector lost", "sector", e.ID, "err", err)
		return nil
	}
	for first := true; first || len(records) > 0; first = false {
		n := min(len(records), part)
		m := &wire.RestoreSector{Sector: e.ID, Directory: records[:n], Last: n == len(records)}
		if first {
			m.Header, m.TagRoot = header, r.Tags
		}
		var reply wire.RestoreSectorReply
		if err := s.call(m, &reply); err != nil {
			var refusal *wire.Error
			if errors.As(err, &refusal) && refusal.Code != wire.CodeInternal {
				s.Log.Error("data sector refused", "sector", e.ID, "err", err)
				return nil
			}
			return err
		}
		if records = records[n:]; m.Last && !reply.Matched {
			return nil // named among the lost ones at the end
		}
	}
	if err := s.disk.Adopt(e); err != nil {
		return err
	}
	s.space.add(e.ID, e.Kind)
	return nil
}

// passing tells errors of the file system that say nothing about the bytes: no permission, too many open files. To take those for a loss
// would make them one.
func passing(err error) bool {
	var file *fs.PathError
	return errors.As(err, &file) && !disk.Unreadable(err)
}

// confirmStanding makes sure, once the new keys are registered, that no report of the session before came in meanwhile. From then on none can,
// and files that the restored table does not name may go.
func (s *session) confirmStanding(ctx context.Context) error {
	if _, err := s.heads.wait(ctx, s.joined.since()+1); err != nil {
		return err
	}
	_, st, err := s.standing(ctx)
	if err != nil {
		return err
	}
	if (st != nil) != s.base.known || st != nil && st.Report != s.base.id {
		return errStale
	}
	if s.base.lost {
		return nil
	}
	if s.base.known {
		if err := errors.Join(s.disk.Keep(s.base.id), disk.MarkLost.Clear(s.Dir)); err != nil {
			return err
		}
	}
	n, err := s.disk.Prune()
	if n > 0 {
		s.Log.Info("removed files that no accepted report names", "sectors", n)
	}
	s.changed.pulse()
	return err
}
