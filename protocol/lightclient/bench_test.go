package lightclient_test

import (
	"testing"
	"time"

	"github.com/cometbft/cometbft/light"
)

// BenchmarkAdjacent moves one block on with 100 validators: ours from the bytes, with all parsing and both sets hashed;
// CometBFT's from parsed structures and with batched signatures.
func BenchmarkAdjacent(b *testing.B) {
	c := newChain(b, "cella-1", crowd(100))
	c.grow(b)
	c.grow(b)
	headers, commit := c.headers(b, 2, 2), c.commit(b, 2)
	set := c.validators(b, 2)
	b.Run("lightclient", func(b *testing.B) {
		for b.Loop() {
			b.StopTimer()
			client := c.trust(b, 1, generous)
			b.StartTimer()
			if err := client.Follow(headers, commit, set); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("cometbft", func(b *testing.B) {
		for b.Loop() {
			if err := light.VerifyAdjacent(c.blocks[0], c.blocks[1], c.sets[1], time.Hour, c.blocks[1].Time, time.Second); err != nil {
				b.Fatal(err)
			}
		}
	})
}

// BenchmarkValue checks one existing key of a store of 400.
func BenchmarkValue(b *testing.B) {
	c := stateChain(b, 400)
	value, proof := c.query(b, 1, "work", "key400")
	client := c.trust(b, 2, generous)
	for b.Loop() {
		if err := client.Value(1, "work", []byte("key400"), value, proof); err != nil {
			b.Fatal(err)
		}
	}
}
