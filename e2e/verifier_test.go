package e2e

import (
	"bytes"
	"context"
	"os"
	"path/filepath"
	"testing"
	"time"

	cmtbytes "github.com/cometbft/cometbft/libs/bytes"
	rpcclient "github.com/cometbft/cometbft/rpc/client"
	rpchttp "github.com/cometbft/cometbft/rpc/client/http"
	ctypes "github.com/cometbft/cometbft/rpc/core/types"
	"github.com/ipfs/go-cid"

	"github.com/cella-network/cella/client"
	"github.com/cella-network/cella/protocol/storageproof"
)

// Whoever stored a file sees from a block that he trusts, whatever his node says, that each holder has proven it.
func TestVerifierSeesTheHolders(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), 3*time.Minute)
	defer cancel()
	home := t.TempDir()
	path := filepath.Join(home, "file")
	if err := os.WriteFile(path, bytes.Repeat([]byte("seen from outside "), 1000), 0o600); err != nil {
		t.Fatal(err)
	}
	c := client.New(client.Options{Home: home, Chain: net.chain, Account: net.alice, Listen: []string{"/ip4/127.0.0.1/tcp/0"}, Loopback: true})
	put, err := c.Put(ctx, client.PutRequest{Path: path, Replicas: 2, Days: 1})
	if err != nil {
		t.Fatal(err)
	}
	stat, err := c.Stat(ctx, put.Root)
	if err != nil {
		t.Fatal(err)
	}
	root, err := cid.Decode(put.Root)
	if err != nil {
		t.Fatal(err)
	}
	ref := storageproof.OrderRef{ID: put.Order, Root: root.Bytes(), Size: put.Size}

	// The trust root comes from another node than the one that is asked.
	other, err := client.Dial(ctx, net.Nodes[1].RPC)
	if err != nil {
		t.Fatal(err)
	}
	trusted, err := other.BlockHash(ctx, 2)
	if err != nil {
		t.Fatal(err)
	}
	v, err := client.NewVerifier(ctx, net.chain, 2, trusted)
	if err != nil {
		t.Fatal(err)
	}
	if len(stat.Orders) != 1 || len(stat.Orders[0].Holders) != 2 {
		t.Fatalf("%+v", stat.Orders)
	}
	var holder [20]byte
	for _, h := range stat.Orders[0].Holders {
		if holder, err = client.DecodeAddress(h.Operator); err != nil {
			t.Fatal(err)
		}
		st, err := v.Holds(ctx, holder, ref)
		if err != nil {
			t.Fatalf("%s: %v", h.Operator, err)
		}
		if st.Height < h.LastProof || st.Stored == 0 || st.Account != holder {
			t.Errorf("%s: standing %+v, stat says %d", h.Operator, st, h.LastProof)
		}
		if _, err := v.Node(ctx, holder, 0); err != nil {
			t.Errorf("%s: node record: %v", h.Operator, err)
		}
	}
	wrong := ref
	wrong.Size++
	if _, err := v.Holds(ctx, holder, wrong); !client.IsKind(err, client.KindUnproven) {
		t.Errorf("another size: %v", err)
	}
	if _, _, err := v.Standing(ctx, [20]byte{1}, 0); !client.IsKind(err, client.KindNotFound) {
		t.Errorf("an account that never reported: %v", err)
	}

	http, err := rpchttp.New(net.Nodes[0].RPC, "/websocket")
	if err != nil {
		t.Fatal(err)
	}
	for _, lie := range []string{"value", "absence", "proof", "header"} {
		t.Run(lie, func(t *testing.T) {
			node := &liar{RPC: http}
			chain, err := client.NewChain(ctx, node)
			if err != nil {
				t.Fatal(err)
			}
			v, err := client.NewVerifier(ctx, chain, 2, trusted)
			if err != nil {
				t.Fatal(err)
			}
			node.lie = lie
			if st, _, err := v.Standing(ctx, holder, 0); !client.IsKind(err, client.KindUnproven) {
				t.Fatalf("%+v, %v", st, err)
			}
		})
	}
	trusted[0] ^= 1
	if _, err := client.NewVerifier(ctx, net.chain, 2, trusted); !client.IsKind(err, client.KindUnproven) {
		t.Errorf("a block of another hash was taken for the trust root: %v", err)
	}
}

// liar is a node that changes what it passes on.
type liar struct {
	client.RPC
	lie string
}

func (l *liar) ABCIQueryWithOptions(ctx context.Context, path string, data cmtbytes.HexBytes, o rpcclient.ABCIQueryOptions) (*ctypes.ResultABCIQuery, error) {
	r, err := l.RPC.ABCIQueryWithOptions(ctx, path, data, o)
	if err != nil || !o.Prove {
		return r, err
	}
	switch l.lie {
	case "value":
		r.Response.Value[len(r.Response.Value)-1] ^= 1 // a failed height more
	case "absence":
		r.Response.Value = nil
	case "proof":
		ops := r.Response.ProofOps.Ops
		ops[0].Data[len(ops[0].Data)/2] ^= 1
	}
	return r, nil
}

func (l *liar) BlockchainInfo(ctx context.Context, from, to int64) (*ctypes.ResultBlockchainInfo, error) {
	r, err := l.RPC.BlockchainInfo(ctx, from, to)
	if err == nil && l.lie == "header" {
		for _, m := range r.BlockMetas {
			m.Header.AppHash = bytes.Repeat([]byte{7}, 32)
		}
	}
	return r, err
}
