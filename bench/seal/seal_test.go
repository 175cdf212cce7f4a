package main

import "testing"

func TestOneRoundInMemory(t *testing.T) {
	seal, fill, err := memory(1, 1)
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range []figures{seal, fill, best([]float64{2, 1}, []float64{3, 0.5}, 1<<20)} {
		if f.ours <= 0 || f.limit <= 0 || f.ratio <= 0 {
			t.Errorf("%+v", f)
		}
	}
}
