package attest

import (
	"bytes"
	"context"
	"errors"
	"slices"

	"github.com/cosmos/gogoproto/proto"

	"cosmossdk.io/collections"
	"cosmossdk.io/core/address"
	"cosmossdk.io/core/store"
	errorsmod "cosmossdk.io/errors"

	"github.com/cosmos/cosmos-sdk/codec"
	sdk "github.com/cosmos/cosmos-sdk/types"

	api "github.com/cella-network/cella/api/attest"
	"github.com/cella-network/cella/protocol/attestation"
	"github.com/cella-network/cella/protocol/lottery"
)

const (
	// ModuleName names the module and its account.
	ModuleName = "attest"
	// StoreKey is the name of the module's store, known to enclaves.
	StoreKey = attestation.StoreName

	gasEvidence = 100_000 // signatures and certificates
	gasPerByte  = 10
)

// ErrRefused is what a message that breaks a rule fails with; the text names the rule.
var ErrRefused = errorsmod.Register(ModuleName, 2, "join refused")

// Bank holds the entry stakes.
type Bank interface {
	SendCoinsFromAccountToModule(ctx context.Context, from sdk.AccAddress, module string, amount sdk.Coins) error
	SendCoinsFromModuleToAccount(ctx context.Context, module string, to sdk.AccAddress, amount sdk.Coins) error
	BlockedAddr(addr sdk.AccAddress) bool
	GetBalance(ctx context.Context, addr sdk.AccAddress, denom string) sdk.Coin
}

// Seeds gives the public randomness of heights, as far as it is out.
type Seeds interface {
	// Seed is false where a height's seed is not known yet, or no more.
	Seed(ctx context.Context, height int64) (lottery.Seed, bool, error)
	// Tip is the last height whose seed is out.
	Tip(ctx context.Context) (int64, error)
}

// Replicas knows who holds replicas for orders.
type Replicas interface {
	Holds(ctx context.Context, operator sdk.AccAddress) (bool, error)
}

// Keeper stores registrations and the joins that wait for an endorser.
type Keeper struct {
	addresses address.Codec
	bank      Bank
	seeds     Seeds
	replicas  Replicas
	authority string
	denom     string

	// nodes and intents lie under attestation.NodeKey and IntentKey in their canonical encodings: enclaves check them.
	nodes   collections.Map[sdk.AccAddress, []byte]
	intents collections.Map[sdk.AccAddress, []byte]

	params      collections.Item[api.Params]
	nodeInfos   collections.Map[sdk.AccAddress, api.NodeInfo]
	intentInfos collections.Map[sdk.AccAddress, api.IntentInfo]
	stakes      collections.Map[sdk.AccAddress, api.Stake]
	hashes      collections.Map[int64, []byte]
	machines    collections.Map[[]byte, []byte]                             // platform and its id to the account that runs there
	seats       collections.Map[uint64, []byte]                             // the active nodes, numbered, those first that can be drawn as endorsers
	seatOf      collections.Map[sdk.AccAddress, uint64]                     // their numbers
	seatCount   collections.Item[uint64]                                    // of endorsers
	count       collections.Item[uint64]                                    // of active nodes
	peak        collections.Item[uint64]                                    // most of count ever
	due         collections.KeySet[collections.Pair[int64, sdk.AccAddress]] // height, account of an intent
	expiries    collections.KeySet[collections.Pair[int64, sdk.AccAddress]] // height, account of a node
	collaterals collections.KeySet[collections.Pair[int64, sdk.AccAddress]] // unix seconds, account of a node
}

// NewKeeper opens the module's store. Only authority may change the params; denom is the coin of the entry stake. The
// market, which itself asks this keeper, is joined by SetReplicas.
func NewKeeper(cdc codec.BinaryCodec, service store.KVStoreService, addresses address.Codec, bank Bank, seeds Seeds, authority, denom string) *Keeper {
	sb := collections.NewSchemaBuilder(service)
	account, queue := sdk.AccAddressKey, collections.PairKeyCodec(collections.Int64Key, sdk.AccAddressKey)
	k := &Keeper{
		addresses: addresses, bank: bank, seeds: seeds, authority: authority, denom: denom,

		nodes:       collections.NewMap(sb, collections.NewPrefix(attestation.NodeKey(attestation.Account{})[:1]), "nodes", account, collections.BytesValue),
		intents:     collections.NewMap(sb, collections.NewPrefix(attestation.IntentKey(attestation.Account{})[:1]), "intents", account, collections.BytesValue),
		params:      collections.NewItem(sb, collections.NewPrefix(3), "params", codec.CollValue[api.Params](cdc)),
		nodeInfos:   collections.NewMap(sb, collections.NewPrefix(4), "node_infos", account, codec.CollValue[api.NodeInfo](cdc)),
		intentInfos: collections.NewMap(sb, collections.NewPrefix(5), "intent_infos", account, codec.CollValue[api.IntentInfo](cdc)),
		stakes:      collections.NewMap(sb, collections.NewPrefix(6), "stakes", account, codec.CollValue[api.Stake](cdc)),
		hashes:      collections.NewMap(sb, collections.NewPrefix(7), "hashes", collections.Int64Key, collections.BytesValue),
		machines:    collections.NewMap(sb, collections.NewPrefix(8), "machines", collections.BytesKey, collections.BytesValue),
		seats:       collections.NewMap(sb, collections.NewPrefix(15), "seats", collections.Uint64Key, collections.BytesValue),
		seatOf:      collections.NewMap(sb, collections.NewPrefix(16), "seat_of", account, collections.Uint64Value),
		seatCount:   collections.NewItem(sb, collections.NewPrefix(17), "seat_count", collections.Uint64Value),
		count:       collections.NewItem(sb, collections.NewPrefix(10), "count", collections.Uint64Value),
		peak:        collections.NewItem(sb, collections.NewPrefix(11), "peak", collections.Uint64Value),
		due:         collections.NewKeySet(sb, collections.NewPrefix(12), "due", queue),
		expiries:    collections.NewKeySet(sb, collections.NewPrefix(13), "expiries", queue),
		collaterals: collections.NewKeySet(sb, collections.NewPrefix(14), "collaterals", queue),
	}
	if _, err := sb.Build(); err != nil {
		panic(err) // two collections with one prefix: a programming error found at the first start
	}
	return k
}

// SetReplicas joins the market; it must be called once, before the first block.
func (k *Keeper) SetReplicas(r Replicas) { k.replicas = r }

// Active gives an account's node if its registration holds.
func (k *Keeper) Active(ctx context.Context, account attestation.Account) (attestation.Node, bool, error) {
	n, ok, err := k.node(ctx, account[:])
	return n, ok && sdk.UnwrapSDKContext(ctx).BlockHeight() < n.Expires, err
}

// IsActive tells whether an operator's registration holds.
func (k *Keeper) IsActive(ctx context.Context, operator sdk.AccAddress) (bool, error) {
	n, ok, err := k.node(ctx, operator)
	return ok && sdk.UnwrapSDKContext(ctx).BlockHeight() < n.Expires, err
}

// Cap is the most bytes that a node of a tier may prove.
func (k *Keeper) Cap(ctx context.Context, tier attestation.Tier) (uint64, error) {
	p, err := k.params.Get(ctx)
	if tier == attestation.TierHigh {
		return p.CapHigh, err
	}
	return p.CapLow, err
}

// BlockHash gives the hash of a block that is at most trust_blocks old.
func (k *Keeper) BlockHash(ctx context.Context, height int64) (hash [32]byte, ok bool, err error) {
	b, err := k.hashes.Get(ctx, height)
	if errors.Is(err, collections.ErrNotFound) {
		return hash, false, nil
	}
	return hash, copy(hash[:], b) == len(hash), err
}

// verdict is what the chain itself finds of a registration.
type verdict struct {
	r      attestation.Registration
	claims attestation.Claims
	tier   attestation.Tier
}

// judge checks everything about a registration that needs no endorser: encoding, signature, evidence, policy, trust root,
// and whether this account may join from this machine.
func (k *Keeper) judge(ctx context.Context, p api.Params, operator sdk.AccAddress, encoded, sigM []byte) (verdict, error) {
	c := sdk.UnwrapSDKContext(ctx)
	if len(sigM) != 64 {
		return verdict{}, ErrRefused.Wrapf("signature of %d bytes, want 64", len(sigM))
	}
	c.GasMeter().ConsumeGas(gasEvidence+gasPerByte*uint64(len(encoded)), "check of evidence")
	r, err := attestation.UnmarshalRegistration(encoded) // at most attestation.MaxRegistration bytes
	if err != nil {
		return verdict{}, refused(err)
	}
	if !bytes.Equal(r.Account[:], operator) {
		return verdict{}, ErrRefused.Wrapf("the registration is of %s, the message of %s", sdk.AccAddress(r.Account[:]), operator)
	}
	if err := (attestation.Quadruple{R: r, SigM: [64]byte(sigM)}).VerifySelf(); err != nil {
		return verdict{}, refused(err)
	}
	hash, ok, err := k.BlockHash(ctx, r.Trust.Height)
	if err != nil {
		return verdict{}, err
	}
	if !ok || hash != r.Trust.Hash || c.BlockHeight()-r.Trust.Height > p.TrustBlocks {
		return verdict{}, ErrRefused.Wrapf("the trust root is not one of this chain's last %d blocks", p.TrustBlocks)
	}
	claims, err := attestation.Verify(r.Evidence, c.BlockTime().Unix())
	if err != nil {
		return verdict{}, refused(err)
	}
	if err := attestation.CheckRegistration(r, claims, c.ChainID()); err != nil {
		return verdict{}, refused(err)
	}
	tier, err := policyOf(p).Judge(claims)
	if err != nil {
		return verdict{}, refused(err)
	}
	if err := k.mayJoin(ctx, p, operator, claims); err != nil {
		return verdict{}, err
	}
	return verdict{r: r, claims: claims, tier: tier}, nil
}

// mayJoin refuses outdated evidence, strangers before the network has grown, and a machine on which another account runs.
func (k *Keeper) mayJoin(ctx context.Context, p api.Params, operator sdk.AccAddress, claims attestation.Claims) error {
	if claims.NotAfter != 0 && claims.NotAfter <= sdk.UnwrapSDKContext(ctx).BlockTime().Unix() {
		return ErrRefused.Wrap("the evidence's collateral has ended")
	}
	peak, err := k.peak.Get(ctx)
	if err != nil {
		return err
	}
	if peak < uint64(p.BootstrapNodes) {
		text, err := k.addresses.BytesToString(operator)
		if err != nil {
			return err
		}
		if !slices.Contains(p.Bootstrap, text) {
			return ErrRefused.Wrapf("only accounts named in genesis join before %d nodes have been active together", p.BootstrapNodes)
		}
	}
	if claims.PlatformID == [32]byte{} {
		return nil // a machine without identity can't be told from another
	}
	other, err := k.machines.Get(ctx, machine(claims.Platform, claims.PlatformID))
	if errors.Is(err, collections.ErrNotFound) {
		return nil
	}
	if err == nil && !bytes.Equal(other, operator) {
		err = ErrRefused.Wrapf("this machine runs the node of %s", sdk.AccAddress(other))
	}
	return err
}

// admit makes a judged registration the account's node; what the account had before is replaced.
func (k *Keeper) admit(ctx context.Context, p api.Params, v verdict, endorser string, addrs []string) error {
	now := sdk.UnwrapSDKContext(ctx).BlockHeight()
	operator := sdk.AccAddress(v.r.Account[:])
	info, err := k.nodeInfo(ctx, operator)
	if err != nil {
		return err
	}
	if old, ok, err := k.node(ctx, operator); err != nil {
		return err
	} else if ok {
		if err := k.deactivate(ctx, old, info); err != nil {
			return err
		}
	}
	n := attestation.Node{Account: v.r.Account, SignKey: v.r.SignKey, KEMKey: v.r.KEMKey, Platform: v.claims.Platform, Tier: v.tier,
		Measurement: v.claims.Measurement, PlatformID: v.claims.PlatformID, Joined: now, Expires: now + p.RegistrationBlocks}
	info.Addrs, info.Endorser, info.NotAfter, info.Restarted = addrs, endorser, v.claims.NotAfter, false
	if err := k.setNode(ctx, n, info); err != nil {
		return err
	}
	if err := k.activate(ctx, n, info); err != nil {
		return err
	}
	text, err := k.addresses.BytesToString(operator)
	if err != nil {
		return err
	}
	return k.emit(ctx, &api.EventRegistered{Operator: text, Endorser: endorser, Tier: uint32(n.Tier), Expires: n.Expires})
}

// activate enters a node in the lists of active ones.
func (k *Keeper) activate(ctx context.Context, n attestation.Node, info api.NodeInfo) error {
	operator := sdk.AccAddress(n.Account[:])
	if err := k.enter(ctx, operator); err != nil {
		return err
	}
	if n.Tier == attestation.TierHigh && !info.Restarted {
		if err := k.seat(ctx, operator); err != nil {
			return err
		}
	}
	if err := k.expiries.Set(ctx, collections.Join(n.Expires, operator)); err != nil {
		return err
	}
	if info.NotAfter != 0 {
		if err := k.collaterals.Set(ctx, collections.Join(info.NotAfter, operator)); err != nil {
			return err
		}
	}
	if n.PlatformID != [32]byte{} {
		if err := k.machines.Set(ctx, machine(n.Platform, n.PlatformID), operator); err != nil {
			return err
		}
	}
	count, err := k.count.Get(ctx)
	if err != nil {
		return err
	}
	peak, err := k.peak.Get(ctx)
	if err != nil {
		return err
	}
	return k.peak.Set(ctx, max(peak, count))
}

// deactivate takes a node out of the lists of active ones; it does nothing to one that is in none.
func (k *Keeper) deactivate(ctx context.Context, n attestation.Node, info api.NodeInfo) error {
	operator := sdk.AccAddress(n.Account[:])
	listed, err := k.seatOf.Has(ctx, operator)
	if err != nil || !listed {
		return err
	}
	if err := k.leave(ctx, operator); err != nil {
		return err
	}
	if err := k.expiries.Remove(ctx, collections.Join(n.Expires, operator)); err != nil {
		return err
	}
	if err := k.collaterals.Remove(ctx, collections.Join(info.NotAfter, operator)); err != nil {
		return err
	}
	if n.PlatformID != [32]byte{} {
		return k.machines.Remove(ctx, machine(n.Platform, n.PlatformID))
	}
	return nil
}

// lock takes the entry stake of an account that has none locked.
func (k *Keeper) lock(ctx context.Context, p api.Params, operator sdk.AccAddress, text string) error {
	locked, err := k.stakes.Has(ctx, operator)
	if err != nil || locked || p.EntryStake.IsZero() {
		return err
	}
	if err := k.bank.SendCoinsFromAccountToModule(ctx, operator, ModuleName, sdk.NewCoins(p.EntryStake)); err != nil {
		return err
	}
	if err := k.stakes.Set(ctx, operator, api.Stake{Operator: text, Amount: p.EntryStake}); err != nil {
		return err
	}
	return k.emit(ctx, &api.EventStake{Operator: text, Amount: p.EntryStake, Rule: "announced"})
}

// release returns the entry stake of an account, if it has one locked.
func (k *Keeper) release(ctx context.Context, operator sdk.AccAddress, rule string) error {
	s, err := k.stakes.Get(ctx, operator)
	if errors.Is(err, collections.ErrNotFound) {
		return nil
	}
	if err != nil {
		return err
	}
	if err := k.stakes.Remove(ctx, operator); err != nil {
		return err
	}
	if err := k.bank.SendCoinsFromModuleToAccount(ctx, ModuleName, operator, sdk.NewCoins(s.Amount)); err != nil {
		return err
	}
	return k.emit(ctx, &api.EventStake{Operator: s.Operator, Amount: s.Amount, Rule: rule})
}

func (k *Keeper) node(ctx context.Context, operator sdk.AccAddress) (attestation.Node, bool, error) {
	b, err := k.nodes.Get(ctx, operator)
	if errors.Is(err, collections.ErrNotFound) {
		return attestation.Node{}, false, nil
	}
	if err != nil {
		return attestation.Node{}, false, err
	}
	n, err := attestation.UnmarshalNode(b)
	return n, err == nil, err
}

// nodeInfo loads what lies beside a node's record; nothing for an account without one.
func (k *Keeper) nodeInfo(ctx context.Context, operator sdk.AccAddress) (api.NodeInfo, error) {
	info, err := k.nodeInfos.Get(ctx, operator)
	if errors.Is(err, collections.ErrNotFound) {
		return api.NodeInfo{}, nil
	}
	return info, err
}

func (k *Keeper) setNode(ctx context.Context, n attestation.Node, info api.NodeInfo) error {
	if err := k.nodes.Set(ctx, n.Account[:], n.Marshal()); err != nil {
		return err
	}
	return k.nodeInfos.Set(ctx, n.Account[:], info)
}

func (k *Keeper) emit(ctx context.Context, event proto.Message) error {
	return sdk.UnwrapSDKContext(ctx).EventManager().EmitTypedEvent(event)
}

func machine(p attestation.Platform, id [32]byte) []byte { return append([]byte{byte(p)}, id[:]...) }

func refused(err error) error { return ErrRefused.Wrap(err.Error()) }
