package e2e

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"testing"
	"time"

	"github.com/cosmos/cosmos-sdk/crypto/hd"
	"github.com/cosmos/cosmos-sdk/crypto/keyring"
	sdk "github.com/cosmos/cosmos-sdk/types"

	marketapi "github.com/cella-network/cella/api/market"
	"github.com/cella-network/cella/chain/app"
	"github.com/cella-network/cella/client"
	"github.com/cella-network/cella/client/wallet"
)

const suite = "../client/wallet"

// What wallets are told about the chain is what the application says of itself.
func TestChainRegistry(t *testing.T) {
	if client.Prefix != app.Prefix || client.Denom != app.Denom {
		t.Fatalf("the client takes %s and %s for the chain's %s and %s", client.Prefix, client.Denom, app.Prefix, app.Denom)
	}
	n := net.Nodes[0]
	chain, assets, err := wallet.Describe(t.Context(), net.chain, wallet.APIs{RPC: n.RPC, REST: n.REST})
	if err != nil {
		t.Fatal(err)
	}
	if chain.ChainID != net.ChainID || chain.Bech32Prefix != app.Prefix || chain.Slip44 != int(sdk.GetConfig().GetCoinType()) || chain.NetworkType != "devnet" {
		t.Errorf("chain.json: %+v", chain)
	}
	if fee := chain.Fees.FeeTokens[0]; string(fee.FixedMinGasPrice)+fee.Denom != app.MinGasPrice {
		t.Errorf("gas price %s%s, the application's is %s", fee.FixedMinGasPrice, fee.Denom, app.MinGasPrice)
	}
	a := assets.Assets[0]
	if a.Base != app.Denom || a.Display == "" || a.Name == "" || a.Symbol == "" || assets.ChainName != chain.ChainName {
		t.Errorf("assetlist.json: %+v", assets)
	}
	units := map[string]uint32{}
	for _, u := range a.DenomUnits {
		units[u.Denom] = u.Exponent
	}
	if len(units) != len(a.DenomUnits) || units[a.Display] != 6 || units[a.Base] != 0 {
		t.Errorf("units of the coin: %v", units)
	}
	// The registry's schema wants numbers where figures are, and an address in each list that is there.
	var loose map[string]any
	b, err := json.Marshal(chain)
	if err == nil {
		err = json.Unmarshal(b, &loose)
	}
	if err != nil {
		t.Fatal(err)
	}
	token := loose["fees"].(map[string]any)["fee_tokens"].([]any)[0].(map[string]any)
	low, average, high := token["low_gas_price"].(float64), token["average_gas_price"].(float64), token["high_gas_price"].(float64)
	if low <= 0 || low > average || average > high {
		t.Errorf("gas prices %v %v %v", low, average, high)
	}
	if apis := loose["apis"].(map[string]any); apis["grpc"] != nil || apis["rpc"] == nil {
		t.Errorf("apis: %v", apis)
	}
}

// An unmodified wallet library places an order and ends it, with both ways to sign that wallets have.
func TestWalletLibrary(t *testing.T) {
	for _, tool := range []string{"node", "npm"} {
		if _, err := exec.LookPath(tool); err != nil {
			t.Fatalf("%s is needed: %v", tool, err)
		}
	}
	dir := t.TempDir()
	for _, name := range []string{"package.json", "package-lock.json", "suite.mjs"} {
		b, err := os.ReadFile(filepath.Join(suite, name))
		if err != nil {
			t.Fatal(err)
		}
		if name == "package-lock.json" && bytes.Contains(b, []byte(`"resolved"`)) {
			t.Error("package-lock.json names the hosts of a registry")
		}
		if err := os.WriteFile(filepath.Join(dir, name), b, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	ctx, cancel := context.WithTimeout(t.Context(), 4*time.Minute)
	defer cancel()
	npm := exec.CommandContext(ctx, "npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund")
	npm.Dir = dir
	if out, err := npm.CombinedOutput(); err != nil {
		t.Fatalf("npm ci: %v\n%s", err, out)
	}
	n := net.Nodes[0]
	chain, assets, err := wallet.Describe(ctx, net.chain, wallet.APIs{RPC: n.RPC})
	if err != nil {
		t.Fatal(err)
	}
	proto, err := filepath.Abs("../proto")
	if err != nil {
		t.Fatal(err)
	}
	for _, mode := range []string{"direct", "amino"} {
		t.Run(mode, func(t *testing.T) {
			kr, err := openKeyring(t.TempDir())
			if err != nil {
				t.Fatal(err)
			}
			rec, words, err := kr.NewMnemonic("w", keyring.English, sdk.GetConfig().GetFullBIP44Path(), "", hd.Secp256k1)
			if err != nil {
				t.Fatal(err)
			}
			addr, err := rec.GetAddress()
			if err != nil {
				t.Fatal(err)
			}
			if err := net.fund(ctx, addr.String(), 10_000_000); err != nil {
				t.Fatal(err)
			}
			root := []byte("\x01\x55\x12\x20" + mode + "                                ")[:36]
			input, err := json.Marshal(map[string]any{
				"chain": chain, "assets": assets, "proto": proto, "mnemonic": words, "mode": mode,
				// A price that no operator takes: the whole escrow comes back.
				"order": map[string]any{"root": base64.StdEncoding.EncodeToString(root), "size": "5000000000", "blocks": "1000000", "replicas": 2, "price": "7",
					"addrs": []string{"/ip4/127.0.0.1/tcp/9/p2p/12D3KooWDpJ7As7BWAwRMfu1VU2WCqNjvq387JEYKDBj4kx6nXTN"}},
			})
			if err != nil {
				t.Fatal(err)
			}
			cmd := exec.CommandContext(ctx, "node", "suite.mjs", string(input))
			cmd.Dir = dir
			var stderr bytes.Buffer
			cmd.Stderr = &stderr
			out, err := cmd.Output()
			if err != nil {
				t.Fatalf("%v\n%s", err, stderr.String())
			}
			var did struct{ Address, Order, Escrow, Refund, Before, After string }
			if err := json.Unmarshal(out, &did); err != nil {
				t.Fatalf("%v: %s", err, out)
			}
			if did.Address != addr.String() {
				t.Errorf("the wallet derives %s from the words, the keyring %s", did.Address, addr)
			}
			figure := func(s string) uint64 {
				v, err := strconv.ParseUint(s, 10, 64)
				if err != nil {
					t.Fatal(err)
				}
				return v
			}
			if figure(did.Escrow) == 0 || did.Escrow != did.Refund {
				t.Errorf("escrow %s, refund %s", did.Escrow, did.Refund)
			}
			if fees := figure(did.Before) - figure(did.After); fees == 0 || fees > 5_000 {
				t.Errorf("two transactions cost %d ucella", fees)
			}
			o, err := net.chain.Market.Order(ctx, &marketapi.QueryOrderRequest{Id: figure(did.Order)})
			if err != nil {
				t.Fatal(err)
			}
			if o.Order.Owner != did.Address || !o.Order.Closed || !bytes.Equal(o.Order.Root, root) || o.Order.Size_ != 5_000_000_000 || o.Order.Replicas != 2 || o.Order.Price != 7 {
				t.Errorf("on the chain: %+v", o.Order)
			}
		})
	}
}
