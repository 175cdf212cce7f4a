// Package lottery turns a height's public randomness into draws: uniform numbers bound to a purpose and a subject, so that
// the same seed drives a node's spot check, the choice of an endorser and, later, the choice of a proposer without one
// draw telling anything about another.
//
//	known              by                            then
//	hash of block h    BlockSeed(chain, h, hash)     the seed of h
//	seed of h          Uniform(purpose, subject, n)  one number below n, the same for everybody
package lottery
