package storageproof

import "crypto/sha256"

// LeafHash and NodeHash separate leaves from inner nodes, as RFC 6962 does.
func LeafHash(p []byte) [32]byte {
	h := sha256.New()
	h.Write([]byte{0})
	h.Write(p)
	return [32]byte(h.Sum(nil))
}

// NodeHash joins two children.
func NodeHash(l, r [32]byte) [32]byte {
	var b [65]byte
	b[0] = 1
	copy(b[1:], l[:])
	copy(b[33:], r[:])
	return sha256.Sum256(b[:])
}

// MerkleRoot folds leaves pairwise; an odd one moves up unchanged. No leaves give the hash of nothing. It uses leaves as
// its workspace.
func MerkleRoot(leaves [][32]byte) [32]byte {
	if len(leaves) == 0 {
		return sha256.Sum256(nil)
	}
	for n := len(leaves); n > 1; n = (n + 1) / 2 {
		for i := 0; i < n/2; i++ {
			leaves[i] = NodeHash(leaves[2*i], leaves[2*i+1])
		}
		if n%2 == 1 {
			leaves[n/2] = leaves[n-1]
		}
	}
	return leaves[0]
}

// MerklePath returns the hashes beside the way from leaf i to the root, lowest first; a node that moves up alone has none.
// It leaves its argument as it is.
func MerklePath(leaves [][32]byte, i int) [][32]byte {
	var path [][32]byte
	level := append([][32]byte(nil), leaves...)
	for n := len(level); n > 1; n = (n + 1) / 2 {
		if beside := i ^ 1; beside < n {
			path = append(path, level[beside])
		}
		for k := 0; k < n/2; k++ {
			level[k] = NodeHash(level[2*k], level[2*k+1])
		}
		if n%2 == 1 {
			level[n/2] = level[n-1]
		}
		i /= 2
	}
	return path
}

// foldPath walks from leaf i of n up to the root. The path is raw hashes of 32 bytes each; one too few or too many fails.
func foldPath(leaf [32]byte, i, n int, path []byte) ([32]byte, bool) {
	node := leaf
	for ; n > 1; n = (n + 1) / 2 {
		if i^1 < n {
			if len(path) < sha256.Size {
				return node, false
			}
			beside := [32]byte(path[:sha256.Size])
			path = path[sha256.Size:]
			if i%2 == 0 {
				node = NodeHash(node, beside)
			} else {
				node = NodeHash(beside, node)
			}
		}
		i /= 2
	}
	return node, len(path) == 0
}
