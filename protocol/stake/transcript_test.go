package stake

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/cockroachdb/datadriven"
)

// The transcripts follow nodes through eras. After each command stands what came of it and the nodes and set that it changed; all coins are
// added up each time.
//
//	rules rate=10 grace=2 decay=4 regain=3 seats=4 minown=10 unit=1 authors=2000 unbond=3
//	node name=bob gib=100 own=500 cut=1000      a node that has proven so much, and its operator's stake
//	bond|unbond node=bob who=gil coins=100      who=bob: its own
//	prove node=bob gib=50                       an era ends in which so much was proven
//	pay pool=1000 bob=3/40 ...                  an era is paid; blocks and fees by node
//	slash node=bob part=500 era=3               of all that answered in that era, in hundredths of a percent
//	jail|free node=bob
//	elect, set, votes node=bob
//	turn [noreshare]                            the era ends: the set is handed over, what was unbonded matures
//	handover reshared next=(bob:3,carol:4)      what came of a handover to that set
func TestTranscripts(t *testing.T) {
	datadriven.Walk(t, "testdata/transcripts", func(t *testing.T, path string) {
		w := newWorld(Rules{})
		datadriven.RunTest(t, path, func(t *testing.T, d *datadriven.TestData) string {
			out, err := w.command(t, d)
			if err != nil {
				if !refusal(err) {
					d.Fatalf(t, "%s", err)
				}
				out += "refused: " + err.Error() + "\n"
			}
			if err := w.check(); err != nil {
				d.Fatalf(t, "%s", err)
			}
			return out
		})
	})
}

func (w *world) command(t *testing.T, d *datadriven.TestData) (string, error) {
	number := func(key string) (v uint64) {
		d.MaybeScanArgs(t, key, &v)
		return v
	}
	word := func(key string) (v string) {
		d.MaybeScanArgs(t, key, &v)
		return v
	}
	node, who := word("node"), word("who")
	i := w.at(node)
	if node != "" && i < 0 {
		d.Fatalf(t, "no node %s", node)
	}
	switch d.Cmd {
	case "rules":
		w.rules = Rules{Rate: number("rate"), GraceEras: number("grace"), DecayEras: number("decay"), RegainEras: number("regain"),
			Seats: int(number("seats")), MinOwn: number("minown"), PowerUnit: number("unit"), AuthorShare: number("authors"),
			UnbondEras: int64(number("unbond"))}
		return "", w.rules.Validate()
	case "node":
		node = word("name")
		w.nodes = append(w.nodes, Node{Address: node, Cut: number("cut"), Storage: w.rules.Prove(Storage{}, number("gib")<<30)})
		if own := number("own"); own > 0 {
			w.fund(node, own)
			if err := w.bond(node, node, own); err != nil {
				return "", err
			}
		}
	case "bond":
		if w.purse[who] == 0 {
			w.fund(who, number("coins"))
		}
		if err := w.bond(node, who, number("coins")); err != nil {
			return "", err
		}
	case "unbond":
		if err := w.unbond(node, who, number("coins")); err != nil {
			return "", err
		}
	case "prove":
		w.nodes[i].Storage = w.rules.Prove(w.nodes[i].Storage, number("gib")<<30)
	case "jail", "free":
		w.nodes[i].Jailed = d.Cmd == "jail"
		if d.Cmd == "jail" {
			w.gone = append(w.gone, node)
		}
	case "slash":
		burned, err := w.slash(node, int64(number("era")), number("part"))
		if err != nil {
			return "", err
		}
		return fmt.Sprintf("%d burned\n%s", burned, w.shown(node)), nil
	case "pay":
		return w.paid(t, d, number("pool"))
	case "elect":
		validators, candidates := w.rules.Elect(w.nodes)
		return fmt.Sprintf("validators: %s\ncandidates: %s\n", seats(validators), seats(candidates)), nil
	case "set":
		return w.inForce(), nil
	case "votes":
		n := w.nodes[i]
		out := fmt.Sprintf("%s %d", node, n.Share(n.Own))
		for _, g := range w.held[node] {
			out += fmt.Sprintf(", %s %d", g.Guarantor, n.Share(g.Coins))
		}
		return out + fmt.Sprintf(" of %d\n", n.Effective()), nil
	case "turn":
		before := map[string]uint64{}
		for k, v := range w.purse {
			before[k] = v
		}
		err := w.turn(!d.HasArg("noreshare"))
		out := w.inForce()
		var names []string
		for k := range w.purse {
			if w.purse[k] != before[k] {
				names = append(names, k)
			}
		}
		slices.Sort(names)
		for _, k := range names {
			out += fmt.Sprintf("%s gets %d back\n", k, w.purse[k]-before[k])
		}
		return out, err
	case "handover":
		var next []Seat
		for _, f := range d.CmdArgs {
			if f.Key == "next" {
				for _, v := range f.Vals {
					name, power, _ := strings.Cut(v, ":")
					s := Seat{Node: name}
					s.Power = figure(t, power)
					next = append(next, s)
				}
			}
		}
		set, err := w.rules.Handover(w.set, next, w.gone, d.HasArg("reshared"))
		return "then in force: " + seats(set) + "\n", err
	case "show":
	default:
		d.Fatalf(t, "no command %s", d.Cmd)
	}
	return w.shown(node), nil
}

func (w *world) paid(t *testing.T, d *datadriven.TestData, pool uint64) (string, error) {
	work := make([]Work, len(w.nodes))
	for i, n := range w.nodes {
		var s string
		d.MaybeScanArgs(t, n.Address, &s)
		blocks, fees, _ := strings.Cut(s, "/")
		work[i].Blocks = figure(t, blocks)
		work[i].Fees = figure(t, fees)
	}
	before := w.pool
	pay, err := w.reward(pool, work)
	if err != nil {
		return "", err
	}
	var b strings.Builder
	fmt.Fprintf(&b, "pool of %d and %d carried\n", pool, before)
	for i, n := range w.nodes {
		p := pay[i]
		fmt.Fprintf(&b, "%s: as author %d, fees %d, own stake %d, cut %d", n.Address, p.Author, p.Fees, p.Own, p.Cut)
		parts, _, _ := Split(p.Guarantors, w.held[n.Address])
		for j, g := range w.held[n.Address] {
			fmt.Fprintf(&b, "; %s %d", g.Guarantor, parts[j])
		}
		b.WriteString("\n")
	}
	fmt.Fprintf(&b, "carried to the next: %d\n", w.pool)
	return b.String(), nil
}

// figure reads a figure; what is left out is 0.
func figure(t *testing.T, s string) uint64 {
	if s == "" {
		return 0
	}
	v, err := strconv.ParseUint(s, 10, 64)
	if err != nil {
		t.Fatal(err)
	}
	return v
}

func (w *world) shown(node string) string {
	var b strings.Builder
	n := w.nodes[w.at(node)]
	fmt.Fprintf(&b, "%s: own %d, guaranteed %d, limit %d", node, n.Own, n.Guaranteed, n.Storage.Limit)
	if n.Storage.Debt > 0 {
		fmt.Fprintf(&b, " (debt %d, base %d)", n.Storage.Debt, n.Storage.Base)
	}
	fmt.Fprintf(&b, ", effective %d", n.Effective())
	if n.Jailed {
		b.WriteString(", jailed")
	}
	b.WriteString("\n")
	for _, g := range w.held[node] {
		fmt.Fprintf(&b, "  %s guarantees %d\n", g.Guarantor, g.Coins)
	}
	for _, u := range w.queue[node] {
		state := "waiting"
		if u.Since > 0 {
			state = fmt.Sprintf("maturing since era %d", u.Since)
		}
		fmt.Fprintf(&b, "  %s takes out %d, asked in era %d, %s\n", u.Who, u.Coins, u.Asked, state)
	}
	return b.String()
}

func (w *world) inForce() string { return fmt.Sprintf("era %d: %s\n", w.era, seats(w.set)) }

func seats(set []Seat) string {
	if len(set) == 0 {
		return "none"
	}
	var out []string
	for _, s := range set {
		out = append(out, fmt.Sprintf("%s %d", s.Node, s.Power))
	}
	return strings.Join(out, ", ")
}
