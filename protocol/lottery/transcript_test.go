package lottery

import (
	"fmt"
	"strings"
	"testing"

	"github.com/cockroachdb/datadriven"
)

// The transcript follows validators through epochs, each with its weight.
//
//	rules epoch=100 half=20 cap=4 prior=2
//	epoch ann=1000 bob=500          an epoch begins with these stakes
//	took node=ann used=3 missed=1   heights for which it was drawn
//	omits|pardon node=ann           it left a number out; a number came
//	weights block=20 [fallback]
//	draws height=1 [fallback]       who is drawn for 1000 heights from there on, by seeds of its own each
func TestTranscripts(t *testing.T) {
	datadriven.Walk(t, "testdata/transcripts", func(t *testing.T, path string) {
		var r Rules
		var names []string
		var entries []Entry
		datadriven.RunTest(t, path, func(t *testing.T, d *datadriven.TestData) string {
			number := func(key string) (v uint64) {
				d.MaybeScanArgs(t, key, &v)
				return v
			}
			var node string
			d.MaybeScanArgs(t, "node", &node)
			e := &Entry{}
			for i := range names {
				if names[i] == node {
					e = &entries[i]
				}
			}
			block, fallback := number("block"), d.HasArg("fallback")
			switch d.Cmd {
			case "rules":
				r = Rules{Epoch: number("epoch"), HalfLife: number("half"), AgeCap: number("cap"), Prior: number("prior")}
				if err := r.Validate(); err != nil {
					return err.Error() + "\n"
				}
				return ""
			case "epoch":
				for i, a := range d.CmdArgs {
					if i == len(entries) {
						names, entries = append(names, a.Key), append(entries, Entry{Address: address(i)})
					}
					entries[i] = r.Next(entries[i], number(a.Key))
				}
			case "took":
				for range number("used") {
					*e = e.Took(true)
				}
				for range number("missed") {
					*e = e.Took(false)
				}
			case "omits", "pardon":
				e.Omitted = d.Cmd == "omits"
			case "draws":
				drawn := make([]int, len(entries))
				for h := number("height"); h < number("height")+1000; h++ {
					i, err := r.Draw(BlockSeed("transcript", int64(h), [32]byte{}), int64(h), entries, block, fallback)
					if err != nil {
						return "refused: " + err.Error() + "\n"
					}
					drawn[i]++
				}
				var out []string
				for i, n := range names {
					out = append(out, fmt.Sprintf("%s %d", n, drawn[i]))
				}
				return strings.Join(out, ", ") + "\n"
			}
			var b strings.Builder
			for i, w := range r.Weights(entries, block, fallback) {
				fmt.Fprintf(&b, "%s: stake %d, age %d, %d of %d turns used, weight %d\n", names[i], entries[i].Stake, entries[i].Age,
					entries[i].Proposed, entries[i].Turns, w)
			}
			return b.String()
		})
	})
}
