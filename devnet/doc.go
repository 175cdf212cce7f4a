// Package devnet runs a whole network on one machine, for people (`cella devnet up`) and for tests: real processes, real
// keys, a genesis in which every node is a validator and an operator, and a user with coins.
//
//	Start -> (Kill | Stop -> StartNode)* -> Close
//
// Keys and genesis are made in this process; each node is one `cella` process with a home of its own below Config.Home.
// What others need to know to talk to the network is written to network.json beside the homes; nothing else guesses ports.
// Keys lie unencrypted on disk and the simulated enclaves protect nothing: never put anything of worth into a devnet.
package devnet
