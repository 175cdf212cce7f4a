// Package coding spreads a file over K+M shards of which any K restore it, by systematic Reed-Solomon over groups of its blocks. The
// file's own blocks keep their CIDs, so whoever knows nothing of codes reads it as before. The package computes and checks; it takes
// blocks from a store or through a function, and opens no connection. docs/protocol/coding.md is the format for other readers.
//
//	leaves    the file's distinct raw blocks that aren't empty, the longest first, those of one length as the DAG names them
//	group     K leaves after one another, the last group maybe fewer, and M parity blocks as long as the group's longest leaf;
//	          a shorter leaf is read as if zeros followed it, a missing one as zeros
//	shard     of each group the block at position (shard - group) mod (K+M): every shard has its part of the parity
//	manifest  dag-cbor: of every group the lengths of the leaves and the CIDs of leaves and parity
//	index     the manifest's blocks and the file's inner blocks, all of them raw blocks so that nobody walks from them into leaves
//	          that lie elsewhere. A store that holds the bytes answers for their proper CIDs too
//
// What is ordered for shard S is one DAG of dag-pb nodes without UnixFS:
//
//	root: data = 1, S   --"index"--> balanced tree, at most 1024 links a node, over manifest, its parts, inner blocks
//	                    --"shard"--> balanced tree over the shard's blocks, groups in order
//
// The index is thus in every shard: one reachable holder tells the rest. It is about a ten-thousandth of a large file.
// Everything follows from the file's root, K, M and the leaves; two runs give the same bytes.
package coding
