package guarantee

import (
	"bytes"
	"testing"

	"cosmossdk.io/collections"
	sdkmath "cosmossdk.io/math"

	sdk "github.com/cosmos/cosmos-sdk/types"
	authtypes "github.com/cosmos/cosmos-sdk/x/auth/types"
	distrtypes "github.com/cosmos/cosmos-sdk/x/distribution/types"
	stakingtypes "github.com/cosmos/cosmos-sdk/x/staking/types"

	api "github.com/cella-network/cella/api/guarantee"
)

// audit adds up all coins to the ucella and holds what we say of validators against what CometBFT believes.
func (w *world) audit(t testing.TB) {
	t.Helper()
	held := func(module string) sdkmath.Int {
		return w.bank.GetBalance(w.ctx, authtypes.NewModuleAddress(module), denom).Amount
	}
	want := w.made.Add(intOf(w.minted)).Sub(intOf(w.burned))
	if got := w.bank.GetSupply(w.ctx, denom).Amount; !got.Equal(want) {
		t.Fatalf("height %d: %s coins exist, %s made, %d minted, %d burned", w.ctx.BlockHeight(), got, w.made, w.minted, w.burned)
	}
	e, err := w.keeper.era.Get(w.ctx)
	if err != nil {
		t.Fatal(err)
	}
	if got := held(ModuleName); !got.Equal(intOf(e.Carry)) {
		t.Fatalf("height %d: the module holds %s and carries %d", w.ctx.BlockHeight(), got, e.Carry)
	}
	all, err := w.staking.GetAllValidators(w.ctx)
	if err != nil {
		t.Fatal(err)
	}
	bonded, rest := sdkmath.ZeroInt(), sdkmath.ZeroInt()
	answers := map[string]sdkmath.Int{}
	for _, v := range all {
		operator, _ := validators.StringToBytes(v.OperatorAddress)
		answers[text(operator)] = v.Tokens
		if v.IsBonded() {
			bonded = bonded.Add(v.Tokens)
		} else {
			rest = rest.Add(v.Tokens)
		}
	}
	if err := w.staking.IterateUnbondingDelegations(w.ctx, func(_ int64, u stakingtypes.UnbondingDelegation) bool {
		operator, _ := validators.StringToBytes(u.ValidatorAddress)
		for _, e := range u.Entries {
			rest = rest.Add(e.Balance)
			if e.OnHold() {
				has, err := w.keeper.queue.Has(w.ctx, collections.Join(sdk.AccAddress(operator), e.UnbondingId))
				if err != nil || !has {
					t.Fatalf("coins are held that nobody will let go: %v %v", e, err)
				}
				if sum, ok := answers[text(operator)]; ok {
					answers[text(operator)] = sum.Add(e.Balance)
				}
			}
		}
		return false
	}); err != nil {
		t.Fatal(err)
	}
	if !held(stakingtypes.BondedPoolName).Equal(bonded) || !held(stakingtypes.NotBondedPoolName).Equal(rest) {
		t.Fatalf("height %d: the pools hold %s and %s, the books say %s and %s", w.ctx.BlockHeight(), held(stakingtypes.BondedPoolName),
			held(stakingtypes.NotBondedPoolName), bonded, rest)
	}
	w.auditEarned(t)
	w.auditVoters(t)
	w.auditPower(t, answers)
}

// auditEarned holds what x/distribution owes against what it has.
func (w *world) auditEarned(t testing.TB) {
	t.Helper()
	owed := sdk.DecCoins{}
	w.distr.IterateValidatorOutstandingRewards(w.ctx, func(_ sdk.ValAddress, r distrtypes.ValidatorOutstandingRewards) bool {
		owed = owed.Add(r.Rewards...)
		return false
	})
	pool, err := w.distr.FeePool.Get(w.ctx)
	if err != nil {
		t.Fatal(err)
	}
	owed = owed.Add(pool.CommunityPool...)
	whole, rest := owed.TruncateDecimal()
	if got := w.bank.GetAllBalances(w.ctx, authtypes.NewModuleAddress(distrtypes.ModuleName)); !got.Equal(whole) || !rest.IsZero() {
		t.Fatalf("height %d: x/distribution holds %s and owes %s", w.ctx.BlockHeight(), got, owed)
	}
}

func (w *world) auditVoters(t testing.TB) {
	t.Helper()
	for h := max(1, w.ctx.BlockHeight()-3); h <= w.ctx.BlockHeight()+1; h++ {
		voters, err := w.keeper.Voters(w.ctx, h)
		if err != nil {
			t.Fatal(err)
		}
		if len(voters) != len(w.sets[h]) {
			t.Fatalf("%d voters at %d, CometBFT has %d", len(voters), h, len(w.sets[h]))
		}
		for _, v := range voters {
			power, in := w.sets[h][string(v.Key[:])]
			if !in || v.Stake != uint64(power)*w.keeperRules(t).PowerUnit || !bytes.Equal(v.Consensus[:], addressOf(string(v.Key[:]))) {
				t.Fatalf("voter %v at %d, CometBFT gives it %d", v, h, power)
			}
		}
	}
}

// auditPower sees that coins which can be slashed answer for all power, except where a slashed validator is the only one left.
func (w *world) auditPower(t testing.TB, answers map[string]sdkmath.Int) {
	t.Helper()
	set, err := w.keeper.last(w.ctx)
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range set.Seats {
		v, err := w.keeper.validator(w.ctx, s.Operator)
		if err != nil {
			t.Fatal(err)
		}
		if v == nil || v.Jailed {
			continue
		}
		if sum := answers[s.Operator]; sum.LT(intOf(s.Stake)) {
			t.Fatalf("height %d: %s has a power for %d, only %s answer for it", w.ctx.BlockHeight(), s.Operator, s.Stake, sum)
		}
	}
}

func (w *world) keeperRules(t testing.TB) api.Params {
	t.Helper()
	p, err := w.keeper.params.Get(w.ctx)
	if err != nil {
		t.Fatal(err)
	}
	return p
}
