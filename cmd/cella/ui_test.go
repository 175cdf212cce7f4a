package main

import (
	"bytes"
	"strings"
	"testing"
	"time"

	"github.com/vbauerster/mpb/v8"

	"github.com/cella-network/cella/client"
)

// aPut is what a Put tells.
var aPut = []client.Progress{
	{Stage: client.StageRead, Done: 0, Total: 3 << 20},
	{Stage: client.StageRead, Done: 1 << 20, Total: 3 << 20},
	{Stage: client.StageRead, Done: 3 << 20, Total: 3 << 20},
	{Stage: client.StageOffer},
	{Stage: client.StageOrder},
	{Stage: client.StageSend, Total: 6 << 20, Order: 7, Replicas: 2},
	{Stage: client.StageSend, Done: 2 << 20, Total: 6 << 20, Order: 7, Replicas: 2, Accepted: 2},
	{Stage: client.StageSend, Done: 4 << 20, Total: 6 << 20, Order: 7, Replicas: 2, Accepted: 2},
	{Stage: client.StageSend, Done: 6 << 20, Total: 6 << 20, Order: 7, Replicas: 2, Accepted: 2, Proven: 2},
}

func TestPlainLines(t *testing.T) {
	var out bytes.Buffer
	v := &view{err: &out}
	for _, p := range aPut {
		v.progress(p)
	}
	v.close()
	v.close()
	want := `reading: 3.0 MiB
looking: waiting for operators with room
ordering: waiting for a block
storing: order 7, 0 of 2 replicas accepted, 0 proven
storing: order 7, 2 of 2 replicas accepted, 0 proven
storing: order 7, 2 of 2 replicas accepted, 2 proven
`
	if out.String() != want {
		t.Errorf("got\n%swant\n%s", out.String(), want)
	}
}

// However far a command came, closing its bars returns, and they show where it stood.
func TestBarsEnd(t *testing.T) {
	for n := range len(aPut) + 1 {
		var out bytes.Buffer
		v := &view{err: &out, bars: mpb.New(mpb.WithOutput(&out), mpb.WithAutoRefresh(), mpb.WithWidth(120))}
		for _, p := range aPut[:n] {
			v.progress(p)
		}
		ended := make(chan struct{})
		go func() {
			v.close()
			v.close()
			close(ended)
		}()
		select {
		case <-ended:
		case <-time.After(20 * time.Second):
			t.Fatalf("after %d steps the bars never end", n)
		}
		if n == len(aPut) && (!strings.Contains(out.String(), "2 of 2 replicas accepted, 2 proven") || !strings.Contains(out.String(), "3.0 MiB / 3.0 MiB")) {
			t.Errorf("shown:\n%s", out.String())
		}
	}
}

func TestCoins(t *testing.T) {
	for ucella, want := range map[uint64]string{0: "0 CELLA", 1: "0.000001 CELLA", 1_500_000: "1.5 CELLA", 2_000_000: "2 CELLA", 18446744073709551615: "18446744073709.551615 CELLA"} {
		if got := coins(ucella); got != want {
			t.Errorf("%d ucella: %s, want %s", ucella, got, want)
		}
	}
}
