// Package content is IPFS over a blockstore: it serves blocks by bitswap, finds and announces roots in the DHT, fetches a DAG
// block by block, and turns files into DAGs and back. It opens no sector file and knows nothing of chain or enclave;
// what it serves is whatever the blockstore hands out.
//
// # Import profile cella-v1
//
// A root is a function of names and bytes alone. The profile equals kubo's unixfs-v1-2025 (IPIP-499), so an unmodified kubo
// with that profile gives the same CID, and changing any line of it needs a new name:
//
//	CID               version 1, sha2-256, dag-pb for nodes
//	file              1 MiB chunks (size-1048576), raw leaves, balanced, at most 1024 links a node
//	small file        a file of at most 1 MiB is a single raw block; the empty file is the empty raw block
//	directory         one dag-pb node while its encoding takes at most 256 KiB (counted block-bytes), beyond that a
//	                  HAMT of fanout 256 over murmur3
//	symlink           a UnixFS symlink with its target as it stands; never followed, except the path given to Import itself
//	hidden files      included
//	modes, times      not stored; Export gives what the umask says and the present
//	names             byte for byte as the file system has them, also when they aren't UTF-8; kubo does the same, but
//	                  readers that want UTF-8 may show such a name changed
//	device, fifo,     refused with an error that names the path
//	socket
//	one file          its own root, without a directory around it
//
// # Who stores what
//
// Bitswap writes nothing: a block that nobody asked for is dropped, and one that Fetch asked for goes to FetchOptions.Visit,
// which alone decides whether and where it is stored. Quotas are therefore the caller's, and hard.
package content
