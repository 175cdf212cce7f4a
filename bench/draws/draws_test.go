package main

import "testing"

func TestDrawsOverSmallSectors(t *testing.T) {
	c := config{dir: t.TempDir(), sectorSize: 4 << 20, free: 2, data: 1, draws: 24}
	r, err := c.run()
	if err != nil {
		t.Fatal(err)
	}
	if r.answered != c.draws || r.filled < 3*3<<20 {
		t.Errorf("%+v", r)
	}
	if rows := r.rows(c); len(rows) != 3 {
		t.Errorf("%d rows", len(rows))
	}
}
