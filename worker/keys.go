package worker

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"slices"
	"sync"

	sdk "github.com/cosmos/cosmos-sdk/types"

	"github.com/cella-network/cella/api/committee"
	"github.com/cella-network/cella/client"
	"github.com/cella-network/cella/enclave/wire"
	"github.com/cella-network/cella/protocol/beacon"
	"github.com/cella-network/cella/protocol/threshold"
)

const (
	keyPurpose = beacon.Purpose
	keyAgain   = 3  // blocks after which a replay that the enclave refused begins anew
	askAfter   = 2  // blocks that shares of a confirmed group may be missing before a repair is asked for
	askEvery   = 20 // blocks between two askings
)

// errNoKeys says that no enclave of this node can sign now.
var errNoKeys = errors.New("no registered enclave runs")

// keyring does the host's part for the enclave's shares of the validators' key. Each block it goes through these steps:
//
//	charge     the enclave is shown which group is in charge, when that changed
//	ceremony   the enclave replays what is new in it, and says its part, which is posted
//	repairs    the same for those in which this node asks or can help
//	ask        a repair, when the enclave lacks shares of a confirmed group
type keyring struct {
	*session
	ceremony playback
	repairs  map[string]*playback // by account

	charge   threshold.Charge // that the enclave was shown last
	shown    []byte           // the same as the chain stores it
	standing wire.SettleReply
	lacking  int64 // height since which shares are missing or not known to the chain, 0 if all is well
	asked    int64 // height of the last asking

	posts sync.WaitGroup
	mu    sync.Mutex
	busy  map[string]bool // what is being posted: at most one batch for each ceremony or repair
}

// keys does its work in each block until ctx ends. What goes wrong costs this node its part in a ceremony, never the session.
func (s *session) keys(ctx context.Context) error {
	if s.Queries.Committee == nil {
		return nil
	}
	s.signer.Store(s)
	defer s.signer.CompareAndSwap(s, nil)
	k := &keyring{session: s, repairs: map[string]*playback{}, busy: map[string]bool{}}
	defer k.posts.Wait()
	for failures := 0; ; {
		next := s.heads.latest() + 1
		if err := k.look(ctx); err == nil {
			failures = 0
		} else if failures++; failures == patience && ctx.Err() == nil {
			s.Log.Warn("the enclave's part in the network's key is not done", told(err)...)
		}
		if _, err := s.heads.wait(ctx, next); err != nil {
			return nil
		}
	}
}

// Partial asks the enclave for its partial signatures of heights in an epoch, one for each. It waits for the block before the highest,
// and for the epoch's charge, until ctx ends.
func (w *Worker) Partial(ctx context.Context, epoch uint64, heights []int64) (partials [][]byte, err error) {
	result := "refused"
	defer func() { w.Metrics.partials.WithLabelValues(result).Add(float64(len(heights))) }()
	s := w.signer.Load()
	if s == nil {
		return nil, errNoKeys
	}
	if len(heights) == 0 {
		return nil, nil
	}
	if _, err := s.heads.wait(ctx, slices.Max(heights)-1); err != nil {
		result = "late"
		return nil, fmt.Errorf("block %d is not here yet: %w", slices.Max(heights)-1, err)
	}
	for {
		settled := s.settled.next()
		var reply wire.SignReply
		err := s.enc.Call(ctx, &wire.Sign{Purpose: keyPurpose, Epoch: epoch, Heights: heights}, &reply)
		if err == nil && len(reply.Partials) != len(heights) {
			err = fmt.Errorf("%d partial signatures of %d heights", len(reply.Partials), len(heights))
		}
		if err == nil {
			result = "signed"
			return reply.Partials, nil
		}
		var refusal *wire.Error
		if !errors.As(err, &refusal) || s.epoch.Load() >= epoch {
			return nil, err
		}
		select { // the enclave is to hear of the charge
		case <-settled:
		case <-ctx.Done():
			return nil, errors.Join(err, ctx.Err())
		}
	}
}

func (k *keyring) look(ctx context.Context) error {
	at := k.heads.latest() - 1 // the newest state that can be proven to the enclave
	err := errors.Join(k.settle(ctx, at), k.perform(ctx, at), k.mend(ctx, at))
	k.ask(ctx, at)
	return err
}

// settle shows the enclave who is in charge.
func (k *keyring) settle(ctx context.Context, at int64) error {
	p, err := k.prove(ctx, threshold.StoreName, threshold.ChargeKey(keyPurpose), at)
	if err != nil || len(p.Value) == 0 {
		return err
	}
	complete := !k.standing.Member || k.standing.Holds && k.standing.Ready
	if bytes.Equal(p.Value, k.shown) && complete {
		return nil
	}
	charge, err := threshold.UnmarshalCharge(p.Value)
	if err != nil {
		return err
	}
	m := wire.Settle{Purpose: keyPurpose, Charge: p}
	if charge.Group != k.charge.Group {
		if m.Group, err = k.group(client.AtHeight(ctx, at), charge.Group); err != nil {
			return err
		}
	}
	var reply wire.SettleReply
	if err := k.call(&m, &reply); err != nil {
		return fmt.Errorf("the enclave refuses the charge of epoch %d: %w", charge.Epoch, err)
	}
	if charge.Epoch != k.charge.Epoch || charge.Confirmed != k.charge.Confirmed || reply != k.standing {
		k.Log.Info("the network's key", "epoch", charge.Epoch, "from", charge.From, "confirmed", charge.Confirmed, "member", reply.Member,
			"shares", reply.Holds, "ready", reply.Ready)
	}
	k.shown, k.charge, k.standing = p.Value, charge, reply
	k.epoch.Store(charge.Epoch)
	k.settled.pulse()
	if !reply.Member || reply.Holds && reply.Ready || !charge.Confirmed {
		k.lacking = 0
	} else if k.lacking == 0 {
		k.lacking = at
	}
	return nil
}

// group is the encoding of a group that a charge names.
func (k *keyring) group(ctx context.Context, hash [32]byte) ([]byte, error) {
	r, err := k.Queries.Committee.Charge(ctx, &committee.QueryChargeRequest{Purpose: keyPurpose})
	if err != nil {
		return nil, err
	}
	for _, c := range []*committee.Charge{r.Charge, r.Before} {
		if c != nil && sha256.Sum256(c.Group) == hash {
			return c.Group, nil
		}
	}
	return nil, errors.New("the chain shows another group than the one in charge: it has just changed")
}

// perform does this node's part in the ceremony.
func (k *keyring) perform(ctx context.Context, at int64) error {
	c := &k.ceremony
	if at < c.pause {
		return nil
	}
	p, t, err := k.transcript(ctx, threshold.TranscriptKey(keyPurpose), at)
	if err != nil || len(p.Value) == 0 || (c.idle || c.over) && t == c.last {
		return err
	}
	from := c.count
	if c.idle {
		from = t.Count
	}
	r, err := k.Queries.Committee.Ceremony(ctx, &committee.QueryCeremonyRequest{Purpose: keyPurpose, From: from})
	if err != nil || r.Ceremony == nil {
		return err
	}
	setup := r.Ceremony.Setup
	if id := fmt.Sprintf("%d/%d", setup.Epoch, setup.Attempt); c.id != id {
		if err := k.begin(setup, id); err != nil {
			return k.refused(c, at, err)
		}
		r.Entries = nil
	}
	if c.last = t; c.idle {
		return nil
	}
	if err := c.replay(t.Count, r.Entries, func(from uint64) ([]committee.Entry, error) {
		r, err := k.Queries.Committee.Ceremony(ctx, &committee.QueryCeremonyRequest{Purpose: keyPurpose, From: from})
		if err != nil {
			return nil, err
		}
		return r.Entries, nil
	}, func(entries []wire.Entry) error {
		return k.call(&wire.CeremonyFeed{Purpose: keyPurpose, Entries: entries}, new(wire.FeedReply))
	}); err != nil {
		return k.refused(c, at, err)
	}
	var reply wire.ActReply
	if err := k.call(&wire.CeremonyAct{Purpose: keyPurpose, Transcript: p}, &reply); err != nil {
		return k.refused(c, at, err)
	}
	if k.end(c, reply) {
		k.Metrics.ceremonies.WithLabelValues(result(reply.Phase)).Inc()
		k.Log.Info("a ceremony of the network's key has ended", "ceremony", c.id, "result", result(reply.Phase))
	}
	k.tell(ctx, "ceremony", c, k.atOnce(setup, reply.Phase), reply.Messages, func(messages []committee.Signed) sdk.Msg {
		return &committee.MsgPost{Member: k.Address, Purpose: keyPurpose, Messages: messages}
	})
	return nil
}

// atOnce is how many messages of a ceremony's phase fit into a transaction.
func (k *keyring) atOnce(setup committee.Setup, phase uint8) int {
	shares := 0
	for _, s := range setup.Seats {
		if s.Account == k.Address {
			shares = int(s.Shares)
		}
	}
	return threshold.Posted(threshold.Phase(phase), int(setup.Threshold), shares)
}

// begin begins the replay of a ceremony, if this node has a part in it: a seat, or shares that are handed on.
func (k *keyring) begin(setup committee.Setup, id string) error {
	k.ceremony = playback{id: id}
	m := wire.CeremonyBegin{Purpose: keyPurpose, Epoch: setup.Epoch, Attempt: setup.Attempt, Threshold: uint16(setup.Threshold)}
	mine := false
	for _, s := range setup.Seats {
		account, err := client.DecodeAddress(s.Account)
		if err != nil {
			return err
		}
		m.Seats = append(m.Seats, wire.Seat{Account: account, Shares: uint16(s.Shares)})
		mine = mine || account == k.Account
	}
	if len(setup.Old) > 0 {
		old, err := threshold.UnmarshalGroup(setup.Old)
		if err != nil {
			return err
		}
		m.Handover, m.OldEpoch, m.OldAttempt = true, old.ID.Epoch, old.ID.Attempt
		mine = mine || slices.ContainsFunc(old.Seats, func(s threshold.Seat) bool { return s.Account == k.Account })
	}
	if !mine {
		k.ceremony.idle = true
		return nil
	}
	return k.call(&m, &wire.Empty{})
}

// mend does this node's part in repairs: its own, and those in which it is asked to help.
func (k *keyring) mend(ctx context.Context, at int64) error {
	if !k.standing.Member {
		return nil
	}
	r, err := k.Queries.Committee.Repairs(ctx, &committee.QueryRepairsRequest{Purpose: keyPurpose})
	if err != nil {
		return err
	}
	going := map[string]*playback{}
	var all error
	for _, repair := range r.Repairs {
		own := repair.Account == k.Address
		if repair.Epoch != k.charge.Epoch || !own && !slices.Contains(repair.Helpers, uint32(k.standing.Seat)) {
			continue
		}
		c := k.repairs[repair.Account]
		if c == nil {
			c = new(playback)
		}
		going[repair.Account] = c
		if err := k.repair(ctx, at, c, repair); err != nil {
			all = errors.Join(all, fmt.Errorf("repair of %s: %w", repair.Account, err))
		}
	}
	k.repairs = going
	return all
}

func (k *keyring) repair(ctx context.Context, at int64, c *playback, repair committee.Repair) error {
	if at < c.pause {
		return nil
	}
	account, err := client.DecodeAddress(repair.Account)
	if err != nil {
		return err
	}
	p, t, err := k.transcript(ctx, threshold.RepairKey(keyPurpose, account), at)
	if err != nil || len(p.Value) == 0 || c.over && t == c.last {
		return err
	}
	c.last = t
	if id := fmt.Sprintf("%d/%d", repair.Epoch, repair.Attempt); c.id != id {
		*c = playback{id: id, last: t}
		if err := k.call(&wire.RepairBegin{Purpose: keyPurpose, Account: account, Attempt: repair.Attempt, Seat: uint16(repair.Seat),
			Helpers: repair.Helpers}, &wire.Empty{}); err != nil {
			return k.refused(c, at, err)
		}
	}
	if err := c.replay(t.Count, nil, func(from uint64) ([]committee.Entry, error) {
		r, err := k.Queries.Committee.Repair(ctx, &committee.QueryRepairRequest{Purpose: keyPurpose, Account: repair.Account, From: from})
		if err != nil {
			return nil, err
		}
		return r.Entries, nil
	}, func(entries []wire.Entry) error {
		return k.call(&wire.RepairFeed{Purpose: keyPurpose, Account: account, Entries: entries}, new(wire.FeedReply))
	}); err != nil {
		return k.refused(c, at, err)
	}
	var reply wire.ActReply
	if err := k.call(&wire.RepairAct{Purpose: keyPurpose, Account: account, Transcript: p}, &reply); err != nil {
		return k.refused(c, at, err)
	}
	if k.end(c, reply) {
		k.Metrics.ceremonies.WithLabelValues("repair_" + result(reply.Phase)).Inc()
		k.Log.Info("a repair of shares has ended", "of", repair.Account, "attempt", repair.Attempt, "result", result(reply.Phase))
	}
	// One at once: of several complaints the first ends the repair.
	k.tell(ctx, repair.Account, c, 1, reply.Messages, func(messages []committee.Signed) sdk.Msg {
		return &committee.MsgPostRepair{Member: k.Address, Purpose: keyPurpose, Account: repair.Account, Messages: messages}
	})
	return nil
}

// ask asks for the repair of shares that this node's enclave lacks for a while, unless one goes on. Shares that the chain does not know
// of have longer: their keys may be on the way.
func (k *keyring) ask(ctx context.Context, at int64) {
	wait := int64(askAfter)
	if k.standing.Holds {
		wait = askEvery
	}
	own := k.repairs[k.Address]
	if k.lacking == 0 || at < k.lacking+wait || k.asked > 0 && at < k.asked+askEvery || own != nil && !own.ended {
		return
	}
	k.asked = at
	k.send(ctx, "ask", &committee.MsgAskRepair{Member: k.Address, Purpose: keyPurpose, Epoch: k.charge.Epoch})
}

// transcript is the proven one under a key, the zero value if there is none.
func (k *keyring) transcript(ctx context.Context, key []byte, at int64) (wire.Proof, threshold.Transcript, error) {
	p, err := k.prove(ctx, threshold.StoreName, key, at)
	if err != nil || len(p.Value) == 0 {
		return p, threshold.Transcript{}, err
	}
	t, err := threshold.UnmarshalTranscript(p.Value)
	return p, t, err
}

// refused has a replay begin anew, a few blocks later, if it is not the chain's. One that was only held up goes on where it is.
func (k *keyring) refused(c *playback, at int64, err error) error {
	var refusal *wire.Error
	if errors.As(err, &refusal) || errors.Is(err, errReplaced) {
		*c = playback{pause: at + keyAgain}
	}
	return err
}

// end notes whether it is over, and says whether it has ended just now.
func (k *keyring) end(c *playback, reply wire.ActReply) bool {
	if threshold.Phase(reply.Phase) < threshold.PhaseDone {
		return false
	}
	was := c.ended
	c.ended = true
	// What is said after the end are the keys of shares that came late. The chain takes them while it does not know of these shares.
	c.over = len(reply.Messages) == 0 || !k.standing.Member || k.standing.Ready
	return !was
}

func result(phase uint8) string {
	if threshold.Phase(phase) == threshold.PhaseDone {
		return "done"
	}
	return "failed"
}

// tell posts messages of a ceremony or repair, in each transaction no more of them, and of their bytes, than fit. What the chain did not take the
// enclave says again.
func (k *keyring) tell(ctx context.Context, about string, c *playback, atOnce int, statements []wire.Statement, message func([]committee.Signed) sdk.Msg) {
	if len(statements) == 0 || c.over || c.ended && !k.standing.Holds {
		return
	}
	var msgs []sdk.Msg
	for len(statements) > 0 {
		var part []committee.Signed
		size := 0
		for _, s := range statements {
			if size += len(s.Message); len(part) > 0 && (size > threshold.MaxPostedBytes || len(part) == atOnce) {
				break
			}
			part = append(part, committee.Signed{Message: s.Message, Signature: s.Sig[:]})
		}
		msgs, statements = append(msgs, message(part)), statements[len(part):]
	}
	k.send(ctx, about, msgs...)
}

// send posts messages one after the other, each in its transaction, while the session goes on: the enclave must hear of a new charge
// however long a transaction takes. Nothing is sent about what is being posted already.
func (k *keyring) send(ctx context.Context, about string, msgs ...sdk.Msg) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.busy[about] {
		return
	}
	k.busy[about] = true
	k.posts.Go(func() {
		defer func() {
			k.mu.Lock()
			defer k.mu.Unlock()
			delete(k.busy, about)
		}()
		for _, m := range msgs {
			if _, err := k.Poster.Post(ctx, m); err != nil {
				if ctx.Err() == nil {
					k.Log.Info("the chain did not take a message about the network's key", told(err, "message", sdk.MsgTypeURL(m))...)
				}
				return
			}
		}
	})
}
