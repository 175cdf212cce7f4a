package beacon

// Voter is a validator of a height: who votes, with which key, and what stands behind it.
type Voter struct {
	Operator  [20]byte // account, which has the seat in the group
	Consensus [20]byte // address
	Key       [32]byte // ed25519, signs votes and vote extensions
	Stake     uint64   // ucella of effective stake
}
