// Package beacon holds the rules of the heights' random numbers: what validators put beside their votes, what a block carries of it,
// which numbers are missing, and the chain of seeds that all draws take (TCP 4.1).
package beacon
