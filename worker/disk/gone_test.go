package disk

import (
	"errors"
	"os"
	"path/filepath"
	"testing"
)

// TestAnotherDiskIsMounted holds that a folder of another node, mounted where ours was, is not taken for it.
func TestAnotherDiskIsMounted(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "disk")
	d := open(t, dir, 4)
	d.freeSector(t)
	if err := os.Rename(dir, dir+".away"); err != nil {
		t.Fatal(err)
	}
	open(t, dir, 4).Close()
	if err := d.Present(); !errors.Is(err, ErrGone) {
		t.Errorf("%v, want ErrGone", err)
	}
	if _, err := d.Damaged(); !errors.Is(err, ErrGone) {
		t.Errorf("%v, want ErrGone", err)
	}
}
