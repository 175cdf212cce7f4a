package market

import (
	"context"
	"errors"
	"fmt"

	"cosmossdk.io/collections"
	"cosmossdk.io/core/address"
	"cosmossdk.io/core/store"
	errorsmod "cosmossdk.io/errors"
	sdkmath "cosmossdk.io/math"

	"github.com/cosmos/cosmos-sdk/codec"
	sdk "github.com/cosmos/cosmos-sdk/types"

	api "github.com/cella-network/cella/api/market"
	"github.com/cella-network/cella/protocol/market"
	"github.com/cella-network/cella/protocol/storageproof"
)

const (
	// ModuleName names the module and its account.
	ModuleName = "market"
	// StoreKey is the name of the module's store.
	StoreKey = ModuleName

	// settlePerReport is how many of a node's replicas one report settles, in turn.
	settlePerReport = 64
	// itemsPerBlock is how many due items of each queue one block handles; the rest waits for the next.
	itemsPerBlock = 100
	// retryBlocks is when an item is tried again that could not be executed.
	retryBlocks = 100
)

// ErrRefused is what a message that breaks a rule fails with; the text names the rule.
var ErrRefused = errorsmod.Register(ModuleName, 2, "refused by the market")

// Bank moves coins.
type Bank interface {
	SendCoinsFromAccountToModule(ctx context.Context, from sdk.AccAddress, module string, amount sdk.Coins) error
	SendCoinsFromModuleToAccount(ctx context.Context, module string, to sdk.AccAddress, amount sdk.Coins) error
	BlockedAddr(addr sdk.AccAddress) bool
	GetBalance(ctx context.Context, addr sdk.AccAddress, denom string) sdk.Coin
}

// Work counts proven heights.
type Work interface {
	Proven(ctx context.Context, operator sdk.AccAddress) (uint64, error)
}

// Registry knows whose enclaves are registered.
type Registry interface {
	IsActive(ctx context.Context, operator sdk.AccAddress) (bool, error)
}

// Keeper stores orders and replicas and executes what protocol/market decides about them.
type Keeper struct {
	addresses address.Codec
	bank      Bank
	registry  Registry
	work      Work
	authority string
	denom     string

	params    collections.Item[api.Params]
	lastOrder collections.Item[uint64]
	asks      collections.Map[sdk.AccAddress, api.Ask]
	orders    collections.Map[uint64, api.Order] // without addrs
	// addrs holds nothing but an order's addrs: an order is written with every payment, and whoever reports should not pay
	// for the length of its owner's address list.
	addrs    collections.Map[uint64, api.Order]
	replicas collections.Map[collections.Pair[uint64, sdk.AccAddress], api.Replica]
	held     collections.KeySet[collections.Pair[sdk.AccAddress, uint64]] // operator, order
	byOwner  collections.KeySet[collections.Pair[sdk.AccAddress, uint64]]
	byRoot   collections.KeySet[collections.Pair[[]byte, uint64]]
	open     collections.KeySet[uint64] // orders with a free place
	lapses   collections.KeySet[collections.Triple[int64, uint64, sdk.AccAddress]]
	closings collections.KeySet[collections.Pair[int64, uint64]] // height, order: when it closes, then when it is forgotten
	cursors  collections.Map[sdk.AccAddress, uint64]
	lapsed   collections.KeySet[collections.Pair[uint64, sdk.AccAddress]] // who accepted an order and did not prove it
}

// NewKeeper opens the module's store. Only authority may change the params; denom is the coin of all amounts.
func NewKeeper(cdc codec.BinaryCodec, service store.KVStoreService, addresses address.Codec, bank Bank, registry Registry, work Work, authority, denom string) *Keeper {
	sb := collections.NewSchemaBuilder(service)
	account := sdk.AccAddressKey
	k := &Keeper{
		addresses: addresses, bank: bank, registry: registry, work: work, authority: authority, denom: denom,

		params:    collections.NewItem(sb, collections.NewPrefix(0), "params", codec.CollValue[api.Params](cdc)),
		lastOrder: collections.NewItem(sb, collections.NewPrefix(1), "last_order", collections.Uint64Value),
		asks:      collections.NewMap(sb, collections.NewPrefix(2), "asks", account, codec.CollValue[api.Ask](cdc)),
		orders:    collections.NewMap(sb, collections.NewPrefix(3), "orders", collections.Uint64Key, codec.CollValue[api.Order](cdc)),
		addrs:     collections.NewMap(sb, collections.NewPrefix(4), "addrs", collections.Uint64Key, codec.CollValue[api.Order](cdc)),
		replicas: collections.NewMap(sb, collections.NewPrefix(5), "replicas",
			collections.PairKeyCodec(collections.Uint64Key, account), codec.CollValue[api.Replica](cdc)),
		held:    collections.NewKeySet(sb, collections.NewPrefix(6), "held", collections.PairKeyCodec(account, collections.Uint64Key)),
		byOwner: collections.NewKeySet(sb, collections.NewPrefix(7), "by_owner", collections.PairKeyCodec(account, collections.Uint64Key)),
		byRoot:  collections.NewKeySet(sb, collections.NewPrefix(8), "by_root", collections.PairKeyCodec(collections.BytesKey, collections.Uint64Key)),
		open:    collections.NewKeySet(sb, collections.NewPrefix(9), "open", collections.Uint64Key),
		lapses: collections.NewKeySet(sb, collections.NewPrefix(10), "lapses",
			collections.TripleKeyCodec(collections.Int64Key, collections.Uint64Key, account)),
		closings: collections.NewKeySet(sb, collections.NewPrefix(11), "closings", collections.PairKeyCodec(collections.Int64Key, collections.Uint64Key)),
		cursors:  collections.NewMap(sb, collections.NewPrefix(12), "cursors", account, collections.Uint64Value),
		lapsed:   collections.NewKeySet(sb, collections.NewPrefix(13), "lapsed", collections.PairKeyCodec(collections.Uint64Key, account)),
	}
	if _, err := sb.Build(); err != nil {
		panic(err) // two collections with one prefix: a programming error found at the first start
	}
	return k
}

// Holds tells whether an operator holds or has accepted a replica.
func (k *Keeper) Holds(ctx context.Context, operator sdk.AccAddress) (bool, error) {
	it, err := k.held.Iterate(ctx, collections.NewPrefixedPairRange[sdk.AccAddress, uint64](operator))
	if err != nil {
		return false, err
	}
	defer it.Close()
	return it.Valid(), nil
}

// Reported is called with each report that x/work accepted: orders it dropped lose this replica, orders it added are
// proven if they match, and up to 64 of the node's replicas are settled, in turn. A report names what its enclave holds,
// not what the market has agreed to: an order that isn't the node's or doesn't match is passed over.
func (k *Keeper) Reported(ctx context.Context, operator sdk.AccAddress, report storageproof.Report, standing storageproof.Standing) error {
	t, now, err := k.terms(ctx)
	if err != nil {
		return err
	}
	var moved []market.Move
	for _, id := range report.Dropped {
		o, r, ok, err := k.replica(ctx, id, operator)
		if err != nil {
			return err
		}
		if !ok {
			continue
		}
		o, out, err := t.Drop(o, r, standing.Proven, now)
		if err != nil {
			return err
		}
		moved = append(moved, out...)
		if err := k.free(ctx, o, r, operator, now); err != nil {
			return err
		}
	}
	for _, ref := range report.Added {
		o, r, ok, err := k.replica(ctx, ref.ID, operator)
		if err != nil {
			return err
		}
		if !ok {
			continue
		}
		r, err = t.Prove(o, r, ref.Root, ref.Size, standing.Proven, now)
		if errors.Is(err, market.ErrProof) || errors.Is(err, market.ErrState) {
			continue
		}
		if err != nil {
			return err
		}
		if err := k.setReplica(ctx, operator, r); err != nil {
			return err
		}
		if err := k.emit(ctx, &api.EventProven{Order: o.ID, Operator: r.Node, Height: now}); err != nil {
			return err
		}
	}
	due, err := k.turn(ctx, operator)
	if err != nil {
		return err
	}
	for _, id := range due {
		out, err := k.settle(ctx, t, id, operator, standing.Proven, now)
		if err != nil {
			return err
		}
		moved = append(moved, out...)
	}
	return k.execute(ctx, market.Order{}, moved)
}

// turn names the replicas that the operator's report settles: the ones after those of its last report.
func (k *Keeper) turn(ctx context.Context, operator sdk.AccAddress) ([]uint64, error) {
	cursor, err := k.cursors.Get(ctx, operator)
	if err != nil && !errors.Is(err, collections.ErrNotFound) {
		return nil, err
	}
	var ids []uint64
	collect := func(key collections.Pair[sdk.AccAddress, uint64]) (bool, error) {
		if len(ids) == settlePerReport {
			return true, nil
		}
		ids = append(ids, key.K2())
		return false, nil
	}
	all := collections.NewPrefixedPairRange[sdk.AccAddress, uint64]
	if err := k.held.Walk(ctx, all(operator).StartExclusive(cursor), collect); err != nil {
		return nil, err
	}
	if err := k.held.Walk(ctx, all(operator).EndInclusive(cursor), collect); err != nil {
		return nil, err
	}
	if len(ids) == 0 {
		return nil, k.cursors.Remove(ctx, operator)
	}
	return ids, k.cursors.Set(ctx, operator, ids[len(ids)-1])
}

// settle pays one replica what it has earned and stores the outcome.
func (k *Keeper) settle(ctx context.Context, t market.Terms, id uint64, operator sdk.AccAddress, proven uint64, now int64) ([]market.Move, error) {
	o, r, ok, err := k.replica(ctx, id, operator)
	if err != nil || !ok {
		return nil, err
	}
	o, r, moved, err := t.Settle(o, r, proven, now)
	if err != nil || len(moved) == 0 {
		return nil, err
	}
	if err := k.setReplica(ctx, operator, r); err != nil {
		return nil, err
	}
	return moved, k.setOrder(ctx, o)
}

// close stores a closed order until it is forgotten, removes its replicas and executes the moves.
func (k *Keeper) close(ctx context.Context, t market.Terms, o market.Order, held []market.Replica, moved []market.Move, rule market.Rule) error {
	for _, r := range held {
		operator, err := k.account(r.Node)
		if err != nil {
			return err
		}
		if err := k.removeReplica(ctx, o.ID, operator); err != nil {
			return err
		}
	}
	if err := k.open.Remove(ctx, o.ID); err != nil {
		return err
	}
	if err := k.closings.Set(ctx, collections.Join(t.PruneAt(o), o.ID)); err != nil {
		return err
	}
	if err := k.setOrder(ctx, o); err != nil {
		return err
	}
	if err := k.execute(ctx, o, moved); err != nil {
		return err
	}
	return k.emit(ctx, &api.EventClosed{Order: o.ID, Refund: sum(moved, rule), Rule: string(rule)})
}

// free removes a replica, stores its order and opens the place again while the order runs, to others alone if the replica
// ended unproven.
func (k *Keeper) free(ctx context.Context, o market.Order, r market.Replica, operator sdk.AccAddress, now int64) error {
	if err := k.removeReplica(ctx, o.ID, operator); err != nil {
		return err
	}
	if now < o.End {
		if !r.Proven {
			if err := k.lapsed.Set(ctx, collections.Join(o.ID, operator)); err != nil {
				return err
			}
		}
		if err := k.open.Set(ctx, o.ID); err != nil {
			return err
		}
	}
	return k.setOrder(ctx, o)
}

// execute moves the coins and emits an event for each move; o is only needed where its owner pays or is paid. Payments of
// one kind to one node go out as one transfer: a report settles many replicas of a single operator.
func (k *Keeper) execute(ctx context.Context, o market.Order, moved []market.Move) error {
	type transfer struct {
		in bool
		to string
	}
	var order []transfer
	sums := map[transfer]sdkmath.Int{}
	for _, m := range moved {
		t := transfer{in: m.From == market.PurseOwner || m.From == market.PurseNode, to: m.Node}
		if m.From == market.PurseOwner || m.To == market.PurseOwner {
			t.to = o.Owner
		}
		if _, ok := sums[t]; !ok {
			order = append(order, t)
			sums[t] = sdkmath.ZeroInt()
		}
		sums[t] = sums[t].Add(intOf(m.Amount))
		if err := k.announce(ctx, m); err != nil {
			return err
		}
	}
	for _, t := range order {
		account, err := k.account(t.to)
		if err != nil {
			return err
		}
		coins := sdk.NewCoins(sdk.NewCoin(k.denom, sums[t]))
		if t.in {
			err = k.bank.SendCoinsFromAccountToModule(ctx, account, ModuleName, coins)
		} else {
			err = k.bank.SendCoinsFromModuleToAccount(ctx, ModuleName, account, coins)
		}
		if err != nil {
			return fmt.Errorf("market: %w", err)
		}
	}
	return nil
}

// announce emits the event of a move; those of placing, accepting, renewing and closing carry more and are emitted where
// that happens.
func (k *Keeper) announce(ctx context.Context, m market.Move) error {
	switch m.Rule {
	case market.RuleProof, market.RuleMinimum:
		return k.emit(ctx, &api.EventPaid{Order: m.Order, Operator: m.Node, Amount: m.Amount, Rule: string(m.Rule)})
	case market.RuleEnd, market.RuleLapse, market.RuleDropped:
		return k.emit(ctx, &api.EventCollateralReturned{Order: m.Order, Operator: m.Node, Amount: m.Amount, Rule: string(m.Rule)})
	}
	return nil
}
