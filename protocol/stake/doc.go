// Package stake holds Crust's guaranteed proof of stake: how much stake proven storage lets count, who is elected for an era, how power
// moves from one era's validators to the next, who is paid, slashed and let go. Every rule is a pure function from what was stored to
// what is stored next; whoever keeps the coins moves them as it says.
//
// A node's limit, at the end of each era (Prove):
//
//	bytes proven all era long                then the limit is               and the debt
//	at least 1-1/DecayEras of the base       what they allow; also the base  falls by 1
//	less, or none: an era late               (table below)                   grows by RegainEras
//
//	debt / RegainEras                  limit in a late era
//	up to GraceEras                    the base
//	d more than that                   base * (DecayEras-d) / DecayEras, but what is proven at the least, which is then the base
//	GraceEras + DecayEras              what is proven
//
// A node's coins:
//
//	state     begins with                         counts for power and pay    slashable  ends with
//	bonded    Bond, while own and guaranteed      min(own+guaranteed, limit)  yes        Unbond
//	          stay within the limit               over all of the node
//	waiting   Unbond                              no                          yes        Advance: the power in force no longer rests on it
//	maturing  Advance                             no                          yes        Advance, UnbondEras later: free
//
// The set of validators:
//
//	given                                    then the set in force (Handover)
//	nothing moves                            stays
//	a member is jailed, as all are that are  goes on without it, at once
//	slashed
//	a next set, its resharing complete,      is the next set
//	gains and losses below 1/3 each
//	a next set, not reshared                 stays: ErrReshare
//	a next set, 1/3 gained or lost           stays: ErrMoved
//
// Toward gives the next set: as near to the elected ones as 1/3 allows. Elect takes the Seats strongest nodes by effective stake.
//
// An era's pay (Reward), everything rounded down and what is left over carried to the next era's pool:
//
//	AuthorShare of the pool  to authors, by blocks               the operator's alone
//	fees                     to the author of their block        the operator's alone
//	the rest of the pool     to all elected and candidates by    own : guaranteed; of the latter Cut to the operator,
//	                         effective stake                     the rest to guarantors by their coins (Split)
//
// Coins above the limit earn nothing, and all coins of the node bear that alike: its operator, on whom the storage depends, as well as
// its guarantors.
package stake
