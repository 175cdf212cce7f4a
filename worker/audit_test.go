package worker

import (
	"context"
	"errors"
	"slices"
	"sync"
	"testing"

	"github.com/ipfs/go-cid"
	"google.golang.org/grpc"

	"github.com/cella-network/cella/api/audit"
	"github.com/cella-network/cella/client"
	rules "github.com/cella-network/cella/protocol/audit"
	"github.com/cella-network/cella/protocol/storageproof"
)

// drawnCase is an audit on the fake chain.
type drawnCase struct {
	rules.Case
	verdicts []rules.Verdict
}

// draw makes a case about an order that holder has proven; the auditors' enclaves are those of now.
func (c *fakeChain) draw(holder *operator, order uint64, deadline, answer int64, auditors ...*operator) *drawnCase {
	c.mu.Lock()
	defer c.mu.Unlock()
	now := int64(len(c.headers) + 1) // the next block commits it
	d := &drawnCase{Case: rules.Case{ID: uint64(len(c.cases) + 1), Height: now, Deadline: now + deadline, Answer: answer, Holder: holder.account, Order: order,
		Root: c.orders[order].Root, Quorum: uint8(rules.Quorum(uint32(len(auditors))))}}
	for _, a := range auditors {
		d.Auditors = append(d.Auditors, rules.Auditor{Account: a.account, Key: [32]byte(c.nodes[a.account].SignKey)})
	}
	c.cases = append(c.cases, d)
	c.kv(rules.StoreName).Set(rules.CaseKey(d.ID), d.Marshal())
	return d
}

// hear takes a verdict as x/audit does.
func (c *fakeChain) hear(m *audit.MsgVerdict, now int64) error {
	v, err := rules.UnmarshalVerdict(m.Verdict)
	if err != nil {
		return err
	}
	i := slices.IndexFunc(c.cases, func(d *drawnCase) bool { return d.ID == v.Case })
	if i < 0 || c.cases[i].heard(v.Auditor) {
		return &client.Error{Kind: client.KindRefused, What: "verdict", Cause: errors.New("no such case, or a second verdict")}
	}
	if v, err = c.cases[i].Check(testChain, m.Verdict, m.Signature, now); err != nil {
		return &client.Error{Kind: client.KindRefused, What: "verdict", Cause: err}
	}
	c.cases[i].verdicts = append(c.cases[i].verdicts, v)
	return nil
}

func (d *drawnCase) heard(account [20]byte) bool {
	return slices.ContainsFunc(d.verdicts, func(v rules.Verdict) bool { return v.Auditor == account })
}

type auditQueries struct {
	audit.QueryClient
	c *fakeChain
}

func (q auditQueries) Duties(_ context.Context, r *audit.QueryDutiesRequest, _ ...grpc.CallOption) (*audit.QueryDutiesResponse, error) {
	account, err := client.DecodeAddress(r.Operator)
	if err != nil {
		return nil, err
	}
	return look(q.c, func() *audit.QueryDutiesResponse {
		out := new(audit.QueryDutiesResponse)
		for _, d := range q.c.cases {
			if _, mine := d.Auditor(account); !mine || d.heard(account) || d.Due(len(d.verdicts), int64(len(q.c.headers))) {
				continue
			}
			holder, _ := client.EncodeAddress(d.Holder[:])
			out.Cases = append(out.Cases, audit.Case{Id: d.ID, Height: d.Height, Deadline: d.Deadline, AnswerBlocks: d.Answer, Holder: holder, Order: d.Order})
		}
		return out
	}), nil
}

// two are a holder with a proven file and an auditor.
func two(t *testing.T, c *fakeChain) (holder, auditor *operator, f file) {
	holder, auditor = newOperator(t, c, 1, 6), newOperator(t, c, 2, 4)
	owner := newOwner(t, c)
	holder.start()
	f = owner.order(3_000_000, 1)
	holder.proves(f.order)
	auditor.start()
	c.eventually("both are registered", func() bool { return c.nodes[auditor.account] != nil && c.nodes[holder.account] != nil })
	auditor.stands("the auditor works", func(st storageproof.Standing) bool { return st.Counter > 0 })
	return holder, auditor, f
}

// settles starts a node that was stopped and waits until its reports go on: a report of the earlier session may come in late, and then it
// begins once more.
func (o *operator) settles() {
	o.t.Helper()
	before := look(o.chain, func() []byte { return o.chain.nodes[o.account].SignKey })
	at := look(o.chain, func() uint64 { return o.chain.standing(o.account).Counter })
	o.start()
	o.chain.eventually("registered anew", func() bool { return !slices.Equal(o.chain.nodes[o.account].SignKey, before) })
	o.stands("reports go on", func(st storageproof.Standing) bool { return st.Counter > at+2 })
}

// TestAudit has a node audit another: what the holder serves passes, and the node's own work goes on.
func TestAudit(t *testing.T) {
	c := newFakeChain(t)
	holder, auditor, f := two(t, c)
	for range 3 {
		d := c.draw(holder, f.order, 2000, 1000, auditor)
		c.eventually("the verdict is on chain", func() bool { return len(d.verdicts) == 1 })
		if v := d.verdicts[0]; v.Reason != rules.ReasonOK || v.Bytes == 0 || v.To-v.From > 1000 {
			t.Errorf("%+v", v)
		}
	}
}

// stuck is a holder that lets nothing out.
type stuck struct{}

func (stuck) Block(ctx context.Context, _ cid.Cid) ([]byte, error) {
	<-ctx.Done()
	return nil, ctx.Err()
}
func (stuck) Close() error { return nil }

// liar sends other bytes than those that were asked for.
type liar struct{}

func (liar) Block(context.Context, cid.Cid) ([]byte, error) { return []byte("something else"), nil }
func (liar) Close() error                                   { return nil }

// TestAuditOfADeadHolder finds a holder that can't be reached, and one that lets nothing out; several at a time, while the node's own
// reports go on.
func TestAuditOfADeadHolder(t *testing.T) {
	c := newFakeChain(t)
	holder, auditor, f := two(t, c)
	var mu sync.Mutex
	visits := 0
	auditor.stop()
	auditor.visit = func(context.Context, []string) (Visitor, error) {
		mu.Lock()
		defer mu.Unlock()
		if visits++; visits%2 == 0 {
			return nil, errors.New("no route")
		}
		return stuck{}, nil
	}
	auditor.settles()
	var drawn []*drawnCase
	for range auditsAtOnce + 2 {
		drawn = append(drawn, c.draw(holder, f.order, 4000, 40, auditor))
	}
	at := look(c, func() uint64 { return c.standing(auditor.account).Counter })
	for _, d := range drawn {
		c.eventually("the verdict is on chain", func() bool { return len(d.verdicts) == 1 })
		if v := d.verdicts[0]; v.Reason != rules.ReasonMissing || v.Bytes != 0 || v.To-v.From <= 40 {
			t.Errorf("%+v", v)
		}
	}
	if now := look(c, func() uint64 { return c.standing(auditor.account).Counter }); now <= at {
		t.Error("no report was made meanwhile")
	}
}

// TestAuditLosesNothingByItsFailures has an auditor posts refused, blocks garbled and a case of an earlier enclave: the session lives on,
// and the next case is heard.
func TestAuditLosesNothingByItsFailures(t *testing.T) {
	c := newFakeChain(t)
	holder, auditor, f := two(t, c)
	real := auditor.visit
	var mu sync.Mutex
	lies := true
	auditor.stop()
	auditor.visit = func(ctx context.Context, from []string) (Visitor, error) {
		mu.Lock()
		defer mu.Unlock()
		if lies {
			return liar{}, nil
		}
		return real(ctx, from)
	}
	old := c.draw(holder, f.order, 4000, 1000, auditor) // for the enclave that was stopped
	auditor.settles()
	garbled := c.draw(holder, f.order, 4000, 1000, auditor)
	c.eventually("both are given up", func() bool {
		return auditor.log.says("not drawn for this enclave") && auditor.log.says("another block")
	})
	key := look(c, func() []byte { return c.nodes[auditor.account].SignKey })
	mu.Lock()
	lies = false
	mu.Unlock()
	d := c.draw(holder, f.order, 4000, 1000, auditor)
	c.eventually("the next verdict is on chain", func() bool { return len(d.verdicts) == 1 })
	if d.verdicts[0].Reason != rules.ReasonOK || len(old.verdicts)+len(garbled.verdicts) != 0 {
		t.Errorf("%+v", d.verdicts)
	}
	if now := look(c, func() []byte { return c.nodes[auditor.account].SignKey }); !slices.Equal(now, key) {
		t.Error("the enclave was restarted")
	}
}
