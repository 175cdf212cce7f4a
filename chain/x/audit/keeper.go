package audit

import (
	"context"
	"errors"

	"github.com/cosmos/gogoproto/proto"

	"cosmossdk.io/collections"
	"cosmossdk.io/core/address"
	"cosmossdk.io/core/store"
	errorsmod "cosmossdk.io/errors"

	"github.com/cosmos/cosmos-sdk/codec"
	sdk "github.com/cosmos/cosmos-sdk/types"

	api "github.com/cella-network/cella/api/audit"
	"github.com/cella-network/cella/protocol/attestation"
	"github.com/cella-network/cella/protocol/audit"
	"github.com/cella-network/cella/protocol/lottery"
)

const (
	// ModuleName names the module.
	ModuleName = "audit"
	// StoreKey is the name of the module's store, known to enclaves.
	StoreKey = audit.StoreName

	maxVerdict = 512 // bytes; a verdict has about 250

	gasVerdict = 40_000 // signature and what closing the case costs later
)

// ErrRefused is what a message that breaks a rule fails with; the text names the rule.
var ErrRefused = errorsmod.Register(ModuleName, 2, "refused by audit")

// Seeds gives the public randomness of heights, as far as it is out.
type Seeds interface {
	// Seed is false where a height's seed is not known yet, or no more.
	Seed(ctx context.Context, height int64) (lottery.Seed, bool, error)
	// Tip is the last height whose seed is out.
	Tip(ctx context.Context) (int64, error)
}

// Registry draws registered nodes: holders among all active ones, auditors among those that are trusted to endorse.
type Registry interface {
	DrawActive(ctx context.Context, seed lottery.Seed, subject []byte) (attestation.Node, bool, error)
	DrawEndorser(ctx context.Context, seed lottery.Seed, subject []byte, excluded []attestation.Account) (attestation.Node, bool, error)
}

// Market knows what is held and punishes.
type Market interface {
	// Sample draws one of the holder's proven replicas of running orders; ok is false if there is none.
	Sample(ctx context.Context, holder sdk.AccAddress, seed lottery.Seed) (order uint64, root []byte, ok bool, err error)
	// Holding tells whether the holder still owes an order's content.
	Holding(ctx context.Context, holder sdk.AccAddress, order uint64) (bool, error)
	// Audited is told how an audit of a replica that the holder still owes ended.
	Audited(ctx context.Context, holder sdk.AccAddress, order uint64, passed bool, evidence string) error
}

// Keeper draws cases, counts verdicts and tells the market of failures.
type Keeper struct {
	addresses address.Codec
	seeds     Seeds
	registry  Registry
	market    Market
	authority string

	// cases lie under audit.CaseKey in their canonical encoding: auditors' enclaves check them.
	cases    collections.Map[uint64, []byte]
	params   collections.Item[api.Params]
	lastCase collections.Item[uint64]
	drawn    collections.Item[int64] // the last height by whose seed a case was drawn, or nobody found for one
	infos    collections.Map[uint64, api.CaseInfo]
	records  collections.Map[sdk.AccAddress, api.Record]
	due      collections.KeySet[collections.Pair[int64, uint64]]          // height at which a case is decided or forgotten
	duties   collections.KeySet[collections.Pair[sdk.AccAddress, uint64]] // who owes a verdict about an open case
}

// NewKeeper opens the module's store. Only authority may change the params.
func NewKeeper(cdc codec.BinaryCodec, service store.KVStoreService, addresses address.Codec, seeds Seeds, registry Registry, market Market, authority string) *Keeper {
	sb := collections.NewSchemaBuilder(service)
	account := sdk.AccAddressKey
	k := &Keeper{
		addresses: addresses, seeds: seeds, registry: registry, market: market, authority: authority,

		cases:    collections.NewMap(sb, collections.NewPrefix(audit.CaseKey(0)[:1]), "cases", collections.Uint64Key, collections.BytesValue),
		params:   collections.NewItem(sb, collections.NewPrefix(2), "params", codec.CollValue[api.Params](cdc)),
		lastCase: collections.NewItem(sb, collections.NewPrefix(3), "last_case", collections.Uint64Value),
		drawn:    collections.NewItem(sb, collections.NewPrefix(8), "drawn", collections.Int64Value),
		infos:    collections.NewMap(sb, collections.NewPrefix(4), "infos", collections.Uint64Key, codec.CollValue[api.CaseInfo](cdc)),
		records:  collections.NewMap(sb, collections.NewPrefix(5), "records", account, codec.CollValue[api.Record](cdc)),
		due:      collections.NewKeySet(sb, collections.NewPrefix(6), "due", collections.PairKeyCodec(collections.Int64Key, collections.Uint64Key)),
		duties:   collections.NewKeySet(sb, collections.NewPrefix(7), "duties", collections.PairKeyCodec(account, collections.Uint64Key)),
	}
	if _, err := sb.Build(); err != nil {
		panic(err) // two collections with one prefix: a programming error found at the first start
	}
	return k
}

// caseOf loads a case with what lies beside it.
func (k *Keeper) caseOf(ctx context.Context, id uint64) (c audit.Case, info api.CaseInfo, err error) {
	b, err := k.cases.Get(ctx, id)
	if errors.Is(err, collections.ErrNotFound) {
		return c, info, ErrRefused.Wrapf("there is no case %d", id)
	}
	if err != nil {
		return c, info, err
	}
	if c, err = audit.UnmarshalCase(b); err != nil {
		return c, info, err
	}
	info, err = k.infos.Get(ctx, id)
	return c, info, err
}

// add stores a new case and who owes a verdict about it.
func (k *Keeper) add(ctx context.Context, c audit.Case, info api.CaseInfo) error {
	if err := k.cases.Set(ctx, c.ID, c.Marshal()); err != nil {
		return err
	}
	if err := k.infos.Set(ctx, c.ID, info); err != nil {
		return err
	}
	if err := k.due.Set(ctx, collections.Join(info.Due, c.ID)); err != nil {
		return err
	}
	if audit.Outcome(info.Outcome) != audit.OutcomeOpen {
		return nil
	}
	given, err := verdictsOf(info)
	if err != nil {
		return err
	}
	for _, a := range c.Auditors {
		if spoke(given, a.Account) {
			continue
		}
		if err := k.duties.Set(ctx, duty(a.Account, c.ID)); err != nil {
			return err
		}
	}
	return nil
}

// put stores what lies beside a case and moves it to another height of the queue.
func (k *Keeper) put(ctx context.Context, id uint64, info api.CaseInfo, due int64) error {
	if err := k.due.Remove(ctx, collections.Join(info.Due, id)); err != nil {
		return err
	}
	info.Due = due
	if err := k.infos.Set(ctx, id, info); err != nil {
		return err
	}
	return k.due.Set(ctx, collections.Join(due, id))
}

// forget removes a closed case.
func (k *Keeper) forget(ctx context.Context, id uint64, info api.CaseInfo) error {
	if err := k.due.Remove(ctx, collections.Join(info.Due, id)); err != nil {
		return err
	}
	if err := k.infos.Remove(ctx, id); err != nil {
		return err
	}
	return k.cases.Remove(ctx, id)
}

// take counts a signed verdict about an open case.
func (k *Keeper) take(ctx context.Context, encoded, sig []byte) error {
	v, err := audit.UnmarshalVerdict(encoded)
	if err != nil {
		return refused(err)
	}
	c, info, err := k.caseOf(ctx, v.Case)
	if err != nil {
		return err
	}
	if outcome := audit.Outcome(info.Outcome); outcome != audit.OutcomeOpen {
		return ErrRefused.Wrapf("case %d is closed: %s", c.ID, outcome)
	}
	u := sdk.UnwrapSDKContext(ctx)
	if v, err = c.Check(u.ChainID(), encoded, sig, u.BlockHeight()); err != nil {
		return refused(err)
	}
	given, err := verdictsOf(info)
	if err != nil {
		return err
	}
	if spoke(given, v.Auditor) {
		return ErrRefused.Wrapf("the auditor gave its verdict about case %d already", c.ID)
	}
	info.Verdicts = append(info.Verdicts, encoded)
	due := info.Due
	if c.Due(len(info.Verdicts), u.BlockHeight()) {
		due = u.BlockHeight() + 1 // at the begin of a block: whoever speaks last should not pay for the market's work
	}
	if err := k.put(ctx, c.ID, info, due); err != nil {
		return err
	}
	if err := k.duties.Remove(ctx, duty(v.Auditor, c.ID)); err != nil {
		return err
	}
	if err := k.count(ctx, v.Auditor, func(r *api.Record) { r.Verdicts++ }); err != nil {
		return err
	}
	auditor, err := k.text(v.Auditor)
	if err != nil {
		return err
	}
	return k.emit(ctx, &api.EventVerdict{Case: c.ID, Auditor: auditor, Reason: v.Reason.String(), From: v.From, To: v.To})
}

// record loads what is kept of an operator.
func (k *Keeper) record(ctx context.Context, account attestation.Account) (api.Record, error) {
	r, err := k.records.Get(ctx, account[:])
	if errors.Is(err, collections.ErrNotFound) {
		text, err := k.text(account)
		return api.Record{Operator: text}, err
	}
	return r, err
}

func (k *Keeper) count(ctx context.Context, account attestation.Account, change func(*api.Record)) error {
	r, err := k.record(ctx, account)
	if err != nil {
		return err
	}
	change(&r)
	return k.records.Set(ctx, account[:], r)
}

func (k *Keeper) text(account attestation.Account) (string, error) {
	return k.addresses.BytesToString(account[:])
}

func (k *Keeper) emit(ctx context.Context, event proto.Message) error {
	return sdk.UnwrapSDKContext(ctx).EventManager().EmitTypedEvent(event)
}

func verdictsOf(info api.CaseInfo) ([]audit.Verdict, error) {
	out := make([]audit.Verdict, len(info.Verdicts))
	for i, b := range info.Verdicts {
		v, err := audit.UnmarshalVerdict(b)
		if err != nil {
			return nil, err
		}
		out[i] = v
	}
	return out, nil
}

func spoke(given []audit.Verdict, account attestation.Account) bool {
	for _, v := range given {
		if v.Auditor == account {
			return true
		}
	}
	return false
}

func duty(account attestation.Account, id uint64) collections.Pair[sdk.AccAddress, uint64] {
	return collections.Join(sdk.AccAddress(account[:]), id)
}

func refused(err error) error { return ErrRefused.Wrap(err.Error()) }
