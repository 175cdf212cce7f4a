package stake

import (
	"fmt"
	"slices"
)

// Node is what stands behind an operator in an era. Coins that are bonded while it lasts are added to what the next one counts.
type Node struct {
	Address    string
	Own        uint64 // ucella bonded by the operator itself
	Guaranteed uint64 // ucella bonded by its guarantors
	Cut        uint64 // of its guarantors' pay for the operator, in hundredths of a percent
	Storage    Storage
	Jailed     bool // neither elected nor paid for its stake
}

// Guarantee is what one guarantor has bonded with a node.
type Guarantee struct {
	Guarantor string
	Coins     uint64
}

// Unbonding is stake on its way out. It counts for nothing and is slashed like any other.
type Unbonding struct {
	Who   string
	Coins uint64
	Asked int64 // era in which it was asked for
	Since int64 // first era with no power that rests on it, 0 while some does
}

// Effective is the stake that counts: what is bonded, up to the limit.
func (n Node) Effective() uint64 { return min(n.Own+n.Guaranteed, n.Storage.Limit) }

// Share is the part of the effective stake that so many of the node's coins stand for: the weight of their owner's vote, a guarantor's or
// the operator's. Parts never add up to more than the whole.
func (n Node) Share(coins uint64) uint64 {
	if n.Jailed || coins == 0 || coins > n.Own+n.Guaranteed {
		return 0
	}
	return mulDiv(n.Effective(), coins, n.Own+n.Guaranteed)
}

// counted is the stake for which a node is elected and paid, 0 if it is neither.
func (r Rules) counted(n Node) uint64 {
	if n.Jailed || n.Own < r.MinOwn || n.Effective() < r.PowerUnit {
		return 0
	}
	return n.Effective()
}

// Lacks is how much own stake an operator is short of what MinOwn asks.
func (r Rules) Lacks(n Node) uint64 { return r.MinOwn - min(n.Own, r.MinOwn) }

// Bond adds stake, the operator's own or guaranteed. Nobody may bond above the limit, so that only storage that is lost, never coins
// that are added, thins out what those earn that are there. But as long as any of its stake counts, an operator may bond what MinOwn asks: else
// guarantors that fill its room would keep it from being elected and paid, themselves included.
func (r Rules) Bond(n Node, coins uint64, own bool) (Node, error) {
	if err := n.check(); err != nil {
		return n, err
	}
	all := n.Own + n.Guaranteed
	room := n.Storage.Limit - min(all, n.Storage.Limit)
	if own && n.Storage.Limit >= r.PowerUnit {
		room = max(room, r.Lacks(n))
	}
	if coins == 0 || coins > room {
		return n, fmt.Errorf("%w: %s has %d bonded and a limit of %d, room for %d, not for %d; %d proven bytes would do", ErrLimit,
			n.Address, all, n.Storage.Limit, room, coins, r.BytesFor(all+min(coins, MaxCoins)))
	}
	if own {
		n.Own += coins
	} else {
		n.Guaranteed += coins
	}
	return n, nil
}

// Unbond takes stake of who from what counts and puts it into the node's queue.
func (n Node) Unbond(who string, coins uint64, own bool, era int64) (Node, Unbonding, error) {
	from := &n.Guaranteed
	if own {
		from = &n.Own
	}
	if coins == 0 || coins > *from {
		return n, Unbonding{}, fmt.Errorf("%w: %s has %d bonded with %s, not %d", ErrState, who, *from, n.Address, coins)
	}
	*from -= coins
	return n, Unbonding{Who: who, Coins: coins, Asked: era}, nil
}

// Advance looks at a node's queue, oldest first, at the beginning of an era. Power is the node's in the set that is in force now: as long as
// it is more than the bonded stake gives, the newest coins that are needed for it wait. The others mature and are free after
// UnbondEras. It is work for each entry.
func (r Rules) Advance(queue []Unbonding, n Node, power uint64, era int64) (kept, free []Unbonding) {
	need := r.coins(power) - min(r.coins(power), n.Own+n.Guaranteed)
	for _, u := range slices.Backward(queue) {
		if need > 0 && u.Since == 0 {
			need -= min(need, u.Coins)
			kept = append(kept, u)
			continue
		}
		if u.Since == 0 {
			u.Since = era
		}
		if era-u.Since >= r.UnbondEras {
			free = append(free, u)
		} else {
			kept = append(kept, u)
		}
	}
	slices.Reverse(kept)
	slices.Reverse(free)
	return kept, free
}

// coins is the stake on which so much power rests.
func (r Rules) coins(power uint64) uint64 {
	if power > MaxCoins/r.PowerUnit {
		return MaxCoins
	}
	return power * r.PowerUnit
}

// Slash takes a part, in hundredths of a percent, of all that answers for what the node did in an era: own stake, each guarantee and what
// is on its way out and was still bonded then, whatever the limit let count. Each loses its part rounded up, so that nobody is spared for
// being small.
func (n Node) Slash(held []Guarantee, queue []Unbonding, era int64, part uint64) (Node, []Guarantee, []Unbonding, uint64, error) {
	if err := n.audit(held); err != nil {
		return n, held, queue, 0, err
	}
	if part > Whole {
		return n, held, queue, 0, fmt.Errorf("%w: %d of %d can't be slashed", ErrRules, part, Whole)
	}
	burned := uint64(0)
	cut := func(coins uint64) uint64 {
		loss := coins - mulDiv(coins, Whole-part, Whole)
		burned += loss
		return coins - loss
	}
	n.Own = cut(n.Own)
	held, queue = slices.Clone(held), slices.Clone(queue)
	n.Guaranteed = 0
	for i := range held {
		held[i].Coins = cut(held[i].Coins)
		n.Guaranteed += held[i].Coins
	}
	for i, u := range queue {
		if u.Since == 0 || u.Since > era {
			queue[i].Coins = cut(u.Coins)
		}
	}
	return n, held, queue, burned, nil
}

func (n Node) check() error {
	if n.Own > MaxCoins || n.Guaranteed > MaxCoins || n.Storage.Limit > MaxCoins || n.Storage.Base > MaxCoins || n.Cut > Whole {
		return fmt.Errorf("%w: %+v", ErrState, n)
	}
	return nil
}

// audit refuses guarantees that are not the node's.
func (n Node) audit(held []Guarantee) error {
	sum := uint64(0)
	for _, g := range held {
		if g.Coins > MaxCoins-sum {
			return fmt.Errorf("%w: guarantees of %s overflow", ErrState, n.Address)
		}
		sum += g.Coins
	}
	if sum != n.Guaranteed {
		return fmt.Errorf("%w: %s has %d guaranteed, its guarantors %d", ErrState, n.Address, n.Guaranteed, sum)
	}
	return n.check()
}
