package soak

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"

	sdk "github.com/cosmos/cosmos-sdk/types"

	"github.com/cella-network/cella/api/market"
	"github.com/cella-network/cella/chain/app"
	"github.com/cella-network/cella/client"
	"github.com/cella-network/cella/worker/journal"
)

// whole waits until every acknowledged order has all its replicas proven, by whomever.
func (r *run) whole(ctx context.Context) {
	chain, err := client.Dial(ctx, r.net.Nodes[0].RPC)
	if err != nil {
		r.Fatal(err)
	}
	for _, a := range r.acks {
		if err := r.net.Wait(ctx, func(ctx context.Context) (bool, error) {
			o, err := chain.Market.Order(ctx, &market.QueryOrderRequest{Id: a.Order})
			if err != nil {
				return false, err
			}
			proven := 0
			for _, rep := range o.Replicas {
				if rep.Proven && rep.Lost == 0 {
					proven++
				}
			}
			return proven >= replicas, fmt.Errorf("order %d has %d of %d replicas", a.Order, proven, replicas)
		}); err != nil {
			r.Fatal(err)
		}
	}
	r.Logf("%d orders are whole, %d replicas each", len(r.acks), replicas)
}

// books holds for each account the entries that explain it against its balance.
func (r *run) books(ctx context.Context) {
	chain, err := client.Dial(ctx, r.net.Nodes[0].RPC)
	if err != nil {
		r.Fatal(err)
	}
	src := journal.Node{Chain: chain}
	first, last, err := src.Span(ctx)
	if err != nil {
		r.Fatal(err)
	}
	if first != 1 {
		r.Fatalf("the node has blocks from %d on: nothing can be held against genesis", first)
	}
	opening := r.genesis()
	accounts := map[string]string{"the user": r.net.User.Address}
	for i, n := range r.net.Nodes {
		accounts[fmt.Sprintf("node%d", i)] = n.Address
	}
	for name, address := range accounts {
		var sum int64
		entries, rules := 0, map[string]int64{}
		err := journal.Read(ctx, src, address, first, last, func(block []journal.Entry) error {
			for _, e := range block {
				sum += e.Amount
				entries++
				if e.Kind == journal.KindOther || e.Kind == journal.KindGap {
					r.Errorf("%s: block %d: nothing explains %+d ucella: %+v", name, e.Height, e.Amount, e)
				}
				rules[e.Rule] += e.Amount
			}
			return nil
		})
		if err != nil {
			r.Fatalf("%s: %v", name, err)
		}
		after, err := src.Balance(ctx, address, last)
		if err != nil {
			r.Fatal(err)
		}
		if change := int64(after) - opening[address]; sum != change {
			r.Errorf("%s: %d entries up to block %d add up to %d ucella, the balance changed by %d", name, entries, last, sum, change)
		}
		r.Logf("%s: %d entries explain %+d ucella up to block %d: %v", name, entries, sum, last, rules)
	}
}

// genesis is what each account began with.
func (r *run) genesis() map[string]int64 {
	var doc struct {
		State struct {
			Bank struct {
				Balances []struct {
					Address string    `json:"address"`
					Coins   sdk.Coins `json:"coins"`
				} `json:"balances"`
			} `json:"bank"`
		} `json:"app_state"`
	}
	b, err := os.ReadFile(filepath.Join(r.net.Nodes[0].Home, "config", "genesis.json"))
	r.must(err)
	r.must(json.Unmarshal(b, &doc))
	opening := map[string]int64{}
	for _, a := range doc.State.Bank.Balances {
		opening[a.Address] = a.Coins.AmountOf(app.Denom).Int64()
	}
	return opening
}
