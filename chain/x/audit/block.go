package audit

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"

	"cosmossdk.io/collections"

	sdk "github.com/cosmos/cosmos-sdk/types"

	api "github.com/cella-network/cella/api/audit"
	"github.com/cella-network/cella/protocol/attestation"
	"github.com/cella-network/cella/protocol/audit"
	"github.com/cella-network/cella/protocol/lottery"
)

const (
	// casesPerBlock is how many cases one block decides or forgets; the rest waits for the next. At most one is drawn a block.
	casesPerBlock = 8
	// holderDraws is how many nodes a draw looks at for one that holds something.
	holderDraws = 8
	// spareDraws is how many more auditors a draw looks at than it wants: some are paused, or share a machine.
	spareDraws = 8
	// retryBlocks is when a case is tried again that could not be executed.
	retryBlocks = 100
)

// BeginBlock decides and forgets the cases whose time has come and draws a new one once the seed of a period's last height is out.
func (k *Keeper) BeginBlock(ctx context.Context) error {
	c := sdk.UnwrapSDKContext(ctx)
	p, err := k.params.Get(ctx)
	if err != nil {
		return err
	}
	var ids []uint64
	err = k.due.Walk(ctx, nil, func(key collections.Pair[int64, uint64]) (bool, error) {
		if key.K1() > c.BlockHeight() || len(ids) == casesPerBlock {
			return true, nil
		}
		ids = append(ids, key.K2())
		return false, nil
	})
	if err != nil {
		return err
	}
	for _, id := range ids {
		// A failing case is a bug, but one that must neither stop the chain nor half happen: it is tried again later.
		branch, write := c.CacheContext()
		if err := k.step(branch, p, id); err != nil {
			c.Logger().Error("audit: a case failed and waits", "height", c.BlockHeight(), "case", id, "err", err)
			_, info, err := k.caseOf(ctx, id)
			if err != nil {
				return err
			}
			if err := k.put(ctx, id, info, c.BlockHeight()+retryBlocks); err != nil {
				return err
			}
			continue
		}
		write()
	}
	seed, ok, err := k.turn(ctx, p)
	if err != nil || !ok {
		return err
	}
	branch, write := c.CacheContext()
	if err := k.draw(branch, p, seed); err != nil {
		c.Logger().Error("audit: no case was drawn", "height", c.BlockHeight(), "err", err)
		return nil
	}
	write()
	return nil
}

// turn is the seed of the last height that ends a period, if it is out and was not used before. When the seeds of many periods come at
// once, their audits are not made up for: holders and auditors would have to answer all of them together.
func (k *Keeper) turn(ctx context.Context, p api.Params) (seed lottery.Seed, ok bool, err error) {
	if p.PeriodBlocks == 0 {
		return seed, false, nil
	}
	tip, err := k.seeds.Tip(ctx)
	if err != nil {
		return seed, false, err
	}
	last, err := k.drawn.Get(ctx)
	if err != nil && !errors.Is(err, collections.ErrNotFound) {
		return seed, false, err
	}
	at := min(tip, sdk.UnwrapSDKContext(ctx).BlockHeight())
	if at -= at % p.PeriodBlocks; at <= last {
		return seed, false, nil
	}
	if seed, ok, err = k.seeds.Seed(ctx, at); err != nil || !ok {
		return seed, false, err
	}
	return seed, true, k.drawn.Set(ctx, at)
}

// step decides an open case, or forgets one that was decided.
func (k *Keeper) step(ctx context.Context, p api.Params, id uint64) error {
	c, info, err := k.caseOf(ctx, id)
	if err != nil {
		return err
	}
	if audit.Outcome(info.Outcome) != audit.OutcomeOpen {
		return k.forget(ctx, id, info)
	}
	now := sdk.UnwrapSDKContext(ctx).BlockHeight()
	verdicts, err := verdictsOf(info)
	if err != nil {
		return err
	}
	outcome, silent := c.Judge(verdicts)
	// The order may have ended while the audit ran: then the holder owed nothing any more.
	owed, err := k.market.Holding(ctx, c.Holder[:], c.Order)
	if err != nil {
		return err
	}
	if !owed && outcome == audit.OutcomeFailed {
		outcome = audit.OutcomeInconclusive
	}
	info.Outcome, info.Closed = uint32(outcome), now
	if err := k.put(ctx, id, info, now+p.KeepBlocks); err != nil {
		return err
	}
	if err := k.count(ctx, c.Holder, func(r *api.Record) {
		switch outcome {
		case audit.OutcomePassed:
			r.Passed++
		case audit.OutcomeFailed:
			r.Failed++
		default:
			r.Inconclusive++
		}
	}); err != nil {
		return err
	}
	for _, a := range silent {
		if err := k.silence(ctx, id, a, now+p.PauseBlocks); err != nil {
			return err
		}
	}
	if owed && outcome != audit.OutcomeInconclusive {
		if err := k.market.Audited(ctx, c.Holder[:], c.Order, outcome == audit.OutcomePassed, fmt.Sprintf("audit %d", id)); err != nil {
			return err
		}
	}
	var passed uint32
	for _, v := range verdicts {
		if v.Reason == audit.ReasonOK {
			passed++
		}
	}
	holder, err := k.text(c.Holder)
	if err != nil {
		return err
	}
	return k.emit(ctx, &api.EventCaseClosed{Case: id, Holder: holder, Order: c.Order, Outcome: outcome.String(), Passed: passed,
		Failed: uint32(len(verdicts)) - passed, Silent: uint32(len(silent))})
}

// silence counts an auditor's silence against it and keeps it from being drawn for a while.
func (k *Keeper) silence(ctx context.Context, id uint64, auditor attestation.Account, until int64) error {
	if err := k.duties.Remove(ctx, duty(auditor, id)); err != nil {
		return err
	}
	if err := k.count(ctx, auditor, func(r *api.Record) { r.Silent, r.Paused = r.Silent+1, max(r.Paused, until) }); err != nil {
		return err
	}
	text, err := k.text(auditor)
	if err != nil {
		return err
	}
	return k.emit(ctx, &api.EventAuditorSilent{Case: id, Auditor: text, Paused: until})
}

// draw makes a case by a seed: a holder, one of its replicas, and auditors. Nothing is drawn where nobody holds anything, or
// where fewer auditors than a quorum could be found.
func (k *Keeper) draw(ctx context.Context, p api.Params, seed lottery.Seed) error {
	last, err := k.lastCase.Get(ctx)
	if err != nil && !errors.Is(err, collections.ErrNotFound) {
		return err
	}
	now := sdk.UnwrapSDKContext(ctx).BlockHeight()
	c := audit.Case{ID: last + 1, Height: now, Deadline: now + p.VerdictBlocks, Answer: p.AnswerBlocks, Quorum: uint8(audit.Quorum(p.Auditors))}
	holder, ok, err := k.drawHolder(ctx, seed, &c)
	if err != nil || !ok {
		return err
	}
	if err := k.drawAuditors(ctx, seed, p, holder, &c); err != nil || len(c.Auditors) < int(c.Quorum) {
		return err
	}
	if _, err := audit.UnmarshalCase(c.Marshal()); err != nil {
		return err // enclaves could not read it
	}
	if err := k.lastCase.Set(ctx, c.ID); err != nil {
		return err
	}
	if err := k.add(ctx, c, api.CaseInfo{Due: c.Deadline + 1}); err != nil {
		return err
	}
	event := &api.EventCaseDrawn{Case: c.ID, Order: c.Order, Deadline: c.Deadline}
	if event.Holder, err = k.text(c.Holder); err != nil {
		return err
	}
	for _, a := range c.Auditors {
		text, err := k.text(a.Account)
		if err != nil {
			return err
		}
		event.Auditors = append(event.Auditors, text)
	}
	return k.emit(ctx, event)
}

func (k *Keeper) drawHolder(ctx context.Context, seed lottery.Seed, c *audit.Case) (attestation.Node, bool, error) {
	for i := range uint32(holderDraws) {
		n, ok, err := k.registry.DrawActive(ctx, seed, subject("holder", i))
		if err != nil || !ok {
			return n, false, err
		}
		order, root, ok, err := k.market.Sample(ctx, n.Account[:], seed)
		if err != nil {
			return n, false, err
		}
		if ok {
			c.Holder, c.Order, c.Root = n.Account, order, root
			return n, true, nil
		}
	}
	return attestation.Node{}, false, nil
}

func (k *Keeper) drawAuditors(ctx context.Context, seed lottery.Seed, p api.Params, holder attestation.Node, c *audit.Case) error {
	now := sdk.UnwrapSDKContext(ctx).BlockHeight()
	excluded, chosen := []attestation.Account{holder.Account}, []attestation.Node{holder}
	for i := range p.Auditors + spareDraws {
		if len(c.Auditors) == int(p.Auditors) {
			return nil
		}
		n, ok, err := k.registry.DrawEndorser(ctx, seed, subject("auditor", i), excluded)
		if err != nil || !ok {
			return err
		}
		excluded = append(excluded, n.Account)
		r, err := k.record(ctx, n.Account)
		if err != nil {
			return err
		}
		if now < r.Paused || !audit.Independent(n, chosen...) {
			continue
		}
		chosen = append(chosen, n)
		c.Auditors = append(c.Auditors, audit.Auditor{Account: n.Account, Key: n.SignKey})
	}
	return nil
}

// subject tells the draws of one seed apart.
func subject(what string, i uint32) []byte {
	return binary.BigEndian.AppendUint32([]byte("audit "+what+" "), i)
}
