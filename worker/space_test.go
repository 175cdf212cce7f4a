package worker

import (
	"testing"

	"github.com/cella-network/cella/protocol/storageproof"
	"github.com/cella-network/cella/worker/disk"
)

// While no report is accepted, for hours, filling stops before the table differs from the last accepted one in more than an answer of the enclave can
// tell: else no report could be made any more until a restart, which throws away what was not reported.
func TestFillingWaitsForReports(t *testing.T) {
	d, err := disk.Open(t.TempDir(), 4*maxUnreported, testSector)
	if err != nil {
		t.Fatal(err)
	}
	var s space
	s.init(d, 4*maxUnreported)
	fills := func() bool {
		_, fill := s.plan()
		return fill
	}
	for id := range uint32(maxUnreported) {
		if id%1000 == 0 && !fills() {
			t.Fatalf("not filled with %d sectors", id)
		}
		s.add(id, storageproof.KindFree)
	}
	if fills() {
		t.Errorf("filled with %d sectors that no report names", maxUnreported)
	}
	s.accepted(1)
	if !fills() {
		t.Error("not filled after a report")
	}
}
