package devnet

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	rpchttp "github.com/cometbft/cometbft/rpc/client/http"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"

	nodetypes "github.com/cosmos/cosmos-sdk/client/grpc/node"
	banktypes "github.com/cosmos/cosmos-sdk/x/bank/types"

	"github.com/cella-network/cella/chain/app"
)

// binary is the program under test: $CELLA_BIN, or what `make build` leaves.
func binary(t *testing.T) string {
	t.Helper()
	path := os.Getenv("CELLA_BIN")
	if path == "" {
		path = "../build/cella"
	}
	if _, err := os.Stat(path); err != nil {
		t.Fatalf("%v: make build first", err)
	}
	return path
}

// within is a context that ends after d, or with the test.
func within(t *testing.T, d time.Duration) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeoutCause(t.Context(), d, fmt.Errorf("not within %v", d))
	t.Cleanup(cancel)
	return ctx
}

// reached waits until a node has a block of a height.
func reached(t *testing.T, n *Network, i int, height int64) {
	t.Helper()
	if err := n.Wait(within(t, time.Minute), func(ctx context.Context) (bool, error) {
		h, err := n.Height(ctx, i)
		return err == nil && h >= height, errors.Join(err, fmt.Errorf("%s is at %d of %d", nodeName(i), h, height))
	}); err != nil {
		t.Fatal(err)
	}
}

func height(t *testing.T, n *Network, i int) int64 {
	t.Helper()
	h, err := n.Height(within(t, 10*time.Second), i)
	if err != nil {
		t.Fatal(err)
	}
	return h
}

// A network of real processes survives the death of one node and of all of them, and no node ends up with another state.
func TestNetwork(t *testing.T) {
	home := filepath.Join(t.TempDir(), "net")
	began := time.Now()
	n, err := Start(within(t, time.Minute), Config{Home: home, Binary: binary(t), BlockTime: 400 * time.Millisecond})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := n.Close(); err != nil {
			t.Error(err)
		}
	})
	t.Logf("%d nodes made blocks after %v", len(n.Nodes), time.Since(began).Round(time.Millisecond))

	t.Run("endpoints", func(t *testing.T) { testEndpoints(t, n) })
	t.Run("memory", func(t *testing.T) {
		var sum uint64
		for i := range n.Nodes {
			m, err := n.Memory(i)
			if err != nil || m == 0 {
				t.Fatalf("%s: %d bytes, %v", nodeName(i), m, err)
			}
			sum += m
		}
		if sum > 2<<30 {
			t.Errorf("the network takes %d MiB, want at most 2048", sum>>20)
		}
		t.Logf("proportional set size: %d MiB", sum>>20)
	})
	t.Run("one dies", func(t *testing.T) {
		if err := n.Kill(1); err != nil {
			t.Fatal(err)
		}
		if n.Running(1) {
			t.Fatal("it still runs")
		}
		at := height(t, n, 0) + 3 // three of four are more than two thirds
		reached(t, n, 0, at)
		if err := n.StartNode(1); err != nil {
			t.Fatal(err)
		}
		reached(t, n, 1, at+2)
		testAgreement(t, n, at+1)
	})
	t.Run("all die", func(t *testing.T) {
		at := height(t, n, 0)
		for i := range n.Nodes {
			if err := n.Kill(i); err != nil {
				t.Fatal(err)
			}
		}
		for i := range n.Nodes {
			if err := n.StartNode(i); err != nil {
				t.Fatal(err)
			}
		}
		for i := range n.Nodes {
			reached(t, n, i, at+3)
		}
		testAgreement(t, n, at+2)
	})
	t.Run("stop and start", func(t *testing.T) {
		at := height(t, n, 0)
		if _, err := Start(within(t, 10*time.Second), Config{Home: home, Binary: binary(t)}); err == nil || !strings.Contains(err.Error(), "is running") {
			t.Fatalf("a second start of a running network: %v", err)
		}
		if err := n.Close(); err != nil {
			t.Fatal(err)
		}
		again, err := Start(within(t, time.Minute), Config{Home: home, Binary: binary(t)})
		if err != nil {
			t.Fatal(err)
		}
		n = again
		if h := height(t, n, 0); h <= at {
			t.Errorf("after the restart at height %d, before it at %d", h, at)
		}
	})
	t.Run("a node that ends by itself", func(t *testing.T) {
		if err := n.processes[3].signal(syscall.SIGKILL); err != nil {
			t.Fatal(err)
		}
		err := n.Wait(within(t, 30*time.Second), func(context.Context) (bool, error) { return false, nil })
		if err == nil || !strings.Contains(err.Error(), "node3 ended by itself") {
			t.Fatalf("waiting for a dead network: %v", err)
		}
	})
}

// testEndpoints asks every node over every protocol that it serves.
func testEndpoints(t *testing.T, n *Network) {
	info, err := ReadInfo(n.Home)
	if err != nil || len(info.Nodes) != 4 || info.ChainID != "cella-devnet-1" {
		t.Fatalf("network.json: %+v, %v", info, err)
	}
	ctx := within(t, 30*time.Second)
	for i, node := range info.Nodes {
		rpc, err := rpchttp.New(node.RPC, "/websocket")
		if err != nil {
			t.Fatal(err)
		}
		if v, err := rpc.Validators(ctx, nil, nil, nil); err != nil || v.Total != 4 {
			t.Errorf("%s: validators %+v, %v", nodeName(i), v, err)
		}
		conn, err := grpc.NewClient(node.GRPC, grpc.WithTransportCredentials(insecure.NewCredentials()))
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		b, err := banktypes.NewQueryClient(conn).Balance(ctx, &banktypes.QueryBalanceRequest{Address: info.User.Address, Denom: app.Denom})
		if err != nil || !b.Balance.Equal(coins(userBalance)) {
			t.Errorf("%s: the user has %v, %v", nodeName(i), b, err)
		}
		c, err := nodetypes.NewServiceClient(conn).Config(ctx, &nodetypes.ConfigRequest{})
		if err != nil || c.MinimumGasPrice == "" {
			t.Errorf("%s: config %v, %v", nodeName(i), c, err)
		}
		var metadata banktypes.QueryDenomMetadataResponse
		if body := get(t, node.REST+"/cosmos/bank/v1beta1/denoms_metadata/"+app.Denom); json.Unmarshal(body, &metadata) != nil || metadata.Metadata.Display != "CELLA" {
			t.Errorf("%s: metadata over REST: %s", nodeName(i), body)
		}
		for _, url := range []string{node.Metrics, node.REST + "/metrics?format=prometheus"} {
			if body := get(t, url); !strings.Contains(string(body), "cella_consensus_height") {
				t.Errorf("%s: no height in %s", nodeName(i), url)
			}
		}
	}
}

func get(t *testing.T, url string) []byte {
	t.Helper()
	req, err := http.NewRequestWithContext(within(t, 10*time.Second), http.MethodGet, url, nil)
	if err != nil {
		t.Fatal(err)
	}
	r, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Body.Close()
	body, err := io.ReadAll(r.Body)
	if err != nil {
		t.Fatal(err)
	}
	return body
}

// testAgreement compares the state that all nodes committed at a height.
func testAgreement(t *testing.T, n *Network, height int64) {
	t.Helper()
	var want string
	for i, node := range n.Nodes {
		reached(t, n, i, height)
		rpc, err := rpchttp.New(node.RPC, "/websocket")
		if err != nil {
			t.Fatal(err)
		}
		c, err := rpc.Commit(within(t, 10*time.Second), &height)
		if err != nil {
			t.Fatal(err)
		}
		got := c.AppHash.String()
		if want == "" {
			want = got
		}
		if got != want {
			t.Errorf("%s has %s at height %d, node0 %s", nodeName(i), got, height, want)
		}
	}
}

// A program that can't run is reported with its log at once, not when the time is up.
func TestStartFails(t *testing.T) {
	bad := filepath.Join(t.TempDir(), "cella")
	if err := os.WriteFile(bad, []byte("#!/bin/sh\necho no such chain\nexit 1\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	_, err := Start(within(t, time.Minute), Config{Home: filepath.Join(t.TempDir(), "net"), Nodes: 1, Binary: bad})
	if err == nil || !strings.Contains(err.Error(), "no such chain") {
		t.Errorf("got %v", err)
	}
}
