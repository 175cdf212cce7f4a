// Package beacon holds the rules of the heights' random numbers: what validators put beside their votes, what a block carries of it,
// which numbers are missing, and the chain of seeds that all draws take (TCP 4.1).
//
// Each height goes one of three ways to its seed. Block h here is the one of that height.
//
//	when block h is executed            then                                        its seed
//	no group was ever in charge         nothing is waited for                       BlockSeed(h, hash of block h)
//	a group is in charge                missing; block h+1 or any later one         its number, once all heights before have seeds
//	                                    carries the number
//	                                    still missing when a group with another     BlockSeed(h, hash of the block in which that group
//	                                    key takes over: void                        took over), once all heights before have seeds
//
//	votes for h     Extension: partial signatures of h and of up to two heights that are long missing
//	block h+1       Carried: at most four signatures, first of all that of h
//	each block      Numbers.Begin (which group), Arrive (each number), End (the block's own height; Tip grows, in the order of heights)
//
// A block that leaves out the number of the height before although those who voted for it could make it has omitted it (CanMake): its
// proposer is out of the fallback draw. Nothing is bounded by giving up: any number of heights may be missing for any time. A block
// moves the tip by at most maxSteps heights and checks at most MaxCarried signatures, whatever is missing.
package beacon
