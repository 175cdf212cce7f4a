package stake

import "fmt"

// Work is what a node did in an era.
type Work struct {
	Blocks uint64 // that it is the author of
	Fees   uint64 // ucella paid in them
}

// Pay is what comes of an era for one node, in ucella. Guarantors is for all of them together (Split).
type Pay struct {
	Author, Fees, Own, Cut, Guarantors uint64
}

// Sum is all of it.
func (p Pay) Sum() uint64 { return p.Author + p.Fees + p.Own + p.Cut + p.Guarantors }

// Reward splits an era's pool and fees among the nodes, which stand as at its beginning less what was slashed since; work is in the same
// order. Everything is rounded down; the carry, which belongs into the next pool, makes it whole: the sums of all pay and the carry
// are the pool and the fees. It is little work for each node, and each node's pay needs nothing of another but two sums.
func (r Rules) Reward(pool uint64, nodes []Node, work []Work) (pay []Pay, carry uint64, err error) {
	if len(nodes) != len(work) || pool > MaxCoins {
		return nil, pool, fmt.Errorf("%w: a pool of %d for %d nodes with the work of %d", ErrState, pool, len(nodes), len(work))
	}
	var blocks, fees, stakes uint64
	for i, n := range nodes {
		if err := n.check(); err != nil {
			return nil, pool, err
		}
		w, c := work[i], r.counted(n)
		if w.Blocks > MaxCoins-blocks || w.Fees > MaxCoins-fees || c > MaxCoins-stakes {
			return nil, pool, fmt.Errorf("%w: the figures of %s make the sums overflow", ErrState, n.Address)
		}
		blocks, fees, stakes = blocks+w.Blocks, fees+w.Fees, stakes+c
	}
	authors := mulDiv(pool, r.AuthorShare, Whole)
	pay, carry = make([]Pay, len(nodes)), pool
	for i, n := range nodes {
		p := Pay{Fees: work[i].Fees}
		if work[i].Blocks > 0 {
			p.Author = mulDiv(authors, work[i].Blocks, blocks)
		}
		if c := r.counted(n); c > 0 {
			p.Own, p.Cut, p.Guarantors = n.split(mulDiv(pool-authors, c, stakes))
		}
		carry -= p.Sum() - p.Fees
		pay[i] = p
	}
	return pay, carry, nil
}

// split parts what a node's stake has earned: all of its coins earn alike, whether the limit is above or below them. Nothing is left over.
func (n Node) split(earned uint64) (own, cut, guarantors uint64) {
	gross := mulDiv(earned, n.Guaranteed, n.Own+n.Guaranteed)
	cut = mulDiv(gross, n.Cut, Whole)
	return earned - gross, cut, gross - cut
}

// Split parts an amount by coins, each part rounded down. The rest is less than one for each and belongs into the next pool.
func Split(amount uint64, held []Guarantee) (parts []uint64, rest uint64, err error) {
	sum := uint64(0)
	for _, g := range held {
		if g.Coins > MaxCoins-sum {
			return nil, amount, fmt.Errorf("%w: guarantees overflow", ErrState)
		}
		sum += g.Coins
	}
	parts, rest = make([]uint64, len(held)), amount
	for i, g := range held {
		if g.Coins > 0 {
			parts[i] = mulDiv(amount, g.Coins, sum)
			rest -= parts[i]
		}
	}
	return parts, rest, nil
}
