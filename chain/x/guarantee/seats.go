package guarantee

import (
	"bytes"
	"context"
	"errors"
	"slices"

	abci "github.com/cometbft/cometbft/abci/types"
	cmtcrypto "github.com/cometbft/cometbft/proto/tendermint/crypto"

	"cosmossdk.io/collections"

	sdk "github.com/cosmos/cosmos-sdk/types"
	slashingtypes "github.com/cosmos/cosmos-sdk/x/slashing/types"
	stakingkeeper "github.com/cosmos/cosmos-sdk/x/staking/keeper"
	stakingtypes "github.com/cosmos/cosmos-sdk/x/staking/types"

	api "github.com/cella-network/cella/api/guarantee"
	"github.com/cella-network/cella/protocol/stake"
)

// setAt is the set in force at a height, which is none that was forgotten: the newest that begins there or before. It is empty before the first.
func (k *Keeper) setAt(ctx context.Context, height int64) (api.Set, error) {
	it, err := k.sets.Iterate(ctx, new(collections.Range[int64]).EndInclusive(height).Descending())
	if err != nil {
		return api.Set{}, err
	}
	defer it.Close()
	if !it.Valid() {
		return api.Set{}, nil
	}
	return it.Value()
}

// last is the set that CometBFT was told last; it may begin at one of the next two heights.
func (k *Keeper) last(ctx context.Context) (api.Set, error) {
	return k.setAt(ctx, sdk.UnwrapSDKContext(ctx).BlockHeight()+updateDelay)
}

// gone names the members that must go: those who are jailed or have left x/staking. If that is all of them, nobody is gone: a chain without
// validators is none.
func (k *Keeper) gone(ctx context.Context, seats []api.Seat) ([]string, error) {
	out, err := k.jailed(ctx, seats)
	if len(out) == len(seats) {
		return nil, err
	}
	return out, err
}

func (k *Keeper) jailed(ctx context.Context, seats []api.Seat) (out []string, err error) {
	for _, s := range seats {
		v, err := k.validator(ctx, s.Operator)
		if err != nil {
			return nil, err
		}
		if v == nil || v.Jailed {
			out = append(out, s.Operator)
		}
	}
	return out, nil
}

// validator is an operator's in x/staking; nil if it has none.
func (k *Keeper) validator(ctx context.Context, operator string) (*stakingtypes.Validator, error) {
	account, err := k.addresses.StringToBytes(operator)
	if err != nil {
		return nil, err
	}
	v, err := k.staking.GetValidator(ctx, account)
	if errors.Is(err, stakingtypes.ErrNoValidatorFound) {
		return nil, nil
	}
	return &v, err
}

// turn puts the set in force that the rules allow now: the next one if its keys are shared, else the last one without those that must go. It
// returns what CometBFT doesn't know yet.
func (k *Keeper) turn(ctx context.Context) ([]abci.ValidatorUpdate, error) {
	before, err := k.last(ctx)
	if err != nil || len(before.Seats) == 0 {
		return nil, err
	}
	gone, err := k.gone(ctx, before.Seats)
	if err != nil {
		return nil, err
	}
	r, err := k.rules(ctx)
	if err != nil {
		return nil, err
	}
	set := stake.Without(seatsOf(before.Seats), gone)
	h, err := k.handover.Get(ctx)
	if err != nil && !errors.Is(err, collections.ErrNotFound) {
		return nil, err
	}
	if h.Reshared {
		if set, err = k.takeOver(ctx, r, seatsOf(before.Seats), h, gone); err != nil {
			return nil, err
		}
	}
	return k.enforce(ctx, r, before, set)
}

// takeOver ends a handover whose keys are shared: the next set without members that were jailed meanwhile, or the reason why it may not be. While
// nobody else is left, the jailed go by thirds as others do.
func (k *Keeper) takeOver(ctx context.Context, r stake.Rules, now []stake.Seat, h api.Handover, gone []string) ([]stake.Seat, error) {
	left, err := k.jailed(ctx, h.Seats)
	if err != nil {
		return nil, err
	}
	left = slices.DeleteFunc(left, func(name string) bool {
		return !slices.Contains(gone, name) && slices.ContainsFunc(now, func(s stake.Seat) bool { return s.Node == name })
	})
	if err := k.handover.Remove(ctx); err != nil {
		return nil, err
	}
	r.Seats = max(r.Seats, len(now)) // if governance takes seats away, those who had them leave by thirds
	set, refusal := r.Handover(now, stake.Without(seatsOf(h.Seats), left), gone, h.Reshared)
	if refusal != nil {
		return set, k.failed(ctx, h.Era, refusal.Error())
	}
	return set, nil
}

// enforce stores a set that differs from the last one and tells what is new in it. A validator that rotated its key differs too.
func (k *Keeper) enforce(ctx context.Context, r stake.Rules, before api.Set, seats []stake.Seat) ([]abci.ValidatorUpdate, error) {
	c := sdk.UnwrapSDKContext(ctx)
	rotations, err := k.staking.PendingConsKeyRotations(ctx)
	if err != nil {
		return nil, err
	}
	set := api.Set{From: c.BlockHeight() + updateDelay}
	for _, s := range seats {
		seat := api.Seat{Operator: s.Node, Power: s.Power, Stake: max(s.Power*r.PowerUnit, 1)}
		i := slices.IndexFunc(before.Seats, func(b api.Seat) bool { return b.Operator == s.Node })
		if i >= 0 {
			seat.Key = before.Seats[i].Key
		}
		if seat.Key, err = k.key(ctx, rotations, seat); err != nil {
			return nil, err
		}
		if i < 0 {
			if err := k.welcome(ctx, seat.Operator, set.From); err != nil {
				return nil, err
			}
		}
		if i < 0 || !bytes.Equal(seat.Key, before.Seats[i].Key) {
			if err := k.watch(ctx, seat.Key, set.From); err != nil {
				return nil, err
			}
		}
		set.Seats = append(set.Seats, seat)
	}
	updates := differences(before.Seats, set.Seats)
	if len(updates) == 0 {
		return nil, nil
	}
	if err := k.sets.Set(ctx, set.From, set); err != nil {
		return nil, err
	}
	if err := k.forget(ctx); err != nil {
		return nil, err
	}
	return updates, emit(ctx, &api.EventSet{From: set.From, Validators: uint32(len(set.Seats)), Power: powerOf(seats), Height: c.BlockHeight()})
}

// key is the consensus key by which CometBFT knows a member from now on: the one that it rotates to, if it does.
func (k *Keeper) key(ctx context.Context, rotations stakingkeeper.PendingRotations, s api.Seat) ([]byte, error) {
	v, err := k.validator(ctx, s.Operator)
	if err != nil || v == nil {
		return s.Key, err // it left x/staking, but nobody else is left
	}
	account, err := k.addresses.StringToBytes(s.Operator)
	if err != nil {
		return nil, err
	}
	if r, ok := rotations[string(account)]; ok && r.ApplyHeight-stakingtypes.ConsensusUpdateDelay > sdk.UnwrapSDKContext(ctx).BlockHeight() {
		rotations = nil // not yet
	}
	key, err := rotations.EffectiveKeyForABCIUpdate(account, *v)
	if err != nil {
		return nil, err
	}
	return key.Bytes(), nil
}

// welcome begins the record of whether a new member signs: what it missed when it was one before is excused until a whole window is over.
func (k *Keeper) welcome(ctx context.Context, operator string, from int64) error {
	v, err := k.validator(ctx, operator)
	if err != nil || v == nil || k.slashing == nil {
		return err
	}
	consensus, err := v.GetConsAddr()
	if err != nil {
		return err
	}
	info, err := k.slashing.GetValidatorSigningInfo(ctx, consensus)
	if errors.Is(err, slashingtypes.ErrNoSigningInfoFound) {
		return nil
	}
	if err != nil {
		return err
	}
	info.StartHeight = from
	return k.slashing.SetValidatorSigningInfo(ctx, consensus, info)
}

// watch sees that there is a record for each key that votes: x/slashing and x/evidence stop the chain without one, and x/staking makes it only
// for those whom it bonds. A key that is rotated to gets the old one's later.
func (k *Keeper) watch(ctx context.Context, key []byte, from int64) error {
	if k.slashing == nil {
		return nil
	}
	consensus := consensusOf(key)
	_, err := k.slashing.GetValidatorSigningInfo(ctx, consensus[:])
	if !errors.Is(err, slashingtypes.ErrNoSigningInfoFound) {
		return err
	}
	text, err := k.staking.ConsensusAddressCodec().BytesToString(consensus[:])
	if err != nil {
		return err
	}
	return k.slashing.SetValidatorSigningInfo(ctx, consensus[:], slashingtypes.ValidatorSigningInfo{Address: text, StartHeight: from})
}

// forget removes sets that no evidence can be about any more.
func (k *Keeper) forget(ctx context.Context) error {
	c := sdk.UnwrapSDKContext(ctx)
	keep := int64(keepSets)
	if e := c.ConsensusParams().Evidence; e != nil {
		keep = max(keep, e.MaxAgeNumBlocks)
	}
	oldest, err := k.setAt(ctx, c.BlockHeight()-keep)
	if err != nil || len(oldest.Seats) == 0 {
		return err
	}
	return k.sets.Clear(ctx, new(collections.Range[int64]).EndExclusive(oldest.From))
}

// first makes x/staking's bonded validators the set of a new chain, with all of their stake: nobody has proven anything yet. A chain that goes
// on from an exported state has its set already.
func (k *Keeper) first(ctx context.Context) ([]abci.ValidatorUpdate, error) {
	r, err := k.rules(ctx)
	if err != nil {
		return nil, err
	}
	set, err := k.setAt(ctx, 0)
	if err != nil {
		return nil, err
	}
	era, err := k.era.Get(ctx)
	if err != nil {
		return nil, err
	}
	if era.Start > 0 {
		return differences(nil, set.Seats), nil
	}
	validators, err := k.staking.GetAllValidators(ctx)
	if err != nil {
		return nil, err
	}
	for _, v := range validators {
		account, err := k.staking.ValidatorAddressCodec().StringToBytes(v.GetOperator())
		if err != nil {
			return nil, err
		}
		if err := k.ensure(ctx, account); err != nil {
			return nil, err
		}
	}
	all, err := k.operators(ctx)
	if err != nil {
		return nil, err
	}
	nodes := nodesOf(all)
	for i := range nodes {
		nodes[i].Storage.Limit = stake.MaxCoins
	}
	plain := r
	plain.MinOwn = 1
	seats, _ := plain.Elect(nodes)
	set = api.Set{}
	for _, s := range seats {
		seat := api.Seat{Operator: s.Node, Power: s.Power, Stake: max(s.Power*r.PowerUnit, 1)}
		if seat.Key, err = k.key(ctx, nil, seat); err != nil {
			return nil, err
		}
		set.Seats = append(set.Seats, seat)
	}
	if len(set.Seats) == 0 {
		return nil, nil
	}
	return differences(nil, set.Seats), k.sets.Set(ctx, 0, set)
}

// differences are what makes one set into another, by consensus key: a rotated key is a validator that leaves and one that comes.
func differences(before, after []api.Seat) (out []abci.ValidatorUpdate) {
	find := func(set []api.Seat, key []byte) int {
		return slices.IndexFunc(set, func(s api.Seat) bool { return bytes.Equal(s.Key, key) })
	}
	for _, s := range before {
		if find(after, s.Key) < 0 {
			out = append(out, update(s.Key, 0))
		}
	}
	for _, s := range after {
		if i := find(before, s.Key); i < 0 || before[i].Power != s.Power {
			out = append(out, update(s.Key, s.Power))
		}
	}
	return out
}

func update(key []byte, power uint64) abci.ValidatorUpdate {
	return abci.ValidatorUpdate{PubKey: cmtcrypto.PublicKey{Sum: &cmtcrypto.PublicKey_Ed25519{Ed25519: key}}, Power: int64(power)}
}

func seatsOf(set []api.Seat) []stake.Seat {
	out := make([]stake.Seat, len(set))
	for i, s := range set {
		out[i] = stake.Seat{Node: s.Operator, Power: s.Power}
	}
	return out
}

func powerOf(seats []stake.Seat) (sum uint64) {
	for _, s := range seats {
		sum += s.Power
	}
	return sum
}
