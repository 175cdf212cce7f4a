package worker

import (
	"context"
	"errors"
	"fmt"
	"sync"

	"github.com/cosmos/cosmos-sdk/types/query"
	"github.com/ipfs/go-cid"

	"github.com/cella-network/cella/api/attest"
	"github.com/cella-network/cella/api/audit"
	"github.com/cella-network/cella/enclave/wire"
	rules "github.com/cella-network/cella/protocol/audit"
)

const auditsAtOnce = 4

// Visitor fetches blocks from one node under an identity that nobody knows. *content.Visit is one.
type Visitor interface {
	Block(ctx context.Context, c cid.Cid) ([]byte, error)
	Close() error
}

// auditor runs the audits for which the chain drew this node. Each goes through these states:
//
//	state      what                                                          then
//	due        the chain names this node in an open case                     the enclave took its proof: fetching
//	fetching   each block that the enclave names is fetched from the holder  the enclave names no more, or the holder's time is over
//	signed     the enclave's verdict is posted                               a block took it: done; else again, while it is due
//	refused    the case was drawn for an enclave that is gone                the deadline
type auditor struct {
	*session
	slots chan struct{}
	jobs  sync.WaitGroup

	mu   sync.Mutex
	busy map[uint64]int64 // cases that are under way or refused, until their deadline
}

// audit looks for cases in each block until ctx ends. What goes wrong in one costs this node its verdict, never the session.
func (s *session) audit(ctx context.Context) error {
	a := &auditor{session: s, slots: make(chan struct{}, auditsAtOnce), busy: map[uint64]int64{}}
	defer a.jobs.Wait()
	for failures := 0; ; {
		next := s.heads.latest() + 1
		if err := a.look(ctx); err == nil {
			failures = 0
		} else if failures++; failures == patience && ctx.Err() == nil {
			s.Log.Warn("cannot ask for audits", told(err)...)
		}
		if _, err := s.heads.wait(ctx, next); err != nil {
			return nil
		}
	}
}

func (a *auditor) look(ctx context.Context) error {
	r, err := a.Queries.Audit.Duties(ctx, &audit.QueryDutiesRequest{Operator: a.Address, Pagination: &query.PageRequest{Limit: page}})
	if err != nil {
		return err
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	for id, deadline := range a.busy {
		if a.heads.latest() > deadline {
			delete(a.busy, id)
		}
	}
	for _, c := range r.Cases {
		if _, ok := a.busy[c.Id]; ok {
			continue
		}
		a.busy[c.Id] = c.Deadline
		a.jobs.Go(func() { a.run(ctx, c) })
	}
	return nil
}

// run does one audit. After a failure that may pass the next block tries again: the enclave goes on where it was.
func (a *auditor) run(ctx context.Context, c audit.Case) {
	select {
	case a.slots <- struct{}{}:
		defer func() { <-a.slots }()
	case <-ctx.Done():
		return
	}
	reason, err := a.attempt(ctx, c)
	var refusal *wire.Error
	switch {
	case ctx.Err() != nil:
	case err == nil:
		a.Log.Info("audited", "case", c.Id, "holder", c.Holder, "order", c.Order, "found", reason)
		a.Metrics.audits.WithLabelValues(reason).Inc()
	default:
		a.Log.Warn("audit without a verdict", append([]any{"case", c.Id}, told(err)...)...)
		a.Metrics.audits.WithLabelValues("none").Inc()
		if errors.As(err, &refusal) {
			return // no second try changes the enclave's mind
		}
		a.mu.Lock()
		defer a.mu.Unlock()
		delete(a.busy, c.Id)
	}
}

// attempt takes a case from proof to posted verdict and returns what the enclave found.
func (a *auditor) attempt(ctx context.Context, c audit.Case) (reason string, err error) {
	head, err := a.heads.wait(ctx, c.Height+1)
	if err != nil {
		return "", err
	}
	p, err := a.prove(ctx, rules.StoreName, rules.CaseKey(c.Id), head-1)
	if err != nil {
		return "", err
	}
	if err := a.fetchPath(ctx, c, p); err != nil {
		return "", err
	}
	var end wire.AuditEndReply
	for {
		now := a.heads.latest()
		err := a.call(&wire.AuditEnd{Case: c.Id}, &end)
		if err == nil {
			break
		}
		var refusal *wire.Error
		if !errors.As(err, &refusal) || refusal.Code != wire.CodeState || now >= c.Deadline {
			return "", err
		}
		if _, err := a.heads.wait(ctx, now+1); err != nil { // the holder has its time
			return "", err
		}
	}
	v, err := rules.UnmarshalVerdict(end.Verdict)
	if err != nil {
		return "", err
	}
	_, err = a.Poster.Post(ctx, &audit.MsgVerdict{Poster: a.Address, Verdict: end.Verdict, Signature: end.Sig[:]})
	return v.Reason.String(), err
}

// fetchPath brings the enclave the blocks that it asks for until it asks no more or the holder's time is over. That a block does not
// come is no error: it is what an audit is about.
func (a *auditor) fetchPath(ctx context.Context, c audit.Case, proof wire.Proof) error {
	var next wire.AuditReply
	if err := a.call(&wire.AuditBegin{Case: proof}, &next); err != nil {
		return err
	}
	over := a.heads.latest() + c.AnswerBlocks + 1
	ctx, cancel := context.WithCancel(ctx)
	var clock sync.WaitGroup
	defer clock.Wait()
	defer cancel()
	clock.Go(func() {
		_, _ = a.heads.wait(ctx, over)
		cancel()
	})
	visitor, err := a.visit(ctx, c.Holder)
	if err != nil {
		a.Log.Info("audit: the holder cannot be reached", "case", c.Id, "holder", c.Holder, "err", err)
		return nil
	}
	defer visitor.Close()
	for len(next.CID) > 0 {
		k, err := cid.Cast(next.CID)
		if err != nil {
			return fmt.Errorf("the enclave asks for %x: %w", next.CID, err)
		}
		data, err := visitor.Block(ctx, k)
		if err != nil {
			a.Log.Info("audit: a block did not come", "case", c.Id, "holder", c.Holder, "block", k, "err", err)
			return nil
		}
		if err := a.call(&wire.AuditBlock{Case: c.Id, Data: data}, &next); err != nil {
			return err
		}
	}
	return nil
}

// visit goes to a node's addresses on chain.
func (a *auditor) visit(ctx context.Context, operator string) (Visitor, error) {
	r, err := a.Queries.Attest.Node(ctx, &attest.QueryNodeRequest{Operator: operator})
	if err != nil {
		return nil, err
	}
	return a.Visit(ctx, r.Node.Addrs)
}
