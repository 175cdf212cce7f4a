package guarantee

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	abci "github.com/cometbft/cometbft/abci/types"

	"github.com/cockroachdb/datadriven"

	stakingtypes "github.com/cosmos/cosmos-sdk/x/staking/types"

	api "github.com/cella-network/cella/api/guarantee"
)

// The transcripts follow a chain of the stock modules era by era. Amounts are CELLA; a GiB lets one count, an era has ten blocks.
//
//	genesis NAME=OWN ...                       validators that genesis transactions make
//	validator NAME own=CELLA [cut=PERCENT]     one that comes later
//	proves NAME=GIB ...                        what each one reports from now on, twice an era
//	fails NAME ...     silent NAME ...         their reports name heights that were not proven; they send none. With none: nobody
//	bond NODE WHO CELLA   unbond NODE WHO CELLA   cancel NODE WHO CELLA   redelegate NODE WHO CELLA
//	block [n=1]   era [n=1]                    what happens in that many; pay is shown with "pay"
//	group   reshared   failed                  the set in force has made a fresh key; the ceremony that was begun is done: both with the next block; it failed
//	absent NAME ...    double NAME   bad NAME [height=-1]   blamed NAME RULE   unjail NAME   rotate NAME
//	set   node NAME   nodes   waiting   earned WHO NODE
func TestTranscripts(t *testing.T) {
	datadriven.Walk(t, "testdata", func(t *testing.T, path string) {
		w := newWorld(t, params)
		datadriven.RunTest(t, path, func(t *testing.T, d *datadriven.TestData) string {
			lines, err := w.command(t, d)
			if err != nil {
				lines = append(lines, "refused: "+err.Error())
			}
			if len(lines) == 0 {
				lines = []string{"-"}
			}
			return w.readable(strings.Join(lines, "\n") + "\n")
		})
	})
}

// readable puts names in place of addresses.
func (w *world) readable(s string) string {
	var names []string
	for name := range w.known {
		names = append(names, text(account(name)), name)
	}
	return strings.NewReplacer(names...).Replace(s)
}

func (w *world) command(t *testing.T, d *datadriven.TestData) (lines []string, err error) {
	number := func(key string, missing int64) int64 {
		d.MaybeScanArgs(t, key, &missing)
		return missing
	}
	var words []string
	figures := map[string]int64{}
	for _, arg := range d.CmdArgs {
		if len(arg.Vals) == 0 {
			words = append(words, arg.Key)
		} else {
			figures[arg.Key] = number(arg.Key, 0)
		}
	}
	coins := func() int64 {
		var n int64
		if _, err := fmt.Sscan(words[2], &n); err != nil {
			d.Fatalf(t, "%s", err)
		}
		return n * cella
	}
	set := func(m map[string]bool) {
		clear(m)
		for _, name := range words {
			m[name] = true
		}
	}
	switch d.Cmd {
	case "genesis":
		for _, name := range slices.Sorted(maps.Keys(figures)) {
			if err := w.validator(t, name, figures[name]*cella, 10); err != nil {
				return nil, err
			}
		}
		w.start(t)
		return w.shown(t)
	case "params":
		p := w.keeperRules(t)
		p.EraPool, p.Seats = uint64(number("pool", int64(p.EraPool))), uint32(number("seats", int64(p.Seats)))
		return nil, w.keeper.params.Set(w.ctx, p)
	case "validator":
		return nil, w.validator(t, words[0], figures["own"]*cella, number("cut", 10))
	case "proves":
		for name, n := range figures {
			w.known[name] = true
			w.bytes[name] = uint64(n) * gib
		}
	case "fails":
		set(w.fails)
	case "silent":
		set(w.silent)
	case "absent":
		set(w.absent)
	case "bond":
		return nil, w.bond(t, words[0], words[1], coins())
	case "unbond":
		return nil, w.unbond(words[0], words[1], coins())
	case "cancel":
		return nil, w.cancel(words[0], words[1], coins())
	case "redelegate":
		_, err := w.server.BeginRedelegate(w.ctx, stakingtypes.NewMsgBeginRedelegate(text(account(words[1])), valoper(words[0]), valoper("ann"), ucella(coins())))
		return nil, err
	case "block", "era":
		for range number("n", 1) {
			if d.Cmd == "era" {
				lines = append(lines, w.era(t)...)
			} else {
				lines = append(lines, w.block(t)...)
			}
		}
		return slices.DeleteFunc(lines, func(l string) bool {
			return !slices.Contains(words, "pay") && (strings.HasPrefix(l, "Paid ") || strings.HasPrefix(l, "Era "))
		}), nil
	case "group":
		w.fresh = true
	case "reshared":
		w.done = true
	case "refuses":
		w.refuses = number("on", 1) == 1
	case "failed":
		return nil, w.keeper.Failed(w.ctx, Purpose)
	case "lag":
		w.lag = figures["blocks"]
	case "fees":
		w.fee = figures["each"]
	case "double":
		h := w.ctx.BlockHeight()
		key := string(keyOf(words[0]).Key)
		w.double = []abci.Misbehavior{{Type: abci.MisbehaviorType_DUPLICATE_VOTE, Height: h, Time: w.ctx.BlockTime(),
			Validator: abci.Validator{Address: addressOf(key), Power: w.sets[h][key]}}}
	case "bad", "blamed":
		err = w.tx(func(ctx context.Context) error {
			if d.Cmd == "blamed" {
				return w.keeper.Blamed(ctx, [20]byte(account(words[0])), words[1])
			}
			return w.keeper.Punish(ctx, consensusOf(keyOf(words[0]).Key), w.ctx.BlockHeight()+number("height", 0), "bad-share")
		})
		lines = w.said
	case "unjail":
		return nil, w.unjail(words[0])
	case "rotate":
		return nil, w.rotate(t, words[0])
	case "set":
		return w.shown(t)
	case "node":
		return w.node(words[0])
	case "nodes":
		for _, name := range slices.Sorted(maps.Keys(w.known)) {
			more, err := w.node(name)
			if err != nil {
				more = []string{name + ": none"}
			}
			lines = append(lines, more...)
		}
	case "waiting":
		return w.waiting()
	case "earned":
		return w.earned(t, words[0], words[1])
	default:
		d.Fatalf(t, "unknown command %q", d.Cmd)
	}
	return lines, err
}

func (w *world) cancel(node, who string, amount int64) error {
	return w.tx(func(ctx context.Context) error {
		ubd, err := w.staking.GetUnbondingDelegation(ctx, account(who), account(node).Bytes())
		if err != nil {
			return err
		}
		_, err = w.server.CancelUnbondingDelegation(ctx, stakingtypes.NewMsgCancelUnbondingDelegation(text(account(who)), valoper(node), ubd.Entries[0].CreationHeight, ucella(amount)))
		return err
	})
}

func (w *world) unjail(name string) error {
	w.ctx = w.ctx.WithBlockTime(w.ctx.BlockTime().Add(time.Hour))
	return w.tx(func(ctx context.Context) error { return w.slashing.Unjail(ctx, account(name).Bytes()) })
}

func (w *world) rotate(t testing.TB, name string) error {
	w.fund(t, account(name), 1)
	msg, err := stakingtypes.NewMsgRotateConsPubKey(valoper(name), keyOf(name+"'"))
	if err != nil {
		t.Fatal(err)
	}
	if err := w.tx(func(ctx context.Context) error { _, err := w.server.RotateConsPubKey(ctx, msg); return err }); err != nil {
		return err
	}
	w.burned++ // the fee
	return nil
}

// shown is the set that CometBFT was told last.
func (w *world) shown(t testing.TB) (lines []string, err error) {
	set, err := w.keeper.last(w.ctx)
	if err != nil {
		return nil, err
	}
	out := make([]string, len(set.Seats))
	for i, s := range set.Seats {
		out[i] = fmt.Sprintf("%s %d", w.named(string(s.Key)), s.Power)
	}
	return []string{strings.Join(out, ", ")}, nil
}

func (w *world) node(name string) ([]string, error) {
	r, err := (queryServer{w.keeper}).Node(w.ctx, &api.QueryNodeRequest{Operator: text(account(name))})
	if err != nil {
		return nil, err
	}
	s := r.Standing
	line := fmt.Sprintf("%s: own %s, guaranteed %s, limit %s, effective %s, room %s", name, show(s.Own), show(s.Guaranteed), show(s.Node.Storage.Limit),
		show(s.Effective), show(s.Room))
	for _, f := range []struct {
		word string
		n    uint64
	}{{"power", s.Power}, {"rank", uint64(r.Rank)}, {"late", r.Late}} {
		if f.n > 0 {
			line += fmt.Sprintf(", %s %d", f.word, f.n)
		}
	}
	if s.Jailed {
		line += ", jailed"
	}
	return []string{line}, nil
}

// show is an amount in CELLA, exactly.
func show(c uint64) string {
	s := fmt.Sprintf("%d.%06d", c/cella, c%cella)
	return strings.TrimSuffix(strings.TrimRight(s, "0"), ".")
}

func (w *world) waiting() (lines []string, err error) {
	err = w.staking.IterateUnbondingDelegations(w.ctx, func(_ int64, u stakingtypes.UnbondingDelegation) bool {
		who, _ := accounts.StringToBytes(u.DelegatorAddress)
		node, _ := validators.StringToBytes(u.ValidatorAddress)
		for _, e := range u.Entries {
			state := "let go"
			if e.OnHold() {
				state = "held"
			}
			lines = append(lines, fmt.Sprintf("%s of %s with %s: %s", show(e.Balance.Uint64()), nameOf(who), nameOf(node), state))
		}
		return false
	})
	return lines, err
}

// earned withdraws what somebody has earned with a node, and what its operator has beside it.
func (w *world) earned(t testing.TB, who, node string) ([]string, error) {
	sum := uint64(0)
	rewards, err := w.distr.WithdrawDelegationRewards(w.ctx, account(who), account(node).Bytes())
	if err != nil {
		return nil, err
	}
	sum += rewards.AmountOf(denom).Uint64()
	if who == node {
		if own, err := w.distr.WithdrawValidatorCommission(w.ctx, account(node).Bytes()); err == nil {
			sum += own.AmountOf(denom).Uint64()
		}
	}
	w.audit(t)
	return []string{fmt.Sprintf("%s gets %s", who, show(sum))}, nil
}
