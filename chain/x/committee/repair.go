package committee

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"slices"

	"cosmossdk.io/collections"

	api "github.com/cella-network/cella/api/committee"
	"github.com/cella-network/cella/protocol/threshold"
)

// fixing is a repair that goes on, as it was loaded.
type fixing struct {
	purpose    string
	account    [20]byte
	kept       api.Repair
	rules      *threshold.Repair
	transcript threshold.Transcript
}

func (f *fixing) key() collections.Pair[string, []byte] {
	return collections.Join(f.purpose, f.account[:])
}

// ask begins the repair of a member's shares of the group in charge, or a handover if these are too many.
func (k *Keeper) ask(ctx context.Context, purpose string, account [20]byte, epoch uint64) error {
	charge, ok, err := k.charge(ctx, purpose)
	if err != nil {
		return err
	}
	if !ok || charge.Epoch != epoch {
		return ErrRefused.Wrapf("repair of epoch %d of %q: in charge is that of epoch %d", epoch, purpose, charge.Epoch)
	}
	g, err := k.group(ctx, purpose, charge.Group)
	if err != nil {
		return err
	}
	seat := slices.IndexFunc(g.Seats, func(s threshold.Seat) bool { return s.Account == account })
	if seat < 0 {
		return ErrRefused.Wrap("repair of an account without a seat")
	}
	if !k.repairable(g, seat) {
		return k.renew(ctx, purpose, charge, g, seat)
	}
	params, err := k.params.Get(ctx)
	if err != nil {
		return err
	}
	mending, err := k.mending(ctx, purpose)
	if err != nil {
		return err
	}
	if slices.Contains(mending, account) || len(mending) >= int(params.Repairs) {
		return ErrRefused.Wrapf("a repair of the account goes on, or %d of others do: ask again later", params.Repairs)
	}
	attempt, err := k.count(ctx, purpose, account, epoch, params)
	if err != nil {
		return err
	}
	helpers, err := k.helpers(ctx, g, seat, epoch, attempt, mending)
	if err != nil {
		return err
	}
	f := &fixing{purpose: purpose, account: account}
	if f.rules, err = threshold.NewRepair(g, attempt, seat, helpers); err != nil {
		return refused(err)
	}
	text, err := k.text(account)
	if err != nil {
		return err
	}
	if err := k.forget(ctx, purpose, account); err != nil { // what is left of the last one
		return err
	}
	f.transcript = f.rules.Transcript()
	f.kept = api.Repair{Account: text, Attempt: attempt, Seat: uint32(seat), Ends: height(ctx) + params.PhaseBlocks, Epoch: epoch}
	for _, h := range helpers {
		f.kept.Helpers = append(f.kept.Helpers, uint32(h))
	}
	if err := k.saveRepair(ctx, f); err != nil {
		return err
	}
	return k.emit(ctx, repairEvent(f))
}

// renew hands the key on to who would have it now, because a member lost more shares than can be repaired. All seats get new shares, so
// that once in stall_blocks is enough for all who ask.
func (k *Keeper) renew(ctx context.Context, purpose string, charge threshold.Charge, g *threshold.Group, seat int) error {
	account := g.Seats[seat].Account
	s, err := k.standing(ctx, purpose)
	if err != nil {
		return err
	}
	_, going, err := k.going(ctx, purpose)
	if err != nil {
		return err
	}
	if going || s.waits() || s.office.Next > 0 || s.fresh() {
		return ErrRefused.Wrap("a ceremony goes on or is due, which brings new shares")
	}
	n, _, err := k.holder(ctx, account)
	if err != nil {
		return err
	}
	// The enclave that has shown its keys was there when that phase began. Of a group that was gone back to it is not known when that was.
	if g.Ready(seat) && g.ID.Epoch == charge.Epoch && n.Joined < charge.From-2-s.params.PhaseBlocks {
		return ErrRefused.Wrap("the enclave is still the one that has shown that it holds its shares")
	}
	last, err := k.renewed.Get(ctx, purpose)
	if err == nil && height(ctx) < last+s.params.StallBlocks {
		return ErrRefused.Wrapf("the key was handed on for lost shares already: it may again be at height %d", last+s.params.StallBlocks)
	}
	if err != nil && !errors.Is(err, collections.ErrNotFound) {
		return err
	}
	members, err := k.members.Members(ctx, purpose)
	if err != nil {
		return err
	}
	if !slices.ContainsFunc(members, func(m threshold.Stakeholder) bool { return m.Account == account }) {
		return ErrRefused.Wrap("the account is not to hold the key any longer")
	}
	if err := k.renewed.Set(ctx, purpose, height(ctx)); err != nil {
		return err
	}
	return k.start(ctx, purpose, members, s)
}

// count numbers an account's repairs for ever, so that no two are the same, and has it wait longer after each in an epoch.
func (k *Keeper) count(ctx context.Context, purpose string, account [20]byte, epoch uint64, p api.Params) (attempt uint32, err error) {
	key := collections.Join(purpose, account[:])
	a, err := k.asked.Get(ctx, key)
	if err != nil && !errors.Is(err, collections.ErrNotFound) {
		return 0, err
	}
	if a.Epoch != epoch {
		a.Epoch, a.Before, a.Next = epoch, a.Attempts, 0
	}
	if height(ctx) < a.Next {
		return 0, ErrRefused.Wrapf("the account asked for repair already: it may again at height %d", a.Next)
	}
	attempt = a.Attempts
	a.Attempts++
	a.Next = height(ctx) + 3*p.PhaseBlocks + p.RetryBlocks*int64(a.Attempts-a.Before)
	return attempt, k.asked.Set(ctx, key, a)
}

// helpers are the seats that can help, in an order that is another for each attempt: the first of them that bring keys and have the
// threshold between them will be taken. Who let a repair fail comes behind all others, or a few silent ones could keep all shares lost.
func (k *Keeper) helpers(ctx context.Context, g *threshold.Group, lost int, epoch uint64, attempt uint32, mending [][20]byte) ([]int, error) {
	type ticket struct {
		seat  int
		drawn [33]byte
	}
	var tickets []ticket
	shares := 0
	for i, s := range g.Seats {
		_, active, err := k.holder(ctx, s.Account)
		if err != nil {
			return nil, err
		}
		if i == lost || !active || !g.Ready(i) || slices.Contains(mending, s.Account) {
			continue
		}
		b := append([]byte("cella/committee/helpers/v1"), g.Seats[lost].Account[:]...)
		b = binary.BigEndian.AppendUint64(b, epoch)
		b = binary.BigEndian.AppendUint32(b, attempt)
		t := ticket{seat: i}
		if last, err := k.unhelpful.Has(ctx, collections.Join(g.ID.Purpose, s.Account[:])); err != nil {
			return nil, err
		} else if last {
			t.drawn[0] = 1
		}
		drawn := sha256.Sum256(append(b, s.Account[:]...))
		copy(t.drawn[1:], drawn[:])
		tickets = append(tickets, t)
		shares += s.Shares
	}
	if shares < g.Threshold {
		return nil, ErrRefused.Wrapf("those who could help have %d shares, %d are needed", shares, g.Threshold)
	}
	slices.SortFunc(tickets, func(a, b ticket) int { return bytes.Compare(a.drawn[:], b.drawn[:]) })
	var out []int
	for _, t := range tickets {
		out = append(out, t.seat)
	}
	return out, nil
}

// mending lists whose repairs go on.
func (k *Keeper) mending(ctx context.Context, purpose string) (accounts [][20]byte, err error) {
	err = k.repairs.Walk(ctx, collections.NewPrefixedPairRange[string, []byte](purpose), func(key collections.Pair[string, []byte], r api.Repair) (bool, error) {
		if !over(r.Phase) {
			accounts = append(accounts, [20]byte(key.K2()))
		}
		return false, nil
	})
	return accounts, err
}

// loadRepair reads a repair that goes on.
func (k *Keeper) loadRepair(ctx context.Context, purpose string, account [20]byte, kept api.Repair) (*fixing, error) {
	f := &fixing{purpose: purpose, account: account, kept: kept}
	charge, _, err := k.charge(ctx, purpose)
	if err != nil {
		return nil, err
	}
	g, err := k.group(ctx, purpose, charge.Group)
	if err != nil {
		return nil, err
	}
	state, err := k.repairStates.Get(ctx, f.key())
	if err != nil {
		return nil, err
	}
	var helpers []int
	for _, h := range kept.Helpers {
		helpers = append(helpers, int(h))
	}
	if f.rules, err = threshold.ResumeRepair(g, kept.Attempt, int(kept.Seat), helpers, state); err != nil {
		return nil, err
	}
	b, err := k.mended.Get(ctx, threshold.RepairKey(purpose, account)[1:])
	if err != nil {
		return nil, err
	}
	f.transcript, err = threshold.UnmarshalTranscript(b)
	return f, err
}

// acceptRepair takes a message for a repair: an error says that nothing changed.
func (k *Keeper) acceptRepair(ctx context.Context, f *fixing, from [20]byte, message []byte) error {
	before := len(f.rules.Blames())
	if err := f.rules.Accept(from, message); err != nil {
		return refused(err)
	}
	text, err := k.text(from)
	if err != nil {
		return err
	}
	f.transcript = f.transcript.Accepted(from, message)
	if err := k.recordRepair(ctx, f, api.Entry{From: text, Message: message}); err != nil {
		return err
	}
	return k.blame(ctx, f.purpose, f.rules.Blames()[before:])
}

func (k *Keeper) recordRepair(ctx context.Context, f *fixing, e api.Entry) error {
	n := f.kept.Count
	f.kept.Count++
	return k.repairEntries.Set(ctx, collections.Join3(f.purpose, f.account[:], n), e)
}

// saveRepair stores a repair where it is now.
func (k *Keeper) saveRepair(ctx context.Context, f *fixing) error {
	f.kept.Phase = name(f.rules.Phase())
	if err := k.mended.Set(ctx, threshold.RepairKey(f.purpose, f.account)[1:], f.transcript.Marshal()); err != nil {
		return err
	}
	if over(f.kept.Phase) {
		if err := k.repairStates.Remove(ctx, f.key()); err != nil {
			return err
		}
	} else if err := k.repairStates.Set(ctx, f.key(), f.rules.Marshal()); err != nil {
		return err
	}
	return k.repairs.Set(ctx, f.key(), f.kept)
}

// mend ends phases of repairs at their heights. A repair that is over stays as long as it took, so that
// enclaves can prove how it ended.
func (k *Keeper) mend(ctx context.Context, purpose string) error {
	var due []collections.KeyValue[collections.Pair[string, []byte], api.Repair]
	if err := k.repairs.Walk(ctx, collections.NewPrefixedPairRange[string, []byte](purpose), func(key collections.Pair[string, []byte], r api.Repair) (bool, error) {
		if height(ctx) >= r.Ends {
			due = append(due, collections.KeyValue[collections.Pair[string, []byte], api.Repair]{Key: key, Value: r})
		}
		return false, nil
	}); err != nil {
		return err
	}
	for _, kv := range due {
		account := [20]byte(kv.Key.K2())
		if over(kv.Value.Phase) {
			if err := k.forget(ctx, purpose, account); err != nil {
				return err
			}
			continue
		}
		f, err := k.loadRepair(ctx, purpose, account, kv.Value)
		if err != nil {
			return err
		}
		if err := k.advance(ctx, f); err != nil {
			return err
		}
	}
	return nil
}

func (k *Keeper) advance(ctx context.Context, f *fixing) error {
	if err := f.rules.Advance(); err != nil {
		return err
	}
	params, err := k.params.Get(ctx)
	if err != nil {
		return err
	}
	f.transcript = f.transcript.Advanced()
	f.kept.Ends = height(ctx) + params.PhaseBlocks
	if over(name(f.rules.Phase())) {
		f.kept.Ends = height(ctx) + 3*params.PhaseBlocks
	}
	if err := k.remember(ctx, f); err != nil {
		return err
	}
	if err := k.recordRepair(ctx, f, api.Entry{}); err != nil {
		return err
	}
	if err := k.saveRepair(ctx, f); err != nil {
		return err
	}
	return k.emit(ctx, repairEvent(f))
}

// remember notes, as long as the group is in charge, who let a repair fail: helpers that brought a key and then nothing, or cheated.
func (k *Keeper) remember(ctx context.Context, f *fixing) error {
	if f.rules.Phase() != threshold.PhaseFailed {
		return nil
	}
	charge, _, err := k.charge(ctx, f.purpose)
	if err != nil {
		return err
	}
	g, err := k.group(ctx, f.purpose, charge.Group)
	if err != nil {
		return err
	}
	silent := f.rules.Silent()
	for _, h := range f.rules.Helpers() {
		account := g.Seats[h].Account
		cheated := slices.ContainsFunc(f.rules.Blames(), func(b threshold.Blame) bool { return b.Account == account })
		if !cheated && !slices.Contains(silent, h) {
			continue
		}
		if err := k.unhelpful.Set(ctx, collections.Join(f.purpose, account[:])); err != nil {
			return err
		}
	}
	return nil
}

// dropRepairs ends all repairs of a purpose: they are of a group that is no longer the newest in charge.
func (k *Keeper) dropRepairs(ctx context.Context, purpose string) error {
	if err := k.unhelpful.Clear(ctx, collections.NewPrefixedPairRange[string, []byte](purpose)); err != nil {
		return err
	}
	it, err := k.repairs.Iterate(ctx, collections.NewPrefixedPairRange[string, []byte](purpose))
	if err != nil {
		return err
	}
	all, err := it.KeyValues()
	if err != nil {
		return err
	}
	for _, kv := range all {
		if err := k.forget(ctx, purpose, [20]byte(kv.Key.K2())); err != nil {
			return err
		}
		if over(kv.Value.Phase) {
			continue
		}
		if err := k.emit(ctx, &api.EventRepair{Purpose: purpose, Account: kv.Value.Account, Attempt: kv.Value.Attempt, Phase: name(threshold.PhaseFailed)}); err != nil {
			return err
		}
	}
	return nil
}

// forget removes all that is stored of a repair.
func (k *Keeper) forget(ctx context.Context, purpose string, account [20]byte) error {
	key := collections.Join(purpose, account[:])
	if err := k.repairs.Remove(ctx, key); err != nil {
		return err
	}
	if err := k.repairStates.Remove(ctx, key); err != nil {
		return err
	}
	if err := k.mended.Remove(ctx, threshold.RepairKey(purpose, account)[1:]); err != nil {
		return err
	}
	return k.repairEntries.Clear(ctx, collections.NewSuperPrefixedTripleRange[string, []byte, uint64](purpose, account[:]))
}

func repairEvent(f *fixing) *api.EventRepair {
	return &api.EventRepair{Purpose: f.purpose, Account: f.kept.Account, Attempt: f.kept.Attempt, Phase: f.kept.Phase}
}
