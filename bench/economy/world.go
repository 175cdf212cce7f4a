package main

import (
	"fmt"
	"math/rand/v2"
	"slices"

	"github.com/cella-network/cella/protocol/stake"
)

const (
	cella = 1_000_000 // ucella
	tib   = 1 << 40

	eraYear     = 365     // an era is a day
	eraBlocks   = 14_400  // blocks of 6 s
	inflation   = 5       // percent of the first coins, a year
	nodeCap     = 1 << 50 // bytes of one node: what a tier allows
	mostGuards  = 24      // guarantees of one node
	leastDisk   = 4 * tib // of an operator; the others have more, by Pareto's law up to 256 times
	leastCoins  = 2_000 * cella
	paretoSpan  = 256
	slashOneIn  = 2_000 // validators and eras
	outOneIn    = 100   // nodes and eras: not proven
	actsOneIn   = 30    // parties and eras: bonds what it has
	leavesOneIn = 100   // nodes and eras: one of its guarantors leaves
)

var gpos = stake.Rules{Rate: 500_000, GraceEras: 2, DecayEras: 8, RegainEras: 10, Seats: 100, MinOwn: 100 * cella, PowerUnit: cella,
	AuthorShare: 2_000, UnbondEras: 21}

// world is a network in figures. Parties are the operators, in the order of their nodes, then those who only guarantee.
type world struct {
	rules  stake.Rules
	random *rand.Rand
	era    int64

	nodes []stake.Node
	disk  []uint64 // bytes that each node really has
	held  [][]stake.Guarantee
	who   [][]int // the parties of held
	queue [][]stake.Unbonding
	purse []uint64
	index map[string]int // party by name
	names []string
	set   []stake.Seat
	gone  []string

	pool, burned, made, users, each uint64 // ucella; users pay fees and hold what others don't, each is made in an era

	free     bool     // plain proof of stake: no limit binds
	strange  int      // the first so many parties keep to themselves: they guarantee nobody else, nobody guarantees them
	earned   []uint64 // by each party
	refused  int      // handovers without resharing
	mostMove uint64   // greatest change of power in an era, in hundredths of a percent of what stood
}

// setup is a network that is to be made.
type setup struct {
	rules stake.Rules
	plain bool // proof of stake as it is known: the same code with a limit that binds nobody
	nodes int
	seed  uint64
}

// newWorld makes nodes with their operators, and as many guarantors, alike for all rules.
func newWorld(s setup) *world {
	r, nodes, seed := s.rules, s.nodes, s.seed
	if s.plain {
		r.Rate = 1 << 40
	}
	w := &world{rules: r, free: s.plain, random: rand.New(rand.NewPCG(seed, 0)), index: map[string]int{}}
	for i := range nodes {
		w.join(fmt.Sprintf("n%06d", i), w.pareto(leastCoins), w.pareto(leastDisk))
	}
	for i := range nodes {
		w.party(fmt.Sprintf("z%06d", i), w.pareto(leastCoins)) // sorts behind all nodes
	}
	w.users = w.made
	w.made *= 2
	w.each = w.made * inflation / 100 / eraYear
	return w
}

func (w *world) pareto(least uint64) uint64 {
	return least * 1024 / max(1024/paretoSpan, 1+w.random.Uint64N(1024))
}

func (w *world) party(name string, coins uint64) {
	w.index[name] = len(w.purse)
	w.names = append(w.names, name)
	w.purse = append(w.purse, coins)
	w.earned = append(w.earned, 0)
	w.made += coins
}

// join adds a node. It must come before all parties without one.
func (w *world) join(name string, coins, disk uint64) {
	w.party(name, coins)
	w.nodes = append(w.nodes, stake.Node{Address: name, Cut: 500 + w.random.Uint64N(1500)})
	w.disk = append(w.disk, min(disk, nodeCap))
	w.held = append(w.held, nil)
	w.who = append(w.who, nil)
	w.queue = append(w.queue, nil)
}

// pass lives through an era.
func (w *world) pass() error {
	for i := range w.nodes {
		proven := w.disk[i]
		if w.free {
			proven = 1<<64 - 1
		}
		if w.random.IntN(outOneIn) == 0 {
			proven = 0
		}
		w.nodes[i].Storage = w.rules.Prove(w.nodes[i].Storage, proven)
	}
	if err := w.pay(); err != nil {
		return err
	}
	w.move()
	if err := w.misbehave(); err != nil {
		return err
	}
	if err := w.turn(); err != nil {
		return err
	}
	return w.check()
}

// pay makes an era's coins and pays them.
func (w *world) pay() error {
	work := make([]stake.Work, len(w.nodes))
	power := uint64(0)
	for _, s := range w.set {
		power += s.Power
	}
	for _, s := range w.set {
		k := &work[w.index[s.Node]]
		k.Blocks = eraBlocks * s.Power / power
		k.Fees = min(k.Blocks*10_000, w.users)
		w.users -= k.Fees
	}
	w.made += w.each
	pay, carry, err := w.rules.Reward(w.pool+w.each, w.nodes, work)
	if err != nil {
		return err
	}
	w.pool = carry
	for i, p := range pay {
		w.give(i, p.Author+p.Fees+p.Own+p.Cut)
		if p.Guarantors == 0 {
			continue
		}
		parts, rest, err := stake.Split(p.Guarantors, w.held[i])
		if err != nil {
			return err
		}
		w.pool += rest
		for j, party := range w.who[i] {
			w.give(party, parts[j])
		}
	}
	return nil
}

func (w *world) give(party int, coins uint64) {
	w.purse[party] += coins
	w.earned[party] += coins
}

// move lets parties bond what they have, their own node first, and guarantors leave.
func (w *world) move() {
	for p := range w.purse {
		if w.purse[p] < cella || w.era > 0 && w.random.IntN(actsOneIn) != 0 {
			continue
		}
		if p < len(w.nodes) {
			w.bond(p, p)
		}
		for range 3 {
			if node := w.random.IntN(len(w.nodes)); p >= w.strange && node >= w.strange {
				w.bond(p, node)
			}
		}
	}
	for i := range w.nodes {
		if len(w.held[i]) == 0 || w.random.IntN(leavesOneIn) != 0 {
			continue
		}
		j := w.random.IntN(len(w.held[i]))
		g := w.held[i][j]
		n, u, err := w.nodes[i].Unbond(g.Guarantor, g.Coins, false, w.era)
		if err != nil {
			continue // nothing was left of it
		}
		w.nodes[i], w.queue[i] = n, append(w.queue[i], u)
		w.held[i], w.who[i] = slices.Delete(w.held[i], j, j+1), slices.Delete(w.who[i], j, j+1)
	}
}

// bond puts a party's coins into a node as far as its limit has room.
func (w *world) bond(party, node int) {
	n := w.nodes[node]
	room := n.Storage.Limit - min(n.Own+n.Guaranteed, n.Storage.Limit)
	coins := min(room, w.purse[party])
	if coins == 0 {
		return
	}
	held := slices.Index(w.who[node], party)
	if party != node && held < 0 && len(w.held[node]) >= mostGuards {
		return
	}
	n, err := w.rules.Bond(n, coins, party == node)
	if err != nil {
		return // full
	}
	w.purse[party] -= coins
	w.nodes[node] = n
	switch {
	case party == node:
	case held >= 0:
		w.held[node][held].Coins += coins
	default:
		w.held[node] = append(w.held[node], stake.Guarantee{Guarantor: w.names[party], Coins: coins})
		w.who[node] = append(w.who[node], party)
	}
}

// misbehave slashes a validator now and then. Who was jailed an era ago is back.
func (w *world) misbehave() error {
	for i := range w.nodes {
		w.nodes[i].Jailed = false
	}
	for _, s := range w.set {
		if w.random.IntN(slashOneIn) != 0 || len(w.gone) > len(w.set)/10 {
			continue
		}
		i := w.index[s.Node]
		n, held, queue, burned, err := w.nodes[i].Slash(w.held[i], w.queue[i], w.era, 500)
		if err != nil {
			return err
		}
		n.Jailed = true
		w.nodes[i], w.held[i], w.queue[i] = n, held, queue
		w.burned += burned
		w.gone = append(w.gone, s.Node)
	}
	return nil
}

// turn ends the era. One resharing in twenty fails.
func (w *world) turn() error {
	elected, _ := w.rules.Elect(w.nodes)
	before := stake.Without(w.set, w.gone)
	reshared := w.random.IntN(20) > 0
	set, err := w.rules.Handover(w.set, w.rules.Toward(before, elected), w.gone, reshared)
	if err != nil && reshared {
		return err
	} else if err != nil {
		w.refused++
	}
	w.note(before, set)
	w.set, w.gone = set, nil
	w.era++
	power := make(map[string]uint64, len(set))
	for _, s := range set {
		power[s.Node] = s.Power
	}
	for i, q := range w.queue {
		if len(q) == 0 {
			continue
		}
		kept, free := w.rules.Advance(q, w.nodes[i], power[w.nodes[i].Address], w.era)
		w.queue[i] = kept
		for _, u := range free {
			w.purse[w.index[u.Who]] += u.Coins
		}
	}
	return nil
}

// note keeps the greatest change of power.
func (w *world) note(before, after []stake.Seat) {
	if len(before) == 0 {
		return
	}
	total, gains, losses := uint64(0), uint64(0), uint64(0)
	old := make(map[string]uint64, len(before))
	for _, s := range before {
		old[s.Node], total = s.Power, total+s.Power
	}
	for _, s := range after {
		gains += s.Power - min(s.Power, old[s.Node])
		losses += old[s.Node] - min(s.Power, old[s.Node])
		delete(old, s.Node)
	}
	for _, p := range old {
		losses += p
	}
	w.mostMove = max(w.mostMove, max(gains, losses)*stake.Whole/total)
}

// check adds up all coins and holds the power in force against those that answer for it.
func (w *world) check() error {
	sum := w.pool + w.burned + w.users
	count := func(what string, v uint64) error {
		if v > stake.MaxCoins {
			return fmt.Errorf("era %d: %s of %d is below nothing", w.era, what, v)
		}
		sum += v
		return nil
	}
	for _, v := range []uint64{w.pool, w.burned, w.users} {
		if err := count("the network's purse", v); err != nil {
			return err
		}
		sum -= v
	}
	for _, v := range w.purse {
		if err := count("a purse", v); err != nil {
			return err
		}
	}
	answers := make(map[string]uint64, len(w.set))
	for _, s := range w.set {
		answers[s.Node] = 0
	}
	for i, n := range w.nodes {
		stakes := n.Own
		for _, g := range w.held[i] {
			stakes += g.Coins
		}
		if stakes != n.Own+n.Guaranteed {
			return fmt.Errorf("era %d: the guarantees of %s don't add up", w.era, n.Address)
		}
		for _, u := range w.queue[i] {
			stakes += u.Coins
		}
		if err := count("a stake", stakes); err != nil {
			return err
		}
		if _, in := answers[n.Address]; in {
			answers[n.Address] = stakes
		}
	}
	if sum != w.made {
		return fmt.Errorf("era %d: there are %d ucella, %d were made", w.era, sum, w.made)
	}
	for _, s := range w.set {
		if s.Power > answers[s.Node]/w.rules.PowerUnit {
			return fmt.Errorf("era %d: %s has a power of %d, and only %d ucella answer for it", w.era, s.Node, s.Power, answers[s.Node])
		}
	}
	return nil
}

// bonded is all stake, and what of it counts.
func (w *world) bonded() (all, counts uint64) {
	for _, n := range w.nodes {
		all += n.Own + n.Guaranteed
		counts += n.Effective()
	}
	return all, counts
}

func (w *world) bytes() (sum uint64) {
	for _, d := range w.disk {
		sum += d
	}
	return sum
}
