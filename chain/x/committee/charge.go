package committee

import (
	"bytes"
	"context"
	"errors"
	"slices"

	"cosmossdk.io/collections"

	api "github.com/cella-network/cella/api/committee"
	"github.com/cella-network/cella/protocol/threshold"
)

// Why a charge is given, or changes.
const (
	reasonHandover  = "handover"
	reasonFresh     = "fresh"
	reasonBack      = "back"
	reasonConfirmed = "confirmed"
)

// standing is what decides about a purpose's next step.
type standing struct {
	params api.Params
	office api.Office
	charge threshold.Charge
	first  bool // there has never been a group
	lost   bool // the group in charge has signed nothing for too long
}

func (k *Keeper) standing(ctx context.Context, purpose string) (s standing, err error) {
	if s.params, err = k.params.Get(ctx); err != nil {
		return s, err
	}
	if s.office, err = k.office(ctx, purpose); err != nil {
		return s, err
	}
	charge, ok, err := k.charge(ctx, purpose)
	if err != nil || !ok {
		s.first = true
		return s, err
	}
	seen, err := k.signed.Get(ctx, purpose)
	if err != nil && !errors.Is(err, collections.ErrNotFound) {
		return s, err
	}
	s.charge, s.lost = charge, height(ctx) >= max(charge.From, seen)+s.params.StallBlocks
	return s, nil
}

// waits says that the group in charge has yet to sign: it may be gone back from, so it must not hand on.
func (s standing) waits() bool { return !s.first && !s.lost && !s.charge.Confirmed }

// fresh says that the next key is a fresh one.
func (s standing) fresh() bool { return s.first || s.lost || s.office.Failures >= s.params.Attempts }

// Begin hands the purpose's key on to exactly these members, in the order of their accounts, or has them make the first one. It
// replaces a ceremony for others. If the group in charge has yet to sign for the first time, Begin waits for that.
// The attempts that failed are forgotten if other accounts are to hold the key.
func (k *Keeper) Begin(ctx context.Context, purpose string, members []threshold.Stakeholder) error {
	ctx = free(ctx)
	if _, _, err := plan(members); err != nil {
		return err
	}
	s, err := k.standing(ctx, purpose)
	if err != nil {
		return err
	}
	p, going, err := k.going(ctx, purpose)
	if err != nil {
		return err
	}
	if !slices.EqualFunc(s.office.Wanted, members, func(a api.Member, b threshold.Stakeholder) bool { return bytes.Equal(a.Account, b.Account[:]) }) {
		s.office.Failures = 0 // of others: they say nothing about these
	}
	s.office.Wanted = stored(members)
	if going && slices.EqualFunc(p.Members, s.office.Wanted, sameMember) { // whoever began it: if it fails it is tried again
		return k.offices.Set(ctx, purpose, s.office)
	}
	if s.office.Next = height(ctx); s.waits() {
		return k.offices.Set(ctx, purpose, s.office)
	}
	if going {
		if err := k.emit(ctx, phaseEvent(p.Ceremony.Setup, name(threshold.PhaseFailed))); err != nil {
			return err
		}
	}
	return k.start(ctx, purpose, members, s)
}

func sameMember(a, b api.Member) bool { return bytes.Equal(a.Account, b.Account) && a.Stake == b.Stake }

// Signed is told that a signature of the group in force at a height was verified. A group is confirmed by its first.
func (k *Keeper) Signed(ctx context.Context, purpose string, at int64) error {
	ctx = free(ctx)
	charge, ok, err := k.charge(ctx, purpose)
	if err != nil || !ok || at < charge.From {
		return err
	}
	if err := k.signed.Set(ctx, purpose, height(ctx)); err != nil || charge.Confirmed {
		return err
	}
	g, err := k.group(ctx, purpose, charge.Group)
	if err != nil {
		return err
	}
	office, err := k.office(ctx, purpose)
	if err != nil {
		return err
	}
	if g.ID.Epoch == charge.Epoch { // not one that the chain went back to
		office.Failures = 0
	}
	if office.Next == 0 {
		office.Wanted = nil
	}
	office.Before, office.Gone = nil, false
	charge.Confirmed = true
	return k.appoint(ctx, purpose, charge, office, reasonConfirmed)
}

// EndBlock ends phases, changes who is in charge and begins what is to begin.
func (k *Keeper) EndBlock(ctx context.Context) error {
	ctx = free(ctx)
	it, err := k.offices.Iterate(ctx, nil)
	if err != nil {
		return err
	}
	purposes, err := it.Keys()
	if err != nil {
		return err
	}
	if !slices.Contains(purposes, Purpose) {
		purposes = append(purposes, Purpose)
	}
	for _, purpose := range purposes {
		for _, do := range []func(context.Context, string) error{k.proceed, k.mend, k.goBack, k.beginDue} {
			if err := do(ctx, purpose); err != nil {
				return err
			}
		}
	}
	return nil
}

// proceed ends a phase of the ceremony at its height.
func (k *Keeper) proceed(ctx context.Context, purpose string) error {
	p, going, err := k.going(ctx, purpose)
	if err != nil || !going || height(ctx) < p.Ceremony.Ends {
		return err
	}
	r, err := k.load(ctx, purpose, p)
	if err != nil {
		return err
	}
	if err := r.rules.Advance(); err != nil {
		return err
	}
	params, err := k.params.Get(ctx)
	if err != nil {
		return err
	}
	r.transcript = r.transcript.Advanced()
	if err := k.record(ctx, r, api.Entry{}); err != nil {
		return err
	}
	phase := r.rules.Phase()
	if !over(name(phase)) {
		r.kept.Ceremony.Ends = height(ctx) + params.PhaseBlocks
	}
	if err := k.save(ctx, r); err != nil {
		return err
	}
	if err := k.emit(ctx, phaseEvent(r.kept.Ceremony.Setup, name(phase))); err != nil {
		return err
	}
	switch phase {
	case threshold.PhaseDone:
		return k.succeed(ctx, r)
	case threshold.PhaseFailed:
		return k.fail(ctx, r)
	}
	return nil
}

// succeed puts the new group in charge. The one before stays until the new one has signed, unless its key was lost.
func (k *Keeper) succeed(ctx context.Context, r *running) error {
	g, err := r.rules.Group()
	if err != nil {
		return err
	}
	s, err := k.standing(ctx, r.purpose)
	if err != nil {
		return err
	}
	hash, err := k.keep(ctx, r.purpose, g)
	if err != nil {
		return err
	}
	s.office.Before, s.office.Gone, s.office.Attempt = nil, s.lost, 0
	if !s.first {
		s.office.Before = s.charge.Marshal()
	}
	reason := reasonHandover
	if len(r.kept.Old) == 0 {
		reason = reasonFresh
	}
	s.office.Next = 0
	if len(r.kept.Old) == 0 || len(s.office.Wanted) > 0 { // else it is one for lost shares
		s.office.Wanted = r.kept.Members
	}
	if err := k.gathered.Remove(ctx, r.purpose); err != nil {
		return err
	}
	charge := threshold.Charge{Epoch: r.kept.Ceremony.Setup.Epoch, From: height(ctx) + 2, Group: hash}
	if err := k.appoint(ctx, r.purpose, charge, s.office, reason); err != nil {
		return err
	}
	return k.heir.Reshared(ctx, r.purpose, stakeholders(r.kept.Members))
}

// fail waits before the next attempt. Nothing else has changed.
func (k *Keeper) fail(ctx context.Context, r *running) error {
	s, err := k.standing(ctx, r.purpose)
	if err != nil {
		return err
	}
	if renewal := len(r.kept.Old) > 0 && len(s.office.Wanted) == 0; !renewal { // one for lost shares is not tried again
		s.office.Next = height(ctx) + s.params.RetryBlocks
		if len(r.kept.Old) > 0 {
			s.office.Failures++
		}
	}
	if err := k.offices.Set(ctx, r.purpose, s.office); err != nil {
		return err
	}
	return k.heir.Failed(ctx, r.purpose)
}

// goBack puts the group before in charge again if the new one has signed nothing, and hands on anew later, unless that was for lost shares.
func (k *Keeper) goBack(ctx context.Context, purpose string) error {
	s, err := k.standing(ctx, purpose)
	if err != nil || s.first || s.charge.Confirmed || len(s.office.Before) == 0 || s.office.Gone || height(ctx) < s.charge.From+s.params.ConfirmBlocks {
		return err
	}
	before, err := threshold.UnmarshalCharge(s.office.Before)
	if err != nil {
		return err
	}
	s.office.Before, s.office.Gone, s.office.Attempt = s.charge.Marshal(), true, 0
	if len(s.office.Wanted) > 0 {
		s.office.Failures++
		s.office.Next = height(ctx) + s.params.RetryBlocks
	}
	charge := threshold.Charge{Epoch: s.charge.Epoch + 1, From: height(ctx) + 2, Group: before.Group}
	return k.appoint(ctx, purpose, charge, s.office, reasonBack)
}

// appoint stores a charge. What only the last one needed is forgotten.
func (k *Keeper) appoint(ctx context.Context, purpose string, c threshold.Charge, office api.Office, reason string) error {
	if err := k.charges.Set(ctx, purpose, c.Marshal()); err != nil {
		return err
	}
	if err := k.offices.Set(ctx, purpose, office); err != nil {
		return err
	}
	if !c.Confirmed {
		if err := k.signed.Remove(ctx, purpose); err != nil {
			return err
		}
		if err := k.dropRepairs(ctx, purpose); err != nil {
			return err
		}
	}
	if err := k.sweep(ctx, purpose); err != nil {
		return err
	}
	g, err := k.group(ctx, purpose, c.Group)
	if err != nil {
		return err
	}
	key := g.Key()
	return k.emit(ctx, &api.EventCharge{Purpose: purpose, Epoch: c.Epoch, From: c.From, Key: key[:], Confirmed: c.Confirmed, Reason: reason})
}

// beginDue begins the next attempt at its height. A fresh key is tried when enough of those who would hold it can take part.
func (k *Keeper) beginDue(ctx context.Context, purpose string) error {
	_, going, err := k.going(ctx, purpose)
	if err != nil || going {
		return err
	}
	s, err := k.standing(ctx, purpose)
	if err != nil || height(ctx) < s.office.Next || s.waits() || !s.first && !s.lost && s.office.Next == 0 {
		return err
	}
	if !s.fresh() {
		if len(s.office.Wanted) == 0 { // the group was taken for lost, and has signed again
			s.office.Next = 0
			return k.offices.Set(ctx, purpose, s.office)
		}
		return k.start(ctx, purpose, stakeholders(s.office.Wanted), s)
	}
	members, err := k.members.Members(ctx, purpose)
	if err != nil {
		return err
	}
	assembled, err := k.assembled(ctx, purpose, members, s.params.RetryBlocks)
	if err != nil || !assembled {
		return err
	}
	return k.start(ctx, purpose, members, s)
}

// enough says whether so many members have enclaves that a ceremony among them can succeed.
func (k *Keeper) enough(ctx context.Context, members []threshold.Stakeholder) (bool, error) {
	seats, least, err := plan(members)
	if err != nil {
		return false, nil // a set that can't hold a key, an empty one for example
	}
	shares := 0
	for _, seat := range seats {
		_, active, err := k.holder(ctx, seat.Account)
		if err != nil {
			return false, err
		}
		if active {
			shares += seat.Shares
		}
	}
	return shares >= least, nil
}

// admit takes the keys of a seat that was silent in the ceremony of the group in charge, or that was repaired.
func (k *Keeper) admit(ctx context.Context, purpose string, charge threshold.Charge, encoded []byte, from [20]byte, message []byte) error {
	g, err := threshold.UnmarshalGroup(encoded) // not the one in memory, which others read
	if err != nil {
		return err
	}
	if err := g.Admit(from, message); err != nil {
		return refused(err)
	}
	if charge.Group, err = k.keep(ctx, purpose, g); err != nil {
		return err
	}
	if err := k.charges.Set(ctx, purpose, charge.Marshal()); err != nil {
		return err
	}
	if err := k.sweep(ctx, purpose); err != nil {
		return err
	}
	text, err := k.text(from)
	if err != nil {
		return err
	}
	return k.emit(ctx, &api.EventRepair{Purpose: purpose, Account: text, Phase: name(threshold.PhaseReady)})
}

// sweep drops the groups of a purpose that nobody asks for any more.
func (k *Keeper) sweep(ctx context.Context, purpose string) error {
	used := map[string]bool{}
	charge, ok, err := k.charge(ctx, purpose)
	if err != nil || !ok {
		return err
	}
	used[string(charge.Group[:])] = true
	office, err := k.office(ctx, purpose)
	if err != nil {
		return err
	}
	if len(office.Before) > 0 {
		before, err := threshold.UnmarshalCharge(office.Before)
		if err != nil {
			return err
		}
		used[string(before.Group[:])] = true
	}
	p, err := k.proceedings.Get(ctx, purpose)
	if err != nil && !errors.Is(err, collections.ErrNotFound) {
		return err
	}
	used[string(p.Old)] = true
	it, err := k.groups.Iterate(ctx, collections.NewPrefixedPairRange[string, []byte](purpose))
	if err != nil {
		return err
	}
	keys, err := it.Keys()
	if err != nil {
		return err
	}
	for _, key := range keys {
		if !used[string(key.K2())] {
			if err := k.groups.Remove(ctx, key); err != nil {
				return err
			}
		}
	}
	return nil
}

func phaseEvent(s api.Setup, phase string) *api.EventPhase {
	return &api.EventPhase{Purpose: s.Purpose, Epoch: s.Epoch, Attempt: s.Attempt, Phase: phase}
}
