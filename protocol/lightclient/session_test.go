package lightclient_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/cockroachdb/datadriven"
	cmtproto "github.com/cometbft/cometbft/proto/tendermint/types"

	"github.com/cella-network/cella/protocol/lightclient"
)

// session is what a transcript speaks of: chains by name, and one client.
type session struct {
	chains map[string]*chain
	client *lightclient.Client
}

func TestSession(t *testing.T) {
	datadriven.Walk(t, "testdata/session", func(t *testing.T, path string) {
		s := &session{chains: map[string]*chain{}}
		datadriven.RunTest(t, path, func(t *testing.T, d *datadriven.TestData) string {
			out, err := s.run(t, d)
			if err != nil {
				return "refused: " + err.Error()
			}
			return out
		})
	})
}

func (s *session) run(t *testing.T, d *datadriven.TestData) (string, error) {
	name, to, height := "main", int64(0), int64(0)
	d.MaybeScanArgs(t, "chain", &name)
	d.MaybeScanArgs(t, "to", &to)
	d.MaybeScanArgs(t, "height", &height)
	c := s.chains[name]
	switch d.Cmd {
	case "chain": // a new chain; the lines grow it
		id := "cella-1"
		d.MaybeScanArgs(t, "id", &id)
		s.chains[name] = newChain(t, id, scanPowers(t, d.CmdArgs))
		return s.chains[name].script(t, d.Input), nil
	case "fork": // shares the blocks of main up to a height; the lines grow it on
		s.chains[name] = s.chains["main"].fork(height, name)
		return s.chains[name].script(t, d.Input), nil
	case "more":
		return c.script(t, d.Input), nil
	case "trust":
		opts := lightclient.Options{TrustingPeriod: 3600, Keep: 100}
		d.MaybeScanArgs(t, "period", &opts.TrustingPeriod)
		d.MaybeScanArgs(t, "keep", &opts.Keep)
		root := s.chains["main"].hash(height)
		block := lightclient.Block{Header: c.header(t, height), Commit: c.commit(t, height), Validators: c.validators(t, height)}
		client, err := lightclient.New(s.chains["main"].id, height, root, block, opts)
		if err != nil {
			return "", err
		}
		s.client = client
	case "follow":
		var without int64
		from := s.client.Head().Height + 1
		d.MaybeScanArgs(t, "from", &from)
		d.MaybeScanArgs(t, "without", &without)
		commit := c.commit(t, to)
		if arg, ok := d.Arg("signers"); ok {
			signers := arg.Vals
			commit = encode(t, sign(t, c.id, c.blocks[to-1].Header, c.sets[to-1], signers).ToProto())
		}
		headers := c.headers(t, from, to)
		if without > 0 {
			headers = slices.Delete(headers, int(without-from), int(without-from)+1)
		}
		if err := s.client.Follow(headers, commit, c.validators(t, to)); err != nil {
			return "", err
		}
	case "history":
		headers := c.headers(t, s.client.Oldest()-1, to)
		if d.HasArg("tamper") { // with the header's app hash
			var bad int64
			d.ScanArgs(t, "tamper", &bad)
			i := int(s.client.Oldest() - 1 - bad)
			var p cmtproto.Header
			if err := p.Unmarshal(headers[i]); err != nil {
				t.Fatal(err)
			}
			p.AppHash = hash("forged")
			headers[i] = encode(t, &p)
		}
		if err := s.client.History(headers); err != nil {
			return "", err
		}
	case "value": // the proof is the true one, of key's present state or of proof-of's
		var store, k, claim, other string
		at := height
		d.ScanArgs(t, "store", &store)
		d.ScanArgs(t, "key", &k)
		d.MaybeScanArgs(t, "claim", &claim)
		d.MaybeScanArgs(t, "state", &at)
		other, from := k, store
		d.MaybeScanArgs(t, "proof-of", &other)
		d.MaybeScanArgs(t, "proof-from", &from)
		value, proof := c.query(t, at, from, other)
		if d.HasArg("claim") {
			if value = []byte(claim); claim == "absent" {
				value = nil
			}
		}
		if err := s.client.Value(height, store, []byte(k), value, proof); err != nil {
			return "", err
		}
		if len(value) == 0 {
			return fmt.Sprintf("after block %d: %s/%s is absent", height, store, k), nil
		}
		return fmt.Sprintf("after block %d: %s/%s = %s", height, store, k, value), nil
	default:
		d.Fatalf(t, "unknown command %s", d.Cmd)
	}
	return fmt.Sprintf("head %d, remembered from %d", s.client.Head().Height, s.client.Oldest()), nil
}

func scanPowers(t *testing.T, args []datadriven.CmdArg) map[string]int64 {
	powers := map[string]int64{}
	for _, arg := range args {
		if slices.Contains(names, arg.Key) {
			var p int64
			if _, err := fmt.Sscan(arg.Vals[0], &p); err != nil {
				t.Fatal(err)
			}
			powers[arg.Key] = p
		}
	}
	return powers
}

// script grows a chain: "blocks 3", "block 60s" for one that is late, "powers ann=1 ..." for the set announced from the next
// block on, "set store/key value" in the state of the next block. It tells the sets that came out.
func (c *chain) script(t *testing.T, lines string) string {
	first := len(c.blocks) + 1
	for _, line := range strings.Split(lines, "\n") {
		words := strings.Fields(line)
		if len(words) == 0 {
			continue
		}
		switch words[0] {
		case "blocks":
			var n int
			if _, err := fmt.Sscan(words[1], &n); err != nil {
				t.Fatal(err)
			}
			for range n {
				c.grow(t)
			}
		case "block":
			late, err := time.ParseDuration(words[1])
			if err != nil {
				t.Fatal(err)
			}
			every := c.every
			c.every = late
			c.grow(t)
			c.every = every
		case "powers":
			_, args, err := datadriven.ParseLine(line)
			if err != nil {
				t.Fatal(err)
			}
			c.powers = scanPowers(t, args)
		case "set":
			store, k, _ := strings.Cut(words[1], "/")
			c.set(store, k, strings.Join(words[2:], " "))
		default:
			t.Fatalf("unknown line %q", line)
		}
	}
	var out strings.Builder
	last := ""
	for h := first; h <= len(c.blocks); h++ {
		var set []string
		for _, v := range c.sets[h-1].Validators {
			set = append(set, fmt.Sprintf("%s=%d", nameOf()[string(v.Address)], v.VotingPower))
		}
		slices.Sort(set)
		if line := strings.Join(set, " "); line != last {
			fmt.Fprintf(&out, "from block %d: %s\n", h, line)
			last = line
		}
	}
	fmt.Fprintf(&out, "up to block %d", len(c.blocks))
	return out.String()
}
