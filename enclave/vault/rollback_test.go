package vault

import (
	"bytes"
	"slices"
	"testing"
)

// TestOneSectorRolledBack puts one sector's file and directory back to the day before, all else stays: draws of what was sealed since
// fail while the enclave lives, and a new one takes neither the sector nor the orders that need it for whole.
func TestOneSectorRolledBack(t *testing.T) {
	s := readySim(t)
	must(t, s.open(1))
	s.hold(1, 1, newDag("old", 5000))
	s.slot()
	f := s.disk[1]
	bytesThen, directoryThen := bytes.Clone(f.bytes), bytes.Clone(f.directory)
	s.hold(2, 1, newDag("new", 60_000, 60_000, 60_000))
	s.slot()
	f.bytes, f.directory = bytesThen, directoryThen

	s.now += 30
	if _, failed := s.draw(); failed == 0 {
		t.Error("no draw failed")
	}
	end := s.restart()
	if !slices.Equal(end.LostSectors, []uint32{1}) || !slices.Equal(end.LostOrders, []uint64{1, 2}) {
		t.Errorf("lost are sectors %v and orders %v", end.LostSectors, end.LostOrders)
	}
}
