package lightclient

import (
	"crypto/sha256"
	"fmt"

	ics23 "github.com/cosmos/ics23/go"
)

const (
	maxStoreProof = 512 << 10 // bytes; it carries the value, or the two beside an absent key
	maxRootProof  = 16 << 10  // bytes
	maxStoreName  = 64        // bytes
	maxKey        = 1 << 10   // bytes
	maxDepth      = 64        // steps from a leaf to the root; an AVL tree of 2^40 leaves is lower
)

// emptyTree is the root of a store without keys.
var emptyTree = sha256.Sum256(nil)

// Proof leads from a value to an app hash, each step in the encoding of an ics23 CommitmentProof.
type Proof struct {
	Store []byte // the value, or its absence, in the IAVL tree of its store
	Root  []byte // the store's root in the app hash
}

// VerifyValue checks that key of store holds value in the state whose root is appHash; an empty value says that the key is
// absent. Only plain proofs of one key are taken: no batches, nothing compressed. Errors are ErrMalformed and ErrProof.
func VerifyValue(appHash []byte, store string, key, value []byte, proof Proof) error {
	if len(appHash) != hashSize || len(store) == 0 || len(store) > maxStoreName || len(key) == 0 || len(key) > maxKey {
		return fmt.Errorf("%w: app hash, store name or key out of bounds", ErrMalformed)
	}
	var inRoot, inStore ics23.CommitmentProof
	if err := decode(proof.Root, maxRootProof, &inRoot); err != nil {
		return fmt.Errorf("root proof: %w", err)
	}
	if err := decode(proof.Store, maxStoreProof, &inStore); err != nil {
		return fmt.Errorf("store proof: %w", err)
	}
	// From the top down, so that the second proof is only read against a root that the first one proved.
	exist := inRoot.GetExist()
	if !shaped(exist, ics23.TendermintSpec) || len(exist.Leaf.Prefix) != 1 || len(exist.Value) != hashSize {
		return fmt.Errorf("%w: shape of the root proof", ErrMalformed)
	}
	root := exist.Value
	if err := exist.Verify(ics23.TendermintSpec, appHash, []byte(store), root); err != nil {
		return fmt.Errorf("%w: store in app hash: %w", ErrProof, err)
	}
	if len(value) > 0 {
		exist := inStore.GetExist()
		if !shaped(exist, ics23.IavlSpec) {
			return fmt.Errorf("%w: shape of the store proof", ErrMalformed)
		}
		if err := exist.Verify(ics23.IavlSpec, root, key, value); err != nil {
			return fmt.Errorf("%w: value: %w", ErrProof, err)
		}
		return nil
	}
	absent := inStore.GetNonexist()
	if absent == nil || absent.Left != nil && !shaped(absent.Left, ics23.IavlSpec) ||
		absent.Right != nil && !shaped(absent.Right, ics23.IavlSpec) {
		return fmt.Errorf("%w: shape of the absence proof", ErrMalformed)
	}
	if [32]byte(root) == emptyTree {
		return nil // no key is there, and none can stand as a neighbour
	}
	if err := absent.Verify(ics23.IavlSpec, root, key); err != nil {
		return fmt.Errorf("%w: absence: %w", ErrProof, err)
	}
	return nil
}

// shaped says that a proof is one that a binary tree of the spec can give: each step has its sibling wholly to the left or
// wholly to the right. ics23 takes the same for granted when it compares neighbours, and panics where it is not so.
func shaped(p *ics23.ExistenceProof, spec *ics23.ProofSpec) bool {
	if p == nil || p.Leaf == nil || len(p.Path) > maxDepth {
		return false
	}
	low, high, child := int(spec.InnerSpec.MinPrefixLength), int(spec.InnerSpec.MaxPrefixLength), int(spec.InnerSpec.ChildSize)
	for _, op := range p.Path {
		if op == nil {
			return false
		}
		prefix := len(op.Prefix)
		left := prefix >= low && prefix <= high && len(op.Suffix) == child
		right := prefix >= low+child && prefix <= high+child && len(op.Suffix) == 0
		if !left && !right {
			return false
		}
	}
	return true
}
