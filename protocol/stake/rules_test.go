package stake

import (
	"errors"
	"math"
	"testing"
)

var good = Rules{Rate: 100, GraceEras: 2, DecayEras: 8, RegainEras: 10, Seats: 100, MinOwn: 1000, PowerUnit: 1000, AuthorShare: 2000, UnbondEras: 21}

func TestRulesRefused(t *testing.T) {
	if err := good.Validate(); err != nil {
		t.Fatal(err)
	}
	for _, change := range []func(*Rules){
		func(r *Rules) { r.Rate = 0 }, func(r *Rules) { r.Rate = math.MaxUint64 }, func(r *Rules) { r.GraceEras = math.MaxUint64 },
		func(r *Rules) { r.DecayEras = 0 }, func(r *Rules) { r.RegainEras = 0 }, func(r *Rules) { r.Seats = 3 }, func(r *Rules) { r.Seats = -1 },
		func(r *Rules) { r.MinOwn = 0 }, func(r *Rules) { r.PowerUnit = 0 }, func(r *Rules) { r.AuthorShare = Whole + 1 },
		func(r *Rules) { r.UnbondEras = 0 }, func(r *Rules) { r.UnbondEras = -5 },
	} {
		r := good
		change(&r)
		if err := r.Validate(); !errors.Is(err, ErrRules) {
			t.Errorf("%+v: %v", r, err)
		}
	}
}

// Extreme figures are refused or held, and never wrap or panic.
func TestExtremes(t *testing.T) {
	if got := good.LimitOf(math.MaxUint64); got != math.MaxUint64/(1<<30)*100+99 {
		t.Errorf("all bytes give a limit of %d", got)
	}
	most := good
	most.Rate = 1 << 40
	if got := most.LimitOf(math.MaxUint64); got != MaxCoins {
		t.Errorf("the limit is %d", got)
	}
	full := Node{Own: MaxCoins, Guaranteed: MaxCoins, Storage: Storage{Limit: MaxCoins}, Cut: Whole}
	for name, n := range map[string]Node{
		"own": {Own: MaxCoins + 1}, "guaranteed": {Guaranteed: math.MaxUint64}, "limit": {Storage: Storage{Limit: MaxCoins + 1}}, "cut": {Cut: Whole + 1},
	} {
		if _, _, err := good.Reward(1, []Node{n}, make([]Work, 1)); !errors.Is(err, ErrState) {
			t.Errorf("pay with a wrong %s: %v", name, err)
		}
		if _, err := good.Bond(n, 1, true); !errors.Is(err, ErrState) {
			t.Errorf("bond with a wrong %s: %v", name, err)
		}
	}
	if _, err := good.Bond(full, math.MaxUint64, true); !errors.Is(err, ErrLimit) {
		t.Errorf("bond of all that can be written: %v", err)
	}
	for name, c := range map[string]struct {
		pool  uint64
		nodes []Node
		work  []Work
	}{
		"pool":   {MaxCoins + 1, []Node{full}, []Work{{}}},
		"length": {1, []Node{full}, nil},
		"stakes": {1, []Node{full, full}, []Work{{}, {}}},
		"blocks": {1, []Node{full, {}}, []Work{{Blocks: 1}, {Blocks: MaxCoins}}},
		"fees":   {1, []Node{full, {}}, []Work{{Fees: MaxCoins}, {Fees: 1}}},
	} {
		if _, carry, err := good.Reward(c.pool, c.nodes, c.work); !errors.Is(err, ErrState) || carry != c.pool {
			t.Errorf("%s: %v, %d carried", name, err, carry)
		}
	}
	pay, carry, err := good.Reward(MaxCoins, []Node{full}, []Work{{Blocks: MaxCoins, Fees: MaxCoins}})
	if err != nil || pay[0].Sum()+carry != 2*MaxCoins {
		t.Errorf("the largest pool: %+v, %d, %v", pay, carry, err)
	}
	if _, _, err := Split(5, []Guarantee{{"a", MaxCoins}, {"b", 1}}); !errors.Is(err, ErrState) {
		t.Errorf("guarantees that overflow: %v", err)
	}
	if parts, rest, err := Split(5, []Guarantee{{"a", 0}}); err != nil || parts[0] != 0 || rest != 5 {
		t.Errorf("nobody to split among: %v, %d, %v", parts, rest, err)
	}
	if _, _, _, _, err := full.Slash([]Guarantee{{"a", 7}}, nil, 0, 1); !errors.Is(err, ErrState) {
		t.Errorf("guarantees of another node: %v", err)
	}
	if kept, free := good.Advance([]Unbonding{{Coins: 1}}, Node{}, math.MaxUint64, 100); len(kept) != 1 || len(free) != 0 {
		t.Errorf("the largest power lets coins go: %v", free)
	}
}

// Who guarantees in many small parts is slashed no less.
func TestSlashSparesNobodyForBeingSmall(t *testing.T) {
	var held []Guarantee
	n := Node{}
	for range 50 {
		held = append(held, Guarantee{"g", 1})
		n.Guaranteed++
	}
	if n, _, _, burned, err := n.Slash(held, nil, 0, 1); err != nil || burned != 50 || n.Guaranteed != 0 {
		t.Errorf("%d burned of dust (%v)", burned, err)
	}
}
