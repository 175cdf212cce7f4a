package committee

import (
	"context"
	"errors"
	"strings"
	"sync"

	"github.com/cosmos/gogoproto/proto"

	"cosmossdk.io/collections"
	"cosmossdk.io/core/address"
	"cosmossdk.io/core/store"
	errorsmod "cosmossdk.io/errors"

	"github.com/cosmos/cosmos-sdk/codec"
	storetypes "github.com/cosmos/cosmos-sdk/store/v2/types"
	sdk "github.com/cosmos/cosmos-sdk/types"

	api "github.com/cella-network/cella/api/committee"
	"github.com/cella-network/cella/protocol/attestation"
	"github.com/cella-network/cella/protocol/beacon"
	"github.com/cella-network/cella/protocol/threshold"
)

const (
	// ModuleName names the module.
	ModuleName = "committee"
	// StoreKey is the name of the module's store, known to enclaves.
	StoreKey = threshold.StoreName
	// Purpose is that of the validators' group, which makes the beacon's numbers. Its first key is made without being asked for.
	Purpose = beacon.Purpose

	maxGroups = 8 // held in memory: of a purpose at most four are stored
)

// ErrRefused is what a message that breaks a rule fails with; the text names the rule.
var ErrRefused = errorsmod.Register(ModuleName, 2, "refused by committee")

// Registry knows the registered enclaves (x/attest).
type Registry interface {
	Active(ctx context.Context, account attestation.Account) (attestation.Node, bool, error)
}

// Members knows who would hold a fresh key now.
type Members interface {
	Members(ctx context.Context, purpose string) ([]threshold.Stakeholder, error)
}

// Heir hears how ceremonies end and who cheated in them.
type Heir interface {
	// Reshared is called in the end of a block: the ceremony for exactly these members is done.
	Reshared(ctx context.Context, purpose string, members []threshold.Stakeholder) error
	// Failed is called in the end of a block, for each attempt that failed. The next one follows without being asked for.
	Failed(ctx context.Context, purpose string) error
	// Blamed is called once for each cheat that was proven.
	Blamed(ctx context.Context, account [20]byte, rule string) error
}

// Keeper runs the ceremonies of groups and says which group is in charge.
type Keeper struct {
	addresses address.Codec
	registry  Registry
	members   Members
	heir      Heir
	authority string

	// transcripts, charges and mended lie under threshold's keys in their canonical encodings: enclaves check them.
	transcripts collections.Map[string, []byte]
	charges     collections.Map[string, []byte]
	mended      collections.Map[[]byte, []byte] // purpose and account to the transcript of the repair

	params        collections.Item[api.Params]
	offices       collections.Map[string, api.Office]
	signed        collections.Map[string, int64] // block in which the group in charge was last seen to sign
	proceedings   collections.Map[string, api.Proceeding]
	entries       collections.Map[collections.Pair[string, uint64], api.Entry]
	deals         collections.Map[collections.Pair[string, uint64], []byte]
	groups        collections.Map[collections.Pair[string, []byte], []byte] // by hash
	repairs       collections.Map[collections.Pair[string, []byte], api.Repair]
	repairStates  collections.Map[collections.Pair[string, []byte], []byte]
	repairEntries collections.Map[collections.Triple[string, []byte, uint64], api.Entry]
	asked         collections.Map[collections.Pair[string, []byte], api.Asked]
	gathered      collections.Map[string, int64]                       // block from which on enough members for a fresh key had enclaves
	unhelpful     collections.KeySet[collections.Pair[string, []byte]] // who let a repair of the group in charge fail
	renewed       collections.Map[string, int64]                       // block in which the key was last handed on for lost shares

	blinds int // of a repair, at most

	memory memory
}

// memory saves reading what takes long to read. What is in it follows from the store, and what is read through it costs no gas of
// the store, so nobody can tell whether it was there.
type memory struct {
	sync.Mutex
	groups map[[32]byte]*threshold.Group // by hash; never changed
}

func (m *memory) keep(hash [32]byte, g *threshold.Group) {
	m.Lock()
	defer m.Unlock()
	if len(m.groups) >= maxGroups {
		clear(m.groups)
	}
	m.groups[hash] = g
}

// NewKeeper opens the module's store. Only authority may change the params. Who holds keys is joined by Join.
func NewKeeper(cdc codec.BinaryCodec, service store.KVStoreService, addresses address.Codec, registry Registry, authority string) *Keeper {
	sb := collections.NewSchemaBuilder(service)
	text, raw := collections.StringKey, collections.BytesKey
	numbered, named := collections.PairKeyCodec(text, collections.Uint64Key), collections.PairKeyCodec(text, raw)
	k := &Keeper{
		addresses: addresses, registry: registry, authority: authority,

		transcripts: collections.NewMap(sb, collections.NewPrefix(threshold.TranscriptKey("")), "transcripts", text, collections.BytesValue),
		charges:     collections.NewMap(sb, collections.NewPrefix(threshold.ChargeKey("")), "charges", text, collections.BytesValue),
		mended:      collections.NewMap(sb, collections.NewPrefix(threshold.RepairKey("", [20]byte{})[:1]), "mended", raw, collections.BytesValue),

		params:        collections.NewItem(sb, collections.NewPrefix(10), "params", codec.CollValue[api.Params](cdc)),
		offices:       collections.NewMap(sb, collections.NewPrefix(11), "offices", text, codec.CollValue[api.Office](cdc)),
		signed:        collections.NewMap(sb, collections.NewPrefix(12), "signed", text, collections.Int64Value),
		proceedings:   collections.NewMap(sb, collections.NewPrefix(13), "proceedings", text, codec.CollValue[api.Proceeding](cdc)),
		entries:       collections.NewMap(sb, collections.NewPrefix(14), "entries", numbered, codec.CollValue[api.Entry](cdc)),
		deals:         collections.NewMap(sb, collections.NewPrefix(15), "deals", numbered, collections.BytesValue),
		groups:        collections.NewMap(sb, collections.NewPrefix(16), "groups", named, collections.BytesValue),
		repairs:       collections.NewMap(sb, collections.NewPrefix(17), "repairs", named, codec.CollValue[api.Repair](cdc)),
		repairStates:  collections.NewMap(sb, collections.NewPrefix(18), "repair_states", named, collections.BytesValue),
		repairEntries: collections.NewMap(sb, collections.NewPrefix(19), "repair_entries", collections.TripleKeyCodec(text, raw, collections.Uint64Key), codec.CollValue[api.Entry](cdc)),
		asked:         collections.NewMap(sb, collections.NewPrefix(20), "asked", named, codec.CollValue[api.Asked](cdc)),
		gathered:      collections.NewMap(sb, collections.NewPrefix(21), "gathered", text, collections.Int64Value),
		unhelpful:     collections.NewKeySet(sb, collections.NewPrefix(22), "unhelpful", named),
		renewed:       collections.NewMap(sb, collections.NewPrefix(23), "renewed", text, collections.Int64Value),

		blinds: threshold.MaxBlinds,
		memory: memory{groups: map[[32]byte]*threshold.Group{}},
	}
	if _, err := sb.Build(); err != nil {
		panic(err) // two collections with one prefix: a programming error found at the first start
	}
	return k
}

// Join tells who holds keys and who hears of it. It must be called once, before the first block.
func (k *Keeper) Join(m Members, h Heir) { k.members, k.heir = m, h }

// Charges gives the newest charge of a purpose and the one before. Now is nil before the first; before is nil unless it could come
// back, or is in force because the newest begins at a later height. The groups are shared: they must not be changed.
func (k *Keeper) Charges(ctx context.Context, purpose string) (now, before *threshold.InCharge, err error) {
	ctx = free(ctx)
	charge, ok, err := k.charge(ctx, purpose)
	if err != nil || !ok {
		return nil, nil, err
	}
	if now, err = k.inCharge(ctx, purpose, charge); err != nil {
		return nil, nil, err
	}
	office, err := k.office(ctx, purpose)
	if err != nil || len(office.Before) == 0 || office.Gone && charge.From <= sdk.UnwrapSDKContext(ctx).BlockHeight() {
		return now, nil, err
	}
	earlier, err := threshold.UnmarshalCharge(office.Before)
	if err != nil {
		return nil, nil, err
	}
	before, err = k.inCharge(ctx, purpose, earlier)
	return now, before, err
}

func (k *Keeper) inCharge(ctx context.Context, purpose string, c threshold.Charge) (*threshold.InCharge, error) {
	g, err := k.group(ctx, purpose, c.Group)
	return &threshold.InCharge{Charge: c, Keys: g}, err
}

// charge loads the newest charge of a purpose.
func (k *Keeper) charge(ctx context.Context, purpose string) (c threshold.Charge, ok bool, err error) {
	b, err := k.charges.Get(ctx, purpose)
	if errors.Is(err, collections.ErrNotFound) {
		return c, false, nil
	}
	if err != nil {
		return c, false, err
	}
	c, err = threshold.UnmarshalCharge(b)
	return c, err == nil, err
}

// office loads what is kept of a purpose, which is nothing at first.
func (k *Keeper) office(ctx context.Context, purpose string) (api.Office, error) {
	o, err := k.offices.Get(ctx, purpose)
	if errors.Is(err, collections.ErrNotFound) {
		return api.Office{}, nil
	}
	return o, err
}

// group loads a group by its hash.
func (k *Keeper) group(ctx context.Context, purpose string, hash [32]byte) (*threshold.Group, error) {
	k.memory.Lock()
	g := k.memory.groups[hash]
	k.memory.Unlock()
	if g != nil {
		return g, nil
	}
	b, err := k.groups.Get(ctx, collections.Join(purpose, hash[:]))
	if err != nil {
		return nil, err
	}
	if g, err = threshold.UnmarshalGroup(b); err != nil {
		return nil, err
	}
	k.memory.keep(hash, g)
	return g, nil
}

// keep stores a group, which must not be changed any more.
func (k *Keeper) keep(ctx context.Context, purpose string, g *threshold.Group) (hash [32]byte, err error) {
	hash = g.Hash()
	k.memory.keep(hash, g)
	return hash, k.groups.Set(ctx, collections.Join(purpose, hash[:]), g.Marshal())
}

// holder gives the enclave that may hold an account's shares. A platform that its host can read or roll back is of the low tier, and holds none.
func (k *Keeper) holder(ctx context.Context, account [20]byte) (attestation.Node, bool, error) {
	n, ok, err := k.registry.Active(ctx, attestation.Account(account))
	return n, ok && n.Tier == attestation.TierHigh, err
}

// member reads an address as this chain writes it.
func (k *Keeper) member(text string) (a [20]byte, err error) {
	b, err := k.addresses.StringToBytes(text)
	if err != nil || len(b) != len(a) {
		return a, ErrRefused.Wrapf("address %q: want 20 bytes: %v", text, err)
	}
	return [20]byte(b), nil
}

func (k *Keeper) text(account [20]byte) (string, error) { return k.addresses.BytesToString(account[:]) }

func (k *Keeper) emit(ctx context.Context, event proto.Message) error {
	return sdk.UnwrapSDKContext(ctx).EventManager().EmitTypedEvent(event)
}

// free is a context in which the store costs no gas: messages pay for a ceremony's work by what they bring, and what is read for
// them may come from memory.
func free(ctx context.Context) sdk.Context {
	return sdk.UnwrapSDKContext(ctx).WithGasMeter(storetypes.NewInfiniteGasMeter())
}

func height(ctx context.Context) int64 { return sdk.UnwrapSDKContext(ctx).BlockHeight() }

func refused(err error) error {
	return ErrRefused.Wrap(strings.TrimPrefix(err.Error(), threshold.ErrRefused.Error()+": "))
}
