package content

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/ipfs/go-cid"
)

const (
	provideEvery = 22 * time.Hour // a record lives 48 hours
	provideRetry = 10 * time.Second
	deniedRetry  = 10 * time.Minute // a list may allow again what it denied
	provideLimit = 2 * time.Minute  // for one announcement
)

// Provide announces in the DHT that this node serves the DAG under root, now and again every 22 hours until Unprovide or Close. An
// error means that the first announcement failed; it is retried meanwhile.
func (n *Node) Provide(ctx context.Context, root cid.Cid) error {
	if err := checkCID(root); err != nil {
		return err
	}
	n.setDue(root, time.Now().Add(provideEvery), true)
	err := n.announce(ctx, root)
	if err != nil {
		n.setDue(root, time.Now().Add(retryAfter(err)), false)
		select {
		case n.wake <- struct{}{}:
		default:
		}
	}
	return err
}

// Unprovide ends the announcements of root; the last one expires by itself.
func (n *Node) Unprovide(root cid.Cid) {
	n.mu.Lock()
	defer n.mu.Unlock()
	delete(n.roots, root)
}

// setDue moves root's next announcement; one that was taken out meanwhile stays out, unless add.
func (n *Node) setDue(root cid.Cid, due time.Time, add bool) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if _, ok := n.roots[root]; ok || add {
		n.roots[root] = due
	}
}

func (n *Node) announce(ctx context.Context, root cid.Cid) error {
	if n.gate != nil && !n.gate.Open() {
		return fmt.Errorf("announce %s: nothing is served yet", root)
	}
	if n.gate != nil && n.gate.Denies(root) {
		return fmt.Errorf("announce %s: %w", root, ErrDenied)
	}
	ctx, cancel := context.WithTimeout(ctx, provideLimit)
	defer cancel()
	if err := n.dht.Provide(ctx, root, true); err != nil {
		return fmt.Errorf("announce %s: %w", root, err)
	}
	return nil
}

func retryAfter(err error) time.Duration {
	if errors.Is(err, ErrDenied) {
		return deniedRetry
	}
	return provideRetry
}

// keepProvided announces one root after the other as they fall due.
func (n *Node) keepProvided(ctx context.Context) {
	for {
		root, wait := n.nextDue()
		select {
		case <-ctx.Done():
			return
		case <-n.wake:
			continue
		case <-time.After(wait):
		}
		if !root.Defined() {
			continue
		}
		next := provideEvery
		if err := n.announce(ctx, root); err != nil {
			next = retryAfter(err)
		}
		n.setDue(root, time.Now().Add(next), false)
	}
}

// nextDue is the root to announce next and how long to wait before; no root, and a while, if there is none.
func (n *Node) nextDue() (root cid.Cid, wait time.Duration) {
	n.mu.Lock()
	defer n.mu.Unlock()
	wait = provideEvery
	for c, due := range n.roots {
		if left := time.Until(due); left < wait {
			root, wait = c, max(left, 0)
		}
	}
	return root, wait
}
