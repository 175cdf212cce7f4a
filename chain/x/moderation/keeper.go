package moderation

import (
	"bytes"
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

	api "github.com/cella-network/cella/api/moderation"
	"github.com/cella-network/cella/protocol/storageproof"
)

const (
	// ModuleName names the module.
	ModuleName = "moderation"
	// StoreKey is the name of the module's store.
	StoreKey = ModuleName

	maxName  = 32 // bytes
	maxLists = 64 // bounds what max_lists can be: the lists of an account are counted one by one
	maxSize  = 1 << 30

	hashSize   = 32
	gasPublish = 20_000
)

// ErrRefused is what a message that breaks a rule fails with; the text names the rule.
var ErrRefused = errorsmod.Register(ModuleName, 2, "refused list")

// Bank holds the deposits.
type Bank interface {
	SendCoinsFromAccountToModule(ctx context.Context, from sdk.AccAddress, module string, amount sdk.Coins) error
	SendCoinsFromModuleToAccount(ctx context.Context, module string, to sdk.AccAddress, amount sdk.Coins) error
}

type listKey = collections.Pair[sdk.AccAddress, string]

// Keeper stores the published lists.
type Keeper struct {
	addresses address.Codec
	bank      Bank
	authority string
	denom     string

	params collections.Item[api.Params]
	lists  collections.Map[listKey, api.List]
}

// NewKeeper opens the module's store. Only authority may change the params; deposits are in denom.
func NewKeeper(cdc codec.BinaryCodec, service store.KVStoreService, addresses address.Codec, bank Bank, authority, denom string) *Keeper {
	sb := collections.NewSchemaBuilder(service)
	k := &Keeper{
		addresses: addresses, bank: bank, authority: authority, denom: denom,
		params: collections.NewItem(sb, collections.NewPrefix(1), "params", codec.CollValue[api.Params](cdc)),
		lists: collections.NewMap(sb, collections.NewPrefix(2), "lists", collections.PairKeyCodec(sdk.AccAddressKey, collections.StringKey),
			codec.CollValue[api.List](cdc)),
	}
	if _, err := sb.Build(); err != nil {
		panic(err) // two collections with one prefix: a programming error found at the first start
	}
	return k
}

// publish begins a list, or replaces the version that stands.
func (k *Keeper) publish(ctx context.Context, l api.List) error {
	publisher, err := k.account(l.Publisher)
	if err != nil {
		return err
	}
	p, err := k.params.Get(ctx)
	if err != nil {
		return err
	}
	if err := checkList(p.MaxSize, l); err != nil {
		return ErrRefused.Wrap(err.Error())
	}
	before, err := k.lists.Get(ctx, collections.Join(publisher, l.Name))
	fresh := errors.Is(err, collections.ErrNotFound)
	if err != nil && !fresh {
		return err
	}
	if l.Sequence != before.Sequence+1 {
		return ErrRefused.Wrapf("sequence is %d, want %d: another version may have come between", l.Sequence, before.Sequence+1)
	}
	locked := sdk.NewCoin(k.denom, sdkmath.ZeroInt())
	if l.Deposit = before.Deposit; fresh {
		if err := k.room(ctx, publisher, p.MaxLists); err != nil {
			return err
		}
		l.Deposit, locked = p.Deposit, p.Deposit
		if locked.IsPositive() {
			if err := k.bank.SendCoinsFromAccountToModule(ctx, publisher, ModuleName, sdk.NewCoins(locked)); err != nil {
				return err
			}
		}
	}
	c := sdk.UnwrapSDKContext(ctx)
	l.Height = c.BlockHeight()
	if err := k.lists.Set(ctx, collections.Join(publisher, l.Name), l); err != nil {
		return err
	}
	return c.EventManager().EmitTypedEvent(&api.EventPublished{Publisher: l.Publisher, Name: l.Name, Sequence: l.Sequence,
		Sha256: l.Sha256, Cid: l.Cid, Size_: l.Size_, Locked: locked})
}

// room refuses a list beyond those that an account may have.
func (k *Keeper) room(ctx context.Context, publisher sdk.AccAddress, most uint32) error {
	count := uint32(0)
	err := k.lists.Walk(ctx, collections.NewPrefixedPairRange[sdk.AccAddress, string](publisher), func(listKey, api.List) (bool, error) {
		count++
		return count >= most, nil
	})
	if err == nil && count >= most {
		err = ErrRefused.Wrapf("%d lists are published by this account, at most %d", count, most)
	}
	return err
}

// withdraw ends a list and returns what lies for it.
func (k *Keeper) withdraw(ctx context.Context, owner, name string) error {
	publisher, err := k.account(owner)
	if err != nil {
		return err
	}
	l, err := k.lists.Get(ctx, collections.Join(publisher, name))
	if errors.Is(err, collections.ErrNotFound) {
		return ErrRefused.Wrapf("%s has no list %q", owner, name)
	}
	if err != nil {
		return err
	}
	if err := k.lists.Remove(ctx, collections.Join(publisher, name)); err != nil {
		return err
	}
	if l.Deposit.IsPositive() {
		if err := k.bank.SendCoinsFromModuleToAccount(ctx, ModuleName, publisher, sdk.NewCoins(l.Deposit)); err != nil {
			return err
		}
	}
	return sdk.UnwrapSDKContext(ctx).EventManager().EmitTypedEvent(&api.EventWithdrawn{Publisher: owner, Name: name, Returned: l.Deposit})
}

func (k *Keeper) account(text string) (sdk.AccAddress, error) {
	b, err := k.addresses.StringToBytes(text)
	if err != nil {
		return nil, ErrRefused.Wrapf("address %q: %s", text, err)
	}
	return b, nil
}

// checkList holds what a publisher says against the format.
func checkList(most uint64, l api.List) error {
	if err := checkName(l.Name); err != nil {
		return err
	}
	if len(l.Sha256) != hashSize {
		return fmt.Errorf("sha256 has %d bytes, want %d", len(l.Sha256), hashSize)
	}
	key, err := storageproof.ParseBlockKey(l.Cid)
	if err != nil {
		return fmt.Errorf("cid: %w", err)
	}
	if !bytes.Equal(key.CID(), l.Cid) {
		return fmt.Errorf("cid %x is not of version 1", l.Cid)
	}
	if l.Size_ == 0 || l.Size_ > most {
		return fmt.Errorf("the file has %d bytes, want 1 to %d", l.Size_, most)
	}
	return nil
}

func checkName(name string) error {
	if len(name) == 0 || len(name) > maxName {
		return fmt.Errorf("a name of %d bytes, want 1 to %d", len(name), maxName)
	}
	for _, b := range []byte(name) {
		if (b < 'a' || b > 'z') && (b < '0' || b > '9') && b != '-' {
			return fmt.Errorf("name %q: want a-z, 0-9 and - alone", name)
		}
	}
	return nil
}
