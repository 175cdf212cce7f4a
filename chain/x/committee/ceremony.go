package committee

import (
	"context"
	"encoding/hex"
	"errors"
	"slices"

	"cosmossdk.io/collections"

	sdk "github.com/cosmos/cosmos-sdk/types"

	api "github.com/cella-network/cella/api/committee"
	"github.com/cella-network/cella/protocol/threshold"
)

// The names of threshold.Phase, in its order.
var phaseNames = []string{"", "keys", "deal", "complain", "ready", "done", "failed"}

func name(p threshold.Phase) string { return phaseNames[p] }

// over says whether a phase is the end of a ceremony or repair.
func over(phase string) bool {
	return phase == name(threshold.PhaseDone) || phase == name(threshold.PhaseFailed)
}

// shelf keeps deals in the store. Deals has no errors: the first one is found when the ceremony is stored.
type shelf struct {
	*Keeper
	ctx     context.Context
	purpose string
	err     error
}

func (s *shelf) Keep(deal int, kept []byte) {
	s.note(s.deals.Set(s.ctx, collections.Join(s.purpose, uint64(deal)), kept))
}

func (s *shelf) Kept(deal int) []byte {
	b, err := s.deals.Get(s.ctx, collections.Join(s.purpose, uint64(deal)))
	if !errors.Is(err, collections.ErrNotFound) {
		s.note(err)
	}
	return b
}

func (s *shelf) note(err error) {
	if s.err == nil {
		s.err = err
	}
}

// running is a ceremony that goes on, as it was loaded. It is read anew for each message: that takes a fifth of what a deal does.
type running struct {
	purpose    string
	kept       api.Proceeding
	rules      *threshold.Ceremony
	deals      *shelf
	transcript threshold.Transcript
}

// going tells whether a ceremony of the purpose goes on.
func (k *Keeper) going(ctx context.Context, purpose string) (p api.Proceeding, ok bool, err error) {
	p, err = k.proceedings.Get(ctx, purpose)
	if errors.Is(err, collections.ErrNotFound) {
		return p, false, nil
	}
	return p, err == nil && !over(p.Ceremony.Phase), err
}

// load reads a ceremony that goes on.
func (k *Keeper) load(ctx context.Context, purpose string, p api.Proceeding) (*running, error) {
	r := &running{purpose: purpose, kept: p, deals: &shelf{Keeper: k, ctx: ctx, purpose: purpose}}
	setup, err := k.setup(ctx, p)
	if err != nil {
		return nil, err
	}
	if r.rules, err = threshold.ResumeCeremony(setup, r.deals, p.State); err != nil {
		return nil, err
	}
	b, err := k.transcripts.Get(ctx, purpose)
	if err != nil {
		return nil, err
	}
	r.transcript, err = threshold.UnmarshalTranscript(b)
	return r, err
}

// setup is what a ceremony began with.
func (k *Keeper) setup(ctx context.Context, p api.Proceeding) (threshold.Setup, error) {
	s := p.Ceremony.Setup
	out := threshold.Setup{Threshold: int(s.Threshold),
		ID: threshold.ID{ChainID: sdk.UnwrapSDKContext(ctx).ChainID(), Purpose: s.Purpose, Epoch: s.Epoch, Attempt: s.Attempt}}
	for _, seat := range s.Seats {
		account, err := k.member(seat.Account)
		if err != nil {
			return out, err
		}
		out.Seats = append(out.Seats, threshold.Seat{Account: account, Shares: int(seat.Shares)})
	}
	if len(p.Old) == 0 {
		return out, nil
	}
	var err error
	out.Old, err = k.group(ctx, s.Purpose, [32]byte(p.Old))
	return out, err
}

// accept takes a message of a member: an error says that nothing changed.
func (k *Keeper) accept(ctx context.Context, r *running, from [20]byte, message []byte) error {
	before := len(r.rules.Blames())
	if err := r.rules.Accept(from, message); err != nil {
		return refused(err)
	}
	text, err := k.text(from)
	if err != nil {
		return err
	}
	r.transcript = r.transcript.Accepted(from, message)
	if err := k.record(ctx, r, api.Entry{From: text, Message: message}); err != nil {
		return err
	}
	return k.blame(ctx, r.purpose, r.rules.Blames()[before:])
}

// record appends what happened to the ceremony's entries.
func (k *Keeper) record(ctx context.Context, r *running, e api.Entry) error {
	n := r.kept.Ceremony.Count
	r.kept.Ceremony.Count++
	return k.entries.Set(ctx, collections.Join(r.purpose, n), e)
}

// save stores the ceremony where it is now.
func (k *Keeper) save(ctx context.Context, r *running) error {
	if r.deals.err != nil {
		return r.deals.err
	}
	r.kept.Ceremony.Phase, r.kept.State = name(r.rules.Phase()), r.rules.Marshal()
	if over(r.kept.Ceremony.Phase) {
		r.kept.State = nil
		if err := k.deals.Clear(ctx, collections.NewPrefixedPairRange[string, uint64](r.purpose)); err != nil {
			return err
		}
	}
	if err := k.transcripts.Set(ctx, r.purpose, r.transcript.Marshal()); err != nil {
		return err
	}
	return k.proceedings.Set(ctx, r.purpose, r.kept)
}

// blame reports cheats that were proven just now. They stand even if they can't be punished: a bad deal must not count because of that.
func (k *Keeper) blame(ctx context.Context, purpose string, blames []threshold.Blame) error {
	for _, b := range blames {
		branch, write := sdk.UnwrapSDKContext(ctx).CacheContext()
		if err := k.heir.Blamed(branch, b.Account, b.Rule); err != nil {
			branch.Logger().Error("committee: who cheated is not punished", "account", hex.EncodeToString(b.Account[:]), "rule", b.Rule, "err", err)
		} else {
			write()
		}
		text, err := k.text(b.Account)
		if err != nil {
			return err
		}
		if err := k.emit(ctx, &api.EventBlamed{Purpose: purpose, Account: text, Rule: b.Rule}); err != nil {
			return err
		}
	}
	return nil
}

// plan weighs members into seats. Those whose stake is too small for a share have none.
func plan(members []threshold.Stakeholder) (seats []threshold.Seat, least int, err error) {
	var stakes []uint64
	for i, m := range members {
		if i > 0 && slices.Compare(members[i-1].Account[:], m.Account[:]) >= 0 {
			return nil, 0, ErrRefused.Wrap("members are not in the order of their accounts, or one comes twice")
		}
		if m.Account == [20]byte{} {
			return nil, 0, ErrRefused.Wrap("a member without an account")
		}
		stakes = append(stakes, m.Stake)
	}
	w, err := threshold.Weigh(stakes)
	if err != nil {
		return nil, 0, refused(err)
	}
	for i, shares := range w.Shares {
		if shares > 0 {
			seats = append(seats, threshold.Seat{Account: members[i].Account, Shares: shares})
		}
	}
	return seats, w.Threshold, nil
}

// start begins a ceremony in place of any other: for a fresh key, or to hand on that of the group in charge.
func (k *Keeper) start(ctx context.Context, purpose string, members []threshold.Stakeholder, now standing) error {
	u, office := sdk.UnwrapSDKContext(ctx), now.office
	setup := threshold.Setup{ID: threshold.ID{ChainID: u.ChainID(), Purpose: purpose, Epoch: now.charge.Epoch + 1, Attempt: office.Attempt}}
	var err error
	if setup.Seats, setup.Threshold, err = plan(members); err != nil {
		return err
	}
	p := api.Proceeding{Members: stored(members)}
	if !now.fresh() {
		p.Old = now.charge.Group[:]
		if setup.Old, err = k.group(ctx, purpose, now.charge.Group); err != nil {
			return err
		}
	}
	rules, err := threshold.NewCeremony(setup, nil)
	if err != nil {
		return refused(err)
	}
	if p.Ceremony, err = k.opening(setup, u.BlockHeight()+now.params.PhaseBlocks); err != nil {
		return err
	}
	p.State = rules.Marshal()
	if err := k.replace(ctx, purpose, p, setup.Transcript()); err != nil {
		return err
	}
	office.Attempt, office.Next = office.Attempt+1, 0
	if err := k.offices.Set(ctx, purpose, office); err != nil {
		return err
	}
	if err := k.sweep(ctx, purpose); err != nil {
		return err
	}
	shares := uint32(0)
	for _, s := range p.Ceremony.Setup.Seats {
		shares += s.Shares
	}
	return k.emit(ctx, &api.EventCeremonyBegan{Purpose: purpose, Epoch: setup.ID.Epoch, Attempt: setup.ID.Attempt, Members: uint32(len(setup.Seats)),
		Shares: shares, Threshold: uint32(setup.Threshold), Fresh: setup.Old == nil})
}

// replace stores a new ceremony and forgets what happened in the last one.
func (k *Keeper) replace(ctx context.Context, purpose string, p api.Proceeding, t threshold.Transcript) error {
	of := collections.NewPrefixedPairRange[string, uint64](purpose)
	if err := k.entries.Clear(ctx, of); err != nil {
		return err
	}
	if err := k.deals.Clear(ctx, of); err != nil {
		return err
	}
	if err := k.transcripts.Set(ctx, purpose, t.Marshal()); err != nil {
		return err
	}
	return k.proceedings.Set(ctx, purpose, p)
}

// opening is a ceremony that begins, as queries show it.
func (k *Keeper) opening(s threshold.Setup, ends int64) (api.Ceremony, error) {
	out := api.Ceremony{Phase: name(threshold.PhaseKeys), Ends: ends,
		Setup: api.Setup{Purpose: s.ID.Purpose, Epoch: s.ID.Epoch, Attempt: s.ID.Attempt, Threshold: uint32(s.Threshold)}}
	for _, seat := range s.Seats {
		text, err := k.text(seat.Account)
		if err != nil {
			return out, err
		}
		out.Setup.Seats = append(out.Setup.Seats, api.Seat{Account: text, Shares: uint32(seat.Shares)})
	}
	return out, nil
}

func stored(members []threshold.Stakeholder) []api.Member {
	var out []api.Member
	for _, m := range members {
		out = append(out, api.Member{Account: m.Account[:], Stake: m.Stake})
	}
	return out
}

func stakeholders(members []api.Member) []threshold.Stakeholder {
	var out []threshold.Stakeholder
	for _, m := range members {
		out = append(out, threshold.Stakeholder{Account: [20]byte(m.Account), Stake: m.Stake})
	}
	return out
}
