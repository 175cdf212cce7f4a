package main

import (
	"bytes"
	"context"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/grpc"

	"github.com/cella-network/cella/api/market"
	"github.com/cella-network/cella/client"
	"github.com/cella-network/cella/worker/disk"
)

// replicasOf answers each query for a node's replicas with the next of its lists, and with the last ever after.
type replicasOf struct {
	market.QueryClient
	lists [][]market.Replica
}

func (f *replicasOf) Replicas(context.Context, *market.QueryReplicasRequest, ...grpc.CallOption) (*market.QueryReplicasResponse, error) {
	now := f.lists[0]
	if len(f.lists) > 1 {
		f.lists = f.lists[1:]
	}
	return &market.QueryReplicasResponse{Replicas: now}, nil
}

// TestDrainWaitsForProofs holds that nothing is given up for the lapse fee that may still be proven, unless the operator wants it so.
func TestDrainWaitsForProofs(t *testing.T) {
	accepted, proven := market.Replica{}, market.Replica{Proven: true}
	const line = " accepted orders are not proven yet; waiting until they are, or have lapsed (--now gives them up, each for the lapse fee)\n"
	for name, c := range map[string]struct {
		lists [][]market.Replica
		now   bool
		said  string
		took  time.Duration
	}{
		"nothing held":       {lists: [][]market.Replica{nil}},
		"all proven":         {lists: [][]market.Replica{{proven, proven}}},
		"one is proven late": {lists: [][]market.Replica{{accepted, proven, accepted}, {accepted, proven, accepted}, {proven, proven, accepted}, {proven, proven}}, said: "2" + line + "1" + line, took: 3 * drainPause},
		"now":                {lists: [][]market.Replica{{accepted}}, now: true},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var out bytes.Buffer
				d := drain{now: c.now, view: &view{err: &out}, chain: &client.Chain{Market: &replicasOf{lists: c.lists}}, account: &client.Account{Address: "bob"}}
				began := time.Now()
				if err := d.settled(t.Context(), false); err != nil {
					t.Fatal(err)
				}
				if took := time.Since(began); took != c.took || out.String() != c.said {
					t.Errorf("after %s it said %q, want %s and %q", took, &out, c.took, c.said)
				}
			})
		})
	}
}

// TestDrainStopped holds that who stops the waiting is told how things stand, and that the node goes on taking no orders.
func TestDrainStopped(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithTimeout(t.Context(), time.Hour)
		defer cancel()
		d := drain{dir: t.TempDir(), view: &view{err: &bytes.Buffer{}}, chain: &client.Chain{Market: &replicasOf{lists: [][]market.Replica{{{}}}}}, account: &client.Account{Address: "bob"}}
		if err := disk.MarkDraining.Set(d.dir); err != nil {
			t.Fatal(err)
		}
		if err := d.begin(ctx); !client.IsKind(err, client.KindStopped) {
			t.Errorf("it ended with %v", err)
		}
		if !disk.MarkDraining.Stands(d.dir) {
			t.Error("the node takes orders again")
		}
	})
}
