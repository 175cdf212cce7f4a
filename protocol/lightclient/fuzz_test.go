package lightclient_test

import (
	"testing"
	"time"

	"github.com/cella-network/cella/protocol/lightclient"
)

func FuzzHeader(f *testing.F) {
	c := four(f)
	for h := int64(1); h <= 3; h++ {
		f.Add(c.header(f, h))
	}
	f.Add([]byte{})
	f.Fuzz(func(t *testing.T, b []byte) { parseLikeOracle(t, b) })
}

func FuzzFollow(f *testing.F) {
	c := newChain(f, "cella-1", map[string]int64{"ann": 4, "bob": 3, "cyd": 3})
	c.grow(f)
	c.powers = map[string]int64{"ann": 1, "dan": 3}
	c.grow(f)
	c.grow(f)
	block := lightclient.Block{Header: c.header(f, 1), Commit: c.commit(f, 1), Validators: c.validators(f, 1)}
	root := c.hash(1)
	f.Add(c.header(f, 2), []byte{}, c.commit(f, 2), c.validators(f, 2))
	f.Add(c.header(f, 2), c.header(f, 3), c.commit(f, 3), c.validators(f, 3))
	f.Fuzz(func(t *testing.T, first, second, commit, validators []byte) {
		client, err := lightclient.New(c.id, 1, root, block, lightclient.Options{TrustingPeriod: 100, Keep: 2})
		if err != nil {
			t.Fatal(err)
		}
		headers, last := [][]byte{first}, first
		if len(second) > 0 {
			headers, last = append(headers, second), second
		}
		_ = client.History(headers)
		if err := client.Follow(headers, commit, validators); err != nil {
			if client.Head().Hash != root || client.Oldest() != 1 {
				t.Fatal("something changed on an error")
			}
			return
		}
		if err := oracle(c, 1, 100*time.Second, last, commit, validators); err != nil {
			t.Fatalf("accepted, but the oracle says %v", err)
		}
	})
}

// The fuzzer may choose value and proofs; only the true value is ever accepted.
func FuzzProof(f *testing.F) {
	c := stateChain(f, 7)
	app := c.blocks[1].AppHash
	truth := map[string]string{}
	for _, k := range []string{"key000", "key003", "key004", "key012", "zzz", "a"} {
		value, proof := c.query(f, 1, "work", k)
		truth[k] = string(value)
		f.Add(k, value, proof.Store, proof.Root)
		f.Add(k, []byte("forged"), proof.Store, proof.Root)
	}
	f.Fuzz(func(t *testing.T, k string, value, store, root []byte) {
		if lightclient.VerifyValue(app, "work", []byte(k), value, lightclient.Proof{Store: store, Root: root}) != nil {
			return
		}
		want, known := truth[k]
		if !known {
			got, _ := c.query(t, 1, "work", k)
			want = string(got)
		}
		if want != string(value) {
			t.Fatalf("%q: proved %q, the store says %q", k, value, want)
		}
	})
}
