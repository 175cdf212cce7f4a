// Package lottery turns a height's public randomness into draws: uniform numbers bound to a purpose and a subject, so that
// the same seed drives a node's spot check, the choice of an endorser and the choice of a proposer without one
// draw telling anything about another.
//
//	known                              by                                then
//	number of h, which then is         Signature.Number (threshold)      the seed of h
//	hash of a block, where none comes  BlockSeed(chain, h, hash)         the seed of h
//	seed of h                          Uniform(purpose, subject, n)      one number below n, the same for everybody
//	number of h, carried by block h+1  Draw, over all weights            the proposer of h+2
//	no number in block h+1             Fallback(chain, last number, h+2) the proposer of h+2, none who omitted
//	                                   and Draw                          a number since the last one that came
//
// The weight of a proposer (TCP: block efficiency first, coin age second):
//
//	when               stake    coin age                          efficiency
//	an epoch begins    its own  Next: stayed coins grow older     as if all turns were used
//	a block            stays    what it adds decays by half-life  Took: falls with a turn that is missed, climbs with one that is used
//	the next epoch     anew     adds its whole again              reset
//
// All stakes alike, efficiency multiplies the weight by a factor from nearly 0 to 1, coin age by one from 1 to 2.
package lottery
