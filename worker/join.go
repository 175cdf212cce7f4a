package worker

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"

	"github.com/cosmos/cosmos-sdk/types/query"
	"github.com/libp2p/go-libp2p/core/peer"

	"github.com/cella-network/cella/api/attest"
	"github.com/cella-network/cella/client"
	"github.com/cella-network/cella/enclave/wire"
	"github.com/cella-network/cella/protocol/attestation"
	"github.com/cella-network/cella/worker/disk"
)

const (
	maxAddrs    = 16  // addresses that the chain takes of a node
	maxAddr     = 256 // bytes of one
	addrsEvery  = 120 // blocks between looks at whether they changed
	joinPatient = 20  // blocks without progress after which the operator is told
	joinPause   = 3   // blocks between attempts after a failure
	company     = 8   // peers that are enough to be found
)

// registration is how the chain knows this session's enclave.
type registration struct {
	mu    sync.Mutex
	key   [32]byte // the enclave's signing key
	node  attestation.Node
	known bool
}

func (r *registration) set(n attestation.Node) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.node, r.known = n, true
}

// since is the height of the registration, expires its end.
func (r *registration) since() int64 {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.node.Joined
}

func (r *registration) get() (attestation.Node, bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.node, r.known
}

// attempt is one announced R.
type attempt struct {
	r    attestation.Registration
	raw  []byte
	hash [32]byte
	sigM [64]byte

	height int64 // of the block that took the announcement
	asked  int64 // head at the last try with the endorser
}

// join brings the enclave's keys on chain and returns when they are registered.
func (s *session) join(ctx context.Context) error {
	if err := s.stayAway(ctx); err != nil {
		return err
	}
	return s.enroll(ctx, 0)
}

// stayAway keeps a node that was drained and has left from joining again, for as long as the operator wants it so.
func (s *session) stayAway(ctx context.Context) error {
	for said := false; disk.MarkDraining.Stands(s.Dir); said = true {
		if p, err := s.Chain.Value(ctx, attestation.StoreName, attestation.NodeKey(s.Account), 0); err == nil && len(p.Value) > 0 {
			return nil // it goes on proving until its successors have
		}
		if !said {
			s.Log.Info("this node was drained and has left; it does not join again", "hint", "stop it, or take it back with cella node drain --cancel")
		}
		if _, err := s.heads.wait(ctx, s.heads.latest()+1); err != nil {
			return err
		}
	}
	return nil
}

// enroll returns once the enclave is registered later than a height. It keeps trying: what the chain refuses now (no stake, no place)
// may be mended meanwhile by the operator or by time.
func (s *session) enroll(ctx context.Context, after int64) error {
	var a *attempt
	var said int64 // height of the last complaint
	began := s.heads.latest()
	for {
		head, err := s.heads.wait(ctx, s.heads.latest())
		if err != nil {
			return err
		}
		if done, err := s.enrolled(ctx, after); done || ctx.Err() != nil {
			return errors.Join(err, ctx.Err())
		}
		err = s.step(ctx, &a, head)
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if err != nil && (said == 0 || head-said >= joinPatient) {
			said = head
			s.Log.Warn("not registered yet; trying again", told(err, "since_block", began)...)
		}
		next := head + 1
		if err != nil {
			next = head + joinPause
		}
		if _, err := s.heads.wait(ctx, next); err != nil {
			return err
		}
	}
}

// enrolled looks whether the chain knows this enclave's key.
func (s *session) enrolled(ctx context.Context, after int64) (bool, error) {
	p, err := s.Chain.Value(ctx, attestation.StoreName, attestation.NodeKey(s.Account), 0)
	if err != nil || len(p.Value) == 0 {
		return false, err
	}
	n, err := attestation.UnmarshalNode(p.Value)
	if err != nil || n.SignKey != s.joined.key || n.Joined <= after || n.Expires <= s.heads.latest() {
		return false, err
	}
	s.joined.set(n)
	s.space.restrict(s.Config.Disk.Sectors, s.terms.provable(n.Tier))
	s.changed.pulse()
	s.Metrics.expires.Set(float64(n.Expires))
	s.Log.Info("registered", "height", n.Joined, "expires", n.Expires, "tier", n.Tier)
	return true, nil
}

// step moves an enrolment on by what the chain's record of the intent allows.
func (s *session) step(ctx context.Context, a **attempt, head int64) error {
	intent, err := s.intent(ctx, s.Account)
	if err != nil {
		return err
	}
	// Another registration's intent is of an earlier session. Evidence that grows old would be refused at the end.
	if intent == nil || *a == nil || intent.Registration != (*a).hash || head-(*a).r.Trust.Height > s.terms.trust/2 {
		if *a, err = s.announce(ctx); err != nil {
			*a = nil
		}
		return err
	}
	if intent.Endorser == (attestation.Account{}) {
		return nil // drawn at the next block
	}
	if (*a).asked > intent.Drawn && head < (*a).asked+3 {
		return nil // the endorser was just asked; it may be short of a block
	}
	(*a).asked = head
	endorser, err := client.EncodeAddress(intent.Endorser[:])
	if err != nil {
		return err
	}
	ectx, cancel := context.WithTimeout(ctx, exchangeTime)
	defer cancel()
	sigV, sigMV, err := s.askEndorser(ectx, **a, *intent, endorser)
	if err != nil {
		return fmt.Errorf("endorser %s: %w", endorser, err)
	}
	_, err = s.Poster.Post(ctx, &attest.MsgRegister{Operator: s.Address, Registration: (*a).raw, SigM: (*a).sigM[:],
		Endorser: endorser, SigV: sigV[:], SigMv: sigMV[:]})
	return err
}

// announce makes fresh evidence and pays for joining. Below the minimum of endorsers this registers at once.
func (s *session) announce(ctx context.Context) (*attempt, error) {
	var reply wire.RegisterReply
	if err := s.call(&wire.Register{}, &reply); err != nil {
		return nil, err
	}
	r, err := attestation.UnmarshalRegistration(reply.Registration)
	if err != nil {
		return nil, err
	}
	res, err := s.Poster.Post(ctx, &attest.MsgAnnounce{Operator: s.Address, Registration: reply.Registration, SigM: reply.SigM[:], Addrs: s.addrs()})
	if err != nil {
		return nil, err
	}
	return &attempt{r: r, raw: reply.Registration, hash: r.Hash(), sigM: reply.SigM, height: res.Height}, nil
}

// intent reads the pending intent of an account from the latest state; nil if there is none.
func (s *session) intent(ctx context.Context, of attestation.Account) (*attestation.Intent, error) {
	p, err := s.Chain.Value(ctx, attestation.StoreName, attestation.IntentKey(of), 0)
	if err != nil || len(p.Value) == 0 {
		return nil, err
	}
	i, err := attestation.UnmarshalIntent(p.Value)
	return &i, err
}

// addrs are the node's addresses as far as the chain takes them.
func (s *session) addrs() []string {
	all := slices.DeleteFunc(s.Content.Addrs(), func(a string) bool { return len(a) > maxAddr })
	return all[:min(len(all), maxAddrs)]
}

// keepJoined renews the registration before it ends and keeps the addresses on chain true.
func (s *session) keepJoined(ctx context.Context) error {
	look := s.heads.latest()
	for {
		node, _ := s.joined.get()
		renewAt := node.Expires - max((node.Expires-node.Joined)/5, 1)
		head, err := s.heads.wait(ctx, min(renewAt, look))
		if err != nil {
			return nil
		}
		if head >= renewAt {
			if err := s.stayAway(ctx); err != nil {
				return nil
			}
			s.Log.Info("renewing the registration", "expires", node.Expires)
			if err := s.enroll(ctx, node.Joined); err != nil {
				return nil
			}
			continue
		}
		s.meet(ctx)
		if err := s.postAddrs(ctx); err != nil && ctx.Err() == nil {
			s.Log.Warn("addresses on chain not updated", "err", err)
		}
		look = head + addrsEvery
	}
}

// meet connects to a few other nodes by their addresses on chain, which is how a new node comes into the DHT.
func (s *session) meet(ctx context.Context) {
	h := s.Content.Host()
	if len(h.Network().Peers()) >= company {
		return
	}
	r, err := s.Queries.Attest.Nodes(ctx, &attest.QueryNodesRequest{Pagination: &query.PageRequest{Limit: 4 * company}})
	if err != nil {
		return
	}
	rand.Shuffle(len(r.Nodes), func(i, j int) { r.Nodes[i], r.Nodes[j] = r.Nodes[j], r.Nodes[i] })
	ctx, cancel := context.WithTimeout(ctx, exchangeTime)
	defer cancel()
	var dials sync.WaitGroup
	for _, n := range r.Nodes[:min(len(r.Nodes), company)] {
		if n.Operator == s.Address {
			continue
		}
		for _, a := range n.Addrs {
			if info, err := peer.AddrInfoFromString(a); err == nil {
				dials.Go(func() { _ = h.Connect(ctx, *info) }) // whoever is away is met another time
			}
		}
	}
	dials.Wait()
}

func (s *session) postAddrs(ctx context.Context) error {
	r, err := s.Queries.Attest.Node(ctx, &attest.QueryNodeRequest{Operator: s.Address})
	if err != nil {
		return err
	}
	mine := s.addrs()
	if len(mine) == 0 || slices.Equal(sorted(mine), sorted(r.Node.Addrs)) {
		return nil
	}
	_, err = s.Poster.Post(ctx, &attest.MsgSetAddrs{Operator: s.Address, Addrs: mine})
	return err
}

func sorted(in []string) []string { return slices.Sorted(slices.Values(in)) }

// told are an error's attributes in the log: itself, and the advice that it carries, if any.
func told(err error, more ...any) []any {
	out := append(more, "err", err)
	var e *client.Error
	for cause := err; errors.As(cause, &e); cause = e.Cause {
		if e.Hint != "" {
			return append(out, "hint", e.Hint)
		}
	}
	return out
}
