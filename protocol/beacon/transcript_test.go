package beacon

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/cockroachdb/datadriven"

	"github.com/cella-network/cella/protocol/lottery"
	"github.com/cella-network/cella/protocol/threshold"
)

// memory keeps heights in a map.
type memory map[int64]Height

func (m memory) Get(height int64) (Height, error) { return m[height], nil }
func (m memory) Set(height int64, h Height) error { m[height] = h; return nil }
func (m memory) missing(n Numbers) (heights []int64) {
	for h := n.Tip.Height + 1; h <= n.Head; h++ {
		if m[h].Missing {
			heights = append(heights, h)
		}
	}
	return heights
}

// The transcripts follow a chain's numbers.
//
//	charge epoch=1 key=7 from=4 members=(ann,ben,cat,dan)   a group is to be in charge; the same key is a handover
//	block [until=9] [carries=(5,6)] [votes=(ann,ben,cat)]   the next block, or some: numbers carried, and who voted for the height before
//	seed height=5
func TestTranscripts(t *testing.T) {
	datadriven.Walk(t, "testdata/transcripts", func(t *testing.T, path string) {
		n, m := Numbers{ChainID: testChain}, memory{}
		var now, before *threshold.InCharge
		datadriven.RunTest(t, path, func(t *testing.T, d *datadriven.TestData) string {
			var out strings.Builder
			var epoch uint64
			var key int
			var from, until, height int64
			for name, at := range map[string]any{"epoch": &epoch, "key": &key, "from": &from, "until": &until, "height": &height} {
				d.MaybeScanArgs(t, name, at)
			}
			list := func(name string) []string {
				for _, a := range d.CmdArgs {
					if a.Key == name {
						return a.Vals
					}
				}
				return nil
			}
			switch d.Cmd {
			case "charge":
				team := newTeam(t, epoch, key, list("members")...)
				now, before = &threshold.InCharge{Charge: threshold.Charge{Epoch: epoch, From: from}, Keys: team.group}, now
				fmt.Fprintf(&out, "epoch %d signs from height %d, %d shares of %d make a number\n", epoch, from, team.group.Threshold, 2*len(team.group.Seats))
			case "block":
				if until == 0 {
					until = n.Head + 1
				}
				for n.Head < until {
					block(t, &out, &n, m, now, before, list("carries"), list("votes"))
				}
				fmt.Fprintf(&out, "tip %d of %d, missing %v\n", n.Tip.Height, n.Head, m.missing(n))
			case "seed":
				switch seed := m[height].Seed; {
				case height > n.Tip.Height:
					return "not known yet\n"
				case seed == lottery.Seed(numberOf(height)):
					return "its number\n"
				default:
					for h := height; h <= n.Head; h++ {
						if seed == lottery.BlockSeed(testChain, height, hashOf(h)) {
							return fmt.Sprintf("by the hash of block %d\n", h)
						}
					}
					t.Fatal("a seed from nowhere")
				}
			default:
				d.Fatalf(t, "unknown command %q", d.Cmd)
			}
			return out.String()
		})
	})
}

func hashOf(height int64) [32]byte   { return sha256.Sum256(fmt.Append(nil, "block ", height)) }
func numberOf(height int64) [32]byte { return sha256.Sum256(fmt.Append(nil, "number ", height)) }

func block(t *testing.T, out *strings.Builder, n *Numbers, m memory, now, before *threshold.InCharge, carries, votes []string) {
	height := n.Head + 1
	c := SigningAt(height, now, before)
	var signing *Signing
	if c != nil {
		signing = &Signing{c.Epoch, c.Keys.Key()}
	}
	if err := n.Begin(height, hashOf(height), signing); err != nil {
		t.Fatal(err)
	}
	if n.Void.Below == height {
		fmt.Fprintf(out, "block %d: another key, void: %v\n", height, m.missing(*n))
	}
	for _, v := range carries {
		var h int64
		if _, err := fmt.Sscan(v, &h); err != nil {
			t.Fatal(err)
		}
		message, _, _ := n.Wanted(m, h)
		if err := n.Arrive(m, h, numberOf(h)); errors.Is(err, ErrRefused) {
			fmt.Fprintf(out, "block %d: %v\n", height, err)
		} else if err != nil {
			t.Fatal(err)
		} else {
			fmt.Fprintf(out, "block %d: number of %d, signed in epoch %d, %d late\n", height, h, message.Epoch, height-1-h)
		}
	}
	_, missing, _ := n.Wanted(m, height-1)
	if last := SigningAt(height-1, now, before); missing && last != nil {
		var seats []int
		for _, name := range votes {
			for i, s := range last.Keys.Seats {
				if s.Account == account(name) {
					seats = append(seats, i)
				}
			}
		}
		if CanMake(last.Keys, seats) {
			fmt.Fprintf(out, "block %d: omitted the number of %d\n", height, height-1)
		}
	}
	if err := n.End(m, hashOf(height)); err != nil {
		t.Fatal(err)
	}
}
