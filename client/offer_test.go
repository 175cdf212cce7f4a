package client

import (
	"errors"
	"os"
	"path/filepath"
	"syscall"
	"testing"

	"github.com/cosmos/gogoproto/proto"

	marketapi "github.com/cella-network/cella/api/market"
	"github.com/cella-network/cella/api/work"
)

func mkfifo(t *testing.T, path string) {
	t.Helper()
	if err := syscall.Mkfifo(path, 0o600); err != nil {
		t.Fatal(err)
	}
}

// The offer is the n-th cheapest ask that has room; asks beyond a page count too.
func TestPrice(t *testing.T) {
	n := newNode(t)
	asks := []marketapi.Ask{
		{Operator: "full", Price: 1, MaxSize: 1000},
		{Operator: "small", Price: 2, MaxSize: 10},
		{Operator: "silent", Price: 3, MaxSize: 1000},
		{Operator: "c", Price: 30, MaxSize: 1000},
		{Operator: "a", Price: 10, MaxSize: 1000},
		{Operator: "withdrawn", Price: 0, MaxSize: 1000},
		{Operator: "b", Price: 20, MaxSize: 100},
	}
	n.query["/cella.market.v1.Query/Asks"] = func(b []byte) (proto.Message, error) {
		var req marketapi.QueryAsksRequest
		if err := proto.Unmarshal(b, &req); err != nil {
			return nil, err
		}
		at := 0
		if len(req.Pagination.Key) > 0 {
			at = int(req.Pagination.Key[0])
		}
		res := &marketapi.QueryAsksResponse{Asks: asks[at : at+1], Pagination: pageTo(at+1, len(asks))}
		return res, nil
	}
	n.query["/cella.work.v1.Query/Standings"] = func([]byte) (proto.Message, error) {
		return &work.QueryStandingsResponse{Standings: []work.Standing{
			{Operator: "full", Free: 99}, {Operator: "small", Free: 1000}, {Operator: "a", Free: 100}, {Operator: "b", Free: 100}, {Operator: "c", Free: 100}, {Operator: "withdrawn", Free: 100},
		}}, nil
	}
	chain, err := NewChain(t.Context(), n)
	if err != nil {
		t.Fatal(err)
	}
	for replicas, want := range map[uint32]uint64{1: 10, 2: 20, 3: 30} {
		if got, err := chain.price(t.Context(), 100, replicas); err != nil || got != want {
			t.Errorf("%d replicas: %d, %v, want %d", replicas, got, err, want)
		}
	}
	_, err = chain.price(t.Context(), 100, 4)
	var e *Error
	if !errors.As(err, &e) || e.Kind != KindBusy || e.Hint == "" {
		t.Errorf("four replicas of three operators: %v", err)
	}
}

func TestPutChecksBeforeItReads(t *testing.T) {
	n := newNode(t)
	home := t.TempDir()
	a := testAccount(t, n)
	c := New(Options{Home: home, Chain: a.chain, Account: a})
	missing := filepath.Join(home, "missing")
	for name, r := range map[string]PutRequest{
		"no replicas":       {Path: home, Days: 1},
		"too many replicas": {Path: home, Days: 1, Replicas: 201},
		"no days":           {Path: home, Replicas: 1},
		"no file":           {Path: missing, Replicas: 1, Days: 1},
	} {
		if _, err := c.Put(t.Context(), r); !IsKind(err, KindUsage) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if left, err := os.ReadDir(home); err != nil || len(left) != 0 || n.offered != 0 {
		t.Errorf("%v was written, %d transactions sent (%v)", left, n.offered, err)
	}
}
