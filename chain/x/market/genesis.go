package market

import (
	"cmp"
	"context"
	"fmt"
	"slices"

	"cosmossdk.io/collections"
	"cosmossdk.io/core/address"

	sdk "github.com/cosmos/cosmos-sdk/types"
	authtypes "github.com/cosmos/cosmos-sdk/x/auth/types"

	api "github.com/cella-network/cella/api/market"
	"github.com/cella-network/cella/protocol/market"
)

// DefaultGenesis is an empty market whose days have 14400 blocks of six seconds.
func DefaultGenesis() *api.GenesisState {
	return &api.GenesisState{Params: api.Params{DayBlocks: 14400, MinBlocks: 14400, MaxBlocks: 14400 * 730,
		AcceptBlocks: 14400, GraceBlocks: 1200, Collateral: 10,
		MendBlocks: 2400, ClearBlocks: 14400, FaultFactor: 10, RepairBlocks: 7200, WarnBlocks: 600, SilentBlocks: 14400,
		AuditFaults: 100, LapseFee: 1}}
}

// ValidateGenesis refuses a state that the module could not have written.
func ValidateGenesis(g *api.GenesisState, addresses address.Codec) error {
	address := func(text string) error {
		_, err := accountOf(addresses, text)
		return err
	}
	if err := termsOf(g.Params).Validate(); err != nil {
		return err
	}
	asks := map[string]bool{}
	for _, a := range g.Asks {
		if err := address(a.Operator); err != nil || asks[a.Operator] {
			return fmt.Errorf("ask of %q: bad or doubled operator", a.Operator)
		}
		asks[a.Operator] = true
		if err := (market.Ask{Price: a.Price, MaxSize: a.MaxSize}).Validate(); err != nil {
			return err
		}
	}
	orders, held := map[uint64]market.Order{}, map[uint64][]market.Replica{}
	for _, o := range g.Orders {
		if err := address(o.Owner); err != nil {
			return fmt.Errorf("order %d: owner: %w", o.Id, err)
		}
		if _, ok := orders[o.Id]; ok || o.Id == 0 || o.Id > g.LastOrder {
			return fmt.Errorf("order %d: doubled, or not within 1 to %d", o.Id, g.LastOrder)
		}
		orders[o.Id] = orderOf(o)
	}
	for _, r := range g.Replicas {
		if err := address(r.Operator); err != nil {
			return fmt.Errorf("replica of order %d: operator: %w", r.Order, err)
		}
		if _, ok := orders[r.Order]; !ok {
			return fmt.Errorf("replica of order %d by %s: the order is unknown", r.Order, r.Operator)
		}
		held[r.Order] = append(held[r.Order], replicaOf(r))
	}
	for _, o := range g.Orders {
		if err := termsOf(g.Params).Audit(orders[o.Id], held[o.Id]); err != nil {
			return err
		}
	}
	for _, l := range g.Lapses {
		if _, ok := orders[l.Order]; !ok {
			return fmt.Errorf("lapse of order %d by %s: the order is unknown", l.Order, l.Operator)
		}
		if err := address(l.Operator); err != nil {
			return fmt.Errorf("lapse of order %d: %w", l.Order, err)
		}
	}
	for _, c := range g.Cursors {
		if err := address(c.Operator); err != nil {
			return fmt.Errorf("cursor: %w", err)
		}
	}
	conducts := map[string]bool{}
	for _, c := range g.Conducts {
		if err := address(c.Operator); err != nil || conducts[c.Operator] {
			return fmt.Errorf("conduct of %q: bad or doubled operator", c.Operator)
		}
		conducts[c.Operator] = true
		if err := conductOf(c).Audit(); err != nil {
			return err
		}
	}
	return nil
}

// InitGenesis stores a validated state and rebuilds its indexes and queues.
func (k *Keeper) InitGenesis(ctx context.Context, g *api.GenesisState) error {
	if err := ValidateGenesis(g, k.addresses); err != nil {
		return err
	}
	if err := k.params.Set(ctx, g.Params); err != nil {
		return err
	}
	if err := k.lastOrder.Set(ctx, g.LastOrder); err != nil {
		return err
	}
	t := termsOf(g.Params)
	for _, a := range g.Asks {
		operator, err := k.account(a.Operator)
		if err != nil {
			return err
		}
		if err := k.asks.Set(ctx, operator, a); err != nil {
			return err
		}
	}
	orders, taken := map[uint64]market.Order{}, map[uint64]uint32{}
	for _, o := range g.Orders {
		orders[o.Id] = orderOf(o)
	}
	// Of two orders of one content the one that ends last is that which an operator still holds it for.
	replicas := slices.Clone(g.Replicas)
	slices.SortStableFunc(replicas, func(a, b api.Replica) int { return cmp.Compare(orders[a.Order].End, orders[b.Order].End) })
	for _, r := range replicas {
		if !r.Leaving {
			taken[r.Order]++
		}
		operator, err := k.account(r.Operator)
		if err != nil {
			return err
		}
		if k.bank.BlockedAddr(operator) {
			return fmt.Errorf("replica of order %d: %s can't be paid", r.Order, r.Operator)
		}
		if err := k.setReplica(ctx, operator, replicaOf(r)); err != nil {
			return err
		}
		if err := k.indexReplica(ctx, t, operator, orders[r.Order], replicaOf(r)); err != nil {
			return err
		}
	}
	owed := sdk.NewInt64Coin(k.denom, 0)
	for _, r := range g.Replicas {
		owed = owed.Add(sdk.NewCoin(k.denom, intOf(r.Collateral)))
	}
	for _, o := range g.Orders {
		owed = owed.Add(sdk.NewCoin(k.denom, intOf(o.Escrow)))
		if owner, err := k.account(o.Owner); err != nil || k.bank.BlockedAddr(owner) {
			return fmt.Errorf("order %d: %s can't take a refund", o.Id, o.Owner)
		}
		if err := k.addrs.Set(ctx, o.Id, api.Order{Addrs: o.Addrs}); err != nil {
			return err
		}
		if err := k.setOrder(ctx, orderOf(o)); err != nil {
			return err
		}
		if err := k.index(ctx, t, orderOf(o)); err != nil {
			return err
		}
		if !o.Closed && taken[o.Id] < o.Replicas {
			if err := k.open.Set(ctx, o.Id); err != nil {
				return err
			}
		}
	}
	if has := k.bank.GetBalance(ctx, authtypes.NewModuleAddress(ModuleName), k.denom); has.IsLT(owed) {
		return fmt.Errorf("the module's account holds %s, its orders and replicas are owed %s", has, owed)
	}
	for _, l := range g.Lapses {
		operator, err := k.account(l.Operator)
		if err != nil {
			return err
		}
		if err := k.lapsed.Set(ctx, collections.Join(l.Order, operator)); err != nil {
			return err
		}
	}
	for _, c := range g.Conducts {
		operator, err := k.account(c.Operator)
		if err != nil {
			return err
		}
		if err := k.indexConduct(ctx, operator, conductOf(c)); err != nil {
			return err
		}
		if err := k.conducts.Set(ctx, operator, c); err != nil {
			return err
		}
	}
	for _, c := range g.Cursors {
		operator, err := k.account(c.Operator)
		if err != nil {
			return err
		}
		if err := k.cursors.Set(ctx, operator, c.Order); err != nil {
			return err
		}
	}
	return nil
}

// ExportGenesis returns the whole state.
func (k *Keeper) ExportGenesis(ctx context.Context) (*api.GenesisState, error) {
	g := new(api.GenesisState)
	var err error
	if g.Params, err = k.params.Get(ctx); err != nil {
		return nil, err
	}
	if g.LastOrder, err = k.lastOrder.Get(ctx); err != nil {
		return nil, err
	}
	if err := k.asks.Walk(ctx, nil, func(_ sdk.AccAddress, a api.Ask) (bool, error) {
		g.Asks = append(g.Asks, a)
		return false, nil
	}); err != nil {
		return nil, err
	}
	if err := k.orders.Walk(ctx, nil, func(id uint64, _ api.Order) (bool, error) {
		o, err := queryServer{k}.shown(ctx, id)
		g.Orders = append(g.Orders, o)
		return false, err
	}); err != nil {
		return nil, err
	}
	if err := k.replicas.Walk(ctx, nil, func(_ collections.Pair[uint64, sdk.AccAddress], r api.Replica) (bool, error) {
		g.Replicas = append(g.Replicas, r)
		return false, nil
	}); err != nil {
		return nil, err
	}
	if err := k.lapsed.Walk(ctx, nil, func(key collections.Pair[uint64, sdk.AccAddress]) (bool, error) {
		text, err := k.addresses.BytesToString(key.K2())
		g.Lapses = append(g.Lapses, api.Lapse{Order: key.K1(), Operator: text})
		return false, err
	}); err != nil {
		return nil, err
	}
	if err := k.conducts.Walk(ctx, nil, func(_ sdk.AccAddress, c api.Conduct) (bool, error) {
		g.Conducts = append(g.Conducts, c)
		return false, nil
	}); err != nil {
		return nil, err
	}
	err = k.cursors.Walk(ctx, nil, func(operator sdk.AccAddress, order uint64) (bool, error) {
		text, err := k.addresses.BytesToString(operator)
		g.Cursors = append(g.Cursors, api.Cursor{Operator: text, Order: order})
		return false, err
	})
	return g, err
}
