package client

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"

	"github.com/cosmos/cosmos-sdk/types/query"

	"github.com/cella-network/cella/api/market"
	"github.com/cella-network/cella/protocol/attestation"
	"github.com/cella-network/cella/protocol/lightclient"
	"github.com/cella-network/cella/protocol/storageproof"
)

const (
	trustSeconds = 14 * 24 * 3600 // shorter than the 21 days for which stake stays punishable
	keepHeaders  = 512
	headerBatch  = 500 // headers a step; a header takes less than a kilobyte
)

// Verifier reads the chain without believing the node that it asks: it follows headers from a trust root and checks every value
// with a store proof. What it cannot see is whether its node hides newer blocks. It is safe for concurrent use.
type Verifier struct {
	chain *Chain
	mu    sync.Mutex
	light *lightclient.Client
}

// NewVerifier begins at a block that the caller trusts: it knows height and hash from elsewhere.
func NewVerifier(ctx context.Context, chain *Chain, height int64, hash [32]byte) (*Verifier, error) {
	b, err := chain.Block(ctx, height)
	if err != nil {
		return nil, err
	}
	light, err := lightclient.New(chain.ID, height, hash, lightclient.Block{Header: b.Header, Commit: b.Commit, Validators: b.Validators},
		lightclient.Options{TrustingPeriod: trustSeconds, Keep: keepHeaders})
	if err != nil {
		return nil, wrap(KindUnproven, fmt.Sprintf("trust root at %d", height), err)
	}
	return &Verifier{chain: chain, light: light}, nil
}

// Follow moves the verifier's head to a height, waiting for that block where needed. At or above it, it does nothing.
func (v *Verifier) Follow(ctx context.Context, height int64) error {
	if err := v.chain.Wait(ctx, height); err != nil {
		return err
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	for {
		head := v.light.Head().Height
		if head >= height {
			return nil
		}
		headers, err := v.chain.Headers(ctx, head+1, min(height, head+headerBatch))
		if err != nil {
			return err
		}
		reach, err := lightclient.Reach(headers)
		if err != nil {
			return wrap(KindUnproven, fmt.Sprintf("headers from %d on", head+1), err)
		}
		b, err := v.chain.Block(ctx, head+int64(reach))
		if err != nil {
			return err
		}
		if err := v.light.Follow(headers[:reach], b.Commit, b.Validators); err != nil {
			return wrap(KindUnproven, fmt.Sprintf("headers %d to %d", head+1, b.Height), err)
		}
	}
}

// Value reads a key of a store after the block of a height (0: the last) and checks it, for which it waits for one block more: its
// header commits to that state. An empty value is a proven absence. It returns the height that it read.
func (v *Verifier) Value(ctx context.Context, store string, key []byte, height int64) ([]byte, int64, error) {
	if height == 0 {
		now, err := v.chain.Latest(ctx)
		if err != nil {
			return nil, 0, err
		}
		height = now
	}
	if err := v.Follow(ctx, height+1); err != nil {
		return nil, 0, err
	}
	p, err := v.chain.Value(ctx, store, key, height)
	if err != nil {
		return nil, 0, err
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	if err := v.light.Value(height, store, key, p.Value, lightclient.Proof{Store: p.Store, Root: p.Root}); err != nil {
		return nil, 0, wrap(KindUnproven, fmt.Sprintf("value in store %q at %d", store, height), err)
	}
	return p.Value, height, nil
}

// Standing is what the chain proves about an operator's storage, and the height at which it does.
func (v *Verifier) Standing(ctx context.Context, operator [20]byte, height int64) (storageproof.Standing, int64, error) {
	p, at, err := v.Value(ctx, storageproof.StoreName, storageproof.StandingKey(operator), height)
	if err != nil {
		return storageproof.Standing{}, 0, err
	}
	if len(p) == 0 {
		return storageproof.Standing{}, at, &Error{Kind: KindNotFound, What: fmt.Sprintf("the operator has no accepted report at %d", at)}
	}
	st, err := storageproof.UnmarshalStanding(p)
	return st, at, wrap(KindUnproven, "standing", err)
}

// Node is the proven record of an operator's enclave.
func (v *Verifier) Node(ctx context.Context, operator [20]byte, height int64) (attestation.Node, error) {
	p, at, err := v.Value(ctx, attestation.StoreName, attestation.NodeKey(operator), height)
	if err != nil {
		return attestation.Node{}, err
	}
	if len(p) == 0 {
		return attestation.Node{}, &Error{Kind: KindNotFound, What: fmt.Sprintf("the operator has no registered enclave at %d", at)}
	}
	n, err := attestation.UnmarshalNode(p)
	return n, wrap(KindUnproven, "node record", err)
}

// Holds proves that the operator's last accepted report commits to an order for root and size. The list of orders behind that
// commitment comes from the node that is asked, and counts only if it hashes to the proven commitment.
func (v *Verifier) Holds(ctx context.Context, operator [20]byte, order storageproof.OrderRef) (storageproof.Standing, error) {
	st, at, err := v.Standing(ctx, operator, 0)
	if err != nil {
		return storageproof.Standing{}, err
	}
	refs, err := v.chain.heldOrders(ctx, operator, at)
	if err != nil {
		return storageproof.Standing{}, err
	}
	var named bool
	for _, r := range refs {
		named = named || r.ID == order.ID && string(r.Root) == string(order.Root) && r.Size == order.Size
	}
	if !named {
		return st, &Error{Kind: KindUnproven, What: fmt.Sprintf("order %d is not among those that the operator holds at %d", order.ID, at)}
	}
	if storageproof.OrdersRoot(refs) != st.Orders {
		return st, &Error{Kind: KindUnproven, What: fmt.Sprintf("the list of orders of the operator at %d", at), Cause: errors.New("it does not match the proven commitment")}
	}
	return st, nil
}

// heldOrders lists the orders that an operator has proven, in rising order, as the node tells them at a height.
func (c *Chain) heldOrders(ctx context.Context, operator [20]byte, height int64) ([]storageproof.OrderRef, error) {
	addr, err := EncodeAddress(operator[:])
	if err != nil {
		return nil, err
	}
	ctx = AtHeight(ctx, height)
	var refs []storageproof.OrderRef
	var next []byte
	for {
		r, err := c.Market.Replicas(ctx, &market.QueryReplicasRequest{Operator: addr, Pagination: &query.PageRequest{Key: next, Limit: pageLimit}})
		if err != nil {
			return nil, err
		}
		for _, rep := range r.Replicas {
			if !rep.Proven {
				continue
			}
			o, err := c.Market.Order(ctx, &market.QueryOrderRequest{Id: rep.Order})
			if err != nil {
				return nil, err
			}
			refs = append(refs, storageproof.OrderRef{ID: o.Order.Id, Root: o.Order.Root, Size: o.Order.Size_})
		}
		if r.Pagination == nil || len(r.Pagination.NextKey) == 0 {
			break
		}
		next = r.Pagination.NextKey
	}
	slices.SortFunc(refs, func(a, b storageproof.OrderRef) int { return cmp.Compare(a.ID, b.ID) })
	return refs, nil
}
