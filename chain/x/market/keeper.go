package market

import (
	"context"
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
	// endsPerBlock is how many replicas one block tells that their node's disk is lost, or ends because it is silent.
	endsPerBlock = 64
	// drainPerMessage is how many replicas one message looks at to let their operator leave.
	drainPerMessage = 100
	// itemsPerBlock is how many due items of each queue one block handles; the rest waits for the next.
	itemsPerBlock = 100
	// retryBlocks is when an item is tried again that could not be executed.
	retryBlocks = 100
	// maxEvidence bounds what is stored of a failed audit.
	maxEvidence = 128

	gasPerReplica = 2_000 // a replica that a message changes, beside what its store entries cost
	gasPerItem    = 5_000 // an item that a message queues for the beginning of a later block
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

// Work counts heights.
type Work interface {
	// Clock is the height up to which nodes could prove that they hold something; it stands still while seeds don't come.
	Clock(ctx context.Context) (int64, error)
	// Standing is an operator's record of reports; it is empty for one that never reported.
	Standing(ctx context.Context, operator sdk.AccAddress) (storageproof.Standing, error)
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
	lapsed   collections.KeySet[collections.Pair[uint64, sdk.AccAddress]] // whom an order takes no more
	conducts collections.Map[sdk.AccAddress, api.Conduct]
	repairs  collections.KeySet[collections.Triple[int64, uint64, sdk.AccAddress]] // lost replicas by the height that ends them
	watch    collections.KeySet[collections.Pair[int64, sdk.AccAddress]]           // operators by the height at which their silence is looked at
	sweeps   collections.KeySet[sdk.AccAddress]                                    // operators whose replicas have not all heard of a lost disk
	leaving  collections.KeySet[collections.Pair[uint64, sdk.AccAddress]]          // standing replicas that want to leave
	// copies names the order by which an operator holds a content or a part of somebody's file.
	copies collections.Map[collections.Pair[sdk.AccAddress, []byte], uint64]
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
		conducts: collections.NewMap(sb, collections.NewPrefix(14), "conducts", account, codec.CollValue[api.Conduct](cdc)),
		repairs: collections.NewKeySet(sb, collections.NewPrefix(15), "repairs",
			collections.TripleKeyCodec(collections.Int64Key, collections.Uint64Key, account)),
		watch:   collections.NewKeySet(sb, collections.NewPrefix(16), "watch", collections.PairKeyCodec(collections.Int64Key, account)),
		sweeps:  collections.NewKeySet(sb, collections.NewPrefix(17), "sweeps", account),
		leaving: collections.NewKeySet(sb, collections.NewPrefix(18), "leaving", collections.PairKeyCodec(collections.Uint64Key, account)),
		copies: collections.NewMap(sb, collections.NewPrefix(19), "copies",
			collections.PairKeyCodec(account, collections.BytesKey), collections.Uint64Value),
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

// close stores a closed order until it is forgotten, removes its replicas and executes the moves.
func (k *Keeper) close(ctx context.Context, t market.Terms, o market.Order, held []market.Replica, moved []market.Move, rule market.Rule) error {
	for _, r := range held {
		operator, err := k.account(r.Node)
		if err != nil {
			return err
		}
		if err := k.removeReplica(ctx, o, operator); err != nil {
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
	if err := k.execute(ctx, moved); err != nil {
		return err
	}
	return k.emit(ctx, &api.EventClosed{Order: o.ID, Refund: sum(moved, rule), Rule: string(rule), Owner: o.Owner})
}

// execute tells of moves and transfers their coins.
func (k *Keeper) execute(ctx context.Context, moved []market.Move) error {
	if err := k.announce(ctx, moved); err != nil {
		return err
	}
	return k.transfer(ctx, moved)
}

// transfer moves the coins. Payments to one account go out as one transfer: a report settles many replicas of a single operator.
func (k *Keeper) transfer(ctx context.Context, moved []market.Move) error {
	type transfer struct {
		in bool
		to string
	}
	var order []transfer
	sums := map[transfer]sdkmath.Int{}
	for _, m := range moved {
		t := transfer{in: m.From == market.PurseOwner || m.From == market.PurseNode, to: m.Node}
		if m.From == market.PurseOwner || m.To == market.PurseOwner {
			t.to = m.Owner
		}
		if _, ok := sums[t]; !ok {
			order = append(order, t)
			sums[t] = sdkmath.ZeroInt()
		}
		sums[t] = sums[t].Add(intOf(m.Amount))
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

// announce emits the events of moves; those of placing, accepting, renewing and closing carry more and are emitted where
// that happens.
func (k *Keeper) announce(ctx context.Context, moved []market.Move) error {
	for _, m := range moved {
		var err error
		switch {
		case m.From == market.PurseEscrow && m.To == market.PurseNode:
			err = k.emit(ctx, &api.EventPaid{Order: m.Order, Operator: m.Node, Amount: m.Amount, Rule: string(m.Rule)})
		case m.From == market.PurseCollateral && m.To == market.PurseNode:
			err = k.emit(ctx, &api.EventCollateralReturned{Order: m.Order, Operator: m.Node, Amount: m.Amount, Rule: string(m.Rule)})
		case m.From == market.PurseCollateral && m.To == market.PurseOwner:
			err = k.emit(ctx, &api.EventPenalty{Order: m.Order, Operator: m.Node, Owner: m.Owner, Amount: m.Amount, Rule: string(m.Rule),
				Evidence: m.Evidence, Height: sdk.UnwrapSDKContext(ctx).BlockHeight()})
		}
		if err != nil {
			return err
		}
	}
	return nil
}
