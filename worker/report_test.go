package worker

import (
	"crypto/sha256"
	"testing"

	"github.com/cella-network/cella/protocol/storageproof"
	"github.com/cella-network/cella/worker/disk"
)

// A signed report may be accepted as long as the chain counts it as young enough, and it counts from the seed of a later height. What it names must be on disk
// until then: with the chain's standing and without the tables of it, the node could only declare its disk lost.
func TestTablesStayWhileTheirReportMayBeAccepted(t *testing.T) {
	d, err := disk.Open(t.TempDir(), 4, testSector)
	if err != nil {
		t.Fatal(err)
	}
	r := &reporter{session: &session{disk: d}, waiting: map[[32]byte]proposal{}}
	r.terms.maxAge = 10
	save := func(height int64) [32]byte {
		report := storageproof.Report{Counter: uint64(height), Height: height}
		g := disk.Generation{Report: report.Marshal()}
		if err := d.Save(g); err != nil {
			t.Fatal(err)
		}
		id := sha256.Sum256(g.Report)
		r.waiting[id] = proposal{report: report, gen: g}
		return id
	}
	there := func(id [32]byte) bool {
		_, err := d.Load(id)
		return err == nil
	}
	base, posted := save(40), save(50)
	delete(r.waiting, base)
	r.base.id = base
	for _, at := range []struct {
		head, seed int64
		lost, want bool
	}{
		{head: 51, seed: 49, want: true},
		{head: 90, seed: 50, want: true}, // no seed of a later height is known: no block that it could be too old for
		{head: 100, seed: 53, want: true},
		{head: 110, seed: 63, want: true},
		{head: 111, seed: 64, lost: true, want: true}, // while the disk is being declared lost nothing goes
		{head: 111, seed: 64, want: false},
	} {
		r.heads.set(at.head)
		r.seeds.tip, r.base.lost = at.seed, at.lost
		if err := r.expire(); err != nil {
			t.Fatal(err)
		}
		if got := there(posted); got != at.want {
			t.Errorf("head %d, seeds up to %d, lost %v: the report's table is there: %v, want %v", at.head, at.seed, at.lost, got, at.want)
		}
		if !there(base) {
			t.Errorf("head %d: the table of the accepted report is gone", at.head)
		}
	}
}
