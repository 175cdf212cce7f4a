package node

import (
	"context"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	rpchttp "github.com/cometbft/cometbft/rpc/client/http"
	cmttypes "github.com/cometbft/cometbft/types"
)

// RPC is served by us, not by CometBFT: its settings must still hold.
func TestRPC(t *testing.T) {
	w := newNetwork(t, 100)
	w.connect(t, 0, func(s *Settings) {
		s.Comet.RPC.ListenAddress = "tcp://127.0.0.1:0, tcp://127.0.0.1:0"
		s.Comet.RPC.GRPCListenAddress = "tcp://127.0.0.1:0"
		s.Comet.RPC.CORSAllowedOrigins, s.Comet.RPC.Unsafe = []string{"https://wallet.example.org"}, true
	})
	w.start(t, 0)
	w.reach(t, 2)
	c := w.nodes[0].comet
	if len(c.listeners) != 3 {
		t.Fatalf("%d addresses are served, want two and gRPC", len(c.listeners))
	}
	address := c.listeners[1].Addr().String()
	for path, want := range map[string]string{
		"status":                    `"catching_up":false`,
		"dump_consensus_state":      `"round_state"`,
		"validators?height=2":       `"voting_power"`,
		"unsafe_flush_mempool":      `"result":{}`,
		"consensus_params?height=2": `"block"`,
	} {
		req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://"+address+"/"+path, nil)
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("Origin", "https://wallet.example.org")
		res, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		body, err := io.ReadAll(res.Body)
		if res.Body.Close(); err != nil || !strings.Contains(string(body), want) {
			t.Errorf("%s: %v, %s", path, err, body)
		}
		if got := res.Header.Get("Access-Control-Allow-Origin"); got != "https://wallet.example.org" {
			t.Errorf("%s is allowed to %q", path, got)
		}
	}
	hearsBlocks(t, "tcp://"+address)
}

func hearsBlocks(t *testing.T, address string) {
	t.Helper()
	c, err := rpchttp.New(address, "/websocket")
	if err != nil {
		t.Fatal(err)
	}
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() { _ = c.Stop() }()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	blocks, err := c.Subscribe(ctx, "test", cmttypes.EventQueryNewBlock.String())
	if err != nil {
		t.Fatal(err)
	}
	select {
	case <-blocks:
	case <-ctx.Done():
		t.Error("no block over the websocket")
	}
}
