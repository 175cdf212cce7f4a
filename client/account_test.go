package client

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"

	ctypes "github.com/cometbft/cometbft/rpc/core/types"
	sdk "github.com/cosmos/cosmos-sdk/types"

	marketapi "github.com/cella-network/cella/api/market"
)

func settle(a *Account) sdk.Msg { return &marketapi.MsgSettle{Sender: a.Address, Order: 1} }

func TestPostManyAtOnce(t *testing.T) {
	n := newNode(t)
	a := testAccount(t, n)
	const many = 20
	var all sync.WaitGroup
	for range many {
		all.Go(func() {
			if _, err := a.Post(t.Context(), settle(a)); err != nil {
				t.Error(err)
			}
		})
	}
	all.Wait()
	if len(n.executed) != many || n.sequence != 3+many {
		t.Fatalf("%d executed up to sequence %d, want %d", len(n.executed), n.sequence, many)
	}
}

// Whatever a node does, a message is executed once or Post says why not.
func TestPostRetries(t *testing.T) {
	first := func(n int, r *ctypes.ResultBroadcastTx, err error) func(int) (*ctypes.ResultBroadcastTx, error) {
		return func(attempt int) (*ctypes.ResultBroadcastTx, error) {
			if attempt <= n {
				return r, err
			}
			return nil, nil
		}
	}
	for _, c := range []struct {
		name string
		set  func(n *fakeNode)
		want Kind // empty: executed
		more string
	}{
		{name: "plain", set: func(*fakeNode) {}},
		{name: "mempool full, by code", set: func(n *fakeNode) {
			n.admit = first(2, &ctypes.ResultBroadcastTx{Code: codeMempoolFull, Codespace: sdkSpace}, nil)
		}},
		{name: "mempool full, by error", set: func(n *fakeNode) {
			n.admit = first(1, nil, errors.New("RPC error -32603 - Internal error: mempool is full: number of txs 5 (max: 5)"))
		}},
		{name: "sequence off by a transaction of another process", set: func(n *fakeNode) {
			n.admit = first(1, &ctypes.ResultBroadcastTx{Code: codeSequence, Codespace: sdkSpace}, nil)
		}},
		{name: "passed over until it is void", set: func(n *fakeNode) {
			n.include = func(run int) bool { return run > lifetime+5 }
		}},
		{name: "out of gas", set: func(n *fakeNode) {
			n.execute = func(_ int, gas uint64) (uint32, string) {
				if gas < 150_000 {
					return codeOutOfGas, sdkSpace
				}
				return 0, ""
			}
		}},
		{name: "no account", set: func(n *fakeNode) { n.absent = true }, want: KindFunds, more: "does not exist"},
		{name: "no coins", set: func(n *fakeNode) {
			n.execute = func(int, uint64) (uint32, string) { return codeFunds, sdkSpace }
		}, want: KindFunds},
		{name: "a rule of a module", set: func(n *fakeNode) {
			n.execute = func(int, uint64) (uint32, string) { return 2, "market" }
		}, want: KindRefused},
		{name: "a fee that is too low", set: func(n *fakeNode) {
			n.admit = first(1, &ctypes.ResultBroadcastTx{Code: codeFee, Codespace: sdkSpace, Log: "insufficient fees"}, nil)
		}, want: KindFunds, more: "insufficient fees"},
		{name: "the node is gone", set: func(n *fakeNode) {
			n.admit = first(1, nil, errors.New("connection refused"))
		}, want: KindNetwork},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			n := newNode(t)
			a := testAccount(t, n)
			c.set(n)
			res, err := a.Post(t.Context(), settle(a))
			if c.want == "" {
				if err != nil || len(n.executed) != 1 || res.Height == 0 {
					t.Fatalf("%v, executed %d times at %d", err, len(n.executed), res.Height)
				}
				return
			}
			if !IsKind(err, c.want) || !strings.Contains(err.Error(), c.more) || len(n.executed) != 0 {
				t.Fatalf("got %v (executed %d times), want %s", err, len(n.executed), c.want)
			}
			// The failure must not spoil the next one.
			n.mu.Lock()
			n.absent, n.admit, n.execute = false, nil, nil
			n.mu.Unlock()
			if _, err := a.Post(t.Context(), settle(a)); err != nil || len(n.executed) != 1 {
				t.Fatalf("afterwards: %v, executed %d times", err, len(n.executed))
			}
		})
	}
}

// Two processes with one key: both get through, nothing is executed twice.
func TestPostBesideAnotherProcess(t *testing.T) {
	n := newNode(t)
	chain, err := NewChain(t.Context(), n)
	if err != nil {
		t.Fatal(err)
	}
	keys := testKeys(t)
	var all sync.WaitGroup
	for range 2 {
		a, err := NewAccount(chain, keys, "alice")
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(a.Close)
		all.Go(func() {
			for range 3 {
				if _, err := a.Post(t.Context(), settle(a)); err != nil {
					t.Error(err)
				}
			}
		})
	}
	all.Wait()
	if len(n.executed) != 6 {
		t.Fatalf("executed %d, want 6", len(n.executed))
	}
}

// The order of things when money moves: the last height at which a transaction can count is known before it leaves.
func TestPostTellsUntilBeforeItSends(t *testing.T) {
	n := newNode(t)
	a := testAccount(t, n)
	var seen []string
	n.admit = func(int) (*ctypes.ResultBroadcastTx, error) { seen = append(seen, "sent"); return nil, nil }
	res, err := a.post(t.Context(), func(until int64) error {
		seen = append(seen, "until")
		if until <= 10 {
			t.Errorf("until %d", until)
		}
		return nil
	}, settle(a))
	if err != nil || !slices.Equal(seen, []string{"until", "sent"}) {
		t.Fatalf("%v: %v", seen, err)
	}
	if res.Height > 10+lifetime+1 {
		t.Fatalf("included at %d", res.Height)
	}
	stop := errors.New("disk full")
	if _, err := a.post(t.Context(), func(int64) error { return stop }, settle(a)); !errors.Is(err, stop) || n.offered != 1 {
		t.Fatalf("%v after %d broadcasts", err, n.offered)
	}
}

func TestAddress(t *testing.T) {
	raw := hashOf([]byte("x"))
	s, err := EncodeAddress(raw[:20])
	if err != nil || !strings.HasPrefix(s, "cella1") {
		t.Fatal(s, err)
	}
	back, err := DecodeAddress(s)
	if err != nil || back != [20]byte(raw[:20]) {
		t.Fatal(back, err)
	}
	long, _ := EncodeAddress(raw[:])
	for _, bad := range []string{"", "cella1", "cosmos1qqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqnrql8a", long, s[:len(s)-1]} {
		if _, err := DecodeAddress(bad); !IsKind(err, KindUsage) {
			t.Errorf("%q: %v", bad, err)
		}
	}
}

func TestErrorsKeepTheirKind(t *testing.T) {
	inner := refusal("refused", sdkSpace, codeFunds, "5ucella is smaller than 9ucella: insufficient funds\n[stack]")
	err := wrap(KindRefused, "placing the order", inner)
	if !IsKind(err, KindFunds) || err.Error() != "placing the order: refused: 5ucella is smaller than 9ucella: insufficient funds" {
		t.Fatal(err)
	}
	var e *Error
	if !errors.As(err, &e) || e.Hint == "" || !isCode(err, codeFunds) || isCode(err, codeSequence) {
		t.Fatalf("%+v", e)
	}
	if wrap(KindLocal, "x", nil) != nil || IsKind(fmt.Errorf("x"), KindLocal) {
		t.Fatal("an error without a kind has one")
	}
}
