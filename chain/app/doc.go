// Package app wires the chain: stock modules of the Cosmos SDK, the modules of Cella, and the limits that every
// transaction meets. It decides nothing itself: rules live in protocol/, state in chain/x.
package app
